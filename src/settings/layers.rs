//! The layers that settings are made of: defaults, the file, the environment. Each is read by the table of keys, so
//! that every value has its key's kind and its origin before anything is merged. `config` merges them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use config::{Config, ConfigError, FileFormat, Map, Source, Value, ValueKind};

use super::{
    error::{Origin, Report},
    key_path::{KeyPath, VARIABLE_PREFIX},
    keys::{self, Found, Key},
    stray,
    values::Expected,
};

/// The sections whose tables are named by the user.
const NAMED_SECTIONS: [&str; 2] = ["sources", "intakes"];

/// Values by their key, each of its key's kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    values: BTreeMap<KeyPath, ValueKind>,
    /// The named tables, those without a key included.
    tables: BTreeSet<KeyPath>,
}

impl Layer {
    /// Sets a key; its table exists from then on.
    pub(super) fn set(&mut self, key: KeyPath, value: ValueKind) {
        if let [section, name, ..] = key.segments()
            && NAMED_SECTIONS.contains(&section.as_str())
        {
            self.tables.insert(KeyPath::new([section, name]));
        }
        self.values.insert(key, value);
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, key: &KeyPath) -> Option<ValueKind> {
        self.values.remove(key)
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &KeyPath) -> Option<&ValueKind> {
        self.values.get(key)
    }

    /// The text of a key that holds text.
    pub(super) fn text(&self, key: &KeyPath) -> Option<&str> {
        match self.get(key) {
            Some(ValueKind::String(text)) => Some(text),
            _ => None,
        }
    }

    /// All values, in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&KeyPath, &ValueKind)> {
        self.values.iter()
    }

    /// The named tables of a section.
    pub(super) fn tables_of(&self, section: &str) -> impl Iterator<Item = &KeyPath> {
        self.tables.iter().filter(move |table| table.segments().first().is_some_and(|first| first == section))
    }

    /// The layers merged, the last one wins.
    ///
    /// # Errors
    /// Those of `config`; none is known for layers that the table of keys has let through.
    pub(super) fn merge(layers: &[&Self]) -> Result<Self, ConfigError> {
        let mut builder = Config::builder();
        for layer in layers {
            builder = builder.add_source((*layer).clone());
        }
        let mut merged = Self::default();
        for (name, value) in builder.build()?.collect()? {
            merged.take(&KeyPath::new([name]), value.kind);
        }
        for layer in layers {
            merged.tables.extend(layer.tables.iter().cloned());
        }
        Ok(merged)
    }

    fn take(&mut self, path: &KeyPath, value: ValueKind) {
        if let ValueKind::Table(children) = value {
            for (segment, child) in children {
                self.take(&path.child(&segment), child.kind);
            }
        } else {
            self.set(path.clone(), value);
        }
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut root = Map::new();
        for table in &self.tables {
            insert(&mut root, table.segments(), ValueKind::Table(Map::new()));
        }
        for (key, value) in &self.values {
            insert(&mut root, key.segments(), value.clone());
        }
        Ok(root)
    }
}

fn insert(table: &mut Map<String, Value>, segments: &[String], value: ValueKind) {
    match segments {
        [] => {}
        [last] => {
            table.insert(last.clone(), Value::new(None, value));
        }
        [first, rest @ ..] => {
            let child =
                table.entry(first.clone()).or_insert_with(|| Value::new(None, ValueKind::Table(Map::new())));
            if let ValueKind::Table(children) = &mut child.kind {
                insert(children, rest, value);
            }
        }
    }
}

/// Reads the settings file. What is wrong with it goes into the report.
pub(super) fn read_file(path: &Path, report: &mut Report) -> Layer {
    let origin = Origin::File(path.to_owned());
    let mut layer = Layer::default();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let remedy = "name a readable TOML file with --config or FLOWLOGD_CONFIG";
            report.reject_from(String::new(), origin, format!("cannot be read: {error}"), remedy);
            return layer;
        }
    };
    if let Err(error) = toml::de::DeTable::parse(&text) {
        // The error's own Display quotes the line, which may hold a secret.
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map_or(1, |before| before.split('\n').count());
        let message = format!("line {line} is not TOML: {}", error.message());
        report.reject_from(String::new(), origin, message, "correct the line; text stands in quotes");
        return layer;
    }
    match config::File::from_str(&text, FileFormat::Toml).collect() {
        Ok(root) => {
            for (name, value) in root {
                read_value(&KeyPath::new([name]), &value.kind, &origin, report, &mut layer);
            }
        }
        Err(_) => {
            let message = "holds a number that is too large";
            report.reject_from(
                String::new(),
                origin,
                message,
                "write smaller numbers, and secrets in quotes",
            );
        }
    }
    layer
}

fn read_value(path: &KeyPath, value: &ValueKind, origin: &Origin, report: &mut Report, layer: &mut Layer) {
    report.note_origin(path.clone(), origin.clone());
    if !is_named_well(path, report) {
        return;
    }
    match (keys::find(path), value) {
        (Found::Key(key), _) => read_key(path, key, value, false, report, layer),
        (Found::Table, ValueKind::Table(children)) => {
            if let [section, _] = path.segments()
                && NAMED_SECTIONS.contains(&section.as_str())
            {
                layer.tables.insert(path.clone());
            }
            for (segment, child) in children {
                read_value(&path.child(segment), &child.kind, origin, report, layer);
            }
        }
        (Found::Table, _) => {
            let remedy = match path.segments() {
                [section] if NAMED_SECTIONS.contains(&section.as_str()) => format!("write [{section}.NAME]"),
                _ => format!("write [{path}]"),
            };
            report.reject(path, "must be a table", remedy);
        }
        (Found::Nothing, _) => reject_unknown(path, false, report),
    }
}

/// Reads the variables. What is wrong with them goes into the report. Gives also how many variables are settings.
///
/// A variable that only looks like a setting, with one underscore behind the program's name, is wrong too.
pub(super) fn read_variables(environment: &BTreeMap<String, String>, report: &mut Report) -> (Layer, usize) {
    let mut layer = Layer::default();
    let mut first_names: BTreeMap<KeyPath, &str> = BTreeMap::new();
    for (name, text) in environment {
        let Some(path) = KeyPath::of_variable(name) else {
            if stray::is_stray(name) {
                let origin = Origin::Variable(name.clone());
                report.reject_from(String::new(), origin, "is no setting", stray::remedy(name));
            }
            continue;
        };
        report.note_origin(path.clone(), Origin::Variable(name.clone()));
        if let Some(first_name) = first_names.insert(path.clone(), name) {
            report.reject(&path, format!("variable {first_name} sets it too"), "keep one of the two");
            continue;
        }
        if !is_named_well(&path, report) {
            continue;
        }
        match keys::find(&path) {
            Found::Key(key) => read_key(&path, key, &text.as_str().into(), true, report, &mut layer),
            Found::Table => {
                let remedy = format!("set {VARIABLE_PREFIX}SECTION__KEY, one variable a key");
                report.reject(&path, "is a table, which no variable can set", remedy);
            }
            Found::Nothing => reject_unknown(&path, true, report),
        }
    }
    (layer, first_names.len())
}

fn read_key(
    path: &KeyPath,
    key: &'static Key,
    value: &ValueKind,
    is_from_text: bool,
    report: &mut Report,
    layer: &mut Layer,
) {
    match key.kind.read(value, is_from_text) {
        Ok(read_value) => layer.set(path.clone(), read_value),
        Err(Expected(what)) => {
            let may_be_shown = key.kind.may_be_shown();
            let message = match value {
                ValueKind::String(text) if text.is_empty() => "is empty".to_owned(),
                ValueKind::String(text) if may_be_shown => format!("cannot use \"{text}\""),
                ValueKind::Table(_) => "is a table, not a value".to_owned(),
                ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::Float(_) if may_be_shown => {
                    format!("cannot use {value}")
                }
                ValueKind::Nil
                | ValueKind::Boolean(_)
                | ValueKind::I64(_)
                | ValueKind::I128(_)
                | ValueKind::U64(_)
                | ValueKind::U128(_)
                | ValueKind::Float(_)
                | ValueKind::String(_)
                | ValueKind::Array(_) => "cannot use what is there".to_owned(),
            };
            report.reject(path, message, format!("give {what}"));
        }
    }
}

/// Names reach variables, so they have no other letters than those that every variable can spell.
fn is_named_well(path: &KeyPath, report: &mut Report) -> bool {
    let [section, name, ..] = path.segments() else { return true };
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let is_good = name.starts_with(|letter: char| letter.is_ascii_lowercase()) && name.chars().all(is_letter);
    if is_good || !NAMED_SECTIONS.contains(&section.as_str()) {
        return true;
    }
    report.reject(
        path,
        format!("\"{name}\" cannot be a table's name"),
        "use lower-case letters, digits and underscores, a letter first",
    );
    false
}

fn reject_unknown(path: &KeyPath, is_variable: bool, report: &mut Report) {
    let written = |key: &KeyPath| if is_variable { key.variable() } else { key.to_string() };
    let remedy = match keys::suggest(path) {
        Ok(suggested) => format!("did you mean {}?", written(&suggested)),
        Err(known) => format!("known here: {}", known.join(", ")),
    };
    report.reject(path, "unknown key", remedy);
}
