//! When a task is not tried again, however often somebody asks.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/task_complex_module.py`
//! (`retryTask_JEDI`, configuration `retry_task`).

use serde::Deserialize;

use crate::ledger::WorkDone;

/// HS06 of a core, as PanDA takes it where nothing is told.
const HS06_PER_CORE: u64 = 10;
/// Milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;

/// Limits of retries of tasks with one label; zero is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryLimits {
    /// Attempts of a task (`TASK_MAX_ATTEMPT`).
    pub task_attempts_max: u32,
    /// Attempts that a job may have when a retry is still taken (`JOB_MAX_ATTEMPT`).
    pub job_attempts_max: u32,
    /// Percent of jobs that may have failed (`MAX_JOB_FAILURE_RATE`).
    pub failed_jobs_percent_max: u32,
    /// HS06 hours that failed jobs may have used (`MAX_FAILED_HEP_SCORE_HOURS`).
    pub failed_hs06_hours_max: u32,
    /// Percent of the HS06 hours that failed jobs may have used (`MAX_FAILED_HEP_SCORE_RATE`).
    pub failed_hs06_percent_max: u32,
    /// Percent of their cores that finished jobs must have used (`MIN_CPU_EFFICIENCY`).
    pub cpu_efficiency_percent_min: u32,
}

/// What becomes of a task that is not tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RetryLimit {
    /// It waits for a person's decision.
    Exhausted(String),
    /// It stays what it is.
    Rejected(String),
}

/// Returns the limit that a task has reached, if any; `attempt_nr` is its attempt.
pub(super) fn limit_of(
    limits: &RetryLimits,
    command: &str,
    attempt_nr: u32,
    work: &WorkDone,
) -> Option<RetryLimit> {
    let exhausted = |why: String| {
        Some(RetryLimit::Exhausted(format!(
            "exhausted upon retry: {why}"
        )))
    };
    let is_over = |has: u64, most: u32| most > 0 && has >= u64::from(most);
    if is_over(u64::from(attempt_nr), limits.task_attempts_max) {
        let most = limits.task_attempts_max;
        return exhausted(format!("more than {most} attempts of a task are forbidden"));
    }
    let hours = work.failed_core_ms / HOUR_MS * HS06_PER_CORE;
    if is_over(hours, limits.failed_hs06_hours_max) {
        let most = limits.failed_hs06_hours_max;
        return exhausted(format!(
            "failed jobs used {hours} HS06 hours, {most} may be"
        ));
    }
    let percent_of = |part: u64, rest: u64| {
        let all = part.saturating_add(rest);
        part.saturating_mul(100).checked_div(all).unwrap_or(0)
    };
    let wasted = percent_of(work.failed_core_ms, work.finished_core_ms);
    if is_over(wasted, limits.failed_hs06_percent_max) {
        let most = limits.failed_hs06_percent_max;
        return exhausted(format!(
            "failed jobs used {wasted} % of the HS06 hours, {most} % may be"
        ));
    }
    let failed = percent_of(work.jobs_failed, work.jobs_finished);
    if is_over(failed, limits.failed_jobs_percent_max) {
        let most = limits.failed_jobs_percent_max;
        return exhausted(format!("{failed} % of its jobs failed, {most} % may"));
    }
    if is_over(u64::from(work.attempts_max), limits.job_attempts_max) {
        let (has, most) = (work.attempts_max, limits.job_attempts_max);
        return Some(RetryLimit::Rejected(format!(
            "{command} was rejected: some jobs have {has} attempts, {most} are the limit"
        )));
    }
    let least = u64::from(limits.cpu_efficiency_percent_min);
    let used = work.finished_cpu_s.saturating_mul(100_000);
    if let Some(efficiency) = used.checked_div(work.finished_core_ms)
        && least > efficiency
    {
        return exhausted(format!(
            "finished jobs used {efficiency} % of their cores, {least} % are the least"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_own_word_and_none_is_on_by_itself() {
        let work = WorkDone {
            jobs_finished: 1,
            jobs_failed: 3,
            finished_core_ms: HOUR_MS,
            failed_core_ms: 3 * HOUR_MS,
            finished_cpu_s: 900,
            attempts_max: 6,
        };
        let found = |limits: RetryLimits| match limit_of(&limits, "retry", 4, &work) {
            None => "none".to_owned(),
            Some(RetryLimit::Exhausted(why) | RetryLimit::Rejected(why)) => why,
        };
        let none = RetryLimits::default();
        assert_eq!(found(none), "none");
        for (limits, word) in [
            (
                RetryLimits {
                    task_attempts_max: 4,
                    ..none
                },
                "attempts of a task",
            ),
            (
                RetryLimits {
                    failed_hs06_hours_max: 30,
                    ..none
                },
                "30 HS06 hours",
            ),
            (
                RetryLimits {
                    failed_hs06_percent_max: 75,
                    ..none
                },
                "75 % of the HS06",
            ),
            (
                RetryLimits {
                    failed_jobs_percent_max: 70,
                    ..none
                },
                "75 % of its jobs",
            ),
            (
                RetryLimits {
                    job_attempts_max: 6,
                    ..none
                },
                "retry was rejected",
            ),
            (
                RetryLimits {
                    cpu_efficiency_percent_min: 26,
                    ..none
                },
                "25 % of their cores",
            ),
        ] {
            assert!(found(limits).contains(word), "{}", found(limits));
        }
        let just = RetryLimits {
            task_attempts_max: 5,
            job_attempts_max: 7,
            failed_jobs_percent_max: 76,
            failed_hs06_hours_max: 31,
            failed_hs06_percent_max: 76,
            cpu_efficiency_percent_min: 25,
        };
        assert_eq!(found(just), "none");
    }
}
