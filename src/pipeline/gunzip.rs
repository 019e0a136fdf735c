//! A gzip blob in pieces: compressed ranges in, the decompressed stream out, in steps of bounded size.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;

use crate::checkpoint::ContextHash;

/// Bytes decompressed at once, however many they were compressed to.
pub(super) const STEP_BYTES: usize = 256 * 1024;

/// First bytes of every gzip stream (RFC 1952).
const MAGIC: [u8; 2] = [0x1F, 0x8B];

/// Whether a blob that begins so is compressed.
pub(crate) fn is_gzip(beginning: &[u8]) -> bool {
    beginning.starts_with(&MAGIC)
}

/// A decompression in work.
#[derive(Debug)]
pub(crate) struct Gunzip {
    decoder: MultiGzDecoder<Source>,
    step: Vec<u8>,
}

/// What is known of the compressed stream and not decompressed yet.
#[derive(Debug)]
struct Source {
    bytes: Bytes,
    /// No more will come.
    ended: bool,
}

/// The next thing out of a compressed stream.
#[derive(Debug)]
pub(crate) enum Unzipped<'a> {
    /// Decompressed bytes.
    Bytes(&'a [u8]),
    /// More compressed bytes are needed.
    Starved,
    /// The end of the stream.
    End,
    /// The stream is damaged, or ends too early.
    Damaged(String),
}

impl Gunzip {
    pub(crate) fn new(first: Bytes) -> Self {
        let source = Source { bytes: first, ended: false };
        Self { decoder: MultiGzDecoder::new(source), step: vec![0; STEP_BYTES] }
    }

    /// Adds compressed bytes; [`None`]: there are no more.
    pub(crate) fn give(&mut self, bytes: Option<Bytes>) {
        let source = self.decoder.get_mut();
        source.ended = bytes.is_none();
        source.bytes = bytes.unwrap_or_default();
    }

    pub(crate) fn next(&mut self) -> Unzipped<'_> {
        match self.decoder.read(&mut self.step) {
            Ok(0) => Unzipped::End,
            Ok(n_bytes) => Unzipped::Bytes(self.step.get(..n_bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Unzipped::Starved,
            Err(error) => Unzipped::Damaged(error.to_string()),
        }
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.fill_buf()?.read(out)?;
        self.consume(n_bytes);
        Ok(n_bytes)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.bytes.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(&self.bytes)
    }

    fn consume(&mut self, n_bytes: usize) {
        self.bytes.advance(n_bytes);
    }
}

/// The way to a stored offset in a stream that can only be read from its beginning.
#[derive(Debug)]
pub(super) struct Skip {
    offset: u64,
    hash: ContextHash,
    at: u64,
    /// The last bytes before `at`.
    context: Vec<u8>,
}

/// Where a chunk brought a [`Skip`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Skipped<'a> {
    /// Not there yet.
    All,
    /// The offset is reached, behind the bytes that stood there before: what stands behind it.
    Rest(&'a [u8]),
    /// Other bytes stand before the offset.
    Different,
}

impl Skip {
    pub(super) fn new(offset: u64, hash: ContextHash) -> Self {
        Self { offset, hash, at: 0, context: Vec::new() }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The at most 64 bytes before the offset, once it is reached.
    pub(super) fn context(&self) -> &[u8] {
        &self.context
    }

    pub(super) fn pass<'a>(&mut self, chunk: &'a [u8]) -> Skipped<'a> {
        let left = usize::try_from(self.offset.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let (skipped, rest) = chunk.split_at(left.min(chunk.len()));
        self.at = self.at.saturating_add(u64::try_from(skipped.len()).unwrap_or(u64::MAX));
        let last = skipped.get(skipped.len().saturating_sub(ContextHash::BYTES)..).unwrap_or_default();
        self.context.extend_from_slice(last);
        self.context.drain(..self.context.len().saturating_sub(ContextHash::BYTES));
        if self.at < self.offset {
            Skipped::All
        } else if ContextHash::of(&self.context) == self.hash {
            Skipped::Rest(rest)
        } else {
            Skipped::Different
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// What comes out, and how it ends.
    fn gunzip(compressed: &[u8], chunk_bytes: usize) -> (Vec<u8>, String) {
        let mut chunks = compressed.chunks(chunk_bytes).map(Bytes::copy_from_slice);
        let mut gunzip = Gunzip::new(chunks.next().unwrap());
        let mut out = Vec::new();
        loop {
            match gunzip.next() {
                Unzipped::Bytes(bytes) => out.extend_from_slice(bytes),
                Unzipped::Starved => gunzip.give(chunks.next()),
                Unzipped::End => return (out, "end".to_owned()),
                Unzipped::Damaged(detail) => return (out, detail),
            }
        }
    }

    /// *Scenario*: streams of one and two members, whole, cut and damaged, in ranges of several sizes.
    /// *Guarantees*: the decompressed bytes, all of them where nothing is wrong; else what came before the fault.
    #[test]
    fn streams() {
        let text = b"0123456789".repeat(1_000);
        let members = [gzip(&text[..4_000]), gzip(&text[4_000..])].concat();
        for chunk_bytes in [1, 2, 7, 1_000_000] {
            assert_eq!(gunzip(&members, chunk_bytes), (text.clone(), "end".to_owned()));
            let (out, end) = gunzip(&members[..members.len() - 3], chunk_bytes);
            assert_eq!(out, text);
            assert_ne!(end, "end");
            let (out, end) = gunzip(&[&members, b"x".as_slice()].concat(), chunk_bytes);
            assert_eq!(out, text);
            assert_ne!(end, "end");
        }
    }

    /// *Scenario*: 50 MB of one byte in a few kilobytes.
    /// *Guarantees*: no step is larger than it may be.
    #[test]
    fn a_bomb_comes_in_small_steps() {
        let bomb = Bytes::from(gzip(&vec![b' '; 50_000_000]));
        let (mut gunzip, mut total) = (Gunzip::new(bomb), 0);
        loop {
            match gunzip.next() {
                Unzipped::Bytes(bytes) => {
                    assert!(bytes.len() <= STEP_BYTES);
                    total += bytes.len();
                }
                Unzipped::Starved => gunzip.give(None),
                Unzipped::End => break,
                Unzipped::Damaged(detail) => panic!("{detail}"),
            }
        }
        assert_eq!(total, 50_000_000);
    }

    /// *Scenario*: offsets near the beginning and further on, in chunks of several sizes, before the right bytes and not.
    /// *Guarantees*: the rest behind the offset, or that it is another stream.
    #[test]
    fn the_way_to_an_offset() {
        let stream: Vec<u8> = (0..=255).collect();
        for offset in [1_usize, 5, 64, 65, 200, 256] {
            for chunk_bytes in [1, 3, 64, 256] {
                for is_same in [true, false] {
                    let mut before = stream[..offset].to_vec();
                    before[offset - 1] ^= u8::from(!is_same);
                    let mut skip = Skip::new(u64::try_from(offset).unwrap(), ContextHash::of(&before));
                    let mut passed = 0;
                    let end = stream.chunks(chunk_bytes).find_map(|chunk| {
                        passed += chunk.len();
                        Some(skip.pass(chunk)).filter(|skipped| *skipped != Skipped::All)
                    });
                    if is_same {
                        assert_eq!(end, Some(Skipped::Rest(&stream[offset..passed])));
                        assert_eq!(skip.context(), &stream[offset.saturating_sub(64)..offset]);
                    } else {
                        assert_eq!(end, Some(Skipped::Different));
                    }
                }
            }
        }
    }
}
