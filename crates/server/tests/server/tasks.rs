//! Tasks of PanDA, as panda-client sends and asks for them.

use serde_json::{Value, json};

use crate::harness::{QUEUE, Server, wait_for};

fn parameters(name: &str, jobs: u32) -> Value {
    json!({
        "taskName": name, "userName": "prod", "taskType": "prod", "prodSourceLabel": "managed",
        "vo": "spd", "processingType": "gen", "noInput": true, "nEvents": jobs,
        "nEventsPerJob": 1, "skipScout": true, "transPath": "gen.sh", "architecture": "",
        "cliParams": "prun --exec gen.sh",
        "log": {"type": "template", "param_type": "log", "dataset": format!("{name}.log"),
                "value": format!("{name}.$JEDITASKID.${{SN}}.log.tgz")},
        "jobParameters": [
            {"type": "constant", "value": "-n ${MAXEVENTS}"},
            {"type": "template", "param_type": "output", "dataset": format!("{name}.hits"),
             "value": format!("--out={name}.$JEDITASKID._${{SN/P}}.root")},
        ],
    })
}

fn submit(server: &Server, params: &Value) -> u64 {
    let answer = server.v1("task/submit", &json!({"task_parameters": params}));
    let envelope = answer.json();
    assert_eq!(envelope["success"], true, "{envelope}");
    let id = envelope["data"].as_u64().unwrap();
    assert_eq!(
        envelope["message"],
        format!("succeeded. new jediTaskID={id}")
    );
    id
}

fn status(server: &Server, id: u64) -> String {
    let answer = server.get(&format!("/api/v1/task/get_status?task_id={id}"));
    answer.data().as_str().unwrap().to_owned()
}

fn wait_until(server: &Server, id: u64, wanted: &str) {
    wait_for(&format!("task {id} to be {wanted}"), || {
        (status(server, id) == wanted).then_some(())
    });
}

#[test]
fn a_task_is_submitted_run_and_looked_at() {
    let server = Server::start();
    let id = submit(&server, &parameters("spd.gen", 2));
    wait_until(&server, id, "running");
    let ids = server.get(&format!("/api/v1/task/get_job_ids?task_id={id}"));
    assert_eq!(ids.data().as_array().unwrap().len(), 2);
    for _ in 0..2 {
        let request = json!({"site_name": QUEUE, "timeout": 60, "prod_source_label": "managed"});
        let jobs = server.v1("pilot/acquire_jobs", &request).data();
        let job = &jobs["jobs"][0];
        assert!(
            job["jobPars"]
                .as_str()
                .unwrap()
                .starts_with("-n 1 --out=spd.gen."),
            "{job}"
        );
        let report: Value = job["outFiles"]
            .as_str()
            .unwrap()
            .split(',')
            .map(|lfn| {
                let file = json!({
                    "guid": format!("FFFFFFFF-FFFF-4FFF-BFFF-{:012}", lfn.len()),
                    "fsize": 1234, "adler32": "0000001f",
                    "surl": format!("file:///eos/{lfn}"), "endpoint": ["EOS"],
                });
                (lfn.to_owned(), file)
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        let update = json!({
            "job_id": job["PandaID"], "job_status": "finished", "attempt_nr": 1, "node": "wn1",
            "job_output_report": report.to_string(),
        });
        assert_eq!(
            server.v1("pilot/update_job", &update).json()["success"],
            true
        );
    }
    wait_until(&server, id, "done");
    let details = server
        .get(&format!(
            "/api/v1/task/get_details?task_id={id}&include_status=true"
        ))
        .data();
    assert_eq!(details["statistics"], "finished*2");
    assert_eq!(details["status"], "done");
    assert_eq!(details["outDS"], "spd.gen.hits");
    let columns = server
        .get(&format!("/api/v1/task/get_detailed_info?task_id={id}"))
        .data();
    assert_eq!(columns["nFilesFinished"], 2);
    assert_eq!(columns["pctFinished"], 100);
    assert_eq!(columns["task_creation_arguments"], "prun --exec gen.sh");
    assert!(columns["creationDate"]["__datetime__"].is_string());
    let jobs = server
        .get(&format!("/api/v1/task/get_job_descriptions?task_id={id}"))
        .data();
    assert_eq!(jobs.as_array().unwrap().len(), 2);
    let listed = server
        .get(&format!(
            "/api/v1/task/get_datasets_and_files?task_id={id}&dataset_types=output"
        ))
        .data();
    assert_eq!(listed[0]["files"].as_array().unwrap().len(), 2, "{listed}");
}

#[test]
fn tasks_are_listed_by_what_they_are() {
    let server = Server::start();
    let first = submit(&server, &parameters("one", 1));
    submit(&server, &parameters("other", 1));
    let list = |filters: &str| {
        let path =
            format!("/api/v1/task/get_tasks_detailed_info_since?n_tasks=10&filters={filters}");
        let found = server.get(&path).data();
        let found = found.as_array().unwrap().clone();
        found
            .iter()
            .map(|task| task["taskName"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(list("%7B%22jediTaskID%22:%221%22%7D").len(), 1);
    assert_eq!(list("%7B%22taskName%22:%22o.%2A%22%7D").len(), 2);
    assert_eq!(list("%7B%22taskName%22:%22one%22%7D"), ["one"]);
    // A task without a request is its own: `pbook` asks so for small numbers.
    assert_eq!(list("%7B%22reqID%22:%222%22%7D"), ["other"]);
    assert!(list("%7B%22reqID%22:%2299%22%7D").is_empty());
    assert_eq!(list("%7B%7D&since=2020-01-01%2000:00:00").len(), 2);
    assert!(list("%7B%22jediTaskID%22:1%7D&since=2100-01-01%2000:00:00").is_empty());
    let path = "/api/v1/task/get_tasks_modified_since?since=2020-01-01%2000:00:00\
                &dn=/CN=prod&prod_source_label=managed";
    let changed = server.get(path).data();
    assert_eq!(changed[first.to_string()]["taskName"], "one", "{changed}");
}

#[test]
fn commands_answer_with_pandas_codes() {
    let server = Server::start();
    let id = submit(&server, &parameters("killed", 3));
    wait_until(&server, id, "running");
    let command = |name: &str, fields: &Value| server.v1(name, fields).json();
    let unknown = command("task/kill", &json!({"task_id": 99}));
    assert_eq!(
        (&unknown["success"], &unknown["data"]),
        (&json!(false), &json!(2))
    );
    let early = command("task/retry", &json!({"task_id": id, "new_parameters": {}}));
    assert_eq!(
        (&early["success"], &early["data"]),
        (&json!(true), &json!(4)),
        "{early}"
    );
    let killed = command("task/kill", &json!({"task_id": id}));
    assert_eq!(
        (&killed["success"], &killed["data"]),
        (&json!(true), &json!(0)),
        "{killed}"
    );
    wait_until(&server, id, "aborted");
    let again = command("task/kill", &json!({"task_id": id}));
    assert_eq!(again["data"], 4);
    let reloaded = command("task/reload_input", &json!({"task_id": id}));
    assert_eq!(reloaded["data"], 0, "{reloaded}");
    wait_until(&server, id, "running");
}

#[test]
fn a_retry_with_new_parameters_answers_as_pbook_wants_it() {
    let server = Server::start();
    let mut params = parameters("changed", 2);
    params["taskType"] = "anal".into();
    params["prodSourceLabel"] = "user".into();
    let id = submit(&server, &params);
    wait_until(&server, id, "running");
    let retry = |fields: &Value| {
        let fields = json!({"task_id": id, "new_parameters": fields});
        server.v1("task/retry", &fields).json()["data"].clone()
    };
    assert_eq!(retry(&json!({"ramCount": 3000})), 3);
    assert_eq!(retry(&json!({})), 0);
    let path = format!("/api/v1/task/get_detailed_info?task_id={id}");
    assert_eq!(server.get(&path).data()["ramCount"], 3000);
    server.v1("task/kill", &json!({"task_id": id})).data();
    wait_until(&server, id, "aborted");
    assert_eq!(retry(&json!({})), 4);
    assert_eq!(retry(&json!({"ramCount": 4000})), 3);
    wait_until(&server, id, "running");
}

#[test]
fn a_killed_server_goes_on_with_a_task_where_it_was() {
    let mut server = Server::start_with("[tasks]\njobs_per_step = 10\n");
    let id = submit(&server, &parameters("long", 2000));
    server.kill_and_restart();
    wait_for("all jobs of the task", || {
        let ids = server.get(&format!("/api/v1/task/get_job_ids?task_id={id}"));
        (ids.data().as_array().unwrap().len() == 2000).then_some(())
    });
}

#[test]
fn people_submit_and_steer_tasks_by_the_servers_own_api() {
    let server = Server::start();
    let post = |path: &str, body: &str| {
        let headers = "Content-Type: application/json\r\n";
        server.send(
            "POST",
            &format!("/ailurus/v1/{path}"),
            headers,
            body.as_bytes(),
        )
    };
    let bad = post("panda-tasks", "[]");
    assert_eq!((bad.status, &bad.json()["code"]), (400, &json!("bad-task")));
    let nameless = post("panda-tasks", "{}");
    assert_eq!(nameless.status, 400, "{nameless:?}");
    assert!(
        nameless.json()["message"]
            .as_str()
            .unwrap()
            .contains("taskName")
    );
    let made = post("panda-tasks", &parameters("steered", 2).to_string());
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["tasks"][0]["id"].as_u64().unwrap();
    wait_until(&server, id, "running");
    assert_eq!(post(&format!("tasks/{id}/pause"), "").status, 200);
    assert_eq!(status(&server, id), "paused");
    let again = post(&format!("tasks/{id}/pause"), "");
    assert_eq!(
        (again.status, &again.json()["code"]),
        (409, &json!("wrong-status"))
    );
    assert_eq!(post(&format!("tasks/{id}/resume"), "").status, 200);
    assert_eq!(post(&format!("tasks/{id}/finish"), "").status, 200);
    wait_until(&server, id, "failed");
    assert_eq!(post("tasks/99/pause", "").status, 404);
    let file = server.submit("file", 1);
    let refused = post(&format!("tasks/{file}/pause"), "");
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("not-of-panda"))
    );
}
