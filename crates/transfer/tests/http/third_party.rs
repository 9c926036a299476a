//! Copies from one storage to another.

use ailurus_http::Secret;
use ailurus_testkit::{
    http::{Answer, Reply},
    stand_in::{Entrance, HttpStandIn},
    storage::{Lie, LyingStore},
};
use ailurus_transfer::{
    Cause,
    http::{HttpOptions, Mode, ThirdPartyCopy},
};

use super::{PATIENCE, Stand, data, watch};

fn copy(from: String, to: String, mode: Mode) -> ThirdPartyCopy {
    ThirdPartyCopy {
        from,
        to,
        mode,
        other_authorization: None,
    }
}

#[test]
fn one_storage_fetches_from_another() {
    let (source, target) = (Stand::new(), LyingStore::start().expect("a port"));
    let content = data(200_000);
    source.store.put("/a/f", content.clone());
    target.put("/b/f", "old");
    let order = copy(source.store.url("/a/f"), target.url("/b/f"), Mode::Pull);
    let watch = watch(PATIENCE);
    source
        .tool
        .third_party_copy(&order, &watch)
        .expect("copied");
    assert_eq!(target.stored("/b/f"), Some(content));
    let heard = target.heard();
    assert_eq!(heard[0].header("credential"), Some("none"));
    assert_eq!(heard[0].header("source"), Some(order.from.as_str()));
}

#[test]
fn a_failure_at_the_end_of_the_report_is_a_failure() {
    let (source, target) = (Stand::new(), LyingStore::start().expect("a port"));
    source.store.put("/f", data(1000));
    target.tell(Lie::CopyFails);
    let order = copy(source.store.url("/f"), target.url("/f"), Mode::Pull);
    let error = source.tool.third_party_copy(&order, &watch(PATIENCE));
    let error = error.expect_err("a failure");
    assert!(!error.cause.to_string().is_empty());
    assert_eq!(target.stored("/f"), None);
}

#[test]
fn a_missing_source_is_a_failure() {
    let (source, target) = (Stand::new(), LyingStore::start().expect("a port"));
    let order = copy(source.store.url("/no"), target.url("/f"), Mode::Pull);
    source
        .tool
        .third_party_copy(&order, &watch(PATIENCE))
        .expect_err("a failure");
}

/// A storage that answers COPY with this body in chunks.
fn reporting(lines: &'static str) -> HttpStandIn {
    HttpStandIn::start_at(Entrance::default(), move |_| {
        let mut answer = "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        for line in lines.split_inclusive('\n') {
            answer.push_str(&format!("{:x}\r\n{line}\r\n", line.len()));
        }
        answer.push_str("0\r\n\r\n");
        Reply::Raw(answer.into_bytes())
    })
    .expect("a port")
}

#[test]
fn progress_and_outcome_are_read_from_the_report() {
    let server = reporting(
        "Perf Marker\n Stripe Index: 0\n Stripe Bytes Transferred: 1000\nEnd\n\
         Perf Marker\n Stripe Index: 0\n Stripe Bytes Transferred: 70000\nEnd\n\
         success: Created\n",
    );
    let tool = super::tool(HttpOptions::default());
    let order = ThirdPartyCopy {
        other_authorization: Some(Secret::new("Bearer other")),
        ..copy(
            format!("{}/from", server.url()),
            "davs://other.example.org/a b".to_owned(),
            Mode::Push,
        )
    };
    let watch = watch(PATIENCE);
    tool.third_party_copy(&order, &watch).expect("copied");
    assert_eq!(watch.moved().as_bytes(), 70_000);
    let request = &server.requests()[0];
    assert_eq!(request.method_and_target(), "COPY /from");
    let destination = request.header("destination");
    assert_eq!(destination, Some("https://other.example.org/a%20b"));
    let authorization = request.header("transferheaderauthorization");
    assert_eq!(authorization, Some("Bearer other"));
}

#[test]
fn reports_that_end_badly_have_their_causes() {
    let tool = super::tool(HttpOptions::default());
    let failed = |url: String| {
        let order = copy(
            "https://other/f".to_owned(),
            format!("{url}/to"),
            Mode::Pull,
        );
        let result = tool.third_party_copy(&order, &watch(PATIENCE));
        result.expect_err("a failure").cause
    };
    let cause = failed(reporting("failure: rejected GET: 404 File not found\n").url());
    // The server has gone by now: nobody is there.
    assert!(
        matches!(cause, Cause::Unreachable { .. } | Cause::Missing),
        "{cause}"
    );
    let server = reporting("failure: rejected GET: 404 File not found\n");
    assert!(matches!(failed(server.url()), Cause::Missing));
    let server = reporting("Perf Marker\nEnd\n");
    assert!(matches!(failed(server.url()), Cause::Broken { .. }));
    let server = reporting("failure: write: No space left on device\n");
    assert!(matches!(failed(server.url()), Cause::NoSpace));
    let server = HttpStandIn::start(|_| Some(Answer::new(403, "no"))).expect("a port");
    assert!(matches!(failed(server.url()), Cause::NoPermission { .. }));
}
