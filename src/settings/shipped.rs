//! The shipped settings file teaches every key, and with the default that the program has.

use std::collections::{BTreeMap, BTreeSet};

use config::{Value, ValueKind};

use super::{
    key_path::KeyPath,
    keys::{Found, KEYS, find},
};

const SHIPPED: &str = include_str!("../../config/flowlogd.toml");

/// What the file has to name although there is no default, or one that follows from what is named.
const EXAMPLES: [&str; 5] = [
    "sources.*.account",
    "sources.*.account_key_file",
    "intakes.*.protocol",
    "intakes.*.url",
    "intakes.*.intake_key_file",
];

/// Calls `visit` with every key of a parsed line, empty tables left out.
fn walk(path: &KeyPath, value: &Value, visit: &mut impl FnMut(&KeyPath, &ValueKind)) {
    if let ValueKind::Table(children) = &value.kind {
        for (segment, child) in children {
            walk(&path.child(segment), child, visit);
        }
    } else {
        visit(path, &value.kind);
    }
}

/// Every line that sets a key: the table, the line without `# `, whether it is commented out.
fn setting_lines() -> Vec<(KeyPath, &'static str, bool)> {
    let mut table: Option<KeyPath> = None;
    let mut lines = Vec::new();
    for line in SHIPPED.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = Some(KeyPath::dotted(name));
        }
        let active = line.strip_prefix("# ").unwrap_or(line);
        let is_setting = active.split_once(" = ").is_some_and(|(name, _)| !name.contains([' ', '#', ':']));
        if is_setting {
            lines.push((table.clone().unwrap_or(KeyPath::new([""; 0])), active, active != line));
        }
    }
    lines
}

/// *Scenario*: the shipped file is read line by line, commented lines too. *Guarantees*: every line is a known key of
/// the right kind with the program's default, and every key of the table is there.
#[test]
fn every_key_with_its_default() {
    let mut taught: BTreeSet<&str> = BTreeSet::new();
    let mut active: BTreeMap<&str, String> = BTreeMap::new();
    for (table, line, is_commented) in setting_lines() {
        let root: ValueKind = config::Config::builder()
            .add_source(config::File::from_str(line, config::FileFormat::Toml))
            .build()
            .and_then(config::Config::try_deserialize::<Value>)
            .unwrap_or_else(|error| panic!("{line}: {error}"))
            .kind;
        walk(&table, &Value::new(None, root), &mut |path, value| {
            let Found::Key(key) = find(path) else { panic!("{path} is unknown") };
            taught.insert(key.pattern);
            // An empty text stands for a secret that nobody should copy from a file.
            let is_blank = matches!(value, ValueKind::String(text) if text.is_empty());
            if !is_blank {
                let read_value =
                    key.kind.read(value, false).unwrap_or_else(|error| panic!("{path}: {error}"));
                let is_intake = path.segments().first().is_some_and(|section| section == "intakes");
                let variants: &[&str] = if is_intake {
                    &["sekoia", "http", "elasticsearch", "splunk_hec", "otlp"]
                } else {
                    &["azure", "directory"]
                };
                let variant = variants.iter().find(|name| key.applies_to(name)).unwrap();
                let default = key.default_for(variant).map(|text| key.kind.read(&text.into(), true).unwrap());
                match default {
                    Some(expected) => assert_eq!(read_value, expected, "{path}"),
                    None => assert!(is_commented || EXAMPLES.contains(&key.pattern), "{path} has no default"),
                }
            }
            if !is_commented {
                let previous = active.insert(key.pattern, line.to_owned());
                assert_eq!(previous, None, "{path} is set twice");
            }
        });
    }
    let missing: Vec<&str> =
        KEYS.iter().map(|key| key.pattern).filter(|pattern| !taught.contains(pattern)).collect();
    assert_eq!(missing, Vec::<&str>::new());
    let all_defaults =
        KEYS.iter().filter(|key| key.default_for("sekoia").is_some() && !key.only.contains(&"azure"));
    for key in all_defaults {
        assert!(
            active.contains_key(key.pattern),
            "{} is commented out although it has a default",
            key.pattern
        );
    }
}
