//! The store of a simulation: a real one, with a disk that fails, and a look at all that is committed.

use flowlogd::{
    checkpoint::{Frontier, Position},
    model::{Hour, HourlyBlob, Scope},
    store::{Commit, FirstHour, Pruned, QuarantineUsage, StateStore, StoreError},
};

use super::{
    weather::Fault,
    world::{Shared, lock},
};

/// The store.
#[derive(Debug)]
pub(super) struct SimulatedStore {
    pub(super) inner: Box<dyn StateStore>,
    pub(super) world: Shared,
}

/// The place of the intake of a scope among the intakes.
pub(super) fn intake_name(place: usize) -> String {
    format!("intake{place}")
}

fn place_of(scope: &Scope) -> usize {
    scope.intake.strip_prefix("intake").unwrap().parse().unwrap()
}

impl SimulatedStore {
    fn trouble(&self) -> Result<(), StoreError> {
        let mut world = lock(&self.world);
        let operation = String::from("commit");
        if std::mem::take(&mut world.disk_broken) {
            return Err(StoreError::Io { operation, source: "the sync failed".into() });
        }
        if world.has(Fault::DiskFull, None) {
            return Err(StoreError::Full { operation, source: "no room".into() });
        }
        if world.has(Fault::DiskReadOnly, None) {
            return Err(StoreError::ReadOnly { operation, source: "read-only".into() });
        }
        Ok(())
    }
}

impl StateStore for SimulatedStore {
    fn first_hour(&mut self, scope: &Scope, proposed: FirstHour) -> Result<FirstHour, StoreError> {
        self.inner.first_hour(scope, proposed)
    }

    fn frontiers(&mut self, scope: &Scope) -> Result<Vec<(String, Frontier)>, StoreError> {
        self.inner.frontiers(scope)
    }

    fn positions(
        &mut self,
        scope: &Scope,
        root: &str,
        hour: Hour,
    ) -> Result<Vec<(HourlyBlob, Position)>, StoreError> {
        self.inner.positions(scope, root, hour)
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        if let Err(error) = self.trouble() {
            lock(&self.world).note(&[error.to_string().as_bytes()]);
            return Err(error);
        }
        self.inner.commit(commit)?;
        let mut world = lock(&self.world);
        for change in &commit.positions {
            world.note(&[
                change.blob.name().as_str().as_bytes(),
                &change.to.bytes().unwrap_or(0).to_le_bytes(),
            ]);
        }
        world.note(&[&commit.rejected.len().to_le_bytes(), format!("{:?}", commit.frontiers).as_bytes()]);
        world.check(place_of(&commit.scope), commit);
        Ok(())
    }

    fn quarantine_usage(&mut self) -> Result<QuarantineUsage, StoreError> {
        self.inner.quarantine_usage()
    }

    fn stored_day(
        &mut self,
        scope: &Scope,
        root: &str,
        after: Option<Hour>,
    ) -> Result<Option<Hour>, StoreError> {
        self.inner.stored_day(scope, root, after)
    }

    fn prune(
        &mut self,
        scope: &Scope,
        root: &str,
        day: Hour,
        present: &[HourlyBlob],
    ) -> Result<Pruned, StoreError> {
        self.trouble()?;
        self.inner.prune(scope, root, day, present)
    }

    fn scopes(&mut self) -> Result<Vec<Scope>, StoreError> {
        self.inner.scopes()
    }
}
