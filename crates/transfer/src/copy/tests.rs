//! Copies of real files, and of sources and targets that fail.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
};

use ailurus_model::{Blame, ErrorCode, Retry};
use tempfile::TempDir;

use super::*;
use crate::file_checksum;

struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn new(content: &[u8]) -> Self {
        let dir = tempfile::tempdir().expect("space");
        fs::write(dir.path().join("source"), content).expect("space");
        Self { dir }
    }

    fn request(&self, direction: Direction) -> CopyRequest {
        CopyRequest {
            from: self.dir.path().join("source"),
            to: self.dir.path().join("deep/er/target"),
            direction,
            size: None,
            checksum: None,
            kind: ChecksumKind::Adler32,
            durability: Durability::Relaxed,
            time_limit: Duration::from_secs(60),
        }
    }

    /// Nothing but what was there before: no target, and no partial file.
    fn assert_no_target(&self) {
        let dir = self.dir.path().join("deep/er");
        let names: Vec<_> = fs::read_dir(dir)
            .map(|entries| entries.flatten().map(|it| it.file_name()).collect())
            .unwrap_or_default();
        assert!(names.is_empty(), "{names:?}");
    }
}

fn copy(request: &CopyRequest) -> Result<TransferReport, TransferError> {
    copy_local(request, &AtomicBool::new(false))
}

#[test]
fn a_copy_is_whole_and_reports_size_and_checksum() {
    let content = b"0123456789".repeat(200_000);
    let fixture = Fixture::new(&content);
    for durability in [Durability::Relaxed, Durability::Synced] {
        let mut request = fixture.request(Direction::StageIn);
        request.durability = durability;
        let report = copy(&request).expect("copies");
        assert_eq!(report.size.as_bytes(), 2_000_000);
        let (size, checksum) =
            file_checksum(&request.to, ChecksumKind::Adler32, Direction::StageIn).expect("reads");
        assert_eq!((report.size, report.checksum), (size, checksum));
        assert_eq!(fs::read(&request.to).expect("written"), content);
    }
}

#[test]
fn what_the_catalogue_says_is_verified() {
    let fixture = Fixture::new(b"Wikipedia");
    let mut request = fixture.request(Direction::StageIn);
    request.size = Some(ByteCount::from_bytes(9));
    request.checksum = Some("ad:11e60398".parse().expect("a checksum"));
    copy(&request).expect("as expected");
    request.checksum = Some(
        "md:9c677286866aad38f4e6ed9b6d8f29ea"
            .parse()
            .expect("a checksum"),
    );
    let error = copy(&request).expect_err("another MD5");
    assert_eq!(error.code(), ErrorCode::GetMd5Mismatch);
}

#[test]
fn a_wrong_checksum_leaves_no_target() {
    for (direction, code) in [
        (Direction::StageIn, ErrorCode::GetAdMismatch),
        (Direction::StageOut, ErrorCode::PutAdMismatch),
    ] {
        let fixture = Fixture::new(b"Wikipedia");
        let mut request = fixture.request(direction);
        request.checksum = Some(Checksum::Adler32(7));
        let error = copy(&request).expect_err("another checksum");
        assert_eq!(error.code(), code);
        assert!(
            error
                .cause
                .to_string()
                .contains("ad:11e60398 instead of ad:00000007"),
            "{error}"
        );
        fixture.assert_no_target();
    }
}

#[test]
fn a_short_file_leaves_the_old_target() {
    let fixture = Fixture::new(b"short");
    let mut request = fixture.request(Direction::StageIn);
    copy(&request).expect("copies");
    fs::write(&request.from, "sh").expect("space");
    request.size = Some(ByteCount::from_bytes(5));
    let error = copy(&request).expect_err("shorter");
    assert!(matches!(error.cause, Cause::SizeMismatch { .. }), "{error}");
    assert_eq!(error.code(), ErrorCode::StageInFailed);
    assert_eq!(fs::read(&request.to).expect("still there"), b"short");
}

#[test]
fn an_empty_file_is_copied() {
    let fixture = Fixture::new(b"");
    let report = copy(&fixture.request(Direction::StageOut)).expect("copies");
    assert_eq!(
        (report.size, report.checksum),
        (ByteCount::ZERO, Checksum::Adler32(1))
    );
}

#[test]
fn odd_names_are_kept_byte_for_byte() {
    let names: [&[u8]; 5] = [
        b"a b",
        "ю.root".as_bytes(),
        b"50%20",
        b"line\nend",
        b"\xFF\xFE",
    ];
    for name in names {
        let fixture = Fixture::new(b"x");
        let mut request = fixture.request(Direction::StageIn);
        request.to = fixture.dir.path().join(OsStr::from_bytes(name));
        copy(&request).expect("copies");
        assert_eq!(fs::read(&request.to).expect("written"), b"x");
    }
}

#[test]
fn a_name_of_full_length_is_copied_and_a_longer_one_refused() {
    let fixture = Fixture::new(b"x");
    let mut request = fixture.request(Direction::StageOut);
    request.to = fixture.dir.path().join("n".repeat(255));
    copy(&request).expect("copies");
    request.to = fixture.dir.path().join("n".repeat(256));
    let error = copy(&request).expect_err("too long");
    assert_eq!(error.code(), ErrorCode::LfnTooLong);
    let left = fs::read_dir(fixture.dir.path()).expect("own").count();
    assert_eq!(left, 2, "source and the first target");
}

#[test]
fn a_target_that_leads_up_or_names_nothing_is_refused() {
    let fixture = Fixture::new(b"x");
    for target in ["../evil", "a/../../evil", "", "dir/", "/"] {
        let mut request = fixture.request(Direction::StageIn);
        request.to = PathBuf::from(target);
        let error = copy(&request).expect_err(target);
        assert!(
            matches!(error.cause, Cause::BadPlace(_)),
            "{target}: {error}"
        );
        assert_eq!((error.retry(), error.blame()), (Retry::Never, Blame::User));
    }
}

#[test]
fn a_missing_source_makes_no_directories() {
    let fixture = Fixture::new(b"x");
    let mut request = fixture.request(Direction::StageOut);
    request.from = fixture.dir.path().join("gone");
    assert_eq!(
        copy(&request).expect_err("gone").code(),
        ErrorCode::MissingOutputFile
    );
    assert!(!fixture.dir.path().join("deep").exists());
}

#[test]
fn a_pipe_or_directory_is_no_source_and_does_not_hang() {
    let fixture = Fixture::new(b"x");
    let pipe = fixture.dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        Mode::RWXU,
        0,
    )
    .expect("a pipe");
    for source in [pipe, fixture.dir.path().to_owned()] {
        let mut request = fixture.request(Direction::StageIn);
        request.from = source;
        let error = copy(&request).expect_err("no file");
        assert!(matches!(error.cause, Cause::NotAFile), "{error}");
    }
}

#[test]
fn a_file_in_place_of_a_directory_is_named() {
    let fixture = Fixture::new(b"x");
    fs::write(fixture.dir.path().join("deep"), "").expect("space");
    let error = copy(&fixture.request(Direction::StageOut)).expect_err("no directory");
    assert_eq!(error.code(), ErrorCode::Mkdir);
}

/// Root may write everywhere, so this shows something for other accounts only.
#[test]
fn a_closed_directory_is_a_matter_of_permission() {
    let fixture = Fixture::new(b"x");
    let mut request = fixture.request(Direction::StageOut);
    let closed = fixture.dir.path().join("closed");
    fs::create_dir(&closed).expect("space");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).expect("own");
    request.to = closed.join("target");
    let outcome = copy(&request);
    if rustix::process::geteuid().is_root() {
        outcome.expect("root may");
    } else {
        let error = outcome.expect_err("closed");
        assert!(matches!(error.cause, Cause::NoPermission { .. }), "{error}");
    }
}

#[test]
fn a_full_disk_is_told_from_other_failures() {
    let fixture = Fixture::new(b"x");
    let request = fixture.request(Direction::StageOut);
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("there");
    let error = pump(
        &b"x"[..],
        full,
        ChecksumKind::Adler32,
        &request,
        &AtomicBool::new(false),
    )
    .expect_err("full");
    assert_eq!(error.code(), ErrorCode::NoRemoteSpace);
}

#[test]
fn a_source_that_fails_in_the_middle_is_an_error() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(rustix::io::Errno::IO.into())
        }
    }
    let fixture = Fixture::new(b"x");
    let request = fixture.request(Direction::StageIn);
    let source = (&b"begin"[..]).chain(Failing);
    let stop = AtomicBool::new(false);
    let error = pump(source, io::sink(), ChecksumKind::Adler32, &request, &stop).expect_err("EIO");
    assert_eq!(error.code(), ErrorCode::StageInFailed);
}

#[test]
fn a_copy_gives_up_at_its_time_limit() {
    let fixture = Fixture::new(&vec![0; CHUNK_BYTES * 4]);
    let mut request = fixture.request(Direction::StageIn);
    request.time_limit = Duration::ZERO;
    assert_eq!(
        copy(&request).expect_err("too late").code(),
        ErrorCode::StageInTimeout
    );
    fixture.assert_no_target();
}

#[test]
fn a_stopped_copy_leaves_no_target() {
    let fixture = Fixture::new(b"x");
    let request = fixture.request(Direction::StageIn);
    let error = copy_local(&request, &AtomicBool::new(true)).expect_err("stopped");
    assert!(matches!(error.cause, Cause::Stopped), "{error}");
    fixture.assert_no_target();
}

#[test]
fn a_copy_that_is_stopped_while_its_bytes_go_to_the_disk_leaves_no_target() {
    let fixture = Fixture::new(b"x");
    let mut request = fixture.request(Direction::StageOut);
    request.durability = Durability::Synced;
    make_parent(&request).expect("space");
    let partial = Partial::create(&request.to).expect("space");
    let error = settle(partial, &request, &AtomicBool::new(true)).expect_err("stopped");
    assert!(matches!(error.cause, Cause::Stopped), "{error}");
    fixture.assert_no_target();
}
