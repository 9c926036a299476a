//! Heartbeats and final reports: legacy `updateJob`, v1 `pilot/update_job`, and the answers with
//! commands to the pilot. Several in one message are the business of [`crate::update_bulk`].
//!
//! Values that PanDA reads but does not insist on (usage, times, exit codes) count as missing
//! where they make no sense; only what tells which job and what became of it must be right.
//!
//! Source: Pilot 3, `pilot/control/job.py`, `get_data_structure`; PanDA server,
//! `pandaserver/jobdispatcher/JobDispatcher.py`, `updateJob` (0.8.1), and
//! `pandaserver/api/v1/pilot_api.py`, `update_job`.

mod measures;

use std::time::Duration;

use ailurus_model::{
    AttemptNr, HarvesterId, JobStatus, JobUpdate, Lfn, NodeName, PandaId, QueueName, UpdateAnswer,
    update::ReportedError,
};
use serde_json::Value;

use crate::{
    answer::{Answer, AnswerError, StatusCode},
    command_text,
    fields::{FieldError, Fields, first_chars, last_chars},
    job_options,
    output_report::{self, Reported},
    table::{Dialect, Reader, Writer, field_table},
    v1::RequestError,
};

/// The longest tail of the payload's output that is kept, in characters.
pub const STDOUT_MAX: usize = 2048;
/// The longest name of a node that is kept, in characters.
pub const NODE_MAX: usize = 128;
/// The longest error text that is kept, in characters.
pub const DIAG_MAX: usize = 500;
/// The longest job metrics that are kept, in characters.
pub const METRICS_MAX: usize = 500;
/// The longest name of a pilot that is kept, in characters.
pub const PILOT_ID_MAX: usize = 200;
/// The longest batch id that is kept, in characters.
pub const BATCH_ID_MAX: usize = 80;
/// The longest extract of a pilot's log that is kept, in characters.
pub const PILOT_LOG_MAX: usize = 1024;
/// The longest level of a processor's architecture that is kept, in characters.
pub const CPU_LEVEL_MAX: usize = 20;
/// The longest CPU time that is believed, in seconds.
pub const CPU_TIME_MAX_SECS: u64 = 1_000_000_000;

/// What a pilot may say that its job is.
const REPORTED: [JobStatus; 6] = [
    JobStatus::Running,
    JobStatus::Failed,
    JobStatus::Finished,
    JobStatus::Holding,
    JobStatus::Starting,
    JobStatus::Transferring,
];

/// The field with commands to the pilot.
const COMMAND: &str = "command";

/// Returns the path of the call, below the server's address.
#[must_use]
pub const fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Legacy => "/server/panda/updateJob",
        Dialect::V1 => "/api/v1/pilot/update_job",
    }
}

field_table!(FIELDS {
    JOB_ID = id("jobId", "job_id").required();
    STATE = text("state", "job_status").required();
    REPORT = text("xml", "job_output_report");
    NODE = text("node", "node").at_most(NODE_MAX);
    CPU_TIME = int("cpuConsumptionTime", "cpu_consumption_time");
    CPU_UNIT = text("cpuConsumptionUnit", "cpu_consumption_unit");
    SCHEDULER_ID = text("schedulerID", "scheduler_id");
    PILOT_ID = text("pilotID", "pilot_id").at_most(PILOT_ID_MAX);
    SITE = text("siteName", "site_name");
    PILOT_LOG = text("pilotLog", "pilot_log").at_most(PILOT_LOG_MAX);
    METADATA = text("metaData", "meta_data");
    CPU_FACTOR = number("cpuConversionFactor", "cpu_conversion_factor");
    PAYLOAD_EXIT = int("transExitCode", "trans_exit_code");
    PILOT_ERROR_CODE = int("pilotErrorCode", "pilot_error_code");
    PILOT_ERROR_DIAG = text("pilotErrorDiag", "pilot_error_diag").at_most(DIAG_MAX);
    PAYLOAD_ERROR_CODE = int("exeErrorCode", "exe_error_code");
    PAYLOAD_ERROR_DIAG = text("exeErrorDiag", "exe_error_diag").at_most(DIAG_MAX);
    TIMING = text("pilotTiming", "pilot_timing");
    START_TIME = text("startTime", "start_time");
    END_TIME = text("endTime", "end_time");
    N_EVENTS = int("nEvents", "n_events");
    N_INPUT_FILES = int("nInputFiles", "n_input_files");
    BATCH_ID = text("batchID", "batch_id").at_most(BATCH_ID_MAX);
    ATTEMPT_NR = int("attemptNr", "attempt_nr");
    METRICS = text("jobMetrics", "job_metrics").at_most(METRICS_MAX);
    STDOUT = text("stdout", "stdout").at_most(STDOUT_MAX);
    SUB_STATUS = text("jobSubStatus", "job_sub_status");
    CORE_COUNT = int("coreCount", "core_count");
    MEAN_CORE_COUNT = int("meanCoreCount", "mean_core_count");
    // Memory in KiB, totals in bytes, rates in bytes a second.
    MAX_RSS = number("maxRSS", "max_rss");
    MAX_PSS = number("maxPSS", "max_pss");
    MAX_VMEM = number("maxVMEM", "max_vmem");
    MAX_SWAP = number("maxSWAP", "max_swap");
    AVG_RSS = number("avgRSS", "avg_rss");
    AVG_PSS = number("avgPSS", "avg_pss");
    AVG_VMEM = number("avgVMEM", "avg_vmem");
    AVG_SWAP = number("avgSWAP", "avg_swap");
    TOT_RCHAR = number("totRCHAR", "tot_rchar");
    TOT_WCHAR = number("totWCHAR", "tot_wchar");
    TOT_RBYTES = number("totRBYTES", "tot_rbytes");
    TOT_WBYTES = number("totWBYTES", "tot_wbytes");
    RATE_RCHAR = number("rateRCHAR", "rate_rchar");
    RATE_WCHAR = number("rateWCHAR", "rate_wchar");
    RATE_RBYTES = number("rateRBYTES", "rate_rbytes");
    RATE_WBYTES = number("rateWBYTES", "rate_wbytes");
    CORRUPTED_FILES = text("corruptedFiles", "corrupted_files");
    CPU_LEVEL = text("cpu_architecture_level", "cpu_architecture_level").at_most(CPU_LEVEL_MAX);
    GRID = text("grid", "grid");
    SOURCE_SITE = text("source_site", "source_site");
    DESTINATION_SITE = text("destination_site", "destination_site");
    HARVESTER_ID = text("harvester_id", "");
    _TIMEOUT = int("timeout", "timeout");
});

/// An update that changes nothing, or cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// The job's number is `NULL`: a pilot without a job reports.
    #[error("update has no job")]
    NoJob,
    /// The pilot says that the job is something that a pilot cannot make it.
    #[error(
        "update says `{status}`: a pilot may report running, failed, finished, holding, starting or transferring"
    )]
    Status {
        /// What the pilot says.
        status: String,
    },
    /// The message breaks the rules of the dialect, or a field makes no sense.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl From<FieldError> for UpdateError {
    fn from(error: FieldError) -> Self {
        Self::Request(error.into())
    }
}

impl UpdateError {
    /// Returns the reference server's answer: the legacy dialect passes over an update without
    /// job or with a wrong status, v1 refuses it.
    #[must_use]
    pub fn to_answer(&self, dialect: Dialect) -> Answer {
        match (self, dialect) {
            (Self::NoJob | Self::Status { .. }, Dialect::Legacy) => {
                Answer::success(dialect, Fields::new())
            }
            (Self::NoJob, Dialect::V1) => {
                Answer::failure(dialect, StatusCode::Invalid, "job_id is NULL")
            }
            (Self::Status { status }, Dialect::V1) => {
                let message = format!("Invalid job status: {status}");
                Answer::failure(dialect, StatusCode::Invalid, &message)
            }
            (Self::Request(error), Dialect::Legacy | Dialect::V1) => error.to_answer(dialect),
        }
    }
}

/// Writes an update. What is not known is left out; texts are cut to what PanDA keeps.
#[must_use]
pub fn encode_request(dialect: Dialect, update: &JobUpdate) -> Fields {
    let mut out = Writer::new(dialect);
    out.whole(&JOB_ID, update.panda_id.value());
    out.put(&STATE, update.status.as_str());
    out.whole_if_any(&ATTEMPT_NR, update.attempt_nr.map(AttemptNr::value));
    for (field, text) in [
        (&SITE, update.site.as_str()),
        (&NODE, update.node.as_str()),
        (&SCHEDULER_ID, &update.scheduler_id),
        (&PILOT_ID, &update.pilot_id),
        (&BATCH_ID, &update.batch_id),
        (&CPU_UNIT, &update.cpu_unit),
        (&PILOT_LOG, &update.pilot_log),
        (&METADATA, update.metadata.as_deref().unwrap_or_default()),
        (&METRICS, &update.job_metrics),
        (&STDOUT, last_chars(&update.stdout, STDOUT_MAX)),
        (&SUB_STATUS, &update.sub_status),
        (&CPU_LEVEL, &update.cpu_level),
        (&GRID, &update.grid),
        (&SOURCE_SITE, &update.source_site),
        (&DESTINATION_SITE, &update.destination_site),
        (&CORRUPTED_FILES, &comma_list(&update.corrupted_files)),
    ] {
        out.text(field, text);
    }
    if let Some(harvester) = &update.harvester_id {
        out.text(&HARVESTER_ID, harvester.as_str());
    }
    for (field, time) in [
        (&START_TIME, update.start_time),
        (&END_TIME, update.end_time),
    ] {
        if let Some(time) = time {
            out.put(field, time.to_panda_text());
        }
    }
    out.whole_if_any(&CORE_COUNT, update.core_count);
    out.whole_if_any(&MEAN_CORE_COUNT, update.mean_core_count);
    if let Some(cpu_time) = update.cpu_time {
        out.whole(&CPU_TIME, cpu_time.as_secs());
        // Pilot 3's constant: seconds are seconds.
        out.whole(&CPU_FACTOR, 1);
    }
    out.whole_if_any(&N_INPUT_FILES, update.n_input_files);
    out.whole_if_any(&N_EVENTS, update.n_events);
    if let Some(usage) = update.usage.filter(|usage| usage.n_samples > 0) {
        measures::encode_usage(&mut out, &usage);
    }
    out.whole_if_any(&PAYLOAD_EXIT, update.payload_exit_code);
    encode_errors(&mut out, update);
    if let Some(timing) = update.timing {
        out.text(&TIMING, &measures::timing_text(&timing));
    }
    if !update.outputs.is_empty() {
        out.put(&REPORT, output_report::encode(&update.outputs));
    }
    out.finish()
}

fn encode_errors(out: &mut Writer, update: &JobUpdate) {
    let is_final = update.is_final();
    for (code, diag, error) in [
        (&PILOT_ERROR_CODE, &PILOT_ERROR_DIAG, &update.pilot_error),
        (
            &PAYLOAD_ERROR_CODE,
            &PAYLOAD_ERROR_DIAG,
            &update.payload_error,
        ),
    ] {
        match error {
            Some(error) => {
                out.whole(code, error.code);
                out.text(diag, &error.diag);
            }
            // A final update says that there was no error.
            None if is_final => out.whole(code, 0),
            None => {}
        }
    }
}

/// Reads an update, as a server gets it from any pilot.
///
/// # Errors
///
/// [`UpdateError`].
pub fn decode_request(dialect: Dialect, fields: &Fields) -> Result<JobUpdate, UpdateError> {
    let has_job = fields.get(JOB_ID.name(dialect)).is_some();
    if !has_job && fields.has(JOB_ID.name(dialect)) {
        return Err(UpdateError::NoJob);
    }
    let message = Reader::of_request(dialect, FIELDS, fields)?;
    let panda_id = PandaId::new(message.must_be_whole(&JOB_ID)?);
    let status = decode_status(&message.text(&STATE))?;
    let cpu_time = message
        .whole_if_any(&CPU_TIME)
        .filter(|seconds| *seconds <= CPU_TIME_MAX_SECS)
        .map(Duration::from_secs);
    let reported = |code, diag| {
        let code = message.whole_if_any(code).filter(|code: &i64| *code != 0)?;
        let diag = message.text(diag);
        Some(ReportedError { code, diag })
    };
    let (reported_files, report_problem) = decode_report(dialect, &message);
    Ok(JobUpdate {
        panda_id,
        attempt_nr: message.whole(&ATTEMPT_NR)?.map(AttemptNr::new),
        status,
        site: QueueName::new(message.text(&SITE)),
        node: NodeName::new(message.text(&NODE)),
        scheduler_id: message.text(&SCHEDULER_ID),
        pilot_id: message.text(&PILOT_ID),
        batch_id: message.text(&BATCH_ID),
        harvester_id: message.text_if_any(&HARVESTER_ID).map(HarvesterId::new),
        start_time: message.time_if_any(&START_TIME),
        end_time: message.time_if_any(&END_TIME),
        core_count: message.whole_if_any(&CORE_COUNT),
        // Pilot 3 writes 0.0 where it could not measure.
        mean_core_count: message
            .rounded_if_any(&MEAN_CORE_COUNT)
            .filter(|cores| *cores > 0),
        cpu_time,
        cpu_unit: message.text(&CPU_UNIT),
        usage: measures::decode_usage(&message, cpu_time),
        n_events: message.whole_if_any(&N_EVENTS),
        payload_exit_code: message.whole_if_any(&PAYLOAD_EXIT),
        pilot_error: reported(&PILOT_ERROR_CODE, &PILOT_ERROR_DIAG),
        payload_error: reported(&PAYLOAD_ERROR_CODE, &PAYLOAD_ERROR_DIAG),
        outputs: reported_files.files,
        unmeasured: reported_files.unmeasured,
        report_problem,
        timing: measures::decode_timing(&message.text(&TIMING)),
        pilot_log: message.text(&PILOT_LOG),
        metadata: message.text_if_any(&METADATA),
        job_metrics: message.text(&METRICS),
        stdout: message.text(&STDOUT),
        sub_status: message.text(&SUB_STATUS),
        n_input_files: message.whole_if_any(&N_INPUT_FILES),
        cpu_level: message.text(&CPU_LEVEL),
        grid: message.text(&GRID),
        source_site: message.text(&SOURCE_SITE),
        destination_site: message.text(&DESTINATION_SITE),
        corrupted_files: message
            .text(&CORRUPTED_FILES)
            .split(',')
            .filter(|name| !name.is_empty())
            .map(Lfn::new)
            .collect(),
    })
}

/// Reads the output report. One that cannot be read does not make the update void: the server
/// decides what becomes of the job.
fn decode_report(dialect: Dialect, message: &Reader<'_>) -> (Reported, Option<String>) {
    let Some(report) = message.value(&REPORT) else {
        return (Reported::default(), None);
    };
    match output_report::decode(REPORT.name(dialect), report) {
        Ok(reported) => (reported, None),
        Err(error) => (Reported::default(), Some(error.to_string())),
    }
}

fn comma_list(names: &[Lfn]) -> String {
    let names: Vec<&str> = names.iter().map(Lfn::as_str).collect();
    names.join(",")
}

fn decode_status(text: &str) -> Result<JobStatus, UpdateError> {
    REPORTED
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| UpdateError::Status {
            status: first_chars(text, NODE_MAX).to_owned(),
        })
}

/// Writes the answer to an update that was taken.
#[must_use]
pub fn encode_answer(dialect: Dialect, answer: &UpdateAnswer) -> Answer {
    let text = command_text::encode(&answer.commands);
    let mut fields = Fields::new();
    match (dialect, text.is_empty()) {
        (Dialect::Legacy, true) => fields.put(COMMAND, "NULL"),
        (Dialect::V1, true) => fields.put(COMMAND, Value::Null),
        (Dialect::Legacy | Dialect::V1, false) => fields.put(COMMAND, text),
    }
    job_options::put_pilot_secrets(&mut fields, &answer.pilot_secrets);
    Answer::success(dialect, fields)
}

/// Reads the answer to an update.
///
/// # Errors
///
/// [`AnswerError`] unless the server took the update.
pub fn decode_answer(dialect: Dialect, bytes: &[u8]) -> Result<UpdateAnswer, AnswerError> {
    answer_of(Answer::parse(dialect, bytes)?)
}

pub(crate) fn answer_of(answer: Answer) -> Result<UpdateAnswer, AnswerError> {
    let fields = answer.into_fields()?;
    Ok(UpdateAnswer {
        commands: command_text::decode(&fields.text(COMMAND)),
        pilot_secrets: job_options::pilot_secrets(&fields),
    })
}
