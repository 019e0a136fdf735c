//! Fills a state with positions, many in one transaction.

use flowlogd::{
    checkpoint::{Frontier, Position, Tally},
    model::{Hour, HourlyBlob, Scope},
    store::{Commit, PositionChange, StateStore, sqlite::SqliteStore},
};

const POSITIONS_PER_COMMIT: usize = 50_000;

/// A transaction without anything.
pub(crate) fn nothing(scope: &Scope) -> Commit {
    Commit { scope: scope.clone(), positions: Vec::new(), rejected: Vec::new(), frontiers: Vec::new() }
}

/// Stores positions of blobs that have none.
pub(crate) fn fill(
    store: &mut SqliteStore,
    scope: &Scope,
    positions: impl Iterator<Item = (HourlyBlob, Position)>,
) {
    let mut positions = positions.map(|(blob, to)| PositionChange {
        blob,
        from: None,
        to,
        tally: Tally { records: 1, tuples: 30, delivered: 30, ..Tally::default() },
        started_over: false,
    });
    loop {
        let commit =
            Commit { positions: positions.by_ref().take(POSITIONS_PER_COMMIT).collect(), ..nothing(scope) };
        if commit.positions.is_empty() {
            return;
        }
        store.commit(&commit).expect("positions can be stored");
    }
}

/// Seals every hour of the roots before this one.
pub(crate) fn seal_before(
    store: &mut SqliteStore,
    scope: &Scope,
    roots: impl Iterator<Item = String>,
    first_unsealed: Hour,
) {
    let frontiers = roots.map(|root| (root, Frontier::new(first_unsealed))).collect();
    store.commit(&Commit { frontiers, ..nothing(scope) }).expect("frontiers can be stored");
}
