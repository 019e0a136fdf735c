//! The metrics as scrapers read them, and as the documentation explains them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use flowlogd::{
    model::Reason,
    telemetry::{
        labels::{Gate, Poll, Request, StorageTrouble},
        metrics::{Kind, Metrics, TABLE},
    },
};

const DOCUMENTATION: &str = include_str!("../../docs/metrics.md");

/// A text of metrics, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    /// Kind and help of each family.
    families: BTreeMap<String, (String, String)>,
    /// Values by name and labels, as in `name{a="b"}`; labels in the order of their names.
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// Takes a text apart by the rules of OpenMetrics that our scrapers rely on, and fails where it breaks one.
    pub(crate) fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        let lines = text.strip_suffix("# EOF\n").unwrap().lines();
        let mut family = String::new();
        for line in lines {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                family = name.to_owned();
                let is_new =
                    scrape.families.insert(family.clone(), (String::new(), help.to_owned())).is_none();
                assert!(is_new, "{name} comes twice");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, family);
                scrape.families.get_mut(name).unwrap().0 = kind.to_owned();
            } else {
                scrape.take_sample(&family, line);
            }
        }
        scrape
    }

    fn take_sample(&mut self, family: &str, line: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let suffixes: &[&str] = match self.families[family].0.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("{other} is no kind of ours"),
        };
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{name} stands below {family}"));
        assert!(suffixes.contains(&suffix), "{name}");
        let labels = labels.strip_suffix('}').unwrap();
        let mut pairs: Vec<&str> = labels.split(',').filter(|pair| !pair.is_empty()).collect();
        for pair in &pairs {
            let (label, text) = pair.split_once("=\"").unwrap();
            assert!(label.chars().all(|letter| letter.is_ascii_lowercase()), "{label}");
            assert!(text.ends_with('"') && text.len() > 1, "{line}");
        }
        pairs.sort_unstable();
        let series =
            if pairs.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", pairs.join(",")) };
        let is_new = self.samples.insert(series, value.parse().unwrap()).is_none();
        assert!(is_new, "{line} comes twice");
    }

    /// A sample's value; `None` where it is not shown.
    pub(crate) fn get(&self, series: &str) -> Option<f64> {
        self.samples.get(series).copied()
    }
}

/// Metrics in which everything that can be shown is.
fn everything() -> Metrics {
    let metrics = Metrics::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let source = metrics.source("prod");
    for gauge in [&source.last_change_age, &source.clock_skew, &source.roots] {
        gauge.set_count(3);
    }
    let standing = metrics.lane("prod", "sekoia").standing;
    for gauge in [
        &standing.blobs_held,
        &standing.backlog_bytes,
        &standing.backlog_blobs,
        &standing.lag,
        &standing.oldest_undelivered,
        &standing.retention_left,
    ] {
        gauge.set_seconds(Some(Duration::from_millis(1_500)));
    }
    let intake = metrics.intake("sekoia");
    let store = metrics.store();
    for gauge in [&store.quarantine_bytes, &store.quarantine_limit_bytes, &intake.memory_used_bytes] {
        gauge.set_count(7);
    }
    store.committed(Duration::from_millis(2));
    metrics
}

/// *Scenario*: every metric is shown. *Guarantees*: the text holds the table's metrics and no others, each with the
/// table's kind, help and labels.
#[test]
fn the_table_is_what_is_shown() {
    let scrape = Scrape::parse(&everything().encode());
    let shown: BTreeSet<&str> = scrape.families.keys().map(String::as_str).collect();
    let family_of = |name: &'static str| name.strip_suffix("_total").unwrap_or(name);
    let known: BTreeSet<&str> = TABLE.iter().map(|row| family_of(row.name)).collect();
    assert_eq!(shown, known);
    assert_eq!(known.len(), TABLE.len(), "a name stands twice in the table");
    for row in TABLE {
        let (kind, help) = &scrape.families[family_of(row.name)];
        assert_eq!((kind.as_str(), help.as_str()), (row.kind.as_str(), format!("{}.", row.help).as_str()));
        assert_eq!(row.kind == Kind::Counter, row.name.ends_with("_total"), "{}", row.name);
        let is_ours = |series: &&String| {
            let rest = series.strip_prefix(row.name).unwrap_or("?");
            rest.is_empty() || rest.starts_with('{') || row.kind == Kind::Histogram && rest == "_count"
        };
        let series: Vec<&String> = scrape.samples.keys().filter(is_ours).collect();
        assert!(!series.is_empty(), "{} is not shown", row.name);
        for series in series {
            let labels: BTreeSet<&str> =
                series.split(['{', ',']).skip(1).map(|pair| pair.split('=').next().unwrap()).collect();
            assert_eq!(labels, row.labels.iter().copied().collect(), "{series}");
        }
    }
}

/// *Scenario*: the documentation's tables are read. *Guarantees*: they name every metric with its kind, labels and
/// meaning, and no others; they name every value of the closed labels; its queries use metrics that there are.
#[test]
fn the_documentation_has_every_metric() {
    let cells = |line: &'static str| line.split('|').map(str::trim).collect::<Vec<_>>();
    let rows: Vec<Vec<&str>> = DOCUMENTATION
        .lines()
        .map(cells)
        .filter(|cells| cells.len() == 7 && cells[1].starts_with('`'))
        .collect();
    let documented: Vec<String> = rows.iter().map(|cells| cells[1..5].join(" | ")).collect();
    let expected: Vec<String> = TABLE
        .iter()
        .map(|row| {
            [&format!("`{}`", row.name), row.kind.as_str(), &row.labels.join(", "), row.help].join(" | ")
        })
        .collect();
    assert_eq!(documented, expected);

    let values = |all: &[&str]| all.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    for (label, all) in [
        ("`reason`", values(&Reason::ALL.map(Reason::as_str))),
        ("`outcome` of polls", values(&Poll::ALL.map(Poll::as_str))),
        ("`outcome` of requests", values(&Request::ALL.map(Request::as_str))),
        ("`kind`", values(&StorageTrouble::ALL.map(StorageTrouble::as_str))),
    ] {
        let line = format!("| {label} | {all} |");
        assert!(DOCUMENTATION.lines().any(|documented| documented == line), "{line}");
    }

    let names = DOCUMENTATION.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let unknown: Vec<&str> = names
        .filter(|word| word.starts_with("flowlogd_") || word.starts_with("process_"))
        .filter(|word| TABLE.iter().all(|row| row.name != *word))
        .collect();
    assert_eq!(unknown, Vec::<&str>::new());
}

/// *Scenario*: handles are bound and nothing happens. *Guarantees*: every counter is there at 0, for each value of a
/// closed label too; no gauge claims what nobody knows; the process tells its version, start and memory.
#[test]
fn nothing_is_claimed_before_it_is_known() {
    let metrics = Metrics::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let handles =
        (metrics.lane("prod", "sekoia"), metrics.source("prod"), metrics.intake("sekoia"), metrics.store());
    let scrape = Scrape::parse(&metrics.encode());
    for row in TABLE.iter().filter(|row| row.kind == Kind::Counter) {
        let values: Vec<f64> = scrape
            .samples
            .iter()
            .filter(|(series, _)| series.split('{').next() == Some(row.name))
            .map(|(_, value)| *value)
            .collect();
        assert!(!values.is_empty() && values.iter().all(|value| *value == 0.0), "{}: {values:?}", row.name);
    }
    for reason in Reason::ALL {
        let series =
            format!("flowlogd_quarantined_total{{intake=\"sekoia\",reason=\"{reason}\",source=\"prod\"}}");
        assert_eq!(scrape.get(&series), Some(0.0));
    }
    let gauges: Vec<(&str, f64)> = scrape
        .samples
        .iter()
        .filter(|(series, _)| {
            let name = series.split('{').next().unwrap();
            TABLE.iter().any(|row| row.kind == Kind::Gauge && row.name == name)
        })
        .map(|(series, value)| (series.as_str(), *value))
        .collect();
    let version = format!("flowlogd_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    let resident = scrape.get("process_resident_memory_bytes").unwrap();
    assert!((1e6..1e11).contains(&resident), "{resident}");
    assert_eq!(
        gauges,
        [
            (version.as_str(), 1.0),
            ("flowlogd_intake_gate_state{intake=\"sekoia\"}", 0.0),
            ("flowlogd_source_silent{source=\"prod\"}", 0.0),
            ("process_resident_memory_bytes", resident),
            ("process_start_time_seconds", 1_700_000_000.0),
        ]
    );
    drop(handles);
}

/// *Scenario*: handles count, through clones and handles bound twice. *Guarantees*: all count in the same series; values
/// of one label and one name do not mix with others'; a gauge goes when its value is not known any more.
#[test]
fn handles_count() {
    let metrics = Metrics::new(SystemTime::UNIX_EPOCH);
    let lane = metrics.lane("prod", "sekoia");
    let other = metrics.lane("prod", "splunk");
    lane.reading.bytes_read.inc_by(10);
    lane.clone().reading.bytes_read.inc_by(20);
    metrics.clone().lane("prod", "sekoia").reading.bytes_read.inc_by(3);
    other.reading.bytes_read.inc();
    lane.progress.quarantined(Reason::BadTuple, 4);
    lane.progress.polled(Poll::Incomplete);
    lane.standing.lag.set_seconds(Some(Duration::from_millis(250)));
    other.standing.lag.set_seconds(Some(Duration::ZERO));
    metrics.source("prod").storage_failed(StorageTrouble::Denied);
    metrics.source("prod").silent.set_flag(true);
    let intake = metrics.intake("sekoia");
    intake.gate(Gate::Blocked);
    intake.requested(Request::Doubtful);
    let store = metrics.store();
    store.quarantine_limit_bytes.set_count(268_435_456);
    store.committed(Duration::from_millis(30));
    store.committed(Duration::from_secs(31));
    store.commit_failed();

    let scrape = Scrape::parse(&metrics.encode());
    for (series, expected) in [
        ("flowlogd_bytes_read_total{intake=\"sekoia\",source=\"prod\"}", 33.0),
        ("flowlogd_bytes_read_total{intake=\"splunk\",source=\"prod\"}", 1.0),
        ("flowlogd_quarantined_total{intake=\"sekoia\",reason=\"bad_tuple\",source=\"prod\"}", 4.0),
        ("flowlogd_quarantined_total{intake=\"sekoia\",reason=\"bad_record\",source=\"prod\"}", 0.0),
        ("flowlogd_polls_total{intake=\"sekoia\",outcome=\"incomplete\",source=\"prod\"}", 1.0),
        ("flowlogd_polls_total{intake=\"sekoia\",outcome=\"complete\",source=\"prod\"}", 0.0),
        ("flowlogd_lag_seconds{intake=\"sekoia\",source=\"prod\"}", 0.25),
        ("flowlogd_lag_seconds{intake=\"splunk\",source=\"prod\"}", 0.0),
        ("flowlogd_source_storage_errors_total{kind=\"denied\",source=\"prod\"}", 1.0),
        ("flowlogd_source_silent{source=\"prod\"}", 1.0),
        ("flowlogd_intake_gate_state{intake=\"sekoia\"}", 2.0),
        ("flowlogd_intake_requests_total{intake=\"sekoia\",outcome=\"doubtful\"}", 1.0),
        ("flowlogd_store_quarantine_limit_bytes", 268_435_456.0),
        ("flowlogd_store_commits_total", 2.0),
        ("flowlogd_store_commit_failures_total", 1.0),
        ("flowlogd_store_commit_seconds_count", 2.0),
        ("flowlogd_store_commit_seconds_bucket{le=\"0.025\"}", 0.0),
        ("flowlogd_store_commit_seconds_bucket{le=\"0.05\"}", 1.0),
        ("flowlogd_store_commit_seconds_bucket{le=\"+Inf\"}", 2.0),
    ] {
        assert_eq!(scrape.get(series), Some(expected), "{series}");
    }
    lane.standing.lag.set(None);
    let scrape = Scrape::parse(&metrics.encode());
    assert_eq!(scrape.get("flowlogd_lag_seconds{intake=\"sekoia\",source=\"prod\"}"), None);
    assert_eq!(scrape.get("flowlogd_lag_seconds{intake=\"splunk\",source=\"prod\"}"), Some(0.0));
}
