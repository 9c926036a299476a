//! Calls about single jobs: submission as they are, descriptions, kills, words to pilots.

use serde_json::{Value, json};

use crate::harness::{QUEUE, Server};

/// How many attributes a job has in lists.
const N_ATTRIBUTES: usize = 126;

/// A job as panda-client writes it: a list of attributes and a list of files.
fn listed(name: &str) -> Value {
    let mut values = vec![json!("NULL"); N_ATTRIBUTES];
    for (index, value) in [
        (4, json!({"_datetime_object": "2026-01-31 10:00:00.000000"})),
        (9, json!("runGen")),
        (12, json!("user")),
        (19, json!(name)),
        (47, json!(QUEUE)),
        (49, json!(format!("-o {name}.root"))),
        (72, json!("panda-client")),
        (73, json!("Jane Doe")),
    ] {
        values[index] = value;
    }
    let file = |lfn: &str, kind: &str| {
        json!([
            "NULL",
            "NULL",
            "NULL",
            lfn,
            kind,
            "user.jane.out",
            "unknown",
            "NULL",
            "NULL",
            "NULL",
            "NULL",
            "user.jane.out",
            "NULL",
            "NULL",
            0,
            "NULL",
            "NULL",
            "user.jane",
            "NULL",
            "NULL",
            "NULL",
            "NULL",
            null
        ])
    };
    let files = [
        file(&format!("{name}.root"), "output"),
        file(&format!("{name}.log.tgz"), "log"),
    ];
    values.push(json!(files));
    json!(values)
}

fn submit(server: &Server, names: &[&str]) -> Value {
    let jobs: Vec<Value> = names.iter().map(|name| listed(name)).collect();
    let text = json!(jobs).to_string();
    server.v1("job/submit", &json!({"jobs": text})).data()
}

#[test]
fn a_job_is_submitted_as_it_is_run_and_described() {
    let server = Server::start();
    let answers = submit(&server, &["a", "b"]);
    let id = answers[0][0].as_u64().expect("a number");
    assert!(answers[1][2]["jobsetID"].is_u64(), "{answers}");
    let request = json!({"siteName": QUEUE, "prodSourceLabel": "user", "node": "wn1"});
    let job = server.legacy("getJob", &request);
    assert_eq!(job.text("PandaID"), id.to_string());
    assert_eq!(job.text("jobPars"), "-o a.root");
    assert_eq!(job.text("outFiles"), "a.root,a.log.tgz");
    let running = json!({"jobId": id, "state": "running", "attemptNr": 1, "maxRSS": 2048,
        "batchID": "7.sched", "metaData": r#"{"nEvents": 5}"#});
    server.legacy("updateJob", &running);
    let described = server.v1("job/get_description", &json!({"job_ids": [id, 999]}));
    let described = described.data();
    assert!(described[1].is_null());
    let one = &described[0];
    assert_eq!(one["jobStatus"], "running");
    assert_eq!(one["transformation"], "runGen");
    assert_eq!(one["prodUserName"], "Jane Doe");
    assert_eq!(one["batchID"], "7.sched");
    assert_eq!(one["Files"][0]["lfn"], "a.root");
    assert!(one["stateChangeTime"]["__datetime__"].is_string(), "{one}");
    let other = json!({"jobId": id, "state": "running", "attemptNr": 1, "batchID": "8.sched"});
    let told = server.legacy("updateJob", &other).text("command");
    assert_eq!(told, "tobekilled");
}

#[test]
fn kills_answer_for_each_job_and_closed_ones_keep_the_sub_status() {
    let server = Server::start();
    let answers = submit(&server, &["a", "b"]);
    let id = answers[0][0].as_u64().expect("a number");
    let options = json!({"job_ids": [id, "x", 999], "code": 55,
        "kill_options": ["jobSubStatus=xyz"]});
    let killed = server.v1("job/kill", &options);
    assert_eq!(killed.data(), json!([true, false, false]));
    let described = server.v1("job/get_description", &json!({"job_ids": [id]}));
    let one = &described.data()[0];
    assert_eq!(one["jobStatus"], "closed");
    assert_eq!(one["jobSubStatus"], "xyz");
    assert_eq!(one["taskBufferErrorCode"], 100);
    let path = format!("/server/panda/checkJobStatus?ids={id},999");
    let state = server.get(&path).json();
    let expected = json!({"status": "closed", "command": "tobekilled"});
    assert_eq!(state["data"][0], expected, "{state}");
}

#[test]
fn words_to_a_pilot_reach_it() {
    let server = Server::start();
    let id = submit(&server, &["a"])[0][0].as_u64().expect("a number");
    let set = server.v1("job/set_debug_mode", &json!({"job_id": id, "mode": true}));
    assert_eq!(set.json()["message"], "Succeeded", "{set:?}");
    let command = json!({"job_id": id, "command": "tail payload.stdout"});
    let set = server.v1("job/set_command", &command);
    assert_eq!(set.json()["success"], true, "{set:?}");
    let request = json!({"siteName": QUEUE, "prodSourceLabel": "user", "node": "wn1"});
    server.legacy("getJob", &request);
    let running = json!({"jobId": id, "state": "running", "attemptNr": 1});
    let told = server.legacy("updateJob", &running).text("command");
    assert_eq!(told, "debug,tail payload.stdout");
    let mut beat = running;
    beat["stdout"] = "event 12".into();
    server.legacy("updateJob", &beat);
    let shown = server.get(&format!("/ailurus/v1/jobs/{id}")).json();
    assert_eq!(shown["output"], "event 12", "{shown}");
    // Pilot 3 asks so at queues with `setdebugmode`, at each attempt, and knows one answer only.
    let asked = json!({"pandaID": id.to_string(), "modeOn": true});
    let json = "Content-Type: application/json\r\n";
    let body = asked.to_string();
    let answer = server.send("POST", "/server/panda/setDebugMode", json, body.as_bytes());
    assert_eq!(answer.text, "Succeeded");
}

#[test]
fn a_script_for_offline_use_is_plain_text() {
    let server = Server::start();
    let id = submit(&server, &["a"])[0][0].as_u64().expect("a number");
    let path = "/api/v1/job/generate_offline_execution_script?job_id=";
    let script = server.get(&format!("{path}{id}")).text;
    assert!(script.starts_with("#!/bin/bash") && script.contains("'runGen' -o a.root"));
    let none = server.get(&format!("{path}999")).text;
    assert!(none.starts_with("ERROR:"), "{none}");
}

#[test]
fn what_is_no_list_of_jobs_is_refused() {
    let server = Server::start();
    for jobs in ["", "{}", "[[]]", "[]", "[[[]"] {
        let answer = server.v1("job/submit", &json!({"jobs": jobs})).json();
        assert_eq!(answer["success"], false, "{jobs}: {answer}");
    }
}
