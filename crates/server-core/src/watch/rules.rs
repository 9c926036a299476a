//! Time-outs that differ by queue, label or working group, and when a queue has too many waiting
//! jobs. The main type is [`WatchRules`].
//!
//! Source: PanDA server, `pandaserver/daemons/scripts/copyArchive.py`, and its keys
//! `HEARTBEAT_TIMEOUT_<workflow>`, `ANALY_TIMEOUT_<working group>` and `FAST_REBRO_THRESHOLD_*`.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Context,
    ledger::{JobRecord, URGENT_PRIORITY},
};

/// The word for all jobs of users among [`WatchRules::heartbeat_timeouts`].
pub const ANALYSIS: &str = "analysis";
/// The word for the jobs of all queues whose workflow is not named.
pub const PRODUCTION: &str = "production";

/// What watchdogs do beyond one time-out for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchRules {
    /// How long a job that a pilot has may be silent, by the workflow of its queue; [`ANALYSIS`]
    /// stands for users' jobs everywhere, [`PRODUCTION`] for all workflows that are not named.
    /// Without an entry, `heartbeat_timeout` counts.
    pub heartbeat_timeouts: BTreeMap<String, Duration>,
    /// How long a user's job may wait at one queue where nothing of its task runs, by the working
    /// group of its task. Without an entry, `user_activated_timeout` counts.
    pub user_activated_timeouts: BTreeMap<String, Duration>,
    /// When waiting jobs are taken from a queue that has too many.
    pub overshoot: OvershootRules,
}

/// When a queue has too many waiting jobs of a share: all three must hold. Then what is too much
/// is brokered anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OvershootRules {
    /// More jobs wait than this, by share. A share without an entry is left alone.
    pub waiting_least: BTreeMap<String, u64>,
    /// More jobs wait than this for each hundred that run there. Default 300.
    pub waiting_per_100_running: u64,
    /// More jobs wait than this, in percent of all that wait in the share. Default 30.
    pub waiting_percent_of_share: u64,
    /// How long a job has waited at the queue at least. Default 40 min, PanDA's time between two
    /// looks.
    pub waiting_since: Duration,
}

impl Default for OvershootRules {
    fn default() -> Self {
        Self {
            waiting_least: BTreeMap::new(),
            waiting_per_100_running: 300,
            waiting_percent_of_share: 30,
            waiting_since: Duration::from_secs(40 * 60),
        }
    }
}

impl OvershootRules {
    /// Returns how many of the jobs of a share are too many at a queue.
    pub(super) fn excess(&self, share: &str, here: Counts, everywhere: Counts) -> u64 {
        let Some(least) = self.waiting_least.get(share) else {
            return 0;
        };
        let part = |whole: u64, percent: u64| whole.saturating_mul(percent) / 100;
        [
            *least,
            part(here.running, self.waiting_per_100_running),
            part(everywhere.waiting, self.waiting_percent_of_share),
        ]
        .into_iter()
        .map(|allowed| here.waiting.saturating_sub(allowed))
        .min()
        .unwrap_or(0)
    }
}

/// Jobs of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// That do not run yet.
    pub(super) waiting: u64,
    /// That run.
    pub(super) running: u64,
}

/// Returns how long a job that a pilot has may be silent.
pub(super) fn heartbeat_patience(ctx: &Context<'_>, job: &JobRecord) -> Duration {
    let timeouts = &ctx.limits.watch.heartbeat_timeouts;
    let common = ctx.limits.heartbeat_timeout;
    if is_users(job) {
        return timeouts.get(ANALYSIS).copied().unwrap_or(common);
    }
    let queue = job.queue.as_ref().and_then(|name| ctx.queue(name));
    let of_queue = queue.and_then(|queue| timeouts.get(&queue.options.terms.workflow));
    let named = of_queue.or_else(|| timeouts.get(PRODUCTION));
    named.copied().unwrap_or(common)
}

/// Returns how long a final report of a job may be held back.
pub(super) fn holding_patience(ctx: &Context<'_>, job: &JobRecord) -> Duration {
    if is_users(job) || job.priority > URGENT_PRIORITY {
        ctx.limits.holding_timeout
    } else {
        ctx.limits.production_holding_timeout
    }
}

pub(super) fn is_users(job: &JobRecord) -> bool {
    matches!(job.source_label.as_str(), "user" | "panda")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_excess_is_what_no_threshold_allows() {
        let rules = OvershootRules {
            waiting_least: BTreeMap::from([("Production".to_owned(), 10)]),
            ..OvershootRules::default()
        };
        let counts = |waiting, running| Counts { waiting, running };
        let excess = |here, everywhere| rules.excess("Production", here, everywhere);
        assert_eq!(excess(counts(100, 0), counts(100, 0)), 70);
        assert_eq!(excess(counts(100, 30), counts(100, 30)), 10);
        assert_eq!(excess(counts(100, 0), counts(1000, 0)), 0);
        assert_eq!(excess(counts(11, 0), counts(11, 0)), 1);
        assert_eq!(excess(counts(10, 0), counts(10, 0)), 0);
        assert_eq!(rules.excess("Other", counts(9999, 0), counts(9999, 0)), 0);
    }
}
