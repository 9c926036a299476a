//! Workers that their Harvesters hold for alive although their pilots have begun or ended: the
//! instances are told to look.
//!
//! Source: PanDA server, `pandaserver/daemons/scripts/worker_synchronization.py`.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use ailurus_model::{HarvesterId, WorkerId};

use crate::{
    Context,
    commands::{NewCommand, Replaces, give_command},
    ledger::{Acknowledgement, Ledger, LedgerError, PilotPhase, StaleFilter},
};

/// The command to look at workers.
const SYNC_WORKERS_KILL: &str = "SYNC_WORKERS_KILL";
/// How long an instance may take to notice what a pilot has said.
const NOTICE_TIME: Duration = Duration::from_secs(60 * 60);
/// How long an instance is not asked again about the same worker.
const ASK_AGAIN: Duration = Duration::from_secs(30 * 60);
/// Workers of which nothing was heard for longer are left alone.
const REPORT_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Workers that were submitted longer ago are left alone.
const SUBMIT_AGE_MAX: Duration = Duration::from_secs(14 * 24 * 3600);
/// Workers that are asked about at a time, for each thing that pilots say.
const WORKERS_MAX: usize = 10_000;

/// Tells instances to look at workers that are behind their pilots. Returns how many workers.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn ask_about_stale_workers(
    ctx: &Context<'_>,
    ledger: &mut (impl Ledger + ?Sized),
) -> Result<u64, LedgerError> {
    let mut workers: BTreeMap<HarvesterId, BTreeMap<&str, Vec<WorkerId>>> = BTreeMap::new();
    let mut count = 0;
    for phase in PilotPhase::ALL {
        let filter = StaleFilter {
            phase,
            said_before: ctx.now.before(NOTICE_TIME),
            not_asked_since: ctx.now.before(ASK_AGAIN),
            reported_since: ctx.now.before(REPORT_AGE_MAX),
            submitted_since: ctx.now.before(SUBMIT_AGE_MAX),
        };
        for mut pilot in ledger.stale_workers(&filter, WORKERS_MAX)? {
            let of_instance = workers.entry(pilot.harvester.clone()).or_default();
            of_instance
                .entry(word(phase))
                .or_default()
                .push(pilot.worker);
            pilot.synced = Some(ctx.now);
            ledger.put_worker_pilot(&pilot)?;
            count += 1;
        }
    }
    for (harvester, by_phase) in &workers {
        let new = NewCommand {
            harvester,
            command: SYNC_WORKERS_KILL,
            params: params(by_phase),
            acknowledgement: Acknowledgement::NotWanted,
            replaces: Replaces::SameOrder,
        };
        give_command(ctx, ledger, new)?;
    }
    Ok(count)
}

/// PanDA's word for what a pilot does that has said this.
const fn word(phase: PilotPhase) -> &'static str {
    match phase {
        PilotPhase::Started => "running",
        PilotPhase::Finished => "finished",
    }
}

/// The workers by what their pilots do, as a JSON object.
fn params(by_phase: &BTreeMap<&str, Vec<WorkerId>>) -> String {
    let mut text = String::from("{");
    for (place, (phase, ids)) in by_phase.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let ids: Vec<String> = ids.iter().map(WorkerId::to_string).collect();
        write!(text, "{comma}\"{phase}\":[{}]", ids.join(",")).expect("a text takes all");
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_an_object_of_lists() {
        let ids = |numbers: &[u64]| numbers.iter().copied().map(WorkerId::new).collect();
        let by_phase = BTreeMap::from([("finished", ids(&[1, 2])), ("running", ids(&[7]))]);
        assert_eq!(params(&by_phase), r#"{"finished":[1,2],"running":[7]}"#);
    }
}
