//! What the operator's rules do about a failed attempt: end the tries, limit them, or give the job,
//! or its task, more memory.
//!
//! Which rule applies and what memory follows is told by `ailurus_jedi`. A rule that is not active
//! only says in the job's reason what it would do.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/retryModule.py` and `task_event_module.py`.

use std::{collections::BTreeMap, sync::Arc};

use ailurus_diagnosis::ErrorSource;
use ailurus_jedi::{
    RefinedTask, TaskResources,
    estimate::RAM_PERCENT,
    retry_rules::{
        self, Decision, FailedJob, JobError, RetryAction,
        effects::{FailedRam, RamChange, increase_memory, increase_memory_xtimes},
    },
};
use ailurus_model::ByteCount;

use crate::{
    ledger::{AttemptRecord, JobRecord, Ledger, LedgerError, PandaTaskRecord},
    operation::Operation,
    report::{Report, SUP_ERROR_CODE, SUP_ERROR_DIAG},
    tasks::{
        generate::numbers_per_job,
        record::{DATASETS_PER_STREAM, PandaTask, is_of_files, spec_of},
    },
};

/// What rules made of a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ruled {
    /// What is added to the reason, for people; empty without a rule.
    pub(crate) note: String,
    /// A rule was applied: the catalogue of errors is not followed.
    pub(crate) is_taken: bool,
}

impl<L: Ledger> Operation<'_, L> {
    /// Follows the operator's rules about a failed attempt, before it is decided whether the job is
    /// tried again.
    pub(crate) fn follow_retry_rules(
        &mut self,
        job: &mut JobRecord,
        attempt: &AttemptRecord,
        server: Option<ErrorSource>,
    ) -> Result<Ruled, LedgerError> {
        let mut ruled = Ruled::default();
        let report = Report::of_text(&attempt.report);
        let errors = errors_of(attempt, server, &report);
        for decision in self.decide_by_rules(job, &errors)? {
            let verb = if decision.is_active {
                "applies"
            } else {
                "would apply"
            };
            let word = word_of(&decision.action);
            ruled
                .note
                .push_str(&format!("; rule `{}` {verb} {word}", decision.rule));
            if decision.is_active {
                ruled.is_taken = true;
                self.apply_rule(job, &decision.action)?;
            }
        }
        Ok(ruled)
    }

    fn decide_by_rules(
        &mut self,
        job: &JobRecord,
        errors: &[JobError<'_>],
    ) -> Result<Vec<Decision>, LedgerError> {
        let task = self.panda_task(job.task_id)?;
        let refined = task.as_ref().and_then(|task| task.refined.as_ref());
        let failed = FailedJob {
            architecture: refined.map_or("", |task| &task.architecture),
            release: refined.map_or("", |task| &task.payload.release),
            work_queue: None,
        };
        let book = &self.ctx.scheduling.retries;
        Ok(book.decide(errors, &failed, self.ctx.now))
    }

    fn apply_rule(&mut self, job: &mut JobRecord, action: &RetryAction) -> Result<(), LedgerError> {
        let most = match action {
            RetryAction::NoRetry => 0,
            RetryAction::LimitRetry { max_attempt } => *max_attempt,
            RetryAction::IncreaseMemory | RetryAction::IncreaseMemoryXtimes => {
                return self.give_memory_by_rule(job, action);
            }
            // The server's configuration refuses rules with these.
            RetryAction::IncreaseCputime | RetryAction::ReduceInputPerJob { .. } => return Ok(()),
        };
        job.max_attempts = job.max_attempts.min(most.max(job.attempt_nr.value()));
        Ok(())
    }

    /// Gives a job, or its whole task if many of its files need it, more memory.
    fn give_memory_by_rule(
        &mut self,
        job: &mut JobRecord,
        action: &RetryAction,
    ) -> Result<(), LedgerError> {
        let Some(mut task) = self.load_task(job.task_id)? else {
            return self.raise_memory(job);
        };
        let refined = task.refined()?.clone();
        let needs = &refined.resources;
        let failed = FailedRam {
            asked_mb: job.memory.as_mib(),
            cores: job.cores.max(1),
        };
        let n_files = self.master_files_of(job, &refined)?;
        note_raised(&mut task, needs, failed, n_files);
        let files = files_by_memory(&task, needs.ram_mb);
        let change = if matches!(action, RetryAction::IncreaseMemoryXtimes) {
            increase_memory_xtimes(needs, &refined.rules, failed, &files)
        } else {
            increase_memory(needs, failed, &files)
        };
        match change {
            RamChange::None => return Ok(()),
            RamChange::Files(mb) => {
                self.give_memory(job, asked(needs, mb, failed.cores))?;
                if mb > needs.ram_mb {
                    *task.progress.raised.entry(mb).or_default() += n_files;
                }
            }
            RamChange::Task(mb) => {
                self.give_memory(job, asked(needs, mb, failed.cores))?;
                task.progress.raised.retain(|raised, _| *raised > mb);
                let mut refined = refined.clone();
                refined.resources.ram_mb = mb;
                self.put_resources(&mut task, refined)?;
            }
        }
        self.save_task(&mut task)
    }

    /// Goes on with what a task needs from now on.
    fn put_resources(
        &mut self,
        task: &mut PandaTask,
        refined: RefinedTask,
    ) -> Result<(), LedgerError> {
        let spec = Arc::new(spec_of(task.id(), &refined));
        let revised = PandaTaskRecord {
            id: task.id(),
            revision: task.record.revision.saturating_add(1),
            params: task.definition.params.clone(),
            refined: Some(refined),
        };
        let priority = task.progress.priority;
        self.put_revision(task, revised, spec)?;
        task.progress.priority = priority;
        Ok(())
    }

    /// Counts the files of the first stream that a job reads, or the numbers that stand for them.
    fn master_files_of(&self, job: &JobRecord, refined: &RefinedTask) -> Result<u64, LedgerError> {
        if !refined
            .master()
            .is_some_and(|master| is_of_files(master.kind))
        {
            return Ok(u64::from(numbers_per_job(refined)));
        }
        let needs = self.ledger.needs_of(job.panda_id)?;
        let of_master = needs.iter().filter(|need| need.input < DATASETS_PER_STREAM);
        Ok(u64::try_from(of_master.count()).unwrap_or(u64::MAX).max(1))
    }
}

/// Takes a job's files from among those with more memory, if it had more: it gets another amount.
fn note_raised(task: &mut PandaTask, needs: &TaskResources, failed: FailedRam, n_files: u64) {
    let whole = failed.asked_mb.saturating_mul(100) / RAM_PERCENT;
    let growing = whole.saturating_sub(needs.base_ram_mb);
    let used = if needs.ram_unit.is_per_core() {
        growing / u64::from(failed.cores)
    } else {
        growing
    };
    if let Some((_, n)) = task.progress.raised.range_mut(..=used).next_back() {
        *n = n.saturating_sub(n_files);
    }
    task.progress.raised.retain(|_, n| *n > 0);
}

/// Counts all files of a task's first stream by the memory that they ask for, MB.
fn files_by_memory(task: &PandaTask, ram_mb: u64) -> BTreeMap<u64, u64> {
    let master = task
        .progress
        .inputs
        .iter()
        .filter(|input| input.stream == 0);
    let all: u64 = master.map(|input| u64::from(input.parts.len())).sum();
    let mut files = task.progress.raised.clone();
    let raised: u64 = files.values().sum();
    *files.entry(ram_mb).or_default() += all.saturating_sub(raised);
    files
}

/// What a job asks for so that it is not taken for one of less memory later.
fn asked(needs: &TaskResources, ram_mb: u64, cores: u32) -> ByteCount {
    let growing = if needs.ram_unit.is_per_core() {
        ram_mb.saturating_mul(u64::from(cores))
    } else {
        ram_mb
    };
    let whole = growing.saturating_add(needs.base_ram_mb);
    ByteCount::from_mib(whole.saturating_mul(RAM_PERCENT).div_ceil(100))
}

/// Lists the errors of an attempt in the order in which rules are looked up: the pilot's, the
/// payload's, then what others found.
fn errors_of<'a>(
    attempt: &'a AttemptRecord,
    server: Option<ErrorSource>,
    report: &'a Report,
) -> Vec<JobError<'a>> {
    let known = [
        (retry_rules::ErrorSource::Pilot, &attempt.pilot_error),
        (retry_rules::ErrorSource::Payload, &attempt.payload_error),
        (source_of(server), &attempt.server_error),
    ];
    let mut errors: Vec<JobError<'a>> = known
        .into_iter()
        .filter_map(|(source, error)| {
            error.as_ref().map(|error| JobError {
                source,
                code: error.code,
                diag: &error.diag,
            })
        })
        .collect();
    errors.extend(attempt.payload_exit_code.map(|code| JobError {
        source: retry_rules::ErrorSource::ExitCode,
        code,
        diag: "",
    }));
    errors.extend(report.number(SUP_ERROR_CODE).map(|code| JobError {
        source: retry_rules::ErrorSource::Harvester,
        code: i64::try_from(code).unwrap_or(i64::MAX),
        diag: report.text(SUP_ERROR_DIAG),
    }));
    errors
}

/// The component of an error that the server found.
const fn source_of(server: Option<ErrorSource>) -> retry_rules::ErrorSource {
    match server {
        Some(ErrorSource::Pilot) => retry_rules::ErrorSource::Pilot,
        Some(ErrorSource::Payload) => retry_rules::ErrorSource::Payload,
        Some(ErrorSource::Ddm) => retry_rules::ErrorSource::Data,
        Some(ErrorSource::TaskBuffer) => retry_rules::ErrorSource::TaskBuffer,
        Some(ErrorSource::Worker) => retry_rules::ErrorSource::Harvester,
        Some(ErrorSource::Dispatcher) | None => retry_rules::ErrorSource::Dispatcher,
    }
}

/// The word of an action in a file of rules.
const fn word_of(action: &RetryAction) -> &'static str {
    match action {
        RetryAction::NoRetry => "no_retry",
        RetryAction::LimitRetry { .. } => "limit_retry",
        RetryAction::IncreaseMemory => "increase_memory",
        RetryAction::IncreaseMemoryXtimes => "increase_memory_xtimes",
        RetryAction::IncreaseCputime => "increase_cputime",
        RetryAction::ReduceInputPerJob { .. } => "reduce_input_per_job",
    }
}
