//! Describes a job by PanDA's attributes, as clients ask for it.

mod origin;

use ailurus_model::{
    Attributes, Checksum, Command, JobForm, JobKind, JobStatus, PandaId, SourceLabel, job_tags,
    update::ReportedError,
};
use serde_json::Value;

use crate::{
    Context,
    attempt_end::DDM_ADDER,
    definition::JobOutput,
    direct::WHOLE_JOB,
    events::event_service_number,
    ledger::{AttemptRecord, FileRecord, JobRecord, JobText, Ledger, LedgerError},
    operation::Operation,
    report::{Report, SKIPPED_INPUTS},
};

/// Describes a job; nothing if it is not known.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach or contradict each other.
pub fn describe_job(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    id: PandaId,
) -> Result<Option<JobForm>, LedgerError> {
    let Some(job) = ledger.job(id)? else {
        return Ok(None);
    };
    Operation::new(ctx, ledger).described_job(&job).map(Some)
}

/// Maps a label to the kind of queue whose work it is: `user` or `managed`.
#[must_use]
pub fn job_label(label: &SourceLabel, queue_type: &str) -> &'static str {
    match label.as_str() {
        "user" | "panda" => "user",
        "managed" | "prod_test" => "managed",
        _ if queue_type == "analysis" => "user",
        _ => "managed",
    }
}

impl<L: Ledger> Operation<'_, L> {
    fn described_job(&mut self, job: &JobRecord) -> Result<JobForm, LedgerError> {
        let mut form = match job.kind {
            JobKind::Direct => self.form_of(job)?,
            JobKind::Run | JobKind::Scout | JobKind::Build | JobKind::Merge | JobKind::Consumer => {
                JobForm::default()
            }
        };
        let attempt = self.last_attempt(job)?;
        self.describe_record(&mut form.attributes, job)?;
        if let Some(attempt) = &attempt {
            describe_attempt(&mut form.attributes, attempt);
            let metadata =
                self.ledger
                    .job_text(job.panda_id, attempt.attempt_nr, JobText::Metadata)?;
            form.attributes.put_some("metadata", metadata);
        }
        if job.kind == JobKind::Direct {
            for file in &mut form.files {
                file.put("PandaID", job.panda_id.value());
                file.put("status", status_of_direct(job, file));
            }
        } else {
            self.describe_definition(&mut form, job, attempt)?;
        }
        Ok(form)
    }

    /// The current attempt, else the one before; none before the first dispatch.
    fn last_attempt(&self, job: &JobRecord) -> Result<Option<AttemptRecord>, LedgerError> {
        let (id, nr) = (job.panda_id, job.attempt_nr);
        if let Some(attempt) = self.ledger.attempt(id, nr)? {
            return Ok(Some(attempt));
        }
        let before = nr.value().saturating_sub(1);
        if before == WHOLE_JOB.value() {
            return Ok(None);
        }
        self.ledger
            .attempt(id, ailurus_model::AttemptNr::new(before))
    }

    /// What the job's own row says.
    fn describe_record(
        &mut self,
        out: &mut Attributes,
        job: &JobRecord,
    ) -> Result<(), LedgerError> {
        let spec = self.spec(job.task_id)?;
        for (name, number) in [
            ("PandaID", job.panda_id.value()),
            ("jobsetID", job.task_id.value()),
            ("attemptNr", u64::from(job.attempt_nr.value())),
            ("maxAttempt", u64::from(job.max_attempts)),
            ("coreCount", u64::from(job.cores)),
            ("minRamCount", job.memory.as_mib()),
            ("maxDiskCount", job.disk.as_mib()),
            ("maxWalltime", job.walltime_secs),
            ("nEvents", job.n_events),
            ("taskBufferErrorCode", u64::from(job.server_code)),
        ] {
            out.put(name, number);
        }
        for code in ["pilot", "exe", "sup", "ddm", "brokerage", "jobDispatcher"] {
            out.put(&format!("{code}ErrorCode"), 0_i64);
        }
        self.describe_origin(out, job)?;
        out.put("currentPriority", job.priority);
        if out.get("assignedPriority").is_none() {
            out.put("assignedPriority", spec.priority);
        }
        let mut tags = job.tags.clone();
        if out.get("jobExecutionID").is_some() {
            out.put("jobExecutionID", u64::from(tags.has(job_tags::BACKGROUND)));
        }
        tags.remove(job_tags::BACKGROUND);
        tags.remove(job_tags::FINE_GRAINED);
        let queue = job.queue.as_ref().and_then(|name| self.ctx.queue(name));
        let kind = queue.map_or("", |queue| queue.kind.as_str());
        for (name, text) in [
            ("jobStatus", job.status.as_str()),
            ("jobSubStatus", &job.sub_status),
            ("prodSourceLabel", job.source_label.as_str()),
            ("job_label", job_label(&job.source_label, kind)),
            ("resource_type", &job.resource_type),
            ("gshare", &job.global_share),
            ("specialHandling", tags.as_str()),
            ("prodUserName", &spec.user),
            ("commandToPilot", &command_text(job.command.as_ref())),
            ("minRamUnit", "MB"),
            ("maxDiskUnit", "MB"),
        ] {
            out.put_text(name, text);
        }
        if out.get("prodUserID").is_none() {
            out.put_text("prodUserID", &spec.user);
        }
        out.put_some("eventService", event_service_number(&job.tags));
        out.put_text("taskBufferErrorDiag", &job.reason);
        if let Some(queue) = &job.queue {
            out.put("computingSite", queue.as_str());
        }
        out.put_some("parentID", job.parent.map(PandaId::value));
        out.put("creationTime", job.created);
        out.put("modificationTime", job.modified);
        out.put("stateChangeTime", job.state_changed);
        Ok(())
    }

    /// What a job of a task is to run, and its files.
    fn describe_definition(
        &mut self,
        form: &mut JobForm,
        job: &JobRecord,
        attempt: Option<AttemptRecord>,
    ) -> Result<(), LedgerError> {
        // Names before the first dispatch are those that the first attempt would have.
        let attempt = match attempt {
            Some(attempt) => attempt,
            None => self.attempt_to_come(job)?,
        };
        let needs = self.ledger.needs_of(job.panda_id)?;
        let needs = self.usable_needs(job, &needs)?;
        let ready: Vec<_> = needs
            .into_iter()
            .filter(|need| need.status == ailurus_model::FileStatus::Ready)
            .collect();
        let inputs = self.inputs_of(job, &ready)?;
        let outputs = self.outputs_of(job, &attempt)?;
        let payload = self.payload_of(job, &attempt, &ready, &inputs, &outputs)?;
        let out = &mut form.attributes;
        for (name, text) in [
            ("jobName", &payload.job_name),
            ("processingType", &payload.processing_type),
            ("transformation", &payload.transformation),
            ("jobParameters", &payload.parameters),
            ("AtlasRelease", &payload.release),
            ("homepackage", &payload.options.home_package),
            ("cmtConfig", &payload.platform),
            ("container_name", &payload.container_image),
            ("transferType", &payload.transfer_type),
        ] {
            out.put_text(name, text);
        }
        out.put("nInputDataFiles", count(inputs.len()));
        out.put("nOutputDataFiles", count(outputs.files.len()));
        if let Some(first) = inputs.first() {
            out.put("prodDBlock", first.dataset.as_str());
        }
        if let Some(first) = outputs.files.first() {
            out.put("destinationDBlock", first.dataset.as_str());
        }
        let report = Report::of_text(&attempt.report);
        let files = &mut form.files;
        files.extend(
            inputs
                .iter()
                .map(|file| described_input(job, &report, file)),
        );
        for output in outputs.files.iter().chain([&outputs.log]) {
            let is_log = output.lfn == outputs.log.lfn;
            files.push(self.described_output(job, output, is_log)?);
        }
        Ok(())
    }

    /// The attempt that a job would have if a pilot came now.
    fn attempt_to_come(&self, job: &JobRecord) -> Result<AttemptRecord, LedgerError> {
        let seed = self.task(job.task_id)?.next_seed;
        let queue = job.queue.clone().unwrap_or_default();
        Ok(crate::dispatch::fresh_attempt(
            job,
            seed,
            queue,
            self.ctx.now,
        ))
    }

    fn described_output(
        &self,
        job: &JobRecord,
        output: &JobOutput,
        is_log: bool,
    ) -> Result<Attributes, LedgerError> {
        let mut out = Attributes::default();
        out.put("PandaID", job.panda_id.value());
        out.put("lfn", output.lfn.as_str());
        out.put("type", if is_log { "log" } else { "output" });
        out.put_text("scope", output.scope.as_str());
        out.put_text("dataset", output.dataset.as_str());
        out.put_text("destinationDBlock", output.dataset.as_str());
        out.put("status", output_status(job.status));
        if is_log {
            return Ok(out);
        }
        let file = self.ledger.file_of_part(&output.dataset, output.part)?;
        if let Some(file) = file.filter(|file| file.producer == Some(job.panda_id)) {
            out.put("lfn", file.lfn.as_str());
            describe_content(&mut out, &file);
        } else if job.status == JobStatus::Finished {
            out.put("status", "nooutput");
        }
        Ok(out)
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Returns the text that a job's pilot is given (`commandToPilot`), none if there is none.
#[must_use]
pub fn command_to_pilot(job: &JobRecord) -> Option<String> {
    // PanDA leaves the word in the rows of jobs that were killed.
    let was_killed = matches!(job.status, JobStatus::Cancelled | JobStatus::Closed);
    let command = was_killed.then_some(&Command::ToBeKilled);
    job.command
        .as_ref()
        .or(command)
        .map(|command| command_text(Some(command)))
}

pub(crate) fn command_text(command: Option<&Command>) -> String {
    match command {
        None => String::new(),
        Some(Command::ToBeKilled) => "tobekilled".to_owned(),
        Some(Command::SoftKill) => "softkill".to_owned(),
        Some(Command::Debug(line)) => line.clone().unwrap_or_default(),
        Some(Command::BadAttemptNr) => "badattemptnr".to_owned(),
        Some(Command::AlreadyDone) => "alreadydone".to_owned(),
        Some(Command::Other(text)) => text.clone(),
    }
}

/// What the last attempt's row and its pilot say.
fn describe_attempt(out: &mut Attributes, attempt: &AttemptRecord) {
    for (name, value) in Report::of_text(&attempt.report).into_values() {
        match value {
            Value::String(text) => out.put(&name, text),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => out.put(&name, whole),
                None => out.put_some(&name, number.as_f64()),
            },
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }
    out.put_text("modificationHost", attempt.node.as_str());
    out.put_text("pilotID", &attempt.pilot_id);
    out.put_text("pilotTiming", &attempt.timing);
    out.put("startTime", attempt.started.unwrap_or(attempt.sent));
    out.put_some("endTime", attempt.ended);
    out.put_some("cpuConsumptionTime", attempt.cpu_secs);
    if let Some(code) = attempt.payload_exit_code {
        out.put("transExitCode", code.to_string());
    }
    let server = attempt.server_error.as_ref();
    let source = match server {
        Some(error) if error.code == DDM_ADDER => "ddm",
        Some(_) | None => "jobDispatcher",
    };
    for (source, error) in [
        ("pilot", attempt.pilot_error.as_ref()),
        ("exe", attempt.payload_error.as_ref()),
        (source, server),
    ] {
        if let Some(ReportedError { code, diag }) = error {
            out.put(&format!("{source}ErrorCode"), *code);
            out.put_text(&format!("{source}ErrorDiag"), diag);
        }
    }
}

fn described_input(job: &JobRecord, report: &Report, file: &FileRecord) -> Attributes {
    let mut out = Attributes::default();
    out.put("PandaID", job.panda_id.value());
    out.put("type", "input");
    out.put("lfn", file.lfn.as_str());
    out.put_text("scope", file.scope.as_str());
    out.put("dataset", file.dataset.as_str());
    out.put("prodDBlock", file.dataset.as_str());
    let is_skipped = report.lists(SKIPPED_INPUTS, file.lfn.as_str());
    let is_users = matches!(job.source_label.as_str(), "user" | "panda");
    out.put(
        "status",
        match (is_skipped, is_users) {
            (false, _) => "ready",
            (true, true) => "skipped",
            (true, false) => "failed",
        },
    );
    describe_content(&mut out, file);
    out
}

fn describe_content(out: &mut Attributes, file: &FileRecord) {
    if let Some(guid) = &file.guid {
        out.put("GUID", guid.as_str());
    }
    out.put_some("fsize", file.size.map(|size| size.as_bytes()));
    match &file.checksum {
        Some(checksum @ (Checksum::Adler32(_) | Checksum::Md5(_))) => {
            out.put("checksum", checksum.to_string());
        }
        Some(Checksum::Sha256(_)) | None => {}
    }
}

/// What an output is while its job is this.
const fn output_status(job: JobStatus) -> &'static str {
    match job {
        JobStatus::Finished => "ready",
        JobStatus::Failed | JobStatus::Cancelled | JobStatus::Closed => "failed",
        JobStatus::Transferring => "transferring",
        JobStatus::Merging => "merging",
        JobStatus::Pending
        | JobStatus::Defined
        | JobStatus::Assigned
        | JobStatus::Activated
        | JobStatus::Sent
        | JobStatus::Starting
        | JobStatus::Running
        | JobStatus::Holding => "unknown",
    }
}

fn status_of_direct(job: &JobRecord, file: &Attributes) -> &'static str {
    if file.text("type") == "input" {
        "ready"
    } else {
        output_status(job.status)
    }
}
