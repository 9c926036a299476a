//! What a kill or a stop leaves behind.

use serde_json::json;

use crate::harness::{QUEUE, Server};

#[test]
fn a_killed_server_keeps_all_that_it_acknowledged() {
    let mut server = Server::start();
    let task = server.submit("survivor", 3);
    let request = json!({"siteName": QUEUE, "prodSourceLabel": "managed", "node": "wn1"});
    let mut ids = Vec::new();
    for _ in 0..3 {
        let job = server.legacy("getJob", &request);
        ids.push(job.text("PandaID").parse::<u64>().unwrap());
    }
    let running = json!({"jobId": ids[0].to_string(), "state": "running", "attemptNr": 1});
    server.legacy("updateJob", &running);
    server.kill_and_restart();
    assert_eq!(server.job(ids[0])["status"], "running");
    assert_eq!(server.job(ids[1])["status"], "sent");
    // The pilot goes on as if nothing had been.
    server.legacy("updateJob", &running);
    let next = server.submit("later", 1);
    assert!(next > task);
    assert_eq!(server.legacy("getJob", &request).text("StatusCode"), "0");
}

#[test]
fn a_stop_ends_in_good_order() {
    let mut server = Server::start();
    server.submit("before", 1);
    assert_eq!(server.terminate(), Some(0));
    // The write-ahead log is folded into the database at a good end.
    assert!(!server.dir().join("server.db-wal").exists());
    server.kill_and_restart();
    let tasks = server.get("/ailurus/v1/tasks?chain=mc").json();
    assert_eq!(tasks[0]["name"], "before");
}
