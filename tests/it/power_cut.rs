//! Power cuts: what a program does to the state store is written down, the power is cut at any place of it, and the store
//! is opened on what a legal disk may have kept. Then once more while it is opened.
//!
//! `POWER_CUTS` multiplies the number of disks, `SEED` chooses others. What fails is kept, and told with its number.

#[path = "../../examples/store_workload/state.rs"]
pub(crate) mod state;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use fastrand::Rng;
use flowlogd::store::sqlite::SqliteStore;
use tempfile::TempDir;

use crate::support::{
    disk::{Disk, Luck},
    effects::{self, Effect},
    environment::variable,
    examples::example,
};

/// Disks that are opened, of each recording; as many again are cut a second time while they are opened.
const N_DISKS: u64 = 125;

/// One disk in so many is opened by a program whose power is cut too, as many times.
const N_SECOND_CUTS: u64 = 5;

/// A state in memory is opened without waiting for a disk.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

/// What a program did to a state, and what there was before.
#[derive(Debug)]
struct Recording {
    before: Disk,
    /// The files that were there in the end.
    after: BTreeMap<PathBuf, Vec<u8>>,
    effects: Vec<Effect>,
    /// What the store held at first and after each transaction.
    states: Vec<u64>,
}

impl Recording {
    /// Runs the workload on a copy of the directory `before`.
    fn of(before: &Path, arguments: &[&str]) -> Self {
        let before = Disk::of(before);
        let worked = scratch();
        before.cut(&mut Luck::all(), worked.path());
        let mut command = example("store_workload");
        command.arg(worked.path().join("state")).args(arguments);
        let log = effects::record(&mut command, worked.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let effects = effects::read(&log, worked.path());
        fs::remove_file(log).unwrap();
        let states = effects.iter().filter_map(said).collect();
        Self { before, after: files(worked.path()), effects, states }
    }

    /// The disk after the effect with this number, of all from 1 on.
    fn disk_after(&self, n_effects: usize, ignores_sync: fn(&str) -> bool) -> Disk {
        let mut disk = self.before.clone();
        disk.ignore_syncs(ignores_sync);
        self.effects[..n_effects].iter().for_each(|effect| disk.apply(effect));
        disk
    }

    /// A place to cut the power at. Half of them lie between effects that are seldom.
    fn cut(&self, random: &mut Rng) -> usize {
        let place = random.usize(0..=self.effects.len());
        if random.bool() {
            return place;
        }
        let is_seldom = |effect: &Effect| !matches!(effect, Effect::Written { .. } | Effect::Said { .. });
        let next = self.effects[place..].iter().position(is_seldom);
        next.map_or(place, |next| place + next + random.usize(0..=1))
    }

    /// The state that the program has told of last, by its number.
    fn acknowledged(&self, n_effects: usize) -> Option<usize> {
        self.effects[..n_effects].iter().filter_map(said).count().checked_sub(1)
    }

    /// Whether a store may hold this after a cut: the state that was told of, or the one that was under way.
    fn judge(&self, n_effects: usize, found: u64) -> Outcome {
        let acknowledged = self.acknowledged(n_effects);
        let under_way = acknowledged.map_or(0, |number| number + 1);
        let last = under_way.min(self.states.len() - 1);
        if self.states[acknowledged.unwrap_or(0)..=last].contains(&found) {
            Outcome::Sound
        } else if self.states.contains(&found) {
            Outcome::Lost
        } else {
            Outcome::Torn
        }
    }

    /// Opens what this cut leaves.
    fn outcome(&self, disk: &Disk, cut: usize, seed: u64) -> Outcome {
        let left = scratch();
        disk.cut(&mut Luck::of(seed), left.path());
        match open(left.path()) {
            Ok(found) => self.judge(cut, found),
            Err(error) => Outcome::Unopenable(error),
        }
    }
}

/// What is found on a disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Sound,
    /// A state that there was, and not all that was told of.
    Lost,
    /// A state that there never was.
    Torn,
    Unopenable(String),
}

/// The number that the workload says after each transaction.
fn said(effect: &Effect) -> Option<u64> {
    let Effect::Said { text } = effect else { return None };
    let number = text.strip_prefix("state 0x").unwrap().trim_end();
    Some(u64::from_str_radix(number, 16).unwrap())
}

/// Opens the state as flowlogd does, lets SQLite check it, and reads all of it.
fn open(directory: &Path) -> Result<u64, String> {
    let mut store = SqliteStore::open(&directory.join("state")).map_err(|error| error.to_string())?;
    store.check_file().and_then(|()| state::digest(&store)).map_err(|error| error.to_string())
}

/// The first start, then some hundred transactions; the write-ahead log begins anew within, and at each of the starts.
fn from_nothing() -> &'static Recording {
    static RECORDING: OnceLock<Recording> = OnceLock::new();
    RECORDING.get_or_init(|| Recording::of(scratch().path(), &["--changes", "280", "--reopen-after", "180"]))
}

/// The files of each version that was ever shipped, each with the start of a program that knows newer ones.
fn from_older_versions() -> &'static [Recording] {
    static RECORDINGS: OnceLock<Vec<Recording>> = OnceLock::new();
    RECORDINGS.get_or_init(|| {
        let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/state")).unwrap();
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        let recordings = files.into_iter().map(|file| {
            let before = scratch();
            fs::create_dir(before.path().join("state")).unwrap();
            fs::copy(file, before.path().join("state/state.sqlite3")).unwrap();
            Recording::of(before.path(), &["--changes", "5"])
        });
        recordings.collect()
    })
}

/// Where the power is cut, in the order of the effects: with the number of the disk, which is the seed of its luck.
fn cuts(recording: &Recording, n_disks: u64) -> Vec<(usize, u64)> {
    let seed = variable("SEED", 1);
    let numbers = (0..n_disks * variable("POWER_CUTS", 1)).map(|number| seed * 1_000_000 + number);
    let mut cuts: Vec<_> =
        numbers.map(|number| (recording.cut(&mut Rng::with_seed(!number)), number)).collect();
    cuts.sort_unstable();
    cuts
}

/// Calls `each` with the disk at each of the cuts.
fn at_cuts(
    recording: &Recording,
    n_disks: u64,
    ignores_sync: fn(&str) -> bool,
    mut each: impl FnMut(&Disk, usize, u64),
) {
    let mut disk = recording.disk_after(0, ignores_sync);
    let mut n_applied = 0;
    for (cut, number) in cuts(recording, n_disks) {
        recording.effects[n_applied..cut].iter().for_each(|effect| disk.apply(effect));
        n_applied = cut;
        each(&disk, cut, number);
    }
}

/// Cuts the power, opens what is left, and cuts the power of one opening in some.
fn all_is_sound(recording: &Recording, n_disks: u64) {
    at_cuts(
        recording,
        n_disks,
        |_| false,
        |disk, cut, number| {
            let n_effects = recording.effects.len();
            let outcome = recording.outcome(disk, cut, number);
            if outcome != Outcome::Sound {
                let kept = scratch().keep();
                disk.cut(&mut Luck::of(number), &kept);
                panic!(
                    "disk {number}, cut after {cut} of {n_effects} effects: {outcome:?}: {}",
                    kept.display()
                );
            }
            if number % N_SECOND_CUTS != 0 {
                return;
            }
            let left = scratch();
            disk.cut(&mut Luck::of(number), left.path());
            let again = Recording::of(left.path(), &["--changes", "1", "--seed", &number.to_string()]);
            assert_eq!(recording.judge(cut, again.states[0]), Outcome::Sound);
            let mut random = Rng::with_seed(number);
            for _cut in 0..N_SECOND_CUTS {
                let (second_cut, seed) = (again.cut(&mut random), random.u64(..));
                let second = again.disk_after(second_cut, |_| false);
                let outcome = again.outcome(&second, second_cut, seed);
                if outcome != Outcome::Sound {
                    let kept = scratch().keep();
                    second.cut(&mut Luck::of(seed), &kept);
                    let n_second = again.effects.len();
                    panic!(
                        "disk {number}, cut after {cut} of {n_effects} effects, and after {second_cut} of {n_second}: \
                     {outcome:?}: {}",
                        kept.display()
                    );
                }
            }
        },
    );
}

/// *Scenario*: the power is cut anywhere between the first start and some hundred transactions later, and again while the
/// state is opened.
/// *Guarantees*: the state opens; what was committed is there, and of one more transaction all or nothing.
#[test]
fn a_new_state() {
    let recording = from_nothing();
    let n_wal = recording
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Written { offset: 0, bytes, .. } if bytes.len() == 32));
    assert!(n_wal.count() >= 3, "the write-ahead log never began anew");
    all_is_sound(recording, N_DISKS);
}

/// *Scenario*: the same with a state that an older version has left, in the first start and the transactions behind it.
/// *Guarantees*: the same, whether the state was led to the newest version or not.
#[test]
fn a_state_of_an_older_version() {
    let recordings = from_older_versions();
    assert!(!recordings.is_empty());
    let n_disks = N_DISKS / u64::try_from(recordings.len()).unwrap();
    recordings.iter().for_each(|recording| all_is_sound(recording, n_disks));
}

/// *Scenario*: nothing is cut.
/// *Guarantees*: what was written down is all that the program did: the same files with the same bytes.
#[test]
fn everything_is_written_down() {
    for recording in from_older_versions().iter().chain([from_nothing()]) {
        let replayed = scratch();
        recording.disk_after(recording.effects.len(), |_| false).cut(&mut Luck::all(), replayed.path());
        assert_eq!(files(replayed.path()), recording.after);
        assert_eq!(recording.judge(recording.effects.len(), open(replayed.path()).unwrap()), Outcome::Sound);
    }
}

fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory.join("state")).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().into(), fs::read(path).unwrap())).collect()
}

/// *Scenario*: syncs of one kind of file do nothing, as with `synchronous = NORMAL`, with a program that forgets them, and
/// with a disk that lies.
/// *Guarantees*: the same check finds it, so it would find a store that promises too much.
#[test]
fn a_store_that_does_not_sync_is_found_out() {
    let recording = from_nothing();
    let found = |ignores_sync: fn(&str) -> bool| {
        let mut outcomes = BTreeMap::new();
        at_cuts(recording, 100, ignores_sync, |disk, cut, number| {
            let kind = match recording.outcome(disk, cut, number) {
                Outcome::Unopenable(_) => Outcome::Unopenable(String::new()),
                outcome @ (Outcome::Sound | Outcome::Lost | Outcome::Torn) => outcome,
            };
            *outcomes.entry(kind).or_insert(0) += 1;
        });
        outcomes
    };
    let log = found(|path| path.ends_with("-wal"));
    assert!(log.contains_key(&Outcome::Lost), "{log:?}");
    let file = found(|path| path.ends_with(".sqlite3") || path.ends_with(".new"));
    assert!(file.keys().any(|outcome| *outcome != Outcome::Sound), "{file:?}");
    let directories = found(|path| !path.contains('.'));
    assert!(directories.keys().any(|outcome| *outcome != Outcome::Sound), "{directories:?}");
}
