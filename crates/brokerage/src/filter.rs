//! Which queues can run a job at all: one rule for each way in which they cannot.
//!
//! Which rules a kind of job has, in which order and with which constants, stands in the policy;
//! what a rule means stands in [`rules`], and what it says to people in [`refusal`].

pub mod refusal;
mod rules;

use std::time::Duration;

use ailurus_model::{ByteCount, units::duration_text};
use serde::Deserialize;

pub use self::refusal::Refusal;
pub(crate) use self::rules::{Totals, as_f64, refusal_of, refusal_of_place};

/// One filter with its constants.
///
/// Sources: PanDA server, `pandajedi/jedibrokerage/GenJobBroker.py`, `AtlasAnalJobBroker.py` and
/// `AtlasProdJobBroker.py`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Filter {
    /// CRIC's state is `ACTIVE`.
    State {},
    /// The status lets the job in: `online`; `test` for test jobs.
    Status {},
    /// The queue's kind takes the job's label.
    Kind {},
    /// The task names it, or nothing: queues, site, cloud, included and excluded ones.
    Named {},
    /// Scratch space of a slot.
    Scratch {},
    /// Largest sum of input sizes.
    InputSize {},
    /// Free space of its storage, where that is known.
    StorageSpace {
        /// Least free space.
        free_min: ByteCount,
    },
    /// Longest and shortest wall time.
    Walltime {},
    /// Cores of a slot.
    Cores {
        /// Which slots a job of one core takes.
        narrow_jobs: NarrowJobs,
    },
    /// Largest and smallest memory.
    Memory {},
    /// Processing types that it takes or does not take.
    ProcessingType {},
    /// Architecture, CPU and GPU.
    Hardware {},
    /// Releases and containers.
    Software {},
    /// Disk I/O of the job.
    DiskIo {},
    /// I/O intensity of the job.
    IoIntensity {},
    /// All inputs lie at the site.
    LocalInput {},
    /// The nodes reach the network as the task wants it (`wnconnectivity`).
    Network {},
    /// No virtual placement (`…_VP_DISK`) for tasks that avoid it, and for merging.
    VirtualPlacement {},
    /// Only queues of the nucleus for tasks that say so (`t1Weight` below zero).
    Nucleus {},
    /// The queue's fair share policy gives the job no share.
    ZeroShare {},
    /// Pilots were seen.
    PilotsSeen {
        /// How long ago at most.
        #[serde(with = "duration_text")]
        within: Duration,
    },
    /// Jobs start, where some wait.
    Inactive {
        /// How long ago the last one started at most.
        #[serde(with = "duration_text")]
        within: Duration,
    },
    /// Few enough jobs of the share and resource class wait.
    QueueCap {
        /// So many may always wait.
        least: u64,
        /// So many may wait for each that runs.
        per_running: f64,
    },
    /// No more jobs of the share wait for each running one than elsewhere.
    Overload {
        /// So many may always wait.
        least: u64,
        /// How much more than elsewhere.
        ratio: f64,
    },
    /// Few enough jobs wait for their outputs.
    Transferring {
        /// So many may always, unless the queue says how many.
        least: u64,
        /// So many may for each that runs.
        per_running: f64,
    },
    /// A pledged queue is not used beyond its pledge.
    OverPledge {
        /// Cores for each HS06-free unit of the pledge.
        ratio: f64,
    },
    /// Important jobs do not go to queues without a pledge.
    Opportunistic {
        /// Jobs from this priority on.
        priority_min: i64,
    },
    /// The task's jobs do not fail there more than elsewhere.
    TaskFailures {
        /// So many may always fail.
        least: u64,
        /// So many may fail for each that finishes.
        per_finished: f64,
    },
    /// None of the task's jobs was taken back from there.
    TaskClosed {},
    /// No attempt of the job failed there for a reason that may lie in the place.
    Banned {},
}

/// Which slots a job of one core takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NarrowJobs {
    /// Only those of one core, or as wide as each job.
    OwnWidth,
    /// Any.
    Any,
}

impl Filter {
    /// Returns its name as the policy writes it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::State {} => "state",
            Self::Status {} => "status",
            Self::Kind {} => "kind",
            Self::Named {} => "named",
            Self::Scratch {} => "scratch",
            Self::InputSize {} => "input-size",
            Self::StorageSpace { .. } => "storage-space",
            Self::Walltime {} => "walltime",
            Self::Cores { .. } => "cores",
            Self::Memory {} => "memory",
            Self::ProcessingType {} => "processing-type",
            Self::Hardware {} => "hardware",
            Self::Software {} => "software",
            Self::DiskIo {} => "disk-io",
            Self::IoIntensity {} => "io-intensity",
            Self::LocalInput {} => "local-input",
            Self::Network {} => "network",
            Self::VirtualPlacement {} => "virtual-placement",
            Self::Nucleus {} => "nucleus",
            Self::ZeroShare {} => "zero-share",
            Self::PilotsSeen { .. } => "pilots-seen",
            Self::Inactive { .. } => "inactive",
            Self::QueueCap { .. } => "queue-cap",
            Self::Overload { .. } => "overload",
            Self::Transferring { .. } => "transferring",
            Self::OverPledge { .. } => "over-pledge",
            Self::Opportunistic { .. } => "opportunistic",
            Self::TaskFailures { .. } => "task-failures",
            Self::TaskClosed {} => "task-closed",
            Self::Banned {} => "banned",
        }
    }
}

impl Filter {
    /// Returns its constant that is a number, zero if it has none.
    pub(crate) const fn ratio(&self) -> f64 {
        if let Self::QueueCap { per_running, .. } | Self::Transferring { per_running, .. } = self {
            *per_running
        } else if let Self::Overload { ratio, .. } | Self::OverPledge { ratio } = self {
            *ratio
        } else if let Self::TaskFailures { per_finished, .. } = self {
            *per_finished
        } else {
            0.0
        }
    }

    /// Says whether a queue may stop to pass it by each job that it gets.
    pub(crate) const fn is_about_load(&self) -> bool {
        matches!(self, Self::QueueCap { .. })
    }
}

/// Labels of jobs that test a queue.
///
/// Source: PanDA server, `pandaserver/taskbuffer/JobUtils.py`.
#[must_use]
pub fn is_test_label(label: &ailurus_model::SourceLabel) -> bool {
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

/// Labels of people's own jobs.
#[must_use]
pub fn is_analysis_label(label: &ailurus_model::SourceLabel) -> bool {
    matches!(label.as_str(), "user" | "panda")
}
