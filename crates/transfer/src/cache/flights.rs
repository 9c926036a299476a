//! Lets one thread of this process at a time go for an entry, so that the others wait without a
//! lock of the kernel, and a thread, for each.

use std::{
    collections::BTreeSet,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{
    key::Stem,
    lock::{NoLock, Wait},
};

/// The entries that threads of this process go for.
#[derive(Debug, Default)]
pub(super) struct Flights {
    under_way: Mutex<BTreeSet<Stem>>,
    ended: Condvar,
}

/// The right to go for an entry. It is given back when dropped.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    stem: Stem,
}

impl Flights {
    /// Waits until no other thread goes for an entry.
    pub(super) fn enter(&self, stem: Stem, wait: &Wait<'_>) -> Result<Flight<'_>, NoLock> {
        let mut under_way = self.lock();
        while !under_way.insert(stem) {
            under_way = self
                .ended
                .wait_timeout(under_way, wait.tick()?)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Ok(Flight {
            flights: self,
            stem,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Stem>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.stem);
        self.flights.ended.notify_all();
    }
}
