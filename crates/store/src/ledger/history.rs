//! Statements over the history of statuses.

use ailurus_model::{AttemptNr, ChangeId, PandaId, TaskId};
use ailurus_server_core::ledger::{Changed, HistoryRow, HistoryRows, LedgerError, StatusChange};

use crate::{
    DatabaseLedger,
    ledger::{failed, tasks},
    sql::{
        Column::{Int, Text},
        Columns, SqlError, Table, params, row,
    },
};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, time, panda_id, task_id, attempt_nr, old, new, queue, reason, source_label
             FROM history ",
            $rest
        )
    };
}

static HISTORY: Table = Table {
    name: "history",
    columns: &[
        Int("id"),
        Int("time"),
        Int("panda_id"),
        Int("task_id"),
        Int("attempt_nr"),
        Text("old"),
        Text("new"),
        Text("queue"),
        Text("reason"),
        Text("source_label"),
    ],
    key: 1,
};

impl HistoryRows for DatabaseLedger {
    fn add_change(&mut self, change: &StatusChange) -> Result<(), LedgerError> {
        self.insert_change(change).map_err(failed(|| {
            format!("note a change of status in task {}", change.task_id)
        }))
    }

    fn last_change(&self) -> Result<ChangeId, LedgerError> {
        tasks::last_number(self.session(), "change")
            .map(ChangeId::new)
            .map_err(failed(|| "find the last change of a status".to_owned()))
    }

    fn changes_after(&self, after: ChangeId, limit: usize) -> Result<Vec<HistoryRow>, LedgerError> {
        let statement = select!("WHERE id > ?1 ORDER BY id LIMIT ?2");
        self.sql()
            .rows(statement, params![after, limit], read_row)
            .map_err(failed(|| format!("list what changed after change {after}")))
    }

    fn changes_of_job(&self, id: PandaId, limit: usize) -> Result<Vec<HistoryRow>, LedgerError> {
        let statement =
            select!("WHERE panda_id = ?1 AND panda_id IS NOT NULL ORDER BY id LIMIT ?2");
        self.sql()
            .rows(statement, params![id, limit], read_row)
            .map_err(failed(|| format!("list the history of job {id}")))
    }

    fn changes_of_task(&self, id: TaskId, limit: usize) -> Result<Vec<HistoryRow>, LedgerError> {
        let statement = select!("WHERE task_id = ?1 AND panda_id IS NULL ORDER BY id LIMIT ?2");
        self.sql()
            .rows(statement, params![id, limit], read_row)
            .map_err(failed(|| format!("list the history of task {id}")))
    }
}

impl DatabaseLedger {
    /// Whoever writes does so alone, so the numbers rise in the order of commits.
    fn insert_change(&self, change: &StatusChange) -> Result<(), SqlError> {
        let (panda_id, attempt_nr, old, new) = match change.changed {
            Changed::Job {
                panda_id,
                attempt_nr,
                old,
                new,
            } => (
                Some(panda_id),
                Some(attempt_nr),
                old.map(|status| status.as_str()),
                new.as_str(),
            ),
            Changed::Task { old, new } => {
                (None, None, old.map(|status| status.as_str()), new.as_str())
            }
        };
        let session = self.session();
        let id = tasks::next_number(session, "change")?;
        session.insert(
            &HISTORY,
            row![
                id,
                change.time,
                panda_id,
                change.task_id,
                attempt_nr,
                old,
                new,
                change.queue,
                change.reason,
                change.source_label,
            ],
        )
    }
}

fn read_row(columns: &mut Columns<'_>) -> Result<HistoryRow, SqlError> {
    let id = columns.take()?;
    let time = columns.take()?;
    let panda_id: Option<PandaId> = columns.take()?;
    let task_id = columns.take()?;
    let attempt_nr: Option<AttemptNr> = columns.take()?;
    let changed = match panda_id {
        Some(panda_id) => Changed::Job {
            panda_id,
            attempt_nr: attempt_nr.unwrap_or_default(),
            old: columns.take()?,
            new: columns.take()?,
        },
        None => Changed::Task {
            old: columns.take()?,
            new: columns.take()?,
        },
    };
    Ok(HistoryRow {
        id,
        change: StatusChange {
            time,
            task_id,
            changed,
            queue: columns.take()?,
            reason: columns.take()?,
            source_label: columns.take()?,
        },
    })
}
