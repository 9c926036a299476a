//! Reports about workers, and the jobs in them.

use std::time::Duration;

use ailurus_model::{
    AttemptNr, JobStatus, NodeName, Worker, WorkerId, WorkerStatus, WorkerSync,
    update::ReportedError,
};

use super::harness::*;
use crate::{Ledger as _, PilotPhase, note_worker_pilot};

fn row(server: &Server, id: u64) -> Worker {
    let worker = server.ledger.worker(&HARVESTER.into(), WorkerId::new(id));
    worker.unwrap().expect("a worker")
}

/// A server whose only job runs in worker 5 of `NEAR`.
fn job_in_worker() -> (Server, ailurus_model::Job) {
    let mut spec = generation(1);
    spec.queues = vec![NEAR.into()];
    let mut server = Server::with([spec]);
    let job = server
        .try_acquire(&request_in_worker(NEAR, 5))
        .unwrap()
        .pop()
        .unwrap();
    server.update(&job, JobStatus::Running);
    (server, job)
}

#[test]
fn what_a_report_does_not_say_stays() {
    let mut server = Server::new();
    let mut full = worker(1, WorkerStatus::Running);
    full.node = "node7".into();
    full.start_time = Some(server.now);
    server.report_worker(&full);
    let mut empty = worker(1, WorkerStatus::Running);
    empty.batch_id = "".into();
    empty.queue = "".into();
    server.report_worker(&empty);
    assert_eq!(row(&server, 1), full);
}

#[test]
fn an_ended_worker_stays_ended_for_three_hours() {
    let mut server = Server::new();
    server.report_worker(&worker(1, WorkerStatus::Failed));
    server.pass(Duration::from_secs(3600));
    server.report_worker(&worker(1, WorkerStatus::Running));
    assert_eq!(row(&server, 1).status, WorkerStatus::Failed);
    server.pass(Duration::from_secs(7201));
    server.report_worker(&worker(1, WorkerStatus::Running));
    assert_eq!(row(&server, 1).status, WorkerStatus::Running);
}

#[test]
fn a_job_whose_worker_is_gone_is_tried_again_at_once() {
    for status in [
        WorkerStatus::Finished,
        WorkerStatus::Failed,
        WorkerStatus::Cancelled,
        WorkerStatus::Missed,
    ] {
        let (mut server, _) = job_in_worker();
        let mut gone = worker(5, status);
        gone.diag = "slot was preempted".to_owned();
        server.report_worker(&gone);
        assert_eq!(server.job(1).attempt_nr, AttemptNr::new(2));
        assert_eq!(server.status(1), JobStatus::Activated);
        let error = server.attempt(1, 1).server_error.unwrap();
        assert_eq!(error.code, 300);
        assert_eq!(
            error.diag,
            format!("The worker was {status} while the job was running : slot was preempted")
        );
    }
}

#[test]
fn a_worker_whose_end_is_not_sure_keeps_its_job() {
    let (mut server, _) = job_in_worker();
    let mut gone = worker(5, WorkerStatus::Missed);
    gone.detail.sync = WorkerSync::Loose;
    server.report_worker(&gone);
    assert_eq!(row(&server, 5).status, WorkerStatus::Missed);
    assert_eq!(server.status(1), JobStatus::Running);
}

#[test]
fn a_worker_that_lives_keeps_its_job() {
    let (mut server, _) = job_in_worker();
    for status in [
        WorkerStatus::Submitted,
        WorkerStatus::Running,
        WorkerStatus::Idle,
    ] {
        server.report_worker(&worker(5, status));
        assert_eq!(server.status(1), JobStatus::Running);
    }
}

#[test]
fn a_job_that_ended_before_its_worker_stays_as_it_is() {
    let (mut server, job) = job_in_worker();
    server.finish(&job);
    server.report_worker(&worker(5, WorkerStatus::Finished));
    assert_eq!(server.status(1), JobStatus::Finished);
}

#[test]
fn a_held_job_may_be_recovered_after_its_worker() {
    let (mut server, job) = job_in_worker();
    server.update(&job, JobStatus::Holding);
    server.report_worker(&worker(5, WorkerStatus::Finished));
    assert_eq!(server.status(1), JobStatus::Holding);
    server.finish(&job);
    assert_eq!(server.status(1), JobStatus::Finished);
}

#[test]
fn a_second_report_of_an_ended_worker_does_not_touch_the_next_attempt() {
    let (mut server, _) = job_in_worker();
    server.report_worker(&worker(5, WorkerStatus::Failed));
    server.try_acquire(&request_in_worker(NEAR, 6)).unwrap();
    server.report_worker(&worker(5, WorkerStatus::Failed));
    assert_eq!(server.job(1).attempt_nr, AttemptNr::new(2));
    assert_eq!(server.status(1), JobStatus::Sent);
}

#[test]
fn a_job_that_harvester_took_is_linked_to_the_worker_it_submits() {
    let mut server = Server::with([generation(1)]);
    let job = server.next_job().unwrap();
    let mut pushed = worker(7, WorkerStatus::Submitted);
    pushed.panda_ids = vec![job.panda_id];
    pushed.submit_time = Some(server.now);
    server.report_worker(&pushed);
    assert_eq!(
        server.job(1).worker,
        Some((HARVESTER.into(), WorkerId::new(7)))
    );
    server.report_worker(&worker(7, WorkerStatus::Missed));
    assert_eq!(server.job(1).attempt_nr, AttemptNr::new(2));
}

#[test]
fn the_worker_of_an_earlier_attempt_does_not_claim_the_next_one() {
    let mut server = Server::with([generation(1)]);
    let job = server.next_job().unwrap();
    let mut pushed = worker(7, WorkerStatus::Running);
    pushed.panda_ids = vec![job.panda_id];
    pushed.submit_time = Some(server.now);
    server.report_worker(&pushed);
    server.fail(&job, ailurus_model::ErrorCode::StageInFailed);
    server.pass(Duration::from_secs(60));
    server.next_job().unwrap();
    server.report_worker(&pushed);
    assert_eq!(server.job(1).worker, None);
    assert_eq!(server.status(1), JobStatus::Sent);
}

#[test]
fn a_pilot_tells_its_node_and_its_times() {
    let mut server = Server::new();
    server.report_worker(&worker(1, WorkerStatus::Submitted));
    let tell = |server: &mut Server, id, phase| {
        let node = NodeName::new("slot1@node7");
        let (harvester, id) = (HARVESTER.into(), WorkerId::new(id));
        server
            .run(|ctx, ledger| note_worker_pilot(ctx, ledger, &harvester, id, phase, &node))
            .unwrap();
    };
    tell(&mut server, 1, PilotPhase::Started);
    server.pass(Duration::from_secs(60));
    tell(&mut server, 1, PilotPhase::Finished);
    tell(&mut server, 2, PilotPhase::Started);
    let worker = row(&server, 1);
    assert_eq!(worker.node.as_str(), "slot1@node7");
    assert_eq!(worker.end_time, Some(server.now));
    assert!(worker.start_time < worker.end_time);
    assert_eq!(server.ledger.workers().count(), 1);
}

#[test]
fn the_error_of_a_worker_stands_with_its_jobs() {
    let (mut server, _) = job_in_worker();
    let mut failed = worker(5, WorkerStatus::Failed);
    failed.diag = "held: out of memory".to_owned();
    failed.detail.error = Some(ReportedError {
        code: 42,
        diag: "held".to_owned(),
    });
    failed.detail.sync = WorkerSync::Loose;
    server.report_worker(&failed);
    let report = server.attempt(1, 1).report;
    assert!(report.contains("\"supErrorCode\":42"), "{report}");
    assert!(
        report.contains("Diag from worker : held: out of memory"),
        "{report}"
    );
    assert_eq!(server.status(1), JobStatus::Running);
}

#[test]
fn a_lost_heartbeat_says_that_the_worker_had_ended() {
    let (mut server, _) = job_in_worker();
    let mut ended = worker(5, WorkerStatus::Finished);
    ended.diag = "exit 0".to_owned();
    ended.detail.sync = WorkerSync::Loose;
    server.report_worker(&ended);
    server.pass(Duration::from_secs(3 * 3600));
    assert_eq!(server.watch().lost_heartbeats, 1);
    let report = server.attempt(1, 1).report;
    assert!(report.contains("\"supErrorCode\":2"), "{report}");
    assert!(report.contains("worker already finished at 20"), "{report}");
}
