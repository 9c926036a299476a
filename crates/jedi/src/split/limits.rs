//! What bounds a job, and how much each file adds to it.

use serde::{Deserialize, Serialize};

use super::{Content, Sums};
use crate::{
    refined::RefinedTask,
    resources::GrowsWith,
    rules::{BoundaryRule, Rule, ScoutRule},
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Room for output that is always kept free (`defaultOutputSize`), bytes.
pub const OUTPUT_ALLOWANCE: u64 = 1500 * MIB;
/// Input and output of a job when nothing is told, bytes.
pub const SIZE_DEFAULT: u64 = 20 * GIB;
/// Master files of a job when nothing is told.
pub const FILES_DEFAULT: u64 = 200;
/// Files of all streams of a job (`maxTotalNumFiles`).
pub const TOTAL_FILES_MAX: u64 = 1000;
/// Input of one of the first jobs that reads it directly (`maxInputSizeScouts`), bytes.
pub const SCOUT_SIZE: u64 = 50_000 * MIB;
/// Input of a later job that reads it directly (`maxInputSizeAvalanche`), bytes.
pub const BULK_SIZE: u64 = 500_000 * MIB;
/// Output of a job to one stream, bytes.
pub const OUT_SIZE: u64 = 10 * GIB;
/// Output of a merge job to one stream when nothing is told, bytes.
pub const MERGE_OUT_SIZE: u64 = 5 * GIB;
/// Files of a merge job when nothing is told.
pub const MERGE_FILES_DEFAULT: u64 = 50;
/// Least space of a merge job besides its files, bytes.
pub const MERGE_WORK: u64 = 500 * MIB;
/// Output of a merge job for its input, thousandths.
pub const MERGE_GROWTH_PER_MILLE: u64 = 1200;

/// What bounds a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLimits {
    /// Exactly so many master files, where there are enough.
    pub files_per_job: Option<u64>,
    /// At most so many master files.
    pub files_max: u64,
    /// Exactly so many events, where there are enough.
    pub events_per_job: Option<u64>,
    /// Input and output, bytes.
    pub bytes_max: Option<u64>,
    /// Output to one stream, bytes.
    pub out_bytes_max: Option<u64>,
    /// Scratch space, bytes.
    pub disk_bytes_max: Option<u64>,
    /// Wall time, seconds.
    pub walltime_max_s: Option<u64>,
    /// Files of all streams.
    pub total_files_max: u64,
    /// How files of one boundary go together.
    pub boundary: Option<BoundaryRule>,
    /// Whether a job stays in one lumi block.
    pub respects_lumi_blocks: bool,
    /// Fields of the name that all files of a job have in common.
    pub name_fields: Option<Vec<usize>>,
    /// Whether files are pieces of files, of which a job takes as many as it can.
    pub has_pieces: bool,
    /// How much each file adds.
    pub growth: JobGrowth,
}

/// How much each file adds to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobGrowth {
    /// Output for each MiB of input or for each event, bytes.
    pub out_bytes: u64,
    /// Whether the output grows with events instead of input.
    pub out_grows_with_events: bool,
    /// Output for each byte of input besides, thousandths (merging).
    pub out_per_mille_of_input: u64,
    /// Space that every job needs, bytes.
    pub work_bytes: u64,
    /// Wall time before the first event, seconds.
    pub base_walltime_s: u64,
    /// Wall time of an event, microseconds, when events count.
    pub walltime_us_per_event: Option<u64>,
    /// Wall time of a MiB of input, microseconds, when events do not count.
    pub walltime_us_per_mib: u64,
    /// How inputs are read.
    pub access: Access,
}

/// How inputs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Access {
    /// They are copied to the node.
    Copied,
    /// They are read where they lie.
    Direct,
}

/// What a queue offers to one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSize {
    /// Scratch space (`maxwdir`), bytes; 0 if not told.
    pub scratch_bytes: u64,
    /// Wall time (`maxtime`), seconds; 0 if not bounded.
    pub walltime_max_s: u64,
    /// Cores, at least 1.
    pub cores: u32,
    /// HS06 of a core, thousandths; 0 if not told.
    pub core_power_milli: u64,
    /// How its jobs read inputs of this task.
    pub access: Access,
}

/// Which of a task's jobs are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// The first few, which measure.
    Scouts,
    /// All others.
    Bulk,
}

impl JobLimits {
    /// Works out the bounds of a task's jobs at a queue.
    #[must_use]
    pub fn for_task(task: &RefinedTask, queue: &QueueSize, phase: Phase) -> Self {
        let rules = &task.rules;
        let has_pieces = rules.positive(Rule::DynamicNumEvents).is_some();
        let boundary = rules.boundary();
        let is_whole = boundary == Some(BoundaryRule::Whole);
        let mut files_per_job = rules.files_per_job();
        let mut events_per_job = rules.events_per_job();
        let is_told = files_per_job.is_some() || events_per_job.is_some();
        let is_scout = phase == Phase::Scouts && rules.scouts() == ScoutRule::Wanted;
        if is_scout && !is_told && boundary.is_none() && !rules.is_set(Rule::RespectSplitRule) {
            files_per_job = Some(1);
        }
        let growth = JobGrowth::for_task(task, queue);
        let bytes_max = match rules.bytes_per_job() {
            Some(bytes) => Some(
                bytes
                    .saturating_add(OUTPUT_ALLOWANCE)
                    .saturating_add(growth.work_bytes),
            ),
            None if queue.access == Access::Copied && queue.scratch_bytes > 0 => {
                Some(queue.scratch_bytes)
            }
            None if is_told => None,
            None if queue.access == Access::Direct && is_scout => {
                Some(SCOUT_SIZE.max(queue.scratch_bytes))
            }
            None if queue.access == Access::Direct => Some(BULK_SIZE.max(queue.scratch_bytes)),
            None => Some(SIZE_DEFAULT),
        };
        if has_pieces || is_whole {
            files_per_job = None;
            events_per_job = if is_whole {
                None
            } else {
                rules.positive(Rule::MaxEventsPerJob)
            };
        }
        let site_walltime = Some(queue.walltime_max_s).filter(|limit| *limit > 0);
        let task_walltime = rules.walltime_max_s();
        Self {
            files_per_job,
            files_max: files_per_job.unwrap_or_else(|| {
                rules
                    .positive(Rule::NMaxFilesPerJob)
                    .unwrap_or(FILES_DEFAULT)
            }),
            events_per_job,
            bytes_max,
            out_bytes_max: Some(OUT_SIZE),
            disk_bytes_max: Some(queue.scratch_bytes).filter(|bytes| *bytes > 0),
            walltime_max_s: [site_walltime, task_walltime].into_iter().flatten().min(),
            total_files_max: TOTAL_FILES_MAX,
            boundary,
            respects_lumi_blocks: rules.is_set(Rule::RespectLb),
            name_fields: source_fields(task, 0),
            has_pieces,
            growth,
        }
    }

    /// Works out the bounds of a task's merge jobs at a queue.
    #[must_use]
    pub fn for_merge(task: &RefinedTask, queue: &QueueSize) -> Self {
        let rules = &task.rules;
        let out_bytes = rules
            .positive(Rule::NGbPerMergeJob)
            .map(|gib| gib.saturating_mul(GIB));
        let files_per_job = rules.positive(Rule::NFilesPerMergeJob);
        let files_max = rules
            .positive(Rule::NMaxFilesPerMergeJob)
            .unwrap_or(MERGE_FILES_DEFAULT);
        let scratch = Some(queue.scratch_bytes).filter(|bytes| *bytes > 0);
        Self {
            files_per_job,
            files_max: files_per_job.unwrap_or(files_max),
            events_per_job: rules.positive(Rule::NEventsPerMergeJob),
            bytes_max: scratch,
            out_bytes_max: Some(out_bytes.unwrap_or(MERGE_OUT_SIZE)),
            disk_bytes_max: scratch,
            walltime_max_s: None,
            total_files_max: TOTAL_FILES_MAX,
            boundary: Some(BoundaryRule::Across),
            respects_lumi_blocks: rules.is_set(Rule::RespectLb),
            name_fields: source_fields(task, MERGE_FIELDS_BEFORE),
            has_pieces: false,
            growth: JobGrowth {
                out_bytes: 0,
                out_grows_with_events: false,
                out_per_mille_of_input: MERGE_GROWTH_PER_MILLE,
                work_bytes: task.resources.work_bytes().max(MERGE_WORK),
                base_walltime_s: 0,
                walltime_us_per_event: None,
                walltime_us_per_mib: 0,
                access: Access::Copied,
            },
        }
    }

    /// Says whether a job is told its number of files, so that nothing else bounds it.
    pub(super) fn is_one_bunch(&self) -> bool {
        self.files_per_job.is_some() && !self.respects_lumi_blocks && !self.has_pieces
    }

    /// Returns how many master files are taken at a time.
    pub(super) fn bunch(&self) -> u64 {
        match self.files_per_job {
            Some(files) if self.is_one_bunch() => files.max(1),
            Some(_) | None => 1,
        }
    }

    /// Says whether all master files of a job have one boundary.
    pub(super) fn stays_in_boundary(&self) -> bool {
        matches!(
            self.boundary,
            Some(BoundaryRule::Within | BoundaryRule::Whole)
        )
    }

    /// Says whether ranges of events must follow each other.
    pub(super) fn counts_events(&self) -> bool {
        self.events_per_job.is_some() || self.has_pieces
    }

    /// Says whether files add up to too much for one job.
    #[must_use]
    pub fn are_broken_by(&self, sums: &Sums) -> bool {
        let above = |limit: Option<u64>, value: u64| limit.is_some_and(|limit| value > limit);
        let out = sums.largest_out_bytes();
        let lacks_allowance = self.bytes_max.is_some_and(|limit| {
            out < OUTPUT_ALLOWANCE
                && limit.saturating_sub(OUTPUT_ALLOWANCE) < sums.bytes - out.min(sums.bytes)
        });
        sums.distinct_files(self.has_pieces) > self.files_max
            || above(self.bytes_max, sums.bytes)
            || lacks_allowance
            || above(self.walltime_max_s, sums.walltime_s)
            || above(self.events_per_job, sums.events)
            || above(self.out_bytes_max, out)
            || above(self.disk_bytes_max, sums.disk_bytes)
            || sums.files > self.total_files_max
    }
}

/// Fields of an unmerged output's name before those of its source: `panda.um.user.nick`.
const MERGE_FIELDS_BEFORE: usize = 4;

/// Returns the fields of the input's name that outputs carry, if jobs are cut by them (`UF`, `AN`).
fn source_fields(task: &RefinedTask, before: usize) -> Option<Vec<usize>> {
    let fields = task.rules.middle_name_fields();
    if fields.is_empty() || !task.rules.is_set(Rule::UseFileAsSourceLfn) {
        return None;
    }
    Some(if before == 0 {
        fields
    } else {
        (before + 1..=before + fields.len()).collect()
    })
}

impl JobGrowth {
    fn for_task(task: &RefinedTask, queue: &QueueSize) -> Self {
        let needs = &task.resources;
        let cores = u128::from(queue.cores.max(1));
        let consumers = match task.rules.positive(Rule::NEsConsumers) {
            Some(consumers) if task.event_service == crate::refined::EventService::Ranges => {
                consumers
            }
            Some(_) | None => 1,
        };
        let slots = cores * u128::from(consumers);
        let walltime_us_per_event = needs.milli_hs06s_per_event().map(|milli| {
            let power = if queue.core_power_milli == 0 {
                1000
            } else {
                queue.core_power_milli
            };
            let efficiency = u128::from(needs.cpu_efficiency_percent);
            let divisor = slots * u128::from(power) * efficiency;
            // Thousandths of HS06 seconds by thousandths of HS06 are seconds.
            let micros = (u128::from(milli) * 100 * 1_000_000)
                .checked_div(divisor)
                .unwrap_or(0);
            u64::try_from(micros).unwrap_or(u64::MAX)
        });
        let per_mib = u128::try_from(needs.walltime_s_per_mb).unwrap_or(0);
        let per_mib = per_mib.saturating_mul(1_000_000) / slots;
        Self {
            out_bytes: needs.out_bytes(),
            out_grows_with_events: needs.out_disk_unit.grows_with == GrowsWith::Events,
            out_per_mille_of_input: 0,
            work_bytes: needs.work_bytes(),
            base_walltime_s: if walltime_us_per_event.is_some() {
                needs.base_walltime_s
            } else {
                0
            },
            walltime_us_per_event,
            walltime_us_per_mib: u64::try_from(per_mib).unwrap_or(u64::MAX),
            access: queue.access,
        }
    }

    /// Returns the output that a file brings, bytes.
    fn out_of(&self, content: &Content) -> u64 {
        let own = if self.out_grows_with_events {
            u128::from(self.out_bytes) * u128::from(content.effective_events())
        } else {
            u128::from(self.out_bytes) * u128::from(content.effective_bytes()) / u128::from(MIB)
        };
        u64::try_from(own)
            .unwrap_or(u64::MAX)
            .saturating_add(self.out_of_input(content.effective_bytes()))
    }

    fn out_of_input(&self, bytes: u64) -> u64 {
        let out = u128::from(bytes) * u128::from(self.out_per_mille_of_input) / 1000;
        u64::try_from(out).unwrap_or(u64::MAX)
    }

    /// Returns the wall time that a file takes, whole seconds.
    fn walltime_of(&self, content: &Content) -> u64 {
        let micros = match self.walltime_us_per_event {
            Some(per_event) => u128::from(per_event) * u128::from(content.effective_events()),
            None => {
                u128::from(self.walltime_us_per_mib) * u128::from(content.effective_bytes())
                    / u128::from(MIB)
            }
        };
        u64::try_from(micros / 1_000_000).unwrap_or(u64::MAX)
    }
}

impl Sums {
    /// Returns how many files count against the most files of a job.
    fn distinct_files(&self, has_pieces: bool) -> u64 {
        if has_pieces {
            self.distinct_files
        } else {
            self.master_files
        }
    }

    pub(super) fn add_master(&mut self, content: &Content, is_new_file: bool, limits: &JobLimits) {
        let growth = &limits.growth;
        if self.master_files == 0 {
            self.bytes = self.bytes.saturating_add(growth.work_bytes);
            self.walltime_s = self.walltime_s.saturating_add(growth.base_walltime_s);
        }
        self.master_files += 1;
        self.files += 1;
        self.distinct_files += u64::from(is_new_file);
        let out = growth.out_of(content);
        self.master_out_bytes = self.master_out_bytes.saturating_add(out);
        self.add_bytes(
            if is_new_file { content.size } else { 0 },
            out,
            growth.access,
        );
        self.walltime_s = self.walltime_s.saturating_add(growth.walltime_of(content));
        self.master_events = self
            .master_events
            .saturating_add(content.effective_events());
        if let Some(events) = content.known_events() {
            self.events = self.events.saturating_add(events);
            self.master_has_events = true;
        }
    }

    pub(super) fn add_secondary(&mut self, at: usize, contents: &[Content], limits: &JobLimits) {
        for content in contents {
            let out = limits.growth.out_of_input(content.size);
            self.secondary_out_bytes[at] = self.secondary_out_bytes[at].saturating_add(out);
            self.add_bytes(content.size, out, limits.growth.access);
            self.files += 1;
            // Where the master has no events (logs of a merge), the first secondary tells them.
            if at == 0 && !self.master_has_events {
                let events = content.known_events().unwrap_or(0);
                self.events = self.events.saturating_add(events);
            }
        }
    }

    fn add_bytes(&mut self, input: u64, out: u64, access: Access) {
        self.input_bytes = self.input_bytes.saturating_add(input);
        self.bytes = self.bytes.saturating_add(input).saturating_add(out);
        let copied = match access {
            Access::Copied => input,
            Access::Direct => 0,
        };
        self.disk_bytes = self.disk_bytes.saturating_add(copied).saturating_add(out);
    }
}
