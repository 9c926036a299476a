//! What the kernel is asked to hold a payload to, besides what samples are judged by.

use ailurus_experiment::Limits;
use ailurus_model::ByteCount;

use crate::monitoring::JobLimits;

/// What a payload with all of its processes may use at most. The memory and the processes are only
/// held where the batch system gives the pilot a control group to divide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardLimits {
    /// Memory of all processes together, if limited.
    pub memory: Option<ByteCount>,
    /// Processes and threads at a time, if limited.
    pub tasks: Option<u32>,
    /// Any file that is written, if limited.
    pub file: Option<ByteCount>,
    /// The core file of a crash; zero for none.
    pub core_file: ByteCount,
}

impl HardLimits {
    /// Works out what the kernel is asked for from a job's limits and the profile's.
    #[must_use]
    pub fn of(job: &JobLimits, profile: &Limits) -> Self {
        Self {
            memory: job.memory,
            tasks: (profile.tasks > 0).then_some(profile.tasks),
            file: (profile.file > ByteCount::ZERO).then_some(profile.file),
            core_file: profile.core_file,
        }
    }
}
