//! A proxy that breaks connections at random: a thousand transfers, nothing lost, nothing wrong.

use std::{
    fs,
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use ailurus_model::{ByteCount, Checksum};
use ailurus_testkit::storage::{BreakingProxy, LyingStore, breaking::Habits};
use ailurus_transfer::{
    Cause, Direction, Transfer, TransferError, checksum::adler32, http::HttpOptions,
};

use super::{data, known, run, tool, transfer};

/// Transfers in each direction.
const N_FILES: usize = 500;

/// Most tries of one transfer; each goes on after many breaks by itself.
const TRIES_MAX: usize = 40;

/// Transfers at a time.
const PARALLEL: usize = 8;

/// Tries as a core does, until it is done. Returns how often it was tried.
fn patiently(mut once: impl FnMut() -> Result<(), TransferError>) -> usize {
    for nr in 1..=TRIES_MAX {
        match once() {
            Ok(()) => return nr,
            Err(error) => assert!(
                matches!(
                    error.cause,
                    Cause::Broken { .. } | Cause::Unreachable { .. }
                ),
                "only breaks are to be expected: {}",
                error.cause
            ),
        }
    }
    panic!("{TRIES_MAX} tries were not enough");
}

/// Sizes from nothing to 200 kB, so that breaks hit heads, bodies and ends.
fn size(nr: usize) -> usize {
    (nr * 7919) % 200_000 * (nr % 5) / 4
}

/// Works on all files, some at a time.
fn for_all(work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    let nr = next.fetch_add(1, Ordering::Relaxed);
                    if nr >= N_FILES {
                        return;
                    }
                    work(nr);
                }
            });
        }
    });
}

fn habits(seed: u64) -> Habits {
    Habits {
        // Every connection breaks; what only takes time is left to other tests.
        pass: 0,
        stall: 0,
        slow: 0,
        delay: 0,
        after: 1..300_000,
        ..Habits::from_seed(seed)
    }
}

#[test]
fn a_thousand_transfers_over_broken_connections_lose_nothing() {
    let store = LyingStore::start().expect("a port");
    let proxy = BreakingProxy::start(store.address(), habits(7)).expect("a port");
    let dir = tempfile::tempdir().expect("space");
    let tool = tool(HttpOptions {
        part: ByteCount::from_bytes(40_000),
        ranges: NonZeroU32::new(3).expect("not zero"),
        ..HttpOptions::default()
    });
    for_all(|nr| {
        let content = data(size(nr));
        let path = format!("/in/{nr}");
        store.put(&path, content.clone());
        let target = dir.path().join(format!("in/{nr}"));
        let fetch = transfer(Direction::StageIn, &proxy.url(&store.url(&path)), &target);
        patiently(|| run(&tool, &known(fetch.clone(), &content)).map(drop));
        assert_eq!(fs::read(&target).expect("there"), content, "{path}");
    });
    for_all(|nr| {
        let content = data(size(nr) + 1);
        let path = format!("/out/{nr}");
        let file = dir.path().join(format!("out-{nr}"));
        fs::write(&file, &content).expect("space");
        let send = Transfer {
            checksum: Some(Checksum::Adler32(adler32(&content))),
            ..transfer(Direction::StageOut, &proxy.url(&store.url(&path)), &file)
        };
        patiently(|| run(&tool, &send).map(drop));
        assert_eq!(store.stored(&path), Some(content), "{path}");
    });
    super::assert_clean(dir.path());
    let counts = proxy.counts();
    assert!(counts.broken() > 300, "the proxy was too kind: {counts:?}");
    assert_eq!(
        store
            .paths()
            .iter()
            .filter(|it| it.starts_with("/in/"))
            .count(),
        N_FILES
    );
    let whole = store
        .paths()
        .iter()
        .filter(|it| !it.contains(".part"))
        .count();
    assert_eq!(whole, 2 * N_FILES);
}
