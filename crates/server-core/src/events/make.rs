//! Cuts the events of a job into ranges, when its first attempt is given out.

use ailurus_jedi::Rule;
use ailurus_model::{EventStatus, JobKind, JobTags, PandaId, job_tags};

use super::{
    EventRole, NOBODY, PSEUDO_LFN,
    header::{ATTEMPTS_DEFAULT, Span, spans_of},
    set_of,
};
use crate::{
    ledger::{EventRangeRecord, FileRecord, InputNeed, JobRecord, JobText, Ledger, LedgerError},
    operation::Operation,
    tasks::stream_of,
};

/// The number of what stands for an input where there is none.
const PSEUDO_FILE: u64 = 0;

impl<L: Ledger> Operation<'_, L> {
    /// Sees to it that a job which is given out has ranges to take. `outputs` are the names that
    /// its attempt would give what it writes.
    pub(crate) fn prepare_events(
        &mut self,
        job: &JobRecord,
        outputs: &[ailurus_model::Lfn],
    ) -> Result<(), LedgerError> {
        let role = EventRole::of(&job.tags);
        if !role.takes_ranges() {
            return Ok(());
        }
        if role == EventRole::Takes {
            let names = serde_json::to_string(outputs).expect("names are JSON texts");
            let (id, nr) = (job.panda_id, job.attempt_nr);
            self.ledger
                .put_job_text(id, nr, JobText::EventOutputs, &names)?;
        }
        let set = set_of(self.ledger, job.panda_id)?;
        let counts = self.ledger.event_counts(set)?;
        if counts.is_empty() {
            let spans = self.event_spans(job)?;
            let ranges = cut(job, set, &spans, self.ctx.limits.event_ranges_per_job_max);
            return self.ledger.put_event_ranges(&ranges);
        }
        if counts.contains_key(&EventStatus::Ready) || !self.mates_of(job)?.is_empty() {
            return Ok(());
        }
        self.reopen_ranges(job)
    }

    /// Has whatever was given up of a job's ranges open again, because somebody has it tried again.
    pub(crate) fn reopen_ranges(&mut self, job: &JobRecord) -> Result<(), LedgerError> {
        if !EventRole::of(&job.tags).takes_ranges() {
            return Ok(());
        }
        let set = set_of(self.ledger, job.panda_id)?;
        let attempts = self.event_spans(job)?;
        let attempts = attempts
            .first()
            .map_or(ATTEMPTS_DEFAULT, |(_, span)| span.attempts);
        let given_up = [
            EventStatus::Failed,
            EventStatus::Discarded,
            EventStatus::Cancelled,
            EventStatus::Fatal,
            EventStatus::Corrupted,
        ];
        self.change_ranges(set, &given_up, |range| {
            release(range);
            range.attempts_left = attempts.max(1);
            true
        })?;
        Ok(())
    }

    /// Lists the files whose events a job works on, with their numbers.
    pub(super) fn event_files(
        &mut self,
        job: &JobRecord,
    ) -> Result<Vec<(u64, FileRecord)>, LedgerError> {
        let needs = self.ledger.needs_of(job.panda_id)?;
        let needs = self.usable_needs(job, &needs)?;
        let is_master = |need: &&InputNeed| stream_of(need.input) == Some(0);
        let needs: Vec<&InputNeed> = needs.into_iter().filter(is_master).collect();
        let files = self.inputs_of(job, &needs)?;
        let numbered = (1..).zip(files).map(|(nr, file)| {
            let known = file.id.value();
            (if known == 0 { nr } else { known }, file)
        });
        Ok(numbered.collect())
    }

    /// Lists what the ranges of a job are cut from, by file.
    fn event_spans(&mut self, job: &JobRecord) -> Result<Vec<(u64, Span)>, LedgerError> {
        let files = self.event_files(job)?;
        if job.kind == JobKind::Direct {
            let form = self.form_of(job)?;
            let spans = spans_of(form.attributes.text("specialHandling"));
            let mut known: Vec<(u64, Span)> = files
                .iter()
                .filter_map(|(nr, file)| Some((*nr, *spans.get(file.lfn.as_str())?)))
                .collect();
            let pseudo = spans.get(PSEUDO_LFN).filter(|_| files.is_empty());
            known.extend(pseudo.map(|span| (PSEUDO_FILE, *span)));
            return Ok(known);
        }
        let Some(definition) = self.panda_task(job.task_id)? else {
            return Ok(Vec::new());
        };
        let Some(refined) = &definition.refined else {
            return Ok(Vec::new());
        };
        let rules = &refined.rules;
        let is_clone = job.tags.value_of(job_tags::CLONING).is_some();
        let attempts = rules.positive(Rule::MaxAttemptEs);
        let attempts = attempts.and_then(|n| u32::try_from(n).ok());
        let shape = |start: u64, n_events: u64| Span {
            start,
            n_events,
            per_range: if is_clone {
                n_events.max(1)
            } else if job.tags.has(job_tags::FINE_GRAINED) {
                1
            } else {
                rules.positive(Rule::NEventsPerWorker).unwrap_or(1)
            },
            attempts: attempts.unwrap_or(ATTEMPTS_DEFAULT),
        };
        if files.is_empty() {
            let n_events = match (job.n_events, refined.amount.events_per_file) {
                (0, per_file) => per_file.unwrap_or(1),
                (n, _) => n,
            };
            return Ok(vec![(PSEUDO_FILE, shape(job.first_event, n_events))]);
        }
        let mut left = (job.n_events > 0).then_some(job.n_events);
        let mut start = job.first_event;
        let mut spans = Vec::new();
        for (nr, file) in &files {
            let all = refined
                .amount
                .events_per_file
                .or(file.n_events)
                .unwrap_or(1);
            let there = all.saturating_sub(start);
            let n_events = left.map_or(there, |left| left.min(there));
            left = left.map(|left| left - n_events);
            if n_events > 0 {
                spans.push((*nr, shape(start, n_events)));
            }
            start = 0;
        }
        Ok(spans)
    }
}

/// Makes a range ready for its next attempt.
pub(super) fn release(range: &mut EventRangeRecord) {
    range.status = EventStatus::Ready;
    range.attempt_nr = range.attempt_nr.saturating_add(1);
    range.holder = PandaId::default();
    range.held_by = NOBODY;
    range.object_store.clear();
    range.path_convention = None;
    range.archive.clear();
}

/// Cuts spans into ranges. They are larger than told where there would be more than `most`.
fn cut(job: &JobRecord, set: PandaId, spans: &[(u64, Span)], most: u32) -> Vec<EventRangeRecord> {
    let all: u64 = spans
        .iter()
        .map(|(_, span)| span.n_events)
        .fold(0, u64::saturating_add);
    // Each file may have one range that is not full.
    let most = u64::from(most).saturating_sub(spans.len() as u64).max(1);
    let least_size = all.div_ceil(most);
    let mut before = Positions::of(&job.tags);
    let mut ranges = Vec::new();
    for (file, span) in spans {
        let per_range = span.per_range.max(least_size).max(1);
        let mut done = 0;
        while done < span.n_events {
            let n = per_range.min(span.n_events - done);
            let first = span
                .start
                .saturating_add(before.events())
                .saturating_add(done)
                .saturating_add(1);
            ranges.push(EventRangeRecord {
                panda_id: set,
                file: *file,
                first_event: first,
                last_event: first.saturating_add(n - 1),
                attempt_nr: 1,
                attempts_left: span.attempts.max(1),
                status: EventStatus::Ready,
                holder: PandaId::default(),
                held_by: NOBODY,
                object_store: String::new(),
                path_convention: None,
                archive: String::new(),
                error_code: None,
                error_diag: String::new(),
            });
            done += n;
        }
        before.pass(span.n_events);
    }
    ranges
}

/// How events are numbered.
enum Positions {
    /// In each file from its beginning.
    InFile,
    /// Through all files: how many are behind.
    Running(u64),
}

impl Positions {
    fn of(tags: &JobTags) -> Self {
        if tags.has(job_tags::IN_FILE_POSITION) {
            Self::InFile
        } else {
            Self::Running(0)
        }
    }

    const fn events(&self) -> u64 {
        match self {
            Self::InFile => 0,
            Self::Running(before) => *before,
        }
    }

    const fn pass(&mut self, n: u64) {
        if let Self::Running(before) = self {
            *before = before.saturating_add(n);
        }
    }
}
