//! From the file and the environment to checked settings.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use config::{Config, ConfigError};

use super::{
    Settings,
    check::check,
    defaults::defaults_for,
    effective::effective_toml,
    error::{Origin, Report, SettingsError},
    layers::{Layer, read_file, read_variables},
    schema::Schema,
    secrets, vet,
};

/// Where the settings file lies when nobody names one.
pub const DEFAULT_FILE: &str = "/etc/flowlogd/flowlogd.toml";

/// The way out where there are no settings at all.
const NO_SETTINGS: &str = "write that file, as in README.md under \"A real account\", or name another with --config FILE; \
                           flowlogd --help tells more";

/// Settings that can be used, and where they came from.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Where they came from, for people: `/etc/flowlogd/flowlogd.toml and 2 variables`.
    pub origin: String,
    /// All settings as TOML, defaults filled in, secrets as `***`.
    pub effective: String,
}

/// Loads and checks the settings: defaults, then the file, then the variables of `environment`.
///
/// `file` is the one that the user named; without it [`DEFAULT_FILE`] is read if it is there.
///
/// # Errors
/// Everything that is wrong and can be seen at once, each with its key, its origin and the way out.
pub fn load(file: Option<&Path>, environment: &BTreeMap<String, String>) -> Result<Loaded, SettingsError> {
    let default_file = || Some(PathBuf::from(DEFAULT_FILE)).filter(|path| secrets::is_there(path));
    let file_path = file.map(Path::to_owned).or_else(default_file);
    let looked_in = file_path.clone().map_or(Origin::Environment, Origin::File);

    let mut report = Report::new(looked_in);
    let file_layer = file_path.as_deref().map(|path| read_file(path, &mut report)).unwrap_or_default();
    let (variable_layer, n_variables) = read_variables(environment, &mut report);
    report = report.into_result()?;
    if file_path.is_none() && n_variables == 0 {
        let message = format!("there are none, and no file {DEFAULT_FILE}");
        report.reject_from(String::new(), Origin::Environment, message, NO_SETTINGS);
        return Err(report.into_error());
    }

    let mut merged = match merge(&file_layer, &variable_layer) {
        Ok(merged) => merged,
        Err(error) => return Err(unfit(report, &error)),
    };
    vet::vet(&merged, &mut report);
    report = report.into_result()?;

    let shown = merged.clone();
    let resolved = secrets::resolve(&mut merged, environment, &mut report);
    report = report.into_result()?;
    let effective = effective_toml(&shown, &merged);

    let schema =
        match Config::builder().add_source(merged).build().and_then(Config::try_deserialize::<Schema>) {
            Ok(schema) => schema,
            Err(error) => return Err(unfit(report, &error)),
        };
    let settings = check(schema, &resolved.files, report)?;
    let origin = describe_origin(file_path.as_deref(), n_variables, resolved.n_credentials);
    Ok(Loaded { settings, origin, effective })
}

fn merge(file_layer: &Layer, variable_layer: &Layer) -> Result<Layer, ConfigError> {
    let written = Layer::merge(&[file_layer, variable_layer])?;
    Layer::merge(&[&defaults_for(&written), &written])
}

/// The table of keys and the schema disagree: a fault of the program. Only the key is named, for `config` puts the
/// value into its messages, and that may be a secret.
fn unfit(mut report: Report, error: &ConfigError) -> SettingsError {
    let key = if let ConfigError::At { key: Some(key), .. } | ConfigError::Type { key: Some(key), .. } = error
    {
        key.clone()
    } else {
        String::new()
    };
    report.reject_from(key, Origin::Default, "does not fit the schema", "report this as a fault of flowlogd");
    report.into_error()
}

fn describe_origin(file: Option<&Path>, n_variables: usize, n_credentials: usize) -> String {
    let counted = |n: usize, word: &str| match n {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{n} {word}s")),
    };
    let parts = [
        file.map(|path| path.display().to_string()),
        counted(n_variables, "variable"),
        counted(n_credentials, "credential"),
    ];
    parts.into_iter().flatten().collect::<Vec<String>>().join(" and ")
}
