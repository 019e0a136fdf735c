//! A receiver of events over HTTPS, for tests, demonstrations and people: it writes down what it accepts and misbehaves
//! on request. `receiver --help` tells all.

mod answer;
mod arguments;
mod collector;
mod faults;
mod intake;
mod server;
mod tls;

use std::{
    fs,
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_rustls::TlsAcceptor;

use arguments::Arguments;
use collector::Collector;
use intake::{Intake, Ledger};
use server::{Counts, Server};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let acceptor = acceptor(&arguments)?;
    let server = Arc::new(Server {
        intake: Intake {
            intake_key: arguments.intake_key,
            required_headers: arguments
                .bearer
                .as_deref()
                .map(intake::bearer)
                .into_iter()
                .chain(arguments.require_header)
                .collect(),
            collector: Collector {
                token: arguments.hec_token,
                index: arguments.hec_index,
                acknowledge_after: arguments.hec_ack_after,
                ..Collector::default()
            },
            max_body: arguments.max_body,
            is_discarding: arguments.discard,
            ledger: Ledger::open(arguments.ledger.as_deref())?,
        },
        faults: Mutex::new(arguments.faults),
        counts: Counts::default(),
    });

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let address = listener.local_addr()?;
    if let Some(path) = &arguments.port_file {
        fs::write(path, address.port().to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    say(&format!("listening on {scheme}://{address}"))?;

    tokio::select! {
        () = Arc::clone(&server).serve(listener, acceptor) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = tokio::time::sleep(Duration::from_secs(arguments.max_seconds)) => {}
    }
    say(&server.counts.to_string())
}

/// `None`: plain HTTP. The command line makes sure that exactly one way is named.
fn acceptor(arguments: &Arguments) -> anyhow::Result<Option<TlsAcceptor>> {
    let config = match (&arguments.certificate, &arguments.key, &arguments.self_signed) {
        (Some(certificate), Some(key), _) => tls::load(certificate, key)?,
        (_, _, Some(directory)) => tls::load_or_create(directory)?,
        _ => return Ok(None),
    };
    Ok(Some(TlsAcceptor::from(config)))
}

/// Prints a line at once, whatever stdout is.
fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}
