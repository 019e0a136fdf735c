//! The files that are shipped beside the program: image, unit, advisories and README say what the program does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use clap::Parser as _;
use flowlogd::{
    cli::{self, exit::Exit},
    settings::{Settings, load},
};

/// A file of the project.
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The settings of one account and one Sekoia.io intake, all else by default, with secrets from a directory.
fn settings_with_credentials(directory: &Path) -> Settings {
    let variables = [
        ("FLOWLOGD__SOURCES__PROD__ACCOUNT", "acme"),
        ("FLOWLOGD__INTAKES__SEKOIA__PROTOCOL", "sekoia"),
        ("CREDENTIALS_DIRECTORY", directory.to_str().unwrap()),
    ];
    let environment = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    load(None, &environment.collect()).unwrap().settings
}

/// The program, with these variables alone.
fn flowlogd(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowlogd"));
    command.env_clear().args(arguments).envs(variables.iter().copied()).output().unwrap()
}

fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Instructions of a Dockerfile with their words, continued lines joined, by stage.
fn stages(dockerfile: &str) -> Vec<Vec<(String, Vec<String>)>> {
    let lines: Vec<_> = dockerfile.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let mut stages = Vec::new();
    for line in joined.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace().map(str::to_owned);
        let instruction = words.next().unwrap();
        if instruction == "FROM" {
            stages.push(Vec::new());
        }
        stages.last_mut().unwrap().push((instruction, words.collect()));
    }
    stages
}

/// The words behind each use of an instruction.
fn all<'a>(stage: &'a [(String, Vec<String>)], instruction: &str) -> Vec<&'a [String]> {
    let named = stage.iter().filter(|(name, _)| name == instruction);
    named.map(|(_, words)| words.as_slice()).collect()
}

/// *Scenario*: the Dockerfile is read. *Guarantees*: the project's Rust on Alpine, whose programs are static, builds a
/// release; the image is that program alone, with certificates where they are looked for, and a state directory of the
/// user, who is a number and not root.
#[test]
fn the_image_is_the_program_alone() {
    let stages = stages(&read("Dockerfile"));
    let [build, image] = stages.as_slice() else { panic!("{} stages", stages.len()) };
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let rust = manifest["package"]["rust-version"].as_str().unwrap();
    assert_eq!(all(build, "FROM"), [[format!("rust:{rust}-alpine"), "AS".to_owned(), "build".to_owned()]]);

    let runs: Vec<_> = all(build, "RUN").iter().map(|words| words.join(" ")).collect();
    let commands: Vec<_> = runs.iter().flat_map(|run| run.split(" && ")).collect();
    let user = all(image, "USER").concat().concat();
    let (user_id, group_id) = user.split_once(':').unwrap();
    assert!(user_id.parse::<u32>().unwrap() > 0 && group_id.parse::<u32>().unwrap() > 0, "{user}");
    let copies = all(image, "COPY");
    let [copy] = copies.as_slice() else { panic!("{copies:?}") };
    assert_eq!((copy[0].as_str(), copy[2].as_str()), ("--from=build", "/"));
    let root = copy[1].as_str();
    let secrets = tempfile::tempdir().unwrap();
    for name in ["prod.account_key", "sekoia.intake_key"] {
        fs::write(secrets.path().join(name), "c2VjcmV0").unwrap();
    }
    let state = settings_with_credentials(secrets.path()).state_dir;
    let state = state.to_str().unwrap();
    let authorities = "/etc/ssl/certs/ca-certificates.crt";
    for command in [
        "apk add --no-cache musl-dev ca-certificates".to_owned(),
        "cargo build --release --locked --bin flowlogd".to_owned(),
        format!("install -D target/release/flowlogd {root}/flowlogd"),
        format!("install -D {authorities} {root}{authorities}"),
        format!("install -d -m 0700 -o {user_id} -g {group_id} {root}{state}"),
    ] {
        assert!(commands.contains(&command.as_str()), "{command} is not among {commands:?}");
    }
    assert_eq!(commands.len(), 5, "{commands:?}");

    assert_eq!(all(image, "FROM"), [["scratch"]]);
    assert_eq!(all(image, "ENTRYPOINT"), [["[\"/flowlogd\"]"]]);
    assert_eq!(all(image, "CMD"), [["[\"run\"]"]]);
    assert_eq!(all(image, "VOLUME"), [[format!("[\"{state}\"]")]]);
    assert_eq!(all(image, "STOPSIGNAL"), [["SIGTERM"]]);
}

/// *Scenario*: what the image's build copies, what it is given, and what the manifest names. *Guarantees*: it is given
/// what it copies and nothing else, all of that is there, and the manifest asks for nothing more.
#[test]
fn the_image_is_built_from_the_sources_alone() {
    let stages = stages(&read("Dockerfile"));
    let copied: BTreeSet<String> = all(&stages[0], "COPY")
        .iter()
        .flat_map(|words| words.split_last().unwrap().1.iter().cloned())
        .collect();
    let ignored = read(".dockerignore");
    let mut rules = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"));
    let given: BTreeSet<String> = rules.map(|rule| rule.strip_prefix('!').unwrap().to_owned()).collect();
    assert_eq!(copied, given);
    for path in &copied {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{path}");
    }
    // Cargo would look for these beside Cargo.toml.
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    for key in ["build", "readme", "license-file", "workspace"] {
        assert!(manifest["package"].get(key).is_none(), "{key}");
    }
    assert!(["bin", "lib", "example", "patch"].iter().all(|key| manifest.get(*key).is_none()));
    assert!(manifest.get("bench").is_none() || copied.contains("benches"));
}

/// Keys of the unit with all their values, `[Section]` apart.
fn unit_keys(unit: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut keys = BTreeMap::<_, Vec<_>>::new();
    for line in unit.lines().filter(|line| !line.starts_with('#')) {
        if let Some((key, value)) = line.split_once('=') {
            keys.entry(key).or_default().push(value);
        }
    }
    keys
}

/// *Scenario*: the unit is read as systemd reads it, its example credentials are given. *Guarantees*: it runs the
/// daemon with the default state directory, leaves it longer to end than it may drain, starts it again after all but
/// errors that stay, and its credentials are the ones that the settings look for.
#[test]
fn the_unit_fits_the_program() {
    let unit = read("deploy/flowlogd.service");
    let keys = unit_keys(&unit);
    let credentials = tempfile::tempdir().unwrap();
    for example in unit.lines().filter_map(|line| line.strip_prefix("#   LoadCredential=")) {
        let (name, path) = example.split_once(':').unwrap();
        assert!(path.starts_with("/etc/flowlogd/"), "{path}");
        fs::write(credentials.path().join(name), "c2VjcmV0").unwrap();
    }
    let settings = settings_with_credentials(credentials.path());

    let [command] = keys["ExecStart"].as_slice() else { panic!("one command") };
    assert!(command.starts_with("/usr/local/bin/flowlogd "));
    let arguments = cli::Arguments::try_parse_from(command.split(' ')).unwrap();
    assert!(matches!(arguments.command, cli::Command::Run(_)), "{arguments:?}");
    assert_eq!(Path::new("/var/lib").join(keys["StateDirectory"][0]), settings.state_dir);
    let patience: Duration = humantime::parse_duration(keys["TimeoutStopSec"][0]).unwrap();
    assert!(patience >= settings.limits.drain + Duration::from_secs(5), "{patience:?}");

    let lasting: BTreeSet<u8> =
        keys["RestartPreventExitStatus"][0].split(' ').map(|code| code.parse().unwrap()).collect();
    let wrong_usage = flowlogd(&["no-such-command"], &[]).status.code().unwrap();
    assert_eq!(lasting, BTreeSet::from([u8::try_from(wrong_usage).unwrap(), Exit::Configuration.code()]));
    for (key, value) in [
        // The daemon tells systemd nothing.
        ("Type", "exec"),
        ("Restart", "on-failure"),
        ("StartLimitIntervalSec", "0"),
        ("WantedBy", "multi-user.target"),
        ("After", "network-online.target"),
        ("Wants", "network-online.target"),
    ] {
        assert_eq!(keys[key], [value], "{key}");
    }
}

/// *Scenario*: the unit is read. *Guarantees*: no user, right, device, kernel interface or writable directory is given
/// that the daemon does not need.
#[test]
fn the_unit_gives_no_more_than_is_needed() {
    let unit = read("deploy/flowlogd.service");
    let keys = unit_keys(&unit);
    for key in [
        "DynamicUser",
        "LockPersonality",
        "MemoryDenyWriteExecute",
        "NoNewPrivileges",
        "PrivateDevices",
        "PrivateTmp",
        "PrivateUsers",
        "ProtectClock",
        "ProtectControlGroups",
        "ProtectHome",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "RestrictNamespaces",
        "RestrictRealtime",
    ] {
        assert_eq!(keys.get(key).map(Vec::as_slice), Some(["yes"].as_slice()), "{key}");
    }
    for (key, values) in [
        ("CapabilityBoundingSet", [""].as_slice()),
        ("ProtectSystem", &["strict"]),
        ("ProtectProc", &["invisible"]),
        ("StateDirectoryMode", &["0700"]),
        ("UMask", &["0077"]),
        ("RestrictAddressFamilies", &["AF_INET AF_INET6 AF_UNIX"]),
        ("SystemCallArchitectures", &["native"]),
        ("SystemCallFilter", &["@system-service", "~@privileged @resources"]),
    ] {
        assert_eq!(keys.get(key).map(Vec::as_slice), Some(values), "{key}");
    }
    for key in ["User", "AmbientCapabilities", "ReadWritePaths", "SupplementaryGroups"] {
        assert!(!keys.contains_key(key), "{key}");
    }
}

/// *Scenario*: the accepted advisories are read. *Guarantees*: they are the five that were looked into, each with a
/// reason, and OpenSSL stays banned.
#[test]
fn accepted_advisories_have_reasons() {
    let deny: toml::Table = read("deny.toml").parse().unwrap();
    let ignored = deny["advisories"]["ignore"].as_array().unwrap();
    let mut names: Vec<_> = ignored.iter().map(|advisory| advisory["id"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "RUSTSEC-2024-0436",
            "RUSTSEC-2026-0174",
            "RUSTSEC-2026-0194",
            "RUSTSEC-2026-0195",
            "RUSTSEC-2026-0275",
        ]
    );
    for advisory in ignored {
        assert!(advisory["reason"].as_str().unwrap().len() > 20, "{advisory}");
    }
    let banned = deny["bans"]["deny"].as_array().unwrap();
    for name in ["openssl", "openssl-sys", "native-tls"] {
        assert!(banned.iter().any(|ban| ban.as_str() == Some(name)), "{name}");
    }
}

/// The commands that a help text lists.
fn listed_commands(arguments: &[&str]) -> BTreeSet<String> {
    let output = flowlogd(arguments, &[]);
    let help = text_of(&output.stdout);
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let names = list.lines().take_while(|line| !line.is_empty()).map(|line| {
        let name = line.split_whitespace().next().unwrap();
        name.to_owned()
    });
    names.filter(|name| name != "help").collect()
}

/// What stands first, in backticks, in each row of the table below a heading.
fn table(readme: &str, heading: &str) -> Vec<String> {
    let (_, section) = readme.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(cell, _)| cell.to_owned()).collect()
}

/// *Scenario*: README's table of commands and the program's help. *Guarantees*: the same commands, and the same
/// commands of `checkpoints`.
#[test]
fn readme_names_the_commands() {
    let rows = table(&read("README.md"), "Commands");
    let commands = rows.iter().map(|row| row.split(' ').nth(1).unwrap().to_owned());
    assert_eq!(commands.collect::<BTreeSet<_>>(), listed_commands(&["--help"]));
    let checkpoints = rows.iter().find_map(|row| row.strip_prefix("flowlogd checkpoints ")).unwrap();
    let checkpoints: BTreeSet<_> = checkpoints.split("\\|").map(str::to_owned).collect();
    assert_eq!(checkpoints, listed_commands(&["checkpoints", "--help"]));
}

/// *Scenario*: README's table of intakes, and what the program says when no protocol is set. *Guarantees*: the same
/// protocols.
#[test]
fn readme_names_the_protocols() {
    let variables =
        [("FLOWLOGD__SOURCES__A__DIRECTORY", "."), ("FLOWLOGD__INTAKES__A__URL", "https://siem.example")];
    let output = flowlogd(&["check-config"], &variables);
    let message = text_of(&output.stderr);
    let (_, protocols) = message.trim_end().split_once("set it to one of ").unwrap();
    let protocols: BTreeSet<_> = protocols.split(", ").map(str::to_owned).collect();
    let named: BTreeSet<_> = table(&read("README.md"), "Intakes").into_iter().collect();
    assert_eq!(named, protocols);
}

/// *Scenario*: each of README's settings, with its secret files in another place. *Guarantees*: they are good, and one of
/// them has several sources and intakes.
#[test]
fn readme_settings_are_good() {
    let readme = read("README.md");
    let blocks = readme.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap());
    let mut n_sources = Vec::new();
    for settings in blocks {
        let directory = tempfile::tempdir().unwrap();
        let secrets = settings.split("\"/run/secrets/").skip(1).map(|rest| rest.split('"').next().unwrap());
        for (number, name) in secrets.enumerate() {
            fs::write(directory.path().join(name), format!("c2VjcmV{number}")).unwrap();
        }
        let file = directory.path().join("flowlogd.toml");
        let place = directory.path().to_str().unwrap();
        fs::write(&file, settings.replace("/run/secrets", place)).unwrap();
        let output = flowlogd(&["--config", file.to_str().unwrap(), "check-config"], &[]);
        assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
        assert!(text_of(&output.stdout).contains("account = \"mystorageaccount\""));
        let written: toml::Table = settings.parse().unwrap();
        n_sources.push(written["sources"].as_table().unwrap().len());
    }
    assert_eq!(n_sources, [1, 2]);
}

/// Every text of the program's sources in one, strings that go over several lines joined.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &sources(&path);
        } else {
            let text = fs::read_to_string(&path).unwrap().replace("\\\"", "\"");
            let mut lines = text.split("\\\n");
            all += lines.next().unwrap();
            all.extend(lines.map(str::trim_start));
        }
    }
    all
}

/// *Scenario*: the tables of conditions in the documentation of operations. *Guarantees*: every log line, error and reason
/// stands in the program's sources, but for what changes in it; every metric is documented.
#[test]
fn documented_conditions_are_the_programs() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let (document, metrics) = (read("docs/operations.md"), read("docs/metrics.md"));
    let (mut n_texts, mut n_metrics) = (0, 0);
    let is_condition = |line: &&str| line.starts_with("| ") && !line.starts_with("| what |");
    for row in document.lines().filter(is_condition) {
        let cells: Vec<_> = row.split(" | ").collect();
        let [_, log, metric, _, _] = cells.as_slice() else { panic!("{} cells in {row}", cells.len()) };
        for line in log.split("<br>").filter(|line| line.contains('`')) {
            let (_, text) = line.split_once('`').unwrap();
            let text = text.trim_matches(['`', ' ']);
            for piece in text.split(['<', '>']).step_by(2).flat_map(|piece| piece.split(": ")) {
                assert!(sources.contains(piece), "`{piece}` of `{text}` is in no source");
            }
            n_texts += 1;
        }
        for name in metric.split('`').skip(1).step_by(2).filter(|name| name.contains('_')) {
            let is_value = metrics.contains(&format!("`{name}`"));
            assert!(is_value || metrics.contains(&format!("| `flowlogd_{name}` |")), "{name}");
            n_metrics += 1;
        }
    }
    assert!(n_texts > 50 && n_metrics > 45, "{n_texts} texts, {n_metrics} metrics");
}

/// *Scenario*: every whole command that README and the documentation of operations show. *Guarantees*: the program
/// knows it with its arguments.
#[test]
fn shown_commands_are_good() {
    let mut n_commands = 0;
    for document in ["README.md", "docs/operations.md", "docs/elasticsearch.md", "docs/splunk_hec.md"] {
        let text = read(document);
        let (prose, blocks): (Vec<_>, Vec<_>) = text.split("```").enumerate().partition(|(n, _)| n % 2 == 0);
        let spans = prose.iter().flat_map(|(_, part)| part.split('`').skip(1).step_by(2));
        let lines = blocks.iter().flat_map(|(_, part)| part.lines());
        for command in spans.chain(lines).filter(|words| words.starts_with("flowlogd ")) {
            // Tables and log lines leave open what stands there; one log line begins like a command.
            if command.contains(['|', '[', '<']) || command == "flowlogd starts" {
                continue;
            }
            let parsed = cli::Arguments::try_parse_from(command.split_whitespace());
            let is_good = parsed.as_ref().map_or_else(|error| !error.use_stderr(), |_| true);
            assert!(is_good, "{document}: {command}: {parsed:?}");
            n_commands += 1;
        }
    }
    assert!(n_commands > 10, "only {n_commands} commands were found");
}

/// *Scenario*: every path of the project that the documents and the checks name. *Guarantees*: it is there.
#[test]
fn named_files_exist() {
    let folders = ["config/", "deploy/", "docs/", "examples/", "src/", "tests/"];
    let mut n_paths = 0;
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/operations.md",
        "docs/elasticsearch.md",
        "docs/splunk_hec.md",
        "Dockerfile",
        ".ci/run",
    ];
    for document in documents {
        let text = read(document);
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
        for word in text.split(|letter| !is_name(letter)) {
            let path = word.trim_end_matches(['.', '/']);
            let is_document = path.ends_with(".md") && path != ".md";
            if is_document || folders.iter().any(|folder| path.starts_with(folder)) {
                let exists = Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists();
                assert!(exists, "{document} names {path}, which is not there");
                n_paths += 1;
            }
        }
    }
    assert!(n_paths > 10, "only {n_paths} paths were found");
}
