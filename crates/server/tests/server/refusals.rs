//! What the server refuses, and that it serves on afterwards.

use serde_json::json;

use crate::harness::{Server, run, submission};

#[test]
fn a_method_that_is_not_there_is_forbidden_in_pandas_words() {
    let server = Server::start();
    for (path, method) in [
        ("/server/panda/dropTables", "dropTables"),
        ("/api/v1/pilot/dance", "dance"),
        ("/api/latest/system/is_alive", "is_alive"),
        ("/somewhere/else", "else"),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 403, "{path}");
        assert_eq!(answer.text, format!("ERROR : method {method} is forbidden"));
    }
}

#[test]
fn a_huge_body_is_refused() {
    let server = Server::start_with("body_limit = \"64 KiB\"");
    let huge = vec![b'x'; 200 * 1024];
    for path in ["/server/panda/updateJob", "/ailurus/v1/tasks"] {
        let answer = server.send("POST", path, "", &huge);
        assert_eq!(answer.status, 413, "{path}");
    }
    assert_eq!(server.get("/server/panda/isAlive").text, "alive=yes");
}

#[test]
fn a_garbage_body_is_refused() {
    let server = Server::start();
    let headers = "Content-Type: application/json\r\n";
    for garbage in [
        &b"\x1f\x8b\x00\xff"[..],
        b"{\"jobId\": ",
        b"[1, 2]",
        b"\xff\xfe",
    ] {
        for path in ["/server/panda/updateJob", "/api/v1/pilot/update_job"] {
            let answer = server.send("POST", path, headers, garbage);
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(answer.text.starts_with("ERROR : "), "{answer:?}");
        }
    }
    assert_eq!(
        server.get("/api/v1/system/is_alive").json()["success"],
        true
    );
}

#[test]
fn a_v1_request_is_checked_with_the_reference_servers_words() {
    let server = Server::start();
    let message = |answer: crate::harness::Answer| {
        assert_eq!(answer.status, 200);
        answer.json()["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        message(server.get("/api/v1/pilot/update_job")),
        "expecting POST, received GET"
    );
    assert_eq!(
        message(server.v1("harvester/acquire_commands", &json!({"harvester_id": "h"}))),
        "Argument error: missing a required argument: 'n_commands'"
    );
}

#[test]
fn a_task_with_an_unknown_key_is_refused_with_the_key() {
    let server = Server::start();
    let mut wrong = submission("typo", 1);
    wrong["tasks"][0]["prioritty"] = json!(5);
    let answer = server.submit_raw(&wrong);
    assert_eq!(answer.status, 400);
    let error = answer.json();
    assert_eq!(error["code"], "bad-submission");
    assert!(
        error["message"].as_str().unwrap().contains("prioritty"),
        "{error}"
    );
}

#[test]
fn errors_of_the_json_api_have_code_message_and_help() {
    let server = Server::start();
    server.submit("twice", 1);
    let again = server.submit_raw(&submission("twice", 1));
    assert_eq!(
        (again.status, &again.json()["code"]),
        (409, &json!("task-exists"))
    );
    assert_ne!(again.json()["help"], "");
    for (path, status, code) in [
        ("/ailurus/v1/jobs/999", 404, "unknown-job"),
        ("/ailurus/v1/jobs/abc", 400, "bad-value"),
        ("/ailurus/v1/jobs?status=dancing", 400, "bad-query"),
        ("/ailurus/v1/queues/NOWHERE", 404, "unknown-queue"),
        ("/ailurus/v1/datasets/spd:none", 404, "unknown-dataset"),
        ("/ailurus/v1/tickets", 404, "unknown-path"),
    ] {
        let answer = server.get(path);
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (status, &json!(code)),
            "{path}"
        );
    }
}

#[test]
fn a_configuration_with_an_unknown_key_is_refused_with_file_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    std::fs::write(&file, "databse = \"x.db\"\n").unwrap();
    let file = file.to_str().unwrap();
    for command in [&["serve"][..], &["config", "check"], &["config", "show"]] {
        let output = run(&[command, &["--config", file]].concat());
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        for part in [file, "databse", "database"] {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn an_address_that_others_reach_is_refused() {
    let output = run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("--insecure-any-address"), "{error}");
}
