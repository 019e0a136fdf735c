//! Whether every component can do its work. Each says so itself; what has not spoken yet is not ready.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

/// What is said of a component that is known and has not spoken.
const STARTING: &str = "starting";

/// A component's name, and why it is not ready, if it is not.
type States = BTreeMap<Arc<str>, Option<String>>;

/// The readiness of all components. Cheap to clone; every clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Health {
    states: watch::Sender<States>,
}

impl Health {
    /// The component of this name, for people (`intake sekoia`). A name that is new is not ready.
    #[must_use]
    pub fn component(&self, name: &str) -> Component {
        let name: Arc<str> = name.into();
        self.states.send_if_modified(|states| {
            let is_new = !states.contains_key(&name);
            states.entry(Arc::clone(&name)).or_insert_with(|| Some(STARTING.to_owned()));
            is_new
        });
        Component { name, states: self.states.clone() }
    }

    /// Every reason for not being ready, one a line, in the order of the components' names; empty when all are ready.
    /// Without any component the process is still starting.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let states = self.states.borrow();
        if states.is_empty() {
            return vec![STARTING.to_owned()];
        }
        let not_ready = states.iter().filter_map(|(name, reason)| Some((name, reason.as_ref()?)));
        not_ready.map(|(name, reason)| format!("{name}: {reason}")).collect()
    }

    /// Whether every component is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reasons().is_empty()
    }
}

/// What one component says about itself. It says nothing more when it is dropped: the last word stays.
#[derive(Debug, Clone)]
pub struct Component {
    name: Arc<str>,
    states: watch::Sender<States>,
}

impl Component {
    /// It can do its work. Returns whether that is news.
    pub fn ready(&self) -> bool {
        self.say(None)
    }

    /// It cannot, and why: what is wrong and what to do, on one line. Returns whether that is news.
    pub fn not_ready(&self, reason: &str) -> bool {
        let line: Vec<&str> = reason.split_whitespace().collect();
        self.say(Some(line.join(" ")))
    }

    fn say(&self, reason: Option<String>) -> bool {
        self.states.send_if_modified(|states| {
            let is_news = states.get(&self.name) != Some(&reason);
            if is_news {
                states.insert(Arc::clone(&self.name), reason);
            }
            is_news
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: components are registered, speak, speak again and are dropped. *Guarantees*: ready only when each has
    /// said so; every reason has a line of its own, also where it was given on several; a repetition is no news.
    #[test]
    fn ready_when_all_are() {
        let health = Health::default();
        assert_eq!(health.reasons(), ["starting"]);
        let store = health.component("store");
        let intake = health.component("intake sekoia");
        assert_eq!(health.reasons(), ["intake sekoia: starting", "store: starting"]);
        assert!(store.ready());
        assert!(!store.ready());
        assert_eq!(health.clone().reasons(), ["intake sekoia: starting"]);
        assert!(intake.not_ready("401:\r\n  check the key"));
        assert!(!intake.not_ready("401: check the key"));
        assert_eq!(health.reasons(), ["intake sekoia: 401: check the key"]);
        assert!(intake.ready());
        assert!(health.is_ready());
        drop(intake);
        assert!(health.is_ready());
    }

    /// *Scenario*: a component is asked for again by its name. *Guarantees*: it is the same one, and what it said holds.
    #[test]
    fn one_component_a_name() {
        let health = Health::default();
        assert!(health.component("store").ready());
        let again = health.component("store");
        assert!(health.is_ready());
        assert!(again.not_ready("full"));
        assert_eq!(health.reasons(), ["store: full"]);
    }
}
