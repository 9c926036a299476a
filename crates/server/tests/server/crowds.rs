//! Many, slow and rude clients, over HTTP and over HTTPS: none holds the others up.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use crate::identity::{self, Secure};

/// How long a test waits for what is to come.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two bytes of a slow client.
const DRIP: Duration = Duration::from_millis(50);
/// Connections that do nothing, of each of three kinds.
const IDLE: usize = 1000;
/// Files that the server and the test may have open with all of these.
const FILES: u64 = 8192;
/// Answers of a mebibyte each that no buffer on the way holds together.
const LARGE_ANSWERS: usize = 64;

const ALIVE: &str = "GET /server/panda/isAlive HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// How a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Tls,
}

const WAYS: [Way; 2] = [Way::Plain, Way::Tls];

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A server that is reached both ways.
struct House {
    secure: Secure,
    tls: Arc<ClientConfig>,
}

impl House {
    /// Starts one; none if there is no `openssl`.
    fn build(lines: &str) -> Option<Self> {
        let secure = identity::start("", &format!("trust_loopback = true\n{lines}"))?;
        let authority = CertificateDer::from_pem_file(secure.certificates.authority()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Some(Self {
            secure,
            tls: Arc::new(tls),
        })
    }

    fn address(&self, way: Way) -> String {
        match way {
            Way::Plain => self.secure.server.address().to_owned(),
            Way::Tls => self.secure.url().replace("https://", ""),
        }
    }

    fn connect(&self, way: Way) -> Box<dyn Stream> {
        let mut stream = TcpStream::connect(self.address(way)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if way == Way::Plain {
            return Box::new(stream);
        }
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut session = ClientConnection::new(Arc::clone(&self.tls), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream).unwrap();
        }
        Box::new(StreamOwned::new(session, stream))
    }

    fn say(&self, way: Way, first: &str) -> Box<dyn Stream> {
        let mut stream = self.connect(way);
        stream.write_all(first.as_bytes()).unwrap();
        stream.flush().unwrap();
        stream
    }

    /// Asks for a sign of life, on a connection of its own.
    fn must_be_alive(&self, way: Way) {
        let answer = rest(self.say(way, ALIVE).as_mut());
        assert!(answer.ends_with("alive=yes"), "{way:?}: {answer}");
    }
}

/// Reads until the server ends the connection, in good order or not.
fn rest(stream: &mut dyn Stream) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        let is_late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!is_late, "the server keeps the connection");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends a byte now and then until the server has had enough.
fn drip(stream: &mut dyn Stream) {
    let begin = Instant::now();
    while stream.write_all(b"a").and_then(|()| stream.flush()).is_ok() {
        assert!(begin.elapsed() < PATIENCE, "the server goes on listening");
        thread::sleep(DRIP);
    }
}

#[test]
fn silent_clients_are_cut_off() {
    let Some(house) = House::build("idle_timeout = \"500ms\"") else {
        return;
    };
    for way in WAYS {
        for first in [
            "",
            "GET /server/pan",
            "POST /server/panda/getJob HTTP/1.1\r\nHost: h\r\n",
        ] {
            assert_eq!(rest(house.say(way, first).as_mut()), "", "{way:?} {first}");
        }
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_given_up() {
    // Whoever is let in next comes only once the slow one is cut off.
    let Some(house) = House::build("idle_timeout = \"1s\"\nconnections = 1") else {
        return;
    };
    for way in WAYS {
        let head = "GET /server/panda/isAlive HTTP/1.1\r\nHost: h\r\nX-Slow: ";
        drip(house.say(way, head).as_mut());
        house.must_be_alive(way);
    }
}

#[test]
fn a_body_that_is_held_back_or_comes_byte_by_byte_gets_an_error() {
    let Some(house) = House::build("request_timeout = \"500ms\"") else {
        return;
    };
    for way in WAYS {
        for is_silent in [true, false] {
            let head = "POST /server/panda/getJob HTTP/1.1\r\nHost: h\r\n\
                        Content-Length: 100000\r\nConnection: close\r\n\r\nsite";
            let mut stream = house.say(way, head);
            if !is_silent {
                // Less than the time that the request may take.
                for _ in 0..5 {
                    stream
                        .write_all(b"N")
                        .and_then(|()| stream.flush())
                        .unwrap();
                    thread::sleep(DRIP);
                }
            }
            let answer = rest(stream.as_mut());
            assert!(answer.starts_with("HTTP/1.1 503 "), "{way:?}: {answer}");
        }
    }
}

#[test]
fn who_does_not_read_the_answer_is_cut_off() {
    let Some(house) = House::build("idle_timeout = \"1s\"\nconnections = 1") else {
        return;
    };
    let large = house.secure.server.dir().join("trf/large.py");
    fs::File::create(large).unwrap().set_len(1 << 20).unwrap();
    let ask = "GET /trf/user/large.py HTTP/1.1\r\nHost: h\r\n\r\n";
    for way in WAYS {
        let stuck = house.say(way, &ask.repeat(LARGE_ANSWERS));
        house.must_be_alive(way);
        drop(stuck);
    }
}

#[test]
fn half_requests_and_resets_harm_nobody() {
    let Some(house) = House::build("") else {
        return;
    };
    for way in WAYS {
        for half in [
            "POST /server/panda/updateJob HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"jo",
            "POST /api/v1/pilot/update_job HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
            "POST /api/v1/pilot/update_job HTTP/1.1\r\nHost: x\r\n",
            "GET /api/v1/system/is_alive",
            "\u{0}\u{1}\u{2}",
        ] {
            drop(house.say(way, half));
        }
        house.must_be_alive(way);
    }
    // And a handshake that is broken off.
    let mut half = TcpStream::connect(house.address(Way::Tls)).unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    drop(half);
    house.must_be_alive(Way::Tls);
}

#[test]
fn huge_bodies_are_refused_whether_their_length_is_told_or_not() {
    let Some(house) = House::build("body_limit = \"64 KiB\"") else {
        return;
    };
    let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for way in WAYS {
        for path in [
            "/server/panda/updateJob",
            "/api/v1/pilot/update_job",
            "/ailurus/v1/tasks",
        ] {
            let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n");
            let told = format!("{head}Content-Length: 99999999999\r\n\r\n{{");
            let untold = format!("{head}Transfer-Encoding: chunked\r\n\r\n{piece}{piece}0\r\n\r\n");
            for request in [told, untold] {
                let mut stream = house.connect(way);
                // It may be refused before all of it is sent.
                drop(
                    stream
                        .write_all(request.as_bytes())
                        .and_then(|()| stream.flush()),
                );
                let answer = rest(stream.as_mut());
                assert!(
                    answer.starts_with("HTTP/1.1 413 "),
                    "{way:?} {path}: {answer}"
                );
            }
        }
        house.must_be_alive(way);
    }
}

/// Lets this program, and the server that it starts, have as many files open as is allowed.
fn raise_limit() -> bool {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let is_raised = setrlimit(Resource::Nofile, raised).is_ok();
    is_raised && limit.maximum.is_none_or(|maximum| maximum >= FILES)
}

#[test]
fn thousands_of_idle_connections_hold_nobody_up() {
    if !raise_limit() {
        eprintln!("skipped: fewer than {FILES} files may be open");
        return;
    }
    let Some(house) = House::build("") else {
        return;
    };
    let mut plain: Vec<_> = (0..IDLE).map(|_| house.connect(Way::Plain)).collect();
    // Those who never begin a handshake are more than may shake hands at a time.
    let address = house.address(Way::Tls);
    let silent: Vec<_> = (0..IDLE)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    let mut tls: Vec<_> = (0..IDLE).map(|_| house.connect(Way::Tls)).collect();
    for way in WAYS {
        house.must_be_alive(way);
    }
    for kept in [&mut plain, &mut tls] {
        // They are as good as before.
        for nr in [0, IDLE / 2, IDLE - 1] {
            kept[nr].write_all(ALIVE.as_bytes()).unwrap();
            assert!(rest(kept[nr].as_mut()).ends_with("alive=yes"));
        }
    }
    drop(silent);
}
