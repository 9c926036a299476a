//! Time-outs, and jobs that wait for a queue.

use std::time::Duration;

use ailurus_model::{
    AttemptNr, ErrorCode, JobRequest, JobStatus, PandaId, SourceLabel, TaskSpec, queue::QueueStatus,
};

use super::harness::*;
use crate::{WatchReport, ledger::JobRecord};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_silent_job_is_tried_again() {
    let mut server = Server::with([generation(1)]);
    server.running_job();
    server.pass(2 * HOUR);
    assert_eq!(server.watch(), WatchReport::default());
    server.pass(Duration::from_millis(1));
    let report = server.watch();
    assert_eq!(
        report,
        WatchReport {
            lost_heartbeats: 1,
            ..WatchReport::default()
        }
    );
    assert_eq!(server.status(1), JobStatus::Activated);
    assert_eq!(server.job(1).attempt_nr, AttemptNr::new(2));
    let attempt = server.attempt(1, 1);
    assert_eq!(attempt.diagnosis, "job-lost-heartbeat");
    let error = attempt.server_error.unwrap();
    assert_eq!(error.code, 100);
    assert!(
        error.diag.starts_with("lost heartbeat : 20"),
        "{}",
        error.diag
    );
}

#[test]
fn heartbeats_keep_a_job_alive() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    for _ in 0..10 {
        server.pass(HOUR);
        server.update(&job, JobStatus::Running);
        assert_eq!(server.watch(), WatchReport::default());
    }
}

#[test]
fn a_pilot_must_answer_soon_after_it_got_a_job() {
    let mut server = Server::with([generation(1)]);
    server.next_job().unwrap();
    server.pass(31 * MINUTE);
    assert_eq!(server.watch().sent_without_reply, 1);
    assert_eq!(server.attempt(1, 1).server_error.unwrap().code, 102);
}

#[test]
fn a_final_report_is_not_waited_for_for_ever() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.update(&job, JobStatus::Holding);
    server.pass(2881 * MINUTE);
    assert_eq!(server.watch().holding_too_long, 1);
    assert_eq!(server.attempt(1, 1).server_error.unwrap().code, 103);
}

#[test]
fn outputs_are_not_waited_for_for_ever() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.update(&job, JobStatus::Transferring);
    server.pass(121 * MINUTE);
    assert_eq!(server.watch().transferring_too_long, 1);
    assert_eq!(server.attempt(1, 1).server_error.unwrap().code, 104);
}

#[test]
fn a_silent_job_that_was_killed_is_cancelled() {
    let mut server = Server::with([generation(1)]);
    server.running_job();
    server.kill_job(1).unwrap();
    server.pass(3 * HOUR);
    server.watch();
    assert_eq!(server.status(1), JobStatus::Cancelled);
}

#[test]
fn the_pilot_that_was_given_up_cannot_finish_the_job() {
    let mut server = Server::with([generation(1)]);
    let lost = server.running_job();
    server.pass(3 * HOUR);
    server.watch();
    let next = server.running_job();
    server.finish(&lost);
    assert_eq!(server.status(1), JobStatus::Running);
    server.finish(&next);
    assert_eq!(server.file("spd.gen", 0).unwrap().lfn, next.outputs[0].lfn);
}

#[test]
fn jobs_of_paused_queues_are_left_alone_and_do_not_hide_others() {
    let mut server = Server::with([generation(6)]);
    server.limits.watch_batch = 1;
    for queue in [NEAR, FAR] {
        for _ in 0..3 {
            let job = server.acquire(queue).pop().unwrap();
            server.update(&job, JobStatus::Running);
        }
        server.pass(MINUTE);
    }
    server.queue(NEAR).status = QueueStatus::Paused;
    server.pass(3 * HOUR);
    assert_eq!(server.watch().lost_heartbeats, 1);
    let lost: Vec<_> = server
        .ledger
        .jobs()
        .filter(|job| job.attempt_nr.value() == 2)
        .collect();
    assert_eq!(lost.len(), 1);
    assert_eq!(
        server.attempt(lost[0].panda_id.value(), 1).queue.as_str(),
        FAR
    );
}

#[test]
fn one_call_handles_a_bounded_number_of_jobs() {
    let mut server = Server::with([generation(5)]);
    server.limits.watch_batch = 2;
    while server.next_job().is_some() {}
    server.pass(HOUR);
    let counts: Vec<u64> = (0..4).map(|_| server.watch().sent_without_reply).collect();
    assert_eq!(counts, [2, 2, 1, 0]);
}

#[test]
fn a_clock_that_goes_back_ends_nothing() {
    let mut server = Server::with([generation(1)]);
    server.running_job();
    server.now = server.now.before(10 * HOUR);
    assert_eq!(server.watch(), WatchReport::default());
}

#[test]
fn a_job_that_nobody_fetches_is_brokered_anew() {
    let mut spec = generation(1);
    spec.queues = vec![NEAR.into()];
    let mut server = Server::with([spec]);
    server.pass(49 * HOUR);
    assert_eq!(server.watch().activated_too_long, 1);
    assert_eq!(server.status(1), JobStatus::Activated);
    assert_eq!(server.job(1).modified, server.now);
    assert_eq!(server.watch().activated_too_long, 0);
}

#[test]
fn jobs_leave_a_queue_that_goes_offline() {
    let mut server = Server::with([generation(4)]);
    server.queue(NEAR).status = QueueStatus::Offline;
    server.pass(MINUTE);
    assert_eq!(server.broker(), 2);
    assert!(
        server
            .ledger
            .jobs()
            .all(|job| job.queue == Some(FAR.into()))
    );
    server.queues.remove(&FAR.into());
    server.pass(MINUTE);
    assert_eq!(server.broker(), 0);
    assert_eq!(server.statuses(1), [JobStatus::Defined; 4]);
    assert!(server.job(1).reason.contains("`JINR_NEAR` is offline"));
}

#[test]
fn jobs_leave_a_queue_that_is_gone_however_many_wait_elsewhere() {
    let mut server = Server::new();
    server.limits.broker_batch = 2;
    let at = |name: &str, queue: &str, jobs| {
        let mut spec = generation(jobs);
        spec.name = name.to_owned();
        spec.outputs.clear();
        spec.parameters.clear();
        spec.queues = vec![queue.into()];
        spec
    };
    // Those that wait longest are at a good queue.
    server.submit([at("old", NEAR, 5), at("new", FAR, 3)]);
    server.queue(FAR).status = QueueStatus::Offline;
    for left in [1, 0] {
        server.pass(MINUTE);
        server.broker();
        let at_far = |job: &&JobRecord| job.queue == Some(FAR.into());
        assert_eq!(server.ledger.jobs().filter(at_far).count(), left);
    }
}

#[test]
fn a_queue_under_test_keeps_its_test_jobs_only() {
    let mut server = Server::new();
    server.limits.broker_batch = 1;
    let mut test = generation(2);
    test.source_label = SourceLabel::new("test");
    let mut common = generation(1);
    common.name = "common".to_owned();
    common.outputs.clear();
    common.parameters.clear();
    for spec in [&mut test, &mut common] {
        spec.queues = vec![NEAR.into()];
    }
    server.submit([test, common]);
    server.queue(NEAR).status = QueueStatus::Test;
    server.pass(MINUTE);
    server.broker();
    assert_eq!(server.statuses(1), [JobStatus::Activated; 2]);
    assert_eq!(server.statuses(2), [JobStatus::Defined]);
}

#[test]
fn jobs_stay_at_a_queue_that_only_takes_no_new_ones() {
    let mut server = Server::with([generation(4)]);
    server.queue(NEAR).status = QueueStatus::Brokeroff;
    server.pass(MINUTE);
    let before = server.ledger.clone();
    assert_eq!(server.broker(), 0);
    assert_eq!(server.ledger, before);
}

#[test]
fn waiting_jobs_are_brokered_when_a_queue_appears() {
    let mut server = Server::new();
    let far = server.queues.remove(&FAR.into()).unwrap();
    server.queue(NEAR).core_count = 1;
    let mut spec = generation(2);
    spec.resources.cores = 4;
    server.submit([spec]);
    assert_eq!(server.statuses(1), [JobStatus::Defined; 2]);
    server.queues.insert(FAR.into(), far);
    server.pass(MINUTE);
    assert_eq!(server.broker(), 2);
    assert_eq!(server.job(1).reason, "");
}

#[test]
fn jobs_that_no_queue_takes_do_not_hide_others() {
    let mut server = Server::new();
    server.limits.broker_batch = 1;
    for name in [NEAR, FAR] {
        server.queue(name).status = QueueStatus::Offline;
    }
    let mut wide = generation(1);
    wide.resources.cores = 64;
    let mut narrow = generation(1);
    narrow.name = "narrow".to_owned();
    narrow.parameters = String::new();
    narrow.outputs.clear();
    server.submit([wide, narrow]);
    server.queue(NEAR).status = QueueStatus::Online;
    let placed: Vec<u64> = (0..2)
        .map(|_| {
            server.pass(MINUTE);
            server.broker()
        })
        .collect();
    assert_eq!(placed, [0, 1]);
}

#[test]
fn a_retry_that_found_no_queue_still_avoids_the_bad_one() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    let bad = server.job(1).queue.unwrap();
    for name in [NEAR, FAR] {
        server.queue(name).status = QueueStatus::Offline;
    }
    server.fail(&job, ErrorCode::StageInFailed);
    assert_eq!(server.status(1), JobStatus::Defined);
    for name in [NEAR, FAR] {
        server.queue(name).status = QueueStatus::Online;
    }
    server.pass(MINUTE);
    assert_eq!(server.broker(), 1);
    assert_ne!(server.job(1).queue, Some(bad));
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn a_production_job_may_hold_its_report_longer_than_a_users() {
    for (label, priority, hours, ends) in [
        ("managed", 100, 47, false),
        ("managed", 100, 49, true),
        ("managed", 900, 4, true),
        ("user", 100, 4, true),
    ] {
        let mut task = generation(1);
        task.source_label = SourceLabel::new(label);
        task.priority = priority;
        let mut server = Server::with([task]);
        let mut request = request(NEAR);
        request.source_label = SourceLabel::new(label);
        let job = [NEAR, FAR]
            .into_iter()
            .find_map(|queue| {
                request.queue = queue.into();
                server.try_acquire(&request).unwrap().pop()
            })
            .expect("a job");
        server.update(&job, JobStatus::Running);
        server.update(&job, JobStatus::Holding);
        server.pass(hours * HOUR);
        let report = server.watch();
        assert_eq!(
            report.holding_too_long == 1,
            ends,
            "{label} {priority} {hours}"
        );
    }
}

#[test]
fn a_job_that_only_says_starting_runs_elsewhere() {
    let mut server = Server::with([generation(1)]);
    let job = server.next_job().unwrap();
    for _ in 0..49 {
        server.update(&job, JobStatus::Starting);
        server.pass(HOUR);
        server.update(&job, JobStatus::Starting);
    }
    assert_eq!(server.watch().starting_too_long, 1);
    assert_eq!(server.job(1).attempt_nr, AttemptNr::new(2));
    assert_eq!(server.watch(), WatchReport::default());
}

#[test]
fn a_job_that_runs_for_weeks_is_told_to_end_and_runs_elsewhere() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.pass(21 * DAY + MINUTE);
    server.update(&job, JobStatus::Running);
    assert_eq!(server.watch().running_too_long, 1);
    assert_eq!(server.watch(), WatchReport::default());
    let told = server.update(&job, JobStatus::Running);
    assert_eq!(told.commands, [ailurus_model::Command::ToBeKilled]);
    server.fail(&job, ErrorCode::PandaKill);
    assert_eq!(server.job(1).attempt_nr, AttemptNr::new(2));
}

#[test]
fn a_users_job_waits_where_its_task_runs() {
    let mut task = generation(2);
    task.source_label = SourceLabel::new("user");
    let mut server = Server::with([task]);
    let queue = server.job(1).queue.expect("a queue");
    // Both wait at one queue, and one of them runs there.
    let mut second = server.job(2);
    second.queue = Some(queue.clone());
    crate::Ledger::put_job(&mut server.ledger, &second).unwrap();
    let mut request = request(queue.as_str());
    request.source_label = SourceLabel::new("user");
    let job = server.try_acquire(&request).unwrap().pop().expect("a job");
    for _ in 0..13 {
        server.update(&job, JobStatus::Running);
        server.pass(HOUR);
    }
    server.update(&job, JobStatus::Running);
    assert_eq!(server.watch(), WatchReport::default());
    server.finish(&job);
    assert_eq!(server.watch().activated_too_long, 1);
}

#[test]
fn an_urgent_job_leaves_a_queue_that_starts_nothing() {
    let mut task = generation(1);
    task.priority = 900;
    let mut server = Server::with([task]);
    server.pass(4 * HOUR + MINUTE);
    let name = server.job(1).queue.expect("a queue");
    let terms = &mut server.queue(name.as_str()).options.terms;
    terms.keeps_its_jobs = true;
    assert_eq!(server.watch(), WatchReport::default());
    server.queue(name.as_str()).options.terms.keeps_its_jobs = false;
    assert_eq!(server.watch().activated_too_long, 1);
    assert_eq!(server.watch(), WatchReport::default());
}

#[test]
fn a_job_without_a_task_does_not_wait_for_ever() {
    let mut server = Server::new();
    let mut form = ailurus_model::JobForm::default();
    form.attributes.put("prodSourceLabel", "user");
    form.attributes.put("computingSite", NEAR);
    server
        .run(|ctx, ledger| crate::submit_jobs(ctx, ledger, vec![form], "alice"))
        .unwrap();
    server.pass(7 * DAY - MINUTE);
    assert_eq!(server.watch().waiting_too_long, 0);
    server.pass(2 * MINUTE);
    assert_eq!(server.watch().waiting_too_long, 1);
    let job = server.job(1);
    assert_eq!((job.status, job.server_code), (JobStatus::Closed, 102));
    assert_eq!(job.sub_status, "toreassign");
}

/// A job of a task that runs at a queue of this workflow.
fn running_at(server: &mut Server, queue: &str, workflow: &str) -> PandaId {
    server.queue(queue).options.terms.workflow = workflow.to_owned();
    let job = server.acquire(queue).pop().unwrap();
    server.update(&job, JobStatus::Running);
    job.panda_id
}

#[test]
fn heartbeats_may_be_rarer_by_workflow_and_label() {
    let mut server = Server::with([generation(8)]);
    server.limits.watch.heartbeat_timeouts = [
        ("push", 6 * HOUR),
        ("production", 3 * HOUR),
        ("analysis", HOUR),
    ]
    .map(|(name, time)| (name.to_owned(), time))
    .into();
    server.limits.watch_batch = 1;
    let patient = running_at(&mut server, NEAR, "push");
    let common = running_at(&mut server, FAR, "pull");
    server.pass(3 * HOUR + MINUTE);
    assert_eq!(server.watch().lost_heartbeats, 1);
    assert_eq!(server.job(common.value()).attempt_nr, AttemptNr::new(2));
    assert_eq!(server.status(patient.value()), JobStatus::Running);
    server.pass(3 * HOUR);
    assert_eq!(server.watch().lost_heartbeats, 1);
    assert_eq!(server.job(patient.value()).attempt_nr, AttemptNr::new(2));

    let mut server = Server::with([TaskSpec {
        source_label: SourceLabel::new("user"),
        ..generation(1)
    }]);
    let push = ("push".to_owned(), 6 * HOUR);
    let analysis = ("analysis".to_owned(), HOUR);
    server.limits.watch.heartbeat_timeouts = [push, analysis].into();
    server.queue(NEAR).options.terms.workflow = "push".to_owned();
    server.queue(FAR).options.terms.workflow = "push".to_owned();
    let queue = server.job(1).queue.unwrap();
    let request = JobRequest {
        source_label: SourceLabel::new("user"),
        ..request(queue.as_str())
    };
    let job = server.try_acquire(&request).unwrap().pop().unwrap();
    server.update(&job, JobStatus::Running);
    server.pass(HOUR + MINUTE);
    assert_eq!(server.watch().lost_heartbeats, 1);
}

#[test]
fn a_job_whose_pilot_told_of_a_failure_counts_as_not_recovered() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    let mut update = failed(&job, ErrorCode::StageOutFailed);
    update.status = JobStatus::Holding;
    server.send(&update);
    server.pass(49 * HOUR);
    assert_eq!(server.watch().holding_too_long, 1);
    let error = server.attempt(1, 1).server_error.unwrap();
    assert_eq!(error.code, 101);
    assert!(
        error.diag.starts_with("job recovery failed for 2d"),
        "{}",
        error.diag
    );
}

#[test]
fn too_many_waiting_jobs_leave_for_another_queue_oldest_first() {
    let mut server = Server::new();
    server.queue(FAR).status = QueueStatus::Offline;
    server.submit([generation(10)]);
    let share = server.job(1).global_share;
    server.queue(FAR).status = QueueStatus::Online;
    let rules = &mut server.limits.watch.overshoot;
    rules.waiting_least.insert(share, 4);
    server.pass(30 * MINUTE);
    assert_eq!(server.watch().overshooting, 0, "they have just come");
    server.pass(11 * MINUTE);
    assert_eq!(server.watch().overshooting, 6);
    for id in 1..=10 {
        let queue = if id <= 6 { FAR } else { NEAR };
        assert_eq!(server.job(id).queue.unwrap().as_str(), queue, "job {id}");
        assert_eq!(server.status(id), JobStatus::Activated);
    }
    assert_eq!(server.watch().overshooting, 0);
    server.pass(41 * MINUTE);
    server.queue(FAR).options.terms.keeps_its_jobs = true;
    server.queue(NEAR).options.terms.keeps_its_jobs = true;
    assert_eq!(server.watch().overshooting, 0, "both keep their jobs");
}

#[test]
fn jobs_of_working_groups_wait_as_long_as_is_said_of_them() {
    let mut server = Server::with([TaskSpec {
        source_label: SourceLabel::new("user"),
        ..generation(1)
    }]);
    let quick = ("quick".to_owned(), HOUR);
    server.limits.watch.user_activated_timeouts = [quick].into();
    server.pass(2 * HOUR);
    assert_eq!(server.watch().activated_too_long, 0, "it has no group");
    server.limits.watch.user_activated_timeouts = [(String::new(), HOUR)].into();
    assert_eq!(server.watch().activated_too_long, 1);
}

#[test]
fn urgent_jobs_leave_a_queue_where_starting_does_not_end() {
    let mut server = Server::with([TaskSpec {
        priority: 900,
        ..generation(1)
    }]);
    let job = server.next_job().unwrap();
    for _ in 0..4 {
        server.update(&job, JobStatus::Starting);
        server.pass(HOUR);
    }
    assert_eq!(server.watch().starting_too_long, 0);
    server.pass(MINUTE);
    assert_eq!(server.watch().starting_too_long, 1);
    assert_eq!(server.job(1).attempt_nr, AttemptNr::new(2));
}
