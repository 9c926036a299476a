//! Ranges of events that a job takes, does and reports one by one (PanDA's event service).
//!
//! The main types are [`EventRangeId`], the name of a range on its way, [`GivenRange`], a range as
//! a job gets it, and [`EventMessage`], what a job says has become of ranges.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/task_event_module.py`.

use std::{fmt, str::FromStr};

use crate::{ByteCount, Checksum, Guid, Lfn, PandaId, Scope, TaskId};

/// Names a range while a job has it: `TASK-JOB-FILE-FIRST-ATTEMPT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventRangeId {
    /// The task of the job.
    pub task_id: TaskId,
    /// The job that has it.
    pub panda_id: PandaId,
    /// The number of the input file, which is of no other input of the job.
    pub file: u64,
    /// Its first event (`job_processID`).
    pub first_event: u64,
    /// How often it has been given out, counted with this time (`attemptNr`).
    pub attempt_nr: u32,
}

impl fmt::Display for EventRangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            task_id,
            panda_id,
            file,
            first_event,
            attempt_nr,
        } = self;
        write!(f, "{task_id}-{panda_id}-{file}-{first_event}-{attempt_nr}")
    }
}

/// A text is no name of a range of events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no range of events: it must be five numbers joined by dashes")]
pub struct EventRangeIdError(String);

impl FromStr for EventRangeId {
    type Err = EventRangeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let mut parts = text.split('-');
            let id = Self {
                task_id: TaskId::new(parts.next()?.parse().ok()?),
                panda_id: PandaId::new(parts.next()?.parse().ok()?),
                file: parts.next()?.parse().ok()?,
                first_event: parts.next()?.parse().ok()?,
                attempt_nr: parts.next()?.parse().ok()?,
            };
            parts.next().is_none().then_some(id)
        };
        read().ok_or_else(|| EventRangeIdError(text.to_owned()))
    }
}

/// A range as a job gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenRange {
    /// Its name.
    pub id: EventRangeId,
    /// Its first event, from 1.
    pub first_event: u64,
    /// Its last event.
    pub last_event: u64,
    /// The file that has the events.
    pub lfn: Lfn,
    /// The file's globally unique id, if known.
    pub guid: Option<Guid>,
    /// The file's scope.
    pub scope: Scope,
}

/// What has become of a range, as its job says. What is not final is not told to the server's core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventOutcome {
    /// Its output is written and stored.
    Finished,
    /// It could not be done.
    Failed,
    /// It cannot be done, by nobody.
    Fatal,
}

/// What a job says about one range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventReport {
    /// The range.
    pub id: EventRangeId,
    /// What has become of it.
    pub outcome: EventOutcome,
    /// The object store with its output (`objstoreID`), empty if it was not said.
    pub object_store: String,
    /// How its output is named there (`pathConvention`).
    pub path_convention: Option<i64>,
    /// The payload's error.
    pub error_code: Option<i64>,
    /// The words for it.
    pub error_diag: String,
    /// Which of the message's archives has its output.
    pub archive: Option<usize>,
}

/// A file with the outputs of several ranges (`zipFile`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventArchive {
    /// Its name.
    pub lfn: Lfn,
    /// Its size; zero if it was not said.
    pub size: ByteCount,
    /// Its checksum, if it was said.
    pub checksum: Option<Checksum>,
    /// The object store that has it, with `/` and how files are named there behind it if that was
    /// said.
    pub object_store: String,
    /// How many events it has, if that was said.
    pub n_events: Option<u64>,
}

/// One entry of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventItem {
    /// A range has an outcome.
    Outcome(EventReport),
    /// A range is being worked on: nothing follows from it.
    Progress,
    /// What it says cannot be read.
    Unreadable,
}

/// What a job says about ranges, in the order in which it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventMessage {
    /// Files that have the outputs of several ranges.
    pub archives: Vec<EventArchive>,
    /// The entries.
    pub items: Vec<EventItem>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let text = "7-12-3-101-2";
        let id: EventRangeId = text.parse().unwrap();
        assert_eq!((id.file, id.first_event, id.attempt_nr), (3, 101, 2));
        assert_eq!(id.to_string(), text);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "7-12-3-101",
            "7-12-3-101-2-1",
            "7-12-x-101-2",
            "7--3-1-2",
            "a-b-c-d-e",
        ] {
            assert!(text.parse::<EventRangeId>().is_err(), "{text}");
        }
    }
}
