//! What bounds tasks: limits of retries and failures, throttling, and steps of bounded size.

use std::time::Duration;

use ailurus_jedi::{
    command::{ReassignMode, ReassignTarget, RetryQualifiers},
    retry_rules::RetryBook,
};
use ailurus_model::{Caller, ErrorCode, JobStatus, TaskId, TaskStatus};
use serde_json::{Map, json};

use super::{generation, jane, with};
use crate::{
    ledger::PandaTaskRows,
    tasks::{CommandRequest, RetryLimits, step_tasks},
    tests::harness::{FAR, Server},
};

fn retry(words: RetryQualifiers) -> CommandRequest {
    CommandRequest::Retry(words, Map::new())
}

fn message(server: &Server, id: u64) -> String {
    let progress = server.ledger.task_progress(TaskId::new(id)).unwrap();
    progress.unwrap().message
}

/// A server with a task whose one job has failed for good.
fn failed(limits: RetryLimits) -> Server {
    let mut server = Server::new();
    server.limits.tasks.retry_limits = [("*".to_owned(), limits)].into();
    server.submit_panda(with(generation("f", 1), &json!({"maxAttempt": 1})));
    server.steps();
    server.fail_for_good(1);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Failed);
    server
}

#[test]
fn a_task_that_was_tried_too_often_waits_for_a_person() {
    let mut server = failed(RetryLimits {
        task_attempts_max: 2,
        ..RetryLimits::default()
    });
    let manager = Caller::loopback();
    assert_eq!(
        server
            .command(1, retry(RetryQualifiers::default()), &manager)
            .0,
        0
    );
    server.steps();
    server.fail_for_good(1);
    server.steps();
    let (code, why) = server.command(1, retry(RetryQualifiers::default()), &manager);
    assert_eq!(code, 0);
    assert!(why.contains("more than 2 attempts"), "{why}");
    assert_eq!(server.task_status(1), TaskStatus::Exhausted);
    assert_eq!(message(&server, 1), why);
    let insists = RetryQualifiers {
        ignores_limits: true,
        ..RetryQualifiers::default()
    };
    server.command(1, retry(insists), &manager);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Running);
}

#[test]
fn a_retry_beyond_the_attempts_of_jobs_leaves_the_task_as_it_is() {
    let mut server = failed(RetryLimits {
        job_attempts_max: 1,
        ..RetryLimits::default()
    });
    let (code, why) = server.command(1, retry(RetryQualifiers::default()), &Caller::loopback());
    assert_eq!(code, 0);
    assert!(why.starts_with("retry was rejected"), "{why}");
    assert_eq!(server.task_status(1), TaskStatus::Failed);
}

#[test]
fn a_job_has_no_more_failures_than_its_task_allows_but_those_of_the_system_are_free() {
    for (class, attempts) in [("user", 2), ("system", 4)] {
        let code = ErrorCode::StageInFailed.number();
        let text = format!(
            "[[class]]\nid = \"c\"\nsource = \"pilotErrorCode\"\ncode = {code}\n\
             class = \"{class}\"\n"
        );
        let mut server = Server::new();
        server.scheduling.retries = RetryBook::from_toml(&text).unwrap();
        let limits = json!({"maxAttempt": 4, "maxFailure": 2});
        server.submit_panda(with(generation("f", 1), &limits));
        server.steps();
        let mut n = 0;
        while let Some(job) = server.next_job() {
            n += 1;
            server.fail(&job, ErrorCode::StageInFailed);
        }
        assert_eq!(n, attempts, "{class}");
        assert_eq!(server.status(1), JobStatus::Failed);
    }
}

#[test]
fn a_task_whose_jobs_fail_again_and_again_is_throttled_ever_longer() {
    let mut server = Server::new();
    server.submit_panda(with(generation("t", 1), &json!({"maxAttempt": 30})));
    server.steps();
    let fail = |server: &mut Server, times| {
        for _ in 0..times {
            let job = server.next_job().unwrap();
            server.fail(&job, ErrorCode::StageInFailed);
            server.steps();
        }
    };
    fail(&mut server, 4);
    assert_eq!(server.task_status(1), TaskStatus::Running);
    fail(&mut server, 1);
    assert_eq!(server.task_status(1), TaskStatus::Throttled);
    server.pass(Duration::from_secs(2 * 3600 - 1));
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Throttled);
    server.pass(Duration::from_secs(1));
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Running);
    fail(&mut server, 5);
    assert_eq!(server.task_status(1), TaskStatus::Throttled);
    // Four times as long, unless somebody says otherwise.
    server.pass(Duration::from_secs(7 * 3600));
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Throttled);
    assert_eq!(server.command(1, CommandRequest::Resume, &jane()).0, 3);
    assert_eq!(
        server
            .command(1, CommandRequest::Resume, &Caller::loopback())
            .0,
        0
    );
    server.steps();
    let job = server.next_job().unwrap();
    server.finish(&job);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn commands_about_many_jobs_are_followed_in_steps_of_bounded_size() {
    let mut server = Server::new();
    server.submit_panda(generation("big", 25));
    server.steps();
    server.limits.tasks.jobs_per_step = 10;
    let count = |server: &Server, is_it: &dyn Fn(&crate::ledger::JobRecord) -> bool| {
        server.ledger.jobs().filter(|job| is_it(job)).count()
    };
    let is_raised = |job: &crate::ledger::JobRecord| job.priority == 77;
    let command = |server: &mut Server, request| {
        assert_eq!(server.command(1, request, &Caller::loopback()).0, 0);
    };
    command(&mut server, CommandRequest::Priority(77));
    assert_eq!(count(&server, &is_raised), 10);
    // The next command waits for its turn.
    command(&mut server, CommandRequest::IncreaseAttempts(2));
    let target = ReassignTarget::Site(FAR.to_owned());
    command(
        &mut server,
        CommandRequest::Reassign(target, ReassignMode::EndAll),
    );
    for raised in [20, 25] {
        server.run_again(step_tasks).unwrap();
        assert!(count(&server, &is_raised) >= raised);
    }
    server.steps();
    assert_eq!(count(&server, &is_raised), 25);
    assert_eq!(count(&server, &|job| job.max_attempts == 5), 25);
    assert_eq!(count(&server, &|job| job.queue == Some(FAR.into())), 25);
    assert_eq!(server.task_status(1), TaskStatus::Running);
}

#[test]
fn a_task_is_looked_at_again_when_somebody_says() {
    let mut server = Server::new();
    server.submit_panda(generation("t", 1));
    let due = |server: &Server| {
        let progress = server.ledger.task_progress(TaskId::new(1)).unwrap();
        progress.unwrap().due.unwrap()
    };
    let manager = Caller::loopback();
    server.command(1, CommandRequest::LookAgain(3), &manager);
    assert_eq!(
        due(&server),
        server.now.after(Duration::from_secs(3 * 3600))
    );
    server.command(1, CommandRequest::LookAgain(-12), &manager);
    assert_eq!(due(&server), server.now);
}
