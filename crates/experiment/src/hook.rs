//! Hooks: what a file cannot say, an executable says.
//!
//! A hook gets one [`HookRequest`] as JSON on standard input and answers with one [`HookAnswer`]
//! as JSON on standard output; no output at all means "nothing to change". It runs in the job's
//! directory with the payload's variables. One that fails, takes longer than its `timeout` or
//! answers anything else fails the job, unless it is `optional`.

use std::{collections::BTreeMap, fmt, time::Duration};

use ailurus_model::{Job, units::duration_text};
use serde::{Deserialize, Serialize};

/// Version of requests and answers. Members are only ever added to it.
pub const HOOK_VERSION: u32 = 1;
/// Largest answer that is read, in bytes.
pub const HOOK_ANSWER_MAX_BYTES: usize = 1 << 20;
/// Time that a hook has if its profile does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// When a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookPoint {
    /// The job's directory is made, and nothing else done. May refuse the job.
    BeforeJob,
    /// The payload is about to be started. May change its command and variables.
    PayloadCommand,
    /// The payload has ended. May name its error, its events, and its outputs.
    AfterPayload,
    /// The job is over and its directory about to be removed. Its answer changes nothing.
    AfterJob,
}

impl HookPoint {
    /// All points, in the order of a job's life.
    pub const ALL: [Self; 4] = [
        Self::BeforeJob,
        Self::PayloadCommand,
        Self::AfterPayload,
        Self::AfterJob,
    ];

    /// Returns the name in profiles and requests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeJob => "before-job",
            Self::PayloadCommand => "payload-command",
            Self::AfterPayload => "after-payload",
            Self::AfterJob => "after-job",
        }
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One hook of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookProfile {
    /// Program and arguments; no shell reads them. At least one word.
    pub command: Vec<String>,
    /// Time after which it is killed. Default 30 seconds.
    #[serde(default = "timeout_default", with = "duration_text")]
    pub timeout: Duration,
    /// Whether its failure is only noted. Default: it fails the job.
    #[serde(default)]
    pub optional: bool,
}

const fn timeout_default() -> Duration {
    TIMEOUT_DEFAULT
}

/// What a hook is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRequest {
    /// [`HOOK_VERSION`].
    pub version: u32,
    /// Which hook is asked.
    pub hook: HookPoint,
    /// The profile's name.
    pub profile: String,
    /// The queue.
    pub queue: String,
    /// The job.
    pub job: HookJob,
    /// The payload's command, word by word; empty before it is known.
    #[serde(default)]
    pub command: Vec<String>,
    /// The payload's variables, without those of the pilot.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The payload's exit code as a shell gives it; only once it has ended.
    #[serde(default)]
    pub exit_code: Option<i64>,
}

/// A job, as hooks see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookJob {
    /// The job's number.
    pub panda_id: u64,
    /// Its task.
    pub task_id: u64,
    /// Which try this is.
    pub attempt: u32,
    /// Script or program.
    pub transformation: String,
    /// Its arguments, as the server sent them.
    pub parameters: String,
    /// Software release, empty if none.
    pub release: String,
    /// Platform, empty if none.
    pub platform: String,
    /// Container image, empty if none.
    pub image: String,
    /// Cores that it may use.
    pub cores: u32,
    /// Names of its inputs.
    pub inputs: Vec<String>,
    /// Names of its outputs, without the log.
    pub outputs: Vec<String>,
}

impl HookJob {
    /// Takes from a job what hooks see.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        Self {
            panda_id: job.panda_id.value(),
            task_id: job.task_id.value(),
            attempt: job.attempt_nr.value(),
            transformation: job.transformation.clone(),
            parameters: job.parameters.clone(),
            release: job.release.clone(),
            platform: job.platform.clone(),
            image: job.container_image.clone(),
            cores: job.core_count,
            inputs: job.inputs.iter().map(|it| it.lfn.to_string()).collect(),
            outputs: job.outputs.iter().map(|it| it.lfn.to_string()).collect(),
        }
    }
}

/// What a hook may answer. What it leaves out stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HookAnswer {
    /// The job fails with this.
    pub error: Option<HookError>,
    /// `payload-command`: the command to start in place of the planned one, at least one word.
    pub command: Option<Vec<String>>,
    /// `payload-command`: variables to set besides the planned ones.
    pub environment: BTreeMap<String, String>,
    /// `after-payload`: events that were processed.
    pub n_events: Option<u64>,
    /// Said in the pilot's log.
    pub note: String,
}

/// Why a hook fails its job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookError {
    /// PanDA's code; one that the registry does not know becomes 1305.
    pub code: u32,
    /// What is wrong, for people.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_written_as_they_are_shown() {
        for point in HookPoint::ALL {
            let text = toml::Value::try_from(point).expect("text");
            assert_eq!(text.as_str(), Some(point.as_str()));
        }
    }

    #[test]
    fn an_answer_with_a_misspelt_member_is_refused() {
        assert!(toml::from_str::<HookAnswer>("n_events = 3").is_ok());
        assert!(toml::from_str::<HookAnswer>("nevents = 3").is_err());
        assert_eq!(toml::from_str(""), Ok(HookAnswer::default()));
    }
}
