//! Engine, local copies, cache and watched space together, where things go wrong: names, numbers of
//! files, full disks, directories that vanish.
//!
//! This program starts itself on a small disk of its own: [`on_a_small_disk`] is no test of its own.

use std::{
    env,
    ffi::OsStr,
    fs,
    num::NonZeroUsize,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ailurus_model::{ByteCount, ErrorCode, Lfn, Scope};
use ailurus_transfer::{
    Budget, Cause, Direction, Durability, FileIdentity, Local, Patience, Placement, Toolbox,
    Transfer,
    cache::{Cache, CacheConfig, CachedTool},
    checksum::ChecksumKind,
    engine::{self, Next, Observer, Options, Outcome, Steering, Tried, Try},
    file_checksum,
    space::{Floor, Space, SpaceWatch},
};
use tempfile::TempDir;

/// Says that this process is on a small disk, and where it is mounted.
const DISK: &str = "SMALL_DISK";

/// Size of the small disk.
const DISK_MIB: u64 = 8;

/// Tries each file once.
struct Once<'a>(&'a [Transfer]);

impl Steering for Once<'_> {
    fn begin(&self, file: usize) -> Next {
        Next::Try(Box::new(Try {
            tool: None,
            transfer: self.0[file].clone(),
        }))
    }

    fn next(&self, _: usize, _: &Tried<'_>) -> Next {
        Next::Done
    }
}

fn local() -> Local {
    Local::new(
        Placement::Copy,
        Budget::new(Budget::BUFFER_BYTES),
        Budget::new(1),
    )
}

fn toolbox(cache: Option<Cache>) -> Toolbox {
    let local = Arc::new(local());
    let mut tools = Toolbox::new();
    match cache {
        Some(cache) => {
            let cached = CachedTool::new(local, Arc::new(cache));
            tools.add(Arc::new(cached), &[], &Local::SCHEMES);
        }
        None => tools.add(local, &[], &Local::SCHEMES),
    }
    tools
}

fn options() -> Options {
    Options {
        parallel: NonZeroUsize::new(4).expect("not zero"),
        ..Options::default()
    }
}

fn run(transfers: &[Transfer], tools: &Toolbox, options: &Options) -> Vec<Outcome> {
    let sizes: Vec<_> = transfers.iter().map(|it| it.size).collect();
    engine::run(&sizes, tools, options, &Once(transfers), &())
        .into_iter()
        .map(|it| it.expect("each was tried"))
        .collect()
}

/// A file to stage in whose size and checksum are known.
fn stage_in(from: &Path, to: PathBuf, name: &str) -> Transfer {
    let (size, checksum) =
        file_checksum(from, ChecksumKind::Adler32, Direction::StageIn).expect("there");
    Transfer {
        direction: Direction::StageIn,
        url: from.to_str().expect("text").to_owned(),
        path: to,
        size: Some(size),
        checksum: Some(checksum),
        kind: ChecksumKind::Adler32,
        also: Vec::new(),
        durability: Durability::Relaxed,
        patience: Patience::default(),
        identity: FileIdentity {
            scope: Some(Scope::new("spd")),
            lfn: Some(Lfn::new(name)),
            ..FileIdentity::default()
        },
    }
}

fn cache_in(dir: &Path) -> Cache {
    Cache::open(CacheConfig {
        free_min: ByteCount::ZERO,
        ..CacheConfig::new(dir.join("cache"), ByteCount::from_gib(1))
    })
    .expect("a cache")
}

/// Returns the names in a directory, however odd.
fn names_in(dir: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = fs::read_dir(dir)
        .map(|entries| {
            let names = entries.flatten().map(|it| it.file_name());
            names.map(|it| it.as_bytes().to_vec()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

#[test]
fn odd_names_come_through_engine_and_cache() {
    let dir = tempfile::tempdir().expect("space");
    let long = "n".repeat(255);
    let names = [
        "with space",
        "ünïcødé-ю-日本",
        "50%20%2F%",
        "new\nline",
        "tab\tquote'\"$(x)`;&|",
        "-rf",
        "?*[a]#",
        ".hidden",
        long.as_str(),
    ];
    let transfers: Vec<Transfer> = names
        .iter()
        .map(|name| {
            let from = dir.path().join("storage").join(name);
            fs::create_dir_all(from.parent().expect("a directory")).expect("space");
            fs::write(&from, name).expect("space");
            stage_in(&from, dir.path().join("job").join(name), name)
        })
        .collect();
    for tools in [toolbox(None), toolbox(Some(cache_in(dir.path())))] {
        for outcome in run(&transfers, &tools, &options()) {
            outcome.expect("works");
        }
        let job = dir.path().join("job");
        assert_eq!(names_in(&job), names_in(&dir.path().join("storage")));
        for name in names {
            assert_eq!(fs::read_to_string(job.join(name)).expect("there"), name);
        }
        fs::remove_dir_all(job).expect("own");
    }
}

#[test]
fn a_name_that_is_too_long_fails_alone() {
    let dir = tempfile::tempdir().expect("space");
    let from = dir.path().join("source");
    fs::write(&from, "x").expect("space");
    let target = |name: &str| dir.path().join("job").join(name);
    let transfers = [
        stage_in(&from, target(&"n".repeat(256)), "long"),
        stage_in(&from, target("short"), "short"),
    ];
    for tools in [toolbox(None), toolbox(Some(cache_in(dir.path())))] {
        let outcomes = run(&transfers, &tools, &options());
        let error = outcomes[0].as_ref().expect_err("too long");
        assert_eq!(error.code(), ErrorCode::LfnTooLong);
        outcomes[1].as_ref().expect("works");
        assert_eq!(names_in(&dir.path().join("job")), [b"short"]);
    }
}

#[test]
fn an_empty_input_is_an_input() {
    let dir = tempfile::tempdir().expect("space");
    let from = dir.path().join("empty");
    fs::write(&from, "").expect("space");
    for tools in [toolbox(None), toolbox(Some(cache_in(dir.path())))] {
        for nr in 0..2 {
            let to = dir.path().join(format!("job/{nr}"));
            let outcomes = run(&[stage_in(&from, to.clone(), "empty")], &tools, &options());
            assert_eq!(outcomes[0].as_ref().expect("works").size, ByteCount::ZERO);
            assert_eq!(fs::read(&to).expect("there"), b"");
        }
    }
}

fn status_kib(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|it| it.starts_with(key))
        .expect("there");
    let value = line.split_whitespace().nth(1).expect("a value");
    value.parse().expect("a number")
}

#[test]
fn a_hundred_thousand_files_need_few_threads_and_little_memory() {
    const FILES: usize = 100_000;
    const MORE_KIB_MAX: u64 = 64 << 10;

    /// Makes each transfer when it is wanted, as a plan of so many files would.
    struct Many<'a> {
        template: Transfer,
        dir: &'a Path,
    }
    impl Steering for Many<'_> {
        fn begin(&self, file: usize) -> Next {
            let mut transfer = self.template.clone();
            transfer.path = self.dir.join(format!("{}/{file}", file % 100));
            Next::Try(Box::new(Try {
                tool: None,
                transfer,
            }))
        }

        fn next(&self, _: usize, _: &Tried<'_>) -> Next {
            Next::Done
        }
    }

    /// Counts threads now and then.
    #[derive(Default)]
    struct Threads(AtomicUsize);
    impl Observer for Threads {
        fn ended(&self, file: usize, _: &Tried<'_>) {
            if file.is_multiple_of(1000) {
                let n_threads = fs::read_dir("/proc/self/task").expect("Linux").count();
                self.0.fetch_max(n_threads, Ordering::Relaxed);
            }
        }
    }

    // In memory where that can be had: a busy disk would make minutes of it.
    let dir = TempDir::new_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let dir = dir.expect("space");
    let from = dir.path().join("source");
    fs::write(&from, "small").expect("space");
    let job = dir.path().join("job");
    let many = Many {
        template: stage_in(&from, job.join("x"), "small"),
        dir: &job,
    };
    let sizes = vec![many.template.size; FILES];
    let before = status_kib("VmRSS:");
    let n_before = fs::read_dir("/proc/self/task").expect("Linux").count();
    let threads = Threads::default();
    let outcomes = engine::run(&sizes, &toolbox(None), &options(), &many, &threads);
    assert!(outcomes.iter().all(|it| matches!(it, Some(Ok(_)))));
    let more_kib = status_kib("VmHWM:").saturating_sub(before);
    assert!(more_kib < MORE_KIB_MAX, "{more_kib} KiB more");
    assert!(threads.0.load(Ordering::Relaxed) <= n_before + 4);
    let n_files: usize = (0..100)
        .map(|nr| {
            fs::read_dir(job.join(nr.to_string()))
                .expect("made")
                .count()
        })
        .sum();
    assert_eq!(n_files, FILES);
}

#[test]
fn a_target_directory_that_vanishes_in_mid_transfer_is_an_error_of_its_file() {
    /// Removes a directory once something has moved.
    struct Remover<'a> {
        dir: &'a Path,
        moved: Mutex<u64>,
    }
    impl Observer for Remover<'_> {
        fn moved(&self, _: usize, moved: ByteCount, _: Duration) {
            let mut seen = self.moved.lock().expect("no panic");
            if *seen == 0 && moved.as_bytes() > 0 {
                *seen = moved.as_bytes();
                fs::remove_dir_all(self.dir).expect("own");
            }
        }
    }

    let dir = tempfile::tempdir().expect("space");
    let from = dir.path().join("source");
    let size = 64_u64 << 20;
    fs::write(&from, vec![7; usize::try_from(size).expect("small")]).expect("space");
    let job = dir.path().join("job");
    let options = Options {
        progress_interval: Duration::from_millis(1),
        ..options()
    };
    // The copy may be faster than who disturbs it: then once more.
    for _ in 0..100 {
        let transfers = [stage_in(&from, job.join("in/file"), "file")];
        let remover = Remover {
            dir: &job,
            moved: Mutex::new(0),
        };
        let steering = Once(&transfers);
        let sizes = [transfers[0].size];
        let outcomes = engine::run(&sizes, &toolbox(None), &options, &steering, &remover);
        let moved = *remover.moved.lock().expect("no panic");
        match outcomes.into_iter().next().flatten().expect("it was tried") {
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::StageInFailed, "{error:?}");
                assert!(!job.exists(), "nothing is made again");
                return;
            }
            Ok(_) => assert!(moved == 0 || moved == size || !job.exists()),
        }
    }
    panic!("no copy was met in its middle");
}

/// Does what the tests below want on a small disk.
#[test]
fn on_a_small_disk() {
    let Ok(disk) = env::var(DISK).map(PathBuf::from) else {
        return;
    };
    let storage = TempDir::new_in(env::temp_dir()).expect("space");
    let sources: Vec<PathBuf> = (0..12)
        .map(|nr| {
            let from = storage.path().join(format!("f{nr}"));
            fs::write(&from, vec![nr; 1 << 20]).expect("space");
            from
        })
        .collect();
    let to = |dir: &str| -> Vec<Transfer> {
        let target = |nr: usize| disk.join(dir).join(format!("f{nr}"));
        let one = |(nr, from): (usize, &PathBuf)| stage_in(from, target(nr), &format!("f{nr}"));
        sources.iter().enumerate().map(one).collect()
    };
    a_full_target_is_said_and_nothing_half_is_left(&disk, &to("job"));
    watched_space_is_not_filled(&disk, &to("watched"));
    let elsewhere = storage.path().join("job");
    let transfers: Vec<Transfer> = to("unused")
        .into_iter()
        .map(|it| Transfer {
            path: elsewhere.join(it.path.file_name().expect("a name")),
            ..it
        })
        .collect();
    a_cache_on_a_full_disk_fails_no_job(&disk, &transfers);
}

fn a_full_target_is_said_and_nothing_half_is_left(disk: &Path, transfers: &[Transfer]) {
    let outcomes = run(transfers, &toolbox(None), &options());
    let failed: Vec<_> = outcomes.iter().filter_map(|it| it.as_ref().err()).collect();
    assert!(
        !failed.is_empty() && failed.len() < outcomes.len(),
        "{failed:?}"
    );
    for error in &failed {
        assert_eq!(error.code(), ErrorCode::NoLocalSpace, "{error:?}");
    }
    let job = disk.join("job");
    assert_eq!(names_in(&job).len(), outcomes.len() - failed.len());
    for (transfer, outcome) in transfers.iter().zip(&outcomes) {
        assert_eq!(transfer.path.exists(), outcome.is_ok());
    }
    fs::remove_dir_all(job).expect("own");
}

fn watched_space_is_not_filled(disk: &Path, transfers: &[Transfer]) {
    let floor = Floor {
        free_min: ByteCount::from_mib(5),
        inodes_min: 0,
    };
    let watched = |transfers: &[Transfer]| {
        let options = Options {
            parallel: NonZeroUsize::MIN,
            space: Some(Arc::new(SpaceWatch::new(disk.to_owned(), floor))),
            ..options()
        };
        run(transfers, &toolbox(None), &options)
    };
    // Each look is its own: the first files come through, and once it is short, none does.
    let mut n_done = 0;
    for transfer in transfers {
        let outcome = watched(std::slice::from_ref(transfer)).remove(0);
        match outcome {
            Ok(_) => n_done += 1,
            Err(error) => {
                assert!(matches!(error.cause, Cause::NoSpace), "{error:?}");
                assert!(
                    error.place.contains(&disk.display().to_string()),
                    "{}",
                    error.place
                );
            }
        }
    }
    assert!((2..=4).contains(&n_done), "{n_done}");
    assert_eq!(names_in(&disk.join("watched")).len(), n_done);
    let left = Space::of(disk).expect("there").free;
    assert!(left >= ByteCount::from_mib(4), "{left}");
    fs::remove_dir_all(disk.join("watched")).expect("own");
}

fn a_cache_on_a_full_disk_fails_no_job(disk: &Path, transfers: &[Transfer]) {
    // It may hold more than there is: the disk's own limit is met in the middle of a fetch.
    let tools = toolbox(Some(cache_in(disk)));
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![0; 3 << 20]).expect("space");
    for _ in 0..2 {
        for outcome in run(transfers, &tools, &options()) {
            outcome.expect("works");
        }
        for transfer in transfers {
            assert_eq!(fs::metadata(&transfer.path).expect("there").len(), 1 << 20);
        }
        // Others fill the rest.
        while fs::write(disk.join("more"), vec![0; 64 << 10]).is_ok()
            && fs::rename(
                disk.join("more"),
                disk.join(format!("{}", names_in(disk).len())),
            )
            .is_ok()
        {}
    }
    let shelf = disk.join("cache/ailurus-1");
    let is_part = |name: &Vec<u8>| OsStr::from_bytes(name).to_string_lossy().ends_with(".part");
    assert!(!names_in(&shelf).iter().any(is_part));
}

#[test]
fn full_disks_are_said_and_survived() {
    let dir = tempfile::tempdir().expect("space");
    let mount = format!(
        "mount -t tmpfs -o size={DISK_MIB}m none '{}' || exit 125; exec \"$@\"",
        dir.path().display()
    );
    let outcome = Command::new("unshare")
        .args(["--mount", "/bin/sh", "-c", &mount, "sh"])
        .arg(env::current_exe().expect("known"))
        .args(["--exact", "on_a_small_disk", "--nocapture"])
        .env(DISK, dir.path())
        .output();
    let Ok(output) = outcome else {
        println!("skipped: there is no `unshare` here");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(125) || said.contains("unshare:") {
        println!("skipped: nobody may mount a small disk here");
        return;
    }
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}
