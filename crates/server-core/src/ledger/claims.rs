//! Which jobs a pilot's request is for.
//!
//! What a ledger cannot ask its database is decided here, so that every ledger decides alike. The
//! main type is [`ClaimFilter`].

use ailurus_model::{ByteCount, QueueName, SourceLabel, TaskId, TaskSpec, job_tags};

use super::JobRecord;

/// Which of several jobs that fit is given out first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimOrder<'a> {
    /// Jobs of one share only, by falling priority, then rising turn, then rising number.
    ByNeed {
        /// The leaf of global shares.
        share: &'a str,
    },
    /// Jobs of all shares by rising number.
    Oldest,
}

/// The processing type of `HammerCloud`'s probes of queues.
const PROBE: &str = "gangarobot";

/// What probes of queues, jobs of the processing type `gangarobot`, are to a pilot's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probes {
    /// Jobs as all others: the label decides.
    AsLabelled,
    /// Wanted whatever their label, besides the jobs that the label decides on.
    Too,
    /// All that is wanted.
    Only,
}

/// Which activated jobs fit a pilot's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimFilter<'a> {
    /// The queue.
    pub queue: &'a QueueName,
    /// Which of them first.
    pub order: ClaimOrder<'a>,
    /// The label with which the pilot asks.
    pub source_label: &'a SourceLabel,
    /// Which probes of queues it takes.
    pub probes: Probes,
    /// Whether only jobs for slots in the background fit.
    pub is_background: bool,
    /// Memory, zero for no limit.
    pub memory: ByteCount,
    /// Memory of one core, zero for no limit.
    pub core_memory: ByteCount,
    /// Disk, zero for no limit.
    pub disk: ByteCount,
    /// Seconds that the slot lives on, none for no limit.
    pub remaining_secs: Option<u64>,
    /// Resource class, none for any.
    pub resource_type: Option<&'a str>,
    /// Task, none for any.
    pub task_id: Option<TaskId>,
    /// User, none for any.
    pub user: Option<&'a str>,
}

impl ClaimFilter<'_> {
    /// Says whether a job may fit as far as its own row tells, besides queue, share and what has a
    /// limit in the row: by its label, its tags and the memory of its cores.
    #[must_use]
    pub fn admits(&self, job: &JobRecord) -> bool {
        let cores = u64::from(job.cores.max(1));
        let has_label = match self.probes {
            Probes::AsLabelled => self.source_label.accepts(&job.source_label),
            Probes::Too | Probes::Only => true,
        };
        has_label
            && (!self.is_background || job.tags.has(job_tags::BACKGROUND))
            && (self.core_memory == ByteCount::ZERO
                || job.memory.as_bytes() <= self.core_memory.as_bytes().saturating_mul(cores))
    }

    /// Says whether the task of a job is to be asked about, too: see [`ClaimFilter::admits_task`].
    #[must_use]
    pub const fn depends_on_task(&self) -> bool {
        match self.probes {
            Probes::AsLabelled => self.user.is_some(),
            Probes::Too | Probes::Only => true,
        }
    }

    /// Says whether a job with this label fits as far as its task tells: by user and kind of
    /// processing.
    #[must_use]
    pub fn admits_task(&self, label: &SourceLabel, task: &TaskSpec) -> bool {
        let is_probe = task.processing_type == PROBE;
        let is_wanted = match self.probes {
            Probes::AsLabelled => true,
            Probes::Too => is_probe || self.source_label.accepts(label),
            Probes::Only => is_probe,
        };
        is_wanted && self.user.is_none_or(|user| task.user == user)
    }
}
