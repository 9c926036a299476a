//! What the operator's rules do about failed attempts.

use ailurus_jedi::retry_rules::RetryBook;
use ailurus_model::{ErrorCode, JobStatus, TaskId};
use serde_json::json;

use super::{harness, harness::Server, panda_tasks};
use crate::ledger::PandaTaskRows;

/// A server with rules for stage-in failures.
fn server(action: &str) -> Server {
    let code = ErrorCode::StageInFailed.number();
    let text = format!(
        "[[rule]]\nid = \"ours\"\nsource = \"pilotErrorCode\"\ncode = {code}\naction = {action}\n"
    );
    let mut server = Server::new();
    server.scheduling.retries = RetryBook::from_toml(&text).unwrap();
    server
}

#[test]
fn no_retry_ends_a_job_that_has_attempts_left() {
    let mut server = server("\"no_retry\"");
    server.submit([harness::generation(1)]);
    let job = server.running_job();
    server.fail(&job, ErrorCode::StageInFailed);
    assert_eq!(server.status(1), JobStatus::Failed);
    assert!(
        server
            .job(1)
            .reason
            .ends_with("; rule `ours` applies no_retry"),
        "{}",
        server.job(1).reason
    );
}

#[test]
fn limit_retry_leaves_so_many_attempts() {
    let mut server = server("\"limit_retry\"\nmax_attempt = 2");
    server.submit([harness::generation(1)]);
    for status in [JobStatus::Activated, JobStatus::Failed] {
        let job = server.running_job();
        server.fail(&job, ErrorCode::StageInFailed);
        assert_eq!(server.status(1), status);
    }
}

#[test]
fn a_rule_that_is_not_active_only_says_what_it_would_do() {
    let mut server = server("\"no_retry\"\nis_active = false");
    server.submit([harness::generation(1)]);
    for _ in 0..3 {
        let job = server.running_job();
        server.fail(&job, ErrorCode::StageInFailed);
    }
    assert_eq!(server.status(1), JobStatus::Failed);
    assert!(
        server
            .job(1)
            .reason
            .ends_with("; rule `ours` would apply no_retry")
    );
}

#[test]
fn increase_memory_raises_the_job_and_if_many_need_it_the_task() {
    let mut server = server("\"increase_memory\"");
    let task = panda_tasks::with(
        panda_tasks::generation("hungry", 10),
        &json!({"ramCount": 1000, "ramUnit": "MBPerCore"}),
    );
    server.submit_panda_by(task, &ailurus_model::Caller::loopback(), None);
    server.steps();
    let memory = |server: &Server, id| server.job(id).memory.as_mib();
    let stated = |server: &Server| {
        let revision = server.task(1).revision;
        let record = server.ledger.panda_task(TaskId::new(1), revision).unwrap();
        record.unwrap().refined.as_ref().unwrap().resources.ram_mb
    };
    let jobs: Vec<_> = (0..6).map(|_| server.running_job()).collect();
    for job in &jobs[..4] {
        server.fail(job, ErrorCode::StageInFailed);
        assert_eq!(memory(&server, job.panda_id.value()), 1800);
    }
    assert_eq!(stated(&server), 1000);
    // Four of ten files need more: with the next one, all later jobs get it.
    server.fail(&jobs[4], ErrorCode::StageInFailed);
    assert_eq!(stated(&server), 2000);
    assert_eq!(memory(&server, jobs[4].panda_id.value()), 1800);
    assert_eq!(memory(&server, jobs[5].panda_id.value()), 900);
}

#[test]
fn increase_memory_raises_jobs_of_task_files_step_by_step() {
    let mut server = server("\"increase_memory\"");
    server.submit([harness::generation(1)]);
    for wanted in [2000, 3000] {
        let job = server.running_job();
        server.fail(&job, ErrorCode::StageInFailed);
        assert_eq!(server.job(1).memory.as_mib(), wanted);
    }
}

#[test]
fn increase_cputime_states_what_the_failed_job_used() {
    let mut server = server("\"increase_cputime\"");
    let task = panda_tasks::with(
        panda_tasks::generation("slow", 2),
        &json!({"cpuTime": 1, "cpuTimeUnit": "HS06sPerEvent", "baseWalltime": 0}),
    );
    server.submit_panda_by(task, &ailurus_model::Caller::loopback(), None);
    server.steps();
    let refined = |server: &Server| {
        let revision = server.task(1).revision;
        let record = server.ledger.panda_task(TaskId::new(1), revision).unwrap();
        record.unwrap().refined.clone().unwrap()
    };
    let job = server.running_job();
    let before = server.job(1).walltime_secs;
    server.pass(std::time::Duration::from_secs(3600));
    server.fail(&job, ErrorCode::StageInFailed);
    let needs = refined(&server).resources;
    // An hour on one core of 10 HS06 at 90 %, with the margin of the scouts.
    assert!(
        needs.milli_hs06s_per_event() >= Some(3600 * 10 * 900),
        "{needs:?}"
    );
    assert!(server.job(1).walltime_secs > before);
    assert_eq!(server.status(1), JobStatus::Activated);
}
