//! Whole lives of jobs, in both dialects.

use serde_json::{Value, json};

use crate::harness::{QUEUE, Server, wait_for};

/// The output report of a job, as Pilot 3 sends it.
fn report(lfn: &str) -> String {
    json!({lfn: {
        "guid": "FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF", "fsize": 1234, "adler32": "0000001f",
        "surl": format!("file:///eos/{lfn}"), "endpoint": ["EOS"],
    }})
    .to_string()
}

/// The first name of a comma-joined list, which is the output; the log comes after it.
fn first(list: &str) -> &str {
    list.split(',').next().unwrap()
}

/// The report on every file that a job is to write.
fn whole_report(files: &str) -> String {
    let mut all = serde_json::Map::new();
    for lfn in files.split(',').filter(|lfn| !lfn.is_empty()) {
        let one: Value = serde_json::from_str(&report(lfn)).unwrap();
        all.extend(one.as_object().unwrap().clone());
    }
    Value::Object(all).to_string()
}

#[test]
fn a_pilot_3_gets_a_job_and_finishes_it() {
    let server = Server::start();
    let task = server.submit("legacy", 1);
    let request = json!({"siteName": QUEUE, "computingElement": QUEUE, "mem": 24105.56,
        "prodSourceLabel": "managed", "diskSpace": 20000, "cpu": 2400.0, "node": "wn1",
        "allowOtherCountry": false, "workingGroup": "", "schedulerID": "unknown"});
    let job = server.legacy("getJob", &request);
    assert_eq!(job.text("StatusCode"), "0", "{job:?}");
    let id: u64 = job.text("PandaID").parse().unwrap();
    let update = |state: &str, xml: &str| {
        let answer = server.legacy(
            "updateJob",
            &json!({"jobId": id.to_string(), "state": state, "attemptNr": 1, "node": "wn1",
                "siteName": QUEUE, "pilotID": "unknown|PR|3.11", "xml": xml, "metaData": "",
                "startTime": 1_795_376_921.25, "a_key_of_newer_pilots": 1}),
        );
        assert_eq!(answer.text("StatusCode"), "0", "{answer:?}");
        answer.text("command")
    };
    assert!(matches!(&*update("starting", ""), "" | "NULL"));
    update("running", "");
    assert_eq!(server.job(id)["status"], "running");
    let status = server.legacy("getStatus", &json!({"ids": id.to_string()}));
    assert_eq!(
        (status.text("status"), status.text("attemptNr")),
        ("running".into(), "1".into())
    );
    update("finished", &whole_report(&job.text("outFiles")));
    assert_eq!(server.job(id)["status"], "finished");
    // A second final report changes nothing and is told so.
    assert!(update("finished", "{}").contains("alreadydone"));
    let dataset = server.get("/ailurus/v1/datasets/spd.mc:legacy.hits").json();
    assert_eq!(dataset["files"][0]["lfn"], first(&job.text("outFiles")));
    let task = server.get(&format!("/ailurus/v1/tasks/{task}")).json();
    assert_eq!(
        (&task["status"], &task["jobs"]["finished"]),
        (&json!("done"), &json!(1))
    );
    // There is no second job.
    assert_eq!(server.legacy("getJob", &request).text("StatusCode"), "20");
}

#[test]
fn a_pilot_of_the_v1_dialect_gets_a_job_and_finishes_it() {
    let server = Server::start();
    server.submit("newer", 1);
    let request = json!({"site_name": QUEUE, "memory": 2000, "disk_space": 20000, "node": "wn1",
        "prod_source_label": "managed", "computing_element": QUEUE, "n_jobs": 1});
    let jobs = server.v1("pilot/acquire_jobs", &request).data();
    let job = &jobs["jobs"][0];
    let id = job["PandaID"].as_u64().unwrap();
    let update = |status: &str, report: &str| {
        let fields = json!({"job_id": id, "job_status": status, "attempt_nr": 1, "node": "wn1",
            "job_output_report": report});
        server.v1("pilot/update_job", &fields).data()
    };
    update("running", "");
    let state = server.get(&format!("/api/v1/pilot/get_job_status?job_ids={id}"));
    assert_eq!(state.data()[0]["status"], "running");
    update("finished", &whole_report(job["outFiles"].as_str().unwrap()));
    assert_eq!(server.job(id)["status"], "finished");
    let none = server.v1("pilot/acquire_jobs", &request).json();
    assert_eq!(
        (&none["success"], &none["data"]),
        (&json!(false), &Value::Null)
    );
}

#[test]
fn an_old_attempt_is_refused_by_its_number() {
    let server = Server::start();
    server.submit("attempts", 1);
    let request = json!({"siteName": QUEUE, "prodSourceLabel": "managed", "node": "wn1"});
    let id: u64 = server
        .legacy("getJob", &request)
        .text("PandaID")
        .parse()
        .unwrap();
    let update = |attempt: u32, state: &str| {
        server.legacy(
            "updateJob",
            &json!({"jobId": id.to_string(), "state": state, "attemptNr": attempt, "node": "wn1",
                "pilotErrorCode": 1099, "pilotErrorDiag": "stage-in failed"}),
        )
    };
    assert!(
        update(7, "running")
            .text("command")
            .contains("badattemptnr")
    );
    assert_eq!(server.job(id)["status"], "sent");
    update(1, "failed");
    let job = server.job(id);
    assert_eq!(job["attempt_nr"], 2, "{job}");
    let failed = &job["attempts"][0];
    assert_eq!(
        (&failed["status"], &failed["diagnosis"]["code"]),
        (&json!("failed"), &json!(1099))
    );
    for part in ["cause", "remedy", "entry", "blame"] {
        assert_ne!(failed["diagnosis"][part], "", "{part}");
    }
    assert!(
        update(1, "finished")
            .text("command")
            .contains("badattemptnr")
    );
    let jobs = server.get("/ailurus/v1/jobs?limit=5").json();
    assert_eq!(jobs[0]["attempts"][0]["attempt_nr"], 1);
}

#[test]
fn a_silent_job_gets_its_next_attempt() {
    let server = Server::start_with("[limits]\nheartbeat_timeout = \"200ms\"");
    server.submit("silent", 2);
    let request = json!({"siteName": QUEUE, "prodSourceLabel": "managed", "node": "wn1"});
    let id: u64 = server
        .legacy("getJob", &request)
        .text("PandaID")
        .parse()
        .unwrap();
    let running = json!({"jobId": id.to_string(), "state": "running", "attemptNr": 1});
    server.legacy("updateJob", &running);
    let job = wait_for("the second attempt", || {
        Some(server.job(id)).filter(|job| job["attempt_nr"] == 2)
    });
    assert_eq!(job["attempts"][0]["status"], "failed", "{job}");
    let failures = server.get("/ailurus/v1/jobs?failed_attempts=true").json();
    assert_eq!(failures.as_array().map(Vec::len), Some(1), "{failures}");
    assert_eq!(failures[0]["panda_id"], id);
}

#[test]
fn a_killed_job_is_cancelled_and_its_pilot_told() {
    let server = Server::start();
    let task = server.submit("killed", 2);
    let request = json!({"siteName": QUEUE, "prodSourceLabel": "managed", "node": "wn1"});
    let id: u64 = server
        .legacy("getJob", &request)
        .text("PandaID")
        .parse()
        .unwrap();
    let killed = server.send("POST", &format!("/ailurus/v1/tasks/{task}/kill"), "", b"");
    assert_eq!(killed.json()["jobs"], 2, "{killed:?}");
    let running = json!({"jobId": id.to_string(), "state": "running", "attemptNr": 1});
    let told = server.legacy("updateJob", &running).text("command");
    assert!(told.contains("tobekilled"), "{told}");
    let lost = server.get(&format!("/api/v1/job/get_status?job_ids={id}&job_ids=999"));
    assert_eq!(lost.data()[0]["command"], "tobekilled");
    assert_eq!(
        lost.data()[1],
        json!({"status": null, "command": "tobekilled"})
    );
    let ended = json!({"jobId": id.to_string(), "state": "failed", "attemptNr": 1});
    server.legacy("updateJob", &ended);
    let gone = server.get(&format!("/api/v1/job/get_status?job_ids={id}"));
    assert_eq!(
        gone.data()[0],
        json!({"status": "cancelled", "command": "tobekilled"})
    );
}

#[test]
fn updates_in_bulk_are_answered_one_by_one() {
    let server = Server::start();
    server.submit("bulk", 2);
    let request = json!({"site_name": QUEUE, "prod_source_label": "managed", "node": "wn1",
        "n_jobs": 2, "scheduler_id": "harvester-nica"});
    let jobs = server.v1("pilot/acquire_jobs", &request).data();
    let ids: Vec<u64> = jobs["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["PandaID"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), 2);
    let list = json!({"harvester_id": "nica", "job_list": [
        {"job_id": ids[0], "job_status": "running", "attempt_nr": 1},
        {"job_id": ids[0], "job_status": "dancing", "attempt_nr": 1},
        {"job_id": ids[1], "job_status": "running", "attempt_nr": 1},
    ]});
    let answers = server.v1("pilot/update_jobs_bulk", &list).data();
    let taken: Vec<&Value> = (0..3).map(|index| &answers[index]["success"]).collect();
    assert_eq!(taken, [&json!(true), &json!(false), &json!(true)]);
    let list = json!({"jobList": [{"jobId": ids[1], "state": "running", "attemptNr": 1}]});
    let path = "/server/panda/updateJobsInBulk";
    let body = list.to_string();
    let headers = "Content-Type: application/json\r\n";
    let forms = server.send("POST", path, headers, body.as_bytes()).json();
    assert_eq!(forms[0], true);
    assert!(
        forms[1][0].as_str().unwrap().contains("StatusCode=0"),
        "{forms}"
    );
}

#[test]
fn a_harvester_reports_its_workers() {
    let server = Server::start();
    let heartbeat = json!({"harvester_id": "nica", "data": {"sw_version": "1"}});
    server.v1("harvester/heartbeat", &heartbeat).data();
    let workers = json!({"harvester_id": "nica", "workers": [
        {"workerID": 5, "batchID": "77.0", "queueName": QUEUE, "computingSite": QUEUE,
            "status": "submitted", "submitTime": "datetime/2026-01-01 10:00:00.000000"},
        {"batchID": "78.0"},
    ]});
    let taken = server.v1("harvester/update_workers", &workers).data();
    assert_eq!(taken, json!([true, false]));
    let last = server.get("/api/v1/harvester/get_current_worker_id?harvester_id=nica");
    assert_eq!(last.data(), 5);
    let queue = server.get(&format!("/ailurus/v1/queues/{QUEUE}")).json();
    assert_eq!(queue["workers"]["submitted"], 1, "{queue}");
    let started = json!({"workerID": "5", "harvesterID": "nica", "status": "started",
        "site": QUEUE, "node_id": "wn1"});
    let noted = server.legacy("updateWorkerPilotStatus", &started);
    assert_eq!(noted.text("StatusCode"), "0");
    let request = json!({"harvester_id": "nica", "n_commands": 10});
    let commands = server.v1("harvester/acquire_commands", &request).data();
    assert_eq!(commands, json!([]));
    let counts = server
        .get("/api/v1/statistics/active_job_stats_by_site")
        .data();
    assert_eq!(counts[QUEUE]["activated"], 0);
    let types = server.get("/api/v1/metaconfig/get_resource_types").data();
    assert_eq!(types[0]["resource_name"], "SCORE");
}

#[test]
fn classes_of_jobs_come_from_the_configuration() {
    let server = Server::start_with(
        "[[scheduling.resource_types]]\nname = \"SMALL\"\ncores_min = 1\nmb_per_core_max = 4000\n",
    );
    let types = server.get("/api/v1/metaconfig/get_resource_types").data();
    let small = json!({"resource_name": "SMALL", "mincore": 1, "maxcore": null,
        "minrampercore": 0, "maxrampercore": 4000});
    assert_eq!(types, json!([small]));
}

#[test]
fn an_archived_job_is_there_for_people_and_over_for_pilots() {
    let server = Server::start_with("archive.after = \"1ms\"\narchive.interval = \"100ms\"");
    let task = server.submit("old", 1);
    let request = json!({"siteName": QUEUE, "prodSourceLabel": "managed", "node": "wn1"});
    let job = server.legacy("getJob", &request);
    let id: u64 = job.text("PandaID").parse().unwrap();
    let update = |state: &str, xml: &str| {
        let fields = json!({"jobId": id, "state": state, "attemptNr": 1, "xml": xml});
        server.legacy("updateJob", &fields).text("command")
    };
    update("running", "");
    update("finished", &whole_report(&job.text("outFiles")));
    let ids = json!({"job_ids": [id]});
    let active = || server.v1("job/get_description", &ids).data();
    wait_for("the archive", || active()[0].is_null().then_some(()));
    let all = server.v1("job/get_description_incl_archive", &ids).data();
    assert_eq!(all[0]["jobStatus"], "finished");
    assert_eq!(all[0]["PandaID"], id);
    assert_eq!(server.job(id)["status"], "finished");
    let page = server.get(&format!("/ailurus/v1/tasks/{task}")).json();
    assert_eq!(page["jobs"]["finished"], 1);
    assert!(update("running", "").contains("alreadydone"));
    assert_eq!(server.job(id)["status"], "finished");
    assert!(server.log().contains("jobs went to the archive"));
}
