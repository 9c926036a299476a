//! A bound on what all transfers use together: [`Budget`].
//!
//! One budget holds the bytes of all buffers; a tool takes what it needs before it allocates. The
//! same type bounds other things that are counted, such as connections of tools that fetch parts
//! side by side.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{Direction, TransferError, Watch};

/// Time after which a waiting transfer looks at its switch and its patience again.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// An amount that transfers share.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    free: Mutex<u64>,
    given_back: Condvar,
}

impl Budget {
    /// Buffers of all transfers together, in bytes, unless the queue says otherwise.
    pub const BUFFER_BYTES: u64 = 32 << 20;

    /// Makes a budget of so much.
    #[must_use]
    pub fn new(total: u64) -> Arc<Self> {
        Arc::new(Self {
            total,
            free: Mutex::new(total),
            given_back: Condvar::new(),
        })
    }

    /// Takes a part, waiting for others to give theirs back. More than the whole budget is the
    /// whole budget.
    ///
    /// Who holds a part and waits for another can wait for ever: take all at once, and further
    /// ones by [`Budget::try_take`].
    ///
    /// # Errors
    ///
    /// As [`Watch::check`], if the transfer is given up while it waits. `place` is for the error.
    pub fn take(
        self: &Arc<Self>,
        amount: u64,
        watch: &Watch,
        (direction, place): (Direction, &str),
    ) -> Result<Part, TransferError> {
        let amount = amount.min(self.total);
        let mut free = self.free();
        while *free < amount {
            let waited = self.given_back.wait_timeout(free, LOOK_PERIOD);
            (free, _) = waited.unwrap_or_else(PoisonError::into_inner);
            watch.check(direction, place)?;
        }
        *free -= amount;
        Ok(self.part(amount))
    }

    /// Takes a part if it is free.
    #[must_use]
    pub fn try_take(self: &Arc<Self>, amount: u64) -> Option<Part> {
        let mut free = self.free();
        *free = free.checked_sub(amount)?;
        Some(self.part(amount))
    }

    /// Returns what is free.
    #[must_use]
    pub fn left(&self) -> u64 {
        *self.free()
    }

    fn part(self: &Arc<Self>, amount: u64) -> Part {
        Part {
            budget: self.clone(),
            amount,
        }
    }

    fn free(&self) -> MutexGuard<'_, u64> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub struct Part {
    budget: Arc<Budget>,
    amount: u64,
}

impl Part {
    /// Returns how much it is.
    #[must_use]
    pub const fn amount(&self) -> u64 {
        self.amount
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        *self.budget.free() += self.amount;
        self.budget.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, thread};

    use super::*;
    use crate::{Cause, Patience};

    const WHO: (Direction, &str) = (Direction::StageIn, "file");

    fn watch(stopped: bool) -> Watch {
        Watch::new(Arc::new(AtomicBool::new(stopped)), Patience::default())
    }

    #[test]
    fn parts_are_given_back_to_who_waits() {
        let budget = Budget::new(10);
        let first = budget.take(7, &watch(false), WHO).expect("free");
        assert!(budget.try_take(4).is_none());
        let extra = budget.try_take(3).expect("free");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.take(8, &watch(false), WHO).expect("in time"));
            drop((first, extra));
            assert_eq!(waiting.join().expect("no panic").amount(), 8);
        });
        assert_eq!(budget.left(), 10);
    }

    #[test]
    fn more_than_there_is_means_all_of_it() {
        let budget = Budget::new(10);
        let all = budget.take(1 << 40, &watch(false), WHO).expect("free");
        assert_eq!((all.amount(), budget.left()), (10, 0));
    }

    #[test]
    fn who_is_given_up_waits_no_longer() {
        let budget = Budget::new(1);
        let _all = budget.try_take(1);
        let error = budget.take(1, &watch(true), WHO).expect_err("stopped");
        assert!(matches!(error.cause, Cause::Stopped));
    }
}
