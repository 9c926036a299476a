//! Servers that fail, hang and lie: the client says what happened, within its limits.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ailurus_http::{ClientConfig, HttpError, Timeouts};
use ailurus_model::{Blame, ByteCount, Checksum, EndpointName, ErrorCode, Lfn, Retry, Scope};
use ailurus_rucio::{Credential, Retries, RucioClient, RucioConfig, RucioError, TraceSender};
use ailurus_testkit::{
    http::{Answer, Reply, Request},
    stand_in::{Entrance, HttpStandIn},
};
use ailurus_wire::rucio::{
    Did, auth,
    register::{self, NewReplica},
    replicas::{self, Domain, FileReplicas, Medium, Replica, ReplicaQuery},
};

/// Enough tries to be seen, without pauses.
const TRIES: u32 = 3;

struct Stand {
    server: HttpStandIn,
    folder: tempfile::TempDir,
}

impl Stand {
    /// Starts a server that gives tokens `t1`, `t2` and so on, and replies so to everything else.
    fn replying(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let n_tokens = AtomicUsize::new(0);
        let server = HttpStandIn::start_at(Entrance::default(), move |request| {
            if request.target().starts_with("/auth/") {
                let nr = n_tokens.fetch_add(1, Ordering::Relaxed) + 1;
                let answer = Answer::new(200, "").with_header(auth::TOKEN, format!("t{nr}"));
                return Reply::Whole(answer.with_header(auth::EXPIRES, "some day"));
            }
            reply(request)
        });
        Self {
            server: server.expect("a free port"),
            folder: tempfile::tempdir().expect("space"),
        }
    }

    /// As `replying`, with another reply for each request in turn; the last one stays.
    fn replying_in_turn(replies: Vec<Reply>) -> Self {
        let next = AtomicUsize::new(0);
        Self::replying(move |_| {
            let nr = next.fetch_add(1, Ordering::Relaxed);
            replies[nr.min(replies.len() - 1)].clone()
        })
    }

    fn config(&self, credential: Credential) -> RucioConfig {
        let config = RucioConfig::new(format!("{}/", self.server.url()), credential);
        RucioConfig {
            retries: Retries {
                tries_max: NonZeroU32::new(TRIES).expect("not zero"),
                pause_first: Duration::from_millis(1),
                pause_max: Duration::from_millis(1),
            },
            http: ClientConfig {
                timeouts: Timeouts {
                    whole: Duration::from_secs(2),
                    ..Timeouts::default()
                },
                response_max_bytes: 1 << 20,
                ..config.http
            },
            ..config
        }
    }

    fn client(&self) -> RucioClient {
        let config = self.config(Credential::UserPass {
            user: "u".into(),
            password: ailurus_http::Secret::new("p"),
        });
        RucioClient::new(config).expect("a client")
    }

    /// What was asked besides tokens.
    fn n_asked(&self) -> usize {
        let requests = self.server.requests();
        let asked = requests
            .iter()
            .filter(|it| !it.target().starts_with("/auth"));
        asked.count()
    }
}

fn whole(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply::Whole(Answer::new(status, body))
}

fn refusal(status: u16, class: &str) -> Reply {
    let body = format!(r#"{{"ExceptionClass": "{class}", "ExceptionMessage": "m"}}"#);
    whole(status, body)
}

fn did() -> Did {
    Did::new(Scope::new("s"), "f")
}

/// The answer of a server that has the file.
fn answer() -> String {
    replicas::encode_answer(&[FileReplicas {
        scope: Scope::new("s"),
        name: Lfn::new("f"),
        size: Some(ByteCount::from_bytes(5)),
        adler32: Some(Checksum::Adler32(1)),
        md5: None,
        replicas: vec![Replica {
            rse: EndpointName::new("A"),
            pfn: "root://a//f".into(),
            domain: Domain::Wan,
            priority: 1,
            medium: Medium::Disk,
            is_in_archive: false,
        }],
    }])
}

fn list(client: &RucioClient) -> Result<usize, RucioError> {
    let listing = client.list_replicas(&[did()], &ReplicaQuery::default(), drop)?;
    Ok(listing.n_known)
}

#[test]
fn what_passes_is_asked_again_until_there_is_a_good_answer() {
    let page = "<html>\nSorry, we are moving</html>";
    let cut = answer();
    for bad in [
        whole(500, ""),
        whole(503, page),
        whole(429, ""),
        refusal(503, "ResourceTemporaryUnavailable"),
        whole(200, page),
        whole(200, &cut.as_bytes()[..cut.len() / 2]),
        whole(200, refusal_line("DatabaseException")),
        Reply::Raw(Answer::new(200, cut.clone()).to_bytes_claiming(9999)),
        Reply::Raw(b"SMTP ready\r\n\r\n".to_vec()),
        Reply::HangUp,
    ] {
        let stand = Stand::replying_in_turn(vec![bad.clone(), whole(200, answer())]);
        assert_eq!(list(&stand.client()).expect("an answer"), 1, "{bad:?}");
        assert_eq!(stand.n_asked(), 2, "{bad:?}");
        let stand = Stand::replying(move |_| bad.clone());
        let error = list(&stand.client()).expect_err("never good");
        assert_eq!(stand.n_asked(), TRIES as usize, "{error}");
        assert_eq!(error.code(), ErrorCode::RucioListReplicasFailed, "{error}");
        assert_eq!(error.retry(), Retry::Later, "{error}");
    }
}

fn refusal_line(class: &str) -> String {
    format!("{}{{\"ExceptionClass\": \"{class}\"}}\n", answer())
}

#[test]
fn what_stays_is_asked_once() {
    for bad in [
        refusal(500, "InvalidObject"),
        refusal(404, "RSENotFound"),
        whole(404, "<html>"),
        whole(302, ""),
        whole(200, "{\"scope\": 5}\n"),
        whole(200, "{\"scope\": \"s\", \"name\": \"f\", \"pfns\": [1]}\n"),
    ] {
        let stand = Stand::replying(move |_| bad.clone());
        let error = list(&stand.client()).expect_err("never good");
        assert_eq!(stand.n_asked(), 1, "{error}");
        assert_eq!(error.retry(), Retry::Never, "{error}");
        assert!(!error.remedy().is_empty());
    }
}

#[test]
fn a_server_that_hangs_or_never_ends_is_given_up() {
    let stand = Stand::replying(|_| Reply::Silence);
    let error = list(&stand.client()).expect_err("no answer");
    assert!(
        matches!(
            error,
            RucioError::NoAnswer {
                source: HttpError::TimedOut { .. },
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.blame(), Blame::Network);
    let endless = "{\"scope\": \"s\", \"name\": \"f\"}\n".repeat(1 << 17);
    let stand = Stand::replying(move |_| whole(200, endless.clone()));
    let error = list(&stand.client()).expect_err("too large");
    assert!(
        matches!(
            error,
            RucioError::NoAnswer {
                source: HttpError::TooLarge { .. },
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn nobody_at_the_address_is_told_with_it() {
    let config = RucioConfig {
        retries: Retries {
            tries_max: NonZeroU32::MIN,
            ..Retries::default()
        },
        ..RucioConfig::new(
            "http://127.0.0.1:9",
            Credential::TokenFile("/nowhere/token".into()),
        )
    };
    let client = RucioClient::new(config.clone()).expect("a client");
    let error = list(&client).expect_err("no token");
    assert_eq!(error.blame(), Blame::Credentials);
    assert!(error.to_string().contains("/nowhere/token"), "{error}");
    let folder = tempfile::tempdir().expect("space");
    let token = folder.path().join("token");
    std::fs::write(&token, "t\n").expect("space");
    let config = RucioConfig {
        credential: Credential::TokenFile(token),
        ..config
    };
    let error = list(&RucioClient::new(config).expect("a client")).expect_err("nobody");
    assert_eq!(error.code(), ErrorCode::RucioListReplicasFailed);
    assert_eq!(error.retry(), Retry::Later);
}

#[test]
fn files_that_were_not_asked_for_and_doubles_are_passed_over() {
    let stranger = "{\"scope\": \"s\", \"name\": \"other\"}\n";
    let lies = [stranger, &answer(), &answer(), "\n"].concat();
    let stand = Stand::replying(move |_| whole(200, lies.clone()));
    let asked = [did(), Did::new(Scope::new("s"), "g")];
    let mut found = Vec::new();
    let listing = stand
        .client()
        .list_replicas(&asked, &ReplicaQuery::default(), |file| {
            found.push(file.did());
        });
    assert_eq!(found, asked[..1]);
    assert_eq!(listing.expect("an answer").unknown, asked[1..]);
}

#[test]
fn a_token_that_is_not_believed_is_replaced_once() {
    let stand = Stand::replying(|request| match request.header(auth::TOKEN) {
        Some("t1") => refusal(401, "CannotAuthenticate"),
        _ => whole(200, answer()),
    });
    let client = stand.client();
    for _ in 0..2 {
        list(&client).expect("believed");
    }
    assert_eq!(stand.n_asked(), 3);
    let stand = Stand::replying(|_| refusal(401, "CannotAuthenticate"));
    let error = list(&stand.client()).expect_err("never believed");
    assert_eq!(stand.n_asked(), 2);
    assert_eq!(error.code(), ErrorCode::StageInAuthenticationFailure);
    assert_eq!(error.blame(), Blame::Credentials);
}

#[test]
fn a_bearer_token_is_sent_as_it_is_and_read_again_when_it_is_replaced() {
    let stand = Stand::replying(|request| match request.header(auth::TOKEN) {
        Some("new.jwt") => whole(200, answer()),
        _ => refusal(401, "CannotAuthenticate"),
    });
    let file = stand.folder.path().join("token");
    std::fs::write(&file, "old.jwt\n").expect("space");
    let config = stand.config(Credential::TokenFile(file.clone()));
    let client = RucioClient::new(config).expect("a client");
    list(&client).expect_err("not believed");
    // There is no other token to try.
    assert_eq!(stand.n_asked(), 1);
    std::fs::write(&file, "new.jwt").expect("space");
    list(&client).expect("believed");
    let requests = stand.server.requests();
    assert!(requests.iter().all(|it| !it.target().starts_with("/auth")));
}

#[test]
fn a_registration_that_may_have_arrived_is_repeated_and_read_back() {
    let file = NewReplica {
        scope: Scope::new("s"),
        name: Lfn::new("f"),
        size: ByteCount::from_bytes(5),
        adler32: Checksum::Adler32(1),
        md5: None,
        guid: None,
        pfn: None,
    };
    let endpoint = EndpointName::new("A");
    let register = |first: Reply, listed: String| {
        let n_posts = AtomicUsize::new(0);
        let stand = Stand::replying(move |request| {
            if request.target() == replicas::PATH {
                return whole(200, listed.clone());
            }
            match n_posts.fetch_add(1, Ordering::Relaxed) {
                0 => first.clone(),
                _ => refusal(409, "Duplicate"),
            }
        });
        let outcome = stand
            .client()
            .register(&endpoint, std::slice::from_ref(&file));
        (outcome, stand.n_asked())
    };
    let (outcome, n_asked) = register(Reply::HangUp, answer());
    outcome.expect("there");
    assert_eq!(n_asked, 3);
    let (outcome, _) = register(whole(201, "Created"), String::new());
    let error = outcome.expect_err("not there");
    assert!(matches!(error, RucioError::NotRegistered { .. }), "{error}");
    let (outcome, _) = register(whole(201, "Created"), answer().replace(":5,", ":6,"));
    assert!(
        matches!(outcome, Err(RucioError::OtherFile { .. })),
        "{outcome:?}"
    );
}

#[test]
fn many_files_are_registered_in_pieces_that_servers_take() {
    let stand = Stand::replying(|request| {
        if request.target() != replicas::PATH {
            return whole(201, "Created");
        }
        // Whatever is asked for is there.
        let asked: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        let names = asked["dids"].as_array().expect("a list").iter();
        let names = names.map(|did| did["name"].as_str().expect("a name"));
        let lines = names.map(|name| answer().replace("\"f\"", &format!("\"{name}\"")));
        whole(200, lines.collect::<String>())
    });
    let files: Vec<NewReplica> = (0..1001)
        .map(|nr| NewReplica {
            scope: Scope::new("s"),
            name: Lfn::new(format!("n{nr}")),
            size: ByteCount::from_bytes(5),
            adler32: Checksum::Adler32(1),
            md5: None,
            guid: None,
            pfn: None,
        })
        .collect();
    let registered = stand.client().register(&EndpointName::new("A"), &files);
    registered.expect("registered");
    let requests = stand.server.requests();
    let posts = requests
        .iter()
        .filter(|it| it.target() == register::REPLICAS_PATH);
    let lengths = posts.map(|it| {
        let told: serde_json::Value = serde_json::from_slice(&it.body).expect("JSON");
        told["files"].as_array().map_or(0, Vec::len)
    });
    assert_eq!(lengths.collect::<Vec<_>>(), [500, 500, 1]);
}

#[test]
fn a_suspicion_that_may_have_arrived_is_not_repeated() {
    let stand = Stand::replying(|_| Reply::HangUp);
    let pfns = ["root://a//f".to_owned()];
    stand
        .client()
        .declare_suspicious(&pfns, "cut")
        .expect_err("no answer");
    assert_eq!(stand.n_asked(), 1);
    assert_eq!(
        stand.server.requests()[1].target(),
        register::SUSPICIOUS_PATH
    );
}

#[test]
fn a_caller_that_gives_up_does_not_wait_for_the_next_try() {
    let stop = Arc::new(AtomicBool::new(false));
    let by_server = Arc::clone(&stop);
    let stand = Stand::replying(move |_| {
        by_server.store(true, Ordering::Relaxed);
        whole(503, "")
    });
    let config = stand.config(Credential::UserPass {
        user: "u".into(),
        password: ailurus_http::Secret::new("p"),
    });
    let config = RucioConfig {
        retries: Retries {
            pause_first: Duration::from_secs(600),
            pause_max: Duration::from_secs(600),
            ..config.retries
        },
        ..config
    };
    let client = RucioClient::new(config).expect("a client").with_stop(stop);
    let error = list(&client).expect_err("stopped");
    assert!(matches!(error, RucioError::Stopped { .. }), "{error}");
    assert_eq!(stand.n_asked(), 1);
}

#[test]
fn traces_that_are_not_taken_cost_nothing() {
    use ailurus_wire::rucio::trace::{TraceTimes, TransferTrace};
    let trace = TransferTrace {
        event: "get_sm".into(),
        version: "1+2".into(),
        protocol: "root".into(),
        state: "DONE".into(),
        reason: String::new(),
        local_site: "L".into(),
        remote_site: EndpointName::new("R"),
        times: TraceTimes::default(),
        dataset: "ds".into(),
        scope: Scope::new("s"),
        file: Lfn::new("f"),
        size: None,
        guid: None,
        url: String::new(),
        user: "alice".into(),
        panda_id: ailurus_model::PandaId::new(1),
        task_id: ailurus_model::TaskId::new(2),
        request_id: "x".into(),
        host: "h".into(),
        ip: "1.2.3.4".into(),
        queue: "Q".into(),
    };
    let silent = Stand::replying(|_| Reply::Silence);
    let url = format!("{}/traces/", silent.server.url());
    let sender = TraceSender::start(&url, &ClientConfig::default()).expect("a sender");
    // More than there is room for, while the server says nothing.
    for _ in 0..5000 {
        sender.send(&trace);
    }
    sender.send(&TransferTrace {
        local_site: String::new(),
        ..trace.clone()
    });
    let summary = sender.finish(Duration::ZERO);
    assert_eq!(summary.n_sent, 0);
    assert!(summary.n_dropped >= 5000 - 2048, "{summary:?}");

    let refusing = Stand::replying_in_turn(vec![whole(500, ""), Reply::HangUp, whole(201, "")]);
    let url = format!("{}/traces/", refusing.server.url());
    let sender = TraceSender::start(&url, &ClientConfig::default()).expect("a sender");
    for _ in 0..3 {
        sender.send(&trace);
    }
    let summary = sender.finish(Duration::from_secs(60));
    assert_eq!((summary.n_sent, summary.n_refused), (1, 2));

    let deaf = Stand::replying(|_| whole(404, ""));
    let url = format!("{}/traces/", deaf.server.url());
    let sender = TraceSender::start(&url, &ClientConfig::default()).expect("a sender");
    for _ in 0..30 {
        sender.send(&trace);
    }
    let summary = sender.finish(Duration::from_secs(60));
    assert_eq!((summary.n_refused, summary.n_dropped), (10, 20));
}
