//! The collector's bodies, requests and answers.

use expect_test::expect;
use proptest::prelude::*;

use super::*;
use crate::{
    intake::protocols::test_support::{
        Kind, answer, body, check_every_status, check_reason, decoded, event, kind,
    },
    model::{EventId, RecordKey},
};

const TOKEN: &str = "7f5b0c1e-canary-token";

const SUCCESS: &str = r#"{"text":"Success","code":0}"#;

fn config() -> Config {
    Config {
        token: Secret::new(TOKEN.to_owned()),
        labels: Labels { index: Some("main".to_owned()), ..Labels::default() },
        acknowledged_within: None,
    }
}

fn splunk(config: &Config) -> SplunkHec {
    SplunkHec::new(&Url::parse("https://splunk.example:8088").unwrap(), config, 1).unwrap()
}

fn plain() -> SplunkHec {
    splunk(&config())
}

fn acknowledging() -> SplunkHec {
    splunk(&Config { acknowledged_within: Some(Duration::from_secs(9)), ..config() })
}

fn judged(protocol: &SplunkHec, n_events: usize, status: u16, text: &str) -> Verdict {
    protocol.classify(n_events, &answer(status, text), SystemTime::UNIX_EPOCH)
}

/// *Scenario*: an event with every label, and one with none.
/// *Guarantees*: the envelopes are the documented ones, byte for byte: time in seconds with milliseconds, the identity as
/// an indexed field, no key where nothing is set.
#[test]
fn envelopes() {
    let labels = Labels {
        host: Some("vnet\"1".to_owned()),
        source: Some("azure:flow".to_owned()),
        sourcetype: Some("azure:vnet:flow".to_owned()),
        index: Some("main".to_owned()),
    };
    let id = EventId { record: RecordKey::new(0x3f), ordinal: 17 };
    let encode = |protocol: SplunkHec, time_ms| {
        let mut out = Vec::new();
        protocol.encode_event(&Event { id, time_ms, ..event(br#"{"a":1}"#) }, &mut out);
        String::from_utf8(out).unwrap()
    };
    expect![[r#"{"time":1663146003.599,"host":"vnet\"1","source":"azure:flow","sourcetype":"azure:vnet:flow","index":"main","fields":{"event_id":"0000000000000000000000000000003f-17"},"event":{"a":1}}"#]]
        .assert_eq(&encode(splunk(&Config { labels, ..config() }), 1_663_146_003_599));
    expect![[r#"{"time":1663146003.004,"fields":{"event_id":"0000000000000000000000000000003f-17"},"event":{"a":1}}"#]]
        .assert_eq(&encode(splunk(&Config { labels: Labels::default(), ..config() }), 1_663_146_003_004));
}

proptest! {
    /// *Scenario*: any texts as labels and as events, an empty batch among them.
    /// *Guarantees*: the body is one JSON object after the other, with these labels and events, and every event comes back
    /// byte for byte.
    #[test]
    fn bodies(
        texts in proptest::collection::vec("(?s)[\\x00-\\x7f\\PC]{0,30}", 0..6),
        source in "(?s)(\"event\":|[\\x00-\\x7f\\PC]{0,20})",
    ) {
        let events: Vec<String> = texts.iter().map(|text| serde_json::json!({ "event": text }).to_string()).collect();
        let labels = Labels { source: Some(source.clone()), ..Labels::default() };
        let protocol = splunk(&Config { labels, ..config() });
        let written = body(&protocol, &events);
        let parsed: Result<Vec<serde_json::Value>, _> = serde_json::Deserializer::from_slice(&written).into_iter().collect();
        let parsed = parsed.unwrap();
        prop_assert_eq!(parsed.len(), events.len());
        for ((envelope, text), encoded) in parsed.iter().zip(&texts).zip(&events) {
            prop_assert_eq!(&envelope["source"], &source);
            prop_assert_eq!(&envelope["event"]["event"], text);
            prop_assert_eq!(decoded(&protocol, encoded.as_bytes()), encoded.as_bytes());
        }
    }
}

/// *Scenario*: base addresses with and without a path, a slash at the end, or with the collector's own path.
/// *Guarantees*: both paths are below the base; the head carries token and channel, the token marked as sensitive; `Debug`
/// shows no token.
#[test]
fn requests_go_below_the_base() {
    for (base, expected) in [
        ("https://splunk.example:8088", "https://splunk.example:8088/services/collector"),
        ("https://splunk.example:8088/", "https://splunk.example:8088/services/collector"),
        ("https://lb.example/hec/", "https://lb.example/hec/services/collector"),
        ("https://lb.example/services/collector", "https://lb.example/services/collector"),
        ("https://lb.example/a/services/collector/event/", "https://lb.example/a/services/collector"),
        ("https://lb.example/services/collector/raw", "https://lb.example/services/collector"),
    ] {
        let settings = Config { acknowledged_within: Some(Duration::from_secs(9)), ..config() };
        let protocol = SplunkHec::new(&Url::parse(base).unwrap(), &settings, u128::MAX).unwrap();
        let request = protocol.request().body(()).unwrap();
        let asked = protocol.confirmation(&answer(200, r#"{"code":0,"ackId":7}"#)).unwrap();
        assert_eq!((asked.id, asked.within.as_secs()), (7, 9));
        assert_eq!(&asked.request.body()[..], b"{\"acks\":[7]}");
        let channel = "ffffffff-ffff-4fff-bfff-ffffffffffff";
        assert_eq!(request.uri().to_string(), format!("{expected}/event"));
        assert_eq!(asked.request.uri().to_string(), format!("{expected}/ack?channel={channel}"));
        for (method, headers) in
            [(request.method(), request.headers()), (asked.request.method(), asked.request.headers())]
        {
            assert_eq!(method, http::Method::POST);
            assert_eq!(headers[header::AUTHORIZATION], format!("Splunk {TOKEN}"));
            assert_eq!(headers[CHANNEL], channel);
            assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        }
        let shown = format!("{request:?} {asked:?} {protocol:?} {settings:?}");
        assert!(!shown.contains("canary"), "{shown}");
    }
    let with_password = Url::parse("https://user:pass@splunk.example").unwrap();
    let refused = SplunkHec::new(&with_password, &config(), 0).unwrap_err();
    assert!(matches!(refused, RequestError::Credentials), "{refused:?}");
    let two_lines = Config { token: Secret::new("a\nb".to_owned()), ..config() };
    let refused = SplunkHec::new(&Url::parse("https://s.example").unwrap(), &two_lines, 0).unwrap_err();
    assert!(refused.to_string().contains("`token`"), "{refused}");
}

/// *Scenario*: every status, with the body of a success, of a partial acceptance, of a busy collector, of a refused
/// token, and with a page of HTML.
/// *Guarantees*: 200 with the code 0 alone is a delivery; codes are believed where the status does not say that it passes;
/// everything else follows the table.
#[test]
fn every_status_has_its_verdict() {
    let only = |wanted: u16, kind| move |status| (status == wanted).then_some(kind);
    check_every_status(&plain(), SUCCESS, only(200, Kind::Delivered));
    check_every_status(&plain(), "<html>", only(200, Kind::Blocked));
    check_every_status(&plain(), r#"{"code":6,"invalid-event-number":1}"#, |status| match status {
        200 => Some(Kind::Blocked),
        400 => Some(Kind::Partial),
        _ => None,
    });
    let passing = |status| matches!(status, 408 | 425 | 429 | 500 | 502..=599);
    check_every_status(&plain(), r#"{"text":"Server is busy","code":9}"#, |status| {
        Some(if status == 200 { Kind::Blocked } else { Kind::Retry })
    });
    check_every_status(&plain(), r#"{"text":"Invalid token","code":4}"#, |status| {
        Some(if passing(status) { Kind::Retry } else { Kind::Blocked })
    });
}

/// *Scenario*: every code that Splunk documents, with its status, and others.
/// *Guarantees*: what no other events would change blocks and names the key to check; what passes is tried again; what
/// may be a matter of the events, and names none, is sent in halves.
#[test]
fn every_code_has_its_verdict() {
    for (status, code, expected, named) in [
        (403, 1, Kind::Blocked, "`token`"),
        (401, 2, Kind::Blocked, "`token`"),
        (401, 3, Kind::Blocked, "`token`"),
        (403, 4, Kind::Blocked, "`token`"),
        (400, 5, Kind::Blocked, "`proxy`"),
        (400, 6, Kind::BadBatch, "`event_format`"),
        (400, 7, Kind::Blocked, "`index`"),
        (500, 8, Kind::Retry, ""),
        (503, 9, Kind::Retry, ""),
        (400, 10, Kind::Blocked, "X-Splunk-Request-Channel"),
        (400, 11, Kind::Blocked, "X-Splunk-Request-Channel"),
        (400, 12, Kind::BadBatch, "`event_format`"),
        (400, 13, Kind::BadBatch, "`event_format`"),
        (400, 14, Kind::Blocked, "`acknowledge`"),
        (400, 15, Kind::BadBatch, "`event_format`"),
        (400, 16, Kind::Blocked, "`url`"),
        (200, 17, Kind::Blocked, "`url`"),
        (503, 18, Kind::Retry, ""),
        (503, 19, Kind::Retry, ""),
        (503, 20, Kind::Retry, ""),
        (400, 21, Kind::Blocked, "`token`"),
        (400, 22, Kind::Blocked, "`token`"),
        (400, 99, Kind::BadBatch, "`event_format`"),
        (429, 26, Kind::Retry, ""),
    ] {
        let text = format!(r#"{{"text":"words","code":{code},"more":[]}}"#);
        assert_eq!(kind(&judged(&plain(), 2, status, &text)), expected, "{text}");
        if !named.is_empty() {
            check_reason(&plain(), &answer(status, &text), named);
        }
    }
    // The code 7 counts from one, and means all that is sent.
    let text = r#"{"text":"Incorrect index","code":7,"invalid-event-number":1}"#;
    check_reason(&plain(), &answer(400, text), "check `index`");
    let echo = answer(401, &format!("unknown token {TOKEN}"));
    check_reason(&plain(), &echo, "unknown token ***");
}

/// *Scenario*: refusals that name an event, at every place of three, behind the last one, none, and in other spellings.
/// *Guarantees*: what is before it was accepted, it is refused, what is behind it was not looked at; a place that there
/// is not proves nothing.
#[test]
fn an_event_is_named() {
    let partial = |text: &str| {
        let verdict = judged(&plain(), 3, 400, text);
        let Verdict::Partial { refused, untried, busy, after: None, answer: (400, kept), .. } = verdict
        else {
            assert_eq!(kind(&verdict), Kind::BadBatch, "{text}");
            return None;
        };
        assert!(busy.is_empty() && kept == text, "{kept}");
        Some((refused, untried))
    };
    for (code, meaning) in [
        (6, "its format is not taken"),
        (12, "it has no event"),
        (13, "its event is blank"),
        (15, "its indexed fields are not taken"),
    ] {
        let said = format!("status 400 (Bad Request) (code {code}): {meaning}");
        for (number, untried) in [(0, vec![1, 2]), (1, vec![2]), (2, vec![])] {
            let text = format!(r#"{{"text":"a","code":{code},"invalid-event-number":{number}}}"#);
            assert_eq!(partial(&text), Some((vec![(number, said.clone())], untried)), "{text}");
        }
        for end in ["", ",\"invalid-event-number\":3", ",\"invalid-event-number\":-1"] {
            assert_eq!(partial(&format!(r#"{{"code":{code}{end}}}"#)), None, "{end}");
        }
    }
}

/// *Scenario*: the same of a collector whose indexers are to acknowledge.
/// *Guarantees*: what was taken before the event at fault is sent again too, for nobody acknowledges it.
#[test]
fn what_nobody_acknowledges_is_sent_again() {
    let verdict = judged(&acknowledging(), 4, 400, r#"{"code":6,"invalid-event-number":2}"#);
    let Verdict::Partial { refused, untried, .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!((refused.len(), refused[0].0, untried), (1, 2, vec![0, 1, 3]));
}

/// *Scenario*: successes with and without an id, where indexers are to acknowledge and where not.
/// *Guarantees*: with acknowledgement there has to be an id, which is asked for; without it nothing is asked for.
#[test]
fn ids_are_asked_for() {
    let with_id = r#"{"text":"Success","code":0,"ackId":0}"#;
    for (protocol, text, expected, id) in [
        (plain(), SUCCESS, Kind::Delivered, None),
        (plain(), with_id, Kind::Delivered, None),
        (acknowledging(), with_id, Kind::Delivered, Some(0)),
        (acknowledging(), SUCCESS, Kind::Blocked, None),
        (acknowledging(), r#"{"code":0,"ackId":-1}"#, Kind::Blocked, None),
        (acknowledging(), r#"{"code":1,"ackId":0}"#, Kind::Blocked, None),
    ] {
        assert_eq!(kind(&judged(&protocol, 2, 200, text)), expected, "{text}");
        assert_eq!(protocol.confirmation(&answer(200, text)).map(|asked| asked.id), id, "{text}");
    }
    check_reason(&acknowledging(), &answer(200, SUCCESS), "`acknowledge`");
}

/// *Scenario*: answers to the question whether the id 5 is acknowledged.
/// *Guarantees*: only `true` confirms; what passes is asked again; what does not blocks, and is never a matter of the
/// events.
#[test]
fn acknowledgements() {
    let asked =
        |status, text: &str| acknowledging().confirmed(5, &answer(status, text), SystemTime::UNIX_EPOCH);
    assert_eq!(asked(200, r#"{"acks":{"5":true}}"#), Confirmed::Yes);
    assert_eq!(asked(200, r#"{"acks":{"4":true,"5":false}}"#), Confirmed::NotYet);
    assert_eq!(asked(503, r#"{"text":"Server is busy","code":9}"#), Confirmed::NotYet);
    assert_eq!(asked(400, r#"{"text":"Server is busy","code":9}"#), Confirmed::NotYet);
    assert_eq!(asked(502, "<html>"), Confirmed::NotYet);
    for (status, text, expected) in [
        (200, r#"{"acks":{"4":true}}"#, "nothing of the id 5"),
        (200, r#"{"acks":{"5":"yes"}}"#, "nothing of the id 5"),
        (200, "", "`url`"),
        (204, "", "`url`"),
        (400, r#"{"text":"ACK is disabled","code":14}"#, "`acknowledge`"),
        (400, r#"{"text":"Invalid data format","code":6}"#, "no acknowledgement: status 400"),
        (403, r#"{"text":"Invalid token","code":4}"#, "`token`"),
        (413, "", "no acknowledgement: status 413"),
        (404, "", "`url`"),
    ] {
        let Confirmed::Never { reason } = asked(status, text) else { panic!("{status} {text}") };
        assert!(reason.contains(expected), "{status} {text}: {reason}");
    }
}
