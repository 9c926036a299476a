//! What an update of a job changes, and what the pilot is told.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/job_complex_module.py`
//! (`updateJobStatus`) and `pandaserver/dataservice/adder_gen.py`. PanDA keeps a job in `holding`
//! until its adder has registered the outputs; here that is part of the final update, so that a
//! job is finished when its last report is answered.

use std::collections::BTreeSet;

use ailurus_diagnosis::ErrorSource;
use ailurus_model::{
    Command, Guid, JobStatus, JobUpdate, Lfn, NodeName, Queue, Timestamp, UpdateAnswer, job_tags,
    update::{PilotTiming, ReportedError},
};

use crate::{
    Context,
    attempt_end::{DDM_ADDER, ServerError},
    definition::JobOutputs,
    events::EventRole,
    guid,
    kill::{KILLED, is_killed},
    ledger::{AttemptRecord, JobRecord, JobText, Ledger, LedgerError},
    operation::Operation,
    outputs::{Expectation, Judged, UNUSABLE, judge},
    report::{BATCH_ID, DISPATCHER_DIAG, Report, SKIPPED_INPUTS},
    retry,
    secrets::secrets_for_pilot,
    text::{DIAG_CHARS_MAX, NAME_CHARS_MAX, PILOT_LOG_CHARS_MAX, clipped},
    workers::note_sup_error,
};

/// PanDA's `supErrorCode` for an update that comes from another batch job.
const INVALID_BATCH_ID: i64 = 1;
/// Longest sub-status that is kept, in characters.
const SUB_STATUS_CHARS_MAX: usize = 80;
/// Longest output of a payload in debug mode that is kept, in characters.
const STDOUT_CHARS_MAX: usize = 2048;
/// The sub-status by which a pilot gives a job back without work.
const CLOSED_BY_PILOT: &str = "pilot_closed";

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
        if let Some(metadata) = &update.metadata {
            let (id, nr) = (job.panda_id, job.attempt_nr);
            self.ledger
                .put_job_text(id, nr, JobText::Metadata, metadata)?;
        }
        let answer = UpdateAnswer {
            commands: commands_of(&job),
            pilot_secrets: secrets_for_pilot(self.ctx, self.ledger, &job.tags)?,
        };
        let effect = effect_of(job.status, update.status);
        if effect == Effect::Nothing {
            return Ok(answer);
        }
        let mut attempt = self.attempt(&job)?;
        let mut report = Report::of_text(&attempt.report);
        if is_of_other_worker(report.text(BATCH_ID), &update.batch_id) {
            let diag = format!(
                "got an update request with invalid batchID={}",
                update.batch_id.replace('\n', "")
            );
            note_sup_error(&mut attempt, INVALID_BATCH_ID, &diag);
            self.ledger.put_attempt(&attempt)?;
            return Ok(UpdateAnswer::with(Command::ToBeKilled));
        }
        report.note(update);
        note_dispatcher(&mut report, update.status, self.ctx.now);
        attempt.report = report.into_text();
        note_progress(&mut attempt, update);
        if !update.sub_status.is_empty() {
            job.sub_status = clipped(&update.sub_status, SUB_STATUS_CHARS_MAX);
        }
        if !update.stdout.is_empty() && job.tags.has(job_tags::DEBUG) {
            let text = clipped(&update.stdout, STDOUT_CHARS_MAX);
            let (id, nr) = (job.panda_id, job.attempt_nr);
            self.ledger.put_job_text(id, nr, JobText::Stdout, &text)?;
        }
        match effect {
            Effect::End => {
                self.end(job, attempt, update)?;
                return Ok(UpdateAnswer::default());
            }
            Effect::Becomes(status) => {
                attempt.status = status;
                self.set_status(&mut job, status, "")?;
                if status == JobStatus::Running {
                    attempt.started = Some(self.ctx.now);
                    self.first_to_run(&mut job)?;
                }
            }
            Effect::Heard | Effect::Nothing => {}
        }
        job.modified = self.ctx.now;
        self.ledger.put_attempt(&attempt)?;
        self.ledger.put_job(&job)?;
        Ok(answer)
    }

    fn end(
        &mut self,
        mut job: JobRecord,
        mut attempt: AttemptRecord,
        update: &JobUpdate,
    ) -> Result<(), LedgerError> {
        let outputs = self.outputs_of(&job, &attempt)?;
        let log = &outputs.log.lfn;
        if let Some(report) = update.outputs.iter().find(|report| report.lfn == *log) {
            attempt.log_surl.clone_from(&report.surl);
        }
        if job.sub_status == CLOSED_BY_PILOT {
            return self.close_by_pilot(job, attempt);
        }
        let is_wanted = job.command != Some(Command::ToBeKilled);
        if update.status != JobStatus::Finished || !is_wanted {
            let processing_type = self.spec(job.task_id)?.processing_type.clone();
            let wish = retry::wish_of(&job, &processing_type, update);
            return self.fail_attempt_with(job, attempt, None, wish);
        }
        if EventRole::of(&job.tags) == EventRole::Takes {
            job.sub_status.clear();
            return self.end_taking_attempt(job, attempt);
        }
        match self.judged(&job, &attempt, &outputs, update)? {
            Ok(judged) => {
                if !judged.skipped.is_empty() {
                    let names: Vec<&str> = judged.skipped.iter().map(Lfn::as_str).collect();
                    let mut report = Report::of_text(&attempt.report);
                    report.put(SKIPPED_INPUTS, names);
                    attempt.report = report.into_text();
                }
                job.sub_status.clear();
                self.be_the_one(&mut job)?;
                self.finish_attempt(job, attempt, outputs.files.into_iter().zip(judged.files))
            }
            Err(diag) => {
                let error = ServerError::new(ErrorSource::Ddm, DDM_ADDER, &diag);
                self.fail_attempt(job, attempt, Some(error))
            }
        }
    }

    /// Judges the report of an attempt that finished.
    fn judged(
        &mut self,
        job: &JobRecord,
        attempt: &AttemptRecord,
        outputs: &JobOutputs,
        update: &JobUpdate,
    ) -> Result<Result<Judged, String>, LedgerError> {
        if let Some(problem) = &update.report_problem {
            return Ok(Err(format!("{UNUSABLE}: {problem}")));
        }
        let needs = self.ledger.needs_of(job.panda_id)?;
        let needs = self.usable_needs(job, &needs)?;
        let inputs: BTreeSet<Lfn> = self
            .inputs_of(job, &needs)?
            .into_iter()
            .map(|file| file.lfn)
            .collect();
        let guids: Vec<Guid> = (0..outputs.files.len())
            .map(|nr| guid::of_output(attempt, nr))
            .collect();
        let queue = self.ctx.queues.get(&attempt.queue);
        let expectation = Expectation {
            outputs,
            guids: &guids,
            inputs: &inputs,
            endpoint: queue.and_then(Queue::output_endpoint),
        };
        Ok(judge(&expectation, &update.outputs, &update.unmeasured))
    }

    /// Ends a job that the pilot gave back without work: it is closed, its sub-status stays.
    fn close_by_pilot(
        &mut self,
        mut job: JobRecord,
        mut attempt: AttemptRecord,
    ) -> Result<(), LedgerError> {
        attempt.ended = Some(self.ctx.now);
        attempt.status = JobStatus::Closed;
        self.ledger.put_attempt(&attempt)?;
        "closed by the pilot".clone_into(&mut job.reason);
        if !is_killed(&job) {
            let why = "closed by the pilot";
            if self.leave_it_to_others(&job, why)? {
                return Ok(());
            }
            let is_alone = self.mates_of(&job)?.is_empty();
            if EventRole::of(&job.tags) == EventRole::Takes && !is_alone {
                return self.go_on_with_events(job, why);
            }
        }
        job.server_code = KILLED;
        self.end_without_outputs(job, JobStatus::Closed)
    }
}

/// What a pilot that has this job is to do: show output, what an operator said, end.
fn commands_of(job: &JobRecord) -> Vec<Command> {
    let is_debug = job.tags.has(job_tags::DEBUG);
    let says_so = matches!(job.command, Some(Command::Debug(_)));
    let debug = (is_debug && !says_so).then_some(Command::Debug(None));
    debug.into_iter().chain(job.command.clone()).collect()
}

/// Says whether an update comes from another batch job than those before. Ids that are plain
/// numbers are not compared, because some batch systems tell the pilot and Harvester two of them.
fn is_of_other_worker(known: &str, told: &str) -> bool {
    let is_plain = |id: &str| {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        let mut parts = id.splitn(2, '.');
        let first = parts.next().is_some_and(digits);
        // `12`, `1..2`, `1.2`: digits, dots, digits; one digit alone is none of these.
        first
            && match parts.next() {
                None => id.len() > 1,
                Some(rest) => digits(rest.trim_start_matches('.')),
            }
    };
    !known.is_empty() && !told.is_empty() && known != told && !is_plain(known) && !is_plain(told)
}

/// Notes which word of the pilot put the job into a state of waiting.
fn note_dispatcher(report: &mut Report, status: JobStatus, now: Timestamp) {
    if matches!(status, JobStatus::Holding | JobStatus::Transferring) {
        let text = format!("set to {status} by the pilot at {}", now.to_panda_text());
        report.put(DISPATCHER_DIAG, text);
    } else if matches!(status, JobStatus::Finished | JobStatus::Failed) {
        report.remove(DISPATCHER_DIAG);
    }
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
