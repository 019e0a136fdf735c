//! The standard output as an intake: one event a line, acknowledged after the flush.

use std::{
    io::{self, Write},
    ops::Range,
};

use async_trait::async_trait;

use super::{Framing, Intake, Overhead, Verdict, protocols::join};
use crate::{batch::EncodedEvents, event::Event};

/// The standard output.
#[derive(Debug, Clone, Copy, Default)]
pub struct StdoutIntake;

impl Framing for StdoutIntake {
    fn overhead(&self) -> Overhead {
        Overhead { fixed: 1, separator: 1 }
    }

    fn encode_event(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(event.body);
    }

    fn assemble(&self, events: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
        let mut body = Vec::with_capacity(events.len().saturating_add(ranges.len()));
        join(&mut body, events, ranges, b"\n");
        body.push(b'\n');
        body
    }

    fn decode_event(&self, encoded: &[u8]) -> Vec<u8> {
        encoded.to_vec()
    }
}

#[async_trait]
impl Intake for StdoutIntake {
    fn framing(&self) -> &dyn Framing {
        self
    }

    async fn attempt(&self, events: &EncodedEvents) -> Verdict {
        let ranges: Vec<_> = events.ranges().collect();
        let body = self.assemble(&events.bytes, &ranges);
        // A reader that does not read blocks the write: that must not stop a runtime thread.
        let written = tokio::task::spawn_blocking(move || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&body)?;
            stdout.flush()
        });
        match written.await {
            Ok(Ok(())) => Verdict::Delivered,
            Ok(Err(error)) => Verdict::Closed { reason: format!("write to stdout: {error}") },
            Err(error) => Verdict::Closed { reason: format!("write to stdout: {error}") },
        }
    }
}
