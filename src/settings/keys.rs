//! Every key that a user may write: its kind, its defaults, and where it applies. Reading
//! variables, finding typing errors, masking secrets and the test of the shipped file all go by this one table.

use super::{key_path::KeyPath, preset::PRESETS, values::Kind};

/// One key. `*` in the pattern stands for a table's or a header's name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// The dotted place.
    pub(super) pattern: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
    /// The variants (`azure`, `directory`; a protocol) that know the key; empty for all.
    pub(super) only: &'static [&'static str],
    /// Defaults as text, each for a variant, for a preset, or with `""`, last, for all.
    pub(super) defaults: &'static [(&'static str, &'static str)],
}

impl Key {
    const fn new(pattern: &'static str, kind: Kind) -> Self {
        Self { pattern, kind, only: &[], defaults: &[] }
    }

    const fn only(mut self, variants: &'static [&'static str]) -> Self {
        self.only = variants;
        self
    }

    const fn defaults(mut self, defaults: &'static [(&'static str, &'static str)]) -> Self {
        self.defaults = defaults;
        self
    }

    /// The default for a variant, as text.
    pub(super) fn default_for(&self, variant: &str) -> Option<&'static str> {
        let matching = self.defaults.iter().find(|(name, _)| name.is_empty() || *name == variant);
        matching.map(|(_, text)| *text).filter(|_| self.applies_to(variant))
    }

    /// The default for a preset of a variant, as text: the preset's own, else the variant's.
    pub(super) fn default_of_preset(&self, variant: &str, preset: Option<&str>) -> Option<&'static str> {
        let own = self.defaults.iter().find(|(name, _)| Some(*name) == preset).map(|(_, text)| *text);
        own.filter(|_| self.applies_to(variant)).or_else(|| self.default_for(variant))
    }

    /// Whether a variant knows the key.
    pub(super) fn applies_to(&self, variant: &str) -> bool {
        self.only.is_empty() || self.only.contains(&variant)
    }

    /// The pattern's segments.
    pub(super) fn segments(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.pattern.split('.')
    }

    /// How much of a path the pattern matches, if all of the shorter of the two does.
    fn matches_start_of(&self, path: &[String]) -> bool {
        self.segments().zip(path).all(|(pattern, segment)| pattern == "*" || pattern == segment)
    }
}

/// The protocols of intakes.
pub(super) const PROTOCOLS: &[&str] = &["sekoia", "http", "stdout", "elasticsearch", "splunk_hec", "otlp"];

const AZURE: &[&str] = &["azure"];
const SEKOIA: &[&str] = &["sekoia"];
const GENERIC: &[&str] = &["http"];
const ELASTICSEARCH: &[&str] = &["elasticsearch"];
const SPLUNK: &[&str] = &["splunk_hec"];
/// Those that write into an index.
const WITH_INDEX: &[&str] = &["elasticsearch", "splunk_hec"];
const OTLP: &[&str] = &["otlp"];
/// Those that take headers.
const WITH_HEADERS: &[&str] = &["http", "otlp"];
/// Those that `auth` authorises.
const WITH_AUTH: &[&str] = &["http", "elasticsearch", "otlp"];
const OVER_HTTPS: &[&str] = &["sekoia", "http", "elasticsearch", "splunk_hec", "otlp"];

/// The table, in the order in which the shipped file explains it.
pub(super) const KEYS: &[Key] = &[
    Key::new("state_dir", Kind::Path).defaults(&[("", "/var/lib/flowlogd")]),
    Key::new("sources.*.account", Kind::Text),
    Key::new("sources.*.account_key", Kind::Secret).only(AZURE),
    Key::new("sources.*.account_key_file", Kind::Path).only(AZURE),
    Key::new("sources.*.connection_string", Kind::Secret).only(AZURE),
    Key::new("sources.*.connection_string_file", Kind::Path).only(AZURE),
    Key::new("sources.*.secondary_key", Kind::Secret).only(AZURE),
    Key::new("sources.*.secondary_key_file", Kind::Path).only(AZURE),
    Key::new("sources.*.container", Kind::Text),
    Key::new("sources.*.endpoint", Kind::Url).only(AZURE),
    Key::new("sources.*.directory", Kind::Path).only(&["directory"]),
    Key::new("sources.*.poll_interval", Kind::Period).defaults(&[("", "60s")]),
    Key::new("sources.*.start", Kind::Start).defaults(&[("", "earliest")]),
    Key::new("sources.*.retention", Kind::Period),
    Key::new("sources.*.seal_after", Kind::Period).defaults(&[("", "2h")]),
    Key::new("sources.*.revisit", Kind::Period).defaults(&[("", "48h")]),
    Key::new("sources.*.include", Kind::Texts).defaults(&[("", "*")]),
    Key::new("sources.*.exclude", Kind::Texts).defaults(&[("", "")]),
    Key::new("sources.*.ca_file", Kind::Path).only(AZURE),
    Key::new("sources.*.proxy", Kind::Proxy).only(AZURE),
    Key::new("intakes.*.protocol", Kind::Choice(PROTOCOLS)),
    Key::new("intakes.*.region", Kind::Choice(&["fra1", "fra2", "mco1", "uae1", "usa1", "sgp1"]))
        .only(SEKOIA),
    Key::new("intakes.*.url", Kind::Url).only(OVER_HTTPS),
    Key::new("intakes.*.intake_key", Kind::Secret).only(SEKOIA),
    Key::new("intakes.*.intake_key_file", Kind::Path).only(SEKOIA),
    Key::new("intakes.*.event_format", Kind::Choice(&["flow", "ecs", "text"]))
        .defaults(&[("sekoia", "flow"), ("", "ecs")]),
    Key::new("intakes.*.enrich", Kind::Boolean).defaults(&[("", "true")]),
    Key::new("intakes.*.provenance", Kind::Boolean).defaults(&[("", "false")]),
    Key::new("intakes.*.compression", Kind::Choice(&["gzip", "none"]))
        .only(OVER_HTTPS)
        .defaults(&[("", "gzip")]),
    Key::new("intakes.*.batch.max_bytes", Kind::Size).defaults(&[
        ("sekoia", "4MB"),
        ("elasticsearch", "5MB"),
        ("otlp", "2MB"),
        ("datadog", "4.5MB"),
        ("", "1MB"),
    ]),
    Key::new("intakes.*.batch.max_events", Kind::Integer).defaults(&[
        ("sekoia", "10000"),
        ("datadog", "1000"),
        ("sumo", "10000"),
        ("", "5000"),
    ]),
    Key::new("intakes.*.batch.max_age", Kind::Period).defaults(&[("", "5s")]),
    Key::new("intakes.*.max_in_flight", Kind::Integer).only(OVER_HTTPS).defaults(&[("", "4")]),
    Key::new("intakes.*.requests_per_second", Kind::Integer)
        .only(OVER_HTTPS)
        .defaults(&[("sekoia", "5"), ("azure_monitor", "100")]),
    Key::new("intakes.*.ca_file", Kind::Path).only(OVER_HTTPS),
    Key::new("intakes.*.client_cert_file", Kind::Path).only(OVER_HTTPS),
    Key::new("intakes.*.client_key_file", Kind::Path).only(OVER_HTTPS),
    Key::new("intakes.*.proxy", Kind::Proxy).only(OVER_HTTPS),
    Key::new("intakes.*.allow_http", Kind::Boolean).only(OVER_HTTPS).defaults(&[("", "false")]),
    Key::new("intakes.*.preset", Kind::Choice(PRESETS)).only(GENERIC),
    Key::new("intakes.*.framing", Kind::Choice(&["ndjson", "json_array"])).only(GENERIC).defaults(&[
        ("datadog", "json_array"),
        ("azure_monitor", "json_array"),
        ("", "ndjson"),
    ]),
    Key::new("intakes.*.encoding", Kind::Choice(&["protobuf", "json"]))
        .only(OTLP)
        .defaults(&[("", "protobuf")]),
    Key::new("intakes.*.headers.*", Kind::Secret).only(WITH_HEADERS),
    Key::new("intakes.*.index", Kind::Text)
        .only(WITH_INDEX)
        .defaults(&[("elasticsearch", "logs-azure.flowlogs-default")]),
    Key::new("intakes.*.auth.bearer", Kind::Secret).only(WITH_AUTH),
    Key::new("intakes.*.auth.bearer_file", Kind::Path).only(WITH_AUTH),
    Key::new("intakes.*.auth.api_key", Kind::Secret).only(ELASTICSEARCH),
    Key::new("intakes.*.auth.api_key_file", Kind::Path).only(ELASTICSEARCH),
    Key::new("intakes.*.auth.basic.username", Kind::Text).only(WITH_AUTH),
    Key::new("intakes.*.auth.basic.password", Kind::Secret).only(WITH_AUTH),
    Key::new("intakes.*.auth.basic.password_file", Kind::Path).only(WITH_AUTH),
    Key::new("intakes.*.auth.header.name", Kind::Text).only(WITH_AUTH),
    Key::new("intakes.*.auth.header.value", Kind::Secret).only(WITH_AUTH),
    Key::new("intakes.*.auth.header.value_file", Kind::Path).only(WITH_AUTH),
    Key::new("intakes.*.auth.oauth2_client_credentials.token_url", Kind::Url).only(WITH_AUTH),
    Key::new("intakes.*.auth.oauth2_client_credentials.client_id", Kind::Text).only(WITH_AUTH),
    Key::new("intakes.*.auth.oauth2_client_credentials.client_secret", Kind::Secret).only(WITH_AUTH),
    Key::new("intakes.*.auth.oauth2_client_credentials.client_secret_file", Kind::Path).only(WITH_AUTH),
    Key::new("intakes.*.auth.oauth2_client_credentials.scope", Kind::Text).only(WITH_AUTH),
    Key::new("intakes.*.success_codes", Kind::Integers).only(GENERIC).defaults(&[
        ("datadog", "202"),
        ("azure_monitor", "204"),
        ("sumo", "200"),
        ("", "200,201,202,204"),
    ]),
    Key::new("intakes.*.token", Kind::Secret).only(SPLUNK),
    Key::new("intakes.*.token_file", Kind::Path).only(SPLUNK),
    Key::new("intakes.*.source", Kind::Text).only(SPLUNK).defaults(&[("", "azure:flow")]),
    Key::new("intakes.*.sourcetype", Kind::Text).only(SPLUNK).defaults(&[("", "azure:vnet:flow")]),
    Key::new("intakes.*.host", Kind::Text).only(SPLUNK),
    Key::new("intakes.*.acknowledge", Kind::Boolean).only(SPLUNK).defaults(&[("", "false")]),
    Key::new("intakes.*.acknowledge_timeout", Kind::Period).only(SPLUNK).defaults(&[("", "2m")]),
    Key::new("limits.memory", Kind::Size).defaults(&[("", "32MiB")]),
    Key::new("limits.parallel_blobs", Kind::Integer).defaults(&[("", "8")]),
    Key::new("limits.record", Kind::Size).defaults(&[("", "16MiB")]),
    Key::new("limits.quarantine", Kind::Size).defaults(&[("", "256MiB")]),
    Key::new("limits.drain", Kind::Period).defaults(&[("", "20s")]),
    Key::new("limits.once_deadline", Kind::Period).defaults(&[("", "5m")]),
    Key::new("admin.listen", Kind::Address).defaults(&[("", "127.0.0.1:9464")]),
    Key::new("log.level", Kind::Text).defaults(&[("", "info")]),
    Key::new("log.format", Kind::Choice(&["auto", "text", "json"])).defaults(&[("", "auto")]),
];

/// What stands at a place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    /// A key.
    Key(&'static Key),
    /// A table of keys.
    Table,
    /// Nothing that is known.
    Nothing,
}

/// Looks a place up.
pub(super) fn find(path: &KeyPath) -> Found {
    let segments = path.segments();
    let mut is_table = false;
    for key in KEYS.iter().filter(|key| key.matches_start_of(segments)) {
        match key.segments().count().cmp(&segments.len()) {
            std::cmp::Ordering::Equal => return Found::Key(key),
            std::cmp::Ordering::Greater => is_table = true,
            std::cmp::Ordering::Less => {}
        }
    }
    if is_table { Found::Table } else { Found::Nothing }
}

/// The secrets below a source or an intake: the dotted places behind its name.
pub(super) fn secrets_of(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .filter(|key| key.kind == Kind::Secret && !key.pattern.ends_with('*'))
        .filter_map(move |key| key.pattern.strip_prefix(section).and_then(|rest| rest.strip_prefix(".*.")))
}

/// The known key that an unknown one most probably means, and else the keys that are known at its place.
pub(super) fn suggest(path: &KeyPath) -> Result<KeyPath, Vec<&'static str>> {
    let segments = path.segments();
    let n_known = known_segments(segments);
    let known = segments.get(..n_known).unwrap_or_default();
    let unknown = segments.get(n_known).map_or("", String::as_str);
    let rest = segments.get(n_known.saturating_add(1)..).unwrap_or_default();

    let mut siblings: Vec<&'static str> = KEYS
        .iter()
        .filter(|key| key.matches_start_of(known))
        .filter_map(|key| key.segments().nth(n_known))
        .filter(|segment| *segment != "*")
        .collect();
    siblings.dedup();
    let nearest = siblings.iter().map(|sibling| (distance(unknown, sibling), *sibling)).min();
    if let Some((edits, sibling)) = nearest
        && edits <= sibling.len().div_ceil(4)
    {
        let suggested = known.iter().map(String::as_str).chain([sibling]);
        return Ok(KeyPath::new(suggested.chain(rest.iter().map(String::as_str))));
    }
    misplaced(segments).ok_or(siblings)
}

/// How many segments from the top are known.
fn known_segments(segments: &[String]) -> usize {
    let is_known = |length: usize| {
        let start = segments.get(..length).unwrap_or_default();
        KEYS.iter().any(|key| key.segments().count() >= length && key.matches_start_of(start))
    };
    (1..=segments.len()).take_while(|length| is_known(*length)).count()
}

/// A key that is spelled right but stands a level too high or too low (`max_bytes` beside `batch`), or whose levels
/// are joined by one underscore (`log_level`).
fn misplaced(segments: &[String]) -> Option<KeyPath> {
    let written = segments.join("_");
    KEYS.iter().filter(|key| !key.pattern.ends_with('*')).find_map(|key| {
        let mut names = segments.iter();
        let filled: Vec<String> = key
            .segments()
            .map(|pattern| {
                let written_here = names.next();
                if pattern == "*" {
                    written_here.cloned().unwrap_or_else(|| "NAME".to_owned())
                } else {
                    pattern.into()
                }
            })
            .collect();
        let is_same_word = filled.last() == segments.last();
        let is_below_same_table = filled.first() == segments.first();
        (filled.join("_") == written || is_same_word && (is_below_same_table || segments.len() == 1))
            .then(|| KeyPath::new(filled))
    })
}

/// The number of letters to insert, remove or replace to turn one word into the other.
pub(super) fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (n_from, from_letter) in from.chars().enumerate() {
        let mut diagonal = n_from;
        let mut left = n_from.saturating_add(1);
        let mut next_row = vec![left];
        for (to_letter, above) in to.chars().zip(row.iter().skip(1)) {
            let replaced = diagonal.saturating_add(usize::from(from_letter != to_letter));
            left = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            diagonal = *above;
            next_row.push(left);
        }
        row = next_row;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: the table is read as a whole. *Guarantees*: every default is of its key's kind, every secret can be
    /// given as a file, every key is found at its own place.
    #[test]
    fn the_table_is_consistent() {
        for key in KEYS {
            for (_, text) in key.defaults {
                assert!(key.kind.read(&(*text).into(), true).is_ok(), "{}", key.pattern);
            }
            assert!(
                matches!(find(&KeyPath::dotted(key.pattern)), Found::Key(found) if found.pattern == key.pattern)
            );
            if key.kind == Kind::Secret && !key.pattern.ends_with('*') {
                let file_key = KeyPath::dotted(key.pattern).with_suffix("_file");
                assert!(
                    matches!(find(&file_key), Found::Key(found) if found.kind == Kind::Path && found.only == key.only)
                );
            }
        }
    }

    /// *Scenario*: keys are mistyped or stand at the wrong place. *Guarantees*: the key that was meant is suggested, and
    /// nothing where no key is near.
    #[test]
    fn suggestions() {
        let check = |written: &str, expected: Option<&str>| {
            let suggested = suggest(&KeyPath::dotted(written)).ok().map(|key| key.to_string());
            assert_eq!(suggested.as_deref(), expected, "{written}");
        };
        check("sources.prod.acount", Some("sources.prod.account"));
        check("source.prod.account", Some("sources.prod.account"));
        check("intakes.out.max_bytes", Some("intakes.out.batch.max_bytes"));
        check("intakes.out.batch.max_size", None);
        check("intakes.out.auth.token", Some("intakes.out.token"));
        check("log_level", Some("log.level"));
        check("poll_interval", Some("sources.NAME.poll_interval"));
        check("colour", None);
    }

    /// *Scenario*: pairs of words. *Guarantees*: the distance counts insertions, removals and replacements.
    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("flow", "flow"), 0);
    }
}
