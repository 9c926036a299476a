//! Which failed attempts are followed by another one, and where.

use ailurus_model::{
    AttemptNr, ByteCount, Command, ErrorCode, JobStatus, TaskStatus, update::ReportedError,
};

use super::harness::*;

#[test]
fn a_failed_attempt_is_followed_by_another_one() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.fail(&job, ErrorCode::StageInFailed);
    let row = server.job(1);
    assert_eq!(row.status, JobStatus::Activated);
    assert_eq!(row.attempt_nr, AttemptNr::new(2));
    assert_eq!(row.priority, 90);
    assert_eq!(row.worker, None);
    assert_eq!(server.task_status(1), TaskStatus::Running);
    let attempt = server.attempt(1, 1);
    assert_eq!(attempt.status, JobStatus::Failed);
    assert_eq!(attempt.diagnosis, "stage-in-failed");
    assert_eq!(attempt.log_surl, "file:///eos/gen.1.1.log.tgz");
}

#[test]
fn the_next_attempt_has_a_seed_and_names_of_its_own() {
    let mut server = Server::with([generation(1)]);
    let first = server.running_job();
    server.fail(&first, ErrorCode::StageInFailed);
    let second = server.running_job();
    assert_ne!(first.parameters, second.parameters);
    assert_ne!(first.outputs[0].lfn, second.outputs[0].lfn);
    assert_ne!(first.log, second.log);
    server.finish(&second);
    assert_eq!(
        server.file("spd.gen", 0).unwrap().lfn,
        second.outputs[0].lfn
    );
}

#[test]
fn attempts_run_out() {
    let mut server = Server::with([generation(1)]);
    for _ in 0..3 {
        let job = server.running_job();
        server.fail(&job, ErrorCode::StageInFailed);
    }
    assert!(server.next_job().is_none());
    assert_eq!(server.status(1), JobStatus::Failed);
    assert_eq!(server.task_status(1), TaskStatus::Failed);
    assert_eq!(
        server.job(1).reason,
        "attempt 3 of 3 failed (stage-in-failed): Failed to stage-in file"
    );
}

#[test]
fn an_error_that_will_come_again_is_not_tried_again() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.fail(&job, ErrorCode::LoopingJob);
    assert_eq!(server.status(1), JobStatus::Failed);
    assert!(
        server
            .job(1)
            .reason
            .starts_with("attempt 1 of 3 failed (looping-job): ")
    );
}

#[test]
fn an_error_of_the_place_is_tried_at_another_queue() {
    let mut server = Server::with([generation(2)]);
    for job in [server.running_job(), server.running_job()] {
        let id = job.panda_id.value();
        let queue = server.job(id).queue;
        server.fail(&job, ErrorCode::StageInFailed);
        assert_ne!(server.job(id).queue, queue);
    }
}

#[test]
fn an_error_of_the_place_is_tried_there_if_there_is_no_other() {
    let mut spec = generation(1);
    spec.queues = vec![FAR.into()];
    let mut server = Server::with([spec]);
    let job = server.running_job();
    server.fail(&job, ErrorCode::StageInFailed);
    assert_eq!(server.job(1).queue, Some(FAR.into()));
}

#[test]
fn a_payload_error_is_explained_by_its_own_words() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    let mut update = failed(&job, ErrorCode::PayloadExecutionFailure);
    update.payload_exit_code = Some(65);
    update.payload_error = Some(ReportedError {
        code: 65,
        diag: "terminate called after throwing an instance of 'std::bad_alloc'".to_owned(),
    });
    server.send(&update);
    let attempt = server.attempt(1, 1);
    assert_eq!(attempt.payload_exit_code, Some(65));
    assert_eq!(attempt.diagnosis, "payload-bad-alloc");
}

#[test]
fn negative_pilot_codes_are_the_same_errors() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    let mut update = failed(&job, ErrorCode::StageInFailed);
    update.pilot_error.as_mut().unwrap().code = -1099;
    server.send(&update);
    let attempt = server.attempt(1, 1);
    assert_eq!(attempt.pilot_error.unwrap().code, 1099);
    assert_eq!(attempt.diagnosis, "stage-in-failed");
}

#[test]
fn a_job_that_ran_out_of_memory_gets_more() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    assert_eq!(job.memory, ByteCount::from_mib(1000));
    server.fail(&job, ErrorCode::PayloadOutOfMemory);
    assert_eq!(server.job(1).memory, ByteCount::from_mib(2000));
    let job = server.running_job();
    server.fail(&job, ErrorCode::PayloadOutOfMemory);
    assert_eq!(server.job(1).memory, ByteCount::from_mib(3000));
    assert_eq!(server.job(1).resource_type, "SCORE_HIMEM");
}

#[test]
fn memory_is_not_raised_over_what_the_queues_have() {
    let mut server = Server::new();
    for name in [NEAR, FAR] {
        server.queue(name).memory = ByteCount::from_mib(1500);
    }
    server.submit([generation(1)]);
    let job = server.running_job();
    server.fail(&job, ErrorCode::PayloadOutOfMemory);
    assert_eq!(server.job(1).memory, ByteCount::from_mib(1000));
    assert_eq!(server.status(1), JobStatus::Activated);
}

#[test]
fn a_killed_job_is_not_tried_again() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.kill_job(1).unwrap();
    assert!(
        server
            .update(&job, JobStatus::Running)
            .has(&Command::ToBeKilled)
    );
    server.fail(&job, ErrorCode::PandaKill);
    assert_eq!(server.status(1), JobStatus::Cancelled);
    assert_eq!(server.job(1).reason, "killed by `alice`");
    assert_eq!(server.attempt(1, 1).status, JobStatus::Cancelled);
    assert_eq!(server.job(1).command, None);
}
