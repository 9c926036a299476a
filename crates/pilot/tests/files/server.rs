//! Harvester's mode with a server behind it: pushed jobs that the pilot reports itself, and jobs
//! that it pulls itself.

use std::sync::{Arc, Mutex};

use ailurus_testkit::{
    http::{Answer, Request},
    stand_in::HttpStandIn,
};
use serde_json::{Value, json};

use crate::workbench::{Workbench, run};

/// What a server was told: paths and bodies.
type Calls = Arc<Mutex<Vec<(String, Value)>>>;

/// A server that gives the jobs one by one.
fn server(mut jobs: Vec<Value>) -> (HttpStandIn, Calls) {
    let calls = Calls::default();
    let told = calls.clone();
    let queue = json!({
        "nickname": "Q", "panda_resource": "Q", "state": "ACTIVE", "status": "online",
        "type": "unified", "timefloor": 3600, "copytools": {"mv": {}}, "catchall": "",
        "acopytools": {"pr": ["mv"]}, "astorages": {}, "resource_type": "grid",
    });
    jobs.reverse();
    let jobs = Mutex::new(jobs);
    let answer = move |request: &Request| {
        let body = ailurus_wire::body::decode_json(&request.body).unwrap_or_default();
        let path = request.target().to_owned();
        told.lock()
            .expect("free")
            .push((path.clone(), body.into_value()));
        let (status, body) = match path.as_str() {
            "/queue.json" => (200, queue.clone()),
            "/api/v1/pilot/acquire_jobs" => (200, offer(jobs.lock().expect("free").pop())),
            "/api/v1/pilot/update_job" => (
                200,
                json!({"success": true, "message": "", "data": {"StatusCode": 0, "command": null}}),
            ),
            "/api/v1/pilot/update_worker_status" => {
                (200, json!({"success": true, "message": "", "data": null}))
            }
            _ => (404, Value::Null),
        };
        Some(Answer::new(status, body.to_string().into_bytes()))
    };
    (HttpStandIn::start(answer).expect("a free port"), calls)
}

fn offer(job: Option<Value>) -> Value {
    match job {
        Some(job) => {
            json!({"success": true, "message": "", "data": {"StatusCode": 0, "jobs": [job]}})
        }
        None => json!({"success": false, "message": "No jobs in PanDA", "data": null}),
    }
}

fn count(calls: &Calls, path: &str) -> usize {
    let calls = calls.lock().expect("free");
    calls.iter().filter(|(called, _)| called == path).count()
}

/// Runs a pilot that Harvester started.
fn pilot(bench: &Workbench, server: &HttpStandIn, more: &[&str]) -> crate::workbench::Ended {
    let url = server.url();
    let queue_url = format!("{url}/queue.json");
    let (scratch, point, store) = (
        bench.path("scratch").display().to_string(),
        bench.path("point").display().to_string(),
        bench.path("store").display().to_string(),
    );
    let mut words = vec![
        "-q",
        "Q",
        "--url",
        &url,
        "--queuedata-url",
        &queue_url,
        "-a",
        &scratch,
        "--harvester-workdir",
        &point,
        "--output-dir",
        &store,
        "--job-request-pause",
        "20ms",
    ];
    words.extend(more);
    let mut command = bench.command(&words);
    command
        .env("HARVESTER_ID", "h1")
        .env("HARVESTER_WORKER_ID", "42");
    run(&mut command)
}

const OUT: &str = "#!/bin/sh\necho x > out.dat\n";

#[test]
fn a_pushed_job_with_server_updates_is_reported_to_the_server_and_never_asked_of_it() {
    let bench = Workbench::new(OUT);
    bench.write(
        "point/HPCJobs.json",
        &json!({"12": bench.job(12)}).to_string(),
    );
    let (server, calls) = server(vec![bench.job(99)]);
    // Looks without a job end soon: the queue's floor would have the pilot wait for more.
    let ended = pilot(
        &bench,
        &server,
        &["--harvester-submit-mode", "push", "-l", "0"],
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(count(&calls, "/api/v1/pilot/acquire_jobs"), 0);
    let calls = calls.lock().expect("free");
    let mut updates = calls
        .iter()
        .filter(|(path, _)| path.ends_with("/update_job"));
    let last = &updates.next_back().expect("updates").1;
    assert_eq!(
        (&last["job_id"], &last["job_status"]),
        (&json!(12), &json!("finished"))
    );
    assert!(!bench.path("point/worker_attributes.json").exists());
    assert!(bench.path("point/worker_heartbeat.json").is_file());
}

#[test]
fn jobs_pulled_from_the_server_are_told_to_harvester_by_number_and_by_report() {
    let bench = Workbench::new(OUT);
    let (server, calls) = server(vec![bench.job(21), bench.job(22)]);
    let ended = pilot(&bench, &server, &["-z"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(count(&calls, "/api/v1/pilot/acquire_jobs") > 2);
    assert_eq!(count(&calls, "/api/v1/pilot/update_job"), 0);
    assert_eq!(
        bench.read_json("point/worker_pandaids.json"),
        json!([21, 22])
    );
    let attributes = bench.read_json("point/worker_attributes.json");
    assert_eq!(
        (&attributes["jobId"], &attributes["jobStatus"]),
        (&json!("22"), &json!("finished"))
    );
}
