//! What jobs, tasks, files and workers can be, and which moves between these are allowed.
//!
//! The words are PanDA's, so their text form is the same in tables, JSON and on the wire.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A text was none of the known statuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a {kind} status: allowed are {allowed}")]
pub struct ParseStatusError {
    /// What has the status: `job`, `task`, `file`, `worker`, `event`, `workflow` or `step`.
    pub kind: &'static str,
    /// The text as it was given.
    pub value: String,
    /// The allowed words, joined by commas.
    pub allowed: String,
}

macro_rules! statuses {
    ($(#[$doc:meta])* $name:ident, $kind:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every status, in the order of a normal life.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns PanDA's word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ParseStatusError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|status| status.as_str() == text).ok_or_else(|| {
                    let allowed: Vec<&str> = Self::ALL.iter().map(|status| status.as_str()).collect();
                    ParseStatusError { kind: $kind, value: text.to_owned(), allowed: allowed.join(", ") }
                })
            }
        }
    };
}

mod workflow;

pub use self::workflow::{StepStatus, WorkflowStatus};

statuses! {
    /// What a job is, as the server sees it.
    ///
    /// ```text
    /// pending ─► defined ─► assigned ─► activated ─► sent ─► starting ─► running ─► holding ─► finished
    ///    (inputs missing)                  ▲           │         │          │   ├─► transferring ─┤
    ///                                      └───────────┴─────────┴──────────┘   └─► failed       │
    ///                                        next attempt (same job, attempt number + 1)  ◄──────┘
    /// any state before the end ─► cancelled (by a person) | closed (by the system)
    /// ```
    ///
    /// Source: PanDA server, `pandaserver/taskbuffer/JobSpec.py`.
    JobStatus, "job" {
        /// Made, but some of its inputs do not exist yet.
        Pending = "pending",
        /// Complete, no queue chosen yet.
        Defined = "defined",
        /// A queue is chosen, inputs are on their way there.
        Assigned = "assigned",
        /// Ready to be given to a pilot.
        Activated = "activated",
        /// Given to a pilot that has not reported yet.
        Sent = "sent",
        /// The pilot has it: stage-in, or waiting in a batch system.
        Starting = "starting",
        /// The payload runs.
        Running = "running",
        /// The final report is in, its outputs are not registered yet.
        Holding = "holding",
        /// Outputs are on their way to their last storage.
        Transferring = "transferring",
        /// Outputs wait to be merged.
        Merging = "merging",
        /// Done, outputs registered.
        Finished = "finished",
        /// Ended without success and without further attempts.
        Failed = "failed",
        /// Ended because a person said so.
        Cancelled = "cancelled",
        /// Ended by the system before or without a run.
        Closed = "closed",
    }
}

impl JobStatus {
    /// Says whether nothing can change the job any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Finished | Self::Failed | Self::Cancelled | Self::Closed
        )
    }

    /// Says whether a pilot has the job.
    #[must_use]
    pub const fn is_with_pilot(self) -> bool {
        matches!(self, Self::Sent | Self::Starting | Self::Running)
    }

    /// Says whether a job may go from `self` to `next`. Staying is always allowed before the end.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use JobStatus::{
            Activated, Assigned, Cancelled, Closed, Defined, Failed, Finished, Holding, Merging,
            Pending, Running, Sent, Starting, Transferring,
        };
        if self.is_terminal() {
            return false;
        }
        if self == next || matches!(next, Cancelled | Closed) {
            return true;
        }
        match self {
            Pending => matches!(next, Defined | Assigned | Activated),
            Defined => matches!(next, Assigned | Activated),
            Assigned => matches!(next, Defined | Activated),
            // A queue that goes away gives its jobs back.
            Activated => matches!(next, Sent | Defined | Failed),
            // Back to activated: the next attempt.
            Sent => matches!(
                next,
                Starting | Running | Holding | Finished | Failed | Activated | Defined
            ),
            Starting => matches!(
                next,
                Running | Holding | Finished | Failed | Activated | Defined
            ),
            Running => matches!(
                next,
                Holding | Transferring | Merging | Finished | Failed | Activated | Defined
            ),
            Holding => {
                matches!(
                    next,
                    Transferring | Merging | Finished | Failed | Activated | Defined
                )
            }
            Transferring | Merging => matches!(next, Finished | Failed | Activated | Defined),
            Finished | Failed | Cancelled | Closed => false,
        }
    }
}

statuses! {
    /// What a task is.
    ///
    /// ```text
    /// waiting ─► registered ─► defined ─► (assigning ─►) ready ─► scouting ─► scouted ─► running
    ///     ─► prepared ─► done | finished (some failed) | failed
    /// any state before the end ─► pending, paused, throttled, staging, exhausted ─► back
    /// any state before the end ─► aborting ─► toabort ─► aborted (kill)
    ///                          ─► finishing ─► passed ─► done, finished, failed (finish)
    ///                          ─► tobroken ─► broken (it cannot be understood or fed)
    /// ended ─► toretry ─► ready | toincexec ─► rerefine ─► defined (retry)
    /// ```
    ///
    /// Source: PanDA server, `pandaserver/taskbuffer/JediTaskSpec.py`.
    TaskStatus, "task" {
        /// Its parameters are taken in, nothing is read yet.
        Waiting = "waiting",
        /// Its parameters are being read.
        Registered = "registered",
        /// Accepted, its inputs are not listed yet.
        Defined = "defined",
        /// Its inputs are being recalled from tape.
        Staging = "staging",
        /// It waits for a nucleus.
        Assigning = "assigning",
        /// It cannot go on for now: an input or a queue is missing.
        Pending = "pending",
        /// A step before its jobs is to run.
        ToPreprocess = "topreprocess",
        /// A step before its jobs runs.
        Preprocessing = "preprocessing",
        /// Its inputs are known, jobs may be made; none has run yet.
        Ready = "ready",
        /// Its first few jobs measure what the others need.
        Scouting = "scouting",
        /// Enough of the first jobs are finished.
        Scouted = "scouted",
        /// Jobs are under way.
        Running = "running",
        /// Too many of its jobs wait or fail.
        Throttled = "throttled",
        /// A person holds it.
        Paused = "paused",
        /// A person has to decide how it goes on.
        Exhausted = "exhausted",
        /// Its outputs are being merged.
        Merging = "merging",
        /// All jobs have ended, its end is being worked out.
        Prepared = "prepared",
        /// A person wants it to end with what it has; pilots still have some of its jobs.
        Finishing = "finishing",
        /// It ends with what it has; no job is left.
        Passed = "passed",
        /// It is to be tried again.
        ToRetry = "toretry",
        /// It is to go on with new parameters.
        ToIncexec = "toincexec",
        /// Its new parameters are being read.
        Rerefine = "rerefine",
        /// It is to go elsewhere.
        ToReassign = "toreassign",
        /// It goes elsewhere; pilots still have some of its jobs.
        Reassigning = "reassigning",
        /// Every job finished.
        Done = "done",
        /// Ended; some jobs finished, some failed.
        Finished = "finished",
        /// Ended; no job finished, or its input cannot come any more.
        Failed = "failed",
        /// A person ended it; pilots still have some of its jobs.
        Aborting = "aborting",
        /// A person ended it; no job is left.
        ToAbort = "toabort",
        /// A person ended it.
        Aborted = "aborted",
        /// It cannot be understood or fed; its end is being worked out.
        ToBroken = "tobroken",
        /// It could not be understood or fed.
        Broken = "broken",
    }
}

impl TaskStatus {
    /// Says whether the task has ended.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Done | Self::Finished | Self::Failed | Self::Aborted | Self::Broken
        )
    }
}

statuses! {
    /// What a job is for within its task.
    JobKind, "kind of job" {
        /// It does a part of the task's work.
        Run = "run",
        /// The same, and it measures what the others need.
        Scout = "scout",
        /// It builds what the others need.
        Build = "build",
        /// It merges what others wrote.
        Merge = "merge",
        /// It was submitted as it is, without a task that people know.
        Direct = "direct",
        /// It takes ranges of the events of another job, or is a copy of one: it does no part of
        /// the task's work by itself.
        Consumer = "consumer",
    }
}

statuses! {
    /// What a file of a dataset is.
    FileStatus, "file" {
        /// Some job is to make it.
        Expected = "defined",
        /// It is registered: storage, size and checksum are known.
        Ready = "ready",
        /// The job that should have made it ended without it.
        Failed = "failed",
    }
}

statuses! {
    /// What a worker is, in Harvester's words.
    ///
    /// Source: Harvester, `pandaharvester/harvestercore/work_spec.py`.
    WorkerStatus, "worker" {
        /// Recorded, submission not answered yet: it counts as existing until proven gone.
        Pending = "pending",
        /// The batch system has it.
        Submitted = "submitted",
        /// It runs.
        Running = "running",
        /// The pilot is there and waits for work.
        Idle = "idle",
        /// It ended well.
        Finished = "finished",
        /// It ended badly, or could not be submitted.
        Failed = "failed",
        /// Harvester or a person ended it.
        Cancelled = "cancelled",
        /// The batch system does not know it any more.
        Missed = "missed",
    }
}

impl WorkerStatus {
    /// Says whether the worker is gone.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Finished | Self::Failed | Self::Cancelled | Self::Missed
        )
    }
}

statuses! {
    /// What a range of events is.
    ///
    /// ```text
    /// ready ─► sent ─► (running) ─┬─► finished ─► done ─► merged     the attempt ends; the merge ends
    ///   ▲                         ├─► failed ──┐     └──► discarded  the job ends badly
    ///   └── attempts left ────────┴────────────┴─► fatal             none left
    /// ready, sent, running, failed ─► cancelled                      the job ends
    /// ```
    ///
    /// Source: PanDA server, `pandaserver/taskbuffer/EventServiceUtils.py`.
    EventStatus, "event" {
        /// Nobody has it.
        Ready = "ready",
        /// Given to a job.
        Sent = "sent",
        /// The job works on it.
        Running = "running",
        /// The job that has it has written its output.
        Finished = "finished",
        /// The job that has it could not do it.
        Failed = "failed",
        /// Its output is kept; the attempt that wrote it has ended.
        Done = "done",
        /// Its output is part of the job's output.
        Merged = "merged",
        /// Its output was written and is not used.
        Discarded = "discarded",
        /// The job ended before it was done.
        Cancelled = "cancelled",
        /// It was tried as often as it may be.
        Fatal = "fatal",
        /// Its output was written and cannot be read.
        Corrupted = "corrupted",
    }
}

impl EventStatus {
    /// Says whether the job that has the range works on it or has yet to end with it.
    #[must_use]
    pub const fn is_held(self) -> bool {
        matches!(
            self,
            Self::Sent | Self::Running | Self::Finished | Self::Failed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_read_from_its_word() {
        for status in JobStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
        }
        for status in TaskStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
        }
        for status in WorkerStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
        }
    }

    #[test]
    fn an_unknown_status_names_the_allowed_ones() {
        let error = "walking".parse::<TaskStatus>().expect_err("no such status");
        assert!(
            error
                .to_string()
                .starts_with("`walking` is not a task status: allowed are waiting,")
        );
    }

    /// The whole table, one line a status: which statuses it may become, besides itself.
    #[test]
    fn job_moves_are_exactly_these() {
        use JobStatus::*;
        let end = [Cancelled, Closed];
        let table: &[(JobStatus, &[JobStatus])] = &[
            (Pending, &[Defined, Assigned, Activated]),
            (Defined, &[Assigned, Activated]),
            (Assigned, &[Defined, Activated]),
            (Activated, &[Sent, Defined, Failed]),
            (
                Sent,
                &[
                    Starting, Running, Holding, Finished, Failed, Activated, Defined,
                ],
            ),
            (
                Starting,
                &[Running, Holding, Finished, Failed, Activated, Defined],
            ),
            (
                Running,
                &[
                    Holding,
                    Transferring,
                    Merging,
                    Finished,
                    Failed,
                    Activated,
                    Defined,
                ],
            ),
            (
                Holding,
                &[Transferring, Merging, Finished, Failed, Activated, Defined],
            ),
            (Transferring, &[Finished, Failed, Activated, Defined]),
            (Merging, &[Finished, Failed, Activated, Defined]),
        ];
        for from in JobStatus::ALL {
            let row = table.iter().find(|(status, _)| status == from);
            for to in JobStatus::ALL {
                let expected = row.is_some_and(|(_, targets)| {
                    from == to || end.contains(to) || targets.contains(to)
                });
                assert_eq!(from.may_become(*to), expected, "{from} to {to}");
            }
        }
    }

    #[test]
    fn terminal_jobs_never_change() {
        for from in JobStatus::ALL.iter().filter(|status| status.is_terminal()) {
            assert!(JobStatus::ALL.iter().all(|to| !from.may_become(*to)));
        }
    }
}
