//! What is logged, kept in memory.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing::Subscriber;
use tracing_subscriber::{
    Layer, Registry, fmt,
    layer::{Filter, SubscriberExt},
};

/// The lines so far. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// All lines.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Writes what passes the filter into this log.
    pub(crate) fn subscriber<F>(&self, filter: F) -> impl Subscriber + Send + Sync + use<F>
    where
        F: Filter<Registry> + Send + Sync + 'static,
    {
        let log = self.clone();
        let lines = fmt::layer().with_ansi(false).with_writer(move || log.clone());
        Registry::default().with(lines.with_filter(filter))
    }
}
