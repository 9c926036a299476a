//! Why a submission is refused: each refusal names the field, its value and what is allowed.

use ailurus_model::{DatasetName, QueueName, TaskId};

use crate::{ledger::LedgerError, template::TemplateError};

/// A submission was refused. Nothing of it was taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// There is no task in it.
    #[error("the submission holds no task")]
    Empty,
    /// A value is not allowed.
    #[error("{field} is `{value}`: allowed is {allowed}")]
    BadValue {
        /// The field, with the task's or dataset's name.
        field: String,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// There is more of something than the server takes.
    #[error("{field} is {value}: at most {allowed} are taken")]
    TooMany {
        /// The field, with the task's or dataset's name.
        field: String,
        /// How much there is.
        value: u64,
        /// How much is taken.
        allowed: u64,
    },
    /// The user has a task of this name that has not ended, or the submission has two.
    #[error("user `{user}` has a task named `{name}` already{}", number_of(*task))]
    TaskExists {
        /// The user.
        user: String,
        /// The name.
        name: String,
        /// The other task, none if it is of the same submission.
        task: Option<TaskId>,
    },
    /// A dataset that is to be written or listed exists, or the submission has it twice.
    #[error("{field}: dataset `{dataset}` exists already")]
    DatasetExists {
        /// The field, with the task's name.
        field: String,
        /// The dataset.
        dataset: DatasetName,
    },
    /// A dataset that is to be read does not exist and no earlier task writes it.
    #[error("{field}: missing dataset `{dataset}`")]
    MissingDataset {
        /// The field, with the task's name.
        field: String,
        /// The dataset.
        dataset: DatasetName,
    },
    /// An input has neither as many parts as the first one nor just one.
    #[error("{field}: dataset `{dataset}` has {parts} parts: allowed are {allowed} or 1")]
    UnpairedInput {
        /// The field, with the task's name.
        field: String,
        /// The dataset.
        dataset: DatasetName,
        /// Its parts.
        parts: u32,
        /// Parts of the first input.
        allowed: u32,
    },
    /// A text has a placeholder that cannot be filled in.
    #[error("{field}: {problem}")]
    BadTemplate {
        /// The field, with the task's name.
        field: String,
        /// What is wrong.
        problem: TemplateError,
    },
    /// Two attempts or two outputs would write files of the same name.
    #[error("{field}: names made from `{lfn}` are not unique")]
    LfnNotUnique {
        /// The field, with the task's name.
        field: String,
        /// The template.
        lfn: String,
    },
    /// The task names a queue that does not exist.
    #[error("{field}: queue `{queue}` is not known: allowed are {allowed}")]
    UnknownQueue {
        /// The field, with the task's name.
        field: String,
        /// The queue.
        queue: QueueName,
        /// The queues there are, joined by commas.
        allowed: String,
    },
    /// The rows are out of reach.
    #[error("the submission cannot be written down")]
    Ledger(#[from] LedgerError),
}

impl SubmitError {
    /// Returns a word that programs can rely on.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty-submission",
            Self::BadValue { .. } => "bad-value",
            Self::TooMany { .. } => "too-many",
            Self::TaskExists { .. } => "task-exists",
            Self::DatasetExists { .. } => "dataset-exists",
            Self::MissingDataset { .. } => "missing-dataset",
            Self::UnpairedInput { .. } => "unpaired-input",
            Self::BadTemplate { .. } => "bad-template",
            Self::LfnNotUnique { .. } => "lfn-not-unique",
            Self::UnknownQueue { .. } => "unknown-queue",
            Self::Ledger(_) => "ledger-failed",
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Empty => "describe at least one task",
            Self::BadValue { .. } => "change the value and submit again; nothing was taken",
            Self::TooMany { .. } => {
                "split the work into several tasks, or raise the server's limit"
            }
            Self::TaskExists { .. } => {
                "choose another name, or wait until the other task has ended, or kill it"
            }
            Self::DatasetExists { .. } => "choose another dataset name: datasets are written once",
            Self::MissingDataset { .. } => {
                "list the dataset's files in the submission, or put the task that writes it first"
            }
            Self::UnpairedInput { .. } => {
                "further inputs go along with the first one part by part, or have one part for all"
            }
            Self::BadTemplate { .. } => "use one of the placeholders that are named",
            Self::LfnNotUnique { .. } => {
                "add `{seed}`, or `{part}` and `{attempt}`, so that no attempt overwrites another, \
                 and give each output its own text"
            }
            Self::UnknownQueue { .. } => "name queues that the server knows, or none for all",
            Self::Ledger(_) => "submit again later; the server's log tells more",
        }
    }
}

fn number_of(task: Option<TaskId>) -> String {
    task.map_or_else(
        || " in this submission".to_owned(),
        |id| format!(": task {id}"),
    )
}
