//! Requests that no client makes: from the API's own description by a fuzzer, and by hand.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use ailurus_testkit::schemathesis;
use serde_json::{Value, json};

use crate::harness::{QUEUE, Server};

/// How long a test waits for what is to come.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests that the fuzzer makes for each operation.
const EXAMPLES: u32 = 20;

#[test]
fn the_fuzzer_finds_no_server_error() {
    let server = Server::start();
    let url = format!("http://{}/openapi.json", server.address());
    let output = schemathesis::fuzz(&url, EXAMPLES).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let log = server.log();
    assert!(!log.contains("please report this"), "{log}");
    let page = server.get("/api/v1/system/is_alive");
    assert_eq!(page.json()["success"], true);
}

#[test]
fn every_call_survives_every_type_in_every_field() {
    let server = Server::start();
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(1e308),
        json!("\u{0}"),
        json!("' OR 1=1 --"),
        json!("x".repeat(10_000)),
        json!([[[]]]),
        json!({"a": {"b": null}}),
    ];
    let document = server.get("/openapi.json").json();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let body = &operations["post"]["requestBody"]["content"]["application/json"];
        let Some(fields) = body["schema"]["properties"].as_object() else {
            continue;
        };
        for value in &values {
            let all: serde_json::Map<String, Value> = fields
                .keys()
                .map(|name| (name.clone(), value.clone()))
                .collect();
            let headers = "Content-Type: application/json\r\nAccept: application/json\r\n";
            let text = Value::Object(all).to_string();
            let answer = server.send("POST", path, headers, text.as_bytes());
            assert!(answer.status < 500, "{path} {value}: {answer:?}");
        }
    }
}

#[test]
fn half_a_request_and_a_reset_harm_nobody() {
    let server = Server::start();
    for half in [
        "POST /server/panda/updateJob HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"jo",
        "POST /api/v1/pilot/update_job HTTP/1.1\r\nHost: x\r\n",
        "GET /api/v1/system/is_alive",
        "\u{0}\u{1}\u{2}",
    ] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(half.as_bytes()).unwrap();
        drop(stream);
    }
    assert_eq!(server.get("/server/panda/isAlive").text, "alive=yes");
}

#[test]
fn a_body_that_lies_about_its_length_or_form_is_refused() {
    let server = Server::start();
    let send = |head: &str, body: &[u8]| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        // A refusal may end the connection before all is read.
        drop(stream.read_to_string(&mut answer));
        answer
    };
    let lie = "POST /api/v1/harvester/heartbeat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
        Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n";
    assert!(send(lie, b"{}").contains("413"));
    let upload = "POST /api/v1/file_server/upload_cache_file HTTP/1.1\r\nHost: x\r\n\
        Connection: close\r\nContent-Type: multipart/form-data\r\nContent-Length: 4\r\n\r\n";
    assert!(send(upload, b"none").contains("400"));
    let missing = "POST /api/v1/file_server/upload_cache_file HTTP/1.1\r\nHost: x\r\n\
        Connection: close\r\nContent-Type: application/json\r\nAccept: application/json\r\n\
        Content-Length: 2\r\n\r\n";
    let answer = send(missing, b"{}");
    assert!(
        answer.contains("missing a required argument: 'file'"),
        "{answer}"
    );
}

#[test]
fn a_deep_json_is_refused_and_not_followed() {
    let server = Server::start();
    let deep = format!(
        "{{\"harvester_id\": \"h\", \"data\": {}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let headers = "Content-Type: application/json\r\n";
    let answer = server.send(
        "POST",
        "/api/v1/harvester/heartbeat",
        headers,
        deep.as_bytes(),
    );
    assert_eq!(answer.status, 400, "{answer:?}");
    let known = server.v1(
        "harvester/report_worker_statistics",
        &json!({"harvester_id": "h", "panda_queue": QUEUE, "statistics": "{\"a\": 1}"}),
    );
    assert_eq!(known.json()["success"], false);
}
