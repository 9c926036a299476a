//! Workers as Harvester reports them: v1 `harvester/update_workers`.
//!
//! Source: Harvester, `pandaharvester/harvestercore/work_spec.py`, `convert_to_propagate`; PanDA
//! server, `pandaserver/taskbuffer/WorkerSpec.py`.

use ailurus_model::{
    BatchId, HarvesterId, NodeName, PandaId, QueueName, Timestamp, Worker, WorkerDetail, WorkerId,
    WorkerStatus, WorkerSync, update::ReportedError,
};
use serde_json::{Value, json};

use crate::{
    answer::{Answer, AnswerError},
    fields::{FieldError, Fields, first_chars, harvester_time, time_of, whole_of},
    table::{Dialect, Reader, Writer, field_table},
    v1::{Envelope, RequestError},
};

/// The path of the call, below the server's address.
pub const PATH: &str = "/api/v1/harvester/update_workers";
/// The most workers that one message may hold. Harvester sends a hundred.
pub const WORKERS_MAX: usize = 10_000;
/// The most jobs that one worker may name.
pub const JOBS_MAX: usize = 10_000;
/// The longest batch id or node name that is kept, in characters.
pub const NAME_MAX: usize = 80;
/// The longest text of the batch system that is kept, in characters.
pub const DIAG_MAX: usize = 500;
/// The longest name of a computing element or of a host that is kept, in characters.
pub const ELEMENT_MAX: usize = 128;
/// The longest URL that is kept, in characters.
pub const URL_MAX: usize = 500;

/// The word for a class that a worker does not choose.
const ANY: &str = "ANY";
/// Harvester's word for a worker whose jobs are ready to be submitted with it.
const READY: &str = "ready";

field_table!(FIELDS {
    HARVESTER_ID = text("", "harvester_id").required();
    WORKERS = list("", "workers").required();
});

/// Workers of one Harvester instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkersUpdate {
    /// The instance.
    pub harvester_id: HarvesterId,
    /// Its workers, each judged by itself.
    pub workers: Vec<Result<Worker, FieldError>>,
}

/// Writes a message about workers of one instance.
#[must_use]
pub fn encode_request(harvester_id: &HarvesterId, workers: &[Worker]) -> Fields {
    let mut out = Writer::new(Dialect::V1);
    out.put(&HARVESTER_ID, harvester_id.as_str());
    let list = workers.iter().map(|worker| encode(worker).into_value());
    out.put(&WORKERS, list.collect::<Value>());
    out.finish()
}

/// Reads a message about workers.
///
/// # Errors
///
/// [`RequestError`] if the message as a whole breaks the rules, or holds more than
/// [`WORKERS_MAX`].
pub fn decode_request(fields: &Fields) -> Result<WorkersUpdate, RequestError> {
    let message = Reader::of_request(Dialect::V1, FIELDS, fields)?;
    let harvester_id = HarvesterId::new(message.text(&HARVESTER_ID));
    let items = message.list(&WORKERS, WORKERS_MAX)?;
    let workers = items.iter().map(|item| {
        let fields = Fields::from_value(item.clone())
            .map_err(|value| FieldError::new(WORKERS.v1, Some(&value), "a list of objects"))?;
        decode(&harvester_id, &fields)
    });
    Ok(WorkersUpdate {
        workers: workers.collect(),
        harvester_id,
    })
}

/// Writes one worker. What is not known is left out.
#[must_use]
pub fn encode(worker: &Worker) -> Fields {
    let mut out = Fields::new();
    out.put("workerID", worker.worker_id.value());
    out.put("queueName", worker.queue.as_str());
    out.put("computingSite", worker.queue.as_str());
    out.put("status", worker.status.as_str());
    out.put("resourceType", worker.resource_type.as_str());
    out.put("jobType", worker.job_type.as_str());
    out.put("nCore", worker.core_count);
    for (name, text, limit) in [
        ("batchID", worker.batch_id.as_str(), NAME_MAX),
        ("nodeID", worker.node.as_str(), NAME_MAX),
        ("diagMessage", &worker.diag, DIAG_MAX),
    ] {
        if !text.is_empty() {
            out.put(name, first_chars(text, limit));
        }
    }
    for (name, time) in [
        ("submitTime", worker.submit_time),
        ("startTime", worker.start_time),
        ("endTime", worker.end_time),
    ] {
        if let Some(time) = time {
            out.put(name, harvester_time(time));
        }
    }
    if let Some(code) = worker.exit_code {
        out.put("nativeExitCode", code);
    }
    if !worker.panda_ids.is_empty() {
        out.put("nJobs", worker.panda_ids.len());
        out.put("pandaid_list", json!(worker.panda_ids));
    }
    encode_detail(&mut out, &worker.detail);
    out
}

/// The key that says what the end of a worker means, and its value if that is sure.
const SYNC_LEVEL: (&str, u64) = ("syncLevel", 1);

fn encode_detail(out: &mut Fields, detail: &WorkerDetail) {
    if detail.sync == WorkerSync::EndsJobs {
        out.put(SYNC_LEVEL.0, SYNC_LEVEL.1);
    }
    for (name, text, limit) in [
        ("computingElement", &detail.computing_element, ELEMENT_MAX),
        ("submissionHost", &detail.submission_host, ELEMENT_MAX),
        ("harvesterHost", &detail.harvester_host, ELEMENT_MAX),
        ("nativeStatus", &detail.native_status, NAME_MAX),
        ("stdOut", &detail.stdout_url, URL_MAX),
        ("stdErr", &detail.stderr_url, URL_MAX),
        ("batchLog", &detail.batch_log_url, URL_MAX),
        ("jdl", &detail.jdl_url, URL_MAX),
    ] {
        if !text.is_empty() {
            out.put(name, first_chars(text, limit));
        }
    }
    if let Some(error) = &detail.error {
        out.put("errorCode", error.code);
        out.put("errorDiag", first_chars(&error.diag, DIAG_MAX));
    }
    for (name, number) in [
        ("minRamCount", detail.memory_mb),
        ("nJobs", detail.n_jobs.map(u64::from)),
    ] {
        if let Some(number) = number {
            out.put(name, number);
        }
    }
}

fn decode_detail(fields: &Fields) -> WorkerDetail {
    let text = |name, limit| first_chars(&fields.text(name), limit).to_owned();
    let code = fields.whole_if_any("errorCode");
    WorkerDetail {
        sync: match fields.whole_if_any::<u64>(SYNC_LEVEL.0) {
            Some(level) if level == SYNC_LEVEL.1 => WorkerSync::EndsJobs,
            Some(_) | None => WorkerSync::Loose,
        },
        computing_element: text("computingElement", ELEMENT_MAX),
        submission_host: text("submissionHost", ELEMENT_MAX),
        harvester_host: text("harvesterHost", ELEMENT_MAX),
        native_status: text("nativeStatus", NAME_MAX),
        error: code.filter(|code| *code != 0).map(|code| ReportedError {
            code,
            // Harvester puts its words for the error where the batch system's would be.
            diag: match text("errorDiag", DIAG_MAX) {
                diag if diag.is_empty() => text("diagMessage", DIAG_MAX),
                diag => diag,
            },
        }),
        // Where the jobs are listed, the list says it.
        n_jobs: fields
            .whole_if_any("nJobs")
            .filter(|_| fields.get("pandaid_list").is_none()),
        memory_mb: fields.whole_if_any("minRamCount"),
        stdout_url: text("stdOut", URL_MAX),
        stderr_url: text("stdErr", URL_MAX),
        batch_log_url: text("batchLog", URL_MAX),
        jdl_url: text("jdl", URL_MAX),
    }
}

/// Reads one worker.
///
/// # Errors
///
/// [`FieldError`] if number, queue or status make no sense. Everything else counts as missing
/// then.
pub fn decode(harvester_id: &HarvesterId, fields: &Fields) -> Result<Worker, FieldError> {
    let worker_id = fields
        .whole("workerID")?
        .ok_or_else(|| FieldError::new("workerID", None, "the number of a worker"))?;
    let queue = ["computingSite", "queueName"]
        .map(|name| fields.text(name))
        .into_iter()
        .find(|name| !name.is_empty())
        .ok_or_else(|| FieldError::new("computingSite", None, "the name of a queue"))?;
    let text = |name, limit| first_chars(&fields.text(name), limit).to_owned();
    let time = |name| -> Option<Timestamp> { fields.get(name).and_then(time_of) };
    let class = |name| match fields.text(name) {
        text if text.is_empty() => ANY.to_owned(),
        text => text,
    };
    Ok(Worker {
        harvester_id: harvester_id.clone(),
        worker_id: WorkerId::new(worker_id),
        batch_id: BatchId::new(text("batchID", NAME_MAX)),
        queue: QueueName::new(queue),
        status: decode_status(fields)?,
        resource_type: class("resourceType"),
        job_type: class("jobType"),
        core_count: fields.whole_if_any("nCore").unwrap_or(1),
        node: NodeName::new(text("nodeID", NAME_MAX)),
        submit_time: time("submitTime"),
        start_time: time("startTime"),
        end_time: time("endTime"),
        exit_code: fields.whole_if_any("nativeExitCode"),
        diag: text("diagMessage", DIAG_MAX),
        panda_ids: decode_jobs(fields)?,
        detail: decode_detail(fields),
    })
}

fn decode_status(fields: &Fields) -> Result<WorkerStatus, FieldError> {
    let word = fields.text("status");
    if word == READY {
        return Ok(WorkerStatus::Submitted);
    }
    word.parse().map_err(|_| {
        let words: Vec<&str> = WorkerStatus::ALL.iter().map(|s| s.as_str()).collect();
        FieldError::new("status", fields.get("status"), words.join(", "))
    })
}

fn decode_jobs(fields: &Fields) -> Result<Vec<PandaId>, FieldError> {
    let Some(value) = fields.get("pandaid_list") else {
        return Ok(Vec::new());
    };
    let bad = || {
        let allowed = format!("a list of at most {JOBS_MAX} numbers of jobs");
        FieldError::new("pandaid_list", Some(value), allowed)
    };
    let items = value.as_array().filter(|items| items.len() <= JOBS_MAX);
    items
        .ok_or_else(bad)?
        .iter()
        .map(|item| {
            let number = whole_of(item).and_then(|number| u64::try_from(number).ok());
            number.map(PandaId::new).ok_or_else(bad)
        })
        .collect()
}

/// Writes the answer: for each worker in order, whether it was taken.
#[must_use]
pub fn encode_answer(taken: &[bool]) -> Answer {
    Answer::V1(Envelope::success(json!(taken)))
}

/// Reads the answer: for each worker in order, whether it was taken.
///
/// # Errors
///
/// [`AnswerError`] if the server refused the message as a whole.
pub fn decode_answer(bytes: &[u8]) -> Result<Vec<bool>, AnswerError> {
    let data = Answer::parse(Dialect::V1, bytes)?.into_data()?;
    let bad = |_| FieldError::new("data", Some(&data), "a list of true and false");
    Ok(serde_json::from_value(data.clone()).map_err(bad)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_of_harvester_is_read() {
        let fields = Fields::from_value(json!({
            "workerID": 7, "batchID": "123.0", "queueName": "Q", "computingSite": "Q",
            "status": "ready", "nCore": 4, "submitTime": "datetime/2026-01-01 10:00:00.250000",
            "jobType": "managed", "resourceType": "MCORE", "syncLevel": 1,
            "pandaid_list": [11, "12"],
        }));
        let fields = fields.expect("an object");
        let worker = decode(&HarvesterId::new("h"), &fields).expect("a worker");
        assert_eq!(worker.status, WorkerStatus::Submitted);
        assert_eq!(worker.panda_ids, [PandaId::new(11), PandaId::new(12)]);
        let time = worker.submit_time.expect("a time");
        assert_eq!(harvester_time(time), "datetime/2026-01-01 10:00:00.250000");
    }

    #[test]
    fn one_bad_worker_leaves_the_others() {
        let fields = Fields::from_value(json!({"harvester_id": "h", "workers": [
            {"workerID": 1, "computingSite": "Q", "status": "walking"},
            {"workerID": 2, "computingSite": "Q", "status": "running"},
            3,
        ]}));
        let update = decode_request(&fields.expect("an object")).expect("a message");
        let taken: Vec<bool> = update.workers.iter().map(Result::is_ok).collect();
        assert_eq!(taken, [false, true, false]);
        let bytes = encode_answer(&taken).to_body(crate::LegacyForm::Json);
        assert_eq!(decode_answer(&bytes).expect("an answer"), taken);
    }
}
