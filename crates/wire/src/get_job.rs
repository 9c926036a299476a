//! Asking for jobs: legacy `getJob` and v1 `pilot/acquire_jobs`.
//!
//! The job itself is the business of [`crate::job_text`].
//!
//! Source: Pilot 3, `pilot/control/job.py`, `get_dispatcher_dictionary`; PanDA server,
//! `pandaserver/jobdispatcher/JobDispatcher.py`, `getJob` (0.8.1), and
//! `pandaserver/api/v1/pilot_api.py`, `acquire_jobs`.

use std::time::Duration;

use ailurus_model::{
    ByteCount, HarvesterId, Job, JobRequest, NodeName, QueueName, RequestDetails, SourceLabel,
    TaskId, WorkerId,
};
use serde_json::{Value, json};

use crate::{
    answer::{Answer, AnswerError, STATUS, StatusCode},
    fields::{FieldError, Fields, json_of},
    job_text::{self, JobError},
    table::{Dialect, Reader, Writer, field_table},
    v1::{Envelope, RequestError},
};

/// The v1 message when no job fits.
const NO_JOBS: &str = "No jobs in PanDA";
/// The same in the legacy dialect: Pilot 3's event service looks for these very letters.
const NO_JOBS_LEGACY: &str = "no jobs in PanDA";
/// The field with several jobs.
const JOBS: &str = "jobs";

/// Returns the path of the call, below the server's address.
#[must_use]
pub const fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Legacy => "/server/panda/getJob",
        Dialect::V1 => "/api/v1/pilot/acquire_jobs",
    }
}

field_table!(FIELDS {
    SITE = text("siteName", "site_name").required();
    _TIMEOUT = int("timeout", "timeout");
    MEMORY = int("mem", "memory");
    DISK = int("diskSpace", "disk_space");
    LABEL = text("prodSourceLabel", "prod_source_label");
    NODE = text("node", "node");
    COMPUTING_ELEMENT = text("computingElement", "computing_element");
    USER = text("prodUserID", "prod_user_id");
    _PROXY_KEY = text("getProxyKey", "get_proxy_key");
    TASK_ID = id("taskID", "task_id");
    N_JOBS = int("nJobs", "n_jobs");
    BACKGROUND = flag("background", "background");
    RESOURCE_TYPE = text("resourceType", "resource_type");
    // Harvester sends the legacy name in v1 too.
    RESOURCE_TYPE_OF_HARVESTER = text("", "resourceType");
    HARVESTER_ID = text("harvester_id", "harvester_id");
    WORKER_ID = id("worker_id", "worker_id");
    SCHEDULER_ID = text("schedulerID", "scheduler_id");
    JOB_TYPE = text("jobType", "job_type");
    VIA_TOPIC = flag("viaTopic", "via_topic");
    REMAINING_TIME = any("remaining_time", "remaining_time");
    // Only older servers know these, and none of them acts on them.
    CPU = number("cpu", "");
    WORKING_GROUP = text("workingGroup", "");
    COUNTRY_GROUP = text("countryGroup", "");
    OTHER_COUNTRY = flag("allowOtherCountry", "");
});

/// Writes a request. Optional fields that are not known are left out, as v1 demands.
#[must_use]
pub fn encode_request(dialect: Dialect, request: &JobRequest) -> Fields {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut out = Writer::new(dialect);
    out.put(&SITE, request.queue.as_str());
    let element = Some(&request.details.computing_element).filter(|it| !it.as_str().is_empty());
    let element = element.unwrap_or(&request.queue);
    out.text(&COMPUTING_ELEMENT, element.as_str());
    out.text(&LABEL, request.source_label.as_str());
    out.text(&NODE, request.node.as_str());
    out.whole(&MEMORY, request.memory.as_mib());
    out.whole(&DISK, request.disk.as_mib());
    out.text(&USER, &text(&request.user));
    out.whole_if_any(&TASK_ID, request.task_id.map(TaskId::value));
    // In the legacy dialect the very presence of this field asks for a list of jobs.
    out.whole_if_any(&N_JOBS, Some(request.n_jobs).filter(|jobs| *jobs > 1));
    out.text(&RESOURCE_TYPE, &text(&request.resource_type));
    if let Some(harvester) = &request.harvester_id {
        out.text(&HARVESTER_ID, harvester.as_str());
    }
    out.whole_if_any(&WORKER_ID, request.worker_id.map(WorkerId::value));
    out.text(&SCHEDULER_ID, &request.scheduler_id);
    let remaining = request.remaining_time.map(|time| time.as_secs());
    out.whole_if_any(&REMAINING_TIME, remaining);
    encode_details(&mut out, &request.details);
    out.finish()
}

fn encode_details(out: &mut Writer, details: &RequestDetails) {
    for (field, text) in [
        (&JOB_TYPE, &details.job_type),
        (&WORKING_GROUP, &details.working_group),
        (&COUNTRY_GROUP, &details.country_group),
    ] {
        out.text(field, text.as_deref().unwrap_or_default());
    }
    for (field, flag) in [
        (&VIA_TOPIC, details.is_via_topic),
        (&OTHER_COUNTRY, details.allows_other_country),
        (&BACKGROUND, details.is_background),
    ] {
        if flag {
            out.put(field, true);
        }
    }
    out.whole_if_any(&CPU, details.cpu_mhz);
}

/// Reads a request. Sizes that are no numbers mean "no limit", as in PanDA.
///
/// # Errors
///
/// [`RequestError`] if the queue is missing, or the message breaks the rules of v1.
pub fn decode_request(dialect: Dialect, fields: &Fields) -> Result<JobRequest, RequestError> {
    let message = Reader::of_request(dialect, FIELDS, fields)?;
    let queue = message
        .text_if_any(&SITE)
        .ok_or_else(|| message.error(&SITE, "the name of a queue"))?;
    let size = |field| ByteCount::from_mib(message.whole_if_any(field).unwrap_or(0));
    let label = message.text_if_any(&LABEL).map(SourceLabel::new);
    Ok(JobRequest {
        queue: QueueName::new(queue),
        source_label: label.unwrap_or_default(),
        node: NodeName::new(message.text(&NODE)),
        memory: size(&MEMORY),
        disk: size(&DISK),
        remaining_time: message
            .whole_if_any(&REMAINING_TIME)
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
        resource_type: message
            .text_if_any(&RESOURCE_TYPE)
            .or_else(|| message.text_if_any(&RESOURCE_TYPE_OF_HARVESTER)),
        task_id: message.whole(&TASK_ID)?.map(TaskId::new),
        user: message.text_if_any(&USER),
        n_jobs: message.whole_if_any(&N_JOBS).unwrap_or(1).max(1),
        harvester_id: message.text_if_any(&HARVESTER_ID).map(HarvesterId::new),
        worker_id: message.whole(&WORKER_ID)?.map(WorkerId::new),
        scheduler_id: message.text(&SCHEDULER_ID),
        details: RequestDetails {
            computing_element: QueueName::new(message.text(&COMPUTING_ELEMENT)),
            working_group: message.text_if_any(&WORKING_GROUP),
            country_group: message.text_if_any(&COUNTRY_GROUP),
            allows_other_country: message.flag(&OTHER_COUNTRY),
            job_type: message.text_if_any(&JOB_TYPE),
            is_via_topic: message.flag(&VIA_TOPIC),
            is_background: message.flag(&BACKGROUND),
            cpu_mhz: message.whole_if_any(&CPU),
        },
    })
}

/// How an answer holds its jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobsForm {
    /// One job, its fields beside the status: legacy, unless a number of jobs was asked for.
    Flat,
    /// A list `jobs` beside the status: legacy, when the request named a number of jobs.
    List,
    /// The v1 envelope around such a list.
    V1,
}

impl JobsForm {
    /// Tells the form of the answer to a request.
    #[must_use]
    pub fn of_request(dialect: Dialect, fields: &Fields) -> Self {
        match dialect {
            Dialect::V1 => Self::V1,
            Dialect::Legacy if fields.has(N_JOBS.legacy) => Self::List,
            Dialect::Legacy => Self::Flat,
        }
    }
}

/// Writes the answer of a server. Without a job it says so; a flat answer has the first job only.
#[must_use]
pub fn encode_answer(form: JobsForm, jobs: &[Job]) -> Answer {
    let with_status = |job: &Job| {
        let mut fields = job_text::encode(job);
        fields.put(STATUS, StatusCode::Success.number());
        fields
    };
    let list = || -> Value {
        let jobs = jobs.iter().map(|job| with_status(job).into_value());
        jobs.collect()
    };
    match (form, jobs.first()) {
        (JobsForm::V1, None) => Answer::V1(Envelope::failure(NO_JOBS)),
        (JobsForm::Flat | JobsForm::List, None) => {
            Answer::failure(Dialect::Legacy, StatusCode::NoJobs, NO_JOBS_LEGACY)
        }
        (JobsForm::Flat, Some(job)) => Answer::Legacy(with_status(job)),
        (JobsForm::List, Some(_)) => {
            let mut fields = Fields::new();
            fields.put(JOBS, list());
            Answer::success(Dialect::Legacy, fields)
        }
        (JobsForm::V1, Some(_)) => Answer::V1(Envelope::success(json!({
            STATUS: StatusCode::Success.number(),
            JOBS: list(),
        }))),
    }
}

/// What a pilot got. Nothing at all means that no job fits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OfferedJobs {
    /// Jobs that can be run, in the server's order.
    pub jobs: Vec<Job>,
    /// Jobs that make no sense: they are to be reported as failed where their number is known.
    pub broken: Vec<JobError>,
}

impl OfferedJobs {
    /// Says whether there is nothing, not even a job that makes no sense.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.broken.is_empty()
    }
}

/// Reads the answer of a server.
///
/// # Errors
///
/// [`AnswerError`] unless the server gave jobs or said that it has none.
pub fn decode_answer(dialect: Dialect, bytes: &[u8]) -> Result<OfferedJobs, AnswerError> {
    let fields = match Answer::parse(dialect, bytes)?.into_fields() {
        Ok(fields) => fields,
        Err(error) if is_no_jobs(&error) => return Ok(OfferedJobs::default()),
        Err(error) => return Err(error),
    };
    let jobs = match fields.get(JOBS) {
        None => vec![fields],
        Some(value) => list_of(value)?,
    };
    let mut offered = OfferedJobs::default();
    for job in &jobs {
        match job_text::decode(job) {
            Ok(job) => offered.jobs.push(job),
            Err(error) => offered.broken.push(error),
        }
    }
    Ok(offered)
}

fn is_no_jobs(error: &AnswerError) -> bool {
    match error {
        AnswerError::Refused { status, message } => {
            *status == StatusCode::NoJobs || message.eq_ignore_ascii_case(NO_JOBS)
        }
        AnswerError::Body(_) | AnswerError::Field(_) => false,
    }
}

/// The list of jobs, in a form as JSON text.
fn list_of(value: &Value) -> Result<Vec<Fields>, FieldError> {
    json_of(value)
        .and_then(serde_json::from_value)
        .map_err(|_| FieldError::new(JOBS, Some(value), "a list of objects"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_jobs_in_a_legacy_request_asks_for_a_list() {
        let mut fields = Fields::new();
        assert_eq!(
            JobsForm::of_request(Dialect::Legacy, &fields),
            JobsForm::Flat
        );
        fields.put("nJobs", 1);
        assert_eq!(
            JobsForm::of_request(Dialect::Legacy, &fields),
            JobsForm::List
        );
        assert_eq!(JobsForm::of_request(Dialect::V1, &fields), JobsForm::V1);
    }

    #[test]
    fn harvesters_resource_type_is_taken_in_v1_too() {
        let fields = Fields::from_value(json!({"site_name": "Q", "resourceType": "SCORE"}));
        let request = decode_request(Dialect::V1, &fields.expect("an object")).expect("a request");
        assert_eq!(request.resource_type.as_deref(), Some("SCORE"));
    }

    #[test]
    fn no_jobs_is_an_empty_offer_in_every_form() {
        for form in [JobsForm::Flat, JobsForm::List, JobsForm::V1] {
            let dialect = match form {
                JobsForm::Flat | JobsForm::List => Dialect::Legacy,
                JobsForm::V1 => Dialect::V1,
            };
            for encoding in crate::LegacyForm::ALL {
                let bytes = encode_answer(form, &[]).to_body(encoding);
                let offered = decode_answer(dialect, &bytes).expect("an answer");
                assert_eq!(offered, OfferedJobs::default());
            }
        }
        let bytes = encode_answer(JobsForm::Flat, &[]).to_body(crate::LegacyForm::Urlencoded);
        let reference = b"StatusCode=20&errorDialog=no+jobs+in+PanDA";
        assert_eq!(bytes, reference, "the event service compares the words");
    }

    #[test]
    fn one_broken_job_leaves_the_others() {
        let answer = br#"{"success": true, "message": "", "data": {"StatusCode": 0, "jobs":
            [{"PandaID": 1}, {"PandaID": 2, "coreCount": "many"}, {}]}}"#;
        let offered = decode_answer(Dialect::V1, answer).expect("an answer");
        assert_eq!(offered.jobs.len(), 1);
        let numbers: Vec<_> = offered.broken.iter().map(|error| error.panda_id).collect();
        assert_eq!(numbers, [Some(ailurus_model::PandaId::new(2)), None]);
    }
}
