//! Ranges of events, and the files that have outputs of several of them.
//!
//! A range is of one job through all of its attempts and is never removed; its status says who has
//! it. Several jobs of one *set* may take ranges side by side. The main type is
//! [`EventRangeRecord`].

use std::collections::BTreeMap;

use ailurus_model::{AttemptNr, EventArchive, EventStatus, PandaId};

use crate::ledger::LedgerError;

/// What names a range within its job: the number of the input file, and the first event.
pub type EventKey = (u64, u64);

/// How many ranges are in which status.
pub type EventCounts = BTreeMap<EventStatus, u64>;

/// A range of events of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRangeRecord {
    /// The job that it was cut for; others may take it too, if they are of the same set.
    pub panda_id: PandaId,
    /// The number of the input file.
    pub file: u64,
    /// Its first event, from 1; counted through all inputs unless events are positions in files.
    pub first_event: u64,
    /// Its last event.
    pub last_event: u64,
    /// Which attempt at it this is, or will be, from 1. It only rises.
    pub attempt_nr: u32,
    /// How often it may still be tried, counted with this attempt.
    pub attempts_left: u32,
    /// What it is.
    pub status: EventStatus,
    /// The job that has it, or has done it; 0 if none has, or it is the one that it was cut for.
    pub holder: PandaId,
    /// The attempt of that job; 0 if none has it.
    pub held_by: AttemptNr,
    /// The object store with its output, empty if it was not said.
    pub object_store: String,
    /// How its output is named there.
    pub path_convention: Option<i64>,
    /// Name of the file that has its output beside others, empty if it has one of its own.
    pub archive: String,
    /// The last error, if there was one.
    pub error_code: Option<i64>,
    /// The words for it.
    pub error_diag: String,
}

impl EventRangeRecord {
    /// Returns what names it within its job.
    #[must_use]
    pub const fn key(&self) -> EventKey {
        (self.file, self.first_event)
    }

    /// Returns the job that names it on its way: the one that has it.
    #[must_use]
    pub const fn named_by(&self) -> PandaId {
        if self.holder.value() == 0 {
            self.panda_id
        } else {
            self.holder
        }
    }

    /// Returns how many events it has.
    #[must_use]
    pub const fn n_events(&self) -> u64 {
        self.last_event
            .saturating_sub(self.first_event)
            .saturating_add(1)
    }
}

/// Keeps ranges of events.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait EventRows {
    /// Writes ranges, new or changed.
    fn put_event_ranges(&mut self, ranges: &[EventRangeRecord]) -> Result<(), LedgerError>;
    /// Reads ranges of a job; those that are not there are left out. In the order of their keys.
    fn event_ranges_at(
        &self,
        job: PandaId,
        keys: &[EventKey],
    ) -> Result<Vec<EventRangeRecord>, LedgerError>;
    /// Lists ranges of a job that have one of these statuses and a key larger than `after`, by
    /// rising key, `limit` at most.
    fn event_ranges_in(
        &self,
        job: PandaId,
        statuses: &[EventStatus],
        after: Option<EventKey>,
        limit: usize,
    ) -> Result<Vec<EventRangeRecord>, LedgerError>;
    /// Counts the ranges of a job.
    fn event_counts(&self, job: PandaId) -> Result<EventCounts, LedgerError>;
    /// Notes a file with outputs of several ranges of a job; the one that is known by this name
    /// stays.
    fn add_event_archive(
        &mut self,
        job: PandaId,
        archive: &EventArchive,
    ) -> Result<(), LedgerError>;
    /// Lists these files, by name.
    fn event_archives(&self, job: PandaId) -> Result<Vec<EventArchive>, LedgerError>;
    /// Notes that a job is of a set, which is named by the job that its ranges are cut for. It is
    /// of no other set ever after.
    fn add_event_member(&mut self, set: PandaId, member: PandaId) -> Result<(), LedgerError>;
    /// Returns the set of a job; none if it is alone.
    fn event_set_of(&self, member: PandaId) -> Result<Option<PandaId>, LedgerError>;
    /// Lists all jobs that are or were of a set, by number.
    fn event_members(&self, set: PandaId) -> Result<Vec<PandaId>, LedgerError>;
}
