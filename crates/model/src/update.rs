//! Job updates (heartbeats) and the server's answers.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    AttemptNr, FileReport, HarvesterId, JobStatus, Lfn, NodeName, PandaId, QueueName, SecretText,
    Timestamp, UsageSummary,
};

/// An error as a pilot reports it. The number may be one that our registry does not know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReportedError {
    /// PanDA's number; zero means no error.
    pub code: i64,
    /// What happened.
    pub diag: String,
}

/// Whole seconds that the phases of a job took (`pilotTiming`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PilotTiming {
    /// Job request.
    pub get_job: Duration,
    /// Stage-in.
    pub stage_in: Duration,
    /// Payload.
    pub payload: Duration,
    /// Stage-out.
    pub stage_out: Duration,
    /// From the pilot's start to its first job request.
    pub initial_setup: Duration,
    /// Payload set-up.
    pub setup: Duration,
}

/// One update of one attempt of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobUpdate {
    /// The job.
    pub panda_id: PandaId,
    /// The attempt that reports. Pilot 3 always sends it; none means "whichever is current".
    pub attempt_nr: Option<AttemptNr>,
    /// What the pilot says the job is: `starting`, `running`, `holding`, `transferring`,
    /// `finished` or `failed`.
    pub status: JobStatus,
    /// The queue from which the pilot took the job.
    pub site: QueueName,
    /// The worker node.
    pub node: NodeName,
    /// Who started the pilot (`schedulerID`), empty if unknown.
    pub scheduler_id: String,
    /// The pilot's own name: log URL, batch type, version.
    pub pilot_id: String,
    /// The batch system's id of the worker, empty if unknown.
    pub batch_id: String,
    /// The Harvester instance behind the worker, if the update came through one.
    pub harvester_id: Option<HarvesterId>,
    /// When the job was taken.
    pub start_time: Option<Timestamp>,
    /// When it ended; only in a final update.
    pub end_time: Option<Timestamp>,
    /// Cores that the job may use, if told.
    pub core_count: Option<u32>,
    /// Cores that it used in the mean, rounded, if measured.
    pub mean_core_count: Option<u32>,
    /// CPU time, if measured.
    pub cpu_time: Option<Duration>,
    /// Text that begins with `s+` and tells the CPU model, empty if unknown.
    pub cpu_unit: String,
    /// Memory and I/O, if measured.
    pub usage: Option<UsageSummary>,
    /// Events processed, if known.
    pub n_events: Option<u64>,
    /// Exit code of the payload; only in a final update.
    pub payload_exit_code: Option<i64>,
    /// The pilot's error, if any; only in a final update.
    pub pilot_error: Option<ReportedError>,
    /// The payload's own error, if any; only in a final update.
    pub payload_error: Option<ReportedError>,
    /// Outputs and log as they lie in storage; only in a final update.
    pub outputs: Vec<FileReport>,
    /// Seconds of each phase; only in a final update.
    pub timing: Option<PilotTiming>,
    /// Extracts of the pilot's log, at most 1024 characters; only in a final update.
    pub pilot_log: String,
    /// The payload's job report as text, if it wrote one.
    pub metadata: Option<String>,
    /// `key=value` pairs with blanks between, at most 500 characters.
    pub job_metrics: String,
    /// The payload's latest output, when the server asked for it.
    pub stdout: String,
    /// Further detail of the status, empty if none.
    pub sub_status: String,
    /// Input files that were read, if known.
    #[serde(default)]
    pub n_input_files: Option<u32>,
    /// Level of the processor's architecture, for example `x86-64-v3`, empty if unknown.
    #[serde(default)]
    pub cpu_level: String,
    /// Kind of grid, empty if unknown.
    #[serde(default)]
    pub grid: String,
    /// The access point from which the batch job came (`RemoteScheddName`), empty if unknown.
    #[serde(default)]
    pub source_site: String,
    /// The site at which it runs (`GLIDEIN_Site`), empty if unknown.
    #[serde(default)]
    pub destination_site: String,
    /// Inputs that turned out to be corrupt.
    #[serde(default)]
    pub corrupted_files: Vec<Lfn>,
    /// Files that the output report lists without size or checksum, as it may do with inputs that
    /// were not read.
    #[serde(default)]
    pub unmeasured: Vec<Lfn>,
    /// Why the output report cannot be used, if it cannot.
    #[serde(default)]
    pub report_problem: Option<String>,
}

impl JobUpdate {
    /// Makes an update that says only what every update says.
    #[must_use]
    pub fn new(panda_id: PandaId, attempt_nr: Option<AttemptNr>, status: JobStatus) -> Self {
        Self {
            panda_id,
            attempt_nr,
            status,
            site: QueueName::default(),
            node: NodeName::default(),
            scheduler_id: String::new(),
            pilot_id: String::new(),
            batch_id: String::new(),
            harvester_id: None,
            start_time: None,
            end_time: None,
            core_count: None,
            mean_core_count: None,
            cpu_time: None,
            cpu_unit: String::new(),
            usage: None,
            n_events: None,
            payload_exit_code: None,
            pilot_error: None,
            payload_error: None,
            outputs: Vec::new(),
            timing: None,
            pilot_log: String::new(),
            metadata: None,
            job_metrics: String::new(),
            stdout: String::new(),
            sub_status: String::new(),
            n_input_files: None,
            cpu_level: String::new(),
            grid: String::new(),
            source_site: String::new(),
            destination_site: String::new(),
            corrupted_files: Vec::new(),
            unmeasured: Vec::new(),
            report_problem: None,
        }
    }

    /// Says whether the attempt ends with this update.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self.status, JobStatus::Finished | JobStatus::Failed)
    }
}

/// What the server wants of the pilot, in the answer to an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// End the payload at once and report.
    ToBeKilled,
    /// End the payload gently.
    SoftKill,
    /// Send the payload's latest output with each heartbeat, or what a command such as
    /// `tail pilotlog.txt` prints.
    Debug(Option<String>),
    /// This attempt is not the current one: it changes nothing any more.
    BadAttemptNr,
    /// The job has its final state: nothing to report any more.
    AlreadyDone,
    /// A command of the server that this program does not know.
    Other(String),
}

/// The server's answer to an update.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UpdateAnswer {
    /// Commands, in the order of the server's text; usually none.
    pub commands: Vec<Command>,
    /// Fresh secrets for the pilot, usually none. Never serialised.
    #[serde(skip)]
    pub pilot_secrets: BTreeMap<String, SecretText>,
}

impl UpdateAnswer {
    /// An answer with one command.
    #[must_use]
    pub fn with(command: Command) -> Self {
        Self {
            commands: vec![command],
            pilot_secrets: BTreeMap::new(),
        }
    }

    /// Says whether the server gave this command.
    #[must_use]
    pub fn has(&self, command: &Command) -> bool {
        self.commands.contains(command)
    }
}
