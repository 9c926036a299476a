//! Tasks: what people submit, and from which the server makes jobs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    ByteCount, ChainName, Checksum, DatasetName, EndpointName, Guid, Lfn, QueueName, Scope,
    SourceLabel,
};

/// One task as submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// Its name, unique among the tasks of its user that have not ended.
    pub name: String,
    /// The chain that it was submitted with, if any.
    pub chain: Option<ChainName>,
    /// Who submitted it.
    pub user: String,
    /// Scope of its outputs and logs.
    pub scope: Scope,
    /// Production, analysis, test.
    pub source_label: SourceLabel,
    /// What kind of processing it is, for example `simulation`.
    pub processing_type: String,
    /// The payload script: a URL or a name.
    pub transformation: String,
    /// The payload's arguments, with placeholders (see `server-core`'s `template`).
    pub parameters: String,
    /// How it is cut into jobs.
    pub split: Split,
    /// Datasets that its jobs read. The first one is cut into jobs, the others go along with it.
    pub inputs: Vec<TaskInput>,
    /// Files that each job writes.
    pub outputs: Vec<TaskOutput>,
    /// What each job needs.
    pub resources: Resources,
    /// Larger runs earlier.
    pub priority: i64,
    /// How often a job is tried, at least 1.
    pub max_attempts: u32,
    /// Queues that may run it; empty means all.
    pub queues: Vec<QueueName>,
}

/// How a task is cut into jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Split {
    /// No input: `total` events, `per_job` in each job, the rest in the last.
    Events {
        /// Events altogether, at least 1.
        total: u64,
        /// Events in a job, at least 1.
        per_job: u64,
    },
    /// That many files of the first input in each job, released as the files appear.
    Files {
        /// Files in a job, at least 1.
        per_job: u32,
    },
    /// All files of the inputs in one job, once they all are there.
    AllFiles,
}

/// A dataset that a task reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskInput {
    /// The name by which `parameters` refers to it: `{input.NAME}`.
    pub name: String,
    /// The dataset.
    pub dataset: DatasetName,
}

/// A file that each job of a task writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskOutput {
    /// The name by which `parameters` refers to it: `{output.NAME}`.
    pub name: String,
    /// The dataset that the files belong to.
    pub dataset: DatasetName,
    /// The files' name, with placeholders that make it unique, for example `gen_{seed}.root`.
    pub lfn: String,
}

/// What each job of a task needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Cores, at least 1.
    pub cores: u32,
    /// Memory for the whole job; zero means not stated.
    pub memory: ByteCount,
    /// Scratch space; zero means not stated.
    pub disk: ByteCount,
    /// Wall time; zero means not stated.
    pub walltime: Duration,
}

/// A dataset whose files are listed by the submitter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedDataset {
    /// Its name.
    pub name: DatasetName,
    /// Its files, in order.
    pub files: Vec<ListedFile>,
}

/// One file of a listed dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedFile {
    /// Logical name.
    pub lfn: Lfn,
    /// Its scope.
    pub scope: Scope,
    /// Its globally unique id, if known.
    pub guid: Option<Guid>,
    /// Its size, if known.
    pub size: Option<ByteCount>,
    /// Its checksum, if known.
    pub checksum: Option<Checksum>,
    /// The endpoint that holds it.
    pub endpoint: EndpointName,
}

/// What one submission holds: datasets that exist already, and tasks in an order in which each
/// reads only what exists or what an earlier one writes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// Datasets that the submitter lists.
    pub datasets: Vec<ListedDataset>,
    /// Tasks.
    pub tasks: Vec<TaskSpec>,
}
