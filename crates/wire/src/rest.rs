//! Ailurus' own JSON API for people's tools, below `/ailurus/v1`.
//!
//! The command line and the web pages use only this; there is no private door. Times are text in
//! UTC (`2026-01-31 23:59:59`), durations seconds, sizes bytes.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /ailurus/v1/tasks` | [`ailurus_model::task::Submission`] | [`SubmitAnswer`] |
//! | `GET /ailurus/v1/tasks?chain=NAME` | | list of [`TaskView`] |
//! | `GET /ailurus/v1/tasks/ID` | | [`TaskView`] |
//! | `POST /ailurus/v1/panda-tasks` | a map of PanDA's task parameters | [`SubmitAnswer`] |
//! | `POST /ailurus/v1/tasks/ID/kill` and `…/retry` | | [`ActionAnswer`] |
//! | `POST /ailurus/v1/tasks/ID/pause`, `…/resume` and `…/finish`, for PanDA's tasks | | [`ActionAnswer`] |
//! | `GET /ailurus/v1/jobs?task=ID&status=S&limit=N` | | list of [`JobView`], newest last |
//! | `GET /ailurus/v1/jobs?failed_attempts=true` | | the jobs with failed attempts, with all attempts |
//! | `GET /ailurus/v1/jobs/ID` | | [`JobView`] with attempts |
//! | `POST /ailurus/v1/jobs/ID/kill` | | [`ActionAnswer`] |
//! | `GET /ailurus/v1/jobs/ID/explain` and `…/tasks/ID/explain` | | [`ExplanationView`] |
//! | `GET /ailurus/v1/shares` | | list of [`ShareView`], the tree depth first |
//! | `GET /ailurus/v1/queues` and `…/queues/NAME` | | [`QueueView`] |
//! | `GET /ailurus/v1/datasets/NAME` | | [`DatasetView`] |
//!
//! An error is answered with a fitting HTTP status and an [`ErrorBody`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A refused or failed request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A word that programs can rely on, for example `unknown-dataset`.
    pub code: String,
    /// What is wrong, with the thing's name and value.
    pub message: String,
    /// What to do about it, empty if nothing can be said.
    pub help: String,
}

/// What a submission became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitAnswer {
    /// Number and name of each new task, in the order of the submission.
    pub tasks: Vec<SubmittedTask>,
}

/// One new task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmittedTask {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// How many jobs it was cut into; 0 for a task of PanDA, whose jobs are made later.
    pub jobs: u32,
}

/// What a kill or retry did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionAnswer {
    /// How many jobs it touched.
    pub jobs: u64,
    /// What happened, for people.
    pub message: String,
}

/// A task with its counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its chain, empty if it has none.
    pub chain: String,
    /// Who submitted it.
    pub user: String,
    /// PanDA's word for what it is.
    pub status: String,
    /// Larger runs earlier.
    pub priority: i64,
    /// Jobs by status; statuses without jobs are left out.
    pub jobs: BTreeMap<String, u64>,
    /// All of its jobs.
    pub jobs_total: u64,
    /// Attempts that ended without success, also where the job then finished.
    pub failed_attempts: u64,
    /// When it was submitted.
    pub created: String,
    /// When its status changed last.
    pub state_changed: String,
    /// Datasets that it reads.
    pub inputs: Vec<String>,
    /// Datasets that it writes.
    pub outputs: Vec<String>,
}

/// A job with its attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// Its number.
    pub panda_id: u64,
    /// Its task.
    pub task_id: u64,
    /// The task's name.
    pub task_name: String,
    /// Which part of the task it is, from 0.
    pub part: u32,
    /// PanDA's word for what it is.
    pub status: String,
    /// The current attempt.
    pub attempt_nr: u32,
    /// How many attempts it may have.
    pub max_attempts: u32,
    /// The queue that brokerage chose, empty before.
    pub queue: String,
    /// Why it ended without success, or why it waits.
    pub reason: String,
    /// When it was made.
    pub created: String,
    /// When its status changed last.
    pub state_changed: String,
    /// Its attempts, oldest first. Empty in lists unless a failed attempt is to be explained.
    pub attempts: Vec<AttemptView>,
    /// Every change of its status, oldest first. Empty in lists.
    #[serde(default)]
    pub history: Vec<ChangeView>,
    /// The latest of what its payload says, where the pilot sends it (debug mode). Empty in lists.
    #[serde(default)]
    pub output: String,
}

/// Why a job or task waits, runs or ended, and what would change that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplanationView {
    /// One sentence without a full stop.
    pub sentence: String,
    /// The queue where it runs or would run, empty if there is none.
    pub would_run: String,
    /// What would change that, the best first.
    pub changes: Vec<String>,
    /// What was found about each queue, the best first.
    pub queues: Vec<QueueFindingView>,
}

/// What brokerage found about one queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueFindingView {
    /// The queue.
    pub queue: String,
    /// Its site.
    pub site: String,
    /// Its weight, none if it cannot have the job.
    pub weight: Option<f64>,
    /// The filter that dropped it, empty if none did.
    pub filter: String,
    /// The reason; it continues a sentence that begins with the queue's name.
    pub reason: String,
    /// Jobs that wait there.
    pub waiting: u64,
    /// Jobs that pilots have there.
    pub running: u64,
}

/// A node of the tree of global shares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareView {
    /// Its name.
    pub name: String,
    /// How deep it lies, from 0.
    pub depth: usize,
    /// Whether jobs count for it.
    pub is_leaf: bool,
    /// Percent of everything that is pledged to it.
    pub pledged_percent: f64,
    /// Power of what runs for it, in HS06.
    pub executing_hs06: f64,
    /// Power of what waits for it, in HS06.
    pub queued_hs06: f64,
}

/// One change of a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeView {
    /// Its number in the history of all jobs and tasks.
    pub id: u64,
    /// When.
    pub time: String,
    /// The attempt that is current after the change, zero for a task.
    pub attempt_nr: u32,
    /// What it was, empty when it was made.
    pub old: String,
    /// What it became.
    pub new: String,
    /// The job's queue, empty if it has none.
    pub queue: String,
    /// Why, empty where the new status says it all.
    pub reason: String,
}

/// One attempt of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Which attempt, from 1.
    pub attempt_nr: u32,
    /// How it ended, or what it is.
    pub status: String,
    /// The queue from which it was taken.
    pub queue: String,
    /// The node on which it ran.
    pub node: String,
    /// The seed that it got.
    pub seed: u64,
    /// When it was given to a pilot.
    pub sent: String,
    /// When the payload started, empty if never.
    pub started: String,
    /// When it ended, empty if not yet.
    pub ended: String,
    /// Exit code of the payload, if it ended.
    pub payload_exit_code: Option<i64>,
    /// CPU seconds, if reported.
    pub cpu_secs: Option<u64>,
    /// Largest resident memory in bytes, if reported.
    pub rss_max: Option<u64>,
    /// Why it failed, if it did.
    pub diagnosis: Option<DiagnosisView>,
    /// Where its log archive lies, empty if nowhere.
    pub log_surl: String,
    /// Extract of the pilot's log.
    pub pilot_log: String,
    /// What else the pilot said, by the names of PanDA's columns.
    #[serde(default)]
    pub report: BTreeMap<String, serde_json::Value>,
}

/// Why an attempt failed and what helps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosisView {
    /// PanDA's error code, or the server's.
    pub code: i64,
    /// The entry of the error catalogue, for example `root-file-truncated`.
    pub entry: String,
    /// Who can do something about it.
    pub blame: String,
    /// The cause in one sentence.
    pub cause: String,
    /// The remedy in one sentence.
    pub remedy: String,
    /// The error text as it was reported.
    pub text: String,
    /// What the payload itself said, for example the line of its output in which the error was
    /// found; empty if nothing is known.
    #[serde(default)]
    pub payload_text: String,
}

/// A queue with its counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// `online`, `brokeroff`, `test`, `paused`, `offline`.
    pub status: String,
    /// Cores of one slot.
    pub cores: u32,
    /// Memory of one slot in bytes, zero for no limit.
    pub memory: u64,
    /// Jobs that have not ended, by status.
    pub jobs: BTreeMap<String, u64>,
    /// Workers that have not ended, by status.
    pub workers: BTreeMap<String, u64>,
    /// Endpoint to which its jobs write, empty if none.
    pub output_endpoint: String,
}

/// A dataset and its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetView {
    /// Its name.
    pub name: String,
    /// Parts that exist or are expected.
    pub parts: u32,
    /// Files that exist, by part.
    pub files: Vec<FileView>,
}

/// One file of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
    /// Logical name.
    pub lfn: String,
    /// Which part of the dataset it is.
    pub part: u32,
    /// Size in bytes, if known.
    pub size: Option<u64>,
    /// Checksum, if known.
    pub checksum: Option<String>,
    /// Its full URL.
    pub surl: String,
    /// The endpoint that holds it.
    pub endpoint: String,
}
