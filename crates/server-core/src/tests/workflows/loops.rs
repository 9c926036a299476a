//! Loops: rounds, variables, and when they end.

use std::collections::BTreeMap;

use ailurus_jedi::workflow::Variable;

use super::*;
use crate::tests::harness::finished;

/// A step of the first block.
fn within(mut step: PlannedStep) -> PlannedStep {
    step.block = Some(0);
    step
}

/// A first step; a loop of a step and a junction; a last step that reads what the loop makes.
fn looped() -> (Vec<PlannedStep>, Vec<PlannedBlock>) {
    let mut fit = after("fit.___run_0___", &[0], "wf.a.hits");
    let items = fit.params["jobParameters"].as_array_mut().unwrap();
    items.push(json!({"type": "constant", "value": "--cut ___var_0_cut___"}));
    let mut judge = after("judge.___run_0___", &[1], "wf.fit.___run_0___.hits");
    judge.is_junction = true;
    let last = after("last", &[1], "wf.fit.___run_0___.hits");
    let steps = vec![making("a", 1), within(fit), within(judge), last];
    (steps, vec![block(None, &[1, 2], Some(2))])
}

fn block(outer: Option<u32>, steps: &[u32], junction: Option<u32>) -> PlannedBlock {
    PlannedBlock {
        name: "scan".to_owned(),
        outer,
        steps: steps.to_vec(),
        junction,
        variables: BTreeMap::from([("cut".to_owned(), Variable::Value(json!(1)))]),
    }
}

impl Server {
    /// Runs the next job; a junction says this.
    fn run_one(&mut self, results: &Value) -> String {
        let job = self.next_job().expect("a job is activated");
        let mut update = finished(&job);
        update.metadata = Some(json!({"junction_results": results}).to_string());
        self.send(&update);
        self.turns();
        let mut tasks = self.ledger.tasks();
        let task = tasks.find(|task| task.id == job.task_id);
        task.expect("a task").spec.name.as_str().to_owned()
    }

    fn loop_rounds(&self) -> String {
        let workflow = self.ledger.workflow(WORKFLOW).unwrap().unwrap();
        workflow.details.blocks.rounds(Some(0))
    }
}

#[test]
fn a_loop_goes_on_as_long_as_its_junction_says_so() {
    let mut server = Server::new();
    let (steps, blocks) = looped();
    server.submit_plan(steps, blocks);
    assert_eq!(server.run_one(&json!({})), "wf.a");
    assert_eq!(server.run_one(&json!({})), "wf.fit.1");
    // The loop has made what the last step reads, but may make more of it.
    assert_eq!(
        server.step_statuses(),
        ["done", "done", "running", "pending"]
    );
    let go_on = json!({"cut": 7, "nothing": 2, "to_continue": true});
    assert_eq!(server.run_one(&go_on), "wf.judge.1");
    assert_eq!(server.loop_rounds(), "2");
    assert_eq!(
        server.step_statuses(),
        ["done", "running", "pending", "pending"]
    );
    let job = server.next_job().expect("the second round");
    assert!(job.parameters.contains("--cut 7"), "{}", job.parameters);
    assert!(
        job.outputs[0].lfn.as_str().starts_with("wf.fit.2."),
        "{:?}",
        job.outputs
    );
    server.finish(&job);
    server.turns();
    assert_eq!(
        server.run_one(&json!({"cut": 8, "to_continue": false})),
        "wf.judge.2"
    );
    let last = server.next_job().expect("the last step");
    assert!(
        last.inputs[0].lfn.as_str().starts_with("wf.fit.2."),
        "{:?}",
        last.inputs
    );
    server.finish(&last);
    server.turns();
    assert_eq!(server.workflow_status(), WorkflowStatus::Done);
    assert_eq!(server.n_tasks(), 6);
    let told = describe_workflow(&server.ledger, WORKFLOW)
        .unwrap()
        .unwrap();
    assert_eq!(told["steps"][1]["loop_count"], "2");
    assert_eq!(told["data"][2]["target_id"], "wf.fit.2");
}

#[test]
fn a_junction_that_says_nothing_or_nonsense_ends_the_loop() {
    for said in [
        None,
        Some("no JSON"),
        Some("[]"),
        Some("{\"junction_results\": 7}"),
    ] {
        let mut server = Server::new();
        let (steps, blocks) = looped();
        server.submit_plan(steps, blocks);
        server.run_one(&json!({}));
        server.run_one(&json!({}));
        let job = server.next_job().unwrap();
        let mut update = finished(&job);
        update.metadata = said.map(str::to_owned);
        server.send(&update);
        server.turns();
        server.run_workflows();
        assert_eq!(server.workflow_status(), WorkflowStatus::Done, "{said:?}");
        assert_eq!(server.n_tasks(), 4);
    }
}

#[test]
fn a_loop_that_never_stops_is_stopped_and_nothing_reads_from_it() {
    let mut server = Server::new();
    server.limits.workflows.rounds_max = 3;
    let (steps, blocks) = looped();
    server.submit_plan(steps, blocks);
    while server.workflow_status() == WorkflowStatus::Running {
        server.run_one(&json!({"to_continue": true}));
    }
    assert_eq!(server.workflow_status(), WorkflowStatus::Failed);
    assert_eq!(server.step_statuses(), ["done", "done", "done", "closed"]);
    assert_eq!(server.n_tasks(), 7);
    let line = workflow_status_line(&server.ledger, WORKFLOW)
        .unwrap()
        .unwrap();
    assert!(
        line.ends_with("step `scan`: its loop would go on after 3 rounds, which are the most"),
        "{line}"
    );
    assert_eq!(
        server.workflow_steps()[3].reason,
        "it reads from step `fit.___run_0___`, whose loop does not end"
    );
    // With more rounds it goes on from there.
    server.limits.workflows.rounds_max = 4;
    server.steer(WorkflowCommand::Retry, &jane()).unwrap();
    server.turns();
    assert_eq!(server.loop_rounds(), "4");
    server.run_one(&json!({}));
    server.run_one(&json!({"to_continue": false}));
    server.run_workflows();
    assert_eq!(server.workflow_status(), WorkflowStatus::Done);
}

#[test]
fn a_failure_within_a_loop_ends_it_until_it_is_tried_again() {
    let mut server = Server::new();
    let (steps, blocks) = looped();
    server.submit_plan(steps, blocks);
    server.run_one(&json!({}));
    server.run_one(&json!({}));
    server.fail_task(3);
    assert_eq!(server.step_statuses()[..3], ["done", "done", "failed"]);
    server.run_workflows();
    assert_eq!(server.workflow_status(), WorkflowStatus::Failed);
    server.steer(WorkflowCommand::Retry, &jane()).unwrap();
    server.turns();
    assert_eq!(server.run_one(&json!({"to_continue": true})), "wf.judge.1");
    assert_eq!(server.loop_rounds(), "2");
    server.run_one(&json!({}));
    server.run_one(&json!({}));
    server.run_workflows();
    assert_eq!(server.workflow_status(), WorkflowStatus::Done);
}

#[test]
fn a_loop_within_a_loop_begins_anew_in_each_round() {
    let mut server = Server::new();
    let mut inner = making("inner.___run_1___", 1);
    inner.block = Some(1);
    let mut again = after("again.___run_1___", &[0], "wf.inner.___run_1___.hits");
    (again.block, again.is_junction) = (Some(1), true);
    let mut outer = within(after(
        "outer.___run_0___",
        &[0],
        "wf.inner.___run_1___.hits",
    ));
    outer.is_junction = true;
    let blocks = vec![
        block(None, &[0, 1, 2], Some(2)),
        block(Some(0), &[0, 1], Some(1)),
    ];
    server.submit_plan(vec![inner, again, outer], blocks);
    let mut ran = Vec::new();
    for goes_on in [false, true, false, false, true, false, false, false] {
        ran.push(server.run_one(&json!({"to_continue": goes_on})));
    }
    let expected = [
        "inner.1_1",
        "again.1_1",
        "inner.1_2",
        "again.1_2",
        "outer.1",
        "inner.2_1",
        "again.2_1",
        "outer.2",
    ];
    assert_eq!(ran, expected.map(|name| format!("wf.{name}")));
    assert_eq!(server.workflow_status(), WorkflowStatus::Done);
}
