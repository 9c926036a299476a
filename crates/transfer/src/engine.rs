//! Moves many files at once, within bounds: [`run`].
//!
//! The engine knows threads, turns and pauses. What is tried for a file, whether it is tried again,
//! from where and after which pause, is asked of [`Steering`]; who wants to log, trace or measure
//! gives an [`Observer`]. Files that pause hold no thread, and nothing is made for a file before its
//! turn, so that a hundred thousand of them cost little.

mod order;
mod schedule;

use std::{
    fmt,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use ailurus_model::ByteCount;

use self::schedule::{Schedule, Turn, WorkNow};
use crate::{
    Cause, Direction, StopSwitch, Toolbox, Transfer, TransferError, TransferReport, Watch,
    space::SpaceWatch, stop::Sleeper, toolbox::host_of,
};

/// Most transfers at a time, whatever is asked for.
pub const PARALLEL_MAX: usize = 64;

/// Stack of a transfer's thread, in bytes. Only what is touched takes memory.
const STACK_BYTES: usize = 1 << 20;

/// How one try, and in the end a file, came out.
pub type Outcome = Result<TransferReport, TransferError>;

/// One try to move a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// The tool by its name; none takes the one that serves the URL's scheme.
    pub tool: Option<String>,
    /// What to move from where to where.
    pub transfer: Transfer,
}

/// What happens to a file next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It is tried, as soon as it is its turn.
    Try(Box<Try>),
    /// It is left alone so long; then [`Steering::begin`] is asked again.
    Pause(Duration),
    /// Nothing: the outcome of its last try stays.
    Done,
}

/// A try that has ended.
#[derive(Debug)]
pub struct Tried<'a> {
    /// What was tried.
    pub attempt: &'a Try,
    /// The storage's host, with its port; empty for files of this node.
    pub host: &'a str,
    /// How it came out.
    pub outcome: &'a Outcome,
    /// Bytes that moved, also if it failed.
    pub moved: ByteCount,
    /// How long it lasted.
    pub elapsed: Duration,
}

/// Decides about files, by their index in the list that [`run`] got. It is asked from several
/// threads, but for one file never twice at a time.
pub trait Steering: Sync {
    /// Says what to do with a file at its turn, and again after each pause.
    fn begin(&self, file: usize) -> Next;

    /// Says what to do with a file after a try.
    fn next(&self, file: usize, tried: &Tried<'_>) -> Next;
}

/// Looks on. Called from several threads.
pub trait Observer: Sync {
    /// A try begins.
    fn begun(&self, _file: usize, _attempt: &Try) {}

    /// A try goes on: bytes so far, in so much time. Called every [`Options::progress_interval`].
    fn moved(&self, _file: usize, _moved: ByteCount, _elapsed: Duration) {}

    /// A try has ended.
    fn ended(&self, _file: usize, _tried: &Tried<'_>) {}
}

/// Nobody looks on.
impl Observer for () {}

/// The bounds of one [`run`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Most transfers at a time, at most [`PARALLEL_MAX`].
    pub parallel: NonZeroUsize,
    /// Most transfers at a time with one host. Files of this node have no host.
    pub per_host: NonZeroUsize,
    /// How often the observer hears of running transfers.
    pub progress_interval: Duration,
    /// Ends everything: nothing more is begun, what runs is given up.
    pub stop: StopSwitch,
    /// Looks after the file system that files are written to, if any.
    pub space: Option<Arc<SpaceWatch>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parallel: NonZeroUsize::new(4).expect("not zero"),
            per_host: NonZeroUsize::new(4).expect("not zero"),
            progress_interval: Duration::from_secs(10),
            stop: StopSwitch::new(),
            space: None,
        }
    }
}

/// Moves files; returns when none is left to try, with the last outcome of each, in their order.
///
/// `sizes` has an element for each file: its size, if known, which decides about turns. Small files
/// do not wait behind large ones, and the largest begin early. An outcome is none for a file that
/// was never tried: the engine was stopped before its turn, or the steering wanted none.
pub fn run(
    sizes: &[Option<ByteCount>],
    tools: &Toolbox,
    options: &Options,
    steering: &dyn Steering,
    observer: &dyn Observer,
) -> Vec<Option<Outcome>> {
    let shared = Arc::new(Shared {
        schedule: Mutex::new(Schedule::new(sizes, options)),
        changed: Condvar::new(),
    });
    let sleeper: Arc<dyn Sleeper> = shared.clone();
    options.stop.wake_on_stop(Arc::downgrade(&sleeper));
    let engine = Engine {
        shared: &shared,
        tools,
        options,
        steering,
        observer,
    };
    engine.lead();
    let mut schedule = shared.schedule();
    schedule.take_outcomes()
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    schedule: Mutex<Schedule>,
    /// The leading thread has to look: something to do for a further thread, a pause, an end.
    changed: Condvar,
}

impl Shared {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sleeper for Shared {
    fn wake(&self) {
        // With the lock, so that who is about to wait hears it.
        let _schedule = self.schedule();
        self.changed.notify_all();
    }
}

#[derive(Clone, Copy)]
struct Engine<'a> {
    shared: &'a Shared,
    tools: &'a Toolbox,
    options: &'a Options,
    steering: &'a dyn Steering,
    observer: &'a dyn Observer,
}

impl Engine<'_> {
    /// Starts threads while there is work for them, and waits for pauses and ends.
    fn lead(self) {
        let mut progress_due = Instant::now() + self.options.progress_interval;
        thread::scope(|scope| {
            let mut schedule = self.shared.schedule();
            loop {
                let now = Instant::now();
                schedule.end_pauses(now);
                if schedule.is_over(self.options.stop.is_stopped()) {
                    return;
                }
                if now >= progress_due {
                    progress_due = now + self.options.progress_interval;
                    let running = schedule.running();
                    drop(schedule);
                    for (file, watch) in running {
                        self.observer.moved(file, watch.moved(), watch.elapsed());
                    }
                    schedule = self.shared.schedule();
                    continue;
                }
                if schedule.wants_thread() {
                    let worker = thread::Builder::new()
                        .name("transfer".to_owned())
                        .stack_size(STACK_BYTES);
                    match worker.spawn_scoped(scope, move || self.work()) {
                        Ok(_) => schedule.thread_started(),
                        Err(error) => {
                            tracing::warn!(%error, "fewer transfers at a time than asked for");
                            schedule.allow_no_more_threads();
                            drop(schedule);
                            self.work_alone();
                            schedule = self.shared.schedule();
                        }
                    }
                    continue;
                }
                let due = schedule.next_pause_end().unwrap_or(progress_due);
                let timeout = due.min(progress_due).saturating_duration_since(now);
                let waited = self.shared.changed.wait_timeout(schedule, timeout);
                (schedule, _) = waited.unwrap_or_else(PoisonError::into_inner);
            }
        });
    }

    /// Moves files where not one thread could be had.
    fn work_alone(self) {
        let mut schedule = self.shared.schedule();
        if schedule.n_threads() == 0 {
            schedule.thread_started();
            drop(schedule);
            self.work();
        }
    }

    /// Moves files as long as there is one to begin.
    fn work(self) {
        let _alarm = Alarm(self.shared);
        while let Some(work) = self.next_work() {
            match work {
                WorkNow::Ask(file) => {
                    let next = self.steering.begin(file);
                    self.note(self.shared.schedule(), file, next);
                }
                WorkNow::Try(turn) => self.try_once(turn),
            }
        }
    }

    fn next_work(self) -> Option<WorkNow> {
        let is_stopped = self.options.stop.is_stopped();
        let mut schedule = self.shared.schedule();
        schedule.end_pauses(Instant::now());
        let work = schedule.next_work(is_stopped);
        if work.is_none() {
            schedule.thread_ended();
            self.shared.changed.notify_all();
        } else if schedule.wants_thread() {
            self.shared.changed.notify_all();
        }
        work
    }

    fn try_once(self, turn: Turn) {
        let Turn {
            file,
            attempt,
            host,
        } = turn;
        let transfer = &attempt.transfer;
        let watch = Watch::new(self.options.stop.flag().clone(), transfer.patience);
        let watch = Arc::new(watch.with_space(self.options.space.clone()));
        self.shared.schedule().begun(file, watch.clone());
        self.observer.begun(file, &attempt);
        let outcome = self.transfer(&attempt, &watch);
        let tried = Tried {
            attempt: &attempt,
            host: &host,
            outcome: &outcome,
            moved: watch.moved(),
            elapsed: watch.elapsed(),
        };
        self.observer.ended(file, &tried);
        let next = if self.options.stop.is_stopped() {
            Next::Done
        } else {
            self.steering.next(file, &tried)
        };
        let mut schedule = self.shared.schedule();
        schedule.ended(file, &host, outcome);
        self.note(schedule, file, next);
    }

    fn note(self, mut schedule: MutexGuard<'_, Schedule>, file: usize, next: Next) {
        if matches!(next, Next::Pause(_)) {
            // It may end before what the leading thread waits for.
            self.shared.changed.notify_all();
        }
        schedule.asked(file, next);
    }

    /// Lets the tool move the file. Its panic is an error of this file.
    fn transfer(self, attempt: &Try, watch: &Watch) -> Outcome {
        let transfer = &attempt.transfer;
        let direction = transfer.direction;
        let tool = match &attempt.tool {
            Some(name) => self.tools.named(direction, name)?,
            None => self.tools.for_url(direction, &transfer.url)?,
        };
        let moved = catch_unwind(AssertUnwindSafe(|| tool.transfer(transfer, watch)));
        moved.unwrap_or_else(|panic| {
            let said = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            let tool = tool.name().to_owned();
            Err(panicked(direction, transfer, tool, said))
        })
    }
}

fn panicked(
    direction: Direction,
    transfer: &Transfer,
    tool: String,
    said: String,
) -> TransferError {
    TransferError::of_path(direction, &transfer.path, Cause::Panicked { tool, said })
}

/// Ends the engine when a thread panics outside of a tool: the leading thread must not wait for it.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.schedule().abandon();
            self.0.changed.notify_all();
        }
    }
}

impl fmt::Debug for Engine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
