//! Components out of checked settings. Nothing here makes a request.

use std::{sync::Arc, time::Duration};

use url::Url;

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
    telemetry::metrics::Counter,
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
        Ok(Self {
            intake: intake(&settings.sink, metrics.bytes_sent.clone())?,
            driver: Arc::new(driver(&settings).observed(metrics.clone(), health)),
            budget: Budget::new(memory_bytes).observed(metrics.memory_used_bytes.clone()),
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

/// The receiving end of an intake, and where the bytes of its requests are counted.
///
/// # Errors
/// [`AppError::Setup`] where its client cannot be set up.
pub(crate) fn intake(sink: &Sink, bytes_sent: Counter) -> Result<Arc<dyn Intake>, AppError> {
    Ok(match sink {
        Sink::Http(config) => {
            let intake = HttpIntake::new(config.clone()).map_err(|error| AppError::Setup(error.into()))?;
            Arc::new(intake.counting(bytes_sent))
        }
        Sink::Stdout => Arc::new(StdoutIntake),
    })
}

/// The driver of an intake.
pub(crate) fn driver(intake: &settings::Intake) -> Driver {
    let config = DriverConfig {
        max_in_flight: intake.max_in_flight,
        requests_per_second: intake.requests_per_second,
        max_bytes: intake.batch.max_bytes,
        least_pause: match &intake.sink {
            Sink::Http(config) => least_pause(&config.url),
            Sink::Stdout => Duration::ZERO,
        },
        ..DriverConfig::default()
    };
    Driver::new(config, fastrand::Rng::new())
}

/// The application firewall of Sekoia.io asks for ten seconds of silence after failures, or it refuses everything for up to
/// ten minutes (its FAQ, "rate limits"). The intake's own hosts are not known to stand behind it.
fn least_pause(url: &Url) -> Duration {
    let is_behind_firewall =
        url.host_str().is_some_and(|host| host.starts_with("app.") && host.ends_with(".sekoia.io"));
    if is_behind_firewall { Duration::from_secs(10) } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: hosts of Sekoia.io and others. *Guarantees*: only those behind the firewall are given the long pause.
    #[test]
    fn pauses_of_hosts() {
        let seconds = |url: &str| least_pause(&Url::parse(url).unwrap()).as_secs();
        assert_eq!(seconds("https://app.fra2.sekoia.io/api/v1/intake-http"), 10);
        assert_eq!(seconds("https://app.sekoia.io/api/v1/intake-http"), 10);
        assert_eq!(seconds("https://intake.sekoia.io"), 0);
        assert_eq!(seconds("https://app.sekoia.io.example"), 0);
    }
}
