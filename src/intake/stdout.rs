//! The standard output as an intake: one event a line, acknowledged after the flush.

use std::{
    io::{self, Write},
    ops::Range,
};

use async_trait::async_trait;

use super::{
    Framing, Intake, Overhead, Verdict,
    protocols::{Surround, push_line},
};
use crate::{batch::EncodedEvents, event::Event};

const LINES: Surround<'static> = Surround { prefix: b"", separator: b'\n', suffix: b"\n" };

/// The standard output.
#[derive(Debug, Clone, Copy, Default)]
pub struct StdoutIntake;

impl Framing for StdoutIntake {
    fn overhead(&self) -> Overhead {
        LINES.overhead()
    }

    fn encode_event(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        push_line(event.body, out);
    }

    fn assemble(&self, events: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
        LINES.assemble(events, ranges)
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
