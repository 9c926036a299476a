//! Ailurus' own JSON API for people's tools, below `/ailurus/v1`.
//!
//! Paths, bodies and answers are those of [`ailurus_wire::rest`].

mod error;
mod events;
mod explain;
mod steer;
mod view;

use std::sync::Arc;

use ailurus_model::{
    Caller, ChainName, DatasetName, JobStatus, PandaId, Proof, QueueName, TaskId, task::Submission,
};
use ailurus_server_core::{
    self as core,
    ledger::{JobText, JobTextRows as _, Ledger},
};
use ailurus_store::{JobFilter, JobPast};
use ailurus_wire::rest::{
    ActionAnswer, DatasetView, JobView, QueueView, SubmitAnswer, SubmittedTask, TaskView,
};
use axum::{
    Extension, Json, Router,
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    http::StatusCode,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;

use crate::{app::App, panda::read_body};
use error::ApiError;

/// Tasks that a list has at most, the newest ones.
const TASKS_MAX: usize = 1000;
/// Jobs that a list has unless another limit is asked for.
const JOBS_DEFAULT: usize = 100;
/// Jobs that a list has at most.
const JOBS_MAX: usize = 10_000;
/// Files that a dataset is shown with at most.
const FILES_MAX: usize = 100_000;
/// Somebody on this machine, where that is enough.
const LOCAL: &str = "local user";

type Answer<T> = Result<Json<T>, ApiError>;

/// Returns the routes of this module.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/ailurus/v1/tasks", get(list_tasks).post(submit))
        .route("/ailurus/v1/tasks/{id}", get(show_task))
        .route("/ailurus/v1/tasks/{id}/kill", post(kill_task))
        .route("/ailurus/v1/tasks/{id}/retry", post(retry_task))
        .route("/ailurus/v1/jobs", get(list_jobs))
        .route("/ailurus/v1/jobs/{id}", get(show_job))
        .route("/ailurus/v1/jobs/{id}/kill", post(kill_job))
        .route("/ailurus/v1/queues", get(list_queues))
        .route("/ailurus/v1/queues/{name}", get(show_queue))
        .route("/ailurus/v1/datasets/{*name}", get(show_dataset))
        .merge(events::routes())
        .merge(explain::routes())
        .merge(steer::routes())
        .route("/ailurus/{*path}", axum::routing::any(no_such_path))
        .layer(from_fn(known_callers_only))
}

/// Lets in who is known, whatever they may do.
async fn known_callers_only(
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if caller.proof == Proof::None {
        return Err(ApiError::unknown_caller());
    }
    Ok(next.run(request).await)
}

async fn no_such_path(request: Request) -> ApiError {
    ApiError::not_found("path", request.uri().path())
}

async fn submit(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let Ok(bytes) = read_body(&head.headers, body, app.body_limit).await else {
        let message = format!("the submission is larger than {} bytes", app.body_limit);
        let help = "submit fewer tasks at a time, or raise `body_limit`";
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        return Err(ApiError::new(status, "too-large", message, help));
    };
    let mut submission: Submission = serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("the submission is wrong: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "bad-submission", message, "")
    })?;
    core::sign(&mut submission, &caller).map_err(|error| ApiError::not_allowed(&error))?;
    let submitted = app
        .write(move |ctx, ledger| core::submit(ctx, ledger, &submission))
        .await?;
    app.note_new_jobs();
    let tasks = submitted.into_iter().map(|task| {
        tracing::info!(task.id = %task.id, name = task.name, jobs = task.jobs, "task submitted");
        SubmittedTask {
            id: task.id.value(),
            name: task.name,
            jobs: task.jobs,
        }
    });
    let answer = SubmitAnswer {
        tasks: tasks.collect(),
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskQuery {
    chain: Option<ChainName>,
}

async fn list_tasks(
    State(app): State<Arc<App>>,
    query: Result<Query<TaskQuery>, QueryRejection>,
) -> Answer<Vec<TaskView>> {
    let Query(query) = query?;
    let rows = app
        .read(move |reader| {
            let chain = query.chain.as_ref().map(ChainName::as_str);
            reader.list_tasks(chain, TASKS_MAX)
        })
        .await?;
    Ok(Json(rows.iter().map(view::task).collect()))
}

async fn show_task(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<TaskView> {
    let task: TaskId = parse("task", &id)?;
    let row = app.read(move |reader| reader.show_task(task)).await?;
    row.map(|row| Json(view::task(&row)))
        .ok_or_else(|| ApiError::not_found("task", &id))
}

async fn kill_task(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<ActionAnswer> {
    let task: TaskId = parse("task", &id)?;
    let jobs = app
        .write(move |ctx, ledger| {
            core::check_task_owner(ledger, task, &caller)?;
            core::kill_task(ctx, ledger, task, name_of(&caller))
        })
        .await?;
    done(jobs, &format!("task {task} is being killed"))
}

async fn retry_task(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<ActionAnswer> {
    let task: TaskId = parse("task", &id)?;
    let jobs = app
        .write(move |ctx, ledger| {
            core::check_task_owner(ledger, task, &caller)?;
            core::retry_task(ctx, ledger, task, name_of(&caller))
        })
        .await?;
    done(jobs, &format!("failed jobs of task {task} are tried again"))
}

async fn kill_job(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<ActionAnswer> {
    let job: PandaId = parse("job", &id)?;
    let jobs = app
        .write(move |ctx, ledger| {
            core::check_job_owner(ledger, job, &caller)?;
            core::kill_job(ctx, ledger, job, name_of(&caller))
        })
        .await?;
    done(jobs, &format!("job {job} is being killed"))
}

/// Who does what is asked for, for the reasons of jobs.
fn name_of(caller: &Caller) -> &str {
    if caller.name.is_empty() {
        LOCAL
    } else {
        &caller.name
    }
}

/// Says what an action did.
fn done(jobs: u64, what: &str) -> Answer<ActionAnswer> {
    let message = match jobs {
        0 => "nothing to do".to_owned(),
        1 => format!("{what}: 1 job"),
        _ => format!("{what}: {jobs} jobs"),
    };
    tracing::info!(message);
    Ok(Json(ActionAnswer { jobs, message }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobQuery {
    task: Option<u64>,
    status: Option<JobStatus>,
    limit: Option<usize>,
    #[serde(default)]
    failed_attempts: bool,
}

async fn list_jobs(
    State(app): State<Arc<App>>,
    query: Result<Query<JobQuery>, QueryRejection>,
) -> Answer<Vec<JobView>> {
    let Query(query) = query?;
    let filter = JobFilter {
        task: query.task.map(TaskId::new),
        status: query.status,
        past: match query.failed_attempts {
            true => JobPast::FailedAttempt,
            false => JobPast::Any,
        },
    };
    let limit = query.limit.unwrap_or(JOBS_DEFAULT).min(JOBS_MAX);
    let rows = app
        .read(move |reader| reader.list_jobs(filter, limit))
        .await?;
    let knowledge = app.knowledge();
    let views = rows.iter().map(|row| view::job(row, &knowledge.catalogue));
    Ok(Json(views.collect()))
}

async fn show_job(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<JobView> {
    let job: PandaId = parse("job", &id)?;
    let found = app
        .read(move |reader| {
            let Some(row) = reader.show_job(job)? else {
                return Ok(None);
            };
            let attempt = row.job.attempt_nr;
            let output = reader.ledger().job_text(job, attempt, JobText::Stdout)?;
            Ok(Some((row, output.unwrap_or_default())))
        })
        .await?;
    let (row, output) = found.ok_or_else(|| ApiError::not_found("job", &id))?;
    let shown = view::job(&row, &app.knowledge().catalogue);
    Ok(Json(JobView { output, ..shown }))
}

async fn list_queues(State(app): State<Arc<App>>) -> Answer<Vec<QueueView>> {
    queue_views(&app).await.map(Json)
}

async fn show_queue(State(app): State<Arc<App>>, Path(name): Path<String>) -> Answer<QueueView> {
    if !app.knowledge().queues.contains_key(&QueueName::new(&*name)) {
        return Err(ApiError::not_found("queue", &name));
    }
    let views = queue_views(&app).await?;
    let found = views.into_iter().find(|queue| queue.name == name);
    found
        .map(Json)
        .ok_or_else(|| ApiError::not_found("queue", &name))
}

async fn queue_views(app: &App) -> Result<Vec<QueueView>, ApiError> {
    let (jobs, workers) = app
        .read(|reader| Ok((reader.queue_counts()?, reader.worker_counts()?)))
        .await?;
    let (no_jobs, no_workers) = Default::default();
    Ok(app
        .knowledge()
        .queues
        .values()
        .map(|queue| {
            let jobs = jobs.get(&queue.name).unwrap_or(&no_jobs);
            let workers = workers.get(&queue.name).unwrap_or(&no_workers);
            view::queue(queue, jobs, workers)
        })
        .collect())
}

async fn show_dataset(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Answer<DatasetView> {
    let dataset = DatasetName::new(&*name);
    let found = app
        .read(move |reader| {
            let Some(record) = reader.ledger().dataset(&dataset)? else {
                return Ok(None);
            };
            let files = reader.dataset_files(&dataset, FILES_MAX)?;
            Ok(Some((record, files)))
        })
        .await?;
    let (record, files) = found.ok_or_else(|| ApiError::not_found("dataset", &name))?;
    Ok(Json(DatasetView {
        name: record.name.to_string(),
        parts: record.n_parts,
        files: files.iter().map(view::file).collect(),
    }))
}

/// Reads a number of the path.
fn parse<T: std::str::FromStr>(kind: &str, id: &str) -> Result<T, ApiError> {
    id.parse()
        .map_err(|_| ApiError::bad_value(kind, format!("`{id}` is not the number of a {kind}")))
}
