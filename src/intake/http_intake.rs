//! An intake over HTTPS: a protocol, the client and compression.

use ::http as http_types;
use url::Url;

use crate::{http, model::Secret};

/// A receiving end over HTTPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Protocol and what only it needs.
    pub protocol: ProtocolConfig,
    /// Base URL (sekoia) or full URL (http). Checked: https, or plain http where it is allowed.
    pub url: Url,
    /// Compression of bodies.
    pub compression: Compression,
    /// How to connect.
    pub http: http::Config,
}

/// Which protocol is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        headers: http_types::HeaderMap,
        /// Credentials.
        auth: Auth,
        /// Statuses that mean "accepted".
        success_codes: Vec<http_types::StatusCode>,
    },
}

/// Layout of a generic body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFraming {
    /// One event a line, `application/x-ndjson`, every line ended.
    Ndjson,
    /// `[event,event]`, `application/json`.
    JsonArray,
}

/// Credentials of a generic receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// None.
    None,
    /// `Authorization: Bearer`.
    Bearer(Secret),
    /// `Authorization: Basic`.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// A header of its own.
    Header {
        /// Header name.
        name: http_types::HeaderName,
        /// Its value.
        value: Secret,
    },
}

/// Compression of request bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `Content-Encoding: gzip`.
    Gzip,
    /// As they are.
    None,
}
