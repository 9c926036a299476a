//! Rare rounds over the database: instances are asked about workers that are behind their pilots,
//! and what nobody needs any more is forgotten.
//!
//! Every server over one database does this; doing it twice changes nothing.

use std::{sync::Arc, time::Duration};

use ailurus_server_core::{ask_about_stale_workers, expire_commands, expire_harvester_notes};
use tokio::time::{MissedTickBehavior, interval};

use crate::{app::App, knowledge::chain};

/// Time between two rounds, as in PanDA.
const ROUND: Duration = Duration::from_secs(30 * 60);

/// Makes round after round, until the future is dropped.
pub(crate) async fn run(app: Arc<App>) {
    let mut ticks = interval(ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        round(&app).await;
    }
}

async fn round(app: &App) {
    let done = app
        .write(|ctx, ledger| {
            let asked = ask_about_stale_workers(ctx, ledger)?;
            let commands = expire_commands(ctx, ledger)?;
            let notes = expire_harvester_notes(ctx, ledger)?;
            Ok::<_, ailurus_server_core::LedgerError>((asked, commands, notes))
        })
        .await;
    match done {
        Ok((asked, commands, notes)) => {
            if asked > 0 {
                tracing::info!(workers = asked, "Harvesters are asked about workers");
            }
            tracing::debug!(commands, notes, "old rows were forgotten");
        }
        Err(error) => tracing::error!(error = chain(&error), "a round of housekeeping failed"),
    }
}
