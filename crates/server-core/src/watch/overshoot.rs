//! Fast rebrokerage: takes waiting jobs from a queue that has too many for what runs there.
//!
//! Source: PanDA server, `pandaserver/daemons/scripts/copyArchive.py`.

use std::collections::{BTreeMap, BTreeSet};

use ailurus_model::{JobKind, JobStatus, QueueName};

use super::rules::Counts;
use crate::{
    ledger::{Ledger, LedgerError, LoadRow},
    operation::Operation,
};

/// Why jobs leave, in PanDA's words.
const WHY: &str = "fast rebrokerage due to Nq/Nr overshoot";

impl<L: Ledger> Operation<'_, L> {
    /// Has jobs brokered anew, elsewhere if there is another queue, that are too many where they
    /// wait. Queues that keep their jobs, or whose number of slots a Harvester is told, are left
    /// alone.
    pub(super) fn move_overshooting(&mut self) -> Result<u64, LedgerError> {
        let rules = &self.ctx.limits.watch.overshoot;
        if rules.waiting_least.is_empty() {
            return Ok(0);
        }
        let slots = self.ledger.target_slots(self.ctx.now)?;
        let fixed: BTreeSet<QueueName> = slots.into_iter().map(|slots| slots.queue).collect();
        let mut here: BTreeMap<(QueueName, String), Counts> = BTreeMap::new();
        let mut everywhere: BTreeMap<String, Counts> = BTreeMap::new();
        for row in self.ledger.loads()? {
            if fixed.contains(&row.queue) {
                continue;
            }
            add(everywhere.entry(row.share.clone()).or_default(), &row);
            let key = (row.queue.clone(), row.share.clone());
            add(here.entry(key).or_default(), &row);
        }
        let mut moved = 0;
        for ((queue, share), counts) in here {
            let all = everywhere.get(&share).copied().unwrap_or_default();
            let excess = rules.excess(&share, counts, all);
            if excess > 0 && !self.queue_keeps_its_jobs(&queue) {
                moved += self.move_excess(&queue, &share, excess)?;
            }
        }
        Ok(moved)
    }

    fn move_excess(
        &mut self,
        queue: &QueueName,
        share: &str,
        excess: u64,
    ) -> Result<u64, LedgerError> {
        let since = self.ctx.limits.watch.overshoot.waiting_since;
        let before = self.ctx.now.before(since);
        let excess = usize::try_from(excess).unwrap_or(usize::MAX);
        let limit = excess.min(self.batch_limit());
        let mut moved = 0;
        for id in self.ledger.waiting_at(queue, share, before, limit)? {
            let mut job = self.job(id)?;
            if job.kind == JobKind::Direct {
                continue;
            }
            WHY.clone_into(&mut job.reason);
            self.avoided = Some(queue.clone());
            let placed = self.run_elsewhere(job);
            self.avoided = None;
            placed?;
            moved += 1;
        }
        Ok(moved)
    }
}

fn add(counts: &mut Counts, row: &LoadRow) {
    match row.status {
        JobStatus::Assigned | JobStatus::Activated | JobStatus::Sent | JobStatus::Starting => {
            counts.waiting = counts.waiting.saturating_add(row.jobs);
        }
        JobStatus::Running => counts.running = counts.running.saturating_add(row.jobs),
        JobStatus::Pending
        | JobStatus::Defined
        | JobStatus::Holding
        | JobStatus::Transferring
        | JobStatus::Merging
        | JobStatus::Finished
        | JobStatus::Failed
        | JobStatus::Cancelled
        | JobStatus::Closed => {}
    }
}
