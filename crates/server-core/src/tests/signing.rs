//! What submitters may ask for.

use ailurus_model::{Caller, PandaId, Proof, SourceLabel, TaskId, task::Submission};

use super::harness::{Server, generation};
use crate::{ActionError, check_job_owner, check_task_owner, sign};

fn jane() -> Caller {
    Caller {
        proof: Proof::Token,
        name: "Jane Doe".into(),
        ..Caller::nobody()
    }
}

fn submission(label: &str) -> Submission {
    let mut spec = generation(1);
    spec.source_label = SourceLabel::new(label);
    spec.user = "somebody else".into();
    spec.priority = 5000;
    Submission {
        datasets: Vec::new(),
        tasks: vec![spec],
    }
}

#[test]
fn tasks_of_users_are_their_own_and_wait_as_long_as_those_of_others() {
    let mut submission = submission("user");
    sign(&mut submission, &jane()).unwrap();
    let task = &submission.tasks[0];
    assert_eq!((task.user.as_str(), task.priority), ("Jane Doe", 1000));
}

#[test]
fn production_is_for_those_who_have_the_role() {
    let error = sign(&mut submission("managed"), &jane()).expect_err("no role");
    assert!(error.to_string().contains("Jane Doe"), "{error}");
    let mut manager = jane();
    manager.rights.production = true;
    let mut managed = submission("managed");
    sign(&mut managed, &manager).unwrap();
    assert_eq!(managed, submission("managed"));
}

#[test]
fn tasks_and_jobs_are_steered_by_their_owners_and_by_production() {
    let mut spec = generation(1);
    spec.user = "John Doe".into();
    let server = Server::with([spec]);
    let (task, job) = (TaskId::new(1), PandaId::new(1));
    let refused = check_task_owner(&server.ledger, task, &jane()).expect_err("not hers");
    assert!(matches!(&refused, ActionError::NotYours { owner, .. } if owner == "John Doe"));
    check_job_owner(&server.ledger, job, &jane()).expect_err("not hers");
    let mut john = jane();
    john.name = "John Doe".into();
    for caller in [john, Caller::loopback()] {
        check_task_owner(&server.ledger, task, &caller).unwrap();
        check_job_owner(&server.ledger, job, &caller).unwrap();
    }
    // What is not there is told by the operation itself.
    check_task_owner(&server.ledger, TaskId::new(99), &jane()).unwrap();
}
