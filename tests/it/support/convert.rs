//! A whole stream through splitter and encoder, without a pipeline.

use std::ops::ControlFlow;

use flowlogd::{
    event::{Encoder, EventFormat},
    flowlog::{Damage, Piece, RawRecord, Splitter, Start, Tail},
    model::{BlobName, Origin, Rejected, Span},
};

/// What a stream turned into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Converted {
    /// Id and body of every event.
    pub(crate) events: Vec<(String, String)>,
    pub(crate) rejected: Vec<Rejected>,
    /// Place, kept bytes and kind of every damaged piece.
    pub(crate) damaged: Vec<(Span, Vec<u8>, String)>,
    /// Offset behind every piece, with the at most 64 bytes before it.
    pub(crate) offsets: Vec<(u64, Vec<u8>)>,
    /// Damage with nothing behind it.
    pub(crate) damage: Option<Damage>,
    pub(crate) incomplete: Option<String>,
    /// See [`Splitter::bytes_scanned`].
    pub(crate) bytes_scanned: u64,
    /// Place of every piece.
    pub(crate) pieces: Vec<Span>,
    /// Place of what is left.
    pub(crate) tail: Option<Span>,
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
        take_pieces(&mut splitter, &mut encoder, pause, &mut converted);
    }
    splitter.end();
    take_pieces(&mut splitter, &mut encoder, pause, &mut converted);
    match splitter.tail() {
        Tail::Clean => {}
        Tail::Incomplete(record) => {
            converted.tail = Some(record.span);
            converted.incomplete = Some(String::from_utf8_lossy(record.bytes).into_owned());
        }
        Tail::Damaged(damaged) => {
            converted.tail = Some(damaged.span);
            converted.damage = Some(damaged.damage());
        }
    }
    converted.bytes_scanned = splitter.bytes_scanned();
    converted
}

/// The whole of `bytes` from its beginning, in one chunk.
pub(crate) fn convert_whole(format: EventFormat, bytes: &[u8]) -> Converted {
    convert(format, Start::Beginning, [bytes], usize::MAX)
}

fn take_pieces(splitter: &mut Splitter, encoder: &mut Encoder, pause: usize, converted: &mut Converted) {
    while let Some(piece) = splitter.next_piece() {
        let span = match &piece {
            Piece::Damaged(piece) => piece.span,
            Piece::Record(record) => record.span,
        };
        match piece {
            Piece::Damaged(piece) => {
                converted.damaged.push((piece.span, piece.bytes.to_vec(), piece.kind.to_string()));
            }
            Piece::Record(record) => {
                if let Err(damage) = encode(encoder, &record, pause, converted) {
                    splitter.not_json(damage.kind);
                    continue;
                }
            }
        }
        converted.pieces.push(span);
        converted.offsets.push((splitter.offset().unwrap(), splitter.context().to_vec()));
    }
}

fn encode(
    encoder: &mut Encoder,
    record: &RawRecord<'_>,
    pause: usize,
    converted: &mut Converted,
) -> Result<(), Damage> {
    let mut encoding = encoder.begin(*record)?;
    loop {
        let mut taken = 0;
        let mut emit = |event: flowlogd::event::Event<'_>| {
            assert_eq!(event.record, record.span);
            converted.events.push((event.id.to_string(), String::from_utf8(event.body.to_vec()).unwrap()));
            taken += 1;
            if taken >= pause { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let encoded = encoding.advance(&mut emit);
        converted.rejected.extend(encoded.rejected);
        if encoded.done {
            break;
        }
    }
    Ok(())
}
