//! What every batch system must do, and what Harvester relies on.
//!
//! Whoever writes the next adapter (Slurm, HTCondor, Kubernetes) keeps these promises:
//!
//! * the **worker's name** goes into the batch job's name, so that a job can be found again when
//!   the answer to its submission was lost;
//! * submitting the same name twice starts at most one job;
//! * an error of [`BatchSystem::submit`] says whether the job may exist all the same: a time-out,
//!   a cut connection or an answer that cannot be read are [`SubmitOutcome::Unknown`];
//! * [`BatchSystem::query`] asks once for all workers, and tells *not known*
//!   ([`BatchState::Absent`]) from *could not be asked* ([`QueryError`], [`BatchState::Unknown`]);
//! * [`BatchSystem::cancel`] returns at once and may be called again and again;
//! * nothing is remembered in the adapter that a restart would lose.
//!
//! An adapter decides nothing: how many workers there are to be is `harvester-core`'s.

use std::{collections::BTreeMap, fmt, io, path::PathBuf};

use ailurus_model::{BatchId, HarvesterId, NodeName, WorkerId};

/// Longest worker name in bytes: what batch systems show and folders take.
const MAX_NAME_BYTES: usize = 100;

/// The name of a worker in a batch system: instance and number, `<harvester id>.<worker id>`.
///
/// It is also the name of a folder, so it holds letters, digits, `.`, `_` and `-` only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkerName(String);

/// An instance's name cannot be part of a batch job's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{value}` cannot be part of a batch job's name: use at most 80 letters, digits, `.`, `_` and `-`, and no `.` or `-` at the start"
)]
pub struct BadWorkerName {
    /// The instance's name.
    pub value: String,
}

impl WorkerName {
    /// Makes the name of a worker.
    ///
    /// # Errors
    ///
    /// [`BadWorkerName`] if the instance's name is not fit for it.
    pub fn new(harvester_id: &HarvesterId, worker_id: WorkerId) -> Result<Self, BadWorkerName> {
        let name = format!("{harvester_id}.{worker_id}");
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let is_good = !harvester_id.is_empty()
            && name.len() <= MAX_NAME_BYTES
            && !name.starts_with(['.', '-'])
            && name.bytes().all(is_allowed);
        if is_good {
            Ok(Self(name))
        } else {
            Err(BadWorkerName {
                value: harvester_id.to_string(),
            })
        }
    }

    /// Returns the plain text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One worker to be submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSubmission {
    /// Its name.
    pub name: WorkerName,
    /// Program and arguments. Nothing of it passes through a shell.
    pub command: Vec<String>,
    /// Variables set beside those that the batch system gives.
    pub environment: BTreeMap<String, String>,
}

/// What a batch system says about one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchState {
    /// It waits to run.
    Queued,
    /// It runs.
    Running {
        /// The worker node, empty if not told.
        node: NodeName,
    },
    /// It ended by itself.
    Ended {
        /// Exit code, none if the batch system cannot tell.
        exit_code: Option<i64>,
        /// What is known about the end, empty if nothing is.
        diag: String,
    },
    /// Somebody or the batch system removed it.
    Removed {
        /// What is known about the removal, empty if nothing is.
        diag: String,
    },
    /// The batch system does not know it.
    Absent,
    /// The batch system cannot tell at the moment.
    Unknown,
}

/// Whether a failed submission may have made a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// There is certainly none.
    NotTaken,
    /// There may be one.
    Unknown,
}

/// A worker could not be submitted, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Nothing can be written where the worker's files belong.
    #[error("spool `{}` cannot be used: is the disk full, or not writable?", path.display())]
    SpoolUnusable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// As many workers run as may.
    #[error("all {slots} slots are taken")]
    SlotsTaken {
        /// How many there are.
        slots: u32,
    },
    /// The command holds no program.
    #[error("the command of worker `{name}` is empty")]
    EmptyCommand {
        /// The worker.
        name: WorkerName,
    },
    /// The program that submits could not be started.
    #[error("`{program}` cannot be started: is it installed?")]
    CannotStart {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The worker ended before it could be named.
    #[error("worker `{name}` did not come up: {reason}")]
    NotComeUp {
        /// The worker.
        name: WorkerName,
        /// What it said.
        reason: String,
    },
    /// The worker was started or may have been, but its sign of life did not come in time.
    #[error("worker `{name}` gave no sign of life within {limit_secs} s")]
    NoSignOfLife {
        /// The worker.
        name: WorkerName,
        /// How long was waited, in seconds.
        limit_secs: u64,
    },
    /// The name was submitted before, and what became of it is not known yet.
    #[error("worker `{name}` was submitted before and has given no sign of life yet")]
    SubmittedBefore {
        /// The worker.
        name: WorkerName,
    },
}

impl SubmitError {
    /// Says whether there may be a worker all the same.
    #[must_use]
    pub const fn outcome(&self) -> SubmitOutcome {
        match self {
            Self::SpoolUnusable { .. }
            | Self::SlotsTaken { .. }
            | Self::EmptyCommand { .. }
            | Self::CannotStart { .. }
            | Self::NotComeUp { .. } => SubmitOutcome::NotTaken,
            Self::NoSignOfLife { .. } | Self::SubmittedBefore { .. } => SubmitOutcome::Unknown,
        }
    }
}

/// The batch system could not be asked. Nothing follows from that for any worker.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be read: is it still there, and readable?", path.display())]
pub struct QueryError {
    /// What was to be read.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Some workers could not be told to end. Another call may reach them.
#[derive(Debug, thiserror::Error)]
#[error("{count} workers could not be told to end, the first is `{name}`")]
pub struct CancelError {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub name: WorkerName,
    /// Why it could not.
    #[source]
    pub source: io::Error,
}

/// A batch system.
pub trait BatchSystem {
    /// Takes a worker. The same name again takes no second one.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]; its [`SubmitError::outcome`] says whether the worker may exist.
    fn submit(&self, submission: &WorkerSubmission) -> Result<BatchId, SubmitError>;

    /// Says what all of these workers are, each of them in the answer.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if the batch system could not be asked.
    fn query(&self, workers: &[WorkerName])
    -> Result<BTreeMap<WorkerName, BatchState>, QueryError>;

    /// Tells workers to end, and returns at once. Those that do not heed are ended by force when
    /// it is called again after the batch system's grace period.
    ///
    /// # Errors
    ///
    /// [`CancelError`] if some could not be told; the others were.
    fn cancel(&self, workers: &[WorkerName]) -> Result<(), CancelError>;

    /// Returns the folder in which a worker runs and where its output is found.
    fn work_folder(&self, worker: &WorkerName) -> PathBuf;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_instance_and_number() {
        let name = WorkerName::new(&HarvesterId::new("spd-1"), WorkerId::new(7)).unwrap();
        assert_eq!(name.as_str(), "spd-1.7");
    }

    #[test]
    fn a_name_that_could_leave_the_spool_is_refused() {
        for id in ["", "..", "a/b", "-rf", "a b", &"x".repeat(99)] {
            let name = WorkerName::new(&HarvesterId::new(id), WorkerId::new(7));
            assert!(name.is_err(), "{id}");
        }
    }
}
