//! Calls about ranges of events that one job does one after the other (PanDA's event service).
//!
//! Source: PanDA server, `pandaserver/api/v1/event_api.py`, `TaskBuffer.updateEventRanges`; the
//! legacy dialect: `pandaserver/jobdispatcher/JobDispatcher.py` before version 1.

use std::collections::BTreeSet;

use ailurus_model::{EventItem, EventMessage, GivenRange, PandaId, TaskId};
use ailurus_server_core::{
    EventAnswers, EventVersion, acquire_event_ranges, count_event_ranges, event_range_states,
    update_event_ranges,
};
use ailurus_store::Hint;
use ailurus_wire::{Answer, Fields, event_ranges, fields::whole_of};
use serde_json::{Map, Value, json};

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{
        LegacyBody, Parameter, Preset, Role, Shape, TIMEOUT, anything, flag, float, handler, int,
        text,
    },
    failed,
};

/// Jobs whose ranges are told at a time.
const JOBS_MAX: usize = 1_000;
/// Ranges that a job gets if what it says is no number, as the real server has it.
const RANGES_DEFAULT: usize = 8;
/// PanDA's status code of a call that was not carried out.
const FAILED: u8 = 30;

const OF_JOB: &[Parameter] = &[
    int("job_id").required().doc("the job"),
    int("jobset_id").required().doc("the set of jobs"),
    int("task_id").required().doc("the task"),
    TIMEOUT,
];

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::get("event/get_available_event_range_count", handler!(count))
        .role(Role::Production)
        .by_harvester()
        .takes(OF_JOB)
        .gives(Shape::Int)
        .doc("Counts the ranges that a job may still get."),
    Endpoint::get("event/get_event_range_statuses", handler!(statuses))
        .secure()
        .by_client()
        .takes(&[anything("job_task_ids")
            .required()
            .doc("pairs of job and task, as JSON text")])
        .gives(Shape::Map(&Shape::Any))
        .doc("Tells what the ranges of jobs are."),
    Endpoint::post("event/acquire_event_ranges", handler!(acquire))
        .role(Role::Production)
        .by_harvester()
        .takes(&[
            int("job_id").required().doc("the job"),
            int("jobset_id").required().doc("the set of jobs"),
            int("task_id").doc("the task"),
            int("n_ranges").or(Preset::Int(10)).doc("how many"),
            TIMEOUT,
            flag("scattered")
                .or(Preset::Bool(false))
                .doc("whether they may be of several files"),
            int("segment_id").doc("the segment"),
        ])
        .gives(RANGES)
        .doc("Gives ranges to a job."),
    Endpoint::post("event/update_single_event_range", handler!(update_one))
        .role(Role::Production)
        .takes(&[
            text("event_range_id").required().doc("the range"),
            text("event_range_status").required().doc("what it is"),
            int("core_count").doc("cores"),
            float("cpu_consumption_time").doc("CPU time in seconds"),
            int("object_store_id").doc("where the output is"),
            TIMEOUT,
        ])
        .gives(Shape::Object(&[("Command", Shape::Any)]))
        .doc("Takes what has become of a range."),
    Endpoint::post("event/update_event_ranges", handler!(update_all))
        .role(Role::Production)
        .by_harvester()
        .by_client()
        .takes(&[
            anything("event_ranges")
                .required()
                .doc("a list of reports, as JSON text"),
            int("timeout").or(Preset::Int(120)),
            int("version")
                .or(Preset::Int(0))
                .doc("form of the reports: 0, 1 or 2"),
        ])
        .gives(Shape::Object(&[
            ("StatusCode", Shape::Int),
            ("Returns", Shape::List(&Shape::Flag)),
            ("Commands", Shape::Map(&Shape::Any)),
        ]))
        .doc("Takes what has become of ranges; the answer has a flag for each."),
    Endpoint::legacy("getEventRanges", LegacyBody::Json, handler!(acquire_legacy))
        .role(Role::PilotByText)
        .by_pilot()
        .doc("Gives ranges to a job."),
    Endpoint::legacy(
        "updateEventRange",
        LegacyBody::Json,
        handler!(update_one_legacy),
    )
    .role(Role::PilotByText)
    .by_pilot()
    .doc("Takes what has become of a range."),
    Endpoint::legacy(
        "updateEventRanges",
        LegacyBody::Json,
        handler!(update_all_legacy),
    )
    .role(Role::PilotByText)
    .by_pilot()
    .doc("Takes what has become of ranges."),
    Endpoint::legacy(
        "checkEventsAvailability",
        LegacyBody::Json,
        handler!(count_legacy),
    )
    .role(Role::PilotByText)
    .by_harvester()
    .doc("Counts the ranges that a job may still get."),
];

/// Ranges, as Harvester and pilots read them.
const RANGES: Shape = Shape::Object(&[
    ("StatusCode", Shape::Int),
    ("eventRanges", Shape::List(&Shape::Any)),
]);

async fn count(call: Call) -> Reply {
    let id = PandaId::new(call.whole("job_id").unwrap_or_default());
    let task = call.whole("task_id").map(TaskId::new);
    match counted(&call, id, task).await {
        Ok(count) => Reply::data(count),
        Err(failure) => failure,
    }
}

async fn count_legacy(call: Call) -> Reply {
    let id = PandaId::new(call.whole("pandaID").unwrap_or_default());
    let task = call.whole("taskID").map(TaskId::new);
    match counted(&call, id, task).await {
        Ok(count) => Reply::Json(json!({"StatusCode": 0, "nEventRanges": count})),
        Err(failure) => failure,
    }
}

async fn counted(call: &Call, id: PandaId, task: Option<TaskId>) -> Result<u64, Reply> {
    call.app
        .read(move |reader| count_event_ranges(reader.ledger(), id, task))
        .await
        .map_err(|error| failed(&error))
}

/// Tells what the ranges of jobs are: for each job a map from a range to what it is.
async fn statuses(call: Call) -> Reply {
    let pairs = match parsed(&call, "job_task_ids").and_then(|value| pairs_of(&value)) {
        Ok(pairs) => pairs,
        Err(reason) => return Reply::refusal(reason),
    };
    let answer = call.app.read(move |reader| {
        let mut jobs = Map::new();
        for (job, task) in pairs {
            let states = event_range_states(reader.ledger(), job, task)?;
            let states = states.into_iter().map(|state| {
                let dialog = Some(state.error_diag).filter(|text| !text.is_empty());
                let what = json!({
                    "status": state.status.as_str(),
                    "error": state.error_code,
                    "dialog": dialog,
                });
                (state.id.to_string(), what)
            });
            jobs.insert(job.to_string(), Value::Object(states.collect()));
        }
        Ok(Value::Object(jobs))
    });
    match answer.await {
        Ok(jobs) => Reply::data(jobs),
        Err(error) => failed(&error),
    }
}

/// Reads pairs of a job and its task. PanDA's page says `job_id`, its code `panda_id`.
fn pairs_of(value: &Value) -> Result<Vec<(PandaId, TaskId)>, String> {
    let Value::Array(pairs) = value else {
        return Err("job_task_ids must be a list".to_owned());
    };
    if pairs.len() > JOBS_MAX {
        let n = pairs.len();
        return Err(format!(
            "{n} jobs are too many: at most {JOBS_MAX} are told"
        ));
    }
    let number = |pair: &Value, name: &str| -> Option<u64> {
        u64::try_from(pair.get(name).and_then(whole_of)?).ok()
    };
    let pair = |pair: &Value| {
        let job = number(pair, "job_id").or_else(|| number(pair, "panda_id"))?;
        Some((PandaId::new(job), TaskId::new(number(pair, "task_id")?)))
    };
    let read: Option<Vec<_>> = pairs.iter().map(pair).collect();
    read.ok_or_else(|| "job_task_ids must be pairs of `job_id` and `task_id`".to_owned())
}

async fn acquire(call: Call) -> Reply {
    let id = PandaId::new(call.whole("job_id").unwrap_or_default());
    let task = call.whole("task_id").map(TaskId::new);
    let n = call.whole("n_ranges").unwrap_or_default();
    match given(&call, id, task, n).await {
        Ok(ranges) => Reply::data(json!({
            "StatusCode": 0,
            "eventRanges": event_ranges::encode_ranges(&ranges),
        })),
        Err(failure) => failure,
    }
}

async fn acquire_legacy(call: Call) -> Reply {
    let id = PandaId::new(call.whole("pandaID").unwrap_or_default());
    let task = call.whole("taskID").map(TaskId::new);
    let n = match call.fields.get("nRanges") {
        None => 10,
        Some(_) => call.whole("nRanges").unwrap_or(RANGES_DEFAULT),
    };
    match given(&call, id, task, n).await {
        Ok(ranges) => {
            let mut fields = Fields::new();
            fields.put("StatusCode", 0_u8);
            fields.put("eventRanges", event_ranges::encode_ranges(&ranges));
            Answer::Legacy(fields).into()
        }
        Err(failure) => failure,
    }
}

async fn given(
    call: &Call,
    id: PandaId,
    task: Option<TaskId>,
    n: usize,
) -> Result<Vec<GivenRange>, Reply> {
    call.app
        .write_with(Hint::Jobs(vec![id]), move |ctx, ledger| {
            acquire_event_ranges(ctx, ledger, id, task, n)
        })
        .await
        .map_err(|error| failed(&error))
}

async fn update_one(call: Call) -> Reply {
    let report = json!([{
        "eventRangeID": call.text("event_range_id"),
        "eventStatus": call.text("event_range_status"),
        "objstoreID": call.text("object_store_id"),
    }]);
    let answers = match updated(&call, &report, 0).await {
        Ok(answers) => answers,
        Err(failure) => return failure,
    };
    if answers.returns == [Some(false)] {
        let id = call.text("event_range_id").unwrap_or_default();
        return Reply::refusal(format!(
            "range `{id}` cannot become what was said: its job does not have it"
        ));
    }
    let commands = commands_of(&answers).to_string();
    Reply::data(json!({ "Command": commands }))
}

async fn update_one_legacy(call: Call) -> Reply {
    let report = json!([{
        "eventRangeID": call.text("eventRangeID"),
        "eventStatus": call.text("eventStatus"),
        "objstoreID": call.text("objstoreID"),
    }]);
    let mut fields = Fields::new();
    match updated(&call, &report, 0).await {
        Ok(answers) if answers.returns == [Some(true)] => {
            fields.put("StatusCode", 0_u8);
            fields.put("Command", commands_of(&answers).to_string());
        }
        Ok(_) => fields.put("StatusCode", FAILED),
        Err(failure) => return failure,
    }
    Reply::Form(Answer::Legacy(fields))
}

async fn update_all(call: Call) -> Reply {
    let message = match parsed(&call, "event_ranges") {
        Ok(message) => message,
        Err(reason) => return Reply::refusal(reason),
    };
    match updated(&call, &message, version_of(&call)).await {
        Ok(answers) => Reply::data(json!({
            "StatusCode": 0,
            "Returns": answers.returns,
            "Commands": commands_of(&answers),
        })),
        Err(Reply::Json(refusal)) => {
            Reply::refusal(refusal["ErrorDialog"].as_str().unwrap_or_default())
        }
        Err(failure) => failure,
    }
}

async fn update_all_legacy(call: Call) -> Reply {
    let message = match parsed(&call, "eventRanges") {
        Ok(message) => message,
        Err(reason) => return refused(&reason),
    };
    let version = version_of(&call);
    let answers = match updated(&call, &message, version).await {
        Ok(answers) => answers,
        Err(failure) => return failure,
    };
    let (returns, commands) = (json!(answers.returns), commands_of(&answers));
    let mut fields = Fields::new();
    fields.put("StatusCode", 0_u8);
    // In version 0 both are texts.
    if version == 0 {
        fields.put("Returns", returns.to_string());
        fields.put("Command", commands.to_string());
    } else {
        fields.put("Returns", returns);
        fields.put("Command", commands);
    }
    Answer::Legacy(fields).into()
}

/// What is no number is version 0, as the real server has it.
fn version_of(call: &Call) -> i64 {
    call.whole("version").unwrap_or(0)
}

fn refused(reason: &str) -> Reply {
    Reply::Json(json!({"StatusCode": FAILED, "ErrorDialog": reason}))
}

/// Takes a message about ranges; what cannot be read as one is refused.
async fn updated(call: &Call, message: &Value, version: i64) -> Result<EventAnswers, Reply> {
    let message = event_ranges::decode_message(message, version)
        .map_err(|allowed| refused(&format!("the list of event ranges {allowed}")))?;
    let version = match version {
        2 => EventVersion::BeforeDispatch,
        _ => EventVersion::AfterDispatch,
    };
    call.app
        .write_with(Hint::Jobs(jobs_of(&message)), move |ctx, ledger| {
            update_event_ranges(ctx, ledger, &message, version)
        })
        .await
        .map_err(|error| failed(&error))
}

/// Lists the jobs that a message is about.
fn jobs_of(message: &EventMessage) -> Vec<PandaId> {
    let jobs: BTreeSet<PandaId> = message
        .items
        .iter()
        .filter_map(|item| match item {
            EventItem::Outcome(report) => Some(report.id.panda_id),
            EventItem::Progress | EventItem::Unreadable => None,
        })
        .collect();
    jobs.into_iter().take(JOBS_MAX).collect()
}

/// Writes what jobs are to do, by job.
fn commands_of(answers: &EventAnswers) -> Value {
    let commands = answers.commands.iter();
    let commands = commands.map(|(id, text)| (id.to_string(), json!(text)));
    Value::Object(commands.collect())
}

/// Reads a field that is JSON, or a text with JSON in it.
fn parsed(call: &Call, field: &str) -> Result<Value, String> {
    match call.fields.get(field) {
        Some(Value::String(text)) => {
            serde_json::from_str(text).map_err(|error| format!("{field} is no JSON: {error}"))
        }
        Some(value) => Ok(value.clone()),
        None => Err(format!("{field} is missing")),
    }
}
