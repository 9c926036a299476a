//! Tokens, macaroons, user and password.

use std::{fs, time::Duration};

use ailurus_testkit::{
    http::Answer,
    stand_in::HttpStandIn,
    storage::{Lie, LyingStore, Rule},
};
use ailurus_transfer::{
    Cause, Direction,
    flow_marker::{FlowId, FlowIds},
    http::{HttpOptions, Macaroons, RedirectTrust},
};

use super::{Stand, data, known, run, transfer};

/// A stand whose storage demands the token `first`, which the tool has in its file.
fn with_token(redirects: RedirectTrust) -> Stand {
    let dir = tempfile::tempdir().expect("space");
    let token_file = dir.path().join("token");
    fs::write(&token_file, "first\n").expect("space");
    let options = HttpOptions {
        token_file: Some(token_file),
        redirects,
        ..HttpOptions::default()
    };
    let stand = Stand {
        store: LyingStore::start().expect("a port"),
        dir,
        tool: super::tool(options),
    };
    stand.store.demand("first");
    stand
}

#[test]
fn the_token_goes_with_every_request_and_is_read_again_when_it_changes() {
    let stand = with_token(RedirectTrust::default());
    let content = data(1000);
    stand.run(&stand.stage_out("/f", &content)).expect("stored");
    stand.store.demand("second");
    let fetch = known(stand.stage_in("/f"), &content);
    let cause = stand.fails(&fetch);
    assert!(matches!(cause, Cause::Denied { .. }), "{cause}");
    fs::write(stand.local("token"), "second").expect("space");
    stand.run(&fetch).expect("the new token");
    for request in stand.store.heard() {
        assert!(request.header("authorization").is_some());
        assert_eq!(request.header("origin"), None);
    }
}

#[test]
fn a_token_that_expires_in_the_middle_is_renewed_and_the_file_goes_on() {
    let stand = with_token(RedirectTrust::default());
    let content = data(300_000);
    stand.store.put("/f", content.clone());
    stand
        .store
        .tell(Rule::times(Lie::Expires { after: 100_000 }, 1));
    let fetch = known(stand.stage_in("/f"), &content);
    std::thread::scope(|scope| {
        // Whoever renews tokens does so while the file comes.
        scope.spawn(|| {
            while stand.n_heard("GET") < 1 {
                std::thread::yield_now();
            }
            fs::write(stand.local("next"), "second").expect("space");
            stand.store.demand("second");
            fs::rename(stand.local("next"), stand.local("token")).expect("there");
        });
        // The break may come before the new token is there: then the core tries again.
        let mut outcome = stand.run(&fetch);
        while let Err(error) = &outcome {
            assert!(
                matches!(error.cause, Cause::Denied { .. }),
                "{}",
                error.cause
            );
            outcome = stand.run(&fetch);
        }
    });
    assert_eq!(fs::read(stand.local("job/in")).expect("there"), content);
}

#[test]
fn the_old_token_is_replaced_within_one_transfer() {
    let stand = with_token(RedirectTrust::default());
    let content = data(300_000);
    stand.store.put("/f", content.clone());
    // The second request, after the break, is refused; by then the file has a new token.
    stand
        .store
        .tell(Rule::times(Lie::Short { after: 100_000 }, 1));
    stand.store.tell(Rule::times(Lie::Status(401), 1));
    let fetch = known(stand.stage_in("/f"), &content);
    let cause = stand.fails(&fetch);
    assert!(
        matches!(cause, Cause::Denied { .. }),
        "the same token: {cause}"
    );
}

#[test]
fn a_new_token_is_tried_once_within_the_same_request() {
    for status in [401, 403] {
        let dir = tempfile::tempdir().expect("space");
        let token = dir.path().join("token");
        fs::write(&token, "old").expect("space");
        let file = token.clone();
        let server = HttpStandIn::start(move |request| {
            if request.header("authorization") == Some("Bearer new") {
                return Some(Answer::new(200, "content"));
            }
            // Whoever renews tokens has just done so.
            fs::write(&file, "newer")
                .and_then(|()| fs::write(&file, "new"))
                .expect("space");
            Some(Answer::new(status, ""))
        })
        .expect("a port");
        let tool = super::tool(HttpOptions {
            token_file: Some(token),
            ..HttpOptions::default()
        });
        let url = format!("{}/f", server.url());
        let fetch = transfer(Direction::StageIn, &url, &dir.path().join("f"));
        run(&tool, &known(fetch, b"content")).expect("the new token");
        assert_eq!(server.requests().len(), 2, "{status}");
    }
}

#[test]
fn a_missing_token_is_denied_before_anything_is_sent() {
    let stand = with_token(RedirectTrust::default());
    fs::remove_file(stand.local("token")).expect("there");
    let cause = stand.fails(&stand.stage_in("/f"));
    assert!(matches!(cause, Cause::Denied { .. }), "{cause}");
    assert!(stand.store.heard().is_empty());
}

#[test]
fn tokens_follow_redirects_only_to_hosts_that_are_trusted() {
    let content = data(1000);
    for (trust, name, is_sent) in [
        (RedirectTrust::SameHost, "127.0.0.1", true),
        (RedirectTrust::SameHost, "localhost", false),
        (RedirectTrust::SameDomain, "localhost", false),
        (RedirectTrust::Anywhere, "localhost", true),
    ] {
        let stand = with_token(trust);
        let pool = LyingStore::start().expect("a port");
        pool.put("/f", content.clone());
        let place = format!("http://{name}:{}", pool.address().port());
        stand.store.tell(Lie::RedirectTo(place));
        stand
            .run(&known(stand.stage_in("/f"), &content))
            .expect("the pool demands nothing");
        let heard = pool.heard();
        let has_token = heard[0].header("authorization").is_some();
        assert_eq!(has_token, is_sent, "{trust:?} {name}");
    }
}

#[test]
fn user_and_password_of_a_url_become_a_header_and_are_never_shown() {
    let server = HttpStandIn::start(|request| {
        let is_good = request.header("authorization") == Some("Basic YWxpY2U6cHc=");
        Some(Answer::new(if is_good { 404 } else { 401 }, ""))
    })
    .expect("a port");
    let stand = Stand::new();
    let url = server.url().replace("http://", "http://alice:pw@") + "/f?secret=1";
    let fetch = transfer(Direction::StageIn, &url, &stand.local("x"));
    let error = run(&stand.tool, &fetch).expect_err("missing");
    assert!(matches!(error.cause, Cause::Missing), "{}", error.cause);
    let shown = format!("{error} {error:?} {}", error.cause);
    assert!(
        !shown.contains("pw@") && !shown.contains("secret"),
        "{shown}"
    );
    assert_eq!(server.requests()[0].target(), "/f?secret=1");
}

#[test]
fn macaroons_are_asked_for_once_a_directory_and_activity() {
    let server = HttpStandIn::start(|request| {
        let is_request = request.header("content-type") == Some("application/macaroon-request");
        Some(if is_request {
            assert_eq!(request.header("authorization"), None);
            let body = String::from_utf8_lossy(&request.body).into_owned();
            assert!(body.contains("\"validity\":\"PT3600S\""), "{body}");
            let is_upload = body.contains("activity:UPLOAD");
            let name = if is_upload { "write" } else { "read" };
            Answer::new(200, format!("{{\"macaroon\": \"{name}\", \"uri\": {{}}}}"))
        } else if request.header("authorization") == Some("Bearer read") {
            Answer::new(200, "content")
        } else if request.header("authorization") == Some("Bearer write") {
            Answer::new(204, "").with_header("DAV", "1")
        } else {
            Answer::new(401, "")
        })
    })
    .expect("a port");
    let macaroons = Some(Macaroons {
        validity: Duration::from_secs(3600),
    });
    let stand = Stand::with(HttpOptions {
        macaroons,
        ..HttpOptions::default()
    });
    for name in ["a", "b"] {
        let url = format!("{}/spd/sim/{name}", server.url());
        let fetch = transfer(Direction::StageIn, &url, &stand.local(name));
        run(&stand.tool, &known(fetch, b"content")).expect("a macaroon to read");
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0].method_and_target(), "POST /spd/sim/");
    let url = format!("{}/spd/sim/a", server.url());
    let watch = super::watch(super::PATIENCE);
    ailurus_transfer::Tool::remove(&stand.tool, &url, &watch).expect("a macaroon to write");
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn a_storage_that_gives_no_macaroon_denies() {
    for (status, body) in [(403, ""), (501, "no"), (200, "{}"), (200, "<html>")] {
        let server = HttpStandIn::start(move |_| Some(Answer::new(status, body))).expect("a port");
        let stand = Stand::with(HttpOptions {
            macaroons: Some(Macaroons {
                validity: Duration::from_secs(60),
            }),
            ..HttpOptions::default()
        });
        let url = format!("{}/a/f", server.url());
        let cause = stand.fails(&transfer(Direction::StageIn, &url, &stand.local("x")));
        assert!(
            matches!(cause, Cause::Denied { .. } | Cause::NoPermission { .. }),
            "{status} {body}: {cause}"
        );
    }
}

#[test]
fn a_storage_is_told_what_a_connection_is_for_if_that_is_wanted() {
    let id = |activity| FlowId::new(7, activity).expect("in range");
    let flow = Some(FlowIds {
        input: id(20),
        output: id(21),
    });
    for flow in [None, flow] {
        let stand = Stand::with(HttpOptions {
            flow,
            ..HttpOptions::default()
        });
        stand.store.put("/spd/in", "x");
        stand.run(&stand.stage_in("/spd/in")).expect("fetched");
        stand
            .run(&stand.stage_out("/spd/out", b"y"))
            .expect("stored");
        for request in stand.store.heard() {
            let ids = flow.map(|ids| {
                let is_input = request.method_and_target().ends_with("/in");
                let id = if is_input { ids.input } else { ids.output };
                id.scitag().to_string()
            });
            assert_eq!(request.header("SciTag"), ids.as_deref(), "{request:?}");
        }
    }
}
