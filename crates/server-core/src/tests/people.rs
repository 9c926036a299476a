//! What people do: kill jobs and tasks, and retry tasks.

use ailurus_model::{Command, ErrorCode, JobStatus, TaskStatus};

use super::harness::*;

#[test]
fn a_job_that_no_pilot_has_is_cancelled_at_once() {
    let mut server = Server::with([generation(1)]);
    assert_eq!(server.kill_job(1).unwrap(), 1);
    assert_eq!(server.status(1), JobStatus::Cancelled);
    assert_eq!(server.job(1).reason, "killed by `alice`");
    assert!(server.next_job().is_none());
}

#[test]
fn a_pilot_is_told_that_its_job_is_killed() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    let modified = server.job(1).modified;
    assert_eq!(server.kill_job(1).unwrap(), 1);
    assert_eq!(server.status(1), JobStatus::Running);
    assert_eq!(server.job(1).modified, modified);
    let answer = server.update(&job, JobStatus::Running);
    assert_eq!(answer.commands, [Command::ToBeKilled]);
}

#[test]
fn what_a_killed_job_wrote_is_not_registered() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.kill_job(1).unwrap();
    server.finish(&job);
    assert_eq!(server.status(1), JobStatus::Cancelled);
    assert_eq!(server.file("spd.gen", 0), None);
}

#[test]
fn killing_twice_or_too_late_touches_nothing() {
    let mut server = Server::with([generation(2)]);
    let (first, second) = (server.running_job(), server.running_job());
    server.kill_job(first.panda_id.value()).unwrap();
    assert_eq!(server.kill_job(first.panda_id.value()).unwrap(), 0);
    server.finish(&second);
    assert_eq!(server.kill_job(second.panda_id.value()).unwrap(), 0);
}

#[test]
fn unknown_jobs_and_tasks_are_refused() {
    let mut server = Server::new();
    let error = server.kill_job(9).expect_err("unknown");
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("unknown-job", "job 9 is not known")
    );
    assert_eq!(
        server.kill_task(9).expect_err("unknown").code(),
        "unknown-task"
    );
    assert_eq!(
        server.retry_task(9).expect_err("unknown").code(),
        "unknown-task"
    );
}

#[test]
fn a_killed_task_ends_when_its_pilots_have_ended() {
    let mut server = Server::with([generation(3)]);
    let job = server.running_job();
    assert_eq!(server.kill_task(1).unwrap(), 3);
    assert_eq!(server.task_status(1), TaskStatus::Aborting);
    assert!(server.next_job().is_none());
    let before = server.ledger.clone();
    server.pass(std::time::Duration::from_secs(60));
    assert_eq!(server.kill_task(1).unwrap(), 0);
    assert_eq!(server.ledger, before);
    server.fail(&job, ErrorCode::PandaKill);
    assert_eq!(server.task_status(1), TaskStatus::Aborted);
    assert_eq!(server.statuses(1), [JobStatus::Cancelled; 3]);
}

#[test]
fn a_killed_task_without_pilots_ends_at_once() {
    let mut server = Server::with([generation(3), reading("gen", "sim", FILE_BY_FILE)]);
    server.kill_task(1).unwrap();
    assert_eq!(server.task_status(1), TaskStatus::Aborted);
    assert_eq!(server.task_status(2), TaskStatus::Failed);
    assert_eq!(server.kill_task(1).unwrap(), 0);
}

#[test]
fn a_killed_task_is_not_tried_again() {
    let mut server = Server::with([generation(1)]);
    server.kill_task(1).unwrap();
    let error = server.retry_task(1).expect_err("aborted");
    assert_eq!(error.code(), "task-aborted");
    assert_eq!(
        error.to_string(),
        "task 1 is aborted and is not tried again"
    );
}

#[test]
fn a_retry_gives_failed_jobs_as_many_attempts_again() {
    let mut server = Server::with([generation(2)]);
    let (good, bad) = (server.running_job(), server.running_job());
    server.finish(&good);
    server.fail(&bad, ErrorCode::LoopingJob);
    assert_eq!(server.task_status(1), TaskStatus::Finished);
    assert_eq!(server.retry_task(1).unwrap(), 1);
    assert_eq!(server.task_status(1), TaskStatus::Running);
    for _ in 0..3 {
        let job = server.running_job();
        server.fail(&job, ErrorCode::StageInFailed);
    }
    assert_eq!(server.status(bad.panda_id.value()), JobStatus::Failed);
    assert_eq!(server.retry_task(1).unwrap(), 1);
    let job = server.running_job();
    server.finish(&job);
    assert_eq!(server.task_status(1), TaskStatus::Done);
    assert_eq!(server.retry_task(1).unwrap(), 0);
}
