//! What a task's first few jobs tell about the others: memory, CPU time, output, and whether a
//! person should look before a thousand jobs are made.
//!
//! [`estimate()`] works out new needs from [`ScoutReport`]s, [`ScoutEstimate::apply`] puts them into
//! a task, and [`exhausted()`] tells why a task should wait for a person, if it should.
//!
//! Source: PanDA server, `task_utils_module.py` (`getScoutJobData_JEDI`, `setScoutJobData_JEDI`).

mod exhausted;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::{
    refined::RefinedTask,
    resources::{CpuTimeUnit, GrowsWith, RamUnit, SizeUnit},
};

pub use exhausted::{Exhausted, ExpectedJobs, exhausted};

/// Chunks of input that scouts get.
pub const SCOUTS_MAX: u64 = 10;
/// Events for each core that a job must have for its times to count.
const EVENTS_MIN: u64 = 10;
/// A job with fewer events counts when it ran so long, seconds.
const LONG_RUN_S: u64 = 6 * 3600;
/// Most output for an MiB of input, KiB.
const OUT_DISK_MAX_KIB: u64 = 10 * 1024;
/// Jobs with less CPU time say nothing about the wall time of others, seconds.
const SHORT_CPU_S: u64 = 3600;
/// Power of a core of which nothing is known, thousandths of HS06.
const CORE_POWER_MILLI: u64 = 10_000;

/// The settings of the estimates (`SCOUT_…` of PanDA's configuration).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoutSettings {
    /// Percentile of memory that is taken (`SCOUT_RAMCOUNT_RANK`).
    pub ram_rank: u32,
    /// Margin on memory, percent (`SCOUT_RAMCOUNT_MARGIN`).
    pub ram_margin: u32,
    /// Least memory, MB; 0 is none (`SCOUT_RAMCOUNT_MIN`).
    pub ram_min_mb: u64,
    /// Percentile of CPU time that is taken (`SCOUT_CPUTIME_RANK`).
    pub cpu_time_rank: u32,
    /// Margin on CPU time, percent.
    pub cpu_time_margin: u32,
    /// Percentile of output size that is taken.
    pub out_disk_rank: u32,
    /// Most disk speed, kB/s; 0 is no bound (`SCOUT_DISK_IO_CAP`).
    pub disk_io_max: u64,
    /// Memory per core above which a person is asked, MB (`RAM_THR_EXAUSTED`).
    pub ram_exhausted_mb: u64,
    /// Times the stated CPU time above which a person is asked; 0 is never
    /// (`SCOUT_WRONG_CPUTIME_THRESHOLD`).
    pub cpu_time_exhausted: u64,
    /// No person is asked for fewer new jobs.
    pub new_jobs_min: u64,
    /// A job shorter than this is short, minutes; 0 is none (`SCOUT_SHORT_EXECTIME_…`).
    pub short_minutes: u64,
    /// Tenths of the jobs that must be short for it to matter; 0 is never (`SCOUT_NUM_SHORT_…`).
    pub short_tenths: u64,
    /// It matters only for so many expected jobs; 0 is never (`SCOUT_THR_SHORT_…`).
    pub short_jobs_min: u64,
    /// Whether rules that make jobs short are removed before a person is asked
    /// (`SCOUT_CHANGE_SR_…`).
    pub removes_short_rules: bool,
    /// A job below this CPU efficiency is inefficient, percent (`SCOUT_LOW_CPU_EFFICIENCY_…`).
    pub efficiency_min: u64,
    /// Tenths of the jobs that must be inefficient; 0 is never (`SCOUT_NUM_CPU_INEFFICIENT_…`).
    pub inefficient_tenths: u64,
    /// It matters only above so many expected jobs; 0 is never (`SCOUT_THR_CPU_INEFFICIENT_…`).
    pub inefficient_jobs_min: u64,
}

impl Default for ScoutSettings {
    fn default() -> Self {
        Self {
            ram_rank: 75,
            ram_margin: 10,
            ram_min_mb: 0,
            cpu_time_rank: 95,
            cpu_time_margin: 50,
            out_disk_rank: 75,
            disk_io_max: 0,
            ram_exhausted_mb: 4000,
            cpu_time_exhausted: 2,
            new_jobs_min: 20,
            short_minutes: 0,
            short_tenths: 0,
            short_jobs_min: 0,
            removes_short_rules: false,
            efficiency_min: 0,
            inefficient_tenths: 0,
            inefficient_jobs_min: 0,
        }
    }
}

/// What one finished scout job used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScoutReport {
    /// Input that it was given, bytes (those of ranges by their share).
    pub input_bytes: u64,
    /// Events that it was given, at least 1.
    pub events: u64,
    /// Whether its input only stood for a job.
    pub is_pseudo: bool,
    /// Output without the log, bytes.
    pub output_bytes: u64,
    /// Largest size of its working directory, bytes, if reported (`workDirSize`).
    pub work_dir_bytes: Option<u64>,
    /// CPU time, seconds.
    pub cpu_time_s: u64,
    /// Wall time, seconds.
    pub walltime_s: u64,
    /// Cores, at least 1.
    pub cores: u32,
    /// HS06 of a core of its worker or queue, thousandths; 0 if not known.
    pub core_power_milli: u64,
    /// Largest proportional memory (`maxPSS`), kB; 0 if not reported.
    pub max_pss_kb: u64,
    /// Bytes read and written on disk (`totRBYTES` + `totWBYTES`), KiB, if reported.
    pub disk_kib: Option<u64>,
    /// Whether its queue copies inputs though the task would read them directly.
    pub was_forced_to_copy: bool,
}

/// What the scouts say; what none could tell is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScoutEstimate {
    /// Memory, MB, per core where the task counts so.
    pub ram_mb: Option<u64>,
    /// CPU time of an event.
    pub cpu_time: Option<u64>,
    /// What `cpu_time` counts in.
    pub cpu_time_unit: Option<CpuTimeUnit>,
    /// Output, KiB for an MiB of input or for an event.
    pub out_disk_kib: Option<u64>,
    /// Scratch space besides, MB.
    pub work_disk_mb: Option<u64>,
    /// Wall time, seconds for an MiB of input.
    pub walltime_s_per_mb: Option<i64>,
    /// Input and output speed for each core, kB/s.
    pub io_intensity: Option<u64>,
    /// Disk speed, kB/s.
    pub disk_io: Option<u64>,
    /// Median of the CPU efficiency, percent.
    pub cpu_efficiency: Option<u64>,
}

/// Says whether enough scouts succeeded: the tenths that the task asks for (`SS`).
#[must_use]
pub fn has_succeeded(finished: u64, failed: u64, tenths_wanted: Option<u64>) -> bool {
    let Some(ended) = finished.checked_add(failed).filter(|ended| *ended > 0) else {
        return false;
    };
    finished > 0
        && tenths_wanted
            .is_none_or(|tenths| finished.saturating_mul(10) >= tenths.saturating_mul(ended))
}

/// Works out what other jobs need.
#[must_use]
pub fn estimate(
    task: &RefinedTask,
    reports: &[ScoutReport],
    settings: &ScoutSettings,
) -> ScoutEstimate {
    let needs = &task.resources;
    let each = |value: &dyn Fn(&ScoutReport) -> Option<u64>| -> Vec<u64> {
        reports.iter().filter_map(value).collect()
    };
    let is_fixed_cpu = needs.cpu_time_unit.is_some_and(CpuTimeUnit::is_fixed);
    let cpu = if is_fixed_cpu {
        Vec::new()
    } else {
        each(&|report| milli_hs06s(task, report))
    };
    let cpu = percentile(cpu, settings.cpu_time_rank)
        .map(|milli| milli.saturating_mul(u64::from(100 + settings.cpu_time_margin)) / 100);
    // Short events are counted in thousandths.
    let (cpu_time, cpu_time_unit) = match cpu {
        None => (None, None),
        Some(milli) if milli < 10_000 => (Some(milli), Some(CpuTimeUnit::MilliPerEvent)),
        Some(milli) => (Some(milli.div_ceil(1000)), Some(CpuTimeUnit::PerEvent)),
    };
    let out = if needs.out_disk_unit.is_fixed {
        Vec::new()
    } else {
        each(&|report| out_bytes(task, report))
    };
    let out_disk_kib =
        percentile(out, settings.out_disk_rank).map(|bytes| (bytes / 1024).min(OUT_DISK_MAX_KIB));
    let disk_io = each(&|report| report.disk_kib?.checked_div(report.walltime_s));
    let disk_io = average(&disk_io).map(|speed| {
        if settings.disk_io_max > 0 {
            speed.min(settings.disk_io_max)
        } else {
            speed
        }
    });
    ScoutEstimate {
        ram_mb: ram_mb(task, reports, settings),
        cpu_time,
        cpu_time_unit,
        out_disk_kib,
        work_disk_mb: each(&|report| Some(report.work_dir_bytes? >> 20))
            .into_iter()
            .max(),
        walltime_s_per_mb: walltime(task, reports),
        io_intensity: each(&io_intensity).into_iter().max(),
        disk_io,
        cpu_efficiency: median(each(&efficiency)),
    }
}

/// CPU time of an event, thousandths of HS06 seconds, if the job had enough events.
fn milli_hs06s(task: &RefinedTask, report: &ScoutReport) -> Option<u64> {
    let cores = u64::from(report.cores.max(1));
    let is_enough =
        report.events >= EVENTS_MIN * cores || report.is_pseudo || report.walltime_s > LONG_RUN_S;
    if !is_enough {
        return None;
    }
    let power = if report.core_power_milli == 0 {
        CORE_POWER_MILLI
    } else {
        report.core_power_milli
    };
    let seconds = report
        .walltime_s
        .saturating_sub(task.resources.base_walltime_s);
    let efficiency = u128::from(task.resources.cpu_efficiency_percent);
    let milli = u128::from(seconds) * u128::from(power) * u128::from(cores) * efficiency / 100;
    u64::try_from(milli / u128::from(report.events.max(1))).ok()
}

/// Output for an MiB of input or for an event, bytes, if the job had enough events.
fn out_bytes(task: &RefinedTask, report: &ScoutReport) -> Option<u64> {
    if report.events < EVENTS_MIN {
        return None;
    }
    match task.resources.out_disk_unit.grows_with {
        GrowsWith::Events => Some(report.output_bytes.div_ceil(report.events.max(1))),
        GrowsWith::InputMib => {
            let out = u128::from(report.output_bytes) << 20;
            u64::try_from(out.div_ceil(u128::from(report.input_bytes.max(1)))).ok()
        }
    }
}

fn ram_mb(task: &RefinedTask, reports: &[ScoutReport], settings: &ScoutSettings) -> Option<u64> {
    let needs = &task.resources;
    let used = |report: &ScoutReport| {
        let pss = Some(report.max_pss_kb).filter(|pss| *pss > 0)?;
        match needs.ram_unit {
            RamUnit::MbPerCoreFixed => None,
            RamUnit::MbPerCore => {
                let growing = pss.saturating_sub(needs.base_ram_mb.saturating_mul(1024));
                Some(growing.div_ceil(u64::from(report.cores.max(1))))
            }
            RamUnit::Mb => Some(pss),
        }
    };
    let used = percentile(reports.iter().filter_map(used).collect(), settings.ram_rank)?;
    let with_margin = used.saturating_mul(u64::from(100 + settings.ram_margin)) / 100;
    Some((with_margin / 1024).max(settings.ram_min_mb))
}

/// Wall time, seconds for an MiB of input; what the task states stays when it is more.
fn walltime(task: &RefinedTask, reports: &[ScoutReport]) -> Option<i64> {
    let longest = reports.iter().map(|report| report.cpu_time_s).max()?;
    let stated = task.resources.walltime_s_per_mb;
    let longest = if longest < SHORT_CPU_S { 0 } else { longest };
    let largest = reports
        .iter()
        .map(|report| report.input_bytes)
        .max()?
        .max(1 << 20);
    let seconds = ((u128::from(longest) * 3) << 20).div_ceil(u128::from(largest) * 2);
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX).min(999_999_999);
    Some(if stated < 0 {
        stated
    } else {
        stated.max(seconds)
    })
}

/// Input and output speed for each core, kB/s.
fn io_intensity(report: &ScoutReport) -> Option<u64> {
    let kib = (u128::from(report.input_bytes) + u128::from(report.output_bytes)) >> 10;
    let slots = u128::from(report.walltime_s) * u128::from(report.cores.max(1));
    (slots > 0).then(|| u64::try_from(kib.div_ceil(slots)).unwrap_or(u64::MAX))
}

/// CPU efficiency of a job, percent, rounded up.
fn efficiency(report: &ScoutReport) -> Option<u64> {
    let slots = report
        .walltime_s
        .saturating_mul(u64::from(report.cores.max(1)));
    (slots > 0).then(|| report.cpu_time_s.saturating_mul(100).div_ceil(slots))
}

/// Returns a percentile; between two values the mean by distance.
fn percentile(mut values: Vec<u64>, percent: u32) -> Option<u64> {
    values.sort_unstable();
    let last = values.len().checked_sub(1)?;
    let place = last * usize::try_from(percent.min(100)).ok()?;
    let (low, rest) = (place / 100, place % 100);
    let (first, second) = (values[low], values[(low + 1).min(last)]);
    let rest = u128::try_from(rest).ok()?;
    u64::try_from((u128::from(first) * (100 - rest) + u128::from(second) * rest) / 100).ok()
}

fn median(values: Vec<u64>) -> Option<u64> {
    percentile(values, 50)
}

fn average(values: &[u64]) -> Option<u64> {
    let count = u64::try_from(values.len())
        .ok()
        .filter(|count| *count > 0)?;
    let sum: u128 = values.iter().map(|value| u128::from(*value)).sum();
    u64::try_from(sum / u128::from(count)).ok()
}

impl ScoutEstimate {
    /// Puts the estimate into a task, and ends its first phase (`US=3`).
    pub fn apply(&self, task: &mut RefinedTask) {
        let needs = &mut task.resources;
        if let Some(ram) = self.ram_mb {
            needs.ram_mb = ram;
        }
        if let (Some(time), Some(unit)) = (self.cpu_time, self.cpu_time_unit) {
            needs.cpu_time = time;
            needs.cpu_time_unit = Some(unit);
        }
        if let Some(out) = self.out_disk_kib {
            needs.out_disk = out;
            needs.out_disk_unit.size = SizeUnit::Kib;
        }
        if let Some(work) = self.work_disk_mb {
            let stated = needs.work_disk.saturating_mul(needs.work_disk_unit.bytes()) >> 20;
            needs.work_disk = work.max(stated);
            needs.work_disk_unit = SizeUnit::Mib;
        }
        if let Some(walltime) = self.walltime_s_per_mb {
            needs.walltime_s_per_mb = walltime;
            needs.walltime_unit = Some("kSI2kseconds".to_owned());
        }
        if let Some(speed) = self.io_intensity {
            needs.io_intensity = speed;
            needs.io_intensity_unit = Some("kBPerS".to_owned());
        }
        if let Some(speed) = self.disk_io {
            needs.disk_io = speed;
        }
        task.rules.set(crate::rules::Rule::UseScout, 3);
    }
}

/// Returns new GB of a job from the size that its largest output is to have (`TN`), if that is told.
///
/// `largest` is the largest output of the job that stands for the others, `all` its whole output,
/// both in bytes; `estimate` must be applied to the task already.
#[must_use]
pub fn gib_per_job(task: &RefinedTask, all: u64, largest: u64) -> Option<u64> {
    use crate::{rules::Rule, split::limits::OUTPUT_ALLOWANCE};
    const GIB_MAX: u64 = 100;
    let target = u128::from(task.rules.positive(Rule::TgtMaxOutputForNg)?) << 30;
    if all == 0 || largest == 0 || task.resources.out_disk_unit.grows_with == GrowsWith::Events {
        return None;
    }
    let out = u128::from(all) * target / u128::from(largest);
    // The output of an MiB of input tells how much input makes so much output.
    let input = (out / u128::from(task.resources.out_bytes().max(1))) << 20;
    let bytes = (out + input).saturating_sub(u128::from(OUTPUT_ALLOWANCE));
    Some(
        u64::try_from(bytes >> 30)
            .unwrap_or(GIB_MAX)
            .clamp(1, GIB_MAX),
    )
}
