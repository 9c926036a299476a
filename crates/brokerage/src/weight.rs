//! How good a queue is for a job that it can run.

use std::fmt;

use ailurus_model::{ByteCount, EndpointName, Queue};

use crate::choose::{Candidate, JobNeeds};

/// What it is worth that all of a job's input lies at the queue's site. More than an idle queue
/// is worth: moving data costs network and storage at two sites, waiting costs nothing but time.
const LOCAL_DATA: u64 = 200;
/// What it is worth that a queue has nothing waiting.
const FREE: u64 = 100;
/// What it is worth that the queue ran the jobs which wrote the input, so that a chain stays
/// together. Less than a queue that is half full loses: chains do not pile up at one queue.
const CHAIN: u64 = 20;

/// The parts of a queue's weight. Larger is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// How much of the input lies at its site, at most 200.
    pub local_data: u64,
    /// How little waits there compared with what runs, at most 100.
    pub free: u64,
    /// Whether the chain has run there, 20 or zero.
    pub chain: u64,
}

impl Weight {
    /// Returns the parts together.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.local_data + self.free + self.chain
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fits with weight {} (local data {}, free {}, chain {})",
            self.total(),
            self.local_data,
            self.free,
            self.chain
        )
    }
}

/// Weighs a queue that can run the job.
pub(crate) fn weigh(job: &JobNeeds<'_>, candidate: &Candidate<'_>) -> Weight {
    let chain = if job.chain.contains(&candidate.queue.name) {
        CHAIN
    } else {
        0
    };
    Weight {
        local_data: local_data(job, candidate.queue),
        free: share(
            candidate.running.saturating_add(1),
            candidate
                .running
                .saturating_add(candidate.backlog)
                .saturating_add(1),
            FREE,
        ),
        chain,
    }
}

/// By bytes where the sizes are known, else by files.
fn local_data(job: &JobNeeds<'_>, queue: &Queue) -> u64 {
    let is_local = |endpoint: &EndpointName| {
        queue
            .storages
            .values()
            .any(|endpoints| endpoints.contains(endpoint))
    };
    let (mut local_files, mut all_files) = (0_u64, 0_u64);
    let (mut local_size, mut all_size) = (ByteCount::ZERO, ByteCount::ZERO);
    for (endpoint, stored) in job.inputs {
        all_files = all_files.saturating_add(stored.files);
        all_size = all_size.plus(stored.size);
        if is_local(endpoint) {
            local_files = local_files.saturating_add(stored.files);
            local_size = local_size.plus(stored.size);
        }
    }
    if all_size > ByteCount::ZERO {
        share(local_size.as_bytes(), all_size.as_bytes(), LOCAL_DATA)
    } else {
        share(local_files, all_files, LOCAL_DATA)
    }
}

/// Returns `scale · part / whole`, rounded down, zero if there is nothing.
fn share(part: u64, whole: u64, scale: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    let scaled = u128::from(scale) * u128::from(part.min(whole)) / u128::from(whole);
    u64::try_from(scaled).expect("at most the scale")
}
