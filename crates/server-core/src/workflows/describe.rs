//! What people are told of a workflow.
//!
//! Source: panda-client 2.2, `pandaclient/localSpecs.py` (`LocalNativeWorkflowSpec`), for the names
//! of what `workflow/get_workflow_details` gives.

use ailurus_model::{StepStatus, WorkflowId, WorkflowStatus};
use serde_json::{Map, Value, json};

use crate::{
    ledger::{Ledger, LedgerError, WorkflowRecord, WorkflowStepRecord},
    tasks::file_tally,
};

/// How a step is carried out, in PanDA's words.
const FLAVOR: &str = "panda_task";

/// Describes a workflow with its steps and its data; none if there is no such workflow.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn describe_workflow(
    ledger: &impl Ledger,
    id: WorkflowId,
) -> Result<Option<Map<String, Value>>, LedgerError> {
    let Some(workflow) = ledger.workflow(id)? else {
        return Ok(None);
    };
    let steps = ledger.workflow_steps(id)?;
    let mut described = Vec::new();
    for step in &steps {
        described.push(describe_step(ledger, &workflow, step)?);
    }
    let mut data: Vec<Value> = workflow
        .details
        .inputs
        .iter()
        .map(|(name, dataset)| datum(&workflow, name, "checked_complete", "input", dataset))
        .collect();
    data.extend(steps.iter().map(|step| made_by(&workflow, step)));
    let details = &workflow.details;
    let described = json!({
        "workflow_id": workflow.id,
        "name": workflow.name,
        "parent_id": null,
        "loop_count": null,
        "status": workflow.status,
        "submitted_as": details.label,
        "user": workflow.user,
        "reason": given(&details.reason),
        "creation_time": workflow.created.to_panda_text(),
        "start_time": details.started.map(|time| time.to_panda_text()),
        "end_time": details.ended.map(|time| time.to_panda_text()),
        "modification_time": workflow.modified.to_panda_text(),
        "steps": described,
        "data": data,
    });
    Ok(described.as_object().cloned())
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn describe_step(
    ledger: &impl Ledger,
    workflow: &WorkflowRecord,
    step: &WorkflowStepRecord,
) -> Result<Value, LedgerError> {
    let tally = match step.task {
        Some(task) => file_tally(ledger, task)?,
        None => None,
    };
    let progress = tally.map(|tally| {
        json!({
            "pct_finished": percent(tally.n_finished, tally.n_files),
            "pct_failed": percent(tally.n_failed, tally.n_files),
            "n_files": tally.n_files,
            "n_files_finished": tally.n_finished,
            "n_files_failed": tally.n_failed,
        })
    });
    let label = step.plan.params.get("prodSourceLabel");
    Ok(json!({
        "step_id": step.place + 1,
        "workflow_id": workflow.id,
        "member_id": step.plan.number,
        "name": step.plan.name,
        "loop_count": round_of(workflow, step),
        "type": "ordinary",
        "status": step.status,
        "flavor": FLAVOR,
        "prod_source_label": label,
        "target_id": step.task.map(|task| task.to_string()),
        "parent_step_ids": step.plan.parents.iter().map(|place| place + 1).collect::<Vec<_>>(),
        "progress": progress,
        "reason": given(&step.reason),
    }))
}

/// The round of the loops in which a step stands; none outside of loops.
fn round_of(workflow: &WorkflowRecord, step: &WorkflowStepRecord) -> Option<String> {
    let rounds = workflow.details.blocks.rounds(step.plan.block);
    (!rounds.is_empty()).then_some(rounds)
}

fn percent(n: u64, of: u64) -> u64 {
    n.saturating_mul(100).checked_div(of).unwrap_or(0).min(100)
}

fn datum(workflow: &WorkflowRecord, name: &str, status: &str, kind: &str, target: &str) -> Value {
    json!({
        "workflow_id": workflow.id,
        "name": name,
        "status": status,
        "type": kind,
        "target_id": target,
    })
}

fn made_by(workflow: &WorkflowRecord, step: &WorkflowStepRecord) -> Value {
    let status = match step.status {
        StepStatus::Registered | StepStatus::Pending | StepStatus::Ready => "registered",
        StepStatus::Starting => "generating_bound",
        StepStatus::Running => "generating_insuffi",
        StepStatus::Done => "done_generated",
        StepStatus::Failed | StepStatus::Closed | StepStatus::Cancelled => "cancelled",
    };
    let kind = if step.plan.is_output { "output" } else { "mid" };
    let name = format!("{}/outDS", step.plan.name);
    let target = workflow.details.blocks.filled(&step.plan.task_name);
    datum(workflow, &name, status, kind, &target)
}

/// Says in one line what a workflow is; none if there is no such workflow.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn workflow_status_line(
    ledger: &impl Ledger,
    id: WorkflowId,
) -> Result<Option<String>, LedgerError> {
    let Some(workflow) = ledger.workflow(id)? else {
        return Ok(None);
    };
    let steps = ledger.workflow_steps(id)?;
    let is_done = |step: &&WorkflowStepRecord| step.status == StepStatus::Done;
    let n_done = steps.iter().filter(is_done).count();
    let mut line = format!(
        "workflow {id} is {}: {n_done} of {} steps done",
        workflow.status,
        steps.len()
    );
    if workflow.status == WorkflowStatus::Running {
        let open = steps.iter().filter(|step| !step.status.is_final());
        let open: Vec<String> = open
            .map(|step| format!("{} {}", step.plan.name, step.status))
            .collect();
        line.push_str(&format!(" ({})", open.join(", ")));
    }
    if !workflow.details.reason.is_empty() {
        line.push_str(&format!("; {}", workflow.details.reason));
    }
    Ok(Some(line))
}
