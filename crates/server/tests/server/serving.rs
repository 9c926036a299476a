//! Files and small calls.

use serde_json::json;

use crate::harness::{QUEUE, Server, run};

#[test]
fn queue_and_storage_data_are_served_as_they_stand() {
    let server = Server::start();
    let record = server
        .get(&format!("/cache/schedconfig/{QUEUE}.all.json"))
        .json();
    assert_eq!(record["something_of_its_own"], 7);
    let map = server
        .get(&format!("/cache/schedconfig/{QUEUE}.json"))
        .json();
    assert_eq!(map, json!({ QUEUE: record }));
    for path in ["/ddmendpoints.json", "/cache/ddmendpoints.json"] {
        assert_eq!(server.get(path).json()["EOS"]["site"], "JINR");
    }
    assert_eq!(
        server.get("/cache/schedconfig/NOWHERE.all.json").status,
        404
    );
}

#[test]
fn scripts_are_served_from_their_folder_only() {
    let server = Server::start();
    assert_eq!(server.get("/trf/user/sim.py").text, "print('hello')\n");
    for path in [
        "/trf/user/..%2Fsecret",
        "/trf/user/%2e%2e%2fsecret",
        "/trf/user/nothing.py",
        "/trf/user/..",
        "/trf/user/.%00",
    ] {
        let answer = server.get(path);
        assert!(matches!(answer.status, 403 | 404), "{path}: {answer:?}");
        assert!(!answer.text.contains("secret\n"), "{path}");
    }
}

#[test]
fn signs_of_life_are_given_in_both_dialects() {
    let server = Server::start();
    assert_eq!(server.get("/server/panda/isAlive").text, "alive=yes");
    assert_eq!(server.get("/api/v1/system/is_alive").data(), json!(null));
}

#[test]
fn legacy_answers_are_forms_unless_json_is_accepted() {
    let server = Server::start();
    let request = format!("siteName={QUEUE}&prodSourceLabel=managed&node=wn1");
    let ask = |accept: &str| {
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        let headers = format!("{form}{accept}");
        server.send("POST", "/server/panda/getJob", &headers, request.as_bytes())
    };
    assert!(ask("").text.contains("StatusCode=20"));
    let none = ask("Accept: application/json\r\n").json();
    assert_eq!(none["StatusCode"], 20);
    assert_eq!(none["errorDialog"], "no jobs in PanDA");
}

#[test]
fn the_configuration_is_shown_with_the_origin_of_each_value() {
    let output = run(&["config", "show", "--database", "mine.db"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("database = \"mine.db\"  # command line"),
        "{text}"
    );
    assert!(text.contains("limits.heartbeat_timeout"), "{text}");
}
