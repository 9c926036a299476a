//! Commands that people give to tasks: when each is accepted, what it answers, what it leads to.
//!
//! The main type is [`TaskCommand`]. Who may give a command, and the jobs that it ends, are the
//! business of others; [`incremental`] tells what a retry with new parameters may change.
//!
//! Source: PanDA server, `task_event_module.py` (`sendCommandTaskPanda`, `_check_command_allowed`),
//! `pandajedi/jediorder/TaskCommando.py`.

pub mod incremental;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use ailurus_model::{TaskId, TaskStatus};
use serde::{Deserialize, Serialize};

/// What people may do to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskCommand {
    /// End it and all its jobs.
    Kill,
    /// End it with what it has.
    Finish,
    /// Try what failed again.
    Retry,
    /// Go on with new parameters or new input.
    Incexec,
    /// Go elsewhere.
    Reassign,
    /// Hold it.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Make all jobs without waiting for the first few.
    Avalanche,
    /// Go on without waiting for inputs.
    Release,
}

/// What to do with the status of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandStatuses {
    /// Status while the command is carried out, if it has one.
    pub doing: Option<TaskStatus>,
    /// Status when it is carried out; none means the one before.
    pub done: Option<TaskStatus>,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefusal {
    /// There is no such task.
    #[error("jediTaskID={0} not found")]
    NotFound(TaskId),
    /// The caller may not do it.
    #[error("Permission denied: not the task owner or no production role")]
    NotAllowed,
    /// The task's status does not allow it.
    #[error(
        "Command rejected: the {command} command is not accepted if the task is in {status} status{}",
        if *.lacks_role { " and production role is missing" } else { "" }
    )]
    WrongStatus {
        /// The command.
        command: TaskCommand,
        /// The task's status.
        status: TaskStatus,
        /// A caller with a production role could do it.
        lacks_role: bool,
    },
    /// The task of a person is running: its failed jobs are tried again at once instead.
    #[error("{0}")]
    IsActive(TaskStatus),
}

impl CommandRefusal {
    /// Returns PanDA's code of the answer.
    #[must_use]
    pub const fn code(&self) -> i64 {
        match self {
            Self::NotFound(_) => 2,
            Self::NotAllowed => 3,
            Self::WrongStatus { .. } => 4,
            Self::IsActive(_) => 5,
        }
    }
}

/// Whether the caller may act on tasks of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerRole {
    /// Only on their own.
    Owner,
    /// On all tasks.
    Production,
}

impl TaskCommand {
    /// Every command.
    pub const ALL: [Self; 9] = [
        Self::Kill,
        Self::Finish,
        Self::Retry,
        Self::Incexec,
        Self::Reassign,
        Self::Pause,
        Self::Resume,
        Self::Avalanche,
        Self::Release,
    ];

    /// Returns PanDA's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Finish => "finish",
            Self::Retry => "retry",
            Self::Incexec => "incexec",
            Self::Reassign => "reassign",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Avalanche => "avalanche",
            Self::Release => "release",
        }
    }

    /// Returns the statuses that the command leads to.
    #[must_use]
    pub const fn statuses(self) -> CommandStatuses {
        let (doing, done) = match self {
            Self::Kill => (Some(TaskStatus::Aborting), Some(TaskStatus::ToAbort)),
            Self::Finish => (Some(TaskStatus::Finishing), Some(TaskStatus::Passed)),
            Self::Retry => (Some(TaskStatus::ToRetry), Some(TaskStatus::Ready)),
            Self::Incexec => (Some(TaskStatus::ToIncexec), Some(TaskStatus::Rerefine)),
            Self::Reassign => (Some(TaskStatus::ToReassign), Some(TaskStatus::Reassigning)),
            Self::Pause => (Some(TaskStatus::Paused), None),
            Self::Resume | Self::Avalanche | Self::Release => (None, None),
        };
        CommandStatuses { doing, done }
    }

    /// Returns the code with which jobs are ended for the command, if they are.
    #[must_use]
    pub const fn kill_code(self) -> Option<i64> {
        match self {
            Self::Kill => Some(50),
            Self::Reassign => Some(51),
            Self::Finish => Some(52),
            Self::Retry
            | Self::Incexec
            | Self::Pause
            | Self::Resume
            | Self::Avalanche
            | Self::Release => None,
        }
    }

    /// Says whether a task in a status takes the command, whoever gives it.
    #[must_use]
    pub const fn is_accepted_in(self, status: TaskStatus) -> bool {
        use TaskStatus::{
            Aborted, Aborting, Assigning, Broken, Defined, Done, Exhausted, Failed, Finished,
            Paused, Pending, Prepared, Ready, Running, Scouted, Scouting, Staging, Throttled,
            ToAbort,
        };
        match self {
            Self::Kill | Self::Finish => !matches!(
                status,
                Finished | Done | Prepared | Broken | Aborted | ToAbort | Aborting | Failed
            ),
            Self::Retry => matches!(status, Finished | Failed | Exhausted),
            Self::Incexec => matches!(status, Finished | Failed | Aborted | Done | Exhausted),
            Self::Reassign => matches!(
                status,
                Defined | Ready | Running | Scouting | Scouted | Pending | Assigning | Exhausted
            ),
            Self::Pause => !matches!(status, Finished | Failed | Done | Aborted | Broken | Paused),
            Self::Resume => matches!(status, Paused | Throttled | Staging),
            Self::Avalanche => matches!(status, Scouting),
            Self::Release => {
                matches!(
                    status,
                    Scouting | Pending | Running | Ready | Assigning | Defined
                )
            }
        }
    }

    /// Says whether a task takes the command.
    ///
    /// # Errors
    ///
    /// [`CommandRefusal::WrongStatus`], or [`CommandRefusal::IsActive`] for the retry of a running
    /// task with label `user`.
    pub fn check(
        self,
        status: TaskStatus,
        role: CallerRole,
        label: &str,
    ) -> Result<(), CommandRefusal> {
        let lacks_role =
            self == Self::Retry && status == TaskStatus::Exhausted && role == CallerRole::Owner;
        if self.is_accepted_in(status) && !lacks_role {
            return Ok(());
        }
        let is_active = matches!(
            status,
            TaskStatus::Running | TaskStatus::Scouting | TaskStatus::Pending
        );
        if self == Self::Retry && is_active && label == "user" {
            return Err(CommandRefusal::IsActive(status));
        }
        Err(CommandRefusal::WrongStatus {
            command: self,
            status,
            lacks_role,
        })
    }

    /// Returns the message for a command that is taken; its code is 0.
    #[must_use]
    pub fn accepted(self, task: TaskId) -> String {
        format!(
            "command={self} is registered for task ID {task}. will be executed in a few minutes"
        )
    }
}

impl fmt::Display for TaskCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word was no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no command of a task")]
pub struct ParseCommandError(String);

impl FromStr for TaskCommand {
    type Err = ParseCommandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL
            .into_iter()
            .find(|command| command.as_str() == text);
        found.ok_or_else(|| ParseCommandError(text.to_owned()))
    }
}

/// How a retry is to be done: words in the command's comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RetryQualifiers {
    /// Tasks that follow are not tried again (`sole`).
    pub is_alone: bool,
    /// Events that are done are done again (`discard`).
    pub discards_events: bool,
    /// Files that are still on tape are released (`staged`).
    pub skips_staging: bool,
    /// Share and priority stay as they are (`keep`).
    pub keeps_priority: bool,
    /// Limits of attempts and failures do not count (`transcend`).
    pub ignores_limits: bool,
}

impl RetryQualifiers {
    /// Reads the words of a comment; other words mean nothing.
    #[must_use]
    pub fn of_comment(comment: &str) -> Self {
        let has = |word: &str| comment.split_whitespace().any(|one| one == word);
        Self {
            is_alone: has("sole"),
            discards_events: has("discard"),
            skips_staging: has("staged"),
            keeps_priority: has("keep"),
            ignores_limits: has("transcend"),
        }
    }

    /// Writes the words of a comment.
    #[must_use]
    pub fn to_comment(self) -> String {
        let words = [
            (self.is_alone, "sole"),
            (self.discards_events, "discard"),
            (self.skips_staging, "staged"),
            (self.keeps_priority, "keep"),
            (self.ignores_limits, "transcend"),
        ];
        let words: Vec<&str> = words
            .iter()
            .filter(|(is_on, _)| *is_on)
            .map(|(_, word)| *word)
            .collect();
        words.join(" ")
    }
}

/// Where a task is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReassignTarget {
    /// One queue; the task keeps its status.
    Site(String),
    /// A cloud; queues are chosen anew.
    Cloud(String),
    /// A nucleus; queues are chosen anew.
    Nucleus(String),
}

/// What happens to the jobs of a task that goes elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ReassignMode {
    /// All are ended.
    EndAll,
    /// Those that wait are ended.
    EndWaiting,
    /// None is ended.
    EndNone,
}

/// Writes the comment of a reassignment as PanDA does: `site:QUEUE:y:soft reassign`.
#[must_use]
pub fn reassign_comment(target: &ReassignTarget, mode: ReassignMode) -> String {
    let place = match target {
        ReassignTarget::Site(name) => format!("site:{name}:y"),
        ReassignTarget::Cloud(name) => format!("cloud:{name}:n"),
        ReassignTarget::Nucleus(name) => format!("nucleus:{name}:n"),
    };
    match mode {
        ReassignMode::EndAll => place,
        ReassignMode::EndWaiting => format!("{place}:soft reassign"),
        ReassignMode::EndNone => format!("{place}:nokill reassign"),
    }
}
