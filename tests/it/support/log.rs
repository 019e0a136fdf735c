//! What is logged, kept in memory.

use std::{
    io,
    sync::{Arc, Mutex, Once},
};

use tracing::Subscriber;
use tracing_subscriber::{
    Layer, Registry,
    filter::dynamic_filter_fn,
    fmt,
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
        keep_lines_wanted();
        let log = self.clone();
        let lines = fmt::layer().with_ansi(false).with_writer(move || log.clone());
        Registry::default().with(lines.with_filter(filter))
    }
}

/// Whether anybody wants a line is decided once for all threads: by one that logs to nobody perhaps, while another test
/// waits for the line. A subscriber that is always there, and that never says no beforehand, keeps that open.
fn keep_lines_wanted() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let nothing = fmt::layer().with_writer(io::sink).with_filter(dynamic_filter_fn(|_, _| false));
        tracing::subscriber::set_global_default(Registry::default().with(nothing)).unwrap();
    });
}
