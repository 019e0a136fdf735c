//! Signed requests, the judgement of their answers, and bounded retries.
//!
//! A retry is the whole operation again, its body included, with a new date and a new signature.

use std::{error::Error, ops::Range, time::Duration};

use azure_core::{
    Context, Method, StatusCode,
    headers::{self, HeaderName, Headers},
};
use azure_storage::clients::{ServiceType, finalize_request};
use bytes::{Bytes, BytesMut};
use chrono::TimeDelta;
use futures_util::StreamExt;
use url::Url;

use super::{
    keys::{AccountKey, Keys, Signer},
    pace::{Load, Pace},
    status::{self, Operation},
    transport::{Refusal, Transport},
};
use crate::{
    http::{Client, HttpError, HttpErrorKind},
    model::ETag,
    retry::Backoff,
    storage::StorageErrorKind,
};

/// One try and two more: what lasts longer is the pipeline's to wait for, where it is seen and reported.
const ATTEMPTS: u32 = 3;
/// First wait between two tries at its longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// A wait between two tries at its longest; where the server asks for more, the caller is told at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A page of 5,000 blobs has 6 MB; names can be long.
const LIST_BODY_LIMIT: u64 = 64 * 1024 * 1024;
/// Not among the SDK's constants.
const MS_RANGE: HeaderName = HeaderName::from_static("x-ms-range");

/// What one request asks for.
#[derive(Debug)]
pub(super) struct Query {
    /// For the judgement of the status.
    pub(super) operation: Operation,
    /// Where.
    pub(super) url: Url,
    /// For a read: which bytes of which version.
    pub(super) part: Option<(Range<u64>, ETag)>,
}

/// An answer with its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: Headers,
    pub(super) body: Bytes,
}

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: StorageErrorKind,
    pub(super) source: Option<Box<dyn Error + Send + Sync>>,
}

impl From<StorageErrorKind> for Failure {
    fn from(kind: StorageErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl Failure {
    fn may_be_the_key(&self) -> bool {
        self.refusal().is_some_and(status::may_be_the_key)
    }

    fn refusal(&self) -> Option<&Refusal> {
        self.source.as_ref().and_then(|source| source.downcast_ref::<Refusal>())
    }

    fn load(&self) -> Load {
        if self.is_timeout() {
            // Who is overloaded may not even come to say so.
            return Load::Throttled { retry_after: None };
        }
        match self.refusal().filter(|refusal| status::is_overload(refusal)) {
            Some(refusal) => Load::Throttled { retry_after: refusal.retry_after },
            None => Load::Unknown,
        }
    }

    fn is_timeout(&self) -> bool {
        let source = self.source.as_ref().and_then(|source| source.downcast_ref::<HttpError>());
        source.is_some_and(|error| error.kind == HttpErrorKind::Timeout)
    }

    /// Whether only a server that took the signature answers so.
    fn shows_that_the_key_is_taken(&self) -> bool {
        match &self.kind {
            StorageErrorKind::Changed
            | StorageErrorKind::Conflict { .. }
            | StorageErrorKind::Archived
            | StorageErrorKind::BlobNotFound
            | StorageErrorKind::ContainerNotFound
            | StorageErrorKind::PastEnd
            | StorageErrorKind::Truncated { .. } => true,
            StorageErrorKind::Denied { .. }
            | StorageErrorKind::Throttled { .. }
            | StorageErrorKind::Transient
            | StorageErrorKind::Other(_) => false,
        }
    }
}

/// The account's blob service.
#[derive(Debug)]
pub(super) struct Service {
    keys: Keys,
    pace: Pace,
    transport: Transport,
    context: Context,
}

impl Service {
    pub(super) fn new(
        account: &str,
        account_key: AccountKey,
        secondary_key: Option<AccountKey>,
        client: Client,
    ) -> Self {
        let transport = Transport::new(client);
        let keys = Keys::new(account, transport.clone(), account_key, secondary_key);
        let mut context = Context::new();
        context.insert(ServiceType::Blob);
        Self { keys, pace: Pace::new(), transport, context }
    }

    /// See [`crate::storage::Account::clock_skew`].
    pub(super) fn clock_skew(&self) -> Option<TimeDelta> {
        self.transport.clock_skew()
    }

    /// Sends a request, again where that can help, and reads the answer to its end.
    pub(super) async fn fetch(&self, query: &Query) -> Result<Answer, Failure> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut attempt = 1;
        loop {
            let failure = match self.attempt_with_any_key(query).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let pause = backoff.next(fastrand::f64);
            let Some(pause) = pause_before_next(&failure.kind, pause).filter(|_| attempt < ATTEMPTS) else {
                return Err(failure);
            };
            tracing::debug!(operation = ?query.operation, attempt, ?pause, kind = %failure.kind, "trying again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// One try, and at once another for each key that is refused, as long as there is one.
    async fn attempt_with_any_key(&self, query: &Query) -> Result<Answer, Failure> {
        let mut signer = self.keys.first();
        let first_refusal = match self.attempt(query, &signer).await {
            Err(failure) if failure.may_be_the_key() => failure,
            result => return result,
        };
        let mut refused = vec![signer];
        loop {
            signer = match self.keys.another(&refused).await {
                Some(another) => another,
                None => return Err(first_refusal),
            };
            match self.attempt(query, &signer).await {
                Err(failure) if failure.may_be_the_key() => refused.push(signer),
                result => {
                    if result.as_ref().map_or_else(Failure::shows_that_the_key_is_taken, |_| true) {
                        self.keys.prefer(&signer);
                    }
                    return result;
                }
            }
        }
    }

    /// One request, when it is its turn.
    async fn attempt(&self, query: &Query, signer: &Signer) -> Result<Answer, Failure> {
        let turn = self.pace.turn().await;
        let result = self.exchange(query, signer).await;
        turn.end(match &result {
            Ok(_) => Load::Fine,
            Err(failure) => failure.load(),
        });
        result
    }

    async fn exchange(&self, query: &Query, signer: &Signer) -> Result<Answer, Failure> {
        let method = match query.operation {
            Operation::Head => Method::Head,
            Operation::ListContainers | Operation::ListBlobs | Operation::Read => Method::Get,
        };
        let mut request_headers = Headers::new();
        if let Some((range, etag)) = &query.part {
            request_headers
                .insert(MS_RANGE, format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
            request_headers.insert(headers::IF_MATCH, etag.quoted());
        }
        // The date of the request is written here, so that each attempt has its own.
        let mut request = finalize_request(query.url.clone(), method, request_headers, None)
            .map_err(|error| from_azure(query.operation, error))?;
        let response = signer
            .pipeline
            .send(&self.context, &mut request)
            .await
            .map_err(|error| from_azure(query.operation, error))?;

        let wanted = match &query.part {
            Some((range, etag)) => Some(check_part(range, etag, response.status(), response.headers())?),
            None => None,
        };
        let (_, headers, mut stream) = response.deconstruct();
        let limit = wanted.unwrap_or(LIST_BODY_LIMIT);
        let mut body =
            BytesMut::with_capacity(wanted.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default());
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) => body.extend_from_slice(&chunk),
                Err(error) => return Err(broken_body(query.operation, error, n_bytes(&body), wanted)),
            }
            if n_bytes(&body) > limit {
                return Err(StorageErrorKind::Other("the answer is longer than announced".to_owned()).into());
            }
        }
        match wanted {
            Some(wanted) if n_bytes(&body) < wanted => {
                Err(StorageErrorKind::Truncated { got: n_bytes(&body), wanted }.into())
            }
            _ => Ok(Answer { headers, body: body.freeze() }),
        }
    }
}

/// How long to wait before the next try; `None`: another try at once would not help.
fn pause_before_next(kind: &StorageErrorKind, pause: Duration) -> Option<Duration> {
    match kind {
        StorageErrorKind::Transient | StorageErrorKind::Truncated { .. } => Some(pause),
        StorageErrorKind::Throttled { retry_after } => {
            Some(retry_after.unwrap_or_default().max(pause)).filter(|pause| *pause <= LONGEST_PAUSE)
        }
        StorageErrorKind::Changed
        | StorageErrorKind::BlobNotFound
        | StorageErrorKind::ContainerNotFound
        | StorageErrorKind::Denied { .. }
        | StorageErrorKind::Conflict { .. }
        | StorageErrorKind::Archived
        | StorageErrorKind::PastEnd
        | StorageErrorKind::Other(_) => None,
    }
}

/// Checks the head of a read's answer; returns how many bytes its body must have.
fn check_part(
    range: &Range<u64>,
    etag: &ETag,
    status: StatusCode,
    headers: &Headers,
) -> Result<u64, Failure> {
    let wanted = range.end.saturating_sub(range.start);
    if headers.get_optional_str(&headers::CONTENT_LENGTH) == Some("0") {
        // Some servers answer so, and not with 416, where a range starts at the very end.
        return Err(StorageErrorKind::PastEnd.into());
    }
    let Some(content_range) = headers.get_optional_str(&headers::CONTENT_RANGE).and_then(parse_content_range)
    else {
        let text = format!("the answer to a ranged read has no readable Content-Range (status {status})");
        return Err(StorageErrorKind::Other(text).into());
    };
    if content_range.is_empty() {
        return Err(StorageErrorKind::PastEnd.into());
    }
    if content_range != *range {
        let overlap = content_range.end.min(range.end).saturating_sub(content_range.start.max(range.start));
        return Err(StorageErrorKind::Truncated { got: overlap, wanted }.into());
    }
    match headers.get_optional_str(&headers::ETAG) {
        Some(answered) if ETag::new(answered) != *etag => Err(StorageErrorKind::Changed.into()),
        _ => Ok(wanted),
    }
}

/// `bytes 0-9/100` as `0..10`; `bytes 100-99/100` as the empty range `100..100`.
fn parse_content_range(text: &str) -> Option<Range<u64>> {
    let (range, _total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?);
    Some(first..last.checked_add(1)?)
}

fn n_bytes(body: &BytesMut) -> u64 {
    u64::try_from(body.len()).unwrap_or(u64::MAX)
}

fn broken_body(operation: Operation, error: azure_core::Error, got: u64, wanted: Option<u64>) -> Failure {
    let failure = from_azure(operation, error);
    match (&failure.kind, wanted) {
        (StorageErrorKind::Transient, Some(wanted)) => {
            Failure { kind: StorageErrorKind::Truncated { got, wanted }, source: failure.source }
        }
        _ => failure,
    }
}

/// Finds what the transport said below the SDK's layers.
fn from_azure(operation: Operation, error: azure_core::Error) -> Failure {
    let error = match error.into_downcast::<Refusal>() {
        Ok(refusal) => {
            let kind = status::classify(operation, &refusal);
            return Failure { kind, source: Some(refusal.into()) };
        }
        Err(error) => error,
    };
    match error.into_downcast::<HttpError>() {
        Ok(error) => from_http(error),
        Err(error) => Failure {
            kind: StorageErrorKind::Other("the request cannot be made".to_owned()),
            source: Some(error.into()),
        },
    }
}

fn from_http(error: HttpError) -> Failure {
    match error.kind {
        HttpErrorKind::Connect
        | HttpErrorKind::Proxy
        | HttpErrorKind::Timeout
        | HttpErrorKind::Closed
        | HttpErrorKind::Reset => Failure { kind: StorageErrorKind::Transient, source: Some(error.into()) },
        // The kind's text says it all, with the way out; what lies below it stays the source.
        HttpErrorKind::Certificate | HttpErrorKind::TooLarge | HttpErrorKind::Other => {
            Failure { kind: StorageErrorKind::Other(error.kind.to_string()), source: error.into_source() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the heads of answers to a read of bytes 10..20 of version `a`. Guarantees: exactly that range of
    /// that version is taken; all else says what is wrong.
    #[test]
    fn heads_of_reads() {
        let check =
            |content_range: Option<&str>, etag: Option<&str>, expected: Result<u64, StorageErrorKind>| {
                let mut answered = Headers::new();
                if let Some(content_range) = content_range {
                    answered.insert(headers::CONTENT_RANGE, content_range.to_owned());
                }
                if let Some(etag) = etag {
                    answered.insert(headers::ETAG, etag.to_owned());
                }
                let result = check_part(&(10..20), &ETag::new("a"), StatusCode::PartialContent, &answered);
                assert_eq!(result.map_err(|failure| failure.kind), expected, "{content_range:?} {etag:?}");
            };
        let truncated = |got| Err(StorageErrorKind::Truncated { got, wanted: 10 });
        check(Some("bytes 10-19/100"), Some("\"a\""), Ok(10));
        check(Some("bytes 10-19/*"), None, Ok(10));
        check(Some("bytes 10-19/100"), Some("\"b\""), Err(StorageErrorKind::Changed));
        check(Some("bytes 10-15/16"), Some("a"), truncated(6));
        check(Some("bytes 0-19/100"), Some("a"), truncated(10));
        check(Some("bytes 30-39/100"), Some("a"), truncated(0));
        check(Some("bytes 10-9/10"), Some("a"), Err(StorageErrorKind::PastEnd));
        for unreadable in
            [None, Some("bytes */10"), Some("10-19/100"), Some("bytes x-y/z"), Some("bytes 10-19")]
        {
            let text = "the answer to a ranged read has no readable Content-Range (status 206)";
            check(unreadable, Some("a"), Err(StorageErrorKind::Other(text.to_owned())));
        }
    }

    /// Scenario: every kind of failure, and waits that servers ask for. Guarantees: only what can mend itself is tried
    /// again; a longer wait than the adapter's own is the caller's.
    #[test]
    fn what_is_tried_again() {
        let own = Duration::from_millis(150);
        let check = |kind: StorageErrorKind, expected: Option<Duration>| {
            assert_eq!(pause_before_next(&kind, own), expected, "{kind:?}");
        };
        let asked = |retry_after| StorageErrorKind::Throttled { retry_after };
        check(StorageErrorKind::Transient, Some(own));
        check(StorageErrorKind::Truncated { got: 1, wanted: 2 }, Some(own));
        check(asked(None), Some(own));
        check(asked(Some(Duration::ZERO)), Some(own));
        check(asked(Some(Duration::from_secs(2))), Some(Duration::from_secs(2)));
        check(asked(Some(LONGEST_PAUSE)), Some(LONGEST_PAUSE));
        check(asked(Some(Duration::from_secs(6))), None);
        check(StorageErrorKind::Changed, None);
        check(StorageErrorKind::BlobNotFound, None);
        check(StorageErrorKind::ContainerNotFound, None);
        check(StorageErrorKind::Conflict { code: String::new() }, None);
        check(StorageErrorKind::Archived, None);
        check(StorageErrorKind::PastEnd, None);
        check(StorageErrorKind::Other(String::new()), None);
    }

    /// *Scenario*: a server that takes connections and says nothing.
    /// *Guarantees*: it is asked less at once, as one that asks to slow down; how it comes back, `pace` tests.
    #[tokio::test]
    async fn silence_is_taken_for_overload() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/account/logs", silent.local_addr().unwrap());
        let client = Client::new(&crate::http::Config {
            extra_roots_pem: None,
            identity: None,
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_millis(10),
            total_timeout: None,
        });
        let key = AccountKey::from(crate::model::Secret::new("Y2FuYXJ5".to_owned()));
        let service = Service::new("account", key, None, client.unwrap());
        let most = service.pace.at_once();
        let url = Url::parse(&url).unwrap();
        let query = Query { operation: Operation::ListBlobs, url, part: None };
        let signer = service.keys.first();
        let failure = service.attempt(&query, &signer).await.unwrap_err();
        assert_eq!(failure.kind, StorageErrorKind::Transient);
        assert!(failure.is_timeout());
        assert_eq!((most > 1, service.pace.at_once()), (true, 1));
    }
}
