//! Exchanges with storage: any method, streamed bodies, early answers, waiting that can end.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ailurus_http::{Answer, ClientConfig, Content, Exchange, Exchanger, HttpError, Secret, Wait};
use ailurus_testkit::{
    http::{Answer as Given, Reply},
    stand_in::{Entrance, HttpStandIn},
};

/// No exchange of these tests needs longer.
const LIMIT: Duration = Duration::from_secs(30);

fn exchanger() -> Exchanger {
    Exchanger::new(ClientConfig::default()).expect("valid configuration")
}

fn patient() -> Arc<Wait> {
    Wait::new(Arc::default(), LIMIT)
}

fn ask<'a>(method: &'a str, url: &'a str, content: Content<'a>) -> Exchange<'a> {
    Exchange {
        method,
        url,
        headers: &[],
        authorization: None,
        content,
    }
}

fn send(exchange: Exchange<'_>) -> Result<Answer, HttpError> {
    exchanger().send(exchange, &patient())
}

/// Serves one connection on a thread and returns the URL of its server.
fn serve_one(serve: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || serve(listener.accept().expect("a client").0));
    format!("http://{address}/x")
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).expect("a request") == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

#[test]
fn any_method_can_be_sent_with_and_without_a_body() {
    let server = HttpStandIn::start(|_| Some(Given::new(207, "<x/>"))).expect("a port");
    let url = server.url();
    let secret = Secret::new("Bearer abc");
    for (method, content) in [
        ("PROPFIND", Content::Bytes(b"<p/>")),
        ("MKCOL", Content::Empty),
        ("MOVE", Content::Empty),
        ("COPY", Content::Empty),
        ("OPTIONS", Content::Empty),
        ("PUT", Content::Empty),
        ("POST", Content::Bytes(b"{}")),
        ("DELETE", Content::Empty),
    ] {
        let exchange = Exchange {
            headers: &[("Depth", "0")],
            authorization: Some(&secret),
            ..ask(method, &url, content)
        };
        let mut answer = send(exchange).expect(method);
        assert_eq!((answer.status, answer.text(100)), (207, "<x/>".into()));
    }
    let requests = server.requests();
    let methods: Vec<&str> = requests
        .iter()
        .filter_map(|it| it.method_and_target().split(' ').next())
        .collect();
    assert_eq!(
        methods,
        [
            "PROPFIND", "MKCOL", "MOVE", "COPY", "OPTIONS", "PUT", "POST", "DELETE"
        ]
    );
    assert_eq!(requests[0].body, b"<p/>");
    assert_eq!(requests[0].header("depth"), Some("0"));
    assert_eq!(requests[5].header("content-length"), Some("0"));
    for request in &requests {
        assert_eq!(request.header("authorization"), Some("Bearer abc"));
        assert_eq!(request.header("accept-encoding"), None);
        // XRootD knows headers only so.
        for name in ["Host: ", "Depth: ", "Authorization: ", "User-Agent: "] {
            assert!(request.head.contains(name), "{}", request.head);
        }
    }
}

#[test]
fn a_stream_is_sent_with_its_length_and_connections_are_kept() {
    let server = HttpStandIn::start(|request| {
        let length = request.body.len().to_string();
        Some(Given::new(201, length))
    })
    .expect("a port");
    let (url, exchanger, wait) = (server.url(), exchanger(), patient());
    for length in [0_u64, 1, 1_000_000] {
        let mut body = std::io::repeat(b'x').take(length);
        let content = Content::Stream {
            length,
            reader: &mut body,
        };
        let mut answer = exchanger
            .send(ask("PUT", &url, content), &wait)
            .expect("an answer");
        assert_eq!(answer.text(100), length.to_string());
    }
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_redirect_is_an_answer_and_nothing_is_sent_after_it() {
    let url = serve_one(|mut stream| {
        let head = read_head(&mut stream).to_lowercase();
        assert!(head.contains("expect: 100-continue"), "{head}");
        let answer = "HTTP/1.1 307 X\r\nLocation: http://pool/x\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("connected");
        assert_eq!(stream.read(&mut [0; 10]).expect("closed in order"), 0);
    });
    let mut body = std::io::repeat(b'x').take(1000);
    let content = Content::Stream {
        length: 1000,
        reader: &mut body,
    };
    let exchange = Exchange {
        headers: &[("Expect", "100-continue")],
        ..ask("PUT", &url, content)
    };
    let answer = send(exchange).expect("an answer");
    assert_eq!(answer.status, 307);
    assert_eq!(answer.header("location"), Some("http://pool/x"));
    assert_eq!(body.limit(), 1000);
}

#[test]
fn a_permission_with_headers_is_a_permission() {
    let url = serve_one(|mut stream| {
        read_head(&mut stream);
        // As XRootD 5.5 says it.
        let permission = "HTTP/1.1 100 Continue\r\nConnection: Close\r\nServer: XrootD\r\n\r\n";
        stream.write_all(permission.as_bytes()).expect("connected");
        stream.read_exact(&mut [0; 1000]).expect("the body");
        let answer = "HTTP/1.1 201 X\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("connected");
    });
    let content = Content::Stream {
        length: 1000,
        reader: &mut std::io::repeat(b'x').take(1000),
    };
    let exchange = Exchange {
        headers: &[("Expect", "100-continue")],
        ..ask("PUT", &url, content)
    };
    assert_eq!(send(exchange).expect("an answer").status, 201);
}

#[test]
fn a_refusal_in_the_middle_of_a_body_is_seen() {
    let url = serve_one(|mut stream| {
        read_head(&mut stream);
        stream.read_exact(&mut [0; 100_000]).expect("some of it");
        let answer = "HTTP/1.1 507 Full\r\nX-Why: quota\r\nContent-Length: 5\r\n\r\nquota";
        stream.write_all(answer.as_bytes()).expect("connected");
        // Closed with bytes unread: the client is reset.
    });
    let length = 500 << 20;
    let mut body = std::io::repeat(b'x').take(length);
    let content = Content::Stream {
        length,
        reader: &mut body,
    };
    let mut answer = send(ask("PUT", &url, content)).expect("an answer");
    assert_eq!(answer.status, 507);
    assert_eq!(answer.header("x-why"), Some("quota"));
    assert_eq!(answer.text(100), "quota");
    assert!(body.limit() > 0, "everything was read for nothing");
}

#[test]
fn a_body_that_ends_early_is_broken() {
    let claim = |length| Given::new(200, "12345").to_bytes_claiming(length);
    let server = HttpStandIn::start_at(Entrance::default(), move |request| {
        Reply::Raw(if request.target() == "/cut" {
            claim(6)
        } else {
            b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n".to_vec()
        })
    })
    .expect("a port");
    for path in ["/cut", "/chunks"] {
        let url = format!("{}{path}", server.url());
        let mut answer = send(ask("GET", &url, Content::Empty)).expect("a head");
        assert!(answer.shows_its_end());
        let mut room = [0; 100];
        let mut length = 0;
        let error = loop {
            match answer.read(&mut room) {
                Ok(more) => length += more,
                Err(error) => break error,
            }
            assert!(length <= 5, "{path}: an end that is none");
        };
        assert!(matches!(error, HttpError::Broken { .. }), "{error:?}");
        assert_eq!(length, 5);
    }
}

#[test]
fn waiting_ends_with_the_switch_or_the_deadline() {
    let server = HttpStandIn::start_at(Entrance::default(), |_| Reply::Silence).expect("a port");
    let url = server.url();
    let wait = Wait::new(Arc::default(), Duration::from_millis(50));
    let error = exchanger()
        .send(ask("GET", &url, Content::Empty), &wait)
        .expect_err("silence");
    assert!(matches!(error, HttpError::TimedOut { .. }), "{error:?}");

    let stop = Arc::new(AtomicBool::new(false));
    let wait = Wait::new(Arc::clone(&stop), LIMIT);
    let begin = Instant::now();
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            while server.requests().len() < 2 {
                thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        exchanger().send(ask("GET", &url, Content::Empty), &wait)
    })
    .expect_err("given up");
    assert!(matches!(error, HttpError::GivenUp { .. }), "{error:?}");
    assert!(begin.elapsed() < LIMIT);
}

#[test]
fn a_body_can_be_read_on_after_a_pause_that_was_too_long() {
    let url = serve_one(|mut stream| {
        read_head(&mut stream);
        let head = "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\na";
        stream.write_all(head.as_bytes()).expect("connected");
        // The client says that it goes on by closing nothing: its patience is what is tested.
        thread::sleep(Duration::from_millis(300));
        stream.write_all(b"b").expect("connected");
    });
    let wait = patient();
    let mut answer = exchanger()
        .send(ask("GET", &url, Content::Empty), &wait)
        .expect("a head");
    let mut room = [0; 10];
    assert_eq!(answer.read(&mut room).expect("the first byte"), 1);
    wait.allow(Duration::from_millis(1));
    let mut pauses = 0;
    loop {
        match answer.read(&mut room) {
            Ok(length) => {
                assert_eq!((length, room[0]), (1, b'b'));
                break;
            }
            Err(error) => assert!(matches!(error, HttpError::TimedOut { .. }), "{error:?}"),
        }
        pauses += 1;
        wait.allow(Duration::from_millis(1));
    }
    assert!(pauses > 0);
    wait.allow(LIMIT);
    assert_eq!(answer.read(&mut room).expect("the end"), 0);
}
