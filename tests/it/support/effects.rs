//! What a program does to the files below a directory, in order, by a library that is preloaded into it
//! (`tests/effects/effects.c`): to be read afterwards, or to strike the program at a named effect.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// One effect. Paths are relative to the directory; a file has the number of its inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A file or directory was opened; the file was made, if there was none.
    Opened { path: String, file: u64, is_directory: bool, is_truncated: bool },
    /// Bytes were written.
    Written { file: u64, offset: u64, bytes: Vec<u8> },
    /// A file has another length.
    Truncated { file: u64, length: u64 },
    /// A file or directory is on stable storage.
    Synced { file: u64 },
    /// A file has another name.
    Renamed { from: String, to: String },
    /// A name is gone.
    Unlinked { path: String },
    /// A directory was made.
    MadeDirectory { path: String },
    /// This went to standard output.
    Said { text: String },
}

/// An effect on a file at which a program is killed, or which fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    /// Killed (SIGKILL) `before` it or `after` it; or `failing`, for a sync.
    pub(crate) moment: &'static str,
    /// `open`, `write`, `truncate`, `sync`, `rename`, `unlink` or `mkdir`.
    pub(crate) kind: &'static str,
    /// How the path ends, or the new one.
    pub(crate) ending: &'static str,
}

/// Lets `command` write down what it does below `directory`. Returns the file; see [`read`].
pub(crate) fn record(command: &mut Command, directory: &Path) -> PathBuf {
    let log = directory.with_extension("effects");
    preload(command, directory).env("EFFECTS_LOG", &log);
    log
}

/// Strikes `command` the `number`-th time that it is at this point below `directory`.
pub(crate) fn strike(command: &mut Command, directory: &Path, point: Point, number: u32) {
    let Point { moment, kind, ending } = point;
    preload(command, directory).env("EFFECTS_STRIKE", format!("{moment}:{kind}:{ending}:{number}"));
}

fn preload<'a>(command: &'a mut Command, directory: &Path) -> &'a mut Command {
    // As the program sees it, with no link in between.
    let below = fs::canonicalize(directory).unwrap();
    assert_eq!(below, directory, "the program would name its files otherwise");
    command.env("LD_PRELOAD", library()).env("EFFECTS_BELOW", below)
}

/// Built once, by the compiler that SQLite was built with.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/effects/effects.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("effects.so");
        // Several runs may build at once.
        let mine = library.with_extension(std::process::id().to_string());
        let built = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
            .args([&mine, &source])
            .args(["-ldl", "-lpthread"])
            .status()
            .unwrap();
        assert!(built.success(), "{} does not build", source.display());
        fs::rename(mine, &library).unwrap();
        library
    })
}

/// Reads what a program has done below `directory`.
pub(crate) fn read(log: &Path, directory: &Path) -> Vec<Effect> {
    let log = fs::read(log).unwrap();
    let below = directory.to_str().unwrap();
    let mut rest = log.as_slice();
    let mut effects = Vec::new();
    while !rest.is_empty() {
        effects.push(effect(&mut rest, below));
    }
    effects
}

fn effect(rest: &mut &[u8], below: &str) -> Effect {
    let kind = rest.split_off_first().copied().unwrap();
    let [file, offset, length] = [(); 3].map(|()| {
        let number = rest.split_off(..8).unwrap();
        u64::from_le_bytes(number.try_into().unwrap())
    });
    let bytes = rest.split_off(..usize::try_from(length).unwrap()).unwrap();
    let text = || String::from_utf8(bytes.to_vec()).unwrap();
    let relative = |path: &str| {
        let path = path.strip_prefix(below).unwrap_or_else(|| panic!("{path} is not below {below}"));
        path.trim_start_matches('/').to_owned()
    };
    let path = || relative(&text());
    match kind {
        1 => {
            let (is_directory, is_truncated) = (offset & 1 != 0, offset & 2 != 0);
            Effect::Opened { path: path(), file, is_directory, is_truncated }
        }
        2 => Effect::Written { file, offset, bytes: bytes.to_vec() },
        3 => Effect::Truncated { file, length: offset },
        4 => Effect::Synced { file },
        5 => {
            let both = text();
            let (from, to) = both.split_once('\0').unwrap();
            Effect::Renamed { from: relative(from), to: relative(to) }
        }
        6 => Effect::Unlinked { path: path() },
        7 => Effect::MadeDirectory { path: path() },
        8 => Effect::Said { text: text() },
        _ => panic!("an effect that nobody replays ({kind}): {}", text()),
    }
}
