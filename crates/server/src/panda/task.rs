//! The module `task`: people submit tasks and look at them. What is to become of them is said by the
//! calls of `steer` and `change`.
//!
//! Source: panda-server, `pandaserver/api/v1/task_api.py`.

pub(super) mod change;
mod lists;
pub(super) mod steer;

use ailurus_model::TaskId;
use ailurus_server_core::{
    describe_job,
    ledger::{Ledger, LedgerError, PandaTaskRows},
    tasks::{FileLists, TaskRequest, describe_task, digest_task, list_datasets, submit_task},
};
use ailurus_wire::{Envelope, job_spec::encode_description};
use serde_json::{Map, Value, json};

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{Parameter, Preset, Shape, dict, flag, handler, int, text, texts},
    failed,
};

/// Most jobs that are described at a time.
const JOBS_MAX: usize = 5500;
/// PanDA's words for a task that is not there.
const NO_TASK: &str = "Task not found";

pub(super) const TASK_ID: Parameter = int("task_id").required().doc("the task");

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::post("task/submit", handler!(submit))
        .secure()
        .takes(&[
            dict("task_parameters").required().doc("what the task is"),
            int("parent_tid").doc("the task that comes before it"),
        ])
        .gives(Shape::Int)
        .by_client()
        .doc("Takes a task in; a refusal has PanDA's code as data."),
    Endpoint::get("task/get_status", handler!(status))
        .secure()
        .takes(&[TASK_ID])
        .gives(Shape::Text)
        .by_client()
        .doc("Tells the status of a task."),
    Endpoint::get("task/get_details", handler!(details))
        .secure()
        .takes(&[
            TASK_ID,
            flag("include_parameters")
                .or(Preset::Bool(false))
                .doc("also its parameters"),
            flag("include_status")
                .or(Preset::Bool(false))
                .doc("also its status"),
        ])
        .gives(Shape::Object(&[
            ("inDS", Shape::Text),
            ("outDS", Shape::Text),
            ("statistics", Shape::Text),
            ("PandaID", Shape::List(&Shape::Int)),
            ("mergePandaID", Shape::List(&Shape::Int)),
            ("mergeStatus", Shape::Any),
        ]))
        .by_client()
        .doc("Tells what a task reads and writes, and its jobs."),
    Endpoint::get(
        "task/get_tasks_modified_since",
        handler!(lists::modified_since),
    )
    .secure()
    .takes(&[
        text("since").required().doc("`YYYY-MM-DD hh:mm:ss`, UTC"),
        text("dn").doc("whose tasks; the caller's without it"),
        flag("full")
            .or(Preset::Bool(false))
            .doc("with what they read and write"),
        int("min_task_id").doc("only tasks with a larger number"),
        text("prod_source_label")
            .or(Preset::Text("user"))
            .doc("only tasks of this label"),
    ])
    .gives(Shape::Map(&Shape::Any))
    .by_client()
    .doc("Lists the tasks of somebody that changed since a time, by request."),
    Endpoint::get(
        "task/get_tasks_detailed_info_since",
        handler!(lists::detailed_since),
    )
    .secure()
    .takes(&[
        text("since").doc("`YYYY-MM-DD hh:mm:ss`, UTC; tasks of any age without it"),
        text("filters").doc("JSON text of an object: columns and what they must be, or match"),
        int("n_tasks").or(Preset::Int(500)).doc("most tasks"),
    ])
    .gives(Shape::List(&Shape::Any))
    .by_client()
    .doc("Describes the caller's tasks, those that changed last first."),
    Endpoint::get("task/get_detailed_info", handler!(detailed))
        .secure()
        .takes(&[TASK_ID])
        .gives(Shape::Any)
        .by_client()
        .doc("Describes a task by PanDA's columns."),
    Endpoint::get("task/get_parent_detailed_info", handler!(parent_detailed))
        .secure()
        .takes(&[TASK_ID])
        .gives(Shape::Any)
        .doc("Describes the task before a task by PanDA's columns."),
    Endpoint::get("task/get_job_ids", handler!(job_ids))
        .secure()
        .takes(&[TASK_ID])
        .gives(Shape::List(&Shape::Int))
        .by_client()
        .doc("Lists the jobs of a task."),
    Endpoint::get("task/get_job_descriptions", handler!(job_descriptions))
        .secure()
        .takes(&[
            TASK_ID,
            flag("unsuccessful_only")
                .or(Preset::Bool(false))
                .doc("only jobs that ended without success"),
        ])
        .gives(Shape::List(&Shape::Any))
        .by_client()
        .doc("Describes the jobs of a task, at most 5,500."),
    Endpoint::get("task/get_task_parameters", handler!(parameters))
        .takes(&[TASK_ID])
        .gives(Shape::Any)
        .by_client()
        .doc("Gives the parameters of a task as they were sent."),
    Endpoint::get("task/get_datasets_and_files", handler!(datasets))
        .secure()
        .takes(&[
            TASK_ID,
            texts("dataset_types").doc("`input`, `pseudo_input`, `output`, `log`; the first two"),
            flag("dataset_only")
                .or(Preset::Bool(false))
                .doc("without their files"),
        ])
        .gives(Shape::List(&Shape::Any))
        .by_client()
        .doc("Lists what a task reads or writes."),
];

/// The task that a call names.
fn task_of(call: &Call) -> TaskId {
    TaskId::new(call.whole("task_id").unwrap_or(0))
}

async fn submit(call: Call) -> Reply {
    let request = TaskRequest {
        params: call
            .fields
            .get("task_parameters")
            .cloned()
            .unwrap_or(Value::Null),
        parent: call.whole("parent_tid").map(TaskId::new),
        origin: call.origin.clone(),
    };
    let caller = call.caller.clone();
    let taken = call
        .app
        .write(move |ctx, ledger| submit_task(ctx, ledger, request, &caller))
        .await;
    match taken {
        Ok(reply) => {
            tracing::info!(code = reply.code, message = reply.message, "task submitted");
            let data = match (reply.code, reply.task) {
                (0, Some(task)) => json!(task),
                (code, _) => json!(code),
            };
            Envelope {
                success: matches!(reply.code, 0 | 3),
                message: reply.message,
                data,
            }
            .into()
        }
        Err(error) => failed(&error),
    }
}

/// Answers a question about a task that may not be there.
async fn about<T: Send + 'static>(
    call: Call,
    question: impl FnOnce(&ailurus_store::Reader, TaskId) -> Result<Option<T>, LedgerError>
    + Send
    + 'static,
    answer: impl FnOnce(T) -> Reply,
) -> Reply {
    let id = task_of(&call);
    match call.app.read(move |reader| question(reader, id)).await {
        Ok(Some(found)) => answer(found),
        Ok(None) => Reply::refusal(NO_TASK),
        Err(error) => failed(&error),
    }
}

async fn status(call: Call) -> Reply {
    let question = |reader: &ailurus_store::Reader, id| reader.ledger().task(id);
    about(call, question, |task| Reply::data(task.status.as_str())).await
}

async fn details(call: Call) -> Reply {
    let (with_params, with_status) = (call.flag("include_parameters"), call.flag("include_status"));
    let question = move |reader: &ailurus_store::Reader, id: TaskId| {
        let ledger = reader.ledger();
        let Some(mut digest) = digest_task(ledger, id)? else {
            return Ok(None);
        };
        if with_status && let Some(task) = ledger.task(id)? {
            digest.insert("status".to_owned(), json!(task.status));
        }
        if with_params && let Some(params) = params_of(ledger, id)? {
            let arguments = params.get("cliParams").cloned();
            digest.insert("cliParams".to_owned(), json!(arguments));
            digest.insert("taskParams".to_owned(), Value::Object(params));
        }
        Ok(Some(digest))
    };
    about(call, question, |digest| Reply::data(Value::Object(digest))).await
}

/// Reads the parameters of a task as they were sent.
fn params_of(ledger: &impl Ledger, id: TaskId) -> Result<Option<Map<String, Value>>, LedgerError> {
    let Some(task) = ledger.task(id)? else {
        return Ok(None);
    };
    let definition = ledger.panda_task(id, task.revision)?;
    Ok(definition.map(|definition| definition.params.raw().clone()))
}

async fn parameters(call: Call) -> Reply {
    let question = |reader: &ailurus_store::Reader, id| params_of(reader.ledger(), id);
    about(call, question, |params| Reply::data(Value::Object(params))).await
}

async fn detailed(call: Call) -> Reply {
    let question = |reader: &ailurus_store::Reader, id| describe_task(reader.ledger(), id);
    about(call, question, |columns| {
        Reply::data(Value::Object(columns))
    })
    .await
}

async fn parent_detailed(call: Call) -> Reply {
    let id = task_of(&call);
    let read = call
        .app
        .read(move |reader| {
            let ledger = reader.ledger();
            let Some(child) = ledger.task_progress(id)? else {
                return Ok(Err("Child task not found"));
            };
            let Some(parent) = child.parent else {
                return Ok(Err("No parent task found"));
            };
            Ok(describe_task(ledger, parent)?.ok_or("Parent task not found"))
        })
        .await;
    match read {
        Ok(Ok(columns)) => Reply::data(Value::Object(columns)),
        Ok(Err(message)) => Reply::refusal(message),
        Err(error) => failed(&error),
    }
}

async fn job_ids(call: Call) -> Reply {
    let question = |reader: &ailurus_store::Reader, id| {
        let ledger = reader.ledger();
        if ledger.task(id)?.is_none() {
            return Ok(None);
        }
        ledger
            .jobs_of_task(id, ailurus_model::JobStatus::ALL)
            .map(Some)
    };
    about(call, question, |ids| Reply::data(json!(ids))).await
}

async fn job_descriptions(call: Call) -> Reply {
    use ailurus_model::JobStatus;

    let id = task_of(&call);
    let statuses: &[JobStatus] = if call.flag("unsuccessful_only") {
        &[JobStatus::Failed, JobStatus::Cancelled, JobStatus::Closed]
    } else {
        JobStatus::ALL
    };
    let described = call
        .app
        .look(move |ctx, ledger| {
            let ids = ledger.jobs_of_task(id, statuses)?;
            let mut jobs = Vec::new();
            for id in ids.into_iter().take(JOBS_MAX) {
                jobs.extend(describe_job(ctx, ledger, id)?.map(|form| encode_description(&form)));
            }
            Ok(jobs)
        })
        .await;
    match described {
        Ok(jobs) => Reply::data(jobs),
        Err(error) => failed(&error),
    }
}

async fn datasets(call: Call) -> Reply {
    let mut types = call.texts("dataset_types");
    if types.is_empty() {
        types = vec!["input".to_owned(), "pseudo_input".to_owned()];
    }
    let lists = if call.flag("dataset_only") {
        FileLists::Hidden
    } else {
        FileLists::Shown
    };
    let question =
        move |reader: &ailurus_store::Reader, id| list_datasets(reader.ledger(), id, &types, lists);
    about(call, question, Reply::data).await
}
