//! How a task of PanDA ends.
//!
//! Source: PanDA server, `pandajedi/jedipprocess/PostProcessorBase.py` (`getFinalTaskStatus`).

use ailurus_jedi::{RefinedTask, Rule};
use ailurus_model::{JobKind, JobStatus, TaskId, TaskStatus};

use crate::{
    kill::{KillCode, Rights},
    ledger::{Generation, InputCounts, Ledger, LedgerError, ScoutPhase, TaskProgress},
    operation::Operation,
    tasks::{
        chunk::number_of,
        generate::numbers_per_job,
        record::{PandaTask, is_of_files},
    },
};

/// All of a task's work, per mille.
const ALL_PER_MILLE: u64 = 1000;

/// How many files of a task's first stream are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileTally {
    /// Files that are to be used.
    pub n_files: u64,
    /// Files in jobs.
    pub n_used: u64,
    /// Files of finished jobs.
    pub n_finished: u64,
    /// Files of jobs that ended without success.
    pub n_failed: u64,
}

impl FileTally {
    fn completeness(self) -> u64 {
        if self.n_files == 0 {
            return ALL_PER_MILLE;
        }
        (self.n_finished * ALL_PER_MILLE / self.n_files).min(ALL_PER_MILLE)
    }
}

/// Says whether files of a job with this status are done, or failed.
fn fate_of(status: JobStatus) -> Option<bool> {
    status
        .is_terminal()
        .then_some(status == JobStatus::Finished)
}

/// Adds up how many files of a task's first stream are done, and notes it for each dataset.
fn tally(
    task: &mut PandaTask,
    refined: &RefinedTask,
    inputs: &InputCounts,
    kinds: &crate::ledger::KindCounts,
) -> FileTally {
    let mut sum = FileTally::default();
    let has_files = refined.master().is_some_and(|one| is_of_files(one.kind));
    let numbers: Vec<u32> = (0..task.progress.inputs.len())
        .map(|at| number_of(&task.progress.inputs, at))
        .collect();
    for (input, number) in task.progress.inputs.iter_mut().zip(numbers) {
        let mut done = [0_u64; 2];
        if has_files {
            for ((_, status), n) in inputs.iter().filter(|((nr, _), _)| *nr == number) {
                if let Some(is_good) = fate_of(*status) {
                    done[usize::from(is_good)] += n;
                }
            }
        } else if input.stream == 0 {
            let per_job = u64::from(numbers_per_job(refined));
            for ((kind, status), n) in kinds {
                let is_worker = matches!(kind, JobKind::Run | JobKind::Scout);
                if let Some(is_good) = fate_of(*status).filter(|_| is_worker) {
                    done[usize::from(is_good)] += n.saturating_mul(per_job);
                }
            }
        }
        let n_files = u64::from(input.parts.len());
        let [failed, finished] = done.map(|n| n.min(n_files.max(u64::from(input.n_taken))));
        input.n_finished = u32::try_from(finished).unwrap_or(u32::MAX);
        input.n_failed = u32::try_from(failed).unwrap_or(u32::MAX);
        if input.stream == 0 {
            sum.n_files += n_files;
            sum.n_used += u64::from(input.n_taken);
            sum.n_finished += finished;
            sum.n_failed += failed;
        }
    }
    sum
}

/// Counts the files of a task that is under way or has ended; none for a task of another kind.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn file_tally(ledger: &impl Ledger, id: TaskId) -> Result<Option<FileTally>, LedgerError> {
    let (Some(record), Some(progress)) = (ledger.task(id)?, ledger.task_progress(id)?) else {
        return Ok(None);
    };
    let Some(definition) = ledger.panda_task(id, record.revision)? else {
        return Ok(None);
    };
    if ledger.are_jobs_dropped(id)? {
        return Ok(Some(noted(&progress)));
    }
    let mut task = PandaTask {
        record,
        definition: std::sync::Arc::clone(&definition),
        progress,
    };
    let Some(refined) = &definition.refined else {
        return Ok(Some(FileTally::default()));
    };
    let (inputs, kinds) = (ledger.input_counts(id)?, ledger.kind_counts(id)?);
    Ok(Some(tally(&mut task, refined, &inputs, &kinds)))
}

/// Adds up what was noted when a task ended.
fn noted(progress: &TaskProgress) -> FileTally {
    let mut sum = FileTally::default();
    for input in progress.inputs.iter().filter(|input| input.stream == 0) {
        sum.n_files += u64::from(input.parts.len());
        sum.n_used += u64::from(input.n_taken);
        sum.n_finished += u64::from(input.n_finished);
        sum.n_failed += u64::from(input.n_failed);
    }
    sum
}

/// Returns what a task becomes whose jobs have all ended.
fn final_status(
    task: &PandaTask,
    refined: &RefinedTask,
    files: FileTally,
    parent: Option<TaskStatus>,
) -> TaskStatus {
    use TaskStatus as T;
    let rules = &refined.rules;
    let is_passed = matches!(task.status(), T::Passed | T::Finishing);
    let goal = u64::from(refined.goal_per_mille.unwrap_or(1000));
    let is_short = files.completeness() < goal;
    let found = if files.n_finished >= files.n_files {
        match parent {
            Some(T::Failed | T::Broken | T::Aborted) => T::Failed,
            Some(T::Done) | None => T::Done,
            Some(_) => T::Finished,
        }
    } else if files.n_finished == 0 {
        T::Failed
    } else {
        T::Finished
    };
    let decides = rules.is_set(Rule::UseExhausted) && !is_passed;
    if found == T::Finished && is_short && decides {
        T::Exhausted
    } else if found == T::Finished && is_short && rules.is_set(Rule::FailGoalUnreached) {
        T::Failed
    } else {
        found
    }
}

impl<L: Ledger> Operation<'_, L> {
    /// Ends a task if none of its jobs lives and none will be made.
    pub(super) fn end_if_over(&mut self, task: &mut PandaTask) -> Result<(), LedgerError> {
        let counts = self.ledger.task_counts(task.id())?;
        let is_live = counts
            .iter()
            .any(|(status, n)| !status.is_terminal() && *n > 0);
        let waits_for_scouts = task.progress.scouts == ScoutPhase::Made;
        if is_live || task.progress.generation == Generation::Open && !waits_for_scouts {
            return Ok(());
        }
        let definition = std::sync::Arc::clone(&task.definition);
        let Some(refined) = &definition.refined else {
            return Ok(());
        };
        let inputs = self.ledger.input_counts(task.id())?;
        let kinds = self.ledger.kind_counts(task.id())?;
        let files = tally(task, refined, &inputs, &kinds);
        let is_aborted = matches!(task.status(), TaskStatus::Aborting | TaskStatus::ToAbort);
        let parent = match task.progress.parent {
            Some(parent) => self.ledger.task(parent)?.map(|task| task.status),
            None => None,
        };
        let status = if is_aborted {
            TaskStatus::Aborted
        } else {
            final_status(task, refined, files, parent)
        };
        let why = self.why_ended(task, status)?;
        self.move_task(task, status, &why)?;
        task.progress.ended = status.is_terminal().then_some(self.ctx.now);
        task.progress.order = None;
        if status == TaskStatus::Exhausted {
            let deadline = self.ctx.now.after(self.ctx.limits.tasks.exhausted_timeout);
            task.progress.due = Some(deadline);
            return Ok(());
        }
        task.progress.due = None;
        if task.progress.generation == Generation::Open {
            task.progress.generation = Generation::Stopped;
        }
        self.tell_children(task)
    }

    /// Says why a task did not do all, in the words of one of its jobs.
    fn why_ended(&self, task: &PandaTask, status: TaskStatus) -> Result<String, LedgerError> {
        if !matches!(status, TaskStatus::Failed | TaskStatus::Finished) {
            return Ok(task.progress.message.clone());
        }
        let without = [JobStatus::Failed, JobStatus::Closed];
        let counts = self.ledger.kind_counts(task.id())?;
        let n_failed: u64 = counts
            .iter()
            .filter(|((kind, status), _)| *kind != JobKind::Consumer && without.contains(status))
            .map(|(_, n)| n)
            .sum();
        for id in self.ledger.jobs_of_task(task.id(), &without)? {
            let job = self.job(id)?;
            if job.kind != JobKind::Consumer {
                let why = job.reason;
                return Ok(format!(
                    "{n_failed} jobs without success, the first is {id}: {why}"
                ));
            }
        }
        Ok(String::new())
    }

    /// Has the tasks after one that has ended go on, or end with it.
    pub(super) fn tell_children(&mut self, task: &PandaTask) -> Result<(), LedgerError> {
        let is_lost = matches!(
            task.status(),
            TaskStatus::Failed | TaskStatus::Broken | TaskStatus::Aborted
        );
        for child in self.ledger.tasks_after(task.id())? {
            let Some(mut after) = self.load_task(child)? else {
                continue;
            };
            if after.status().is_terminal() {
                continue;
            }
            if is_lost && after.record.n_jobs == 0 {
                let why = format!("parent task {} is {}", task.id(), task.status());
                self.break_task(&mut after, &why)?;
            } else {
                after.progress.due = Some(self.ctx.now);
            }
            self.save_task(&mut after)?;
        }
        Ok(())
    }

    /// Ends jobs of a task that is being ended, and returns how many.
    pub(super) fn end_jobs(&mut self, task: &mut PandaTask, most: u32) -> Result<u32, LedgerError> {
        let order = task.progress.order.clone();
        let who = order.as_ref().map_or("the server", |order| &order.who);
        let is_soft = order.as_ref().is_some_and(|order| order.comment == "soft");
        let is_abort = matches!(task.status(), TaskStatus::Aborting | TaskStatus::ToAbort);
        let code = if is_abort {
            KillCode::Task
        } else {
            KillCode::TaskForce
        };
        let statuses: Vec<JobStatus> = JobStatus::ALL
            .iter()
            .copied()
            .filter(|status| !status.is_terminal() && *status != JobStatus::Merging)
            .filter(|status| !is_soft || is_before_start(*status))
            .collect();
        let mut ended = 0;
        for id in self.ledger.jobs_of_task(task.id(), &statuses)? {
            if ended >= most {
                task.progress.due = Some(self.ctx.now);
                break;
            }
            let job = self.job(id)?;
            let is_merge_of_soft = job.kind == JobKind::Merge && !is_abort;
            // What others of its set do is work that has begun.
            let has_begun = is_soft && self.has_mate_at_work(&job)?;
            if job.command.is_some() || is_merge_of_soft || has_begun {
                continue;
            }
            ended += u32::from(self.kill_by(job, code, who, Rights::Common, None)?);
        }
        if ended == 0 && is_abort {
            for id in self.ledger.jobs_of_task(task.id(), &[JobStatus::Merging])? {
                let job = self.job(id)?;
                ended += u32::from(self.kill_by(job, code, who, Rights::Common, None)?);
            }
        }
        if ended == 0 && !is_abort {
            self.make_merges(task)?;
        }
        Ok(ended)
    }
}

/// Says whether no pilot has a job with this status.
const fn is_before_start(status: JobStatus) -> bool {
    matches!(
        status,
        JobStatus::Pending | JobStatus::Defined | JobStatus::Assigned | JobStatus::Activated
    )
}
