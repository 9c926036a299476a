//! What Harvester and pilots say about workers, and what follows for the jobs in them.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/worker_module.py`, `updateWorkers`.

use ailurus_diagnosis::ErrorSource;
use ailurus_model::{HarvesterId, NodeName, Timestamp, Worker, WorkerDetail, WorkerId, WorkerSync};

use crate::{
    Context,
    attempt_end::ServerError,
    ledger::{AttemptRecord, JobRecord, Ledger, LedgerError, PilotPhase, WorkerPilotRecord},
    operation::Operation,
    report::{Report, SUP_ERROR_CODE, SUP_ERROR_DIAG},
    text::{DIAG_CHARS_MAX, clipped},
};

/// PanDA's `taskBufferErrorCode` for a job whose worker has ended.
const WORKER_DONE: i64 = 300;

/// Takes in what Harvester reports about its workers. Says for each that it was taken in.
///
/// A worker that has ended keeps that status for `limits.worker_final_sticky`, whatever comes in.
/// What a report does not say stays as it was. Where the end of a worker is known for sure, jobs
/// that a pilot has in it will not report any more: their attempts fail at once.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn update_workers(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    workers: &[Worker],
) -> Result<Vec<bool>, LedgerError> {
    let mut op = Operation::new(ctx, ledger);
    for worker in workers {
        op.update_worker(worker)?;
    }
    op.finish()?;
    Ok(vec![true; workers.len()])
}

/// Notes that a pilot has begun or ended, and on which node. The row of a worker that is not known
/// is left to its Harvester, which will tell of it.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn note_worker_pilot(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    harvester: &HarvesterId,
    worker: WorkerId,
    phase: PilotPhase,
    node: &NodeName,
) -> Result<(), LedgerError> {
    note_pilot(ctx, ledger, harvester, worker, phase)?;
    let Some(mut worker) = ledger.worker(harvester, worker)? else {
        return Ok(());
    };
    if !node.is_empty() {
        worker.node = node.clone();
    }
    let time = match phase {
        PilotPhase::Started => &mut worker.start_time,
        PilotPhase::Finished => &mut worker.end_time,
    };
    time.get_or_insert(ctx.now);
    ledger.put_worker(&worker, ctx.now)
}

fn note_pilot(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    harvester: &HarvesterId,
    worker: WorkerId,
    phase: PilotPhase,
) -> Result<(), LedgerError> {
    let known = ledger.worker_pilot(harvester, worker)?;
    let mut pilot = known.unwrap_or_else(|| WorkerPilotRecord {
        harvester: harvester.clone(),
        worker,
        phase,
        started: None,
        ended: None,
        changed: ctx.now,
        synced: None,
    });
    pilot.phase = phase;
    pilot.changed = ctx.now;
    let time = match phase {
        PilotPhase::Started => &mut pilot.started,
        PilotPhase::Finished => &mut pilot.ended,
    };
    time.get_or_insert(ctx.now);
    ledger.put_worker_pilot(&pilot)
}

impl<L: Ledger> Operation<'_, L> {
    fn update_worker(&mut self, report: &Worker) -> Result<(), LedgerError> {
        let known = self.ledger.worker(&report.harvester_id, report.worker_id)?;
        let mut worker = match &known {
            Some(known) => self.merged(known, report),
            None => report.clone(),
        };
        if worker.status.is_terminal() {
            worker.end_time.get_or_insert(self.ctx.now);
        }
        worker.diag = clipped(&worker.diag, DIAG_CHARS_MAX);
        self.ledger.put_worker(&worker, self.ctx.now)?;
        self.link_jobs(&worker)?;
        self.note_error_of(&worker)?;
        if worker.status.is_terminal() && worker.detail.sync == WorkerSync::EndsJobs {
            self.fail_jobs_of(&worker)?;
        }
        Ok(())
    }

    /// Joins a report with what is known: what it does not say stays.
    fn merged(&self, known: &Worker, report: &Worker) -> Worker {
        let mut worker = report.clone();
        let ended = known.end_time.filter(|_| known.status.is_terminal());
        let is_sticky = |ended| self.ctx.now.since(ended) < self.ctx.limits.worker_final_sticky;
        if ended.is_some_and(is_sticky) {
            worker.status = known.status;
        }
        if worker.batch_id.is_empty() {
            worker.batch_id = known.batch_id.clone();
        }
        if worker.queue.is_empty() {
            worker.queue = known.queue.clone();
        }
        if worker.node.is_empty() {
            worker.node = known.node.clone();
        }
        if worker.core_count == 0 {
            worker.core_count = known.core_count;
        }
        if worker.diag.is_empty() {
            worker.diag.clone_from(&known.diag);
        }
        if worker.panda_ids.is_empty() {
            worker.panda_ids.clone_from(&known.panda_ids);
        }
        worker.submit_time = worker.submit_time.or(known.submit_time);
        worker.start_time = worker.start_time.or(known.start_time);
        worker.end_time = worker.end_time.or(known.end_time);
        worker.exit_code = worker.exit_code.or(known.exit_code);
        worker.detail = merged_detail(&known.detail, worker.detail);
        worker
    }

    /// Links jobs that Harvester took itself to the worker that it submitted for them.
    ///
    /// Only a worker that was submitted after the attempt was given out can have it: a late report
    /// of the worker of an earlier attempt must not claim the next one.
    fn link_jobs(&mut self, worker: &Worker) -> Result<(), LedgerError> {
        let Some(submitted) = worker.submit_time else {
            return Ok(());
        };
        self.ledger.expect_jobs(&worker.panda_ids)?;
        for id in &worker.panda_ids {
            let Some(mut job) = self.ledger.job(*id)? else {
                continue;
            };
            if job.worker.is_some() || !job.status.is_with_pilot() {
                continue;
            }
            if self.attempt(&job)?.sent <= submitted {
                job.worker = Some((worker.harvester_id.clone(), worker.worker_id));
                self.ledger.put_job(&job)?;
            }
        }
        Ok(())
    }

    /// Copies the error of a worker to the attempts that it has.
    fn note_error_of(&mut self, worker: &Worker) -> Result<(), LedgerError> {
        let error = worker.detail.error.as_ref().filter(|it| it.code != 0);
        let Some(error) = error else {
            return Ok(());
        };
        for job in self.jobs_inside(worker)? {
            let mut attempt = self.attempt(&job)?;
            let diag = format!("Diag from worker : {}", worker.diag);
            note_sup_error(&mut attempt, error.code, &diag);
            self.ledger.put_attempt(&attempt)?;
        }
        Ok(())
    }

    fn fail_jobs_of(&mut self, worker: &Worker) -> Result<(), LedgerError> {
        for job in self.jobs_inside(worker)? {
            // It may have ended with one before it, or taken its place.
            let before = job.status;
            let job = self.job(job.panda_id)?;
            if job.status != before {
                continue;
            }
            let error = worker_done(worker, &job);
            self.fail_by_server(job, error)?;
        }
        Ok(())
    }

    /// Reads the jobs that the pilot in a worker has. One that holds its final report back is none
    /// of them: another pilot may still recover it.
    fn jobs_inside(&self, worker: &Worker) -> Result<Vec<JobRecord>, LedgerError> {
        let (harvester, worker) = (&worker.harvester_id, worker.worker_id);
        let ids = self.ledger.jobs_of_worker(harvester, worker)?;
        self.ledger.expect_jobs(&ids)?;
        let jobs = ids.into_iter().map(|id| self.job(id));
        jobs.filter(|job| job.as_ref().map_or(true, |job| job.status.is_with_pilot()))
            .collect()
    }
}

/// Joins details: what the report does not say stays.
fn merged_detail(known: &WorkerDetail, report: WorkerDetail) -> WorkerDetail {
    let mut detail = report;
    for (new, old) in [
        (&mut detail.computing_element, &known.computing_element),
        (&mut detail.submission_host, &known.submission_host),
        (&mut detail.harvester_host, &known.harvester_host),
        (&mut detail.native_status, &known.native_status),
        (&mut detail.stdout_url, &known.stdout_url),
        (&mut detail.stderr_url, &known.stderr_url),
        (&mut detail.batch_log_url, &known.batch_log_url),
        (&mut detail.jdl_url, &known.jdl_url),
    ] {
        if new.is_empty() {
            new.clone_from(old);
        }
    }
    if detail.error.is_none() {
        detail.error.clone_from(&known.error);
    }
    detail.n_jobs = detail.n_jobs.or(known.n_jobs);
    detail.memory_mb = detail.memory_mb.or(known.memory_mb);
    detail
}

/// PanDA's `supErrorCode` for a job that was given up when its worker had ended already.
const WORKER_ALREADY_DONE: i64 = 2;
/// Longest text of a worker's error that a job keeps, in characters.
const SUP_DIAG_CHARS_MAX: usize = 250;

/// Notes in an attempt that was given up that its worker had ended.
pub(crate) fn note_worker_done(attempt: &mut AttemptRecord, worker: &Worker) {
    if !worker.status.is_terminal() {
        return;
    }
    let end = worker.end_time.map(Timestamp::to_panda_text);
    let diag = format!(
        "worker already {} at {} with {}",
        worker.status,
        end.unwrap_or_default(),
        worker.diag
    );
    note_sup_error(attempt, WORKER_ALREADY_DONE, &diag);
}

/// Notes an error that neither pilot nor payload nor server made.
pub(crate) fn note_sup_error(attempt: &mut AttemptRecord, code: i64, diag: &str) {
    let mut report = Report::of_text(&attempt.report);
    report.put(SUP_ERROR_CODE, code);
    report.put(SUP_ERROR_DIAG, clipped(diag, SUP_DIAG_CHARS_MAX));
    attempt.report = report.into_text();
}

fn worker_done(worker: &Worker, job: &JobRecord) -> ServerError {
    let diag = format!(
        "The worker was {} while the job was {} : {}",
        worker.status, job.status, worker.diag
    );
    ServerError::new(ErrorSource::TaskBuffer, WORKER_DONE, &diag)
}
