//! The standard output as an intake: one event a line, acknowledged after the flush.

use std::{
    error::Error,
    io::{self, Write},
    ops::Range,
};

use async_trait::async_trait;

use super::{
    Framing, Intake, Overhead, Selection, Verdict,
    protocols::{Surround, push_line},
};
use crate::{batch::EncodedEvents, event::Event, offload::offload, telemetry::chain};

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

    async fn attempt(&self, events: &EncodedEvents, selection: &Selection) -> Verdict {
        let body = self.assemble(&events.bytes, &selection.byte_ranges(events));
        // A reader that does not read blocks the write: that must not stop a runtime thread.
        let written = offload(move || write_out(&mut io::stdout().lock(), &body)).await;
        written.unwrap_or_else(|ending| closed(&ending))
    }
}

fn write_out(out: &mut impl Write, body: &[u8]) -> Verdict {
    match out.write_all(body).and_then(|()| out.flush()) {
        Ok(()) => Verdict::Delivered,
        Err(error) => closed(&error),
    }
}

fn closed(error: &dyn Error) -> Verdict {
    Verdict::Closed { reason: format!("write to stdout: {}", chain(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and fails to flush what it took.
    struct Pipe {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.taken.len() + bytes.len() > self.room {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.taken.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            if self.taken.len() == self.room { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        }
    }

    /// *Scenario*: two events for an output that takes them, one that breaks while they are written, and one that
    /// breaks at the flush.
    /// *Guarantees*: one line an event, and only what was flushed counts as delivered.
    #[test]
    fn only_what_is_flushed_is_delivered() {
        let body = StdoutIntake.assemble(b"{1}{22}", &[0..3, 3..7]);
        assert_eq!(body.len(), StdoutIntake.overhead().body_length(2, 7));
        let run = |room| {
            let mut pipe = Pipe { room, taken: Vec::new() };
            let verdict = write_out(&mut pipe, &body);
            (verdict, String::from_utf8(pipe.taken).unwrap())
        };
        assert_eq!(run(100), (Verdict::Delivered, "{1}\n{22}\n".to_owned()));
        for room in [3, body.len()] {
            let (verdict, _) = run(room);
            assert_eq!(verdict, Verdict::Closed { reason: "write to stdout: broken pipe".to_owned() });
        }
    }
}
