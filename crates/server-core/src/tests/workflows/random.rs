//! Random operations on workflows: jobs that end well or badly, commands to workflows and to their
//! tasks, lost turns. The harness checks the invariants, with G1, G2 and G3, after each.

use std::collections::BTreeMap;

use ailurus_jedi::{command::RetryQualifiers, workflow::Variable};
use proptest::{collection::vec, prelude::*};
use serde_json::Map;

use super::*;
use crate::{
    tasks::{CommandRequest, FinishMode},
    tests::harness::finished,
};

/// The last number of a random operation.
const STEPS: u8 = 13;

/// A first step, two that read from it (one file by file), a loop, a step for failures, and one
/// that reads from all.
fn everything() -> (Vec<PlannedStep>, Vec<PlannedBlock>) {
    let mut by_file = after("b", &[0], "wf.a.hits");
    by_file.start = Start::WithParent;
    by_file
        .params
        .insert("noWaitParent".to_owned(), json!(true));
    let mut fit = after("fit.___run_0___", &[0], "wf.a.hits");
    fit.block = Some(0);
    let mut judge = after("judge.___run_0___", &[2], "wf.fit.___run_0___.hits");
    (judge.block, judge.is_junction) = (Some(0), true);
    let mut mend = making("mend", 1);
    mend.parents = vec![1];
    mend.condition = Some(Condition::Failed(vec![1]));
    let last = after("last", &[1, 2], "wf.fit.___run_0___.hits");
    let block = PlannedBlock {
        name: "scan".to_owned(),
        outer: None,
        steps: vec![2, 3],
        junction: Some(3),
        variables: BTreeMap::from([("cut".to_owned(), Variable::Value(json!(1)))]),
    };
    let steps = vec![making("a", 2), by_file, fit, judge, mend, last];
    (steps, vec![block])
}

fn command_task(server: &mut Server, which: u8) {
    let tasks = u64::try_from(server.n_tasks()).unwrap();
    let id = u64::from(which) % tasks.max(1) + 1;
    let request = match which % 5 {
        0 => CommandRequest::Kill,
        1 => CommandRequest::Finish(FinishMode::Now),
        2 => CommandRequest::Pause,
        3 => CommandRequest::Resume,
        _ => CommandRequest::Retry(RetryQualifiers::default(), Map::new()),
    };
    if server.ledger.tasks().any(|task| task.id == TaskId::new(id)) {
        drop(server.command(id, request, &jane()));
    }
}

fn apply(server: &mut Server, step: u8, which: u8) {
    match step {
        0..=3 => {
            if let Some(job) = server.next_job() {
                let mut update = finished(&job);
                let results = json!({"junction_results": {"cut": which, "to_continue": !which.is_multiple_of(3)}});
                update.metadata = Some(results.to_string());
                server.send(&update);
            }
        }
        4 => {
            if let Some(job) = server.next_job() {
                server.fail(&job, ErrorCode::LoopingJob);
            }
        }
        5..=7 => server.turns(),
        8 => drop(server.steer(WorkflowCommand::Suspend, &jane())),
        9 => drop(server.steer(WorkflowCommand::Resume, &jane())),
        10 => drop(server.steer(WorkflowCommand::Retry, &jane())),
        11 => {
            let command = if which.is_multiple_of(2) {
                WorkflowCommand::Kill
            } else {
                WorkflowCommand::Finish
            };
            drop(server.steer(command, &jane()));
        }
        12 => command_task(server, which),
        _ => {
            // A turn that is lost with its server is done again.
            let before = server.ledger.clone();
            server.turns();
            server.ledger = before;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_ends_and_commands_breaks_a_workflow(steps in vec((0..=STEPS, 0_u8..50), 1..60)) {
        let mut server = Server::new();
        server.limits.workflows.rounds_max = 4;
        let (plan, blocks) = everything();
        server.submit_plan(plan, blocks);
        for (step, which) in steps {
            apply(&mut server, step, which);
        }
        // Once nobody wants anything more and all goes well, it ends.
        drop(server.steer(WorkflowCommand::Resume, &jane()));
        for id in 1..=u64::try_from(server.n_tasks()).unwrap() {
            server.command(id, CommandRequest::Resume, &jane());
        }
        server.turns();
        server.run_workflows();
        prop_assert!(server.workflow_status().is_final(), "{:?}", server.workflow_steps());
    }
}
