//! How long a thread that waits for a peer goes on waiting, and what wakes it.
//!
//! The HTTP library asks its connections to block, and knows nothing of a switch that gives a
//! transfer up. So a [`Wait`] is known to its thread while a request runs, and the connection
//! looks at it between short waits. Nothing is decided here: the caller moves the deadline.

use std::{
    cell::RefCell,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

thread_local! {
    /// What the requests of this thread look at while they wait.
    static CURRENT: RefCell<Option<Arc<Wait>>> = const { RefCell::new(None) };
}

/// The switch and the deadline of a request's waiting. Threads that share a transfer may share it.
#[derive(Debug)]
pub struct Wait {
    stop: Arc<AtomicBool>,
    /// Ended for this one alone.
    is_ended: AtomicBool,
    begin: Instant,
    /// Milliseconds after `begin`; waiting ends there.
    until_ms: AtomicU64,
    /// The connection of the last request, this end and the peer's.
    connection: Mutex<Option<(SocketAddr, SocketAddr)>>,
}

impl Wait {
    /// Makes one that ends when `stop` becomes true, or after `limit` from now on.
    #[must_use]
    pub fn new(stop: Arc<AtomicBool>, limit: Duration) -> Arc<Self> {
        let wait = Self {
            stop,
            is_ended: AtomicBool::new(false),
            begin: Instant::now(),
            until_ms: AtomicU64::new(0),
            connection: Mutex::new(None),
        };
        wait.allow(limit);
        Arc::new(wait)
    }

    /// Sets the deadline to `limit` from now on.
    pub fn allow(&self, limit: Duration) {
        let until = self.begin.elapsed().saturating_add(limit).as_millis();
        let until = u64::try_from(until).unwrap_or(u64::MAX);
        self.until_ms.store(until, Ordering::Relaxed);
    }

    /// Ends this waiting, and no other that has the same switch.
    pub fn end(&self) {
        self.is_ended.store(true, Ordering::Relaxed);
    }

    /// Says whether it is given up.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.is_ended.load(Ordering::Relaxed)
    }

    /// Returns what is left until the deadline.
    #[must_use]
    pub fn left(&self) -> Duration {
        let until = Duration::from_millis(self.until_ms.load(Ordering::Relaxed));
        until.saturating_sub(self.begin.elapsed())
    }

    /// Returns the connection over which the last request went, this end and the peer's: of the
    /// proxy if there is one.
    #[must_use]
    pub fn connection(&self) -> Option<(SocketAddr, SocketAddr)> {
        *self.lock_connection()
    }

    pub(crate) fn note_connection(&self, connection: Option<(SocketAddr, SocketAddr)>) {
        *self.lock_connection() = connection;
    }

    fn lock_connection(&self) -> MutexGuard<'_, Option<(SocketAddr, SocketAddr)>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the requests of this thread look at it, until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        let before = CURRENT.with(|current| current.replace(Some(Arc::clone(self))));
        Entered { before }
    }

    /// Returns the one of this thread, if it has one.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with(|current| current.borrow().clone())
    }
}

/// Puts back what was there before.
pub(crate) struct Entered {
    before: Option<Arc<Wait>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        CURRENT.with(|current| current.replace(before));
    }
}

/// A request was given up by its switch.
#[derive(Debug, thiserror::Error)]
#[error("given up")]
pub(crate) struct GivenUp;
