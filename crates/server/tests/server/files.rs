//! Files that users send, and jobs fetch.

use serde_json::{Value, json};

use crate::harness::{Answer, Server};

const BOUNDARY: &str = "xxxxxxxx";

impl Server {
    /// Sends a file as clients do.
    pub(crate) fn send_file(&self, call: &str, name: &str, content: &[u8]) -> Answer {
        let mut body = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(content);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let headers = format!(
            "Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nAccept: application/json\r\n"
        );
        self.send("POST", &format!("/api/v1/{call}"), &headers, &body)
    }

    fn upload(&self, name: &str, content: &[u8]) -> Value {
        self.send_file("file_server/upload_cache_file", name, content)
            .json()
    }
}

/// Bytes that end as a gzip file with the checksum 77 does.
const ARCHIVE: &[u8] = b"some bytes\x4d\0\0\0\x09\0\0\0";

#[test]
fn a_sandbox_is_sent_once_and_fetched_by_jobs() {
    let server = Server::start();
    let same = json!({"file_size": ARCHIVE.len(), "checksum": 77});
    let ask = || server.v1("file_server/validate_cache_file", &same).json();
    assert_eq!(ask()["message"], "NOTFOUND");
    assert_eq!(server.upload("tmp/jobO.1.tar.gz", ARCHIVE)["success"], true);
    assert_eq!(ask()["success"], true);
    let message = ask()["message"].to_string();
    assert!(
        message.starts_with("\"FOUND:127.0.0.1:jobO.1.tar.gz"),
        "{message}"
    );

    let fetched = server.get("/cache/jobO.1.tar.gz");
    assert_eq!((fetched.status, fetched.text.as_bytes()), (200, ARCHIVE));
    let part = server.send("GET", "/cache/jobO.1.tar.gz", "Range: bytes=5-9\r\n", b"");
    assert_eq!((part.status, &*part.text), (206, "bytes"));
}

#[test]
fn a_file_is_replaced_only_where_its_name_says_so() {
    let server = Server::start();
    let upload = |name: &str, content: &str| server.upload(name, content.as_bytes());
    assert_eq!(upload("jobO.1.tar.gz", "one")["success"], true);
    let again = upload("jobO.1.tar.gz", "two");
    assert_eq!(again["success"], false);
    assert_eq!(again["message"], "ERROR: cannot overwrite file");
    assert_eq!(server.get("/cache/jobO.1.tar.gz").text, "one");
    for content in ["one", "two"] {
        assert_eq!(upload("a.__ow__", content)["success"], true);
        assert_eq!(server.get("/cache/a.__ow__").text, content);
    }
}

#[test]
fn no_name_leads_out_of_the_cache() {
    let server = Server::start();
    for name in ["..", ".hidden", "a/.."] {
        assert_eq!(server.upload(name, b"x")["success"], false, "{name}");
    }
    for path in [
        "/cache/..%2Fserver.toml",
        "/cache/.incoming",
        "/cache/%2Fetc%2Fpasswd",
        "/cache/jedilog",
        "/cache/absent",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

#[test]
fn a_file_that_is_too_large_is_refused_and_leaves_nothing() {
    let server = Server::start();
    let large = vec![7; (10 << 20) + 1];
    let answer = server.upload("jobO.1.tar.gz", &large);
    assert_eq!(answer["success"], false);
    let message = answer["message"].to_string();
    assert!(message.contains("Exceeded size limit"), "{message}");
    assert_eq!(server.get("/cache/jobO.1.tar.gz").status, 404);
    assert_eq!(server.upload("job.out", &large)["success"], true);
}

#[test]
fn logs_of_tasks_grow_and_are_read_from_any_byte() {
    let server = Server::start();
    let sent = server.send_file("file_server/upload_jedi_log", "task.log", b"begin\n");
    let url = sent.data();
    assert!(
        url.as_str()
            .is_some_and(|url| url.ends_with("/cache/jedilog/task.log")),
        "{url}"
    );
    // "more\n" by zlib, stored.
    let more = b"\x78\x01\x01\x05\0\xfa\xffmore\n\x06\x0c\x01\xbe";
    let added = server
        .send_file("file_server/update_jedi_log", "task.log", more)
        .json();
    assert_eq!(added["success"], true, "{added}");
    let read = |offset| {
        let path = "/api/v1/file_server/download_jedi_log?log_name=task.log&offset=";
        server.get(&format!("{path}{offset}")).text
    };
    assert_eq!(read(0), " begin\nmore\n");
    assert_eq!(read(6), " more\n");
    assert_eq!(server.get("/cache/jedilog/task.log").text, "begin\nmore\n");
}

#[test]
fn checkpoints_come_and_go() {
    let server = Server::start();
    let call = "file_server/upload_hpo_checkpoint";
    assert_eq!(
        server.send_file(call, "7_ab-1", b"x").data(),
        "/cache/hpo_cp_7_ab-1"
    );
    assert_eq!(server.get("/cache/hpo_cp_7_ab-1").status, 200);
    assert_eq!(
        server.send_file(call, "seven", b"x").json()["success"],
        false
    );
    let gone = json!({"task_id": "7", "sub_id": "ab-1"});
    let delete = || server.v1("file_server/delete_hpo_checkpoint", &gone).json();
    assert_eq!(delete()["success"], true);
    assert_eq!(delete()["success"], false);
    assert_eq!(server.get("/cache/hpo_cp_7_ab-1").status, 404);
}
