//! One process: what is fetched how often, what goes, what a broken cache costs.

use std::{
    os::unix::{ffi::OsStrExt, fs::symlink},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use ailurus_model::{ByteCount, Checksum, Lfn, Scope};
use tempfile::TempDir;

use super::*;
use crate::{
    checksum::{ChecksumKind, RunningChecksum},
    file_checksum,
};

mod tool;

/// A cache, a storage of made-up files and jobs' directories.
struct Fixture {
    dir: TempDir,
    n_fetched: AtomicUsize,
    stop: Arc<AtomicBool>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("space"),
            n_fetched: AtomicUsize::new(0),
            stop: Arc::default(),
        }
    }

    fn config(&self, kib_max: u64) -> CacheConfig {
        let dir = self.dir.path().join("cache");
        CacheConfig {
            free_min: ByteCount::ZERO,
            lock_wait: Duration::from_secs(60),
            ..CacheConfig::new(dir, ByteCount::from_kib(kib_max))
        }
    }

    fn open(&self, kib_max: u64) -> Cache {
        Cache::open(self.config(kib_max)).expect("a cache")
    }

    fn target(&self, name: &str) -> PathBuf {
        self.dir.path().join("job").join(name)
    }

    fn fetch(&self, nr: u8, path: &Path) -> Result<TransferReport, TransferError> {
        self.n_fetched.fetch_add(1, Ordering::Relaxed);
        fs::create_dir_all(path.parent().expect("a directory")).expect("space");
        fs::write(path, content(nr)).expect("space");
        Ok(report(nr))
    }

    /// Lets a job have file `nr` under a name.
    fn obtain(&self, cache: &Cache, nr: u8, name: &str) -> Result<How, TransferError> {
        let target = self.target(name);
        let fetch = |path: &Path| self.fetch(nr, path);
        let obtained = cache.obtain(&key(nr), &target, &self.stop, fetch)?;
        assert_eq!(
            fs::read(&target).expect("there"),
            content(nr),
            "wrong content"
        );
        assert_eq!(obtained.report.checksum, *key(nr).checksum());
        Ok(obtained.how)
    }

    fn n_fetched(&self) -> usize {
        self.n_fetched.load(Ordering::Relaxed)
    }

    fn shelf(&self) -> PathBuf {
        self.dir.path().join("cache").join(SHELF_NAME)
    }

    fn path(&self, nr: u8, role: Role) -> PathBuf {
        self.shelf().join(key(nr).stem().name(role))
    }

    /// Returns the numbers of the files that are in the cache.
    fn kept(&self) -> Vec<u8> {
        (0..50)
            .filter(|nr| self.path(*nr, Role::Data).exists())
            .collect()
    }

    /// Nothing of a fetch or a removed entry is left.
    fn assert_no_litter(&self) {
        for entry in fs::read_dir(self.shelf()).expect("a shelf") {
            let name = entry
                .expect("readable")
                .file_name()
                .into_string()
                .expect("text");
            if let Some((stem, role)) = Stem::read(&name) {
                assert!(!matches!(role, Role::Lock | Role::Part), "{name}");
                assert!(self.shelf().join(stem.name(Role::Data)).exists(), "{name}");
            }
        }
    }
}

/// Every file has 4 KiB.
fn content(nr: u8) -> Vec<u8> {
    (0..4096_u32).map(|at| at.to_le_bytes()[0] ^ nr).collect()
}

fn report(nr: u8) -> TransferReport {
    let mut sum = RunningChecksum::new(ChecksumKind::Adler32);
    sum.update(&content(nr));
    TransferReport {
        size: ByteCount::from_kib(4),
        checksum: sum.finish(),
        also: Vec::new(),
        duration: Duration::ZERO,
    }
}

fn key(nr: u8) -> Key {
    let TransferReport { size, checksum, .. } = report(nr);
    Key::new(
        &Scope::new("spd"),
        &Lfn::new(format!("f{nr}")),
        checksum,
        size,
    )
}

#[test]
fn a_file_is_fetched_once_and_then_copied() {
    let fixture = Fixture::new();
    let cache = fixture.open(100);
    assert_eq!(fixture.obtain(&cache, 1, "a").expect("works"), How::Fetched);
    assert_eq!(fixture.obtain(&cache, 1, "b").expect("works"), How::Hit);
    let again = fixture.open(100);
    assert_eq!(fixture.obtain(&again, 1, "c").expect("works"), How::Hit);
    assert_eq!(fixture.n_fetched(), 1);
    assert_eq!(
        fs::read_to_string(fixture.path(1, Role::Use)).expect("there"),
        key(1).to_string()
    );
    fixture.assert_no_litter();
}

#[test]
fn files_that_differ_in_name_or_checksum_only_are_two() {
    let fixture = Fixture::new();
    let cache = fixture.open(100);
    fixture.obtain(&cache, 1, "a").expect("works");
    let other = Key::new(
        &Scope::new("x"),
        &Lfn::new("f1"),
        report(1).checksum,
        report(1).size,
    );
    let fetch = |path: &Path| fixture.fetch(1, path);
    let got = cache.obtain(&other, &fixture.target("b"), &fixture.stop, fetch);
    assert_eq!(got.expect("works").how, How::Fetched);
}

#[test]
fn threads_that_want_a_file_at_once_fetch_it_once() {
    let fixture = Fixture::new();
    let cache = fixture.open(1000);
    let gate = Barrier::new(16);
    let hows: Vec<How> = thread::scope(|scope| {
        let jobs: Vec<_> = (0..16)
            .map(|job| {
                let (fixture, cache, gate) = (&fixture, &cache, &gate);
                scope.spawn(move || {
                    gate.wait();
                    fixture
                        .obtain(cache, 1, &format!("job{job}/in"))
                        .expect("works")
                })
            })
            .collect();
        jobs.into_iter()
            .map(|it| it.join().expect("no panic"))
            .collect()
    });
    assert_eq!(fixture.n_fetched(), 1);
    assert_eq!(hows.iter().filter(|it| **it == How::Fetched).count(), 1);
    assert!(
        hows.iter().all(|it| matches!(it, How::Fetched | How::Hit)),
        "{hows:?}"
    );
    fixture.assert_no_litter();
}

#[test]
fn a_damaged_entry_is_fetched_again_whatever_the_damage() {
    for (link, damage) in [
        (Link::Copy, b"short".to_vec()),
        (Link::Copy, Vec::new()),
        (Link::Copy, content(2)),
        (Link::Hard, b"short".to_vec()),
        (Link::Hard, content(2)),
    ] {
        let fixture = Fixture::new();
        let mut config = fixture.config(100);
        config.link = link;
        let cache = Cache::open(config).expect("a cache");
        fixture.obtain(&cache, 1, "a").expect("works");
        fs::remove_file(fixture.path(1, Role::Data)).expect("there");
        fs::write(fixture.path(1, Role::Data), &damage).expect("space");
        let how = fixture.obtain(&cache, 1, "b").expect("works");
        assert_eq!((how, fixture.n_fetched()), (How::Fetched, 2), "{link:?}");
        assert_eq!(fixture.obtain(&cache, 1, "c").expect("works"), How::Hit);
        fixture.assert_no_litter();
    }
}

#[test]
fn a_directory_in_place_of_the_data_is_no_reason_to_fail() {
    let fixture = Fixture::new();
    let cache = fixture.open(100);
    fs::create_dir(fixture.path(1, Role::Data)).expect("space");
    let how = fixture.obtain(&cache, 1, "a").expect("works");
    assert!(matches!(how, How::Bypassed(_)), "{how:?}");
}

#[test]
fn a_payload_that_writes_to_its_hard_link_is_found_out() {
    let fixture = Fixture::new();
    let mut config = fixture.config(100);
    config.link = Link::Hard;
    let cache = Cache::open(config).expect("a cache");
    fixture.obtain(&cache, 1, "a").expect("works");
    let linked = fs::metadata(fixture.target("a")).expect("there");
    assert_eq!((linked.nlink(), linked.mode() & 0o222), (2, 0));
    fs::set_permissions(fixture.target("a"), fs::Permissions::from_mode(0o600)).expect("own");
    fs::write(fixture.target("a"), "mine").expect("writable");
    assert_eq!(fixture.obtain(&cache, 1, "b").expect("works"), How::Fetched);
    assert_eq!(fs::read(fixture.target("a")).expect("there"), b"mine");
    // The same target again, which is a link of the same file.
    assert_eq!(fixture.obtain(&cache, 1, "b").expect("works"), How::Hit);
    assert_eq!(
        fs::read_dir(fixture.dir.path().join("job"))
            .expect("there")
            .count(),
        2
    );
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let fixture = Fixture::new();
    let cache = fixture.open(12);
    for nr in [1, 2, 3] {
        fixture.obtain(&cache, nr, "a").expect("works");
    }
    // Times of a file system may be coarse: these are set apart by hand.
    for (nr, age) in [(2, 3000), (1, 2000), (3, 1000)] {
        let time = std::time::SystemTime::now() - Duration::from_secs(age);
        let file = fs::File::options()
            .write(true)
            .open(fixture.path(nr, Role::Use));
        file.expect("there").set_modified(time).expect("own");
    }
    assert_eq!(fixture.obtain(&cache, 2, "a").expect("works"), How::Hit);
    assert_eq!(fixture.obtain(&cache, 4, "a").expect("works"), How::Fetched);
    assert_eq!(fixture.kept(), [2, 3, 4]);
    assert_eq!(fixture.obtain(&cache, 5, "a").expect("works"), How::Fetched);
    assert_eq!(fixture.kept(), [2, 4, 5]);
    fixture.assert_no_litter();
}

#[test]
fn an_entry_in_use_stays_and_a_cache_full_of_them_is_bypassed() {
    let fixture = Fixture::new();
    let cache = fixture.open(8);
    fixture.obtain(&cache, 1, "a").expect("works");
    fixture.obtain(&cache, 2, "a").expect("works");
    let hold = |nr| {
        let path = fixture.path(nr, Role::Use);
        lock::try_lock_existing(&path, Kind::Shared)
            .expect("locks")
            .expect("free")
    };
    let (first, _second) = (hold(1), hold(2));
    let how = fixture.obtain(&cache, 3, "a").expect("works");
    assert_eq!(how, How::Bypassed(Bypass::Full));
    assert_eq!(fixture.kept(), [1, 2]);
    drop(first);
    assert_eq!(fixture.obtain(&cache, 3, "a").expect("works"), How::Fetched);
    assert_eq!(fixture.kept(), [2, 3]);
}

#[test]
fn a_file_that_can_never_fit_costs_no_entry() {
    let fixture = Fixture::new();
    let cache = fixture.open(8);
    fixture.obtain(&cache, 1, "a").expect("works");
    let small = fixture.open(3);
    let how = fixture.obtain(&small, 2, "a").expect("works");
    assert_eq!(how, How::Bypassed(Bypass::Full));
    assert_eq!(fixture.kept(), [1]);
}

#[test]
fn the_cache_leaves_a_minimum_free() {
    let fixture = Fixture::new();
    fixture.obtain(&fixture.open(100), 1, "a").expect("works");
    let mut config = fixture.config(100);
    config.free_min = ByteCount::from_bytes(u64::MAX);
    let cache = Cache::open(config).expect("a cache");
    let how = fixture.obtain(&cache, 2, "a").expect("works");
    assert_eq!(how, How::Bypassed(Bypass::Full));
    assert!(
        fixture.kept().is_empty(),
        "what the cache has is given back"
    );
}

#[test]
fn the_number_of_entries_is_limited() {
    let fixture = Fixture::new();
    let mut config = fixture.config(1000);
    config.entries_max = 3;
    let cache = Cache::open(config).expect("a cache");
    for nr in 0..10 {
        assert_eq!(
            fixture.obtain(&cache, nr, "a").expect("works"),
            How::Fetched
        );
        assert!(fixture.kept().len() <= 3);
    }
    fixture.assert_no_litter();
}

#[test]
fn a_failed_fetch_is_the_jobs_own_and_leaves_nothing() {
    let fixture = Fixture::new();
    let cache = fixture.open(100);
    let failing = |path: &Path| {
        fs::write(path, "half").expect("space");
        Err(TransferError::new(
            Direction::StageIn,
            "root://x",
            Cause::Missing,
        ))
    };
    let target = fixture.target("a");
    let error = cache
        .obtain(&key(1), &target, &fixture.stop, failing)
        .expect_err("missing");
    assert_eq!(error.place, "root://x");
    assert!(!target.exists());
    fixture.assert_no_litter();
    assert_eq!(fixture.obtain(&cache, 1, "a").expect("works"), How::Fetched);
}

#[test]
fn a_disk_that_fills_up_under_the_cache_fails_no_job() {
    let fixture = Fixture::new();
    let cache = fixture.open(100);
    let full = |path: &Path| {
        if path.starts_with(fixture.shelf()) {
            fs::write(path, "half").expect("space");
            let cause = Cause::NoSpace;
            return Err(TransferError::of_path(Direction::StageIn, path, cause));
        }
        fixture.fetch(1, path)
    };
    let target = fixture.target("a");
    let got = cache.obtain(&key(1), &target, &fixture.stop, full);
    let got = got.expect("works without");
    assert_eq!(got.how, How::Bypassed(Bypass::Unusable));
    assert_eq!(fs::read(&target).expect("there"), content(1));
    fixture.assert_no_litter();
}

#[test]
fn a_panic_in_a_fetch_frees_the_entry() {
    let fixture = Fixture::new();
    let cache = fixture.open(100);
    let panicked = thread::scope(|scope| {
        let (cache, fixture) = (&cache, &fixture);
        scope
            .spawn(move || {
                let fetch = |_: &Path| panic!("on purpose");
                cache.obtain(&key(1), &fixture.target("a"), &fixture.stop, fetch)
            })
            .join()
            .is_err()
    });
    assert!(panicked);
    fixture.assert_no_litter();
    assert_eq!(fixture.obtain(&cache, 1, "a").expect("works"), How::Fetched);
}

#[test]
fn a_tool_that_brings_another_file_is_told() {
    let fixture = Fixture::new();
    let cache = fixture.open(100);
    let wrong = |path: &Path| {
        fixture.fetch(2, path).expect("space");
        Ok(report(2))
    };
    let target = fixture.target("a");
    let error = cache
        .obtain(&key(1), &target, &fixture.stop, wrong)
        .expect_err("wrong");
    assert!(
        matches!(error.cause, Cause::ChecksumMismatch { .. }),
        "{error:?}"
    );
    assert!(!target.exists() && fixture.kept().is_empty());
}

#[test]
fn a_tool_that_lies_about_what_it_brought_is_found_out() {
    let fixture = Fixture::new();
    let cache = fixture.open(100);
    // The first time another file, the second time the right one.
    let lying = |path: &Path| {
        let nr = if fixture.n_fetched() == 0 { 2 } else { 1 };
        fixture.fetch(nr, path).map(|_| report(1))
    };
    let target = fixture.target("a");
    let got = cache
        .obtain(&key(1), &target, &fixture.stop, lying)
        .expect("works");
    assert_eq!((got.how, fixture.n_fetched()), (How::Fetched, 2));
    assert_eq!(fs::read(&target).expect("there"), content(1));
}

#[test]
fn a_target_that_cannot_be_written_is_not_fetched_for_again() {
    let fixture = Fixture::new();
    let cache = fixture.open(100);
    fixture.obtain(&cache, 1, "file").expect("works");
    let error = fixture
        .obtain(&cache, 1, "file/below")
        .expect_err("no directory");
    assert!(matches!(error.cause, Cause::NoDirectory(_)), "{error:?}");
    assert_eq!(fixture.n_fetched(), 1);
    assert_eq!(fixture.kept(), [1]);
}

#[test]
fn who_waits_for_another_pilot_may_give_up_or_go_its_own_way() {
    let fixture = Fixture::new();
    let mut config = fixture.config(100);
    config.lock_wait = Duration::from_millis(50);
    let cache = Cache::open(config).expect("a cache");
    let path = fixture.path(1, Role::Lock);
    let _other = lock::try_lock(&path, Kind::Exclusive, 0o600)
        .expect("locks")
        .expect("free");
    let how = fixture.obtain(&cache, 1, "a").expect("works");
    assert_eq!(how, How::Bypassed(Bypass::Busy));
    fixture.stop.store(true, Ordering::Relaxed);
    let error = fixture.obtain(&cache, 1, "a").expect_err("stopped");
    assert!(matches!(error.cause, Cause::Stopped), "{error:?}");
}

#[test]
fn what_dead_pilots_left_goes_when_a_cache_is_opened() {
    let fixture = Fixture::new();
    let cache = fixture.open(100);
    fixture.obtain(&cache, 1, "a").expect("works");
    fs::write(fixture.path(2, Role::Lock), "").expect("space");
    fs::create_dir_all(fixture.path(2, Role::Part).join("x")).expect("space");
    fs::write(fixture.path(2, Role::Part).join("x/data"), "half").expect("space");
    fs::write(fixture.path(3, Role::Use), "").expect("space");
    fs::write(fixture.path(4, Role::Lock), "").expect("space");
    fs::write(fixture.shelf().join("notes of an admin"), "").expect("space");
    // One that lives is left alone.
    let path = fixture.path(5, Role::Lock);
    let alive = lock::try_lock(&path, Kind::Exclusive, 0o600)
        .expect("locks")
        .expect("free");
    fs::create_dir(fixture.path(5, Role::Part)).expect("space");
    fixture.open(100);
    assert!(fixture.path(5, Role::Part).exists());
    drop(alive);
    fixture.open(100);
    fixture.assert_no_litter();
    assert_eq!(fixture.kept(), [1]);
    assert!(fixture.shelf().join("notes of an admin").exists());
}

#[test]
fn a_part_without_its_lock_is_litter_too() {
    let fixture = Fixture::new();
    fixture.open(100);
    fs::create_dir_all(fixture.path(2, Role::Part).join("x")).expect("space");
    fixture.open(100);
    fixture.assert_no_litter();
}

#[test]
fn a_directory_that_cannot_be_trusted_or_made_is_refused() {
    let fixture = Fixture::new();
    let open_to_all = fixture.dir.path().join("cache");
    fs::create_dir(&open_to_all).expect("space");
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o1777)).expect("own");
    let error = Cache::open(fixture.config(1)).expect_err("everybody's");
    assert!(matches!(error, CacheError::Untrusted { .. }), "{error}");
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o700)).expect("own");
    symlink("elsewhere", open_to_all.join(SHELF_NAME)).expect("space");
    let error = Cache::open(fixture.config(1)).expect_err("a link");
    assert!(matches!(error, CacheError::Unusable { .. }), "{error}");
    let mut config = fixture.config(1);
    config.dir.push(std::ffi::OsStr::from_bytes(b"\xff"));
    let error = Cache::open(config).expect_err("no text");
    assert!(matches!(error, CacheError::Unusable { .. }), "{error}");
    let mut config = fixture.config(1);
    config.dir = PathBuf::from("/proc/cache");
    let error = Cache::open(config).expect_err("no place");
    assert!(matches!(error, CacheError::Unusable { .. }), "{error}");
}

#[test]
fn a_groups_cache_is_the_groups() {
    let fixture = Fixture::new();
    let dir = fixture.dir.path().join("cache");
    fs::create_dir(&dir).expect("space");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o2770)).expect("own");
    let cache = fixture.open(100);
    fixture.obtain(&cache, 1, "a").expect("works");
    let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o7777;
    assert_eq!(mode(&fixture.shelf()), 0o2770);
    assert_eq!(mode(&fixture.path(1, Role::Data)), 0o440);
    assert_eq!(mode(&fixture.path(1, Role::Use)), 0o660);
}

#[test]
fn a_cache_that_vanishes_fails_no_job() {
    let fixture = Fixture::new();
    let cache = fixture.open(100);
    fixture.obtain(&cache, 1, "a").expect("works");
    fs::remove_dir_all(fixture.dir.path().join("cache")).expect("own");
    let how = fixture.obtain(&cache, 1, "b").expect("works");
    assert_eq!(how, How::Bypassed(Bypass::Unusable));
}

#[test]
fn many_threads_keep_the_limit_while_all_fetch_and_remove_at_once() {
    let fixture = Arc::new(Fixture::new());
    let cache = fixture.open(20);
    let (n_threads, n_rounds) = (8, 25);
    thread::scope(|scope| {
        for thread in 0..n_threads {
            let (fixture, cache) = (&fixture, &cache);
            scope.spawn(move || {
                for round in 0..n_rounds {
                    let nr = u8::try_from((thread * 7 + round * 3) % 12).expect("small");
                    fixture
                        .obtain(cache, nr, &format!("t{thread}/{nr}"))
                        .expect("works");
                    // While this lock is held nothing is removed, and no more is promised.
                    let room = fixture.shelf().join("room.lock");
                    let wait = Wait {
                        stop: &fixture.stop,
                        until: Instant::now() + Duration::from_secs(60),
                    };
                    let _room = lock::lock(&room, Kind::Exclusive, 0o600, &wait).expect("ours");
                    let kept = fixture.kept();
                    assert!(kept.len() <= 5, "{kept:?}");
                }
            });
        }
    });
    fixture.assert_no_litter();
}

#[test]
fn an_md5_in_the_key_is_verified_too() {
    let fixture = Fixture::new();
    let cache = fixture.open(100);
    fixture.obtain(&cache, 1, "a").expect("works");
    let (size, md5) =
        file_checksum(&fixture.target("a"), ChecksumKind::Md5, Direction::StageIn).expect("reads");
    assert!(matches!(md5, Checksum::Md5(_)));
    let key = Key::new(&Scope::new("spd"), &Lfn::new("f1"), md5, size);
    let fetch = |path: &Path| fixture.fetch(1, path);
    for how in [How::Fetched, How::Hit] {
        let got = cache.obtain(&key, &fixture.target("b"), &fixture.stop, fetch);
        assert_eq!(got.expect("works").how, how);
    }
}
