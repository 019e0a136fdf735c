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
use crate::model::Secret;

/// The variable that names systemd's directory of credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where the secrets came from.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// The number of credentials that were used.
    pub(super) n_credentials: usize,
    /// The files of secrets that came from one, credentials included.
    pub(super) files: BTreeMap<KeyPath, PathBuf>,
}

/// Puts every secret of every source and intake at its own key, and takes the keys away that name its file.
pub(super) fn resolve(
    layer: &mut Layer,
    environment: &BTreeMap<String, String>,
    report: &mut Report,
) -> Resolved {
    let credentials =
        environment.get(CREDENTIALS_DIRECTORY).filter(|path| !path.is_empty()).map(PathBuf::from);
    let mut resolved = Resolved::default();
    for section in ["sources", "intakes"] {
        let tables: Vec<KeyPath> = layer.tables_of(section).cloned().collect();
        for table in tables {
            for place in keys::secrets_of(section) {
                let key = place.split('.').fold(table.clone(), |path, segment| path.child(segment));
                let credential =
                    credentials.as_ref().map(|directory| directory.join(format!("{}.{place}", table.last())));
                let credential = credential.filter(|path| is_there(path));
                resolve_one(key, credential, layer, &mut resolved, report);
            }
        }
    }
    resolved
}

/// Puts one secret at its key.
fn resolve_one(
    key: KeyPath,
    credential: Option<PathBuf>,
    layer: &mut Layer,
    resolved: &mut Resolved,
    report: &mut Report,
) {
    let file_key = key.with_suffix("_file");
    let mut given: Vec<String> = Vec::new();
    for candidate in [&key, &file_key] {
        if layer.get(candidate).is_some() {
            given.push(format!("{candidate} ({})", report.origin(candidate)));
        }
    }
    given.extend(credential.iter().map(|path| Origin::Credential(path.clone()).to_string()));
    if given.len() > 1 {
        report.reject(&key, format!("is given more than once: {}", given.join(", ")), "keep one of them");
        return;
    }
    let (path, origin) = match (layer.remove(&file_key), credential) {
        (Some(ValueKind::String(path)), _) => (PathBuf::from(path), report.origin(&file_key)),
        (_, Some(path)) => (path.clone(), Origin::Credential(path)),
        _ => return,
    };
    let is_credential = matches!(origin, Origin::Credential(_));
    match read_secret(&path) {
        Ok(secret) => layer.set(key.clone(), secret.reveal().into()),
        Err(message) => {
            let named_key = if is_credential { &key } else { &file_key };
            let remedy = "let the file hold the secret alone, readable for the user that flowlogd runs as";
            report.reject_from(named_key.to_string(), origin.clone(), message, remedy);
        }
    }
    report.note_origin(key.clone(), origin);
    resolved.n_credentials = resolved.n_credentials.saturating_add(usize::from(is_credential));
    resolved.files.insert(key, path);
}

/// Whether there is a file. What cannot be seen counts as there, so that reading it says why.
pub(super) fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

/// The secret that a file holds.
fn read_secret(path: &Path) -> Result<Secret, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Secret::from_file(bytes).map_err(|error| format!("{} {error}", path.display()))
}
