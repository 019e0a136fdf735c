//! A state store in memory, for tests that do not look at the disk. Clones share one state, so that a clone taken
//! after a "crash" finds what was committed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use flowlogd::{
    checkpoint::{Frontier, Position, Tally},
    model::{Hour, HourlyBlob, Rejected, Scope},
    store::{Commit, FirstHour, Pruned, QuarantineUsage, StateStore, StoreError},
};

/// The store.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStore(Arc<Mutex<BTreeMap<Scope, ScopeState>>>);

#[derive(Debug, Clone, Default, PartialEq)]
struct ScopeState {
    first_hour: Option<FirstHour>,
    frontiers: BTreeMap<String, Frontier>,
    positions: BTreeMap<HourlyBlob, (Position, Option<Tally>)>,
    quarantine: BTreeMap<(HourlyBlob, u64, Option<u32>), Rejected>,
}

impl MemoryStore {
    /// The rows of the quarantine, in the order of blob, offset and ordinal.
    pub(crate) fn quarantined(&self, scope: &Scope) -> Vec<(HourlyBlob, Rejected)> {
        let scopes = self.0.lock().unwrap();
        let rows = scopes.get(scope).map(|state| state.quarantine.clone()).unwrap_or_default();
        rows.into_iter().map(|((blob, _, _), rejected)| (blob, rejected)).collect()
    }

    /// What the ledger has of an hour's blobs, in the order of their names.
    pub(crate) fn ledgers(&self, scope: &Scope, root: &str, hour: Hour) -> Vec<Option<Tally>> {
        let scopes = self.0.lock().unwrap();
        let positions = scopes.get(scope).map(|state| state.positions.clone()).unwrap_or_default();
        let wanted = positions.into_iter().filter(|(blob, _)| blob.root() == root && blob.hour() == hour);
        wanted.map(|(_, (_, ledger))| ledger).collect()
    }
}

impl StateStore for MemoryStore {
    fn first_hour(&mut self, scope: &Scope, proposed: FirstHour) -> Result<FirstHour, StoreError> {
        let mut scopes = self.0.lock().unwrap();
        Ok(*scopes.entry(scope.clone()).or_default().first_hour.get_or_insert(proposed))
    }

    fn frontiers(&mut self, scope: &Scope) -> Result<Vec<(String, Frontier)>, StoreError> {
        let scopes = self.0.lock().unwrap();
        Ok(scopes.get(scope).map(|state| state.frontiers.clone()).unwrap_or_default().into_iter().collect())
    }

    fn positions(
        &mut self,
        scope: &Scope,
        root: &str,
        hour: Hour,
    ) -> Result<Vec<(HourlyBlob, Position)>, StoreError> {
        let scopes = self.0.lock().unwrap();
        let Some(state) = scopes.get(scope) else { return Ok(Vec::new()) };
        let wanted = state.positions.iter().filter(|(blob, _)| blob.hour() == hour && blob.root() == root);
        Ok(wanted.map(|(blob, (position, _ledger))| (blob.clone(), position.clone())).collect())
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let mut scopes = self.0.lock().unwrap();
        let state = scopes.entry(commit.scope.clone()).or_default();
        for change in &commit.positions {
            let stored = state.positions.get(&change.blob).map(|(position, _ledger)| position);
            if stored != change.from.as_ref() {
                return Err(StoreError::Gap {
                    blob: change.blob.name().to_string(),
                    stored: spelled(stored),
                    from: spelled(change.from.as_ref()),
                });
            }
        }
        for change in &commit.positions {
            let ledger = state.positions.get(&change.blob).and_then(|(_position, ledger)| *ledger);
            state.positions.insert(change.blob.clone(), (change.to.clone(), change.ledger(ledger)));
            if let Some(from) = change.read_rest() {
                state.quarantine.retain(|(blob, offset, ordinal), _| {
                    *blob != change.blob || *offset < from || ordinal.is_some()
                });
            }
        }
        for (blob, rejected) in &commit.rejected {
            let key = (blob.clone(), rejected.span.from, rejected.ordinal);
            state.quarantine.insert(key, rejected.clone());
        }
        state.frontiers.extend(commit.frontiers.iter().cloned());
        Ok(())
    }

    fn quarantine_usage(&mut self) -> Result<QuarantineUsage, StoreError> {
        let mut usage = QuarantineUsage::default();
        for rejected in self.0.lock().unwrap().values().flat_map(|state| state.quarantine.values()) {
            usage.add(u64::try_from(rejected.detail.len() + rejected.text.len()).unwrap());
        }
        Ok(usage)
    }

    fn stored_day(
        &mut self,
        scope: &Scope,
        root: &str,
        after: Option<Hour>,
    ) -> Result<Option<Hour>, StoreError> {
        let scopes = self.0.lock().unwrap();
        let Some(state) = scopes.get(scope) else { return Ok(None) };
        let days = state.positions.keys().filter(|blob| blob.root() == root).map(|blob| blob.hour().day());
        Ok(days.filter(|day| after.is_none_or(|after| *day > after.day())).min())
    }

    fn prune(
        &mut self,
        scope: &Scope,
        root: &str,
        day: Hour,
        present: &[HourlyBlob],
    ) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        let mut scopes = self.0.lock().unwrap();
        let Some(state) = scopes.get_mut(scope) else { return Ok(pruned) };
        let Some(frontier) = state.frontiers.get(root) else { return Ok(pruned) };
        state.positions.retain(|blob, (position, _ledger)| {
            let is_meant = blob.root() == root && blob.hour().day() == day.day();
            let stays = !is_meant || !frontier.is_sealed(blob.hour()) || present.contains(blob);
            if !stays {
                pruned.add(position);
            }
            stays
        });
        Ok(pruned)
    }

    fn scopes(&mut self) -> Result<Vec<Scope>, StoreError> {
        let scopes = self.0.lock().unwrap();
        let used = scopes.iter().filter(|(_, state)| **state != ScopeState::default());
        Ok(used.map(|(scope, _)| scope.clone()).collect())
    }
}

fn spelled(position: Option<&Position>) -> String {
    position.map_or_else(|| String::from("none"), Position::to_string)
}
