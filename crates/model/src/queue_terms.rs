//! What queue data say to the server only: whom a queue takes, and how its workers are counted.
//!
//! Pilots have no use for these. [`QueueTerms`] is part of [`crate::QueueOptions`].

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::ByteCount;

/// The server's part of queue data. The default is what PanDA assumes where they are missing.
///
/// Source: PanDA server, `pandaserver/taskbuffer/SiteSpec.py`, and the table `SCHEDCONFIG_JSON`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueTerms {
    /// The region that it belongs to (`cloud`), empty if none.
    pub cloud: String,
    /// Whether its slots are as wide as each job (`corecount` 0 or -1).
    pub takes_any_cores: bool,
    /// Whether its memory limits are for one core (`catchall` or `params`: `per_core_attr`).
    pub memory_is_per_core: bool,
    /// Least memory that a job must ask for (`minrss`); zero means none.
    pub memory_min: ByteCount,
    /// Memory that workers should have on average (`meanrss`); zero means that it does not matter.
    pub memory_mean: ByteCount,
    /// Least wall time that a job must ask for (`mintime`); zero means none.
    pub time_min: Duration,
    /// Free space of its storage in GB (`space`); zero means that it is not known.
    pub storage_free_gb: u64,
    /// Power of one core in thousandths of HS06 (`corepower`); zero means that it is not known.
    pub core_power_milli: u64,
    /// Disk I/O of a job in kB/s and core (`maxdiskio`); zero means no limit.
    pub disk_io_max: u64,
    /// I/O intensity of a job in kB/s (`params.max_io_intensity`); zero means no limit.
    pub io_intensity_max: u64,
    /// How nodes reach the network (`wnconnectivity` before `#`): `full`, `http`, `none`; empty if
    /// that is not known.
    pub connectivity: String,
    /// `IPv4` or `IPv6` (`wnconnectivity` behind `#`), empty if that is not known.
    pub ip_stack: String,
    /// `ucore`, `mcore`, `score`, `himem` (`capability`).
    pub capability: String,
    /// `pull`, `push`, `pull_ups`, `push_cric` … (`workflow`).
    pub workflow: String,
    /// The Harvester instance that serves it (`harvester`).
    pub harvester: String,
    /// Shares of kinds of jobs, of which `0%` closes the queue to a kind (`fairsharepolicy`).
    pub fair_share_policy: String,
    /// Jobs that may have outputs on their way (`transferringlimit`); zero means the default.
    pub transferring_max: u64,
    /// Processing types that it takes (`allowed_processing`); none means all.
    pub processing_allowed: Option<Vec<String>>,
    /// Processing types that it does not take (`excluded_processing`).
    pub processing_excluded: Vec<String>,
    /// Software releases that it has (`releases`); empty or `ANY` means all.
    pub releases: Vec<String>,
    /// The hardware of its nodes (`architectures`); empty means that it is not known.
    pub hardware: Vec<Hardware>,
    /// Whether jobs go there although no pilot was seen (`allow_no_pilot`).
    pub allows_no_pilot: bool,
    /// Whether jobs that wait here too long stay here all the same (`disableReassign`).
    pub keeps_its_jobs: bool,
    /// Most workers by resource class, and most cores of all classes with much memory under
    /// `HIMEM` (`uconfig.resource_type_limits`).
    pub worker_limits: BTreeMap<String, u64>,
    /// Cores that the workers to come should keep busy at least (`params.ups_core_target`).
    pub streaming_cores: u64,
}

/// One kind of hardware that the nodes of a queue have. Empty lists mean anything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardware {
    /// Whether this is about GPUs; else it is about CPUs.
    pub is_gpu: bool,
    /// Architectures, for example `x86_64`; `excl` among them means only for jobs that ask.
    pub arch: Vec<String>,
    /// Vendors, for example `intel` or `nvidia`; `excl` as above.
    pub vendor: Vec<String>,
    /// Instruction sets or levels, for example `avx2` or `v3`.
    pub instructions: Vec<String>,
    /// Models of GPUs.
    pub model: Vec<String>,
}
