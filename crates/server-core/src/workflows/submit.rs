//! Takes a workflow in.

use std::sync::Arc;

use ailurus_jedi::workflow::Plan;
use ailurus_model::{Caller, StepStatus, WorkflowId, WorkflowStatus};

use crate::{
    Context,
    ledger::{Ledger, LedgerError, Submitter, WorkflowDetails, WorkflowRecord, WorkflowStepRecord},
};

/// A workflow as it is submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowRequest {
    /// Its steps.
    pub plan: Plan,
    /// Its name, if it is not that of the plan.
    pub name: Option<String>,
    /// The label of its tasks: `user` or `managed`.
    pub label: String,
    /// Where the submitter reached the server; empty if not known.
    pub origin: String,
}

/// Takes a workflow in, and returns its number. Its first turn is due at once.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn submit_workflow(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    request: WorkflowRequest,
    caller: &Caller,
) -> Result<WorkflowId, LedgerError> {
    let id = ledger.new_workflow_id()?;
    let plan = request.plan;
    ledger.put_workflow(&WorkflowRecord {
        id,
        name: request.name.or(plan.name).unwrap_or_default(),
        user: caller.name.clone(),
        status: WorkflowStatus::Registered,
        due: Some(ctx.now),
        created: ctx.now,
        modified: ctx.now,
        details: WorkflowDetails {
            submitter: Submitter::from(caller),
            label: request.label,
            origin: request.origin,
            inputs: plan.inputs,
            blocks: plan.blocks.into(),
            ..WorkflowDetails::default()
        },
    })?;
    for (place, step) in (0..).zip(plan.steps) {
        ledger.put_workflow_step(&WorkflowStepRecord {
            workflow: id,
            place,
            status: StepStatus::Registered,
            task: None,
            reason: String::new(),
            plan: Arc::new(step),
        })?;
    }
    Ok(id)
}
