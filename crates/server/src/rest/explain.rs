//! Why jobs and tasks wait, run or ended, and how global shares are used.

use std::sync::Arc;

use ailurus_model::{PandaId, TaskId};
use ailurus_server_core::{self as core, Explanation};
use ailurus_wire::rest::{ExplanationView, QueueFindingView, ShareView};
use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};

use super::{Answer, error::ApiError, parse};
use crate::app::App;

/// Returns the routes of this module.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/ailurus/v1/tasks/{id}/explain", get(explain_task))
        .route("/ailurus/v1/jobs/{id}/explain", get(explain_job))
        .route("/ailurus/v1/shares", get(list_shares))
}

async fn explain_job(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<ExplanationView> {
    let job: PandaId = parse("job", &id)?;
    let found = app
        .look(move |ctx, ledger| core::explain_job(ctx, ledger, job))
        .await?;
    found
        .map(|it| Json(view(format!("job {job}"), it)))
        .ok_or_else(|| ApiError::not_found("job", &id))
}

async fn explain_task(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<ExplanationView> {
    let task: TaskId = parse("task", &id)?;
    let found = app
        .look(move |ctx, ledger| core::explain_task(ctx, ledger, task))
        .await?;
    found
        .map(|it| Json(view(format!("task {task}"), it)))
        .ok_or_else(|| ApiError::not_found("task", &id))
}

async fn list_shares(State(app): State<Arc<App>>) -> Answer<Vec<ShareView>> {
    let lines = app
        .look(|ctx, ledger| core::share_lines(ctx, ledger))
        .await?;
    let view = lines.into_iter().map(|line| ShareView {
        name: line.name,
        depth: line.depth,
        is_leaf: line.is_leaf,
        pledged_percent: line.pledged_percent,
        executing_hs06: line.executing,
        queued_hs06: line.queued,
    });
    Ok(Json(view.collect()))
}

fn view(subject: String, explanation: Explanation) -> ExplanationView {
    let queues = explanation.queues.into_iter().map(|it| QueueFindingView {
        queue: it.queue.to_string(),
        site: it.site,
        weight: it.weight,
        filter: it.filter.to_owned(),
        reason: it.reason,
        waiting: it.waiting,
        running: it.running,
    });
    ExplanationView {
        sentence: format!("{subject} {}", explanation.sentence),
        would_run: explanation
            .would_run
            .map_or_else(String::new, |queue| queue.to_string()),
        changes: explanation.changes,
        queues: queues.collect(),
    }
}
