//! The archive: what goes there, and that it changes nothing for who asks.

use std::time::Duration;

use ailurus_jedi::command::RetryQualifiers;
use ailurus_model::{
    Caller, ChangeId, ErrorCode, JobStatus, PandaId, TaskId, TaskStatus, Timestamp, task::Split,
};

use super::{harness::*, panda_tasks::generation as generation_of_panda};
use crate::{
    ActionError, ArchiveRules, Ledger, archive_jobs, drop_jobs,
    invariants::{check_state, check_step},
    ledger::{ArchiveRows, Cursor, CursorRows, EndedPlace, EndedTask, HistoryRows},
    shorten_history,
    tasks::{AttemptCount, CommandRequest, file_tally},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn rules(batch: usize) -> ArchiveRules {
    ArchiveRules {
        after: Some(DAY * 30),
        drop_after: Some(DAY * 100),
        history_keep: Some(DAY * 90),
        unread_keep: Some(DAY * 365),
        batch,
    }
}

/// Makes a pass, and returns how many jobs each step moved.
fn pass(server: &mut Server, rules: &ArchiveRules) -> Vec<u64> {
    let mut moved = Vec::new();
    let mut place = Some(EndedPlace::START);
    while let Some(from) = place {
        let before = server.ledger.clone();
        let step = server.run(|ctx, ledger| archive_jobs(ctx, ledger, rules, from));
        let step = step.unwrap();
        check_state(&server.ledger).unwrap();
        check_step(&before, &server.ledger).unwrap();
        moved.push(step.archived);
        place = step.next;
    }
    moved
}

/// Drops what is old enough, and returns how many jobs each step dropped.
fn drop_all(server: &mut Server, rules: &ArchiveRules) -> Vec<u64> {
    let mut dropped = Vec::new();
    let mut place = Some(EndedTask::START);
    while let Some(from) = place {
        let before = server.ledger.clone();
        let step = server.run(|ctx, ledger| drop_jobs(ctx, ledger, rules, from));
        let step = step.unwrap();
        check_state(&server.ledger).unwrap();
        check_step(&before, &server.ledger).unwrap();
        dropped.push(step.dropped);
        place = step.next;
    }
    dropped
}

fn is_archived(server: &Server, id: u64) -> bool {
    server.ledger.is_archived(PandaId::new(id)).unwrap()
}

#[test]
fn old_jobs_of_ended_tasks_go_in_bounded_steps() {
    let mut server = Server::with([generation(3)]);
    for _ in 0..3 {
        let job = server.running_job();
        server.finish(&job);
    }
    assert_eq!(pass(&mut server, &rules(2)), [0]);
    server.pass(DAY * 31);
    assert_eq!(pass(&mut server, &rules(2)), [2, 1]);
    assert_eq!(pass(&mut server, &rules(2)), [0]);
    assert!((1..=3).all(|id| is_archived(&server, id)));
    assert_eq!(server.statuses(1), [JobStatus::Finished; 3]);
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn jobs_of_a_task_that_goes_on_stay() {
    let mut server = Server::with([generation(2)]);
    let job = server.running_job();
    server.finish(&job);
    server.pass(DAY * 31);
    assert_eq!(pass(&mut server, &rules(10)), [0]);
    let job = server.running_job();
    server.finish(&job);
    assert_eq!(pass(&mut server, &rules(10)), [1]);
    assert!(is_archived(&server, 1) && !is_archived(&server, 2));
}

#[test]
fn nothing_goes_where_the_archive_is_switched_off() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.finish(&job);
    server.pass(DAY * 1000);
    let off = ArchiveRules {
        after: None,
        drop_after: None,
        history_keep: None,
        ..rules(10)
    };
    assert_eq!(pass(&mut server, &off), [0]);
    let forgotten = server.run(|ctx, ledger| shorten_history(ctx, ledger, &off));
    assert_eq!(forgotten.unwrap(), 0);
}

#[test]
fn a_late_update_of_an_archived_job_is_answered_as_of_one_that_ended() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.kill_task(1).unwrap();
    server.finish(&job);
    server.pass(DAY * 31);
    let late = server.update(&job, JobStatus::Running);
    let late_end = server.finish(&job);
    let row = server.job(1);
    pass(&mut server, &rules(10));
    assert!(is_archived(&server, 1));
    assert_eq!(server.update(&job, JobStatus::Running), late);
    assert_eq!(server.finish(&job), late_end);
    assert_eq!(server.job(1), row);
}

#[test]
fn a_retry_takes_failed_jobs_out_of_the_archive() {
    let mut server = Server::with([generation(2)]);
    server.fail_for_good(1);
    server.pass(DAY * 31);
    assert_eq!(pass(&mut server, &rules(10)), [2]);
    assert_eq!(server.retry_task(1).unwrap(), 2);
    assert!(!is_archived(&server, 1));
    check_state(&server.ledger).unwrap();
    let job = server.running_job();
    server.fail(&job, ErrorCode::StageInFailed);
    check_state(&server.ledger).unwrap();
}

#[test]
fn the_history_is_kept_for_who_has_not_read_it() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.finish(&job);
    let last = server.ledger.last_change().unwrap();
    let cursor = Cursor {
        name: "broker".to_owned(),
        last: ChangeId::new(2),
        holder: String::new(),
        held_until: Timestamp::from_millis(0),
    };
    server.ledger.put_cursor(&cursor).unwrap();
    server.pass(DAY * 91);
    let shorten = |server: &mut Server| {
        let done = server.run(|ctx, ledger| shorten_history(ctx, ledger, &rules(3)));
        done.unwrap()
    };
    assert_eq!((shorten(&mut server), shorten(&mut server)), (2, 0));
    check_state(&server.ledger).unwrap();
    let cursor = Cursor { last, ..cursor };
    server.ledger.put_cursor(&cursor).unwrap();
    while shorten(&mut server) > 0 {
        check_state(&server.ledger).unwrap();
    }
    let rows = server.ledger.changes_after(ChangeId::default(), 10);
    assert_eq!(rows.unwrap(), []);
    assert_eq!(server.ledger.last_change().unwrap(), last);
}

#[test]
fn the_history_is_not_kept_for_ever_for_who_never_reads_it() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.finish(&job);
    let cursor = Cursor {
        name: "gone".to_owned(),
        last: ChangeId::default(),
        holder: String::new(),
        held_until: Timestamp::from_millis(0),
    };
    server.ledger.put_cursor(&cursor).unwrap();
    let shorten = |server: &mut Server, rules: &ArchiveRules| {
        let done = server.run(|ctx, ledger| shorten_history(ctx, ledger, rules));
        done.unwrap()
    };
    let patient = ArchiveRules {
        unread_keep: None,
        ..rules(100)
    };
    server.pass(DAY * 91);
    assert_eq!(shorten(&mut server, &rules(100)), 0);
    server.pass(DAY * 275);
    assert_eq!(shorten(&mut server, &patient), 0);
    assert!(shorten(&mut server, &rules(100)) > 0);
    let rows = server.ledger.changes_after(ChangeId::default(), 10);
    assert_eq!(rows.unwrap(), []);
}

#[test]
fn the_jobs_of_old_tasks_are_dropped_in_bounded_steps() {
    let mut server = Server::with([generation(3)]);
    for _ in 0..3 {
        let job = server.running_job();
        server.finish(&job);
    }
    let counts = server.ledger.task_counts(TaskId::new(1)).unwrap();
    server.pass(DAY * 101);
    assert_eq!(drop_all(&mut server, &rules(2)), [0], "none is archived");
    pass(&mut server, &rules(2));
    let never = ArchiveRules {
        drop_after: None,
        ..rules(2)
    };
    assert_eq!(drop_all(&mut server, &never), [0]);
    assert_eq!(drop_all(&mut server, &rules(2)), [2, 1]);
    assert_eq!(drop_all(&mut server, &rules(2)), [0]);
    assert_eq!(
        (
            server.ledger.jobs().count(),
            server.ledger.attempts().count()
        ),
        (0, 0)
    );
    assert_eq!(server.task_status(1), TaskStatus::Done);
    assert_eq!(server.ledger.task_counts(TaskId::new(1)).unwrap(), counts);
    assert_eq!(
        server
            .ledger
            .files()
            .filter(|file| file.producer.is_some())
            .count(),
        3
    );
}

#[test]
fn a_task_whose_jobs_were_dropped_is_not_tried_again() {
    let mut server = Server::with([generation(2)]);
    server.fail_for_good(1);
    server.pass(DAY * 101);
    pass(&mut server, &rules(10));
    assert_eq!(drop_all(&mut server, &rules(1)), [1, 1, 0, 0]);
    let refused = server.retry_task(1);
    assert!(
        matches!(refused, Err(ActionError::JobsDropped { .. })),
        "{refused:?}"
    );
}

#[test]
fn one_that_is_younger_or_not_all_in_the_archive_keeps_its_jobs() {
    let mut server = Server::with([generation(2)]);
    server.fail_for_good(1);
    server.pass(DAY * 99);
    pass(&mut server, &rules(10));
    assert_eq!(drop_all(&mut server, &rules(10)), [0]);
    server.pass(DAY * 2);
    // As if something came late to one of the jobs.
    let job = server.job(1);
    server.ledger.put_job(&job).unwrap();
    assert_eq!(drop_all(&mut server, &rules(10)), [0]);
    pass(&mut server, &rules(10));
    assert_eq!(drop_all(&mut server, &rules(10)), [2]);
}

#[test]
fn who_reads_a_dataset_of_dropped_jobs_does_not_wait_for_them() {
    let mut server = Server::with([generation(2)]);
    let job = server.running_job();
    server.finish(&job);
    server.fail_for_good(1);
    server.pass(DAY * 101);
    pass(&mut server, &rules(10));
    drop_all(&mut server, &rules(10));
    server.submit([reading("gen", "reco", Split::Files { per_job: 1 })]);
    let reasons: Vec<String> = server.ledger.jobs().map(|job| job.reason.clone()).collect();
    assert_eq!(
        server.statuses(2),
        [JobStatus::Activated, JobStatus::Closed],
        "{reasons:?}"
    );
    assert!(
        reasons[1].contains("was dropped from the archive"),
        "{reasons:?}"
    );
}

#[test]
fn a_task_of_panda_tells_its_files_and_refuses_retries_once_its_jobs_are_dropped() {
    let mut server = Server::new();
    server.submit_panda(generation_of_panda("prod.gen", 3));
    server.steps();
    let bad = server.next_job().unwrap();
    server.kill_job(bad.panda_id.value()).unwrap();
    server.run_dry();
    let id = TaskId::new(1);
    assert_eq!(server.task_status(1), TaskStatus::Finished);
    let before = file_tally(&server.ledger, id).unwrap().unwrap();
    assert_eq!((before.n_finished, before.n_failed), (2, 1));
    server.pass(DAY * 101);
    pass(&mut server, &rules(10));
    assert_eq!(drop_all(&mut server, &rules(10)), [3]);
    assert_eq!(file_tally(&server.ledger, id).unwrap(), Some(before));
    let retry = CommandRequest::Retry(RetryQualifiers::default(), serde_json::Map::new());
    for request in [retry, CommandRequest::Reactivate(AttemptCount::Raised)] {
        let (code, message) = server.command(1, request, &Caller::loopback());
        assert_eq!(code, 1, "{message}");
        assert!(
            message.contains("were dropped from the archive"),
            "{message}"
        );
    }
    assert_eq!(server.task_status(1), TaskStatus::Finished);
}
