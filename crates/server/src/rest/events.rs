//! Changes of status as server-sent events, for pages and scripts that watch.
//!
//! `GET /ailurus/v1/events` goes on until the client leaves. Each event has the number of its
//! change; a client that comes back with `Last-Event-ID` (as browsers do) or `?after=N` misses
//! nothing. `?task=N` and `?job=N` choose. Without a number it begins with what comes from now on.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use ailurus_model::{ChangeId, PandaId, TaskId};
use ailurus_server_core::ledger::{Changed, HistoryRow, HistoryRows as _};
use axum::{
    Router,
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{app::App, knowledge::chain};

use super::error::ApiError;

/// Changes that are read at a time.
const BATCH: usize = 500;
/// How long to wait at most before looking for changes that other servers made.
const OTHERS_INTERVAL: Duration = Duration::from_secs(1);
/// Changes of that time are read at once.
const GATHERING: Duration = Duration::from_millis(50);
/// A comment is sent after that much silence, so that nobody between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Returns the routes of this module.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/ailurus/v1/events", get(events))
}

/// What is watched.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Watched {
    after: Option<u64>,
    task: Option<u64>,
    job: Option<u64>,
}

impl Watched {
    fn has(self, row: &HistoryRow) -> bool {
        let is_of_task = self
            .task
            .is_none_or(|id| row.change.task_id == TaskId::new(id));
        let is_of_job = self.job.is_none_or(|id| match row.change.changed {
            Changed::Job { panda_id, .. } => panda_id == PandaId::new(id),
            Changed::Task { .. } => false,
        });
        is_of_task && is_of_job
    }
}

async fn events(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    query: Result<Query<Watched>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(watched) = query?;
    let seen = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok());
    let seen = seen.and_then(|text| text.parse().ok()).or(watched.after);
    let after = match seen {
        Some(number) => ChangeId::new(number),
        None => app.read(|reader| reader.ledger().last_change()).await?,
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let events = Sse::new(follow(app, watched, after)).keep_alive(keep_alive);
    Ok(events.into_response())
}

/// The changes after one, as they are made, until the server stops.
fn follow(
    app: Arc<App>,
    watched: Watched,
    after: ChangeId,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let state = (app, after, VecDeque::<HistoryRow>::new());
    stream::unfold(state, move |(app, mut after, mut waiting)| async move {
        loop {
            while let Some(row) = waiting.pop_front() {
                if watched.has(&row) {
                    return Some((Ok(event(&row)), (app, after, waiting)));
                }
            }
            let mut changes = app.changes();
            let rows = app
                .read(move |reader| reader.ledger().changes_after(after, BATCH))
                .await;
            match rows {
                Ok(rows) if rows.is_empty() => {}
                Ok(rows) => {
                    after = rows.last().map_or(after, |row| row.id);
                    waiting.extend(rows);
                    continue;
                }
                // The client comes again, with the number of its last event.
                Err(error) => {
                    tracing::error!(error = chain(&error), "changes could not be read");
                    return None;
                }
            }
            // A change of ours wakes at once; those of other servers are looked for.
            if let Ok(Err(_)) = timeout(OTHERS_INTERVAL, changes.changed()).await {
                return None;
            }
            if app.is_stopping() {
                return None;
            }
            sleep(GATHERING).await;
        }
    })
}

fn event(row: &HistoryRow) -> Event {
    let change = &row.change;
    let (kind, mut data) = match change.changed {
        Changed::Job {
            panda_id,
            attempt_nr,
            old,
            new,
        } => (
            "job",
            json!({"job": panda_id.value(), "attempt": attempt_nr.value(),
                "old": old.map(|status| status.as_str()), "new": new.as_str()}),
        ),
        Changed::Task { old, new } => (
            "task",
            json!({"old": old.map(|status| status.as_str()), "new": new.as_str()}),
        ),
    };
    data["task"] = change.task_id.value().into();
    data["time"] = change.time.as_millis().into();
    data["queue"] = json!(change.queue.as_ref().map(|queue| queue.as_str()));
    data["reason"] = change.reason.as_str().into();
    Event::default()
        .event(kind)
        .id(row.id.value().to_string())
        .data(data.to_string())
}
