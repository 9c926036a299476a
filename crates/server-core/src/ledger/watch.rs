//! Jobs that have been in one state for long, for the watchdogs.

use ailurus_model::{JobStatus, PandaId, QueueName, Timestamp};

use crate::ledger::{JobRecord, LedgerError};

/// Priority from which on a production job is urgent.
pub const URGENT_PRIORITY: i64 = 800;

/// Which waiting jobs are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Activated jobs of users that have not changed.
    Users,
    /// Activated production jobs of high priority that have not changed.
    Urgent,
    /// Jobs without a task, in any state before dispatch, by when they were made.
    Direct,
}

impl Waiting {
    /// Says whether a job is one of these and has waited since before a time.
    #[must_use]
    pub fn fits(self, job: &JobRecord, before: Timestamp) -> bool {
        use ailurus_model::JobKind;
        let is_users = matches!(job.source_label.as_str(), "user" | "panda");
        let is_activated = job.status == JobStatus::Activated;
        let is_stale = job.modified < before;
        match self {
            Self::Users => is_activated && is_users && is_stale,
            Self::Urgent => {
                is_activated && !is_users && job.priority >= URGENT_PRIORITY && is_stale
            }
            Self::Direct => {
                let is_before_dispatch = matches!(
                    job.status,
                    JobStatus::Pending
                        | JobStatus::Defined
                        | JobStatus::Assigned
                        | JobStatus::Activated
                );
                is_before_dispatch && job.kind == JobKind::Direct && job.created < before
            }
        }
    }
}

/// A state that is not to last, however often the pilot is heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// `starting`.
    Starting,
    /// `starting`, of production jobs of high priority.
    UrgentStarting,
    /// `running`.
    Running,
}

impl Lasting {
    /// Returns the job status.
    #[must_use]
    pub const fn status(self) -> JobStatus {
        match self {
            Self::Starting | Self::UrgentStarting => JobStatus::Starting,
            Self::Running => JobStatus::Running,
        }
    }

    /// Says whether a job is one of these and has been so since before a time.
    #[must_use]
    pub fn fits(self, job: &JobRecord, before: Timestamp) -> bool {
        let is_meant = match self {
            Self::Starting | Self::Running => true,
            Self::UrgentStarting => {
                let is_users = matches!(job.source_label.as_str(), "user" | "panda");
                !is_users && job.priority >= URGENT_PRIORITY
            }
        };
        is_meant && job.status == self.status() && job.state_changed < before
    }
}

/// Finds jobs that have been in one state for long.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait WatchRows {
    /// Lists jobs whose status has been this since before a time, longest first, `limit` at most.
    fn in_state_since(
        &self,
        state: Lasting,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError>;
    /// Lists jobs that wait since before a time, longest first, `limit` at most.
    fn waiting_since(
        &self,
        which: Waiting,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError>;
    /// Lists activated jobs of a share that wait at a queue since before a time, by rising number,
    /// `limit` at most.
    fn waiting_at(
        &self,
        queue: &QueueName,
        share: &str,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PandaId>, LedgerError>;
}
