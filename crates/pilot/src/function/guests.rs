//! Counts the connections that are open, and waits until they are closed.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The connections that are open.
#[derive(Debug, Default)]
pub(super) struct Guests {
    count: Mutex<usize>,
    left: Condvar,
}

/// One connection. It counts until it is dropped, also by a thread that panics.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Arc<Guests>,
    /// How many there were before it.
    pub(super) n_before: usize,
}

impl Guests {
    pub(super) fn enter(self: &Arc<Self>) -> Guest {
        let mut count = self.lock();
        let n_before = *count;
        *count += 1;
        drop(count);
        Guest {
            guests: self.clone(),
            n_before,
        }
    }

    /// Waits until there is no connection, but no longer than `patience`.
    pub(super) fn wait_until_gone(&self, patience: Duration) {
        let waited = self
            .left
            .wait_timeout_while(self.lock(), patience, |count| *count > 0);
        drop(waited);
    }

    /// A number cannot be left half-written.
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        *self.guests.lock() -= 1;
        self.guests.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_guest_whose_thread_panics_has_left_too() {
        let guests = Arc::new(Guests::default());
        let first = guests.enter();
        let second = guests.enter();
        assert_eq!((first.n_before, second.n_before), (0, 1));
        let panics = thread::spawn(move || {
            let _second = second;
            panic!("on purpose");
        });
        assert!(panics.join().is_err());
        let leaves = thread::spawn(move || drop(first));
        guests.wait_until_gone(Duration::from_secs(60));
        assert_eq!(guests.enter().n_before, 0);
        leaves.join().expect("it only leaves");
    }
}
