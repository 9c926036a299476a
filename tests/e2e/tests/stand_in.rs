//! The real pilot against the stand-in PanDA server, which checks every call by the reference.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, sync::Arc, time::Duration};

use ailurus_e2e::{LIMIT, lone_pilot::Stage};
use ailurus_testkit::{
    panda::{Call, Dialect, Misdeed, PandaSettings, Speaks, Token, form_text, sample},
    tls::{Authority, ClientProof},
    wait::wait_for,
};
use serde_json::{Value, json};

const COPY: &str = "#!/bin/sh\nset -e\nsleep 0.3\ncat in.dat > out.dat\n\
    echo '{\"exitCode\": 0, \"exitMsg\": \"OK\", \
    \"resource\": {\"transform\": {\"processedEvents\": 7}}}' > jobReport.json\n";
const NOTHING: &str = "#!/bin/sh\nexit 0\n";
/// Runs until its test removes the file, so that updates come meanwhile.
const WAIT: &str = "#!/bin/sh\nwhile [ -e ../../../hold ]; do sleep 0.05; done\n";
const NO_FAULTS: Vec<String> = Vec::new();

const WORKER: [(&str, &str); 2] = [("HARVESTER_ID", "h1"), ("HARVESTER_WORKER_ID", "42")];

fn speaking(speaks: Speaks) -> Stage {
    Stage::around(PandaSettings {
        speaks,
        ..PandaSettings::default()
    })
    .unwrap()
}

fn copy_job(stage: &Stage, panda_id: u64) -> Value {
    let mut job = stage.job(panda_id, COPY);
    stage.add_input(&mut job, "in.dat", b"0123456789").unwrap();
    sample::add_outputs(&mut job, &["out.dat"]);
    job
}

#[test]
fn a_whole_job_is_told_as_the_reference_says_in_each_dialect() {
    for (speaks, dialect) in [
        (Speaks::Both, Dialect::V1),
        (Speaks::V1Only, Dialect::V1),
        (Speaks::LegacyOnly, Dialect::Legacy),
    ] {
        let stage = speaking(speaks).with_environment(&WORKER);
        let stage = stage.with_options(&["--heartbeat", "100ms", "--sample-interval", "50ms"]);
        stage.panda.offer(copy_job(&stage, 1001));
        let ended = stage.run_soundly().unwrap();
        assert_eq!(ended.code(), 0, "{}", ended.log);
        assert_eq!(stage.panda.violations(), NO_FAULTS, "{speaks:?}");
        let mut states = stage.panda.states(1001);
        states.dedup();
        assert_eq!(states, ["starting", "running", "finished"], "{speaks:?}");
        let end = stage.end_of(1001).unwrap();
        assert_eq!(end.dialect, dialect);
        assert_eq!(end.whole("n_events", "nEvents"), Some(7));
        let report = end.report();
        assert_eq!(report["out.dat"]["fsize"], 10);
        assert_eq!(report["out.dat"]["adler32"], "0aff020e");
        assert_eq!(stage.panda.count(Call::WorkerStatus, dialect), 2);
        assert!(stage.panda.count(Call::UpdateJob, dialect) >= 4);
    }
}

#[test]
fn a_failed_job_is_told_as_the_reference_says_in_each_dialect() {
    for speaks in [Speaks::V1Only, Speaks::LegacyOnly] {
        let stage = speaking(speaks);
        stage.panda.offer(stage.job(1001, "#!/bin/sh\nexit 65\n"));
        stage.run_soundly().unwrap();
        assert_eq!(stage.panda.violations(), NO_FAULTS, "{speaks:?}");
        let end = stage.end_of(1001).unwrap();
        assert_eq!(end.status, "failed");
        assert_eq!(end.pilot_error_code(), 1305);
        assert_eq!(end.whole("trans_exit_code", "transExitCode"), Some(65));
        assert!(
            end.report()["log.1001.tgz"].is_object(),
            "the log is stored"
        );
    }
}

/// A stage with many jobs, and a pilot that runs four at a time.
fn crowded(speaks: Speaks) -> (Stage, std::ops::Range<u64>) {
    let stage = speaking(speaks).with_environment(&WORKER);
    stage.set_queue(&[("timefloor", json!(600))]);
    let ids = 1001..1017;
    for panda_id in ids.clone() {
        stage.panda.offer(copy_job(&stage, panda_id));
    }
    let slots = [
        "--slots",
        "4",
        "--slots-cores",
        "4",
        "--allow-same-user",
        "False",
    ];
    (stage.with_options(&slots), ids)
}

#[test]
fn jobs_side_by_side_are_told_as_the_reference_says_in_each_dialect() {
    for speaks in [Speaks::V1Only, Speaks::LegacyOnly] {
        let (stage, ids) = crowded(speaks);
        let ended = stage.run_soundly().unwrap();
        assert_eq!(ended.code(), 0, "{}", ended.log);
        assert_eq!(stage.panda.violations(), NO_FAULTS, "{speaks:?}");
        for panda_id in ids {
            let mut states = stage.panda.states(panda_id);
            states.dedup();
            assert_eq!(states.first().map(String::as_str), Some("starting"));
            assert_eq!(states.last().map(String::as_str), Some("finished"));
            let report = stage.end_of(panda_id).unwrap().report();
            assert_eq!(report["out.dat"]["fsize"], 10, "{panda_id}");
        }
    }
}

#[test]
fn updates_that_travel_together_are_as_safe_as_alone() {
    for misdeed in [
        Misdeed::HangUp,
        Misdeed::HangUpAfterActing,
        Misdeed::Status(404),
        Misdeed::Status(500),
        Misdeed::Truncated,
        Misdeed::Html,
        Misdeed::StatusCode(30),
        Misdeed::Body("{\"success\": true, \"message\": \"\", \"data\": []}".into()),
        Misdeed::Body("{\"success\": false, \"message\": \"no\", \"data\": []}".into()),
    ] {
        let (stage, ids) = crowded(Speaks::V1Only);
        stage.panda.misbehave(
            Call::UpdateJobsBulk,
            [Misdeed::Honest, misdeed.clone(), misdeed.clone()],
        );
        let ended = stage.run_soundly().unwrap();
        assert_eq!(ended.code(), 0, "{misdeed:?}: {}", ended.log);
        assert_eq!(stage.panda.violations(), NO_FAULTS, "{misdeed:?}");
        for panda_id in ids {
            let end = stage.end_of(panda_id).unwrap();
            assert_eq!(end.status, "finished", "{misdeed:?}");
        }
    }
}

#[test]
fn the_dialect_is_learnt_once() {
    let stage = speaking(Speaks::LegacyOnly).with_environment(&WORKER);
    stage.set_queue(&[("timefloor", json!(600))]);
    for panda_id in [1001, 1002, 1003] {
        stage.panda.offer(stage.job(panda_id, NOTHING));
    }
    stage.run_soundly().unwrap();
    assert_eq!(stage.panda.violations(), NO_FAULTS);
    for panda_id in [1001, 1002, 1003] {
        assert_eq!(stage.end_of(panda_id).unwrap().status, "finished");
    }
    let v1 = stage.panda.heard().into_iter();
    let v1 = v1.filter(|it| match it.call {
        // The node's map has no legacy form.
        Some((Call::WorkerNode | Call::WorkerNodeGpu, _)) => false,
        Some((_, dialect)) => dialect == Dialect::V1,
        None => false,
    });
    let probes: Vec<String> = v1.map(|it| it.target).collect();
    // The worker's report and the first request may both ask before either has an answer.
    assert!(matches!(probes.len(), 1 | 2), "{probes:?}");
}

#[test]
fn a_job_in_a_file_is_told_like_any_other() {
    let stage = Stage::new().unwrap();
    let mut job = stage.job(1001, NOTHING);
    stage.panda.know(&job);
    job["StatusCode"] = json!(0);
    fs::write(stage.path("launch/pandaJobData.out"), form_text(&job)).unwrap();
    stage.run_soundly().unwrap();
    assert_eq!(stage.panda.violations(), NO_FAULTS);
    assert_eq!(stage.end_of(1001).unwrap().status, "finished");
}

/// A stage behind HTTPS, whose pilot believes the server's authority.
fn secure(authority: &Authority, proof: ClientProof, token: Option<Token>) -> Stage {
    let stage = Stage::around(PandaSettings {
        door: Some(authority.door(&["127.0.0.1"], proof).unwrap()),
        token,
        ..PandaSettings::default()
    });
    let stage = stage.unwrap();
    // Below the place of the storage, where tests may put what they like.
    let authorities = authority.write_directory(&stage.path("store/ca")).unwrap();
    let authorities = authorities.display().to_string();
    stage.with_options(&["--capath", &authorities])
}

fn put(stage: &Stage, name: &str, text: &str) -> String {
    let path = stage.path("store").join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_pilot_proves_itself_by_certificate_or_by_grid_proxy() {
    let authority = Authority::new().unwrap();
    for pem in [
        authority.client("robot").unwrap(),
        authority.proxy("robot").unwrap(),
    ] {
        let stage = secure(&authority, ClientProof::Demanded, None);
        let proxy = put(&stage, "proxy.pem", &pem);
        let stage = stage.with_environment(&[("X509_USER_PROXY", &proxy)]);
        stage.panda.offer(copy_job(&stage, 1001));
        let ended = stage.run_soundly().unwrap();
        assert_eq!(stage.panda.violations(), NO_FAULTS);
        let states = stage.panda.states(1001);
        assert_eq!(
            states.last().map(String::as_str),
            Some("finished"),
            "{}",
            ended.log
        );
        let calls = stage.panda.heard();
        assert!(calls.iter().all(|it| it.certificate.is_some()));
    }
}

#[test]
fn a_pilot_proves_itself_by_token() {
    let authority = Authority::new().unwrap();
    let token = Token {
        token: "top-secret-token".into(),
        origin: "spd.pilot".into(),
    };
    let stage = secure(&authority, ClientProof::NotAsked, Some(token));
    let file = put(&stage, "token", "top-secret-token\n");
    let stage = stage.with_environment(&[
        ("PANDA_AUTH_TOKEN", &file),
        ("PANDA_AUTH_ORIGIN", "spd.pilot"),
    ]);
    let script = "#!/bin/sh\nenv; cat /proc/*/cmdline 2>/dev/null\nexit 9\n";
    stage.panda.offer(stage.job(1001, script));
    let ended = stage.run_soundly().unwrap();
    assert_eq!(stage.panda.violations(), NO_FAULTS);
    let end = stage.end_of(1001).unwrap();
    assert_eq!(end.status, "failed");
    let log = end.report()["log.1001.tgz"]["surl"]
        .as_str()
        .unwrap()
        .to_owned();
    let unpacked = std::process::Command::new("tar")
        .args(["xzOf", log.trim_start_matches("file://")])
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&unpacked.stdout);
    assert!(seen.contains("PANDAID"), "{seen}");
    assert!(
        !seen.contains("top-secret"),
        "neither payload nor log sees it"
    );
    assert!(!ended.log.contains("top-secret"));
}

#[test]
fn a_certificate_that_is_replaced_is_used_at_once() {
    let authority = Authority::new().unwrap();
    let stage = secure(&authority, ClientProof::Demanded, None);
    let proxy = put(&stage, "proxy.pem", &authority.proxy("first").unwrap());
    let stage = stage
        .with_environment(&[("X509_USER_PROXY", &proxy)])
        .with_options(&["--heartbeat", "100ms"]);
    fs::write(stage.path("hold"), "").unwrap();
    stage.panda.offer(stage.job(1001, WAIT));
    let pilot = stage.start().unwrap();
    wait_for_updates(&stage, 2);
    let next = put(&stage, "next.pem", &authority.proxy("second").unwrap());
    fs::rename(next, &proxy).unwrap();
    wait_for("the new certificate", LIMIT, || {
        let shown: BTreeSet<_> = stage
            .panda
            .heard()
            .into_iter()
            .map(|it| it.certificate)
            .collect();
        Ok((shown.len() == 2).then_some(()))
    })
    .unwrap();
    fs::remove_file(stage.path("hold")).unwrap();
    pilot.end().unwrap();
    assert_eq!(stage.panda.violations(), NO_FAULTS);
    assert_eq!(stage.end_of(1001).unwrap().status, "finished");
}

#[test]
fn a_token_is_renewed_and_the_new_one_is_used() {
    let stage = Stage::around(PandaSettings {
        token: Some(Token {
            token: "old-token".into(),
            origin: "spd.pilot".into(),
        }),
        ..PandaSettings::default()
    });
    let stage = stage.unwrap();
    stage.panda.renew_token_to("new-token");
    let (token, key) = (
        put(&stage, "token", "old-token"),
        put(&stage, "key", "the-key"),
    );
    let stage = stage
        .with_options(&["--heartbeat", "100ms"])
        .with_environment(&[
            ("PANDA_AUTH_TOKEN", &token),
            ("PANDA_AUTH_ORIGIN", "spd.pilot"),
            ("PANDA_AUTH_TOKEN_KEY", &key),
        ]);
    fs::write(stage.path("hold"), "").unwrap();
    stage.panda.offer(stage.job(1001, WAIT));
    let pilot = stage.start().unwrap();
    wait_for("the new token", LIMIT, || {
        let new = Some("Bearer new-token".to_owned());
        let mut heard = stage.panda.heard().into_iter();
        let is_new = heard
            .any(|it| it.authorization == new && matches!(it.call, Some((Call::UpdateJob, _))));
        Ok(is_new.then_some(()))
    })
    .unwrap();
    fs::remove_file(stage.path("hold")).unwrap();
    let ended = pilot.end().unwrap();
    assert_eq!(stage.panda.violations(), NO_FAULTS);
    assert_eq!(stage.end_of(1001).unwrap().status, "finished");
    let renewals = stage.panda.heard().into_iter();
    let renewals: Vec<Value> = renewals
        .filter(|it| matches!(it.call, Some((Call::AccessToken, _))))
        .map(|it| it.fields)
        .collect();
    let wanted = json!({"client_name": "pilot_server", "token_key": "the-key"});
    assert_eq!(renewals, [wanted]);
    for secret in ["old-token", "new-token", "the-key"] {
        assert!(!ended.log.contains(secret), "{}", ended.log);
    }
}

#[test]
fn a_server_of_another_authority_gets_nothing() {
    let ours = Authority::new().unwrap();
    let theirs = Authority::new().unwrap();
    let other_name = ours
        .door(&["panda.example.org"], ClientProof::NotAsked)
        .unwrap();
    let stranger = theirs.door(&["127.0.0.1"], ClientProof::NotAsked).unwrap();
    for door in [other_name, stranger] {
        let stage = Stage::around(PandaSettings {
            door: Some(Arc::clone(&door)),
            ..PandaSettings::default()
        });
        let stage = stage.unwrap();
        let authorities = ours.write_directory(&stage.path("store/ca")).unwrap();
        let token = put(&stage, "token", "top-secret-token");
        let queue = put(&stage, "queue.json", &sample::queue().to_string());
        let storage = put(
            &stage,
            "storage.json",
            &sample::storages("/nowhere/").to_string(),
        );
        let stage = stage
            .with_options(&["--capath", &authorities.display().to_string()])
            .with_options(&["--queuedata-url", &queue, "--storagedata-url", &storage])
            .with_options(&["-x", "2"])
            .with_environment(&[
                ("PANDA_AUTH_TOKEN", &token),
                ("PANDA_AUTH_ORIGIN", "spd.pilot"),
            ]);
        stage.panda.offer(stage.job(1001, NOTHING));
        let ended = stage.run_soundly().unwrap();
        assert!(stage.panda.heard().is_empty(), "not even the token is told");
        assert_ne!(ended.code(), 0, "{}", ended.log);
        assert!(ended.log.contains("ertificate"), "{}", ended.log);
    }
}

/// Waits until the server has had so many updates of a job.
fn wait_for_updates(stage: &Stage, least: usize) {
    wait_for("updates", LIMIT, || {
        Ok((stage.panda.updates().len() >= least).then_some(()))
    })
    .unwrap();
}

fn wait_for_log(stage: &Stage, is_there: impl Fn(&str) -> bool) {
    wait_for("a line of the log", LIMIT, || {
        let log = fs::read_to_string(stage.path("pilot.out"))?;
        Ok(is_there(&log).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_server_that_is_away_for_a_while_costs_no_job() {
    let mut stage = Stage::new().unwrap();
    stage.options = ["--heartbeat", "100ms"].map(str::to_owned).into();
    let hold = stage.path("hold");
    fs::write(&hold, "").unwrap();
    stage.panda.offer(stage.job(1001, WAIT));
    let pilot = stage.start().unwrap();
    wait_for_updates(&stage, 3);
    stage.panda.go_away();
    wait_for_log(&stage, |log| log.contains(" failed: "));
    // The payload ends while nobody listens, and its pilot stays.
    fs::remove_file(&hold).unwrap();
    wait_for_log(&stage, |log| {
        let last_word = log.split_once("of job 1001: finished");
        last_word.is_some_and(|(_, after)| after.contains(" failed: "))
    });
    stage.panda.come_back().unwrap();
    let ended = pilot.end().unwrap();
    stage.check(&ended).unwrap();
    assert_eq!(stage.panda.violations(), NO_FAULTS);
    let mut states = stage.panda.states(1001);
    states.dedup();
    assert_eq!(states, ["starting", "running", "finished"]);
    assert!(stage.end_of(1001).unwrap().report()["log.1001.tgz"].is_object());
}

#[test]
fn commands_of_the_server_are_obeyed() {
    // (command, state and code of the last update that is taken, none if there must be none)
    let cases: [(&str, Option<(&str, i64)>); 4] = [
        ("tobekilled", Some(("failed", 1144))),
        ("softkill", Some(("failed", 1144))),
        ("badattemptnr", None),
        ("alreadydone", None),
    ];
    for (command, end) in cases {
        for speaks in [Speaks::V1Only, Speaks::LegacyOnly] {
            let stage = speaking(speaks).with_options(&["--heartbeat", "100ms"]);
            fs::write(stage.path("hold"), "").unwrap();
            stage.panda.offer(stage.job(1001, WAIT));
            let script = [
                Misdeed::Honest,
                Misdeed::Honest,
                Misdeed::Command(command.into()),
            ];
            stage.panda.misbehave(Call::UpdateJob, script);
            let ended = stage.run().unwrap();
            assert!(!ended.log.contains("panicked"), "{}", ended.log);
            assert_eq!(stage.panda.violations(), NO_FAULTS, "{command}");
            let last = stage.panda.end_of(1001);
            let last = last.map(|it| (it.status.clone(), it.pilot_error_code()));
            let wanted = end.map(|(status, code)| (status.to_owned(), code));
            assert_eq!(last, wanted, "{command} in {speaks:?}: {}", ended.log);
        }
    }
}

#[test]
fn a_command_in_answer_to_the_last_update_changes_nothing() {
    for command in [
        "tobekilled",
        "badattemptnr",
        "alreadydone",
        "debug",
        "nonsense; rm -rf /",
    ] {
        let stage = Stage::new().unwrap();
        stage.panda.always(Call::UpdateJob, Misdeed::Honest);
        stage.panda.offer(stage.job(1001, NOTHING));
        stage.panda.misbehave(
            Call::UpdateJob,
            [
                Misdeed::Honest,
                Misdeed::Honest,
                Misdeed::Command(command.into()),
            ],
        );
        stage.run_soundly().unwrap();
        assert_eq!(stage.panda.violations(), NO_FAULTS, "{command}");
        assert_eq!(stage.end_of(1001).unwrap().status, "finished", "{command}");
    }
}

#[test]
fn a_worker_is_told_of_even_while_the_server_is_slow() {
    let stage = Stage::new().unwrap().with_environment(&WORKER);
    let slow = Misdeed::Drip(Duration::from_millis(2));
    stage.panda.always(Call::WorkerStatus, slow);
    stage.panda.offer(stage.job(1001, NOTHING));
    stage.run_soundly().unwrap();
    assert_eq!(stage.panda.violations(), NO_FAULTS);
    assert_eq!(stage.panda.count(Call::WorkerStatus, Dialect::V1), 2);
}
