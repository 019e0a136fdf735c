//! OAuth 2.0 client credentials (RFC 6749, section 4.4): a token is asked for with an id and a secret, kept, renewed before
//! it expires, and replaced when the intake refuses it.

mod token_answer;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use ::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use bytes::Bytes;
use tokio::{sync::Semaphore, time::Instant};
use tracing::{debug, warn};
use url::{Url, form_urlencoded};

use super::{
    Answer,
    auth::{basic_pair, sensitive},
    protocols::{RequestError, request_uri},
    redaction::Redaction,
};
use crate::{
    http::Client,
    model::{Secret, may_be_secret},
    telemetry::chain,
};

/// A token answer is a few kilobytes.
const ANSWER_BYTES: usize = 256 * 1024;

/// A token is renewed this long before it expires, or when a quarter of its life is left, whichever is later.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// A renewal that fails while the old token is still good is tried again after this long.
const RENEW_AGAIN: Duration = Duration::from_secs(10);

/// A renewal waits no longer for its answer while the old token is good.
const RENEW_WITHIN: Duration = Duration::from_secs(10);

pub(super) use token_answer::Denied;
use token_answer::{Seconds, TokenAnswer, judge};

/// Where tokens come from, and for whom.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    /// The token endpoint.
    pub token_url: Url,
    /// Who asks.
    pub client_id: String,
    /// What proves it.
    pub client_secret: Secret,
    /// What is asked for; some servers want none.
    pub scope: Option<String>,
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials")
            .field("origin", &self.token_url.origin().ascii_serialization())
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            .field("scope", &self.scope)
            .finish()
    }
}

/// A token. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Token(Arc<Issued>);

struct Issued {
    header: HeaderValue,
    redaction: Redaction,
    expires: Option<Expiry>,
}

#[derive(Debug, Clone, Copy)]
struct Expiry {
    renew_at: Instant,
    at: Instant,
}

impl Expiry {
    /// Of a token that is issued now; `None` where that is beyond all clocks.
    fn after(lifetime: Duration, now: Instant) -> Option<Self> {
        let early = lifetime.saturating_sub(RENEW_BEFORE.min(lifetime / 4));
        Some(Self { renew_at: now.checked_add(early)?, at: now.checked_add(lifetime)? })
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Token {
    /// The value of `Authorization`.
    pub(super) fn header(&self) -> HeaderValue {
        self.0.header.clone()
    }

    /// Whether it need not be renewed yet.
    fn is_early(&self, now: Instant) -> bool {
        self.0.expires.is_none_or(|expiry| now < expiry.renew_at)
    }

    /// Whether it can still be used, as far as is known.
    fn is_good(&self, now: Instant) -> bool {
        self.0.expires.is_none_or(|expiry| now < expiry.at)
    }

    /// What must not be quoted from an answer to a request with it.
    pub(super) fn redaction(&self) -> Redaction {
        self.0.redaction.clone()
    }
}

/// The tokens of one intake; all its workers share one.
pub(super) struct TokenSource {
    config: ClientCredentials,
    uri: Uri,
    /// What the intake's requests carry besides a token.
    other_secrets: Vec<Secret>,
    state: Mutex<State>,
    /// One asks; the others wait for what it gets.
    turnstile: Semaphore,
    /// Whether the secret goes into the body, because the server did not take it as a header.
    in_body: AtomicBool,
}

impl fmt::Debug for TokenSource {
    /// Without the token endpoint's path and query: either may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("config", &self.config).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// No renewal before this.
    not_before: Option<Instant>,
    /// How often the token endpoint was asked.
    n_asked: u64,
    /// What came of it the last time, where that was no token.
    denied: Option<Denied>,
}

impl TokenSource {
    /// Asks for nothing yet.
    ///
    /// # Errors
    /// [`RequestError`] where the token endpoint cannot be requested.
    pub(super) fn new(
        config: ClientCredentials,
        mut other_secrets: Vec<Secret>,
    ) -> Result<Self, RequestError> {
        let uri = request_uri(&config.token_url)?;
        other_secrets.push(config.client_secret.clone());
        let in_url = [Some(config.token_url.path()), config.token_url.query()].into_iter().flatten();
        let possible = in_url.filter(|text| may_be_secret(text));
        other_secrets.extend(possible.map(|text| Secret::new(text.to_owned())));
        let (state, turnstile, in_body) = (Mutex::default(), Semaphore::new(1), AtomicBool::new(false));
        Ok(Self { config, uri, other_secrets, state, turnstile, in_body })
    }

    /// The token at hand, or a new one where that is missing or nears its end. One worker asks. The others wait for what it
    /// gets, or go on with the old token while it is good.
    pub(super) async fn token(&self, client: &Client) -> Result<Token, Denied> {
        if let Some(token) = self.at_hand() {
            return Ok(token);
        }
        if let Some(good) = self.good() {
            let Ok(_turn) = self.turnstile.try_acquire() else { return Ok(good) };
            return self.renew(client, good).await;
        }
        let n_asked = self.state().n_asked;
        // It is never closed, and without it there would only be one request more.
        let _turn = self.turnstile.acquire().await;
        if let Some(token) = self.at_hand() {
            return Ok(token);
        }
        if let Some(denied) = self.denied_since(n_asked) {
            return Err(denied);
        }
        let asked = self.ask(client).await;
        let mut state = self.state();
        state.n_asked = state.n_asked.wrapping_add(1);
        state.denied = asked.as_ref().err().cloned();
        let token = asked?;
        (state.token, state.not_before) = (Some(token.clone()), None);
        Ok(token)
    }

    /// A new token in place of a good one, if it comes soon.
    async fn renew(&self, client: &Client, good: Token) -> Result<Token, Denied> {
        let asked = tokio::time::timeout(RENEW_WITHIN, self.ask(client)).await;
        let mut state = self.state();
        let reason = match asked {
            Ok(Ok(token)) => {
                (state.token, state.not_before) = (Some(token.clone()), None);
                return Ok(token);
            }
            Ok(Err(denied)) => denied.reason,
            Err(_) => "no access token: the token endpoint did not answer in time".to_owned(),
        };
        state.not_before = Instant::now().checked_add(RENEW_AGAIN);
        drop(state);
        warn!(reason, "the access token cannot be renewed yet; the old one is still good");
        Ok(good)
    }

    /// The token, while it can still be used as far as is known.
    fn good(&self) -> Option<Token> {
        self.state().token.clone().filter(|token| token.is_good(Instant::now()))
    }

    /// What somebody else was told since then.
    fn denied_since(&self, n_asked: u64) -> Option<Denied> {
        let state = self.state();
        state.denied.clone().filter(|_| state.n_asked != n_asked)
    }

    /// The token, where it need not or cannot be renewed now.
    fn at_hand(&self) -> Option<Token> {
        let (state, now) = (self.state(), Instant::now());
        let is_paused = state.not_before.is_some_and(|moment| now < moment);
        state.token.clone().filter(|token| token.is_early(now) || is_paused && token.is_good(now))
    }

    /// The intake refuses the token: it is not used again. One that was issued since stays.
    pub(super) fn forget(&self, refused: &Token) {
        let mut state = self.state();
        if state.token.as_ref().is_some_and(|token| Arc::ptr_eq(&token.0, &refused.0)) {
            state.token = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a token. The secret goes into a header, as every server must take it (RFC 6749, section 2.3.1); where it
    /// is refused there, into the body, as some take nothing else.
    async fn ask(&self, client: &Client) -> Result<Token, Denied> {
        let in_body = self.in_body.load(Ordering::Relaxed);
        let first = self.request(client, in_body).await?;
        let is_refused = matches!(first.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
        if !is_refused {
            return self.take(&first);
        }
        match self.request(client, !in_body).await {
            Ok(second) if second.status.is_success() => {
                self.in_body.store(!in_body, Ordering::Relaxed);
                self.take(&second)
            }
            Ok(_) | Err(_) => self.take(&first),
        }
    }

    async fn request(&self, client: &Client, in_body: bool) -> Result<Answer, Denied> {
        let request = self.build(in_body).map_err(|error| Denied::lasting(&chain(&error).to_string()))?;
        let response = client.send(request).await.map_err(|error| Denied::lost(&error))?;
        let (status, headers) = (response.status, response.headers.clone());
        let body = response.bytes(ANSWER_BYTES).await.map_err(|error| Denied::lost(&error))?;
        Ok(Answer { status, headers, body, redaction: self.redaction(None) })
    }

    fn build(&self, in_body: bool) -> Result<Request<Bytes>, RequestError> {
        let ClientCredentials { client_id, client_secret, scope, .. } = &self.config;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(scope) = scope {
            form.append_pair("scope", scope);
        }
        let mut headers = HeaderMap::new();
        if in_body {
            form.append_pair("client_id", client_id).append_pair("client_secret", client_secret.reveal());
        } else {
            let pair = basic_pair(&encoded(client_id), &encoded(client_secret.reveal()));
            headers.insert(header::AUTHORIZATION, sensitive("client_secret", format!("Basic {pair}"))?);
        }
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form_type);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let mut request = Request::new(Bytes::from(form.finish()));
        *request.method_mut() = ::http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn take(&self, answer: &Answer) -> Result<Token, Denied> {
        let TokenAnswer { access_token, expires_in, .. } = judge(answer, SystemTime::now())?;
        let header = sensitive("access_token", format!("Bearer {access_token}"))
            .map_err(|error| Denied::lasting(&chain(&error).to_string()))?;
        let lifetime = expires_in.as_ref().and_then(Seconds::duration);
        debug!(lifetime_s = lifetime.map(|lifetime| lifetime.as_secs()), "an access token was issued");
        let expires = lifetime.and_then(|lifetime| Expiry::after(lifetime, Instant::now()));
        let redaction = self.redaction(Some(Secret::new(access_token)));
        Ok(Token(Arc::new(Issued { header, redaction, expires })))
    }

    fn redaction(&self, token: Option<Secret>) -> Redaction {
        let ClientCredentials { client_id, client_secret, .. } = &self.config;
        let pair = basic_pair(&encoded(client_id), &encoded(client_secret.reveal()));
        let forms = [Secret::new(encoded(client_secret.reveal())), Secret::new(pair)];
        let secrets: Vec<Secret> = self.other_secrets.iter().cloned().chain(forms).chain(token).collect();
        Redaction::new(&secrets)
    }
}

/// As forms have a text.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http,
        intake::{Cause, Verdict},
    };

    fn source() -> TokenSource {
        let config = ClientCredentials {
            // Nobody listens there.
            token_url: Url::parse("http://127.0.0.1:9/token?key=query-secret").unwrap(),
            client_id: "the id".to_owned(),
            client_secret: Secret::new("the-secret".to_owned()),
            scope: None,
        };
        TokenSource::new(config, Vec::new()).unwrap()
    }

    /// *Scenario*: tokens that live long, short and not at all.
    /// *Guarantees*: each is renewed before its end, five minutes or a quarter of its life.
    #[tokio::test(start_paused = true)]
    async fn renewal_comes_early() {
        let now = Instant::now();
        for (lifetime, early) in [(3600, 3300), (400, 300), (0, 0)] {
            let Expiry { renew_at, at } = Expiry::after(Duration::from_secs(lifetime), now).unwrap();
            assert_eq!(
                (renew_at - now, at - now),
                (Duration::from_secs(early), Duration::from_secs(lifetime))
            );
        }
        assert!(Expiry::after(Duration::MAX, now).is_none());
    }

    /// *Scenario*: a token nears its end and the token endpoint cannot be reached; then it is past it.
    /// *Guarantees*: the old token is used as long as it is good, and not every request asks for a new one meanwhile; after
    /// that there is none, and nothing shows a secret.
    #[tokio::test]
    async fn an_old_token_is_used_while_it_is_good() {
        let second = Duration::from_secs(1);
        let client = Client::new(&http::Config {
            extra_roots_pem: None,
            identity: None,
            proxy: None,
            connect_timeout: second,
            read_timeout: second,
            total_timeout: Some(second),
        })
        .unwrap();
        let source = source();
        let now = Instant::now();
        let issued = |expires| {
            Token(Arc::new(Issued {
                header: HeaderValue::from_static("Bearer t"),
                redaction: source.redaction(None),
                expires,
            }))
        };
        let hour = Duration::from_secs(3600);
        let late = issued(Some(Expiry { renew_at: now, at: now + hour }));
        source.state().token = Some(late.clone());
        for _request in 0..2 {
            let token = source.token(&client).await.unwrap();
            assert!(Arc::ptr_eq(&token.0, &late.0));
            assert!(source.at_hand().is_some(), "nobody asks again so soon");
        }
        // While somebody asks for a new one, the others do not wait.
        source.state().not_before = None;
        let turn = source.turnstile.try_acquire().unwrap();
        assert!(Arc::ptr_eq(&source.token(&client).await.unwrap().0, &late.0));
        drop(turn);

        source.state().token = Some(issued(Some(Expiry { renew_at: now, at: now })));
        let denied = source.token(&client).await.unwrap_err();
        let shown = format!("{denied:?} {source:?}");
        assert!(!shown.contains("-secret") && !shown.contains("127.0.0.1:9/"), "{shown}");
        assert!(matches!(denied.verdict(), Verdict::Retry { cause: Cause::Unanswered, .. }));

        let other = issued(None);
        source.state().token = Some(other.clone());
        source.forget(&late);
        assert!(source.at_hand().is_some(), "it was replaced since");
        source.forget(&other);
        assert!(source.at_hand().is_none());
    }
}
