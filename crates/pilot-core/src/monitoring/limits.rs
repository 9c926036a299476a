//! Limits of a running payload, as pure functions of samples.

use std::time::Duration;

use ailurus_experiment::Limits;
use ailurus_model::{ByteCount, ErrorCode, Job, Queue, units::format_duration, usage::UsageSample};

use super::{
    FilesSample, SlotSample,
    memory::{memory_limit, with_grace},
};
use crate::Problem;

/// Size of the job's directory where the queue states none.
///
/// Source: Pilot 3, `pilot/util/default.cfg`, `maximum_input_file_sizes`.
const DIRECTORY_FALLBACK: ByteCount = ByteCount::from_mib(14_336);
/// Time before a machine's shutdown at which a payload is ended, so that what it did is saved.
///
/// Source: Pilot 3, `pilot/control/monitor.py`, `run_shutdowntime_minute_check`.
pub const SHUTDOWN_MARGIN: Duration = Duration::from_secs(600);
/// Time before the end of the slot at which a payload is ended.
///
/// Source: Pilot 3, `pilot/control/monitor.py`, the margin before the pilot's own end.
pub const SLOT_MARGIN: Duration = Duration::from_secs(180);

/// The limits of one job, worked out once from queue, job and profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLimits {
    /// Memory, if limited.
    pub memory: Option<ByteCount>,
    /// Size of the job's directory, if limited.
    pub directory: Option<ByteCount>,
    /// Free space that must stay.
    pub free_space: ByteCount,
    /// Size of standard output, of standard error and of each log file.
    pub stdout: ByteCount,
    /// Size of an output file.
    pub output_file: ByteCount,
    /// Time without progress, if checked.
    pub looping: Option<Duration>,
    /// Time since the job was taken, if limited.
    pub walltime: Option<Duration>,
}

impl JobLimits {
    /// Works out the limits of a job. `life_limit` is the pilot's own, if it has one, and `class`
    /// its memory class.
    ///
    /// Source: Pilot 3, `pilot/util/monitoring.py` and `pilot/control/monitor.py`.
    #[must_use]
    pub fn of(
        job: &Job,
        queue: &Queue,
        limits: &Limits,
        (life_limit, class): (Option<Duration>, Option<&str>),
    ) -> Self {
        let walltime = if queue.job_walltime_is_limit && !job.walltime.is_zero() {
            Some(job.walltime)
        } else {
            life_limit
        };
        // A job of one core gets its share of a slot with several.
        let share = if job.core_count == 1 {
            u64::from(queue.core_count.max(1))
        } else {
            1
        };
        let directory = if queue.disk == ByteCount::ZERO {
            DIRECTORY_FALLBACK
        } else {
            queue.disk
        };
        let directory = ByteCount::from_bytes(directory.as_bytes() / share);
        Self {
            memory: memory_limit(job, queue, class),
            directory: with_grace(directory, queue.disk_grace_percent),
            free_space: limits.free_space_during,
            stdout: limits.stdout,
            output_file: limits.output_file,
            looping: job.looping_check.then_some(limits.looping),
            walltime: walltime.map(|limit| {
                let percent = 100_u32.saturating_add(queue.walltime_grace_percent);
                limit.saturating_mul(percent) / 100
            }),
        }
    }

    /// Judges the processes of a payload.
    ///
    /// # Errors
    ///
    /// 1235 above the memory limit.
    pub fn check_usage(&self, usage: &UsageSample) -> Result<(), Problem> {
        // Shared pages count once, where the kernel tells.
        let used = if usage.pss == ByteCount::ZERO {
            usage.rss
        } else {
            usage.pss
        };
        match self.memory {
            Some(limit) if used > limit => {
                let detail = format!("{used} used, {limit} allowed");
                Err(Problem::new(ErrorCode::PayloadExceedMaxMem, detail))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Judges the directory of a job.
    ///
    /// # Errors
    ///
    /// 1106, 1098, 1104 or 1124, the first of them that is true.
    ///
    /// Source: Pilot 3, `pilot/util/monitoring.py`, `verify_disk_usage`.
    pub fn check_files(&self, files: &FilesSample) -> Result<(), Problem> {
        if files.stdout > self.stdout {
            let detail = format!("{} written, {} allowed", files.stdout, self.stdout);
            return Err(Problem::new(ErrorCode::StdoutTooBig, detail));
        }
        self.check_free_space(files.free_space)?;
        if let Some(limit) = self.directory.filter(|limit| files.total > *limit) {
            let detail = format!("{} used, {limit} allowed", files.total);
            return Err(Problem::new(ErrorCode::UserDirTooLarge, detail));
        }
        // An output that is still empty is no error as long as the payload may write to it.
        if files.largest_output > self.output_file {
            let detail = format!(
                "{} written, {} allowed",
                files.largest_output, self.output_file
            );
            return Err(Problem::new(ErrorCode::OutputFileTooLarge, detail));
        }
        Ok(())
    }

    /// Judges what is free where a job works.
    ///
    /// # Errors
    ///
    /// 1098 if it is too little.
    pub fn check_free_space(&self, free: ByteCount) -> Result<(), Problem> {
        if free > self.free_space {
            return Ok(());
        }
        let detail = format!("{free} free, more than {} wanted", self.free_space);
        Err(Problem::new(ErrorCode::NoLocalSpace, detail))
    }

    /// Judges the progress of a payload that started or last changed a file `idle` ago.
    ///
    /// # Errors
    ///
    /// 1150 if that is too long ago.
    pub fn check_progress(&self, idle: Duration) -> Result<(), Problem> {
        match self.looping {
            Some(limit) if idle > limit => {
                let detail = format!("no file changed for {}", format_duration(limit));
                Err(Problem::new(ErrorCode::LoopingJob, detail))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Judges how long the slot lasts.
///
/// # Errors
///
/// 1213 if the machine is shut down or the batch system ends the slot soon.
pub fn check_slot(slot: &SlotSample) -> Result<(), Problem> {
    let ends = [
        (
            slot.shuts_down_in,
            SHUTDOWN_MARGIN,
            "the machine is shut down",
        ),
        (slot.ends_in, SLOT_MARGIN, "the batch system ends the slot"),
    ];
    for (left, margin, what) in ends {
        if let Some(left) = left.filter(|left| *left < margin) {
            let left = format_duration(Duration::from_secs(left.as_secs()));
            let detail = format!("{what} in {left}");
            return Err(Problem::new(ErrorCode::ReachedMaxTime, detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::{job, site};

    fn limits(change: fn(&mut Job, &mut Queue)) -> JobLimits {
        let (mut job, mut queue) = (job(1), site().queue);
        change(&mut job, &mut queue);
        let life = (Some(Duration::from_secs(1000)), None);
        JobLimits::of(&job, &queue, &Limits::default(), life)
    }

    fn code(result: Result<(), Problem>) -> Option<ErrorCode> {
        result.err().map(|problem| problem.code)
    }

    #[test]
    fn memory_is_limited_to_the_queues_with_its_grace() {
        let limits = limits(|_, queue| {
            queue.memory = ByteCount::from_mib(1000);
            queue.memory_grace_percent = 100;
        });
        let used = |pss, rss| UsageSample {
            pss: ByteCount::from_mib(pss),
            rss: ByteCount::from_mib(rss),
            ..UsageSample::default()
        };
        let too_much = Some(ErrorCode::PayloadExceedMaxMem);
        assert_eq!(code(limits.check_usage(&used(2000, 9000))), None);
        assert_eq!(code(limits.check_usage(&used(2001, 9000))), too_much);
        assert_eq!(code(limits.check_usage(&used(0, 2001))), too_much);
    }

    #[test]
    fn a_job_of_one_core_gets_its_share_of_the_slots_disk() {
        let limits = limits(|job, queue| {
            (job.core_count, queue.core_count) = (1, 4);
            (queue.disk, queue.disk_grace_percent) = (ByteCount::from_gib(40), 20);
        });
        assert_eq!(limits.directory, Some(ByteCount::from_gib(12)));
    }

    #[test]
    fn the_directory_is_judged_for_space_size_and_output() {
        let limits = limits(|_, queue| queue.disk = ByteCount::from_gib(10));
        let files = |free, total, stdout| FilesSample {
            free_space: ByteCount::from_gib(free),
            total: ByteCount::from_gib(total),
            stdout: ByteCount::from_gib(stdout),
            ..FilesSample::default()
        };
        assert_eq!(code(limits.check_files(&files(2, 9, 2))), None);
        assert_eq!(
            code(limits.check_files(&files(1, 9, 2))),
            Some(ErrorCode::NoLocalSpace)
        );
        assert_eq!(
            code(limits.check_files(&files(2, 11, 2))),
            Some(ErrorCode::UserDirTooLarge)
        );
        assert_eq!(
            code(limits.check_files(&files(0, 99, 3))),
            Some(ErrorCode::StdoutTooBig)
        );
        let output = |largest_output| FilesSample {
            largest_output,
            ..files(2, 9, 2)
        };
        assert_eq!(
            code(limits.check_files(&output(ByteCount::from_gib(500)))),
            None
        );
        assert_eq!(
            code(limits.check_files(&output(ByteCount::from_gib(501)))),
            Some(ErrorCode::OutputFileTooLarge)
        );
    }

    #[test]
    fn a_queue_without_a_size_gets_pilot_3s() {
        let limits =
            limits(|_, queue| (queue.disk, queue.disk_grace_percent) = (ByteCount::ZERO, 0));
        assert_eq!(limits.directory, Some(ByteCount::from_gib(14)));
    }

    #[test]
    fn a_slot_that_ends_soon_ends_the_payload_before() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let code = |shuts_down_in, ends_in| {
            let slot = SlotSample {
                ends_in,
                shuts_down_in,
            };
            code(check_slot(&slot))
        };
        let over = Some(ErrorCode::ReachedMaxTime);
        assert_eq!(code(None, None), None);
        assert_eq!(code(seconds(600), seconds(180)), None);
        assert_eq!(code(seconds(599), None), over);
        assert_eq!(code(None, seconds(179)), over);
    }

    #[test]
    fn a_payload_loops_after_more_than_the_limit_unless_the_job_says_no() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let checked = limits(|_, _| {});
        assert_eq!(code(checked.check_progress(hours(2))), None);
        assert_eq!(
            code(checked.check_progress(hours(3))),
            Some(ErrorCode::LoopingJob)
        );
        let unchecked = limits(|job, _| job.looping_check = false);
        assert_eq!(code(unchecked.check_progress(hours(98))), None);
    }

    #[test]
    fn the_jobs_own_wall_time_counts_only_where_the_queue_says_so() {
        let limits_of = |is_limit: bool| {
            let (mut job, mut queue) = (job(1), site().queue);
            job.walltime = Duration::from_secs(60);
            (queue.job_walltime_is_limit, queue.walltime_grace_percent) = (is_limit, 10);
            let life = (Some(Duration::from_secs(1000)), None);
            JobLimits::of(&job, &queue, &Limits::default(), life).walltime
        };
        assert_eq!(limits_of(true), Some(Duration::from_secs(66)));
        assert_eq!(limits_of(false), Some(Duration::from_secs(1100)));
    }
}
