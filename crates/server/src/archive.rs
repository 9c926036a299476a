//! Passes over what ended long ago: jobs go to the archive and, later still, from there, as do
//! workflows; old changes of statuses go.
//!
//! Each step is a transaction of its own, between which others get their turn. Every server over
//! one database does this; what one has done, the others do not find any more.

use std::sync::Arc;

use ailurus_server_core::{
    archive_jobs, drop_jobs,
    ledger::{EndedPlace, EndedTask},
    shorten_history,
    workflows::forget_workflows,
};
use tokio::time::{MissedTickBehavior, interval};

use crate::{app::App, config::ArchiveConfig, knowledge::chain};

/// Makes pass after pass, until the future is dropped. A pass that fails is logged, and the next
/// one does what it has left.
pub(crate) async fn run(app: Arc<App>, config: ArchiveConfig) {
    let mut ticks = interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        archive_all(&app, &config).await;
        drop_all(&app, &config).await;
        forget_all(&app, &config).await;
        shorten_all(&app, &config).await;
    }
}

async fn archive_all(app: &App, config: &ArchiveConfig) {
    let mut jobs = 0;
    let mut place = Some(EndedPlace::START);
    while let Some(from) = place {
        let rules = config.rules.clone();
        let step = app.write(move |ctx, ledger| archive_jobs(ctx, ledger, &rules, from));
        match step.await {
            Ok(step) => {
                jobs += step.archived;
                place = step.next;
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "jobs could not be archived");
                place = None;
            }
        }
    }
    if jobs > 0 {
        tracing::info!(jobs, "jobs went to the archive");
    }
}

async fn drop_all(app: &App, config: &ArchiveConfig) {
    let mut jobs = 0;
    let mut place = Some(EndedTask::START);
    while let Some(from) = place {
        let rules = config.rules.clone();
        let step = app.write(move |ctx, ledger| drop_jobs(ctx, ledger, &rules, from));
        match step.await {
            Ok(step) => {
                jobs += step.dropped;
                place = step.next;
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "archived jobs could not be dropped");
                place = None;
            }
        }
    }
    if jobs > 0 {
        tracing::info!(jobs, "jobs were dropped from the archive");
    }
}

async fn forget_all(app: &App, config: &ArchiveConfig) {
    loop {
        let rules = config.rules.clone();
        let step = app.write(move |ctx, ledger| forget_workflows(ctx, ledger, &rules));
        match step.await {
            Ok(0) => return,
            Ok(workflows) => tracing::info!(workflows, "old workflows were removed"),
            Err(error) => {
                tracing::error!(error = chain(&error), "old workflows could not be removed");
                return;
            }
        }
    }
}

async fn shorten_all(app: &App, config: &ArchiveConfig) {
    loop {
        let rules = config.rules.clone();
        let step = app.write(move |ctx, ledger| shorten_history(ctx, ledger, &rules));
        match step.await {
            Ok(0) => return,
            Ok(changes) => tracing::debug!(changes, "old changes of statuses were forgotten"),
            Err(error) => {
                tracing::error!(error = chain(&error), "the history could not be shortened");
                return;
            }
        }
    }
}
