//! The rows of PanDA's tasks beside those that all tasks have: how a task is understood, and how
//! far it has come.
//!
//! A [`PandaTaskRecord`] never changes; new parameters make a new revision. A [`TaskProgress`]
//! changes with every step. How many files of a task are done is in neither: it follows from the
//! jobs and what they read ([`PandaTaskRows::input_counts`]).

use std::{collections::BTreeMap, sync::Arc};

use ailurus_jedi::{RefinedTask, TaskParams};
use ailurus_model::{DatasetName, JobKind, JobStatus, TaskId, TaskSpec, TaskStatus, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ledger::{Chore, FileRecord, LedgerError, LibraryBuild};

/// How a task of PanDA is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PandaTaskRecord {
    /// The task.
    pub id: TaskId,
    /// Which version of its parameters this is, from 1.
    pub revision: u32,
    /// The parameters as they were sent.
    pub params: TaskParams,
    /// What they mean; none if they could not be understood.
    pub refined: Option<RefinedTask>,
}

/// What the first few jobs of a task are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ScoutPhase {
    /// There are none: all jobs are alike.
    #[default]
    None,
    /// They are still to be made.
    Wanted,
    /// They are made; the others wait for what they measure.
    Made,
    /// They have measured.
    Over,
}

/// Whether more jobs of a task will be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Generation {
    /// Yes.
    #[default]
    Open,
    /// All are made.
    Complete,
    /// Some are not, because a person ended the task before.
    Stopped,
}

/// Whether more files of a dataset will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum InputState {
    /// It is not known which files it has.
    #[default]
    Unlisted,
    /// Those that are listed exist or are expected, and more may come.
    Open,
    /// Those that are listed are all.
    Closed,
}

/// Parts of a dataset in the order of their use, kept as runs of neighbours.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartList(Vec<(u32, u32)>);

impl PartList {
    /// Makes the list of the first `n` parts.
    #[must_use]
    pub fn first(n: u32) -> Self {
        Self(if n == 0 { Vec::new() } else { vec![(0, n)] })
    }

    /// Adds a part at the end.
    pub fn push(&mut self, part: u32) {
        match self.0.last_mut() {
            Some((first, n)) if first.checked_add(*n) == Some(part) => *n += 1,
            Some(_) | None => self.0.push((part, 1)),
        }
    }

    /// Returns how many parts it has.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.0
            .iter()
            .fold(0, |sum: u32, (_, n)| sum.saturating_add(*n))
    }

    /// Says whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lists the parts from the `skip`-th on.
    pub fn iter_from(&self, skip: u32) -> impl Iterator<Item = u32> + '_ {
        let mut left = skip;
        self.0.iter().flat_map(move |(first, n)| {
            let skipped = left.min(*n);
            left -= skipped;
            first.saturating_add(skipped)..first.saturating_add(*n)
        })
    }

    /// Keeps the first `n` parts.
    pub fn truncate(&mut self, n: u32) {
        let mut left = n;
        self.0.retain_mut(|(_, run)| {
            *run = (*run).min(left);
            left -= *run;
            *run > 0
        });
    }
}

/// What the catalogue of files said about a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CatalogueView {
    /// All that it has to say, or nothing.
    #[default]
    Settled,
    /// That more files may come, at this time.
    Open(Timestamp),
    /// It is to be asked again before the dataset is used further.
    Stale,
}

/// One dataset that a task reads, and how much of it is in jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InputProgress {
    /// Which stream of the task it belongs to, from 0.
    pub stream: u32,
    /// The dataset as the task names it.
    pub named: String,
    /// The dataset whose parts are read; empty for a stream that is not made of files.
    pub dataset: DatasetName,
    /// Whether more files will come.
    pub state: InputState,
    /// Its files that are used, or the numbers that stand for them.
    pub parts: PartList,
    /// How many parts of the dataset were looked at.
    pub n_looked_at: u32,
    /// How many of `parts` are in jobs.
    pub n_taken: u32,
    /// Events of the first part that is not taken which are in jobs already.
    pub events_taken: u64,
    /// Files that were done when the task ended.
    pub n_finished: u32,
    /// Files that had failed when the task ended.
    pub n_failed: u32,
    /// What the catalogue said about the dataset.
    #[serde(default)]
    pub catalogue: CatalogueView,
}

/// What a person wants of a task, until it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOrder {
    /// PanDA's word, for example `finish`.
    pub command: String,
    /// What was added to it, for example `soft`.
    pub comment: String,
    /// Who wants it.
    pub who: String,
    /// The last job that it was done for; those before it are done as well.
    pub after: u64,
}

/// How far a task of PanDA has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskProgress {
    /// The task.
    #[serde(skip)]
    pub id: TaskId,
    /// The task that comes before it in a chain, if any.
    #[serde(skip)]
    pub parent: Option<TaskId>,
    /// When the next step is to be done, none if something else must happen first.
    #[serde(skip)]
    pub due: Option<Timestamp>,
    /// When something changed last.
    #[serde(skip)]
    pub modified: Timestamp,
    /// Where its submitter reached the server, empty if that is not known.
    pub origin: String,
    /// How often it was started, from 1.
    pub attempt_nr: u32,
    /// The priority of its next jobs (`currentPriority`).
    pub priority: i64,
    /// Why it waits or how it ended, for people (`errorDialog`).
    pub message: String,
    /// What it goes back to when it need not wait any more (`oldStatus`).
    pub resume_to: Option<TaskStatus>,
    /// Since when it waits (`frozenTime`).
    pub frozen: Option<Timestamp>,
    /// When its first job was made.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The first few jobs.
    pub scouts: ScoutPhase,
    /// Whether more jobs will be made.
    pub generation: Generation,
    /// What it reads, by stream, then as named.
    pub inputs: Vec<InputProgress>,
    /// The part that the next job is.
    pub next_part: u32,
    /// The serial number that the next attempt gets.
    pub next_serial: u32,
    /// Build jobs that were made.
    pub n_builds: u32,
    /// Merge jobs that were made.
    pub n_merges: u32,
    /// The serial number that the next attempt of a merge job gets.
    pub next_merge_serial: u32,
    /// What a person wants of it, until that is done.
    pub order: Option<TaskOrder>,
    /// Files of its first stream whose jobs got more memory than it asks for after a failure, by
    /// that memory in MB.
    #[serde(default)]
    pub raised: BTreeMap<u64, u64>,
    /// What is to be done about its jobs, in this order.
    #[serde(default)]
    pub chores: Vec<Chore>,
    /// Its build jobs, those that make libraries for the same queues in the order of their making.
    #[serde(default)]
    pub builds: Vec<LibraryBuild>,
    /// How often it was throttled (`numThrottled`).
    #[serde(default)]
    pub n_throttled: u32,
}

/// How many files of a stream are read by jobs of a status.
pub type InputCounts = BTreeMap<(u32, JobStatus), u64>;

/// How many jobs there are of a kind and status.
pub type KindCounts = BTreeMap<(JobKind, JobStatus), u64>;

/// Keeps the rows of PanDA's tasks.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait PandaTaskRows {
    /// Reads a revision of a task.
    fn panda_task(
        &self,
        id: TaskId,
        revision: u32,
    ) -> Result<Option<Arc<PandaTaskRecord>>, LedgerError>;
    /// Writes a new revision of a task, and what all tasks have in common as it is now.
    fn put_panda_task(
        &mut self,
        task: &PandaTaskRecord,
        spec: &Arc<TaskSpec>,
    ) -> Result<(), LedgerError>;
    /// Reads how far a task has come.
    fn task_progress(&self, id: TaskId) -> Result<Option<TaskProgress>, LedgerError>;
    /// Writes how far a task has come.
    fn put_task_progress(&mut self, progress: &TaskProgress) -> Result<(), LedgerError>;
    /// Lists tasks with a step that is due, longest first, then by rising number, `limit` at most.
    fn tasks_due(&self, now: Timestamp, limit: usize) -> Result<Vec<TaskId>, LedgerError>;
    /// Lists the tasks that come after one, by rising number.
    fn tasks_after(&self, parent: TaskId) -> Result<Vec<TaskId>, LedgerError>;
    /// Finds the newest task of this name, of one user or of any.
    fn newest_task_named(
        &self,
        user: Option<&str>,
        name: &str,
    ) -> Result<Option<TaskId>, LedgerError>;
    /// Lists a user's tasks of one of these statuses, by rising number.
    fn tasks_of_user(
        &self,
        user: &str,
        statuses: &[TaskStatus],
    ) -> Result<Vec<TaskId>, LedgerError>;
    /// Lists tasks of PanDA that changed since a time, those first that changed last, then by
    /// falling number, `limit` at most.
    fn tasks_changed_since(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<TaskId>, LedgerError>;
    /// Notes that a dataset belongs to a container.
    fn add_to_container(
        &mut self,
        container: &DatasetName,
        dataset: &DatasetName,
    ) -> Result<(), LedgerError>;
    /// Lists the datasets of a container, by the number of the task that writes them, then name.
    fn datasets_of(&self, container: &DatasetName) -> Result<Vec<DatasetName>, LedgerError>;
    /// Lists registered files of a dataset from a part on, by part, `limit` at most.
    fn files_from(
        &self,
        dataset: &DatasetName,
        first: u32,
        limit: usize,
    ) -> Result<Vec<FileRecord>, LedgerError>;
    /// Counts what the jobs of a task read that do its work (runs and scouts), by stream and the
    /// job's status.
    fn input_counts(&self, task: TaskId) -> Result<InputCounts, LedgerError>;
    /// Counts the jobs of a task by kind and status.
    fn kind_counts(&self, task: TaskId) -> Result<KindCounts, LedgerError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_listed_in_the_order_in_which_they_were_added() {
        let mut parts = PartList::default();
        for part in [0, 1, 2, 5, 6, 3] {
            parts.push(part);
        }
        assert_eq!(parts.len(), 6);
        assert_eq!(parts.iter_from(0).collect::<Vec<_>>(), [0, 1, 2, 5, 6, 3]);
        assert_eq!(parts.iter_from(2).collect::<Vec<_>>(), [2, 5, 6, 3]);
        assert_eq!(parts.iter_from(5).collect::<Vec<_>>(), [3]);
        assert_eq!(parts.iter_from(9).count(), 0);
        parts.truncate(4);
        assert_eq!(parts.iter_from(0).collect::<Vec<_>>(), [0, 1, 2, 5]);
        assert_eq!(PartList::first(3).iter_from(1).collect::<Vec<_>>(), [1, 2]);
    }
}
