//! The effective settings as TOML: what `check-config` prints. It can be loaded again once the asterisks are replaced.

use std::fmt::Write as _;

use config::ValueKind;

use super::{
    key_path::KeyPath,
    keys::{self, Found, KEYS},
    layers::Layer,
    values::Kind,
    without_query, without_secrets,
};
use crate::http;

/// What stands for a secret.
const HIDDEN: &str = "***";

/// All keys in the order of the table of keys. `written` holds the keys as they were given, `resolved` the secrets
/// too that came as credentials.
pub(super) fn effective_toml(written: &Layer, resolved: &Layer) -> String {
    let mut lines: Vec<(Rank<'_>, &KeyPath, String)> = Vec::new();
    for (path, value) in written.iter() {
        lines.push((rank(path), path, shown(path, value)));
    }
    for (path, value) in resolved.iter() {
        let is_from_named_file = written.get(&path.with_suffix("_file")).is_some();
        if written.get(path).is_none() && !is_from_named_file {
            lines.push((rank(path), path, shown(path, value)));
        }
    }
    lines.sort();

    let mut text = String::new();
    let mut open_table: &[String] = &[];
    for (_, path, value) in &lines {
        let Some((name, table)) = path.segments().split_last() else { continue };
        if table != open_table {
            let separator = if text.is_empty() { "" } else { "\n" };
            // Writing to a String cannot fail.
            _ = writeln!(
                text,
                "{separator}[{}]",
                table.iter().map(|word| bare(word)).collect::<Vec<_>>().join(".")
            );
            open_table = table;
        }
        _ = writeln!(text, "{} = {value}", bare(name));
    }
    text
}

/// Section, name of the table below it, number of segments, place in the table of keys.
type Rank<'a> = (usize, &'a str, usize, usize);

/// The place of a key: sections in the order of the table of keys, in each the named tables one after the other, and in
/// each of those the keys of deeper tables behind those of the table around them. TOML opens no table twice.
fn rank(path: &KeyPath) -> Rank<'_> {
    let segments = path.segments();
    let section = segments.first().map(String::as_str);
    let name = if let [_, name, _, ..] = segments { name } else { "" };
    let position_of = |is_it: &dyn Fn(&keys::Key) -> bool| KEYS.iter().position(is_it).unwrap_or(KEYS.len());
    let own_pattern = if let Found::Key(key) = keys::find(path) { key.pattern } else { "" };
    let section_start = position_of(&|key| key.segments().next() == section);
    (section_start, name, segments.len(), position_of(&|key| key.pattern == own_pattern))
}

fn shown(path: &KeyPath, value: &ValueKind) -> String {
    let kind = if let Found::Key(key) = keys::find(path) { key.kind } else { Kind::Secret };
    let is_intake = path.segments().first().is_some_and(|section| section == "intakes");
    match (kind, value) {
        (Kind::Secret, _) => quoted(HIDDEN),
        (Kind::Url, ValueKind::String(url)) if is_intake => quoted(&without_secrets(url)),
        (Kind::Url, ValueKind::String(url)) => quoted(&without_query(url)),
        (Kind::Proxy, ValueKind::String(url)) => {
            quoted(&http::Proxy::parse(url).map_or_else(|_| HIDDEN.to_owned(), |proxy| proxy.to_string()))
        }
        (_, ValueKind::String(text)) => quoted(text),
        (_, ValueKind::Array(elements)) => {
            let words: Vec<String> = elements.iter().map(|element| shown(path, &element.kind)).collect();
            format!("[{}]", words.join(", "))
        }
        _ => value.to_string(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn bare(word: &str) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !word.is_empty() && word.chars().all(is_bare) { word.to_owned() } else { quoted(word) }
}
