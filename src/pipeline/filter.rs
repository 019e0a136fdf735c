//! Which blobs of a container a source wants: `include` and `exclude`, applied before anything is read.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::model::BlobName;

/// Globs on whole blob names. `*` also matches `/`; case does not count, as Azure writes names in several.
#[derive(Debug, Clone)]
pub struct BlobFilter {
    include: GlobSet,
    exclude: GlobSet,
}

/// A glob that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{glob}\" is not a glob: {reason}")]
pub struct GlobError {
    /// The text.
    pub glob: String,
    /// What is wrong with it.
    pub reason: String,
}

impl BlobFilter {
    /// Takes the blobs that a glob of `include` matches and no glob of `exclude`.
    ///
    /// # Errors
    /// The first glob that cannot be read.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, GlobError> {
        Ok(Self { include: globs(include)?, exclude: globs(exclude)? })
    }

    /// Whether a blob is wanted.
    #[must_use]
    pub fn wants(&self, name: &BlobName) -> bool {
        self.include.is_match(name.as_str()) && !self.exclude.is_match(name.as_str())
    }
}

/// Checks one glob.
///
/// # Errors
/// Where it cannot be read.
pub fn check_glob(glob: &str) -> Result<(), GlobError> {
    globs(&[glob.to_owned()]).map(drop)
}

fn globs(texts: &[String]) -> Result<GlobSet, GlobError> {
    let mut builder = GlobSetBuilder::new();
    let unreadable = |glob: &str, error: &globset::Error| GlobError {
        glob: glob.to_owned(),
        reason: error.kind().to_string(),
    };
    for text in texts {
        let glob = GlobBuilder::new(text).case_insensitive(true).backslash_escape(true).build();
        builder.add(glob.map_err(|error| unreadable(text, &error))?);
    }
    builder.build().map_err(|error| unreadable(&texts.join(", "), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a blob name against pairs of lists. Guarantees: a name is wanted where some glob includes it and none
    /// excludes it, whatever its case and its slashes.
    #[test]
    fn globs_choose_blobs() {
        let check = |include: &[&str], exclude: &[&str], expected: bool| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            let filter = BlobFilter::new(&owned(include), &owned(exclude)).unwrap();
            let name = BlobName::new(
                "flowLogResourceID=/SUB_RG/NETWORKWATCHER_WESTEUROPE_PROD/y=2026/m=11/d=24/h=05/m=00/\
                 macAddress=0022482F8D3A/PT1H.json",
            );
            assert_eq!(filter.wants(&name), expected, "{include:?} {exclude:?}");
        };
        check(&["*"], &[], true);
        check(&[], &[], false);
        check(&["*"], &["*"], false);
        check(&["*westeurope_prod/*"], &[], true);
        check(&["*westeurope"], &[], false);
        check(&["*eastus*", "*_PROD/y=2026/*"], &["*macaddress=0022482f*"], false);
        check(&["*"], &["*macAddress=000D*"], true);
        check(&["*h={05,06}/*"], &["*h=0[0-4]/*"], true);
    }

    /// Scenario: a text that is no glob. Guarantees: the error repeats it and says why.
    #[test]
    fn unreadable_globs_are_named() {
        let error = check_glob("*[a").unwrap_err();
        assert_eq!(error.to_string(), "\"*[a\" is not a glob: unclosed character class; missing ']'");
    }
}
