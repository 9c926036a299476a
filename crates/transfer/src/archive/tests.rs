//! Archives of real directories, read again.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::symlink, net::UnixListener},
};

use tempfile::TempDir;

use super::*;
use crate::{Direction, file_checksum};

struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("space");
        fs::create_dir(dir.path().join("job")).expect("space");
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path("job").join(name);
        fs::create_dir_all(path.parent().expect("below job")).expect("space");
        fs::write(path, content).expect("space");
    }

    fn request(&self) -> PackRequest {
        PackRequest {
            dir: self.path("job"),
            archive: self.path("log.tgz"),
            root_name: "tarball_PandaJob_17_SPD".into(),
            exclude: Vec::new(),
            linked_files: Vec::new(),
            limits: PackLimits::default(),
        }
    }
}

/// Returns names below the root and contents; links as `-> target`.
fn unpack(archive: &Path) -> BTreeMap<String, String> {
    let gzip = flate2::read::GzDecoder::new(File::open(archive).expect("there"));
    let mut read = BTreeMap::new();
    for entry in tar::Archive::new(gzip).entries().expect("an archive") {
        let mut entry = entry.expect("whole");
        let path = entry.path().expect("a path").into_owned();
        let name = path
            .strip_prefix("tarball_PandaJob_17_SPD")
            .expect("below the root")
            .to_string_lossy()
            .into_owned();
        let link = entry.link_name().expect("a path or none");
        let content = match link {
            Some(target) => format!("-> {}", target.display()),
            None => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).expect("whole");
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        assert_eq!(entry.header().uid().expect("a number"), 0);
        read.insert(name, content);
    }
    read
}

#[test]
fn everything_is_packed_below_the_root_name() {
    let fixture = Fixture::new();
    fixture.write("payload.stdout", "hello");
    fixture.write("sub/dir/a b ю", "deep");
    let long = "n".repeat(200);
    fixture.write(&long, "long");
    let request = fixture.request();
    let report = pack(&request).expect("packs");
    let read = unpack(&request.archive);
    assert_eq!(read["payload.stdout"], "hello");
    assert_eq!(read["sub/dir/a b ю"], "deep");
    assert_eq!(read[&long], "long");
    assert_eq!(report.n_entries, 5);
    assert!(report.notes.is_empty(), "{:?}", report.notes);
}

#[test]
fn size_and_checksum_are_those_of_the_file() {
    let fixture = Fixture::new();
    fixture.write("a", "x".repeat(100_000));
    let request = fixture.request();
    let report = pack(&request).expect("packs");
    let read = file_checksum(&request.archive, ChecksumKind::Adler32, Direction::StageOut);
    assert_eq!((report.size, report.checksum), read.expect("reads"));
}

#[test]
fn the_same_directory_gives_the_same_bytes() {
    let fixture = Fixture::new();
    for nr in 0..100 {
        fixture.write(&format!("f{}", (nr * 37) % 100), format!("{nr}"));
    }
    let mut request = fixture.request();
    pack(&request).expect("packs");
    let first = fs::read(&request.archive).expect("there");
    request.archive = fixture.path("again.tgz");
    pack(&request).expect("packs");
    assert_eq!(first, fs::read(&request.archive).expect("there"));
}

#[test]
fn a_directory_made_elsewhere_in_another_order_gives_the_same_bytes() {
    let names = ["sub/deep/b", "z", "a", "sub/a", "Z", "sub.log", "ю"];
    let time = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let pack_in_order = |order: &[&str], archive: &str| {
        let fixture = Fixture::new();
        for name in order {
            fixture.write(name, name);
        }
        let dir = fixture.path("job");
        symlink("sub/a", dir.join("link")).expect("space");
        let mut request = fixture.request();
        request.archive = fixture.path(archive);
        for name in order.iter().chain(&["sub", "sub/deep", ""]) {
            let file = File::open(dir.join(name)).expect("there");
            file.set_modified(time).expect("own");
        }
        let report = pack(&request).expect("packs");
        (fs::read(&request.archive).expect("there"), report.checksum)
    };
    let mut order = names;
    let first = pack_in_order(&order, "log.tgz");
    order.reverse();
    // The archive's own place, even within the directory, makes no difference.
    assert_eq!(first, pack_in_order(&order, "job/other.tgz"));
    let header = &first.0[..10];
    assert_eq!(header[..4], [0x1F, 0x8B, 8, 0], "gzip, without a name");
    assert_eq!(header[4..8], [0; 4], "without a time");
}

#[test]
fn a_change_of_a_file_or_its_time_changes_the_bytes() {
    let fixture = Fixture::new();
    fixture.write("a", "x");
    let request = fixture.request();
    let mut seen = vec![pack(&request).expect("packs").checksum];
    fixture.write("a", "y");
    seen.push(pack(&request).expect("packs").checksum);
    let file = File::open(fixture.path("job/a")).expect("there");
    let before = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    file.set_modified(before).expect("own");
    seen.push(pack(&request).expect("packs").checksum);
    assert!(seen[0] != seen[1] && seen[1] != seen[2], "{seen:?}");
}

#[test]
fn excluded_names_are_left_out() {
    let fixture = Fixture::new();
    for name in [
        "evt.root",
        "keep.log",
        "work/x",
        "sub/evt.root",
        "sub/secret",
    ] {
        fixture.write(name, "x");
    }
    let mut request = fixture.request();
    request.exclude = vec!["*.root".into(), "work".into(), "sub/secret".into()];
    pack(&request).expect("packs");
    let names: Vec<_> = unpack(&request.archive).into_keys().collect();
    assert_eq!(names, ["keep.log", "sub"]);
}

#[test]
fn links_are_followed_within_the_directory_and_where_allowed() {
    let fixture = Fixture::new();
    fixture.write("inside", "inner");
    fs::write(fixture.path("pilotlog.txt"), "pilot's").expect("space");
    fs::write(fixture.path("token"), "s3cret").expect("space");
    let link = |target: &Path, name: &str| {
        symlink(target, fixture.path("job").join(name)).expect("space");
    };
    link(Path::new("inside"), "to-inside");
    link(&fixture.path("pilotlog.txt"), "pilotlog.txt");
    link(&fixture.path("token"), "to-token");
    link(&fixture.path(""), "to-directory");
    link(Path::new("to-itself"), "to-itself");
    let mut request = fixture.request();
    request.linked_files = vec![fixture.path("pilotlog.txt")];
    pack(&request).expect("packs");
    let read = unpack(&request.archive);
    assert_eq!(read["to-inside"], "inner");
    assert_eq!(read["pilotlog.txt"], "pilot's");
    assert!(read["to-token"].starts_with("-> "), "{read:?}");
    assert!(read["to-directory"].starts_with("-> "), "{read:?}");
    assert_eq!(read["to-itself"], "-> to-itself");
}

#[test]
fn pipes_and_sockets_are_left_out_with_a_note() {
    let fixture = Fixture::new();
    fixture.write("a", "x");
    let _listener = UnixListener::bind(fixture.path("job/socket")).expect("space");
    let pipe = fixture.path("job/pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        Mode::RWXU,
        0,
    )
    .expect("a pipe");
    let request = fixture.request();
    let report = pack(&request).expect("packs");
    assert_eq!(
        report.notes,
        ["pipe: left out: a pipe", "socket: left out: a socket"]
    );
    let read = unpack(&request.archive);
    assert_eq!(read.len(), 2);
    assert!(read[NOTES_NAME].contains("a socket"));
}

#[test]
fn of_a_large_file_beginning_and_end_are_kept() {
    let fixture = Fixture::new();
    fixture.write("payload.stdout", format!("BEGIN{}END", ".".repeat(1000)));
    let mut request = fixture.request();
    request.limits.file_max = ByteCount::from_bytes(10);
    let report = pack(&request).expect("packs");
    assert_eq!(unpack(&request.archive)["payload.stdout"], "BEGIN..END");
    assert_eq!(
        report.notes,
        ["payload.stdout: cut: 10 of 1008 bytes, from beginning and end"]
    );
}

#[test]
fn files_beyond_the_total_are_left_out() {
    let fixture = Fixture::new();
    fixture.write("a", "x".repeat(60));
    fixture.write("b", "x".repeat(60));
    fixture.write("c", "x".repeat(30));
    let mut request = fixture.request();
    request.limits.total_max = ByteCount::from_bytes(100);
    let report = pack(&request).expect("packs");
    assert_eq!(
        report.notes,
        ["b: left out: the archive would be too large"]
    );
    assert_eq!(unpack(&request.archive).len(), 3);
}

#[test]
fn entries_beyond_the_limit_are_left_out() {
    let fixture = Fixture::new();
    for nr in 0..10 {
        fixture.write(&format!("f{nr}"), "x");
    }
    let mut request = fixture.request();
    request.limits.entries_max = 4;
    let report = pack(&request).expect("packs");
    assert_eq!(report.n_entries, 4);
    assert_eq!(
        report.notes,
        ["f4: left out, and all after it: too many files"]
    );
}

#[test]
fn an_archive_within_its_directory_does_not_hold_itself() {
    let fixture = Fixture::new();
    fixture.write("a", "x");
    fixture.write("log.tgz", "an older one");
    let mut request = fixture.request();
    request.archive = fixture.path("job/log.tgz");
    pack(&request).expect("packs");
    let names: Vec<_> = unpack(&request.archive).into_keys().collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn a_file_that_shrinks_is_filled_up() {
    let fixture = Fixture::new();
    fixture.write("a", "abc");
    let (file, _) = open(&fixture.path("job/a")).expect("opens");
    let mut read = Vec::new();
    excerpt(file, 6, 6).read_to_end(&mut read).expect("reads");
    assert_eq!(read, b"abc\0\0\0");
}

#[test]
fn a_missing_directory_is_an_error_and_leaves_nothing() {
    let fixture = Fixture::new();
    let mut request = fixture.request();
    request.dir = fixture.path("gone");
    let error = pack(&request).expect_err("no directory");
    assert_eq!(error.code(), ErrorCode::LogFileCreationFailure);
    assert_eq!(fs::read_dir(fixture.dir.path()).expect("own").count(), 1);
}

#[test]
fn packing_gives_up_at_its_time_limit() {
    let fixture = Fixture::new();
    fixture.write("a", "x");
    let mut request = fixture.request();
    request.limits.time_limit = Duration::ZERO;
    let error = pack(&request).expect_err("too late");
    assert_eq!(error.code(), ErrorCode::LogCreationTimeout);
    assert!(!request.archive.exists());
}
