//! What must hold after every operation, numbered and named once.
//!
//! The property tests and the simulator check these after each step; numbers are those of the
//! project's list of invariants.

mod events;
mod panda_tasks;
mod workflows;

use std::collections::BTreeMap;

use ailurus_model::{ChangeId, JobKind, JobStatus, PandaId, Seed, TaskId};

pub use self::events::{
    ranges_are_of_the_current_attempt, ranges_end_with_their_job, what_is_done_stays_done,
};
use self::panda_tasks::has_outputs;
pub use self::panda_tasks::{ended_tasks_are_over, jobs_are_different_parts};
pub use self::workflows::{
    ended_workflows_are_over, steps_begin_with_their_inputs, steps_get_one_task,
    steps_have_tasks_of_their_own,
};
use crate::{
    ledger::{AttemptRecord, Changed, HistoryRows, Ledger},
    memory::{MemoryLedger, as_count},
    naming::first_seed,
    task_status::derived,
};

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{number} ({name}) is broken: {detail}")]
pub struct Violation {
    /// Its number, for example `J1`.
    pub number: &'static str,
    /// What it says.
    pub name: &'static str,
    /// Which rows break it.
    pub detail: String,
}

/// Something that holds for all rows at any time.
#[derive(Debug, Clone, Copy)]
pub struct StateInvariant {
    /// Its number.
    pub number: &'static str,
    /// What it says.
    pub name: &'static str,
    /// Checks it; the error says which rows break it.
    pub check: fn(&MemoryLedger) -> Result<(), String>,
}

/// Something that holds between the rows before and after an operation.
#[derive(Debug, Clone, Copy)]
pub struct StepInvariant {
    /// Its number.
    pub number: &'static str,
    /// What it says.
    pub name: &'static str,
    /// Checks it; the error says which rows break it.
    pub check: fn(&MemoryLedger, &MemoryLedger) -> Result<(), String>,
}

/// All that holds for the rows at any time.
pub const STATE: &[StateInvariant] = &[
    StateInvariant {
        number: "J1",
        name: "at most one attempt of a job can finish it",
        check: one_attempt_finishes_a_job,
    },
    StateInvariant {
        number: "J4",
        name: "counters equal the rows they count",
        check: counters_equal_rows,
    },
    StateInvariant {
        number: "J6",
        name: "a job that a pilot has is the attempt that was sent last",
        check: jobs_agree_with_attempts,
    },
    StateInvariant {
        number: "J7",
        name: "the history of a job leads from its making to what it is",
        check: history_leads_to_the_status,
    },
    StateInvariant {
        number: "S1",
        name: "a seed is handed out once in a task",
        check: seeds_are_handed_out_once,
    },
    StateInvariant {
        number: "P3",
        name: "an output is registered at most once, and only with size and checksum",
        check: outputs_are_registered_once,
    },
    StateInvariant {
        number: "T1",
        name: "jobs of a task of PanDA are different parts of its work, under different names",
        check: jobs_are_different_parts,
    },
    StateInvariant {
        number: "T2",
        name: "a task of PanDA that has ended is over",
        check: ended_tasks_are_over,
    },
    StateInvariant {
        number: "E1",
        name: "a range of events that somebody has is of the attempt that its job is in",
        check: ranges_are_of_the_current_attempt,
    },
    StateInvariant {
        number: "E2",
        name: "when a job has ended, so have its ranges of events",
        check: ranges_end_with_their_job,
    },
    StateInvariant {
        number: "G1",
        name: "a task is of one step of a workflow",
        check: steps_have_tasks_of_their_own,
    },
    StateInvariant {
        number: "G3",
        name: "a workflow that has ended has no step that has not",
        check: ended_workflows_are_over,
    },
];

/// All that holds between the rows before and after an operation. J2 does not hold for
/// [`crate::retry_task`], which is the one way back for a job that has ended.
pub const STEP: &[StepInvariant] = &[
    StepInvariant {
        number: "J2",
        name: "a terminal job never changes",
        check: terminal_jobs_never_change,
    },
    StepInvariant {
        number: "J5",
        name: "an attempt that has ended never changes",
        check: ended_attempts_never_change,
    },
    StepInvariant {
        number: "P3",
        name: "a registered file never changes",
        check: files_never_change,
    },
    StepInvariant {
        number: "E3",
        name: "a range of events that is done stays done",
        check: what_is_done_stays_done,
    },
];

/// All that holds between the rows before and after any operation, whatever it brings back.
pub const ALWAYS: &[StepInvariant] = &[
    StepInvariant {
        number: "G1",
        name: "a step of a workflow gets one task in each round",
        check: steps_get_one_task,
    },
    StepInvariant {
        number: "G2",
        name: "a step of a workflow begins when what it reads is there",
        check: steps_begin_with_their_inputs,
    },
];

/// Checks all invariants of [`STATE`].
///
/// # Errors
///
/// The first [`Violation`].
pub fn check_state(ledger: &MemoryLedger) -> Result<(), Violation> {
    for invariant in STATE {
        (invariant.check)(ledger).map_err(|detail| Violation {
            number: invariant.number,
            name: invariant.name,
            detail,
        })?;
    }
    Ok(())
}

/// Checks all invariants of [`STEP`] and [`ALWAYS`].
///
/// # Errors
///
/// The first [`Violation`].
pub fn check_step(before: &MemoryLedger, after: &MemoryLedger) -> Result<(), Violation> {
    check_all(STEP, before, after)?;
    check_always(before, after)
}

/// Checks all invariants of [`ALWAYS`].
///
/// # Errors
///
/// The first [`Violation`].
pub fn check_always(before: &MemoryLedger, after: &MemoryLedger) -> Result<(), Violation> {
    check_all(ALWAYS, before, after)
}

fn check_all(
    invariants: &[StepInvariant],
    before: &MemoryLedger,
    after: &MemoryLedger,
) -> Result<(), Violation> {
    for invariant in invariants {
        (invariant.check)(before, after).map_err(|detail| Violation {
            number: invariant.number,
            name: invariant.name,
            detail,
        })?;
    }
    Ok(())
}

/// J1: a job is finished by exactly one of its attempts, and no other job has one that did.
pub fn one_attempt_finishes_a_job(ledger: &MemoryLedger) -> Result<(), String> {
    let mut finishers: BTreeMap<PandaId, u32> = BTreeMap::new();
    for attempt in ledger.attempts() {
        if attempt.status == JobStatus::Finished {
            *finishers.entry(attempt.panda_id).or_default() += 1;
        }
    }
    ledger.jobs().try_for_each(|job| {
        let n = finishers.get(&job.panda_id).copied().unwrap_or(0);
        // A consumer finishes with its leader, by none of its own attempts.
        let finishes = job.kind != JobKind::Consumer && has_outputs(ledger, job);
        let expected = u32::from(finishes);
        holds(n == expected, || {
            format!(
                "job {} is {} with {n} finished attempts",
                job.panda_id, job.status
            )
        })
    })
}

/// J2: a terminal job never changes, until it is dropped from the archive.
pub fn terminal_jobs_never_change(
    before: &MemoryLedger,
    after: &MemoryLedger,
) -> Result<(), String> {
    let now: BTreeMap<PandaId, _> = after.jobs().map(|job| (job.panda_id, job)).collect();
    before
        .jobs()
        .filter(|job| job.status.is_terminal())
        .try_for_each(|job| {
            let now = now.get(&job.panda_id);
            let is_dropped = now.is_none() && after.is_dropped(job.panda_id);
            holds(is_dropped || now == Some(&job), || {
                format!("job {} was {} and became {now:?}", job.panda_id, job.status)
            })
        })
}

/// J4: counts by task, the number of jobs of a task, and its status follow from the jobs' rows. Of a
/// task whose jobs were dropped, the counts are all that is left.
pub fn counters_equal_rows(ledger: &MemoryLedger) -> Result<(), String> {
    let mut rows: BTreeMap<TaskId, BTreeMap<JobStatus, u64>> = BTreeMap::new();
    for job in ledger.jobs() {
        *rows
            .entry(job.task_id)
            .or_default()
            .entry(job.status)
            .or_default() += 1;
    }
    let mut tasks = ledger.tasks().filter(|task| !ledger.has_dropped(task.id));
    tasks.try_for_each(|task| {
        let counted = ledger
            .task_counts(task.id)
            .map_err(|error| error.to_string())?;
        let rows = rows.remove(&task.id).unwrap_or_default();
        holds(counted == rows, || {
            format!("task {} counts {counted:?}, its rows are {rows:?}", task.id)
        })?;
        let all: u64 = rows.values().sum();
        holds(all == u64::from(task.n_jobs), || {
            format!("task {} has {all} jobs and says {}", task.id, task.n_jobs)
        })?;
        // What becomes of PanDA's tasks is decided by steps.
        let is_derived = task.revision > 0 || derived(task.status, &rows) == task.status;
        holds(is_derived, || {
            format!("task {} is {} with jobs {rows:?}", task.id, task.status)
        })
    })
}

/// J5: an attempt that has ended never changes, whatever is reported about it.
pub fn ended_attempts_never_change(
    before: &MemoryLedger,
    after: &MemoryLedger,
) -> Result<(), String> {
    let key = |attempt: &AttemptRecord| (attempt.panda_id, attempt.attempt_nr);
    let now: BTreeMap<_, _> = after
        .attempts()
        .map(|attempt| (key(attempt), attempt))
        .collect();
    before
        .attempts()
        .filter(|attempt| attempt.ended.is_some())
        .try_for_each(|attempt| {
            let now = now.get(&key(attempt));
            let is_dropped = now.is_none() && after.is_dropped(attempt.panda_id);
            holds(is_dropped || now == Some(&attempt), || {
                let (job, nr) = key(attempt);
                format!("attempt {nr} of job {job} had ended and became {now:?}")
            })
        })
}

/// J6: a job that a pilot has is its current attempt; an attempt without end is of such a job.
pub fn jobs_agree_with_attempts(ledger: &MemoryLedger) -> Result<(), String> {
    let open: BTreeMap<PandaId, Vec<&AttemptRecord>> = ledger
        .attempts()
        .filter(|attempt| attempt.ended.is_none())
        .fold(BTreeMap::new(), |mut open, attempt| {
            open.entry(attempt.panda_id).or_default().push(attempt);
            open
        });
    ledger.jobs().try_for_each(|job| {
        let attempts = open.get(&job.panda_id).map_or(&[][..], Vec::as_slice);
        let is_out = job.status.is_with_pilot()
            || matches!(job.status, JobStatus::Holding | JobStatus::Transferring);
        let agrees = match attempts {
            [] => !is_out,
            [one] => is_out && one.attempt_nr == job.attempt_nr && one.status == job.status,
            _ => false,
        };
        holds(agrees, || {
            format!(
                "job {} is {} in attempt {} with {} open attempts",
                job.panda_id,
                job.status,
                job.attempt_nr,
                as_count(attempts.len())
            )
        })
    })
}

/// J7: each row of a job's history begins where the one before ended, and the last one says what
/// the job is. Where old rows are no more, those that are left say so.
pub fn history_leads_to_the_status(ledger: &MemoryLedger) -> Result<(), String> {
    let rows = ledger
        .changes_after(ChangeId::default(), usize::MAX)
        .map_err(|error| error.to_string())?;
    let is_shortened = ledger.has_forgotten_changes();
    let mut last: BTreeMap<PandaId, JobStatus> = BTreeMap::new();
    for row in rows {
        match row.change.changed {
            Changed::Job {
                panda_id, old, new, ..
            } => {
                let before = last.insert(panda_id, new);
                let is_first_left = is_shortened && before.is_none();
                holds(is_first_left || before == old, || {
                    format!(
                        "job {panda_id} was {before:?}, change {} says {old:?}",
                        row.id
                    )
                })?;
            }
            Changed::Task { .. } => {}
        }
    }
    ledger.jobs().try_for_each(|job| {
        let said = last.get(&job.panda_id);
        let is_forgotten = is_shortened && said.is_none();
        holds(is_forgotten || said == Some(&job.status), || {
            format!(
                "job {} is {}, its history says {said:?}",
                job.panda_id, job.status
            )
        })
    })
}

/// S1: no two attempts of a task have the same seed, and none is handed out again.
pub fn seeds_are_handed_out_once(ledger: &MemoryLedger) -> Result<(), String> {
    let mut seen: BTreeMap<(TaskId, Seed), &AttemptRecord> = BTreeMap::new();
    let tasks: BTreeMap<PandaId, TaskId> = ledger
        .jobs()
        .map(|job| (job.panda_id, job.task_id))
        .collect();
    let next: BTreeMap<TaskId, Seed> = ledger
        .tasks()
        .map(|task| (task.id, task.next_seed))
        .collect();
    ledger.attempts().try_for_each(|attempt| {
        let AttemptRecord {
            panda_id,
            attempt_nr,
            seed,
            ..
        } = attempt;
        let Some(task) = tasks.get(panda_id) else {
            return Err(format!(
                "attempt {attempt_nr} is of job {panda_id}, which is not there"
            ));
        };
        if let Some(other) = seen.insert((*task, *seed), attempt) {
            return Err(format!(
                "seed {seed} of task {task} is in jobs {} and {panda_id}",
                other.panda_id
            ));
        }
        let is_in_range = first_seed(*task) <= *seed && Some(seed) < next.get(task);
        holds(is_in_range, || {
            format!("seed {seed} of job {panda_id} is still to be handed out")
        })
    })
}

/// P3: every file that a job wrote is the one of its part, complete, and of a finished job.
pub fn outputs_are_registered_once(ledger: &MemoryLedger) -> Result<(), String> {
    let jobs: BTreeMap<PandaId, _> = ledger.jobs().map(|job| (job.panda_id, job)).collect();
    let mut names = BTreeMap::new();
    ledger.files().try_for_each(|file| {
        let Some(producer) = file.producer else {
            return Ok(());
        };
        if let Some(other) = names.insert((&file.scope, &file.lfn), file.id) {
            return Err(format!(
                "file `{}` is registered as {other} and {}",
                file.lfn, file.id
            ));
        }
        let is_of_job = ledger.is_dropped(producer)
            || jobs.get(&producer).is_some_and(|job| {
                // Outputs of jobs without a task come behind what their dataset has.
                // Each build job has a dataset of its own.
                let is_its_part = match job.kind {
                    JobKind::Direct => true,
                    JobKind::Build => file.part == 0,
                    JobKind::Run | JobKind::Scout | JobKind::Merge => job.part == file.part,
                    JobKind::Consumer => false,
                };
                has_outputs(ledger, job) && is_its_part
            });
        let is_complete = file.size.is_some() && file.checksum.is_some();
        holds(is_of_job && is_complete, || {
            format!(
                "file `{}` of job {producer} is incomplete or not of a finished job",
                file.lfn
            )
        })
    })
}

/// P3: a registered file never changes.
pub fn files_never_change(before: &MemoryLedger, after: &MemoryLedger) -> Result<(), String> {
    let now: BTreeMap<_, _> = after.files().map(|file| (file.id, file)).collect();
    before.files().try_for_each(|file| {
        let after = now.get(&file.id);
        holds(after == Some(&file), || {
            format!("file `{}` became {after:?}", file.lfn)
        })
    })
}

fn holds(is_so: bool, detail: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(detail()) }
}
