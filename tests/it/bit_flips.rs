//! Single bits of the state's file that are other ones than were written. SQLite's own checks see rows that are not found any
//! more, the checksum of a row what is in it: only both together see everything.
//!
//! `BIT_FLIPS` multiplies their number, `SEED` chooses others.

use std::{fs, path::Path};

use fastrand::Rng;
use flowlogd::store::{StoreError, sqlite::SqliteStore};

use crate::{
    power_cut::{scratch, state::text},
    store_contract::fill,
    support::{environment::variable, examples::example},
};

/// Flips in each of the files.
const N_FLIPS: u64 = 500;

/// All that is read, and the times of the quarantine's rows.
fn read(directory: &Path) -> Result<(String, Vec<i64>), StoreError> {
    let mut store = SqliteStore::open(directory)?;
    store.check_file()?;
    let mut times = Vec::new();
    store.for_each_quarantined(|entry| times.push(entry.time))?;
    Ok((text(&store)?, times))
}

/// Reads the file of a state with one bit changed, again and again. Returns how often that was an error, and how often
/// the same was read.
fn flip(name: &str, file: &[u8]) -> (u64, u64) {
    let left = scratch();
    let state = left.path().join("state.sqlite3");
    let read_with = |bytes: &[u8]| {
        fs::write(&state, bytes).unwrap();
        let read = read(left.path());
        // What a store leaves that did not open is the next one's matter no more.
        for ending in ["-wal", "-shm", "-journal"] {
            fs::remove_file(left.path().join(format!("state.sqlite3{ending}"))).ok();
        }
        read
    };
    let expected = read_with(file).unwrap();
    let seed = variable("SEED", 1);
    let mut random = Rng::with_seed(seed);
    let (mut n_errors, mut n_harmless) = (0, 0);
    let mut changed = file.to_vec();
    for number in 0..N_FLIPS * variable("BIT_FLIPS", 1) {
        let (at, bit) = (random.usize(0..file.len()), 1 << random.u32(0..8));
        changed[at] ^= bit;
        match read_with(&changed) {
            Ok(found) => {
                let place = format!("{name}, flip {number} of seed {seed}: byte {at}, bit {bit:#x}");
                let differ = |read: &(String, Vec<i64>), other: &(String, Vec<i64>)| {
                    let lines = read.0.lines().filter(|line| !other.0.lines().any(|known| known == *line));
                    lines.map(str::to_owned).collect::<Vec<_>>()
                };
                assert!(
                    found == expected,
                    "{place}: read {:?}, not {:?}",
                    differ(&found, &expected),
                    differ(&expected, &found)
                );
                n_harmless += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains(state.to_str().unwrap()), "{error}");
                n_errors += 1;
            }
        }
        changed[at] ^= bit;
    }
    (n_errors, n_harmless)
}

/// *Scenario*: a file with some of everything, and one that has seen random transactions, each with one bit changed at a
/// random place, five hundred times.
/// *Guarantees*: an error that names the file, or the same is read: never anything else.
#[test]
fn a_changed_bit_is_found_or_harmless() {
    let filled = scratch();
    fill(&mut SqliteStore::open(filled.path()).unwrap());
    let worked = scratch();
    let output = example("store_workload").arg(worked.path()).args(["--changes", "30"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (name, directory) in [("filled", filled), ("worked", worked)] {
        let file = fs::read(directory.path().join("state.sqlite3")).unwrap();
        let (n_errors, n_harmless) = flip(name, &file);
        assert!(n_errors > 0 && n_harmless > 0, "{name}: {n_errors} errors, {n_harmless} harmless");
    }
}
