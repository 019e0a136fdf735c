//! Keys that are known but cannot be used: they belong to another kind of source or to another protocol.

use super::{
    defaults::{DIRECTORY, variant_of},
    error::Report,
    key_path::KeyPath,
    keys::{self, Found, Key, PROTOCOLS},
    layers::Layer,
};

/// Refuses what cannot be used.
pub(super) fn vet(layer: &Layer, report: &mut Report) {
    vet_tables(layer, report);
    for (path, _) in layer.iter() {
        let Found::Key(key) = keys::find(path) else { continue };
        let variant = match path.segments() {
            [section, name, _, ..] => variant_of(&KeyPath::new([section, name]), layer),
            _ => "",
        };
        if is_usable(variant) && !key.applies_to(variant) {
            reject_misplaced(path, key, variant, report);
        }
    }
}

fn is_usable(variant: &str) -> bool {
    [super::defaults::AZURE, DIRECTORY].contains(&variant) || PROTOCOLS.contains(&variant)
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
        if variant_of(table, layer).is_empty() {
            report.reject(&path, "is missing", format!("set it to one of {}", PROTOCOLS.join(", ")));
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
