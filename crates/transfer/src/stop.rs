//! The switch that ends transfers: [`StopSwitch`].

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

/// Ends everything that holds it, and wakes what waits. Its clones are the same switch.
#[derive(Debug, Clone, Default)]
pub struct StopSwitch(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    flag: Arc<AtomicBool>,
    sleepers: Mutex<Vec<Weak<dyn Sleeper>>>,
}

/// Something that waits and has to look at the switch once it is thrown.
pub(crate) trait Sleeper: Send + Sync + std::fmt::Debug {
    /// Wakes it.
    fn wake(&self);
}

impl StopSwitch {
    /// Makes a switch that is not thrown.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Throws it: nothing more is begun, and what runs is given up soon.
    pub fn stop(&self) {
        self.0.flag.store(true, Ordering::SeqCst);
        let sleepers = self.sleepers().clone();
        for sleeper in sleepers.iter().filter_map(Weak::upgrade) {
            sleeper.wake();
        }
    }

    /// Says whether it is thrown.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.flag.load(Ordering::SeqCst)
    }

    /// Returns what a [`Watch`](crate::Watch) looks at. Who sets it directly ends what runs, but
    /// wakes nothing.
    #[must_use]
    pub fn flag(&self) -> &Arc<AtomicBool> {
        &self.0.flag
    }

    /// Has a sleeper woken, as long as it lives.
    pub(crate) fn wake_on_stop(&self, sleeper: Weak<dyn Sleeper>) {
        let mut sleepers = self.sleepers();
        sleepers.retain(|it| it.strong_count() > 0);
        sleepers.push(sleeper);
    }

    fn sleepers(&self) -> std::sync::MutexGuard<'_, Vec<Weak<dyn Sleeper>>> {
        self.0
            .sleepers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flag that something else owns.
impl From<Arc<AtomicBool>> for StopSwitch {
    fn from(flag: Arc<AtomicBool>) -> Self {
        Self(Arc::new(Inner {
            flag,
            sleepers: Mutex::default(),
        }))
    }
}
