//! Queue and storage files that change while the server runs.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{QUEUE, Server, wait_for};

const QUEUE_ADDRESS: &str = "/ailurus/v1/queues/JINR_SPD";

fn status(server: &Server) -> Value {
    server.get(QUEUE_ADDRESS).json()["status"].clone()
}

/// Moves a new file into the place of an old one, as careful tools do.
fn replace(server: &Server, name: &str, text: &str) {
    let new = server.dir().join("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, server.dir().join(name)).unwrap();
}

fn queue_file(server: &Server) -> Value {
    let text = fs::read(server.dir().join("queues.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn wait_for_log(server: &Server, what: &str) {
    wait_for(what, || server.log().contains(what).then_some(()));
}

#[test]
fn changed_queue_and_storage_data_are_taken_up_without_a_restart() {
    let server = Server::start();
    assert_eq!(status(&server), "online");
    let mut queues = queue_file(&server);
    queues[QUEUE]["status"] = json!("offline");
    replace(&server, "queues.json", &queues.to_string());
    wait_for("the new status", || {
        (status(&server) == "offline").then_some(())
    });
    let served = server.get("/cache/schedconfig/JINR_SPD.all.json").json();
    assert_eq!(served["status"], "offline");
    replace(&server, "storages.json", "{}");
    wait_for("the new storages", || {
        (server.get("/ddmendpoints.json").text == "{}").then_some(())
    });
    let settings = "/cache/schedconfig/pilot_gdp_config.json";
    assert_eq!(server.get(settings).json(), json!({"spd": {"TAIL": "on"}}));
    replace(&server, "pilots.json", "{\"spd\": {}}");
    wait_for("the new settings of pilots", || {
        (server.get(settings).text == "{\"spd\": {}}").then_some(())
    });
}

#[test]
fn a_changed_file_of_no_use_is_complained_of_once_and_changes_nothing() {
    let server = Server::start();
    let good = queue_file(&server);
    replace(&server, "queues.json", "{\"JINR_SPD\": {");
    wait_for_log(&server, "changed site data cannot be used");
    fs::remove_file(server.dir().join("queues.json")).unwrap();
    wait_for_log(&server, "No such file");
    assert_eq!(status(&server), "online");
    let mut better = good;
    better[QUEUE]["status"] = json!("test");
    replace(&server, "queues.json", &better.to_string());
    wait_for("the new status", || {
        (status(&server) == "test").then_some(())
    });
    // One complaint for each of the two useless states, with the file's name.
    let log = server.log();
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(complaints.len(), 2, "{complaints:#?}");
    assert!(complaints.iter().all(|line| line.contains("queues.json")));
}
