//! The command check-config.

use std::{
    path::Path,
    process::{Command, Output},
};

use expect_test::expect;

const CANARY: &str = "Y2FuYXJ5LTAwMDEyMzAw";

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowlogd"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_clear()
        .args(arguments)
        .envs(variables.iter().copied());
    command.output().unwrap()
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// *Scenario*: good settings, the file named by the flag or by the variable. *Guarantees*: 0; TOML without secrets on
/// stdout, where it came from on stderr.
#[test]
fn good_settings() {
    let variables =
        [("FLOWLOGD__SOURCES__PROD__ACCOUNT_KEY", CANARY), ("FLOWLOGD__INTAKES__SEKOIA__INTAKE_KEY", CANARY)];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flowlogd.toml");
    std::fs::write(&file, "[sources.prod]\naccount = \"acme\"\n[intakes.sekoia]\nprotocol = \"sekoia\"\n")
        .unwrap();
    let path = file.display().to_string();
    let by_flag = run(&["--config", &path, "check-config"], &variables);
    let by_variable =
        run(&["check-config"], &[variables[0], variables[1], ("FLOWLOGD_CONFIG", path.as_str())]);
    for output in [by_flag, by_variable] {
        let (printed, remarks) = (text_of(&output.stdout), text_of(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{remarks}");
        assert_eq!(
            remarks,
            format!("flowlogd: the settings are good; they come from {path} and 2 variables\n")
        );
        let parsed: toml::Table = printed.parse().unwrap();
        let secret = parsed["sources"]["prod"]["account_key"].as_str();
        assert_eq!(secret, Some("***"));
        assert!(!printed.contains(CANARY));
    }
}

/// *Scenario*: wrong settings, a file that is not there, an unknown variable, one that lacks an underscore. *Guarantees*: 78, nothing on stdout,
/// each key with its origin and the way out on stderr, no secret.
#[test]
fn wrong_settings() {
    let secret_key = ("FLOWLOGD__SOURCES__SAMPLE__ACCOUNT_KEY", CANARY);
    for (arguments, variables, expected) in [
        (
            vec!["--config", "config/demo.toml"],
            vec![secret_key, ("FLOWLOGD__LOG__LEVL", CANARY)],
            expect![[r#"
                flowlogd: settings: log.levl (variable FLOWLOGD__LOG__LEVL): unknown key; did you mean FLOWLOGD__LOG__LEVEL?
            "#]],
        ),
        (
            vec!["--config", "config/demo.toml"],
            vec![("FLOWLOGD_STATE_DIR", CANARY), ("FLOWLOGD_SERVICE_HOST", "10.0.0.1")],
            expect![[r#"
                flowlogd: settings: variable FLOWLOGD_STATE_DIR: is no setting; did you mean FLOWLOGD__STATE_DIR?
            "#]],
        ),
        (
            vec!["--config", "config/demo.toml"],
            vec![secret_key],
            expect![[r#"
            flowlogd: settings: sources.sample.account_key (variable FLOWLOGD__SOURCES__SAMPLE__ACCOUNT_KEY): has no use beside directory; remove it, or remove directory to read the account
        "#]],
        ),
        (
            vec!["--config", "nowhere/flowlogd.toml"],
            vec![],
            expect![[r#"
            flowlogd: settings: file nowhere/flowlogd.toml: cannot be read: No such file or directory (os error 2); name a readable TOML file with --config or FLOWLOGD_CONFIG
        "#]],
        ),
    ] {
        let output = run(&[arguments.as_slice(), &["check-config"]].concat(), &variables);
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(text_of(&output.stdout), "");
        assert!(!text_of(&output.stderr).contains(CANARY));
        expected.assert_eq(&text_of(&output.stderr));
    }
}

/// *Scenario*: the shipped demonstration, and nothing at all. *Guarantees*: the first is good as it is; without
/// settings the first thing to do is named.
#[test]
fn demo_and_nothing() {
    let output = run(&["check-config", "--config", "config/demo.toml"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    if !Path::new(flowlogd::settings::DEFAULT_FILE).exists() {
        let bare_output = run(&["check-config"], &[]);
        assert_eq!(bare_output.status.code(), Some(78));
        expect![[r#"
            flowlogd: settings: environment variables: there are none, and no file /etc/flowlogd/flowlogd.toml; write that file, as in README.md under "A real account", or name another with --config FILE; flowlogd --help tells more
        "#]]
        .assert_eq(&text_of(&bare_output.stderr));
    }
}

/// *Scenario*: a variable holds bytes that are no text. *Guarantees*: a setting is refused by name, others do not
/// matter.
#[cfg(unix)]
#[test]
fn variables_that_are_no_text() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    let run_with = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowlogd"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env_clear().env(name, OsStr::from_bytes(b"\xff"));
        command.args(["check-config", "--config", "config/demo.toml"]).output().unwrap()
    };
    assert_eq!(run_with("OTHER").status.code(), Some(0));
    let refused = run_with("FLOWLOGD__STATE_DIR");
    assert_eq!(refused.status.code(), Some(78));
    assert!(text_of(&refused.stderr).contains("variable FLOWLOGD__STATE_DIR is not UTF-8 text"));
}
