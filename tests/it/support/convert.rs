//! A whole stream through splitter and encoder, without a pipeline.

use std::ops::ControlFlow;

use flowlogd::{
    event::{Encoder, EventFormat},
    flowlog::{Damage, Splitter, Start, Tail},
    model::{BlobName, Origin, Rejected},
};

/// What a stream turned into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Converted {
    /// Id and body of every event.
    pub(crate) events: Vec<(String, String)>,
    pub(crate) rejected: Vec<Rejected>,
    /// Offset behind every record, with the at most 64 bytes before it.
    pub(crate) offsets: Vec<(u64, Vec<u8>)>,
    pub(crate) damage: Option<Damage>,
    pub(crate) incomplete: Option<String>,
}

/// Pushes chunks through a splitter that starts at `start`; pauses the encoder after every `pause` events.
pub(crate) fn convert<'a>(
    format: EventFormat,
    start: Start<'_>,
    chunks: impl IntoIterator<Item = &'a [u8]>,
    pause: usize,
) -> Converted {
    let origin = Origin { account: "account".to_owned(), container: "container".to_owned() };
    let mut encoder = Encoder::new(format, &origin, &BlobName::new("blob"));
    let mut splitter = Splitter::new(start, 1024 * 1024);
    let mut converted = Converted::default();
    for chunk in chunks {
        splitter.push(chunk);
        if let Err(damage) = take_records(&mut splitter, &mut encoder, pause, &mut converted) {
            converted.damage = Some(damage);
            return converted;
        }
    }
    match splitter.finish() {
        Ok(Tail::Clean) => {}
        Ok(Tail::Incomplete { bytes, .. }) => {
            converted.incomplete = Some(String::from_utf8_lossy(bytes).into_owned());
        }
        Err(damage) => converted.damage = Some(damage),
    }
    converted
}

/// The whole of `bytes` from its beginning, in one chunk.
pub(crate) fn convert_whole(format: EventFormat, bytes: &[u8]) -> Converted {
    convert(format, Start::Beginning, [bytes], usize::MAX)
}

fn take_records(
    splitter: &mut Splitter,
    encoder: &mut Encoder,
    pause: usize,
    converted: &mut Converted,
) -> Result<(), Damage> {
    while let Some(record) = splitter.next_record()? {
        let mut encoding = encoder.begin(record)?;
        loop {
            let mut taken = 0;
            let mut emit = |event: flowlogd::event::Event<'_>| {
                assert_eq!(event.record, record.span);
                converted
                    .events
                    .push((event.id.to_string(), String::from_utf8(event.body.to_vec()).unwrap()));
                taken += 1;
                if taken >= pause { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let encoded = encoding.advance(&mut emit);
            converted.rejected.extend(encoded.rejected);
            if encoded.done {
                break;
            }
        }
        converted.offsets.push((splitter.offset().unwrap(), splitter.context().to_vec()));
    }
    Ok(())
}
