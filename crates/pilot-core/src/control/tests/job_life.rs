//! One job, from its acceptance to its clean-up.

use std::time::Duration;

use ailurus_model::{Blame, ByteCount, Command, EndpointName, ErrorCode, JobStatus, Lfn, Scope};

use super::bench::{Bench, code, found, problem, stored};
use crate::{
    JobInput,
    config::Catalogue,
    control::{
        phase::PhaseName,
        testing::{config, input_file, job, output_file, site},
    },
    data::{BadFile, ReplicaQuery, SwitchedOff, TransfersSeen},
    input::PayloadEnd,
    recovery::{PayloadExit, Symptom},
};

#[test]
fn a_job_with_input_and_output_goes_its_way() {
    let mut job = job(1);
    job.inputs = vec![input_file("in")];
    job.outputs = vec![output_file("out")];
    let mut bench = Bench::asking(config(), site());
    bench.accept(job);
    assert_eq!(bench.words(), ["update 1 starting", "make-dir"]);
    bench.job(JobInput::WorkDirReady(Ok(())));
    assert_eq!(bench.words(), ["stage-in", "script"]);
    bench.job(JobInput::ScriptReady(Ok(())));
    assert!(bench.words().is_empty());
    bench.job(JobInput::StageInEnded(Ok(())));
    assert_eq!(bench.words(), ["start"]);
    bench.answer(1);
    bench.job(JobInput::PayloadStarted(Ok(())));
    assert_eq!(bench.words(), ["update 2 running"]);
    bench.answer(2);
    bench.payload_exits(PayloadExit::Code(0));
    assert_eq!(bench.words(), ["stage-out"]);
    bench.job(JobInput::StageOutEnded(vec![stored()]));
    assert_eq!(bench.words(), ["save-log"]);
    bench.job(JobInput::LogSaved(stored()));
    assert_eq!(bench.words(), ["update 3 finished"]);
    bench.answer(3);
    assert_eq!(bench.words(), ["clean-up"]);
    bench.job(JobInput::CleanedUp);
    assert_eq!(bench.words(), ["exit 0"]);
}

#[test]
fn the_final_update_tells_files_exit_code_and_times() {
    let mut job = job(1);
    job.outputs = vec![output_file("out")];
    let mut bench = Bench::running(job);
    bench.pass(Duration::from_millis(500));
    bench.payload_exits(PayloadExit::Code(0));
    bench.job(JobInput::StageOutEnded(vec![stored()]));
    bench.job(JobInput::LogSaved(stored()));
    let update = bench.update();
    assert_eq!(update.status, JobStatus::Finished);
    assert_eq!((update.payload_exit_code, code(&update)), (Some(0), 0));
    let names: Vec<&str> = update
        .outputs
        .iter()
        .map(|file| file.lfn.as_str())
        .collect();
    assert_eq!(names, ["out", "log.tgz"]);
    assert!(
        update.outputs[0]
            .surl
            .starts_with("file:///store/user/alice/")
    );
    assert_eq!(
        update.timing.map(|timing| timing.payload),
        Some(Duration::from_millis(500))
    );
}

#[test]
fn updates_never_hold_the_payload() {
    let mut bench = Bench::asking(config(), site());
    bench.accept(job(1));
    bench.job(JobInput::WorkDirReady(Ok(())));
    bench.job(JobInput::ScriptReady(Ok(())));
    bench.job(JobInput::PayloadStarted(Ok(())));
    assert_eq!(bench.phase(), Some(PhaseName::Running));
    assert_eq!(
        bench.words(),
        ["update 1 starting", "make-dir", "script", "start"]
    );
}

#[test]
fn a_failed_payload_still_saves_its_log_but_stores_no_output() {
    let mut job = job(1);
    job.outputs = vec![output_file("out")];
    let mut bench = Bench::running(job);
    bench.payload_exits(PayloadExit::Code(65));
    assert_eq!(bench.words(), ["save-log"]);
    bench.job(JobInput::LogSaved(stored()));
    let update = bench.update();
    assert_eq!(update.status, JobStatus::Failed);
    assert_eq!((code(&update), update.payload_exit_code), (1305, Some(65)));
    assert_eq!(update.outputs.len(), 1);
    bench.answer(3);
    bench.job(JobInput::CleanedUp);
    assert_eq!(bench.words(), ["clean-up", "exit 0"]);
}

#[test]
fn a_missing_output_fails_the_job_unless_it_may_be_missing() {
    for (optional, status) in [
        (vec![], JobStatus::Failed),
        (vec![Lfn::new("out")], JobStatus::Finished),
    ] {
        let mut job = job(1);
        job.outputs = vec![output_file("out")];
        job.outputs_optional = optional;
        let mut bench = Bench::running(job);
        bench.payload_exits(PayloadExit::Code(0));
        bench.job(JobInput::StageOutEnded(vec![problem(
            ErrorCode::MissingOutputFile,
        )]));
        bench.job(JobInput::LogSaved(stored()));
        assert_eq!(bench.update().status, status);
    }
}

#[test]
fn an_output_without_a_result_is_not_a_success() {
    let mut job = job(1);
    job.outputs = vec![output_file("out")];
    let mut bench = Bench::running(job);
    bench.payload_exits(PayloadExit::Code(0));
    bench.job(JobInput::StageOutEnded(vec![]));
    bench.job(JobInput::LogSaved(stored()));
    assert_eq!(code(&bench.update()), 1137);
}

#[test]
fn a_failed_stage_in_ends_the_job_and_not_the_pilot() {
    let mut job = job(1);
    job.inputs = vec![input_file("in")];
    let mut bench = Bench::staging_in(job);
    bench.answer(1);
    bench.words();
    bench.job(JobInput::StageInEnded(problem(ErrorCode::MissingInputFile)));
    bench.job(JobInput::LogSaved(stored()));
    let update = bench.update();
    assert_eq!((update.status, code(&update)), (JobStatus::Failed, 1331));
    bench.answer(2);
    bench.job(JobInput::CleanedUp);
    assert_eq!(bench.words(), ["clean-up", "exit 0"]);
}

#[test]
fn a_full_disk_during_stage_in_ends_the_pilot_too() {
    let mut job = job(1);
    job.inputs = vec![input_file("in")];
    let mut bench = Bench::staging_in(job);
    bench.answer(1);
    bench.job(JobInput::StageInEnded(problem(ErrorCode::NoLocalSpace)));
    bench.job(JobInput::LogSaved(stored()));
    bench.words();
    bench.answer(2);
    bench.job(JobInput::CleanedUp);
    assert_eq!(bench.words(), ["clean-up", "exit 69"]);
}

#[test]
fn a_script_that_cannot_be_had_fails_the_job_and_stops_transfers() {
    let mut job = job(1);
    job.inputs = vec![input_file("in")];
    let mut bench = Bench::staging_in(job);
    bench.words();
    bench.job(JobInput::ScriptReady(problem(
        ErrorCode::TrfDownloadFailure,
    )));
    assert_eq!(bench.words(), ["stop-transfers", "save-log"]);
    bench.job(JobInput::StageInEnded(Ok(())));
    assert!(bench.words().is_empty());
}

#[test]
fn a_script_whose_server_is_away_is_fetched_again_after_growing_pauses() {
    let mut bench = Bench::staging_in(job(1));
    bench.words();
    let mut waited = Duration::ZERO;
    for _ in 1..8 {
        bench.job(JobInput::ScriptReady(problem(
            ErrorCode::ServiceNotAvailable,
        )));
        assert!(bench.words().is_empty());
        let due = bench.core.next_deadline().expect("a pause");
        let pause = due.since(bench.now);
        assert!(pause > waited || pause >= Duration::from_secs(60));
        waited = pause;
        bench.pass(pause);
        assert_eq!(bench.words(), ["script"]);
    }
    bench.job(JobInput::ScriptReady(problem(
        ErrorCode::ServiceNotAvailable,
    )));
    assert_eq!(bench.words(), ["stop-transfers", "save-log"]);
    bench.job(JobInput::LogSaved(stored()));
    bench.answer(1);
    assert_eq!(code(&bench.update()), 1324);
}

#[test]
fn a_script_that_comes_at_the_second_try_starts_the_payload() {
    let mut bench = Bench::staging_in(job(1));
    bench.job(JobInput::ScriptReady(problem(
        ErrorCode::ServiceNotAvailable,
    )));
    bench.pass_secs(2);
    bench.words();
    bench.job(JobInput::ScriptReady(Ok(())));
    assert_eq!(bench.words(), ["start"]);
}

#[test]
fn a_script_that_is_an_input_is_looked_for_when_the_inputs_are_there() {
    let mut job = job(1);
    job.inputs = vec![input_file("run.sh")];
    job.transformation = "run.sh".into();
    let mut bench = Bench::staging_in(job);
    assert_eq!(bench.words(), ["update 1 starting", "make-dir", "stage-in"]);
    bench.job(JobInput::StageInEnded(Ok(())));
    assert_eq!(bench.words(), ["script"]);
    bench.job(JobInput::ScriptReady(Ok(())));
    assert_eq!(bench.words(), ["start"]);
}

#[test]
fn a_directory_that_cannot_be_made_fails_the_job_without_a_log() {
    let mut bench = Bench::asking(config(), site());
    bench.accept(job(1));
    bench.answer(1);
    bench.words();
    bench.job(JobInput::WorkDirReady(problem(ErrorCode::Mkdir)));
    assert_eq!(code(&bench.update()), 1199);
    bench.answer(2);
    assert_eq!(bench.words(), ["exit 66"]);
}

#[test]
fn heartbeats_come_every_half_hour() {
    let mut job = job(1);
    job.looping_check = false;
    let mut bench = Bench::running(job);
    for nr in 3..6 {
        bench.pass(Duration::from_secs(1800));
        let words = bench.words();
        let beats: Vec<_> = words
            .iter()
            .filter(|word| word.starts_with("update"))
            .collect();
        assert_eq!(beats, [&format!("update {nr} running")]);
        bench.answer(nr);
    }
}

#[test]
fn samples_are_taken_by_timer_one_at_a_time() {
    let mut bench = Bench::running(job(1));
    bench.pass_secs(1);
    assert_eq!(bench.words(), ["sample Usage"]);
    bench.pass_secs(100);
    assert!(bench.words().is_empty());
    bench.sample_files(|_| {});
    bench.pass_secs(10);
    assert_eq!(bench.words(), ["sample UsageAndFiles"]);
}

#[test]
fn a_full_disk_ends_the_payload_with_grace_then_kill() {
    let mut bench = Bench::running(job(1));
    bench.sample_files(|files| files.free_space = ByteCount::from_mib(10));
    assert_eq!(bench.words(), ["term"]);
    bench.pass_secs(9);
    assert!(bench.words().is_empty());
    bench.pass_secs(1);
    assert_eq!(bench.words(), ["kill"]);
    bench.payload_exits(PayloadExit::Signal(9));
    bench.job(JobInput::LogSaved(stored()));
    let update = bench.update();
    assert_eq!((code(&update), update.payload_exit_code), (1098, Some(137)));
}

#[test]
fn a_payload_without_progress_is_looping_after_two_hours() {
    let mut bench = Bench::running(job(1));
    bench.pass_secs(2 * 3600 - 60);
    bench.answer(3);
    bench.answer(4);
    bench.words();
    bench.sample_files(|_| {});
    assert!(!bench.words().contains(&"term".to_owned()));
    bench.pass_secs(15 * 60);
    bench.answer(5);
    bench.words();
    bench.sample_files(|_| {});
    assert_eq!(bench.words(), ["term"]);
    bench.payload_exits(PayloadExit::Signal(15));
    bench.job(JobInput::LogSaved(stored()));
    assert_eq!(code(&bench.update()), 1150);
}

#[test]
fn the_wall_time_limit_ends_the_payload() {
    let mut site = site();
    site.queue.max_time = Duration::from_secs(600);
    let mut bench = Bench::asking(config(), site);
    bench.accept(job(1));
    bench.job(JobInput::WorkDirReady(Ok(())));
    bench.job(JobInput::ScriptReady(Ok(())));
    bench.job(JobInput::PayloadStarted(Ok(())));
    bench.answer(1);
    bench.answer(2);
    bench.words();
    bench.pass_secs(600);
    assert!(bench.words().contains(&"term".to_owned()));
    bench.payload_exits(PayloadExit::Signal(15));
    bench.job(JobInput::LogSaved(stored()));
    assert_eq!(code(&bench.update()), 1213);
}

#[test]
fn a_kill_from_the_server_fails_the_job_with_its_code() {
    let mut bench = Bench::running(job(1));
    bench.pass_secs(1800);
    bench.words();
    bench.command(3, Command::ToBeKilled);
    assert_eq!(bench.words(), ["term"]);
    bench.payload_exits(PayloadExit::Signal(15));
    bench.job(JobInput::LogSaved(stored()));
    assert_eq!(code(&bench.update()), 1144);
}

#[test]
fn a_soft_kill_gives_minutes_not_seconds() {
    let mut bench = Bench::running(job(1));
    bench.pass_secs(1800);
    bench.words();
    bench.command(3, Command::SoftKill);
    bench.pass_secs(299);
    assert_eq!(bench.words(), ["term"]);
    bench.pass_secs(1);
    assert_eq!(bench.words(), ["kill"]);
}

#[test]
fn a_kill_while_inputs_come_fails_the_job_without_a_payload() {
    let mut job = job(1);
    job.inputs = vec![input_file("in")];
    let mut bench = Bench::staging_in(job);
    bench.words();
    bench.command(1, Command::ToBeKilled);
    assert_eq!(bench.words(), ["stop-transfers", "save-log"]);
}

#[test]
fn a_kill_while_the_payload_starts_ends_it_once_it_runs() {
    let mut bench = Bench::staging_in(job(1));
    bench.job(JobInput::ScriptReady(Ok(())));
    bench.words();
    bench.command(1, Command::ToBeKilled);
    assert!(bench.words().is_empty());
    bench.job(JobInput::PayloadStarted(Ok(())));
    assert_eq!(bench.words(), ["term"]);
}

#[test]
fn an_attempt_that_is_not_current_ends_in_silence() {
    for command in [Command::BadAttemptNr, Command::AlreadyDone] {
        let mut bench = Bench::running(job(1));
        bench.pass_secs(1800);
        bench.words();
        bench.command(3, command);
        assert_eq!(bench.words(), ["term"]);
        bench.payload_exits(PayloadExit::Signal(15));
        assert_eq!(bench.words(), ["clean-up"]);
        bench.job(JobInput::CleanedUp);
        assert_eq!(bench.words(), ["exit 0"]);
    }
}

#[test]
fn what_waits_behind_an_answer_that_supersedes_is_never_sent() {
    let mut bench = Bench::staging_in(job(1));
    bench.job(JobInput::ScriptReady(Ok(())));
    bench.job(JobInput::PayloadStarted(Ok(())));
    bench.words();
    bench.command(1, Command::BadAttemptNr);
    assert_eq!(bench.words(), ["term"]);
}

#[test]
fn three_hours_without_an_answer_end_the_payload() {
    let mut job = job(1);
    job.looping_check = false;
    let mut bench = Bench::running(job);
    let mut nr = 3;
    let mut passed = 0;
    while !bench.wants(|effect| matches!(effect, crate::JobEffect::SignalPayload(_))) {
        bench.pass_secs(60);
        bench.no_answer(nr);
        bench.no_answer(nr + 1);
        nr += u32::from(bench.wants(|_| true));
        passed += 60;
        assert!(passed <= 3 * 3600 + 60, "still running");
    }
    assert!(passed >= 3 * 3600);
}

#[test]
fn a_final_update_is_tried_until_its_patience_ends_and_then_kept() {
    let mut bench = Bench::running(job(1));
    bench.payload_exits(PayloadExit::Code(0));
    bench.job(JobInput::LogSaved(stored()));
    for nr in 3..103 {
        bench.no_answer(nr);
        bench.pass_secs(150);
        if bench.phase() != Some(PhaseName::Reporting) {
            break;
        }
    }
    let words = bench.words();
    assert!(words.contains(&"keep-update".to_owned()), "{words:?}");
    bench.job(JobInput::CleanedUp);
    assert_eq!(bench.words(), ["exit 79"]);
}

#[test]
fn a_signal_ends_the_payload_and_reports_within_its_time() {
    let mut bench = Bench::running(job(1));
    bench.give(crate::Input::StopRequested(15));
    assert_eq!(bench.words(), ["term"]);
    bench.payload_exits(PayloadExit::Signal(15));
    assert_eq!(bench.words(), ["save-log"]);
    bench.job(JobInput::LogSaved(stored()));
    assert_eq!(code(&bench.update()), 1201);
    bench.answer(3);
    bench.job(JobInput::CleanedUp);
    assert_eq!(bench.words(), ["clean-up", "exit 143"]);
}

#[test]
fn a_second_signal_skips_the_grace_period() {
    let mut bench = Bench::running(job(1));
    bench.give(crate::Input::StopRequested(15));
    // The same one, passed on by the wrapper.
    bench.give(crate::Input::StopRequested(15));
    assert_eq!(bench.words(), ["term"]);
    bench.pass(Duration::from_secs(2));
    bench.words();
    bench.give(crate::Input::StopRequested(2));
    assert_eq!(bench.words(), ["kill"]);
}

#[test]
fn after_a_signal_neither_log_nor_server_can_hold_the_pilot() {
    let mut bench = Bench::running(job(1));
    bench.give(crate::Input::StopRequested(15));
    bench.payload_exits(PayloadExit::Signal(15));
    bench.words();
    bench.pass(Duration::from_millis(2500));
    assert_eq!(bench.words(), ["stop-transfers", "update 3 failed"]);
    bench.pass(Duration::from_millis(2500));
    let words = bench.words();
    assert_eq!(
        words.last().map(String::as_str),
        Some("exit 143"),
        "{words:?}"
    );
    assert!(words.contains(&"keep-update".to_owned()));
}

#[test]
fn a_payload_that_survives_kill_is_given_up() {
    let mut bench = Bench::running(job(1));
    bench.give(crate::Input::StopRequested(15));
    bench.pass_secs(10);
    assert_eq!(bench.words(), ["term", "kill"]);
    bench.pass_secs(10);
    assert_eq!(bench.words(), ["save-log"]);
}

#[test]
fn inputs_of_an_older_job_change_nothing() {
    let mut site = site();
    site.queue.time_floor = Duration::from_secs(3600);
    let mut bench = Bench::asking(config(), site);
    bench.accept(job(1));
    bench.job(JobInput::WorkDirReady(problem(ErrorCode::StageInFailed)));
    assert!(bench.phase().is_some());
    let old = crate::Input::Job(crate::JobTicket::default(), JobInput::CleanedUp);
    bench.words();
    bench.give(old);
    assert!(bench.words().is_empty());
}

#[test]
fn a_failure_on_a_full_disk_that_nothing_else_explains_is_one_of_space() {
    let end = |symptoms| PayloadEnd {
        exit: PayloadExit::Code(1),
        free_space: Some(ByteCount::ZERO),
        symptoms,
        ..PayloadEnd::default()
    };
    let known = Symptom {
        id: "known".into(),
        code: None,
        blame: Blame::Payload,
        cause: String::new(),
        remedy: String::new(),
        line: String::new(),
    };
    for (symptoms, expected) in [
        (vec![], ErrorCode::NoLocalSpace),
        (vec![known], ErrorCode::PayloadExecutionFailure),
    ] {
        let mut bench = Bench::running(job(1));
        bench.job(JobInput::PayloadEnded(Box::new(end(symptoms))));
        bench.job(JobInput::LogSaved(stored()));
        assert_eq!(code(&bench.update()), i64::from(expected.number()));
    }
}

/// A pilot with a catalogue, asked for a job with one input.
fn looking_up() -> Bench {
    let mut config = config();
    config.data.catalogue = Catalogue::Rucio;
    let mut job = job(1);
    job.inputs = vec![input_file("in")];
    job.parameters = "-i in --accessmode=direct".into();
    let mut site = site();
    site.queue.options.has_direct_lan = true;
    let mut bench = Bench::asking(config, site);
    bench.accept(job);
    bench.words();
    bench.job(JobInput::WorkDirReady(Ok(())));
    bench
}

#[test]
fn the_catalogue_is_asked_before_inputs_are_fetched_and_the_payload_reads_where_they_lie() {
    let mut bench = looking_up();
    assert_eq!(bench.words(), ["find-replicas", "script"]);
    bench.job(JobInput::ScriptReady(Ok(())));
    let query = ReplicaQuery {
        files: vec![(Scope::new("user.alice"), Lfn::new("in"))],
        schemes: Vec::new(),
        rse_expression: None,
        switched_off: SwitchedOff::Told,
    };
    bench.job(JobInput::ReplicasFound(Ok(found(&query))));
    assert_eq!(bench.words(), ["stage-in"]);
    bench.job(JobInput::ReplicasFound(problem(
        ErrorCode::RucioListReplicasFailed,
    )));
    assert!(bench.words().is_empty(), "a second answer is late");
    bench.job(JobInput::StageInEnded(Ok(())));
    let effects = format!("{:?}", bench.wanted());
    assert!(effects.contains("StartPayload"), "{effects}");
    assert!(effects.contains("root://ep//in"), "{effects}");
}

#[test]
fn a_catalogue_that_is_away_is_done_without_where_names_are_enough() {
    let mut bench = looking_up();
    bench.words();
    bench.job(JobInput::ReplicasFound(problem(
        ErrorCode::RucioListReplicasFailed,
    )));
    assert_eq!(bench.words(), ["stage-in"]);
}

#[test]
fn an_input_that_neither_catalogue_nor_names_place_fails_with_the_catalogues_problem() {
    let mut config = config();
    config.data.catalogue = Catalogue::Rucio;
    let mut job = job(1);
    job.inputs = vec![input_file("in")];
    let mut site = site();
    site.storages.clear();
    let mut bench = Bench::asking(config, site);
    bench.accept(job);
    bench.answer(1);
    bench.words();
    bench.job(JobInput::WorkDirReady(Ok(())));
    bench.words();
    bench.job(JobInput::ReplicasFound(problem(
        ErrorCode::RucioListReplicasFailed,
    )));
    let update = bench.update();
    assert_eq!(
        code(&update),
        i64::from(ErrorCode::RucioListReplicasFailed.number())
    );
}

#[test]
fn inputs_that_do_not_fit_on_the_disk_fail_the_job_before_any_is_fetched() {
    let mut job = job(1);
    job.inputs = vec![input_file("in")];
    job.inputs[0].size = Some(ByteCount::from_gib(100_000));
    let mut bench = Bench::asking(config(), site());
    bench.accept(job);
    bench.words();
    bench.job(JobInput::WorkDirReady(Ok(())));
    assert!(!bench.words().contains(&"stage-in".to_owned()));
}

#[test]
fn a_bad_replica_is_told_with_the_final_update_although_the_job_succeeds() {
    let mut bench = Bench::running(job(1));
    let bad = BadFile {
        lfn: Lfn::new("in"),
        endpoint: EndpointName::new("EP"),
        found: "`root://ep//in` has checksum ad:00000001 instead of ad:00000002".into(),
    };
    let seen = TransfersSeen {
        moves: Vec::new(),
        bad: vec![bad],
    };
    bench.job(JobInput::TransfersSeen(Box::new(seen)));
    bench.payload_exits(PayloadExit::Code(0));
    bench.job(JobInput::LogSaved(stored()));
    let update = bench.update();
    assert_eq!((update.status, code(&update)), (JobStatus::Finished, 0));
    let diag = update.pilot_error.expect("a remark").diag;
    assert!(diag.contains("bad replica of `in` at `EP`"), "{diag}");
}
