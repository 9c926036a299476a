//! Unified pilot streaming: how many workers of which resource class a queue is to get.
//!
//! The server, not Harvester, decides by what waits: workers come before jobs, and a pilot takes
//! whatever fits when its worker starts.
//!
//! Source: PanDA server, `pandaserver/daemons/scripts/pilotStreaming.py` and
//! `pandaserver/taskbuffer/db_proxy_mods/worker_module.py`, `ups_new_worker_distribution`.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{ByteCount, Queue, queue::QueueStatus};

/// The class whose worker keeps a queue alive where nothing waits.
pub const BASIC_CLASS: &str = "SCORE";
/// The name under which limits count the cores of all classes with much memory.
pub const HIGH_MEMORY: &str = "HIMEM";
/// The capability and the workflow by which a queue takes part.
const CAPABILITY: &str = "ucore";
const WORKFLOW: &str = "pull_ups";

/// How many workers are asked for. The defaults are PanDA's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamingRules {
    /// Cores of workers that should wait, in percent of those that run. Default 40.
    pub waiting_percent: u64,
    /// Slots that should wait at least. Default 75.
    pub waiting_slots_min: u64,
    /// Slots that are asked for at least at a time. Default 5.
    pub new_slots_min: u64,
    /// How old statistics of workers may be. Default 1 h.
    pub statistics_age_max: Duration,
    /// Whether queues may have more memory in use than they want on average. Default no.
    pub ignores_mean_memory: bool,
}

impl Default for StreamingRules {
    fn default() -> Self {
        Self {
            waiting_percent: 40,
            waiting_slots_min: 75,
            new_slots_min: 5,
            statistics_age_max: Duration::from_secs(60 * 60),
            ignores_mean_memory: false,
        }
    }
}

/// Workers of one resource class that a queue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerNumbers {
    /// Submitted or ready, not running yet.
    pub waiting: u64,
    /// Running.
    pub running: u64,
}

/// What waits and runs at a queue.
#[derive(Debug, Clone, Default)]
pub struct StreamingState<'a> {
    /// Workers by resource class.
    pub workers: BTreeMap<&'a str, WorkerNumbers>,
    /// Waiting jobs: runs of equal resource class, in the order in which they would be given out.
    pub jobs: Vec<(&'a str, u64)>,
    /// Memory of a worker on average, if the queue cares for it.
    pub memory_mean: Option<ByteCount>,
}

/// Says whether a queue's workers are numbered here.
#[must_use]
pub fn is_streamed(queue: &Queue) -> bool {
    let terms = &queue.options.terms;
    terms.capability == CAPABILITY && terms.workflow == WORKFLOW && !terms.harvester.is_empty()
}

/// Says whether a resource class is one with much memory.
#[must_use]
pub fn is_high_memory(class: &str) -> bool {
    class.contains(HIGH_MEMORY)
}

/// Returns how many new workers of each class a queue is to get.
#[must_use]
pub fn new_workers(
    rules: &StreamingRules,
    queue: &Queue,
    state: &StreamingState<'_>,
) -> BTreeMap<String, u64> {
    let slot = u64::from(queue.core_count.max(1));
    let cores_of = |class: &str| {
        if class.starts_with(BASIC_CLASS) {
            1
        } else {
            slot
        }
    };
    let terms = &queue.options.terms;
    let (mut waiting_cores, mut running_cores) = (0_u64, 0_u64);
    let mut room = Room::of(&terms.worker_limits);
    for (class, numbers) in &state.workers {
        let cores = cores_of(class);
        waiting_cores = waiting_cores.saturating_add(numbers.waiting.saturating_mul(cores));
        running_cores = running_cores.saturating_add(numbers.running.saturating_mul(cores));
        room.take(class, numbers.running, cores);
    }
    if matches!(queue.status, QueueStatus::Online | QueueStatus::Brokeroff) {
        running_cores = running_cores.max(terms.streaming_cores);
    }
    let part = running_cores.saturating_mul(rules.waiting_percent) / 100;
    let target = part.max(rules.waiting_slots_min.saturating_mul(slot));
    let wanted = target
        .saturating_sub(waiting_cores)
        .max(rules.new_slots_min.saturating_mul(slot));
    let is_too_large = !rules.ignores_mean_memory
        && terms.memory_mean > ByteCount::ZERO
        && state
            .memory_mean
            .is_some_and(|mean| mean > terms.memory_mean);
    let missing = missing_workers(state, wanted, &room, cores_of, is_too_large);
    let mut new: BTreeMap<String, u64> = missing
        .into_iter()
        .map(|(class, left)| (class.to_owned(), new_of(left)))
        .collect();
    if new.values().all(|n| *n == 0) {
        return BTreeMap::from([(BASIC_CLASS.to_owned(), 1)]);
    }
    new.retain(|_, n| *n > 0);
    new
}

/// Goes through the waiting jobs until enough cores are asked for. Returns for each class how many
/// of its waiting workers are left over; below zero, how many are missing.
fn missing_workers<'a>(
    state: &StreamingState<'a>,
    wanted: u64,
    room: &Room,
    cores_of: impl Fn(&str) -> u64,
    is_too_large: bool,
) -> BTreeMap<&'a str, i128> {
    let mut left: BTreeMap<&str, i128> = state
        .workers
        .iter()
        .map(|(class, numbers)| (*class, i128::from(numbers.waiting)))
        .collect();
    let mut to_ask = i128::from(wanted);
    for (class, jobs) in &state.jobs {
        if to_ask <= 0 {
            break;
        }
        if room.is_used_up(class) || (is_too_large && is_high_memory(class)) {
            continue;
        }
        let cores = i128::from(cores_of(class).max(1));
        let of_class = left.entry(class).or_default();
        let jobs = i128::from(*jobs);
        // Workers that wait already cost nothing; from the last of them on, each job costs cores.
        let free = (*of_class - 1).clamp(0, jobs);
        let affordable = (to_ask + cores - 1) / cores;
        let paid = (jobs - free).min(affordable);
        *of_class -= free + paid;
        to_ask -= paid * cores;
    }
    left
}

/// One more than are missing, as in PanDA.
fn new_of(left: i128) -> u64 {
    if left < 0 {
        u64::try_from(-left).unwrap_or(u64::MAX).saturating_add(1)
    } else {
        0
    }
}

/// What limits leave after what runs.
#[derive(Debug)]
struct Room {
    left: BTreeMap<String, i128>,
}

impl Room {
    fn of(limits: &BTreeMap<String, u64>) -> Self {
        let left = limits.iter();
        Self {
            left: left
                .map(|(class, limit)| (class.clone(), i128::from(*limit)))
                .collect(),
        }
    }

    /// Limits of classes count workers; that of all classes with much memory counts cores.
    fn take(&mut self, class: &str, workers: u64, cores: u64) {
        if let Some(left) = self.left.get_mut(class) {
            *left -= i128::from(workers);
        }
        if is_high_memory(class)
            && let Some(left) = self.left.get_mut(HIGH_MEMORY)
        {
            *left -= i128::from(workers) * i128::from(cores);
        }
    }

    fn is_used_up(&self, class: &str) -> bool {
        let is_out = |name: &str| self.left.get(name).is_some_and(|left| *left <= 0);
        is_out(class) || (is_high_memory(class) && is_out(HIGH_MEMORY))
    }
}

#[cfg(test)]
mod tests;
