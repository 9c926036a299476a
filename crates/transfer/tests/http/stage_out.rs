//! Storing: names in the making, verification, directories, breaks.

use std::fs;

use ailurus_model::{ByteCount, Checksum, ErrorCode};
use ailurus_testkit::storage::{Lie, Rule, lying::Collections};
use ailurus_transfer::{Cause, Transfer, checksum::ChecksumKind};

use super::{IMPATIENCE, Stand, data};

/// What was asked, methods and targets, without what a name in the making is called.
fn course(stand: &Stand) -> Vec<String> {
    let heard = stand.store.heard();
    let lines = heard.iter().map(|it| it.method_and_target().to_owned());
    lines
        .map(|line| match line.split_once("/.ailurus-") {
            Some((start, _)) => format!("{start}/PART"),
            None => line,
        })
        .collect()
}

#[test]
fn a_file_gets_its_name_once_it_is_verified() {
    let stand = Stand::new();
    let content = data(300_000);
    let transfer = stand.stage_out("/spd/out.root", &content);
    let report = stand.run(&transfer).expect("stored");
    assert_eq!(report.size.as_bytes(), 300_000);
    assert_eq!(Some(report.checksum), transfer.checksum);
    assert_eq!(stand.store.stored("/spd/out.root"), Some(content));
    assert_eq!(
        course(&stand),
        [
            "OPTIONS /spd/out.root",
            "PUT /spd/PART",
            "HEAD /spd/PART",
            "MOVE /spd/PART"
        ]
    );
    let heard = stand.store.heard();
    assert_eq!(heard[1].header("expect"), Some("100-continue"));
    assert_eq!(heard[2].header("want-digest"), Some("adler32"));
    assert_eq!(heard[3].header("overwrite"), Some("T"));
    assert_eq!(stand.store.paths(), ["/spd/out.root"]);
}

#[test]
fn files_of_all_sizes_are_stored_and_replace_older_ones() {
    let stand = Stand::new();
    for length in [0, 1, 65_536, 65_537, 1_000_000] {
        let content = data(length);
        stand.run(&stand.stage_out("/f", &content)).expect("stored");
        assert_eq!(stand.store.stored("/f"), Some(content));
    }
    // Once a storage has taken bytes itself, small files need no question first.
    let asked: Vec<bool> = stand
        .store
        .heard()
        .iter()
        .filter(|it| it.method_and_target().starts_with("PUT"))
        .map(|it| it.header("expect").is_some())
        .collect();
    assert_eq!(asked, [true, false, false, true, true]);
    assert_eq!(stand.n_heard("OPTIONS"), 1);
}

#[test]
fn missing_directories_are_made_once() {
    let stand = Stand::new();
    stand.store.with_collections(Collections::Needed);
    for name in ["a", "b"] {
        let content = data(10);
        let path = format!("/spd/sim/12/34/{name}");
        stand
            .run(&stand.stage_out(&path, &content))
            .expect("stored");
        assert_eq!(stand.store.stored(&path), Some(content));
    }
    let n_made = stand.n_heard("MKCOL");
    assert!((4..=8).contains(&n_made), "{n_made}");
    stand
        .run(&stand.stage_out("/spd/sim/12/35/c", b"x"))
        .expect("stored");
    assert!(stand.n_heard("MKCOL") - n_made <= 3);
}

#[test]
fn many_threads_may_make_the_same_directory() {
    let stand = Stand::new();
    stand.store.with_collections(Collections::Needed);
    let content = data(1000);
    let template = stand.stage_out("/x", &content);
    std::thread::scope(|scope| {
        for nr in 0..16 {
            let transfer = Transfer {
                url: stand.store.url(&format!("/spd/a/b/{nr}")),
                ..template.clone()
            };
            let stand = &stand;
            scope.spawn(move || stand.run(&transfer).expect("stored"));
        }
    });
    assert_eq!(stand.store.paths().len(), 16);
}

#[test]
fn what_arrives_wrong_is_found_and_removed() {
    for lie in [Lie::KeepsHalf, Lie::Forgets] {
        let stand = Stand::new();
        stand.store.tell(lie.clone());
        let cause = stand.fails(&stand.stage_out("/f", &data(100_000)));
        assert!(
            matches!(cause, Cause::SizeMismatch { .. } | Cause::Refused { .. }),
            "{lie:?}: {cause}"
        );
        assert!(stand.store.paths().is_empty(), "{lie:?}");
    }
    let stand = Stand::new();
    stand.store.tell(Lie::WrongChecksum);
    let error = stand
        .run(&stand.stage_out("/f", &data(1000)))
        .expect_err("wrong");
    assert_eq!(error.code(), ErrorCode::PutAdMismatch);
    assert!(stand.store.paths().is_empty());
}

#[test]
fn a_page_instead_of_storing_is_found() {
    let stand = Stand::new();
    stand.store.tell(Rule::always(Lie::Html).on("PUT"));
    let cause = stand.fails(&stand.stage_out("/f", &data(1000)));
    assert!(matches!(cause, Cause::Refused { .. }), "{cause}");
}

#[test]
fn a_full_storage_is_told_also_in_the_middle() {
    for lie in [Lie::Status(507), Lie::Full { after: 50_000 }] {
        let stand = Stand::new();
        stand.store.tell(Rule::always(lie.clone()).on("PUT"));
        let transfer = stand.stage_out("/f", &data(30_000_000));
        let error = stand.run(&transfer).expect_err("full");
        assert_eq!(
            error.code(),
            ErrorCode::NoRemoteSpace,
            "{lie:?}: {}",
            error.cause
        );
        assert!(stand.store.paths().is_empty());
    }
}

#[test]
fn refusals_of_storing_have_their_causes() {
    for (status, code) in [
        (401, ErrorCode::StageOutAuthenticationFailure),
        (403, ErrorCode::StageOutFailed),
        (405, ErrorCode::StageOutFailed),
        (503, ErrorCode::ServiceNotAvailable),
    ] {
        let stand = Stand::new();
        stand
            .store
            .tell(Rule::always(Lie::Status(status)).on("PUT"));
        let error = stand
            .run(&stand.stage_out("/f", b"x"))
            .expect_err("refused");
        assert_eq!(error.code(), code, "{status}: {}", error.cause);
    }
}

#[test]
fn a_broken_sending_is_sent_again_while_bytes_move() {
    for lie in [Lie::BreaksUpload { after: 500_000 }, Lie::StoresAndLeaves] {
        let stand = Stand::new();
        stand.store.tell(Rule::times(lie.clone(), 2));
        let content = data(1_000_000);
        let transfer = stand.stage_out("/f", &content);
        stand
            .run(&transfer)
            .unwrap_or_else(|error| panic!("{lie:?}: {}", error.cause));
        assert_eq!(stand.store.stored("/f"), Some(content));
        assert_eq!(stand.store.paths(), ["/f"], "{lie:?}");
    }
}

#[test]
fn a_file_whose_answer_was_lost_is_not_sent_again() {
    let stand = Stand::new();
    stand.store.tell(Rule::times(Lie::StoresAndLeaves, 1));
    stand
        .run(&stand.stage_out("/f", &data(1000)))
        .expect("stored");
    assert_eq!(stand.n_heard("PUT"), 1);
}

#[test]
fn a_renaming_whose_answer_was_lost_is_found_done() {
    let stand = Stand::new();
    stand.store.tell(Rule::times(Lie::MovesAndFails, 1));
    let content = data(1000);
    let result = stand.run(&stand.stage_out("/f", &content));
    // The storage says that it failed, and it did not: the file is there, whole.
    assert_eq!(stand.store.stored("/f"), Some(content));
    result.expect("stored");
}

#[test]
fn a_storage_that_cannot_rename_gets_the_file_directly() {
    for (method, status) in [("OPTIONS", 405), ("MOVE", 405), ("MOVE", 501)] {
        let stand = Stand::new();
        stand
            .store
            .tell(Rule::always(Lie::Status(status)).on(method));
        for name in ["/a", "/b"] {
            let content = data(70_000);
            stand.run(&stand.stage_out(name, &content)).expect("stored");
            assert_eq!(stand.store.stored(name), Some(content));
        }
        assert_eq!(stand.store.paths(), ["/a", "/b"]);
        assert!(stand.n_heard("MOVE") <= 1, "{method}: it is remembered");
    }
}

#[test]
fn a_direct_storing_that_fails_leaves_nothing() {
    let stand = Stand::new();
    stand
        .store
        .tell(Rule::always(Lie::Status(405)).on("OPTIONS"));
    stand.store.tell(Lie::KeepsHalf);
    stand.fails(&stand.stage_out("/f", &data(100_000)));
    assert!(stand.store.paths().is_empty());
}

#[test]
fn a_pool_is_sent_the_bytes_once() {
    let (head, pool) = (Stand::new(), Stand::new());
    let to_pool = Lie::RedirectTo(pool.store.endpoint());
    head.store.tell(Rule::always(to_pool).on("PUT"));
    // What the pool has, the head knows.
    for method in ["HEAD", "MOVE", "DELETE", "PROPFIND"] {
        let to_pool = Lie::RedirectTo(pool.store.endpoint());
        head.store.tell(Rule::always(to_pool).on(method));
    }
    let content = data(200_000);
    head.run(&head.stage_out("/spd/f", &content))
        .expect("stored");
    assert_eq!(pool.store.stored("/spd/f"), Some(content));
    assert_eq!((head.n_heard("PUT"), pool.n_heard("PUT")), (1, 1));
    head.run(&head.stage_out("/spd/g", b"small"))
        .expect("stored");
    let heard = head.store.heard();
    let puts = heard
        .iter()
        .filter(|it| it.method_and_target().starts_with("PUT"));
    assert!(puts.into_iter().all(|it| it.header("expect").is_some()));
}

#[test]
fn what_is_wrong_with_the_source_is_found_first() {
    let stand = Stand::new();
    let mut missing = stand.stage_out("/f", b"x");
    missing.path = stand.local("nope");
    assert!(matches!(stand.fails(&missing), Cause::Missing));
    let mut directory = stand.stage_out("/f", b"x");
    directory.path = stand.dir.path().to_owned();
    assert!(matches!(stand.fails(&directory), Cause::NotAFile));
    let mut other_size = stand.stage_out("/f", b"x");
    other_size.size = Some(ByteCount::from_bytes(2));
    assert!(matches!(
        stand.fails(&other_size),
        Cause::SizeMismatch { .. }
    ));
    assert!(stand.store.heard().is_empty());
    let mut other_sum = stand.stage_out("/f", b"x");
    other_sum.checksum = Some(Checksum::Adler32(5));
    assert!(matches!(
        stand.fails(&other_sum),
        Cause::ChecksumMismatch { .. }
    ));
    assert!(stand.store.paths().is_empty());
}

#[test]
fn a_source_that_changes_meanwhile_is_not_stored() {
    let stand = Stand::new();
    let content = data(1_000_000);
    let transfer = stand.stage_out("/f", &content);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Until the transfer has looked at the file for the last time.
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut file = fs::OpenOptions::new();
                let mut file = file.append(true).open(&transfer.path).expect("there");
                std::io::Write::write_all(&mut file, b"more").expect("space");
                std::thread::yield_now();
            }
        });
        let error = stand.run(&transfer).expect_err("it changes");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(
            matches!(
                error.cause,
                Cause::Changed { .. } | Cause::ChecksumMismatch { .. }
            ),
            "{}",
            error.cause
        );
    });
    assert_eq!(stand.store.stored("/f"), None);
}

#[test]
fn further_checksums_are_reported_for_stored_files() {
    let stand = Stand::new();
    let transfer = Transfer {
        also: vec![ChecksumKind::Md5],
        ..stand.stage_out("/f", b"abc")
    };
    let report = stand.run(&transfer).expect("stored");
    let md5 = "md:900150983cd24fb0d6963f7d28e17f72";
    assert_eq!(report.also[0].to_string(), md5);
}

#[test]
fn a_storage_without_checksums_is_verified_by_size() {
    let stand = Stand::new();
    stand.store.tell(Lie::NoChecksum);
    stand
        .run(&stand.stage_out("/f", &data(1000)))
        .expect("stored");
    stand.store.tell(Lie::KeepsHalf);
    let cause = stand.fails(&stand.stage_out("/g", &data(1000)));
    assert!(matches!(cause, Cause::SizeMismatch { .. }), "{cause}");
}

#[test]
fn a_silent_storage_is_left_and_nothing_is_waited_for_twice() {
    let stand = Stand::new();
    stand.store.tell(Rule::always(Lie::Silent).on("PUT"));
    let transfer = Transfer {
        patience: IMPATIENCE,
        ..stand.stage_out("/f", &data(100))
    };
    let cause = stand.fails(&transfer);
    assert!(matches!(cause, Cause::TooSlow(_)), "{cause}");
}

#[test]
fn a_signed_url_is_used_for_its_own_path_only() {
    let stand = Stand::new();
    let content = data(1000);
    let mut transfer = stand.stage_out("/f", &content);
    transfer.url.push_str("?signature=secret");
    stand.run(&transfer).expect("stored");
    assert_eq!(stand.store.stored("/f"), Some(content));
    assert_eq!(
        course(&stand),
        ["PUT /f?signature=secret", "HEAD /f?signature=secret"]
    );
    stand.store.tell(Lie::Status(403));
    let error = stand.run(&transfer).expect_err("refused");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}
