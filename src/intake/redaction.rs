//! What must not be quoted from an answer although a receiver may say it.

use std::{fmt, sync::Arc};

use crate::{event::json, model::Secret};

/// Texts of a request that are never shown. Clones share them.
#[derive(Clone, Default)]
pub struct Redaction(Arc<[Secret]>);

impl Redaction {
    /// Takes out these texts, in plain and as JSON escapes them.
    #[must_use]
    pub fn new(secrets: &[Secret]) -> Self {
        let mut hidden = Vec::new();
        for secret in secrets.iter().filter(|secret| !secret.reveal().is_empty()) {
            let mut escaped = Vec::new();
            json::write_escaped(&mut escaped, secret.reveal().as_bytes());
            if escaped != secret.reveal().as_bytes() {
                hidden.push(Secret::new(String::from_utf8_lossy(&escaped).into_owned()));
            }
            hidden.push(secret.clone());
        }
        // A secret may contain another one: the longest first, so that no piece of it stays.
        hidden.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
        Self(hidden.into())
    }

    /// The text with three asterisks for each secret.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |shown, secret| shown.replace(secret.reveal(), "***"))
    }
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redaction({})", self.0.len())
    }
}
