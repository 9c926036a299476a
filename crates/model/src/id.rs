//! Identifiers, each its own type, so that two numbers are never mixed up.
//!
//! All of them are made by two macros and have `Display`, `FromStr` and serde, and no arithmetic.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A text was not a number where an identifier is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a {kind}: it must be a whole number")]
pub struct ParseIdError {
    /// What was to be read, for example `PandaId`.
    pub kind: &'static str,
    /// The text as it was given.
    pub value: String,
}

macro_rules! number_ids {
    ($($(#[$doc:meta])* $name:ident($repr:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name($repr);

        impl $name {
            /// Wraps a number that is known to be such an identifier.
            #[must_use]
            pub const fn new(value: $repr) -> Self {
                Self(value)
            }

            /// Returns the plain number, for wires and tables.
            #[must_use]
            pub const fn value(self) -> $repr {
                self.0
            }

            /// Returns the identifier that follows this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.trim().parse().map(Self).map_err(|_| ParseIdError {
                    kind: stringify!($name),
                    value: text.to_owned(),
                })
            }
        }
    )*};
}

macro_rules! text_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text that is known to be such an identifier.
            #[must_use]
            pub fn new(value: impl Into<String>) -> Self {
                Self(value.into())
            }

            /// Returns the plain text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Says whether the text is empty, which stands for "not known".
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = std::convert::Infallible;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self(text.to_owned()))
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    )*};
}

number_ids! {
    /// One PanDA job. It keeps its number through all of its attempts.
    PandaId(u64);
    /// One task: a set of jobs made from one request (`jediTaskID`).
    TaskId(u64);
    /// One workflow: steps that are tasks, one after another (`workflow_id`, `request_id`).
    WorkflowId(u64);
    /// One try of a job, counted from 1.
    AttemptNr(u32);
    /// One row of the history of statuses; rising in the order in which changes were committed.
    ChangeId(u64);
    /// One batch submission by a Harvester instance, as Harvester counts them.
    WorkerId(u64);
    /// One file of a dataset, as the server counts them.
    FileId(u64);
    /// The random seed of one attempt of one job. A task hands each out once.
    Seed(u64);
}

text_ids! {
    /// A PanDA queue (`computingSite`, the `nickname` of its queue data).
    QueueName;
    /// One run of the pilot.
    PilotId;
    /// One Harvester instance.
    HarvesterId;
    /// The id that a batch system gave to a worker.
    BatchId;
    /// A worker node, as `slot@host` where the batch system has slots.
    NodeName;
    /// A dataset, `scope:name` or just a name.
    DatasetName;
    /// The logical name of a file, unique within its scope.
    Lfn;
    /// The Rucio scope of a file.
    Scope;
    /// The globally unique id of a file.
    Guid;
    /// A storage endpoint (RSE, `ddmendpoint`).
    EndpointName;
    /// A chain of tasks that were submitted together.
    ChainName;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_ids_read_what_they_print() {
        assert_eq!(PandaId::new(42).to_string().parse(), Ok(PandaId::new(42)));
    }

    #[test]
    fn a_bad_number_names_kind_and_value() {
        let error = "12x".parse::<TaskId>().expect_err("not a number");
        assert_eq!(
            error.to_string(),
            "`12x` is not a TaskId: it must be a whole number"
        );
    }

    #[test]
    fn text_ids_pad_like_text() {
        assert_eq!(format!("{:>4}|", QueueName::new("Q")), "   Q|");
    }
}
