//! Ranges of events, in memory.

use std::collections::{BTreeMap, BTreeSet};

use ailurus_model::{EventArchive, EventStatus, Lfn, PandaId};

use crate::{
    MemoryLedger,
    ledger::{EventCounts, EventKey, EventRangeRecord, EventRows, LedgerError},
};

/// The rows, by job.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct EventTables {
    ranges: BTreeMap<PandaId, BTreeMap<EventKey, EventRangeRecord>>,
    archives: BTreeMap<PandaId, BTreeMap<Lfn, EventArchive>>,
    /// The set of each job that is of one.
    sets: BTreeMap<PandaId, PandaId>,
}

impl EventTables {
    /// Removes all that there is of a job.
    pub(super) fn forget(&mut self, job: PandaId) {
        self.ranges.remove(&job);
        self.archives.remove(&job);
        self.sets.remove(&job);
    }
}

impl MemoryLedger {
    /// Lists all ranges of events, by job, then key.
    pub fn event_ranges(&self) -> impl Iterator<Item = &EventRangeRecord> {
        self.events.ranges.values().flat_map(BTreeMap::values)
    }
}

impl EventRows for MemoryLedger {
    fn put_event_ranges(&mut self, ranges: &[EventRangeRecord]) -> Result<(), LedgerError> {
        for range in ranges {
            let of_job = self.events.ranges.entry(range.panda_id).or_default();
            of_job.insert(range.key(), range.clone());
        }
        Ok(())
    }

    fn event_ranges_at(
        &self,
        job: PandaId,
        keys: &[EventKey],
    ) -> Result<Vec<EventRangeRecord>, LedgerError> {
        let Some(of_job) = self.events.ranges.get(&job) else {
            return Ok(Vec::new());
        };
        let keys: BTreeSet<&EventKey> = keys.iter().collect();
        let found = keys.into_iter().filter_map(|key| of_job.get(key));
        Ok(found.cloned().collect())
    }

    fn event_ranges_in(
        &self,
        job: PandaId,
        statuses: &[EventStatus],
        after: Option<EventKey>,
        limit: usize,
    ) -> Result<Vec<EventRangeRecord>, LedgerError> {
        let Some(of_job) = self.events.ranges.get(&job) else {
            return Ok(Vec::new());
        };
        let found = of_job.values().filter(|range| {
            statuses.contains(&range.status) && after.is_none_or(|after| range.key() > after)
        });
        Ok(found.take(limit).cloned().collect())
    }

    fn event_counts(&self, job: PandaId) -> Result<EventCounts, LedgerError> {
        let mut counts = EventCounts::new();
        for range in self.events.ranges.get(&job).into_iter().flatten() {
            *counts.entry(range.1.status).or_default() += 1;
        }
        Ok(counts)
    }

    fn add_event_archive(
        &mut self,
        job: PandaId,
        archive: &EventArchive,
    ) -> Result<(), LedgerError> {
        let of_job = self.events.archives.entry(job).or_default();
        of_job
            .entry(archive.lfn.clone())
            .or_insert_with(|| archive.clone());
        Ok(())
    }

    fn event_archives(&self, job: PandaId) -> Result<Vec<EventArchive>, LedgerError> {
        let of_job = self.events.archives.get(&job);
        Ok(of_job
            .into_iter()
            .flatten()
            .map(|(_, one)| one.clone())
            .collect())
    }

    fn add_event_member(&mut self, set: PandaId, member: PandaId) -> Result<(), LedgerError> {
        self.events.sets.entry(member).or_insert(set);
        Ok(())
    }

    fn event_set_of(&self, member: PandaId) -> Result<Option<PandaId>, LedgerError> {
        Ok(self.events.sets.get(&member).copied())
    }

    fn event_members(&self, set: PandaId) -> Result<Vec<PandaId>, LedgerError> {
        let members = self.events.sets.iter().filter(|(_, of)| **of == set);
        Ok(members.map(|(member, _)| *member).collect())
    }
}
