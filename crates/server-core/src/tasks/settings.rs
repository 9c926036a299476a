//! Settings of PanDA's tasks: time-outs, sizes of steps, and what the server adds to parameters.

use std::{collections::BTreeMap, time::Duration};

use ailurus_jedi::scouts::ScoutSettings;

use super::command::retry_limits::RetryLimits;

/// What stands for all labels.
const ALL_LABELS: &str = "*";

/// Settings of PanDA's tasks. The defaults are PanDA's where PanDA has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLimits {
    /// Virtual organisation of tasks that name none. Default `generic`.
    pub vo: String,
    /// Address below which the scripts that run what people send are served, for example
    /// `http://panda.example.org:25080`; empty for where a task's sandbox is, else for where its
    /// submitter reached the server.
    pub scripts_url: String,
    /// The compact name whose secrets pilots get with jobs in debug mode. Default `pilot secrets`.
    pub pilot_secrets_owner: String,
    /// Tasks that a person may have under way; zero for no limit. Default 0.
    pub active_per_user_max: u32,
    /// Jobs that one step makes at most. Default 1000.
    pub jobs_per_step: u32,
    /// Input files that one step looks at for a task at most. Default 5000.
    pub files_per_step: u32,
    /// Tasks that one round of steps serves at most. Default 50.
    pub tasks_per_round: u32,
    /// First jobs that measure what the others need, at most. Default 10.
    pub scouts_max: u32,
    /// What follows from what they measure.
    pub scouts: ScoutSettings,
    /// How often scouts are looked at before all have ended. Default 10 min.
    pub scouts_interval: Duration,
    /// How often a task that waits for something outside is looked at. Default 1 min.
    pub retry_interval: Duration,
    /// How long a task may wait before it is given up. Default 7 d.
    pub pending_timeout: Duration,
    /// How long a task may wait for a person's decision before it is ended. Default 48 h.
    pub exhausted_timeout: Duration,
    /// How long a task waits that is throttled for the first time; for the n-th time n² times as
    /// long. Default 2 h.
    pub throttled_timeout: Duration,
    /// Failed attempts of a job, in the mean over a task's jobs that have not ended, after which
    /// the task is throttled, and again after so many more. Zero is never. Default 5.
    pub throttled_attempts: u32,
    /// How long finished outputs wait for more before they are merged. Default 30 s.
    pub merge_interval: Duration,
    /// How long what a build job made is used for further jobs. Default 7 d.
    pub library_reuse: Duration,
    /// Groups of queues that share storage for which a task builds its library. Default 10.
    pub libraries_max: u32,
    /// Jobs that a group gets before the library is built for another one. Default 25.
    pub jobs_per_library: u32,
    /// How often an open dataset of the catalogue is listed again. Default 10 min.
    pub relist_interval: Duration,
    /// Limits of retries by label of tasks; `*` is all that are not named. Default none.
    pub retry_limits: BTreeMap<String, RetryLimits>,
}

impl TaskLimits {
    /// Returns the limits of retries of tasks with a label, if there are any.
    #[must_use]
    pub fn retry_limits_of(&self, label: &str) -> Option<&RetryLimits> {
        let limits = &self.retry_limits;
        limits.get(label).or_else(|| limits.get(ALL_LABELS))
    }
}

impl Default for TaskLimits {
    /// Source: PanDA server, `pandajedi/jediorder/` (loops and batches of its agents) and
    /// `pandajedi/jedidog/` (time-outs).
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        Self {
            vo: "generic".to_owned(),
            scripts_url: String::new(),
            pilot_secrets_owner: "pilot secrets".to_owned(),
            active_per_user_max: 0,
            jobs_per_step: 1000,
            files_per_step: 5000,
            tasks_per_round: 50,
            scouts_max: 10,
            scouts: ScoutSettings::default(),
            scouts_interval: Duration::from_secs(10 * MINUTE),
            retry_interval: Duration::from_secs(MINUTE),
            pending_timeout: Duration::from_secs(7 * 24 * HOUR),
            exhausted_timeout: Duration::from_secs(48 * HOUR),
            throttled_timeout: Duration::from_secs(2 * HOUR),
            throttled_attempts: 5,
            merge_interval: Duration::from_secs(30),
            library_reuse: Duration::from_secs(7 * 24 * HOUR),
            libraries_max: 10,
            jobs_per_library: 25,
            relist_interval: Duration::from_secs(10 * MINUTE),
            retry_limits: BTreeMap::new(),
        }
    }
}
