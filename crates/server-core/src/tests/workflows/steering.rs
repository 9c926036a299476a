//! What people want of workflows besides killing them, and what becomes of old ones.

use std::time::Duration;

use super::*;
use crate::{ArchiveRules, workflows::forget_workflows};

#[test]
fn a_suspended_workflow_begins_nothing_until_it_is_resumed() {
    let mut server = Server::new();
    server.submit_workflow(vec![
        making("a", 2),
        after("b", &[0], "wf.a.hits"),
        making("c", 1),
    ]);
    let job = server.next_job().unwrap();
    let said = server.steer(WorkflowCommand::Suspend, &jane()).unwrap();
    assert_eq!(said, "workflow 1 is suspended with 2 of its tasks");
    server.turns();
    assert_eq!(server.workflow_status(), WorkflowStatus::Suspended);
    assert_eq!(server.task_status(1), TaskStatus::Paused);
    assert_eq!(server.task_status(2), TaskStatus::Paused);
    // What runs goes on, but no more begins.
    server.finish(&job);
    server.turns();
    assert_eq!(server.n_tasks(), 2);
    for (command, told) in [
        (WorkflowCommand::Suspend, "not suspended can be suspended"),
        (WorkflowCommand::Retry, "resume it first"),
    ] {
        let refused = server.steer(command, &jane()).unwrap_err();
        assert!(refused.contains(told), "{refused}");
    }
    let line = workflow_status_line(&server.ledger, WORKFLOW)
        .unwrap()
        .unwrap();
    assert!(
        line.contains("is suspended") && line.ends_with("; suspended by Jane Doe"),
        "{line}"
    );

    let said = server.steer(WorkflowCommand::Resume, &jane()).unwrap();
    assert_eq!(said, "workflow 1 is resumed with 2 of its tasks");
    let refused = server.steer(WorkflowCommand::Resume, &jane()).unwrap_err();
    assert!(
        refused.contains("only what is suspended can be resumed"),
        "{refused}"
    );
    server.turns();
    server.run_workflows();
    assert_eq!(server.workflow_status(), WorkflowStatus::Done);
    assert_eq!(server.n_tasks(), 3);
}

#[test]
fn a_step_whose_parent_ends_in_a_suspended_workflow_waits() {
    let mut server = Server::new();
    server.submit_workflow(vec![making("a", 1), after("b", &[0], "wf.a.hits")]);
    let job = server.next_job().unwrap();
    server.steer(WorkflowCommand::Suspend, &jane()).unwrap();
    let words = crate::tasks::CommandRequest::Resume;
    server.command(1, words, &jane());
    server.finish(&job);
    server.turns();
    assert_eq!(server.step_statuses(), ["done", "pending"]);
    assert_eq!(
        server.workflow_steps()[1].reason,
        "waits until the workflow is resumed"
    );
    server.steer(WorkflowCommand::Kill, &jane()).unwrap();
    server.turns();
    assert_eq!(server.workflow_status(), WorkflowStatus::Cancelled);
}

#[test]
fn a_finished_workflow_keeps_what_it_has_and_begins_nothing_more() {
    let mut server = Server::new();
    server.submit_workflow(vec![making("a", 3), after("b", &[0], "wf.a.hits")]);
    let job = server.next_job().unwrap();
    server.finish(&job);
    server.turns();
    let said = server.steer(WorkflowCommand::Finish, &jane()).unwrap();
    assert_eq!(said, "workflow 1 is finished with 1 of its tasks");
    server.turns();
    server.run_workflows();
    assert_eq!(server.task_status(1), TaskStatus::Finished);
    assert_eq!(server.step_statuses(), ["done", "closed"]);
    assert_eq!(server.workflow_status(), WorkflowStatus::Done);
    assert_eq!(server.n_tasks(), 1);
    let refused = server.steer(WorkflowCommand::Finish, &jane()).unwrap_err();
    assert!(
        refused.contains("only what has not ended can be finished"),
        "{refused}"
    );
}

#[test]
fn what_was_suspended_can_be_finished() {
    let mut server = Server::new();
    server.submit_workflow(vec![making("a", 2), after("b", &[0], "wf.a.hits")]);
    let job = server.next_job().unwrap();
    server.finish(&job);
    server.steer(WorkflowCommand::Suspend, &jane()).unwrap();
    server.turns();
    server.steer(WorkflowCommand::Finish, &jane()).unwrap();
    server.turns();
    server.run_workflows();
    assert_eq!(server.step_statuses(), ["done", "closed"]);
}

#[test]
fn workflows_that_ended_long_ago_are_removed_and_their_tasks_stay() {
    let mut server = Server::new();
    let rules = |drop_after| ArchiveRules {
        after: Some(Duration::ZERO),
        drop_after,
        history_keep: None,
        unread_keep: None,
        batch: 10,
    };
    let age = Duration::from_secs(24 * 3600);
    server.submit_workflow(vec![making("a", 1)]);
    let forget = |server: &mut Server, after| {
        server
            .run(|ctx, ledger| forget_workflows(ctx, ledger, &rules(after)))
            .unwrap()
    };
    server.pass(age * 2);
    assert_eq!(forget(&mut server, Some(age)), 0, "it has not ended");
    server.turns();
    server.run_workflows();
    assert_eq!(server.workflow_status(), WorkflowStatus::Done);
    assert_eq!(forget(&mut server, Some(age)), 0, "it has just ended");
    server.pass(age * 2);
    assert_eq!(forget(&mut server, None), 0, "nothing is ever dropped");
    assert_eq!(forget(&mut server, Some(age)), 1);
    assert_eq!(forget(&mut server, Some(age)), 0);
    assert_eq!(server.ledger.workflow(WORKFLOW).unwrap(), None);
    assert!(server.workflow_steps().is_empty());
    assert_eq!(server.task_status(1), TaskStatus::Done);
    let gone = server.steer(WorkflowCommand::Retry, &jane()).unwrap_err();
    assert_eq!(gone, "request 1 is not found");
}
