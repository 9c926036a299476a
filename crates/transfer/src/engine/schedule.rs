//! Which file is where: not begun, waiting for its turn, running, pausing, settled.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use ailurus_model::ByteCount;

use super::{Next, Options, Outcome, PARALLEL_MAX, Try, host_of, order};
use crate::Watch;

/// Files that may wait for a free host before further ones are looked at.
const WAITING_MAX: usize = 256;

/// Longest pause, whatever is asked for.
const PAUSE_MAX: Duration = Duration::from_secs(86_400);

/// The state that all threads of one run share.
#[derive(Debug)]
pub(super) struct Schedule {
    order: order::Order,
    /// Files that may be asked about again after their pause.
    rested: VecDeque<usize>,
    /// Tries whose turn it is once their host has room.
    waiting: VecDeque<Turn>,
    pausing: BinaryHeap<Reverse<(Instant, usize)>>,
    running: BTreeMap<usize, Option<Arc<Watch>>>,
    running_by_host: BTreeMap<String, usize>,
    outcomes: Vec<Option<Outcome>>,
    is_large: Vec<bool>,
    /// Large files that were asked about and are neither pausing nor settled.
    n_large: usize,
    n_threads: usize,
    /// Threads that were started and have not looked for work yet.
    n_starting: usize,
    parallel: usize,
    per_host: usize,
    is_abandoned: bool,
}

/// A try whose turn it is.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) file: usize,
    pub(super) attempt: Box<Try>,
    pub(super) host: String,
}

/// What a thread does now.
#[derive(Debug)]
pub(super) enum WorkNow {
    /// Asks what to do with this file.
    Ask(usize),
    /// Tries.
    Try(Turn),
}

impl Schedule {
    pub(super) fn new(sizes: &[Option<ByteCount>], options: &Options) -> Self {
        let parallel = options.parallel.get().min(PARALLEL_MAX);
        Self {
            order: order::Order::new(sizes, parallel),
            rested: VecDeque::new(),
            waiting: VecDeque::new(),
            pausing: BinaryHeap::new(),
            running: BTreeMap::new(),
            running_by_host: BTreeMap::new(),
            outcomes: sizes.iter().map(|_| None).collect(),
            is_large: sizes.iter().map(|size| order::is_large(*size)).collect(),
            n_large: 0,
            n_threads: 0,
            n_starting: 0,
            parallel,
            per_host: options.per_host.get(),
            is_abandoned: false,
        }
    }

    /// Returns what a thread does now; none if it may end.
    pub(super) fn next_work(&mut self, is_stopped: bool) -> Option<WorkNow> {
        self.n_starting = self.n_starting.saturating_sub(1);
        if is_stopped || self.is_abandoned {
            return None;
        }
        if let Some(place) = self.waiting.iter().position(|turn| self.has_room(turn)) {
            let turn = self.waiting.remove(place)?;
            self.begin(&turn);
            return Some(WorkNow::Try(turn));
        }
        if self.waiting.len() >= WAITING_MAX {
            return None;
        }
        let next = self.rested.pop_front();
        let file = next.or_else(|| self.order.next(self.n_large))?;
        self.n_large += usize::from(self.is_large[file]);
        self.running.insert(file, None);
        Some(WorkNow::Ask(file))
    }

    fn has_room(&self, turn: &Turn) -> bool {
        let running = self.running_by_host.get(&turn.host).copied();
        turn.host.is_empty() || running.unwrap_or_default() < self.per_host
    }

    fn begin(&mut self, turn: &Turn) {
        *self.running_by_host.entry(turn.host.clone()).or_default() += 1;
        self.running.insert(turn.file, None);
    }

    /// Notes what is watched of a running transfer.
    pub(super) fn begun(&mut self, file: usize, watch: Arc<Watch>) {
        self.running.insert(file, Some(watch));
    }

    /// Notes that a try has ended. [`Schedule::asked`] follows.
    pub(super) fn ended(&mut self, file: usize, host: &str, outcome: Outcome) {
        if let Some(running) = self.running_by_host.get_mut(host) {
            *running -= 1;
            if *running == 0 {
                self.running_by_host.remove(host);
            }
        }
        self.outcomes[file] = Some(outcome);
    }

    /// Notes what the steering wants.
    pub(super) fn asked(&mut self, file: usize, next: Next) {
        self.running.remove(&file);
        match next {
            Next::Try(attempt) => {
                let host = host_of(&attempt.transfer.url).to_owned();
                self.waiting.push_back(Turn {
                    file,
                    attempt,
                    host,
                });
            }
            Next::Pause(pause) => {
                self.n_large -= usize::from(self.is_large[file]);
                let end = Instant::now() + pause.min(PAUSE_MAX);
                self.pausing.push(Reverse((end, file)));
            }
            Next::Done => self.n_large -= usize::from(self.is_large[file]),
        }
    }

    /// Has files whose pause is over asked about again.
    pub(super) fn end_pauses(&mut self, now: Instant) {
        while let Some(Reverse((end, file))) = self.pausing.peek().copied()
            && end <= now
        {
            self.pausing.pop();
            self.rested.push_back(file);
        }
    }

    /// Returns when the next pause ends.
    pub(super) fn next_pause_end(&self) -> Option<Instant> {
        self.pausing.peek().map(|Reverse((end, _))| *end)
    }

    /// Says whether a further thread would find work.
    pub(super) fn wants_thread(&self) -> bool {
        if self.is_abandoned || self.n_threads >= self.parallel {
            return false;
        }
        let to_ask = if self.waiting.len() < WAITING_MAX {
            self.rested.len() + self.order.len()
        } else {
            0
        };
        let needed = self.n_starting + 1;
        let to_try = self.waiting.iter().filter(|turn| self.has_room(turn));
        to_ask + to_try.take(needed).count() >= needed
    }

    /// Says whether nothing is left to do or, once stopped, nothing runs.
    pub(super) fn is_over(&self, is_stopped: bool) -> bool {
        if is_stopped || self.is_abandoned {
            return self.n_threads == 0 || self.is_abandoned;
        }
        let is_idle = self.waiting.is_empty() && self.rested.is_empty() && self.pausing.is_empty();
        is_idle && self.running.is_empty() && self.order.len() == 0 && self.n_threads == 0
    }

    /// Returns the transfers that run.
    pub(super) fn running(&self) -> Vec<(usize, Arc<Watch>)> {
        let running = self.running.iter();
        running
            .filter_map(|(file, watch)| Some((*file, watch.clone()?)))
            .collect()
    }

    pub(super) const fn n_threads(&self) -> usize {
        self.n_threads
    }

    pub(super) const fn thread_started(&mut self) {
        self.n_threads += 1;
        self.n_starting += 1;
    }

    pub(super) const fn thread_ended(&mut self) {
        self.n_threads -= 1;
    }

    /// Goes on with the threads that there are, at least one.
    pub(super) fn allow_no_more_threads(&mut self) {
        self.parallel = self.n_threads.max(1);
    }

    /// Gives everything up: a thread has died.
    pub(super) const fn abandon(&mut self) {
        self.is_abandoned = true;
    }

    pub(super) fn take_outcomes(&mut self) -> Vec<Option<Outcome>> {
        std::mem::take(&mut self.outcomes)
    }
}
