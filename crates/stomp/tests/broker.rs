//! Messages through a real broker, and a peer that is none.

use std::{
    io::Write as _,
    net::{Ipv4Addr, TcpListener},
    thread,
    time::Duration,
};

use ailurus_stomp::{BrokerConfig, Connection, Encryption, StompError};
use ailurus_testkit::activemq::ActiveMq;

fn config(port: u16) -> BrokerConfig {
    BrokerConfig {
        host: "127.0.0.1".into(),
        port,
        credentials: None,
        encryption: Encryption::None,
        timeout: Duration::from_secs(20),
    }
}

#[test]
fn confirmed_messages_outlive_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut broker) = ActiveMq::start(folder.path()).unwrap() else {
        return;
    };
    let bodies: Vec<String> = (0..100).map(|nr| format!("{{\"jobid\": {nr}}}")).collect();
    let mut sender = Connection::open(&config(broker.port())).unwrap();
    for body in &bodies {
        let headers = [("type", "a:b\nc")];
        sender
            .send("/queue/panda_jobstatus", &headers, body.as_bytes())
            .unwrap();
    }
    sender.confirm().unwrap();
    broker.kill();
    let error = sender
        .send("/queue/panda_jobstatus", &[], b"{}")
        .and_then(|()| sender.confirm());
    assert!(matches!(error, Err(StompError::Broken { .. })), "{error:?}");
    broker.start_again().unwrap();
    let mut reader = Connection::open(&config(broker.port())).unwrap();
    reader.subscribe("/queue/panda_jobstatus").unwrap();
    for body in &bodies {
        let message = reader.receive().unwrap();
        assert_eq!(message.body, body.as_bytes());
        let is_type = |header: &(String, String)| header.0 == "type" && header.1 == "a:b\nc";
        assert!(message.headers.iter().any(is_type), "{:?}", message.headers);
    }
}

#[test]
fn a_peer_that_is_no_broker_is_named() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\nno\0")
            .unwrap();
    });
    let error = Connection::open(&config(port)).expect_err("no broker");
    assert!(
        matches!(error, StompError::Broken { .. } | StompError::Silent { .. }),
        "{error}"
    );
    peer.join().unwrap();
}

#[test]
fn a_silent_peer_and_a_closed_port_are_errors_in_time() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut silent = config(port);
    silent.timeout = Duration::from_millis(50);
    let error = Connection::open(&silent).expect_err("silence");
    assert!(matches!(error, StompError::Silent { .. }), "{error}");
    drop(listener);
    let error = Connection::open(&config(port)).expect_err("nobody there");
    assert!(matches!(error, StompError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&port.to_string()));
}
