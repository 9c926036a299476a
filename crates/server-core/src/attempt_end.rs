//! How an attempt ends, and whether the job gets another one.
//!
//! ```text
//! attempt finished ─► job finished, files registered, waiting jobs released
//! attempt that took ranges of events ─► see `events/end.rs`
//! attempt failed ─┬─► job cancelled          if somebody wanted it killed
//!                 ├─► job defined, attempt+1 if the error allows it and attempts are left; the
//!                 │                          operator's rules go before what is known of the error
//!                 └─► job failed             otherwise: its parts are lost
//! ```

use ailurus_diagnosis::{Action, ErrorSource, Explanation};
use ailurus_model::{
    ByteCount, Command, DatasetName, ErrorCode, FileReport, JobKind, JobStatus, Queue,
    update::ReportedError,
};

use crate::{
    definition::JobOutput,
    events::EventRole,
    kill::{KILLED, TO_REASSIGN},
    ledger::{AttemptRecord, FileRecord, JobRecord, Ledger, LedgerError},
    operation::Operation,
    release::{Fate, SettledPart},
    retry::RetryWish,
    text::{DIAG_CHARS_MAX, clipped},
};

/// How much lower the priority of each further attempt is, as in PanDA.
const RETRY_PRIORITY_STEP: i64 = 10;
/// Memory a core, in MiB, to which a job is raised that ran out of it: the next larger one.
///
/// Source: PanDA server, `pandaserver/taskbuffer/retryModule.py`, `increase_memory`.
const MEMORY_STEPS_MIB: [u64; 6] = [1000, 2000, 3000, 4000, 6000, 8000];

/// PanDA's `ddmErrorCode` for outputs that cannot be registered.
pub(crate) const DDM_ADDER: i64 = 200;

/// An error that the server itself found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerError {
    pub(crate) source: ErrorSource,
    pub(crate) error: ReportedError,
}

impl ServerError {
    pub(crate) fn new(source: ErrorSource, code: i64, diag: &str) -> Self {
        Self {
            source,
            error: ReportedError {
                code,
                diag: clipped(diag, DIAG_CHARS_MAX),
            },
        }
    }
}

impl<L: Ledger> Operation<'_, L> {
    /// Ends a job well: `files` holds each of its outputs with its files, the first of which takes
    /// the output's part of its dataset; the others become parts behind all that are there.
    pub(crate) fn finish_attempt(
        &mut self,
        mut job: JobRecord,
        mut attempt: AttemptRecord,
        files: impl Iterator<Item = (JobOutput, Vec<FileReport>)>,
    ) -> Result<(), LedgerError> {
        self.note_place(&job, &attempt.queue, JobStatus::Finished)?;
        attempt.status = JobStatus::Finished;
        attempt.ended = Some(self.ctx.now);
        self.ledger.put_attempt(&attempt)?;
        let status = self.status_of_success(job.task_id, job.kind)?;
        self.set_status(&mut job, status, "")?;
        job.reason.clear();
        job.command = None;
        self.ledger.put_job(&job)?;
        self.touched.insert(job.task_id);
        self.finish_ranges(&job)?;
        self.end_consumers(&job)?;
        let mut ready = Vec::new();
        for (output, files) in files {
            let mut part = Some(output.part);
            for file in files {
                let part = match part.take() {
                    Some(part) => part,
                    None => self.added_part(&output.dataset)?,
                };
                self.register(&job, &output, part, file)?;
                ready.push(SettledPart {
                    dataset: output.dataset.clone(),
                    part,
                    fate: Fate::Ready,
                });
            }
        }
        // What it was free to leave out will not come.
        let mut settled = ready;
        for (dataset, part) in self.parts_of(&job)? {
            let is_settled = |one: &SettledPart| one.dataset == dataset && one.part == part;
            if !settled.iter().any(is_settled) {
                settled.push(SettledPart {
                    dataset,
                    part,
                    fate: Fate::LostBy(job.panda_id),
                });
            }
        }
        self.after_merge(&job)?;
        self.settle(settled)
    }

    fn register(
        &mut self,
        job: &JobRecord,
        output: &JobOutput,
        part: u32,
        file: FileReport,
    ) -> Result<(), LedgerError> {
        let id = self.ledger.new_file_id()?;
        self.ledger.insert_file(&FileRecord {
            id,
            dataset: output.dataset.clone(),
            part,
            lfn: file.lfn,
            scope: output.scope.clone(),
            guid: Some(file.guid),
            size: Some(file.size),
            checksum: Some(file.checksum),
            surl: file.surl,
            endpoint: file.endpoint,
            replicas: Vec::new(),
            producer: Some(job.panda_id),
            n_events: None,
        })
    }

    /// Makes room for one more file in a dataset.
    fn added_part(&mut self, name: &DatasetName) -> Result<u32, LedgerError> {
        let Some(mut dataset) = self.ledger.dataset(name)? else {
            return Err(LedgerError::contradiction(format!(
                "dataset `{name}` is written to, but not there"
            )));
        };
        let part = dataset.n_parts;
        dataset.n_parts = part.saturating_add(1);
        self.ledger.put_dataset(&dataset)?;
        Ok(part)
    }

    /// Ends the current attempt of a job because of something that the server found.
    pub(crate) fn fail_by_server(
        &mut self,
        job: JobRecord,
        error: ServerError,
    ) -> Result<(), LedgerError> {
        let attempt = self.attempt(&job)?;
        self.fail_attempt(job, attempt, Some(error))
    }

    /// Ends an attempt without success. The errors of pilot and payload stand in the attempt.
    pub(crate) fn fail_attempt(
        &mut self,
        job: JobRecord,
        attempt: AttemptRecord,
        server: Option<ServerError>,
    ) -> Result<(), LedgerError> {
        self.fail_attempt_with(job, attempt, server, RetryWish::None)
    }

    /// Ends an attempt without success, with somebody's wish about what is to follow.
    pub(crate) fn fail_attempt_with(
        &mut self,
        mut job: JobRecord,
        mut attempt: AttemptRecord,
        server: Option<ServerError>,
        wish: RetryWish,
    ) -> Result<(), LedgerError> {
        attempt.ended = Some(self.ctx.now);
        attempt.server_error = server.as_ref().map(|server| server.error.clone());
        if job.command == Some(Command::ToBeKilled) && job.sub_status == TO_REASSIGN {
            self.ledger.put_attempt(&attempt)?;
            return self.run_elsewhere(job);
        }
        if job.command == Some(Command::ToBeKilled) {
            attempt.status = JobStatus::Cancelled;
            self.ledger.put_attempt(&attempt)?;
            if job.server_code == 0 {
                job.server_code = KILLED;
            }
            return self.end_without_outputs(job, JobStatus::Cancelled);
        }
        let source = server.map(|server| server.source);
        let why = self.explain(&attempt, source);
        self.note_place(&job, &attempt.queue, JobStatus::Failed)?;
        attempt.status = JobStatus::Failed;
        attempt.diagnosis.clone_from(&why.entry);
        self.ledger.put_attempt(&attempt)?;
        let reason = reason_of(&job, &attempt, &why);
        let ruled = self.follow_retry_rules(&mut job, &attempt, source)?;
        let reason = clipped(&format!("{reason}{}", ruled.note), DIAG_CHARS_MAX);
        let role = EventRole::of(&job.tags);
        if self.redo_unreadable(&job, &attempt, &reason)? {
            return Ok(());
        }
        if role == EventRole::Takes {
            if why.action == Action::MoreMemory && !ruled.is_taken {
                self.raise_memory(&mut job)?;
            }
            return self.go_on_with_events(job, &reason);
        }
        if role == EventRole::TakesBeside {
            self.settle_ranges(&job)?;
            if self.leave_it_to_others(&job, &reason)? {
                return Ok(());
            }
        }
        let is_over = job.attempt_nr.value() >= job.max_attempts || self.has_failed_enough(&job)?;
        let is_wished = wish == RetryWish::SameQueue || ruled.is_taken;
        if is_over || (why.action == Action::DoNotRetry && !is_wished) {
            job.reason = reason;
            return self.end_without_outputs(job, JobStatus::Failed);
        }
        if why.action == Action::MoreMemory && !ruled.is_taken {
            self.raise_memory(&mut job)?;
        }
        job.attempt_nr = job.attempt_nr.next();
        job.priority = job.priority.saturating_sub(RETRY_PRIORITY_STEP);
        job.command = None;
        job.worker = None;
        self.renumber(&mut job)?;
        self.note_failing_job(&job)?;
        job.sub_status.clear();
        self.set_status(&mut job, JobStatus::Defined, &reason)?;
        if wish == RetryWish::SameQueue && job.queue.is_some() {
            let why = "tried again at the same queue";
            self.set_status(&mut job, JobStatus::Activated, why)?;
            job.reason.clear();
            return self.ledger.put_job(&job);
        }
        self.place(&mut job)?;
        self.copy_again(&job)
    }

    /// Ends a job for good without outputs; its parts are lost.
    pub(crate) fn end_without_outputs(
        &mut self,
        mut job: JobRecord,
        status: JobStatus,
    ) -> Result<(), LedgerError> {
        let why = job.reason.clone();
        self.set_status(&mut job, status, &why)?;
        job.command = None;
        self.ledger.put_job(&job)?;
        self.touched.insert(job.task_id);
        if job.kind == JobKind::Consumer {
            return self.end_with_consumer(&job);
        }
        self.end_ranges(&job)?;
        self.end_consumers(&job)?;
        self.after_merge(&job)?;
        let lost = self.parts_lost_with(&job)?;
        self.settle(lost)
    }

    /// What the server found comes first, because it ended the attempt; then the pilot's word,
    /// unless it only says that the payload failed.
    fn explain(&self, attempt: &AttemptRecord, server: Option<ErrorSource>) -> Explanation {
        let catalogue = self.ctx.catalogue;
        if let Some((source, error)) = server.zip(attempt.server_error.as_ref()) {
            return catalogue.explain(source, error.code, &error.diag);
        }
        let pilot = attempt.pilot_error.clone().unwrap_or_default();
        let payload = payload_error(attempt);
        match payload {
            Some(payload) if pilot.code == 0 || only_blames_payload(pilot.code) => {
                let text = format!("{}\n{}", payload.diag, pilot.diag);
                catalogue.explain(ErrorSource::Payload, payload.code, &text)
            }
            Some(payload) => {
                let text = format!("{}\n{}", pilot.diag, payload.diag);
                catalogue.explain(ErrorSource::Pilot, pilot.code, &text)
            }
            None => catalogue.explain(ErrorSource::Pilot, pilot.code, &pilot.diag),
        }
    }

    /// Raises a job's memory to the next step, but not over what the largest queue has.
    pub(crate) fn raise_memory(&mut self, job: &mut JobRecord) -> Result<(), LedgerError> {
        let cores = u64::from(job.cores.max(1));
        let per_core = job.memory.as_mib() / cores;
        let Some(step) = MEMORY_STEPS_MIB.iter().find(|step| **step > per_core) else {
            return Ok(());
        };
        let wanted = ByteCount::from_mib(step.saturating_mul(cores));
        self.give_memory(job, wanted)
    }

    /// Gives a job more memory, unless no queue that may run it has so much.
    pub(crate) fn give_memory(
        &mut self,
        job: &mut JobRecord,
        wanted: ByteCount,
    ) -> Result<(), LedgerError> {
        let wishes = self.wishes(job.task_id)?;
        let may_run_it = |queue: &&Queue| wishes.allow(queue);
        let has_room = |queue: &Queue| queue.memory == ByteCount::ZERO || queue.memory >= wanted;
        if self.ctx.queues.values().filter(may_run_it).any(has_room) {
            job.memory = wanted;
            self.class_of(job.cores, wanted)
                .clone_into(&mut job.resource_type);
        }
        Ok(())
    }
}

/// The payload's own error, else its exit code.
fn payload_error(attempt: &AttemptRecord) -> Option<ReportedError> {
    let by_exit = || {
        let code = attempt.payload_exit_code.filter(|code| *code != 0)?;
        let diag = String::new();
        Some(ReportedError { code, diag })
    };
    attempt.payload_error.clone().or_else(by_exit)
}

fn only_blames_payload(code: i64) -> bool {
    [
        ErrorCode::PayloadExecutionFailure,
        ErrorCode::UnknownPayloadFailure,
        ErrorCode::UnknownTrfFailure,
    ]
    .iter()
    .any(|known| i64::from(known.number()) == code.saturating_abs())
}

fn reason_of(job: &JobRecord, attempt: &AttemptRecord, why: &Explanation) -> String {
    let errors = [
        &attempt.server_error,
        &attempt.pilot_error,
        &attempt.payload_error,
    ];
    let reported = errors
        .into_iter()
        .flatten()
        .find(|error| !error.diag.is_empty());
    let text = reported.map_or(why.cause.as_str(), |error| error.diag.as_str());
    clipped(
        &format!(
            "attempt {} of {} failed ({}): {text}",
            job.attempt_nr, job.max_attempts, why.entry
        ),
        DIAG_CHARS_MAX,
    )
}
