//! Components out of checked settings. Nothing here makes a request.

use std::sync::Arc;

use super::{AppError, Signs};
use crate::{
    intake::{
        Intake,
        driver::{Driver, DriverConfig},
        http_intake::HttpIntake,
        stdout::StdoutIntake,
    },
    pipeline::{Budget, DeliveryRules},
    settings::{self, Sink, Storage},
    storage::{Account, azure::AzureAccount, directory::Directory},
};

/// One intake, for every container that is sent to it.
#[derive(Debug)]
pub(super) struct IntakeUnit {
    pub(super) name: String,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) driver: Arc<Driver>,
    pub(super) budget: Budget,
    pub(super) delivery: DeliveryRules,
}

impl IntakeUnit {
    /// An intake with its equal part of the memory.
    pub(super) fn new(
        settings: settings::Intake,
        memory_bytes: usize,
        signs: &Signs,
    ) -> Result<Self, AppError> {
        let health = signs.health.component(&format!("intake {}", settings.name));
        let metrics = signs.metrics.intake(&settings.name);
        let config =
            DriverConfig { requests_per_second: settings.requests_per_second, ..DriverConfig::default() };
        Ok(Self {
            intake: intake(settings.sink)?,
            driver: Arc::new(Driver::new(config, fastrand::Rng::new()).observed(metrics, health)),
            budget: Budget::new(memory_bytes),
            delivery: DeliveryRules {
                format: settings.event_format,
                batch: settings.batch,
                max_in_flight: settings.max_in_flight,
            },
            name: settings.name,
        })
    }
}

/// The storage of a source.
pub(super) fn account(storage: &Storage) -> Result<Arc<dyn Account>, AppError> {
    Ok(match storage {
        Storage::Azure(config) => {
            Arc::new(AzureAccount::new(config.clone()).map_err(|error| AppError::Setup(error.into()))?)
        }
        Storage::Directory(config) => Arc::new(Directory::new(config.clone())),
    })
}

fn intake(sink: Sink) -> Result<Arc<dyn Intake>, AppError> {
    Ok(match sink {
        Sink::Http(config) => {
            Arc::new(HttpIntake::new(config).map_err(|error| AppError::Setup(error.into()))?)
        }
        Sink::Stdout => Arc::new(StdoutIntake),
    })
}
