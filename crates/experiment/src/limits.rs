//! Times and sizes within which a job must stay, and how often a pilot looks.

use std::time::Duration;

use ailurus_model::{ByteCount, units::duration_text};
use serde::{Deserialize, Serialize};

/// Limits of a pilot and its jobs. Every field has a default, Pilot 3's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Time between two heartbeats of a job. Default 30 minutes.
    #[serde(with = "duration_text")]
    pub heartbeat: Duration,
    /// Time without any answer to a heartbeat after which the payload is ended. Default 3 hours.
    #[serde(with = "duration_text")]
    pub lost_heartbeat: Duration,
    /// Time without a change in any file that shows progress, after which the payload counts as
    /// looping. Default 2 hours.
    #[serde(with = "duration_text")]
    pub looping: Duration,
    /// Time between two looks for a looping payload. Default 15 minutes.
    #[serde(with = "duration_text")]
    pub looping_check: Duration,
    /// Time between two samples of memory and CPU. Default 10 seconds; Pilot 3 takes 60.
    #[serde(with = "duration_text")]
    pub sample: Duration,
    /// Time between two looks at the job's directory and the free space. Default 1 minute.
    #[serde(with = "duration_text")]
    pub disk_check: Duration,
    /// Largest size of the payload's standard output, and of its standard error. Default 2 GiB.
    pub stdout: ByteCount,
    /// Most processes and threads of a payload at a time, where a control group can hold it; 0 for
    /// no limit. Default 20000.
    pub tasks: u32,
    /// Largest size of any file that the payload writes; 0 for no limit, the default. Whoever
    /// writes on gets `SIGXFSZ`.
    pub file: ByteCount,
    /// Largest core file that a crash leaves in the job's directory, and so in the log archive unless
    /// `log.left_out` names it; 0 for none, the default.
    pub core_file: ByteCount,
    /// Space that must be free before a job is asked for. Default 2 GiB.
    pub free_space_before: ByteCount,
    /// Space that must stay free while a payload runs. Default 1 GiB.
    pub free_space_during: ByteCount,
    /// Largest size of one output file. Default 500 GiB.
    pub output_file: ByteCount,
    /// Time between the request to a payload to end (SIGTERM) and SIGKILL. Default 10 seconds.
    #[serde(with = "duration_text")]
    pub kill_grace: Duration,
    /// As `kill_grace`, where the server asked for a soft end. Default 5 minutes.
    #[serde(with = "duration_text")]
    pub soft_kill_grace: Duration,
    /// Time that log and final update may take after a signal ended the job. Default 5 seconds.
    #[serde(with = "duration_text")]
    pub stop_patience: Duration,
    /// Time for which a final update is tried again and again. Default 1 hour.
    #[serde(with = "duration_text")]
    pub final_update_patience: Duration,
    /// How long the grid proxy must live still before a job is asked for. Default 1 hour.
    #[serde(with = "duration_text")]
    pub proxy_before: Duration,
    /// How long the grid proxy must live still while a payload runs: the rest is for reporting that
    /// it ends. Default 10 minutes.
    #[serde(with = "duration_text")]
    pub proxy_during: Duration,
    /// Jobs in a row that may fail on a node, each within `black_hole_within` and for causes that lie
    /// with the node or are unknown, before the pilot takes no further one. Default 3; 0 for any.
    pub black_hole_failures: u32,
    /// Time from a job's acceptance within which a failure counts for that. Default 3 minutes.
    #[serde(with = "duration_text")]
    pub black_hole_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 3600;
        Self {
            heartbeat: Duration::from_secs(30 * MINUTE),
            lost_heartbeat: Duration::from_secs(3 * HOUR),
            looping: Duration::from_secs(2 * HOUR),
            looping_check: Duration::from_secs(15 * MINUTE),
            sample: Duration::from_secs(10),
            disk_check: Duration::from_secs(MINUTE),
            stdout: ByteCount::from_gib(2),
            tasks: 20_000,
            file: ByteCount::ZERO,
            core_file: ByteCount::ZERO,
            free_space_before: ByteCount::from_gib(2),
            free_space_during: ByteCount::from_gib(1),
            output_file: ByteCount::from_gib(500),
            kill_grace: Duration::from_secs(10),
            soft_kill_grace: Duration::from_secs(5 * MINUTE),
            stop_patience: Duration::from_secs(5),
            final_update_patience: Duration::from_secs(HOUR),
            proxy_before: Duration::from_secs(HOUR),
            proxy_during: Duration::from_secs(10 * MINUTE),
            black_hole_failures: 3,
            black_hole_within: Duration::from_secs(3 * MINUTE),
        }
    }
}

impl Limits {
    /// Times that must not be zero, because the pilot would then never rest, with their keys.
    pub(crate) const fn periods(&self) -> [(&'static str, Duration); 4] {
        [
            ("limits.heartbeat", self.heartbeat),
            ("limits.looping_check", self.looping_check),
            ("limits.sample", self.sample),
            ("limits.disk_check", self.disk_check),
        ]
    }
}
