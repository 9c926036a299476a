//! Ranges of events that a job takes, does and reports one by one (PanDA's event service).
//!
//! ```text
//! attempt 1 ─ takes ranges ─ ends ─► attempt 2 ─ takes what is left ─ ends ─► attempt 3: merges
//! ```
//!
//! All of it is one job. Attempts take ranges until none is left; the attempt after that merges
//! what they wrote and writes the outputs. What a job is just now follows from its tags: see
//! [`EventRole`]. Ranges are cut when the first attempt is given out ([`make`]), are settled when
//! an attempt ends ([`end`]), and are the inputs of the merge ([`merge`]). What a merge finds
//! broken is done again ([`redo`]).
//!
//! A task may want several jobs to take from one set of ranges side by side ([`set`]), or several
//! copies of a job one of which counts ([`clones`]).
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/task_event_module.py`, and
//! `job_complex_module.py`, `ppEventServiceJob`. There each attempt is a job of its own, and what
//! they have in common is their job set.

mod clones;
mod end;
mod header;
mod make;
mod merge;
mod redo;
mod report;
mod set;

use ailurus_model::{
    AttemptNr, Command, EventRangeId, EventStatus, GivenRange, JobKind, JobStatus, JobTags,
    PandaId, TaskId, job_tags,
};

pub use self::report::{EventAnswers, EventVersion, update_event_ranges};
pub(crate) use self::{
    clones::is_clone, header::tags_without_header, merge::fit_payload, set::is_resting,
};
use crate::{
    Context,
    ledger::{EventRangeRecord, FileRecord, JobRecord, Ledger, LedgerError},
    operation::Operation,
};

/// Ranges that one call may name; more are passed over, as PanDA does.
pub const RANGES_PER_CALL_MAX: usize = 100_000;
/// Ranges that are read and written at a time.
const RANGES_PER_STEP: usize = 5_000;
/// The name of what stands for an input where there is none.
const PSEUDO_LFN: &str = "pseudo_lfn";

/// What a job has to do with ranges of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventRole {
    /// Nothing.
    None,
    /// Its attempts take ranges until none is left.
    Takes,
    /// All of its ranges have ended; it merges what was written.
    Merges,
    /// It takes ranges, but its end is that of any job.
    TakesBeside,
}

impl EventRole {
    pub(crate) fn of(tags: &JobTags) -> Self {
        if tags.has(job_tags::EVENT_MERGE) {
            Self::Merges
        } else if tags.has(job_tags::FINE_GRAINED) || tags.value_of(job_tags::CLONING).is_some() {
            Self::TakesBeside
        } else if tags.has(job_tags::EVENT_SERVICE) {
            Self::Takes
        } else {
            Self::None
        }
    }

    /// Whether jobs of this kind ask for ranges.
    pub(crate) const fn takes_ranges(self) -> bool {
        matches!(self, Self::Takes | Self::TakesBeside)
    }
}

/// Says whether jobs with these tags ask for ranges.
pub(crate) fn takes_ranges(tags: &JobTags) -> bool {
    EventRole::of(tags).takes_ranges()
}

/// PanDA's number of what a job has to do with events (`eventService`), none if nothing.
pub(crate) fn event_service_number(tags: &JobTags) -> Option<u64> {
    if tags.has(job_tags::FINE_GRAINED) {
        return Some(6);
    }
    match EventRole::of(tags) {
        EventRole::None => None,
        EventRole::Takes => Some(1),
        EventRole::Merges => Some(2),
        EventRole::TakesBeside => Some(3),
    }
}

/// Gives a job ranges that nobody has, `n` at most, by rising file, then event. A job that may take
/// none gets none: one that is unknown, is not with a pilot, or is to end.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach or contradict each other.
pub fn acquire_event_ranges(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    id: PandaId,
    task: Option<TaskId>,
    n: usize,
) -> Result<Vec<GivenRange>, LedgerError> {
    let Some(job) = ledger.job(id)? else {
        return Ok(Vec::new());
    };
    let is_its_task = task.is_none_or(|task| task == job.task_id);
    let is_to_end = job.command == Some(Command::ToBeKilled);
    let takes = EventRole::of(&job.tags).takes_ranges();
    if !job.status.is_with_pilot() || !is_its_task || is_to_end || !takes {
        return Ok(Vec::new());
    }
    let mut op = Operation::new(ctx, ledger);
    let ranges = op.take_ranges(&job, n.min(RANGES_PER_CALL_MAX))?;
    let mut given_out = Vec::with_capacity(ranges.len());
    if !ranges.is_empty() {
        let files = op.event_files(&job)?;
        given_out.extend(ranges.iter().map(|range| given(&job, &files, range)));
    }
    op.after_taking(job, !ranges.is_empty())?;
    op.finish()?;
    Ok(given_out)
}

fn given(job: &JobRecord, files: &[(u64, FileRecord)], range: &EventRangeRecord) -> GivenRange {
    let file = files.iter().find(|(number, _)| *number == range.file);
    let file = file.map(|(_, file)| file);
    GivenRange {
        id: id_of(job, range),
        first_event: range.first_event,
        last_event: range.last_event,
        lfn: file.map_or_else(|| PSEUDO_LFN.into(), |file| file.lfn.clone()),
        guid: file.and_then(|file| file.guid.clone()),
        scope: file.map(|file| file.scope.clone()).unwrap_or_default(),
    }
}

pub(crate) fn id_of(job: &JobRecord, range: &EventRangeRecord) -> EventRangeId {
    EventRangeId {
        task_id: job.task_id,
        panda_id: range.named_by(),
        file: range.file,
        first_event: range.first_event,
        attempt_nr: range.attempt_nr,
    }
}

/// Counts the ranges that nobody has and a job may take.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn count_event_ranges(
    ledger: &impl Ledger,
    id: PandaId,
    task: Option<TaskId>,
) -> Result<u64, LedgerError> {
    let Some(job) = ledger.job(id)? else {
        return Ok(0);
    };
    if task.is_some_and(|task| task != job.task_id) {
        return Ok(0);
    }
    let counts = ledger.event_counts(set_of(ledger, id)?)?;
    Ok(counts.get(&EventStatus::Ready).copied().unwrap_or(0))
}

/// What a range is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRangeState {
    /// The range.
    pub id: EventRangeId,
    /// What it is.
    pub status: EventStatus,
    /// Its last error, if there was one.
    pub error_code: Option<i64>,
    /// The words for it.
    pub error_diag: String,
}

/// Lists what the ranges of a job are, by rising file, then event,
/// [`RANGES_PER_CALL_MAX`] at most; none if the job is not of this task. One that takes from the
/// ranges of another job has those that it took.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn event_range_states(
    ledger: &impl Ledger,
    id: PandaId,
    task: TaskId,
) -> Result<Vec<EventRangeState>, LedgerError> {
    let Some(job) = ledger.job(id)?.filter(|job| job.task_id == task) else {
        return Ok(Vec::new());
    };
    let set = set_of(ledger, id)?;
    let mut ranges = ledger.event_ranges_in(set, EventStatus::ALL, None, RANGES_PER_CALL_MAX)?;
    ranges.retain(|range| job.kind != JobKind::Consumer || range.holder == id);
    let states = ranges.into_iter().map(|range| EventRangeState {
        id: id_of(&job, &range),
        status: range.status,
        error_code: range.error_code,
        error_diag: range.error_diag,
    });
    Ok(states.collect())
}

/// Returns under which number the ranges are kept that a job may take.
fn set_of(ledger: &impl Ledger, job: PandaId) -> Result<PandaId, LedgerError> {
    Ok(ledger.event_set_of(job)?.unwrap_or(job))
}

impl<L: Ledger> Operation<'_, L> {
    /// Gives the current attempt of a job ranges that nobody has.
    fn take_ranges(
        &mut self,
        job: &JobRecord,
        n: usize,
    ) -> Result<Vec<EventRangeRecord>, LedgerError> {
        let set = set_of(self.ledger, job.panda_id)?;
        let mut ranges = self
            .ledger
            .event_ranges_in(set, &[EventStatus::Ready], None, n)?;
        for range in &mut ranges {
            range.status = EventStatus::Sent;
            range.holder = job.panda_id;
            range.held_by = job.attempt_nr;
        }
        if !ranges.is_empty() {
            self.ledger.put_event_ranges(&ranges)?;
        }
        Ok(ranges)
    }

    /// Changes the ranges of a set that have one of these statuses, and returns how many were
    /// changed: `change` says whether it did.
    fn change_ranges(
        &mut self,
        set: PandaId,
        statuses: &[EventStatus],
        mut change: impl FnMut(&mut EventRangeRecord) -> bool,
    ) -> Result<u64, LedgerError> {
        let mut after = None;
        let mut n = 0;
        loop {
            let mut ranges = self
                .ledger
                .event_ranges_in(set, statuses, after, RANGES_PER_STEP)?;
            let Some(last) = ranges.last() else {
                return Ok(n);
            };
            after = Some(last.key());
            ranges.retain_mut(&mut change);
            n += u64::try_from(ranges.len()).unwrap_or(u64::MAX);
            self.ledger.put_event_ranges(&ranges)?;
        }
    }
}

/// Says that no attempt has a range.
const NOBODY: AttemptNr = AttemptNr::new(0);

/// Says whether a job is one whose ranges may be reported on.
const fn may_report(status: JobStatus, version: EventVersion) -> bool {
    match status {
        JobStatus::Sent | JobStatus::Starting | JobStatus::Running | JobStatus::Transferring => {
            true
        }
        JobStatus::Activated => matches!(version, EventVersion::BeforeDispatch),
        JobStatus::Pending
        | JobStatus::Defined
        | JobStatus::Assigned
        | JobStatus::Holding
        | JobStatus::Merging
        | JobStatus::Finished
        | JobStatus::Failed
        | JobStatus::Cancelled
        | JobStatus::Closed => false,
    }
}

#[cfg(test)]
mod tests;
