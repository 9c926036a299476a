//! Harvester's file mode: its files as Harvester reads and writes them.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::workbench::{Ended, Workbench, finish, run, start, wait_until};

const COPY: &str = "#!/bin/sh\nset -e\ncat in.dat > out.dat 2>/dev/null || echo x > out.dat\n\
    echo '{\"exitCode\": 0, \"executor\": [{\"logfileReport\": {\"n\": 1}}]}' > jobReport.json\n";

const PUSH: [&str; 4] = [
    "--harvester-submit-mode",
    "PUSH",
    "--job-request-pause",
    "50ms",
];

fn words(bench: &Workbench, more: &[&str]) -> Vec<String> {
    bench.harvester_words(more)
}

fn pilot(bench: &Workbench, more: &[&str]) -> Ended {
    let words = words(bench, more);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    run(&mut bench.command(&words))
}

#[test]
fn a_pushed_job_is_run_and_everything_harvester_reads_is_there() {
    let bench = Workbench::new(COPY);
    let mut job = bench.job(12);
    for (name, value) in [
        ("inFiles", "in.dat"),
        ("fsize", "4"),
        ("scopeIn", "user.a"),
        ("ddmEndPointIn", "EP"),
    ] {
        job[name] = json!(value);
    }
    // Harvester links prepared inputs beside the job.
    bench.write("shared/in.dat", "data");
    std::os::unix::fs::symlink(bench.path("shared/in.dat"), bench.path("point/in.dat"))
        .expect("space");
    bench.write("point/HPCJobs.json", &json!({"12": job}).to_string());
    bench.write("point/worker_pandaids.json", "[12]");
    let ended = pilot(&bench, &PUSH);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let attributes = bench.read_json("point/worker_attributes.json");
    assert_eq!(attributes["jobStatus"], "finished", "{attributes}");
    assert_eq!(
        (&attributes["transExitCode"], &attributes["attemptNr"]),
        (&json!(0), &json!(1))
    );
    assert!(attributes.get("xml").is_none() && attributes["pilotID"].is_string());
    let dump = bench.read_json("point/event_status.dump.json");
    let files = dump["12"].as_array().expect("a list of files");
    assert_eq!(files.len(), 2, "{dump}");
    for file in files {
        let path = file["path"].as_str().expect("a path");
        let size = fs::metadata(path).expect("it lies there").len();
        assert_eq!(file["fsize"], size);
        assert!(file["guid"].is_string() && file["chksum"].is_string());
    }
    let kinds: Vec<&Value> = files.iter().map(|file| &file["type"]).collect();
    assert_eq!(kinds, ["output", "log"]);
    assert_eq!(
        bench.read_json("point/jobReport.json")["executor"],
        json!([{"logfileReport": {}}])
    );
    for name in ["kill_worker.json", "kill_worker", "worker_heartbeat.json"] {
        assert!(bench.path("point").join(name).is_file(), "{name}");
    }
    assert!(
        !bench.path("point/HPCJobs.json").exists(),
        "the job is taken"
    );
    let hidden = fs::read_dir(bench.path("point"))
        .expect("a directory")
        .flatten();
    let is_temporary = |name: String| name.ends_with(".tmp");
    assert!(
        !hidden
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .any(is_temporary)
    );
}

#[test]
fn a_job_as_a_form_is_taken_too_and_a_failure_is_told() {
    let bench = Workbench::new("#!/bin/sh\nexit 3\n");
    let job = bench.job(12);
    let pairs = job
        .as_object()
        .expect("an object")
        .iter()
        .map(|(name, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            format!("{name}={escaped}")
        });
    bench.write(
        "point/pandaJobData.out",
        &pairs.collect::<Vec<_>>().join("&"),
    );
    let ended = pilot(&bench, &PUSH);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let attributes = bench.read_json("point/worker_attributes.json");
    assert_eq!(attributes["jobStatus"], "failed", "{attributes}");
    assert_eq!(attributes["transExitCode"], 3);
}

#[test]
fn a_pilot_without_a_job_asks_harvester_and_takes_what_comes_in_pieces() {
    let bench = Workbench::new(COPY);
    let words = words(&bench, &PUSH);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let child = start(&mut bench.command(&words));
    bench.wait_for("point/worker_requestjob.json");
    assert_eq!(
        bench.read_json("point/worker_requestjob.json"),
        json!({"nJobs": 1})
    );
    let text = json!({"12": bench.job(12)}).to_string();
    fs::write(bench.path("point/HPCJobs.json"), &text[..40]).expect("space");
    fs::write(bench.path("point/HPCJobs.json"), &text).expect("space");
    let ended = finish(child);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        bench.read_json("point/worker_attributes.json")["jobStatus"],
        "finished"
    );
    assert!(!bench.path("point/worker_requestjob.json").exists());
}

#[test]
fn what_is_no_job_file_is_put_aside_with_a_clear_word() {
    let bench = Workbench::new(COPY);
    for (content, reason) in [
        ("<html>", "not an object"),
        ("{\"12\": {\"PandaID\": 13}}", "under which it stands"),
        ("{\"StatusCode\": 10}", "refusal"),
    ] {
        bench.write("point/HPCJobs.json", content);
        let ended = pilot(&bench, &["--harvester-submit-mode", "PUSH", "-x", "1"]);
        assert!(ended.stdout.contains(reason), "{content}: {ended:?}");
        assert!(ended.stdout.contains("HPCJobs.json"), "{content}");
        assert!(!bench.path("point/HPCJobs.json").exists(), "{content}");
        assert!(
            bench.path("point/HPCJobs.json.unusable").is_file(),
            "{content}"
        );
    }
}

#[test]
fn a_job_that_is_nobodys_leaves_the_others_of_its_file() {
    let bench = Workbench::new(COPY);
    let jobs = json!({"12": {"PandaID": 13}, "14": bench.job(14)});
    bench.write("point/HPCJobs.json", &jobs.to_string());
    let ended = pilot(&bench, &["-w", "generic_hpc"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("under which it stands"), "{ended:?}");
    let attributes = bench.read_json("point/14/worker_attributes.json");
    assert_eq!(attributes["jobStatus"], "finished");
}

#[test]
fn an_access_point_that_cannot_be_written_costs_no_job() {
    let bench = Workbench::new(COPY);
    bench.write("point/pilots", "a file in place of a directory");
    bench.write(
        "point/HPCJobs.json",
        &json!({"12": bench.job(12)}).to_string(),
    );
    let ended = pilot(&bench, &["--harvester-submit-mode", "PUSH", "-x", "1"]);
    assert_eq!(ended.code, Some(79), "{ended:?}");
    assert!(
        ended.stdout.contains("job 12 cannot be claimed"),
        "{ended:?}"
    );
    assert!(
        bench.path("point/HPCJobs.json").exists(),
        "the next pilot can take it"
    );
}

#[test]
fn a_kill_file_ends_the_job_in_time_and_one_of_an_earlier_pilot_does_not() {
    let bench = Workbench::new(COPY);
    let mark = bench.path("mark").display().to_string();
    bench.write(
        "here/run.sh",
        &format!("#!/bin/sh\necho on > {mark}\nsleep 100\n"),
    );
    bench.write("point/kill_worker.json", "{}");
    let old = fs::File::options()
        .write(true)
        .open(bench.path("point/kill_worker.json"));
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    old.expect("a file")
        .set_modified(long_ago)
        .expect("own file");
    bench.write(
        "point/HPCJobs.json",
        &json!({"12": bench.job(12)}).to_string(),
    );
    let words = words(&bench, &PUSH);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let child = start(&mut bench.command(&words));
    bench.wait_for("mark");
    bench.write("point/kill_worker.json", "{}");
    let ended = finish(child);
    assert_eq!(ended.code, Some(143), "{ended:?}");
    assert_eq!(
        bench.read_json("point/worker_attributes.json")["jobStatus"],
        "failed"
    );
}

#[test]
fn heartbeats_are_written_while_the_payload_runs() {
    let bench = Workbench::new(COPY);
    let mark = bench.path("go-on").display().to_string();
    bench.write(
        "here/run.sh",
        &format!("#!/bin/sh\nwhile [ ! -e {mark} ]; do sleep 0.05; done\necho x > out.dat\n"),
    );
    bench.write(
        "point/HPCJobs.json",
        &json!({"12": bench.job(12)}).to_string(),
    );
    let words = words(
        &bench,
        &["--harvester-submit-mode", "PUSH", "--heartbeat", "100ms"],
    );
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let child = start(&mut bench.command(&words));
    wait_until("running", || {
        let text = fs::read_to_string(bench.path("point/worker_attributes.json"));
        let value: Value = text.map_or(Value::Null, |text| {
            serde_json::from_str(&text).expect("never half a file")
        });
        value["jobStatus"] == "running"
    });
    bench.wait_for("point/worker_heartbeat.json");
    bench.write("go-on", "x");
    assert_eq!(finish(child).code, Some(0));
    assert_eq!(
        bench.read_json("point/worker_attributes.json")["jobStatus"],
        "finished"
    );
}

#[test]
fn a_signal_still_leaves_harvester_a_final_report() {
    let bench = Workbench::new(COPY);
    let mark = bench.path("mark").display().to_string();
    bench.write(
        "here/run.sh",
        &format!("#!/bin/sh\necho on > {mark}\nsleep 100\n"),
    );
    bench.write(
        "point/HPCJobs.json",
        &json!({"12": bench.job(12)}).to_string(),
    );
    let words = words(&bench, &PUSH);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let child = start(&mut bench.command(&words));
    bench.wait_for("mark");
    let pid = i32::try_from(child.id()).expect("a number");
    let pid = rustix::process::Pid::from_raw(pid).expect("not zero");
    rustix::process::kill_process(pid, Signal::TERM).expect("it runs");
    assert_eq!(finish(child).code, Some(143));
    let attributes = bench.read_json("point/worker_attributes.json");
    assert_eq!(attributes["jobStatus"], "failed");
    assert!(
        attributes["pilotErrorCode"]
            .as_u64()
            .is_some_and(|code| code > 0)
    );
}

#[test]
fn a_job_whose_pilot_was_killed_is_reported_to_harvester_by_the_next_pilot() {
    let bench = Workbench::new(COPY);
    let mark = bench.path("mark").display().to_string();
    bench.write(
        "here/run.sh",
        &format!("#!/bin/sh\necho on > {mark}\nsleep 100\n"),
    );
    let spec = json!({"12": bench.job(12)}).to_string();
    bench.write("point/HPCJobs.json", &spec);
    let words = words(&bench, &PUSH);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut first = start(&mut bench.command(&words));
    bench.wait_for("mark");
    let stage = |name: &str| bench.read_json("point/worker_attributes.json")[name].clone();
    // The payload does not wait for the report that it runs.
    wait_until("running", || stage("jobStatus") == "running");
    first.kill().expect("it runs");
    finish(first);
    let ended = pilot(&bench, &["-w", "generic_hpc"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(stage("jobStatus"), "failed", "{ended:?}");
    let claim = bench.read_json("point/pilots/claims/12.1.json");
    assert_eq!(claim["end"], "failed");
}
