//! Has the steps of PanDA's tasks and the turns of workflows done that are due, round after round.
//!
//! A round is one transaction of bounded size, so pilots are served between two of them. What is
//! due stands in the rows: a server that is killed, or another one over the same database, goes on
//! where the last round was committed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ailurus_server_core::{
    ledger::{PandaTaskRows, WorkflowRows},
    tasks::{Backlog, step_tasks},
    workflows::step_workflows,
};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    app::App,
    catalogue::{self, Catalogue},
    knowledge::{chain, now},
};

/// How often the rows are asked whether something is due.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How often tasks are told, where there is no catalogue, that there is none.
const ANSWER_INTERVAL: Duration = Duration::from_secs(2);
/// Rounds in a row, at most: between two looks others get their turn too.
const ROUNDS_MAX: u32 = 1000;

/// Looks again and again, until the future is dropped. A round that fails is logged, and the next
/// look tries anew.
pub(crate) async fn run(app: Arc<App>, catalogue: Option<Catalogue>) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = Instant::now();
    loop {
        ticks.tick().await;
        if app.is_stopping() {
            return;
        }
        if are_workflows_due(&app).await {
            turn_workflows(&app).await;
        }
        if is_due(&app).await {
            step_all(&app).await;
        }
        match &catalogue {
            Some(catalogue) => catalogue.answer_all(&app).await,
            None if answered.elapsed() >= ANSWER_INTERVAL => {
                catalogue::answer_without(&app).await;
                answered = Instant::now();
            }
            None => {}
        }
    }
}

/// Asks beside the writer, which has better to do when nothing is due.
async fn is_due(app: &App) -> bool {
    let now = now();
    let due = app
        .read(move |reader| reader.ledger().tasks_due(now, 1))
        .await;
    match due {
        Ok(due) => !due.is_empty(),
        Err(error) => {
            tracing::error!(error = chain(&error), "steps of tasks cannot be looked for");
            false
        }
    }
}

async fn are_workflows_due(app: &App) -> bool {
    let now = now();
    let due = app
        .read(move |reader| reader.ledger().workflows_due(now, 1))
        .await;
    match due {
        Ok(due) => !due.is_empty(),
        Err(error) => {
            tracing::error!(error = chain(&error), "workflows cannot be looked for");
            false
        }
    }
}

async fn turn_workflows(app: &App) {
    for _ in 0..ROUNDS_MAX {
        if app.is_stopping() {
            return;
        }
        match app.write(step_workflows).await {
            Ok(report) => {
                if report.tasks > 0 {
                    let (workflows, tasks) = (report.workflows, report.tasks);
                    tracing::info!(workflows, tasks, "steps of workflows became tasks");
                }
                match report.backlog {
                    Backlog::More => {}
                    Backlog::None => return,
                }
            }
            Err(error) => {
                tracing::error!(
                    error = chain(&error),
                    "turns of workflows could not be done"
                );
                return;
            }
        }
    }
}

async fn step_all(app: &App) {
    for _ in 0..ROUNDS_MAX {
        if app.is_stopping() {
            return;
        }
        match app.write(step_tasks).await {
            Ok(report) => {
                if report.jobs > 0 {
                    app.note_new_jobs();
                    let (tasks, jobs) = (report.tasks, report.jobs);
                    tracing::info!(tasks, jobs, "jobs of tasks were made or changed");
                }
                match report.backlog {
                    Backlog::More => {}
                    Backlog::None => return,
                }
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "steps of tasks could not be done");
                return;
            }
        }
    }
}
