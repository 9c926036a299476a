//! Kills by code, reassignment, debug mode and commands.

use ailurus_model::{Caller, Command, JobStatus, PandaId, Proof, Rights};

use super::harness::*;
use crate::{CommandFate, DebugMode, KillCode, reassign_jobs, set_command, set_debug_mode};

fn kill_as(server: &mut Server, caller: &Caller, id: u64, code: Option<i64>) -> bool {
    server.kill_as(caller, PandaId::new(id), KillCode::of_number(code))
}

fn kill(server: &mut Server, id: u64, code: i64) -> bool {
    kill_as(server, &Caller::loopback(), id, Some(code))
}

fn person(name: &str) -> Caller {
    Caller {
        proof: Proof::Certificate,
        name: name.to_owned(),
        ..Caller::nobody()
    }
}

fn manager() -> Caller {
    Caller {
        rights: Rights {
            production: true,
            ..Rights::default()
        },
        ..person("Manager")
    }
}

#[test]
fn a_waiting_job_ends_at_once_with_the_codes_result() {
    // Code, result, sub-status, taskBufferErrorCode.
    let table = [
        (3, JobStatus::Cancelled, "", 103),
        (9, JobStatus::Cancelled, "", 100),
        (50, JobStatus::Cancelled, "", 100),
        (52, JobStatus::Cancelled, "", 100),
        (55, JobStatus::Closed, "taskdone", 100),
        (60, JobStatus::Closed, "", 100),
        (91, JobStatus::Cancelled, "", 100),
        (99, JobStatus::Cancelled, "", 100),
        (1234, JobStatus::Cancelled, "", 100),
    ];
    for (code, status, sub_status, server_code) in table {
        let mut server = Server::with([generation(1)]);
        assert!(kill(&mut server, 1, code), "{code}");
        let job = server.job(1);
        assert_eq!(job.status, status, "{code}");
        assert_eq!(job.sub_status, sub_status, "{code}");
        assert_eq!(job.server_code, server_code, "{code}");
        assert!(!kill(&mut server, 1, code), "{code} again");
    }
}

#[test]
fn codes_that_mean_elsewhere_have_the_job_brokered_anew() {
    for code in [2, 4, 8, 10, 51] {
        let mut server = Server::with([generation(1)]);
        assert!(kill(&mut server, 1, code));
        let job = server.job(1);
        assert_eq!(
            (job.status, job.attempt_nr.value()),
            (JobStatus::Activated, 1)
        );
        let old = server.next_job().expect("a job");
        assert!(kill(&mut server, 1, code));
        let job = server.job(1);
        assert_eq!(
            (job.status, job.attempt_nr.value()),
            (JobStatus::Activated, 2)
        );
        let answer = server.update(&old, JobStatus::Running);
        assert_eq!(answer.commands, end_with(Command::BadAttemptNr));
    }
}

#[test]
fn a_running_job_is_told_and_then_runs_elsewhere() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    assert!(kill(&mut server, 1, 51));
    assert_eq!(server.status(1), JobStatus::Running);
    let answer = server.update(&job, JobStatus::Running);
    assert_eq!(answer.commands, [Command::ToBeKilled]);
    server.fail(&job, ailurus_model::ErrorCode::PandaKill);
    let job = server.job(1);
    assert_eq!(
        (job.status, job.attempt_nr.value()),
        (JobStatus::Activated, 2)
    );
}

#[test]
fn force_ends_a_running_production_job_at_once() {
    for (label, code, ends) in [
        ("managed", 9, true),
        ("managed", 50, false),
        ("user", 9, false),
        ("user", 99, true),
    ] {
        let mut task = generation(1);
        task.source_label = ailurus_model::SourceLabel::new(label);
        let mut server = Server::with([task]);
        let mut request = request(NEAR);
        request.source_label = ailurus_model::SourceLabel::new(label);
        let job = [NEAR, FAR]
            .into_iter()
            .find_map(|queue| {
                request.queue = queue.into();
                server.try_acquire(&request).unwrap().pop()
            })
            .expect("a job");
        server.update(&job, JobStatus::Running);
        assert!(kill(&mut server, 1, code));
        let is_over = server.status(1) == JobStatus::Cancelled;
        assert_eq!(is_over, ends, "{label} {code}");
    }
}

#[test]
fn only_owners_and_managers_kill() {
    let mut task = generation(5);
    task.source_label = ailurus_model::SourceLabel::new("user");
    let mut server = Server::with([task]);
    assert!(!kill_as(&mut server, &Caller::nobody(), 1, None));
    assert!(!kill_as(&mut server, &person("bob"), 1, None));
    assert!(kill_as(&mut server, &person("alice"), 1, None));
    // A manager must say that it is meant.
    assert!(!kill_as(&mut server, &manager(), 2, None));
    assert!(!kill_as(&mut server, &manager(), 2, Some(55)));
    assert!(kill_as(&mut server, &manager(), 2, Some(91)));
}

#[test]
fn jobs_that_do_not_run_are_reassigned() {
    let mut server = Server::with([generation(3)]);
    server.running_job();
    server.next_job().expect("a second job");
    let ids = [1, 2, 3, 99].map(PandaId::new);
    let moved = server.run(|ctx, ledger| reassign_jobs(ctx, ledger, &ids, &Caller::loopback()));
    assert_eq!(moved.unwrap(), 2);
    assert_eq!(server.status(1), JobStatus::Running);
    assert_eq!(server.job(2).attempt_nr.value(), 2);
    assert_eq!(server.job(3).attempt_nr.value(), 1);
}

#[test]
fn debug_mode_shows_output_until_it_is_ended() {
    use crate::ledger::{JobText, JobTextRows};
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    let set = |server: &mut Server, caller: &Caller, mode| {
        let id = PandaId::new(1);
        server
            .run(|ctx, ledger| set_debug_mode(ctx, ledger, id, caller, mode))
            .unwrap()
            .to_string()
    };
    let denied = set(&mut server, &person("bob"), DebugMode::On);
    assert!(denied.starts_with("Permission denied"), "{denied}");
    let owner = person("alice");
    assert_eq!(set(&mut server, &owner, DebugMode::On), "Succeeded");
    let again = set(&mut server, &owner, DebugMode::On);
    assert_eq!(again, "Already set accordingly");
    let mut pilot = person("pilot");
    pilot.rights.pilot = true;
    assert_eq!(set(&mut server, &pilot, DebugMode::Off), "Succeeded");
    assert_eq!(set(&mut server, &pilot, DebugMode::On), "Succeeded");
    let mut update =
        ailurus_model::JobUpdate::new(job.panda_id, Some(job.attempt_nr), JobStatus::Running);
    update.stdout = "event 12".to_owned();
    assert_eq!(server.send(&update).commands, [Command::Debug(None)]);
    let kept = server
        .ledger
        .job_text(job.panda_id, job.attempt_nr, JobText::Stdout);
    assert_eq!(kept.unwrap().as_deref(), Some("event 12"));
    assert_eq!(set(&mut server, &owner, DebugMode::Off), "Succeeded");
    assert_eq!(server.send(&update).commands, []);
    server.finish(&job);
    let late = set(&mut server, &owner, DebugMode::On);
    assert_eq!(late, "PandaID=1 not found in active DB");
}

#[test]
fn a_command_reaches_the_pilot_behind_debug() {
    let mut server = Server::with([generation(1)]);
    let job = server.running_job();
    let set = |server: &mut Server, text: &str| {
        let id = PandaId::new(1);
        server
            .run(|_, ledger| set_command(ledger, id, text))
            .unwrap()
    };
    let taken = set(&mut server, "do something");
    assert_eq!(taken, CommandFate::Taken("command received"));
    let id = PandaId::new(1);
    let owner = Caller::loopback();
    server
        .run(|ctx, ledger| set_debug_mode(ctx, ledger, id, &owner, DebugMode::On))
        .unwrap();
    let answer = server.update(&job, JobStatus::Running);
    let other = Command::Other("do something".to_owned());
    assert_eq!(answer.commands, [Command::Debug(None), other]);
    kill(&mut server, 1, 50);
    let refused = set(&mut server, "too late");
    assert_eq!(
        refused,
        CommandFate::Refused("job is being killed".to_owned())
    );
    let long = set(&mut server, &"x".repeat(251));
    assert!(matches!(long, CommandFate::Refused(_)));
}
