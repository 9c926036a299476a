//! Harvester's calls as Harvester makes them, and people's calls about Harvesters.

use serde_json::{Value, json};

use crate::harness::{QUEUE, Server};

fn report(server: &Server) {
    let counts = json!({"managed": {"SCORE": {"running": 3, "submitted": 1}}});
    let body = json!({"harvester_id": "h1", "panda_queue": QUEUE,
        "statistics": counts.to_string()});
    server
        .v1("harvester/report_worker_statistics", &body)
        .data();
}

fn commands(server: &Server) -> Value {
    let body = json!({"harvester_id": "h1", "n_commands": 10, "timeout": 30});
    server.v1("harvester/acquire_commands", &body).data()
}

#[test]
fn a_sweep_reaches_the_instance_once_and_is_acknowledged() {
    let server = Server::start();
    let sweep = |queue: &str| {
        let body = json!({"panda_queue": queue, "status_list": ["submitted"],
            "ce_list": ["ALL"], "submission_host_list": []});
        server.v1("harvester/add_sweep_command", &body).json()
    };
    assert_eq!(sweep("NOWHERE")["success"], false);
    assert_eq!(sweep(QUEUE)["success"], false, "nobody serves the queue");
    report(&server);
    assert_eq!(sweep(QUEUE)["success"], true);
    let given = commands(&server);
    assert_eq!(given[0]["command"], "KILL_WORKERS");
    assert_eq!(
        given[0]["params"],
        json!({"status": ["submitted"], "computingSite": [QUEUE],
            "computingElement": "ALL", "submissionHost": "ALL"})
    );
    assert_eq!(given[0]["ack_requested"], 0);
    assert_eq!(commands(&server), json!([]));
    let body = json!({"command_ids": [given[0]["command_id"]]});
    server.v1("harvester/acknowledge_commands", &body).data();
    // An older instance asks in the older dialect.
    sweep(QUEUE);
    let answer = server.legacy(
        "getCommands",
        &json!({"harvester_id": "h1", "n_commands": 5}),
    );
    assert_eq!(answer.text("StatusCode"), "0");
    assert!(answer.text("Commands").contains("KILL_WORKERS"));
    let ids = json!({"command_ids": "[1, 2]"});
    assert_eq!(server.legacy("ackCommands", &ids).text("Returns"), "0");
}

#[test]
fn an_instance_is_heard_from_its_first_heartbeat() {
    let server = Server::start();
    let data = json!({"startTime": "datetime/2026-01-01 10:00:00.000000", "sw_version": "0.7.5",
        "commit_stamp": "c0ffee", "commands": [{"command": "REPORT_WORKER_STATS"}]});
    for data in [data, json!({})] {
        let body = json!({"harvester_id": "h1", "data": data});
        server.v1("harvester/heartbeat", &body).data();
    }
    let dialogs = json!([{"diagID": 1, "moduleName": "submitter", "identifier": "Q",
        "creationTime": "datetime/2026-01-01 10:00:00.000000", "messageLevel": "ERROR",
        "diagMessage": "no"}, "what"]);
    let body = json!({"harvester_id": "h1", "dialogs": dialogs});
    server.v1("harvester/add_dialogs", &body).data();
    let metrics = json!([["datetime/2026-01-01 10:00:00.000000", "host", {"rss_mib": 3}], 7]);
    let body = json!({"harvester_id": "h1", "metrics": metrics});
    server.v1("harvester/update_service_metrics", &body).data();
    let slots = json!({"panda_queue": QUEUE, "slots": 7, "expiration_date": "2036-01-01 00:00:00"});
    server.v1("harvester/add_target_slots", &slots).data();
    let slots = json!({"panda_queue": QUEUE, "slots": -7});
    let refused = server.v1("harvester/add_target_slots", &slots).json();
    assert_eq!(refused["success"], false);
}

#[test]
fn numbers_of_workers_are_told_as_they_were_reported() {
    let server = Server::start();
    let told = || server.get("/api/v1/harvester/get_worker_statistics").data();
    assert_eq!(told(), json!({QUEUE: {}}));
    let jobs = "/api/v1/statistics/active_job_detailed_stats_by_site";
    assert_eq!(server.get(jobs).data(), json!({QUEUE: {}}));
    report(&server);
    assert_eq!(
        told(),
        json!({QUEUE: {"h1": {"managed": {"SCORE": {"running": 3, "submitted": 1}}}}})
    );
}

#[test]
fn the_end_of_a_worker_ends_its_job_only_where_that_is_sure() {
    let server = Server::start();
    let task = server.submit("in-workers", 1);
    let job = json!({"siteName": QUEUE, "prodSourceLabel": "managed", "mem": 0, "diskSpace": 0,
        "node": "n1", "harvester_id": "h1", "worker_id": 5});
    let id: u64 = server
        .legacy("getJob", &job)
        .text("PandaID")
        .parse()
        .unwrap();
    let attempt = |sync| {
        let worker = json!({"workerID": 5, "computingSite": QUEUE, "status": "failed",
            "syncLevel": sync, "diagMessage": "preempted", "stdOut": "https://logs/1"});
        let body = json!({"harvester_id": "h1", "workers": [worker, {"workerID": "x"}]});
        let taken = server.v1("harvester/update_workers", &body).data();
        assert_eq!(taken, json!([true, false]));
        server.job(id)["attempt_nr"].clone()
    };
    assert_eq!(attempt(0), 1, "task {task}");
    assert_eq!(attempt(1), 2);
}

#[test]
fn worker_nodes_are_taken() {
    let server = Server::start();
    let node = json!({"site": "JINR", "host_name": "n1", "cpu_model": "EPYC", "clock_speed": 2250,
        "total_memory": 512, "timeout": 60});
    server.v1("pilot/update_worker_node", &node).data();
    let gpu = json!({"site": "JINR", "host_name": "n1", "vendor": "NVIDIA", "model": "A100",
        "count": 4});
    server.v1("pilot/update_worker_node_gpu", &gpu).data();
    let refused = server.v1("pilot/update_worker_node", &json!({"site": "JINR"}));
    assert_eq!(
        refused.json()["message"],
        "Argument error: missing a required argument: 'host_name'"
    );
}

#[test]
fn jobs_are_counted_by_everything_that_statistics_want() {
    let server = Server::start();
    server.submit("counted", 2);
    let data = |call: &str| server.get(&format!("/api/v1/statistics/{call}")).data();
    assert_eq!(
        data("active_job_stats_by_site"),
        json!({QUEUE: {"activated": 2, "assigned": 0, "running": 0}})
    );
    assert_eq!(
        data("active_job_detailed_stats_by_site"),
        json!({QUEUE: {"SCORE": {"managed": {"activated": 2, "assigned": 0, "running": 0}}}})
    );
    assert_eq!(
        data("job_stats_by_site_and_resource_type?time_window=60"),
        json!({QUEUE: {"SCORE": {"activated": 2}}})
    );
    let by_share = data("job_stats_by_site_share_and_resource_type");
    assert!(by_share[QUEUE].is_object(), "{by_share}");
    assert_eq!(
        data("production_job_stats_by_cloud_and_processing_type"),
        json!({"WORLD": {"simulation": {"activated": 2}}})
    );
    assert_eq!(
        data("job_stats_by_cloud"),
        json!({"WORLD": {"activated": 2}})
    );
    assert_eq!(data("job_stats_by_cloud?type=analysis"), json!({}));
    for wrong in [
        "job_stats_by_cloud?type=x",
        "job_stats_by_site_and_resource_type?time_window=-1",
        "job_stats_by_site_and_resource_type?time_window=10081",
    ] {
        let answer = server.get(&format!("/api/v1/statistics/{wrong}")).json();
        assert_eq!(answer["success"], false, "{wrong}");
    }
}

#[test]
fn the_server_tells_what_it_hears_and_whom() {
    let server = Server::start();
    let answer = server
        .get("/api/v1/system/get_attributes?a=1&b=x&b=y")
        .json();
    assert_eq!(answer["data"]["parameters"]["a"], "1");
    assert!(answer["message"].as_str().unwrap().contains("a = 1"));
    let user = server.get("/api/v1/system/get_user_attributes").data();
    assert_eq!(user["is_production_user"], true);
    assert_eq!(
        server.get("/api/v1/system/get_voms_attributes").data(),
        json!({})
    );
    assert_eq!(
        server.get("/api/v1/metaconfig/get_banned_users").data(),
        json!({})
    );
    let specs = server.get("/api/v1/metaconfig/get_site_specs").data();
    assert_eq!(specs[QUEUE]["sitename"], QUEUE);
    assert_eq!(specs[QUEUE]["something_of_its_own"], 7);
}

#[test]
fn who_does_not_ask_for_json_reads_python() {
    let server = Server::start();
    let answer = server.send("GET", "/api/v1/system/is_alive", "", b"");
    assert_eq!(
        answer.text,
        "{'success': True, 'message': '', 'data': None}"
    );
}
