//! The rules of the tree that no compiler enforces. A message names the place and the rule.

mod floors;
mod source;

use std::{fs, path::Path};

use source::{Source, find_word, line_of, rust_files, text_files};

/// This file and its folder name what they forbid.
const RULES: &str = "tests/it/tidy";

/// Longer files are two files.
const MOST_LINES: usize = 500;

/// Crates that stay behind one door of `src`, with the folders that may name them.
const DOORS: [(&str, &[&str]); 7] = [
    ("reqwest", &["src/http/"]),
    ("azure_", &["src/storage/azure/"]),
    ("rusqlite", &["src/store/"]),
    ("config", &["src/settings/"]),
    ("indicatif", &["src/cli/"]),
    ("prometheus_client", &["src/telemetry/"]),
    ("hyper", &["src/admin/"]),
];

/// Places of `src` that start tasks, or the one thread that checks the state beside the start.
const SPAWNING: [&str; 3] = ["src/pipeline/", "src/offload.rs", "src/store/sqlite/check.rs"];

/// The one place of `src` that hands blocking work to a thread.
const BLOCKING: [&str; 1] = ["src/offload.rs"];

/// The one place of the tests that may sleep: between two looks at a condition.
const POLLING: &str = "tests/it/support/wait.rs";

/// `path:line: what` for each place in `code`.
fn at<'a>(
    path: &'a str,
    code: &'a str,
    places: impl Iterator<Item = usize> + 'a,
    rule: &'a str,
) -> impl Iterator<Item = String> + 'a {
    places.map(move |offset| format!("{path}:{}: {rule}", line_of(code, offset)))
}

fn form_violations(file: &Source) -> Vec<String> {
    let Source { path, text, code } = file;
    let mut violations = Vec::new();
    if !text.starts_with("//!") {
        violations.push(format!("{path}:1: a file begins with `//!` and what it is for"));
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        violations.push(format!("{path}:{lines}: a file has at most {MOST_LINES} lines"));
    }
    let foreign =
        text.char_indices().filter(|(_, character)| !character.is_ascii()).map(|(offset, _)| offset);
    violations.extend(at(path, text, foreign, "source is ASCII: write `\\u{..}`").take(1));
    for (word, rule) in [
        ("todo!", "nothing is left to do"),
        ("unimplemented!", "nothing is left to do"),
        ("#[ignore", "a test runs or is deleted"),
        ("allow(", "write `#[expect(.., reason = \"..\")]`"),
    ] {
        violations.extend(at(path, code, find_word(code, word), rule));
    }
    violations
}

fn door_violations(file: &Source) -> Vec<String> {
    let Source { path, code, .. } = file;
    let mut violations = Vec::new();
    for (name, folders) in DOORS.iter().filter(|(_, folders)| !file.is_in(folders)) {
        let rule = format!("only {} may name `{name}`", folders.join(", "));
        // A crate is named at the beginning of a path.
        let named = find_word(code, name).filter(|offset| {
            let path = code[*offset..].trim_start_matches(|next: char| next.is_alphanumeric() || next == '_');
            path.starts_with("::") && !code[..*offset].ends_with("::") || code[..*offset].ends_with("use ")
        });
        violations.extend(at(path, code, named, &rule));
    }
    let code = file.production();
    if !file.is_in(&SPAWNING) {
        for word in ["spawn(", "spawn_local(", "JoinSet", "Builder::spawn"] {
            let rule = format!("only {} starts tasks", SPAWNING.join(", "));
            violations.extend(at(path, code, find_word(code, word), &rule));
        }
    }
    if !file.is_in(&BLOCKING) {
        let rule = format!("only {} hands over blocking work", BLOCKING.join(", "));
        violations.extend(at(path, code, find_word(code, "spawn_blocking"), &rule));
    }
    violations
}

fn test_violations(file: &Source) -> Vec<String> {
    let Source { path, text, code } = file;
    let mut violations = Vec::new();
    if path != POLLING {
        for word in ["sleep(", "sleep_until(", "interval(", "sleep_ms("] {
            let rule = format!("a test waits for a condition: see {POLLING}");
            violations.extend(at(path, code, find_word(code, word), &rule));
        }
    }
    for folder in ["/home/", "/root/", "/Users/", "/work/"] {
        let places = text.match_indices(folder).map(|(offset, _)| offset);
        violations.extend(at(path, text, places, "a test depends on no machine"));
    }
    violations
}

/// Tests whose doc does not say what is played and what is promised. Names made by a macro have theirs at its use.
fn undocumented_tests(file: &Source) -> Vec<String> {
    let lines: Vec<_> = file.text.lines().map(str::trim).collect();
    let is_attribute = |line: &&&str| line.starts_with("#[") || line.starts_with("///");
    let mut violations = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if !line.starts_with("#[test]") && !line.starts_with("#[tokio::test") {
            continue;
        }
        let before = lines[..index].iter().rev().take_while(is_attribute);
        let after = lines[index..].iter().take_while(is_attribute);
        let doc: String = before.chain(after).copied().collect();
        let name = lines[index..].iter().find(|line| !is_attribute(line)).unwrap_or(&"");
        let is_told = doc.contains("Scenario") && doc.contains("Guarantees");
        if !is_told && !name.contains("fn $") {
            violations.push(format!(
                "{}:{}: a test's doc says its Scenario and what it Guarantees",
                file.path,
                index + 1
            ));
        }
    }
    violations
}

fn check(folders: &[&str], rule: fn(&Source) -> Vec<String>) {
    let files: Vec<_> =
        rust_files(folders).into_iter().filter(|file| !file.path.starts_with(RULES)).collect();
    assert!(files.len() > 20, "only {} files were read in {folders:?}", files.len());
    let violations: Vec<_> = files.iter().flat_map(rule).collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

/// Scenario: every Rust file is read. Guarantees: each says what it is for, is short and ASCII, is finished, and
/// silences no lint without a reason.
#[test]
fn files_keep_their_form() {
    check(&["src", "tests", "examples", "benches", "fuzz"], form_violations);
    let own: Vec<_> = rust_files(&[RULES]).into_iter().chain(rust_files(&["tests/it"])).collect();
    let own = own.iter().filter(|file| file.path.starts_with(RULES));
    assert!(own.map(|file| file.text.lines().count()).max() < Some(MOST_LINES));
}

/// Scenario: every file of `src` is read. Guarantees: the HTTP client, the storage SDK, the database and the settings'
/// library stay where they can be replaced; tasks start in the pipeline alone.
#[test]
fn crates_and_tasks_stay_behind_their_doors() {
    check(&["src"], door_violations);
}

/// Scenario: every test is read. Guarantees: none sleeps, none knows the machine, all say what they are for.
#[test]
fn tests_are_honest() {
    check(&["tests"], test_violations);
    check(&["src", "tests", "examples"], undocumented_tests);
}

/// Scenario: small files that break one rule each, or keep it narrowly. Guarantees: the rules see what they forbid, at
/// its line, and nothing else.
#[test]
fn breaches_are_found() {
    let check = |rule: fn(&Source) -> Vec<String>, path: &str, text: &str, lines: &[usize]| {
        let found = rule(&Source::new(path, text));
        let starts: Vec<_> = lines.iter().map(|line| format!("{path}:{line}: ")).collect();
        assert_eq!(found.len(), lines.len(), "{text}: {found:?}");
        assert!(
            found.iter().zip(&starts).all(|(found, start)| found.starts_with(start)),
            "{text}: {found:?}"
        );
    };
    check(form_violations, "src/a.rs", "//! A.\n\"todo!()\" // allow(x)\n#[expect(x)]", &[]);
    check(form_violations, "src/a.rs", "/// A.", &[1]);
    check(form_violations, "src/a.rs", "//! A.\nfn f() { todo!() }\n#[allow(x)]", &[2, 3]);
    check(form_violations, "src/a.rs", "//! A.\n#[ignore = \"slow\"]", &[2]);
    check(form_violations, "src/a.rs", "//! A.\n// \u{e9}", &[2]);
    check(form_violations, "src/a.rs", &format!("//! A.{}", "\n".repeat(MOST_LINES)), &[]);
    check(form_violations, "src/a.rs", &format!("//! A.{}x", "\n".repeat(MOST_LINES)), &[MOST_LINES + 1]);
    check(door_violations, "src/http/mod.rs", "use reqwest::Client;", &[]);
    check(door_violations, "src/store/mod.rs", "use reqwest::Client;\nreqwest::get()", &[1, 2]);
    check(
        door_violations,
        "src/storage/mod.rs",
        "mod azure;\nuse azure_core::Url;\nmod config;\nconfig.x;",
        &[2],
    );
    check(door_violations, "src/intake/mod.rs", "tokio::spawn(x)\nspawn_blocking(x)", &[1, 2]);
    check(door_violations, "src/store/mod.rs", "spawn_blocking(x)\n#[cfg(test)]\ntokio::spawn(x)", &[1]);
    check(door_violations, "src/pipeline/mod.rs", "JoinSet::new().spawn(x)", &[]);
    check(door_violations, "src/offload.rs", "tokio::spawn(x)\nspawn_blocking(x)", &[]);
    check(test_violations, "tests/it/a.rs", "tokio::time::sleep(x)\nthread::sleep(x)\n// sleep(x)", &[1, 2]);
    check(test_violations, POLLING, "tokio::time::sleep(x)", &[]);
    check(test_violations, "tests/it/a.rs", "\"/home/someone\"", &[1]);
    check(undocumented_tests, "src/a.rs", "/// Scenario: a. Guarantees: b.\n#[test]\nfn a() {}", &[]);
    check(undocumented_tests, "src/a.rs", "/// Guarantees: b.\n#[test]\nfn a() {}", &[2]);
    check(undocumented_tests, "src/a.rs", "#[tokio::test(x)]\nasync fn a() {}", &[1]);
}

/// Scenario: the lock file is read. Guarantees: one HTTP client, no OpenSSL, and every crate comes from the one public
/// index.
#[test]
fn the_lock_file_holds_one_http_client_and_no_openssl() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let lock: toml::Table = lock.parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let count = |name: &str| packages.iter().filter(|package| package["name"].as_str() == Some(name)).count();
    assert_eq!(count("flowlogd"), 1);
    assert_eq!(count("reqwest"), 1);
    for name in ["openssl", "openssl-sys", "native-tls", "hyper-tls"] {
        assert_eq!(count(name), 0, "{name}");
    }
    let index = "registry+https://github.com/rust-lang/crates.io-index";
    for source in packages.iter().filter_map(|package| package.get("source")) {
        assert_eq!(source.as_str(), Some(index));
    }
}

/// Parts of names that package registries and their mirrors have.
const REGISTRY_NAMES: [&str; 9] =
    ["registry", "index.", "crates.", "pypi", "pythonhosted", "npmjs", "artifact", "nexus", "mirror"];

/// Names of servers in a text that look like a package registry, with their places.
fn registries(text: &str) -> Vec<(usize, &str)> {
    let addresses = text.match_indices("://").map(|(offset, separator)| offset + separator.len());
    let hosts = addresses.map(|start| {
        let is_name = |next: char| next.is_ascii_alphanumeric() || ".-_@:".contains(next);
        let end = text[start..].find(|next| !is_name(next)).map_or(text.len(), |length| start + length);
        (start, &text[start..end])
    });
    hosts.filter(|(_, host)| REGISTRY_NAMES.iter().any(|part| host.to_lowercase().contains(part))).collect()
}

/// Scenario: every text file of the project is read. Guarantees: none names the server of a package registry: builds
/// use the one that the machine is set up for.
#[test]
fn no_file_names_a_package_registry() {
    let found = registries(
        "https://index.example/ and sparse+https://a.PyPI.example:8080/x, http://example/index.html",
    );
    assert_eq!(
        found.iter().map(|(_, host)| *host).collect::<Vec<_>>(),
        ["index.example", "a.PyPI.example:8080"]
    );

    let files = text_files("");
    assert!(files.iter().any(|(path, _)| path == "tests/azurite/package-lock.json"));
    let files = files.iter().filter(|(path, _)| !path.starts_with(RULES));
    let violations: Vec<_> = files
        .flat_map(|(path, text)| {
            let places = registries(text).into_iter().map(|(offset, _)| offset);
            at(path, text, places, "no file names a package registry").collect::<Vec<_>>()
        })
        .collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}
