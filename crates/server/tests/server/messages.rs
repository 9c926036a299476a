//! Changes of status for those who listen: a message broker and server-sent events.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

use ailurus_stomp::{BrokerConfig, Connection, Encryption, StompError};
use ailurus_testkit::activemq::ActiveMq;
use serde_json::{Value, json};

use crate::harness::{QUEUE, Server};

/// How long a message may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

fn listener(broker: &ActiveMq, destination: &str) -> Connection {
    let config = BrokerConfig {
        host: "127.0.0.1".into(),
        port: broker.port(),
        credentials: None,
        encryption: Encryption::None,
        timeout: PATIENCE,
    };
    let mut connection = Connection::open(&config).unwrap();
    connection.subscribe(destination).unwrap();
    connection
}

fn next(connection: &mut Connection) -> Result<Value, StompError> {
    let message = connection.receive()?;
    Ok(serde_json::from_slice(&message.body).unwrap())
}

#[test]
fn changes_reach_the_broker_whatever_dies_between() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut broker) = ActiveMq::start(folder.path()).unwrap() else {
        return;
    };
    let lines = format!(
        "[messages]\nbroker = \"stomp://127.0.0.1:{}\"\njobs = \"all\"\nlease = \"1s\"\n\
         pilots = [\"/queue/pilots\"]",
        broker.port()
    );
    let mut server = Server::start_with(&lines);
    // The first sign of the teller: from here on changes are told.
    let mut reader = listener(&broker, "/queue/panda_jobstatus");
    let first = server.submit("before", 1);
    let seen = next(&mut reader).unwrap();
    assert_eq!(seen["taskid"], first);
    drop(reader);

    broker.kill();
    let task = server.submit("told", 1);
    server.kill_and_restart();
    let killed = server.send("POST", &format!("/ailurus/v1/tasks/{task}/kill"), "", b"");
    assert_eq!(killed.status, 200, "{killed:?}");
    broker.start_again().unwrap();

    let mut reader = listener(&broker, "/queue/panda_jobstatus");
    let mut told: Vec<(String, String)> = Vec::new();
    let is_end = |told: &(String, String)| told.0 == "task_status" && told.1 == "aborted";
    while !told.iter().any(is_end) {
        let message = next(&mut reader).unwrap();
        if message["taskid"] != task {
            continue;
        }
        let text = |key: &str| message[key].as_str().unwrap().to_owned();
        if message["msg_type"] == "job_status" && message["status"] == "activated" {
            assert_eq!(message["computingsite"], QUEUE);
        }
        told.push((text("msg_type"), text("status")));
    }
    for status in ["activated", "cancelled"] {
        let is_there = told
            .iter()
            .any(|(kind, told)| kind == "job_status" && told == status);
        assert!(is_there, "{status}: {told:?}");
    }
    let mut pilots = listener(&broker, "/queue/pilots");
    let word = next(&mut pilots).unwrap();
    assert_eq!(
        (&word["msg_type"], &word["taskid"]),
        (&json!("kill_task"), &json!(task))
    );
}

/// Reads events until one that `is_wanted`; returns their numbers and the wanted one's data.
fn read_events(
    server: &Server,
    query: &str,
    headers: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> (Vec<u64>, Value) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET /ailurus/v1/events{query} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut ids = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        if let Some(id) = line.strip_prefix("id: ") {
            ids.push(id.parse().unwrap());
        }
        let data = line.strip_prefix("data: ");
        let data = data.map(|text| serde_json::from_str::<Value>(text).unwrap());
        // The number stands after the data or before it: at the end of the event both were seen.
        if let Some(data) = data.filter(&is_wanted) {
            return (ids, data);
        }
    }
    panic!("the events ended");
}

#[test]
fn events_go_on_where_a_client_left_off() {
    let mut server = Server::start();
    let task = server.submit("watched", 2);
    let query = format!("?after=0&task={task}");
    let is_activated = |data: &Value| data["new"] == "activated" && data["job"].is_u64();
    let (ids, event) = read_events(&server, &query, "", is_activated);
    assert_eq!(
        (&event["task"], &event["queue"]),
        (&json!(task), &json!(QUEUE))
    );
    server.kill_and_restart();
    let killed = server.send("POST", &format!("/ailurus/v1/tasks/{task}/kill"), "", b"");
    assert_eq!(killed.status, 200, "{killed:?}");
    let last = ids.last().copied().unwrap_or(0);
    let header = format!("Last-Event-ID: {last}\r\n");
    let (later, event) = read_events(&server, "", &header, |data| data["new"] == "aborted");
    assert!(later.iter().all(|id| *id > last), "{last}: {later:?}");
    assert_eq!(event["task"], task);
    let other = read_events(&server, "?after=0", "", |data| data["new"] == "cancelled");
    assert!(other.0.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_server_ends_in_time_although_somebody_watches() {
    let mut server = Server::start();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"GET /ailurus/v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert!(lines.next().unwrap().unwrap().contains("200"));
    assert_eq!(server.terminate(), Some(0));
    assert!(!server.log().contains("are given up"), "{}", server.log());
}

#[test]
fn a_broker_that_cannot_be_is_refused_at_the_start() {
    for (lines, part) in [
        ("broker = \"http://x\"", "messages.broker"),
        ("broker = \"stomps://x\"", "messages.authorities"),
        (
            "login = \"a\"\nbroker = \"stomp://x\"",
            "messages.passcode_file",
        ),
        ("jobs = \"some\"", "messages.jobs"),
        ("lease = \"1ms\"", "messages.lease"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.toml");
        std::fs::write(&file, format!("[messages]\n{lines}")).unwrap();
        let output = crate::harness::run(&["config", "check", "--config", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{lines}: {said}");
    }
}
