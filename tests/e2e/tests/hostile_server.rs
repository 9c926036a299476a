//! What servers and what stands before them can do to a pilot: it gives a coded error or goes on.
//!
//! Each case is a real pilot. It must never panic, hang, or write where it may not, and no job
//! that it took may stay without its last word.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use ailurus_e2e::{lone_pilot::Stage, with_each};
use ailurus_testkit::{
    http::Answer,
    panda::{Call, Misdeed, PandaSettings, Speaks, Update, sample},
    stand_in::HttpStandIn,
};
use serde_json::{Value, json};

const NOTHING: &str = "#!/bin/sh\nexit 0\n";
/// Nobody waits longer for a silent server in these tests.
const PATIENCE: [&str; 2] = ["--request-timeout", "3s"];
const NO_FAULTS: Vec<String> = Vec::new();

/// Everything that can happen to one call.
fn misdeeds() -> Vec<Misdeed> {
    vec![
        Misdeed::HangUp,
        Misdeed::HangUpAfterActing,
        Misdeed::Status(400),
        Misdeed::Status(500),
        Misdeed::Status(503),
        Misdeed::Html,
        Misdeed::Empty,
        Misdeed::Truncated,
        Misdeed::TooShort,
        Misdeed::TooLong,
        Misdeed::Drip(Duration::from_millis(1)),
        Misdeed::Drip(Duration::from_millis(200)),
        Misdeed::Silence,
        Misdeed::Bomb,
        Misdeed::Noise,
        Misdeed::StatusCode(10),
        Misdeed::StatusCode(30),
    ]
}

/// Answers with every value of a wrong type, and some that are only odd.
fn odd_answers() -> Vec<Misdeed> {
    let deep = "[".repeat(100_000);
    let odd = [
        "null",
        "true",
        "17",
        "\"tobekilled\"",
        "[]",
        "{}",
        "[{}]",
        "{\"success\": true}",
        "{\"success\": \"yes\", \"message\": 5, \"data\": []}",
        "{\"success\": true, \"message\": null, \"data\": \"x\"}",
        "{\"success\": true, \"message\": \"\", \"data\": {\"StatusCode\": \"many\"}}",
        "{\"success\": true, \"message\": \"\", \"data\": {\"StatusCode\": 1e300}}",
        "{\"success\": true, \"message\": \"\", \"data\": {\"StatusCode\": 0, \"jobs\": {}}}",
        "{\"success\": true, \"message\": \"\", \"data\": {\"StatusCode\": 0, \"jobs\": [1, null]}}",
        "{\"success\": true, \"message\": \"\", \"data\": {\"StatusCode\": 0, \"command\": 5}}",
        "{\"success\": true, \"message\": \"\", \"data\": {\"StatusCode\": 0, \"command\": [[]]}}",
        "{\"success\": false, \"message\": {\"no\": \"text\"}, \"data\": null}",
        "StatusCode=0&StatusCode=20",
        "\u{0}\u{0}\u{0}",
        deep.as_str(),
    ];
    odd.map(|body| Misdeed::Body(body.to_owned())).into()
}

fn stage() -> Stage {
    Stage::new().unwrap().with_options(&PATIENCE)
}

#[test]
fn a_bad_answer_to_a_job_request_costs_no_more_than_a_job() {
    let cases = [misdeeds(), odd_answers()].concat();
    with_each(&cases, |misdeed| {
        let stage = stage().with_options(&["-v", "9"]);
        // The first may be lost with its answer; who asks again gets the second.
        stage.panda.offer(stage.job(1001, NOTHING));
        stage.panda.offer(stage.job(1002, NOTHING));
        stage.panda.misbehave(Call::AcquireJobs, [misdeed.clone()]);
        stage.run_soundly().unwrap();
        let ends = [1001, 1002].map(|panda_id| stage.panda.end_of(panda_id));
        let is_finished = ends.iter().flatten().any(|end| end.status == "finished");
        assert!(is_finished, "{misdeed:?}: {ends:?}");
        assert_eq!(stage.panda.violations(), NO_FAULTS, "{misdeed:?}");
    });
}

#[test]
fn a_bad_answer_to_an_update_costs_no_job_and_no_state() {
    let mut cases = Vec::new();
    for misdeed in [misdeeds(), odd_answers()].concat() {
        // The first update, the second, and the last.
        for honest in 0..3 {
            let mut script = vec![Misdeed::Honest; honest];
            script.push(misdeed.clone());
            cases.push(script);
        }
    }
    with_each(&cases, |script| {
        let stage = stage();
        stage.panda.offer(stage.job(1001, NOTHING));
        stage.panda.misbehave(Call::UpdateJob, script.clone());
        let ended = stage.run_soundly().unwrap();
        let end = stage.end_of(1001).unwrap();
        assert_eq!(end.status, "finished", "{script:?}: {}", ended.log);
        assert!(end.report()["log.1001.tgz"].is_object(), "{script:?}");
        assert_eq!(stage.panda.violations(), NO_FAULTS, "{script:?}");
        assert_eq!(ended.code(), 0, "{script:?}: {}", ended.log);
    });
}

#[test]
fn the_legacy_dialect_is_as_robust() {
    let cases = [misdeeds(), odd_answers()].concat();
    with_each(&cases, |misdeed| {
        let stage = Stage::around(PandaSettings {
            speaks: Speaks::LegacyOnly,
            ..PandaSettings::default()
        });
        let stage = stage
            .unwrap()
            .with_options(&PATIENCE)
            .with_options(&["-v", "9"]);
        stage.panda.offer(stage.job(1001, NOTHING));
        stage.panda.offer(stage.job(1002, NOTHING));
        stage.panda.misbehave(Call::AcquireJobs, [misdeed.clone()]);
        stage
            .panda
            .misbehave(Call::UpdateJob, [Misdeed::Honest, misdeed.clone()]);
        stage.run_soundly().unwrap();
        let ends = [1001, 1002].map(|panda_id| stage.panda.end_of(panda_id));
        // A form that is cut is still a form: half a job is refused with a code.
        let has_end = |end: &Update| end.status == "finished" || end.pilot_error_code() == 1302;
        assert!(ends.iter().flatten().any(has_end), "{misdeed:?}: {ends:?}");
        assert_eq!(stage.panda.violations(), NO_FAULTS, "{misdeed:?}");
    });
}

#[test]
fn a_server_that_never_answers_a_job_request_well_ends_the_pilot_with_a_code() {
    let cases = [
        Misdeed::HangUp,
        Misdeed::Status(503),
        Misdeed::Html,
        Misdeed::Empty,
        Misdeed::Silence,
        Misdeed::StatusCode(30),
        Misdeed::Body("[]".into()),
    ];
    with_each(&cases, |misdeed| {
        let stage = stage().with_options(&["-x", "3", "-v", "9"]);
        stage.panda.always(Call::AcquireJobs, misdeed.clone());
        let ended = stage.run_soundly().unwrap();
        assert_eq!(ended.code(), 79, "{misdeed:?}: {}", ended.log);
        assert!(ended.log.contains("shell exit code=79"), "{}", ended.log);
    });
}

#[test]
fn what_becomes_of_worker_reports_changes_nothing() {
    with_each(&misdeeds(), |misdeed| {
        let stage =
            stage().with_environment(&[("HARVESTER_ID", "h1"), ("HARVESTER_WORKER_ID", "42")]);
        stage.panda.offer(stage.job(1001, NOTHING));
        stage.panda.always(Call::WorkerStatus, misdeed.clone());
        let ended = stage.run_soundly().unwrap();
        assert_eq!(ended.code(), 0, "{misdeed:?}: {}", ended.log);
        assert_eq!(stage.end_of(1001).unwrap().status, "finished");
    });
}

#[test]
fn bad_queue_and_storage_data_are_fetched_again() {
    let is_data = |misdeed: &Misdeed| !matches!(misdeed, Misdeed::Body(_));
    let mut cases = Vec::new();
    for misdeed in misdeeds().into_iter().filter(is_data) {
        for path in ["/queue.json", "/storage.json"] {
            cases.push((path, misdeed.clone()));
        }
    }
    with_each(&cases, |(path, misdeed)| {
        let stage = stage();
        stage.panda.offer(stage.job(1001, NOTHING));
        stage.panda.misbehave_at(path, [misdeed.clone()]);
        let ended = stage.run_soundly().unwrap();
        let end = stage.panda.end_of(1001);
        let is_finished = end.is_some_and(|end| end.status == "finished");
        assert!(is_finished, "{path} {misdeed:?}: {}", ended.log);
        assert_eq!(stage.panda.violations(), NO_FAULTS, "{path} {misdeed:?}");
    });
}

#[test]
fn queue_data_that_never_come_end_the_pilot_with_their_code() {
    let cases = [Misdeed::Html, Misdeed::Status(404), Misdeed::Silence];
    with_each(&cases, |misdeed| {
        let stage = stage();
        stage.panda.always_at("/queue.json", misdeed.clone());
        let ended = stage.run_soundly().unwrap();
        assert_eq!(ended.code(), 71, "{misdeed:?}: {}", ended.log);
    });
}

/// Values that no field of queue data should have; some are good for some fields.
fn odd_values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(18_446_744_073_709_551_615_u64),
        json!(""),
        json!("../../x"),
        json!("$(touch pwned); `touch pwned`"),
        json!("a\u{0}b"),
        json!([]),
        json!([1, null, "x", {}]),
        json!({}),
        json!({"a": {"b": [1]}}),
    ]
}

/// Returns each field of an object with each odd value.
fn with_odd_values(object: &Value) -> Vec<(&str, Value)> {
    let fields = object.as_object().unwrap().keys();
    let with_values = |field| {
        odd_values()
            .into_iter()
            .map(move |value| (String::as_str(field), value))
    };
    fields.flat_map(with_values).collect()
}

/// Runs the pilot: it leaves with a code, or the job has an end; no job is taken without one.
fn ends_with_a_code(stage: &Stage, case: &str) {
    let ended = stage.run_soundly().unwrap();
    let end = stage.panda.end_of(1001);
    let has_code = ended.code() > 2 || end.as_ref().is_some_and(|end| end.is_final());
    assert!(has_code, "{case}: {}", ended.log);
    assert_eq!(stage.panda.jobs_left() == 0, end.is_some(), "{case}");
}

#[test]
fn a_wrong_type_in_any_field_of_queue_data_is_a_code_or_a_default() {
    let queue = sample::queue();
    let cases = with_odd_values(&queue);
    with_each(&cases, |(field, value)| {
        let stage = stage();
        stage.set_queue(&[(field, value.clone())]);
        stage.panda.offer(stage.job(1001, NOTHING));
        ends_with_a_code(&stage, &format!("{field} = {value}"));
    });
}

#[test]
fn a_wrong_type_in_any_field_of_storage_data_is_a_code_or_a_default() {
    let storage = sample::storages("/");
    let cases = with_odd_values(&storage[sample::ENDPOINT]);
    with_each(&cases, |(field, value)| {
        let stage = stage();
        let mut storage = sample::storages(&format!("{}/", stage.path("store").display()));
        storage[sample::ENDPOINT][*field] = value.clone();
        stage.panda.serve("/storage.json", storage.to_string());
        stage.panda.offer(stage.job(1001, NOTHING));
        ends_with_a_code(&stage, &format!("{field} = {value}"));
    });
}

#[test]
fn a_script_that_comes_badly_ends_its_job_with_a_code() {
    with_each(&misdeeds(), |misdeed| {
        let stage = stage();
        stage.panda.offer(stage.job(1001, NOTHING));
        stage
            .panda
            .misbehave_at("/trf/job1001.sh", [misdeed.clone()]);
        let ended = stage.run_soundly().unwrap();
        let end = stage.end_of(1001).unwrap();
        assert_eq!(stage.panda.violations(), NO_FAULTS, "{misdeed:?}");
        let codes = [0, 1149, 1305];
        assert!(
            codes.contains(&end.pilot_error_code()),
            "{misdeed:?}: {}",
            ended.log
        );
    });
}

/// Nothing that is meant for the server, least of all the token, goes anywhere else.
#[test]
fn redirects_to_elsewhere_get_neither_token_nor_message() {
    for call in [Call::AcquireJobs, Call::UpdateJob, Call::WorkerStatus] {
        let elsewhere = HttpStandIn::start(|_| Some(Answer::new(200, "{}"))).unwrap();
        let stage = stage()
            .with_options(&["-v", "9", "-x", "9"])
            .with_environment(&[
                ("HARVESTER_ID", "h1"),
                ("HARVESTER_WORKER_ID", "42"),
                ("PANDA_AUTH_TOKEN", "token"),
                ("PANDA_AUTH_ORIGIN", "spd.pilot"),
            ]);
        std::fs::write(stage.path("home/token"), "top-secret").unwrap();
        stage.panda.offer(stage.job(1001, NOTHING));
        let url = format!("{}/elsewhere", elsewhere.url());
        stage.panda.misbehave(call, [Misdeed::RedirectTo(url)]);
        let ended = stage.run().unwrap();
        assert!(!ended.log.contains("panicked"), "{}", ended.log);
        assert_eq!(stage.end_of(1001).unwrap().status, "finished", "{call:?}");
        for request in elsewhere.requests() {
            assert!(request.body.is_empty(), "{call:?}: {}", request.head);
            assert!(!request.head.contains("top-secret"), "{}", request.head);
        }
    }
}
