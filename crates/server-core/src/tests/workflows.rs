//! Workflows from their plan to their end.

mod loops;
mod random;
mod steering;

use ailurus_jedi::workflow::{Condition, Plan, PlannedBlock, PlannedStep, Start};
use ailurus_model::{
    Caller, ErrorCode, JobStatus, StepStatus, TaskId, TaskStatus, WorkflowId, WorkflowStatus,
};
use serde_json::{Value, json};

use super::{
    harness::Server,
    panda_tasks::{generation, jane, reading, with},
};
use crate::{
    ledger::{WorkflowRows, WorkflowStepRecord},
    tasks::Backlog,
    workflows::{
        WorkflowCommand, WorkflowRequest, describe_workflow, steer_workflow, step_workflows,
        submit_workflow, workflow_status_line,
    },
};

/// Rounds after which the turns of a test must be over.
const ROUNDS_MAX: u32 = 100;
const WORKFLOW: WorkflowId = WorkflowId::new(1);

fn step(name: &str, parents: &[u32], params: Value) -> PlannedStep {
    PlannedStep {
        name: name.to_owned(),
        number: 1,
        block: None,
        is_junction: false,
        parents: parents.to_vec(),
        start: Start::WhenDone,
        condition: None,
        inputs: Vec::new(),
        is_output: false,
        task_name: format!("wf.{name}"),
        output_types: vec!["hits".to_owned()],
        params: params.as_object().unwrap().clone(),
    }
}

fn making(name: &str, n: u32) -> PlannedStep {
    step(name, &[], generation(&format!("wf.{name}"), n))
}

fn after(name: &str, parents: &[u32], dataset: &str) -> PlannedStep {
    let params = reading(&format!("wf.{name}"), dataset, &json!({"nFilesPerJob": 1}));
    step(name, parents, params)
}

impl Server {
    fn submit_workflow(&mut self, steps: Vec<PlannedStep>) {
        self.submit_plan(steps, Vec::new());
    }

    fn submit_plan(&mut self, steps: Vec<PlannedStep>, blocks: Vec<PlannedBlock>) {
        let request = WorkflowRequest {
            plan: Plan {
                name: Some("chain".to_owned()),
                inputs: vec![("data".to_owned(), "spd:d".to_owned())],
                steps,
                blocks,
            },
            name: None,
            label: "user".to_owned(),
            origin: String::new(),
        };
        let id = self.run(|ctx, ledger| submit_workflow(ctx, ledger, request, &jane()));
        assert_eq!(id.unwrap(), WORKFLOW);
        self.turns();
    }

    /// Gives workflows and tasks all turns that are due.
    fn turns(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.steps();
            if self.ledger.workflows_due(self.now, 1).unwrap().is_empty() {
                return;
            }
            self.run_again(step_workflows).unwrap();
        }
        panic!("the turns do not come to an end");
    }

    /// Runs all jobs of all tasks.
    fn run_workflows(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.run_dry();
            if self.ledger.workflows_due(self.now, 1).unwrap().is_empty() {
                return;
            }
            self.turns();
        }
        panic!("the workflows do not come to an end");
    }

    fn workflow_steps(&self) -> Vec<WorkflowStepRecord> {
        self.ledger.workflow_steps(WORKFLOW).unwrap()
    }

    fn step_statuses(&self) -> Vec<&'static str> {
        let steps = self.workflow_steps();
        steps.iter().map(|step| step.status.as_str()).collect()
    }

    fn workflow_status(&self) -> WorkflowStatus {
        self.ledger.workflow(WORKFLOW).unwrap().unwrap().status
    }

    fn steer(&mut self, command: WorkflowCommand, caller: &Caller) -> Result<String, String> {
        let answer =
            self.run_again(|ctx, ledger| steer_workflow(ctx, ledger, WORKFLOW, command, caller));
        answer.unwrap().map_err(|refusal| refusal.to_string())
    }

    fn n_tasks(&self) -> usize {
        self.ledger.tasks().count()
    }

    /// Fails all jobs of a task, and finishes those of others.
    fn fail_task(&mut self, id: u64) {
        while let Some(job) = self.next_job() {
            if job.task_id == TaskId::new(id) {
                self.fail(&job, ErrorCode::LoopingJob);
            } else {
                self.finish(&job);
            }
        }
        self.turns();
    }
}

#[test]
fn a_step_begins_when_what_it_reads_is_there() {
    let mut server = Server::new();
    server.submit_workflow(vec![making("a", 2), after("b", &[0], "wf.a.hits")]);
    assert_eq!(server.workflow_status(), WorkflowStatus::Running);
    assert_eq!(server.step_statuses(), ["running", "pending"]);
    assert_eq!(server.workflow_steps()[1].reason, "waits for `a`");
    assert_eq!(server.n_tasks(), 1);
    assert_eq!(server.task(1).spec.user, "Jane Doe");
    server.run_workflows();
    assert_eq!(server.step_statuses(), ["done", "done"]);
    assert_eq!(server.workflow_status(), WorkflowStatus::Done);
    assert_eq!(server.n_tasks(), 2);
    assert_eq!(server.task(2).n_jobs, 2);
    let line = workflow_status_line(&server.ledger, WORKFLOW).unwrap();
    assert_eq!(
        line.as_deref(),
        Some("workflow 1 is done: 2 of 2 steps done")
    );
}

#[test]
fn a_step_that_reads_file_by_file_begins_with_the_one_before() {
    let mut server = Server::new();
    let mut second = after("b", &[0], "wf.a.hits");
    second.start = Start::WithParent;
    second.params.insert("noWaitParent".to_owned(), json!(true));
    server.submit_workflow(vec![making("a", 2), second]);
    assert_eq!(server.n_tasks(), 2);
    let job = server.next_job().unwrap();
    server.finish(&job);
    server.turns();
    assert_eq!(server.task_status(1), TaskStatus::Running);
    assert_eq!(
        server.statuses(2),
        [JobStatus::Activated, JobStatus::Pending]
    );
    server.run_workflows();
    assert_eq!(server.workflow_status(), WorkflowStatus::Done);
    assert_eq!(server.task(2).n_jobs, 2);
}

/// Two steps beside each other between a first and a last one.
fn diamond() -> Vec<PlannedStep> {
    vec![
        making("a", 1),
        after("b", &[0], "wf.a.hits"),
        after("c", &[0], "wf.a.hits"),
        after("d", &[1, 2], "wf.b.hits"),
    ]
}

#[test]
fn what_follows_a_failed_step_is_closed_and_lives_again_when_that_does() {
    let mut server = Server::new();
    server.submit_workflow(diamond());
    let job = server.next_job().unwrap();
    server.finish(&job);
    server.turns();
    assert_eq!(
        server.step_statuses(),
        ["done", "running", "running", "pending"]
    );
    server.fail_task(3);
    assert_eq!(server.workflow_steps()[2].status, StepStatus::Failed);
    server.run_workflows();
    assert_eq!(server.step_statuses(), ["done", "done", "failed", "closed"]);
    assert_eq!(server.workflow_status(), WorkflowStatus::Failed);
    let reason = server
        .ledger
        .workflow(WORKFLOW)
        .unwrap()
        .unwrap()
        .details
        .reason;
    assert!(reason.starts_with("step `c`: task 3 is failed"), "{reason}");

    let said = server.steer(WorkflowCommand::Retry, &jane()).unwrap();
    assert_eq!(said, "workflow 1 is tried again with 1 of its tasks");
    server.turns();
    assert_eq!(
        server.step_statuses(),
        ["done", "done", "running", "pending"]
    );
    server.run_workflows();
    assert_eq!(server.workflow_status(), WorkflowStatus::Done);
    assert_eq!(server.n_tasks(), 4);
}

#[test]
fn a_task_that_a_person_retries_takes_its_workflow_along() {
    let mut server = Server::new();
    server.submit_workflow(vec![making("a", 1), after("b", &[0], "wf.a.hits")]);
    server.fail_task(1);
    assert_eq!(server.workflow_status(), WorkflowStatus::Failed);
    assert_eq!(server.step_statuses(), ["failed", "closed"]);
    let words = ailurus_jedi::command::RetryQualifiers::default();
    let retry = crate::tasks::CommandRequest::Retry(words, serde_json::Map::new());
    server.command(1, retry, &jane());
    server.turns();
    assert_eq!(server.workflow_status(), WorkflowStatus::Running);
    server.run_workflows();
    assert_eq!(server.workflow_status(), WorkflowStatus::Done);
}

#[test]
fn a_killed_workflow_begins_nothing_more_until_it_is_tried_again() {
    let mut server = Server::new();
    server.submit_workflow(vec![making("a", 2), after("b", &[0], "wf.a.hits")]);
    let john = Caller {
        name: "John Doe".into(),
        ..jane()
    };
    let refused = server.steer(WorkflowCommand::Kill, &john).unwrap_err();
    assert_eq!(refused, "request 1 is not owned by John Doe");
    server.steer(WorkflowCommand::Kill, &jane()).unwrap();
    server.turns();
    assert_eq!(server.task_status(1), TaskStatus::Aborted);
    assert_eq!(server.step_statuses(), ["cancelled", "cancelled"]);
    assert_eq!(server.workflow_status(), WorkflowStatus::Cancelled);
    let again = server.steer(WorkflowCommand::Kill, &jane()).unwrap_err();
    assert!(again.contains("workflow 1 is cancelled"), "{again}");

    server.steer(WorkflowCommand::Retry, &jane()).unwrap();
    server.turns();
    server.run_workflows();
    assert_eq!(server.step_statuses(), ["done", "done"]);
    let done = server.steer(WorkflowCommand::Retry, &jane()).unwrap_err();
    assert!(done.contains("only what has failed"), "{done}");
}

#[test]
fn a_step_may_wait_for_a_failure() {
    for fails in [true, false] {
        let mut server = Server::new();
        let mut mend = making("mend", 1);
        mend.parents = vec![0];
        mend.condition = Some(Condition::Failed(vec![0]));
        server.submit_workflow(vec![making("a", 1), mend]);
        assert_eq!(server.step_statuses(), ["running", "pending"]);
        if fails {
            server.fail_task(1);
        }
        server.run_workflows();
        let expected = if fails {
            ["failed", "done"]
        } else {
            ["done", "closed"]
        };
        assert_eq!(server.step_statuses(), expected);
        // A failure that is provided for does not fail the whole.
        assert_eq!(server.workflow_status(), WorkflowStatus::Done);
    }
}

#[test]
fn a_task_that_is_refused_fails_its_step_until_it_is_tried_again() {
    let mut server = Server::new();
    let taken = with(generation("wf.a", 1), &json!({"uniqueTaskName": true}));
    server.submit_panda_by(taken.clone(), &jane(), None);
    server.submit_workflow(vec![step("a", &[], taken)]);
    let first = &server.workflow_steps()[0];
    assert_eq!(first.status, StepStatus::Failed);
    assert!(
        first
            .reason
            .starts_with("its task was refused: jediTaskID=1"),
        "{}",
        first.reason
    );
    assert_eq!(server.workflow_status(), WorkflowStatus::Failed);
    server.run_workflows();
    assert_eq!(server.n_tasks(), 1);
    server.steer(WorkflowCommand::Retry, &jane()).unwrap();
    server.turns();
    assert_eq!(server.workflow_steps()[0].task, Some(TaskId::new(1)));
    server.run_workflows();
    assert_eq!(server.workflow_status(), WorkflowStatus::Done);
}

#[test]
fn a_turn_that_was_lost_submits_the_same_and_no_task_twice() {
    let mut server = Server::new();
    server.limits.workflows.submissions_per_turn = 1;
    let request = vec![making("a", 1), making("b", 1), making("c", 1)];
    let plan = Plan {
        name: None,
        inputs: Vec::new(),
        steps: request,
        blocks: Vec::new(),
    };
    let request = WorkflowRequest {
        plan,
        name: None,
        label: "user".to_owned(),
        origin: String::new(),
    };
    server
        .run(|ctx, ledger| submit_workflow(ctx, ledger, request, &jane()))
        .unwrap();
    for n in 1..=3 {
        let before = server.ledger.clone();
        let lost = server.run_again(step_workflows).unwrap();
        let after_lost = std::mem::replace(&mut server.ledger, before);
        let report = server.run_again(step_workflows).unwrap();
        assert_eq!(report, lost);
        assert!(server.ledger == after_lost);
        assert_eq!((report.tasks, server.n_tasks()), (1, n));
        let backlog = if n < 3 { Backlog::More } else { Backlog::None };
        assert_eq!(report.backlog, backlog);
    }
    let mut tasks: Vec<_> = server
        .workflow_steps()
        .iter()
        .map(|step| step.task)
        .collect();
    tasks.dedup();
    assert_eq!(tasks.len(), 3);
}

#[test]
fn a_workflow_is_described_with_steps_progress_and_data() {
    let mut server = Server::new();
    server.submit_workflow(vec![making("a", 2), after("b", &[0], "wf.a.hits")]);
    let job = server.next_job().unwrap();
    server.finish(&job);
    server.turns();
    let told = describe_workflow(&server.ledger, WORKFLOW)
        .unwrap()
        .unwrap();
    assert_eq!(told["name"], "chain");
    assert_eq!(told["user"], "Jane Doe");
    assert_eq!(told["submitted_as"], "user");
    assert_eq!(told["steps"][0]["progress"]["pct_finished"], 50);
    assert_eq!(told["steps"][0]["target_id"], "1");
    assert_eq!(told["steps"][1]["parent_step_ids"], json!([1]));
    assert_eq!(told["steps"][1]["progress"], Value::Null);
    assert_eq!(told["data"][0]["type"], "input");
    assert_eq!(told["data"][1]["name"], "a/outDS");
    let nobody = describe_workflow(&server.ledger, WorkflowId::new(9)).unwrap();
    assert_eq!(nobody, None);
}
