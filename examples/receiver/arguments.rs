//! The command line of the receiver.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgGroup, Parser};

use crate::faults::Script;

/// Receives events over HTTPS as an intake does, writes each one down, and misbehaves on request.
///
/// `POST /batch` is the Sekoia.io intake: {"intake_key":"...","jsons":["<event>",...]}, answered with one event id an
/// event. `/services/collector/event`, `/services/collector/ack` and `/services/collector/health/1.0` are the HTTP Event
/// Collector of Splunk, with its codes: an envelope with a key that it does not know ends a body silently. Every other
/// path takes NDJSON, or a JSON array where the Content-Type says application/json. All take gzip.
///
/// When it is ready it prints one line, `listening on https://127.0.0.1:PORT`; when SIGTERM or SIGINT ends it, one
/// line with counts.
#[derive(Debug, Parser)]
#[command(name = "receiver", after_long_help = EXAMPLES)]
#[command(group = ArgGroup::new("transport").required(true).args(["certificate", "self_signed", "plain"]))]
pub(crate) struct Arguments {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,

    /// Serve HTTPS with this certificate chain (PEM).
    #[arg(long = "cert", value_name = "PEM", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,

    /// The private key of --cert (PEM).
    #[arg(long, value_name = "PEM", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,

    /// Serve HTTPS for localhost, 127.0.0.1 and ::1 with a certificate of a CA of its own. DIR gets ca.pem (for the
    /// sender's `ca_file`), cert.pem and key.pem; they are used again when they are there.
    #[arg(long, value_name = "DIR")]
    pub(crate) self_signed: Option<PathBuf>,

    /// Serve plain HTTP.
    #[arg(long)]
    pub(crate) plain: bool,

    /// The only intake key that /batch accepts; others get 401. Without it every key is accepted.
    #[arg(long, value_name = "KEY")]
    pub(crate) intake_key: Option<String>,

    /// The bearer token that every path but /batch and the collector's demands; others get 401.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) bearer: Option<String>,

    /// A header that those paths demand, for other kinds of credentials; others get 401.
    #[arg(long, value_name = "NAME:VALUE", value_parser = parse_header)]
    pub(crate) require_header: Option<(String, String)>,

    /// The only token that the HTTP Event Collector accepts. Without it every token is accepted.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) hec_token: Option<String>,

    /// The only index that its events may name; others get 400 and the code 7.
    #[arg(long, value_name = "NAME")]
    pub(crate) hec_index: Option<String>,

    /// Turn its acknowledgement on: a request needs a channel, and its id answers true once, this long after it.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) hec_ack_after: Option<Duration>,

    /// Append every event that was received, exactly its JSON text, one a line, before the request is answered.
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,

    /// Answers to the first requests, in order, separated by commas; afterwards all is well. See below.
    #[arg(long, value_name = "SPEC", default_value = "", hide_default_value = true)]
    pub(crate) faults: Script,

    /// Largest body, in bytes after decompression; larger ones get 413.
    #[arg(long, value_name = "BYTES", default_value_t = 10_485_760)]
    pub(crate) max_body: usize,

    /// Accept bodies without looking into them, for benches: nothing is decompressed, recorded or counted. Not for /batch,
    /// whose answer names every event, nor for the collector.
    #[arg(long)]
    pub(crate) discard: bool,

    /// Write the port here when ready.
    #[arg(long, value_name = "FILE")]
    pub(crate) port_file: Option<PathBuf>,

    /// End after this many seconds, so that a forgotten receiver does not stay for ever.
    #[arg(long, value_name = "N", default_value_t = 3600)]
    pub(crate) max_seconds: u64,
}

const EXAMPLES: &str = "\
Faults:
  200 or ok           all is well
  slow:500ms          wait, then all is well
  NNN                 answer this status; the events are recorded only if it is a 2xx
  429:2               the same with `Retry-After: 2`
  302:URL             a redirect to URL
  reset               drop the connection without an answer; nothing is recorded
  accept-then-reset   record the events, then drop the connection without an answer
  truncate            record the events, then break off in the middle of the answer
  doubtful            record all events but the last, and answer one id fewer than events
  refuse-event:N      HTTP Event Collector: record the events before the one at place N (from 0) and refuse it; all is
                      well where there is none
  lose                answer as if all were well and record nothing; the collector never acknowledges it

Examples:
  receiver --self-signed /tmp/receiver --intake-key secret --ledger /tmp/received.ndjson
  receiver --plain --listen 127.0.0.1:8080 --faults 500,500,429:2,accept-then-reset,slow:3s";

/// `NAME:VALUE`, with or without white space after the colon.
fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME:VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
