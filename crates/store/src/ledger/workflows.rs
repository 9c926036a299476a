//! Statements over workflows and their steps.

use std::sync::Arc;

use ailurus_model::{TaskId, Timestamp, WorkflowId};
use ailurus_server_core::ledger::{LedgerError, WorkflowRecord, WorkflowRows, WorkflowStepRecord};

use crate::{
    DatabaseLedger,
    ledger::failed,
    sql::{Columns, Json, Sql, SqlError, only, params},
};

impl WorkflowRows for DatabaseLedger {
    fn new_workflow_id(&mut self) -> Result<WorkflowId, LedgerError> {
        self.number("workflow").map(WorkflowId::new)
    }

    fn workflow(&self, id: WorkflowId) -> Result<Option<WorkflowRecord>, LedgerError> {
        self.sql()
            .first(
                "SELECT id, name, user_name, status, due, created, modified, details
                 FROM workflow WHERE id = ?1",
                params![id],
                read_workflow,
            )
            .map_err(failed(|| format!("read workflow {id}")))
    }

    fn put_workflow(&mut self, workflow: &WorkflowRecord) -> Result<(), LedgerError> {
        write_workflow(self.sql(), workflow)
            .map_err(failed(|| format!("write workflow {}", workflow.id)))
    }

    fn workflows_due(&self, now: Timestamp, limit: usize) -> Result<Vec<WorkflowId>, LedgerError> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        self.sql()
            .rows(
                "SELECT id FROM workflow WHERE due IS NOT NULL AND due <= ?1
                 ORDER BY due, id LIMIT ?2",
                params![now, limit],
                only,
            )
            .map_err(failed(|| "list workflows that are due".to_owned()))
    }

    fn workflow_steps(&self, id: WorkflowId) -> Result<Vec<WorkflowStepRecord>, LedgerError> {
        self.sql()
            .rows(
                "SELECT place, status, task_id, reason, plan FROM workflow_step
                 WHERE workflow_id = ?1 ORDER BY place",
                params![id],
                |columns| read_step(id, columns),
            )
            .map_err(failed(|| format!("read the steps of workflow {id}")))
    }

    fn put_workflow_step(&mut self, step: &WorkflowStepRecord) -> Result<(), LedgerError> {
        write_step(self.sql(), step).map_err(failed(|| {
            format!("write step {} of workflow {}", step.place, step.workflow)
        }))
    }

    fn workflows_of_task(&self, task: TaskId) -> Result<Vec<WorkflowId>, LedgerError> {
        self.sql()
            .rows(
                "SELECT DISTINCT workflow_id FROM workflow_step
                 WHERE task_id = ?1 ORDER BY workflow_id",
                params![task],
                only,
            )
            .map_err(failed(|| format!("list the workflows of task {task}")))
    }

    fn workflows_unchanged_since(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<WorkflowId>, LedgerError> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        self.sql()
            .rows(
                "SELECT id FROM workflow WHERE due IS NULL AND modified < ?1
                 ORDER BY modified, id LIMIT ?2",
                params![before, limit],
                only,
            )
            .map_err(failed(|| "list workflows that ended long ago".to_owned()))
    }

    fn remove_workflow(&mut self, id: WorkflowId) -> Result<(), LedgerError> {
        let remove = |table| self.sql().execute(table, params![id]);
        remove("DELETE FROM workflow_step WHERE workflow_id = ?1")
            .and_then(|_| remove("DELETE FROM workflow WHERE id = ?1"))
            .map(drop)
            .map_err(failed(|| format!("remove workflow {id}")))
    }
}

fn write_workflow(sql: &dyn Sql, workflow: &WorkflowRecord) -> Result<(), SqlError> {
    sql.execute(
        "INSERT INTO workflow
             (id, name, user_name, status, due, created, modified, details)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (id) DO UPDATE SET
             name = ?2, user_name = ?3, status = ?4, due = ?5, modified = ?7, details = ?8",
        params![
            workflow.id,
            workflow.name,
            workflow.user,
            workflow.status,
            workflow.due,
            workflow.created,
            workflow.modified,
            Json::of(&workflow.details)?
        ],
    )
    .map(drop)
}

fn write_step(sql: &dyn Sql, step: &WorkflowStepRecord) -> Result<(), SqlError> {
    sql.execute(
        "INSERT INTO workflow_step (workflow_id, place, status, task_id, reason, plan)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (workflow_id, place) DO UPDATE SET
             status = ?3, task_id = ?4, reason = ?5",
        params![
            step.workflow,
            step.place,
            step.status,
            step.task,
            step.reason,
            Json::of(&*step.plan)?
        ],
    )
    .map(drop)
}

fn read_workflow(columns: &mut Columns<'_>) -> Result<WorkflowRecord, SqlError> {
    Ok(WorkflowRecord {
        id: columns.take()?,
        name: columns.take()?,
        user: columns.take()?,
        status: columns.take()?,
        due: columns.take()?,
        created: columns.take()?,
        modified: columns.take()?,
        details: columns.json()?,
    })
}

fn read_step(
    workflow: WorkflowId,
    columns: &mut Columns<'_>,
) -> Result<WorkflowStepRecord, SqlError> {
    Ok(WorkflowStepRecord {
        workflow,
        place: columns.take()?,
        status: columns.take()?,
        task: columns.take()?,
        reason: columns.take()?,
        plan: Arc::new(columns.json()?),
    })
}
