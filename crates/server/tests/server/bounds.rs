//! What slow, silent and many clients cannot do.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use serde_json::json;

use crate::harness::{QUEUE, Server};

/// How long a test waits for what is to come.
const PATIENCE: Duration = Duration::from_secs(20);

fn connect(server: &Server, first: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(first.as_bytes()).unwrap();
    stream
}

fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_client_that_falls_silent_in_its_head_is_cut_off() {
    let server = Server::start_with("idle_timeout = \"200ms\"");
    assert_eq!(rest(connect(&server, "GET /server/pan")), "");
}

#[test]
fn a_client_that_holds_its_body_back_gets_an_error() {
    let server = Server::start_with("request_timeout = \"200ms\"");
    let head = "POST /server/panda/getJob HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\
                Connection: close\r\n\r\nsite";
    let answer = rest(connect(&server, head));
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[test]
fn further_connections_wait_for_a_free_place() {
    let server = Server::start_with("connections = 1\nidle_timeout = \"300ms\"");
    let holder = connect(&server, "GET /server/pan");
    // Its answer can come only once the silent one is cut off.
    assert_eq!(server.get("/server/panda/isAlive").text, "alive=yes");
    assert_eq!(rest(holder), "");
}

#[test]
fn many_pilots_at_once_never_get_the_same_job() {
    const PILOTS: usize = 8;
    const JOBS: u32 = 40;
    let server = Server::start();
    server.submit("shared", JOBS);
    let request = json!({"siteName": QUEUE, "prodSourceLabel": "managed", "node": "wn1"});
    let pilot = || {
        let mut ids = Vec::new();
        loop {
            let job = server.legacy("getJob", &request);
            match job.text("StatusCode").as_str() {
                "0" => ids.push(job.text("PandaID")),
                status => return (ids, status.to_owned()),
            }
        }
    };
    let taken: Vec<_> = thread::scope(|scope| {
        let pilots: Vec<_> = (0..PILOTS).map(|_| scope.spawn(pilot)).collect();
        pilots
            .into_iter()
            .map(|pilot| pilot.join().unwrap())
            .collect()
    });
    assert!(taken.iter().all(|(_, status)| status == "20"));
    let ids: Vec<&String> = taken.iter().flat_map(|(ids, _)| ids).collect();
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), unique.len()), (40, 40));
}
