//! Workflows: steps that are tasks of PanDA, each submitted when what it reads is there.
//!
//! What a workflow means is told by [`ailurus_jedi::workflow`]; here its plan is kept and carried
//! out. [`submit_workflow`] takes one in, [`step_workflows`] does what is due, [`steer_workflow`]
//! follows people's commands, and [`forget_workflows`] removes what ended long ago. A step's task is submitted in the transaction that
//! notes its number with the step, so never twice, and what a step is follows from its task's
//! status each time. A task whose status changes wakes its workflow.
//!
//! Source: PanDA server, `pandaserver/workflow/workflow_core.py` and
//! `step_handler_plugins/panda_task_step_handler.py`.

mod conclude;
mod describe;
mod forget;
mod loops;
mod steer;
mod submit;
mod turn;

use std::time::Duration;

pub use self::{
    describe::{describe_workflow, workflow_status_line},
    forget::forget_workflows,
    steer::{WorkflowCommand, WorkflowRefusal, steer_workflow},
    submit::{WorkflowRequest, submit_workflow},
    turn::{WorkflowReport, step_workflows},
};

/// Sizes and times of workflows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowLimits {
    /// Steps of one workflow, with all copies of scattered ones. Default 200.
    pub steps_max: u32,
    /// Rounds of one loop. Default 100.
    pub rounds_max: u32,
    /// Tasks that one turn submits at most. Default 20.
    pub submissions_per_turn: u32,
    /// Workflows that one round of turns serves at most. Default 20.
    pub workflows_per_round: u32,
    /// How often a workflow is looked at that nothing wakes. Default 1 h.
    pub recheck_interval: Duration,
}

impl Default for WorkflowLimits {
    fn default() -> Self {
        Self {
            steps_max: 200,
            rounds_max: 100,
            submissions_per_turn: 20,
            workflows_per_round: 20,
            recheck_interval: Duration::from_secs(3600),
        }
    }
}
