//! Secrets: given as a key, as a file that a key names, or as a file in the directory of credentials that systemd
//! hands to a service. Never two of them, and never an empty one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use config::ValueKind;

use super::{
    error::{Origin, Report},
    key_path::KeyPath,
    keys,
    layers::Layer,
};

/// The variable that names systemd's directory of credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Puts every secret of every source and intake at its own key, and takes the keys away that name its file. Gives
/// the number of credentials that were used.
pub(super) fn resolve(
    layer: &mut Layer,
    environment: &BTreeMap<String, String>,
    report: &mut Report,
) -> usize {
    let credentials =
        environment.get(CREDENTIALS_DIRECTORY).filter(|path| !path.is_empty()).map(PathBuf::from);
    let mut n_credentials = 0_usize;
    for section in ["sources", "intakes"] {
        let tables: Vec<KeyPath> = layer.tables_of(section).cloned().collect();
        for table in tables {
            for place in keys::secrets_of(section) {
                let key = place.split('.').fold(table.clone(), |path, segment| path.child(segment));
                let credential =
                    credentials.as_ref().map(|directory| directory.join(format!("{}.{place}", table.last())));
                let is_used = resolve_one(&key, credential.filter(|path| is_there(path)), layer, report);
                n_credentials = n_credentials.saturating_add(usize::from(is_used));
            }
        }
    }
    n_credentials
}

/// Puts one secret at its key. Gives whether a credential was used.
fn resolve_one(key: &KeyPath, credential: Option<PathBuf>, layer: &mut Layer, report: &mut Report) -> bool {
    let file_key = key.with_suffix("_file");
    let mut given: Vec<String> = Vec::new();
    for candidate in [key, &file_key] {
        if layer.get(candidate).is_some() {
            given.push(format!("{candidate} ({})", report.origin(candidate)));
        }
    }
    given.extend(credential.iter().map(|path| Origin::Credential(path.clone()).to_string()));
    if given.len() > 1 {
        report.reject(key, format!("is given more than once: {}", given.join(", ")), "keep one of them");
        return false;
    }
    let (path, origin) = match (layer.remove(&file_key), credential) {
        (Some(ValueKind::String(path)), _) => (PathBuf::from(path), report.origin(&file_key)),
        (_, Some(path)) => (path.clone(), Origin::Credential(path)),
        _ => return false,
    };
    let is_credential = matches!(origin, Origin::Credential(_));
    match read_secret(&path) {
        Ok(text) => layer.set(key.clone(), text.into()),
        Err(message) => {
            let named_key = if is_credential { key } else { &file_key };
            let remedy = "let the file hold the secret alone, readable for the user that flowlogd runs as";
            report.reject_from(named_key.to_string(), origin.clone(), message, remedy);
        }
    }
    report.note_origin(key.clone(), origin);
    is_credential
}

/// Whether there is a file. What cannot be seen counts as there, so that reading it says why.
pub(super) fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

/// The secret that a file holds, without the one line end that editors and `echo` add.
fn read_secret(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let mut text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", path.display()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() { Err(format!("{} is empty", path.display())) } else { Ok(text) }
}
