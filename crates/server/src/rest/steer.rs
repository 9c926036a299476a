//! Tasks of PanDA for people's tools: submitted as maps of parameters, held, let go on, and ended
//! with what they have.
//!
//! Who calls may do what PanDA's own calls allow them.

use std::sync::Arc;

use ailurus_model::{Caller, TaskId};
use ailurus_server_core::{
    ledger::Ledger,
    tasks::{CommandReply, CommandRequest, FinishMode, TaskRequest, command_task, submit_task},
};
use ailurus_wire::rest::{ActionAnswer, SubmitAnswer, SubmittedTask};
use axum::{
    Extension, Json, Router,
    extract::{ConnectInfo, Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Map, Value};

use super::{Answer, ApiError, parse};
use crate::{
    app::App,
    caller::Peer,
    panda::{origin_of, read_body},
};

/// Returns the routes of this module.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/ailurus/v1/panda-tasks", post(submit))
        .route("/ailurus/v1/tasks/{id}/pause", post(pause))
        .route("/ailurus/v1/tasks/{id}/resume", post(resume))
        .route("/ailurus/v1/tasks/{id}/finish", post(finish))
}

async fn submit(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let caller = head.extensions.get::<Caller>();
    let caller = caller.cloned().unwrap_or_else(Caller::nobody);
    let peer = head.extensions.get::<ConnectInfo<Peer>>();
    let way = peer.map(|ConnectInfo(peer)| &peer.way);
    if !caller.is_secure() {
        return Err(unknown_caller());
    }
    let Ok(bytes) = read_body(&head.headers, body, app.body_limit).await else {
        let message = format!("the task is larger than {} bytes", app.body_limit);
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        return Err(ApiError::new(
            status,
            "too-large",
            message,
            "raise `body_limit`",
        ));
    };
    let params: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("the task is no JSON object of task parameters: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "bad-task", message, "")
    })?;
    let name = params.get("taskName").and_then(Value::as_str);
    let name = name.unwrap_or_default().to_owned();
    let request = TaskRequest {
        params: Value::Object(params),
        parent: None,
        origin: origin_of(&head.headers, way),
    };
    let reply = app
        .write(move |ctx, ledger| submit_task(ctx, ledger, request, &caller))
        .await?;
    tracing::info!(code = reply.code, message = reply.message, "task submitted");
    let (0 | 3, Some(id)) = (reply.code, reply.task) else {
        let status = match reply.code {
            1 | 2 => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        return Err(ApiError::new(status, "task-refused", reply.message, ""));
    };
    let answer = SubmitAnswer {
        tasks: vec![SubmittedTask {
            id: id.value(),
            name,
            jobs: 0,
        }],
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn pause(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    caller: Option<Extension<Caller>>,
) -> Answer<ActionAnswer> {
    steer(&app, &id, caller, CommandRequest::Pause).await
}

async fn resume(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    caller: Option<Extension<Caller>>,
) -> Answer<ActionAnswer> {
    steer(&app, &id, caller, CommandRequest::Resume).await
}

async fn finish(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    caller: Option<Extension<Caller>>,
) -> Answer<ActionAnswer> {
    steer(&app, &id, caller, CommandRequest::Finish(FinishMode::Now)).await
}

async fn steer(
    app: &App,
    id: &str,
    caller: Option<Extension<Caller>>,
    request: CommandRequest,
) -> Answer<ActionAnswer> {
    let task: TaskId = parse("task", id)?;
    let caller = caller.map_or_else(Caller::nobody, |Extension(caller)| caller);
    let row = app
        .read(move |reader| reader.ledger().task(task))
        .await?
        .ok_or_else(|| ApiError::not_found("task", id))?;
    if row.revision == 0 {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "not-of-panda",
            format!("task {task} was submitted as a task file: it cannot be held or finished"),
            "`ailurus task kill` ends it, `ailurus task retry` tries what failed again",
        ));
    }
    let reply = app
        .write(move |ctx, ledger| command_task(ctx, ledger, task, request, &caller))
        .await?;
    answer_of(task, reply)
}

/// Turns PanDA's code into an answer or an error of this API.
fn answer_of(task: TaskId, reply: CommandReply) -> Answer<ActionAnswer> {
    let CommandReply { code, message } = reply;
    tracing::info!(task.id = %task, code, message, "command for a task");
    let (status, word, help) = match code {
        0 => return Ok(Json(ActionAnswer { jobs: 0, message })),
        2 => (
            StatusCode::NOT_FOUND,
            "unknown-task",
            "`ailurus task list` lists them",
        ),
        3 => (
            StatusCode::FORBIDDEN,
            "not-allowed",
            "ask the task's owner, or somebody with a production role",
        ),
        4 => (
            StatusCode::CONFLICT,
            "wrong-status",
            "`ailurus task show ID` shows what the task does now",
        ),
        _ => (StatusCode::BAD_REQUEST, "task-refused", ""),
    };
    Err(ApiError::new(status, word, message, help))
}

fn unknown_caller() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "unknown-caller",
        "the server does not know who submits the task",
        "ask at the server's own machine, or submit with panda-client and a token",
    )
}
