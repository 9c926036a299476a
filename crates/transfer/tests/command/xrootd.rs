//! The real `xrdcp` and a real server.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use ailurus_model::ErrorCode;
use ailurus_testkit::storage::{
    breaking::{BreakingProxy, Plan},
    xrootd::XRootD,
};
use ailurus_transfer::{Cause, Impatience};

use super::*;

struct Fixture {
    server: XRootD,
    dir: tempfile::TempDir,
}

impl Fixture {
    /// None on a machine without `XRootD`, which is said.
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().expect("space");
        let server = XRootD::start(&dir.path().join("server")).expect("starts")?;
        Some(Self { server, dir })
    }

    fn put(&self, name: &str, content: &[u8]) {
        fs::write(self.server.dir().join(name), content).expect("space");
    }

    fn job(&self, name: &str) -> PathBuf {
        self.dir.path().join("job").join(name)
    }

    fn fetch(&self, name: &str) -> Transfer {
        transfer(Direction::StageIn, &self.server.url(name), &self.job(name))
    }

    fn output(&self, name: &str, content: &[u8]) -> Transfer {
        fs::create_dir_all(self.job("")).expect("space");
        fs::write(self.job(name), content).expect("space");
        transfer(Direction::StageOut, &self.server.url(name), &self.job(name))
    }

    fn stored(&self) -> Vec<PathBuf> {
        names_in(&self.server.dir())
    }

    fn assert_nothing_in_job(&self) {
        let found = fs::read_dir(self.job("")).map(|it| it.count()).unwrap_or(0);
        assert_eq!(found, 0);
    }
}

#[test]
fn a_file_comes_whole_and_is_verified() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let xrdcp = tool("xrdcp", "");
    for length in [0, 1, 3_000_001] {
        let content = bytes(length);
        fixture.put("in.root", &content);
        let mut fetch = fixture.fetch("in.root");
        fetch.size = Some(size_of(&content));
        fetch.checksum = Some(adler32(&content));
        fetch.also = vec![ChecksumKind::Md5];
        let watch = watch();
        let report = xrdcp.transfer(&fetch, &watch).expect("comes");
        assert_eq!(fs::read(&fetch.path).expect("there"), content);
        assert_eq!(
            (report.size, report.checksum),
            (size_of(&content), adler32(&content))
        );
        assert_eq!(report.also.len(), 1);
        assert_eq!(watch.moved(), size_of(&content), "every byte is seen");
        assert_eq!(names_in(&fixture.job("")), [fetch.path]);
    }
}

#[test]
fn a_file_goes_whole_and_is_verified() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let xrdcp = tool("xrdcp", "");
    for length in [0, 1, 3_000_001] {
        let content = bytes(length);
        let mut output = fixture.output("out.root", &content);
        output.url = fixture.server.url("spd/deep/out.root");
        output.kind = ChecksumKind::Md5;
        let watch = watch();
        let report = xrdcp.transfer(&output, &watch).expect("goes");
        let stored = fixture.server.dir().join("spd/deep/out.root");
        let all = fixture.stored();
        assert!(
            all.len() == 1 && all[0] == stored,
            "a temporary file is left: {all:?}"
        );
        assert_eq!(fs::read(stored).expect("there"), content);
        assert_eq!(report.size, size_of(&content));
        assert!(matches!(report.checksum, Checksum::Md5(_)));
        assert_eq!(report.also, []);
        assert_eq!(watch.moved(), size_of(&content));
        let found = xrdcp.look(&output.url, &watch).expect("there");
        assert_eq!(found.size, Some(size_of(&content)));
        assert_eq!(found.checksum, Some(adler32(&content)));
    }
}

#[test]
fn names_of_all_kinds_go_and_come() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let xrdcp = tool("xrdcp", "");
    for name in ODD_NAMES {
        let output = fixture.output(name, name.as_bytes());
        run(&xrdcp, &output).unwrap_or_else(|error| panic!("`{name}`: {}", error.cause));
        fs::remove_file(&output.path).expect("own");
        run(&xrdcp, &fixture.fetch(name))
            .unwrap_or_else(|error| panic!("`{name}`: {}", error.cause));
        assert_eq!(fs::read(fixture.job(name)).expect("there"), name.as_bytes());
        let found = xrdcp
            .look(&fixture.server.url(name), &watch())
            .expect("there");
        assert_eq!(found.size, Some(size_of(name.as_bytes())), "`{name}`");
        xrdcp
            .remove(&fixture.server.url(name), &watch())
            .expect("removed");
    }
    assert!(fixture.stored().is_empty());
}

#[test]
fn a_wrong_size_or_checksum_leaves_no_input() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let (xrdcp, content) = (tool("xrdcp", ""), bytes(100_000));
    fixture.put("x", &content);
    for (size, checksum, code) in [
        (100_001, adler32(&content), ErrorCode::StageInFailed),
        (99_999, adler32(&content), ErrorCode::StageInFailed),
        (100_000, Checksum::Adler32(7), ErrorCode::GetAdMismatch),
    ] {
        let mut fetch = fixture.fetch("x");
        fetch.size = Some(ByteCount::from_bytes(size));
        fetch.checksum = Some(checksum);
        let error = run(&xrdcp, &fetch).expect_err("another file");
        assert_eq!(error.code(), code);
        assert_eq!(error.place, fetch.url, "the replica is named");
        fixture.assert_nothing_in_job();
    }
}

#[test]
fn a_wrong_checksum_leaves_no_output() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let mut output = fixture.output("x", b"one");
    run(&tool("xrdcp", ""), &output).expect("goes");
    fs::write(&output.path, "other").expect("space");
    output.checksum = Some(adler32(b"one"));
    let error = run(&tool("xrdcp", ""), &output).expect_err("another file");
    assert_eq!(error.code(), ErrorCode::PutAdMismatch);
    let stored = fixture.stored();
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert_eq!(
        fs::read(&stored[0]).expect("there"),
        b"one",
        "what was there stays"
    );
}

#[test]
fn a_file_that_is_there_is_replaced() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    for content in [b"first".as_slice(), b"second, longer"] {
        run(&tool("xrdcp", ""), &fixture.output("x", content)).expect("goes");
        assert_eq!(
            fs::read(fixture.server.dir().join("x")).expect("there"),
            content
        );
    }
}

#[test]
fn what_is_not_there_is_said_with_its_code() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let xrdcp = tool("xrdcp", "");
    let error = run(&xrdcp, &fixture.fetch("none")).expect_err("missing");
    assert!(matches!(error.cause, Cause::Missing), "{:?}", error.cause);
    assert_eq!(error.code(), ErrorCode::MissingInputFile);
    fixture.assert_nothing_in_job();
    let error = xrdcp
        .look(&fixture.server.url("none"), &watch())
        .expect_err("missing");
    assert!(matches!(error.cause, Cause::Missing), "{:?}", error.cause);
    xrdcp
        .remove(&fixture.server.url("none"), &watch())
        .expect("nothing to do");

    let mut output = fixture.output("x", b"x");
    output.path = fixture.job("gone");
    let error = run(&xrdcp, &output).expect_err("no output");
    assert_eq!(error.code(), ErrorCode::MissingOutputFile);
    output.path = fixture.job("");
    let error = run(&xrdcp, &output).expect_err("a directory");
    assert!(matches!(error.cause, Cause::NotAFile));
    assert!(fixture.stored().is_empty());
}

#[test]
fn a_place_that_is_not_exported_is_the_storages_refusal() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let mut output = fixture.output("x", b"x");
    output.url = format!("root://{}//elsewhere/x", fixture.server.root_host());
    let error = run(&tool("xrdcp", ""), &output).expect_err("not exported");
    assert!(
        error.cause.to_string().contains("disallowed"),
        "{}",
        error.cause
    );
}

#[test]
fn a_storage_that_is_down_is_told_at_once() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|it| it.local_addr())
        .expect("a port")
        .port();
    let mut fetch = fixture.fetch("x");
    fetch.url = format!("root://127.0.0.1:{port}//data/x");
    let error = run(&tool("xrdcp", ""), &fetch).expect_err("nobody listens");
    assert!(
        matches!(error.cause, Cause::Unreachable { .. }),
        "{:?}",
        error.cause
    );
    fixture.assert_nothing_in_job();
}

#[test]
fn a_storage_that_hangs_is_given_up_by_its_pace() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    fixture.put("x", &bytes(5_000_000));
    let stall = |_: u64| Plan::Stall {
        after: 3_000_000,
        limit: Duration::from_secs(100),
    };
    let proxy = BreakingProxy::start_planned(fixture.server.root_address(), stall).expect("starts");
    let mut fetch = fixture.fetch("x");
    fetch.url = proxy.url(&fetch.url);
    let patience = Patience {
        begin: Duration::from_secs(3),
        stall: Duration::from_millis(500),
        ..PATIENCE
    };
    let watch = Watch::new(Arc::new(AtomicBool::new(false)), patience);
    let error = tool("xrdcp", "")
        .transfer(&fetch, &watch)
        .expect_err("hangs");
    let is_stalled = matches!(
        error.cause,
        Cause::TooSlow(Impatience::Stalled { .. } | Impatience::NotBegun { .. })
    );
    assert!(is_stalled, "{:?}", error.cause);
    fixture.assert_nothing_in_job();
}

#[test]
fn a_transfer_that_is_stopped_leaves_nothing_on_either_side() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let slow = |_: u64| Plan::Slow {
        bytes_per_second: 2_000_000,
    };
    let proxy = BreakingProxy::start_planned(fixture.server.root_address(), slow).expect("starts");
    let content = bytes(50_000_000);
    fixture.put("big", &content);
    let mut output = fixture.output("out", &content);
    let mut fetch = fixture.fetch("big");
    (output.url, fetch.url) = (proxy.url(&output.url), proxy.url(&fetch.url));
    for transfer in [&fetch, &output] {
        let watch = watch();
        let stop = watch.stop().clone();
        let error = thread::scope(|scope| {
            let running = scope.spawn(|| tool("xrdcp", "").transfer(transfer, &watch));
            let begin = Instant::now();
            while watch.moved() == ByteCount::ZERO {
                assert!(begin.elapsed() < Duration::from_secs(30));
                thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
            running.join().expect("no panic").expect_err("stopped")
        });
        assert!(matches!(error.cause, Cause::Stopped), "{:?}", error.cause);
    }
    let begin = Instant::now();
    while fixture.stored().len() > 1 {
        let found = fixture.stored();
        assert!(begin.elapsed() < Duration::from_secs(30), "{found:?}");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(names_in(&fixture.job("")), [fixture.job("out")]);
}

#[test]
fn files_get_through_a_network_that_breaks() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let content = bytes(300_000);
    fixture.put("x", &content);
    // Every second connection is cut somewhere.
    let plan = |nr: u64| {
        if nr.is_multiple_of(2) {
            Plan::Cut {
                after: 1000 + nr * 7919 % 300_000,
            }
        } else {
            Plan::Pass
        }
    };
    let proxy = BreakingProxy::start_planned(fixture.server.root_address(), plan).expect("starts");
    let (xrdcp, mut failed) = (tool("xrdcp", ""), 0);
    for nr in 0..10 {
        let mut fetch = fixture.fetch("x");
        fetch.url = proxy.url(&fetch.url);
        fetch.checksum = Some(adler32(&content));
        fetch.path = fixture.job(&format!("in{nr}"));
        let mut output = fixture.output(&format!("out{nr}"), &content);
        output.url = proxy.url(&output.url);
        for transfer in [&fetch, &output] {
            while let Err(error) = run(&xrdcp, transfer) {
                failed += 1;
                assert!(failed < 100, "{:?}", error.cause);
            }
        }
        assert_eq!(fs::read(&fetch.path).expect("there"), content);
        let stored = fixture.server.dir().join(format!("out{nr}"));
        assert_eq!(fs::read(stored).expect("there"), content);
    }
}

#[test]
fn a_node_without_xrdcp_says_so() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let empty = fixture.dir.path().join("setup.sh");
    fs::write(&empty, "PATH=/nowhere\n").expect("space");
    let xrdcp = tool("xrdcp", empty.to_str().expect("text"));
    for transfer in [fixture.fetch("x"), fixture.output("x", b"x")] {
        let error = run(&xrdcp, &transfer).expect_err("no program");
        assert!(
            matches!(error.cause, Cause::ToolMissing { .. }),
            "{:?}",
            error.cause
        );
        assert_eq!(error.code(), ErrorCode::UnknownCopyTool);
    }
}
