//! The settings, as users meet them.

mod accounts;
mod effective;
mod elasticsearch;
mod otlp;
mod presets;
mod refused;
mod splunk;

use std::{collections::BTreeMap, path::Path};

use expect_test::{Expect, expect};

use flowlogd::{
    http::Proxy,
    intake::{auth::Auth, protocols::ProtocolConfig},
    settings::{Loaded, Settings, SettingsError, Sink, Storage, load},
};

/// Text that must never be seen: no error, `Debug` or printed setting may hold it.
const CANARY: &str = "Y2FuYXJ5LTAwMDEyMzAw";

/// Azure and Sekoia with the canary for both secrets.
const GOOD: &str = r#"
[sources.prod]
account = "acme"
account_key = "Y2FuYXJ5LTAwMDEyMzAw"
[intakes.out]
protocol = "sekoia"
intake_key = "Y2FuYXJ5LTAwMDEyMzAw"
"#;

/// A generic receiver; each case adds to the end, which is the table of the intake.
const GENERIC: &str = r#"
[sources.copy]
directory = "."
[intakes.out]
protocol = "http"
url = "https://siem.example/in"
"#;

fn environment_of(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load_text(toml: &str, variables: &[(&str, &str)]) -> (String, Result<Loaded, SettingsError>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flowlogd.toml");
    std::fs::write(&file, toml).unwrap();
    let loaded = load(Some(&file), &environment_of(variables));
    (directory.path().display().to_string(), loaded)
}

/// Loads and compares what the user reads: the errors, or the origin and the effective settings.
fn check(toml: &str, variables: &[(&str, &str)], expected: &Expect) {
    let (directory, loaded) = load_text(toml, variables);
    let (shown, debug) = match loaded {
        Ok(loaded) => (format!("{}\n{}", loaded.origin, loaded.effective), format!("{loaded:?}")),
        Err(error) => (format!("{error}\n"), format!("{error:?}")),
    };
    assert!(!shown.contains(CANARY) && !debug.contains(CANARY), "a secret is shown: {shown}{debug}");
    expected.assert_eq(&shown.replace(&directory, "DIR"));
}

/// Text of a file, variables, what is shown.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Expect);

/// Each case is a text behind `prefix`, or one instead of it where it opens with a bang.
fn check_all(prefix: &str, cases: &[Case<'_>]) {
    for (toml, variables, expected) in cases {
        let text = toml.strip_prefix('!').map_or_else(|| format!("{prefix}{toml}"), str::to_owned);
        check(&text, variables, expected);
    }
}

/// *Scenario*: the least that collects. *Guarantees*: the defaults are those of the contract, secrets are asterisks.
#[test]
fn defaults() {
    check(
        GOOD,
        &[],
        &expect![[r#"
            DIR/flowlogd.toml
            state_dir = "/var/lib/flowlogd"

            [sources.prod]
            account = "acme"
            account_key = "***"
            endpoint = "https://acme.blob.core.windows.net"
            poll_interval = "60s"
            start = "earliest"
            seal_after = "2h"
            revisit = "48h"
            include = ["*"]
            exclude = []

            [intakes.out]
            protocol = "sekoia"
            url = "https://intake.sekoia.io"
            intake_key = "***"
            event_format = "flow"
            enrich = true
            provenance = false
            compression = "gzip"
            max_in_flight = 4
            requests_per_second = 5
            allow_http = false

            [intakes.out.batch]
            max_bytes = "4MB"
            max_events = 10000
            max_age = "5s"

            [limits]
            memory = "32MiB"
            parallel_blobs = 8
            record = "16MiB"
            quarantine = "256MiB"
            drain = "20s"
            once_deadline = "5m"

            [admin]
            listen = "127.0.0.1:9464"

            [log]
            level = "info"
            format = "auto"
        "#]],
    );
}

/// *Scenario*: a container is configured by variables alone, in mixed case, with numbers and lists as text, and a
/// file. *Guarantees*: variables win over the file, all kinds are read from them.
#[test]
fn variables_win() {
    check(
        GENERIC,
        &[
            ("FLOWLOGD_CONFIG", "/nowhere"),
            ("FLOWLOGD_SERVICE_HOST", "10.0.0.1"),
            ("FLOWLOGD__INTAKES__OUT__URL", "https://other.example/in?token=Y2FuYXJ5LTAwMDEyMzAw"),
            ("FLOWLOGD__INTAKES__OUT__SUCCESS_CODES", "200, 202"),
            ("FLOWLOGD__INTAKES__OUT__ENRICH", "false"),
            ("flowlogd__intakes__out__batch__max_events", "7"),
            ("FLOWLOGD__INTAKES__OUT__AUTH__BEARER", "Y2FuYXJ5LTAwMDEyMzAw"),
            ("FLOWLOGD__INTAKES__OUT__HEADERS__X-TENANT", "Y2FuYXJ5LTAwMDEyMzAw"),
            ("FLOWLOGD__ADMIN__LISTEN", ""),
            ("FLOWLOGD__LIMITS__PARALLEL_BLOBS", "2"),
            ("FLOWLOGD__LIMITS__DRAIN", "7s"),
            ("FLOWLOGD__LIMITS__ONCE_DEADLINE", "90s"),
            ("FLOWLOGD__LOG__LEVEL", "info,flowlogd=debug"),
            ("FLOWLOGD__LOG__FORMAT", "text"),
            ("FLOWLOGD__SOURCES__COPY__REVISIT", "2d"),
            ("FLOWLOGD__SOURCES__COPY__INCLUDE", "*"),
        ],
        &expect![[r#"
            DIR/flowlogd.toml and 14 variables
            state_dir = "/var/lib/flowlogd"

            [sources.copy]
            directory = "."
            poll_interval = "60s"
            start = "earliest"
            seal_after = "2h"
            revisit = "2d"
            include = ["*"]
            exclude = []

            [intakes.out]
            protocol = "http"
            url = "https://other.example/in?***"
            event_format = "ecs"
            enrich = false
            provenance = false
            compression = "gzip"
            max_in_flight = 4
            allow_http = false
            framing = "ndjson"
            success_codes = [200, 202]

            [intakes.out.batch]
            max_bytes = "1MB"
            max_events = 7
            max_age = "5s"

            [intakes.out.headers]
            x-tenant = "***"

            [intakes.out.auth]
            bearer = "***"

            [limits]
            memory = "32MiB"
            parallel_blobs = 2
            record = "16MiB"
            quarantine = "256MiB"
            drain = "7s"
            once_deadline = "90s"

            [admin]
            listen = ""

            [log]
            level = "info,flowlogd=debug"
            format = "text"
        "#]],
    );
}

/// *Scenario*: no file at all. *Guarantees*: variables are enough.
#[test]
fn variables_alone() {
    let environment = environment_of(&[
        ("FLOWLOGD__SOURCES__PROD__ACCOUNT", "acme"),
        ("FLOWLOGD__SOURCES__PROD__ACCOUNT_KEY", CANARY),
        ("FLOWLOGD__INTAKES__OUT__PROTOCOL", "stdout"),
    ]);
    let loaded = load(None, &environment).unwrap();
    assert_eq!(loaded.origin, "3 variables");
    assert_eq!(loaded.settings.intakes.first().unwrap().max_in_flight, 1);
    let environment = environment_of(&[("FLOWLOGD__LOG__LEVEL", "debug")]);
    let error = load(None, &environment).unwrap_err();
    expect![[r#"
        settings: 2 problems
          intakes (environment variables): no intake is set; add [intakes.NAME]
          sources (environment variables): no source is set; add [sources.NAME]"#]]
    .assert_eq(&error.to_string());
}

/// The account key and the intake key, or bearer token, that came out.
fn secrets_of(settings: &Settings) -> (String, String) {
    let account_key = match &settings.sources.first().unwrap().storage {
        Storage::Azure(config) => config.account_key.key.reveal().to_owned(),
        Storage::Directory(_) => String::new(),
    };
    let sent = match &settings.intakes.first().unwrap().sink {
        Sink::Http(config) => match &config.protocol {
            ProtocolConfig::Sekoia { intake_key } => intake_key.reveal().to_owned(),
            ProtocolConfig::SplunkHec(splunk) => splunk.token.reveal().to_owned(),
            ProtocolConfig::Http { .. }
            | ProtocolConfig::Elasticsearch { .. }
            | ProtocolConfig::Otlp { .. } => match &config.auth {
                Auth::Bearer(token) | Auth::ApiKey(token) => token.reveal().to_owned(),
                Auth::None | Auth::Basic { .. } | Auth::Header { .. } | Auth::ClientCredentials(_) => {
                    String::new()
                }
            },
        },
        Sink::Stdout => String::new(),
    };
    (account_key, sent)
}

/// *Scenario*: secrets that look like numbers, truth values, lists and padded text come from the settings file, a
/// variable, a secret file (with and without a line end) and a credential. *Guarantees*: not a letter changes.
#[test]
fn secrets_letter_for_letter() {
    let directory = tempfile::tempdir().unwrap();
    let path_of = |name: &str| directory.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(path_of(name), text).unwrap();
    for (account_key, intake_key) in [
        ("00012300", "1e5"),
        ("true", "true"),
        ("12345678", " 0x10 "),
        ("AAAA", "[1,2]"),
        ("1e10", "a,b"),
        ("0000", "\u{e9}\n"),
    ] {
        let expected = (account_key.to_owned(), intake_key.to_owned());
        let mut ways: Vec<(String, Vec<(&str, String)>)> = Vec::new();
        let head = "[sources.prod]\naccount = \"acme\"\n";
        let middle = "[intakes.out]\nprotocol = \"sekoia\"\n";
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        ways.push((
            format!(
                "{head}account_key = {}\n{middle}intake_key = {}\n",
                quoted(account_key),
                quoted(intake_key)
            ),
            Vec::new(),
        ));
        ways.push((
            format!("{head}{middle}"),
            vec![
                ("FLOWLOGD__SOURCES__PROD__ACCOUNT_KEY", account_key.to_owned()),
                ("flowlogd__intakes__out__intake_key", intake_key.to_owned()),
            ],
        ));
        for line_end in ["\n", "\r\n"] {
            write("account", &format!("{account_key}{line_end}"));
            write("intake", &format!("{intake_key}{line_end}"));
            let files = vec![
                ("FLOWLOGD__SOURCES__PROD__ACCOUNT_KEY_FILE", path_of("account").display().to_string()),
                ("FLOWLOGD__INTAKES__OUT__INTAKE_KEY_FILE", path_of("intake").display().to_string()),
            ];
            let text = format!("{head}{middle}");
            let environment = files.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            write("flowlogd.toml", &text);
            let loaded = load(Some(&path_of("flowlogd.toml")), &environment).unwrap();
            assert_eq!(secrets_of(&loaded.settings), expected);
        }
        write("prod.account_key", &format!("{account_key}\n"));
        write("out.intake_key", &format!("{intake_key}\n"));
        let credentials = directory.path().display().to_string();
        ways.push((format!("{head}{middle}"), vec![("CREDENTIALS_DIRECTORY", credentials)]));
        for (text, variables) in ways {
            write("flowlogd.toml", &text);
            let environment = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let loaded = load(Some(&path_of("flowlogd.toml")), &environment).unwrap();
            assert_eq!(secrets_of(&loaded.settings), expected);
        }
    }
}

/// *Scenario*: a secret is given in two ways, by an empty or a missing file, or not at all; nested secrets come as
/// credentials. *Guarantees*: refused naming both places, or the key and the path.
#[test]
fn secrets_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let path_of = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path_of("empty"), "\n").unwrap();
    std::fs::write(path_of("binary"), b"\xff\xfe").unwrap();
    std::fs::write(path_of("prod.account_key"), CANARY).unwrap();
    std::fs::write(path_of("out.auth.bearer"), format!("{CANARY}\n")).unwrap();
    let show = |toml: &str, variables: &[(&str, &str)]| {
        let (file_directory, loaded) = load_text(toml, variables);
        let shown = loaded.map_or_else(
            |error| error.to_string(),
            |loaded| format!("{}\n{}", loaded.origin, loaded.effective),
        );
        assert!(!shown.contains(CANARY), "{shown}");
        shown.replace(&file_directory, "DIR").replace(&directory.path().display().to_string(), "SECRETS")
    };
    expect!["settings: sources.prod.account_key (file DIR/flowlogd.toml): is given more than once: sources.prod.account_key (file DIR/flowlogd.toml), credential SECRETS/prod.account_key; keep one of them"].assert_eq(&show(GOOD, &[("CREDENTIALS_DIRECTORY", &path_of(""))]));
    expect!["settings: intakes.out.intake_key (file DIR/flowlogd.toml): is given more than once: intakes.out.intake_key (file DIR/flowlogd.toml), intakes.out.intake_key_file (variable FLOWLOGD__INTAKES__OUT__INTAKE_KEY_FILE); keep one of them"].assert_eq(&show(GOOD, &[("FLOWLOGD__INTAKES__OUT__INTAKE_KEY_FILE", &path_of("empty"))]));
    let without_secrets = "[sources.prod]\naccount = \"acme\"\n[intakes.out]\nprotocol = \"sekoia\"\n";
    expect![[r#"
        settings: 2 problems
          intakes.out.intake_key (file DIR/flowlogd.toml): is missing; give intake_key_file, FLOWLOGD__INTAKES__OUT__INTAKE_KEY or the credential out.intake_key
          sources.prod.account_key (file DIR/flowlogd.toml): is missing; give account_key_file, FLOWLOGD__SOURCES__PROD__ACCOUNT_KEY or the credential prod.account_key"#]].assert_eq(&show(without_secrets, &[]));
    for name in ["empty", "binary", "missing"] {
        let variables = [
            ("FLOWLOGD__SOURCES__PROD__ACCOUNT_KEY", CANARY),
            ("FLOWLOGD__INTAKES__OUT__INTAKE_KEY_FILE", &path_of(name)),
        ];
        match name {
            "empty" => expect!["settings: intakes.out.intake_key_file (variable FLOWLOGD__INTAKES__OUT__INTAKE_KEY_FILE): SECRETS/empty is empty; let the file hold the secret alone, readable for the user that flowlogd runs as"].assert_eq(&show(without_secrets, &variables)),
            "binary" => expect!["settings: intakes.out.intake_key_file (variable FLOWLOGD__INTAKES__OUT__INTAKE_KEY_FILE): SECRETS/binary is not UTF-8 text; let the file hold the secret alone, readable for the user that flowlogd runs as"].assert_eq(&show(without_secrets, &variables)),
            _ => expect!["settings: intakes.out.intake_key_file (variable FLOWLOGD__INTAKES__OUT__INTAKE_KEY_FILE): SECRETS/missing cannot be read: No such file or directory (os error 2); let the file hold the secret alone, readable for the user that flowlogd runs as"].assert_eq(&show(without_secrets, &variables)),
        }
    }
    let (_, loaded) = load_text(GENERIC, &[("CREDENTIALS_DIRECTORY", &path_of(""))]);
    let loaded = loaded.unwrap();
    assert_eq!(secrets_of(&loaded.settings).1, CANARY);
    assert!(loaded.origin.ends_with("flowlogd.toml and 1 credential"), "{}", loaded.origin);
    assert!(loaded.effective.contains("[intakes.out.auth]\nbearer = \"***\"\n"), "{}", loaded.effective);
}

/// *Scenario*: a region is chosen, or a URL beside it; endpoints are given with a slash or in path style.
/// *Guarantees*: the region chooses the address, the URL wins, the slash goes, plain http is for loopback.
#[test]
fn addresses() {
    for (toml, variables, expected) in [
        ("region = \"fra1\"", vec![], "https://intake.sekoia.io/"),
        ("region = \"fra2\"", vec![], "https://intake.fra2.sekoia.io/api/v1/intake-http"),
        ("region = \"mco1\"", vec![], "https://intake.mco1.sekoia.io/api/v1/intake-http"),
        ("region = \"uae1\"", vec![], "https://intake.uae1.sekoia.io/api/v1/intake-http"),
        ("region = \"usa1\"", vec![], "https://intake.usa1.sekoia.io/api/v1/intake-http"),
        ("region = \"sgp1\"", vec![], "https://intake.sgp1.sekoia.io/api/v1/intake-http"),
        ("region = \"usa1\"\nurl = \"https://a.example/x\"", vec![], "https://a.example/x"),
        ("", vec![("FLOWLOGD__INTAKES__OUT__URL", "http://[::1]:8080/")], "http://[::1]:8080/"),
        ("allow_http = true", vec![("FLOWLOGD__INTAKES__OUT__URL", "http://10.0.0.1/")], "http://10.0.0.1/"),
    ] {
        let settings = load_text(&format!("{GOOD}{toml}"), &variables).1.unwrap().settings;
        match &settings.intakes.first().unwrap().sink {
            Sink::Http(config) => assert_eq!(config.url.as_str(), expected),
            Sink::Stdout => panic!("not stdout"),
        }
    }
    for (written, expected) in [
        ("https://acme.blob.core.windows.net/", "https://acme.blob.core.windows.net/"),
        ("http://127.0.0.1:10000/acme/", "http://127.0.0.1:10000/acme"),
        ("http://localhost:10000/acme", "http://localhost:10000/acme"),
    ] {
        let settings = load_text(GOOD, &[("FLOWLOGD__SOURCES__PROD__ENDPOINT", written)]).1.unwrap().settings;
        match &settings.sources.first().unwrap().storage {
            Storage::Azure(config) => assert_eq!(config.endpoint.as_str(), expected),
            Storage::Directory(_) => panic!("not a directory"),
        }
    }
}

/// *Scenario*: proxies for both sides, one with user and password. *Guarantees*: each reaches the client of its own side
/// whole, and is shown without user and password.
#[test]
fn proxies() {
    let variables = [
        ("FLOWLOGD__SOURCES__PROD__PROXY", "http://u:Y2FuYXJ5LTAwMDEyMzAw@proxy.example:3128"),
        ("FLOWLOGD__INTAKES__OUT__PROXY", "http://10.0.0.1"),
    ];
    let loaded = load_text(GOOD, &variables).1.unwrap();
    match (&loaded.settings.sources.first().unwrap().storage, &loaded.settings.intakes.first().unwrap().sink)
    {
        (Storage::Azure(storage), Sink::Http(intake)) => {
            assert_eq!(storage.http.proxy, Some(Proxy::parse(variables[0].1).unwrap()));
            assert_eq!(intake.http.proxy, Some(Proxy::parse(variables[1].1).unwrap()));
        }
        other => panic!("{other:?}"),
    }
    let printed = &loaded.effective;
    assert!(printed.contains("proxy = \"http://***@proxy.example:3128\""), "{printed}");
    assert!(printed.contains("proxy = \"http://10.0.0.1\""), "{printed}");
    assert!(!format!("{loaded:?}").contains(CANARY), "{loaded:?}");
}

/// *Scenario*: the files that are shipped. *Guarantees*: each loads once its secrets are there.
#[test]
fn shipped_files_load() {
    let secret_files = [
        ("FLOWLOGD__SOURCES__PROD__ACCOUNT_KEY_FILE", "ACCOUNT"),
        ("FLOWLOGD__INTAKES__SEKOIA__INTAKE_KEY_FILE", "INTAKE"),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (file, variables) in
        [("flowlogd.toml", secret_files.as_slice()), ("minimal.toml", &secret_files), ("demo.toml", &[])]
    {
        let environment = variables
            .iter()
            .map(|(name, secret)| {
                let path = directory.path().join(secret);
                std::fs::write(&path, CANARY).unwrap();
                ((*name).to_owned(), path.display().to_string())
            })
            .collect();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file);
        let loaded = load(Some(&path), &environment).unwrap();
        assert_eq!((loaded.settings.sources.len(), loaded.settings.intakes.len()), (1, 1), "{file}");
    }
}

/// *Scenario*: certificates to trust, one with text around it as tools write it. *Guarantees*: the file's bytes reach
/// the client of its own side only; a damaged one is refused.
#[test]
fn certificates() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let certificate = rcgen::generate_simple_self_signed(vec!["siem.example".to_owned()]).unwrap().cert.pem();
    let text = format!("subject=CN = siem.example\n{certificate}");
    std::fs::write(&path, &text).unwrap();
    let shown_path = path.display().to_string();
    let variables = [("FLOWLOGD__SOURCES__PROD__CA_FILE", shown_path.as_str())];
    let settings = load_text(GOOD, &variables).1.unwrap().settings;
    match (&settings.sources.first().unwrap().storage, &settings.intakes.first().unwrap().sink) {
        (Storage::Azure(storage), Sink::Http(intake)) => {
            assert_eq!(storage.http.extra_roots_pem.as_deref(), Some(text.as_bytes()));
            assert_eq!(intake.http.extra_roots_pem, None);
        }
        other => panic!("{other:?}"),
    }
    std::fs::write(&path, text.replace("-----END", "----END")).unwrap();
    let error = load_text(GOOD, &variables).1.unwrap_err();
    assert!(error.to_string().contains("holds no PEM certificate, or a damaged one"), "{error}");
}

/// *Scenario*: addresses of the admin server, and how long the account keeps blobs. *Guarantees*: the default is this
/// host alone, an empty address is none, all forms of addresses are read; a retention is there only where it is set.
#[test]
fn admin_server_and_retention() {
    for (written, expected) in [
        (None, Some("127.0.0.1:9464")),
        (Some(""), None),
        (Some("0.0.0.0:80"), Some("0.0.0.0:80")),
        (Some("[::]:9464"), Some("[::]:9464")),
    ] {
        let variables: Vec<_> = written.map(|text| ("FLOWLOGD__ADMIN__LISTEN", text)).into_iter().collect();
        let settings = load_text(GOOD, &variables).1.unwrap().settings;
        assert_eq!(settings.admin.listen.map(|address| address.to_string()).as_deref(), expected);
        assert_eq!(settings.sources.first().unwrap().retention, None);
    }
    let variables = [("FLOWLOGD__SOURCES__PROD__RETENTION", "30d")];
    let settings = load_text(GOOD, &variables).1.unwrap().settings;
    let retention = settings.sources.first().unwrap().retention;
    assert_eq!(retention, Some(std::time::Duration::from_hours(720)));
}
