//! The history of statuses, in memory.

use ailurus_model::{ChangeId, PandaId, TaskId};

use crate::{
    MemoryLedger,
    ledger::{Changed, HistoryRow, HistoryRows, LedgerError, StatusChange},
    memory::as_count,
};

impl MemoryLedger {
    fn some_changes(&self, limit: usize, is_it: impl Fn(&StatusChange) -> bool) -> Vec<HistoryRow> {
        (1..)
            .map(ChangeId::new)
            .zip(&self.history)
            .filter(|(_, change)| is_it(change))
            .take(limit)
            .map(|(id, change)| HistoryRow {
                id,
                change: change.clone(),
            })
            .collect()
    }
}

impl HistoryRows for MemoryLedger {
    fn add_change(&mut self, change: &StatusChange) -> Result<(), LedgerError> {
        self.history.push(change.clone());
        Ok(())
    }

    fn last_change(&self) -> Result<ChangeId, LedgerError> {
        Ok(ChangeId::new(as_count(self.history.len())))
    }

    fn changes_after(&self, after: ChangeId, limit: usize) -> Result<Vec<HistoryRow>, LedgerError> {
        let first = usize::try_from(after.value()).unwrap_or(usize::MAX);
        let ids = (after.value().saturating_add(1)..).map(ChangeId::new);
        let rows = self.history.get(first..).unwrap_or_default();
        Ok(ids
            .zip(rows)
            .take(limit)
            .map(|(id, change)| HistoryRow {
                id,
                change: change.clone(),
            })
            .collect())
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
