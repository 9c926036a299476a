//! Why a task waits, runs or ended.

use ailurus_model::{JobStatus, TaskId, TaskStatus};

use super::Explanation;
use crate::{
    Context,
    ledger::{JobCounts, JobRecord, Ledger, LedgerError, ScoutPhase, TaskProgress, TaskRecord},
    operation::Operation,
};

/// Explains a task; none if it is not known. Of a task whose jobs wait, the first that waits is
/// explained.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn explain_task(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    id: TaskId,
) -> Result<Option<Explanation>, LedgerError> {
    let Some(task) = ledger.task(id)? else {
        return Ok(None);
    };
    let progress = ledger.task_progress(id)?;
    let counts = ledger.task_counts(id)?;
    let mut op = Operation::new(ctx, ledger);
    let waiting = op.first_waiting(id)?;
    let mut explanation = match &waiting {
        Some(job) => op.explain_row(job)?,
        None => Explanation::default(),
    };
    let of_job = waiting.map(|job| format!("job {} {}", job.panda_id, explanation.sentence));
    explanation.sentence = op.sentence(&task, progress.as_ref(), &counts, of_job)?;
    if let Some(change) = change_of(&task, &counts) {
        explanation.changes.insert(0, change);
    }
    Ok(Some(explanation))
}

impl<L: Ledger> Operation<'_, L> {
    /// The job of a task that is furthest from being done, if one waits.
    fn first_waiting(&self, id: TaskId) -> Result<Option<JobRecord>, LedgerError> {
        for status in [
            JobStatus::Activated,
            JobStatus::Defined,
            JobStatus::Assigned,
            JobStatus::Pending,
        ] {
            if let Some(job) = self.ledger.jobs_of_task(id, &[status])?.first() {
                return self.job(*job).map(Some);
            }
        }
        Ok(None)
    }

    fn sentence(
        &self,
        task: &TaskRecord,
        progress: Option<&TaskProgress>,
        counts: &JobCounts,
        of_job: Option<String>,
    ) -> Result<String, LedgerError> {
        let message = progress.map_or("", |it| it.message.as_str());
        let because = if message.is_empty() {
            String::new()
        } else {
            format!(": {message}")
        };
        let jobs = counted(counts);
        let next = of_job.map_or_else(String::new, |text| format!("; {text}"));
        let scouts = progress.map(|it| it.scouts);
        Ok(match Stand::of(task.status) {
            Stand::Paused => format!("is paused by a person{because}, {jobs}"),
            Stand::Throttled => format!("is throttled{because}, {jobs}{next}"),
            Stand::Exhausted => format!("needs a person's decision{because}, {jobs}"),
            Stand::Recalled => format!("waits until its input is recalled from tape{because}"),
            Stand::Waiting => format!(
                "waits, no jobs can be made now{because}{}",
                self.parent(progress)?
            ),
            Stand::Scouting => format!("waits for its scouts, {jobs}{next}"),
            Stand::Ended => format!(
                "ended {}{because}, {jobs}{}",
                task.status,
                self.first_failure(task.id)?
            ),
            Stand::AtWork if scouts == Some(ScoutPhase::Made) => format!(
                "is {}, its other jobs wait for the scouts, {jobs}{next}",
                task.status
            ),
            Stand::AtWork | Stand::Moving => {
                format!("is {}{because}, {jobs}{next}", task.status)
            }
        })
    }

    /// The task before it in a chain, if that is not done.
    fn parent(&self, progress: Option<&TaskProgress>) -> Result<String, LedgerError> {
        let Some(parent) = progress.and_then(|it| it.parent) else {
            return Ok(String::new());
        };
        let task = self.task(parent)?;
        Ok(if task.status.is_terminal() {
            String::new()
        } else {
            format!(
                "; task {parent} `{}` before it is {}",
                task.spec.name, task.status
            )
        })
    }

    fn first_failure(&self, id: TaskId) -> Result<String, LedgerError> {
        for status in [JobStatus::Failed, JobStatus::Closed, JobStatus::Cancelled] {
            if let Some(first) = self.ledger.jobs_of_task(id, &[status])?.first() {
                let job = self.job(*first)?;
                if !job.reason.is_empty() {
                    return Ok(format!("; job {first}: {}", job.reason));
                }
            }
        }
        Ok(String::new())
    }
}

/// What a person would do about it.
fn change_of(task: &TaskRecord, counts: &JobCounts) -> Option<String> {
    let id = task.id;
    let has_failed = [JobStatus::Failed, JobStatus::Closed]
        .iter()
        .any(|status| counts.get(status).is_some_and(|n| *n > 0));
    match Stand::of(task.status) {
        Stand::Paused => Some(format!("resume task {id}")),
        Stand::Exhausted => Some(format!("`ailurus task retry {id}`, or finish it")),
        Stand::Throttled => Some(format!(
            "it goes on by itself after a while, at once if you resume task {id}"
        )),
        Stand::Scouting => Some(format!(
            "the other jobs of task {id} are made once the scouts have measured"
        )),
        Stand::Ended
            if has_failed && matches!(task.status, TaskStatus::Finished | TaskStatus::Failed) =>
        {
            Some(format!(
                "`ailurus task retry {id}` gives its failed jobs further attempts"
            ))
        }
        Stand::Ended | Stand::Recalled | Stand::Waiting | Stand::AtWork | Stand::Moving => None,
    }
}

/// How a task stands, for people: statuses that mean the same to them are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// A person holds it.
    Paused,
    /// It waits because its jobs fail.
    Throttled,
    /// It needs a decision.
    Exhausted,
    /// Its input comes from tape.
    Recalled,
    /// Something that it needs is not there.
    Waiting,
    /// Its first jobs measure.
    Scouting,
    /// Jobs are made or run.
    AtWork,
    /// It is on its way from one of these to another.
    Moving,
    /// It is over.
    Ended,
}

impl Stand {
    const fn of(status: TaskStatus) -> Self {
        match status {
            TaskStatus::Paused => Self::Paused,
            TaskStatus::Throttled => Self::Throttled,
            TaskStatus::Exhausted => Self::Exhausted,
            TaskStatus::Staging => Self::Recalled,
            TaskStatus::Pending | TaskStatus::Waiting | TaskStatus::Registered => Self::Waiting,
            TaskStatus::Scouting => Self::Scouting,
            TaskStatus::Running | TaskStatus::Ready | TaskStatus::Merging => Self::AtWork,
            TaskStatus::Defined
            | TaskStatus::Assigning
            | TaskStatus::ToPreprocess
            | TaskStatus::Preprocessing
            | TaskStatus::Scouted
            | TaskStatus::Prepared
            | TaskStatus::Finishing
            | TaskStatus::Passed
            | TaskStatus::ToRetry
            | TaskStatus::ToIncexec
            | TaskStatus::Rerefine
            | TaskStatus::ToReassign
            | TaskStatus::Reassigning
            | TaskStatus::Aborting
            | TaskStatus::ToAbort
            | TaskStatus::ToBroken => Self::Moving,
            TaskStatus::Done
            | TaskStatus::Finished
            | TaskStatus::Failed
            | TaskStatus::Aborted
            | TaskStatus::Broken => Self::Ended,
        }
    }
}

fn counted(counts: &JobCounts) -> String {
    let parts: Vec<String> = counts
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(status, n)| format!("{n} {status}"))
        .collect();
    if parts.is_empty() {
        "no jobs yet".to_owned()
    } else {
        format!("jobs: {}", parts.join(", "))
    }
}
