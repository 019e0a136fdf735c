//! What a token endpoint's answer means (RFC 6749, section 5). Pure.

use std::time::{Duration, SystemTime};

use ::http::StatusCode;
use serde::Deserialize;

use crate::{
    http::HttpError,
    intake::{Answer, Cause, Verdict, protocols::answers},
    telemetry::chain,
};

const CHECK_CREDENTIALS: &str =
    "check `client_id`, `client_secret` and `scope` of `auth.oauth2_client_credentials`";
const CHECK_URL: &str = "check `token_url` of `auth.oauth2_client_credentials`";

/// There is no token. Nothing that a token endpoint says is about events: they are kept, whatever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::intake) struct Denied {
    pub(super) reason: String,
    remedy: Remedy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// Time, at least so much of it.
    Time(Option<Duration>, Cause),
    /// Somebody has to act.
    Somebody,
}

impl Denied {
    fn passing(reason: &str, after: Option<Duration>, cause: Cause) -> Self {
        let reason = format!("no access token: {reason}");
        Self { reason, remedy: Remedy::Time(after, cause) }
    }

    pub(super) fn lasting(reason: &str) -> Self {
        let reason = format!("no access token: {reason}");
        Self { reason, remedy: Remedy::Somebody }
    }

    pub(super) fn lost(error: &HttpError) -> Self {
        Self::passing(&chain(error).to_string(), None, Cause::of(error.kind))
    }

    /// What it means for the events that wait for a token.
    pub(in crate::intake) fn verdict(&self) -> Verdict {
        let reason = self.reason.clone();
        match self.remedy {
            Remedy::Time(after, cause) => Verdict::Retry { after, reason, cause },
            Remedy::Somebody => Verdict::Blocked { reason },
        }
    }
}

/// What a token endpoint issues (RFC 6749, section 5.1).
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    pub(super) access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    pub(super) expires_in: Option<Seconds>,
}

/// Some servers write the number as a text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    pub(super) fn duration(&self) -> Option<Duration> {
        let seconds = match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.trim().parse().ok()?,
        };
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// What a token endpoint's answer comes to.
pub(super) fn judge(answer: &Answer, now: SystemTime) -> Result<TokenAnswer, Denied> {
    let named = answers::name(answer.status);
    if answer.status.is_success() {
        let Ok(issued) = serde_json::from_slice::<TokenAnswer>(&answer.body) else {
            return Err(Denied::lasting(&format!(
                "{named}, but no `access_token` in the answer; {CHECK_URL}"
            )));
        };
        let is_bearer =
            issued.token_type.as_deref().is_none_or(|written| written.eq_ignore_ascii_case("bearer"));
        if is_bearer {
            return Ok(issued);
        }
        return Err(Denied::lasting(&format!(
            "{named}, but the token is not of the type Bearer; {CHECK_URL}"
        )));
    }
    if answers::is_passing(answer.status) {
        return Err(Denied::passing(&named, answers::wait(answer, now), Cause::Busy));
    }
    let is_refused =
        matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let remedy = if is_refused { CHECK_CREDENTIALS } else { CHECK_URL };
    let reason = format!("{named}: the request is refused; {remedy}{}", answer.quote());
    Err(Denied::lasting(&reason))
}

#[cfg(test)]
mod tests {
    use ::http::HeaderMap;
    use bytes::Bytes;

    use super::*;
    use crate::{intake::redaction::Redaction, model::Secret};

    fn answer(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        let redaction = Redaction::new(&[Secret::new("the-secret".to_owned())]);
        Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()), redaction }
    }

    /// *Scenario*: answers that issue a token, in every spelling of its life.
    /// *Guarantees*: the token is taken, and its life where one can be read.
    #[test]
    fn tokens() {
        for (body, seconds) in [
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":3600,"more":[1]}"#, Some(3600)),
            (r#"{"access_token":"t","token_type":"bearer","expires_in":"3599"}"#, Some(3599)),
            (r#"{"access_token":"t","expires_in":1.5}"#, Some(1)),
            (r#"{"access_token":"t","token_type":"BEARER","expires_in":-1}"#, None),
            (r#"{"access_token":"t","expires_in":"soon"}"#, None),
            (r#"{"access_token":"t","expires_in":null}"#, None),
        ] {
            let issued = judge(&answer(200, body), SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(issued.access_token, "t", "{body}");
            let lifetime = issued.expires_in.as_ref().and_then(Seconds::duration);
            assert_eq!(lifetime.map(|lifetime| lifetime.as_secs()), seconds, "{body}");
        }
    }

    /// *Scenario*: every status without a token.
    /// *Guarantees*: nothing is ever said about events: what passes is waited for, all else blocks, with the key to check
    /// and without the secret.
    #[test]
    fn every_status_without_a_token() {
        for status in 100..=599 {
            let denied = judge(&answer(status, "no the-secret"), SystemTime::UNIX_EPOCH).err().unwrap();
            let is_passing = matches!(status, 408 | 425 | 429 | 500 | 502..);
            let expected = match status {
                400 | 401 | 403 => "`client_secret`",
                _ => "`token_url`",
            };
            let verdict = denied.verdict();
            let (Verdict::Retry { reason, cause: Cause::Busy, .. } | Verdict::Blocked { reason }) = &verdict
            else {
                panic!("{status}: {verdict:?}")
            };
            assert_eq!(matches!(verdict, Verdict::Retry { .. }), is_passing, "{status}");
            assert!(is_passing || reason.contains(expected), "{reason}");
            assert!(reason.starts_with(&format!("no access token: status {status}")), "{reason}");
            assert!(!reason.contains("the-secret"), "{reason}");
        }
        for body in
            ["", "<html>", "{}", r#"{"access_token":5}"#, r#"{"access_token":"t","token_type":"mac"}"#]
        {
            let denied = judge(&answer(200, body), SystemTime::UNIX_EPOCH).err().unwrap();
            assert!(matches!(denied.verdict(), Verdict::Blocked { .. }), "{body}");
        }
    }
}
