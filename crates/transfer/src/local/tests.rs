//! Copies of real files, and of sources and targets that fail.

use std::{
    ffi::OsStr,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, PermissionsExt},
    },
    sync::atomic::AtomicBool,
    time::Duration,
};

use ailurus_model::{Blame, ErrorCode, Retry};
use rustix::fs::Mode;
use tempfile::TempDir;

use super::*;
use crate::FileIdentity;

struct Fixture {
    dir: TempDir,
    local: Local,
}

impl Fixture {
    fn new(content: &[u8]) -> Self {
        let dir = tempfile::tempdir().expect("space");
        fs::write(dir.path().join("source"), content).expect("space");
        let local = tool(Placement::Copy);
        Self { dir, local }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn transfer(&self, direction: Direction) -> Transfer {
        let (source, target) = (self.path("source"), self.path("deep/er/target"));
        let (far, near) = match direction {
            Direction::StageIn => (source, target),
            Direction::StageOut => (target, source),
        };
        Transfer {
            direction,
            url: format!("file://{}", far.display()),
            path: near,
            size: None,
            checksum: None,
            kind: ChecksumKind::Adler32,
            also: Vec::new(),
            durability: Durability::Relaxed,
            patience: Patience::default(),
            identity: FileIdentity::default(),
        }
    }

    fn run(&self, transfer: &Transfer) -> Result<TransferReport, TransferError> {
        self.local.transfer(transfer, &watch(false))
    }

    /// Opens the source of a transfer, and gives it to who wants to disturb its copy.
    fn during(&self, transfer: &Transfer, disturb: impl FnOnce(&Copy<'_>, &Source)) {
        let (from, to) = (self.path("source"), self.path("deep/er/target"));
        let source = Source::open(transfer.direction, &from).expect("there");
        let copy = Copy {
            tool: &self.local,
            transfer,
            watch: &watch(false),
            from: &from,
            to: &to,
        };
        disturb(&copy, &source);
    }

    /// Nothing but what was there before: no target, and no partial file.
    fn assert_no_target(&self) {
        let names: Vec<_> = fs::read_dir(self.path("deep/er"))
            .map(|entries| entries.flatten().map(|it| it.file_name()).collect())
            .unwrap_or_default();
        assert!(names.is_empty(), "{names:?}");
    }
}

fn tool(placement: Placement) -> Local {
    Local::new(placement, Budget::new(1 << 20), Budget::new(1))
}

fn watch(is_stopped: bool) -> Watch {
    Watch::new(Arc::new(AtomicBool::new(is_stopped)), Patience::default())
}

/// Bytes that no two chunks have in common.
fn many_bytes(count: u32) -> Vec<u8> {
    (0..count / 4).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_copy_is_whole_and_reports_size_and_checksum() {
    let content = b"0123456789".repeat(200_000);
    let fixture = Fixture::new(&content);
    for direction in [Direction::StageIn, Direction::StageOut] {
        for durability in [Durability::Relaxed, Durability::Synced] {
            let mut transfer = fixture.transfer(direction);
            transfer.durability = durability;
            let report = fixture.run(&transfer).expect("copies");
            assert_eq!(report.size.as_bytes(), 2_000_000);
            let target = fixture.path("deep/er/target");
            let (size, checksum) =
                file_checksum(&target, ChecksumKind::Adler32, direction).expect("reads");
            assert_eq!((report.size, report.checksum), (size, checksum));
            assert_eq!(fs::read(&target).expect("written"), content);
        }
    }
}

#[test]
fn a_large_file_that_two_threads_copy_is_whole() {
    let content = many_bytes((33 << 20) + 4);
    let fixture = Fixture::new(&content);
    let transfer = fixture.transfer(Direction::StageIn);
    let watch = watch(false);
    let report = fixture.local.transfer(&transfer, &watch).expect("copies");
    assert_eq!(
        report.checksum,
        Checksum::Adler32(crate::checksum::adler32(&content))
    );
    assert!(fs::read(&transfer.path).expect("written") == content);
    assert_eq!(watch.moved(), report.size);
    assert_eq!(fixture.local.helpers.left(), 1, "given back");
}

#[test]
fn several_checksums_come_from_one_pass() {
    let fixture = Fixture::new(b"abc");
    let mut transfer = fixture.transfer(Direction::StageOut);
    transfer.also = vec![ChecksumKind::Md5, ChecksumKind::Sha256];
    let report = fixture.run(&transfer).expect("copies");
    assert_eq!(report.checksum.to_string(), "ad:024d0127");
    let also: Vec<_> = report.also.iter().map(ToString::to_string).collect();
    assert_eq!(also[0], "md:900150983cd24fb0d6963f7d28e17f72");
    assert!(also[1].starts_with("sha256:ba7816bf8f01cfea"), "{also:?}");
}

#[test]
fn what_the_catalogue_says_is_verified() {
    let fixture = Fixture::new(b"Wikipedia");
    let mut transfer = fixture.transfer(Direction::StageIn);
    transfer.size = Some(ByteCount::from_bytes(9));
    transfer.checksum = Some("ad:11e60398".parse().expect("a checksum"));
    fixture.run(&transfer).expect("as expected");
    let other = "md:9c677286866aad38f4e6ed9b6d8f29ea";
    transfer.checksum = Some(other.parse().expect("a checksum"));
    let error = fixture.run(&transfer).expect_err("another MD5");
    assert_eq!(error.code(), ErrorCode::GetMd5Mismatch);
}

#[test]
fn a_wrong_checksum_leaves_no_target() {
    for (direction, code) in [
        (Direction::StageIn, ErrorCode::GetAdMismatch),
        (Direction::StageOut, ErrorCode::PutAdMismatch),
    ] {
        for placement in [
            Placement::Copy,
            Placement::HardLink,
            Placement::SymbolicLink,
        ] {
            let mut fixture = Fixture::new(b"Wikipedia");
            fixture.local = tool(placement);
            let mut transfer = fixture.transfer(direction);
            transfer.checksum = Some(Checksum::Adler32(7));
            let error = fixture.run(&transfer).expect_err("another checksum");
            assert_eq!(error.code(), code);
            let cause = error.cause.to_string();
            assert!(
                cause.contains("ad:11e60398 instead of ad:00000007"),
                "{cause}"
            );
            fixture.assert_no_target();
        }
    }
}

#[test]
fn a_short_file_leaves_the_old_target() {
    let fixture = Fixture::new(b"short");
    let mut transfer = fixture.transfer(Direction::StageIn);
    fixture.run(&transfer).expect("copies");
    fs::write(fixture.path("source"), "sh").expect("space");
    transfer.size = Some(ByteCount::from_bytes(5));
    let error = fixture.run(&transfer).expect_err("shorter");
    assert!(matches!(error.cause, Cause::SizeMismatch { .. }), "{error}");
    assert_eq!(error.code(), ErrorCode::StageInFailed);
    assert_eq!(fs::read(&transfer.path).expect("still there"), b"short");
}

#[test]
fn an_empty_file_is_copied() {
    let fixture = Fixture::new(b"");
    let report = fixture
        .run(&fixture.transfer(Direction::StageOut))
        .expect("copies");
    assert_eq!(
        (report.size, report.checksum),
        (ByteCount::ZERO, Checksum::Adler32(1))
    );
}

#[test]
fn a_hard_link_is_the_same_file_also_in_place_of_itself() {
    let mut fixture = Fixture::new(b"x");
    fixture.local = tool(Placement::HardLink);
    for direction in [Direction::StageIn, Direction::StageOut] {
        for _ in 0..2 {
            fixture.run(&fixture.transfer(direction)).expect("links");
            let inode = |name| fs::metadata(fixture.path(name)).expect("there").ino();
            assert_eq!(inode("source"), inode("deep/er/target"));
            let names = fs::read_dir(fixture.path("deep/er")).expect("own").count();
            assert_eq!(names, 1, "nothing is left over");
        }
    }
}

#[test]
fn a_symbolic_link_is_made_at_stage_in_only() {
    let mut fixture = Fixture::new(b"x");
    fixture.local = tool(Placement::SymbolicLink);
    let target = fixture.path("deep/er/target");
    fixture
        .run(&fixture.transfer(Direction::StageIn))
        .expect("links");
    let source = fixture.path("source").canonicalize().expect("there");
    assert_eq!(fs::read_link(&target).expect("a link"), source);
    fs::remove_file(&target).expect("own");
    fixture
        .run(&fixture.transfer(Direction::StageOut))
        .expect("copies");
    assert!(fs::symlink_metadata(&target).expect("there").is_file());
}

/// A hard link cannot lead to another file system.
#[test]
fn what_lies_on_another_device_is_copied() {
    let Ok(other) = TempDir::new_in("/dev/shm") else {
        eprintln!("skipped: there is no second file system");
        return;
    };
    let mut fixture = Fixture::new(b"x");
    fixture.local = tool(Placement::HardLink);
    let mut transfer = fixture.transfer(Direction::StageIn);
    transfer.path = other.path().join("target");
    fixture.run(&transfer).expect("copies");
    assert_eq!(fs::read(&transfer.path).expect("there"), b"x");
    assert_eq!(fs::metadata(&transfer.path).expect("there").nlink(), 1);
}

#[test]
fn a_link_in_place_of_the_target_is_replaced_not_followed() {
    let fixture = Fixture::new(b"new");
    fs::write(fixture.path("precious"), "old").expect("space");
    fs::create_dir_all(fixture.path("deep/er")).expect("space");
    let target = fixture.path("deep/er/target");
    std::os::unix::fs::symlink(fixture.path("precious"), &target).expect("space");
    fixture
        .run(&fixture.transfer(Direction::StageOut))
        .expect("copies");
    assert_eq!(fs::read(fixture.path("precious")).expect("there"), b"old");
    assert!(fs::symlink_metadata(&target).expect("there").is_file());
}

#[test]
fn holes_stay_holes() {
    let fixture = Fixture::new(b"");
    let source = File::options().write(true).open(fixture.path("source"));
    let source = source.expect("own");
    source.set_len(64 << 20).expect("space");
    source.write_all_at(b"island", 40 << 20).expect("space");
    let report = fixture
        .run(&fixture.transfer(Direction::StageIn))
        .expect("copies");
    let target = fixture.path("deep/er/target");
    let kind = ChecksumKind::Adler32;
    let reread = file_checksum(&target, kind, Direction::StageIn).expect("reads");
    assert_eq!((report.size, report.checksum), reread);
    let blocks = fs::metadata(&target).expect("there").blocks();
    assert!(blocks * 512 < 2 << 20, "{blocks} blocks");
}

#[test]
fn a_file_that_grows_is_told_from_one_that_is_whole() {
    let fixture = Fixture::new(b"begin");
    for (direction, checksum) in [
        (Direction::StageOut, None),
        (Direction::StageIn, Some(Checksum::Adler32(7))),
    ] {
        let mut transfer = fixture.transfer(direction);
        transfer.checksum = checksum;
        fixture.during(&transfer, |copy, source| {
            let mut file = File::options().append(true).open(copy.from).expect("own");
            io::Write::write_all(&mut file, b"more").expect("space");
            let error = copy.pump(source).read().expect_err("it grows");
            assert!(matches!(error.cause, Cause::Changed { .. }), "{error:?}");
        });
    }
}

#[test]
fn a_file_that_is_written_to_in_place_is_told_unless_its_checksum_is_known() {
    let fixture = Fixture::new(b"Wikipedia");
    let old = File::options()
        .write(true)
        .open(fixture.path("source"))
        .expect("own");
    for known in [
        None,
        Some(Checksum::Adler32(7)),
        Some(Checksum::Adler32(0x11e6_0398)),
    ] {
        let mut transfer = fixture.transfer(Direction::StageOut);
        transfer.checksum = known.clone();
        old.set_modified(std::time::UNIX_EPOCH).expect("own");
        fixture.during(&transfer, |copy, source| {
            let sums = copy.pump(source).read().expect("reads");
            old.write_all_at(b"W", 0).expect("space");
            let verdict = copy.verify(source, &sums);
            if known == Some(sums[0].clone()) {
                return verdict.expect("what was read is the file");
            }
            let cause = verdict.expect_err("it changed").cause.to_string();
            assert_eq!(cause, "it changed while it was read: it was written to");
        });
    }
}

#[test]
fn a_file_that_becomes_shorter_is_told() {
    let fixture = Fixture::new(&vec![1; 8 << 20]);
    let source = Source::open(Direction::StageIn, &fixture.path("source")).expect("there");
    fs::write(fixture.path("source"), "short").expect("space");
    let error = source.read(&mut [0; 16], 1 << 20).expect_err("shorter");
    let cause = error.cause.to_string();
    assert!(cause.contains("it had 8388608 bytes, then 5"), "{cause}");
}

#[test]
fn a_file_that_is_replaced_while_it_is_read_is_copied_as_it_was() {
    let old = many_bytes(8 << 20);
    let fixture = Fixture::new(&old);
    let source = Source::open(Direction::StageIn, &fixture.path("source")).expect("there");
    fs::write(fixture.path("new"), "new").expect("space");
    fs::rename(fixture.path("new"), fixture.path("source")).expect("own");
    let mut part = [0; 16];
    source.read(&mut part, 1 << 20).expect("still there");
    assert_eq!(part, old[1 << 20..][..16]);
    assert_eq!(source.change(), None);
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
        let mut transfer = fixture.transfer(Direction::StageIn);
        transfer.path = fixture.dir.path().join(OsStr::from_bytes(name));
        fixture.run(&transfer).expect("copies");
        assert_eq!(fs::read(&transfer.path).expect("written"), b"x");
    }
}

#[test]
fn a_name_of_full_length_is_copied_and_a_longer_one_refused() {
    let fixture = Fixture::new(b"x");
    let mut transfer = fixture.transfer(Direction::StageOut);
    transfer.url = fixture.path(&"n".repeat(255)).display().to_string();
    fixture.run(&transfer).expect("copies");
    transfer.url.push('n');
    let error = fixture.run(&transfer).expect_err("too long");
    assert_eq!(error.code(), ErrorCode::LfnTooLong);
    let left = fs::read_dir(fixture.dir.path()).expect("own").count();
    assert_eq!(left, 2, "source and the first target");
}

#[test]
fn a_target_that_leads_up_or_names_nothing_is_refused() {
    let fixture = Fixture::new(b"x");
    for target in ["../evil", "a/../../evil", "", "dir/", "/"] {
        let mut transfer = fixture.transfer(Direction::StageIn);
        transfer.path = PathBuf::from(target);
        let error = fixture.run(&transfer).expect_err(target);
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
    let mut transfer = fixture.transfer(Direction::StageOut);
    transfer.path = fixture.path("gone");
    let error = fixture.run(&transfer).expect_err("gone");
    assert_eq!(error.code(), ErrorCode::MissingOutputFile);
    assert!(!fixture.path("deep").exists());
}

#[test]
fn a_pipe_or_directory_is_no_source_and_does_not_hang() {
    let fixture = Fixture::new(b"x");
    let pipe = fixture.path("pipe");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, Mode::RWXU, 0).expect("a pipe");
    for source in [pipe, fixture.dir.path().to_owned()] {
        let mut transfer = fixture.transfer(Direction::StageIn);
        transfer.url = source.display().to_string();
        let error = fixture.run(&transfer).expect_err("no file");
        assert!(matches!(error.cause, Cause::NotAFile), "{error}");
    }
}

#[test]
fn a_file_in_place_of_a_directory_is_named() {
    let fixture = Fixture::new(b"x");
    fs::write(fixture.path("deep"), "").expect("space");
    let error = fixture
        .run(&fixture.transfer(Direction::StageOut))
        .expect_err("no directory");
    assert_eq!(error.code(), ErrorCode::Mkdir);
}

/// Root may write everywhere, so this shows something for other accounts only.
#[test]
fn a_closed_directory_is_a_matter_of_permission() {
    let fixture = Fixture::new(b"x");
    let mut transfer = fixture.transfer(Direction::StageOut);
    let closed = fixture.path("closed");
    fs::create_dir(&closed).expect("space");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).expect("own");
    transfer.url = closed.join("target").display().to_string();
    let outcome = fixture.run(&transfer);
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
    let transfer = fixture.transfer(Direction::StageOut);
    let source = Source::open(Direction::StageOut, &fixture.path("source")).expect("there");
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("there");
    let watch = watch(false);
    let copy = Copy {
        tool: &fixture.local,
        transfer: &transfer,
        watch: &watch,
        from: &transfer.path,
        to: Path::new("/dev/full"),
    };
    let error = copy
        .pump(&source)
        .copy_to(&full, copy.to)
        .expect_err("full");
    assert_eq!(error.code(), ErrorCode::NoRemoteSpace);
}

#[test]
fn a_stopped_copy_leaves_no_target() {
    let fixture = Fixture::new(b"x");
    let transfer = fixture.transfer(Direction::StageIn);
    let error = fixture
        .local
        .transfer(&transfer, &watch(true))
        .expect_err("stopped");
    assert!(matches!(error.cause, Cause::Stopped), "{error}");
    fixture.assert_no_target();
}

#[test]
fn a_copy_that_is_stopped_while_its_bytes_go_to_the_disk_leaves_no_target() {
    let fixture = Fixture::new(b"x");
    let mut transfer = fixture.transfer(Direction::StageOut);
    transfer.durability = Durability::Synced;
    let (from, to) = (fixture.path("source"), fixture.path("deep/er/target"));
    let copy = Copy {
        tool: &fixture.local,
        transfer: &transfer,
        watch: &watch(true),
        from: &from,
        to: &to,
    };
    copy.make_parent().expect("space");
    let partial = Partial::create(&to).expect("space");
    let error = copy.settle(partial).expect_err("stopped");
    assert!(matches!(error.cause, Cause::Stopped), "{error}");
    fixture.assert_no_target();
}

#[test]
fn a_copy_that_does_not_move_is_given_up() {
    let fixture = Fixture::new(b"x");
    let mut transfer = fixture.transfer(Direction::StageIn);
    transfer.patience.begin = Duration::ZERO;
    let watch = Watch::new(Arc::new(AtomicBool::new(false)), transfer.patience);
    let error = fixture
        .local
        .transfer(&transfer, &watch)
        .expect_err("too late");
    assert_eq!(error.code(), ErrorCode::StageInTimeout);
    fixture.assert_no_target();
}

#[test]
fn a_storage_tells_of_a_file_and_removes_it_once_or_twice() {
    let fixture = Fixture::new(b"12345");
    let url = format!("file://{}", fixture.path("source").display());
    let seen = fixture.local.look(&url, &watch(false)).expect("there");
    assert_eq!(seen.size, Some(ByteCount::from_bytes(5)));
    for _ in 0..2 {
        fixture.local.remove(&url, &watch(false)).expect("gone");
    }
    let error = fixture.local.look(&url, &watch(false)).expect_err("gone");
    assert!(matches!(error.cause, Cause::Missing));
    let directory = fixture.dir.path().display().to_string();
    assert!(fixture.local.remove(&directory, &watch(false)).is_err());
}

#[test]
fn file_urls_and_plain_paths_are_local() {
    for (url, path) in [
        ("/data/a b", "/data/a b"),
        ("file:///data/50%20/x", "/data/50%20/x"),
        ("file://localhost/data/x", "/data/x"),
        ("relative/name", "relative/name"),
        ("/odd/a://b", "/odd/a://b"),
    ] {
        let found = local_path(Direction::StageIn, url).expect(url);
        assert_eq!(found, Path::new(path));
    }
}

#[test]
fn a_file_url_with_another_host_and_another_scheme_are_refused() {
    let error = local_path(Direction::StageIn, "file://other/x").expect_err("not here");
    assert!(matches!(error.cause, Cause::BadPlace(_)), "{error}");
    let error = local_path(Direction::StageIn, "root://eos.example.org//x").expect_err("not here");
    assert_eq!(error.code(), ErrorCode::UnknownCopyTool);
}
