//! Calls about workflows: what `pchain` submits, and what `pbook` asks and wants of them.
//!
//! One engine carries out what PanDA gives to its own and to iDDS, so a request of `pchain` has the
//! same number in both: it is a workflow. Plans are made before the answer leaves, so what is wrong
//! is told at once.
//!
//! Source: PanDA server, `pandaserver/api/v1/{workflow,idds,file_server}_api.py` and
//! `pandaserver/userinterface/UserIF.py`.

mod request;

use ailurus_jedi::workflow::{Plan, PlanLimits, read_definition};
use ailurus_model::WorkflowId;
use ailurus_server_core::{
    Context, LedgerError,
    workflows::{
        WorkflowCommand, WorkflowRequest, describe_workflow, steer_workflow, submit_workflow,
        workflow_status_line,
    },
};
use ailurus_store::WriteError;
use serde_json::{Value, json};

use self::request::{Engine, Planned, plan_request};
use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{LegacyBody, Preset, Shape, anything, dict, flag, handler, int, text},
    failed,
};

/// What iDDS does and this server does not.
const NO_IDDS: &str = "this server has no iDDS: only `get_status`, `abort`, `finish`, `suspend`, \
                       `resume` and `retry` of workflows are available, by \
                       `execute_idds_workflow_command`";
/// The label of what people submit.
const USER: &str = "user";
/// The label of what production submits.
const MANAGED: &str = "managed";

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::post("workflow/submit_workflow_raw_request", handler!(submit_raw))
        .secure()
        .by_client()
        .takes(&[anything("params")
            .required()
            .doc("what `pchain_native` makes of its arguments, as an object or its JSON text")])
        .gives(Shape::Object(&[("workflow_id", Shape::Int)]))
        .doc("Takes a workflow in whose files are in an uploaded sandbox."),
    Endpoint::post("workflow/submit_workflow", handler!(submit_definition))
        .secure()
        .takes(&[dict("workflow_definition")
            .required()
            .doc("nodes with their parents and the parameters of their tasks")])
        .gives(Shape::Object(&[("workflow_id", Shape::Int)]))
        .doc("Takes a workflow in whose tasks are made already."),
    Endpoint::get("workflow/get_workflow_details", handler!(details))
        .secure()
        .by_client()
        .takes(&[int("workflow_id").required().doc("the workflow")])
        .doc("Tells steps and progress of a workflow, and its data."),
    Endpoint::post("file_server/upload_workflow_request", handler!(upload))
        .secure()
        .takes(&[
            text("data").required().doc("the request, as JSON text"),
            flag("dry_run").or(Preset::Bool(false)).doc("only check it"),
            flag("sync")
                .or(Preset::Bool(false))
                .doc("answer when it is done; it always is"),
        ])
        .doc("Checks a workflow of `pchain`, or takes it in."),
    Endpoint::legacy(
        "put_workflow_request",
        LegacyBody::Json,
        handler!(put_legacy),
    )
    .secure()
    .by_client()
    .takes(&[
        anything("data").doc("the request, as an object or its JSON text"),
        flag("check").or(Preset::Bool(false)).doc("only check it"),
        flag("sync")
            .or(Preset::Bool(false))
            .doc("tell what became of it"),
    ])
    .doc("Checks a workflow of `pchain`, or takes it in."),
    Endpoint::post("idds/relay_idds_command", handler!(no_idds))
        .secure()
        .takes(&[
            text("command_name").required(),
            anything("args"),
            anything("kwargs"),
            flag("manager").or(Preset::Bool(false)),
            flag("json_outputs").or(Preset::Bool(false)),
        ])
        .doc("Refused: there is no iDDS here."),
    Endpoint::post("idds/execute_idds_workflow_command", handler!(execute))
        .secure()
        .takes(&[
            text("command_name")
                .required()
                .doc("`get_status`, `abort`, `finish`, `suspend`, `resume` or `retry`"),
            anything("kwargs").doc("`request_id`, in an object or its JSON text"),
            flag("json_outputs").or(Preset::Bool(false)),
        ])
        .doc("Tells the status of a workflow, ends it, holds it, or tries it again."),
    Endpoint::legacy(
        "relay_idds_command",
        LegacyBody::Json,
        handler!(no_idds_legacy),
    )
    .secure()
    .by_client()
    .doc("Refused: there is no iDDS here."),
    Endpoint::legacy(
        "execute_idds_workflow_command",
        LegacyBody::Json,
        handler!(execute_legacy),
    )
    .secure()
    .by_client()
    .takes(&[
        text("command_name").doc("`get_status`, `abort`, `finish`, `suspend`, `resume` or `retry`"),
        anything("kwargs").doc("`request_id`, in an object or its JSON text"),
        flag("json_outputs").or(Preset::Bool(false)),
    ])
    .doc("Tells the status of a workflow, ends it, holds it, or tries it again."),
];

/// What came of a request.
enum Taken {
    /// It is taken in, or it was only to be checked and is good: the plan in words.
    Good(Option<WorkflowId>, String),
    /// It is wrong.
    Wrong(String),
    /// Nothing was done.
    Failed(Reply),
}

/// What is to be done with a good request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Check,
    Submit,
}

/// An object, or its JSON text.
fn object_of(value: Option<&Value>) -> Result<Value, String> {
    match value {
        Some(Value::String(text)) => {
            let read = serde_json::from_str::<Value>(text);
            read.map_err(|error| format!("Failed to parse params: {error}"))
        }
        Some(other) => Ok(other.clone()),
        None => Err("Failed to parse params: nothing was sent".to_owned()),
    }
}

fn limits_of(call: &Call) -> PlanLimits {
    let steps = call.app.knowledge().limits.workflows.steps_max;
    PlanLimits {
        steps_max: usize::try_from(steps).unwrap_or(usize::MAX),
    }
}

/// Makes the plan of a request and, if that is wanted, takes it in.
async fn take(call: &Call, field: &str, engine: Engine, purpose: Purpose) -> Taken {
    let request = match object_of(call.fields.get(field)) {
        Ok(request) => request,
        Err(problem) => return Taken::Wrong(problem),
    };
    let (cache, limits) = (call.app.cache.clone(), limits_of(call));
    let planned = tokio::task::spawn_blocking(move || {
        plan_request(&cache, &request, engine, limits).map_err(|problem| problem.to_string())
    });
    let Planned { plan, name } = match planned.await {
        Ok(Ok(planned)) => planned,
        Ok(Err(problem)) => return Taken::Wrong(problem),
        Err(error) => return Taken::Failed(failed(&error)),
    };
    let told = in_words(&plan);
    if purpose == Purpose::Check {
        return Taken::Good(None, told);
    }
    match submit(call, plan, name, USER).await {
        Ok(id) => Taken::Good(Some(id), told),
        Err(error) => Taken::Failed(failed(&error)),
    }
}

async fn submit(
    call: &Call,
    plan: Plan,
    name: Option<String>,
    label: &str,
) -> Result<WorkflowId, WriteError<LedgerError>> {
    let request = WorkflowRequest {
        plan,
        name,
        label: label.to_owned(),
        origin: call.origin.clone(),
    };
    let n_steps = request.plan.steps.len();
    let caller = call.caller.clone();
    let taken = call
        .app
        .write(move |ctx: &Context<'_>, ledger| submit_workflow(ctx, ledger, request, &caller))
        .await;
    if let Ok(id) = &taken {
        tracing::info!(workflow = %id, steps = n_steps, user = call.caller.name, "workflow submitted");
    }
    taken
}

/// Tells what the steps of a plan are, as PanDA tells it.
fn in_words(plan: &Plan) -> String {
    let mut words = "the description was internally converted as follows\n\n".to_owned();
    for (place, step) in plan.steps.iter().enumerate() {
        let parents: Vec<String> = step.parents.iter().map(u32::to_string).collect();
        words.push_str(&format!(
            "ID:{place} Name:{} Type:{}\n  Parent:{}\n  Output:\n     {}\n{}\n\n",
            step.name,
            if step.is_junction { "junction" } else { "prun" },
            parents.join(","),
            step.task_name,
            serde_json::to_string_pretty(&step.params).unwrap_or_default(),
        ));
    }
    words
}

async fn submit_raw(call: Call) -> Reply {
    match take(&call, "params", Engine::Native, Purpose::Submit).await {
        Taken::Good(id, _) => Reply::data(json!({"workflow_id": id})),
        Taken::Wrong(problem) => Reply::refusal(problem),
        Taken::Failed(reply) => reply,
    }
}

async fn submit_definition(call: Call) -> Reply {
    let definition = call.fields.get("workflow_definition");
    let plan = match read_definition(definition.unwrap_or(&Value::Null), limits_of(&call)) {
        Ok(plan) => plan,
        Err(error) => return Reply::refusal(error.to_string()),
    };
    let label = if call.caller.rights.production {
        MANAGED
    } else {
        USER
    };
    match submit(&call, plan, None, label).await {
        Ok(id) => Reply::data(json!({"workflow_id": id})),
        Err(error) => failed(&error),
    }
}

async fn details(call: Call) -> Reply {
    let id = WorkflowId::new(call.whole("workflow_id").unwrap_or(0));
    let read = call
        .app
        .read(move |reader| describe_workflow(reader.ledger(), id));
    match read.await {
        Ok(Some(told)) => Reply::data(Value::Object(told)),
        Ok(None) => Reply::refusal(format!("workflow_id={id} not found")),
        Err(error) => failed(&error),
    }
}

/// What `pchain` is told of a request that it waits for.
fn fate(taken: &Taken) -> Value {
    match taken {
        Taken::Good(id, log) => json!({"status": true, "request_id": id, "log": log}),
        Taken::Wrong(problem) => json!({"status": false, "request_id": null, "log": problem}),
        Taken::Failed(_) => Value::Null,
    }
}

fn purpose_of(call: &Call, check: &str) -> Purpose {
    if call.flag(check) {
        Purpose::Check
    } else {
        Purpose::Submit
    }
}

async fn upload(call: Call) -> Reply {
    let purpose = purpose_of(&call, "dry_run");
    match take(&call, "data", Engine::Idds, purpose).await {
        Taken::Failed(reply) => reply,
        taken if purpose == Purpose::Check || call.flag("sync") => Reply::data(fate(&taken)),
        Taken::Good(..) => Reply::data_and_message(
            Value::Null,
            "The request was accepted and will be processed in a few minutes",
        ),
        Taken::Wrong(problem) => Reply::refusal(problem),
    }
}

async fn put_legacy(call: Call) -> Reply {
    let purpose = purpose_of(&call, "check");
    Reply::Json(match take(&call, "data", Engine::Idds, purpose).await {
        Taken::Failed(reply) => return reply,
        taken if purpose == Purpose::Check || call.flag("sync") => json!([true, fate(&taken)]),
        Taken::Good(..) => {
            json!([
                true,
                "request was accepted and will be processed in a few minutes"
            ])
        }
        Taken::Wrong(problem) => json!([false, problem]),
    })
}

/// Follows a command for a workflow; the first error is for the client.
async fn follow(call: &Call) -> Result<Result<Value, String>, Reply> {
    let command = call.text("command_name").unwrap_or_default();
    let arguments = object_of(call.fields.get("kwargs"));
    let id = arguments.ok().and_then(|kwargs| {
        let id = kwargs.get("request_id")?;
        id.as_u64().or_else(|| id.as_str()?.parse().ok())
    });
    let Some(id) = id.map(WorkflowId::new) else {
        return Ok(Err("request_id is missing".to_owned()));
    };
    let command = match command.as_str() {
        "get_status" => {
            let read = call
                .app
                .read(move |reader| workflow_status_line(reader.ledger(), id));
            return match read.await {
                Ok(Some(line)) => Ok(Ok(json!(line))),
                Ok(None) => Ok(Err(format!("request {id} is not found"))),
                Err(error) => Err(failed(&error)),
            };
        }
        "abort" => WorkflowCommand::Kill,
        "retry" => WorkflowCommand::Retry,
        "finish" => WorkflowCommand::Finish,
        "suspend" => WorkflowCommand::Suspend,
        "resume" => WorkflowCommand::Resume,
        other => return Ok(Err(format!("{other} is unsupported"))),
    };
    let caller = call.caller.clone();
    let followed = call
        .app
        .write(move |ctx, ledger| steer_workflow(ctx, ledger, id, command, &caller))
        .await;
    match followed {
        Ok(Ok(said)) => Ok(Ok(json!([[true, said]]))),
        Ok(Err(refusal)) => Ok(Err(refusal.to_string())),
        Err(error) => Err(failed(&error)),
    }
}

async fn execute(call: Call) -> Reply {
    match follow(&call).await {
        Ok(Ok(said)) => Reply::data(said),
        Ok(Err(problem)) => Reply::refusal(problem),
        Err(reply) => reply,
    }
}

async fn execute_legacy(call: Call) -> Reply {
    match follow(&call).await {
        Ok(Ok(said)) => Reply::Json(json!([true, said])),
        Ok(Err(problem)) => Reply::Json(json!([false, problem])),
        Err(reply) => reply,
    }
}

async fn no_idds(_call: Call) -> Reply {
    Reply::refusal(NO_IDDS)
}

async fn no_idds_legacy(_call: Call) -> Reply {
    Reply::Json(json!([false, NO_IDDS]))
}
