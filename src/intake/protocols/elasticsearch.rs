//! Elasticsearch and OpenSearch, path `/INDEX/_bulk`: `{"create":{"_id":"<event id>"}}` and the event, a line each. With
//! `create` and an id of its own an event that is sent again is there once.

use std::{fmt, io::Write as _, ops::Range, time::SystemTime};

use http::{HeaderValue, Request, StatusCode, Uri, header};
use serde::Deserialize;
use url::Url;

use super::{
    RequestError, Surround,
    answers::{Advice, default_verdict, is_passing, name, wait},
    push_line, request_uri,
};
use crate::{
    event::Event,
    intake::{Answer, Framing, Overhead, Protocol, Verdict},
    model::{Secret, may_be_secret},
};

const ADVICE: Advice = Advice {
    credentials: "check `auth`, and that it may create documents in `index`",
    success: "check that `url` is the address of Elasticsearch or OpenSearch",
};

/// What an answer has to have: a status for each event, and what is wrong where something is.
const QUERY: &str = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";

/// An answer has a line for each event, with a reason of some hundred bytes where it was not created.
const ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// Most bytes that are kept of what is said of one event; it may quote the event.
const ERROR_BYTES: usize = 500;

/// What is there already.
const CONFLICT: &str = "version_conflict_engine_exception";

/// Errors with a status that events have at fault, and are not: no other event would fare better.
const OF_THE_INDEX: [&str; 3] =
    ["index_closed_exception", "invalid_index_name_exception", "validation_exception"];

/// The protocol with the address of one index or data stream.
pub struct Elasticsearch {
    uri: Uri,
    secrets: Vec<Secret>,
}

impl Elasticsearch {
    /// For `index` below `base`, which may have a path, with or without a slash at its end.
    ///
    /// # Errors
    /// [`RequestError`] where the address cannot be requested.
    pub fn new(base: &Url, index: &str) -> Result<Self, RequestError> {
        let mut url = base.clone();
        // It fails for addresses without a host, which are not requested either.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(index).push("_bulk");
        }
        url.set_query(Some(QUERY));
        let path = Some(base.path()).filter(|path| may_be_secret(path));
        let secrets = path.map(|text| Secret::new(text.to_owned())).into_iter().collect();
        Ok(Self { uri: request_uri(&url)?, secrets })
    }
}

impl fmt::Debug for Elasticsearch {
    /// Without the path, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elasticsearch").field("host", &self.uri.host()).finish_non_exhaustive()
    }
}

/// Every event and its head are ended lines.
const SURROUND: Surround<'static> = Surround { prefix: b"", separator: b'\n', suffix: b"\n" };

impl Framing for Elasticsearch {
    fn overhead(&self) -> Overhead {
        SURROUND.overhead()
    }

    fn encode_event(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        // Writing into memory cannot fail.
        let _always_ok = writeln!(out, "{{\"create\":{{\"_id\":\"{}\"}}}}", event.id);
        push_line(event.body, out);
    }

    fn decode_event(&self, encoded: &[u8]) -> Vec<u8> {
        let mut lines = encoded.splitn(2, |byte| *byte == b'\n');
        lines.nth(1).unwrap_or(encoded).to_vec()
    }

    fn assemble(&self, events: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
        SURROUND.assemble(events, ranges)
    }
}

/// The answer to a batch. Other keys are normal.
#[derive(Deserialize)]
struct Answered {
    /// One for each event, in order.
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Created,
}

#[derive(Deserialize)]
struct Created {
    status: u16,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    Refused,
    Busy,
    /// The index, or the right to write there, is at fault.
    Blocked,
}

impl Created {
    fn fate(&self) -> Fate {
        let kind = self.error.as_ref().and_then(|error| error.kind.as_deref());
        match StatusCode::from_u16(self.status) {
            Ok(status) if status.is_success() => Fate::Accepted,
            Ok(StatusCode::CONFLICT) if kind.is_none_or(|kind| kind == CONFLICT) => Fate::Accepted,
            Ok(status) if is_passing(status) => Fate::Busy,
            Ok(
                StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY,
            ) if kind.is_none_or(|kind| !OF_THE_INDEX.contains(&kind)) => Fate::Refused,
            _ => Fate::Blocked,
        }
    }

    /// What the intake says of the event: `status 400 (Bad Request), mapper_parsing_exception: ...`.
    fn said(&self, answer: &Answer) -> String {
        let mut said = match StatusCode::from_u16(self.status) {
            Ok(status) => name(status),
            Err(_) => format!("status {}", self.status),
        };
        if let Some(Failure { kind, reason }) = &self.error {
            for (mark, text) in [(", ", kind), (": ", reason)] {
                if let Some(text) = text {
                    said.push_str(mark);
                    said.push_str(text);
                }
            }
        }
        answer.shown(&said, ERROR_BYTES)
    }
}

impl Protocol for Elasticsearch {
    fn request(&self) -> http::request::Builder {
        let ndjson = HeaderValue::from_static("application/x-ndjson");
        Request::post(self.uri.clone()).header(header::CONTENT_TYPE, ndjson)
    }

    fn secrets(&self) -> Vec<Secret> {
        self.secrets.clone()
    }

    fn answer_bytes(&self) -> usize {
        ANSWER_BYTES
    }

    /// The status of the whole says little: the items decide. One that is there already was delivered before.
    fn classify(&self, n_events: usize, answer: &Answer, now: SystemTime) -> Verdict {
        if answer.status != StatusCode::OK {
            return default_verdict(answer, now, ADVICE);
        }
        let status = name(answer.status);
        let unproven = |finding: &str| Verdict::Blocked {
            reason: format!(
                "{status}, but {finding}: nothing counts as delivered; {}{}",
                ADVICE.success,
                answer.quote()
            ),
        };
        let Ok(Answered { items }) = serde_json::from_slice(&answer.body) else {
            return unproven("the answer has no list `items` with a status for each event");
        };
        if items.len() != n_events {
            return unproven(&format!("the answer has {} items for {n_events} events", items.len()));
        }
        let (mut refused, mut busy, mut first) = (Vec::new(), Vec::new(), None);
        for (place, Item { create }) in items.iter().enumerate() {
            match create.fate() {
                Fate::Accepted => continue,
                Fate::Refused => refused.push((place, create.said(answer))),
                Fate::Busy => busy.push(place),
                Fate::Blocked => {
                    let said = create.said(answer);
                    return Verdict::Blocked {
                        reason: format!(
                            "{status}, but event {} of {n_events} was not taken ({said}): check `index`, and that `auth` \
                             may create documents there; what was taken is not doubled when it is sent again",
                            place.saturating_add(1),
                        ),
                    };
                }
            }
            first.get_or_insert(create);
        }
        let Some(first) = first else { return Verdict::Delivered };
        let reason = format!(
            "{status}, but of {n_events} events {} are refused and {} cannot be taken now; the first: {}",
            refused.len(),
            busy.len(),
            first.said(answer)
        );
        let after = if busy.is_empty() { None } else { wait(answer, now) };
        Verdict::Partial { refused, untried: Vec::new(), busy, after, reason, answer: answer.keep() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;
    use crate::intake::{
        protocols::test_support::{Kind, answer, body, check_every_status, check_reason, decoded, kind},
        redaction::Redaction,
    };

    fn elasticsearch() -> Elasticsearch {
        let url = Url::parse("https://elastic.example:9200/behind/path-secret/").unwrap();
        Elasticsearch::new(&url, "logs-azure.flowlogs-default").unwrap()
    }

    fn classify(n_events: usize, text: &str) -> Verdict {
        elasticsearch().classify(n_events, &answer(200, text), SystemTime::UNIX_EPOCH)
    }

    /// An answer with these items.
    fn items(items: &[&str]) -> String {
        format!(r#"{{"errors":true,"items":[{}]}}"#, items.join(","))
    }

    /// An item without a word.
    fn bare(status: u16) -> String {
        format!(r#"{{"create":{{"status":{status}}}}}"#)
    }

    fn failed(status: u16, kind: &str) -> String {
        format!(r#"{{"create":{{"status":{status},"error":{{"type":"{kind}","reason":"why"}}}}}}"#)
    }

    /// *Scenario*: two events, one of them with a line end between tokens.
    /// *Guarantees*: each is a line after one with its id, and every line is ended.
    #[test]
    fn body_is_lines_in_pairs() {
        let events = [r#"{"a":1}"#, "{\"b\":\n2}"];
        let text = String::from_utf8(body(&elasticsearch(), &events)).unwrap();
        expect![[r#"
            {"create":{"_id":"00000000000000000000000000000007-0"}}
            {"a":1}
            {"create":{"_id":"00000000000000000000000000000007-0"}}
            {"b": 2}
        "#]]
        .assert_eq(&text);
    }

    proptest! {
        /// *Scenario*: any JSON strings as events, an empty batch among them.
        /// *Guarantees*: the announced length is the real one, and every event comes back.
        #[test]
        fn length_is_exact(texts in proptest::collection::vec("\\PC{0,30}", 0..6)) {
            let events: Vec<String> = texts.iter().map(|text| serde_json::to_string(text).unwrap()).collect();
            let lines = String::from_utf8(body(&elasticsearch(), &events)).unwrap();
            let documents: Vec<&str> = lines.split_terminator('\n').skip(1).step_by(2).collect();
            prop_assert_eq!(documents, events.clone());
            for event in &events {
                prop_assert_eq!(decoded(&elasticsearch(), event.as_bytes()), event.as_bytes());
            }
        }
    }

    /// *Scenario*: every status of the whole, with an item created for each event, with one that is refused, and with a
    /// page of HTML.
    /// *Guarantees*: only 200 asks the items; everything else, another success too, follows the table.
    #[test]
    fn every_status_has_its_verdict() {
        let only_200 = |kind| move |status| (status == 200).then_some(kind);
        let created = items(&[&bare(201), &bare(201)]);
        check_every_status(&elasticsearch(), &created, only_200(Kind::Delivered));
        let one_refused = items(&[&bare(201), &bare(400)]);
        check_every_status(&elasticsearch(), &one_refused, only_200(Kind::Partial));
        check_every_status(&elasticsearch(), "<html>", only_200(Kind::Blocked));
    }

    /// *Scenario*: every status of an item, without a word and with an error.
    /// *Guarantees*: created and there already are accepted, what passes is busy, what a document can have at fault is
    /// refused, and everything else blocks.
    #[test]
    fn every_status_of_an_item_has_its_fate() {
        for status in 100..=599 {
            let expected = match status {
                200..=299 | 409 => Fate::Accepted,
                408 | 425 | 429 | 500 | 502..=599 => Fate::Busy,
                400 | 413 | 422 => Fate::Refused,
                _ => Fate::Blocked,
            };
            for text in [bare(status), failed(status, CONFLICT)] {
                let item: Item = serde_json::from_str(&text).unwrap();
                assert_eq!(item.create.fate(), expected, "{text}");
            }
        }
        for (status, kind) in [
            (400, "index_closed_exception"),
            (400, "validation_exception"),
            (400, "invalid_index_name_exception"),
            (403, "cluster_block_exception"),
            (403, "security_exception"),
            (404, "index_not_found_exception"),
            (409, "another_conflict"),
            (0, "x"),
            (999, "x"),
        ] {
            let item: Item = serde_json::from_str(&failed(status, kind)).unwrap();
            assert_eq!(item.create.fate(), Fate::Blocked, "{status} {kind}");
        }
    }

    /// *Scenario*: answers of the right status with every shape of body, for two events.
    /// *Guarantees*: only an item for each event proves anything; what proves nothing blocks.
    #[test]
    fn items_decide() {
        let (created, conflict) = (bare(201), failed(409, CONFLICT));
        for (text, expected) in [
            (items(&[&created, &created]), Kind::Delivered),
            (items(&[&created, &conflict]), Kind::Delivered),
            (items(&[&conflict, &conflict]), Kind::Delivered),
            (format!(r#"{{"took":1,"items":[{created},{created}]}}"#), Kind::Delivered),
            (items(&[&created, &bare(429)]), Kind::Partial),
            (items(&[&bare(503), &bare(503)]), Kind::Partial),
            (items(&[&bare(400), &bare(400)]), Kind::Partial),
            (items(&[&bare(400), &bare(403)]), Kind::Blocked),
            (items(&[&created]), Kind::Blocked),
            (items(&[&created, &created, &created]), Kind::Blocked),
            (items(&[]), Kind::Blocked),
            (items(&[&created, r#"{"index":{"status":201}}"#]), Kind::Blocked),
            (items(&[&created, r#"{"create":{}}"#]), Kind::Blocked),
            (items(&[&created, r#"{"create":{"status":"201"}}"#]), Kind::Blocked),
            (items(&[&created, "null"]), Kind::Blocked),
            (r#"{"errors":false}"#.to_owned(), Kind::Blocked),
            (r#"{"errors":false,"items":null}"#.to_owned(), Kind::Blocked),
            (format!(r#"{{"items":[{created},{created}]"#), Kind::Blocked),
            ("[]".to_owned(), Kind::Blocked),
            (String::new(), Kind::Blocked),
        ] {
            assert_eq!(kind(&classify(2, &text)), expected, "{text}");
        }
    }

    /// *Scenario*: of six events two are refused, two cannot be taken now, one was there, with a wait asked for.
    /// *Guarantees*: each is named by its place with what was said of it; the wait is kept.
    #[test]
    fn places_are_named() {
        let text = items(&[
            &bare(201),
            &failed(400, "mapper_parsing_exception"),
            &failed(429, "es_rejected_execution_exception"),
            &failed(409, CONFLICT),
            &bare(422),
            &failed(503, "unavailable_shards_exception"),
        ]);
        let mut partly = answer(200, &text);
        partly.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        let verdict = elasticsearch().classify(6, &partly, SystemTime::UNIX_EPOCH);
        let Verdict::Partial { refused, untried, busy, after, reason, .. } = verdict else {
            panic!("{verdict:?}");
        };
        let expected = [
            (1, "status 400 (Bad Request), mapper_parsing_exception: why"),
            (4, "status 422 (Unprocessable Entity)"),
        ];
        assert_eq!(refused, expected.map(|(place, said)| (place, said.to_owned())));
        assert_eq!((untried, busy), (vec![], vec![2, 5]));
        assert_eq!(after, Some(Duration::from_secs(7)));
        expect!["status 200 (OK), but of 6 events 2 are refused and 2 cannot be taken now; the first: status 400 (Bad Request), mapper_parsing_exception: why"]
            .assert_eq(&reason);
    }

    /// *Scenario*: refusals that an operator can mend, of the whole and of an item.
    /// *Guarantees*: the reason names the setting, and quotes no secret.
    #[test]
    fn reasons_name_the_setting() {
        for (status, expected) in
            [(401, "`auth`"), (403, "`auth`"), (404, "`url`"), (413, "`batch.max_bytes`")]
        {
            check_reason(&elasticsearch(), &answer(status, ""), expected);
        }
        for (text, expected) in [
            (items(&[&bare(201), &failed(403, "security_exception")]), "`auth`"),
            (items(&[&bare(201), &failed(404, "index_not_found_exception")]), "`index`"),
            (items(&[&bare(201)]), "1 items for 2 events"),
            ("welcome to path-secret".to_owned(), "begins: welcome to ***"),
        ] {
            check_reason(&elasticsearch(), &answer(200, &text), expected);
        }
        let echo = r#"{"create":{"status":400,"error":{"type":"t","reason":"a\nAPI-KEY"}}}"#;
        let redaction = Redaction::new(&[Secret::new("API-KEY".to_owned())]);
        let refused = Answer { redaction, ..answer(200, &items(&[echo])) };
        let Verdict::Partial { refused, .. } = elasticsearch().classify(1, &refused, SystemTime::UNIX_EPOCH)
        else {
            panic!("not refused");
        };
        assert_eq!(refused[0].1, "status 400 (Bad Request), t: a ***");
    }

    /// *Scenario*: a refusal that quotes a long text.
    /// *Guarantees*: what is kept of it is short.
    #[test]
    fn what_is_said_is_short() {
        let long = format!(
            r#"{{"create":{{"status":400,"error":{{"type":"t","reason":"{}"}}}}}}"#,
            "\u{e9}".repeat(9_000)
        );
        let Verdict::Partial { refused, reason, .. } = classify(1, &items(&[&long])) else {
            panic!("not refused");
        };
        assert!((ERROR_BYTES - 2..=ERROR_BYTES).contains(&refused[0].1.len()), "{}", refused[0].1.len());
        assert!(reason.len() < 2 * ERROR_BYTES, "{}", reason.len());
    }

    /// *Scenario*: addresses with and without a path, and an index whose name a path does not hold as it is.
    /// *Guarantees*: the requests go to the index below it and ask for the items; `Debug` shows no path; an address with
    /// credentials is refused.
    #[test]
    fn requests_go_below_the_base() {
        for (base, index, expected) in [
            ("https://elastic.example", "flows", "https://elastic.example/flows/_bulk"),
            ("https://elastic.example:9200/", "flows", "https://elastic.example:9200/flows/_bulk"),
            ("https://elastic.example/es/", "a%b\u{e9}", "https://elastic.example/es/a%25b%C3%A9/_bulk"),
        ] {
            let protocol = Elasticsearch::new(&Url::parse(base).unwrap(), index).unwrap();
            let request = protocol.request().body(()).unwrap();
            assert_eq!(request.uri().to_string(), format!("{expected}?{QUERY}"));
            assert_eq!(request.method(), http::Method::POST);
            assert_eq!(request.headers()[header::CONTENT_TYPE], "application/x-ndjson");
        }
        let shown = format!("{:?}", elasticsearch());
        assert!(!shown.contains("secret"), "{shown}");
        let with_password = Url::parse("https://user:pass@elastic.example").unwrap();
        assert!(matches!(Elasticsearch::new(&with_password, "flows"), Err(RequestError::Credentials)));
    }
}
