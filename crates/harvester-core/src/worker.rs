//! One worker as Harvester follows it: what is known, what is wanted, what the server has heard.
//!
//! ```text
//!  (recorded)
//!   pending ──► submitted ──► running ◄──► idle
//!      │            │            │          │
//!      └────────────┴─────┬──────┴──────────┘
//!                         ▼
//!        finished | failed | cancelled | missed       (nothing leaves these)
//! ```
//!
//! A worker never goes back to `submitted` once it ran, as in Harvester.

use std::time::Duration;

use ailurus_model::{BatchId, NodeName, Timestamp, Worker, WorkerStatus};

use crate::message::WorkerKey;

/// Longest text about a worker, in characters: what the server keeps.
pub const MAX_DIAG_CHARS: usize = 500;

/// Says whether a worker may go from `from` to `to`. Staying is no move.
///
/// Source: Harvester, `pandaharvester/harvestercore/work_spec.py`.
#[must_use]
pub const fn may_move(from: WorkerStatus, to: WorkerStatus) -> bool {
    use WorkerStatus::{Cancelled, Failed, Finished, Idle, Missed, Pending, Running, Submitted};
    match from {
        Pending => !matches!(to, Pending),
        Submitted => !matches!(to, Pending | Submitted),
        Running => !matches!(to, Pending | Submitted | Running),
        Idle => !matches!(to, Pending | Submitted | Idle),
        Finished | Failed | Cancelled | Missed => false,
    }
}

/// What a batch system says about one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// It has it and has not started it.
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
        /// What the batch system says, empty if nothing.
        diag: String,
    },
    /// Somebody or the batch system removed it.
    Removed {
        /// What the batch system says, empty if nothing.
        diag: String,
    },
    /// The batch system answered, and does not know it.
    Absent,
    /// The batch system could not tell about this one.
    Unknown,
}

/// Whether the worker is still wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// It is to run until it ends by itself.
    Keep,
    /// It is to end.
    Cancel,
}

/// Where the submission of a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its row is on its way to the database; it must not be submitted before.
    Recording,
    /// The batch system has been asked to take it, or somebody before a restart may have.
    Submitting,
    /// The batch system has had it.
    Known,
}

/// Which version of a worker's facts a report carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(u64);

/// A worker with all that is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedWorker {
    worker: Worker,
    stage: Stage,
    intent: Intent,
    /// The latest time at which it is known, or must be feared, to have existed.
    evidence: Timestamp,
    /// Since when the batch system has answered that it does not know it, without a break.
    absent_since: Option<Timestamp>,
    revision: Revision,
    acknowledged: Option<Revision>,
    reported: Option<Timestamp>,
}

impl TrackedWorker {
    /// A new worker whose row is about to be recorded.
    pub(crate) fn new(worker: Worker, now: Timestamp) -> Self {
        Self {
            stage: Stage::Recording,
            ..Self::recorded(worker, now)
        }
    }

    /// A worker from the records of an earlier run. It may exist, whatever its row says.
    pub(crate) fn recorded(worker: Worker, now: Timestamp) -> Self {
        let stage = match worker.status {
            WorkerStatus::Pending => Stage::Submitting,
            WorkerStatus::Submitted
            | WorkerStatus::Running
            | WorkerStatus::Idle
            | WorkerStatus::Finished
            | WorkerStatus::Failed
            | WorkerStatus::Cancelled
            | WorkerStatus::Missed => Stage::Known,
        };
        Self {
            worker,
            stage,
            intent: Intent::Keep,
            evidence: now,
            absent_since: None,
            revision: Revision(0),
            acknowledged: None,
            reported: None,
        }
    }

    /// Returns the facts.
    #[must_use]
    pub const fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Says whether the worker counts against the limits.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        !self.worker.status.is_terminal()
    }

    /// Says whether the worker waits to run, or may.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        matches!(
            self.worker.status,
            WorkerStatus::Pending | WorkerStatus::Submitted
        )
    }

    /// Says whether the server has acknowledged the facts as they are.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.acknowledged == Some(self.revision)
    }

    /// Names it for the batch system.
    pub(crate) fn key(&self) -> WorkerKey {
        WorkerKey {
            worker_id: self.worker.worker_id,
            batch_id: self.worker.batch_id.clone(),
        }
    }

    pub(crate) const fn stage(&self) -> Stage {
        self.stage
    }

    pub(crate) const fn is_unwanted(&self) -> bool {
        matches!(self.intent, Intent::Cancel)
    }

    pub(crate) const fn revision(&self) -> Revision {
        self.revision
    }

    /// Says whether the server is to be told: something is new, or long ago.
    pub(crate) fn is_due(&self, now: Timestamp, refresh: Duration) -> bool {
        let is_stale = self
            .reported
            .is_none_or(|reported| now.since(reported) >= refresh);
        !self.is_acknowledged() || is_stale
    }

    pub(crate) const fn mark_submitting(&mut self, now: Timestamp) {
        self.stage = Stage::Submitting;
        self.evidence = now;
    }

    pub(crate) const fn mark_reported(&mut self, now: Timestamp) {
        self.reported = Some(now);
    }

    pub(crate) const fn mark_unwanted(&mut self) {
        self.intent = Intent::Cancel;
    }

    /// Takes an acknowledgement. One of an older version changes nothing.
    pub(crate) fn acknowledge(&mut self, revision: Revision) {
        self.acknowledged = self.acknowledged.max(Some(revision));
    }

    /// The batch system took it.
    pub(crate) fn accept(&mut self, now: Timestamp, batch_id: &BatchId) -> bool {
        self.see(now);
        if self.worker.batch_id.is_empty() {
            self.worker.batch_id.clone_from(batch_id);
            self.touch();
        }
        self.move_to(WorkerStatus::Submitted)
    }

    /// The batch system said for certain that it did not take it, or it was never asked.
    pub(crate) fn refuse(&mut self, now: Timestamp, reason: &str) -> bool {
        // An answer that comes after the worker was seen is wrong or doubled.
        self.stage != Stage::Known && self.end(WorkerStatus::Failed, now, None, reason)
    }

    /// Takes what the batch system said at `asked`. Returns whether a fact changed.
    pub(crate) fn observe(
        &mut self,
        observation: &Observation,
        asked: Timestamp,
        now: Timestamp,
        lost_after: Duration,
    ) -> bool {
        if !self.is_alive() {
            return false;
        }
        match observation {
            Observation::Queued => {
                self.see(asked);
                self.move_to(WorkerStatus::Submitted)
            }
            Observation::Running { node } => {
                self.see(asked);
                let mut is_changed = self.move_to(WorkerStatus::Running);
                if !node.is_empty() && self.worker.node != *node {
                    self.worker.node.clone_from(node);
                    self.touch();
                    is_changed = true;
                }
                if is_changed && self.worker.start_time.is_none() {
                    self.worker.start_time = Some(asked);
                }
                is_changed
            }
            Observation::Ended { exit_code, diag } => {
                let status = match (self.intent, exit_code) {
                    (Intent::Cancel, _) => WorkerStatus::Cancelled,
                    (Intent::Keep, Some(0)) => WorkerStatus::Finished,
                    (Intent::Keep, _) => WorkerStatus::Failed,
                };
                self.end(status, now, *exit_code, diag)
            }
            Observation::Removed { diag } => self.end(WorkerStatus::Cancelled, now, None, diag),
            Observation::Absent => {
                self.is_proven_absent(asked, lost_after)
                    && self.end(
                        WorkerStatus::Missed,
                        now,
                        None,
                        "the batch system does not know this worker",
                    )
            }
            Observation::Unknown => {
                self.doubt_absence();
                false
            }
        }
    }

    /// The batch system could not tell: what it said before is as old as it is.
    pub(crate) const fn doubt_absence(&mut self) {
        self.absent_since = None;
    }

    /// Returns how long it ran, none before its end.
    pub(crate) fn run_time(&self) -> Option<Duration> {
        let begin = self.worker.start_time.or(self.worker.submit_time)?;
        self.worker.end_time.map(|end| end.since(begin))
    }

    /// Takes one answer that the worker is not known. One such answer proves nothing, however long
    /// ago the worker was seen: only answers without a gap, for long enough, do.
    fn is_proven_absent(&mut self, asked: Timestamp, lost_after: Duration) -> bool {
        if asked < self.evidence {
            return false;
        }
        let since = *self.absent_since.get_or_insert(asked);
        asked >= since.after(lost_after)
    }

    fn see(&mut self, asked: Timestamp) {
        self.evidence = self.evidence.max(asked);
        self.absent_since = None;
        self.stage = Stage::Known;
    }

    fn end(
        &mut self,
        status: WorkerStatus,
        now: Timestamp,
        exit_code: Option<i64>,
        diag: &str,
    ) -> bool {
        if !self.move_to(status) {
            return false;
        }
        self.stage = Stage::Known;
        self.worker.exit_code = exit_code;
        self.worker.diag = diag.chars().take(MAX_DIAG_CHARS).collect();
        self.worker.end_time = Some(now);
        true
    }

    /// Makes the move if it is one of the allowed ones.
    fn move_to(&mut self, status: WorkerStatus) -> bool {
        let is_allowed = may_move(self.worker.status, status);
        if is_allowed {
            self.worker.status = status;
            self.touch();
        }
        is_allowed
    }

    const fn touch(&mut self) {
        self.revision = Revision(self.revision.0.saturating_add(1));
    }
}

#[cfg(test)]
mod tests;
