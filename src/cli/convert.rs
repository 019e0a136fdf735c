//! `flowlogd convert`: local blobs to one event a line, without settings, state or network.

use std::{
    fmt::{self, Write as _},
    fs::{self, File},
    io::{self, BufReader, BufWriter, IsTerminal, Read, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::ValueEnum;
use flate2::bufread::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Serialize, Serializer};

use super::exit::{Exit, Failure};
use crate::{
    event::{Encoder, EventFormat},
    flowlog::{Damage, DamageKind, Damaged, Piece, RawRecord, Splitter, Start, Tail},
    model::{BlobName, Origin, Reason, Rejected, Span},
};

/// Bytes read at once: with the carry behind it, what bounds the memory of a conversion.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Largest record, as `limits.record` has it by default.
const RECORD_BYTES: usize = 16 * 1024 * 1024;

/// First bytes of every gzip stream (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

/// Arguments of `flowlogd convert`.
///
/// Reads PT1H.json blobs as Azure wrote them, gzip-compressed ones, and files with one record a line. What cannot be
/// converted is shown on stderr, one JSON object a line with its place and the reason, and the exit code is 65.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Shape of the events.
    #[arg(long, value_enum, default_value_t = Format::Ecs)]
    pub format: Format,
    /// With ecs: only the vendor's fields, without ids, cloud, resource and provenance.
    #[arg(long)]
    pub no_enrich: bool,
    /// Files, in this order; `-` or none is stdin. A path from `flowLogResourceID=` or `resourceId=` on is the blob's
    /// name, so that events get the ids that they have in the storage account without account and container.
    pub files: Vec<PathBuf>,
}

/// Shapes of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The flattened tuple that the vendor's parser reads.
    Flow,
    /// The normalised event in the Elastic Common Schema.
    Ecs,
    /// One sentence for people.
    Text,
}

/// Runs the command.
///
/// # Errors
/// Code 66 for a file that cannot be opened, 74 where reading or writing fails.
pub fn execute(arguments: &Arguments) -> Result<Exit, Failure> {
    let format = match arguments.format {
        Format::Flow => EventFormat::Flow { provenance: false },
        Format::Ecs => EventFormat::Ecs { enrich: !arguments.no_enrich },
        Format::Text => EventFormat::Text,
    };
    let standard_input = [PathBuf::from("-")];
    let files = if arguments.files.is_empty() { &standard_input[..] } else { &arguments.files };
    let mut length = 0_u64;
    for path in files {
        let file_bytes = check(path).map_err(|error| Failure::new(Exit::NoInput, error))?;
        length = length.saturating_add(file_bytes.unwrap_or_default());
    }
    let progress = progress_bar(length);
    let mut output =
        Output { events: BufWriter::with_capacity(CHUNK_BYTES, io::stdout().lock()), n_quarantined: 0 };
    for path in files {
        let input = Input::open(path).map_err(|error| Failure::new(Exit::NoInput, error))?;
        convert(input, format, &mut output, &progress)
            .map_err(|error| Failure::new(Exit::InputOutput, error))?;
    }
    output
        .events
        .flush()
        .context("write to stdout")
        .map_err(|error| Failure::new(Exit::InputOutput, error))?;
    progress.finish_and_clear();
    Ok(if output.n_quarantined == 0 { Exit::Success } else { Exit::DataError })
}

/// The name that stands for stdin.
const STDIN: &str = "-";

/// Finds out early what is wrong with a file; opening all of them at once could need more files than a process may
/// have. Returns the bytes in it, where that is known.
fn check(path: &Path) -> anyhow::Result<Option<u64>> {
    if path == Path::new(STDIN) {
        return Ok(None);
    }
    let shown = path.display();
    let metadata = fs::metadata(path).with_context(|| format!("open {shown}"))?;
    anyhow::ensure!(!metadata.is_dir(), "open {shown}: it is a directory, name the files in it");
    Ok(Some(metadata.len()))
}

/// An opened file, or stdin.
struct Input {
    shown: String,
    reader: Box<dyn Read>,
}

impl Input {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display().to_string();
        if shown == STDIN {
            return Ok(Self { shown, reader: Box::new(io::stdin().lock()) });
        }
        let file = File::open(path).with_context(|| format!("open {shown}"))?;
        Ok(Self { shown, reader: Box::new(file) })
    }
}

struct Output<'a> {
    events: BufWriter<io::StdoutLock<'a>>,
    n_quarantined: u64,
}

/// One line on stderr.
#[derive(Serialize)]
struct Quarantined<'a> {
    file: &'a str,
    blob: &'a str,
    offset: u64,
    length: u64,
    ordinal: Option<u32>,
    reason: &'a str,
    detail: &'a str,
    context: Option<&'a str>,
    #[serde(serialize_with = "as_text")]
    text: &'a [u8],
}

/// Writes bytes as a text without a copy of them: they can be as large as a record.
fn as_text<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    struct Lossy<'a>(&'a [u8]);

    impl fmt::Display for Lossy<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            for chunk in self.0.utf8_chunks() {
                f.write_str(chunk.valid())?;
                if !chunk.invalid().is_empty() {
                    f.write_char(char::REPLACEMENT_CHARACTER)?;
                }
            }
            Ok(())
        }
    }
    serializer.collect_str(&Lossy(bytes))
}

/// One file in work.
struct Conversion<'a, 'out> {
    file: &'a str,
    blob: &'a str,
    encoder: Encoder,
    output: &'a mut Output<'out>,
}

fn convert(
    input: Input,
    format: EventFormat,
    output: &mut Output<'_>,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let Input { shown, reader } = input;
    let blob = blob_name(&shown);
    let origin = Origin { account: String::new(), container: String::new() };
    let encoder = Encoder::new(format, &origin, &BlobName::new(blob));
    let mut conversion = Conversion { file: &shown, blob, encoder, output };
    let mut splitter = Splitter::new(Start::Beginning, RECORD_BYTES);
    let (mut reader, is_gzip) = plain(progress.wrap_read(reader)).with_context(|| format!("read {shown}"))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut n_bytes = 0_u64;
    let fault = loop {
        let n_read = match reader.read(&mut chunk) {
            Ok(0) => break None,
            Ok(n_read) => n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if is_gzip && is_fault_of_the_stream(&error) => {
                break Some(DamageKind::Compression(error.to_string()));
            }
            Err(error) => return Err(error).with_context(|| format!("read {shown}")),
        };
        n_bytes = n_bytes.saturating_add(u64::try_from(n_read)?);
        splitter.push(chunk.get(..n_read).unwrap_or_default());
        conversion.take_pieces(&mut splitter)?;
    };
    splitter.end();
    conversion.take_pieces(&mut splitter)?;
    let rest = match splitter.tail() {
        Tail::Clean => None,
        Tail::Incomplete(damaged) => Some((damaged, Reason::IncompleteRecord)),
        Tail::Damaged(damaged) => Some((damaged.clone(), damaged.kind.reason())),
    };
    match (rest, fault) {
        (None, None) => Ok(()),
        (None, Some(kind)) => {
            let span = Span { from: n_bytes, to: n_bytes };
            conversion.quarantine(&Damaged { span, kind, bytes: &[] }, Reason::Damage)
        }
        (Some((damaged, _)), Some(kind)) => {
            conversion.quarantine(&Damaged { kind, ..damaged }, Reason::Damage)
        }
        (Some((damaged, reason)), None) => conversion.quarantine(&damaged, reason),
    }
}

/// What is said about the last piece of a file.
fn detail(damaged: &Damaged<'_>, reason: Reason) -> String {
    if reason == Reason::IncompleteRecord {
        "the file ends within this record".to_owned()
    } else {
        damaged.kind.to_string()
    }
}

impl Conversion<'_, '_> {
    /// Converts the pieces that the splitter has.
    fn take_pieces(&mut self, splitter: &mut Splitter) -> anyhow::Result<()> {
        while let Some(piece) = splitter.next_piece() {
            match piece {
                Piece::Damaged(damaged) => self.quarantine(&damaged, damaged.kind.reason())?,
                Piece::Record(record) => {
                    if let Err(damage) = self.write_events(record)? {
                        splitter.not_json(damage.kind);
                    }
                }
            }
        }
        Ok(())
    }

    fn write_events(&mut self, record: RawRecord<'_>) -> anyhow::Result<Result<(), Damage>> {
        let mut encoding = match self.encoder.begin(record) {
            Ok(encoding) => encoding,
            Err(damage) => return Ok(Err(damage)),
        };
        loop {
            let events = &mut self.output.events;
            let mut written = Ok(());
            let mut emit = |event: crate::event::Event<'_>| {
                written = events.write_all(event.body).and_then(|()| events.write_all(b"\n"));
                if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            let encoded = encoding.advance(&mut emit);
            written.context("write to stdout")?;
            for Rejected { reason, detail, span, ordinal, context, text, .. } in &encoded.rejected {
                self.output.quarantine(&Quarantined {
                    file: self.file,
                    blob: self.blob,
                    offset: span.from,
                    length: span.length(),
                    ordinal: *ordinal,
                    reason: reason.as_str(),
                    detail,
                    context: context.as_deref(),
                    text,
                })?;
            }
            if encoded.done {
                break;
            }
        }
        Ok(Ok(()))
    }

    fn quarantine(&mut self, damaged: &Damaged<'_>, reason: Reason) -> anyhow::Result<()> {
        self.output.quarantine(&Quarantined {
            file: self.file,
            blob: self.blob,
            offset: damaged.span.from,
            length: damaged.span.length(),
            ordinal: None,
            reason: reason.as_str(),
            detail: &detail(damaged, reason),
            context: None,
            text: damaged.bytes,
        })
    }
}

impl Output<'_> {
    fn quarantine(&mut self, entry: &Quarantined<'_>) -> anyhow::Result<()> {
        self.n_quarantined = self.n_quarantined.saturating_add(1);
        let mut lines = BufWriter::new(io::stderr().lock());
        serde_json::to_writer(&mut lines, entry).context("write to stderr")?;
        lines.write_all(b"\n").and_then(|()| lines.flush()).context("write to stderr")
    }
}

/// The stream without its compression, and whether it has one.
fn plain<'a>(reader: impl Read + 'a) -> io::Result<(Box<dyn Read + 'a>, bool)> {
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, reader);
    let mut magic = Vec::with_capacity(GZIP_MAGIC.len());
    reader.by_ref().take(2).read_to_end(&mut magic)?;
    let is_gzip = magic == GZIP_MAGIC;
    let whole = io::Cursor::new(magic).chain(reader);
    let plain: Box<dyn Read + 'a> =
        if is_gzip { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
    Ok((plain, is_gzip))
}

/// Whether decompression failed because of what it was given, not because reading did.
fn is_fault_of_the_stream(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    [InvalidData, InvalidInput, UnexpectedEof].contains(&error.kind())
}

/// The part of a path that is the blob's name in its container; the path as given where that cannot be told.
fn blob_name(path: &str) -> &str {
    const ROOT_SEGMENTS: [&str; 2] = ["flowlogresourceid=", "resourceid="];
    let lower = path.to_ascii_lowercase();
    let starts_segment = |at: &usize| *at == 0 || lower.as_bytes().get(at.saturating_sub(1)) == Some(&b'/');
    let at = ROOT_SEGMENTS
        .iter()
        .find_map(|segment| lower.match_indices(segment).map(|(at, _)| at).find(starts_segment));
    at.and_then(|at| path.get(at..)).unwrap_or(path)
}

/// A bar over the bytes of all files; without a known length it only counts. Hidden where stderr is no terminal, and
/// where the events go to the terminal too.
fn progress_bar(length: u64) -> ProgressBar {
    const TEMPLATE: &str = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
    let bar = if length == 0 { ProgressBar::no_length() } else { ProgressBar::new(length) };
    bar.set_draw_target(if io::stdout().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    });
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: paths with a container's tree somewhere in them, and others.
    /// *Guarantees*: the name is what it is in the container.
    #[test]
    fn blob_names() {
        for (path, expected) in [
            ("/data/x/flowLogResourceID=/A/B/y=2026/PT1H.json", "flowLogResourceID=/A/B/y=2026/PT1H.json"),
            ("resourceId=/S/y=2026/PT1H.json", "resourceId=/S/y=2026/PT1H.json"),
            ("/data/RESOURCEID=/S", "RESOURCEID=/S"),
            ("other/PT1H.json", "other/PT1H.json"),
            ("-", "-"),
        ] {
            assert_eq!(blob_name(path), expected);
        }
    }
}
