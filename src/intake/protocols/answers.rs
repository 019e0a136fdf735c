//! What an answer means where its protocol has no rule of its own, and how answers are quoted.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use url::Url;

use crate::{
    intake::{Answer, Cause, Verdict, redaction::Redaction},
    retry::retry_after,
};

/// A page of nginx has its title within so many bytes.
const PAGE_HEAD_BYTES: usize = 256;

/// What to look at after an answer that only the operator can help; the protocols differ in the names of their keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advice {
    /// After 401 and 403.
    pub(super) credentials: &'static str,
    /// After a success that the protocol does not know.
    pub(super) success: &'static str,
}

/// Judges an answer that is no success. Nothing here drops an event: no status proves that the events are at fault.
pub(super) fn default_verdict(answer: &Answer, now: SystemTime, advice: Advice) -> Verdict {
    let status = answer.status;
    let named = name(status);
    if is_passing(status) {
        return Verdict::Retry { after: wait(answer, now), reason: named, cause: Cause::Busy };
    }
    let quoted = answer.quote();
    match status.as_u16() {
        413 => {
            let meaning = "the request is too large; where that stays, lower `batch.max_bytes`";
            let reason = format!("{named}: {meaning}{quoted}");
            return Verdict::TooLarge { reason, answer: answer.keep() };
        }
        400 if let Some(meaning) = meaning_of_page(&answer.body) => {
            return Verdict::Blocked { reason: format!("{named}: {meaning}{quoted}") };
        }
        400 | 422 => {
            let meaning =
                "the request is not understood; where that stays, check `protocol`, `url` and `event_format`";
            let reason = format!("{named}: {meaning}{quoted}");
            return Verdict::BadBatch { reason, answer: answer.keep() };
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
            target(&answer.headers, &answer.redaction)
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

/// What nginx means by one of its pages about TLS. It sends them with 400, as if the events were at fault, but no other
/// events would fare better.
fn meaning_of_page(body: &[u8]) -> Option<&'static str> {
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
        (
            "<title>400 The plain HTTP request was sent to HTTPS port</title>",
            "the server in front of the intake takes https only; write https:// in `url`",
        ),
    ];
    let text = String::from_utf8_lossy(beginning);
    meanings.into_iter().find(|(title, _)| text.contains(title)).map(|(_, meaning)| meaning)
}

/// The status for people: `status 503 (Service Unavailable)`.
pub(in crate::intake) fn name(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(words) => format!("status {} ({words})", status.as_u16()),
        None => format!("status {}", status.as_u16()),
    }
}

/// Whether time alone may help.
pub(in crate::intake) fn is_passing(status: StatusCode) -> bool {
    match status.as_u16() {
        408 | 425 | 429 => true,
        501 => false,
        500..=599 => true,
        _ => false,
    }
}

/// The wait that the server asks for. Its own `Date` tells what its dates mean, whatever our clock shows.
pub(in crate::intake) fn wait(answer: &Answer, now: SystemTime) -> Option<Duration> {
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
    use crate::{
        intake::{
            answer::{KEPT_BYTES, QUOTED_BYTES},
            protocols::test_support::answer,
        },
        model::Secret,
    };

    const ADVICE: Advice = Advice { credentials: "check `key`", success: "check it" };

    fn redaction() -> Redaction {
        Redaction::new(&["topsecret", "a\"b"].map(|text| Secret::new(text.to_owned())))
    }

    fn check(text: Answer, expected: expect_test::Expect) {
        let text = Answer { redaction: redaction(), ..text };
        expected.assert_eq(&format!("{:?}", default_verdict(&text, SystemTime::UNIX_EPOCH, ADVICE)));
    }

    /// *Scenario*: a proxy that asks for credentials.
    /// *Guarantees*: the reason names the key that takes them.
    #[test]
    fn a_proxy_that_asks_for_credentials() {
        check(
            answer(407, ""),
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
        let plain = "400 The plain HTTP request was sent to HTTPS port";
        let late = format!("{}{}", " ".repeat(PAGE_HEAD_BYTES), page(missing));
        for (status, body, expected) in [
            (400, page(missing), Some("asks for a client certificate; name one in `client_cert_file`")),
            (400, page(refused), Some("refuses the client certificate; check `client_cert_file`")),
            (400, page(plain), Some("write https:// in `url`")),
            (400, page("400 Bad Request"), None),
            (400, format!("{{\"error\":\"no field in {missing}\"}}"), None),
            (400, late, None),
            (400, String::new(), None),
            (422, page(missing), None),
        ] {
            let verdict = default_verdict(&answer(status, &body), SystemTime::UNIX_EPOCH, ADVICE);
            match (&verdict, expected) {
                (Verdict::Blocked { reason }, Some(expected)) => {
                    assert!(reason.contains(expected), "{reason}");
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
            redirect.redaction = redaction();
            let verdict = default_verdict(&redirect, SystemTime::UNIX_EPOCH, ADVICE);
            let Verdict::Blocked { reason } = verdict else { panic!("{location}: {verdict:?}") };
            assert!(reason.contains(expected), "{location}: {reason}");
        }
    }

    /// *Scenario*: a refusal whose body repeats secrets, holds control characters, and is long.
    /// *Guarantees*: what is quoted is short, one line, and free of secrets.
    #[test]
    fn quotations_are_redacted_and_short() {
        let body = format!("key topsecret or {{\"a\\\"b\"}}\r\nis \u{1b}[31mwrong {}", "\u{e9}".repeat(3000));
        let refused = Answer { redaction: redaction(), ..answer(418, &body) };
        check(
            answer(403, "key topsecret\nunknown"),
            expect_test::expect![[
                r#"Blocked { reason: "status 403 (Forbidden): the credentials are refused; check `key`; the answer begins: key *** unknown" }"#
            ]],
        );
        let quoted = refused.quote();
        assert!(
            quoted.starts_with("; the answer begins: key *** or {\"***\"}  is  [31mwrong \u{e9}"),
            "{quoted}"
        );
        assert!(quoted.len() <= QUOTED_BYTES + 24, "{}", quoted.len());
        let (status, kept) = refused.keep();
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
            let verdict = default_verdict(busy, now, ADVICE);
            let Verdict::Retry { after, .. } = verdict else { panic!("{verdict:?}") };
            assert_eq!(after, Some(Duration::from_secs(expected)));
        };
        check_wait(&busy, 86_400, 7);
        busy.headers.remove(header::DATE);
        check_wait(&busy, 20, 20);
    }
}
