//! The server's own timer: reads changed files again, looks for silent jobs, and chooses queues
//! for waiting ones.

use std::{sync::Arc, time::Instant};

use ailurus_server_core::{WatchReport, broker, refresh_shares, stream_pilots, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    app::App,
    config::{Config, SchedulingConfig},
    knowledge::{chain, now},
    listening::{Clock, Listening},
    reload::Reloader,
};

/// Rounds of one kind in a row, at most: between two ticks others get their turn too.
const ROUNDS_MAX: u32 = 100;

/// Looks again and again, until the future is dropped. A round that fails is logged, and the next
/// tick tries anew.
pub(crate) async fn run(app: Arc<App>, mut reloader: Reloader, config: Config) {
    let mut listening = Listening::new(Instant::now(), now());
    let mut ticks = interval(config.watch_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // One transaction places no more than a bounded number of jobs; the rest need not wait.
            () = app.new_jobs() => {
                broker_all(&app).await;
                continue;
            }
        }
        reloader = reload(&app, reloader).await;
        if listening.look(Instant::now(), now()) == Clock::WasSet {
            let grace = config.silence_grace;
            tracing::warn!(
                ?grace,
                "the clock was set: no job counts as silent for a while"
            );
        }
        if listening.is_long_enough(config.silence_grace, config.limits.heartbeat_timeout) {
            watch_all(&app).await;
        }
        broker_all(&app).await;
    }
}

/// Works out the need of global shares and tells Harvesters of streamed queues how many workers to
/// submit, again and again, until the future is dropped.
pub(crate) async fn steer(app: Arc<App>, config: SchedulingConfig) {
    let every = |time| {
        let mut ticks = interval(time);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let mut shares = every(config.shares_interval);
    let mut streaming = every(config.streaming_interval);
    loop {
        tokio::select! {
            _ = shares.tick() => {
                if let Err(error) = app.write(refresh_shares).await {
                    tracing::error!(error = chain(&error), "shares could not be ordered");
                }
            }
            _ = streaming.tick() => match app.write(stream_pilots).await {
                Ok(0) => {}
                Ok(queues) => tracing::debug!(queues, "Harvesters were told how many workers to submit"),
                Err(error) => {
                    tracing::error!(error = chain(&error), "workers could not be numbered");
                }
            },
        }
    }
}

/// Goes on with the files as they are now. Files that cannot be used change nothing, and are
/// complained of once.
async fn reload(app: &App, mut reloader: Reloader) -> Reloader {
    let looked = tokio::task::spawn_blocking(move || {
        let found = reloader.look();
        (reloader, found)
    })
    .await;
    let (reloader, found) =
        looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    match found {
        None => {}
        Some(Ok(knowledge)) => {
            tracing::info!(queues = knowledge.queues.len(), "site data were read again");
            app.replace_knowledge(knowledge);
        }
        Some(Err(error)) => tracing::error!(
            error = chain(&error),
            "changed site data cannot be used: those from before stay in use"
        ),
    }
    reloader
}

/// Ends attempts of which nothing was heard, batch by batch.
async fn watch_all(app: &App) {
    let batch = u64::from(app.knowledge().limits.watch_batch);
    for _ in 0..ROUNDS_MAX {
        match app.write(watch).await {
            Ok(report) => {
                log(&report);
                if largest(&report) < batch {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "silent jobs could not be looked for");
                return;
            }
        }
    }
}

/// Chooses queues for jobs that have none, batch by batch.
async fn broker_all(app: &App) {
    let batch = u64::from(app.knowledge().limits.broker_batch);
    for _ in 0..ROUNDS_MAX {
        match app.write(broker).await {
            Ok(jobs) => {
                if jobs > 0 {
                    tracing::info!(jobs, "jobs were given to queues");
                }
                if jobs < batch {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "queues could not be chosen");
                return;
            }
        }
    }
}

fn largest(report: &WatchReport) -> u64 {
    counts(report)
        .into_iter()
        .map(|(_, n)| n)
        .max()
        .unwrap_or(0)
}

fn log(report: &WatchReport) {
    for (reason, jobs) in counts(report) {
        if jobs > 0 {
            tracing::warn!(jobs, reason, "jobs were silent for too long");
        }
    }
}

const fn counts(report: &WatchReport) -> [(&'static str, u64); 9] {
    [
        ("heartbeat lost", report.lost_heartbeats),
        ("sent, no reply", report.sent_without_reply),
        ("final report held back", report.holding_too_long),
        ("outputs did not arrive", report.transferring_too_long),
        ("no pilot came", report.activated_too_long),
        ("starting for too long", report.starting_too_long),
        ("running for too long", report.running_too_long),
        ("never got a pilot", report.waiting_too_long),
        ("too many waited at their queue", report.overshooting),
    ]
}
