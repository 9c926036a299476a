//! Storage that lies, hangs and refuses: each has its cause.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ailurus_model::{ByteCount, Checksum, ErrorCode};
use ailurus_testkit::{
    http::Answer,
    stand_in::HttpStandIn,
    storage::{Lie, Rule},
};
use ailurus_transfer::{BadPlaceReason, Cause, Direction, Tool as _, Transfer, Watch};

use super::{IMPATIENCE, Stand, data, known, run, transfer};

/// A stand with one file of 100,000 bytes that tells a lie.
fn lying(rule: impl Into<Rule>) -> (Stand, Transfer) {
    let stand = Stand::new();
    let content = data(100_000);
    stand.store.put("/f", content.clone());
    stand.store.tell(rule);
    let transfer = known(stand.stage_in("/f"), &content);
    (stand, transfer)
}

#[test]
fn refusals_have_their_causes() {
    for (status, code) in [
        (401, ErrorCode::StageInAuthenticationFailure),
        (403, ErrorCode::StageInFailed),
        (404, ErrorCode::MissingInputFile),
        (410, ErrorCode::MissingInputFile),
        (418, ErrorCode::StageInFailed),
        (500, ErrorCode::ServiceNotAvailable),
        (503, ErrorCode::ServiceNotAvailable),
    ] {
        let (stand, transfer) = lying(Lie::Status(status));
        let error = stand.run(&transfer).expect_err("refused");
        assert_eq!(error.code(), code, "{status}: {}", error.cause);
        assert_eq!(stand.n_heard("GET"), 1, "{status}");
    }
}

#[test]
fn a_busy_storage_says_when_to_come_again() {
    for (status, seconds) in [(503, Some(7)), (500, Some(3)), (429, Some(60)), (503, None)] {
        let busy = Lie::Busy {
            status,
            retry_after: seconds,
        };
        let (stand, transfer) = lying(busy);
        let Cause::Busy { retry_after, why } = stand.fails(&transfer) else {
            panic!("{status} is busy");
        };
        let pause = seconds.map(|it| Duration::from_secs(it.into()));
        assert_eq!(retry_after, pause);
        assert!(why.contains(&status.to_string()), "{why}");
    }
}

#[test]
fn a_time_to_come_again_is_counted_by_the_storages_clock() {
    let server = HttpStandIn::start(|_| {
        let answer = Answer::new(503, "<html>down</html>")
            .with_header("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
            .with_header("Retry-After", "Sun, 06 Nov 1994 08:51:37 GMT");
        Some(answer)
    })
    .expect("a port");
    let stand = Stand::new();
    let url = format!("{}/f", server.url());
    let cause = stand.fails(&transfer(Direction::StageIn, &url, &stand.local("x")));
    let Cause::Busy { retry_after, why } = cause else {
        panic!("{cause}");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(120)));
    assert_eq!(why, "status 503: down");
}

#[test]
fn a_page_instead_of_the_file_is_named_so() {
    let (stand, transfer) = lying(Lie::Html);
    for transfer in [
        transfer.clone(),
        Transfer {
            size: None,
            checksum: None,
            ..transfer
        },
    ] {
        let cause = stand.fails(&transfer);
        assert!(matches!(cause, Cause::NotTheFile { .. }), "{cause}");
    }
}

#[test]
fn a_page_without_a_type_is_known_by_its_beginning() {
    // As XRootD lists a directory.
    let page = "\n<!DOCTYPE HTML PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\"><html></html>";
    let server = HttpStandIn::start(move |_| Some(Answer::new(200, page))).expect("a port");
    let stand = Stand::new();
    let fetch = |name: &str| {
        let url = format!("{}/{name}", server.url());
        run(
            &stand.tool,
            &transfer(Direction::StageIn, &url, &stand.local(name)),
        )
    };
    let error = fetch("data.root").expect_err("a page");
    assert!(
        matches!(error.cause, Cause::NotTheFile { .. }),
        "{}",
        error.cause
    );
    fetch("report.html").expect("a page by its name");
}

#[test]
fn an_answer_that_is_encoded_is_not_the_file() {
    let server = HttpStandIn::start(|_| {
        Some(Answer::new(200, "compressed").with_header("Content-Encoding", "gzip"))
    })
    .expect("a port");
    let stand = Stand::new();
    let url = format!("{}/f", server.url());
    let mut fetch = transfer(Direction::StageIn, &url, &stand.local("x"));
    let cause = stand.fails(&fetch);
    assert!(matches!(cause, Cause::NotTheFile { .. }), "{cause}");
    // A file that was stored so has the size that the catalogue knows.
    fetch.size = Some(ByteCount::from_bytes(10));
    stand.run(&fetch).expect("the file as it is stored");
}

#[test]
fn wrong_sizes_are_found_before_the_bytes_come() {
    let (stand, transfer) = lying(Rule::always(Lie::WrongLength { by: 5 }));
    let Cause::SizeMismatch { expected, found } = stand.fails(&transfer) else {
        panic!("another size");
    };
    assert_eq!((expected.as_bytes(), found.as_bytes()), (100_000, 100_005));
    let (stand, transfer) = lying(Lie::WrongLength { by: -5 });
    let cause = stand.fails(&transfer);
    assert!(matches!(cause, Cause::SizeMismatch { .. }), "{cause}");
}

#[test]
fn a_length_that_is_too_long_is_no_file_even_if_nothing_is_known() {
    let (stand, mut transfer) = lying(Lie::WrongLength { by: 5 });
    (transfer.size, transfer.checksum) = (None, None);
    let cause = stand.fails(&transfer);
    assert!(
        matches!(
            cause,
            Cause::Broken { .. } | Cause::NotTheFile { .. } | Cause::Changed { .. }
        ),
        "{cause}"
    );
    // A shorter one shows by the storage's own checksum.
    let (stand, mut transfer) = lying(Lie::WrongLength { by: -5 });
    (transfer.size, transfer.checksum) = (None, None);
    let cause = stand.fails(&transfer);
    assert!(matches!(cause, Cause::ChecksumMismatch { .. }), "{cause}");
}

#[test]
fn a_body_without_an_end_needs_something_to_be_compared_with() {
    let (stand, transfer) = lying(Lie::NoLength);
    stand.run(&transfer).expect("size and checksum are known");
    let (stand, mut transfer) = lying(Lie::NoLength);
    (transfer.size, transfer.checksum) = (None, None);
    let cause = stand.fails(&transfer);
    assert!(matches!(cause, Cause::Refused { .. }), "{cause}");
}

#[test]
fn a_file_that_changes_between_parts_is_noticed() {
    for stand in [Stand::new(), Stand::in_parts()] {
        let content = data(100_000);
        stand.store.put("/f", content.clone());
        stand.store.tell(Rule::times(Lie::Short { after: 5000 }, 1));
        stand.store.tell(Lie::ChangingTag);
        let cause = stand.fails(&known(stand.stage_in("/f"), &content));
        assert!(matches!(cause, Cause::Changed { .. }), "{cause}");
    }
}

#[test]
fn a_file_that_grows_is_not_the_catalogues() {
    let (stand, transfer) = lying(Lie::Grows { by: 7 });
    let cause = stand.fails(&transfer);
    assert!(matches!(cause, Cause::SizeMismatch { .. }), "{cause}");
    let stand = Stand::new();
    stand.store.put("/f", data(100_000));
    stand.store.tell(Rule::times(Lie::Short { after: 5000 }, 1));
    stand
        .store
        .tell(Rule::always(Lie::Grows { by: 7 }).on("GET"));
    let cause = stand.fails(&stand.stage_in("/f"));
    assert!(matches!(cause, Cause::Changed { .. }), "{cause}");
}

#[test]
fn another_range_than_the_one_asked_for_is_not_the_file() {
    for stand in [Stand::new(), Stand::in_parts()] {
        let content = data(100_000);
        stand.store.put("/f", content.clone());
        stand.store.tell(Rule::times(Lie::Short { after: 5000 }, 1));
        stand.store.tell(Lie::WrongRange { by: 3 });
        let cause = stand.fails(&known(stand.stage_in("/f"), &content));
        assert!(matches!(cause, Cause::NotTheFile { .. }), "{cause}");
    }
}

#[test]
fn redirects_in_a_circle_end() {
    let (stand, transfer) = lying(Lie::RedirectLoop);
    let cause = stand.fails(&transfer);
    assert!(matches!(cause, Cause::Refused { .. }), "{cause}");
    assert!(cause.to_string().contains("circle"));
    assert!(stand.n_heard("GET") < 12);
    // A chain without a circle ends, too.
    let server = HttpStandIn::start(|request| {
        let next = format!("{}x", request.target());
        Some(Answer::new(302, "").with_header("Location", next))
    })
    .expect("a port");
    let url = format!("{}/f", server.url());
    let fetch = super::transfer(Direction::StageIn, &url, &stand.local("x"));
    assert!(matches!(stand.fails(&fetch), Cause::Refused { .. }));
    assert!(server.requests().len() < 12);
}

#[test]
fn a_storage_that_hangs_is_left() {
    for lie in [
        Lie::Silent,
        Lie::Hang { after: 50_000 },
        Lie::Hang { after: 0 },
    ] {
        let (stand, transfer) = lying(lie.clone());
        let transfer = Transfer {
            patience: IMPATIENCE,
            ..transfer
        };
        let error = stand.run(&transfer).expect_err("given up");
        assert!(
            matches!(error.cause, Cause::TooSlow(_)),
            "{lie:?}: {}",
            error.cause
        );
        assert_eq!(error.code(), ErrorCode::StageInTimeout);
    }
}

#[test]
fn a_transfer_can_be_stopped_wherever_it_waits() {
    for lie in [Lie::Silent, Lie::Hang { after: 50_000 }] {
        for stand in [Stand::new(), Stand::in_parts()] {
            let content = data(100_000);
            stand.store.put("/f", content.clone());
            stand.store.tell(lie.clone());
            let transfer = known(stand.stage_in("/f"), &content);
            let stop = Arc::new(AtomicBool::new(false));
            let watch = Watch::new(Arc::clone(&stop), transfer.patience);
            let begin = Instant::now();
            let error = thread::scope(|scope| {
                scope.spawn(|| {
                    while stand.store.heard().is_empty() {
                        thread::yield_now();
                    }
                    stop.store(true, Ordering::Relaxed);
                });
                stand.tool.transfer(&transfer, &watch)
            })
            .expect_err("stopped");
            assert!(
                matches!(error.cause, Cause::Stopped),
                "{lie:?}: {}",
                error.cause
            );
            assert!(begin.elapsed() < transfer.patience.begin);
            super::assert_clean(stand.dir.path());
        }
    }
}

#[test]
fn nobody_there_is_unreachable() {
    let stand = Stand::new();
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound").port()
    };
    for url in [
        format!("http://127.0.0.1:{port}/f"),
        "http://no.such.host.invalid/f".to_owned(),
    ] {
        let cause = stand.fails(&transfer(Direction::StageIn, &url, &stand.local("x")));
        assert!(matches!(cause, Cause::Unreachable { .. }), "{url}: {cause}");
    }
}

#[test]
fn bad_places_are_told() {
    let stand = Stand::new();
    for (url, path, reason) in [
        ("http:///f", "x", BadPlaceReason::NoUrl),
        ("root://h/f", "x", BadPlaceReason::NoUrl),
        ("http://h/f", "../x", BadPlaceReason::LeadsUp),
        ("http://h/f", "x/", BadPlaceReason::NoName),
    ] {
        let path = stand.local("job").join(path);
        let cause = stand.fails(&transfer(Direction::StageIn, url, &path));
        let Cause::BadPlace(found) = cause else {
            panic!("{url} {}: {cause}", path.display());
        };
        assert_eq!(found, reason);
    }
}

#[test]
fn a_size_beyond_the_disk_is_no_space_at_once() {
    let stand = Stand::new();
    stand.store.put("/f", data(10));
    let mut transfer = stand.stage_in("/f");
    transfer.size = Some(ByteCount::from_bytes(1 << 60));
    let cause = stand.fails(&transfer);
    assert!(matches!(cause, Cause::NoSpace), "{cause}");
    assert_eq!(stand.n_heard("GET"), 0);
}

#[test]
fn what_a_storage_says_about_a_file_is_told() {
    let stand = Stand::new();
    let content = data(1234);
    stand.store.put("/f", content.clone());
    let look = |path: &str| {
        let url = stand.store.url(path);
        stand.tool.look(&url, &super::watch(super::PATIENCE))
    };
    let found = look("/f").expect("there");
    assert_eq!(found.size, Some(ByteCount::from_bytes(1234)));
    let sum = ailurus_transfer::checksum::adler32(&content);
    assert_eq!(found.checksum, Some(Checksum::Adler32(sum)));
    let error = look("/nope").expect_err("missing");
    assert!(matches!(error.cause, Cause::Missing));
    // Without HEAD the properties tell the size.
    stand.store.tell(Rule::always(Lie::Status(405)).on("HEAD"));
    let found = look("/f").expect("there");
    assert_eq!(found.size, Some(ByteCount::from_bytes(1234)));
    assert_eq!(found.checksum, None);
}

#[test]
fn removing_what_is_not_there_is_no_error() {
    let stand = Stand::new();
    stand.store.put("/f", data(10));
    let url = stand.store.url("/f");
    for _ in 0..2 {
        stand
            .tool
            .remove(&url, &super::watch(super::PATIENCE))
            .expect("gone");
        assert_eq!(stand.store.stored("/f"), None);
    }
    stand.store.tell(Lie::Status(403));
    let error = stand.tool.remove(&url, &super::watch(super::PATIENCE));
    let cause = error.expect_err("refused").cause;
    assert!(
        matches!(cause, Cause::NoPermission { action: "write" }),
        "{cause}"
    );
}
