//! The layer of defaults. It depends on what the other layers name: the tables, protocols and presets, the account.

use super::{
    key_path::KeyPath,
    keys::{KEYS, Key},
    layers::Layer,
};

/// The kind of a source that reads a storage account.
pub(super) const AZURE: &str = "azure";
/// The kind of a source that reads a directory.
pub(super) const DIRECTORY: &str = "directory";

/// Which keys a source or an intake knows: the kind of the source, the protocol of the intake. Empty where no
/// protocol is given.
pub(super) fn variant_of<'a>(table: &KeyPath, layer: &'a Layer) -> &'a str {
    if table.segments().first().is_some_and(|section| section == "intakes") {
        layer.text(&table.child("protocol")).unwrap_or_default()
    } else if layer.get(&table.child("directory")).is_some() {
        DIRECTORY
    } else {
        AZURE
    }
}

/// The defaults of every key that the table of keys gives one, for what is set in `written`.
pub(super) fn defaults_for(written: &Layer) -> Layer {
    let mut defaults = Layer::default();
    for key in KEYS.iter().filter(|key| !key.pattern.contains('*')) {
        set_default(key, KeyPath::dotted(key.pattern), key.default_for(""), &mut defaults);
    }
    for section in ["sources", "intakes"] {
        for table in written.tables_of(section) {
            let variant = variant_of(table, written);
            let preset = written.text(&table.child("preset"));
            for key in KEYS.iter() {
                let mut segments = key.segments();
                let (first, second) = (segments.next(), segments.next());
                if first == Some(section) && second == Some("*") && !variant.is_empty() {
                    let path = segments.fold(table.clone(), |path, segment| path.child(segment));
                    set_default(key, path, key.default_of_preset(variant, preset), &mut defaults);
                }
            }
            set_derived(table, variant, written, &mut defaults);
        }
    }
    defaults
}

/// Where an account of the public cloud answers.
pub(super) fn public_endpoint(account: &str) -> String {
    format!("https://{account}.blob.core.windows.net")
}

fn set_default(key: &Key, path: KeyPath, text: Option<&str>, defaults: &mut Layer) {
    if let Some(value) = text.and_then(|text| key.kind.read(&text.into(), true).ok()) {
        defaults.set(path, value);
    }
}

/// The places that follow from a name: the account's endpoint and the region's intake.
fn set_derived(table: &KeyPath, variant: &str, written: &Layer, defaults: &mut Layer) {
    match variant {
        AZURE => {
            let is_name = |text: &&str| text.chars().all(|letter| letter.is_ascii_alphanumeric());
            if let Some(account) = written.text(&table.child("account")).filter(is_name) {
                defaults.set(table.child("endpoint"), public_endpoint(account).into());
            }
        }
        "sekoia" => {
            // Only the first region answers at the root; its documentation gives all others this path.
            let url = match written.text(&table.child("region")) {
                None | Some("fra1") => "https://intake.sekoia.io".to_owned(),
                Some(region) => format!("https://intake.{region}.sekoia.io/api/v1/intake-http"),
            };
            defaults.set(table.child("url"), url.into());
        }
        _ => {}
    }
}
