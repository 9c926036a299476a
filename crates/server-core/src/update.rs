//! What an update of a job changes, and what the pilot is told.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/job_complex_module.py`
//! (`updateJobStatus`) and `pandaserver/dataservice/adder_gen.py`. PanDA keeps a job in `holding`
//! until its adder has registered the outputs; here that is part of the final update, so that a
//! job is finished when its last report is answered.

use std::collections::BTreeMap;

use ailurus_diagnosis::ErrorSource;
use ailurus_model::{
    Command, EndpointName, FileReport, JobStatus, JobUpdate, Lfn, NodeName, Queue, UpdateAnswer,
    update::{PilotTiming, ReportedError},
};

use crate::{
    Context,
    attempt_end::ServerError,
    definition::{JobOutput, JobOutputs, Presence},
    guid,
    ledger::{AttemptRecord, JobRecord, Ledger, LedgerError},
    operation::Operation,
    text::{DIAG_CHARS_MAX, NAME_CHARS_MAX, PILOT_LOG_CHARS_MAX, clipped},
};

/// PanDA's `ddmErrorCode` for outputs that cannot be registered.
const DDM_ADDER: i64 = 200;

/// Applies an update and returns what the pilot is to do.
///
/// An update of an unknown job, of an old attempt or of a job that has ended changes nothing and
/// is answered with `tobekilled`, `badattemptnr` or `alreadydone`. Pilots that do not know the last
/// two are told `tobekilled` besides, unless the update is final or the job finished.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach or contradict each other.
pub fn update_job(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    update: &JobUpdate,
) -> Result<UpdateAnswer, LedgerError> {
    let Some(job) = ledger.job(update.panda_id)? else {
        return Ok(UpdateAnswer::with(Command::ToBeKilled));
    };
    if let Some(answer) = refused(&job, update) {
        return Ok(answer);
    }
    let mut op = Operation::new(ctx, ledger);
    let answer = op.apply(job, update)?;
    op.finish()?;
    Ok(answer)
}

/// What an update does to a job that a pilot has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing, not even its time.
    Nothing,
    /// The pilot was heard of.
    Heard,
    /// The job moves.
    Becomes(JobStatus),
    /// The attempt ends.
    End,
}

fn effect_of(old: JobStatus, new: JobStatus) -> Effect {
    use JobStatus::{
        Activated, Assigned, Cancelled, Closed, Defined, Failed, Finished, Holding, Merging,
        Pending, Running, Sent, Starting, Transferring,
    };
    if old == Merging {
        return Effect::Nothing;
    }
    let has_not_run = matches!(old, Sent | Starting);
    match new {
        Finished | Failed => Effect::End,
        Starting if old == Sent => Effect::Becomes(Starting),
        // A pilot that skipped `running` must have run.
        Running | Transferring if has_not_run => Effect::Becomes(Running),
        Transferring if old == Running => Effect::Becomes(Transferring),
        Holding if old.is_with_pilot() => Effect::Becomes(Holding),
        // A repeated heartbeat, an older one that was late, or one of a recovering pilot.
        Running | Transferring if old == new => Effect::Heard,
        Starting if matches!(old, Starting | Running) => Effect::Heard,
        Holding => Effect::Heard,
        Starting | Running | Transferring => Effect::Nothing,
        Pending | Defined | Assigned | Activated | Sent | Merging | Cancelled | Closed => {
            Effect::Nothing
        }
    }
}

/// Answers updates that change nothing.
fn refused(job: &JobRecord, update: &JobUpdate) -> Option<UpdateAnswer> {
    let is_other = update.attempt_nr.is_some_and(|nr| nr != job.attempt_nr);
    let is_out = job.status.is_with_pilot()
        || matches!(
            job.status,
            JobStatus::Holding | JobStatus::Transferring | JobStatus::Merging
        );
    let command = if is_other {
        Command::BadAttemptNr
    } else if job.status.is_terminal() {
        Command::AlreadyDone
    } else if !is_out {
        // Nobody was given this attempt yet.
        Command::BadAttemptNr
    } else {
        return None;
    };
    let mut answer = UpdateAnswer::with(command);
    if !update.is_final() && job.status != JobStatus::Finished {
        answer.commands.push(Command::ToBeKilled);
    }
    Some(answer)
}

impl<L: Ledger> Operation<'_, L> {
    fn apply(
        &mut self,
        mut job: JobRecord,
        update: &JobUpdate,
    ) -> Result<UpdateAnswer, LedgerError> {
        let commands = job.command.iter().cloned().collect();
        let effect = effect_of(job.status, update.status);
        if effect == Effect::Nothing {
            return Ok(UpdateAnswer {
                commands,
                ..UpdateAnswer::default()
            });
        }
        let mut attempt = self.attempt(&job)?;
        note_progress(&mut attempt, update);
        match effect {
            Effect::End => {
                self.end(job, attempt, update)?;
                return Ok(UpdateAnswer::default());
            }
            Effect::Becomes(status) => {
                if status == JobStatus::Running {
                    attempt.started = Some(self.ctx.now);
                }
                attempt.status = status;
                self.set_status(&mut job, status, "")?;
            }
            Effect::Heard | Effect::Nothing => {}
        }
        job.modified = self.ctx.now;
        self.ledger.put_attempt(&attempt)?;
        self.ledger.put_job(&job)?;
        Ok(UpdateAnswer {
            commands,
            ..UpdateAnswer::default()
        })
    }

    fn end(
        &mut self,
        job: JobRecord,
        mut attempt: AttemptRecord,
        update: &JobUpdate,
    ) -> Result<(), LedgerError> {
        let outputs = self.outputs_of(&job, &attempt)?;
        let log = &outputs.log.lfn;
        if let Some(report) = update.outputs.iter().find(|report| report.lfn == *log) {
            attempt.log_surl.clone_from(&report.surl);
        }
        let is_wanted = job.command != Some(Command::ToBeKilled);
        if update.status != JobStatus::Finished || !is_wanted {
            return self.fail_attempt(job, attempt, None);
        }
        let expected = outputs.lfns();
        let queue = self.ctx.queues.get(&attempt.queue);
        let endpoint = queue.and_then(Queue::output_endpoint);
        let reports: Vec<FileReport> = update
            .outputs
            .iter()
            .map(|report| completed(report, endpoint, &expected, &attempt))
            .collect();
        match checked_outputs(outputs, &reports) {
            Ok(files) => self.finish_attempt(job, attempt, files),
            Err(diag) => {
                let error = ServerError::new(ErrorSource::Ddm, DDM_ADDER, &diag);
                self.fail_attempt(job, attempt, Some(error))
            }
        }
    }
}

/// Fills in what pilots leave to the server, as Pilot 3 does where no Rucio is behind it: the id
/// of an output that has none of its own, and the place if it is the one that was asked for.
fn completed(
    report: &FileReport,
    endpoint: Option<&EndpointName>,
    expected: &[Lfn],
    attempt: &AttemptRecord,
) -> FileReport {
    let mut report = report.clone();
    if report.guid.is_empty()
        && let Some(nr) = expected.iter().position(|lfn| *lfn == report.lfn)
    {
        report.guid = guid::of_output(attempt, nr);
    }
    if report.endpoint.is_empty()
        && let Some(endpoint) = endpoint
    {
        report.endpoint = endpoint.clone();
    }
    report
}

/// Returns each expected output with its report, in their order, or what is wrong with the reports.
fn checked_outputs(
    outputs: JobOutputs,
    reports: &[FileReport],
) -> Result<Vec<(JobOutput, FileReport)>, String> {
    let mut by_lfn: BTreeMap<&Lfn, &FileReport> = BTreeMap::new();
    let is_expected = |lfn: &Lfn| outputs.files.iter().any(|file| file.lfn == *lfn);
    for report in reports {
        if report.lfn != outputs.log.lfn && !is_expected(&report.lfn) {
            return Err(format!(
                "pilot produced {} inconsistently with jobdef",
                report.lfn
            ));
        }
        if by_lfn
            .insert(&report.lfn, report)
            .is_some_and(|before| before != report)
        {
            return Err(format!(
                "pilot reported {} twice and differently",
                report.lfn
            ));
        }
    }
    let mut files = Vec::new();
    for output in outputs.files {
        match by_lfn.get(&output.lfn) {
            None if output.presence == Presence::Optional => {}
            None => {
                return Err(format!(
                    "expected output {} is missing in pilot JSON",
                    output.lfn
                ));
            }
            Some(report) if report.endpoint.is_empty() => {
                return Err(format!(
                    "Could not get GUID/LFN/MD5/FSIZE/SURL from pilot JSON: nothing says on which \
                     endpoint output `{}`, {}, is",
                    output.name, output.lfn
                ));
            }
            Some(report) => {
                let report = (*report).clone();
                files.push((output, report));
            }
        }
    }
    Ok(files)
}

/// Keeps what an update says about its attempt; what it does not say stays.
fn note_progress(attempt: &mut AttemptRecord, update: &JobUpdate) {
    if !update.node.is_empty() {
        attempt.node = NodeName::new(clipped(update.node.as_str(), NAME_CHARS_MAX));
    }
    if !update.pilot_id.is_empty() {
        attempt.pilot_id = clipped(&update.pilot_id, NAME_CHARS_MAX);
    }
    if let Some(cpu) = update.cpu_time {
        attempt.cpu_secs = Some(cpu.as_secs());
    }
    if let Some(usage) = update.usage.filter(|usage| usage.n_samples > 0) {
        attempt.rss_max = Some(usage.max.rss);
    }
    attempt.payload_exit_code = update.payload_exit_code.or(attempt.payload_exit_code);
    keep_error(&mut attempt.pilot_error, update.pilot_error.as_ref());
    keep_error(&mut attempt.payload_error, update.payload_error.as_ref());
    if let Some(timing) = update.timing {
        attempt.timing = timing_text(&timing);
    }
    if !update.pilot_log.is_empty() {
        attempt.pilot_log = clipped(&update.pilot_log, PILOT_LOG_CHARS_MAX);
    }
}

fn keep_error(kept: &mut Option<ReportedError>, reported: Option<&ReportedError>) {
    if let Some(error) = reported.filter(|error| error.code != 0) {
        *kept = Some(ReportedError {
            // PanDA's pilots mark some codes with a minus; the number is the same.
            code: error.code.saturating_abs(),
            diag: clipped(&error.diag, DIAG_CHARS_MAX),
        });
    }
}

/// Whole seconds of the phases, as in PanDA's `pilotTiming`.
fn timing_text(timing: &PilotTiming) -> String {
    let phases = [
        timing.get_job,
        timing.stage_in,
        timing.payload,
        timing.stage_out,
        timing.initial_setup,
        timing.setup,
    ];
    phases.map(|phase| phase.as_secs().to_string()).join("|")
}
