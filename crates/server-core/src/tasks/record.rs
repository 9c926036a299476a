//! A task of PanDA with all of its rows in hand, and the moves that they make together.

use std::{sync::Arc, time::Duration};

use ailurus_jedi::{OutputKind, RefinedTask};
use ailurus_model::{
    ByteCount, DatasetName, Scope, SourceLabel, TaskId, TaskSpec, TaskStatus,
    task::{Resources, Split, TaskInput, TaskOutput},
};

use crate::{
    ledger::{Ledger, LedgerError, PandaTaskRecord, TaskProgress, TaskRecord},
    operation::Operation,
    text::{DIAG_CHARS_MAX, clipped},
};

/// How many datasets of one stream have numbers of their own among a job's needs.
pub(super) const DATASETS_PER_STREAM: u32 = 10_000;
/// The number of the need for what a build job made.
pub(super) const LIBRARY_INPUT: u32 = 1_000_000_000;

/// Returns which stream of input a need belongs to; none for what a build job made.
pub(crate) const fn stream_of(input: u32) -> Option<u32> {
    match input {
        LIBRARY_INPUT => None,
        _ => Some(input / DATASETS_PER_STREAM),
    }
}

/// A task of PanDA with all of its rows.
#[derive(Debug, Clone)]
pub(crate) struct PandaTask {
    pub(crate) record: TaskRecord,
    pub(crate) definition: Arc<PandaTaskRecord>,
    pub(crate) progress: TaskProgress,
}

impl PandaTask {
    pub(crate) const fn id(&self) -> TaskId {
        self.record.id
    }

    pub(crate) const fn status(&self) -> TaskStatus {
        self.record.status
    }

    /// What its parameters mean; a task without that is broken and never gets here.
    pub(crate) fn refined(&self) -> Result<&RefinedTask, LedgerError> {
        self.definition.refined.as_ref().ok_or_else(|| {
            LedgerError::contradiction(format!(
                "task {} is {}, but its parameters were not understood",
                self.record.id, self.record.status
            ))
        })
    }
}

impl<L: Ledger> Operation<'_, L> {
    /// Reads how a task of PanDA is understood, once a call; none for a task of another kind.
    pub(crate) fn panda_task(
        &mut self,
        id: TaskId,
    ) -> Result<Option<Arc<PandaTaskRecord>>, LedgerError> {
        if let Some(known) = self.panda_tasks.get(&id) {
            return Ok(known.clone());
        }
        let revision = self.task(id)?.revision;
        let found = if revision == 0 {
            None
        } else {
            Some(self.definition_of(id, revision)?)
        };
        self.panda_tasks.insert(id, found.clone());
        Ok(found)
    }

    fn definition_of(
        &self,
        id: TaskId,
        revision: u32,
    ) -> Result<Arc<PandaTaskRecord>, LedgerError> {
        self.ledger.panda_task(id, revision)?.ok_or_else(|| {
            LedgerError::contradiction(format!(
                "task {id} is at revision {revision}, which is not there"
            ))
        })
    }

    /// Reads all rows of a task of PanDA; none if there is no such task, or it is of another kind.
    pub(super) fn load_task(&self, id: TaskId) -> Result<Option<PandaTask>, LedgerError> {
        let Some(record) = self.ledger.task(id)? else {
            return Ok(None);
        };
        if record.revision == 0 {
            return Ok(None);
        }
        let definition = self.definition_of(id, record.revision)?;
        let progress = self.ledger.task_progress(id)?.ok_or_else(|| {
            LedgerError::contradiction(format!("task {id} is there, but not how far it has come"))
        })?;
        Ok(Some(PandaTask {
            record,
            definition,
            progress,
        }))
    }

    /// Writes what may have changed of a task.
    pub(super) fn save_task(&mut self, task: &mut PandaTask) -> Result<(), LedgerError> {
        task.progress.modified = self.ctx.now;
        self.ledger.put_task(&task.record)?;
        self.ledger.put_task_progress(&task.progress)
    }

    /// Moves a task to a status; `why` is what people are shown.
    pub(super) fn move_task(
        &mut self,
        task: &mut PandaTask,
        status: TaskStatus,
        why: &str,
    ) -> Result<(), LedgerError> {
        task.progress.message = clipped(why, DIAG_CHARS_MAX);
        if status != TaskStatus::Pending {
            task.progress.frozen = None;
            task.progress.resume_to = None;
        }
        self.set_task_status(&mut task.record, status, why)
    }

    /// Has a task wait for something outside, and look again later.
    pub(super) fn have_task_wait(
        &mut self,
        task: &mut PandaTask,
        why: &str,
    ) -> Result<(), LedgerError> {
        if task.status() != TaskStatus::Pending {
            let before = task.status();
            self.move_task(task, TaskStatus::Pending, why)?;
            task.progress.resume_to = Some(before);
            task.progress.frozen = Some(self.ctx.now);
        }
        task.progress.message = clipped(why, DIAG_CHARS_MAX);
        task.progress.due = Some(self.ctx.now.after(self.ctx.limits.tasks.retry_interval));
        Ok(())
    }

    /// Has the next step of a task done as soon as possible.
    pub(crate) fn wake_task(&mut self, id: TaskId) -> Result<(), LedgerError> {
        let Some(mut progress) = self.ledger.task_progress(id)? else {
            return Ok(());
        };
        if progress.due.is_some_and(|due| due <= self.ctx.now) {
            return Ok(());
        }
        progress.due = Some(self.ctx.now);
        self.ledger.put_task_progress(&progress)
    }
}

/// Returns the name of a dataset without its scope and without the mark of a container.
pub(super) fn plain_name(name: &str) -> &str {
    let name = name.trim_end_matches('/');
    name.rsplit(':').next().unwrap_or(name)
}

/// Returns the dataset that a task writes for a name of its parameters: other tasks that name the
/// same one write others, which belong to one container.
pub(super) fn written_dataset(name: &str, task: TaskId) -> DatasetName {
    DatasetName::new(format!("{}.{task}", plain_name(name)))
}

/// Returns what a task of PanDA has in common with all others.
pub(super) fn spec_of(id: TaskId, task: &RefinedTask) -> TaskSpec {
    let needs = &task.resources;
    let cores = needs.cores.max(1);
    let memory = if needs.ram_unit.is_per_core() {
        needs.base_ram_mb + needs.ram_mb.saturating_mul(u64::from(cores))
    } else {
        needs.ram_mb
    };
    TaskSpec {
        name: task.name.clone(),
        chain: None,
        user: task.user.clone(),
        scope: Scope::new(ailurus_jedi::names::scope_of(&task.name)),
        source_label: SourceLabel::new(task.label.clone()),
        processing_type: task.processing_type.clone(),
        transformation: task.payload.transformation.clone(),
        parameters: task.payload.command.clone(),
        split: split_of(task),
        inputs: task.inputs.iter().flat_map(inputs_of).collect(),
        outputs: task
            .outputs
            .iter()
            .filter(|output| output.kind == OutputKind::Output)
            .map(|output| TaskOutput {
                name: output.stream.clone(),
                dataset: written_dataset(&output.dataset, id),
                lfn: output.lfn_template.clone(),
            })
            .collect(),
        resources: Resources {
            cores,
            memory: ByteCount::from_mib(memory),
            disk: ByteCount::ZERO,
            walltime: Duration::ZERO,
        },
        priority: task.current_priority,
        max_attempts: task.attempts.per_file,
        // Its wishes are patterns, see `broker::Wishes`.
        queues: Vec::new(),
    }
}

/// How it is cut, for people: the real cuts follow PanDA's rules.
fn split_of(task: &RefinedTask) -> Split {
    if task.master().is_some_and(|master| is_of_files(master.kind)) {
        let files = task.rules.files_per_job().unwrap_or(1);
        return Split::Files {
            per_job: u32::try_from(files).unwrap_or(u32::MAX),
        };
    }
    Split::Events {
        total: task.amount.events.or(task.amount.files).unwrap_or(1).max(1),
        per_job: task.rules.events_per_job().unwrap_or(1).max(1),
    }
}

pub(super) const fn is_of_files(kind: ailurus_jedi::InputKind) -> bool {
    match kind {
        ailurus_jedi::InputKind::Dataset => true,
        ailurus_jedi::InputKind::Pseudo
        | ailurus_jedi::InputKind::Sequence
        | ailurus_jedi::InputKind::RandomSeed
        | ailurus_jedi::InputKind::PhysicalNames => false,
    }
}

fn inputs_of(stream: &ailurus_jedi::InputStream) -> Vec<TaskInput> {
    if !is_of_files(stream.kind) {
        return Vec::new();
    }
    let name = stream.stream.clone().unwrap_or_default();
    let datasets = stream.datasets.iter();
    datasets
        .map(|dataset| TaskInput {
            name: name.clone(),
            dataset: DatasetName::new(plain_name(dataset)),
        })
        .collect()
}
