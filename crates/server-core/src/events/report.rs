//! What a message about ranges changes, and what is answered.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use ailurus_model::{
    Command, EventItem, EventMessage, EventReport, EventStatus, JobStatus, PandaId,
    event::EventOutcome,
};

use super::{RANGES_PER_CALL_MAX, RANGES_PER_STEP, may_report, set_of};
use crate::{
    Context,
    describe::command_text,
    ledger::{EventKey, EventRangeRecord, JobRecord, Ledger, LedgerError},
    operation::Operation,
    report::{N_EVENTS, Report},
    text::{DIAG_CHARS_MAX, NAME_CHARS_MAX, clipped},
};

/// The form of a message, as far as it matters for what it may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventVersion {
    /// Only ranges that were given out may be reported on: versions 0 and 1.
    AfterDispatch,
    /// So may others: version 2.
    BeforeDispatch,
}

/// What is answered to a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventAnswers {
    /// For each of its entries: whether what it says is known now; none for those that change
    /// nothing, and for those behind the first [`RANGES_PER_CALL_MAX`].
    pub returns: Vec<Option<bool>>,
    /// What each job that it is about is to do, as it is said to pilots; none if nothing.
    pub commands: BTreeMap<PandaId, Option<String>>,
}

/// Takes what jobs say has become of their ranges.
///
/// Only the attempt that has a range can say so: what an older one says is not taken, and it is
/// told to end. A range that has an outcome keeps it; the same word again is taken as said.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach or contradict each other.
pub fn update_event_ranges(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    message: &EventMessage,
    version: EventVersion,
) -> Result<EventAnswers, LedgerError> {
    let mut op = Operation::new(ctx, ledger);
    let mut jobs = BTreeMap::new();
    let mut answers = EventAnswers {
        returns: vec![None; message.items.len()],
        commands: BTreeMap::new(),
    };
    let n = message.items.len().min(RANGES_PER_CALL_MAX);
    for start in (0..n).step_by(RANGES_PER_STEP) {
        let end = n.min(start + RANGES_PER_STEP);
        let returns = &mut answers.returns[start..end];
        op.take_reports(message, start, returns, &mut jobs, version)?;
    }
    for (id, job) in jobs {
        let command = job.command();
        let text = command.as_ref().map(|command| command_text(Some(command)));
        answers.commands.insert(id, text);
        op.credit(job)?;
    }
    op.finish()?;
    Ok(answers)
}

/// A job that a message is about.
struct Reporting {
    /// Its row; none if it is not known or has ended.
    job: Option<JobRecord>,
    /// Events that are finished by this message.
    n_events: u64,
    /// Whether the message knows ranges as they are now; an older attempt does not.
    is_current: bool,
}

impl Reporting {
    fn command(&self) -> Option<Command> {
        match &self.job {
            Some(job) if self.is_current || job.command.is_some() => job.command.clone(),
            Some(_) | None => Some(Command::ToBeKilled),
        }
    }
}

impl<L: Ledger> Operation<'_, L> {
    fn take_reports(
        &mut self,
        message: &EventMessage,
        start: usize,
        returns: &mut [Option<bool>],
        jobs: &mut BTreeMap<PandaId, Reporting>,
        version: EventVersion,
    ) -> Result<(), LedgerError> {
        let items = &message.items[start..start + returns.len()];
        let mut of_jobs: BTreeMap<PandaId, Vec<(usize, &EventReport)>> = BTreeMap::new();
        for (nr, item) in items.iter().enumerate() {
            match item {
                EventItem::Progress => {}
                EventItem::Unreadable => returns[nr] = Some(false),
                EventItem::Outcome(report) => {
                    let of_job = of_jobs.entry(report.id.panda_id).or_default();
                    of_job.push((nr, report));
                }
            }
        }
        for (id, reports) in of_jobs {
            let of_job = match jobs.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => {
                    let job = self.ledger.job(id)?;
                    place.insert(Reporting {
                        job: job.filter(|job| !job.status.is_terminal()),
                        n_events: 0,
                        is_current: false,
                    })
                }
            };
            self.take_reports_of(message, &reports, returns, of_job, version)?;
        }
        Ok(())
    }

    fn take_reports_of(
        &mut self,
        message: &EventMessage,
        reports: &[(usize, &EventReport)],
        returns: &mut [Option<bool>],
        reporting: &mut Reporting,
        version: EventVersion,
    ) -> Result<(), LedgerError> {
        let Some(job) = &reporting.job else {
            reports
                .iter()
                .for_each(|(nr, _)| returns[*nr] = Some(false));
            return Ok(());
        };
        let keys: Vec<EventKey> = reports
            .iter()
            .map(|(_, report)| (report.id.file, report.id.first_event))
            .collect();
        let set = set_of(self.ledger, job.panda_id)?;
        let known = self.ledger.event_ranges_at(set, &keys)?;
        let mut known: BTreeMap<EventKey, EventRangeRecord> = known
            .into_iter()
            .map(|range| (range.key(), range))
            .collect();
        let may_report = may_report(job.status, version);
        let mut changed = Vec::new();
        let mut archives = BTreeSet::new();
        for (nr, report) in reports {
            let key = (report.id.file, report.id.first_event);
            let range = known.get_mut(&key).filter(|range| {
                range.attempt_nr == report.id.attempt_nr
                    && job.task_id == report.id.task_id
                    && (range.holder == job.panda_id || range.holder == PandaId::default())
            });
            let Some(range) = range else {
                returns[*nr] = Some(false);
                continue;
            };
            reporting.is_current = true;
            let archive = report.archive.and_then(|nr| message.archives.get(nr));
            let is_open = may_report && may_change(range.status, version);
            if is_open {
                note(range, report, archive.map(|one| one.lfn.as_str()));
                if range.holder != job.panda_id {
                    hold(range, job);
                }
                if job.status == JobStatus::Activated && range.status == EventStatus::Finished {
                    range.status = EventStatus::Done;
                }
                if report.outcome == EventOutcome::Finished {
                    reporting.n_events = reporting.n_events.saturating_add(range.n_events());
                }
                changed.push(key);
                archives.extend(report.archive);
            }
            returns[*nr] = Some(is_open || says_the_same(range.status, report.outcome));
        }
        for archive in archives
            .into_iter()
            .filter_map(|nr| message.archives.get(nr))
        {
            self.ledger.add_event_archive(set, archive)?;
        }
        changed.sort_unstable();
        changed.dedup();
        let changed: Vec<EventRangeRecord> = changed
            .iter()
            .filter_map(|key| known.get(key).cloned())
            .collect();
        self.ledger.put_event_ranges(&changed)
    }

    /// Notes how many events the current attempt of a job has done.
    fn credit(&mut self, reporting: Reporting) -> Result<(), LedgerError> {
        let Some(job) = reporting.job.filter(|_| reporting.n_events > 0) else {
            return Ok(());
        };
        let Some(mut attempt) = self.ledger.attempt(job.panda_id, job.attempt_nr)? else {
            return Ok(());
        };
        let mut report = Report::of_text(&attempt.report);
        let before = report.number(N_EVENTS).unwrap_or(0);
        report.put(N_EVENTS, before.saturating_add(reporting.n_events));
        attempt.report = report.into_text();
        self.ledger.put_attempt(&attempt)
    }
}

const fn may_change(status: EventStatus, version: EventVersion) -> bool {
    match status {
        EventStatus::Sent | EventStatus::Running => true,
        EventStatus::Ready => matches!(version, EventVersion::BeforeDispatch),
        EventStatus::Finished
        | EventStatus::Failed
        | EventStatus::Done
        | EventStatus::Merged
        | EventStatus::Discarded
        | EventStatus::Cancelled
        | EventStatus::Fatal
        | EventStatus::Corrupted => false,
    }
}

/// Says whether an outcome is what is known already.
const fn says_the_same(status: EventStatus, outcome: EventOutcome) -> bool {
    match outcome {
        EventOutcome::Finished => matches!(
            status,
            EventStatus::Finished | EventStatus::Done | EventStatus::Merged
        ),
        EventOutcome::Failed | EventOutcome::Fatal => {
            matches!(status, EventStatus::Failed | EventStatus::Fatal)
        }
    }
}

/// Notes that a job has a range that was not given out: an attempt of it has, if one is under way.
fn hold(range: &mut EventRangeRecord, job: &JobRecord) {
    range.holder = job.panda_id;
    if job.status != JobStatus::Activated {
        range.held_by = job.attempt_nr;
    }
}

fn note(range: &mut EventRangeRecord, report: &EventReport, archive: Option<&str>) {
    range.status = match report.outcome {
        EventOutcome::Finished => EventStatus::Finished,
        EventOutcome::Failed | EventOutcome::Fatal => EventStatus::Failed,
    };
    if report.outcome == EventOutcome::Fatal {
        range.attempts_left = 1;
    }
    range.object_store = clipped(&report.object_store, NAME_CHARS_MAX);
    range.path_convention = report.path_convention;
    range.error_code = report.error_code;
    range.error_diag = clipped(&report.error_diag, DIAG_CHARS_MAX);
    archive.unwrap_or_default().clone_into(&mut range.archive);
}
