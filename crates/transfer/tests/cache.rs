//! The cache among real processes, which are killed at any moment.
//!
//! This program starts itself as the other pilots: [`other_pilot`] is no test of its own.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use ailurus_model::{ByteCount, Lfn, Scope};
use ailurus_transfer::{
    TransferError, TransferReport,
    cache::{Cache, CacheConfig, How, Key},
    checksum::{ChecksumKind, RunningChecksum},
};

/// Says that this process is another pilot, and in which directory.
const PILOT_DIR: &str = "CACHE_TEST_DIR";
/// What it fetches: numbers of files, separated by commas.
const PILOT_FILES: &str = "CACHE_TEST_FILES";
/// The limit of the cache in bytes.
const PILOT_LIMIT: &str = "CACHE_TEST_LIMIT";

/// Where all pilots write which files they have begun to fetch, in one directory with the cache.
const LOG: &str = "fetched.log";

/// Bytes that are written between two lines of progress.
const CHUNK: usize = 16 << 10;

fn content(nr: usize) -> Vec<u8> {
    let length = 3 * CHUNK + nr * 1000;
    (0..length)
        .map(|at| (at * 31 + nr * 7).to_le_bytes()[0])
        .collect()
}

fn report(content: &[u8]) -> TransferReport {
    let mut sum = RunningChecksum::new(ChecksumKind::Adler32);
    sum.update(content);
    TransferReport {
        size: ByteCount::from_bytes(u64::try_from(content.len()).expect("small")),
        checksum: sum.finish(),
        also: Vec::new(),
        duration: Duration::ZERO,
    }
}

fn key(nr: usize, content: &[u8]) -> Key {
    let report = report(content);
    let lfn = Lfn::new(format!("minbias.{nr}.root"));
    Key::new(&Scope::new("spd"), &lfn, report.checksum, report.size)
}

fn config(dir: &Path, limit: u64) -> CacheConfig {
    CacheConfig {
        free_min: ByteCount::ZERO,
        lock_wait: Duration::from_secs(300),
        ..CacheConfig::new(dir.join("cache"), ByteCount::from_bytes(limit))
    }
}

fn open(dir: &Path, limit: u64) -> Cache {
    Cache::open(config(dir, limit)).expect("a cache")
}

/// Fetches a file as a slow storage would, and tells each step.
fn fetch(
    dir: &Path,
    content: &[u8],
    nr: usize,
    path: &Path,
    tell: &mut dyn FnMut(&str),
) -> Result<TransferReport, TransferError> {
    let mut log = fs::File::options()
        .append(true)
        .create(true)
        .open(dir.join(LOG))
        .expect("space");
    log.write_all(format!("{nr}\n").as_bytes()).expect("space");
    let mut file = fs::File::create(path).expect("space");
    for chunk in content.chunks(CHUNK) {
        tell("fetches");
        file.write_all(chunk).expect("space");
    }
    Ok(report(content))
}

/// Gives a file to a job, and checks it.
fn obtain(
    cache: &Cache,
    dir: &Path,
    nr: usize,
    target: &Path,
    tell: &mut dyn FnMut(&str),
) -> Result<How, TransferError> {
    let content = content(nr);
    let stop = Arc::default();
    let obtained = cache.obtain(&key(nr, &content), target, &stop, |path| {
        fetch(dir, &content, nr, path, tell)
    })?;
    assert!(
        fs::read(target).expect("there") == content,
        "file {nr} is not itself"
    );
    Ok(obtained.how)
}

/// Another pilot: waits for a line, then gives files to jobs, telling each step in a line. After
/// each line it goes on only when it is told to.
#[test]
fn other_pilot() {
    let Ok(dir) = env::var(PILOT_DIR).map(PathBuf::from) else {
        return;
    };
    let files = env::var(PILOT_FILES).expect("set by the test");
    let limit = env::var(PILOT_LIMIT)
        .expect("set")
        .parse()
        .expect("a number");
    let mut lines = std::io::stdin().lines();
    let mut tell = |what: &str| {
        let mut out = std::io::stdout();
        let told = writeln!(out, "@{what}").and_then(|()| out.flush());
        // Whoever is not read any more is about to be killed.
        let _ = told;
        let _ = lines.next();
    };
    tell("ready");
    let cache = open(&dir, limit);
    let job = tempfile::tempdir_in(&dir).expect("space");
    for nr in files.split(',').map(|it| it.parse().expect("a number")) {
        let target = job.path().join(format!("{nr}"));
        let how = obtain(&cache, &dir, nr, &target, &mut tell).expect("works");
        tell(&format!("{how:?}"));
    }
    tell("done");
}

/// Another pilot as the test sees it. It is killed when dropped.
struct Pilot {
    child: Child,
    go: ChildStdin,
    steps: BufReader<ChildStdout>,
}

impl Pilot {
    fn start(dir: &Path, files: &[usize], limit: u64) -> Self {
        let files: Vec<String> = files.iter().map(ToString::to_string).collect();
        let mut child = Command::new(env::current_exe().expect("known"))
            .args(["--exact", "other_pilot", "--nocapture", "--test-threads=1"])
            .env(PILOT_DIR, dir)
            .env(PILOT_FILES, files.join(","))
            .env(PILOT_LIMIT, limit.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut pilot = Self {
            go: child.stdin.take().expect("piped"),
            steps: BufReader::new(child.stdout.take().expect("piped")),
            child,
        };
        assert_eq!(pilot.step().as_deref(), Some("ready"));
        pilot
    }

    /// Returns the next step that the pilot tells; none at its end.
    fn step(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.steps.read_line(&mut line).expect("text") > 0 {
            // The test harness writes before and between.
            if let Some((_, step)) = line.trim_end().split_once('@') {
                return Some(step.to_owned());
            }
            line.clear();
        }
        None
    }

    fn go(&mut self) {
        // It may have been killed.
        let _ = self.go.write_all(b"\n");
    }

    /// Lets it take steps to its end, or so many; says how it gave files, and whether it ended.
    fn walk(&mut self, steps_max: usize) -> (Vec<String>, bool) {
        let mut hows = Vec::new();
        for _ in 0..steps_max {
            self.go();
            match self.step().as_deref() {
                Some("done") => return (hows, true),
                Some("fetches") => {}
                Some(how) => hows.push(how.to_owned()),
                None => return (hows, false),
            }
        }
        (hows, false)
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn n_fetched(dir: &Path) -> BTreeMap<usize, usize> {
    let log = fs::read_to_string(dir.join(LOG)).unwrap_or_default();
    let mut counts = BTreeMap::new();
    for line in log.lines() {
        *counts.entry(line.parse().expect("a number")).or_default() += 1;
    }
    counts
}

/// Returns the names in the cache.
fn names(dir: &Path) -> Vec<String> {
    let shelf = dir.join("cache/ailurus-1");
    fs::read_dir(shelf)
        .expect("a cache")
        .map(|it| {
            it.expect("readable")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect()
}

/// Returns the bytes of all whole files in the cache, from their names.
fn kept_bytes(dir: &Path) -> u64 {
    names(dir)
        .iter()
        .filter(|name| !name.contains('.'))
        .map(|name| {
            name.rsplit_once('-')
                .expect("ours")
                .1
                .parse::<u64>()
                .expect("a number")
        })
        .sum()
}

fn assert_no_partial_files(dir: &Path) {
    let partial = |name: &String| {
        name.ends_with(".part") || (name.ends_with(".lock") && name.len() > "probe.lock".len())
    };
    let litter: Vec<_> = names(dir).into_iter().filter(partial).collect();
    assert!(litter.is_empty(), "{litter:?}");
}

fn limit_for(n_files: usize) -> u64 {
    (0..n_files)
        .map(|nr| u64::try_from(content(nr).len()).expect("small"))
        .sum()
}

#[test]
fn processes_that_want_the_same_files_at_once_fetch_each_once() {
    const PROCESSES: usize = 8;
    const FILES: usize = 12;
    let dir = tempfile::tempdir().expect("space");
    let limit = limit_for(FILES);
    let mut pilots: Vec<Pilot> = (0..PROCESSES)
        .map(|first| {
            // Half of them in one order, so that they meet, half beginning elsewhere.
            let begin = if first % 2 == 0 { 0 } else { first };
            let files: Vec<usize> = (0..FILES).map(|nr| (begin + nr) % FILES).collect();
            Pilot::start(dir.path(), &files, limit)
        })
        .collect();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let walks: Vec<_> = pilots
            .iter_mut()
            .map(|pilot| scope.spawn(|| pilot.walk(usize::MAX)))
            .collect();
        walks
            .into_iter()
            .map(|it| it.join().expect("no panic"))
            .collect()
    });
    for (hows, is_done) in &outcomes {
        assert!(*is_done && hows.len() == FILES, "{hows:?}");
        assert!(
            hows.iter().all(|how| how == "Hit" || how == "Fetched"),
            "{hows:?}"
        );
    }
    let counts = n_fetched(dir.path());
    assert_eq!(counts.len(), FILES);
    assert!(counts.values().all(|n| *n == 1), "{counts:?}");
    assert_eq!(kept_bytes(dir.path()), limit);
    assert_no_partial_files(dir.path());
}

#[test]
fn processes_that_are_killed_at_any_moment_leave_nothing_wrong() {
    const ROUNDS: u64 = 40;
    const PROCESSES: usize = 4;
    const FILES: usize = 6;
    let dir = tempfile::tempdir().expect("space");
    // Room for some of the files, so that entries are removed all the time.
    let limit = limit_for(FILES) * 2 / 3;
    for seed in 0..ROUNDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pilots: Vec<(Pilot, usize)> = (0..PROCESSES)
            .map(|nr| {
                let mut files: Vec<usize> = (0..FILES).collect();
                random.shuffle(&mut files);
                // The first may live, the others are killed after some steps.
                let steps_max = if nr == 0 {
                    usize::MAX
                } else {
                    random.usize(1..25)
                };
                (Pilot::start(dir.path(), &files, limit), steps_max)
            })
            .collect();
        let survived = std::thread::scope(|scope| {
            let walks: Vec<_> = pilots
                .iter_mut()
                .map(|(pilot, steps_max)| {
                    let pause = Duration::from_micros(random.u64(0..2000));
                    scope.spawn(move || {
                        let outcome = pilot.walk(*steps_max);
                        // Let it run on to somewhere between two steps.
                        if *steps_max != usize::MAX {
                            pilot.go();
                            std::thread::sleep(pause);
                        }
                        let _ = pilot.child.kill();
                        outcome
                    })
                })
                .collect();
            walks
                .into_iter()
                .map(|it| it.join().expect("no panic"))
                .next()
                .expect("one")
        });
        assert!(survived.1, "seed {seed}: {survived:?}");
        assert_eq!(survived.0.len(), FILES, "seed {seed}");
        drop(pilots);
        assert!(kept_bytes(dir.path()) <= limit, "seed {seed}");
    }
    let cache = open(dir.path(), limit);
    assert_no_partial_files(dir.path());
    for nr in 0..FILES {
        let how = obtain(&cache, dir.path(), nr, &dir.path().join("x"), &mut |_| {});
        assert!(matches!(how, Ok(How::Hit | How::Fetched)), "{how:?}");
    }
    assert_no_partial_files(dir.path());
}

#[test]
fn who_waits_takes_over_when_the_fetcher_is_killed() {
    let dir = tempfile::tempdir().expect("space");
    let limit = limit_for(10);
    let mut first = Pilot::start(dir.path(), &[3], limit);
    // It stays where it is, in the middle of the file.
    assert_eq!(first.walk(2), (Vec::new(), false));
    let mut others: Vec<Pilot> = (0..3)
        .map(|_| Pilot::start(dir.path(), &[3], limit))
        .collect();
    others.iter_mut().for_each(Pilot::go);
    assert_eq!(n_fetched(dir.path())[&3], 1);
    first.child.kill().expect("ours");
    let mut hows: Vec<String> = std::thread::scope(|scope| {
        let rest: Vec<_> = others
            .iter_mut()
            .map(|pilot| {
                scope.spawn(|| {
                    let step = pilot.step().expect("goes on");
                    let (mut hows, is_done) = pilot.walk(usize::MAX);
                    assert!(is_done);
                    hows.extend((step != "fetches").then_some(step));
                    hows
                })
            })
            .collect();
        rest.into_iter()
            .flat_map(|it| it.join().expect("no panic"))
            .collect()
    });
    hows.sort();
    assert_eq!(hows, ["Fetched", "Hit", "Hit"]);
    assert_eq!(n_fetched(dir.path())[&3], 2);
    assert_no_partial_files(dir.path());
}
