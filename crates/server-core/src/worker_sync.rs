//! Workers that their Harvesters hold for alive although their pilots have ended: the instances are
//! told to end them.
//!
//! Source: PanDA server, `pandaserver/daemons/scripts/worker_synchronization.py`. Its command for
//! workers whose pilots have begun, `SYNC_WORKERS_ACTIVATE`, is none that an instance knows.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{HarvesterId, WorkerId};

use crate::{
    Context,
    commands::{NewCommand, Replaces, give_command},
    ledger::{Acknowledgement, Ledger, LedgerError, StaleFilter},
};

/// The command to end workers; its parameters are the list of their numbers.
const SYNC_WORKERS_KILL: &str = "SYNC_WORKERS_KILL";
/// Workers of one command.
const WORKERS_PER_COMMAND: usize = 100;
/// How long an instance may take to notice what a pilot has said.
const NOTICE_TIME: Duration = Duration::from_secs(60 * 60);
/// How long an instance is not asked again about the same worker.
const ASK_AGAIN: Duration = Duration::from_secs(30 * 60);
/// Workers of which nothing was heard for longer are left alone.
const REPORT_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Workers that were submitted longer ago are left alone.
const SUBMIT_AGE_MAX: Duration = Duration::from_secs(14 * 24 * 3600);
/// Workers that are asked about at a time.
const WORKERS_MAX: usize = 10_000;

/// Tells instances to end workers whose pilots have ended. Returns how many workers.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn ask_about_stale_workers(
    ctx: &Context<'_>,
    ledger: &mut (impl Ledger + ?Sized),
) -> Result<u64, LedgerError> {
    let filter = StaleFilter {
        said_before: ctx.now.before(NOTICE_TIME),
        not_asked_since: ctx.now.before(ASK_AGAIN),
        reported_since: ctx.now.before(REPORT_AGE_MAX),
        submitted_since: ctx.now.before(SUBMIT_AGE_MAX),
    };
    let mut workers: BTreeMap<HarvesterId, Vec<WorkerId>> = BTreeMap::new();
    let mut count = 0;
    for mut pilot in ledger.stale_workers(&filter, WORKERS_MAX)? {
        let of_instance = workers.entry(pilot.harvester.clone()).or_default();
        of_instance.push(pilot.worker);
        pilot.synced = Some(ctx.now);
        ledger.put_worker_pilot(&pilot)?;
        count += 1;
    }
    for (harvester, ids) in &workers {
        for some in ids.chunks(WORKERS_PER_COMMAND) {
            let new = NewCommand {
                harvester,
                command: SYNC_WORKERS_KILL,
                params: params(some),
                acknowledgement: Acknowledgement::NotWanted,
                replaces: Replaces::SameOrder,
            };
            give_command(ctx, ledger, new)?;
        }
    }
    Ok(count)
}

/// The numbers of workers as a JSON list.
fn params(workers: &[WorkerId]) -> String {
    let ids: Vec<String> = workers.iter().map(WorkerId::to_string).collect();
    format!("[{}]", ids.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_a_list_of_numbers() {
        assert_eq!(params(&[1, 2].map(WorkerId::new)), "[1,2]");
    }
}
