//! The effective settings as they are printed.

use super::{CANARY, GENERIC, GOOD, load_text};

/// Two sources and two intakes, each pair of the same kind but for one key, with tables below the intakes.
const TWO_OF_EACH: &str = r#"
[sources.east]
account = "acme"
account_key = "b"
[sources.west]
account = "umbrella"
account_key = "b"
retention = "30d"
[intakes.siem]
protocol = "http"
url = "https://siem.example/in"
headers = { x-tenant = "b" }
auth = { basic = { username = "u", password = "b" } }
[intakes.lake]
protocol = "http"
url = "https://lake.example/in"
batch = { max_events = 7 }
headers = { x-a = "b", x-b = "b" }
auth = { header = { name = "x-key", value = "b" } }
[intakes.sekoia]
protocol = "sekoia"
intake_key = "b"
"#;

/// *Scenario*: the effective settings, of one and of several sources and intakes, are loaded again with the secrets put
/// back. *Guarantees*: they are TOML, and the same settings.
#[test]
fn effective_settings_load_again() {
    for (toml, hidden) in [
        (GOOD.to_owned(), CANARY),
        (
            format!("{GENERIC}headers = {{ x-a = \"b\", \"x.y\" = \"b\" }}\nauth = {{ bearer = \"b\" }}\n"),
            "b",
        ),
        (format!("{GENERIC}auth = {{ basic = {{ username = \"u\", password = \"b\" }} }}\n"), "b"),
        (TWO_OF_EACH.replace("\"b\"", &format!("\"{CANARY}\"")), CANARY),
    ] {
        let first = load_text(&toml, &[("FLOWLOGD__LIMITS__DRAIN", "7s")]).1.unwrap();
        let parsed: Result<toml::Table, _> = first.effective.parse();
        assert!(parsed.is_ok(), "{parsed:?}: {}", first.effective);
        let second = load_text(&first.effective.replace("***", hidden), &[]).1.unwrap();
        assert_eq!(first.settings, second.settings);
        assert_eq!(first.effective, second.effective);
    }
}

/// *Scenario*: two of each. *Guarantees*: all of a source or an intake stands together, its deeper tables last, in the
/// order of the names.
#[test]
fn one_table_after_the_other() {
    let toml = TWO_OF_EACH.replace("\"b\"", &format!("\"{CANARY}\""));
    let printed = load_text(&toml, &[]).1.unwrap().effective;
    let tables: Vec<&str> = printed.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(
        tables,
        [
            "[sources.east]",
            "[sources.west]",
            "[intakes.lake]",
            "[intakes.lake.batch]",
            "[intakes.lake.headers]",
            "[intakes.lake.auth.header]",
            "[intakes.sekoia]",
            "[intakes.sekoia.batch]",
            "[intakes.siem]",
            "[intakes.siem.batch]",
            "[intakes.siem.headers]",
            "[intakes.siem.auth.basic]",
            "[limits]",
            "[admin]",
            "[log]",
        ]
    );
    assert!(!printed.contains(CANARY));
}
