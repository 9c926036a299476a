//! The breaking proxy, before an echo and before XRootD.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use ailurus_testkit::{
    listener::Listener,
    storage::{
        BreakingProxy, XRootD,
        breaking::{Habits, Plan},
    },
};
use tempfile::tempdir;

use crate::client::{bytes, run, text};

/// Sends everything back.
fn echo() -> Listener {
    let serve = |stream: &TcpStream| drop(std::io::copy(&mut &*stream, &mut &*stream));
    Listener::start(None, serve).unwrap()
}

/// Sends bytes to a server through a proxy, and returns what comes back.
fn send(proxy: &BreakingProxy, sent: &[u8]) -> (Vec<u8>, std::io::Result<usize>) {
    let mut back = Vec::new();
    let mut stream = match TcpStream::connect(proxy.address()) {
        Ok(stream) => stream,
        Err(error) => return (back, Err(error)),
    };
    let mut writer = stream.try_clone().unwrap();
    let result = thread::scope(|scope| {
        scope.spawn(move || {
            drop(writer.write_all(sent));
            drop(writer.shutdown(std::net::Shutdown::Write));
        });
        stream.read_to_end(&mut back)
    });
    (back, result)
}

#[test]
fn the_same_seed_breaks_the_same_connections_at_the_same_bytes() {
    let server = echo();
    let sent = bytes(50_000);
    let go = |seed| {
        let mut habits = Habits::from_seed(seed);
        (habits.stall, habits.slow) = (0, 0);
        let proxy = BreakingProxy::start(server.address(), habits).unwrap();
        for _ in 0..40 {
            let (back, _) = send(&proxy, &sent);
            assert!(sent.starts_with(&back));
        }
        // The last connections may still be on their way to their ends.
        let counts = proxy.counts();
        drop(proxy);
        counts
    };
    let (one, again, other) = (go(1), go(1), go(2));
    let kinds = |counts: ailurus_testkit::storage::breaking::Counts| {
        (counts.cut, counts.reset, counts.refused, counts.delayed)
    };
    assert_eq!(kinds(one), kinds(again));
    assert_ne!(kinds(one), kinds(other));
    assert_eq!(one.connections, 40);
    assert!(one.cut > 0 && one.reset > 0 && one.broken() < 40, "{one:?}");
    let plans = |seed| (0..1000).map(move |nr| Habits::from_seed(seed).plan(nr));
    assert!(plans(7).eq(plans(7)));
    assert!(!plans(7).eq(plans(8)));
}

#[test]
fn exactly_the_planned_bytes_pass_before_a_break() {
    let server = echo();
    let plans = [
        Plan::Cut { after: 1500 },
        Plan::Reset { after: 1500 },
        Plan::Refuse,
        Plan::Pass,
    ];
    let proxy = BreakingProxy::start_planned(server.address(), move |nr| {
        plans[usize::try_from(nr).unwrap()]
    });
    let proxy = proxy.unwrap();
    // 1000 bytes go there, and 500 of them come back.
    let sent = bytes(1000);
    let (back, result) = send(&proxy, &sent);
    assert!(back.len() <= 1000 && result.is_ok(), "{result:?}");
    let (_, result) = send(&proxy, &sent);
    assert_eq!(
        result.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    let (back, result) = send(&proxy, &sent);
    assert!(back.is_empty() && result.is_err());
    let (back, result) = send(&proxy, &sent);
    assert!(back == sent && result.is_ok());
    let counts = proxy.counts();
    assert_eq!((counts.cut, counts.reset, counts.refused), (1, 1, 1));
    assert_eq!(counts.bytes, 1500 + 1500 + 2000);
}

#[test]
fn a_stall_lasts_until_it_is_released() {
    let server = echo();
    let proxy = BreakingProxy::start_planned(server.address(), |_| Plan::Stall {
        after: 1000,
        limit: Duration::from_secs(100),
    });
    let proxy = proxy.unwrap();
    let sent = bytes(10_000);
    thread::scope(|scope| {
        let client = scope.spawn(|| send(&proxy, &sent).0);
        while proxy.counts().stalled == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(proxy.counts().bytes, 1000);
        proxy.release();
        assert!(client.join().unwrap() == sent);
    });
}

#[test]
fn slow_and_late_connections_lose_nothing() {
    let server = echo();
    let proxy = BreakingProxy::start_planned(server.address(), |nr| match nr {
        0 => Plan::Slow {
            bytes_per_second: 2_000_000,
        },
        _ => Plan::Delay {
            pause: Duration::from_millis(20),
        },
    });
    let proxy = proxy.unwrap();
    let sent = bytes(300_000);
    for _ in 0..2 {
        assert!(send(&proxy, &sent).0 == sent);
    }
    let counts = proxy.counts();
    assert_eq!((counts.slowed, counts.delayed), (1, 1));
}

#[test]
fn xrdcp_is_broken_too_and_passes_once_the_proxy_is_healed() {
    let place = tempdir().unwrap();
    let Some(store) = XRootD::start(&place.path().join("xrootd")).unwrap() else {
        return;
    };
    fs::write(store.dir().join("a"), bytes(5_000_000)).unwrap();
    let proxy =
        BreakingProxy::start_planned(store.root_address(), |_| Plan::Cut { after: 100_000 });
    let proxy = proxy.unwrap();
    let copy = place.path().join("copy");
    let url = proxy.url(&store.url("a"));
    let words = ["timeout", "5", "xrdcp", "--silent", &url, text(&copy)];
    assert!(!run(&words, &[]).status.success());
    assert!(proxy.counts().cut > 0);
    drop(fs::remove_file(&copy));
    proxy.heal();
    let said = run(&["xrdcp", "--silent", &url, text(&copy)], &[]);
    assert!(said.status.success(), "{said:?}");
    assert!(fs::read(copy).unwrap() == bytes(5_000_000));
}
