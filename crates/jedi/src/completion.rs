//! How a task ends: its final status, and how complete it is.
//!
//! [`final_status()`] takes sums over the task's master inputs ([`Progress`]), which others keep.
//!
//! Source: PanDA server, `pandajedi/jedipprocess/PostProcessorBase.py` (`getFinalTaskStatus`).

use ailurus_model::TaskStatus;
use serde::{Deserialize, Serialize};

use crate::rules::{Rule, SplitRules};

/// Goal of a task that states none: all, per mille.
pub const GOAL_DEFAULT: u32 = 1000;

/// How far a task has come: sums over its master inputs that are not removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Files (`nFiles`).
    pub files: u64,
    /// Files that are done (`nFilesFinished`).
    pub finished: u64,
    /// Files that will not be done (`nFilesFailed`).
    pub failed: u64,
    /// Events, 0 if not known (`nEvents`).
    pub events: u64,
    /// Events that are done (`nEventsUsed`).
    pub events_done: u64,
}

/// The task before it, of which the end depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parent {
    /// There is none.
    None,
    /// It has this status, and some input of the task may still grow or not.
    Task {
        /// Status of the parent.
        status: TaskStatus,
        /// A master input may still get files.
        has_open_input: bool,
    },
}

/// What a task is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Its status.
    pub status: TaskStatus,
    /// Why, where a person will ask (`errorDialog`).
    pub dialog: Option<String>,
}

impl Progress {
    /// Returns how complete the task is, per mille: by events, or by files where there are none.
    #[must_use]
    pub fn per_mille(&self) -> u32 {
        let (done, all) = match (self.events, self.files) {
            (0, 0) => return 0,
            (0, files) => (self.finished, files),
            (events, _) => (self.events_done, events),
        };
        u32::try_from(u128::from(done) * 1000 / u128::from(all)).unwrap_or(u32::MAX)
    }

    /// Says whether nothing is left to do: every file that is to be used has ended.
    #[must_use]
    pub fn is_over(&self, to_be_used: u64, used: u64) -> bool {
        let ended = self.finished.saturating_add(self.failed);
        to_be_used <= ended && (to_be_used == 0 || used > 0)
    }
}

/// Works out what becomes of a task whose jobs have all ended.
#[must_use]
pub fn final_status(
    status: TaskStatus,
    progress: &Progress,
    parent: Parent,
    rules: &SplitRules,
    goal_per_mille: Option<u32>,
) -> Ending {
    let ending = ending_by_files(status, progress, parent);
    if ending.status != TaskStatus::Finished {
        return ending;
    }
    let goal = goal_per_mille.unwrap_or(GOAL_DEFAULT);
    let reached = progress.per_mille();
    let is_passed = status == TaskStatus::Passed;
    let asks_person = rules.is_set(Rule::UseExhausted) && !is_passed;
    if asks_person {
        // A goal must be stated to be reached without a person.
        let is_reached = goal_per_mille.is_some() && reached >= goal;
        if is_reached {
            return ending;
        }
        let why = if progress.files == progress.finished {
            "the parent task was incomplete"
        } else {
            "the task was incomplete"
        };
        return Ending {
            status: TaskStatus::Exhausted,
            dialog: Some(format!("exhausted since {why} and didn't reach the goal")),
        };
    }
    if rules.is_set(Rule::FailGoalUnreached) && reached < goal {
        let percent = |per_mille: u32| format!("{}.{} %", per_mille / 10, per_mille % 10);
        return failed(&format!(
            "the task is complete to {}, which is less than its goal of {}",
            percent(reached),
            percent(goal)
        ));
    }
    ending
}

fn ending_by_files(status: TaskStatus, progress: &Progress, parent: Parent) -> Ending {
    let plain = |status| Ending {
        status,
        dialog: None,
    };
    let commanded = [
        (TaskStatus::ToBroken, TaskStatus::Broken),
        (TaskStatus::ToAbort, TaskStatus::Aborted),
        (TaskStatus::Paused, TaskStatus::Paused),
    ];
    if let Some((_, end)) = commanded.iter().find(|(from, _)| *from == status) {
        return plain(*end);
    }
    if progress.files != progress.finished {
        return if progress.finished == 0 {
            failed("no file was processed")
        } else {
            plain(TaskStatus::Finished)
        };
    }
    match parent {
        Parent::None => plain(TaskStatus::Done),
        Parent::Task {
            status: TaskStatus::Done,
            has_open_input: false,
        } => plain(TaskStatus::Done),
        Parent::Task { status, .. }
            if matches!(
                status,
                TaskStatus::Failed | TaskStatus::Broken | TaskStatus::Aborted
            ) =>
        {
            failed(&format!(
                "the parent task is {status}, although all files were processed"
            ))
        }
        Parent::Task { .. } => plain(TaskStatus::Finished),
    }
}

fn failed(why: &str) -> Ending {
    Ending {
        status: TaskStatus::Failed,
        dialog: Some(format!("failed since {why}")),
    }
}

/// Returns the final status of an output dataset, whose task ends with `task`.
#[must_use]
pub fn dataset_status(task: TaskStatus, files: u64, finished: u64) -> &'static str {
    if matches!(
        task,
        TaskStatus::Failed | TaskStatus::Broken | TaskStatus::Aborted
    ) {
        "failed"
    } else if files > finished && finished > 0 {
        "finished"
    } else {
        "done"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: u64, finished: u64) -> Progress {
        Progress {
            files,
            finished,
            failed: files - finished,
            ..Progress::default()
        }
    }

    fn end(status: TaskStatus, progress: &Progress, rules: &str, goal: Option<u32>) -> TaskStatus {
        let rules = rules.parse().expect("rules");
        final_status(status, progress, Parent::None, &rules, goal).status
    }

    #[test]
    fn files_decide_how_a_task_ends() {
        use TaskStatus::*;
        assert_eq!(end(Prepared, &files(5, 5), "", None), Done);
        assert_eq!(end(Prepared, &files(5, 2), "", None), Finished);
        assert_eq!(end(Prepared, &files(5, 0), "", None), Failed);
        assert_eq!(end(ToAbort, &files(5, 5), "", None), Aborted);
        assert_eq!(end(ToBroken, &files(5, 5), "", None), Broken);
        assert_eq!(end(Paused, &files(5, 5), "", None), Paused);
    }

    #[test]
    fn goals_fail_a_task_or_ask_a_person() {
        use TaskStatus::*;
        let half = files(4, 2);
        assert_eq!(end(Prepared, &half, "FG=1", None), Failed);
        assert_eq!(end(Prepared, &half, "FG=1", Some(500)), Finished);
        assert_eq!(end(Prepared, &half, "UX=1", None), Exhausted);
        assert_eq!(end(Prepared, &half, "UX=1", Some(500)), Finished);
        assert_eq!(end(Passed, &half, "UX=1", None), Finished);
        assert_eq!(end(Passed, &half, "UX=1,FG=1", None), Failed);
        assert_eq!(end(Prepared, &half, "UX=1,FG=1", None), Exhausted);
    }

    #[test]
    fn the_parent_decides_with_all_files_done() {
        use TaskStatus::*;
        let end = |status, has_open_input| {
            let parent = Parent::Task {
                status,
                has_open_input,
            };
            final_status(Prepared, &files(5, 5), parent, &SplitRules::default(), None).status
        };
        assert_eq!(end(Done, false), Done);
        assert_eq!(end(Done, true), Finished);
        assert_eq!(end(Running, false), Finished);
        assert_eq!(end(Failed, false), Failed);
        assert_eq!(end(Broken, false), Failed);
    }

    #[test]
    fn events_count_before_files() {
        let progress = Progress {
            events: 1000,
            events_done: 250,
            ..files(4, 2)
        };
        assert_eq!(progress.per_mille(), 250);
        assert_eq!(files(4, 2).per_mille(), 500);
        assert_eq!(Progress::default().per_mille(), 0);
    }

    #[test]
    fn a_task_is_over_when_every_file_has_ended() {
        assert!(files(5, 3).is_over(5, 5));
        assert!(
            !Progress {
                failed: 1,
                ..files(5, 3)
            }
            .is_over(5, 5)
        );
        assert!(files(0, 0).is_over(0, 0));
    }

    #[test]
    fn output_datasets_end_with_their_task() {
        assert_eq!(dataset_status(TaskStatus::Done, 5, 5), "done");
        assert_eq!(dataset_status(TaskStatus::Finished, 5, 4), "finished");
        assert_eq!(dataset_status(TaskStatus::Failed, 5, 4), "failed");
    }
}
