//! Runs seeds, one after the other or side by side, and sums up what happened.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    faults::FaultCounts,
    trace::Keep,
    violation::Violation,
    world::{Step, World},
};

/// One run of one seed.
#[derive(Debug)]
pub struct Run {
    /// What it came to, or the first invariant that did not hold.
    pub outcome: Result<Summary, Box<Violation>>,
    /// A number that two runs share only if they did the same.
    pub fingerprint: u64,
    /// The lines of the trace that were kept.
    pub trace: Vec<String>,
}

/// What one or more runs came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// How many seeds.
    pub seeds: u64,
    /// Virtual time of all of them together.
    pub virtual_time: Duration,
    /// Events that happened.
    pub events: u64,
    /// How often each fault struck.
    pub faults: FaultCounts,
    /// Jobs that finished.
    pub finished: u64,
    /// Jobs that failed, were cancelled, or closed for want of input.
    pub unfinished: u64,
}

impl Summary {
    fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.virtual_time += other.virtual_time;
        self.events += other.events;
        self.finished += other.finished;
        self.unfinished += other.unfinished;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.virtual_time.as_secs() / 3600;
        let all: u64 = self.faults.values().sum();
        write!(
            f,
            "{} seeds, {hours} virtual hours, {} events, ",
            self.seeds, self.events
        )?;
        write!(
            f,
            "{} jobs finished, {} not, {all} faults",
            self.finished, self.unfinished
        )?;
        let mut mark = ": ";
        for (fault, count) in &self.faults {
            write!(f, "{mark}{count} {fault}")?;
            mark = ", ";
        }
        Ok(())
    }
}

/// Runs one seed to its end.
#[must_use]
pub fn run_seed(seed: u64, keep: Keep) -> Run {
    let mut world = World::new(seed, keep);
    let outcome = loop {
        match world.step() {
            Ok(Step::GoesOn) => {}
            Ok(Step::Over) => break Ok(world.summary()),
            Err(violation) => break Err(Box::new(violation)),
        }
    };
    Run {
        outcome,
        fingerprint: world.trace.fingerprint(),
        trace: world.trace.into_lines(),
    }
}

/// Runs seeds on all cores, and stops soon after the first violation.
///
/// # Errors
///
/// The violation of the first of the seeds that were run and have one.
pub fn run_seeds(seeds: &[u64]) -> Result<Summary, Box<Violation>> {
    let next = AtomicUsize::new(0);
    let is_broken = AtomicBool::new(false);
    let results = Mutex::new((Summary::default(), Vec::new()));
    let work = || {
        while !is_broken.load(Ordering::Relaxed) {
            let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let run = run_seed(*seed, Keep::Recent);
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            match run.outcome {
                Ok(summary) => results.0.add(&summary),
                Err(violation) => {
                    is_broken.store(true, Ordering::Relaxed);
                    results.1.push(violation);
                }
            }
        }
    };
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(work);
        }
    });
    let (summary, violations) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let first = violations
        .into_iter()
        .min_by_key(|violation| violation.seed);
    first.map_or(Ok(summary), Err)
}
