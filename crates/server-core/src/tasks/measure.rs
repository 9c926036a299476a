//! What the first few jobs of a task measured, and what follows for the others.
//!
//! The arithmetic is that of `ailurus_jedi`; this file collects the measures from the attempts that
//! finished, and goes on with a new revision of the task.

use std::sync::Arc;

use ailurus_jedi::{
    RefinedTask,
    scouts::{ExpectedJobs, ScoutReport, estimate, exhausted},
};
use ailurus_model::{AttemptNr, JobKind, JobStatus, job_tags};

use crate::{
    ledger::{AttemptRecord, JobRecord, Ledger, LedgerError},
    operation::Operation,
    report::{N_EVENTS, Report},
    tasks::{
        define::run_datasets,
        record::{PandaTask, is_of_files},
    },
};

impl<L: Ledger> Operation<'_, L> {
    /// Puts what the first few jobs measured into what the others ask for. Returns why a person
    /// should look first, if one should.
    pub(super) fn apply_measures(
        &mut self,
        task: &mut PandaTask,
    ) -> Result<Option<String>, LedgerError> {
        let definition = Arc::clone(&task.definition);
        let Some(stated) = &definition.refined else {
            return Ok(None);
        };
        let mut reports = Vec::new();
        let done = [JobStatus::Finished, JobStatus::Merging];
        for id in self.ledger.jobs_of_task(task.id(), &done)? {
            let job = self.job(id)?;
            if job.kind != JobKind::Scout {
                continue;
            }
            // A merge of ranges of events tells nothing about the work.
            if job.tags.has(job_tags::EVENT_MERGE) {
                reports.extend(self.measured_by_takers(stated, &job)?);
            } else if let Some(attempt) = self.ledger.attempt(id, job.attempt_nr)? {
                reports.push(self.measured(stated, &job, &attempt)?);
            }
        }
        if reports.is_empty() {
            return Ok(None);
        }
        let settings = &self.ctx.limits.tasks.scouts;
        let found = estimate(stated, &reports, settings);
        let mut refined = stated.clone();
        found.apply(&mut refined);
        let expected = expected_jobs(task, u64::try_from(reports.len()).unwrap_or(1));
        let why = exhausted(stated, &mut refined, &found, &reports, expected, settings);
        self.put_refined(task, refined)?;
        Ok(why.map(|why| why.to_string()))
    }

    /// Adds up what all attempts measured that did ranges of events which a job has merged, as if
    /// one had done them all.
    fn measured_by_takers(
        &self,
        refined: &RefinedTask,
        merge: &JobRecord,
    ) -> Result<Option<ScoutReport>, LedgerError> {
        let cores = self.cores_before_merge(merge)?;
        let mut sum: Option<ScoutReport> = None;
        for id in self.takers_of(merge.panda_id)? {
            let last = self.job(id)?.attempt_nr.value();
            for nr in 1..=last {
                let Some(attempt) = self.ledger.attempt(id, AttemptNr::new(nr))? else {
                    continue;
                };
                let events = Report::of_text(&attempt.report).number(N_EVENTS);
                let Some(events) = events.filter(|events| *events > 0) else {
                    continue;
                };
                let one = ScoutReport {
                    events,
                    cores,
                    ..self.measured(refined, merge, &attempt)?
                };
                sum = Some(match sum {
                    None => one,
                    Some(sum) => added(sum, &one, refined.resources.base_walltime_s),
                });
            }
        }
        Ok(sum)
    }

    /// Collects what one attempt of a job measured.
    pub(super) fn measured(
        &self,
        refined: &RefinedTask,
        job: &JobRecord,
        attempt: &AttemptRecord,
    ) -> Result<ScoutReport, LedgerError> {
        let needs = self.ledger.needs_of(job.panda_id)?;
        let mut input_bytes = 0_u64;
        let mut file_events = 0_u64;
        for need in &needs {
            if let Some(file) = self.ledger.file_of_part(&need.dataset, need.part)? {
                let size = file.size.unwrap_or_default().as_bytes();
                input_bytes = input_bytes.saturating_add(size);
                file_events = file_events.saturating_add(file.n_events.unwrap_or(0));
            }
        }
        let mut output_bytes = 0_u64;
        for dataset in run_datasets(refined, job.task_id) {
            let file = self.ledger.file_of_part(&dataset, job.part)?;
            let size = file.and_then(|file| file.size).unwrap_or_default();
            output_bytes = output_bytes.saturating_add(size.as_bytes());
        }
        let report = Report::of_text(&attempt.report);
        let started = attempt.started.unwrap_or(attempt.sent);
        let span = attempt.ended.map(|ended| ended.since(started).as_secs());
        let metrics = report.text("jobMetrics").to_owned();
        let metric = |name: &str| {
            let mut pairs = metrics.split_whitespace();
            let value = pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.and_then(|value| value.parse::<u64>().ok())
        };
        let disk = report.number("totRBYTES").zip(report.number("totWBYTES"));
        Ok(ScoutReport {
            input_bytes,
            events: job.n_events.max(file_events),
            is_pseudo: !refined.master().is_some_and(|one| is_of_files(one.kind)),
            output_bytes,
            work_dir_bytes: metric("workDirSize"),
            cpu_time_s: attempt.cpu_secs.unwrap_or(0),
            walltime_s: span.unwrap_or(0),
            cores: job.cores,
            core_power_milli: 0,
            max_pss_kb: report
                .number("maxPSS")
                .or(attempt.rss_max.map(|rss| rss.as_bytes() / 1024))
                .unwrap_or(0),
            disk_kib: disk.map(|(read, written)| read.saturating_add(written)),
            was_forced_to_copy: true,
        })
    }
}

/// Adds what another attempt measured that worked on the same input for the same output. Each has
/// a time before its first event, which only counts once.
fn added(sum: ScoutReport, one: &ScoutReport, base_walltime_s: u64) -> ScoutReport {
    let walltime_s = one.walltime_s.saturating_sub(base_walltime_s);
    ScoutReport {
        events: sum.events.saturating_add(one.events),
        work_dir_bytes: sum.work_dir_bytes.max(one.work_dir_bytes),
        cpu_time_s: sum.cpu_time_s.saturating_add(one.cpu_time_s),
        walltime_s: sum.walltime_s.saturating_add(walltime_s),
        max_pss_kb: sum.max_pss_kb.max(one.max_pss_kb),
        disk_kib: match (sum.disk_kib, one.disk_kib) {
            (Some(sum), Some(one)) => Some(sum.saturating_add(one)),
            (sum, one) => sum.or(one),
        },
        ..sum
    }
}

/// How many jobs are still to be made, if the others are like the first ones.
fn expected_jobs(task: &PandaTask, scouts: u64) -> ExpectedJobs {
    let master = task
        .progress
        .inputs
        .iter()
        .filter(|input| input.stream == 0);
    let (files, taken) = master.fold((0_u64, 0_u64), |(files, taken), input| {
        let n_files = u64::from(input.parts.len());
        (files + n_files, taken + u64::from(input.n_taken))
    });
    let per_job = taken.checked_div(scouts).unwrap_or(1).max(1);
    let by_files = files.div_ceil(per_job);
    ExpectedJobs {
        new: by_files.saturating_sub(scouts),
        by_files,
        by_events: 0,
    }
}
