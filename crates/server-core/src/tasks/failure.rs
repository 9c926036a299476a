//! What the operator's rules do about a failed attempt: end the tries, limit them, give the job, or
//! its task, more memory or CPU time, or give later jobs less input.
//!
//! Which rule applies and what follows is told by `ailurus_jedi`. A rule that is not active only
//! says in the job's reason what it would do.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/retryModule.py` and `task_event_module.py`.

use std::collections::BTreeMap;

use ailurus_diagnosis::ErrorSource;
use ailurus_jedi::{
    RefinedTask, TaskResources,
    estimate::RAM_PERCENT,
    retry_rules::{
        self, Decision, ErrorClass, FailedJob, JobError, RetryAction,
        effects::{
            FailedInput, FailedRam, RamChange, increase_memory, increase_memory_xtimes,
            reduce_input,
        },
    },
    scouts::estimate,
};
use ailurus_model::{AttemptNr, ByteCount, JobStatus, Queue};

use crate::{
    ledger::{AttemptRecord, JobRecord, Ledger, LedgerError},
    operation::Operation,
    report::{Report, SUP_ERROR_CODE, SUP_ERROR_DIAG},
    tasks::{
        generate::numbers_per_job,
        record::{DATASETS_PER_STREAM, PandaTask, is_of_files},
    },
};

/// HS06 of a core where queues do not tell, thousandths.
const CORE_POWER_MILLI: u64 = 10_000;

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
                self.apply_rule(job, attempt, &decision.action)?;
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

    fn apply_rule(
        &mut self,
        job: &mut JobRecord,
        attempt: &AttemptRecord,
        action: &RetryAction,
    ) -> Result<(), LedgerError> {
        let most = match action {
            RetryAction::NoRetry => 0,
            RetryAction::LimitRetry { max_attempt } => *max_attempt,
            RetryAction::IncreaseMemory | RetryAction::IncreaseMemoryXtimes => {
                return self.give_memory_by_rule(job, action);
            }
            RetryAction::IncreaseCputime => return self.give_cpu_time(job, attempt),
            RetryAction::ReduceInputPerJob {
                steps,
                excluded_rules,
            } => return self.give_less_input(job, *steps, excluded_rules),
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
                self.put_refined(&mut task, refined)?;
            }
        }
        self.save_task(&mut task)
    }

    /// Puts the CPU time that a failed job used into what its task states, if that is more, and
    /// gives the job itself as much more wall time, if a queue has so much.
    fn give_cpu_time(
        &mut self,
        job: &mut JobRecord,
        attempt: &AttemptRecord,
    ) -> Result<(), LedgerError> {
        let Some(mut task) = self.load_task(job.task_id)? else {
            return Ok(());
        };
        let mut refined = task.refined()?.clone();
        let report = self.measured(&refined, job, attempt)?;
        let found = estimate(&refined, &[report], &self.ctx.limits.tasks.scouts);
        let (Some(time), Some(unit)) = (found.cpu_time, found.cpu_time_unit) else {
            return Ok(());
        };
        let needs = &mut refined.resources;
        let stated = needs.milli_hs06s_per_event().unwrap_or(0);
        (needs.cpu_time, needs.cpu_time_unit) = (time, Some(unit));
        let used = needs.milli_hs06s_per_event().unwrap_or(0);
        let Some(more) = used.checked_sub(stated).filter(|more| *more > 0) else {
            return Ok(());
        };
        let power = CORE_POWER_MILLI.saturating_mul(u64::from(job.cores.max(1)));
        let work = more.saturating_mul(job.n_events.max(1));
        let efficiency = u64::from(needs.cpu_efficiency_percent).max(1);
        let longer = (work / power).saturating_mul(100) / efficiency;
        self.put_refined(&mut task, refined)?;
        self.save_task(&mut task)?;
        self.give_walltime(job, job.walltime_secs.saturating_add(longer))
    }

    /// Gives a job more wall time, unless no queue that may run it has so much.
    fn give_walltime(&mut self, job: &mut JobRecord, wanted_s: u64) -> Result<(), LedgerError> {
        let wishes = self.wishes(job.task_id)?;
        let mut queues = self.ctx.queues.values();
        let has_time = |queue: &Queue| {
            let most = queue.max_time.as_secs();
            wishes.allow(queue) && (most == 0 || most >= wanted_s)
        };
        if queues.any(has_time) {
            job.walltime_secs = wanted_s;
        }
        Ok(())
    }

    /// Gives the jobs of a task that are made from now on less input. The failed job keeps its own.
    fn give_less_input(
        &mut self,
        job: &JobRecord,
        steps: [u32; 3],
        excluded: &[String],
    ) -> Result<(), LedgerError> {
        let Some(mut task) = self.load_task(job.task_id)? else {
            return Ok(());
        };
        let refined = task.refined()?.clone();
        let mut bytes = 0_u64;
        for need in self.ledger.needs_of(job.panda_id)? {
            let file = self.ledger.file_of_part(&need.dataset, need.part)?;
            let size = file.and_then(|file| file.size).unwrap_or_default();
            bytes = bytes.saturating_add(size.as_bytes());
        }
        let failed = FailedInput {
            attempt: job.attempt_nr.value(),
            bytes,
            files: self.master_files_of(job, &refined)?,
        };
        if let Some(rules) = reduce_input(&refined.rules, failed, steps, excluded) {
            self.put_refined(&mut task, RefinedTask { rules, ..refined })?;
            self.save_task(&mut task)?;
        }
        Ok(())
    }

    /// Says whether a job has failed as often as its task allows (`maxFailure`), by its attempts
    /// since it was given new ones; failures of the system do not count.
    pub(crate) fn has_failed_enough(&mut self, job: &JobRecord) -> Result<bool, LedgerError> {
        let task = self.panda_task(job.task_id)?;
        let attempts = task.as_ref().and_then(|task| task.refined.as_ref());
        let Some(attempts) = attempts.map(|refined| refined.attempts) else {
            return Ok(false);
        };
        let Some(most) = attempts.failures else {
            return Ok(false);
        };
        let first = job.max_attempts.saturating_sub(attempts.per_file) + 1;
        let mut failures = 0;
        for nr in first..=job.attempt_nr.value() {
            let attempt = self.ledger.attempt(job.panda_id, AttemptNr::new(nr))?;
            let failed = attempt.filter(|attempt| attempt.status == JobStatus::Failed);
            failures += u32::from(failed.is_some_and(|attempt| !self.is_of_system(&attempt)));
        }
        Ok(failures >= most)
    }

    fn is_of_system(&self, attempt: &AttemptRecord) -> bool {
        let report = Report::of_text(&attempt.report);
        // Which component of the server found an error is not kept: all are asked.
        let components = [
            ErrorSource::Dispatcher,
            ErrorSource::TaskBuffer,
            ErrorSource::Ddm,
            ErrorSource::Worker,
        ];
        components.into_iter().any(|component| {
            let errors = errors_of(attempt, Some(component), &report);
            let found = self.ctx.scheduling.retries.classify(&errors);
            found.is_some_and(|rule| rule.is_active && rule.class == ErrorClass::System)
        })
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
