//! What a framing keeps from one event to the next.

use crate::event::Event;

/// The encoded form of what the events of a group of tuples begin with. It belongs to the events of one encoder.
#[derive(Debug, Default)]
pub struct Memory {
    group: Option<u64>,
    encoded: Vec<u8>,
}

impl Memory {
    /// Appends what the event has in common with its group, as `encode` makes it, which is asked once for a group. Returns
    /// the rest of the event.
    pub fn write_shared<'a>(
        &mut self,
        event: &Event<'a>,
        out: &mut Vec<u8>,
        encode: impl FnOnce(&mut Vec<u8>, &[u8]),
    ) -> &'a [u8] {
        let Some(shared) = event.shared else { return event.body };
        let Some((common, rest)) = event.body.split_at_checked(shared.length) else { return event.body };
        if self.group != Some(shared.group) {
            self.encoded.clear();
            encode(&mut self.encoded, common);
            self.group = Some(shared.group);
        }
        out.extend_from_slice(&self.encoded);
        rest
    }
}
