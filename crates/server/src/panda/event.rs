//! Calls about ranges of events that one job does one after the other (PanDA's event service).
//!
//! No task of this server makes such jobs, so there never is a range: askers get none, and reports
//! about ranges are answered as those about unknown ones are. Checks of what is said are the real
//! server's.
//!
//! Source: PanDA server, `pandaserver/api/v1/event_api.py`, `TaskBuffer.updateEventRanges`.

use serde_json::{Value, json};

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{
        LegacyBody, Parameter, Preset, Role, Shape, TIMEOUT, anything, flag, float, handler, int,
        text,
    },
};

/// Ranges that one report may name, as the real server has it.
const RANGES_MAX: usize = 100_000;

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
        .gives(Shape::Object(&[("Returns", Shape::List(&Shape::Flag))]))
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

async fn count(_call: Call) -> Reply {
    Reply::data(0)
}

async fn count_legacy(_call: Call) -> Reply {
    Reply::Json(json!({"StatusCode": 0, "nEventRanges": 0}))
}

async fn statuses(call: Call) -> Reply {
    match parsed(&call, "job_task_ids") {
        Ok(Value::Array(_)) => Reply::data(json!({})),
        Ok(_) => Reply::refusal("job_task_ids must be a list"),
        Err(reason) => Reply::refusal(reason),
    }
}

fn no_ranges() -> Value {
    json!({"StatusCode": 0, "eventRanges": []})
}

async fn acquire(_call: Call) -> Reply {
    Reply::data(no_ranges())
}

async fn acquire_legacy(_call: Call) -> Reply {
    Reply::Json(no_ranges())
}

async fn update_one(call: Call) -> Reply {
    let id = call.text("event_range_id").unwrap_or_default();
    Reply::refusal(format!("event range `{id}` is not known"))
}

async fn update_one_legacy(_call: Call) -> Reply {
    Reply::Json(json!({"StatusCode": 30, "Command": null}))
}

async fn update_all(call: Call) -> Reply {
    match reports(&call, "event_ranges") {
        Ok(count) => {
            let unknown = vec![false; count];
            Reply::data(json!({"StatusCode": 0, "Returns": unknown, "Commands": {}}))
        }
        Err(reason) => Reply::refusal(reason),
    }
}

async fn update_all_legacy(call: Call) -> Reply {
    Reply::Json(match reports(&call, "eventRanges") {
        Ok(count) => json!({"StatusCode": 0, "Returns": vec![false; count], "Command": {}}),
        Err(reason) => json!({"StatusCode": 30, "ErrorDialog": reason}),
    })
}

/// Counts the reports of a call: each has one range, or in later versions a file with several.
fn reports(call: &Call, field: &str) -> Result<usize, String> {
    let Value::Array(reports) = parsed(call, field)? else {
        return Err(format!("{field} must be a list"));
    };
    let count = reports
        .iter()
        .map(|report| report["eventRanges"].as_array().map_or(1, Vec::len))
        .fold(0, usize::saturating_add);
    if count > RANGES_MAX {
        return Err(format!(
            "{count} event ranges are too many: {RANGES_MAX} are taken at a time"
        ));
    }
    Ok(count)
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
