//! Keys that are known but cannot be used: they belong to another kind of source or to another protocol, or their
//! feature is not built yet.

use config::ValueKind;

use super::{
    defaults::{DIRECTORY, variant_of},
    error::Report,
    key_path::KeyPath,
    keys::{self, BUILT_PROTOCOLS, Found, Key},
    layers::Layer,
    values::Kind,
};

/// Refuses what cannot be used, and takes the keys away whose feature is not built yet: at their defaults they say
/// nothing.
pub(super) fn vet(layer: &mut Layer, report: &mut Report) {
    vet_tables(layer, report);
    let mut unbuilt_keys = Vec::new();
    for (path, value) in layer.iter() {
        let Found::Key(key) = keys::find(path) else { continue };
        let variant = match path.segments() {
            [section, name, _, ..] => variant_of(&KeyPath::new([section, name]), layer),
            _ => "",
        };
        if is_usable(variant) && !key.applies_to(variant) {
            reject_misplaced(path, key, variant, report);
        } else if let Some(instead) = key.later {
            if !is_default(key, variant, value) {
                report.reject(path, "is not built yet", instead);
            }
            unbuilt_keys.push(path.clone());
        }
    }
    for path in unbuilt_keys {
        layer.remove(&path);
    }
}

fn is_usable(variant: &str) -> bool {
    [super::defaults::AZURE, DIRECTORY].contains(&variant) || BUILT_PROTOCOLS.contains(&variant)
}

fn vet_tables(layer: &Layer, report: &mut Report) {
    for (section, word) in [("sources", "source"), ("intakes", "intake")] {
        if layer.tables_of(section).next().is_none() {
            report.reject(
                &KeyPath::new([section]),
                format!("no {word} is set"),
                format!("add [{section}.NAME]"),
            );
        }
    }
    for table in layer.tables_of("intakes") {
        let path = table.child("protocol");
        let built = BUILT_PROTOCOLS.join(", ");
        match variant_of(table, layer) {
            "" => report.reject(&path, "is missing", format!("set it to one of {built}")),
            protocol if !BUILT_PROTOCOLS.contains(&protocol) => {
                report.reject(
                    &path,
                    format!("\"{protocol}\" is not built yet"),
                    format!("set it to one of {built}"),
                );
            }
            _ => {}
        }
    }
}

fn reject_misplaced(path: &KeyPath, key: &Key, variant: &str, report: &mut Report) {
    if variant == DIRECTORY {
        report.reject(
            path,
            "has no use beside directory",
            "remove it, or remove directory to read the account",
        );
    } else {
        let message = format!("protocol \"{variant}\" does not know this key");
        report.reject(path, message, format!("remove it; it belongs to protocol {}", key.only.join(", ")));
    }
}

/// Whether a value says the same as the key's default, in whatever spelling.
fn is_default(key: &Key, variant: &str, value: &ValueKind) -> bool {
    let Some(default) = key.default_for(variant).and_then(|text| key.kind.read(&text.into(), true).ok())
    else {
        return false;
    };
    match (key.kind, value, &default) {
        (Kind::Period, ValueKind::String(left), ValueKind::String(right)) => {
            left.parse::<super::values::Period>() == right.parse()
        }
        (Kind::Size, ValueKind::String(left), ValueKind::String(right)) => {
            left.parse::<super::values::Size>() == right.parse()
        }
        _ => *value == default,
    }
}
