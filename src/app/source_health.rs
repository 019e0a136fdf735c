//! Whether a source can be read, out of what all its lanes see.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::telemetry::health::Component;

/// What can be wrong, each by itself: that one is well says nothing about another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aspect {
    /// Which containers there are.
    Containers,
    /// What is in a container.
    Listing,
    /// What is in its blobs.
    Reading,
}

/// The readiness of a source.
#[derive(Debug)]
pub(super) struct SourceHealth {
    component: Component,
    /// What is wrong, by container and aspect.
    troubles: Mutex<BTreeMap<(String, Aspect), String>>,
}

impl SourceHealth {
    pub(super) fn new(component: Component) -> Self {
        Self { component, troubles: Mutex::default() }
    }

    /// This is well.
    pub(super) fn well(&self, container: &str, aspect: Aspect) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.remove(&(container.to_owned(), aspect));
        match troubles.values().next() {
            Some(trouble) => self.component.not_ready(trouble),
            None => self.component.ready(),
        };
    }

    /// There is a container again; what is in it shows whether it can be read.
    pub(super) fn found_containers(&self) {
        self.troubles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(String::new(), Aspect::Containers));
    }

    /// The container is not there any more; whether there is another one is looked at next.
    pub(super) fn forget(&self, container: &str) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.retain(|(of, _), _| of != container);
    }

    /// This is not, and why.
    pub(super) fn trouble(&self, container: &str, aspect: Aspect, reason: String) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.insert((container.to_owned(), aspect), reason);
        if let Some(trouble) = troubles.values().next() {
            self.component.not_ready(trouble);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::health::Health;

    /// *Scenario*: one container cannot be listed and another one not be read, then they are well one after the other.
    /// *Guarantees*: the source is ready only when everything is; no success hides another trouble.
    #[test]
    fn no_success_hides_another_trouble() {
        let health = Health::default();
        let source = SourceHealth::new(health.component("source prod"));
        source.trouble("a", Aspect::Listing, "a cannot be listed".to_owned());
        source.trouble("b", Aspect::Reading, "b cannot be read".to_owned());
        source.well("b", Aspect::Listing);
        assert_eq!(health.reasons(), ["source prod: a cannot be listed"]);
        source.well("a", Aspect::Listing);
        assert_eq!(health.reasons(), ["source prod: b cannot be read"]);
        source.well("b", Aspect::Reading);
        assert!(health.is_ready());
    }
}
