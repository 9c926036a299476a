//! What must hold for the rows of PanDA's tasks.

use std::collections::{BTreeMap, BTreeSet};

use ailurus_model::{JobKind, JobStatus, TaskId};

use super::holds;
use crate::{
    ledger::{Generation, JobRecord, Ledger, PandaTaskRows},
    memory::MemoryLedger,
};

/// Says whether a job has written its outputs, whatever became of it then: jobs whose outputs are
/// to be merged may end badly afterwards.
pub(super) fn has_outputs(ledger: &MemoryLedger, job: &JobRecord) -> bool {
    if matches!(job.status, JobStatus::Finished | JobStatus::Merging) {
        return true;
    }
    let may_have = job.serial > 0 && matches!(job.kind, JobKind::Run | JobKind::Scout);
    let attempt = ledger.attempt(job.panda_id, job.attempt_nr);
    may_have && matches!(attempt, Ok(Some(attempt)) if attempt.status == JobStatus::Finished)
}

/// T1: no two jobs of a task of PanDA are the same part of its work, or write the same names.
pub fn jobs_are_different_parts(ledger: &MemoryLedger) -> Result<(), String> {
    let mut parts = BTreeSet::new();
    let mut serials = BTreeSet::new();
    for job in ledger.jobs().filter(|job| job.serial > 0) {
        let is_consumer = job.kind == JobKind::Consumer;
        let kind = if job.kind == JobKind::Scout || is_consumer {
            JobKind::Run
        } else {
            job.kind
        };
        // Consumers do a part of the work together with its one job.
        let is_alone = is_consumer || parts.insert((job.task_id, kind, job.part));
        holds(is_alone, || {
            format!("part {} of task {} is in two jobs", job.part, job.task_id)
        })?;
        if kind != JobKind::Build {
            holds(serials.insert((job.task_id, kind, job.serial)), || {
                format!(
                    "serial {} of task {} is in two jobs",
                    job.serial, job.task_id
                )
            })?;
        }
    }
    Ok(())
}

/// T2: a task of PanDA that has ended has no live jobs and makes none, and its progress takes no
/// more files than there are.
pub fn ended_tasks_are_over(ledger: &MemoryLedger) -> Result<(), String> {
    let mut live: BTreeMap<TaskId, u64> = BTreeMap::new();
    for job in ledger.jobs().filter(|job| !job.status.is_terminal()) {
        *live.entry(job.task_id).or_default() += 1;
    }
    for progress in ledger.progresses() {
        let task = ledger
            .task(progress.id)
            .map_err(|error| error.to_string())?;
        let Some(task) = task else {
            return Err(format!("task {} has progress and no row", progress.id));
        };
        let n_live = live.get(&progress.id).copied().unwrap_or(0);
        let makes_jobs = progress.generation == Generation::Open;
        let is_over = task.status.is_terminal();
        holds(!is_over || (n_live == 0 && !makes_jobs), || {
            format!(
                "task {} is {} with {n_live} live jobs",
                task.id, task.status
            )
        })?;
        for input in progress.inputs.iter().filter(|input| input.stream == 0) {
            holds(input.n_taken <= input.parts.len(), || {
                format!(
                    "task {} takes more of `{}` than it has",
                    task.id, input.named
                )
            })?;
        }
        let found = ledger.panda_task(task.id, task.revision);
        holds(matches!(found, Ok(Some(_))), || {
            format!("task {} has no revision {}", task.id, task.revision)
        })?;
    }
    Ok(())
}
