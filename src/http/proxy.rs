//! The proxy to go through, where there is one. None is ever taken from the environment.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::model::Secret;

/// An `http://` proxy, with user and password where it asks for them. It is never shown with them.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Url);

/// A text is no proxy that can be used. Holds nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAProxy {
    /// No URL, or one without a host.
    #[error("is not an absolute URL")]
    NotAUrl,
    /// Another scheme than http.
    #[error("is not an http:// proxy; other kinds are not built yet")]
    Scheme,
    /// A path, query or fragment.
    #[error("has something behind its port")]
    Path,
}

impl Proxy {
    /// Takes `http://HOST:PORT` or `http://USER:PASSWORD@HOST:PORT`. Letters of user and password that have a meaning in
    /// URLs are percent-encoded.
    ///
    /// # Errors
    /// [`NotAProxy`], which says why.
    pub fn parse(text: &str) -> Result<Self, NotAProxy> {
        let url = Url::parse(text).map_err(|_| NotAProxy::NotAUrl)?;
        if ["https", "socks4", "socks4a", "socks5", "socks5h"].contains(&url.scheme()) {
            return Err(NotAProxy::Scheme);
        }
        if url.scheme() != "http" || !url.has_host() {
            // `proxy:3128` is a URL too, of the scheme `proxy`.
            return Err(NotAProxy::NotAUrl);
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(NotAProxy::Path);
        }
        Ok(Self(url))
    }

    /// What must not be quoted from an answer: the password, or a user name that stands for one, as it is written and as it
    /// is meant.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let alone = Some(self.0.username()).filter(|username| !username.is_empty());
        let Some(written) = self.0.password().or(alone) else { return Vec::new() };
        let meant = percent_decode_str(written).decode_utf8_lossy().into_owned();
        vec![Secret::new(written.to_owned()), Secret::new(meant)]
    }

    /// For the one place that connects.
    pub(super) fn reveal(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_credentials = !self.0.username().is_empty() || self.0.password().is_some();
        let hidden = if has_credentials { "***@" } else { "" };
        write!(f, "http://{hidden}{}", self.0.host_str().unwrap_or_default())?;
        match self.0.port() {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: proxies as people write them, right and wrong. Guarantees: what can be used is taken and shown without
    /// user and password; all else is refused without a letter of it.
    #[test]
    fn proxies() {
        let check = |text: &str, expected: Result<&str, NotAProxy>| {
            let parsed = Proxy::parse(text);
            assert_eq!(
                parsed.as_ref().map(ToString::to_string).map_err(|error| *error),
                expected.map(str::to_owned),
                "{text}"
            );
            assert!(!format!("{parsed:?}").contains("canary"), "{parsed:?}");
        };
        let secrets = Proxy::parse("http://u:p%40ss@proxy").unwrap().secrets();
        assert_eq!(secrets.iter().map(Secret::reveal).collect::<Vec<_>>(), ["p%40ss", "p@ss"]);
        assert_eq!(Proxy::parse("http://token@proxy").unwrap().secrets().len(), 2);
        assert!(Proxy::parse("http://proxy").unwrap().secrets().is_empty());
        check("http://proxy:3128", Ok("http://proxy:3128"));
        check("http://proxy", Ok("http://proxy"));
        check("http://[::1]:8080/", Ok("http://[::1]:8080"));
        check("http://canary:canary@proxy:3128", Ok("http://***@proxy:3128"));
        check("http://canary@proxy", Ok("http://***@proxy"));
        check("http://:canary@proxy", Ok("http://***@proxy"));
        check("proxy:3128", Err(NotAProxy::NotAUrl));
        check("canary", Err(NotAProxy::NotAUrl));
        check("", Err(NotAProxy::NotAUrl));
        check("ftp://canary", Err(NotAProxy::NotAUrl));
        check("https://canary:3128", Err(NotAProxy::Scheme));
        check("socks5://canary:1080", Err(NotAProxy::Scheme));
        check("http://proxy/canary", Err(NotAProxy::Path));
        check("http://proxy?canary", Err(NotAProxy::Path));
    }
}
