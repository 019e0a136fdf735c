//! Foreign bytes: inputs of every kind, changed at random places. Nothing panics, nothing hangs, and what is read does not
//! depend on how it arrives.
//!
//! `MUTATIONS` multiplies the number of inputs, `SEED` chooses others; a failure names the input's number and seed.

mod store_rows;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, SystemTime},
};

use flowlogd::{
    event::EventFormat,
    flowlog::{
        RecordTime, Start, nsg_record::NsgVersion, nsg_tuple::NsgTuple, path, record, tuple::FlowTuple,
    },
    http::Proxy,
    intake::{
        Answer, Protocol,
        protocols::{
            elasticsearch::Elasticsearch,
            http_generic::{HttpFraming, HttpGeneric},
            otlp::{Otlp, OtlpEncoding},
            sekoia::Sekoia,
            splunk_hec::{self, Labels, SplunkHec},
        },
        redaction::Redaction,
    },
    model::{BlobName, Secret},
    retry::retry_after,
    settings,
    storage::azure::{
        connection_string::ConnectionString,
        list_xml::{self, Listed},
    },
};
use url::Url;

use crate::support::{
    convert::{convert, convert_whole},
    corpus,
    environment::variable,
    mutator::Mutator,
};

/// Tries so many changed inputs, and the corpus itself.
fn try_all(corpus: &[Vec<u8>], n_inputs: u64, mut target: impl FnMut(&[u8], &mut Mutator<'_>)) {
    let seed = variable("SEED", 1);
    let mut mutator = Mutator::new(corpus, seed);
    for input in corpus {
        target(input, &mut mutator);
    }
    for number in 0..n_inputs * variable("MUTATIONS", 1) {
        let input = mutator.next();
        let tried = catch_unwind(AssertUnwindSafe(|| target(&input, &mut mutator)));
        assert!(tried.is_ok(), "input {number} of seed {seed}: {:?}", String::from_utf8_lossy(&input));
    }
}

fn texts(corpus: &[&str]) -> Vec<Vec<u8>> {
    corpus.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// *Scenario*: blobs of both kinds, changed, in every format; each once whole and once in random pieces, with pauses.
/// *Guarantees*: no panic; the same events, ids, rejects and damage either way; pieces stand in order within the blob and
/// the work grows with its length.
#[test]
fn streams() {
    let corpus = corpus::small_blobs();
    let formats = [
        EventFormat::Flow { provenance: true },
        EventFormat::Ecs { enrich: true },
        EventFormat::Ecs { enrich: false },
        EventFormat::Text,
    ];
    try_all(&corpus, 12_000, |input, mutator| {
        let format = formats[mutator.below(formats.len())];
        let whole = convert_whole(format, input);
        let length = u64::try_from(input.len()).unwrap();
        let mut end = 0;
        for piece in &whole.pieces {
            assert!(end <= piece.from && piece.from < piece.to && piece.to <= length, "{:?}", whole.pieces);
            end = piece.to;
        }
        assert!(whole.bytes_scanned <= 64 * (length + 64), "{} of {length}", whole.bytes_scanned);
        let mut chunks = Vec::new();
        let mut rest = input;
        while !rest.is_empty() {
            let (chunk, others) = rest.split_at(1 + mutator.below(rest.len()));
            chunks.push(chunk);
            rest = others;
        }
        let mut parts = convert(format, Start::Beginning, chunks, 1 + mutator.below(4));
        parts.bytes_scanned = whole.bytes_scanned;
        assert_eq!(parts, whole);
    });
}

/// *Scenario*: records, flow tuples of every version, times and blob names, changed.
/// *Guarantees*: no panic; a tuple that is read has as many parts as its text.
#[test]
fn records_and_tuples() {
    let record_of = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let start = text.find("[").map_or(0, |at| at + 1);
        let end = text.rfind(']').filter(|end| *end >= start).unwrap_or(text.len());
        text.as_bytes()[start..end].to_vec()
    };
    let records =
        [corpus::of("records"), corpus::small_blobs().iter().map(|blob| record_of(blob)).collect()].concat();
    try_all(&records, 60_000, |input, _| {
        if let Ok(record) = record::parse(input) {
            let elements = record.groups.iter().flat_map(|group| group.tuples.clone());
            elements.for_each(|element| drop(element.text()));
        }
        assert!(record::members(input).len() <= input.len());
    });
    let tuples = texts(&[
        "1663146003599,10.0.0.6,192.0.2.180,23956,443,6,O,B,NX,0,0,0,0",
        "1663146003637,fe80::1,2001:db8::2,1,65535,17,I,D,X,18446744073709551615,1,1,1",
        "1542110377,10.0.0.4,13.67.143.118,44931,443,T,O,A,B,,,,",
        "1487282421,42.119.146.95,10.1.0.4,51529,5358,T,I,D",
    ]);
    try_all(&tuples, 400_000, |input, _| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(tuple) = FlowTuple::parse(text) {
            assert!(text.contains(',') && !tuple.has_all_counters || text.split(',').count() >= 13, "{text}");
        }
        for version in [NsgVersion::One, NsgVersion::Two] {
            drop(NsgTuple::parse(text, version));
        }
    });
    let times = texts(&["2025-04-30T09:07:40.986182Z", "2025-04-30T09:07:40+02:00", "1663146003599"]);
    try_all(&times, 200_000, |input, _| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        assert!(RecordTime::parse(text).is_none() || !text.is_empty());
        assert!(retry_after(text, SystemTime::UNIX_EPOCH).is_none() || !text.is_empty());
    });
    let names = texts(&[
        "flowLogResourceID=/SUB_RG/NETWORKWATCHER_X/y=2026/m=11/d=24/h=05/m=00/macAddress=0022482F8D3A/PT1H.json",
        "resourceId=/SUBSCRIPTIONS/A/y=2016/m=01/d=31/h=23/m=00/macAddress=000D3AF87856/PT1H.json",
    ]);
    try_all(&names, 100_000, |input, _| {
        if let Ok(text) = std::str::from_utf8(input) {
            drop(path::parse(&BlobName::new(text)));
        }
    });
}

/// *Scenario*: answers of intakes with every status, changed.
/// *Guarantees*: a verdict, and no panic; the key is in none.
#[test]
fn answers() {
    let corpus = corpus::of("answers");
    let url = Url::parse("https://intake.example/batch").unwrap();
    let key = Secret::new("0a1b-canary".to_owned());
    let success_codes = [::http::StatusCode::OK];
    let no_headers = ::http::HeaderMap::new();
    let splunk = splunk_hec::Config {
        token: key.clone(),
        labels: Labels::default(),
        acknowledged_within: Some(Duration::from_secs(1)),
    };
    let protocols: [Box<dyn Protocol>; 6] = [
        Box::new(Sekoia::new(&url, &key).unwrap()),
        Box::new(Elasticsearch::new(&url, "flows").unwrap()),
        Box::new(SplunkHec::new(&url, &splunk, 7).unwrap()),
        Box::new(Otlp::new(&url, OtlpEncoding::Protobuf, &no_headers).unwrap()),
        Box::new(Otlp::new(&url, OtlpEncoding::Json, &no_headers).unwrap()),
        Box::new(HttpGeneric::new(&url, HttpFraming::Ndjson, &no_headers, &success_codes).unwrap()),
    ];
    let redaction = Redaction::new(&[key]);
    try_all(&corpus, 40_000, |input, mutator| {
        // Many answers mean something with these alone.
        let status = match mutator.below(4) {
            0 => 200,
            1 => 400,
            _ => u16::try_from(100 + mutator.below(500)).unwrap(),
        };
        let mut headers = ::http::HeaderMap::new();
        if let Ok(value) = ::http::HeaderValue::from_bytes(input) {
            headers.insert("retry-after", value.clone());
            headers.insert("location", value);
        }
        let answer = Answer {
            status: ::http::StatusCode::from_u16(status).unwrap(),
            headers,
            body: bytes::Bytes::copy_from_slice(input),
            redaction: redaction.clone(),
        };
        for protocol in &protocols {
            let verdict = protocol.classify(2, &answer, SystemTime::UNIX_EPOCH);
            drop(protocol.confirmation(&answer));
            drop(protocol.confirmed(7, &answer, SystemTime::UNIX_EPOCH));
            assert!(!format!("{verdict:?}").contains("0a1b-canary"), "{verdict:?}");
        }
    });
}

/// *Scenario*: listings of both kinds, changed.
/// *Guarantees*: a page or a refusal that can be shown, and no panic; a page has no more entries than there is text for.
#[test]
fn listings() {
    try_all(&corpus::of("listings"), 100_000, |input, _| {
        for listed in [Listed::Blobs, Listed::Containers] {
            match list_xml::parse(input, listed) {
                Ok(page) => {
                    let n_entries = page.blobs.len() + page.prefixes.len() + page.containers.len();
                    assert!(n_entries * "<Name/>".len() <= input.len(), "{page:?}");
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    });
}

/// *Scenario*: settings files, connection strings and proxies, changed.
/// *Guarantees*: settings or a refusal, and no panic; no refusal has a secret in it.
#[test]
fn settings_and_connection_strings() {
    let mut corpus = corpus::of("settings");
    corpus.push(include_bytes!("../../config/flowlogd.toml").to_vec());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flowlogd.toml");
    try_all(&corpus, 3_000, |input, _| {
        std::fs::write(&file, input).unwrap();
        match settings::load(Some(&file), &BTreeMap::new()) {
            Ok(loaded) => assert!(!loaded.effective.contains("Y2FuYXJ5"), "{}", loaded.effective),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
    let strings = texts(&[
        "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=Y2FuYXJ5;EndpointSuffix=core.windows.net",
        "AccountName=a;AccountKey=Y2FuYXJ5;BlobEndpoint=http://127.0.0.1:10000/a",
        "http://user:p%40ss@proxy:3128",
    ]);
    try_all(&strings, 200_000, |input, _| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        drop(ConnectionString::parse(text));
        drop(Proxy::parse(text));
    });
}
