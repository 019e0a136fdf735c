//! What the user writes, once the layers are merged: every default is filled in, every secret is read from its file.
//! `check` makes the components' configurations of it.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Deserializer};

use super::{
    preset::Preset,
    values::{Period, Size, WrittenStart},
};
use crate::model::Secret;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Schema {
    /// Where the state lies.
    pub state_dir: PathBuf,
    /// `[sources.NAME]`.
    #[serde(default)]
    pub sources: BTreeMap<String, Source>,
    /// `[intakes.NAME]`.
    #[serde(default)]
    pub intakes: BTreeMap<String, Intake>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[admin]`.
    pub admin: Admin,
    /// `[log]`.
    pub log: Log,
}

/// `[sources.NAME]`: a storage account, or a directory.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    /// Storage account.
    pub account: Option<String>,
    /// Its key.
    #[serde(default, deserialize_with = "secret")]
    pub account_key: Option<Secret>,
    /// Account, key and endpoint in one.
    #[serde(default, deserialize_with = "secret")]
    pub connection_string: Option<Secret>,
    /// The key to try when the first is refused.
    #[serde(default, deserialize_with = "secret")]
    pub secondary_key: Option<Secret>,
    /// Container; else whichever of the vendor's spellings exists.
    pub container: Option<String>,
    /// Blob endpoint.
    pub endpoint: Option<String>,
    /// A local copy of a container, instead of an account.
    pub directory: Option<PathBuf>,
    /// Time between polls.
    pub poll_interval: Period,
    /// From when on.
    pub start: WrittenStart,
    /// How long the account keeps blobs.
    pub retention: Option<Period>,
    /// When an hour counts as complete.
    pub seal_after: Period,
    /// How long sealed hours are looked at again.
    pub revisit: Period,
    /// Globs of the blobs to read.
    pub include: Vec<String>,
    /// Globs of the blobs not to read.
    pub exclude: Vec<String>,
    /// Certificates to trust in addition.
    pub ca_file: Option<PathBuf>,
    /// The proxy to go through; it may hold a password.
    #[serde(default, deserialize_with = "secret")]
    pub proxy: Option<Secret>,
}

/// `[intakes.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Intake {
    /// What is spoken; `None` is refused by `check`.
    pub protocol: Option<String>,
    /// Sekoia: chooses the default of `url`, so nothing reads it here.
    #[expect(dead_code, reason = "the default of `url` has been made of it")]
    pub region: Option<String>,
    /// Where to send.
    pub url: Option<String>,
    /// Sekoia: the intake key.
    #[serde(default, deserialize_with = "secret")]
    pub intake_key: Option<Secret>,
    /// Shape of the events.
    pub event_format: EventFormat,
    /// ecs: add what the vendor's own collector leaves out.
    pub enrich: bool,
    /// flow: add identity and place.
    pub provenance: bool,
    /// Compression of bodies.
    pub compression: Option<Compression>,
    /// When a batch is full.
    pub batch: Batch,
    /// Requests at once.
    pub max_in_flight: Option<u64>,
    /// Requests a second.
    pub requests_per_second: Option<u64>,
    /// Certificates to trust in addition.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show.
    pub client_cert_file: Option<PathBuf>,
    /// Its key.
    pub client_key_file: Option<PathBuf>,
    /// The proxy to go through; it may hold a password.
    #[serde(default, deserialize_with = "secret")]
    pub proxy: Option<Secret>,
    /// http: whose receiver it is.
    pub preset: Option<Preset>,
    /// Plain http to other hosts than this one.
    pub allow_http: Option<bool>,
    /// http: layout of the body.
    pub framing: Option<Framing>,
    /// otlp: how requests are written.
    pub encoding: Option<Encoding>,
    /// http, otlp: headers to add.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderText>,
    /// elasticsearch: index or data stream. splunk_hec: index.
    pub index: Option<String>,
    /// Credentials.
    pub auth: Option<Auth>,
    /// http: statuses that mean "accepted".
    pub success_codes: Option<Vec<u64>>,
    /// splunk_hec: the token.
    #[serde(default, deserialize_with = "secret")]
    pub token: Option<Secret>,
    /// splunk_hec: as above.
    pub source: Option<String>,
    /// splunk_hec: as above.
    pub sourcetype: Option<String>,
    /// splunk_hec: as above.
    pub host: Option<String>,
    /// splunk_hec: wait for the indexers.
    pub acknowledge: Option<bool>,
    /// splunk_hec: how long.
    pub acknowledge_timeout: Option<Period>,
}

/// `event_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EventFormat {
    /// The flattened tuple.
    Flow,
    /// Elastic Common Schema.
    Ecs,
    /// One sentence for people.
    Text,
}

/// `compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Compression {
    /// gzip.
    Gzip,
    /// None.
    None,
}

/// `framing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Framing {
    /// One event a line.
    Ndjson,
    /// A JSON array.
    JsonArray,
}

/// `encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Encoding {
    /// Protocol buffers.
    Protobuf,
    /// JSON.
    Json,
}

/// `batch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    /// Most bytes of a body before compression.
    pub max_bytes: Size,
    /// Most events.
    pub max_events: u64,
    /// Longest wait of an event for others.
    pub max_age: Period,
}

/// A header's value: it may be a credential, so it is never shown.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct HeaderText(#[serde(deserialize_with = "required_secret")] pub Secret);

/// `auth`: exactly one of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    /// A bearer token.
    #[serde(default, deserialize_with = "secret")]
    pub bearer: Option<Secret>,
    /// elasticsearch: an API key.
    #[serde(default, deserialize_with = "secret")]
    pub api_key: Option<Secret>,
    /// User and password.
    pub basic: Option<Basic>,
    /// A header of its own.
    pub header: Option<Header>,
    /// A token from an authorisation server.
    pub oauth2_client_credentials: Option<ClientCredentials>,
}

/// `auth.basic`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Basic {
    /// User name.
    pub username: Option<String>,
    /// Password.
    #[serde(default, deserialize_with = "secret")]
    pub password: Option<Secret>,
}

/// `auth.header`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// Name.
    pub name: Option<String>,
    /// Value.
    #[serde(default, deserialize_with = "secret")]
    pub value: Option<Secret>,
}

/// `auth.oauth2_client_credentials`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientCredentials {
    /// Token endpoint.
    pub token_url: Option<String>,
    /// Who asks.
    pub client_id: Option<String>,
    /// What proves it.
    #[serde(default, deserialize_with = "secret")]
    pub client_secret: Option<Secret>,
    /// What is asked for.
    pub scope: Option<String>,
}

/// `[limits]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Bytes held in memory.
    pub memory: Size,
    /// Blobs read at once.
    pub parallel_blobs: u64,
    /// Largest record.
    pub record: Size,
    /// Most bytes of the quarantine.
    pub quarantine: Size,
    /// Longest time for stopping.
    pub drain: Period,
    /// How long `run --once` waits while it is blocked.
    pub once_deadline: Period,
}

/// `[admin]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    /// Where to listen; empty for nowhere.
    pub listen: String,
}

/// `[log]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    /// `RUST_LOG` style filter.
    pub level: String,
    /// Format.
    pub format: LogFormat,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// Text.
    Text,
    /// JSON.
    Json,
}

fn required_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| text.map(Secret::new))
}
