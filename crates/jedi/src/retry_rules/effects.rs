//! What an action about a failed job changes.
//!
//! A new CPU time (`increase_cputime`) is that of [`crate::scouts::estimate`] with the failed job as
//! its only report, where it is more than the task's.
//!
//! Source: PanDA server, `task_event_module.py` (`increaseRamLimitJobJEDI`, `reduce_input_per_job`).

use std::collections::BTreeMap;

use crate::{
    estimate::RAM_PERCENT,
    resources::{RamUnit, TaskResources},
    rules::{Rule, SplitRules},
};

/// Amounts of memory per core that jobs are raised to, MB.
pub const RAM_STEPS_MB: [u64; 6] = [1000, 2000, 3000, 4000, 6000, 8000];
/// Share of the files above which the task is raised instead, percent.
const TASK_SHARE: u64 = 30;

/// What memory a failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RamChange {
    /// Nothing changes.
    None,
    /// The input files of the job ask for so much, MB.
    Files(u64),
    /// The task asks for so much, MB.
    Task(u64),
}

/// A failed job, as far as its memory is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedRam {
    /// Memory that it asked for (`minRamCount`), MB.
    pub asked_mb: u64,
    /// Its cores, at least 1.
    pub cores: u32,
}

/// Works out the next memory after a failure for lack of it.
///
/// `files_by_ram` counts the task's master files by the memory that they ask for, MB.
#[must_use]
pub fn increase_memory(
    task: &TaskResources,
    job: FailedRam,
    files_by_ram: &BTreeMap<u64, u64>,
) -> RamChange {
    let used = used_per_core(task, job);
    if is_common(task, files_by_ram) {
        let highest = files_by_ram.keys().next_back().copied().unwrap_or(0);
        // One below the highest, so that the next step is the highest itself.
        let least = if highest > used {
            highest.saturating_sub(1)
        } else {
            used
        };
        return match next_step(least) {
            Some(step) if step > task.ram_mb => RamChange::Task(step),
            Some(_) | None => RamChange::None,
        };
    }
    match next_step(used) {
        Some(step) if step >= task.ram_mb => RamChange::Files(step),
        Some(_) | None => RamChange::None,
    }
}

/// Works out the next memory by the task's own steps (`RX`, `RY`, `RZ`).
///
/// PanDA multiplies the job's memory with step by memory of the task, up to the bound for a job.
#[must_use]
pub fn increase_memory_xtimes(
    task: &TaskResources,
    rules: &SplitRules,
    job: FailedRam,
    files_by_ram: &BTreeMap<u64, u64>,
) -> RamChange {
    let cores = u64::from(job.cores.max(1));
    let mut used = job.asked_mb.saturating_mul(100) / RAM_PERCENT;
    if task.ram_unit.is_per_core() {
        used /= cores;
    }
    let Some(step) = rules.positive(Rule::RetryRamStep) else {
        return RamChange::None;
    };
    let next = u128::from(used) * u128::from(step) / u128::from(task.ram_mb.max(1));
    let most = rules
        .positive(Rule::RetryRamMax)
        .map_or(u64::MAX, |most| most / cores);
    let next = u64::try_from(next).unwrap_or(u64::MAX).min(most);
    if next <= task.ram_mb {
        RamChange::None
    } else if is_common(task, files_by_ram) {
        RamChange::Task(next)
    } else {
        RamChange::Files(next)
    }
}

/// Memory of a failed job as the task counts it, MB.
fn used_per_core(task: &TaskResources, job: FailedRam) -> u64 {
    let whole = job.asked_mb.saturating_mul(100) / RAM_PERCENT;
    let growing = whole.saturating_sub(task.base_ram_mb);
    if task.ram_unit.is_per_core() {
        growing / u64::from(job.cores.max(1))
    } else {
        growing
    }
}

/// Says whether so many files ask for more that the task itself should.
fn is_common(task: &TaskResources, files_by_ram: &BTreeMap<u64, u64>) -> bool {
    let total: u64 = files_by_ram.values().sum();
    let above: u64 = files_by_ram
        .range(task.ram_mb.saturating_add(1)..)
        .map(|(_, files)| files)
        .sum();
    task.ram_unit != RamUnit::MbPerCoreFixed
        && u128::from(above) * 100 > u128::from(total) * u128::from(TASK_SHARE)
}

fn next_step(used_mb: u64) -> Option<u64> {
    RAM_STEPS_MB.into_iter().find(|step| *step > used_mb)
}

/// What input a failed job had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedInput {
    /// Its attempt.
    pub attempt: u32,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Files of its master input.
    pub files: u64,
}

/// Works out rules with which later jobs get less input; none if nothing changes.
#[must_use]
pub fn reduce_input(
    rules: &SplitRules,
    job: FailedInput,
    steps: [u32; 3],
    excluded: &[String],
) -> Option<SplitRules> {
    let [low, middle, high] = steps;
    let is_excluded = excluded
        .iter()
        .filter_map(|name| Rule::from_name(name))
        .any(|rule| rules.positive(rule).is_some());
    if job.attempt < low || is_excluded {
        return None;
    }
    let told = |rule| first_value(rules, rule).or(rules.positive(rule));
    let gib = told(Rule::NGbPerJob)
        .unwrap_or(job.bytes.div_ceil(1 << 30))
        .max(1);
    let files = told(Rule::NMaxFilesPerJob).unwrap_or(job.files).max(1);
    let part = |all: u64| {
        let part = if job.attempt < middle {
            all / 2
        } else if job.attempt < high {
            all / 4
        } else {
            1
        };
        i64::try_from(part.max(1)).unwrap_or(i64::MAX)
    };
    let mut changed = rules.clone();
    // The first values are kept: later attempts take their part of these.
    let first = format!(
        "{}:{gib}|{}:{files}",
        Rule::NGbPerJob,
        Rule::NMaxFilesPerJob
    );
    changed.set_text(Rule::RetryModuleRules, &first).ok()?;
    changed.set(Rule::NGbPerJob, part(gib));
    changed.set(Rule::NMaxFilesPerJob, part(files));
    (changed != *rules).then_some(changed)
}

/// Finds the first value of a rule, as it was kept when it was reduced for the first time.
fn first_value(rules: &SplitRules, rule: Rule) -> Option<u64> {
    let kept = rules.text(Rule::RetryModuleRules)?;
    let pairs = kept.split('|').filter_map(|pair| pair.split_once(':'));
    pairs
        .filter(|(tag, _)| *tag == rule.tag())
        .find_map(|(_, value)| value.parse().ok())
}
