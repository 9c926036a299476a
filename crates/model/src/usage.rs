//! What a payload used: one sample, and the summary that goes to the server.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ByteCount;

/// Memory, CPU and I/O of a payload's processes at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UsageSample {
    /// Resident memory of all processes, shared pages counted once per process.
    pub rss: ByteCount,
    /// Proportional resident memory, shared pages divided among those who share them.
    pub pss: ByteCount,
    /// Virtual memory.
    pub vmem: ByteCount,
    /// Memory in swap.
    pub swap: ByteCount,
    /// User CPU time since the payload's start, ended children included.
    pub cpu_user: Duration,
    /// System CPU time since the payload's start, ended children included.
    pub cpu_system: Duration,
    /// Bytes read by system calls.
    pub read_chars: ByteCount,
    /// Bytes written by system calls.
    pub write_chars: ByteCount,
    /// Bytes read from storage.
    pub read_bytes: ByteCount,
    /// Bytes written to storage.
    pub write_bytes: ByteCount,
    /// Processes.
    pub n_processes: u32,
    /// Threads.
    pub n_threads: u32,
}

/// Largest, mean and total use over a payload's run, in the units of PanDA's heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UsageSummary {
    /// How many samples it is made from; zero means that nothing is known.
    pub n_samples: u64,
    /// Largest resident, proportional, virtual and swapped memory.
    pub max: MemoryUse,
    /// Mean of the same.
    pub mean: MemoryUse,
    /// Bytes read by system calls, in total.
    pub read_chars: ByteCount,
    /// Bytes written by system calls, in total.
    pub write_chars: ByteCount,
    /// Bytes read from storage, in total.
    pub read_bytes: ByteCount,
    /// Bytes written to storage, in total.
    pub write_bytes: ByteCount,
    /// Time between first and last sample, for rates.
    pub span: Duration,
    /// User and system CPU time together.
    pub cpu: Duration,
}

/// The four kinds of memory that PanDA knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryUse {
    /// Resident memory.
    pub rss: ByteCount,
    /// Proportional resident memory.
    pub pss: ByteCount,
    /// Virtual memory.
    pub vmem: ByteCount,
    /// Memory in swap.
    pub swap: ByteCount,
}
