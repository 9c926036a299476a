//! Statements over ranges of events.

use ailurus_model::{EventArchive, EventStatus, PandaId};
use ailurus_server_core::ledger::{
    EventCounts, EventKey, EventRangeRecord, EventRows, LedgerError,
};

use crate::{
    DatabaseLedger,
    ledger::failed,
    sql::{
        Column::{Int, Text},
        Columns, OwnedRow, SqlError, Table, params, row,
    },
};

static EVENT_RANGE: Table = Table {
    name: "event_range",
    columns: &[
        Int("panda_id"),
        Int("file_id"),
        Int("first_event"),
        Int("last_event"),
        Int("attempt_nr"),
        Int("attempts_left"),
        Text("status"),
        Int("holder"),
        Int("held_by"),
        Text("object_store"),
        Int("path_convention"),
        Text("archive"),
        Int("error_code"),
        Text("error_diag"),
    ],
    key: 3,
};

fn row_of(range: &EventRangeRecord) -> OwnedRow {
    row![
        range.panda_id,
        range.file,
        range.first_event,
        range.last_event,
        range.attempt_nr,
        range.attempts_left,
        range.status,
        range.holder,
        range.held_by,
        range.object_store,
        range.path_convention,
        range.archive,
        range.error_code,
        range.error_diag,
    ]
    .to_vec()
}

fn read(columns: &mut Columns<'_>) -> Result<EventRangeRecord, SqlError> {
    Ok(EventRangeRecord {
        panda_id: columns.take()?,
        file: columns.take()?,
        first_event: columns.take()?,
        last_event: columns.take()?,
        attempt_nr: columns.take()?,
        attempts_left: columns.take()?,
        status: columns.take()?,
        holder: columns.take()?,
        held_by: columns.take()?,
        object_store: columns.take()?,
        path_convention: columns.take()?,
        archive: columns.take()?,
        error_code: columns.take()?,
        error_diag: columns.take()?,
    })
}

fn read_archive(columns: &mut Columns<'_>) -> Result<EventArchive, SqlError> {
    Ok(EventArchive {
        lfn: columns.take()?,
        size: columns.take()?,
        checksum: columns.take()?,
        object_store: columns.take()?,
        n_events: columns.take()?,
    })
}

impl EventRows for DatabaseLedger {
    fn put_event_ranges(&mut self, ranges: &[EventRangeRecord]) -> Result<(), LedgerError> {
        let session = self.session();
        ranges
            .iter()
            .try_for_each(|range| session.put(&EVENT_RANGE, row_of(range)))
            .map_err(failed(|| "write ranges of events".to_owned()))
    }

    fn event_ranges_at(
        &self,
        job: PandaId,
        keys: &[EventKey],
    ) -> Result<Vec<EventRangeRecord>, LedgerError> {
        self.ranges_at(job, keys)
            .map_err(failed(|| format!("read ranges of events of job {job}")))
    }

    fn event_ranges_in(
        &self,
        job: PandaId,
        statuses: &[EventStatus],
        after: Option<EventKey>,
        limit: usize,
    ) -> Result<Vec<EventRangeRecord>, LedgerError> {
        self.ranges_in(job, statuses, after, limit)
            .map_err(failed(|| format!("list ranges of events of job {job}")))
    }

    fn event_counts(&self, job: PandaId) -> Result<EventCounts, LedgerError> {
        let counts = self.sql().rows(
            "SELECT status, count(*) FROM event_range WHERE panda_id = ?1 GROUP BY status",
            params![job],
            |columns| Ok((columns.take()?, columns.take()?)),
        );
        counts
            .map(|counts| counts.into_iter().collect())
            .map_err(failed(|| format!("count ranges of events of job {job}")))
    }

    fn add_event_archive(
        &mut self,
        job: PandaId,
        archive: &EventArchive,
    ) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO event_archive
                     (panda_id, lfn, size, checksum, object_store, n_events)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (panda_id, lfn) DO NOTHING",
                params![
                    job,
                    archive.lfn,
                    archive.size,
                    archive.checksum,
                    archive.object_store,
                    archive.n_events,
                ],
            )
            .map(drop)
            .map_err(failed(|| {
                format!("note file `{}` of job {job}", archive.lfn)
            }))
    }

    fn event_archives(&self, job: PandaId) -> Result<Vec<EventArchive>, LedgerError> {
        self.sql()
            .rows(
                "SELECT lfn, size, checksum, object_store, n_events FROM event_archive
                 WHERE panda_id = ?1 ORDER BY lfn",
                params![job],
                read_archive,
            )
            .map_err(failed(|| format!("list files with events of job {job}")))
    }

    fn add_event_member(&mut self, set: PandaId, member: PandaId) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO event_member (panda_id, set_id) VALUES (?1, ?2)
                 ON CONFLICT (panda_id) DO NOTHING",
                params![member, set],
            )
            .map(drop)
            .map_err(failed(|| format!("note that job {member} is of set {set}")))
    }

    fn event_set_of(&self, member: PandaId) -> Result<Option<PandaId>, LedgerError> {
        let sets = self.sql().rows(
            "SELECT set_id FROM event_member WHERE panda_id = ?1",
            params![member],
            |columns| columns.take(),
        );
        sets.map(|sets: Vec<PandaId>| sets.first().copied())
            .map_err(failed(|| format!("read the set of job {member}")))
    }

    fn event_members(&self, set: PandaId) -> Result<Vec<PandaId>, LedgerError> {
        self.sql()
            .rows(
                "SELECT panda_id FROM event_member WHERE set_id = ?1 ORDER BY panda_id",
                params![set],
                |columns| columns.take(),
            )
            .map_err(failed(|| format!("list the jobs of set {set}")))
    }
}

impl DatabaseLedger {
    /// Within a batch the rows are read at once; each is then found where it was kept.
    fn ranges_at(
        &self,
        job: PandaId,
        keys: &[EventKey],
    ) -> Result<Vec<EventRangeRecord>, SqlError> {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        let session = self.session();
        let rows = keys
            .iter()
            .map(|(file, first)| row![job, file, first].to_vec());
        session.prefetch(&EVENT_RANGE, rows.collect())?;
        let mut found = Vec::with_capacity(keys.len());
        for (file, first) in &keys {
            if let Some(row) = session.read(&EVENT_RANGE, &row![job, file, first])? {
                found.push(read(&mut Columns::of(&row))?);
            }
        }
        Ok(found)
    }

    fn ranges_in(
        &self,
        job: PandaId,
        statuses: &[EventStatus],
        after: Option<EventKey>,
        limit: usize,
    ) -> Result<Vec<EventRangeRecord>, SqlError> {
        // Written into the text, so that the index over what is ready serves.
        let words: Vec<String> = statuses.iter().map(|one| format!("'{one}'")).collect();
        let is_one = match words.as_slice() {
            [] => return Ok(Vec::new()),
            [word] => format!("status = {word}"),
            words => format!("status IN ({})", words.join(", ")),
        };
        let statement = format!(
            "SELECT panda_id, file_id, first_event, last_event, attempt_nr, attempts_left, status,
                    holder, held_by, object_store, path_convention, archive, error_code, error_diag
             FROM event_range
             WHERE panda_id = ?1 AND {is_one}
                 AND (file_id > ?2 OR (file_id = ?2 AND first_event > ?3))
             ORDER BY file_id, first_event LIMIT ?4"
        );
        let (file, first) = match after {
            Some((file, first)) => (
                i64::try_from(file).unwrap_or(i64::MAX),
                i64::try_from(first).unwrap_or(i64::MAX),
            ),
            None => (-1, -1),
        };
        let ranges = self
            .sql()
            .rows(&statement, params![job, file, first, limit], read)?;
        for range in &ranges {
            self.session().learn(&EVENT_RANGE, row_of(range));
        }
        Ok(ranges)
    }
}
