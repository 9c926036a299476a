//! Moves jobs that ended long ago to the archive, drops them from there when they are older still,
//! and shortens the history of statuses.
//!
//! Each call is one step of bounded size. A step that is lost is done again by the next pass:
//! what it would have moved is still where it was.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{PandaId, TaskId};

use crate::{
    Context,
    ledger::{EndedPlace, EndedTask, Ledger, LedgerError},
};

/// How long what has ended stays where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveRules {
    /// How long ago a job must have ended to go to the archive; none to leave all where they are.
    pub after: Option<Duration>,
    /// How long ago a task must have ended for its archived jobs to be dropped; none to keep them
    /// for ever.
    pub drop_after: Option<Duration>,
    /// How long changes of statuses stay in the history; none for ever.
    pub history_keep: Option<Duration>,
    /// How long they stay although some cursor has not passed them, because whoever holds it may be
    /// gone for good; none for ever.
    pub unread_keep: Option<Duration>,
    /// Jobs, tasks, or rows of the history, that one step looks at.
    pub batch: usize,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveStep {
    /// Jobs that were moved.
    pub archived: u64,
    /// Where the next step goes on; none if all jobs were looked at.
    pub next: Option<EndedPlace>,
}

/// Moves jobs to the archive that ended longer ago than `rules.after`, and whose tasks have ended.
///
/// A job with an input that may still come stays, because it is told when it does. Call it first
/// with [`EndedPlace::START`], then with what the last step returned.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn archive_jobs(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    rules: &ArchiveRules,
    from: EndedPlace,
) -> Result<ArchiveStep, LedgerError> {
    let Some(age) = rules.after else {
        return Ok(ArchiveStep {
            archived: 0,
            next: None,
        });
    };
    let ended = ledger.ended_before(ctx.now.before(age), from, rules.batch)?;
    let mut is_over: BTreeMap<TaskId, bool> = BTreeMap::new();
    let mut old: Vec<PandaId> = Vec::new();
    for job in &ended {
        let is_over = match is_over.get(&job.task_id) {
            Some(known) => *known,
            None => {
                let task = ledger.task(job.task_id)?;
                let ended = task.is_none_or(|task| task.status.is_terminal());
                is_over.insert(job.task_id, ended);
                ended
            }
        };
        if is_over && !ledger.has_expected_needs(job.place.panda_id)? {
            old.push(job.place.panda_id);
        }
    }
    ledger.archive_jobs(&old)?;
    let is_full = ended.len() >= rules.batch;
    Ok(ArchiveStep {
        archived: u64::try_from(old.len()).unwrap_or(u64::MAX),
        next: ended.last().map(|job| job.place).filter(|_| is_full),
    })
}

/// What one step of dropping did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropStep {
    /// Jobs that were dropped.
    pub dropped: u64,
    /// Where the next step goes on; none if all tasks were looked at.
    pub next: Option<EndedTask>,
}

/// Drops the jobs of tasks from the archive that ended longer ago than `rules.drop_after`.
///
/// A task loses all of its jobs or none: as long as one of them is outside of the archive, the
/// others stay. The task, its counts, its datasets and files stay; it cannot be tried again. Call it
/// first with [`EndedTask::START`], then with what the last step returned.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn drop_jobs(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    rules: &ArchiveRules,
    from: EndedTask,
) -> Result<DropStep, LedgerError> {
    let mut step = DropStep {
        dropped: 0,
        next: None,
    };
    let Some(age) = rules.drop_after else {
        return Ok(step);
    };
    let tasks = ledger.tasks_to_drop(ctx.now.before(age), from, rules.batch)?;
    let mut left = rules.batch;
    let mut place = from;
    for task in &tasks {
        // One that was begun goes on, whatever came back since.
        let is_whole = ledger.are_jobs_dropped(task.id)? || !ledger.has_jobs_at_work(task.id)?;
        if is_whole {
            let dropped = ledger.drop_jobs(task.id, left)?;
            step.dropped += dropped;
            left = left.saturating_sub(usize::try_from(dropped).unwrap_or(usize::MAX));
        }
        if left == 0 {
            // This task may have more.
            step.next = Some(place);
            return Ok(step);
        }
        place = *task;
    }
    let is_full = tasks.len() >= rules.batch;
    step.next = tasks.last().copied().filter(|_| is_full);
    Ok(step)
}

/// Removes changes of statuses that are older than `rules.history_keep` from the history, and says
/// how many: call it again until there are none. What a cursor has not passed stays for
/// `rules.unread_keep`, so that no message is lost while its reader may come back.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn shorten_history(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    rules: &ArchiveRules,
) -> Result<u64, LedgerError> {
    let Some(age) = rules.history_keep else {
        return Ok(0);
    };
    let last = ledger.last_change()?;
    let up_to = ledger.least_cursor()?.unwrap_or(last);
    let forgotten = ledger.forget_changes(ctx.now.before(age), up_to, rules.batch)?;
    match rules.unread_keep {
        Some(unread) if forgotten == 0 => {
            let before = ctx.now.before(unread.max(age));
            ledger.forget_changes(before, last, rules.batch)
        }
        Some(_) | None => Ok(forgotten),
    }
}
