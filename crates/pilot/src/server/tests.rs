//! Dialects, forms of bodies, the token's renewal and what is told besides, against a server that
//! changes its mind.

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use ailurus_http::{BearerToken, ClientConfig};
use ailurus_model::{AttemptNr, JobStatus};
use ailurus_testkit::{
    http::{Answer, Request},
    stand_in::HttpStandIn,
    wait,
};
use ailurus_wire::{body, queue_data};

use super::*;

const LIMIT: Duration = Duration::from_secs(20);
const V1_OK: &str =
    r#"{"success": true, "message": "", "data": {"StatusCode": 0, "command": null}}"#;
const LEGACY_OK: &str = "StatusCode=0&command=NULL";

fn config(home: &Path) -> LinkConfig {
    LinkConfig {
        server_use: ServerUse::Updates,
        home: home.to_owned(),
        job_files: vec![],
        overrides: JobOverrides::default(),
        renewal: None,
        node: None,
    }
}

fn link(server: &HttpStandIn, config: LinkConfig) -> ServerLink {
    let client = Client::new(ClientConfig::default()).expect("a client");
    ServerLink::new(client, server.url(), config)
}

fn update() -> JobUpdate {
    JobUpdate::new(PandaId::new(1), Some(AttemptNr::new(1)), JobStatus::Running)
}

/// Waits for a condition.
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    wait::wait_for(what, LIMIT, || Ok(condition().then_some(()))).expect(what);
}

fn is_v1(request: &Request) -> bool {
    request.target().starts_with("/api/v1/")
}

fn forbidden() -> Option<Answer> {
    Some(Answer::new(403, "ERROR : method updateJob is forbidden"))
}

fn site(catchall: &str) -> Site {
    let data = format!(r#"{{"nickname": "Q", "state": "ACTIVE", "catchall": "{catchall}"}}"#);
    Site {
        queue: queue_data::decode(data.as_bytes(), &QueueName::new("Q")).expect("a queue"),
        storages: std::collections::BTreeMap::new(),
    }
}

#[test]
fn a_server_that_is_upgraded_meanwhile_is_asked_in_its_new_dialect() {
    let home = tempfile::tempdir().expect("space");
    let n_asked = AtomicU32::new(0);
    // The old server answers twice; then there is a new one.
    let server = HttpStandIn::start(move |request| match n_asked.load(Ordering::SeqCst) {
        0..2 if is_v1(request) => Some(Answer::new(404, "<html>")),
        0..2 => {
            n_asked.fetch_add(1, Ordering::SeqCst);
            Some(Answer::new(200, LEGACY_OK))
        }
        _ if is_v1(request) => Some(Answer::new(200, V1_OK)),
        _ => forbidden(),
    })
    .expect("a server");
    let link = link(&server, config(home.path()));
    for _ in 0..4 {
        assert_eq!(link.update(&update()), Ok(UpdateAnswer::default()));
    }
    let targets: Vec<bool> = server.requests().iter().map(is_v1).collect();
    assert_eq!(targets, [true, false, false, false, true, true]);
}

#[test]
fn a_call_that_a_server_never_had_is_refused_and_one_that_it_had_is_missing_for_now() {
    let home = tempfile::tempdir().expect("space");
    let n_asked = AtomicU32::new(0);
    let server = HttpStandIn::start(move |request| {
        let nr = n_asked.fetch_add(1, Ordering::SeqCst);
        if nr == 2 && is_v1(request) {
            return Some(Answer::new(200, V1_OK));
        }
        Some(Answer::new(404, "<html>no such page</html>"))
    })
    .expect("a server");
    let link = link(&server, config(home.path()));
    let first = link.update(&update());
    assert!(matches!(first, Err(UpdateFailure::Refused(_))), "{first:?}");
    assert!(link.update(&update()).is_ok());
    let last = link.update(&update());
    assert!(
        matches!(&last, Err(UpdateFailure::Unreachable(why)) if why.contains("no such page")),
        "{last:?}"
    );
}

#[test]
fn a_server_that_takes_nothing_from_this_caller_is_told_from_one_without_an_answer() {
    let role = "no production/pilot role in VOMS FQANs or non pilot owner";
    let in_words = format!(r#"{{"success": false, "message": "{role}", "data": null}}"#);
    let in_codes = format!("StatusCode=60&errorDialog={role}");
    let token = "ERROR : Token authentication failed. Signature has expired";
    for (status, v1, legacy, is_allowed, told) in [
        (200, in_words.as_str(), "", false, role),
        (404, "", in_codes.as_str(), false, role),
        (403, token, token, false, "Signature has expired"),
        (404, "<html>", "<html>", true, "<html>"),
        (503, "busy", "busy", true, "busy"),
    ] {
        let home = tempfile::tempdir().expect("space");
        let (v1, legacy) = (v1.to_owned(), legacy.to_owned());
        let server = HttpStandIn::start(move |request| match is_v1(request) {
            true => Some(Answer::new(status, v1.clone())),
            false if legacy.starts_with("StatusCode") => Some(Answer::new(200, legacy.clone())),
            false => Some(Answer::new(status, legacy.clone())),
        })
        .expect("a server");
        let mut fields = ailurus_wire::Fields::new();
        fields.put("siteName", "Q");
        let request = get_job::decode_request(Dialect::Legacy, &fields).expect("a request");
        let found = link(&server, config(home.path())).acquire(&request);
        let Input::AcquireFailed(found) = found else {
            panic!("{told}: {found:?}");
        };
        let (AcquireFailure::NoAnswer(why) | AcquireFailure::NotAllowed(why)) = &found;
        assert!(why.contains(told), "{found:?}");
        let is_no_answer = matches!(found, AcquireFailure::NoAnswer(_));
        assert_eq!(is_no_answer, is_allowed, "{found:?}");
    }
}

#[test]
fn a_legacy_server_that_stumbles_over_compressed_json_gets_forms_from_then_on() {
    let home = tempfile::tempdir().expect("space");
    let server = HttpStandIn::start(|request| {
        let is_form = request.header("content-type") == Some(body::FORM_TYPE);
        match (is_v1(request), is_form) {
            (true, _) => Some(Answer::new(404, "")),
            (false, true) => Some(Answer::new(200, r#"{"StatusCode": 0, "command": "NULL"}"#)),
            (false, false) => Some(Answer::new(500, "cannot decode")),
        }
    })
    .expect("a server");
    let link = link(&server, config(home.path()));
    for _ in 0..2 {
        assert_eq!(link.update(&update()), Ok(UpdateAnswer::default()));
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    let last = &requests[3];
    assert_eq!(last.header("accept"), Some(body::JSON_TYPE));
    assert_eq!(body::decode_form(&last.body).text("jobId"), "1");
}

#[test]
fn catchall_asks_for_forms_and_for_debug_mode() {
    let home = tempfile::tempdir().expect("space");
    let server = HttpStandIn::start(|request| match request.target() {
        _ if is_v1(request) => Some(Answer::new(404, "")),
        "/server/panda/getJob" => Some(Answer::new(200, "StatusCode=0&PandaID=7")),
        _ => Some(Answer::new(200, "StatusCode=0")),
    })
    .expect("a server");
    let overrides = JobOverrides {
        core_count: Some(8),
        log_name: None,
    };
    let link = link(
        &server,
        LinkConfig {
            overrides,
            ..config(home.path())
        },
    );
    link.learn(&site("x, curlgetjob,setdebugmode"));
    let request = JobRequest {
        n_jobs: 1,
        ..get_job::decode_request(
            Dialect::V1,
            &body::decode_json(br#"{"site_name": "Q"}"#).expect("JSON"),
        )
        .expect("a request")
    };
    let Input::JobsOffered(offer) = link.acquire(&request) else {
        panic!("no offer");
    };
    assert_eq!((offer.jobs.len(), offer.jobs[0].core_count), (1, 8));
    let asked = |requests: &[Request], path: &str| {
        requests
            .iter()
            .find(|request| request.target() == path)
            .map(|request| request.header("content-type").map(str::to_owned))
    };
    wait_for("debug mode is asked for", || {
        asked(&server.requests(), "/server/panda/setDebugMode").is_some()
    });
    let form = asked(&server.requests(), "/server/panda/getJob").flatten();
    assert_eq!(form.as_deref(), Some(body::FORM_TYPE));
}

#[test]
fn the_token_is_renewed_at_the_start_and_used_at_once() {
    let home = tempfile::tempdir().expect("space");
    let (token, key) = (home.path().join("token"), home.path().join("key"));
    fs::write(&token, "old").expect("space");
    fs::write(&key, "k3y\n").expect("space");
    let server = HttpStandIn::start(|request| {
        if request
            .target()
            .starts_with("/api/v1/creds/get_access_token")
        {
            let answer = r#"{"success": true, "message": "", "data": {"user_proxy": "new"}}"#;
            return Some(Answer::new(200, answer));
        }
        Some(Answer::new(200, V1_OK))
    })
    .expect("a server");
    let client = Client::new(ClientConfig {
        token: Some(BearerToken {
            file: token.clone(),
            origin: "spd.pilot".into(),
        }),
        ..ClientConfig::default()
    });
    let renewal = TokenRenewal {
        token_file: token.clone(),
        key_file: key,
    };
    let config = LinkConfig {
        renewal: Some(renewal),
        ..config(home.path())
    };
    let link = ServerLink::new(client.expect("a client"), server.url(), config);
    link.beat();
    wait_for("the token is renewed", || {
        fs::read_to_string(&token).ok().as_deref() == Some("new")
    });
    // The next beats are within the hour.
    link.beat();
    assert!(link.update(&update()).is_ok());
    let requests = server.requests();
    let tokens: Vec<_> = requests
        .iter()
        .map(|request| request.header("authorization").expect("a token"))
        .collect();
    assert_eq!(tokens, ["Bearer old", "Bearer new"]);
    assert!(requests[0].target().ends_with("token_key=k3y"));
}

#[test]
fn a_queue_may_forbid_the_renewal() {
    let home = tempfile::tempdir().expect("space");
    let server = HttpStandIn::start(|_| forbidden()).expect("a server");
    let renewal = TokenRenewal {
        token_file: home.path().join("token"),
        key_file: home.path().join("key"),
    };
    let config = LinkConfig {
        renewal: Some(renewal),
        ..config(home.path())
    };
    let link = link(&server, config);
    link.learn(&site("no_token_renewal"));
    link.beat();
    assert!(lock(&link.last_renewal).is_none());
}

#[test]
fn the_node_is_told_and_its_map_kept() {
    let home = tempfile::tempdir().expect("space");
    let server = HttpStandIn::start(|_| Some(Answer::new(200, V1_OK))).expect("a server");
    let config = LinkConfig {
        node: Some(NodeReport {
            facts: ailurus_node::node_facts(),
            name: NodeName::new("slot1@wn1"),
            path: String::new(),
        }),
        ..config(home.path())
    };
    let link = link(&server, config);
    link.learn(&site(""));
    wait_for("the node is told", || !server.requests().is_empty());
    let request = &server.requests()[0];
    assert_eq!(request.target(), "/api/v1/pilot/update_worker_node");
    let fields = body::decode_json(&request.body).expect("compressed JSON");
    assert_eq!(fields.text("host_name"), "slot1@wn1");
    assert!(home.path().join("workernode_map.json").is_file());
}

#[test]
fn a_job_definition_in_place_that_cannot_be_read_is_named() {
    let home = tempfile::tempdir().expect("space");
    let file = home.path().join(JOB_FILE);
    fs::write(&file, "<html>").expect("space");
    let server = HttpStandIn::start(|_| None).expect("a server");
    let config = LinkConfig {
        job_files: vec![file.clone()],
        ..config(home.path())
    };
    let link = link(&server, config);
    let why = link.job_from_file().expect("a file").expect_err("no job");
    let beginning = format!("`{}` cannot be used: ", file.display());
    assert!(why.starts_with(&beginning), "{why}");
    assert!(link.job_from_file().is_none());
}
