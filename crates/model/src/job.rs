//! A job as a pilot gets it, and the request by which a pilot asks for one.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    AttemptNr, ByteCount, Guid, HarvesterId, InputFile, JobOptions, NodeName, OutputFile, PandaId,
    QueueName, TaskId, WorkerId,
};

/// Who asked for a job, in PanDA's sense: `managed` production, `user` analysis, `test` and so on.
///
/// It decides which jobs a pilot may get: see [`SourceLabel::accepts`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceLabel(String);

impl SourceLabel {
    /// Wraps a label.
    #[must_use]
    pub fn new(label: impl Into<String>) -> Self {
        Self(label.into())
    }

    /// Returns the plain label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether a pilot that asks with `self` may get a job with the label `job`.
    ///
    /// Source: PanDA server, `pandaserver/taskbuffer/JobUtils.py`.
    #[must_use]
    pub fn accepts(&self, job: &Self) -> bool {
        const MANAGED: [&str; 4] = ["managed", "test", "prod_test", "install"];
        let job = job.as_str();
        match self.as_str() {
            "user" => matches!(job, "user" | "panda" | "install"),
            "" | "managed" => MANAGED.contains(&job),
            "unified" => MANAGED.contains(&job) || matches!(job, "user" | "panda"),
            "test" => matches!(job, "prod_test" | "install" | "test"),
            other => other == job,
        }
    }
}

impl fmt::Display for SourceLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Default for SourceLabel {
    fn default() -> Self {
        Self::new("managed")
    }
}

/// One job, as given to a pilot: one attempt with all that it needs to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The job's number, the same in all attempts.
    pub panda_id: PandaId,
    /// Which try this is.
    pub attempt_nr: AttemptNr,
    /// The task that it belongs to.
    pub task_id: TaskId,
    /// PanDA's number for jobs of one submission.
    pub jobset_id: u64,
    /// A name for people.
    pub name: String,
    /// Production, analysis, test.
    pub source_label: SourceLabel,
    /// What kind of processing it is, in the experiment's words.
    pub processing_type: String,
    /// The user on whose behalf it runs (a distinguished name or a plain name).
    pub user: String,
    /// The payload script: a URL, or a name found in the work directory or by the profile.
    pub transformation: String,
    /// The arguments for the payload, one text as PanDA sends it.
    pub parameters: String,
    /// Software release, empty if none.
    pub release: String,
    /// Platform or container image (`cmtConfig`), empty if none.
    pub platform: String,
    /// Container image (`container_name`), empty if none.
    pub container_image: String,
    /// Cores that the payload may use, at least 1.
    pub core_count: u32,
    /// Memory that the whole job may use; zero means not stated.
    pub memory: ByteCount,
    /// Scratch space that the job may use; zero means not stated.
    pub disk: ByteCount,
    /// Wall time that the job may take; zero means not stated.
    pub walltime: Duration,
    /// PanDA's class of the job's cores and memory, for example `SCORE`.
    pub resource_type: String,
    /// Larger runs earlier.
    pub priority: i64,
    /// Files to stage in, in the order of the job definition.
    pub inputs: Vec<InputFile>,
    /// Files to stage out, without the log.
    pub outputs: Vec<OutputFile>,
    /// The log archive, if one is wanted.
    pub log: Option<OutputFile>,
    /// Whether a payload without progress is to be ended.
    pub looping_check: bool,
    /// Outputs that may be missing.
    pub outputs_optional: Vec<crate::Lfn>,
    /// `direct` if the payload may read inputs remotely.
    pub transfer_type: String,
    /// What most jobs do not say.
    #[serde(default)]
    pub options: JobOptions,
}

/// What a pilot asks the server for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRequest {
    /// The queue that the pilot serves.
    pub queue: QueueName,
    /// Which jobs it takes.
    pub source_label: SourceLabel,
    /// The worker node.
    pub node: NodeName,
    /// Memory for all of its jobs; zero means no limit.
    pub memory: ByteCount,
    /// Free scratch space; zero means no limit.
    pub disk: ByteCount,
    /// Time until the slot ends, if known.
    pub remaining_time: Option<Duration>,
    /// PanDA's resource class that is wanted, if only one is.
    pub resource_type: Option<String>,
    /// Only jobs of this task, if given.
    pub task_id: Option<TaskId>,
    /// Only jobs of this user, if given.
    pub user: Option<String>,
    /// How many jobs at most, at least 1.
    pub n_jobs: u32,
    /// The Harvester instance that started the pilot, if any.
    pub harvester_id: Option<HarvesterId>,
    /// The worker in which the pilot runs, if any.
    pub worker_id: Option<WorkerId>,
    /// The name under which the pilot reports (`schedulerID`), empty if none.
    pub scheduler_id: String,
    /// What only some pilots say.
    #[serde(default)]
    pub details: RequestDetails,
}

/// The rarer parts of a job request. Only the legacy dialect has all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestDetails {
    /// The queue as the pilot was told it (`--queue`); empty if it is called as in
    /// [`JobRequest::queue`].
    pub computing_element: QueueName,
    /// Only jobs of this working group, if given; servers of today ignore it.
    pub working_group: Option<String>,
    /// Only jobs of this country's group, if given; servers of today ignore it.
    pub country_group: Option<String>,
    /// Whether jobs of other countries are taken too; servers of today ignore it.
    pub allows_other_country: bool,
    /// Only jobs of this type (`--job-type`), if given.
    pub job_type: Option<String>,
    /// Whether the task was named by a message of the broker.
    pub is_via_topic: bool,
    /// Whether the slot is one in the background: only jobs for such slots fit.
    #[serde(default)]
    pub is_background: bool,
    /// Clock of the first processor in MHz, if known; servers of today ignore it.
    pub cpu_mhz: Option<u32>,
}

/// What a job's log archive and files have in common: a new globally unique id, from random bytes.
///
/// The bytes come from the caller, so that this stays a pure function. Upper case, as Pilot 3's.
#[must_use]
pub fn guid_from_random(mut bytes: [u8; 16]) -> Guid {
    // Version 4, variant 1 (RFC 9562, section 5.4).
    bytes[6] = (bytes[6] & 0x0F) | 0x40;
    bytes[8] = (bytes[8] & 0x3F) | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02X}"));
    }
    Guid::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_accept_what_the_panda_server_gives_them() {
        let accepts =
            |asked: &str, job: &str| SourceLabel::new(asked).accepts(&SourceLabel::new(job));
        assert!(accepts("user", "panda"));
        assert!(!accepts("user", "managed"));
        assert!(accepts("managed", "prod_test"));
        assert!(accepts("unified", "user") && accepts("unified", "managed"));
        assert!(accepts("rc_test", "rc_test") && !accepts("rc_test", "managed"));
    }

    #[test]
    fn a_guid_has_version_and_variant() {
        assert_eq!(
            guid_from_random([0xFF; 16]).as_str(),
            "FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF"
        );
    }
}
