//! What can be wrong with a task file, in words that its author can act on.

use std::fmt;

/// A task file was refused. Nothing of it has been submitted.
///
/// Reads like `chain.toml:12: task[1] "simulation": memory: …`. Entries are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFileError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1, if the problem has a place.
    pub line: Option<usize>,
    /// Which entry and key, for example `task[1] "simulation": memory`; empty for the whole file.
    pub path: String,
    /// What is wrong there.
    pub problem: TaskFileProblem,
}

impl TaskFileError {
    /// Returns a word that programs can rely on.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.problem.code()
    }
}

impl fmt::Display for TaskFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for TaskFileError {}

/// One way in which a task file can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskFileProblem {
    /// The file is longer than any real one.
    #[error("it has {bytes} bytes, allowed are {allowed}")]
    FileTooLarge {
        /// Its length in bytes.
        bytes: usize,
        /// The longest that is read, in bytes.
        allowed: usize,
    },
    /// The text is not TOML.
    #[error("not TOML: {message}")]
    NotToml {
        /// What the TOML reader says.
        message: String,
    },
    /// There is neither a task nor a dataset.
    #[error("nothing to submit: write at least one `[[task]]` or `[[dataset]]`")]
    NothingToSubmit,
    /// A key that does not exist, perhaps misspelt.
    #[error("unknown key, allowed are {allowed}")]
    UnknownKey {
        /// The keys of this entry, joined by commas.
        allowed: String,
    },
    /// A key that must be there is not.
    #[error("missing, it must be {expected}")]
    MissingKey {
        /// What to write.
        expected: &'static str,
    },
    /// A value of another type than expected.
    #[error("`{value}` is a TOML {found}, it must be {expected}")]
    WrongType {
        /// The value as written.
        value: String,
        /// Its TOML type.
        found: &'static str,
        /// What to write instead.
        expected: &'static str,
    },
    /// A text that is no size, duration or checksum.
    #[error("{reason}")]
    UnreadableValue {
        /// What was written and what would be right.
        reason: String,
    },
    /// A value of the right type that is not allowed.
    #[error("`{value}` is not allowed: {allowed}")]
    BadValue {
        /// The value as written.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A task does not say how it is cut into jobs.
    #[error(
        "no way of cutting it into jobs: write `events` with `events_per_job`, `files_per_job`, or `all_files = true`"
    )]
    NoSplit,
    /// A task says more than once how it is cut into jobs.
    #[error("{keys} are different ways of cutting it into jobs: keep one")]
    SeveralSplits {
        /// The keys that contradict each other.
        keys: String,
    },
    /// A task is cut by files but reads none.
    #[error("`{split}` needs a `[[task.input]]` whose files are cut into jobs")]
    SplitNeedsInput {
        /// The key by which it is cut.
        split: &'static str,
    },
    /// A task is cut by events but reads files.
    #[error("`events` is for tasks without `[[task.input]]`: use `files_per_job` or `all_files`")]
    SplitTakesNoInput,
    /// Two entries have the same name.
    #[error("`{name}` is there twice, each {kind} needs its own name")]
    DuplicateName {
        /// What has the name.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Two outputs, or an output and a list of files, fill the same dataset.
    #[error("dataset `{dataset}` is filled by `{first}` already, give this output its own")]
    DatasetFilledTwice {
        /// The dataset.
        dataset: String,
        /// Who fills it first: a task's name or `[[dataset]]`.
        first: String,
    },
    /// A task reads what only itself or a later task writes.
    #[error("dataset `{dataset}` is written by task `{writer}`, which must come before this one")]
    ReadBeforeWritten {
        /// The dataset.
        dataset: String,
        /// The task that writes it.
        writer: String,
    },
    /// The parameters refer to an input or output that the task does not have.
    #[error("`{{{placeholder}}}` names nothing of this task, it has {allowed}")]
    UnknownPlaceholder {
        /// The placeholder without its braces.
        placeholder: String,
        /// The inputs and outputs that may be named.
        allowed: String,
    },
}

impl TaskFileProblem {
    /// Returns a word that programs can rely on.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::FileTooLarge { .. } => "file-too-large",
            Self::NotToml { .. } => "not-toml",
            Self::NothingToSubmit => "nothing-to-submit",
            Self::UnknownKey { .. } => "unknown-key",
            Self::MissingKey { .. } => "missing-key",
            Self::WrongType { .. } => "wrong-type",
            Self::UnreadableValue { .. } => "unreadable-value",
            Self::BadValue { .. } => "bad-value",
            Self::NoSplit => "no-split",
            Self::SeveralSplits { .. } => "several-splits",
            Self::SplitNeedsInput { .. } => "split-needs-input",
            Self::SplitTakesNoInput => "split-takes-no-input",
            Self::DuplicateName { .. } => "duplicate-name",
            Self::DatasetFilledTwice { .. } => "dataset-filled-twice",
            Self::ReadBeforeWritten { .. } => "read-before-written",
            Self::UnknownPlaceholder { .. } => "unknown-placeholder",
        }
    }
}
