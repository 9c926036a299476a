//! The monitoring room: what a payload used, and whether that is within its limits.

pub mod limits;
pub mod usage;

pub use limits::{FilesSample, JobLimits, Sample};
pub use usage::UsageMeter;

/// How much a sample looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleScope {
    /// Memory, CPU and I/O of the payload's processes.
    Usage,
    /// The same, and the job's directory with all of its files.
    UsageAndFiles,
}
