//! The priority with which a job begins.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/job_complex_module.py`,
//! `insertNewJob`, and `pandaserver/taskbuffer/PrioUtil.py`.

use ailurus_model::{JobTags, job_tags};

/// From here on, a user's priority is kept as it is.
const JUMP_OVER: i64 = 1500;
/// Installations of software.
const INSTALL: i64 = 4100;
/// The release tests of an experiment.
const RELEASE_TESTS: i64 = 7000;
/// The user who runs release tests.
const RELEASE_TESTER: &str = "artprod";
/// Users' jobs that are marked as urgent.
const EXPRESS: i64 = 6000;
/// Build jobs, and those that are marked as urgent.
const BUILD: i64 = 2000;
const EXPRESS_BUILD: i64 = 6500;
/// Where users' jobs begin.
const USER: i64 = 1000;
/// Jobs of a user's batch that share one priority.
const JOBS_PER_STEP: i64 = 5;

/// What a job's first priority depends on.
#[derive(Debug, Clone, Copy)]
pub struct PriorityInput<'a> {
    /// Production, analysis, test.
    pub source_label: &'a str,
    /// The kind of processing.
    pub processing_type: &'a str,
    /// The user's compact name.
    pub user: &'a str,
    /// What is special about the job.
    pub tags: &'a JobTags,
    /// The priority that the submitter or the task gives, if one is given.
    pub assigned: Option<i64>,
    /// What the user's groups add.
    pub offset: i64,
    /// Which job of the user's batch it is, from 0.
    pub serial: u32,
}

/// Returns the priority with which a job begins.
#[must_use]
pub fn first_priority(job: &PriorityInput<'_>) -> i64 {
    let is_users = matches!(job.source_label, "user" | "panda");
    let is_express = job.tags.has(job_tags::EXPRESS);
    if job.source_label == "install" {
        return INSTALL;
    }
    if is_users && job.user == RELEASE_TESTER {
        return RELEASE_TESTS;
    }
    match (job.source_label, job.assigned) {
        ("user", Some(value)) if is_kept(job, value) => value,
        ("user", _) if is_express => EXPRESS,
        ("user", _) => USER + job.offset - i64::from(job.serial) / JOBS_PER_STEP,
        ("panda", _) if is_express => EXPRESS_BUILD,
        ("panda", _) => BUILD + job.offset,
        (_, assigned) => assigned.unwrap_or(0),
    }
}

/// Merge jobs, scouts and important tasks keep what they were given.
fn is_kept(job: &PriorityInput<'_>, value: i64) -> bool {
    job.processing_type == "pmerge" || job.tags.has(job_tags::SCOUT) || value >= JUMP_OVER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_checked_in_pandas_order() {
        // Label, processing type, user, tags, assigned, serial; expected.
        let table = [
            ("install", "", "artprod", "", Some(5), 0, 4100),
            ("user", "", "artprod", "", None, 0, 7000),
            ("user", "pmerge", "jane", "", Some(300), 0, 300),
            ("user", "", "jane", "sj", Some(300), 0, 300),
            ("user", "", "jane", "", Some(1500), 0, 1500),
            ("user", "", "jane", "", Some(300), 12, 998),
            ("user", "", "jane", "express", None, 0, 6000),
            ("panda", "", "jane", "", None, 0, 2000),
            ("panda", "", "jane", "express", None, 0, 6500),
            ("managed", "", "jane", "", Some(900), 0, 900),
            ("managed", "", "jane", "", None, 0, 0),
        ];
        for (source_label, processing_type, user, tags, assigned, serial, expected) in table {
            let tags = JobTags::new(tags);
            let job = PriorityInput {
                source_label,
                processing_type,
                user,
                tags: &tags,
                assigned,
                offset: 0,
                serial,
            };
            assert_eq!(first_priority(&job), expected, "{job:?}");
        }
    }
}
