//! Checks a storage account: its name, its keys, where it answers. They are named one by one, or by a connection string.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{
    check::{CONNECT_TIMEOUT, check_proxy, check_roots, check_url},
    defaults::public_endpoint,
    error::Report,
    key_path::KeyPath,
    schema,
};
use crate::{
    http,
    model::Secret,
    storage::azure::{self, AccountKey, KeyFile, KeyForm, connection_string::ConnectionString},
};

/// Storage answers stream; a minute without a byte is a dead connection, however large the range.
const STORAGE_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// What names an account, each with the key to blame.
struct Written {
    account: (KeyPath, Option<String>),
    account_key: (KeyPath, Option<Secret>),
    endpoint: (KeyPath, Option<String>),
    /// What a file of the account key holds.
    form: KeyForm,
}

/// Checks a source that is an account. `files` are those that secrets came from.
pub(super) fn check_account(
    table: &KeyPath,
    mut source: schema::Source,
    files: &BTreeMap<KeyPath, PathBuf>,
    report: &mut Report,
) -> Option<azure::Config> {
    if let Some(container) = &source.container {
        check_container(&table.child("container"), container, report);
    }
    let secondary_key = source.secondary_key.take();
    let secondary_key = secondary_key.map(|key| {
        let place = table.child("secondary_key");
        check_key_text(&place, &key, report);
        account_key(key, files.get(&place), KeyForm::Key)
    });
    let extra_roots_pem =
        source.ca_file.take().and_then(|path| check_roots(&table.child("ca_file"), path, report));
    let proxy = source.proxy.take().and_then(|text| check_proxy(&table.child("proxy"), &text, report));
    let written = match source.connection_string.take() {
        Some(text) => from_connection_string(table, &text, &source, report)?,
        None => one_by_one(table, source),
    };

    check_account_name(&written.account.0, written.account.1.as_deref(), report);
    let (key_place, key) = written.account_key;
    match &key {
        None => report.reject(
            &key_place,
            "is missing",
            format!(
                "give account_key_file, {} or the credential {}.account_key",
                key_place.variable(),
                table.last()
            ),
        ),
        Some(key) => check_key_text(&key_place, key, report),
    }
    let endpoint = written.endpoint.1.as_deref().and_then(|text| {
        let mut endpoint = check_url(&written.endpoint.0, text, false, false, report)?;
        let path = endpoint.path().trim_end_matches('/').to_owned();
        endpoint.set_path(&path);
        Some(endpoint)
    });
    let file_place = match written.form {
        KeyForm::Key => table.child("account_key"),
        KeyForm::ConnectionString => table.child("connection_string"),
    };
    Some(azure::Config {
        account: written.account.1?,
        account_key: account_key(key?, files.get(&file_place), written.form),
        secondary_key,
        endpoint: endpoint?,
        http: http::Config {
            extra_roots_pem,
            identity: None,
            proxy,
            connect_timeout: CONNECT_TIMEOUT,
            read_timeout: STORAGE_READ_TIMEOUT,
            total_timeout: None,
        },
    })
}

fn one_by_one(table: &KeyPath, source: schema::Source) -> Written {
    Written {
        account: (table.child("account"), source.account),
        account_key: (table.child("account_key"), source.account_key),
        endpoint: (table.child("endpoint"), source.endpoint),
        form: KeyForm::Key,
    }
}

/// The parts of a connection string stand for the keys that may not be given beside it. A wrong one is reported as
/// `connection_string.BlobEndpoint`.
fn from_connection_string(
    table: &KeyPath,
    text: &Secret,
    beside: &schema::Source,
    report: &mut Report,
) -> Option<Written> {
    let place = table.child("connection_string");
    let derived_endpoint = beside.account.as_deref().map(public_endpoint);
    let given = [
        ("account", beside.account.is_some()),
        ("account_key", beside.account_key.is_some()),
        ("endpoint", beside.endpoint.is_some() && beside.endpoint != derived_endpoint),
    ];
    for (name, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
        report.reject(
            &table.child(name),
            "has no use beside connection_string, which says it too",
            "keep one of the two",
        );
    }
    let parsed = match ConnectionString::parse(text.reveal()) {
        Ok(parsed) => parsed,
        Err(error) => {
            report.reject(&place, error.to_string(), error.remedy());
            return None;
        }
    };
    let origin = report.origin(&place);
    let [account, account_key, endpoint] = ["AccountName", "AccountKey", "BlobEndpoint"].map(|name| {
        let part = place.child(name);
        report.note_origin(part.clone(), origin.clone());
        part
    });
    Some(Written {
        account: (account, Some(parsed.account)),
        account_key: (account_key, Some(parsed.account_key)),
        endpoint: (endpoint, Some(parsed.endpoint)),
        form: KeyForm::ConnectionString,
    })
}

fn account_key(key: Secret, file: Option<&PathBuf>, form: KeyForm) -> AccountKey {
    AccountKey { key, file: file.map(|path| KeyFile { path: path.clone(), form }) }
}

fn is_name_of(name: &str, letters: fn(char) -> bool, longest: usize) -> bool {
    (3..=longest).contains(&name.len()) && name.chars().all(letters)
}

fn check_account_name(place: &KeyPath, account: Option<&str>, report: &mut Report) {
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    match account {
        None => report.reject(
            place,
            "is missing",
            "name the storage account, or a directory that holds a copy of a container",
        ),
        Some(account) if !is_name_of(account, is_letter, 24) => report.reject(
            place,
            "is not the name of a storage account",
            "give its 3 to 24 lower-case letters and digits",
        ),
        Some(_) => {}
    }
}

fn check_container(place: &KeyPath, container: &str, report: &mut Report) {
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if !is_name_of(container, is_letter, 63) {
        let message = format!("\"{container}\" is not the name of a container");
        report.reject(place, message, "give its 3 to 63 lower-case letters, digits and hyphens");
    }
}

fn check_key_text(place: &KeyPath, key: &Secret, report: &mut Report) {
    if BASE64.decode(key.reveal()).map_or(true, |bytes| bytes.is_empty()) {
        let number = if place.last() == "secondary_key" { 2 } else { 1 };
        report.reject(
            place,
            "is not base64",
            format!(
                "copy key{number} of the storage account's access keys, whole and without quotes or spaces"
            ),
        );
    }
}
