//! The client against a server that tells the truth, lies, hangs and hangs up.

mod stand;

use std::{
    fs,
    net::TcpListener,
    time::{Duration, Instant},
};

use ailurus_http::{
    BearerToken, Client, ClientConfig, FileAnswer, HttpError, ProxyConfig, Redirects,
    TimedOutPhase, Timeouts, gzipped,
};
use stand::Stand;

const SHORT: Duration = Duration::from_millis(300);

fn client() -> Client {
    client_with(ClientConfig::default())
}

fn client_with(config: ClientConfig) -> Client {
    Client::new(config).expect("valid configuration")
}

fn impatient_client() -> Client {
    client_with(ClientConfig {
        timeouts: Timeouts {
            connect: SHORT,
            whole: SHORT,
            download: SHORT,
        },
        ..ClientConfig::default()
    })
}

#[test]
fn a_post_delivers_body_and_headers_and_returns_the_answer() {
    let stand = Stand::answering("HTTP/1.1 200 OK\r\nX-One: 1\r\nContent-Length: 2\r\n\r\nok");
    let answer = client()
        .post(
            &stand.url("/api/v1/pilot/update_job"),
            &gzipped(b"{}"),
            "application/json",
            &[("Content-Encoding", "gzip")],
        )
        .expect("answers");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.header("x-one"), Some("1"));
    let request = &stand.requests()[0];
    assert!(
        request
            .head
            .starts_with("POST /api/v1/pilot/update_job HTTP/1.1")
    );
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    assert_eq!(request.body, gzipped(b"{}"));
    assert!(
        request
            .header("user-agent")
            .is_some_and(|it| it.starts_with("ailurus/"))
    );
    assert_eq!(request.header("authorization"), None);
}

#[test]
fn an_error_status_is_an_answer() {
    let stand = Stand::answering("HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nwoes!");
    let answer = client().get(&stand.url("/"), &[]).expect("answers");
    assert_eq!((answer.status, answer.is_success()), (500, false));
    assert_eq!(answer.text(), "woes!");
}

#[test]
fn a_chunked_answer_is_put_together() {
    let stand = Stand::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    let answer = client().get(&stand.url("/"), &[]).expect("answers");
    assert_eq!(answer.text(), "abcde");
}

#[test]
fn connections_are_used_again() {
    let stand = Stand::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let client = client();
    for _ in 0..3 {
        client
            .post(&stand.url("/"), b"x", "text/plain", &[])
            .expect("answers");
    }
    assert_eq!(stand.requests().len(), 3);
    assert_eq!(stand.n_connections(), 1);
}

#[test]
fn a_connection_closed_meanwhile_is_replaced() {
    let stand =
        Stand::answering_once_a_connection("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let client = client();
    for _ in 0..3 {
        client
            .post(&stand.url("/"), b"x", "text/plain", &[])
            .expect("answers");
        stand.wait_until_all_closed();
    }
    assert_eq!(stand.n_connections(), 3);
}

#[test]
fn a_get_is_asked_again_once_if_the_connection_breaks_before_the_answer() {
    let stand = Stand::hanging_up_on_first(1, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let answer = client()
        .get(&stand.url("/"), &[])
        .expect("answers the second time");
    assert_eq!(answer.text(), "ok");
    let stand = Stand::hanging_up_on_first(2, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let error = client()
        .get(&stand.url("/"), &[])
        .expect_err("broken twice");
    assert!(matches!(error, HttpError::Broken { .. }), "{error}");
}

#[test]
fn a_put_is_a_post_by_another_method() {
    let stand = Stand::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let put = client().put(&stand.url("/f"), b"x", "text/plain", &[("X-Nr", "5")]);
    assert_eq!(put.expect("answers").status, 200);
    let request = &stand.requests()[0];
    assert!(request.head.starts_with("PUT /f HTTP/1.1"));
    assert_eq!(request.header("x-nr"), Some("5"));
    assert_eq!(request.body, b"x");
}

#[test]
fn a_post_is_never_sent_twice() {
    let stand = Stand::hanging_up_on_first(9, "");
    let error = client()
        .post(&stand.url("/"), b"x", "text/plain", &[])
        .expect_err("broken");
    assert!(matches!(error, HttpError::Broken { .. }), "{error}");
    assert!(error.may_have_arrived() && error.is_passing());
    assert_eq!(stand.requests().len(), 1);
}

#[test]
fn a_server_that_hangs_is_given_up_in_time() {
    let stand = Stand::answering("");
    let begin = Instant::now();
    let error = impatient_client()
        .get(&stand.url("/"), &[])
        .expect_err("hangs");
    assert!(
        matches!(
            error,
            HttpError::TimedOut {
                phase: TimedOutPhase::Answer,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.may_have_arrived());
    assert!(begin.elapsed() < SHORT * 10);
}

#[test]
fn a_server_that_hangs_in_the_body_is_given_up_in_time() {
    let stand = Stand::answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let error = impatient_client()
        .get(&stand.url("/"), &[])
        .expect_err("hangs");
    assert!(matches!(error, HttpError::TimedOut { .. }), "{error}");
}

#[test]
fn an_answer_shorter_than_promised_is_broken() {
    let stand =
        Stand::answering_once_a_connection("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let error = client().get(&stand.url("/"), &[]).expect_err("cut");
    assert!(matches!(error, HttpError::Broken { .. }), "{error}");
}

#[test]
fn nonsense_instead_of_http_is_broken() {
    let stand = Stand::answering_once_a_connection("220 mail.example.org ESMTP\r\n\r\n");
    let error = client().get(&stand.url("/"), &[]).expect_err("no HTTP");
    assert!(matches!(error, HttpError::Broken { .. }), "{error}");
}

#[test]
fn an_answer_larger_than_the_limit_is_refused() {
    let body = "x".repeat(2000);
    let stand = Stand::answering(&format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n{body}"
    ));
    let client = client_with(ClientConfig {
        response_max_bytes: 1000,
        ..ClientConfig::default()
    });
    let error = client.get(&stand.url("/"), &[]).expect_err("too large");
    assert!(
        matches!(
            error,
            HttpError::TooLarge {
                limit_bytes: 1000,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn nothing_listening_is_told_from_a_broken_answer() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound").port()
    };
    let error = client()
        .get(&format!("http://127.0.0.1:{port}/"), &[])
        .expect_err("refused");
    assert!(matches!(error, HttpError::CannotConnect { .. }), "{error}");
    assert!(!error.may_have_arrived() && error.is_passing());
}

#[test]
fn a_bad_url_is_refused_without_its_query() {
    for url in [
        "",
        "no url?key=secret",
        "ftp://host/x?key=secret",
        "http://",
    ] {
        let error = client().get(url, &[]).expect_err("no URL");
        assert!(
            matches!(error, HttpError::BadUrl { .. }),
            "{url}: {error:?}"
        );
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn a_header_with_a_line_end_is_refused() {
    let stand = Stand::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let error = client()
        .get(&stand.url("/"), &[("X-Name", "a\r\nX-Evil: 1")])
        .expect_err("header injection");
    assert!(matches!(error, HttpError::BadRequest { .. }), "{error}");
    assert_eq!(stand.n_connections(), 0);
}

#[test]
fn plain_text_where_tls_is_expected_is_refused() {
    let stand = Stand::answering_at_once("HTTP/1.1 400 Bad Request\r\n\r\n");
    let url = stand.url("/").replace("http://", "https://");
    let error = client().get(&url, &[]).expect_err("no TLS");
    assert!(matches!(error, HttpError::TlsRefused { .. }), "{error:?}");
}

#[test]
fn endless_redirects_are_cut_off() {
    let stand =
        Stand::answering("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n");
    let error = client().get(&stand.url("/"), &[]).expect_err("redirects");
    assert!(matches!(error, HttpError::BadRedirect { .. }), "{error}");
    assert!(stand.requests().len() < 10);
}

#[test]
fn the_token_is_sent_and_read_again_when_its_file_changes() {
    let stand = Stand::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let dir = tempfile::tempdir().expect("space");
    let file = dir.path().join("token");
    let client = client_with(ClientConfig {
        token: Some(BearerToken {
            file: file.clone(),
            origin: "spd.pilot".into(),
        }),
        ..ClientConfig::default()
    });
    for token in ["first", "second-one"] {
        fs::write(&file, format!("{token}\n")).expect("space");
        client.get(&stand.url("/"), &[]).expect("answers");
        let requests = stand.requests();
        let request = requests.last().expect("arrived");
        assert_eq!(
            request.header("authorization"),
            Some(format!("Bearer {token}").as_str())
        );
        assert_eq!(request.header("origin"), Some("spd.pilot"));
    }
    fs::remove_file(&file).expect("own file");
    let error = client.get(&stand.url("/"), &[]).expect_err("no token");
    assert!(matches!(error, HttpError::NoToken { .. }), "{error}");
    assert!(!format!("{client:?}{error:?}").contains("second-one"));
}

#[test]
fn the_token_does_not_follow_a_redirect() {
    let target = Stand::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let stand = Stand::answering(&format!(
        "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        target.url("/elsewhere")
    ));
    let dir = tempfile::tempdir().expect("space");
    let file = dir.path().join("token");
    fs::write(&file, "abc").expect("space");
    let client = client_with(ClientConfig {
        token: Some(BearerToken {
            file,
            origin: "spd.pilot".into(),
        }),
        ..ClientConfig::default()
    });
    client.get(&stand.url("/"), &[]).expect("answers");
    assert!(stand.requests()[0].header("authorization").is_some());
    assert_eq!(target.requests()[0].header("authorization"), None);
}

#[test]
fn where_redirects_are_told_secret_headers_stay_with_their_server() {
    let target = Stand::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let stand = Stand::answering(&format!(
        "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        target.url("/elsewhere")
    ));
    let client = client_with(ClientConfig {
        redirects: Redirects::Told,
        ..ClientConfig::default()
    });
    let secret = [("X-Password", "s3cret")];
    let answer = client.get(&stand.url("/"), &secret).expect("answers");
    assert_eq!(answer.status, 302);
    assert!(target.requests().is_empty());
}

#[test]
fn a_download_is_whole() {
    let body = "y".repeat(300_000);
    let stand = Stand::answering(&format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let dir = tempfile::tempdir().expect("space");
    let file = dir.path().join("image.sif");
    let answer = client()
        .get_to_file(&stand.url("/"), &file, 1 << 20)
        .expect("answers");
    assert_eq!(
        answer,
        FileAnswer::Saved {
            size_bytes: 300_000
        }
    );
    assert_eq!(fs::read_to_string(&file).expect("written"), body);
}

#[test]
fn a_failed_download_leaves_the_old_file_and_nothing_else() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone",
    ];
    for answer in answers {
        let stand = Stand::answering_once_a_connection(answer);
        let dir = tempfile::tempdir().expect("space");
        let file = dir.path().join("queues.json");
        fs::write(&file, "old").expect("space");
        let outcome = client().get_to_file(&stand.url("/"), &file, 20);
        assert!(
            !matches!(outcome, Ok(FileAnswer::Saved { .. })),
            "{outcome:?}"
        );
        assert_eq!(fs::read_to_string(&file).expect("still there"), "old");
        assert_eq!(fs::read_dir(dir.path()).expect("own").count(), 1);
    }
}

#[test]
fn a_proxy_is_used_but_for_its_exceptions() {
    // The same answer opens the tunnel and comes through it.
    let proxy = Stand::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let server = Stand::answering("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ndirect");
    let with_proxy = |except: &[&str]| {
        client_with(ClientConfig {
            proxy: Some(ProxyConfig {
                url: proxy.url(""),
                except: except.iter().map(|it| (*it).to_owned()).collect(),
            }),
            ..ClientConfig::default()
        })
    };
    let direct = with_proxy(&["127.0.0.1"]).get(&server.url("/"), &[]);
    assert_eq!(direct.expect("answers").text(), "direct");
    assert_eq!(proxy.n_connections(), 0);
    let through = with_proxy(&[]).get("http://server.invalid/x", &[]);
    assert_eq!(through.expect("answers").status, 200);
    let heads: Vec<String> = proxy.requests().into_iter().map(|it| it.head).collect();
    assert!(
        heads[0].starts_with("CONNECT server.invalid:80 "),
        "{heads:?}"
    );
    assert!(heads[1].starts_with("GET /x "), "{heads:?}");
}
