//! What a pilot is told at its start. Plain data; the binary makes it from arguments and
//! environment.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use ailurus_experiment::Profile;
use ailurus_model::{
    HarvesterId, NodeName, QueueName, RequestDetails, SourceLabel, Timestamp, WorkerId,
};
use serde::{Deserialize, Serialize};

use crate::payload::log_stream::StreamSettings;

/// What a pilot is told at its start.
#[derive(Debug, Clone)]
pub struct PilotConfig {
    /// What it is there for.
    pub purpose: Purpose,
    /// The experiment's profile.
    pub profile: Profile,
    /// The queue that it serves (`-q`).
    pub queue: QueueName,
    /// The jobs that it takes (`-j`).
    pub source_label: SourceLabel,
    /// `PR`, `RC`, `RCM` or `ALRB` (`-i`); changes the label of some test pilots.
    pub version_tag: String,
    /// Most job requests in a row without a job (`-v`).
    pub job_requests_max: u32,
    /// Most failed job requests (`-x`).
    pub job_failures_max: u32,
    /// How many payloads run side by side (`--slots`).
    pub slots: Slots,
    /// Pause after a request that brought no job (`--job-request-pause`).
    pub job_request_pause: Duration,
    /// Longest life if the queue states none (`-l`).
    pub lifetime: Duration,
    /// PanDA's resource class that is wanted (`--resource-type`), if only one is.
    pub resource_type: Option<String>,
    /// What the request for a job says besides.
    pub request: RequestDetails,
    /// Whether a further job must be of the same task (`--allow-same-user`).
    pub next_job: NextJob,
    /// Where scripts may be fetched, besides those of the profile (`-g` and the PanDA server).
    pub script_urls: Vec<String>,
    /// A directory from which all inputs are taken (`--input-dir`).
    pub input_dir: Option<String>,
    /// Directories in which inputs may lie already; looked at before the storages. `{panda_id}`
    /// stands for the job's number.
    pub input_places: Vec<String>,
    /// A directory to which all outputs go (`--output-dir`). `{panda_id}` stands for the job's
    /// number.
    pub output_dir: Option<String>,
    /// How data are found and read.
    pub data: DataSettings,
    /// Whether work directories are removed (`--cleanup`).
    pub cleanup: Cleanup,
    /// Variables for the environment of every payload.
    pub variables: BTreeMap<String, String>,
    /// Whether and where the output of payloads is shown while they run.
    pub log_stream: StreamSettings,
    /// Who the pilot is.
    pub identity: Identity,
    /// Wall-clock time at [`ailurus_model::Moment::START`].
    pub start_time: Timestamp,
    /// Random bytes for new GUIDs and the spread of pauses.
    pub seed: [u8; 16],
}

/// How a pilot shares a node among payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Most payloads at once (`--slots`).
    pub payloads: NonZeroU32,
    /// Jobs that are fetched and staged in while all payloads run (`--slots-ahead`).
    pub ahead: u32,
    /// Cores for all payloads (`--slots-cores`); none for all that the node gives the pilot.
    pub cores: Option<u32>,
}

impl Slots {
    /// Says whether one job follows the other, as in Pilot 3.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        self.payloads.get() == 1 && self.ahead == 0
    }
}

impl Default for Slots {
    /// One job at a time.
    fn default() -> Self {
        Self {
            payloads: NonZeroU32::MIN,
            ahead: 0,
            cores: None,
        }
    }
}

/// How data are found and read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DataSettings {
    /// Who knows where files are.
    pub catalogue: Catalogue,
    /// What stands before the URLs of inputs that payloads read over the local network
    /// (`ALRB_XCACHE_PROXY`), if anything.
    pub xcache_proxy: Option<String>,
}

/// Who knows where files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Catalogue {
    /// Nobody: places follow from the names of storages and files.
    #[default]
    None,
    /// Rucio.
    Rucio,
}

/// What a pilot is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run jobs, after those of dead pilots in the same place.
    Serve,
    /// Only to end the jobs of dead pilots (`--recover`).
    Recover,
}

/// Which job a pilot may take after its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextJob {
    /// One of the same task as the last.
    SameTask,
    /// Any.
    Any,
}

/// What becomes of work directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// They are removed.
    Remove,
    /// They are kept, for people to look at.
    Keep,
}

/// Who the pilot is, as it says in requests and updates.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    /// The worker node.
    pub node: NodeName,
    /// Who started it (`PANDA_JSID`), `unknown` if nobody said.
    pub scheduler_id: String,
    /// Log URL, batch type, version tag, version, with bars between.
    pub pilot_id: String,
    /// The batch system's id, empty if unknown.
    pub batch_id: String,
    /// The Harvester instance, if any.
    pub harvester_id: Option<HarvesterId>,
    /// Harvester's number of the worker, if any.
    pub worker_id: Option<WorkerId>,
    /// `s+` and the CPU model, empty if unknown.
    pub cpu_unit: String,
    /// Level of the processor's architecture, for example `x86-64-v3`, empty if unknown.
    #[serde(default)]
    pub cpu_level: String,
    /// The access point from which the batch job came, empty if unknown.
    #[serde(default)]
    pub source_site: String,
    /// The grid site at which it runs, empty if unknown.
    #[serde(default)]
    pub destination_site: String,
}

impl Identity {
    /// Says whether the worker's start and end are reported: only if Harvester knows the worker.
    #[must_use]
    pub const fn is_harvester_worker(&self) -> bool {
        self.harvester_id.is_some() && self.worker_id.is_some()
    }
}
