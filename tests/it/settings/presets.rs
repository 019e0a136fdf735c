//! Presets of protocol `http`: other defaults, and limits of the receivers.

use expect_test::expect;
use flowlogd::event::EventFormat;

use super::{check_all, load_text};

/// Each case adds to the end, which is the table of the intake.
const INTAKE: &str = r#"
[sources.copy]
directory = "."
[intakes.out]
protocol = "http"
url = "https://receiver.example/in"
"#;

/// The part of the effective settings that is about the intake.
fn intake_of(effective: &str) -> &str {
    let (_, intake) = effective.split_once("[intakes.out]\n").unwrap();
    intake.split_once("\n[limits]").unwrap().0
}

/// *Scenario*: each preset with nothing else, and without a preset. *Guarantees*: the defaults are the receiver's own, and
/// `check-config` shows them.
#[test]
fn defaults() {
    let without = load_text(INTAKE, &[]).1.unwrap();
    for (preset, expected) in [
        (
            "datadog",
            expect![[r#"
                - framing = "ndjson"
                + framing = "json_array"
                - max_bytes = "1MB"
                + max_bytes = "4.5MB"
                - max_events = 5000
                + max_events = 1000
                + preset = "datadog"
                - success_codes = [200, 201, 202, 204]
                + success_codes = [202]
            "#]],
        ),
        (
            "azure_monitor",
            expect![[r#"
                - framing = "ndjson"
                + framing = "json_array"
                + preset = "azure_monitor"
                + requests_per_second = 100
                - success_codes = [200, 201, 202, 204]
                + success_codes = [204]
            "#]],
        ),
        (
            "sumo",
            expect![[r#"
                - max_events = 5000
                + max_events = 10000
                + preset = "sumo"
                - success_codes = [200, 201, 202, 204]
                + success_codes = [200]
            "#]],
        ),
    ] {
        let with = load_text(&format!("{INTAKE}preset = \"{preset}\"\n"), &[]).1.unwrap();
        let [before, after] = [&without, &with].map(|loaded| intake_of(&loaded.effective));
        let gone = before.lines().filter(|line| !after.contains(line)).map(|line| (line, '-'));
        let come = after.lines().filter(|line| !before.contains(line)).map(|line| (line, '+'));
        let mut changes: Vec<_> = gone.chain(come).collect();
        changes.sort_by_key(|(line, sign)| (line.split(' ').next().unwrap().to_owned(), *sign == '+'));
        let shown: String = changes.iter().map(|(line, sign)| format!("{sign} {line}\n")).collect();
        expected.assert_eq(&shown);
        let columns = preset == "azure_monitor";
        for (toml, enrich) in [("", true), ("enrich = false\n", false)] {
            let text = format!("{INTAKE}preset = \"{preset}\"\n{toml}");
            let format = load_text(&text, &[]).1.unwrap().settings.intakes[0].event_format;
            let expected =
                if columns { EventFormat::Columns { enrich } } else { EventFormat::Ecs { enrich } };
            assert_eq!(format, expected, "{preset}");
        }
    }
}

/// *Scenario*: a preset, and every key that it has a default for is written, in the file or as a variable.
/// *Guarantees*: what is written wins, up to the limits of the receivers.
#[test]
fn what_is_written_wins() {
    let text = format!(
        "{INTAKE}preset = \"datadog\"\nframing = \"ndjson\"\nsuccess_codes = [200]\nrequests_per_second = 7\n\
         event_format = \"flow\"\ncompression = \"none\"\n\
         batch = {{ max_bytes = \"5MB\", max_events = 999 }}\n"
    );
    let loaded = load_text(&text, &[("FLOWLOGD__INTAKES__OUT__BATCH__MAX_AGE", "9s")]).1.unwrap();
    let intake = &loaded.settings.intakes[0];
    assert_eq!((intake.batch.max_bytes, intake.batch.max_events), (5_000_000, 999));
    assert_eq!(intake.requests_per_second, Some(7));
    assert_eq!(intake.event_format, EventFormat::Flow { provenance: false });
    for line in
        ["framing = \"ndjson\"", "success_codes = [200]", "compression = \"none\"", "max_age = \"9s\""]
    {
        assert!(loaded.effective.contains(line), "{line} is not in {}", loaded.effective);
    }
}

/// *Scenario*: more than a receiver takes, events that have no columns, a preset that nobody knows or of another protocol,
/// no address. *Guarantees*: refused, with the way out.
#[test]
fn refused() {
    check_all(
        INTAKE,
        &[
            (
                "preset = \"datadog\"\nbatch = { max_bytes = \"5000001B\", max_events = 1001 }",
                &[],
                expect![[r#"
                    settings: 2 problems
                      intakes.out.batch.max_bytes (file DIR/flowlogd.toml): 5000001 bytes is out of range; give at most 5000000 bytes, and more than 0
                      intakes.out.batch.max_events (file DIR/flowlogd.toml): 1001 is out of range; give a number from 1 to 1000
                "#]],
            ),
            (
                "preset = \"azure_monitor\"\nbatch = { max_bytes = \"1000001B\" }\nevent_format = \"flow\"",
                &[],
                expect![[r#"
                    settings: 2 problems
                      intakes.out.batch.max_bytes (file DIR/flowlogd.toml): 1000001 bytes is out of range; give at most 1000000 bytes, and more than 0
                      intakes.out.event_format (file DIR/flowlogd.toml): "flow" has no TimeGenerated, which preset "azure_monitor" needs; remove it, or give ecs
                "#]],
            ),
            (
                "preset = \"splunk\"",
                &[],
                expect![[r#"
                settings: intakes.out.preset (file DIR/flowlogd.toml): cannot use "splunk"; give one of datadog, azure_monitor, sumo
            "#]],
            ),
            (
                "![sources.copy]\ndirectory = \".\"\n[intakes.dd]\nprotocol = \"http\"\npreset = \"datadog\"\n\
                 [intakes.azure]\nprotocol = \"http\"\npreset = \"azure_monitor\"\n\
                 [intakes.sumo]\nprotocol = \"http\"\npreset = \"sumo\"",
                &[],
                expect![[r#"
                    settings: 3 problems
                      intakes.azure.url (file DIR/flowlogd.toml): is missing; give https://ENDPOINT/dataCollectionRules/RULE/streams/STREAM?api-version=2023-01-01, with the immutable id of the data collection rule
                      intakes.dd.url (file DIR/flowlogd.toml): is missing; give https://http-intake.logs.SITE/api/v2/logs, with your Datadog site
                      intakes.sumo.url (file DIR/flowlogd.toml): is missing; give the address that Sumo Logic shows for the HTTP source
                "#]],
            ),
            (
                "![sources.copy]\ndirectory = \".\"\n[intakes.out]\nprotocol = \"stdout\"\npreset = \"sumo\"",
                &[],
                expect![[r#"
                    settings: intakes.out.preset (file DIR/flowlogd.toml): protocol "stdout" does not know this key; remove it; it belongs to protocol http
                "#]],
            ),
        ],
    );
}

/// *Scenario*: every shipped settings file, its secrets in files of another place; for the one whose address is a secret, a
/// variable. *Guarantees*: it is good as it stands.
#[test]
fn shipped_examples_are_good() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let secrets = tempfile::tempdir().unwrap();
        for (number, rest) in text.split("\"/run/secrets/").skip(1).enumerate() {
            let name = rest.split('"').next().unwrap();
            std::fs::write(secrets.path().join(name), format!("c2VjcmV{number}")).unwrap();
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let variables: &[(&str, &str)] = match name.as_str() {
            "sumo.toml" => &[("FLOWLOGD__INTAKES__SUMO__URL", "https://sumo.example/receiver/v1/http/Zx0y")],
            _ => &[],
        };
        let loaded = load_text(&text.replace("/run/secrets", secrets.path().to_str().unwrap()), variables).1;
        assert!(loaded.is_ok(), "{name}: {}", loaded.unwrap_err());
        names.push(name);
    }
    names.sort_unstable();
    let expected = [
        "azure_monitor.toml",
        "datadog.toml",
        "demo.toml",
        "elasticsearch.toml",
        "flowlogd.toml",
        "minimal.toml",
        "otlp.toml",
        "sekoia.toml",
        "splunk_hec.toml",
        "sumo.toml",
    ];
    assert_eq!(names, expected);
}
