//! Components from their checked settings. Nothing here makes a request.

use std::sync::Arc;

use super::AppError;
use crate::{
    intake::{
        Intake,
        driver::{Driver, DriverConfig},
        http_intake::HttpIntake,
        stdout::StdoutIntake,
    },
    settings::{self, Sink, Storage},
    storage::{Account, azure::AzureAccount, directory::Directory},
};

/// The storage of a source.
///
/// # Errors
/// [`AppError::Setup`] where its client cannot be set up.
pub(crate) fn account(source: &settings::Source) -> Result<Arc<dyn Account>, AppError> {
    Ok(match &source.storage {
        Storage::Azure(config) => {
            Arc::new(AzureAccount::new(config.clone()).map_err(|error| AppError::Setup(error.into()))?)
        }
        Storage::Directory(config) => Arc::new(Directory::new(config.clone())),
    })
}

/// The receiving end of an intake.
///
/// # Errors
/// [`AppError::Setup`] where its client cannot be set up.
pub(crate) fn intake(sink: &Sink) -> Result<Arc<dyn Intake>, AppError> {
    Ok(match sink {
        Sink::Http(config) => {
            Arc::new(HttpIntake::new(config.clone()).map_err(|error| AppError::Setup(error.into()))?)
        }
        Sink::Stdout => Arc::new(StdoutIntake),
    })
}

/// The driver of an intake.
pub(crate) fn driver(intake: &settings::Intake) -> Driver {
    let config = DriverConfig { requests_per_second: intake.requests_per_second, ..Default::default() };
    Driver::new(config, fastrand::Rng::new())
}
