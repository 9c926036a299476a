//! How many workers a queue is to get now, and why not more.

use std::fmt;

use ailurus_model::{Timestamp, queue::QueueStatus};

/// Limits of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Workers altogether.
    pub workers: u32,
    /// Workers that wait to run.
    pub waiting: u32,
    /// New workers in one cycle.
    pub new_per_cycle: u32,
}

impl Limits {
    /// Takes the smaller of these and what the queue's data say.
    #[must_use]
    pub fn within(self, workers: Option<u32>, waiting: Option<u32>) -> Self {
        Self {
            workers: workers.map_or(self.workers, |limit| limit.min(self.workers)),
            waiting: waiting.map_or(self.waiting, |limit| limit.min(self.waiting)),
            new_per_cycle: self.new_per_cycle,
        }
    }
}

/// Jobs of one queue, as the server counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobCounts {
    /// Ready to be given to a pilot.
    pub activated: u32,
    /// With a pilot: sent, starting or running.
    pub with_pilots: u32,
}

/// What the number of new workers is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Jobs of the queue.
    pub jobs: JobCounts,
    /// Workers that wait, those of unknown fate included.
    pub waiting: u32,
    /// Workers that run.
    pub running: u32,
    /// Limits of the queue.
    pub limits: Limits,
    /// New workers that back-pressure allows in this cycle.
    pub allowance: u32,
}

/// Returns how many workers to submit now, and what bounds the number.
///
/// Each activated job wants one worker. Those that wait are on their way to one, and so are those
/// that run without a job.
#[must_use]
pub fn plan_new_workers(demand: &Demand) -> (u32, Standing) {
    let without_job = demand.running.saturating_sub(demand.jobs.with_pilots);
    let coming = demand.waiting.saturating_add(without_job);
    let wanted = demand.jobs.activated.saturating_sub(coming);
    if wanted == 0 {
        return (0, Standing::Enough);
    }
    let all = demand.waiting.saturating_add(demand.running);
    let limits = demand.limits;
    let room = limits.workers.saturating_sub(all);
    if room == 0 {
        return (
            0,
            Standing::WorkerLimit {
                limit: limits.workers,
            },
        );
    }
    let room_waiting = limits.waiting.saturating_sub(demand.waiting);
    if room_waiting == 0 {
        return (
            0,
            Standing::WaitingLimit {
                limit: limits.waiting,
            },
        );
    }
    let new = wanted
        .min(room)
        .min(room_waiting)
        .min(limits.new_per_cycle)
        .min(demand.allowance);
    (new, Standing::Submitting)
}

/// Why a queue gets as many workers as it gets. It is shown to operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// New workers are submitted.
    Submitting,
    /// Every activated job has a worker on its way.
    Enough,
    /// All workers that the queue may have are there.
    WorkerLimit {
        /// The limit.
        limit: u32,
    },
    /// All workers that may wait at a time do.
    WaitingLimit {
        /// The limit.
        limit: u32,
    },
    /// The batch system refuses, fails or wastes workers: nothing is submitted for a while.
    Paused {
        /// When the next attempt is made.
        until: Timestamp,
        /// What went wrong.
        reason: String,
    },
    /// The server has not said how many jobs there are, or too long ago.
    JobsUnknown,
    /// The queue's data have not been read.
    QueueUnknown,
    /// The queue takes no jobs.
    QueueClosed {
        /// What it is.
        status: QueueStatus,
    },
    /// CRIC says that the queue is not in use.
    QueueInactive,
    /// Harvester is about to stop.
    Stopping,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submitting => f.write_str("submitting workers"),
            Self::Enough => f.write_str("every activated job has a worker on its way"),
            Self::WorkerLimit { limit } => write!(f, "at its limit of {limit} workers"),
            Self::WaitingLimit { limit } => write!(f, "at its limit of {limit} waiting workers"),
            Self::Paused { until, reason } => {
                write!(f, "no submission until {until} UTC: {reason}")
            }
            Self::JobsUnknown => f.write_str("the server has not told how many jobs there are"),
            Self::QueueUnknown => f.write_str("the queue's data have not been read"),
            Self::QueueClosed { status } => write!(f, "the queue is {}", status.as_str()),
            Self::QueueInactive => f.write_str("the queue is not in use: its state is not ACTIVE"),
            Self::Stopping => f.write_str("stopping, nothing is submitted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Demand = Demand {
        jobs: JobCounts {
            activated: 10,
            with_pilots: 0,
        },
        waiting: 0,
        running: 0,
        limits: Limits {
            workers: 100,
            waiting: 100,
            new_per_cycle: 100,
        },
        allowance: 100,
    };

    #[test]
    fn each_activated_job_gets_a_worker() {
        assert_eq!(plan_new_workers(&ROOMY), (10, Standing::Submitting));
    }

    #[test]
    fn waiting_workers_and_those_without_a_job_count() {
        let mut demand = ROOMY;
        demand.waiting = 3;
        demand.running = 4;
        demand.jobs.with_pilots = 2;
        assert_eq!(plan_new_workers(&demand).0, 5);
    }

    #[test]
    fn jobs_of_other_pilots_take_nothing_away() {
        let mut demand = ROOMY;
        demand.jobs.with_pilots = 50;
        assert_eq!(plan_new_workers(&demand).0, 10);
    }

    #[test]
    fn every_limit_holds_and_names_itself() {
        let mut demand = ROOMY;
        demand.limits.new_per_cycle = 4;
        assert_eq!(plan_new_workers(&demand).0, 4);
        demand.allowance = 2;
        assert_eq!(plan_new_workers(&demand).0, 2);
        demand.waiting = 1;
        demand.limits.waiting = 1;
        assert_eq!(
            plan_new_workers(&demand),
            (0, Standing::WaitingLimit { limit: 1 })
        );
        demand.limits.workers = 1;
        assert_eq!(
            plan_new_workers(&demand),
            (0, Standing::WorkerLimit { limit: 1 })
        );
    }

    #[test]
    fn no_jobs_means_no_workers() {
        let mut demand = ROOMY;
        demand.jobs.activated = 0;
        assert_eq!(plan_new_workers(&demand), (0, Standing::Enough));
    }

    #[test]
    fn queue_data_only_tighten_the_limits() {
        let limits = ROOMY.limits.within(Some(5), Some(1000));
        assert_eq!((limits.workers, limits.waiting), (5, 100));
    }
}
