//! What listeners are told of changes of status, and which server tells it.
//!
//! Messages are made from the history, so that none is lost whatever dies: a [`Cursor`] in the ledger
//! says what was told. One server at a time holds it; what it told but did not note is told again.

use std::time::Duration;

use ailurus_model::{
    ChangeId, JobStatus, Lfn, PandaId, QueueName, TaskId, TaskStatus, Timestamp, job_tags,
    update::ReportedError,
};

use crate::{
    Context,
    ledger::{Changed, Cursor, HistoryRow, Ledger, LedgerError},
};

/// Whose changes of status are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Those of jobs with the tag `pc`, as in PanDA, and of all tasks.
    Tagged,
    /// All.
    All,
}

/// How pilots are to end a task's jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEnd {
    /// At once.
    Kill,
    /// With what they have.
    Finish,
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A job has a new status.
    Job(Box<JobNews>),
    /// A task has a new status.
    Task {
        /// The task.
        task_id: TaskId,
        /// Its status.
        status: TaskStatus,
        /// When it changed.
        time: Timestamp,
    },
    /// A job waits for a pilot that hears of it.
    JobWaits {
        /// Its task.
        task_id: TaskId,
        /// The job.
        panda_id: PandaId,
        /// Since when.
        time: Timestamp,
    },
    /// A task's jobs are to end.
    TaskEnds {
        /// The task.
        task_id: TaskId,
        /// How.
        how: TaskEnd,
        /// Since when.
        time: Timestamp,
    },
}

/// A job's new status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobNews {
    /// The job.
    pub panda_id: PandaId,
    /// Its task.
    pub task_id: TaskId,
    /// Its status.
    pub status: JobStatus,
    /// When it changed.
    pub time: Timestamp,
    /// Its queue.
    pub queue: Option<QueueName>,
    /// The names of its inputs, once it has ended.
    pub inputs: Option<Vec<Lfn>>,
    /// The pilot's error.
    pub pilot_error: Option<ReportedError>,
    /// The payload's error.
    pub payload_error: Option<ReportedError>,
    /// The server's error.
    pub server_error: Option<ReportedError>,
}

/// Takes a cursor for a server, or goes on holding it. None if another server has it.
///
/// A cursor that nobody ever had begins with what comes from now on.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn hold_cursor(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    name: &str,
    holder: &str,
    lease: Duration,
) -> Result<Option<ChangeId>, LedgerError> {
    let held_until = ctx.now.after(lease);
    let cursor = match ledger.cursor(name)? {
        Some(old) if old.holder != holder && !old.holder.is_empty() && old.held_until > ctx.now => {
            return Ok(None);
        }
        Some(old) => Cursor {
            holder: holder.to_owned(),
            held_until,
            ..old
        },
        None => Cursor {
            name: name.to_owned(),
            last: ledger.last_change()?,
            holder: holder.to_owned(),
            held_until,
        },
    };
    ledger.put_cursor(&cursor)?;
    Ok(Some(cursor.last))
}

/// Notes how far a server has come with a cursor that it holds. Who lost it in between notes nothing:
/// the new holder tells the same again.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn move_cursor(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    name: &str,
    holder: &str,
    last: ChangeId,
    lease: Duration,
) -> Result<(), LedgerError> {
    let Some(old) = ledger.cursor(name)? else {
        return Ok(());
    };
    if old.holder != holder || last < old.last {
        return Ok(());
    }
    ledger.put_cursor(&Cursor {
        last,
        held_until: ctx.now.after(lease),
        ..old
    })
}

/// Lets go of a cursor, so that another server need not wait for the end of the lease.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn release_cursor(
    ledger: &mut impl Ledger,
    name: &str,
    holder: &str,
) -> Result<(), LedgerError> {
    match ledger.cursor(name)? {
        Some(old) if old.holder == holder => ledger.put_cursor(&Cursor {
            holder: String::new(),
            ..old
        }),
        Some(_) | None => Ok(()),
    }
}

/// Returns what is to be told of a change.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn news_of(
    ledger: &impl Ledger,
    row: &HistoryRow,
    audience: Audience,
) -> Result<Vec<News>, LedgerError> {
    let change = &row.change;
    let (task_id, time) = (change.task_id, change.time);
    let (panda_id, attempt_nr, status) = match change.changed {
        Changed::Task { new: status, .. } => {
            let news = News::Task {
                task_id,
                status,
                time,
            };
            let end = end_of(status).map(|how| News::TaskEnds { task_id, how, time });
            return Ok([news].into_iter().chain(end).collect());
        }
        Changed::Job {
            panda_id,
            attempt_nr,
            new,
            ..
        } => (panda_id, attempt_nr, new),
    };
    // A job that was archived since has nothing to tell any more.
    let Some(job) = ledger.job(panda_id)? else {
        return Ok(Vec::new());
    };
    let mut news = Vec::new();
    if is_told(status) && (audience == Audience::All || job.tags.has(job_tags::PUSH_CHANGES)) {
        let attempt = ledger.attempt(panda_id, attempt_nr)?;
        let (pilot_error, payload_error, server_error) =
            attempt.map_or((None, None, None), |attempt| {
                (
                    attempt.pilot_error,
                    attempt.payload_error,
                    attempt.server_error,
                )
            });
        let inputs = if status.is_terminal() {
            Some(inputs_of(ledger, panda_id)?)
        } else {
            None
        };
        news.push(News::Job(Box::new(JobNews {
            panda_id,
            task_id,
            status,
            time,
            queue: change.queue.clone(),
            inputs,
            pilot_error,
            payload_error,
            server_error,
        })));
    }
    if status == JobStatus::Activated && job.tags.has(job_tags::PUSH_JOB) {
        news.push(News::JobWaits {
            task_id,
            panda_id,
            time,
        });
    }
    Ok(news)
}

/// PanDA does not tell of these: they last for moments, or mean nothing to others.
fn is_told(status: JobStatus) -> bool {
    !matches!(
        status,
        JobStatus::Sent | JobStatus::Holding | JobStatus::Merging
    )
}

fn end_of(status: TaskStatus) -> Option<TaskEnd> {
    const KILLS: [TaskStatus; 3] = [
        TaskStatus::Aborting,
        TaskStatus::ToAbort,
        TaskStatus::Aborted,
    ];
    if KILLS.contains(&status) {
        return Some(TaskEnd::Kill);
    }
    (status == TaskStatus::Finishing).then_some(TaskEnd::Finish)
}

fn inputs_of(ledger: &impl Ledger, job: PandaId) -> Result<Vec<Lfn>, LedgerError> {
    let mut names = Vec::new();
    for need in ledger.needs_of(job)? {
        if let Some(file) = ledger.file_of_part(&need.dataset, need.part)? {
            names.push(file.lfn);
        }
    }
    Ok(names)
}
