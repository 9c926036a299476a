//! What was seen of a running payload at one moment. Plain data; the adapters fill it in.

use std::time::Duration;

use ailurus_model::{ByteCount, usage::UsageSample};

/// How much a sample looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleScope {
    /// Memory, CPU and I/O of the payload's processes.
    Usage,
    /// The same, and the job's directory with all of its files, and how long the slot lasts.
    UsageAndFiles,
}

/// What was seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sample {
    /// The payload's processes; none if they could not be looked at.
    pub usage: Option<UsageSample>,
    /// What the payload's processes use of GPUs, where there are any.
    pub gpu: Option<GpuUse>,
    /// What the node's processors used since the payload's start in joules, where that is known.
    pub energy_joules: Option<u64>,
    /// The job's directory, where it was looked at.
    pub files: Option<FilesSample>,
    /// How long the slot lasts, where that was looked at.
    pub slot: SlotSample,
    /// What the machine is. Told once, with the first sample.
    pub machine: Option<Box<Machine>>,
}

/// What was seen of a job's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FilesSample {
    /// Size of all files in it, links not followed.
    pub total: ByteCount,
    /// Size of the job's inputs and outputs among them.
    pub transferred: ByteCount,
    /// Free space where it lies.
    pub free_space: ByteCount,
    /// Size of the largest of the payload's standard output, standard error and log files.
    pub stdout: ByteCount,
    /// Size of the largest output file, zero if there is none yet.
    pub largest_output: ByteCount,
    /// Time since the latest change of a file that shows progress, if there is such a file. By the
    /// node's clock, which may be set while the pilot runs; the pilot's own never is.
    pub idle: Option<Duration>,
    /// Number of the event that the payload works on, if it writes that down.
    pub event_number: Option<u64>,
    /// Whether somebody asked for the payload's end.
    pub kill_file: KillFile,
}

/// The file by which a program on the node asks for the end of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KillFile {
    /// It is not there.
    #[default]
    Absent,
    /// It is there.
    Present,
}

/// How long the slot lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotSample {
    /// Time until the batch system ends the slot, if it says so.
    pub ends_in: Option<Duration>,
    /// Time until the machine is shut down, if its features say so.
    pub shuts_down_in: Option<Duration>,
}

/// What the payload's processes use of all GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GpuUse {
    /// Cards on which there is a process of the payload.
    pub n_gpus: u32,
    /// Shares of time in which the processes computed, in percent of one card.
    pub compute_percent: u32,
    /// Shares of time in which memory was read or written, in percent of one card.
    pub memory_percent: u32,
    /// Memory that the processes hold.
    pub memory: ByteCount,
}

/// What job metrics say of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// Its HS06 rating in hundredths, zero if unknown.
    pub hs06_hundredths: u64,
    /// The processors that the rating is for, zero if unknown.
    pub n_processors: u32,
    /// Name of the first GPU, empty if there is none.
    pub gpu_name: String,
    /// GPUs.
    pub n_gpus: u32,
}
