//! Every call that Harvester 0.7's communicator makes, with its bodies to the letter, and its answers
//! read as it reads them: what it looks up must be there, of the type that it goes on with.
//!
//! Source: harvester, `harvestercommunicator/panda_communicator.py`, and of `harvestercore/`
//! `job_spec.py`, `work_spec.py`, `resource_type_mapper.py`.

use serde_json::{Value, json};

use crate::harness::{QUEUE, Server};

const ID: &str = "h1";

/// The communicator of one instance.
struct Harvester {
    server: Server,
}

impl Harvester {
    fn start() -> Self {
        Self {
            server: Server::start(),
        }
    }

    fn with_task(n_jobs: u32) -> Self {
        let harvester = Self::start();
        harvester.server.submit("for-harvester", n_jobs);
        harvester
    }

    /// One call: a JSON body for POST, a query for GET, and nothing kept open.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let headers = "Accept: application/json\r\nConnection: close\r\n\
                       Content-Type: application/json\r\n";
        let path = format!("/api/v1/{path}");
        let answer = match method {
            "GET" => self.server.send(method, &path, headers, b""),
            _ => {
                let body = body.to_string();
                self.server.send(method, &path, headers, body.as_bytes())
            }
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        let envelope = answer.json();
        assert!(envelope["success"].is_boolean(), "{envelope}");
        assert!(envelope["message"].is_string(), "{envelope}");
        assert!(envelope.get("data").is_some(), "{envelope}");
        envelope
    }

    /// The data of a call that succeeds.
    fn data(&self, method: &str, path: &str, body: &Value) -> Value {
        let envelope = self.ask(method, path, body);
        assert_eq!(envelope["success"], true, "{path}: {envelope}");
        envelope["data"].clone()
    }

    /// `get_jobs`: jobs if `StatusCode` of the data is 0; else the message says why.
    fn get_jobs(&self, criteria: &Value) -> Result<Vec<Value>, String> {
        let mut body = json!({"site_name": QUEUE, "node": "node", "prod_source_label": "managed",
            "computing_element": "node", "n_jobs": 1, "scheduler_id": format!("harvester-{ID}")});
        let more = criteria.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        let envelope = self.ask("POST", "pilot/acquire_jobs", &body);
        if envelope["data"]["StatusCode"] != 0 {
            return Err(envelope["message"].as_str().unwrap().to_owned());
        }
        Ok(envelope["data"]["jobs"].as_array().unwrap().clone())
    }

    /// `update_jobs` of one job: the inner answer's data.
    fn update(&self, job: &Value) -> Value {
        let body = json!({"job_list": [job], "harvester_id": ID});
        let answers = self.data("POST", "pilot/update_jobs_bulk", &body);
        let answers = answers.as_array().unwrap();
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers[0]["success"], true, "{answers:?}");
        answers[0]["data"].clone()
    }

    /// `check_jobs`: one answer for each number.
    fn check(&self, ids: &[u64]) -> Vec<Value> {
        let query: Vec<String> = ids.iter().map(|id| format!("job_ids={id}")).collect();
        let path = format!("job/get_status?{}", query.join("&"));
        let answers = self.data("GET", &path, &Value::Null);
        let answers = answers.as_array().unwrap().clone();
        assert_eq!(answers.len(), ids.len());
        answers
    }
}

/// Names of lists that are as long as another one: `get_output_file_attributes`,
/// `get_input_file_attributes`.
const PARALLEL: [(&str, &[&str]); 2] = [
    ("outFiles", &["realDatasets", "ddmEndPointOut"]),
    (
        "inFiles",
        &[
            "GUID",
            "fsize",
            "checksum",
            "scopeIn",
            "realDatasetsIn",
            "ddmEndPointIn",
        ],
    ),
];

/// `convert_job_json`: what it looks up without asking whether it is there.
fn read_job(job: &Value) -> u64 {
    for number in ["attemptNr", "currentPriority", "coreCount"] {
        assert!(job[number].is_i64(), "{number}: {job}");
    }
    for name in ["taskID", "jobsetID"] {
        assert!(job[name].is_u64() || job[name] == "NULL", "{name}: {job}");
    }
    for name in [
        "logFile",
        "logGUID",
        "scopeLog",
        "scopeOut",
        "resource_type",
    ] {
        assert!(job[name].is_string(), "{name}: {job}");
    }
    let n_entries = |name: &str| job[name].as_str().unwrap().split(',').count();
    for (list, others) in PARALLEL {
        for other in others {
            assert_eq!(n_entries(other), n_entries(list), "{other}: {job}");
        }
    }
    // Scopes are those of the outputs without the log.
    assert_eq!(n_entries("scopeOut") + 1, n_entries("outFiles"), "{job}");
    job["PandaID"].as_u64().unwrap()
}

#[test]
fn an_instance_starts_and_asks_what_there_is() {
    let harvester = Harvester::start();
    harvester.data("GET", "system/is_alive", &Value::Null);
    let data = json!({"startTime": "datetime/2026-01-01 10:00:00.000000", "sw_version": "0.7.5",
        "commit_stamp": "c0ffee", "commands": [
            {"command": "REPORT_WORKER_STATS", "computingSite": QUEUE, "resourceType": "ANY"}]});
    for data in [data, json!({})] {
        let body = json!({"harvester_id": ID, "data": data});
        harvester.data("POST", "harvester/heartbeat", &body);
    }
    let types = harvester.data("GET", "metaconfig/get_resource_types", &Value::Null);
    for one in types.as_array().unwrap() {
        assert!(one["resource_name"].is_string(), "{one}");
        for limit in ["mincore", "maxcore", "minrampercore", "maxrampercore"] {
            assert!(one[limit].is_u64() || one[limit].is_null(), "{one}");
        }
    }
    let path = format!("harvester/get_current_worker_id?harvester_id={ID}");
    let last = harvester.ask("GET", &path, &Value::Null);
    assert!(last["data"].is_null() || last["data"] == 0, "{last}");
    let stats = harvester.data("GET", "statistics/active_job_stats_by_site", &Value::Null);
    assert!(stats.is_object(), "{stats}");
    // What it has no use for is refused in words, and it goes on.
    for path in [
        "creds/get_proxy?role=spd:/spd/Role=production",
        "creds/get_token_key?client_name=pilot",
        "creds/get_key_pair?public_key_name=a&private_key_name=b",
    ] {
        let refused = harvester.ask("GET", path, &Value::Null);
        assert_eq!(refused["success"], false, "{refused}");
        assert_ne!(refused["message"], "", "{refused}");
    }
}

#[test]
fn jobs_are_fetched_followed_and_ended() {
    let harvester = Harvester::with_task(3);
    let jobs: Vec<Value> = [
        json!({}),
        json!({"resourceType": "SCORE"}),
        json!({"node": null}),
    ]
    .iter()
    .flat_map(|criteria| harvester.get_jobs(criteria).unwrap())
    .collect();
    let ids: Vec<u64> = jobs.iter().map(read_job).collect();
    assert_eq!(
        harvester.get_jobs(&json!({})).unwrap_err(),
        "No jobs in PanDA"
    );
    let report = |id: u64, status: &str, more: &Value| {
        let mut job = json!({"job_id": id, "site_name": QUEUE, "job_status": status,
            "job_sub_status": null, "attempt_nr": 1, "core_count": 1});
        let more = more.as_object().unwrap().clone();
        job.as_object_mut().unwrap().extend(more);
        harvester.update(&job)
    };
    let pilot = json!({"job_sub_status": "fetched", "scheduler_id": format!("harvester-{ID}"),
        "batch_id": "77.0", "node": "n1", "pilot_id": "p|PR|3.11", "max_rss": 123,
        "start_time": "2026-01-01 00:00:00", "cpu_consumption_time": 5, "n_events": null,
        "cpu_consumption_unit": "s", "job_metrics": "a=b", "pilot_error_code": 0});
    for (id, status) in ids.iter().zip(["starting", "running", "running"]) {
        let told = report(*id, status, &pilot);
        assert_eq!(told, json!({"StatusCode": 0, "command": null}));
    }
    for answer in harvester.check(&ids) {
        assert!(["starting", "running"].contains(&answer["status"].as_str().unwrap()));
        assert_eq!(answer["command"], Value::Null);
    }
    let files: serde_json::Map<String, Value> = jobs[0]["outFiles"]
        .as_str()
        .unwrap()
        .split(',')
        .map(|lfn| {
            let file = json!({"guid": "FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF", "fsize": 12,
                "adler32": "0000001f", "surl": format!("file:///eos/{lfn}"), "endpoint": ["EOS"]});
            (lfn.to_owned(), file)
        })
        .collect();
    let last = json!({"job_sub_status": "done", "meta_data": "{\"exitCode\": 0}",
        "job_output_report": Value::Object(files).to_string()});
    assert_eq!(report(ids[0], "finished", &last)["StatusCode"], 0);
    // Cancelled and missed jobs are told as failed ones.
    report(ids[1], "failed", &json!({"job_sub_status": "cancelled"}));
    report(
        ids[2],
        "failed",
        &json!({"job_sub_status": "missed", "pilot_error_code": 1099,
        "pilot_error_diag": "lost"}),
    );
    assert_eq!(harvester.server.job(ids[0])["status"], "finished");
    for id in &ids[1..] {
        assert_eq!(harvester.server.job(*id)["attempt_nr"], 2);
    }
    // What is repeated after a lost answer changes nothing, and a job that is not there is to end.
    assert_eq!(report(ids[0], "finished", &last)["StatusCode"], 0);
    let gone = harvester.check(&[999_999]);
    assert_eq!(gone[0], json!({"status": null, "command": "tobekilled"}));
}

#[test]
fn a_job_that_is_killed_is_told_so_in_the_one_word_that_is_looked_for() {
    let harvester = Harvester::with_task(1);
    let job = read_job(&harvester.get_jobs(&json!({})).unwrap()[0]);
    let body = json!({"job_ids": [job], "code": 9});
    harvester.server.v1("job/kill", &body).data();
    let update = json!({"job_id": job, "site_name": QUEUE, "job_status": "running",
        "job_sub_status": "running", "attempt_nr": 1});
    let told = harvester.update(&update);
    assert_eq!(told["StatusCode"], 0, "{told}");
    assert_eq!(told["command"], "tobekilled", "{told}");
}

#[test]
fn workers_and_their_numbers_are_propagated() {
    let harvester = Harvester::with_task(1);
    let job = read_job(&harvester.get_jobs(&json!({})).unwrap()[0]);
    let worker = |id: u32, status: &str| {
        json!({"workerID": id, "batchID": format!("{id}.0"), "queueName": QUEUE, "status": status,
            "computingSite": QUEUE, "nCore": 1, "submitTime": "datetime/2026-01-01 10:00:00.000001",
            "startTime": "datetime/2026-01-01 10:01:00.000001", "jobType": "ANY",
            "resourceType": "ANY", "nJobs": 1, "computingElement": "ce", "syncLevel": 1,
            "submissionHost": "sub,ce", "harvesterHost": "host", "errorCode": 0,
            "minRamCount": 2000, "pandaid_list": [job], "stdOut": "https://logs/1.out",
            "stdErr": "https://logs/1.err", "batchLog": "https://logs/1.log"})
    };
    let body = json!({"harvester_id": ID,
        "workers": [worker(1, "running"), worker(2, "submitted")]});
    let taken = harvester.data("POST", "harvester/update_workers", &body);
    assert_eq!(taken, json!([true, true]));
    let path = format!("harvester/get_current_worker_id?harvester_id={ID}");
    assert_eq!(harvester.data("GET", &path, &Value::Null), 2);
    for counts in [
        json!({"managed": {"SCORE": {"running": 3, "submitted": 1, "to_submit": 0}}}),
        json!({"ANY": {"ANY": {"running": 1}}}),
        json!({"managed": {"Undefined": {"running": 1}}}),
        json!({}),
    ] {
        let body = json!({"harvester_id": ID, "panda_queue": QUEUE,
            "statistics": counts.to_string()});
        harvester.data("POST", "harvester/report_worker_statistics", &body);
    }
    let told = harvester.data("GET", "harvester/get_worker_statistics", &Value::Null);
    assert!(told[QUEUE][ID].is_object(), "{told}");
    let measured = json!({"rss_mib": 1, "cpu_pc": 1.5, "volume_data_pc": 9, "cert_lifetime": {}});
    let metrics = json!([["2026-01-01 10:00:00.000000", "host", measured.to_string()]]);
    let body = json!({"harvester_id": ID, "metrics": metrics});
    harvester.data("POST", "harvester/update_service_metrics", &body);
    let dialogs = json!([{"diagID": 1, "moduleName": "submitter", "identifier": "queue",
        "creationTime": "datetime/2026-01-01 10:00:00.000000", "messageLevel": "ERROR",
        "diagMessage": "x".repeat(600)}]);
    let body = json!({"harvester_id": ID, "dialogs": dialogs});
    harvester.data("POST", "harvester/add_dialogs", &body);
}

#[test]
fn commands_are_taken_and_acknowledged() {
    let harvester = Harvester::start();
    let counts = json!({"managed": {"SCORE": {"running": 1}}}).to_string();
    let body = json!({"harvester_id": ID, "panda_queue": QUEUE, "statistics": counts});
    harvester.data("POST", "harvester/report_worker_statistics", &body);
    let sweep = json!({"panda_queue": QUEUE, "status_list": ["submitted"], "ce_list": ["ALL"],
        "submission_host_list": []});
    harvester.data("POST", "harvester/add_sweep_command", &sweep);
    let body = json!({"harvester_id": ID, "n_commands": 100});
    let commands = harvester.data("POST", "harvester/acquire_commands", &body);
    // `command_spec.py`, `convert_command_json`.
    for command in commands.as_array().unwrap() {
        assert!(command["command_id"].is_u64() && command["command"].is_string());
        assert!(command["params"].is_object() && command["ack_requested"].is_u64());
        let created = command["creation_date"].as_str().unwrap();
        assert!(created.contains('T'), "{command}");
    }
    let ids: Vec<&Value> = commands
        .as_array()
        .unwrap()
        .iter()
        .map(|command| &command["command_id"])
        .collect();
    assert_eq!(ids.len(), 1, "{commands}");
    let body = json!({"command_ids": ids});
    harvester.data("POST", "harvester/acknowledge_commands", &body);
}

#[test]
fn jobs_without_events_have_none_and_checkpoints_and_logs_are_kept() {
    let harvester = Harvester::with_task(1);
    let job = harvester.get_jobs(&json!({})).unwrap().remove(0);
    let (id, task) = (read_job(&job), &job["taskID"]);
    let mut body = json!({"job_id": id, "task_id": task, "jobset_id": job["jobsetID"],
        "n_ranges": 3});
    for _ in 0..2 {
        let events = harvester.data("POST", "event/acquire_event_ranges", &body);
        assert_eq!(events["StatusCode"], 0, "{events}");
        assert_eq!(events["eventRanges"], json!([]), "{events}");
        body["scattered"] = true.into();
    }
    let events = json!([{"eventRanges": [
        {"eventRangeID": "1-1-1-1-1", "eventStatus": "finished"}]}]);
    let body = json!({"event_ranges": events.to_string(), "version": 1});
    let told = harvester.data("POST", "event/update_event_ranges", &body);
    assert_eq!(told["StatusCode"], 0, "{told}");
    assert_eq!(told["Returns"].as_array().map(Vec::len), Some(1), "{told}");
    let path = format!(
        "event/get_available_event_range_count?job_id={id}&jobset_id={}&task_id={task}",
        job["jobsetID"]
    );
    assert_eq!(harvester.data("GET", &path, &Value::Null), 0);
    let server = &harvester.server;
    server
        .send_file("file_server/upload_hpo_checkpoint", "1_2", b"state")
        .data();
    let clear = json!({"task_id": "1", "sub_id": "2"});
    harvester.data("POST", "file_server/delete_hpo_checkpoint", &clear);
    // Two parts of a worker's log, each a stream of zlib: `more`, stored.
    let part = b"\x78\x01\x01\x05\0\xfa\xffmore\n\x06\x0c\x01\xbe";
    for _ in 0..2 {
        let call = "file_server/upload_jedi_log";
        server.send_file(call, "h1__7.out", part).data();
    }
    // `set_log_file`: where people are told to look.
    assert_eq!(server.get("/cache/h1__7.out").text, "more\nmore\n");
}
