//! The closed sets of values that metrics have as labels.

/// Defines an enum whose variants are the values of a label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident: $n:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// Every value.
            pub const ALL: [Self; $n] = [$(Self::$variant),+];

            /// The value as it is shown.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }
    };
}

label! {
    /// How a poll ended.
    Poll: 2 {
        /// All that was new is delivered.
        Complete = "complete",
        /// Something is left for the next one.
        Incomplete = "incomplete",
    }
}

label! {
    /// What the answer to a request meant.
    Request: 8 {
        /// Every event was accepted.
        Delivered = "delivered",
        /// It is tried again soon.
        Retried = "retried",
        /// Another try will not help until somebody acts.
        Blocked = "blocked",
        /// A part was accepted, nobody says which.
        Doubtful = "doubtful",
        /// The intake says of each event what became of it, and not all were accepted.
        Partial = "partial",
        /// Not taken; its halves were sent instead.
        Halved = "halved",
        /// A single event that is refused for good.
        Refused = "refused",
        /// Given up while stopping; the events are read again at the next start.
        Abandoned = "abandoned",
    }
}

label! {
    /// Why an operation of the storage failed.
    StorageTrouble: 11 {
        /// The blob has another version.
        Changed = "changed",
        /// 409.
        Conflict = "conflict",
        /// The blob is in the archive tier.
        Archived = "archived",
        /// The blob is gone.
        BlobNotFound = "blob_not_found",
        /// The container does not exist.
        ContainerNotFound = "container_not_found",
        /// 401 or 403.
        Denied = "denied",
        /// 429 or 503.
        Throttled = "throttled",
        /// A range behind the end.
        PastEnd = "past_end",
        /// A short answer.
        Truncated = "truncated",
        /// Network trouble, time-outs, 5xx.
        Transient = "transient",
        /// Anything else.
        Other = "other",
    }
}

/// Whether an intake is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// As fast as it takes.
    Open,
    /// One request tries whether it is back.
    HalfOpen,
    /// Not now.
    Blocked,
}

impl Gate {
    /// The number that the gauge shows.
    #[must_use]
    pub fn number(self) -> f64 {
        match self {
            Self::Open => 0.0,
            Self::HalfOpen => 1.0,
            Self::Blocked => 2.0,
        }
    }
}
