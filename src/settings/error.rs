//! What is wrong with the settings: each problem names its key, where the value came from, and the way out.
//! No value of a secret ever enters a message.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use super::key_path::KeyPath;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The program's own defaults.
    Default,
    /// The settings file.
    File(PathBuf),
    /// An environment variable, as it is spelled in the environment.
    Variable(String),
    /// The environment as a whole, where there is no file: for keys that are missing.
    Environment,
    /// A file in the directory of credentials.
    Credential(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Environment => f.write_str("environment variables"),
            Self::Credential(path) => write!(f, "credential {}", path.display()),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, dotted; empty where the whole file is meant.
    pub key: String,
    /// Where its value came from, or where it was looked for.
    pub origin: Origin,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}; {}", self.origin, self.message, self.remedy)
        } else {
            write!(f, "{} ({}): {}; {}", self.key, self.origin, self.message, self.remedy)
        }
    }
}

/// The settings cannot be used. Holds every problem that one look finds, at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError {
    /// The problems, in the order of their keys.
    pub problems: Vec<Problem>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [problem] => write!(f, "settings: {problem}"),
            problems => {
                write!(f, "settings: {} problems", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

/// Collects problems, so that one run shows them all.
#[derive(Debug)]
pub(super) struct Report {
    missing_from: Origin,
    origins: BTreeMap<KeyPath, Origin>,
    problems: Vec<Problem>,
}

impl Report {
    /// `missing_from` is where keys that nobody set are reported: the file, or the environment where there is none.
    pub(super) fn new(missing_from: Origin) -> Self {
        Self { missing_from, origins: BTreeMap::new(), problems: Vec::new() }
    }

    /// Remembers where a key's value came from.
    pub(super) fn note_origin(&mut self, key: KeyPath, origin: Origin) {
        self.origins.insert(key, origin);
    }

    /// Where a key's value came from, or where it was looked for.
    pub(super) fn origin(&self, key: &KeyPath) -> Origin {
        self.origins.get(key).unwrap_or(&self.missing_from).clone()
    }

    /// Adds a problem of a key, with the origin that is known for it.
    pub(super) fn reject(&mut self, key: &KeyPath, message: impl Into<String>, remedy: impl Into<String>) {
        self.reject_from(key.to_string(), self.origin(key), message, remedy);
    }

    /// Adds a problem with an origin of its own.
    pub(super) fn reject_from(
        &mut self,
        key: String,
        origin: Origin,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let problem = Problem { key, origin, message: message.into(), remedy: remedy.into() };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// An error with all problems, if there are any.
    pub(super) fn into_result(self) -> Result<Self, SettingsError> {
        if self.problems.is_empty() { Ok(self) } else { Err(self.into_error()) }
    }

    /// The problems as an error.
    pub(super) fn into_error(mut self) -> SettingsError {
        self.problems.sort_by(|left, right| left.key.cmp(&right.key));
        SettingsError { problems: self.problems }
    }
}
