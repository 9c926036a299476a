//! Jobs that no honest server would send, through the real pilot.
//!
//! Each gets its last word, with a code if it cannot be run; no file appears outside the places
//! where the pilot may write; and the pilot goes on with the next job.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, process::Command};

use ailurus_e2e::lone_pilot::Stage;
use ailurus_testkit::panda::{Update, sample};
use serde_json::{Value, json};

const COPY: &str = "#!/bin/sh\ncat in.dat > out.dat\n";
const NOTHING: &str = "#!/bin/sh\nexit 0\n";
const NO_FAULTS: Vec<String> = Vec::new();
/// More starts of a pilot than any test needs, each with further jobs of the same list.
const PILOTS_MAX: usize = 400;
/// The longest argument that Linux passes to a program, in bytes.
const ARGUMENT_MAX: usize = 128 * 1024;

/// A stage whose pilot takes one job after the other.
fn stage() -> Stage {
    let stage = Stage::new().unwrap();
    stage.set_queue(&[("timefloor", json!(600))]);
    stage.with_options(&["-v", "3", "-x", "1000000", "--allow-same-user", "False"])
}

/// Runs pilots until every job has been given out. A pilot may leave early: after a failed
/// stage-in, or because the node seems to ruin jobs.
fn run_all(stage: &Stage) {
    for _ in 0..PILOTS_MAX {
        let before = stage.panda.jobs_left();
        stage.run_soundly().unwrap();
        match stage.panda.jobs_left() {
            0 => return,
            after => assert!(after < before, "a pilot took no job"),
        }
    }
    panic!("{} jobs are left", stage.panda.jobs_left());
}

/// Runs one job of each kind, and returns their last words.
fn ends_of(stage: &Stage, jobs: Vec<Value>) -> Vec<Update> {
    let ids: Vec<u64> = jobs
        .iter()
        .map(|job| job["PandaID"].as_u64().unwrap())
        .collect();
    for job in jobs {
        stage.panda.offer(job);
    }
    run_all(stage);
    assert_eq!(stage.panda.violations(), NO_FAULTS);
    ids.into_iter()
        .map(|id| stage.end_of(id).unwrap())
        .collect()
}

/// A job with an input and an output.
fn copy_job(stage: &Stage, panda_id: u64) -> Value {
    let mut job = stage.job(panda_id, COPY);
    stage.add_input(&mut job, "in.dat", b"0123456789").unwrap();
    sample::add_outputs(&mut job, &["out.dat"]);
    job
}

fn odd_values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(3.5),
        json!(1e300),
        json!(18_446_744_073_709_551_615_u64),
        json!(""),
        json!("NULL"),
        json!(" "),
        json!("a\u{0}b"),
        json!("../../../trap/x"),
        json!("/"),
        json!("$(touch pwned); `touch pwned` | touch pwned &"),
        json!("-rf"),
        json!(",,,"),
        json!("\u{202e}\u{1f43c}"),
        json!("x".repeat(100_000)),
        json!([]),
        json!([1, null, "x", {}]),
        json!({}),
        json!({"command": "true", "args": "; touch ../../pwned"}),
    ]
}

/// Offers a job for every odd value of every `step`th field, from one on.
fn offer_odd_fields(stage: &Stage, from: usize, step: usize) -> Vec<(u64, String)> {
    let mut sound = copy_job(stage, 1000);
    // Fields that only some jobs have.
    for name in [
        "jobName",
        "processingType",
        "container_name",
        "containerOptions",
        "preprocess",
        "postprocess",
        "coprocess",
        "allowNoOutput",
        "loopingCheck",
        "debug",
        "debug_command",
        "secrets",
        "pilotSecrets",
        "minRamCount",
        "maxDiskCount",
        "maxCpuCount",
        "currentPriority",
        "writeToFile",
        "altStageOut",
        "nucleus",
        "jobDefinitionID",
        "reqID",
    ] {
        sound[name] = json!("");
    }
    let mut offered = Vec::new();
    let fields: Vec<String> = sound.as_object().unwrap().keys().cloned().collect();
    let mine = fields.iter().enumerate().skip(from).step_by(step);
    for (field_nr, field) in mine.filter(|(_, field)| *field != "PandaID") {
        for (value_nr, value) in odd_values().into_iter().enumerate() {
            let panda_id = 10_000 + u64::try_from(100 * field_nr + value_nr).unwrap();
            let mut job = copy_job(stage, panda_id);
            job[field] = value.clone();
            let value = value.to_string().chars().take(60).collect::<String>();
            offered.push((panda_id, format!("{field} = {value}")));
            stage.panda.offer(job);
        }
    }
    offered
}

fn check_odd_fields(from: usize) {
    let stage = stage();
    let offered = offer_odd_fields(&stage, from, 4);
    run_all(&stage);
    let mut unfinished = Vec::new();
    for (panda_id, what) in &offered {
        match stage.panda.end_of(*panda_id) {
            Some(end) if end.status == "finished" || end.pilot_error_code() > 1000 => {}
            end => unfinished.push((what, end.map(|end| end.pilot_error_code()))),
        }
    }
    assert!(unfinished.is_empty(), "{unfinished:#?}");
    // The attempt is what this test makes odd.
    let mut violations = stage.panda.violations();
    violations.retain(|it| !it.contains("attempt"));
    assert_eq!(violations, NO_FAULTS);
    assert_no_file_named(&stage, "pwned");
}

/// Nothing that a shell would have made is anywhere, also not where the pilot may write.
fn assert_no_file_named(stage: &Stage, name: &str) {
    let found = Command::new("find")
        .arg(stage.path(""))
        .args(["-name", name])
        .output();
    assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "");
}

#[test]
fn a_wrong_value_in_any_field_ends_its_job_with_a_code_first_quarter() {
    check_odd_fields(0);
}

#[test]
fn a_wrong_value_in_any_field_ends_its_job_with_a_code_second_quarter() {
    check_odd_fields(1);
}

#[test]
fn a_wrong_value_in_any_field_ends_its_job_with_a_code_third_quarter() {
    check_odd_fields(2);
}

#[test]
fn a_wrong_value_in_any_field_ends_its_job_with_a_code_last_quarter() {
    check_odd_fields(3);
}

#[test]
fn what_is_no_job_at_all_is_passed_over() {
    let stage = stage();
    for value in odd_values() {
        let mut job = stage.job(1001, NOTHING);
        job["PandaID"] = value.clone();
        stage.panda.offer(job);
        stage.panda.offer(value);
    }
    stage.panda.offer(stage.job(1002, NOTHING));
    run_all(&stage);
    assert_eq!(stage.end_of(1002).unwrap().status, "finished");
}

/// Names with which a file would land elsewhere, or be an option or a command.
const NAMES: [&str; 16] = [
    "../x",
    "../../x",
    "../../../trap/x",
    "../../../../../../../../../../trap/x",
    "/trap/x",
    "a/../../../x",
    "a/b",
    ".",
    "..",
    "./x",
    "-rf",
    "a b",
    "a\nb",
    "a\u{0}b",
    "$(touch pwned)",
    "a;touch pwned;",
];

#[test]
fn names_of_outputs_and_logs_lead_nowhere_else() {
    let stage = stage();
    let mut jobs = Vec::new();
    for (nr, name) in (1..).zip(NAMES) {
        // The payload writes where the name says, as far as that is possible.
        let script = "#!/bin/sh\nfor f in x a/b \"a b\" ./-rf; do echo 1 > \"$f\"; done 2>&1\n";
        let mut job = stage.job(1000 + nr, script);
        sample::add_outputs(&mut job, &[name]);
        jobs.push(job);
        let mut job = stage.job(2000 + nr, NOTHING);
        for list in ["outFiles", "logFile"] {
            job[list] = json!(name);
        }
        jobs.push(job);
        for field in ["scopeLog", "realDatasets", "ddmEndPointOut", "logGUID"] {
            let mut job = stage.job(
                3000 + 10 * nr + u64::try_from(field.len()).unwrap() % 10,
                NOTHING,
            );
            job[field] = json!(name);
            jobs.push(job);
        }
    }
    let ends = ends_of(&stage, jobs);
    for end in &ends {
        assert!(
            end.status == "finished" || end.pilot_error_code() > 1000,
            "{end:?}"
        );
    }
    assert_no_file_named(&stage, "pwned");
    // What the storage has, it has below itself; and nothing has left it.
    assert!(!stage.path("x").exists() && !stage.path("trap/x").exists());
}

#[test]
fn files_of_others_are_not_given_away_as_outputs() {
    let stage = stage();
    let trap = stage.path("trap/file").display().to_string();
    let names = [
        "../../../trap/file",
        trap.as_str(),
        "../pilotlog.txt",
        "../../../home",
    ];
    let mut jobs = Vec::new();
    for (panda_id, name) in (1001..).step_by(2).zip(names) {
        let mut job = stage.job(panda_id, NOTHING);
        sample::add_outputs(&mut job, &[name]);
        jobs.push(job);
        let mut job = stage.job(panda_id + 1, NOTHING);
        for list in ["outFiles", "logFile"] {
            job[list] = json!(name);
        }
        jobs.push(job);
    }
    for end in ends_of(&stage, jobs) {
        assert_eq!(end.status, "failed", "{end:?}");
        let report = end.report();
        assert!(
            report.as_object().is_none_or(|files| files.len() <= 1),
            "{report}"
        );
    }
    let mut search = Command::new("grep");
    let found = search
        .args(["-rl", "untouched"])
        .arg(stage.path("store"))
        .output();
    let found = found.unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn names_of_inputs_lead_nowhere_else() {
    let stage = stage();
    fs::write(stage.path("store/secret"), "s").unwrap();
    let mut jobs = Vec::new();
    for (nr, name) in (1..).zip(NAMES.into_iter().chain(["../../../store/secret"])) {
        for (field, base) in [
            ("inFiles", 1000),
            ("scopeIn", 2000),
            ("ddmEndPointIn", 3000),
        ] {
            let mut job = copy_job(&stage, base + nr);
            job[field] = json!(name);
            job["checksum"] = json!("");
            job["fsize"] = json!("");
            jobs.push(job);
        }
    }
    for end in ends_of(&stage, jobs) {
        assert!(
            end.status == "finished" || end.pilot_error_code() > 1000,
            "{end:?}"
        );
    }
    assert_no_file_named(&stage, "pwned");
}

#[test]
fn scripts_come_only_from_where_they_may() {
    let stage = stage();
    let url = stage.panda.url();
    let transformations = [
        "file:///etc/passwd",
        "/bin/sh",
        "../../../../../bin/sh",
        "sh",
        "",
        "-c",
        "http://example.org/run.sh",
        "http://",
        "http://[::1",
        "javascript:alert(1)",
        &format!("{url}@example.org/run.sh"),
        &format!("{url}/trf/../../../../x"),
        &format!("{url}/trf/job.sh\u{0}"),
        &format!("{url}/trf/job.sh; touch pwned"),
        &format!("{url}/trf/$(touch pwned)"),
        &format!("{url}/trf/"),
        &format!("{url}/trf/{}", "x".repeat(5000)),
    ];
    let jobs = (1001..)
        .zip(transformations)
        .map(|(panda_id, transformation)| {
            let mut job = stage.job(panda_id, NOTHING);
            job["transformation"] = json!(transformation);
            job
        });
    let jobs = jobs.collect();
    for end in ends_of(&stage, jobs) {
        assert_eq!(end.status, "failed", "{end:?}");
        assert!(end.pilot_error_code() > 1000, "{end:?}");
    }
    assert_no_file_named(&stage, "pwned");
}

#[test]
fn parameters_reach_the_payload_whole_and_no_shell_sees_them() {
    let stage = stage();
    // Words as the payload gets them.
    let script = "#!/bin/sh\nfor word in \"$@\"; do printf '<%s>' \"$word\"; done > out.dat\n";
    let long = "y".repeat(ARGUMENT_MAX - 1);
    let many = "word ".repeat(100_000);
    let cases: [(String, String); 5] = [
        (
            "a 'b c' $HOME; touch pwned".into(),
            "<a><b c><$HOME;><touch><pwned>".into(),
        ),
        (
            "$(touch pwned) `touch pwned`".into(),
            "<$(touch><pwned)><`touch><pwned`>".into(),
        ),
        (
            "a | b && c > pwned".into(),
            "<a><|><b><&&><c><>><pwned>".into(),
        ),
        (long.clone(), format!("<{long}>")),
        (many, "<word>".repeat(100_000)),
    ];
    let jobs = (1001..).zip(&cases).map(|(panda_id, (parameters, _))| {
        let mut job = stage.job(panda_id, script);
        sample::add_outputs(&mut job, &["out.dat"]);
        job["outFiles"] = json!(format!("out.dat,log.{panda_id}.tgz"));
        job["scopeOut"] = json!(format!("user.a{panda_id}"));
        job["jobPars"] = json!(parameters);
        job
    });
    let jobs = jobs.collect();
    for (end, (_, wanted)) in ends_of(&stage, jobs).iter().zip(&cases) {
        assert_eq!(end.status, "finished", "{}", end.pilot_error_diag());
        let report = end.report();
        let surl = report["out.dat"]["surl"].as_str().unwrap();
        let words = fs::read_to_string(surl.trim_start_matches("file://")).unwrap();
        assert!(words == *wanted, "{:.200} is not {wanted:.200}", words);
    }
    assert_no_file_named(&stage, "pwned");
}

#[test]
fn parameters_that_no_program_can_get_end_their_job_with_a_code() {
    let stage = stage();
    let cases = [
        "z".repeat(1 << 20),
        "word ".repeat(2 << 20),
        "a\u{0}b".into(),
        "'unclosed".into(),
    ];
    let jobs = (1001..).zip(cases).map(|(panda_id, parameters)| {
        let mut job = stage.job(panda_id, NOTHING);
        job["jobPars"] = json!(parameters);
        job
    });
    let jobs = jobs.collect();
    for end in ends_of(&stage, jobs) {
        assert!(
            end.status == "finished" || end.pilot_error_code() > 1000,
            "{end:?}"
        );
    }
}

/// Parallel lists with one entry for each of many files.
fn with_many_inputs(job: &mut Value, count: usize) {
    let list = |part: &dyn Fn(usize) -> String| {
        Value::from((0..count).map(part).collect::<Vec<_>>().join(","))
    };
    job["inFiles"] = list(&|nr| format!("in{nr}.dat"));
    job["realDatasetsIn"] = list(&|_| "ds".into());
    job["GUID"] = list(&|nr| format!("G{nr}"));
    job["fsize"] = list(&|_| "10".into());
    job["checksum"] = list(&|_| "ad:0aff020e".into());
    job["scopeIn"] = list(&|_| sample::SCOPE.into());
    job["ddmEndPointIn"] = list(&|_| sample::ENDPOINT.into());
    job["prodDBlockToken"] = list(&|_| "NULL".into());
}

#[test]
fn ten_thousand_files_are_a_job_like_any_other() {
    const COUNT: usize = 10_000;
    /// Those that are there: each makes two directories in the storage.
    const MADE: usize = 1000;
    let stage = stage();
    let mut missing_inputs = stage.job(1001, NOTHING);
    with_many_inputs(&mut missing_inputs, COUNT);
    let names: Vec<String> = (0..COUNT).map(|nr| format!("out{nr}.dat")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut missing_outputs = stage.job(1002, NOTHING);
    sample::add_outputs(&mut missing_outputs, &names);
    let script = format!(
        "#!/bin/sh\ni=0\nwhile [ $i -lt {MADE} ]; do echo $i > out$i.dat; i=$((i+1)); done\n"
    );
    let mut outputs = stage.job(1003, &script);
    sample::add_outputs(&mut outputs, &names[..MADE]);
    let ends = ends_of(&stage, vec![missing_inputs, missing_outputs, outputs]);
    let codes: Vec<i64> = ends.iter().map(Update::pilot_error_code).collect();
    assert_eq!(codes, [1331, 1165, 0], "{}", ends[2].pilot_error_diag());
    let report = ends[2].report();
    assert_eq!(report.as_object().unwrap().len(), MADE + 1);
}

#[test]
fn sizes_and_checksums_that_are_none_end_their_job_with_a_code() {
    let stage = stage();
    let cases = [
        ("fsize", "-1"),
        ("fsize", "1e3"),
        ("fsize", "99999999999999999999999"),
        ("fsize", "11"),
        ("fsize", "10,10"),
        ("checksum", "ad:zzzzzzzz"),
        ("checksum", "ad:00000001"),
        ("checksum", "md:0"),
        ("checksum", "sha:1"),
        ("checksum", "ad:"),
        ("scopeIn", ""),
        ("scopeIn", "a,b"),
    ];
    let jobs = (1001..).zip(cases).map(|(panda_id, (field, value))| {
        let mut job = copy_job(&stage, panda_id);
        job[field] = json!(value);
        job
    });
    let jobs = jobs.collect();
    for (end, case) in ends_of(&stage, jobs).iter().zip(cases) {
        assert_eq!(end.status, "failed", "{case:?}");
        assert!(end.pilot_error_code() > 1000, "{case:?}: {end:?}");
    }
}
