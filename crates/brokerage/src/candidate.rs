//! A queue as brokerage sees it: its data, how busy it is, and what is known of it.

use std::time::Duration;

use ailurus_model::{EndpointName, Queue};

use crate::needs::{JobNeeds, StoredInputs};

/// A queue that may be chosen.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// The queue.
    pub queue: &'a Queue,
    /// Jobs that it has.
    pub load: Load,
    /// Jobs of the same share and resource class that it has.
    pub share_load: Load,
    /// What became of the same task's jobs there.
    pub task: TaskPast,
    /// Jobs that read the same sample and went there.
    pub mixture_jobs: u64,
    /// How long ago a pilot asked or reported there; none if that was never seen.
    pub pilot_seen: Option<Duration>,
    /// How long ago a job started there; none if that was never seen.
    pub job_started: Option<Duration>,
    /// What moving data there costs, by the endpoint where they lie.
    pub costs: &'a [(EndpointName, u64)],
}

impl<'a> Candidate<'a> {
    /// A queue of which nothing is known but its data.
    #[must_use]
    pub fn unknown(queue: &'a Queue) -> Self {
        Self {
            queue,
            load: Load::default(),
            share_load: Load::default(),
            task: TaskPast::default(),
            mixture_jobs: 0,
            pilot_seen: None,
            job_started: None,
            costs: &[],
        }
    }

    /// Notes that one more job is going to wait there.
    pub fn note_placed(&mut self, is_of_mixture: IsOfMixture) {
        self.load.activated = self.load.activated.saturating_add(1);
        self.share_load.activated = self.share_load.activated.saturating_add(1);
        if is_of_mixture == IsOfMixture::Yes {
            self.mixture_jobs = self.mixture_jobs.saturating_add(1);
        }
    }

    /// Returns what of a job's input lies at the site.
    #[must_use]
    pub(crate) fn part_at_hand(&self, job: &JobNeeds<'_>) -> StoredInputs {
        let mut sum = StoredInputs::default();
        for (places, stored) in job.inputs {
            if places.iter().any(|endpoint| self.has_at_hand(endpoint)) {
                sum.files = sum.files.saturating_add(stored.files);
                sum.size = sum.size.plus(stored.size);
            }
        }
        sum
    }

    /// Says whether the queue reads from this endpoint as from its own.
    #[must_use]
    pub fn has_at_hand(&self, endpoint: &EndpointName) -> bool {
        let mut storages = self.queue.storages.values();
        storages.any(|endpoints| endpoints.contains(endpoint))
    }
}

/// Whether a job reads a sample in common with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsOfMixture {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Jobs by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Chosen for the queue, but not ready for a pilot.
    pub assigned: u64,
    /// Ready for a pilot.
    pub activated: u64,
    /// With a pilot, not running yet.
    pub starting: u64,
    /// Running.
    pub running: u64,
    /// Outputs on their way.
    pub transferring: u64,
    /// Cores of the running ones.
    pub running_cores: u64,
}

impl Load {
    /// Jobs that wait.
    #[must_use]
    pub const fn queued(&self) -> u64 {
        self.assigned.saturating_add(self.activated)
    }

    /// Jobs that pilots have.
    #[must_use]
    pub const fn busy(&self) -> u64 {
        self.starting.saturating_add(self.running)
    }
}

/// What became of a task's jobs at a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TaskPast {
    /// All jobs that were sent there.
    pub jobs: u64,
    /// Attempts or jobs that failed.
    pub failed: u64,
    /// Jobs that finished.
    pub finished: u64,
    /// Jobs that were taken back.
    pub closed: u64,
}
