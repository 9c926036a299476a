//! What updates of jobs change: the table of moves, final updates, late and false ones.

use std::time::Duration;

use ailurus_model::{
    AttemptNr, ByteCount, Command, ErrorCode, Guid, JobStatus, JobUpdate, PandaId, TaskStatus,
    UpdateAnswer, UsageSummary,
    update::{PilotTiming, ReportedError},
};

use super::harness::*;
use crate::job_statuses;

use JobStatus::{Failed, Finished, Holding, Running, Sent, Starting, Transferring};

#[test]
fn an_unknown_job_is_to_be_killed() {
    let mut server = Server::new();
    let update = JobUpdate::new(PandaId::new(99), None, Running);
    assert_eq!(
        server.send(&update),
        UpdateAnswer::with(Command::ToBeKilled)
    );
}

/// Every pair of what a job is and what an update says: the job's status after it.
#[test]
fn updates_move_a_job_as_the_table_says() {
    // What a job is, how it gets there, and what it is after an update that says: starting,
    // running, holding, transferring.
    let table: &[(JobStatus, &[JobStatus], [JobStatus; 4])] = &[
        (Sent, &[], [Starting, Running, Holding, Running]),
        (Starting, &[Starting], [Starting, Running, Holding, Running]),
        (
            Running,
            &[Running],
            [Running, Running, Holding, Transferring],
        ),
        (Holding, &[Running, Holding], [Holding; 4]),
        (Transferring, &[Running, Transferring], [Transferring; 4]),
    ];
    for (old, way, row) in table {
        for (said, expected) in [Starting, Running, Holding, Transferring].iter().zip(row) {
            let mut server = Server::with([generation(1)]);
            let job = server.next_job().unwrap();
            for status in *way {
                server.update(&job, *status);
            }
            assert_eq!(server.status(1), *old);
            assert_eq!(server.update(&job, *said), UpdateAnswer::default());
            assert_eq!(server.status(1), *expected, "{old} and {said}");
        }
    }
}

#[test]
fn a_job_finishes_from_every_state_that_a_pilot_can_leave_it_in() {
    for statuses in [
        &[][..],
        &[Starting],
        &[Running],
        &[Holding],
        &[Running, Transferring],
    ] {
        let mut server = Server::with([generation(1)]);
        let job = server.next_job().unwrap();
        for status in statuses {
            server.update(&job, *status);
        }
        assert_eq!(server.finish(&job), UpdateAnswer::default());
        assert_eq!(server.status(1), Finished);
        assert_eq!(server.task_status(1), TaskStatus::Done);
    }
}

#[test]
fn late_heartbeats_of_a_held_job_do_not_refresh_it() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.update(&job, Holding);
    let before = server.job(1);
    server.pass(Duration::from_secs(60));
    server.update(&job, Running);
    assert_eq!(server.job(1), before);
}

#[test]
fn a_heartbeat_is_a_sign_of_life() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.pass(Duration::from_secs(60));
    server.update(&job, Running);
    let row = server.job(1);
    assert_eq!(row.modified, server.now);
    assert!(row.state_changed < server.now);
}

#[test]
fn states_that_pilots_do_not_report_change_nothing() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    let before = server.ledger.clone();
    for status in [
        JobStatus::Pending,
        JobStatus::Activated,
        JobStatus::Cancelled,
    ] {
        server.pass(Duration::from_secs(1));
        assert_eq!(server.update(&job, status), UpdateAnswer::default());
    }
    assert_eq!(server.ledger, before);
}

#[test]
fn a_final_update_counts_once() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.finish(&job);
    let before = server.ledger.clone();
    server.pass(Duration::from_secs(60));
    assert_eq!(
        server.finish(&job),
        UpdateAnswer::with(Command::AlreadyDone)
    );
    assert_eq!(
        server.fail(&job, ErrorCode::StageInFailed),
        UpdateAnswer::with(Command::AlreadyDone)
    );
    assert_eq!(
        server.update(&job, Running),
        UpdateAnswer::with(Command::AlreadyDone)
    );
    assert_eq!(server.ledger, before);
}

#[test]
fn an_old_attempt_changes_nothing_and_is_told_to_end() {
    let mut server = Server::with([generation(1)]);
    let first = server.running_job();
    server.fail(&first, ErrorCode::StageInFailed);
    let second = server.running_job();
    assert_eq!(second.attempt_nr, AttemptNr::new(2));
    let before = server.ledger.clone();
    server.pass(Duration::from_secs(60));
    assert_eq!(
        server.update(&first, Running).commands,
        end_with(Command::BadAttemptNr)
    );
    assert_eq!(
        server.finish(&first),
        UpdateAnswer::with(Command::BadAttemptNr)
    );
    assert_eq!(server.ledger, before);
    server.finish(&second);
    assert_eq!(server.status(1), Finished);
}

#[test]
fn an_attempt_that_nobody_was_given_is_refused() {
    let mut server = Server::with([generation(1)]);
    let before = server.ledger.clone();
    let update = JobUpdate::new(PandaId::new(1), Some(AttemptNr::new(1)), Running);
    assert_eq!(
        server.send(&update).commands,
        end_with(Command::BadAttemptNr)
    );
    let update = JobUpdate::new(PandaId::new(1), None, Finished);
    assert_eq!(
        server.send(&update),
        UpdateAnswer::with(Command::BadAttemptNr)
    );
    assert_eq!(server.ledger, before);
}

#[test]
fn an_update_without_a_number_is_of_the_current_attempt() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    let mut update = finished(&job);
    update.attempt_nr = None;
    server.send(&update);
    assert_eq!(server.status(1), Finished);
}

#[test]
fn a_job_that_ended_without_success_has_no_pilot_any_more() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.fail(&job, ErrorCode::LoopingJob);
    assert_eq!(
        server.update(&job, Running).commands,
        end_with(Command::AlreadyDone)
    );
}

#[test]
fn outputs_are_registered_with_the_final_update() {
    let mut server = Server::with([generation(2)]);
    let (first, second) = (server.running_job(), server.running_job());
    server.finish(&second);
    let file = server.file("spd.gen", 1).unwrap();
    assert_eq!(file.lfn, second.outputs[0].lfn);
    assert_eq!(file.producer, Some(second.panda_id));
    assert_eq!(file.endpoint, second.outputs[0].endpoint);
    assert!(file.size.is_some() && file.checksum.is_some() && file.surl.starts_with("file:///"));
    assert_eq!(server.file("spd.gen", 0), None);
    server.finish(&first);
    assert!(server.file("spd.gen", 0).is_some());
}

/// The text that the server keeps for a first attempt whose outputs were reported so.
fn refused_report(change: impl FnOnce(&mut JobUpdate)) -> String {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    let mut update = finished(&job);
    change(&mut update);
    assert_eq!(server.send(&update), UpdateAnswer::default());
    assert_eq!(server.file("spd.gen", 0), None);
    assert_eq!(server.job(1).attempt_nr, AttemptNr::new(2));
    let attempt = server.attempt(1, 1);
    assert_eq!(attempt.status, Failed);
    assert_eq!(attempt.diagnosis, "ddm-registration-failed");
    let error = attempt.server_error.unwrap();
    assert_eq!(error.code, 200);
    error.diag
}

#[test]
fn a_finished_job_must_report_every_output() {
    let diag = refused_report(|update| {
        update.outputs.remove(0);
    });
    assert_eq!(
        diag,
        "expected output gen_1000001.root is missing in pilot JSON"
    );
}

#[test]
fn the_server_fills_in_what_a_pilot_without_rucio_leaves_out() {
    let mut server = Server::with([generation(2)]);
    let guids: Vec<Option<Guid>> = (0..2)
        .map(|part| {
            let job = server.running_job();
            let mut update = finished(&job);
            update.outputs[0].guid = "".into();
            update.outputs[0].endpoint = "".into();
            server.send(&update);
            assert_eq!(server.status(job.panda_id.value()), Finished);
            let file = server.file("spd.gen", part).unwrap();
            assert_eq!(file.endpoint, job.outputs[0].endpoint);
            assert_ne!(file.guid, job.log.unwrap().guid);
            file.guid
        })
        .collect();
    assert_eq!(guids[0].as_ref().map(|guid| guid.as_str().len()), Some(36));
    assert_ne!(guids[0], guids[1]);
}

#[test]
fn an_output_that_nobody_can_find_is_refused() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    server.queues.clear();
    let mut update = finished(&job);
    update.outputs[0].endpoint = "".into();
    server.send(&update);
    assert_eq!(server.file("spd.gen", 0), None);
    let error = server.attempt(1, 1).server_error.unwrap();
    assert!(error.diag.contains("on which endpoint"), "{}", error.diag);
}

#[test]
fn an_output_that_was_not_asked_for_is_refused() {
    let diag = refused_report(|update| update.outputs[0].lfn = "other.root".into());
    assert_eq!(diag, "pilot produced other.root inconsistently with jobdef");
}

#[test]
fn two_reports_of_one_output_must_agree() {
    let diag = refused_report(|update| {
        let mut other = update.outputs[0].clone();
        other.size = ByteCount::from_bytes(1);
        update.outputs.push(other);
    });
    assert_eq!(
        diag,
        "pilot reported gen_1000001.root twice and differently"
    );
}

#[test]
fn a_log_may_be_missing() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    let mut update = finished(&job);
    update.outputs.truncate(1);
    server.send(&update);
    assert_eq!(server.status(1), Finished);
    assert_eq!(server.attempt(1, 1).log_surl, "");
}

#[test]
fn an_attempt_keeps_what_its_updates_said() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    let mut update = finished(&job);
    update.node = "slot2@node8".into();
    update.pilot_id = "http://logs/1|Slurm|PR|3.0".to_owned();
    update.cpu_time = Some(Duration::from_millis(12_900));
    update.pilot_log = "x".repeat(5000);
    update.timing = Some(PilotTiming {
        payload: Duration::from_secs(30),
        stage_out: Duration::from_secs(2),
        ..PilotTiming::default()
    });
    let mut usage = UsageSummary {
        n_samples: 3,
        ..UsageSummary::default()
    };
    usage.max.rss = ByteCount::from_mib(700);
    update.usage = Some(usage);
    server.send(&update);
    let attempt = server.attempt(1, 1);
    assert_eq!(attempt.node.as_str(), "slot2@node8");
    assert_eq!(attempt.pilot_id, "http://logs/1|Slurm|PR|3.0");
    assert_eq!(attempt.cpu_secs, Some(12));
    assert_eq!(attempt.rss_max, Some(ByteCount::from_mib(700)));
    assert_eq!(attempt.timing, "0|0|30|2|0|0");
    assert_eq!(attempt.pilot_log.len(), 1024);
    assert_eq!(attempt.log_surl, "file:///eos/gen.1.1.log.tgz");
    assert_eq!(attempt.payload_exit_code, Some(0));
    assert_eq!(attempt.ended, Some(server.now));
}

#[test]
fn an_error_of_number_zero_is_none() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    let mut update = finished(&job);
    update.pilot_error = Some(ReportedError::default());
    server.send(&update);
    assert_eq!(server.attempt(1, 1).pilot_error, None);
}

#[test]
fn statuses_are_told_in_the_order_asked_for() {
    let mut server = Server::with([generation(2)]);
    server.running_job();
    let ids = [2, 9, 1].map(PandaId::new);
    let one = AttemptNr::new(1);
    assert_eq!(
        job_statuses(&server.ledger, &ids).unwrap(),
        [
            Some((JobStatus::Activated, one)),
            None,
            Some((Running, one))
        ]
    );
}

#[test]
fn pilots_of_jobs_in_debug_mode_get_the_secrets_of_pilots() {
    let mut server = Server::with([generation(2)]);
    "Log Robot".clone_into(&mut server.limits.tasks.pilot_secrets_owner);
    for owner in ["Log Robot", "alice"] {
        let change = crate::SecretChange::Set {
            name: "log server".to_owned(),
            value: format!("of {owner}"),
        };
        server
            .run(|_, ledger| crate::change_secrets(ledger, owner, &change))
            .unwrap();
    }
    let plain = server.running_job();
    assert!(plain.options.pilot_secrets.is_empty());
    assert!(server.update(&plain, Running).pilot_secrets.is_empty());
    for id in [1, 2] {
        let mut job = server.job(id);
        job.tags.insert(ailurus_model::job_tags::DEBUG);
        crate::Ledger::put_job(&mut server.ledger, &job).unwrap();
    }
    let answer = server.update(&plain, Running);
    let debugged = server.running_job();
    for secrets in [answer.pilot_secrets, debugged.options.pilot_secrets] {
        assert_eq!(secrets["log server"].reveal(), "of Log Robot");
        assert_eq!(secrets.len(), 1);
    }
}
