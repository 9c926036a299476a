//! The job dictionary and [`Job`]: one form for both dialects, as text or typed.
//!
//! Files are parallel lists joined by commas, so no name may have a comma in it. Of the outputs
//! only the log has a GUID on the wire. Text that is not set is written as `NULL`.
//!
//! Source: PanDA server, `pandaserver/jobdispatcher/Protocol.py`, `Response.appendJob`; Pilot 3,
//! `pilot/info/jobdata.py`, `JobData`.

use std::time::Duration;

use ailurus_model::{
    AttemptNr, Blame, ByteCount, ErrorCode, Job, Lfn, PandaId, Retry, SourceLabel, TaskId,
};

use serde_json::Value;

use crate::{
    fields::{FieldError, Fields},
    job_files, job_options,
};

/// The text for what is not set.
pub(crate) const NULL: &str = "NULL";

/// A job that cannot be run, because its description makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("description of the job makes no sense")]
pub struct JobError {
    /// The job, if at least its number can be read.
    pub panda_id: Option<PandaId>,
    /// The attempt, if it can be read.
    pub attempt_nr: Option<AttemptNr>,
    /// What is wrong.
    pub source: FieldError,
}

impl JobError {
    /// Returns the code for a heartbeat.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        if job_files::is_list(&self.source.field) {
            ErrorCode::NotSameLength
        } else {
            ErrorCode::ConversionFailure
        }
    }

    /// Says whether trying again can help.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }

    /// Says who can do something about it.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        Blame::Server
    }
}

/// Writes the fields of a job.
#[must_use]
pub fn encode(job: &Job) -> Fields {
    let mut out = Fields::new();
    out.put("PandaID", job.panda_id.value());
    out.put("attemptNr", job.attempt_nr.value());
    out.put("taskID", job.task_id.value());
    out.put("jobsetID", job.jobset_id);
    out.put("reqID", job.task_id.value());
    out.put("jobDefinitionID", job.jobset_id);
    out.put("prodSourceLabel", job.source_label.as_str());
    for (name, text) in [
        ("jobName", job.name.as_str()),
        ("processingType", &job.processing_type),
        ("prodUserID", &job.user),
        ("transformation", &job.transformation),
        ("swRelease", &job.release),
        ("homepackage", ""),
        ("cmtConfig", &job.platform),
        ("resource_type", &job.resource_type),
        ("transferType", &job.transfer_type),
    ] {
        out.put(name, if text.is_empty() { NULL } else { text });
    }
    out.put("jobPars", job.parameters.as_str());
    if !job.container_image.is_empty() {
        out.put("container_name", job.container_image.as_str());
    }
    out.put("coreCount", job.core_count);
    out.put("minRamCount", job.memory.as_mib());
    out.put("maxDiskCount", job.disk.as_mib());
    out.put("maxWalltime", job.walltime.as_secs());
    out.put("maxCpuCount", job.walltime.as_secs());
    out.put("currentPriority", job.priority);
    out.put("nSent", 0);
    if !job.looping_check {
        out.put("loopingCheck", false);
    }
    if !job.outputs_optional.is_empty() {
        let names: Vec<&str> = job.outputs_optional.iter().map(Lfn::as_str).collect();
        out.put("allowNoOutput", names.join(","));
    }
    job_files::encode_inputs(&mut out, &job.inputs, &job.options);
    job_files::encode_outputs(&mut out, &job.outputs, job.log.as_ref(), &job.options);
    job_options::encode(&mut out, &job.options);
    out
}

/// Reads the fields of a job, text or typed.
///
/// # Errors
///
/// [`JobError`] if the number of the job is missing, a number is none, an input or output has no
/// scope, or the lists of files do not go together.
pub fn decode(fields: &Fields) -> Result<Job, JobError> {
    decode_fields(fields).map_err(|source| JobError {
        panda_id: fields.whole_if_any("PandaID").map(PandaId::new),
        attempt_nr: fields.whole_if_any("attemptNr").map(AttemptNr::new),
        source,
    })
}

fn decode_fields(fields: &Fields) -> Result<Job, FieldError> {
    refuse_nul(fields)?;
    let panda_id = fields
        .whole("PandaID")?
        .map(PandaId::new)
        .ok_or_else(|| FieldError::new("PandaID", None, "the number of a job"))?;
    let size = |name| not_negative(fields, name).map(ByteCount::from_mib);
    let (outputs, log) = job_files::decode_outputs(fields)?;
    let inputs = job_files::decode_inputs(fields)?;
    let walltime = Duration::from_secs(not_negative(fields, "maxWalltime")?);
    let mut options = job_options::decode(fields, &inputs)?;
    if options.cpu_time_max == walltime {
        // Our own server writes the wall time here too.
        options.cpu_time_max = Duration::ZERO;
    }
    Ok(Job {
        panda_id,
        attempt_nr: AttemptNr::new(fields.whole("attemptNr")?.unwrap_or(0)),
        task_id: TaskId::new(not_negative(fields, "taskID")?),
        jobset_id: not_negative(fields, "jobsetID")?,
        name: fields.text("jobName"),
        source_label: SourceLabel::new(fields.text("prodSourceLabel")),
        processing_type: fields.text("processingType"),
        user: fields.text("prodUserID"),
        transformation: fields.text("transformation"),
        parameters: fields.text("jobPars"),
        release: fields.text("swRelease"),
        platform: fields.text("cmtConfig"),
        container_image: fields.text("container_name"),
        core_count: fields.whole("coreCount")?.unwrap_or(1).max(1),
        memory: size("minRamCount")?,
        disk: size("maxDiskCount")?,
        walltime,
        resource_type: fields.text("resource_type"),
        priority: fields.whole("currentPriority")?.unwrap_or(0),
        inputs,
        outputs,
        log,
        looping_check: fields.flag("loopingCheck").unwrap_or(true),
        outputs_optional: fields
            .text("allowNoOutput")
            .split(',')
            .filter(|name| !name.is_empty())
            .map(Lfn::new)
            .collect(),
        transfer_type: fields.text("transferType"),
        options,
    })
}

/// No name of a file and no argument of a program can have a NUL byte in it.
fn refuse_nul(fields: &Fields) -> Result<(), FieldError> {
    let has_nul = |value: &Value| value.as_str().is_some_and(|text| text.contains('\0'));
    match fields.iter().find(|(_, value)| has_nul(value)) {
        Some((name, value)) => Err(FieldError::new(name, Some(value), "text without NUL bytes")),
        None => Ok(()),
    }
}

/// A number where PanDA writes zero, less than zero or nothing for "not stated".
fn not_negative(fields: &Fields, name: &str) -> Result<u64, FieldError> {
    let number: i128 = fields.whole(name)?.unwrap_or(0);
    u64::try_from(number.max(0))
        .map_err(|_| FieldError::new(name, fields.get(name), "a whole number in range"))
}
