//! The history of statuses, in memory.

use ailurus_model::{ChangeId, PandaId, TaskId};

use crate::{
    MemoryLedger,
    ledger::{Changed, HistoryRow, HistoryRows, LedgerError, StatusChange},
};

impl MemoryLedger {
    fn some_changes(&self, limit: usize, is_it: impl Fn(&StatusChange) -> bool) -> Vec<HistoryRow> {
        self.history
            .iter()
            .filter(|(_, change)| is_it(change))
            .take(limit)
            .map(row)
            .collect()
    }
}

fn row((id, change): (&u64, &StatusChange)) -> HistoryRow {
    HistoryRow {
        id: ChangeId::new(*id),
        change: change.clone(),
    }
}

impl HistoryRows for MemoryLedger {
    fn add_change(&mut self, change: &StatusChange) -> Result<(), LedgerError> {
        self.last_change += 1;
        self.history.insert(self.last_change, change.clone());
        Ok(())
    }

    fn last_change(&self) -> Result<ChangeId, LedgerError> {
        Ok(ChangeId::new(self.last_change))
    }

    fn changes_after(&self, after: ChangeId, limit: usize) -> Result<Vec<HistoryRow>, LedgerError> {
        let rows = self.history.range(after.value().saturating_add(1)..);
        Ok(rows.take(limit).map(row).collect())
    }

    fn changes_of_job(&self, id: PandaId, limit: usize) -> Result<Vec<HistoryRow>, LedgerError> {
        Ok(self.some_changes(limit, |change| match change.changed {
            Changed::Job { panda_id, .. } => panda_id == id,
            Changed::Task { .. } => false,
        }))
    }

    fn changes_of_task(&self, id: TaskId, limit: usize) -> Result<Vec<HistoryRow>, LedgerError> {
        Ok(self.some_changes(limit, |change| match change.changed {
            Changed::Job { .. } => false,
            Changed::Task { .. } => change.task_id == id,
        }))
    }
}
