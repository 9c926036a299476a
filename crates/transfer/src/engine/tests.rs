//! The engine with a tool that fails, hangs until told and panics.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use ailurus_model::Checksum;

use super::*;
use crate::{Patience, RemoteFile, Tool, checksum::ChecksumKind};

/// Longest wait for anything, a safety net.
const LIMIT: Duration = Duration::from_secs(60);

/// Does what the URL's last part says.
#[derive(Debug, Default)]
struct Fake {
    n_now: AtomicUsize,
    n_most: AtomicUsize,
    by_host: Mutex<BTreeMap<String, (usize, usize)>>,
    order: Mutex<Vec<String>>,
    threads: Mutex<Vec<thread::ThreadId>>,
    /// `hang` and `gate` go on once it is set.
    open: AtomicBool,
}

impl Tool for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn transfer(&self, transfer: &Transfer, watch: &Watch) -> Outcome {
        let now = self.n_now.fetch_add(1, Ordering::SeqCst) + 1;
        self.n_most.fetch_max(now, Ordering::SeqCst);
        let host = host_of(&transfer.url).to_owned();
        self.count(&host, |now| now + 1);
        let (_, name) = transfer.url.rsplit_once('/').expect("a slash");
        self.order.lock().expect("whole").push(name.to_owned());
        let mut threads = self.threads.lock().expect("whole");
        if !threads.contains(&thread::current().id()) {
            threads.push(thread::current().id());
        }
        drop(threads);
        let outcome = self.act(name, transfer, watch);
        self.count(&host, |now| now - 1);
        self.n_now.fetch_sub(1, Ordering::SeqCst);
        outcome
    }

    fn look(&self, _: &str, _: &Watch) -> Result<RemoteFile, TransferError> {
        Ok(RemoteFile::default())
    }

    fn remove(&self, _: &str, _: &Watch) -> Result<(), TransferError> {
        Ok(())
    }
}

impl Fake {
    fn count(&self, host: &str, change: fn(usize) -> usize) {
        let mut by_host = self.by_host.lock().expect("whole");
        let (now, most) = by_host.entry(host.to_owned()).or_default();
        *now = change(*now);
        *most = (*most).max(*now);
    }

    fn act(&self, name: &str, transfer: &Transfer, watch: &Watch) -> Outcome {
        let fail = |cause| Err(TransferError::new(transfer.direction, &transfer.url, cause));
        match name {
            "panic" => panic!("a bug"),
            "fail" => return fail(Cause::Missing),
            "hang" => {
                wait_until(|| watch.is_stopped() || self.open.load(Ordering::SeqCst));
            }
            "brief" => thread::sleep(Duration::from_millis(1)),
            _ => {}
        }
        watch.check(transfer.direction, &transfer.url)?;
        watch.add(7);
        Ok(TransferReport {
            size: ByteCount::from_bytes(7),
            checksum: Checksum::Adler32(1),
            also: Vec::new(),
            duration: watch.elapsed(),
        })
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LIMIT, "waited too long");
        thread::sleep(Duration::from_millis(1));
    }
}

fn attempt(url: &str) -> Next {
    Next::Try(Box::new(Try {
        tool: None,
        transfer: Transfer {
            direction: Direction::StageIn,
            url: url.to_owned(),
            path: PathBuf::from("/nowhere"),
            size: None,
            checksum: None,
            kind: ChecksumKind::Adler32,
            also: Vec::new(),
            durability: crate::Durability::Relaxed,
            patience: Patience::default(),
            identity: crate::FileIdentity::default(),
        },
    }))
}

/// Tries the places of each file in turn, with a pause after each of the first round.
struct Places {
    urls: Vec<Vec<String>>,
    tries: Vec<AtomicUsize>,
    pause: Option<Duration>,
}

impl Places {
    fn new(urls: Vec<Vec<String>>, pause: Option<Duration>) -> Self {
        Self {
            tries: urls.iter().map(|_| AtomicUsize::new(0)).collect(),
            urls,
            pause,
        }
    }

    fn one_each(names: &[&str]) -> Self {
        let urls = names.iter().map(|name| vec![format!("fake://host/{name}")]);
        Self::new(urls.collect(), None)
    }

    fn sizes(&self) -> Vec<Option<ByteCount>> {
        vec![None; self.urls.len()]
    }
}

impl Steering for Places {
    fn begin(&self, file: usize) -> Next {
        let tries = self.tries[file].load(Ordering::SeqCst);
        self.urls[file]
            .get(tries)
            .map_or(Next::Done, |url| attempt(url))
    }

    fn next(&self, file: usize, tried: &Tried<'_>) -> Next {
        let tries = self.tries[file].fetch_add(1, Ordering::SeqCst) + 1;
        match tried.outcome {
            Ok(_) => Next::Done,
            Err(_) if tries >= self.urls[file].len() => Next::Done,
            Err(_) => match self.pause {
                Some(pause) => Next::Pause(pause),
                None => attempt(&self.urls[file][tries]),
            },
        }
    }
}

fn toolbox() -> (Arc<Fake>, Toolbox) {
    let fake = Arc::new(Fake::default());
    let mut tools = Toolbox::new();
    tools.add(fake.clone(), &["fake-too"], &["fake"]);
    (fake, tools)
}

fn options(parallel: usize, per_host: usize) -> Options {
    Options {
        parallel: NonZeroUsize::new(parallel).expect("not zero"),
        per_host: NonZeroUsize::new(per_host).expect("not zero"),
        ..Options::default()
    }
}

#[test]
fn each_file_has_its_own_outcome_in_its_place() {
    let (_, tools) = toolbox();
    let places = Places::one_each(&["good", "fail", "panic", "good"]);
    let outcomes = run(&places.sizes(), &tools, &options(2, 2), &places, &());
    assert!(matches!(outcomes[0], Some(Ok(_))));
    assert!(matches!(outcomes[3], Some(Ok(_))));
    let cause = |index: usize| match &outcomes[index] {
        Some(Err(error)) => error.cause.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(cause(1), "it does not exist");
    assert_eq!(cause(2), "the copy tool `fake` broke down: a bug");
}

#[test]
fn a_scheme_without_tool_is_an_error_of_its_file_only() {
    let (_, tools) = toolbox();
    let urls = ["other://host/x", "fake://host/good"].map(|url| vec![url.to_owned()]);
    let places = Places::new(urls.into(), None);
    let outcomes = run(&places.sizes(), &tools, &options(1, 1), &places, &());
    let Some(Err(error)) = &outcomes[0] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(
        error.cause.to_string(),
        "no copy tool for `other`; there are: fake"
    );
    assert!(matches!(outcomes[1], Some(Ok(_))));
}

#[test]
fn never_more_run_at_once_than_allowed_in_all_and_with_one_host() {
    let (fake, tools) = toolbox();
    let urls = (0..200).map(|nr| {
        vec![format!(
            "fake://{}/brief",
            if nr % 4 == 0 { "b" } else { "a" }
        )]
    });
    let places = Places::new(urls.collect(), None);
    let outcomes = run(&places.sizes(), &tools, &options(5, 2), &places, &());
    assert!(outcomes.iter().all(|it| matches!(it, Some(Ok(_)))));
    assert!(
        fake.n_most.load(Ordering::SeqCst) <= 4,
        "two with each host"
    );
    for (now, most) in fake.by_host.lock().expect("whole").values() {
        assert_eq!(*now, 0);
        assert!(*most <= 2, "{most}");
    }
}

#[test]
fn the_next_place_is_tried_after_a_failure() {
    let (fake, tools) = toolbox();
    let urls = vec![
        ["fail", "panic", "good"]
            .map(|name| format!("fake://h/{name}"))
            .to_vec(),
    ];
    for pause in [None, Some(Duration::from_millis(1))] {
        fake.order.lock().expect("whole").clear();
        let places = Places::new(urls.clone(), pause);
        let outcomes = run(&places.sizes(), &tools, &options(3, 3), &places, &());
        assert!(matches!(outcomes[0], Some(Ok(_))));
        assert_eq!(
            *fake.order.lock().expect("whole"),
            ["fail", "panic", "good"]
        );
    }
}

#[test]
fn files_that_pause_hold_no_thread() {
    let (fake, tools) = toolbox();
    // All pause, the last one longest, and one thread does all the rest meanwhile.
    let urls = (0..500).map(|_| vec!["fake://h/fail".to_owned(), "fake://h/good".to_owned()]);
    let places = Places::new(urls.collect(), Some(Duration::from_millis(50)));
    let outcomes = run(&places.sizes(), &tools, &options(2, 2), &places, &());
    assert!(outcomes.iter().all(|it| matches!(it, Some(Ok(_)))));
    let order = fake.order.lock().expect("whole");
    assert_eq!(order.len(), 1000);
}

#[test]
fn a_stop_ends_what_hangs_and_begins_nothing_more() {
    let (fake, tools) = toolbox();
    let urls = vec![
        vec!["fake://h/hang".to_owned()],
        vec!["fake://h/good".to_owned()],
    ];
    let places = Places::new(urls, None);
    let mut options = options(1, 1);
    options.progress_interval = Duration::from_secs(3600);
    let begin = Instant::now();
    let outcomes = thread::scope(|scope| {
        let all = scope.spawn(|| run(&places.sizes(), &tools, &options, &places, &()));
        wait_until(|| !fake.order.lock().expect("whole").is_empty());
        options.stop.stop();
        all.join().expect("no panic")
    });
    assert!(begin.elapsed() < LIMIT);
    let Some(Err(error)) = &outcomes[0] else {
        panic!("{outcomes:?}")
    };
    assert!(matches!(error.cause, Cause::Stopped));
    assert!(outcomes[1].is_none(), "never tried");
}

#[test]
fn a_stop_wakes_an_engine_in_which_all_files_pause() {
    let (fake, tools) = toolbox();
    let urls = vec![vec!["fake://h/fail".to_owned(), "fake://h/good".to_owned()]];
    let places = Places::new(urls, Some(Duration::MAX));
    let options = Options {
        progress_interval: Duration::from_secs(3600),
        ..Options::default()
    };
    let outcomes = thread::scope(|scope| {
        let all = scope.spawn(|| run(&places.sizes(), &tools, &options, &places, &()));
        wait_until(|| places.tries[0].load(Ordering::SeqCst) == 1);
        options.stop.stop();
        all.join().expect("no panic")
    });
    assert_eq!(*fake.order.lock().expect("whole"), ["fail"]);
    assert!(matches!(&outcomes[0], Some(Err(error)) if matches!(error.cause, Cause::Missing)));
}

#[test]
fn a_small_file_does_not_wait_behind_large_ones() {
    let (fake, tools) = toolbox();
    let large = Some(ByteCount::from_bytes(1 << 40));
    let mut places = Places::one_each(&["hang"; 9]);
    places.urls[8] = vec!["fake://host/good".to_owned()];
    let mut sizes = vec![large; 9];
    sizes[8] = Some(ByteCount::from_bytes(1));
    thread::scope(|scope| {
        let all = scope.spawn(|| run(&sizes, &tools, &options(4, 4), &places, &()));
        wait_until(|| {
            fake.order
                .lock()
                .expect("whole")
                .iter()
                .any(|it| it == "good")
        });
        fake.open.store(true, Ordering::SeqCst);
        assert!(all.join().expect("no panic").iter().all(Option::is_some));
    });
}

#[test]
fn a_hundred_thousand_files_need_four_threads() {
    let (fake, tools) = toolbox();
    let places = Places::one_each(&vec!["good"; 100_000]);
    let outcomes = run(&places.sizes(), &tools, &options(4, 4), &places, &());
    assert_eq!(outcomes.len(), 100_000);
    assert!(outcomes.iter().all(|it| matches!(it, Some(Ok(_)))));
    assert!(fake.n_most.load(Ordering::SeqCst) <= 4);
}

#[test]
fn who_looks_on_sees_begins_progress_and_ends() {
    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);
    impl Observer for Seen {
        fn begun(&self, file: usize, attempt: &Try) {
            self.note(format!("begun {file} {}", attempt.transfer.url));
        }
        fn moved(&self, file: usize, _: ByteCount, _: Duration) {
            self.note(format!("moved {file}"));
        }
        fn ended(&self, file: usize, tried: &Tried<'_>) {
            let moved = tried.moved.as_bytes();
            self.note(format!("ended {file} {} {moved}", tried.host));
        }
    }
    impl Seen {
        fn note(&self, what: String) {
            self.0.lock().expect("whole").push(what);
        }
        fn has(&self, what: &str) -> bool {
            self.0.lock().expect("whole").iter().any(|it| it == what)
        }
    }
    let (fake, tools) = toolbox();
    let places = Places::one_each(&["hang"]);
    let seen = Seen::default();
    let options = Options {
        progress_interval: Duration::from_millis(1),
        ..Options::default()
    };
    thread::scope(|scope| {
        scope.spawn(|| run(&places.sizes(), &tools, &options, &places, &seen));
        wait_until(|| seen.has("moved 0"));
        fake.open.store(true, Ordering::SeqCst);
    });
    assert!(seen.has("begun 0 fake://host/hang"));
    assert!(seen.has("ended 0 host 7"));
}

#[test]
fn a_steering_that_panics_does_not_hang_the_engine() {
    struct Bad;
    impl Steering for Bad {
        fn begin(&self, _: usize) -> Next {
            panic!("a bug in the steering")
        }
        fn next(&self, _: usize, _: &Tried<'_>) -> Next {
            Next::Done
        }
    }
    let (_, tools) = toolbox();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        run(&[None, None], &tools, &options(2, 2), &Bad, &())
    }));
    assert!(ended.is_err());
}

#[test]
fn no_files_need_no_work() {
    let (fake, tools) = toolbox();
    assert!(run(&[], &tools, &options(4, 4), &Places::one_each(&[]), &()).is_empty());
    assert!(fake.threads.lock().expect("whole").is_empty());
}
