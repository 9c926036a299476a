//! Why a queue does not get a job, in words for people.

use std::time::Duration;

use ailurus_model::{ByteCount, SourceLabel, queue::QueueStatus, units::format_duration};

/// Why a queue does not get a job. The text continues a sentence that begins with the queue's name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
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
    /// The task names another site.
    #[error("is of site `{site}`, which the task does not name")]
    Site {
        /// The queue's site.
        site: String,
    },
    /// The task names another region.
    #[error("is of cloud `{cloud}`, which the task does not name")]
    Cloud {
        /// The queue's region.
        cloud: String,
    },
    /// The task leaves it out.
    #[error("is excluded by the task")]
    Excluded,
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
    /// Its slots are for wider jobs.
    #[error("has slots of {has} cores, the job fills only one")]
    TooNarrow {
        /// Cores of a slot.
        has: u32,
    },
    /// Its slots have too little memory.
    #[error("has slots of {has} memory, the job needs {needs}")]
    Memory {
        /// Memory for such a job.
        has: ByteCount,
        /// Memory of the job.
        needs: ByteCount,
    },
    /// It is for jobs with more memory.
    #[error("takes jobs from {has} memory on, the job needs {needs}")]
    MemoryTooSmall {
        /// Least memory.
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
    /// It is for longer jobs.
    #[error("takes jobs from {} on, the job needs {}", format_duration(*has), format_duration(*needs))]
    WalltimeTooShort {
        /// Least wall time.
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
    /// Its storage is full.
    #[error(
        "has {free_gb} GB left on its storage, jobs are sent from {} on",
        needs
    )]
    StorageSpace {
        /// Free space in GB.
        free_gb: u64,
        /// Least free space.
        needs: ByteCount,
    },
    /// It does not take this kind of processing.
    #[error("does not take processing type `{wanted}`")]
    ProcessingType {
        /// The job's processing type.
        wanted: String,
    },
    /// Its nodes are of another kind.
    #[error("has no nodes for architecture `{wanted}`")]
    Hardware {
        /// The job's architecture.
        wanted: String,
    },
    /// It does not have the release.
    #[error("does not have release `{wanted}`")]
    Release {
        /// The job's release.
        wanted: String,
    },
    /// The container image is on CVMFS, which its nodes do not have.
    #[error("has no CVMFS, where container `{wanted}` lies")]
    Container {
        /// The job's image.
        wanted: String,
    },
    /// The job reads or writes too fast.
    #[error("takes {has} kB/s of {what}, the job needs {needs}")]
    Io {
        /// Disk I/O or I/O intensity.
        what: &'static str,
        /// The queue's limit in kB/s.
        has: u64,
        /// The job's in kB/s.
        needs: u64,
    },
    /// Inputs lie elsewhere.
    #[error("has {has} of the job's {needs} input files at hand")]
    LocalInput {
        /// Files at its site.
        has: u64,
        /// Files of the job.
        needs: u64,
    },
    /// Its nodes do not reach the network as the task wants it.
    #[error("reaches the network by `{has}`, the task wants `{needs}`")]
    Network {
        /// How its nodes do, empty if that is not known.
        has: String,
        /// How the task wants it.
        needs: String,
    },
    /// It reads through a virtual placement.
    #[error("reads through a virtual placement, which the job avoids")]
    VirtualPlacement,
    /// It is not of the site where outputs are collected.
    #[error("is not of nucleus `{site}`, where the task is to stay")]
    Nucleus {
        /// The site.
        site: String,
    },
    /// Its policy gives the job no share.
    #[error("gives such jobs no share (`{entry}`)")]
    ZeroShare {
        /// The entry of its policy.
        entry: String,
    },
    /// Nobody would take the job there.
    #[error("has had no pilot for {}", format_duration(*within))]
    NoPilot {
        /// How long one would have been remembered.
        within: Duration,
    },
    /// Jobs wait and none starts.
    #[error("has started no job for {} although {queued} wait", format_duration(*within))]
    Inactive {
        /// How long.
        within: Duration,
        /// Jobs that wait.
        queued: u64,
    },
    /// Enough jobs of the share and resource class wait.
    #[error("is full for share `{share}`: {queued} of {limit} wait while {running} run")]
    Full {
        /// The share.
        share: String,
        /// Jobs that wait.
        queued: u64,
        /// How many may.
        limit: u64,
        /// Jobs that run.
        running: u64,
    },
    /// More jobs of the share wait for each running one than elsewhere.
    #[error("is overloaded with share `{share}`: {queued} wait while {running} run")]
    Overload {
        /// The share.
        share: String,
        /// Jobs that wait.
        queued: u64,
        /// Jobs that run.
        running: u64,
    },
    /// Too many jobs wait for their outputs.
    #[error("has {has} jobs with outputs on their way, {limit} may be")]
    Transferring {
        /// Such jobs.
        has: u64,
        /// How many may be.
        limit: u64,
    },
    /// It is used beyond its pledge.
    #[error("uses {used} cores of {pledged} that are pledged")]
    OverPledge {
        /// Running cores.
        used: u64,
        /// Pledged cores.
        pledged: i64,
    },
    /// It has no pledge and the job is important.
    #[error("is opportunistic, jobs from priority {priority_min} on do not go there")]
    Opportunistic {
        /// From which priority on.
        priority_min: i64,
    },
    /// The task's jobs fail there.
    #[error("failed {failed} jobs of this task and finished {finished}")]
    TaskFailures {
        /// Failed ones.
        failed: u64,
        /// Finished ones.
        finished: u64,
    },
    /// Jobs of the task were taken back from there.
    #[error("gave {closed} jobs of this task back")]
    TaskClosed {
        /// Such jobs.
        closed: u64,
    },
    /// An earlier attempt failed there.
    #[error("failed an earlier attempt of this job")]
    Banned,
}

impl Refusal {
    /// Says whether time alone may change it: then the job waits, else it needs a person.
    #[must_use]
    pub const fn passes_with_time(&self) -> bool {
        match self {
            Self::Status { .. }
            | Self::StorageSpace { .. }
            | Self::LocalInput { .. }
            | Self::NoPilot { .. }
            | Self::Inactive { .. }
            | Self::Full { .. }
            | Self::Overload { .. }
            | Self::Transferring { .. }
            | Self::OverPledge { .. } => true,
            Self::State { .. }
            | Self::NotNamed
            | Self::Site { .. }
            | Self::Cloud { .. }
            | Self::Excluded
            | Self::Kind { .. }
            | Self::Cores { .. }
            | Self::TooNarrow { .. }
            | Self::Memory { .. }
            | Self::MemoryTooSmall { .. }
            | Self::Disk { .. }
            | Self::Walltime { .. }
            | Self::WalltimeTooShort { .. }
            | Self::InputSize { .. }
            | Self::ProcessingType { .. }
            | Self::Hardware { .. }
            | Self::Release { .. }
            | Self::Container { .. }
            | Self::Io { .. }
            | Self::Network { .. }
            | Self::VirtualPlacement
            | Self::Nucleus { .. }
            | Self::ZeroShare { .. }
            | Self::Opportunistic { .. }
            | Self::TaskFailures { .. }
            | Self::TaskClosed { .. }
            | Self::Banned => false,
        }
    }

    /// Says whether it is about the task's own choice of places, which is not worth a word.
    #[must_use]
    pub const fn is_by_choice(&self) -> bool {
        matches!(
            self,
            Self::NotNamed
                | Self::Site { .. }
                | Self::Cloud { .. }
                | Self::Excluded
                | Self::Nucleus { .. }
        )
    }
}
