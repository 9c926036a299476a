//! Copies of one job, one of which counts.

use ailurus_model::WorkerStatus;

use super::*;

/// A task whose one job has two copies.
fn cloned(mode: &str) -> serde_json::Value {
    with(
        generation("clone", 1),
        &json!({"useJobCloning": mode, "maxAttempt": 2}),
    )
}

impl Server {
    /// Two copies that wait for pilots.
    fn two_copies(mode: &str) -> (Self, Vec<Job>) {
        let mut server = Self::new();
        let reply = server.submit_panda(cloned(mode));
        assert_eq!(reply.code, 0, "{}", reply.message);
        server.steps();
        let jobs = (0..2).map(|_| server.next_job().unwrap()).collect();
        assert!(server.next_job().is_none());
        (server, jobs)
    }

    /// The kinds and statuses of all jobs.
    fn all(&self) -> Vec<(JobKind, JobStatus)> {
        let jobs = self.ledger.jobs();
        jobs.map(|job| (job.kind, job.status)).collect()
    }
}

#[test]
fn the_first_copy_that_runs_is_the_one_with_runonce() {
    let (mut server, jobs) = Server::two_copies("runonce");
    let queues = [1, 2].map(|id| server.job(id).queue.clone());
    assert_ne!(queues[0], queues[1]);
    server.update(&jobs[1], JobStatus::Running);
    assert_eq!(
        server.all(),
        [
            (JobKind::Consumer, JobStatus::Closed),
            (JobKind::Run, JobStatus::Running)
        ]
    );
    let other = server.job(1);
    assert_eq!(
        (other.sub_status.as_str(), other.server_code),
        ("jc_unlock", 200)
    );
    assert_eq!(server.range_statuses(PandaId::new(1)), ["sent"]);
    let answer = server.update(&jobs[0], JobStatus::Running);
    assert!(
        answer
            .commands
            .contains(&ailurus_model::Command::ToBeKilled)
    );
    server.finish(&jobs[1]);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Done);
    assert_eq!(server.ledger.files().count(), 1);
}

#[test]
fn a_copy_that_asks_for_its_range_first_is_the_one_with_runonce() {
    let (mut server, jobs) = Server::two_copies("runonce");
    assert_eq!(server.ranges(&jobs[1], 1).len(), 1);
    assert_eq!(server.status(1), JobStatus::Closed);
    assert!(server.ranges(&jobs[0], 1).is_empty());
}

#[test]
fn the_first_copy_that_has_stored_is_the_one_with_storeonce() {
    let (mut server, jobs) = Server::two_copies("storeonce");
    for job in &jobs {
        server.update(job, JobStatus::Running);
    }
    assert_eq!(
        server.all(),
        [
            (JobKind::Run, JobStatus::Running),
            (JobKind::Consumer, JobStatus::Running)
        ]
    );
    assert_ne!(jobs[0].outputs[0].lfn, jobs[1].outputs[0].lfn);
    server.finish(&jobs[1]);
    server.finish(&jobs[0]);
    assert_eq!(
        server.all(),
        [
            (JobKind::Consumer, JobStatus::Closed),
            (JobKind::Run, JobStatus::Finished)
        ]
    );
    let files: Vec<String> = server
        .ledger
        .files()
        .map(|file| file.lfn.to_string())
        .collect();
    assert_eq!(files, [jobs[1].outputs[0].lfn.to_string()]);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn a_copy_that_fails_leaves_it_to_the_other_and_the_last_gets_new_copies() {
    let (mut server, jobs) = Server::two_copies("storeonce");
    server.fail(&jobs[0], ErrorCode::PayloadExecutionFailure);
    assert_eq!(
        server.all(),
        [
            (JobKind::Consumer, JobStatus::Closed),
            (JobKind::Run, JobStatus::Sent)
        ]
    );
    server.update(&jobs[1], JobStatus::Running);
    server.fail(&jobs[1], ErrorCode::PayloadExecutionFailure);
    let again: Vec<Job> = (0..2).map(|_| server.running_job()).collect();
    let mut numbers: Vec<(u64, u32)> = again
        .iter()
        .map(|job| (job.panda_id.value(), job.attempt_nr.value()))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [(2, 2), (3, 2)]);
    for job in &again {
        server.fail(job, ErrorCode::PayloadExecutionFailure);
    }
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Failed);
    assert!(server.next_job().is_none(), "no attempt is left");
}

#[test]
fn copies_end_with_the_one_that_is_killed() {
    let (mut server, jobs) = Server::two_copies("storeonce");
    assert!(server.kill_as(&Caller::loopback(), jobs[1].panda_id, KillCode::User));
    assert_eq!(
        [1, 2].map(|id| server.status(id)),
        [JobStatus::Cancelled; 2]
    );
}

#[test]
fn copies_that_were_lost_together_are_tried_again_as_one_job() {
    let mut server = Server::new();
    server.queues.remove(&FAR.into());
    server.submit_panda(cloned("storeonce"));
    server.steps();
    for _ in 0..2 {
        let job = server.try_acquire(&request_in_worker(NEAR, 5));
        let job = job.unwrap().pop().expect("a copy waits");
        server.update(&job, JobStatus::Running);
    }
    server.report_worker(&worker(5, WorkerStatus::Failed));
    let kinds: Vec<JobKind> = server.all().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [JobKind::Consumer, JobKind::Run, JobKind::Consumer]);
    assert_eq!(server.status(1), JobStatus::Closed);
    work(&mut server);
    assert_eq!(server.task_status(1), TaskStatus::Done);
}
