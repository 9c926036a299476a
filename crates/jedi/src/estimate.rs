//! What one job of a task needs at a queue: wall time, disk, memory, cores, attempts, priority.
//!
//! The main function is [`job_needs()`]. It takes what the task states, the chunk that the job gets
//! and what the queue offers; which queue that is has been decided before.
//!
//! Source: PanDA server, `pandajedi/jediorder/JobGenerator.py`, `srvcore/CoreUtils.py`
//! (`getJobMaxWalltime`), `taskbuffer/JobUtils.py` (`getJobMinRamCount`).

use serde::{Deserialize, Serialize};

use crate::{
    refined::RefinedTask,
    resources::GrowsWith,
    rules::Rule,
    split::{Access, Chunk, Phase, limits::MERGE_GROWTH_PER_MILLE, limits::MERGE_WORK},
};

const MIB: u64 = 1 << 20;
/// Priority of merge jobs.
pub const MERGE_PRIORITY: i64 = 5000;
/// Least priority of the first few jobs.
pub const SCOUT_PRIORITY: i64 = 901;
/// Share of the memory that is asked for, percent, so that a job just at a border stays below it.
pub const RAM_PERCENT: u64 = 90;
/// Memory of a merge job that states none, MB.
pub const MERGE_RAM_MB: u64 = 2000;
/// Further attempts of a job that handles events.
pub const EVENT_SERVICE_ATTEMPTS: u32 = 3;
/// Memory of a build job for each core, MB.
pub const BUILD_RAM_MB: u64 = 2000;

/// What kind of job it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum JobKind {
    /// It runs the payload.
    Run(Phase),
    /// It merges outputs.
    Merge,
}

/// What the chosen queue offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueOffer {
    /// Its cores for a job (`coreCount`): 0 if not told, -1 if the task chooses.
    pub cores: i64,
    /// HS06 of a core, thousandths; 0 if not told.
    pub core_power_milli: u64,
    /// Most wall time (`maxtime`), seconds; 0 if not bounded.
    pub walltime_max_s: u64,
    /// Most scratch space (`maxwdir`), MB; 0 if not bounded.
    pub scratch_mb: u64,
    /// Most memory (`maxrss`), MB; 0 if not bounded.
    pub ram_max_mb: u64,
    /// How its jobs read inputs of this task.
    pub access: Access,
}

/// What a job needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobNeeds {
    /// Cores (`coreCount`).
    pub cores: u32,
    /// Memory (`minRamCount`), MB.
    pub ram_mb: u64,
    /// Wall time (`maxWalltime`), seconds; 0 is not bounded.
    pub walltime_s: u64,
    /// CPU time (`maxCpuCount`), seconds; 0 is not bounded.
    pub cpu_time_s: u64,
    /// Scratch space (`maxDiskCount`), MB.
    pub disk_mb: u64,
    /// HS06 of all its cores (`hs06`), thousandths; 0 if the queue tells none.
    pub hs06_milli: u64,
    /// Speed of its disk (`diskIO`), kB/s for each core; 0 if not known.
    pub disk_io: u64,
    /// Whether progress of the payload is watched.
    pub is_progress_checked: bool,
}

/// Works out what a job needs.
///
/// `ram_mb` is the memory that the files ask for after failures, 0 if they do not.
/// `merge_walltime_s` bounds a merge job; none takes the queue's.
#[must_use]
pub fn job_needs(
    task: &RefinedTask,
    chunk: &Chunk,
    kind: JobKind,
    queue: &QueueOffer,
    ram_mb: u64,
    merge_walltime_s: Option<u64>,
) -> JobNeeds {
    let cores = cores(task, kind, queue);
    let (walltime_s, cpu_time_s) = match kind {
        JobKind::Run(_) => run_times(task, chunk, queue),
        JobKind::Merge => match merge_walltime_s {
            None => (queue.walltime_max_s, 0),
            Some(cpu) => (cpu.saturating_add(task.resources.base_walltime_s), cpu),
        },
    };
    JobNeeds {
        cores,
        ram_mb: ram(task, kind, cores, ram_mb),
        walltime_s,
        cpu_time_s,
        disk_mb: disk_mb(task, chunk, kind, queue),
        hs06_milli: queue
            .core_power_milli
            .saturating_mul(u64::from(cores.max(1))),
        disk_io: task.resources.disk_io,
        is_progress_checked: task.resources.walltime_s_per_mb >= 0
            && !task.rules.is_set(Rule::NoLoopingCheck),
    }
}

/// Returns the cores of a job: the queue's, but one for a task of one core.
#[must_use]
pub fn cores(task: &RefinedTask, kind: JobKind, queue: &QueueOffer) -> u32 {
    if let (JobKind::Merge, Some(merge)) = (kind, &task.merge) {
        return merge.cores.unwrap_or(1).max(1);
    }
    let wanted = task.resources.cores;
    if wanted == 1 || queue.cores == 0 {
        return 1;
    }
    // A queue of any size gives what the task asks for.
    u32::try_from(queue.cores).unwrap_or(wanted).max(1)
}

/// Returns the memory of a job, MB.
fn ram(task: &RefinedTask, kind: JobKind, cores: u32, files_mb: u64) -> u64 {
    let needs = &task.resources;
    let stated = match (kind, &task.merge) {
        (JobKind::Merge, Some(merge)) => {
            let stated = merge.ram_mb.filter(|ram| *ram > 0);
            stated.map_or(files_mb, |ram| ram.max(files_mb).max(MERGE_RAM_MB))
        }
        (JobKind::Merge, None) => files_mb,
        (JobKind::Run(_), _) => {
            let ram = needs.ram_mb.max(files_mb);
            if needs.ram_unit.is_per_core() {
                ram.saturating_mul(u64::from(cores))
                    .saturating_add(needs.base_ram_mb)
            } else {
                ram
            }
        }
    };
    let asked = stated.saturating_mul(RAM_PERCENT) / 100;
    if asked == 0 && kind == JobKind::Merge {
        MERGE_RAM_MB
    } else {
        asked
    }
}

/// Returns wall time and CPU time of a job that runs the payload, seconds.
fn run_times(task: &RefinedTask, chunk: &Chunk, queue: &QueueOffer) -> (u64, u64) {
    let needs = &task.resources;
    let Some(milli) = needs.milli_hs06s_per_event() else {
        return (queue.walltime_max_s, queue.walltime_max_s);
    };
    let events: u64 = chunk
        .master
        .iter()
        .map(crate::split::Content::effective_events)
        .sum();
    let mut work = u128::from(milli) * u128::from(events) * 1000;
    // Thousandths of HS06 seconds, by cores and thousandths of HS06.
    let cores = u128::try_from(queue.cores).unwrap_or(0).max(1);
    let power = if queue.core_power_milli == 0 {
        1000
    } else {
        queue.core_power_milli
    };
    work /= cores * u128::from(power);
    if needs.cpu_efficiency_percent > 0 {
        work = work * 100 / u128::from(needs.cpu_efficiency_percent);
    }
    let seconds = u64::try_from(work / 1000)
        .unwrap_or(u64::MAX)
        .saturating_add(needs.base_walltime_s);
    (seconds, seconds)
}

/// Returns the scratch space of a job, MB.
fn disk_mb(task: &RefinedTask, chunk: &Chunk, kind: JobKind, queue: &QueueOffer) -> u64 {
    let needs = &task.resources;
    let sum = |value: fn(&crate::split::Content) -> u64| -> u128 {
        chunk
            .master
            .iter()
            .map(|content| u128::from(value(content)))
            .sum()
    };
    let input = u128::from(chunk.sums.input_bytes);
    let (out, work) = match kind {
        JobKind::Merge => (
            input * u128::from(MERGE_GROWTH_PER_MILLE) / 1000,
            needs.work_bytes().max(MERGE_WORK),
        ),
        JobKind::Run(_) => {
            let out = match needs.out_disk_unit.grows_with {
                GrowsWith::InputMib => {
                    u128::from(needs.out_bytes()) * sum(crate::split::Content::effective_bytes)
                        / u128::from(MIB)
                }
                GrowsWith::Events => {
                    u128::from(needs.out_bytes()) * sum(crate::split::Content::effective_events)
                }
            };
            (out, needs.work_bytes())
        }
    };
    let copied = match (kind, queue.access) {
        (JobKind::Run(_), Access::Direct) => 0,
        (JobKind::Run(_), Access::Copied) | (JobKind::Merge, _) => input,
    };
    let megabytes =
        u64::try_from((out + u128::from(work) + copied) / u128::from(MIB)).unwrap_or(u64::MAX);
    if queue.scratch_mb > 0 {
        megabytes.min(queue.scratch_mb)
    } else {
        megabytes
    }
}

/// Returns the priority of a new job (`assignedPriority`).
#[must_use]
pub fn priority(task_priority: i64, kind: JobKind) -> i64 {
    match kind {
        JobKind::Merge => MERGE_PRIORITY,
        JobKind::Run(Phase::Scouts) => SCOUT_PRIORITY.max(task_priority.saturating_add(1)),
        JobKind::Run(Phase::Bulk) => task_priority,
    }
}

/// Returns the most attempts of a job itself (`maxAttempt`): -1 is no further one by the server.
#[must_use]
pub fn max_attempt(task: &RefinedTask, kind: JobKind, attempt: u32) -> i64 {
    use crate::refined::EventService;
    if task.rules.is_set(Rule::DisableAutoRetry) {
        return -1;
    }
    let shares_events = matches!(
        task.event_service,
        EventService::Ranges | EventService::Cloning
    ) && kind != JobKind::Merge;
    if !shares_events {
        return i64::from(attempt);
    }
    let told = task
        .rules
        .number(Rule::MaxAttemptEsJob)
        .or(task.rules.number(Rule::MaxAttemptEs));
    i64::from(attempt).saturating_add(told.unwrap_or(i64::from(EVENT_SERVICE_ATTEMPTS)))
}

/// Returns the package of the release as a path: `Cache-1.2.3` is `Cache/1.2.3`.
#[must_use]
pub fn home_package(trans_home: &str) -> String {
    let mut path = String::with_capacity(trans_home.len());
    let mut rest = trans_home;
    while let Some(at) = rest.find('-') {
        let (before, dash) = rest.split_at(at);
        path.push_str(before);
        let digits = dash[1..].bytes().take_while(u8::is_ascii_digit).count();
        let is_version = digits > 0 && dash[1 + digits..].starts_with('.');
        path.push(if is_version { '/' } else { '-' });
        rest = &dash[1..];
    }
    path.push_str(rest);
    path.replace('\r', "")
}

/// Returns the memory with which a job is tried again (`RX`, `RY`, `RZ`), MB, if that is told.
#[must_use]
pub fn retry_ram_mb(task: &RefinedTask, current_mb: u64) -> Option<u64> {
    let rules = &task.rules;
    let offset = rules
        .number(Rule::RetryRamOffset)
        .and_then(|ram| u64::try_from(ram).ok())?;
    let most = rules.positive(Rule::RetryRamMax).unwrap_or(u64::MAX);
    if current_mb == 0 || (current_mb >= offset && rules.positive(Rule::RetryRamStep).is_none()) {
        return Some(current_mb);
    }
    if current_mb < offset {
        return Some(offset.min(most));
    }
    let step = rules.positive(Rule::RetryRamStep)?;
    let steps = (current_mb - offset).div_ceil(step);
    Some(offset.saturating_add(steps.saturating_mul(step)).min(most))
}

/// Returns cores and memory (MB) of a build job.
#[must_use]
pub fn build_needs(task: &RefinedTask, queue: &QueueOffer) -> (u32, u64) {
    let cores = if task.resources.cores == 1 {
        1
    } else {
        u32::try_from(queue.cores).unwrap_or(1).max(1)
    };
    let ram = BUILD_RAM_MB.saturating_mul(u64::from(cores));
    (
        cores,
        if queue.ram_max_mb > 0 {
            ram.min(queue.ram_max_mb)
        } else {
            ram
        },
    )
}

#[cfg(test)]
mod tests;
