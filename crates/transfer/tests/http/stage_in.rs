//! Fetching: sizes, checksums, parts, going on after breaks.

use std::fs;

use ailurus_model::{ByteCount, Checksum};
use ailurus_testkit::storage::{Lie, Rule};
use ailurus_transfer::{
    Cause, Transfer,
    checksum::ChecksumKind,
    flow_marker::{FlowId, FlowIds, FlowMarker, FlowMarkerConfig, Receiver},
    http::HttpOptions,
};

use super::{Stand, data, known};

#[test]
fn files_of_all_sizes_come_whole_with_their_checksum() {
    let stand = Stand::new();
    for length in [0, 1, 4095, 4096, 4097, 65_536, 300_000, 1_500_000] {
        let content = data(length);
        stand.store.put("/a/file", content.clone());
        for transfer in [
            stand.stage_in("/a/file"),
            known(stand.stage_in("/a/file"), &content),
        ] {
            let report = stand.run(&transfer).expect("a good file");
            assert_eq!(fs::read(stand.local("job/in")).expect("there"), content);
            assert_eq!(report.size.as_bytes(), length as u64);
            let sum = Checksum::Adler32(ailurus_transfer::checksum::adler32(&content));
            assert_eq!(report.checksum, sum);
        }
    }
    super::assert_clean(stand.dir.path());
}

#[test]
fn further_checksums_are_computed_in_the_same_pass() {
    let stand = Stand::in_parts();
    stand.store.put("/f", data(50_000));
    let transfer = Transfer {
        kind: ChecksumKind::Md5,
        also: vec![ChecksumKind::Sha256, ChecksumKind::Adler32],
        size: Some(ByteCount::from_bytes(50_000)),
        ..stand.stage_in("/f")
    };
    let report = stand.run(&transfer).expect("a good file");
    assert!(matches!(report.checksum, Checksum::Md5(_)));
    let kinds: Vec<_> = report.also.iter().map(ChecksumKind::of).collect();
    assert_eq!(kinds, [ChecksumKind::Sha256, ChecksumKind::Adler32]);
    // Sums that cannot be joined come in order.
    assert_eq!(stand.n_heard("GET"), 1);
}

#[test]
fn the_storages_checksum_is_asked_for_only_where_the_catalogue_has_none() {
    let stand = Stand::new();
    let content = data(1000);
    stand.store.put("/f", content.clone());
    stand
        .run(&known(stand.stage_in("/f"), &content))
        .expect("a good file");
    stand.run(&stand.stage_in("/f")).expect("a good file");
    let asked: Vec<bool> = stand
        .store
        .heard()
        .iter()
        .map(|it| it.header("want-digest").is_some())
        .collect();
    // After the file, and apart from it.
    assert_eq!(asked, [false, false, true]);
}

#[test]
fn a_wrong_checksum_is_found_whoever_knows_the_right_one() {
    let stand = Stand::new();
    let content = data(100_000);
    stand.store.put("/f", content.clone());
    stand.store.tell(Lie::Flipped { at: 70_000 });
    for transfer in [
        known(stand.stage_in("/f"), &content),
        // Only the storage knows.
        stand.stage_in("/f"),
    ] {
        let cause = stand.fails(&transfer);
        assert!(matches!(cause, Cause::ChecksumMismatch { .. }), "{cause}");
    }
    assert!(!stand.local("job/in").exists());
}

#[test]
fn an_existing_file_is_replaced_only_by_a_good_one() {
    let stand = Stand::new();
    let content = data(1000);
    stand.store.put("/f", content.clone());
    fs::create_dir(stand.local("job")).expect("space");
    fs::write(stand.local("job/in"), "old").expect("space");
    let mut transfer = known(stand.stage_in("/f"), &content);
    transfer.checksum = Some(Checksum::Adler32(1));
    stand.fails(&transfer);
    assert_eq!(fs::read(stand.local("job/in")).expect("there"), b"old");
    stand
        .run(&known(stand.stage_in("/f"), &content))
        .expect("a good file");
    assert_eq!(fs::read(stand.local("job/in")).expect("there"), content);
}

#[test]
fn a_large_file_comes_in_parts_side_by_side() {
    let stand = Stand::in_parts();
    for length in [10_001, 99_999, 100_000, 123_456] {
        let content = data(length);
        stand.store.put("/f", content.clone());
        let before = stand.n_heard("GET");
        let report = stand
            .run(&known(stand.stage_in("/f"), &content))
            .expect("a good file");
        assert_eq!(report.size.as_bytes(), length as u64);
        assert_eq!(fs::read(stand.local("job/in")).expect("there"), content);
        assert_eq!(stand.n_heard("GET") - before, length.div_ceil(10_000));
    }
}

#[test]
fn parts_that_break_go_on_where_they_were() {
    let stand = Stand::in_parts();
    let content = data(200_000);
    stand.store.put("/f", content.clone());
    stand
        .store
        .tell(Rule::times(Lie::Reset { after: 3000 }, 9).after(2));
    stand
        .store
        .tell(Rule::times(Lie::Short { after: 1 }, 5).after(15));
    let transfer = known(stand.stage_in("/f"), &content);
    stand.run(&transfer).expect("a good file");
    assert_eq!(fs::read(stand.local("job/in")).expect("there"), content);
    assert!(stand.n_heard("GET") > 20);
}

#[test]
fn a_storage_that_sends_no_parts_sends_the_whole() {
    let stand = Stand::in_parts();
    let content = data(100_000);
    stand.store.put("/f", content.clone());
    stand.store.tell(Lie::IgnoresRange);
    stand
        .run(&known(stand.stage_in("/f"), &content))
        .expect("a good file");
    assert_eq!(fs::read(stand.local("job/in")).expect("there"), content);
    assert_eq!(stand.n_heard("GET"), 1);
}

#[test]
fn one_bad_part_fails_the_file_at_once() {
    let stand = Stand::in_parts();
    let content = data(400_000);
    stand.store.put("/f", content.clone());
    stand.store.tell(Rule::times(Lie::Status(403), 1).after(3));
    // The others must not wait for this one until their patience ends.
    stand
        .store
        .tell(Rule::times(Lie::Hang { after: 10 }, 2).after(1));
    let cause = stand.fails(&known(stand.stage_in("/f"), &content));
    assert!(
        matches!(cause, Cause::NoPermission { action: "read" }),
        "{cause}"
    );
}

#[test]
fn a_broken_connection_goes_on_from_the_last_good_byte() {
    let stand = Stand::new();
    let content = data(500_000);
    stand.store.put("/f", content.clone());
    for lie in [
        Lie::Short { after: 60_000 },
        Lie::Reset { after: 60_000 },
        Lie::ChunkedShort { after: 60_000 },
    ] {
        stand.store.be_honest();
        stand.store.tell(Rule::times(lie.clone(), 4));
        let before = stand.store.heard().len();
        let report = stand
            .run(&known(stand.stage_in("/f"), &content))
            .unwrap_or_else(|error| panic!("{lie:?}: {}", error.cause));
        assert_eq!(report.size.as_bytes(), 500_000);
        assert_eq!(fs::read(stand.local("job/in")).expect("there"), content);
        let heard = stand.store.heard().split_off(before);
        assert_eq!(heard.len(), 5, "{lie:?}");
        assert_eq!(heard[0].header("range"), None);
        assert_eq!(heard[4].header("range"), Some("bytes=240000-"), "{lie:?}");
    }
}

#[test]
fn breaks_without_a_byte_are_not_gone_on_for_ever() {
    let stand = Stand::new();
    stand.store.put("/f", data(1000));
    stand.store.tell(Lie::Reset { after: 0 });
    let cause = stand.fails(&stand.stage_in("/f"));
    assert!(matches!(cause, Cause::Broken { .. }), "{cause}");
    assert!(stand.n_heard("GET") < 10);
}

#[test]
fn a_storage_that_begins_anew_after_each_break_is_understood() {
    let stand = Stand::new();
    let content = data(300_000);
    stand.store.put("/f", content.clone());
    stand
        .store
        .tell(Rule::times(Lie::Short { after: 200_000 }, 1));
    stand.store.tell(Lie::IgnoresRange);
    stand
        .run(&known(stand.stage_in("/f"), &content))
        .expect("a good file");
    assert_eq!(fs::read(stand.local("job/in")).expect("there"), content);
}

#[test]
fn a_file_of_unknown_length_comes_in_chunks() {
    let stand = Stand::new();
    let content = data(300_000);
    stand.store.put("/f", content.clone());
    stand.store.tell(Lie::Chunked);
    for transfer in [stand.stage_in("/f"), known(stand.stage_in("/f"), &content)] {
        stand.run(&transfer).expect("a good file");
        assert_eq!(fs::read(stand.local("job/in")).expect("there"), content);
    }
}

#[test]
fn networks_and_storages_are_told_what_a_connection_is_for() {
    let collector = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let wait = Some(std::time::Duration::from_secs(20));
    collector.set_read_timeout(wait).expect("a socket");
    let id = FlowId::new(5, 7).expect("numbers of the registry");
    let address = collector.local_addr().expect("bound");
    let marker = FlowMarker::new(FlowMarkerConfig {
        id,
        receivers: vec![Receiver::Collector(address)],
        application: "pilot/1".to_owned(),
        host: "node".to_owned(),
    });
    let stand = Stand::with(HttpOptions {
        flow: Some(FlowIds {
            input: id,
            output: id,
        }),
        flow_marker: Some(marker.expect("a socket")),
        ..HttpOptions::default()
    });
    let content = data(1000);
    stand.store.put("/f", content.clone());
    let port = stand.store.address().port();
    let heard = |wanted: &str| {
        let mut room = [0; 2000];
        let length = collector.recv(&mut room).expect("a packet");
        let text = String::from_utf8_lossy(&room[..length]).into_owned();
        assert!(text.contains(wanted), "{wanted}: {text}");
        assert!(text.contains(&port.to_string()), "{text}");
    };
    stand
        .run(&known(stand.stage_in("/f"), &content))
        .expect("a good file");
    heard("start");
    heard("\"received\":1000");
    stand.run(&stand.stage_out("/g", &content)).expect("stored");
    heard("start");
    heard("\"sent\":1000");
    for request in stand.store.heard() {
        let tag = id.scitag().to_string();
        assert_eq!(request.header("scitag"), Some(tag.as_str()));
    }
}
