//! What an answer means where its protocol has no rule of its own, and how answers are quoted.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use url::Url;

use crate::{
    event::json,
    intake::{Answer, Cause, Verdict},
    model::Secret,
    retry::retry_after,
};

/// Most bytes of an answer that the quarantine keeps.
const KEPT_BYTES: usize = 2048;

/// Most bytes of an answer that a reason quotes.
const QUOTED_BYTES: usize = 200;

/// Most bytes of an answer that are looked at for a quotation: an answer may have megabytes.
const EXAMINED_BYTES: usize = 65_536;

/// A page of nginx has its title within so many bytes.
const PAGE_HEAD_BYTES: usize = 256;

/// What must not be quoted although a receiver may say it.
#[derive(Debug, Clone, Default)]
pub(super) struct Redaction(Vec<Secret>);

impl Redaction {
    /// Takes out these texts, in plain and as JSON escapes them.
    pub(super) fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut secrets = Vec::new();
        for text in texts.into_iter().filter(|text| !text.is_empty()) {
            let mut escaped_bytes = Vec::new();
            json::write_escaped(&mut escaped_bytes, text.as_bytes());
            let escaped = String::from_utf8_lossy(&escaped_bytes).into_owned();
            if escaped != text {
                secrets.push(Secret::new(escaped));
            }
            secrets.push(Secret::new(text.to_owned()));
        }
        // A secret may contain another one: the longest first, so that no piece of it stays.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
        Self(secrets)
    }

    /// The text with three asterisks for each secret.
    pub(super) fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |hidden, secret| hidden.replace(secret.reveal(), "***"))
    }

    /// The status and the beginning of the body, for the quarantine and the log.
    pub(super) fn keep(&self, answer: &Answer) -> (u16, String) {
        (answer.status.as_u16(), self.beginning(answer, KEPT_BYTES))
    }

    /// The beginning of the body as the last part of a sentence; empty for an empty body.
    pub(super) fn quote(&self, answer: &Answer) -> String {
        match self.beginning(answer, QUOTED_BYTES) {
            text if text.is_empty() => text,
            text => format!("; the answer begins: {text}"),
        }
    }

    fn beginning(&self, answer: &Answer, limit: usize) -> String {
        let examined = answer.body.get(..EXAMINED_BYTES).unwrap_or(&answer.body);
        let mut text = self.apply(&String::from_utf8_lossy(examined));
        text.truncate(text.floor_char_boundary(limit));
        text.replace(char::is_control, " ").trim().to_owned()
    }
}

/// What to look at after an answer that only the operator can help; the protocols differ in the names of their keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advice {
    /// After 401 and 403.
    pub(super) credentials: &'static str,
    /// After a success that the protocol does not know.
    pub(super) success: &'static str,
}

/// Judges an answer that is no success. Nothing here drops an event: no status proves that the events are at fault.
pub(super) fn default_verdict(
    answer: &Answer,
    now: SystemTime,
    advice: Advice,
    redaction: &Redaction,
) -> Verdict {
    let status = answer.status;
    let named = name(status);
    if is_passing(status) {
        return Verdict::Retry { after: wait(answer, now), reason: named, cause: Cause::Busy };
    }
    let quoted = redaction.quote(answer);
    match status.as_u16() {
        413 => {
            let meaning = "the request is too large; where that stays, lower `batch.max_bytes`";
            let reason = format!("{named}: {meaning}{quoted}");
            return Verdict::TooLarge { reason, answer: redaction.keep(answer) };
        }
        400 if let Some(meaning) = certificate_page(&answer.body) => {
            return Verdict::Blocked { reason: format!("{named}: {meaning}{quoted}") };
        }
        400 | 422 => {
            let meaning =
                "the request is not understood; where that stays, check `protocol`, `url` and `event_format`";
            let reason = format!("{named}: {meaning}{quoted}");
            return Verdict::BadBatch { reason, answer: redaction.keep(answer) };
        }
        _ => {}
    }
    let meaning = match status.as_u16() {
        200..=299 => {
            format!("a success that is not expected here: nothing counts as delivered; {}", advice.success)
        }
        300..=399 => format!(
            "a redirect to {}, and redirects are refused, because they would hand events and keys to another \
             address; if the new one is right, set it as `url`",
            target(&answer.headers, redaction)
        ),
        401 | 403 => format!("the credentials are refused; {}", advice.credentials),
        402 => "payment is required; check the subscription or quota at the receiver".to_owned(),
        404 | 405 | 410 => "no intake at this address; check `url`".to_owned(),
        407 => "the proxy asks for credentials; write them into `proxy`".to_owned(),
        415 => "this kind of content is not taken; check `compression` and `protocol`".to_owned(),
        501 => "the receiver cannot do this; check `url`".to_owned(),
        _ => "the request is refused; check `url` and what stands between".to_owned(),
    };
    Verdict::Blocked { reason: format!("{named}: {meaning}{quoted}") }
}

/// What nginx means by one of its pages about client certificates. It sends them with 400, as if the events were at
/// fault, but no other events would fare better.
fn certificate_page(body: &[u8]) -> Option<&'static str> {
    let beginning = body.get(..PAGE_HEAD_BYTES).unwrap_or(body);
    let meanings = [
        (
            "<title>400 No required SSL certificate was sent</title>",
            "the server in front of the intake asks for a client certificate; name one in `client_cert_file` and its \
             key in `client_key_file`",
        ),
        (
            "<title>400 The SSL certificate error</title>",
            "the server in front of the intake refuses the client certificate; check `client_cert_file` and \
             `client_key_file`",
        ),
    ];
    let text = String::from_utf8_lossy(beginning);
    meanings.into_iter().find(|(title, _)| text.contains(title)).map(|(_, meaning)| meaning)
}

/// The status for people: `status 503 (Service Unavailable)`.
pub(super) fn name(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(words) => format!("status {} ({words})", status.as_u16()),
        None => format!("status {}", status.as_u16()),
    }
}

/// Whether time alone may help.
fn is_passing(status: StatusCode) -> bool {
    match status.as_u16() {
        408 | 425 | 429 => true,
        501 => false,
        500..=599 => true,
        _ => false,
    }
}

/// The wait that the server asks for. Its own `Date` tells what its dates mean, whatever our clock shows.
fn wait(answer: &Answer, now: SystemTime) -> Option<Duration> {
    let text = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let sent = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    retry_after(text(header::RETRY_AFTER)?, sent.unwrap_or(now))
}

/// Where a redirect leads, without what may be secret in a URL.
fn target(headers: &HeaderMap, redaction: &Redaction) -> String {
    let Some(location) = headers.get(header::LOCATION) else { return "nowhere".to_owned() };
    let text = String::from_utf8_lossy(location.as_bytes());
    let shown = match Url::parse(&text) {
        Ok(url) => format!("{}{}", url.origin().ascii_serialization(), url.path()),
        Err(_) => text.split(['?', '#']).next().unwrap_or_default().to_owned(),
    };
    redaction.apply(&shown).replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::intake::protocols::test_support::answer;

    const ADVICE: Advice = Advice { credentials: "check `key`", success: "check it" };

    fn check(text: &Answer, expected: expect_test::Expect) {
        let redaction = Redaction::new(["topsecret", "a\"b"]);
        expected
            .assert_eq(&format!("{:?}", default_verdict(text, SystemTime::UNIX_EPOCH, ADVICE, &redaction)));
    }

    /// *Scenario*: a proxy that asks for credentials.
    /// *Guarantees*: the reason names the key that takes them.
    #[test]
    fn a_proxy_that_asks_for_credentials() {
        check(
            &answer(407, ""),
            expect_test::expect![[
                r#"Blocked { reason: "status 407 (Proxy Authentication Required): the proxy asks for credentials; write them into `proxy`" }"#
            ]],
        );
    }

    /// *Scenario*: nginx's pages about client certificates, with 400 and with another status; answers to bad events that
    /// quote the same words elsewhere.
    /// *Guarantees*: only the pages, and only with 400, block at once, and the reason names both keys; whatever else may
    /// be a matter of the events stays one.
    #[test]
    fn a_server_that_asks_for_a_client_certificate() {
        let page = |title: &str| {
            format!(
                "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>"
            )
        };
        let missing = "400 No required SSL certificate was sent";
        let refused = "400 The SSL certificate error";
        let late = format!("{}{}", " ".repeat(PAGE_HEAD_BYTES), page(missing));
        for (status, body, expected) in [
            (400, page(missing), Some("asks for a client certificate; name one in `client_cert_file`")),
            (400, page(refused), Some("refuses the client certificate; check `client_cert_file`")),
            (400, page("400 Bad Request"), None),
            (400, format!("{{\"error\":\"no field in {missing}\"}}"), None),
            (400, late, None),
            (400, String::new(), None),
            (422, page(missing), None),
        ] {
            let redaction = Redaction::default();
            let verdict = default_verdict(&answer(status, &body), SystemTime::UNIX_EPOCH, ADVICE, &redaction);
            match (&verdict, expected) {
                (Verdict::Blocked { reason }, Some(expected)) => {
                    assert!(reason.contains(expected) && reason.contains("`client_key_file`"), "{reason}");
                }
                (Verdict::BadBatch { .. }, None) => {}
                _ => panic!("{status} {body}: {verdict:?}"),
            }
        }
    }

    /// *Scenario*: redirects with every kind of `Location`.
    /// *Guarantees*: the reason names the target without query, credentials and known secrets.
    #[test]
    fn redirects_name_their_target() {
        for (location, expected) in [
            ("https://other.example/path?key=1", "a redirect to https://other.example/path, and"),
            ("https://user:pass@other.example:8443/", "a redirect to https://other.example:8443/, and"),
            ("https://other.example/topsecret/", "a redirect to https://other.example/***/, and"),
            ("/login?next=%2Fbatch", "a redirect to /login, and"),
        ] {
            let mut redirect = answer(302, "");
            redirect.headers.insert(header::LOCATION, HeaderValue::from_static(location));
            let redaction = Redaction::new(["topsecret"]);
            let verdict = default_verdict(&redirect, SystemTime::UNIX_EPOCH, ADVICE, &redaction);
            let Verdict::Blocked { reason } = verdict else { panic!("{location}: {verdict:?}") };
            assert!(reason.contains(expected), "{location}: {reason}");
        }
    }

    /// *Scenario*: a refusal whose body repeats secrets, holds control characters, and is long.
    /// *Guarantees*: what is quoted is short, one line, and free of secrets.
    #[test]
    fn quotations_are_redacted_and_short() {
        let body = format!("key topsecret or {{\"a\\\"b\"}}\r\nis \u{1b}[31mwrong {}", "\u{e9}".repeat(3000));
        let refused = answer(418, &body);
        check(
            &answer(403, "key topsecret\nunknown"),
            expect_test::expect![[
                r#"Blocked { reason: "status 403 (Forbidden): the credentials are refused; check `key`; the answer begins: key *** unknown" }"#
            ]],
        );
        let redaction = Redaction::new(["topsecret", "a\"b"]);
        let quoted = redaction.quote(&refused);
        assert!(
            quoted.starts_with("; the answer begins: key *** or {\"***\"}  is  [31mwrong \u{e9}"),
            "{quoted}"
        );
        assert!(quoted.len() <= QUOTED_BYTES + 24, "{}", quoted.len());
        let (status, kept) = redaction.keep(&refused);
        assert_eq!(status, 418);
        assert!((KEPT_BYTES - 4..=KEPT_BYTES).contains(&kept.len()), "{}", kept.len());
    }

    /// *Scenario*: an answer that asks to wait until a date, from a server whose clock is a day off.
    /// *Guarantees*: the wait is the one that the server means; without its clock ours is taken.
    #[test]
    fn a_date_is_seen_from_the_servers_clock() {
        let mut busy = answer(503, "");
        busy.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        busy.headers.insert(header::DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:30 GMT"));
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let check_wait = |busy: &Answer, before: u64, expected: u64| {
            let now = date - Duration::from_secs(before);
            let verdict = default_verdict(busy, now, ADVICE, &Redaction::default());
            let Verdict::Retry { after, .. } = verdict else { panic!("{verdict:?}") };
            assert_eq!(after, Some(Duration::from_secs(expected)));
        };
        check_wait(&busy, 86_400, 7);
        busy.headers.remove(header::DATE);
        check_wait(&busy, 20, 20);
    }
}
