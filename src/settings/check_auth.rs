//! Checks what authorises the requests of an intake, and headers.

use ::http::{HeaderName, HeaderValue};

use super::{check::check_url, error::Report, key_path::KeyPath, schema};
use crate::{
    intake::{auth::Auth, oauth::ClientCredentials},
    model::Secret,
};

/// Headers that the client sets itself; two of one would change how the body is read.
const RESERVED_HEADERS: [&str; 11] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Checks what authorises the requests of an intake.
pub(super) fn check_auth(
    table: &KeyPath,
    auth: schema::Auth,
    is_http_allowed: bool,
    report: &mut Report,
) -> Option<Auth> {
    match (auth.bearer, auth.api_key, auth.basic, auth.header, auth.oauth2_client_credentials) {
        (None, None, None, None, None) => Some(Auth::None),
        (Some(token), None, None, None, None) => {
            header_value(&table.child("bearer"), &token, report)?;
            Some(Auth::Bearer(token))
        }
        (None, Some(key), None, None, None) => check_api_key(&table.child("api_key"), key, report),
        (None, None, Some(basic), None, None) => check_basic(&table.child("basic"), basic, report),
        (None, None, None, Some(header), None) => {
            let (name_key, value_key) =
                (table.child("header").child("name"), table.child("header").child("value"));
            let name = required(&name_key, header.name, report);
            let name = name.and_then(|text| check_header_name(&name_key, &text, report));
            let value = required(&value_key, header.value, report);
            let value = value.filter(|text| header_value(&value_key, text, report).is_some());
            Some(Auth::Header { name: name?, value: value? })
        }
        (None, None, None, None, Some(client)) => {
            check_client(&table.child("oauth2_client_credentials"), client, is_http_allowed, report)
        }
        _ => {
            let message =
                "names more than one of bearer, api_key, basic, header and oauth2_client_credentials";
            report.reject(table, message, "keep one of them");
            None
        }
    }
}

/// An API key has an id and a secret, and is sent encoded.
fn check_api_key(key: &KeyPath, secret: Secret, report: &mut Report) -> Option<Auth> {
    header_value(key, &secret, report)?;
    if secret.reveal().contains([':', ' ']) {
        let remedy = "give what its creation answers as `encoded`: base64 of ID:KEY, without the word ApiKey";
        report.reject(key, "is no encoded API key", remedy);
        return None;
    }
    Some(Auth::ApiKey(secret))
}

fn check_basic(table: &KeyPath, basic: schema::Basic, report: &mut Report) -> Option<Auth> {
    let username_key = table.child("username");
    let username = required(&username_key, basic.username, report);
    let password = required(&table.child("password"), basic.password, report);
    if username.as_ref().is_some_and(|name| name.contains(':')) {
        report.reject(
            &username_key,
            "has a colon, which basic authentication cannot carry",
            "use another user",
        );
        return None;
    }
    Some(Auth::Basic { username: username?, password: password? })
}

fn required<T>(key: &KeyPath, value: Option<T>, report: &mut Report) -> Option<T> {
    if value.is_none() {
        report.reject(key, "is missing", format!("set it, or {}", key.variable()));
    }
    value
}

fn check_client(
    table: &KeyPath,
    client: schema::ClientCredentials,
    is_http_allowed: bool,
    report: &mut Report,
) -> Option<Auth> {
    let url_key = table.child("token_url");
    let token_url = required(&url_key, client.token_url, report)
        .and_then(|text| check_url(&url_key, &text, true, is_http_allowed, report));
    let client_id = required(&table.child("client_id"), client.client_id, report);
    let client_secret = required(&table.child("client_secret"), client.client_secret, report);
    Some(Auth::ClientCredentials(ClientCredentials {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        scope: client.scope,
    }))
}

/// The name of a header that the operator may set.
pub(super) fn check_header_name(key: &KeyPath, name: &str, report: &mut Report) -> Option<HeaderName> {
    let Ok(header_name) = HeaderName::try_from(name) else {
        report.reject(
            key,
            format!("\"{name}\" is not the name of a header"),
            "use letters, digits and hyphens",
        );
        return None;
    };
    if RESERVED_HEADERS.contains(&header_name.as_str()) {
        report.reject(key, format!("flowlogd sets the header {header_name} itself"), "remove it");
        return None;
    }
    Some(header_name)
}

/// A header's value, which no `Debug` shows.
pub(super) fn header_value(key: &KeyPath, text: &Secret, report: &mut Report) -> Option<HeaderValue> {
    if let Ok(mut value) = HeaderValue::from_str(text.reveal()) {
        value.set_sensitive(true);
        return Some(value);
    }
    report.reject(key, "cannot stand in a header", "use visible ASCII letters, without line ends");
    None
}
