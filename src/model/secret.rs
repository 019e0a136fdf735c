//! Values that must not be shown.

use std::fmt;

/// Shorter paths and header values are words, not secrets, and would only make what is shown unreadable.
const SHORTEST_POSSIBLE_SECRET: usize = 9;

/// Whether a part of a request that is no credential by name may be one: some receivers take their key in the path, in
/// the query or in a header.
#[must_use]
pub fn may_be_secret(text: &str) -> bool {
    text.len() >= SHORTEST_POSSIBLE_SECRET
}

/// A key, token or password. It has neither `Display` nor `Serialize`, and `Debug` shows three asterisks.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the secret letter for letter.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret that a file holds, without the one line end that editors and `echo` add.
    ///
    /// # Errors
    /// [`NotASecret`] where the bytes are no text, or nothing is left of them.
    pub fn from_file(bytes: Vec<u8>) -> Result<Self, NotASecret> {
        let mut text = String::from_utf8(bytes).map_err(|_| NotASecret::NotText)?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if text.is_empty() { Err(NotASecret::Empty) } else { Ok(Self(text)) }
    }

    /// The secret itself, for the one place that signs or sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A file holds no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotASecret {
    /// Bytes that are no text.
    #[error("is not UTF-8 text")]
    NotText,
    /// Nothing, or a line end alone.
    #[error("is empty")]
    Empty,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
