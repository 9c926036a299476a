//! A real server, which checks signatures.

use ailurus_model::ErrorCode;
use ailurus_testkit::storage::{BreakingProxy, S3, breaking::Habits};
use ailurus_transfer::Cause;

use super::*;

struct Fixture {
    server: S3,
    job: Job,
}

impl Fixture {
    /// None on a machine without the server, which is said.
    fn start() -> Option<Self> {
        let job = Job::new();
        let server = S3::start(&job.0.path().join("server"), &["spd"]).expect("starts")?;
        Some(Self { server, job })
    }

    fn url(&self, key: &str) -> String {
        format!("{}/spd/{key}", self.server.endpoint())
    }
}

fn good_keys() -> S3Keys {
    keys(S3::ACCESS_KEY, S3::SECRET_KEY)
}

fn good_tool() -> S3Tool {
    tool(options(good_keys(), 5 << 20))
}

#[test]
fn files_go_and_come_whole_in_one_request_or_in_parts() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let s3 = good_tool();
    for length in [0, 1, 5 << 20, (5 << 20) + 1, 21_000_000] {
        let content = bytes(length);
        let url = fixture.url("deep/er/file");
        let mut output = fixture.job.output(&url, &content);
        output.size = Some(size_of(&content));
        let watch = watch();
        let report = s3.transfer(&output, &watch).expect("goes");
        assert_eq!(
            (report.size, report.checksum),
            (size_of(&content), adler32(&content))
        );
        assert_eq!(watch.moved(), size_of(&content));
        let stored = fs::read(fixture.server.dir().join("spd/deep/er/file")).expect("there");
        assert!(stored == content, "{length}");
        let found = s3.look(&url, &watch).expect("there");
        assert_eq!(found.size, Some(size_of(&content)));

        let fetch = fixture.job.fetch(&url, &content);
        let report = run(&s3, &fetch).expect("comes");
        assert_eq!(report.checksum, adler32(&content));
        assert!(fs::read(&fetch.path).expect("there") == content);
    }
}

#[test]
fn other_checksums_are_verified_in_parts_too() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let content = bytes(11_000_000);
    let mut output = fixture.job.output(&fixture.url("x"), &content);
    output.kind = ChecksumKind::Md5;
    output.also = vec![ChecksumKind::Adler32];
    let report = run(&good_tool(), &output).expect("goes");
    assert!(matches!(report.checksum, Checksum::Md5(_)));
    assert_eq!(report.also, [adler32(&content)]);

    output.checksum = Some(Checksum::Adler32(7));
    output.url = fixture.url("wrong");
    let error = run(&good_tool(), &output).expect_err("another checksum");
    assert_eq!(error.code(), ErrorCode::PutAdMismatch);
    assert!(!fixture.server.dir().join("spd/wrong").exists());
}

#[test]
fn names_of_all_kinds_go_and_come() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let s3 = good_tool();
    for name in ODD_NAMES {
        let failed = |error: TransferError| panic!("`{name}`: {}", error.cause);
        let url = fixture.url(&format!("d/{name}"));
        run(&s3, &fixture.job.output(&url, name.as_bytes()))
            .map_err(failed)
            .expect("goes");
        let stored = fixture.server.dir().join("spd/d").join(name);
        assert_eq!(fs::read(stored).expect(name), name.as_bytes());
        run(&s3, &fixture.job.fetch(&url, name.as_bytes()))
            .map_err(failed)
            .expect("comes");
        s3.remove(&url, &watch()).expect("removed");
        s3.remove(&url, &watch()).expect("nothing to do");
    }
}

#[test]
fn keys_that_are_not_taken_are_the_credentials_fault() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    run(&good_tool(), &fixture.job.output(&fixture.url("x"), b"x")).expect("goes");
    for keys in [
        keys(S3::ACCESS_KEY, "another secret"),
        keys("another-id", S3::SECRET_KEY),
    ] {
        let s3 = tool(options(keys, 5 << 20));
        let error = run(&s3, &fixture.job.fetch(&fixture.url("x"), b"x")).expect_err("refused");
        assert!(
            matches!(error.cause, Cause::Denied { .. }),
            "{:?}",
            error.cause
        );
        assert_eq!(error.code(), ErrorCode::StageInAuthenticationFailure);
        assert_eq!(error.place, fixture.url("x"), "no signature is shown");
        let error = run(&s3, &fixture.job.output(&fixture.url("y"), b"x")).expect_err("refused");
        assert_eq!(error.code(), ErrorCode::StageOutAuthenticationFailure);
        let error = s3.look(&fixture.url("x"), &watch()).expect_err("refused");
        assert!(
            matches!(error.cause, Cause::Denied { .. }),
            "{:?}",
            error.cause
        );
    }
    let nobody = tool(options(S3Keys::default(), 5 << 20));
    let error = run(&nobody, &fixture.job.fetch(&fixture.url("x"), b"x")).expect_err("no keys");
    assert_eq!(error.code(), ErrorCode::MissingCredentials);
}

#[test]
fn what_is_not_there_is_said() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let (s3, none) = (good_tool(), fixture.url("none"));
    let error = run(&s3, &fixture.job.fetch(&none, b"x")).expect_err("no object");
    assert_eq!(error.code(), ErrorCode::MissingInputFile);
    assert!(!fixture.job.path("in").exists());
    let error = s3.look(&none, &watch()).expect_err("no object");
    assert!(matches!(error.cause, Cause::Missing), "{:?}", error.cause);
}

#[test]
fn a_wrong_input_leaves_no_target() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let s3 = good_tool();
    let content = bytes(12_000_000);
    run(&s3, &fixture.job.output(&fixture.url("x"), &content)).expect("goes");
    let mut fetch = fixture.job.fetch(&fixture.url("x"), &content);
    fetch.checksum = Some(Checksum::Adler32(7));
    let error = run(&s3, &fetch).expect_err("another checksum");
    assert_eq!(error.code(), ErrorCode::GetAdMismatch);
    assert!(!fetch.path.exists());
}

#[test]
fn files_get_through_a_network_that_breaks() {
    let Some(fixture) = Fixture::start() else {
        return;
    };
    let habits = Habits {
        after: 1..6_000_000,
        stall: 0,
        ..Habits::from_seed(7)
    };
    let proxy = BreakingProxy::start(fixture.server.address(), habits).expect("starts");
    let s3 = good_tool();
    let content = bytes(12_000_000);
    let mut n_failed = 0;
    for nr in 0..5 {
        let url = proxy.url(&fixture.url(&format!("x{nr}")));
        // What the core does: another try after a failure.
        for transfer in [
            fixture.job.output(&url, &content),
            fixture.job.fetch(&url, &content),
        ] {
            while let Err(error) = run(&s3, &transfer) {
                n_failed += 1;
                assert!(n_failed < 100, "{:?}", error.cause);
            }
        }
        let stored = fixture.server.dir().join(format!("spd/x{nr}"));
        assert!(fs::read(stored).expect("there") == content);
        assert!(fs::read(fixture.job.path("in")).expect("there") == content);
    }
}
