//! The settings of an intake that is Elasticsearch or OpenSearch.

use expect_test::expect;
use flowlogd::{
    event::EventFormat,
    intake::{
        auth::Auth,
        protocols::ProtocolConfig,
        rotation::{FilePlace, WatchedFile},
    },
    settings::Sink,
};

use super::{CANARY, check_all, load_text};

/// Each case adds to the end, which is the table of the intake.
const ELASTICSEARCH: &str = r#"
[sources.copy]
directory = "."
[intakes.out]
protocol = "elasticsearch"
url = "https://elastic.example:9200"
"#;

/// *Scenario*: an address and an API key in a file, all else by default.
/// *Guarantees*: the defaults are those of this protocol, the key is read and its file is watched.
#[test]
fn defaults_and_an_api_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api_key");
    std::fs::write(&path, format!("{CANARY}\n")).unwrap();
    let loaded = load_text(&format!("{ELASTICSEARCH}auth = {{ api_key_file = {path:?} }}\n"), &[]).1.unwrap();
    assert!(!loaded.effective.contains(CANARY), "{}", loaded.effective);
    let intake = loaded.settings.intakes.first().unwrap();
    assert_eq!(intake.event_format, EventFormat::Ecs { enrich: true });
    assert_eq!((intake.batch.max_bytes, intake.batch.max_events), (5_000_000, 5_000));
    let Sink::Http(config) = &intake.sink else { panic!("{:?}", intake.sink) };
    let index = "logs-azure.flowlogs-default".to_owned();
    assert_eq!(config.protocol, ProtocolConfig::Elasticsearch { index });
    assert!(
        matches!(&config.auth, Auth::ApiKey(key) if key.reveal() == CANARY),
        "{:?} is not the key",
        config.auth
    );
    assert_eq!(config.files, [WatchedFile { path, place: FilePlace::ApiKey }]);
}

/// *Scenario*: an index that cannot be, an address with too much, events without a time, credentials of another protocol or
/// not encoded, keys of another protocol.
/// *Guarantees*: all are refused, with the way out.
#[test]
fn refused() {
    check_all(
        ELASTICSEARCH,
        &[
            (
                "index = \"Flows\"\nevent_format = \"flow\"\nauth = { api_key = \"id:key\" }",
                &[],
                expect![[r#"
                    settings: 3 problems
                      intakes.out.auth.api_key (file DIR/flowlogd.toml): is no encoded API key; give what its creation answers as `encoded`: base64 of ID:KEY, without the word ApiKey
                      intakes.out.event_format (file DIR/flowlogd.toml): "flow" has no @timestamp, which protocol "elasticsearch" needs; remove it, or give ecs
                      intakes.out.index (file DIR/flowlogd.toml): "Flows" has capital letters; name an index, a data stream or an alias, as in logs-azure.flowlogs-default
                "#]],
            ),
            (
                "index = \"-flows\"\nauth = { api_key = \"a\", bearer = \"b\" }",
                &[("FLOWLOGD__INTAKES__OUT__URL", "https://elastic.example:9200/flows/_bulk")],
                expect![[r#"
                    settings: 3 problems
                      intakes.out.auth (file DIR/flowlogd.toml): names more than one of bearer, api_key, basic, header and oauth2_client_credentials; keep one of them
                      intakes.out.index (file DIR/flowlogd.toml): "-flows" cannot begin like that; name an index, a data stream or an alias, as in logs-azure.flowlogs-default
                      intakes.out.url (variable FLOWLOGD__INTAKES__OUT__URL): ends with /_bulk; give the address alone; flowlogd adds `index` and /_bulk
                "#]],
            ),
            (
                "index = \"a b\"",
                &[],
                expect![[r#"
                settings: intakes.out.index (file DIR/flowlogd.toml): "a b" holds ' '; name an index, a data stream or an alias, as in logs-azure.flowlogs-default
            "#]],
            ),
            (
                "framing = \"ndjson\"",
                &[],
                expect![[r#"
                settings: intakes.out.framing (file DIR/flowlogd.toml): protocol "elasticsearch" does not know this key; remove it; it belongs to protocol http
            "#]],
            ),
            (
                "index = \"..\"\nevent_format = \"text\"",
                &[],
                expect![[r#"
                settings: 2 problems
                  intakes.out.event_format (file DIR/flowlogd.toml): "text" is for protocol "stdout" only; give flow or ecs
                  intakes.out.index (file DIR/flowlogd.toml): ".." cannot begin like that; name an index, a data stream or an alias, as in logs-azure.flowlogs-default
            "#]],
            ),
            (
                "index = \"\"",
                &[],
                expect![[r#"
                settings: intakes.out.index (file DIR/flowlogd.toml): is empty; give text in quotes, not empty
            "#]],
            ),
            (
                "![sources.copy]\ndirectory = \".\"\n[intakes.out]\nprotocol = \"elasticsearch\"",
                &[],
                expect![[r#"
                    settings: intakes.out.url (file DIR/flowlogd.toml): is missing; give its address, as in https://HOST:9200
                "#]],
            ),
            (
                "![sources.copy]\ndirectory = \".\"\n[intakes.out]\nprotocol = \"http\"\n\
                 url = \"https://a.example\"\nindex = \"flows\"\nauth = { api_key = \"b\" }",
                &[],
                expect![[r#"
                    settings: 2 problems
                      intakes.out.auth.api_key (file DIR/flowlogd.toml): protocol "http" does not know this key; remove it; it belongs to protocol elasticsearch
                      intakes.out.index (file DIR/flowlogd.toml): protocol "http" does not know this key; remove it; it belongs to protocol elasticsearch, splunk_hec
                "#]],
            ),
        ],
    );
    let long = format!("index = \"{}\"\n", "a".repeat(256));
    let error = load_text(&format!("{ELASTICSEARCH}{long}"), &[]).1.unwrap_err().to_string();
    assert!(error.contains("is longer than 255 bytes"), "{error}");
}
