//! The protocol of an intake as the settings have it.

use std::{fmt, sync::Arc};

use http::{HeaderMap, StatusCode};
use url::Url;

use super::{
    RequestError,
    elasticsearch::Elasticsearch,
    http_generic::{HttpFraming, HttpGeneric},
    otlp::{Otlp, OtlpEncoding},
    sekoia::Sekoia,
    splunk_hec::{self, SplunkHec},
};
use crate::{intake::Protocol, model::Secret};

/// Which protocol is spoken.
#[derive(Clone, PartialEq, Eq)]
pub enum ProtocolConfig {
    /// Sekoia.io `/batch`.
    Sekoia {
        /// The intake key; goes into the body.
        intake_key: Secret,
    },
    /// Any receiver of NDJSON or of a JSON array.
    Http {
        /// Layout of the body.
        framing: HttpFraming,
        /// Headers to add, checked.
        headers: HeaderMap,
        /// Statuses that mean "accepted".
        success_codes: Vec<StatusCode>,
    },
    /// The bulk interface of Elasticsearch and OpenSearch.
    Elasticsearch {
        /// The index or data stream.
        index: String,
    },
    /// The HTTP Event Collector of Splunk.
    SplunkHec(splunk_hec::Config),
    /// OpenTelemetry logs over HTTP.
    Otlp {
        /// How requests are written.
        encoding: OtlpEncoding,
        /// Headers to add, checked.
        headers: HeaderMap,
    },
}

impl fmt::Debug for ProtocolConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sekoia { intake_key } => f.debug_struct("Sekoia").field("intake_key", intake_key).finish(),
            Self::Http { framing, headers, success_codes } => f
                .debug_struct("Http")
                .field("framing", framing)
                .field("headers", &headers.keys().collect::<Vec<_>>())
                .field("success_codes", success_codes)
                .finish(),
            Self::Elasticsearch { index } => f.debug_struct("Elasticsearch").field("index", index).finish(),
            Self::SplunkHec(config) => f.debug_tuple("SplunkHec").field(config).finish(),
            Self::Otlp { encoding, headers } => f
                .debug_struct("Otlp")
                .field("encoding", encoding)
                .field("headers", &headers.keys().collect::<Vec<_>>())
                .finish(),
        }
    }
}

impl ProtocolConfig {
    /// The protocol for the intake at `url`. `session` is a random number of this process and intake, for protocols that
    /// name their sender.
    ///
    /// # Errors
    /// [`RequestError`] where that makes no request.
    pub(in crate::intake) fn build(
        &self,
        url: &Url,
        session: u128,
    ) -> Result<Arc<dyn Protocol>, RequestError> {
        Ok(match self {
            Self::Sekoia { intake_key } => Arc::new(Sekoia::new(url, intake_key)?),
            Self::Http { framing, headers, success_codes } => {
                Arc::new(HttpGeneric::new(url, *framing, headers, success_codes)?)
            }
            Self::Elasticsearch { index } => Arc::new(Elasticsearch::new(url, index)?),
            Self::SplunkHec(config) => Arc::new(SplunkHec::new(url, config, session)?),
            Self::Otlp { encoding, headers } => Arc::new(Otlp::new(url, *encoding, headers)?),
        })
    }
}
