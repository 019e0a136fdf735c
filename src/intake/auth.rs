//! What authorises a request, whatever its protocol is.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, header};

use super::{
    oauth::{ClientCredentials, Denied, Token, TokenSource},
    protocols::RequestError,
    redaction::Redaction,
};
use crate::{http::Client, model::Secret};

/// Credentials as the settings have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// None, or the protocol carries them itself.
    None,
    /// `Authorization: Bearer`.
    Bearer(Secret),
    /// `Authorization: ApiKey`.
    ApiKey(Secret),
    /// `Authorization: Basic`.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// A header of its own.
    Header {
        /// Header name.
        name: HeaderName,
        /// Its value.
        value: Secret,
    },
    /// `Authorization: Bearer`, with a token that an authorisation server issues for a while.
    ClientCredentials(ClientCredentials),
}

/// Gives every request its credentials.
#[derive(Debug)]
pub(super) struct Authorizer(Kind);

#[derive(Debug)]
enum Kind {
    Fixed { header: Option<(HeaderName, HeaderValue)>, redaction: Redaction },
    Tokens(Box<TokenSource>),
}

/// The credentials of one request.
#[derive(Debug)]
pub(super) struct Credentials {
    /// The header that carries them, if one does.
    pub(super) header: Option<(HeaderName, HeaderValue)>,
    /// What must not be quoted from the answer to the request.
    pub(super) redaction: Redaction,
    token: Option<Token>,
}

impl Authorizer {
    /// For requests that carry `other_secrets` besides.
    ///
    /// # Errors
    /// [`RequestError`] where the credentials cannot be sent.
    pub(super) fn new(auth: &Auth, mut other_secrets: Vec<Secret>) -> Result<Self, RequestError> {
        let header = match auth {
            Auth::None => None,
            Auth::Bearer(token) => {
                other_secrets.push(token.clone());
                Some((header::AUTHORIZATION, sensitive("bearer", format!("Bearer {}", token.reveal()))?))
            }
            Auth::ApiKey(key) => {
                other_secrets.push(key.clone());
                Some((header::AUTHORIZATION, sensitive("api_key", format!("ApiKey {}", key.reveal()))?))
            }
            Auth::Basic { username, password } => {
                let pair = basic_pair(username, password.reveal());
                other_secrets.push(password.clone());
                let value = sensitive("basic", format!("Basic {pair}"))?;
                other_secrets.push(Secret::new(pair));
                Some((header::AUTHORIZATION, value))
            }
            Auth::Header { name, value } => {
                other_secrets.push(value.clone());
                Some((name.clone(), sensitive("header", value.reveal().to_owned())?))
            }
            Auth::ClientCredentials(config) => {
                return Ok(Self(Kind::Tokens(Box::new(TokenSource::new(config.clone(), other_secrets)?))));
            }
        };
        Ok(Self(Kind::Fixed { header, redaction: Redaction::new(&other_secrets) }))
    }

    /// What the next request is authorised with. Asks for a token where there is none that will do.
    pub(super) async fn credentials(&self, client: &Client) -> Result<Credentials, Denied> {
        match &self.0 {
            Kind::Fixed { header, redaction } => {
                Ok(Credentials { header: header.clone(), redaction: redaction.clone(), token: None })
            }
            Kind::Tokens(source) => {
                let token = source.token(client).await?;
                let header = Some((header::AUTHORIZATION, token.header()));
                Ok(Credentials { header, redaction: token.redaction(), token: Some(token) })
            }
        }
    }

    /// The intake refused these credentials. Whether others can be had.
    pub(super) fn refused(&self, credentials: &Credentials) -> bool {
        match (&self.0, &credentials.token) {
            (Kind::Tokens(source), Some(token)) => {
                source.forget(token);
                true
            }
            _ => false,
        }
    }
}

/// User and password as the scheme Basic has them (RFC 7617).
pub(super) fn basic_pair(username: &str, password: &str) -> String {
    STANDARD.encode(format!("{username}:{password}"))
}

/// A header's value that no layer below prints or compresses in common with others.
pub(super) fn sensitive(key: &'static str, text: String) -> Result<HeaderValue, RequestError> {
    let mut value = HeaderValue::try_from(text).map_err(|source| RequestError::Secret { key, source })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http;

    fn client() -> Client {
        let second = Duration::from_secs(1);
        Client::new(&http::Config {
            extra_roots_pem: None,
            identity: None,
            proxy: None,
            connect_timeout: second,
            read_timeout: second,
            total_timeout: None,
        })
        .unwrap()
    }

    /// *Scenario*: each kind of fixed credentials.
    /// *Guarantees*: the header carries them, marked as sensitive; nothing shows them, and they are taken out of an answer
    /// that repeats them, together with what else the request carries.
    #[tokio::test]
    async fn fixed_credentials() {
        let secret = || Secret::new("pass-secret".to_owned());
        for (auth, name, expected) in [
            (Auth::Bearer(secret()), header::AUTHORIZATION, "Bearer pass-secret"),
            (Auth::ApiKey(secret()), header::AUTHORIZATION, "ApiKey pass-secret"),
            (
                Auth::Basic { username: "me".to_owned(), password: secret() },
                header::AUTHORIZATION,
                "Basic bWU6cGFzcy1zZWNyZXQ=",
            ),
            (
                Auth::Header { name: HeaderName::from_static("dd-api-key"), value: secret() },
                HeaderName::from_static("dd-api-key"),
                "pass-secret",
            ),
        ] {
            let authorizer = Authorizer::new(&auth, vec![Secret::new("in the body".to_owned())]).unwrap();
            let credentials = authorizer.credentials(&client()).await.unwrap();
            let (sent_name, value) = credentials.header.clone().unwrap();
            assert_eq!((sent_name, value.to_str().unwrap()), (name, expected));
            assert!(value.is_sensitive());
            let shown = format!("{auth:?} {authorizer:?} {credentials:?}");
            assert!(!shown.contains("secret") && !shown.contains("bWU6"), "{shown}");
            let quoted = credentials.redaction.apply(&format!("{expected} was sent in the body"));
            assert!(!quoted.contains("secret") && !quoted.contains("bWU6"), "{quoted}");
            assert!(quoted.ends_with("was sent ***"), "{quoted}");
            assert!(!authorizer.refused(&credentials), "there are no others");
        }
        let none = Authorizer::new(&Auth::None, Vec::new()).unwrap();
        assert!(none.credentials(&client()).await.unwrap().header.is_none());
    }

    /// *Scenario*: a token with a line end, as a file may give it.
    /// *Guarantees*: it is refused with the name of the key and without the token.
    #[test]
    fn credentials_that_cannot_be_sent_are_refused() {
        let auth = Auth::Bearer(Secret::new("token\n".to_owned()));
        let refused = Authorizer::new(&auth, Vec::new()).unwrap_err().to_string();
        assert!(refused.contains("`bearer`") && !refused.contains("token"), "{refused}");
    }
}
