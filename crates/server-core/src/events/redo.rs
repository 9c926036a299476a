//! A merge that cannot read what was written of some ranges has these done again.
//!
//! The pilot of the merge names the files (`corruptedFiles`). Their ranges lose an attempt and are
//! open again, and the job takes them as before it merged. A storage that is away for a while
//! (1099) is no reason until the same file was named three times.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/task_event_module.py`,
//! `setCorruptedEventRanges`; `metrics_module.py`, `checkFailureCountWithCorruptedFiles`. There the
//! input is tried again by other jobs, which do the ranges that are `corrupted`.

use std::collections::{BTreeMap, BTreeSet};

use ailurus_model::{AttemptNr, ByteCount, EventStatus, JobStatus, PandaId, job_tags};
use serde::{Deserialize, Serialize};

use super::{EventRole, id_of, make::release, set_of};
use crate::{
    ledger::{AttemptRecord, JobRecord, JobText, Ledger, LedgerError},
    operation::Operation,
    report::{CORRUPTED_FILES, Report},
};

/// The pilot's errors by which PanDA takes inputs for broken or lost, among them checksums that
/// differ (1171, 1145) and files that are not there (1103).
const BROKEN: [i64; 4] = [1171, 1145, 1175, 1103];
/// The pilot's error by which inputs could not be fetched, perhaps for now only.
const NOT_FETCHED: i64 = 1099;
/// How often a file must have been named until it counts as broken for this error.
const NOT_FETCHED_MAX: usize = 3;
/// Texts that are of a job, not of one of its attempts.
const WHOLE_JOB: AttemptNr = AttemptNr::new(0);

/// What a job asks for while it takes ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BeforeMerge {
    priority: i64,
    cores: u32,
    memory_bytes: u64,
    /// Attempts that it may have.
    attempts: u32,
}

impl BeforeMerge {
    pub(super) fn of(job: &JobRecord) -> Self {
        Self {
            priority: job.priority,
            cores: job.cores,
            memory_bytes: job.memory.as_bytes(),
            attempts: job.max_attempts,
        }
    }
}

impl<L: Ledger> Operation<'_, L> {
    pub(super) fn keep_before_merge(
        &mut self,
        job: &JobRecord,
        before: &BeforeMerge,
    ) -> Result<(), LedgerError> {
        let text = serde_json::to_string(before).expect("numbers are JSON");
        let id = job.panda_id;
        self.ledger
            .put_job_text(id, WHOLE_JOB, JobText::BeforeMerge, &text)
    }

    /// Reads how many cores a job had before it merged.
    pub(crate) fn cores_before_merge(&self, job: &JobRecord) -> Result<u32, LedgerError> {
        let before = self.before_merge(job)?;
        Ok(before.map_or(job.cores, |before| before.cores))
    }

    fn before_merge(&self, job: &JobRecord) -> Result<Option<BeforeMerge>, LedgerError> {
        let id = job.panda_id;
        let text = self.ledger.job_text(id, WHOLE_JOB, JobText::BeforeMerge)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Has ranges done again whose outputs a merge could not read, and says whether there were any.
    /// The attempt has ended; `why` says how.
    pub(crate) fn redo_unreadable(
        &mut self,
        job: &JobRecord,
        attempt: &AttemptRecord,
        why: &str,
    ) -> Result<bool, LedgerError> {
        if EventRole::of(&job.tags) != EventRole::Merges {
            return Ok(false);
        }
        let broken = self.broken_inputs(job, attempt)?;
        if broken.is_empty() || self.give_up_done(job, &broken)? == 0 {
            return Ok(false);
        }
        let mut job = job.clone();
        job.tags.remove(job_tags::EVENT_MERGE);
        job.tags.insert(job_tags::EVENT_SERVICE);
        let attempts = match self.before_merge(&job)? {
            Some(before) => {
                job.priority = before.priority;
                job.cores = before.cores;
                job.memory = ByteCount::from_bytes(before.memory_bytes);
                before.attempts
            }
            None => self.spec(job.task_id)?.max_attempts,
        };
        self.class_of(job.cores, job.memory)
            .clone_into(&mut job.resource_type);
        job.max_attempts = job.attempt_nr.value().saturating_add(attempts.max(1));
        self.go_on_with_events(job, why)?;
        Ok(true)
    }

    /// Names the files that a failed merge could not read, if its error speaks of that.
    fn broken_inputs(
        &self,
        job: &JobRecord,
        attempt: &AttemptRecord,
    ) -> Result<BTreeSet<String>, LedgerError> {
        let code = attempt.pilot_error.as_ref().map_or(0, |error| error.code);
        let mut named = named_by(attempt);
        if code == NOT_FETCHED {
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for nr in 1..=job.attempt_nr.value() {
                let one = self.ledger.attempt(job.panda_id, AttemptNr::new(nr))?;
                let one = one.filter(|one| one.status == JobStatus::Failed);
                for file in one.as_ref().map(named_by).unwrap_or_default() {
                    *counts.entry(file).or_default() += 1;
                }
            }
            named.retain(|file| counts.get(file).copied().unwrap_or(0) >= NOT_FETCHED_MAX);
        } else if !BROKEN.contains(&code) {
            named.clear();
        }
        Ok(named)
    }

    /// Opens the ranges again whose outputs are in these files, and returns how many there were.
    fn give_up_done(
        &mut self,
        job: &JobRecord,
        files: &BTreeSet<String>,
    ) -> Result<u64, LedgerError> {
        let set = set_of(self.ledger, job.panda_id)?;
        let mut writers: BTreeMap<(PandaId, AttemptNr), Vec<String>> = BTreeMap::new();
        let done = [EventStatus::Done];
        for id in self.takers_of(job.panda_id)? {
            let member = self.job(id)?;
            for nr in 1..=member.attempt_nr.value() {
                let nr = AttemptNr::new(nr);
                writers.insert((id, nr), self.names_in(id, nr)?);
            }
        }
        self.change_ranges(set, &done, |range| {
            let names = writers.get(&(range.named_by(), range.held_by));
            let id = id_of(job, range);
            let is_of = |base: &String| files.contains(&format!("{base}.{id}"));
            let is_broken = files.contains(&range.archive)
                || range.archive.is_empty() && names.is_some_and(|names| names.iter().any(is_of));
            if is_broken {
                range.attempts_left = range.attempts_left.saturating_sub(1);
                if range.attempts_left == 0 {
                    range.status = EventStatus::Corrupted;
                } else {
                    release(range);
                }
            }
            is_broken
        })
    }
}

/// Names the files that an attempt reported as unreadable.
fn named_by(attempt: &AttemptRecord) -> BTreeSet<String> {
    let report = Report::of_text(&attempt.report);
    let names = report.text(CORRUPTED_FILES).split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(|name| name.trim_start_matches("zip://").to_owned())
        .collect()
}
