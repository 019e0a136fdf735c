//! The place of a key: its segments from the top, as in `sources.prod.start`.

use std::fmt;

/// What every variable's name starts with, in any case.
pub(super) const VARIABLE_PREFIX: &str = "FLOWLOGD__";

/// The segments of a key. A header's name may contain dots, so the segments are kept apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(Vec<String>);

impl KeyPath {
    /// The key of these segments.
    pub(super) fn new<S: Into<String>>(segments: impl IntoIterator<Item = S>) -> Self {
        Self(segments.into_iter().map(Into::into).collect())
    }

    /// The key of a dotted text whose segments contain no dots.
    pub(super) fn dotted(text: &str) -> Self {
        Self::new(text.split('.'))
    }

    /// The key that a variable sets; `None` where the variable is not one of ours. Lower-cased: names of variables
    /// have no case.
    pub(super) fn of_variable(name: &str) -> Option<Self> {
        let lower_case_name = name.to_ascii_lowercase();
        let key = lower_case_name.strip_prefix(&VARIABLE_PREFIX.to_ascii_lowercase())?;
        Some(Self::new(key.split("__")))
    }

    /// The variable that sets this key.
    pub(super) fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.0.join("__").to_ascii_uppercase())
    }

    /// The segments.
    pub(super) fn segments(&self) -> &[String] {
        &self.0
    }

    /// The key with one more segment.
    pub(super) fn child(&self, segment: &str) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment.to_owned());
        Self(segments)
    }

    /// The last segment.
    pub(super) fn last(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// The key beside this one: the last segment with something appended.
    pub(super) fn with_suffix(&self, suffix: &str) -> Self {
        let mut segments = self.0.clone();
        if let Some(last) = segments.last_mut() {
            last.push_str(suffix);
        }
        Self(segments)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}
