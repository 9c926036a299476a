//! Workflows and their steps, on each kind of ledger.

use std::{sync::Arc, time::Duration};

use ailurus_jedi::workflow::{Condition, PlannedBlock, PlannedStep, Start, Variable};
use ailurus_model::{StepStatus, TaskId, WorkflowId, WorkflowStatus};
use ailurus_server_core::ledger::{
    Submitter, WorkflowDetails, WorkflowRecord, WorkflowRows, WorkflowStepRecord,
};

use crate::{contract::on_each_ledger, postgresql, rows::NOW};

fn workflow(id: WorkflowId) -> WorkflowRecord {
    WorkflowRecord {
        id,
        name: "chain".to_owned(),
        user: "Jane Doe".to_owned(),
        status: WorkflowStatus::Registered,
        due: Some(NOW),
        created: NOW,
        modified: NOW,
        details: WorkflowDetails {
            submitter: Submitter {
                name: "Jane Doe".to_owned(),
                dn: "/CN=Jane Doe".to_owned(),
                is_production: true,
                working_groups: ["spd".to_owned()].into(),
            },
            inputs: vec![("data".to_owned(), "spd:d".to_owned())],
            blocks: vec![block()].into(),
            is_finishing: true,
            started: Some(NOW),
            ..WorkflowDetails::default()
        },
    }
}

fn block() -> PlannedBlock {
    let slice = Variable::Outer {
        name: "cuts".to_owned(),
        item: Some(1),
    };
    PlannedBlock {
        name: "scan".to_owned(),
        outer: None,
        steps: vec![0, 1],
        junction: Some(1),
        variables: [
            (
                "cuts".to_owned(),
                Variable::Value(serde_json::json!([1, 0.5])),
            ),
            ("cut".to_owned(), slice),
        ]
        .into(),
    }
}

fn step(workflow: WorkflowId, place: u32) -> WorkflowStepRecord {
    let params = serde_json::json!({"taskName": "wf_001_a", "nFiles": 7});
    WorkflowStepRecord {
        workflow,
        place,
        status: StepStatus::Pending,
        task: None,
        reason: "waits for `a`".to_owned(),
        plan: Arc::new(PlannedStep {
            name: "a".to_owned(),
            number: 1,
            block: Some(0),
            is_junction: true,
            parents: vec![0, 3],
            start: Start::WithParent,
            condition: Some(Condition::Or(
                Box::new(Condition::Done(vec![0])),
                Box::new(Condition::Failed(vec![3])),
            )),
            inputs: vec!["data".to_owned()],
            is_output: true,
            task_name: "wf_001_a".to_owned(),
            output_types: vec!["o.txt".to_owned()],
            params: params.as_object().unwrap().clone(),
        }),
    }
}

#[test]
fn a_workflow_is_read_as_it_was_written() {
    on_each_ledger(|ledger| {
        let id = ledger.new_workflow_id().unwrap();
        assert!(ledger.new_workflow_id().unwrap() > id);
        let mut written = workflow(id);
        ledger.put_workflow(&written).unwrap();
        assert_eq!(ledger.workflow(id).unwrap(), Some(written.clone()));
        written.status = WorkflowStatus::Failed;
        written.due = None;
        written.details.reason = "step `a`: it's over".to_owned();
        written.details.blocks.next_round(0);
        ledger.put_workflow(&written).unwrap();
        assert_eq!(ledger.workflow(id).unwrap(), Some(written));
        assert_eq!(ledger.workflow(WorkflowId::new(99)).unwrap(), None);
    });
}

#[test]
fn steps_come_by_place_and_are_found_by_their_tasks() {
    on_each_ledger(|ledger| {
        let (first, second) = (WorkflowId::new(1), WorkflowId::new(2));
        for place in [2, 0, 1] {
            ledger.put_workflow_step(&step(first, place)).unwrap();
        }
        let mut changed = step(first, 1);
        changed.status = StepStatus::Running;
        changed.task = Some(TaskId::new(7));
        changed.reason.clear();
        ledger.put_workflow_step(&changed).unwrap();
        let mut other = step(second, 0);
        other.task = Some(TaskId::new(7));
        ledger.put_workflow_step(&other).unwrap();
        let expected = vec![step(first, 0), changed, step(first, 2)];
        assert_eq!(ledger.workflow_steps(first).unwrap(), expected);
        let of = |task| ledger.workflows_of_task(TaskId::new(task)).unwrap();
        assert_eq!(of(7), [first, second]);
        assert!(of(8).is_empty());
    });
}

#[test]
fn workflows_are_due_longest_first() {
    on_each_ledger(|ledger| {
        for (id, due) in [(1, Some(5)), (2, None), (3, Some(2)), (4, Some(9))] {
            let mut written = workflow(WorkflowId::new(id));
            written.due = due.map(|secs| NOW.after(Duration::from_secs(secs)));
            ledger.put_workflow(&written).unwrap();
        }
        let due = |secs, limit| {
            let now = NOW.after(Duration::from_secs(secs));
            ledger.workflows_due(now, limit).unwrap()
        };
        assert_eq!(due(8, 9), [WorkflowId::new(3), WorkflowId::new(1)]);
        assert_eq!(due(8, 1), [WorkflowId::new(3)]);
        assert!(due(1, 9).is_empty());
    });
}

#[test]
fn workflows_that_nobody_is_to_look_at_are_found_by_age_and_removed() {
    on_each_ledger(|ledger| {
        let at = |secs| NOW.after(Duration::from_secs(secs));
        for (id, due, modified) in [(1, None, 5), (2, Some(1), 0), (3, None, 2), (4, None, 9)] {
            let mut written = workflow(WorkflowId::new(id));
            written.due = due.map(at);
            written.modified = at(modified);
            ledger.put_workflow(&written).unwrap();
            ledger.put_workflow_step(&step(written.id, 0)).unwrap();
        }
        let old = |ledger: &dyn WorkflowRows, secs, limit| {
            ledger.workflows_unchanged_since(at(secs), limit).unwrap()
        };
        assert_eq!(old(ledger, 9, 9), [WorkflowId::new(3), WorkflowId::new(1)]);
        assert_eq!(old(ledger, 9, 1), [WorkflowId::new(3)]);
        ledger.remove_workflow(WorkflowId::new(3)).unwrap();
        assert_eq!(old(ledger, 9, 9), [WorkflowId::new(1)]);
        assert_eq!(ledger.workflow(WorkflowId::new(3)).unwrap(), None);
        assert!(
            ledger
                .workflow_steps(WorkflowId::new(3))
                .unwrap()
                .is_empty()
        );
        assert_eq!(ledger.workflow_steps(WorkflowId::new(1)).unwrap().len(), 1);
    });
}

#[test]
fn postgresql_keeps_workflows_alike() {
    postgresql::with_server(|| {
        a_workflow_is_read_as_it_was_written();
        steps_come_by_place_and_are_found_by_their_tasks();
        workflows_are_due_longest_first();
        workflows_that_nobody_is_to_look_at_are_found_by_age_and_removed();
    });
}
