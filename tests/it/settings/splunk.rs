//! The keys of the HTTP Event Collector.

use std::time::Duration;

use expect_test::expect;

use flowlogd::{
    intake::{
        http_intake::Config,
        protocols::{
            ProtocolConfig,
            splunk_hec::{self, Labels},
        },
        rotation::FilePlace,
    },
    model::Secret,
    settings::{Settings, Sink},
};

use super::{CANARY, check, load_text};

/// The least that is needed; each case adds to the end.
const SPLUNK: &str = r#"
[sources.copy]
directory = "."
[intakes.out]
protocol = "splunk_hec"
url = "https://splunk.example:8088"
"#;

fn config(settings: &Settings) -> Config {
    match &settings.intakes.first().unwrap().sink {
        Sink::Http(config) => config.clone(),
        Sink::Stdout => panic!("no intake over HTTPS"),
    }
}

fn loaded(more: &str) -> Config {
    config(&load_text(&format!("{SPLUNK}{more}"), &[]).1.unwrap().settings)
}

fn splunk(config: &Config) -> splunk_hec::Config {
    let ProtocolConfig::SplunkHec(splunk) = &config.protocol else { panic!("{:?}", config.protocol) };
    splunk.clone()
}

/// *Scenario*: a token alone, then every key.
/// *Guarantees*: the defaults are the documented ones; what is set arrives.
#[test]
fn labels_and_acknowledgement() {
    let token = format!("token = \"{CANARY}\"\n");
    let label = |text: &str| Some(text.to_owned());
    let by_default = splunk_hec::Config {
        token: Secret::new(CANARY.to_owned()),
        labels: Labels {
            host: None,
            source: label("azure:flow"),
            sourcetype: label("azure:vnet:flow"),
            index: None,
        },
        acknowledged_within: None,
    };
    assert_eq!(splunk(&loaded(&token)), by_default);
    let all = "index = \"net\"\nsource = \"s\"\nsourcetype = \"t\"\nhost = \"h\"\nacknowledge = true\n";
    let timeout = "acknowledge_timeout = \"30s\"\n";
    let expected = splunk_hec::Config {
        labels: Labels { host: label("h"), source: label("s"), sourcetype: label("t"), index: label("net") },
        acknowledged_within: Some(Duration::from_secs(120)),
        ..by_default
    };
    assert_eq!(splunk(&loaded(&format!("{token}{all}"))), expected);
    let expected = splunk_hec::Config { acknowledged_within: Some(Duration::from_secs(30)), ..expected };
    assert_eq!(splunk(&loaded(&format!("{token}{all}{timeout}"))), expected);
}

/// *Scenario*: the token comes from a file.
/// *Guarantees*: it is taken, and the file is watched, so that it can be rotated.
#[test]
fn a_token_in_a_file_is_watched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, format!("{CANARY}\n")).unwrap();
    let config = loaded(&format!("token_file = {path:?}\n"));
    assert_eq!(splunk(&config).token.reveal(), CANARY);
    let watched: Vec<_> = config.files.iter().map(|file| (file.path.clone(), file.place)).collect();
    assert_eq!(watched, [(path, FilePlace::Token)]);
}

/// *Scenario*: no token, a token of two lines, a time-out out of range, keys of other protocols.
/// *Guarantees*: each is refused with the way out.
#[test]
fn refused() {
    check(
        &format!("{SPLUNK}auth = {{ bearer = \"{CANARY}\" }}\n"),
        &[],
        &expect![[r#"
            settings: intakes.out.auth.bearer (file DIR/flowlogd.toml): protocol "splunk_hec" does not know this key; remove it; it belongs to protocol http, elasticsearch, otlp
        "#]],
    );
    check(
        &format!("{SPLUNK}acknowledge_timeout = \"11m\"\n"),
        &[],
        &expect![[r#"
            settings: 2 problems
              intakes.out.acknowledge_timeout (file DIR/flowlogd.toml): 11m is out of range; give 1s to 10m
              intakes.out.token (file DIR/flowlogd.toml): is missing; give token_file, FLOWLOGD__INTAKES__OUT__TOKEN or the credential out.token
        "#]],
    );
    check(
        &format!("{SPLUNK}token = \"{CANARY}\\nb\"\nacknowledge_timeout = \"500ms\"\n"),
        &[],
        &expect![[r#"
            settings: 2 problems
              intakes.out.acknowledge_timeout (file DIR/flowlogd.toml): 500ms is out of range; give 1s to 10m
              intakes.out.token (file DIR/flowlogd.toml): cannot stand in a header; use visible ASCII letters, without line ends
        "#]],
    );
    check(
        "[sources.copy]\ndirectory = \".\"\n[intakes.out]\nprotocol = \"splunk_hec\"\ntoken = \"b\"\nevent_format = \"text\"\n",
        &[],
        &expect![[r#"
            settings: 2 problems
              intakes.out.event_format (file DIR/flowlogd.toml): "text" is for protocol "stdout" only; give flow or ecs
              intakes.out.url (file DIR/flowlogd.toml): is missing; give the address of the collector, as in https://splunk.example:8088
        "#]],
    );
}
