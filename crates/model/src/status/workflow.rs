//! What workflows and their steps can be.
//!
//! Source: PanDA server, `pandaserver/workflow/workflow_base.py`, without the states that PanDA
//! passes through between two rounds of its daemons.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::ParseStatusError;

statuses! {
    /// What a workflow is.
    WorkflowStatus, "workflow" {
        /// Taken in.
        Registered = "registered",
        /// Some steps have not ended.
        Running = "running",
        /// A person holds it: no step begins, and its tasks are paused.
        Suspended = "suspended",
        /// All steps have ended, and those that had to have succeeded.
        Done = "done",
        /// All steps have ended, some of them without success.
        Failed = "failed",
        /// Ended by a person.
        Cancelled = "cancelled",
    }
}

impl WorkflowStatus {
    /// Says whether it has ended.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

statuses! {
    /// What a step of a workflow is.
    StepStatus, "step" {
        /// Taken in.
        Registered = "registered",
        /// It waits for what it reads.
        Pending = "pending",
        /// It may begin, and its task is submitted next.
        Ready = "ready",
        /// It has a task of which nothing runs yet.
        Starting = "starting",
        /// Its task runs.
        Running = "running",
        /// Its task has ended with something done.
        Done = "done",
        /// Its task has ended without success, or could not be submitted.
        Failed = "failed",
        /// It never ran, and will not.
        Closed = "closed",
        /// Ended by a person.
        Cancelled = "cancelled",
    }
}

impl StepStatus {
    /// Says whether it has ended.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Done | Self::Failed | Self::Closed | Self::Cancelled
        )
    }
}
