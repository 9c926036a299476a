//! Why a task should wait for a person after its first few jobs.

use std::fmt;

use super::{ScoutEstimate, ScoutReport, ScoutSettings, efficiency};
use crate::{
    refined::RefinedTask,
    resources::CpuTimeUnit,
    rules::Rule,
    split::limits::{BULK_SIZE, SCOUT_SIZE},
};

/// Master files of a job when rules that made jobs short are removed.
const FILES_AFTER_SHORT: i64 = 200;
/// A job must have run so long for its CPU time to matter, seconds.
const LONG_RUN_S: u64 = 24 * 3600;
/// Times the CPU time that its cores could have used.
const ABUSE_FACTOR: u64 = 2;

/// How many jobs are still expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExpectedJobs {
    /// New jobs.
    pub new: u64,
    /// All jobs, by files.
    pub by_files: u64,
    /// All jobs, by events; 0 if events are not known.
    pub by_events: u64,
}

/// Why a person is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exhausted {
    /// An event takes much more CPU time than was stated.
    CpuTime {
        /// Measured, thousandths of HS06 seconds.
        measured: u64,
        /// Stated, thousandths of HS06 seconds.
        stated: u64,
    },
    /// A core needs more memory than was stated, and than most queues have.
    Ram {
        /// Measured, MB.
        measured: u64,
        /// Stated, MB.
        stated: u64,
        /// What most queues have, MB.
        limit: u64,
    },
    /// Jobs are very short, and many.
    ManyShortJobs {
        /// Short jobs.
        short: u64,
        /// All jobs that ran.
        all: u64,
        /// Shorter than this, minutes.
        minutes: u64,
    },
    /// Cores wait more than they work.
    LowEfficiency {
        /// Median of the efficiency, percent.
        median: u64,
        /// Least efficiency that is wanted, percent.
        wanted: u64,
    },
    /// The payload uses more cores than it was given.
    OverCpuConsumption {
        /// CPU time, seconds.
        cpu_s: u64,
        /// Wall time, seconds.
        wall_s: u64,
        /// Cores.
        cores: u32,
    },
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CpuTime { measured, stated } => write!(
                f,
                "reason=scout_cpuTime: an event takes {measured} mHS06s, while the task states {stated}"
            ),
            Self::Ram {
                measured,
                stated,
                limit,
            } => write!(
                f,
                "reason=scout_ramCount: a core needs {measured} MB, more than {limit} MB, while the task states {stated} MB"
            ),
            Self::ManyShortJobs {
                short,
                all,
                minutes,
            } => write!(
                f,
                "reason=many_shorter_jobs: {short} of {all} first jobs ran less than {minutes} min; give each job more input"
            ),
            Self::LowEfficiency { median, wanted } => write!(
                f,
                "reason=low_efficiency: cores work {median} % of the time, while {wanted} % are wanted"
            ),
            Self::OverCpuConsumption {
                cpu_s,
                wall_s,
                cores,
            } => write!(
                f,
                "reason=over_cpu_consumption: {cpu_s} s of CPU time in {wall_s} s on {cores} cores; ask for more cores"
            ),
        }
    }
}

/// Tells why a task should wait for a person, if it should.
///
/// `stated` is the task as it was refined; `task` may lose rules that make its jobs short instead.
#[must_use]
pub fn exhausted(
    stated: &RefinedTask,
    task: &mut RefinedTask,
    estimate: &ScoutEstimate,
    reports: &[ScoutReport],
    expected: ExpectedJobs,
    settings: &ScoutSettings,
) -> Option<Exhausted> {
    if expected.new <= settings.new_jobs_min {
        return None;
    }
    let by_needs =
        cpu_time(stated, estimate, reports, settings).or_else(|| ram(stated, estimate, settings));
    if by_needs.is_some() {
        return by_needs;
    }
    match short_jobs(task, reports, expected, settings) {
        Short::Asks(reason) => Some(reason),
        Short::RulesRemoved => over_cpu(reports),
        Short::None => low_efficiency(stated, estimate, reports, expected, settings)
            .or_else(|| over_cpu(reports)),
    }
}

fn cpu_time(
    stated: &RefinedTask,
    estimate: &ScoutEstimate,
    reports: &[ScoutReport],
    settings: &ScoutSettings,
) -> Option<Exhausted> {
    let known = stated.resources.milli_hs06s_per_event()?;
    let measured = match estimate.cpu_time_unit? {
        CpuTimeUnit::PerEvent | CpuTimeUnit::PerEventFixed => {
            estimate.cpu_time?.saturating_mul(1000)
        }
        CpuTimeUnit::MilliPerEvent | CpuTimeUnit::MilliPerEventFixed => estimate.cpu_time?,
    };
    let is_wrong = settings.cpu_time_exhausted > 0
        && known > 0
        && measured > known.saturating_mul(settings.cpu_time_exhausted);
    let ran_long = reports.iter().any(|report| report.walltime_s > LONG_RUN_S);
    (is_wrong && ran_long).then_some(Exhausted::CpuTime {
        measured,
        stated: known,
    })
}

fn ram(
    stated: &RefinedTask,
    estimate: &ScoutEstimate,
    settings: &ScoutSettings,
) -> Option<Exhausted> {
    let (limit, known) = (settings.ram_exhausted_mb, stated.resources.ram_mb);
    let measured = estimate.ram_mb?;
    let is_above = stated.resources.ram_unit.is_per_core() && known < limit && limit < measured;
    is_above.then_some(Exhausted::Ram {
        measured,
        stated: known,
        limit,
    })
}

enum Short {
    None,
    RulesRemoved,
    Asks(Exhausted),
}

fn short_jobs(
    task: &mut RefinedTask,
    reports: &[ScoutReport],
    expected: ExpectedJobs,
    settings: &ScoutSettings,
) -> Short {
    let limit_s = settings.short_minutes.saturating_mul(60);
    let short = || reports.iter().filter(|report| report.walltime_s <= limit_s);
    let count = |all: usize| u64::try_from(all).unwrap_or(u64::MAX);
    let all = count(reports.len());
    let is_many =
        |short: u64| short.saturating_mul(10) >= settings.short_tenths.saturating_mul(all);
    let is_asked =
        settings.short_tenths > 0 && settings.short_jobs_min > 0 && limit_s > 0 && all > 0;
    let jobs = if expected.by_events > 0 {
        expected.by_files.min(expected.by_events)
    } else {
        expected.by_files
    };
    if !is_asked || !is_many(count(short().count())) || jobs < settings.short_jobs_min {
        return Short::None;
    }
    if settings.removes_short_rules && remove_short_rules(task) {
        return Short::RulesRemoved;
    }
    // Later jobs get more input than the first ones, and take longer.
    let longest = short().map(|report| report.walltime_s).max().unwrap_or(0);
    let scaled_s = longest.saturating_mul(BULK_SIZE / SCOUT_SIZE);
    if task.rules.events_per_job().is_none() && scaled_s > limit_s {
        return Short::None;
    }
    let free = count(short().filter(|report| !report.was_forced_to_copy).count());
    if !is_many(free) {
        return Short::None;
    }
    Short::Asks(Exhausted::ManyShortJobs {
        short: free,
        all,
        minutes: settings.short_minutes,
    })
}

/// Removes rules that make jobs short, and says whether there were any.
fn remove_short_rules(task: &mut RefinedTask) -> bool {
    let rules = &mut task.rules;
    let before = rules.clone();
    rules.remove(Rule::NFilesPerJob);
    rules.remove(Rule::NGbPerJob);
    if rules
        .number(Rule::NMaxFilesPerJob)
        .is_some_and(|files| files < FILES_AFTER_SHORT)
    {
        rules.set(Rule::NMaxFilesPerJob, FILES_AFTER_SHORT);
    }
    before != *rules
}

fn low_efficiency(
    task: &RefinedTask,
    estimate: &ScoutEstimate,
    reports: &[ScoutReport],
    expected: ExpectedJobs,
    settings: &ScoutSettings,
) -> Option<Exhausted> {
    let median = estimate.cpu_efficiency?;
    if let Some(wanted) = task.rules.positive(Rule::MinCpuEfficiency) {
        return (median < wanted).then_some(Exhausted::LowEfficiency { median, wanted });
    }
    let wanted = settings.efficiency_min;
    let measured: Vec<u64> = reports.iter().filter_map(efficiency).collect();
    let low = measured
        .iter()
        .filter(|efficiency| **efficiency < wanted)
        .count();
    let is_many = low > 0
        && settings.inefficient_tenths > 0
        && u64::try_from(low * 10).unwrap_or(u64::MAX)
            >= settings
                .inefficient_tenths
                .saturating_mul(u64::try_from(measured.len()).unwrap_or(u64::MAX));
    let jobs = expected.by_files.max(expected.by_events);
    let is_asked = settings.inefficient_jobs_min > 0 && jobs > settings.inefficient_jobs_min;
    (is_many && is_asked).then_some(Exhausted::LowEfficiency { median, wanted })
}

fn over_cpu(reports: &[ScoutReport]) -> Option<Exhausted> {
    let most = reports.iter().max_by_key(|report| report.cpu_time_s)?;
    let possible = most.walltime_s.saturating_mul(u64::from(most.cores.max(1)));
    (most.cpu_time_s > possible.saturating_mul(ABUSE_FACTOR)).then_some(
        Exhausted::OverCpuConsumption {
            cpu_s: most.cpu_time_s,
            wall_s: most.walltime_s,
            cores: most.cores,
        },
    )
}
