//! Which queues can run a job at all: one refusal for each way in which they cannot.

use std::time::Duration;

use ailurus_model::{ByteCount, Queue, SourceLabel, queue::QueueStatus, units::format_duration};

use crate::choose::JobNeeds;

/// Why a queue cannot run a job. The text continues a sentence that begins with the queue's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// CRIC says that the queue is not in use.
    #[error("is in state `{state}`, only `ACTIVE` queues are used")]
    State {
        /// CRIC's state.
        state: String,
    },
    /// Its status lets no such job in.
    #[error("is {}, it takes no new jobs of label `{label}`", status.as_str())]
    Status {
        /// Its status.
        status: QueueStatus,
        /// The job's label.
        label: SourceLabel,
    },
    /// The task names other queues.
    #[error("is not among the queues that the task names")]
    NotNamed,
    /// It is for other kinds of jobs.
    #[error("is a {kind} queue, the job's label is `{label}`")]
    Kind {
        /// The queue's kind.
        kind: String,
        /// The job's label.
        label: SourceLabel,
    },
    /// Its slots are too narrow.
    #[error("has slots of {has} cores, the job needs {needs}")]
    Cores {
        /// Cores of a slot.
        has: u32,
        /// Cores of the job.
        needs: u32,
    },
    /// Its slots have too little memory.
    #[error("has slots of {has} memory, the job needs {needs}")]
    Memory {
        /// Memory of a slot.
        has: ByteCount,
        /// Memory of the job.
        needs: ByteCount,
    },
    /// Its slots have too little scratch space.
    #[error("has slots of {has} scratch space, the job needs {needs}")]
    Disk {
        /// Scratch space of a slot.
        has: ByteCount,
        /// Scratch space of the job.
        needs: ByteCount,
    },
    /// Its pilots do not live long enough.
    #[error("runs pilots for {}, the job needs {}", format_duration(*has), format_duration(*needs))]
    Walltime {
        /// Longest run of a pilot.
        has: Duration,
        /// Wall time of the job.
        needs: Duration,
    },
    /// It takes no jobs with that much input.
    #[error("takes {has} of input, the job reads {needs}")]
    InputSize {
        /// Largest sum of input sizes.
        has: ByteCount,
        /// Sum of the job's input sizes.
        needs: ByteCount,
    },
}

/// Says why a queue cannot run a job, none if it can.
#[must_use]
pub fn refusal(job: &JobNeeds<'_>, queue: &Queue) -> Option<Refusal> {
    refused_for_policy(job, queue).or_else(|| refused_for_size(job, queue))
}

/// Labels of jobs that test a queue.
///
/// Source: PanDA server, `pandaserver/taskbuffer/JobUtils.py`.
#[must_use]
pub fn is_test_label(label: &SourceLabel) -> bool {
    matches!(
        label.as_str(),
        "test"
            | "prod_test"
            | "install"
            | "ptest"
            | "rc_test"
            | "rc_test2"
            | "rc_alrb"
            | "rucio_test"
    )
}

fn refused_for_policy(job: &JobNeeds<'_>, queue: &Queue) -> Option<Refusal> {
    if !queue.state.eq_ignore_ascii_case("ACTIVE") {
        return Some(Refusal::State {
            state: queue.state.clone(),
        });
    }
    if !lets_in(queue.status, job.source_label) {
        return Some(Refusal::Status {
            status: queue.status,
            label: job.source_label.clone(),
        });
    }
    if !job.allowed.is_empty() && !job.allowed.contains(&queue.name) {
        return Some(Refusal::NotNamed);
    }
    (!kind_takes(&queue.kind, job.source_label)).then(|| Refusal::Kind {
        kind: queue.kind.clone(),
        label: job.source_label.clone(),
    })
}

fn refused_for_size(job: &JobNeeds<'_>, queue: &Queue) -> Option<Refusal> {
    if job.cores > queue.core_count {
        return Some(Refusal::Cores {
            has: queue.core_count,
            needs: job.cores,
        });
    }
    if is_over(job.memory, queue.memory) {
        return Some(Refusal::Memory {
            has: queue.memory,
            needs: job.memory,
        });
    }
    if is_over(job.disk, queue.disk) {
        return Some(Refusal::Disk {
            has: queue.disk,
            needs: job.disk,
        });
    }
    if !queue.max_time.is_zero() && job.walltime > queue.max_time {
        return Some(Refusal::Walltime {
            has: queue.max_time,
            needs: job.walltime,
        });
    }
    let input_size = job
        .inputs
        .values()
        .fold(ByteCount::ZERO, |sum, stored| sum.plus(stored.size));
    queue
        .max_input_size
        .filter(|limit| input_size > *limit)
        .map(|limit| Refusal::InputSize {
            has: limit,
            needs: input_size,
        })
}

fn lets_in(status: QueueStatus, label: &SourceLabel) -> bool {
    match status {
        QueueStatus::Online => true,
        QueueStatus::Test => is_test_label(label),
        QueueStatus::Brokeroff | QueueStatus::Paused | QueueStatus::Offline => false,
    }
}

/// Kinds are CRIC's words; `unified`, `special` and kinds that we do not know take every label.
fn kind_takes(kind: &str, label: &SourceLabel) -> bool {
    let is_analysis = matches!(label.as_str(), "user" | "panda");
    match kind {
        "production" => !is_analysis,
        "analysis" => is_analysis || is_test_label(label),
        _ => true,
    }
}

/// Says whether a need is over a limit, where zero means that there is no limit.
fn is_over(need: ByteCount, limit: ByteCount) -> bool {
    limit > ByteCount::ZERO && need > limit
}
