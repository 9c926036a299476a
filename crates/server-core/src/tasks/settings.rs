//! Settings of PanDA's tasks: time-outs, sizes of steps, and what the server adds to parameters.

use std::time::Duration;

use ailurus_jedi::scouts::ScoutSettings;

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
    /// How long a throttled task waits before it goes on. Default 2 h.
    pub throttled_timeout: Duration,
    /// How long finished outputs wait for more before they are merged. Default 30 s.
    pub merge_interval: Duration,
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
            merge_interval: Duration::from_secs(30),
        }
    }
}
