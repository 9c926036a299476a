//! What the catalogue knows about one error: its entry, and the closed lists of words in it.
//!
//! Plain data. How an entry is written in TOML is the business of the `schema` module.

use std::fmt;

use ailurus_model::{Blame, ErrorCode, Retry};
use serde::Deserialize;

/// Makes an enum of words that are written in one way in TOML, tables and messages.
macro_rules! words {
    (
        $(#[$doc:meta])*
        $name:ident {
            $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the word used in the catalogue's files.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// What to do about an error without asking anybody.
    Action {
        /// Try again in the same place, after a pause.
        RetryHere = "retry-here",
        /// Try again on another node or queue.
        RetryElsewhere = "retry-elsewhere",
        /// Try again with a larger memory request.
        MoreMemory = "more-memory",
        /// Try again with another copy of the input file.
        OtherReplica = "other-replica",
        /// Try again, and give the node no more jobs until it is looked at.
        ExcludeNode = "exclude-node",
        /// Do not try again: the same will happen.
        DoNotRetry = "do-not-retry",
    }
}

impl Action {
    /// Says whether this action is to try again, and where.
    #[must_use]
    pub const fn retry(self) -> Retry {
        match self {
            Self::RetryHere | Self::MoreMemory | Self::OtherReplica => Retry::Later,
            Self::RetryElsewhere | Self::ExcludeNode => Retry::Elsewhere,
            Self::DoNotRetry => Retry::Never,
        }
    }
}

words! {
    /// What kind of trouble an error is, for counting.
    Category {
        /// The program itself: crash, exception, wrong result.
        Program = "program",
        /// Software that the program needs: releases, libraries, CVMFS.
        Software = "software",
        /// The container or its image.
        Container = "container",
        /// Memory.
        Memory = "memory",
        /// Time: limits, and jobs that make no progress.
        Time = "time",
        /// Space and files on the worker node.
        Disk = "disk",
        /// Content of an input file.
        Input = "input",
        /// Output files that the payload left, or did not leave.
        Output = "output",
        /// Getting inputs to the node.
        StageIn = "stage-in",
        /// Bringing outputs to storage.
        StageOut = "stage-out",
        /// Moving data, either way.
        Transfer = "transfer",
        /// A service that was needed: catalogue, database, licence server.
        Service = "service",
        /// The network.
        Network = "network",
        /// Proxies, certificates, tokens, permissions.
        Credentials = "credentials",
        /// How a queue, a storage endpoint or a task is described.
        Configuration = "configuration",
        /// The batch system and its slots.
        Batch = "batch",
        /// Somebody or something decided to end the job.
        Control = "control",
        /// Event service.
        EventService = "event-service",
        /// The pilot's own doing.
        Pilot = "pilot",
    }
}

words! {
    /// Which component an error arrived from; each counts its codes for itself.
    ErrorSource {
        /// The pilot (`pilotErrorCode`).
        Pilot = "pilot",
        /// The payload: its exit code (`exeErrorCode`, `transExitCode`).
        Payload = "payload",
        /// The server's job dispatcher (`jobDispatcherErrorCode`).
        Dispatcher = "dispatcher",
        /// Data management in the server (`ddmErrorCode`).
        Ddm = "ddm",
        /// The server's job table (`taskBufferErrorCode`).
        TaskBuffer = "task-buffer",
        /// A worker and its Harvester (`supErrorCode`).
        Worker = "worker",
    }
}

words! {
    /// In which texts an entry's patterns are looked for.
    Scope {
        /// Output of payloads and of their containers.
        Payload = "payload",
        /// Output of transfer tools and answers of storage.
        Transfer = "transfer",
        /// Messages of batch systems, computing elements and Harvester.
        Worker = "worker",
    }
}

words! {
    /// Which way data moves.
    Direction {
        /// From storage to the node.
        StageIn = "stage-in",
        /// From the node to storage.
        StageOut = "stage-out",
    }
}

impl Category {
    /// Returns the direction that the category implies, if it does.
    #[must_use]
    pub const fn direction(self) -> Option<Direction> {
        match self {
            Self::StageIn => Some(Direction::StageIn),
            Self::StageOut => Some(Direction::StageOut),
            Self::Program
            | Self::Software
            | Self::Container
            | Self::Memory
            | Self::Time
            | Self::Disk
            | Self::Input
            | Self::Output
            | Self::Transfer
            | Self::Service
            | Self::Network
            | Self::Credentials
            | Self::Configuration
            | Self::Batch
            | Self::Control
            | Self::EventService
            | Self::Pilot => None,
        }
    }
}

/// Which errors that arrive as numbers an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explains {
    /// Who counts these codes.
    pub source: ErrorSource,
    /// The codes, in the order of the file; empty for the entry of all other codes.
    pub codes: Vec<i64>,
}

/// What is known about one error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, unique and in kebab-case, for example `root-file-truncated`.
    pub id: String,
    /// The pilot's code for it; in a transfer, that of stage-in.
    pub code: Option<ErrorCode>,
    /// The pilot's code for it in stage-out, where that is another one.
    pub stage_out_code: Option<ErrorCode>,
    /// What kind of trouble it is.
    pub category: Category,
    /// Who can do something about it.
    pub blame: Blame,
    /// Why it happens, in one sentence.
    pub cause: String,
    /// What helps, in one sentence.
    pub remedy: String,
    /// What to do without asking anybody.
    pub action: Action,
    /// The numbers that it explains, if it explains numbers.
    pub explains: Option<Explains>,
    /// Whether its number says more than any text that came along.
    pub decisive: bool,
    /// Exit codes of a payload that mean this, as a shell gives them (128 + signal).
    pub exit_codes: Vec<i64>,
    /// Where its patterns are looked for; none if it has none.
    pub scope: Option<Scope>,
    /// Lines in which it is found; at least one if it has patterns.
    pub examples: Vec<String>,
    /// Lines that look alike and in which it is not found.
    pub counter_examples: Vec<String>,
}

impl Entry {
    /// Returns the pilot's code for this error in a transfer of the direction.
    #[must_use]
    pub fn code_in(&self, direction: Direction) -> Option<ErrorCode> {
        match direction {
            Direction::StageIn => self.code,
            Direction::StageOut => self.stage_out_code.or(self.code),
        }
    }
}
