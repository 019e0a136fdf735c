//! What must not be quoted from an answer although a receiver may say it.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    event::json,
    model::{Secret, may_be_secret},
};

/// Texts of a request that are never shown. Clones share them.
#[derive(Clone, Default)]
pub struct Redaction(Arc<[Secret]>);

impl Redaction {
    /// Takes out these texts and what may be secret of them alone, in plain and as JSON, HTML and URLs spell them.
    #[must_use]
    pub fn new(secrets: &[Secret]) -> Self {
        let mut hidden = Vec::new();
        for secret in secrets.iter().map(Secret::reveal).filter(|secret| !secret.is_empty()) {
            for text in std::iter::once(secret.to_owned()).chain(parts(secret)) {
                hidden.extend(spellings(&text).into_iter().map(Secret::new));
                hidden.push(Secret::new(text));
            }
        }
        // A secret may contain another one: the longest first, so that no piece of it stays.
        hidden.sort_by(|one, other| {
            let by_length = other.reveal().len().cmp(&one.reveal().len());
            by_length.then_with(|| one.reveal().cmp(other.reveal()))
        });
        hidden.dedup();
        Self(hidden.into())
    }

    /// Bytes of the longest secret: so much at the end of a text that was cut may be a piece of one.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.0.first().map_or(0, |secret| secret.reveal().len())
    }

    /// The text with three asterisks for each secret.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        let shown =
            self.0.iter().fold(text.to_owned(), |shown, secret| shown.replace(secret.reveal(), "***"));
        without_pairs(&shown)
    }
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redaction({})", self.0.len())
    }
}

/// A text as JSON escapes it, with and without slashes, as HTML does, and as forms and URLs do.
fn spellings(text: &str) -> [String; 6] {
    let mut escaped_bytes = Vec::new();
    json::write_escaped(&mut escaped_bytes, text.as_bytes());
    let escaped = String::from_utf8_lossy(&escaped_bytes).into_owned();
    let slashed = escaped.replace('/', "\\/");
    let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let quoted = html.replace('"', "&quot;").replace('\'', "&#39;");
    let in_form = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let in_url = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    [escaped, slashed, html, quoted, in_form, in_url]
}

/// What a server may say of a path or a query: a segment, or the value of a parameter, as it is written or as it is meant.
fn parts(text: &str) -> Vec<String> {
    let written: Vec<&str> = match text.strip_prefix('/') {
        Some(path) => path.split('/').collect(),
        None => text.split('&').map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value)).collect(),
    };
    let meant =
        |part: &&str| url::form_urlencoded::parse(part.as_bytes()).map(|(name, _)| name.into_owned()).next();
    let all = written.iter().filter_map(meant).chain(written.iter().map(|part| (*part).to_owned()));
    all.filter(|part| may_be_secret(part) && part != text).collect()
}

/// The text without user names and passwords as `Basic` sends them: a proxy may quote its own.
fn without_pairs(text: &str) -> String {
    let is_of_pair = |byte: char| byte.is_ascii_alphanumeric() || "+/=".contains(byte);
    let mut pieces = text.split_inclusive("asic ");
    let mut shown = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (word, rest) = piece.split_at(piece.find(|byte| !is_of_pair(byte)).unwrap_or(piece.len()));
        let is_pair = STANDARD.decode(word).is_ok_and(|pair| pair.contains(&b':'));
        shown.push_str(if is_pair { "***" } else { word });
        shown.push_str(rest);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: answers that quote a segment of the path, the value of a parameter, decoded or not, and a pair of user and
    /// password that nobody told of; others that say nothing of these.
    /// *Guarantees*: what may be secret is hidden, wherever it stands; plain words stay.
    #[test]
    fn parts_of_a_secret_are_hidden() {
        let secrets = ["/in/canary%20path/v1", "name=blue&token=canary%2Bquery", "application/json"];
        let redaction = Redaction::new(&secrets.map(|text| Secret::new(text.to_owned())));
        for (said, shown) in [
            ("no canary%20path here", "no *** here"),
            ("no canary path here", "no *** here"),
            ("token canary+query, canary%2Bquery", "token ***, ***"),
            ("\\/in\\/canary%20path\\/v1", "***"),
            ("name blue in v1 is an application", "name blue in v1 is an application"),
            (
                "Proxy-Authorization: Basic bWU6cGFzcy1zZWNyZXQ=, basic bTpw",
                "Proxy-Authorization: Basic ***, basic ***",
            ),
            ("in%2Fcanary%2520path%2Fv1 and &lt;b&gt;", "in%2F***%2Fv1 and &lt;b&gt;"),
            ("Basic authorization or basic auth? No basic ", "Basic authorization or basic auth? No basic "),
        ] {
            assert_eq!(redaction.apply(said), shown);
        }
    }

    /// *Scenario*: a secret of letters that every kind of text spells in its own way.
    /// *Guarantees*: it is hidden in each.
    #[test]
    fn every_spelling_is_hidden() {
        let secret = "a&1<2>\"3'/ \u{e9}";
        let redaction = Redaction::new(&[Secret::new(secret.to_owned())]);
        assert!(redaction.longest() >= secret.len());
        for said in [
            "a&1<2>\"3'/ \u{e9}",
            "a&1<2>\\\"3'/ \u{e9}",
            "a&1<2>\\\"3'\\/ \u{e9}",
            "a&amp;1&lt;2&gt;\"3'/ \u{e9}",
            "a&amp;1&lt;2&gt;&quot;3&#39;/ \u{e9}",
            "a%261%3C2%3E%223%27%2F+%C3%A9",
            "a%261%3C2%3E%223%27%2F%20%C3%A9",
        ] {
            assert_eq!(redaction.apply(said), "***", "{said}");
        }
    }
}
