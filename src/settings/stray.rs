//! Variables that look like settings and are none: each is refused with the name that was probably meant, so that a
//! missing underscore never leaves a setting at its default unseen.

use super::{
    key_path::{KeyPath, VARIABLE_PREFIX},
    keys::{self, KEYS, Key},
};

/// What all variables start with that somebody may take for ours, lower-cased.
const PROGRAM_PREFIX: &str = "flowlogd_";

/// The variable that names the settings file; the command line reads it.
const FILE_VARIABLE: &str = "FLOWLOGD_CONFIG";

/// Whether a variable carries the program's name, in any case, and neither sets a key nor has another meaning.
pub(super) fn is_stray(variable: &str) -> bool {
    let lower_case_name = variable.to_ascii_lowercase();
    let Some(rest) = lower_case_name.strip_prefix(PROGRAM_PREFIX) else { return false };
    variable != FILE_VARIABLE && KeyPath::of_variable(variable).is_none() && !is_service_link(rest)
}

/// Kubernetes sets such variables in every pod beside a service of this name, or of one that starts with it:
/// `FLOWLOGD_SERVICE_HOST`, `FLOWLOGD_SERVICE_PORT_METRICS`, `FLOWLOGD_PORT`, `FLOWLOGD_PORT_9464_TCP_ADDR`.
fn is_service_link(rest: &str) -> bool {
    let padded = format!("_{rest}_");
    let is_port = |(at, _): (usize, &str)| {
        let behind = padded.get(at..).unwrap_or_default();
        match behind.split('_').skip(2).collect::<Vec<_>>().as_slice() {
            [""] => true,
            [number, "tcp" | "udp" | "sctp", "" | "proto" | "port" | "addr", ..] => {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            }
            _ => false,
        }
    };
    padded.ends_with("_service_host_")
        || padded.contains("_service_port_")
        || padded.match_indices("_port_").any(is_port)
}

/// What to write instead of a stray variable.
pub(super) fn remedy(variable: &str) -> String {
    let lower_case_name = variable.to_ascii_lowercase();
    let rest = lower_case_name.strip_prefix(PROGRAM_PREFIX).unwrap_or_default();
    match meant(rest) {
        Some(name) => format!("did you mean {name}?"),
        None => format!(
            "remove it; settings are {VARIABLE_PREFIX}SECTION__KEY, with two underscores before each level"
        ),
    }
}

/// The known variable that is nearest to one whose name, behind the program's, is `rest`.
fn meant(rest: &str) -> Option<String> {
    let words: Vec<&str> = rest.split('_').filter(|word| !word.is_empty()).collect();
    let written = words.join("_");
    let to_file = |name| keys::distance(&written, name);
    let of_file = (to_file("config").min(to_file("config_file")), 0, FILE_VARIABLE.to_owned());
    let of_keys = KEYS.iter().filter_map(|key| {
        let (edits, path) = fit(key, &words)?;
        Some((edits, path.segments().get(1).map_or(0, String::len), path.variable()))
    });
    let is_near = |(edits, _, name): &(usize, usize, String)| {
        *edits <= name.len().saturating_sub(PROGRAM_PREFIX.len()).div_ceil(4)
    };
    // Of two that are as near, the one that takes less for the name of a source or an intake.
    of_keys.chain([of_file]).filter(is_near).min().map(|(_, _, name)| name)
}

/// A key, with the words that stand where its table's name stands, and how many letters differ in all others.
fn fit(key: &Key, words: &[&str]) -> Option<(usize, KeyPath)> {
    let literal = key.segments().filter(|segment| *segment != "*").collect::<Vec<_>>();
    match key.segments().filter(|segment| *segment == "*").count() {
        0 => Some((keys::distance(&words.join("_"), &literal.join("_")), KeyPath::dotted(key.pattern))),
        1 => {
            let (section, places) = literal.split_first()?;
            let (first, behind) = words.split_first()?;
            let place = places.join("_");
            let n_name = behind.len().checked_sub(place.split('_').count()).filter(|n_name| *n_name > 0)?;
            let (name, end) = behind.split_at_checked(n_name)?;
            let edits = keys::distance(first, section).saturating_add(keys::distance(&end.join("_"), &place));
            let name = name.join("_");
            let segments = [*section, &name].into_iter().chain(places.iter().copied());
            Some((edits, KeyPath::new(segments)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: variables with the program's name: settings, the file's, those that Kubernetes sets, and others.
    /// *Guarantees*: only the others are stray.
    #[test]
    fn which_are_stray() {
        for known in [
            "FLOWLOGD__STATE_DIR",
            "flowlogd__log__level",
            "FLOWLOGD_CONFIG",
            "FLOWLOGD",
            "FLOWLOG_STATE_DIR",
            "FLOWLOGD_SERVICE_HOST",
            "FLOWLOGD_SERVICE_PORT",
            "FLOWLOGD_SERVICE_PORT_METRICS",
            "FLOWLOGD_PORT",
            "FLOWLOGD_PORT_9464_TCP",
            "FLOWLOGD_PORT_9464_TCP_ADDR",
            "FLOWLOGD_METRICS_PORT_9464_UDP_PROTO",
            "FLOWLOGD_METRICS_SERVICE_HOST",
        ] {
            assert!(!is_stray(known), "{known}");
        }
        for stray in
            ["FLOWLOGD_STATE_DIR", "flowlogd_config", "FLOWLOGD_LOG__LEVEL", "FLOWLOGD_PORT_X", "FLOWLOGD_"]
        {
            assert!(is_stray(stray), "{stray}");
        }
    }

    /// *Scenario*: an underscore is missing, at one level or at all, a letter is wrong, or nothing is near.
    /// *Guarantees*: the variable that was meant is named, else how they are built.
    #[test]
    fn remedies() {
        let built = "remove it; settings are FLOWLOGD__SECTION__KEY, with two underscores before each level";
        for (written, expected) in [
            ("FLOWLOGD_STATE_DIR", "did you mean FLOWLOGD__STATE_DIR?"),
            ("FLOWLOGD_STATEDIR", "did you mean FLOWLOGD__STATE_DIR?"),
            ("flowlogd_log_level", "did you mean FLOWLOGD__LOG__LEVEL?"),
            ("FLOWLOGD_LOG__LEVEL", "did you mean FLOWLOGD__LOG__LEVEL?"),
            ("FLOWLOGD_SOURCES_PROD_ACCOUNT_KEY", "did you mean FLOWLOGD__SOURCES__PROD__ACCOUNT_KEY?"),
            (
                "FLOWLOGD_SOURCES_A_B_ACCOUNT_KEY_FILE",
                "did you mean FLOWLOGD__SOURCES__A_B__ACCOUNT_KEY_FILE?",
            ),
            ("FLOWLOGD_INTAKE_OUT_BATCH_MAX_AGE", "did you mean FLOWLOGD__INTAKES__OUT__BATCH__MAX_AGE?"),
            ("FLOWLOGD_CONFIG_FILE", "did you mean FLOWLOGD_CONFIG?"),
            ("flowlogd_config", "did you mean FLOWLOGD_CONFIG?"),
            ("FLOWLOGD_CONF", "did you mean FLOWLOGD_CONFIG?"),
            ("FLOWLOGD_COLOUR", built),
            ("FLOWLOGD_", built),
        ] {
            assert_eq!(remedy(written), expected, "{written}");
        }
    }
}
