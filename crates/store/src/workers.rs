//! The workers of one Harvester instance: recorded before they are submitted, kept until the
//! server has heard of their end, and for a while after.

use std::path::Path;

use ailurus_model::{
    BatchId, HarvesterId, NodeName, PandaId, QueueName, Timestamp, Worker, WorkerId,
};
use rusqlite::{Connection, Row, params, types::Type};

use crate::schema::{self, Migration, OpenError, Schema};

/// Retired workers that are kept for people to look at.
pub const RETIRED_KEPT: u32 = 10_000;

const HARVESTER: Schema = Schema {
    // The letters "AiHv".
    application_id: 0x4169_4876,
    migrations: &[Migration {
        number: 1,
        name: "workers",
        sql: include_str!("workers/0001-workers.sql"),
    }],
};

/// The book could not be read or written. What it said before still holds.
#[derive(Debug, thiserror::Error)]
#[error("the workers' database failed while it was to {action}: is the disk full?")]
pub struct BookError {
    /// What was being done, for example `record worker 17`.
    pub action: String,
    /// Why it failed.
    #[source]
    pub source: rusqlite::Error,
}

/// The rows of one instance.
#[derive(Debug)]
pub struct WorkerBook {
    connection: Connection,
    harvester_id: HarvesterId,
}

impl WorkerBook {
    /// Opens the file, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if it cannot be used, or is a file of something else.
    pub fn open(path: &Path, harvester_id: HarvesterId) -> Result<Self, OpenError> {
        Ok(Self {
            connection: schema::open(path, HARVESTER)?,
            harvester_id,
        })
    }

    /// Returns the largest worker number that was ever recorded, 0 if there is none.
    ///
    /// # Errors
    ///
    /// [`BookError`] if the rows are out of reach.
    pub fn last_id(&self) -> Result<WorkerId, BookError> {
        self.connection
            .query_row(
                "SELECT coalesce(max(worker_id), 0) FROM worker WHERE harvester_id = ?",
                [self.harvester_id.as_str()],
                worker_id,
            )
            .map_err(failure("find the last worker's number".to_owned()))
    }

    /// Writes the row of a new worker. When this returns, the row survives a crash.
    ///
    /// # Errors
    ///
    /// [`BookError`] if it could not be kept, or the number was used before: then the worker must
    /// not be submitted.
    pub fn record(&self, worker: &Worker) -> Result<(), BookError> {
        self.write("INSERT", worker)
            .map_err(failure(format!("record worker {}", worker.worker_id)))
    }

    /// Writes the changed row of a worker.
    ///
    /// # Errors
    ///
    /// [`BookError`] if it could not be kept; the row is as before.
    pub fn save(&self, worker: &Worker) -> Result<(), BookError> {
        self.write("REPLACE", worker)
            .map_err(failure(format!("save worker {}", worker.worker_id)))
    }

    /// Notes that the server has heard of a worker's end, and drops the oldest of such rows.
    ///
    /// # Errors
    ///
    /// [`BookError`] if that could not be noted; the worker will be reported again.
    pub fn retire(&mut self, worker_id: WorkerId) -> Result<(), BookError> {
        self.mark_retired(worker_id)
            .map_err(failure(format!("retire worker {worker_id}")))
    }

    /// Lists the workers that are not retired, by number.
    ///
    /// # Errors
    ///
    /// [`BookError`] if the rows are out of reach.
    pub fn live(&self) -> Result<Vec<Worker>, BookError> {
        let read = || {
            self.connection
                .prepare_cached(
                    "SELECT worker_id, batch_id, queue, status, resource_type, job_type,
                         core_count, node, submit_time, start_time, end_time, exit_code, diag,
                         panda_ids
                     FROM worker WHERE harvester_id = ? AND retired = 0 ORDER BY worker_id",
                )?
                .query_map([self.harvester_id.as_str()], |row| self.read(row))?
                .collect::<rusqlite::Result<Vec<Worker>>>()
        };
        read().map_err(failure("list the live workers".to_owned()))
    }

    fn mark_retired(&mut self, worker_id: WorkerId) -> rusqlite::Result<()> {
        let harvester_id = self.harvester_id.as_str();
        let transaction = self.connection.transaction()?;
        transaction
            .prepare_cached(
                "UPDATE worker SET retired = 1 WHERE harvester_id = ? AND worker_id = ?",
            )?
            .execute(params![harvester_id, to_sql(worker_id)])?;
        transaction
            .prepare_cached(
                "DELETE FROM worker WHERE harvester_id = ?1 AND retired = 1 AND worker_id <= (
                     SELECT max(worker_id) FROM worker WHERE harvester_id = ?1) - ?2",
            )?
            .execute(params![harvester_id, RETIRED_KEPT])?;
        transaction.commit()
    }

    fn write(&self, verb: &str, worker: &Worker) -> rusqlite::Result<()> {
        let sql = format!(
            "{verb} INTO worker (harvester_id, worker_id, batch_id, queue, status, resource_type,
                 job_type, core_count, node, submit_time, start_time, end_time, exit_code, diag,
                 panda_ids)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        );
        let panda_ids: Vec<String> = worker.panda_ids.iter().map(PandaId::to_string).collect();
        self.connection.prepare_cached(&sql)?.execute(params![
            self.harvester_id.as_str(),
            to_sql(worker.worker_id),
            worker.batch_id.as_str(),
            worker.queue.as_str(),
            worker.status.as_str(),
            worker.resource_type,
            worker.job_type,
            worker.core_count,
            worker.node.as_str(),
            worker.submit_time.map(Timestamp::as_millis),
            worker.start_time.map(Timestamp::as_millis),
            worker.end_time.map(Timestamp::as_millis),
            worker.exit_code,
            worker.diag,
            panda_ids.join(","),
        ])?;
        Ok(())
    }

    fn read(&self, row: &Row<'_>) -> rusqlite::Result<Worker> {
        let time = |index: usize| {
            row.get::<_, Option<i64>>(index)
                .map(|millis| millis.map(Timestamp::from_millis))
        };
        let status: String = row.get(3)?;
        let panda_ids: String = row.get(13)?;
        Ok(Worker {
            harvester_id: self.harvester_id.clone(),
            worker_id: worker_id(row)?,
            batch_id: BatchId::new(row.get::<_, String>(1)?),
            queue: QueueName::new(row.get::<_, String>(2)?),
            status: status.parse().map_err(unreadable(3))?,
            resource_type: row.get(4)?,
            job_type: row.get(5)?,
            core_count: row.get(6)?,
            node: NodeName::new(row.get::<_, String>(7)?),
            submit_time: time(8)?,
            start_time: time(9)?,
            end_time: time(10)?,
            exit_code: row.get(11)?,
            diag: row.get(12)?,
            panda_ids: (panda_ids.split(',').filter(|id| !id.is_empty()))
                .map(|id| id.parse().map_err(unreadable(13)))
                .collect::<rusqlite::Result<_>>()?,
            detail: ailurus_model::WorkerDetail::of_sure_end(),
        })
    }
}

/// `SQLite` counts to 2⁶³ only; no instance gets there.
fn to_sql(worker_id: WorkerId) -> i64 {
    i64::try_from(worker_id.value()).unwrap_or(i64::MAX)
}

/// Reads the number in the first column.
fn worker_id(row: &Row<'_>) -> rusqlite::Result<WorkerId> {
    let number: i64 = row.get(0)?;
    u64::try_from(number)
        .map(WorkerId::new)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, number))
}

fn unreadable<E>(column: usize) -> impl Fn(E) -> rusqlite::Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

fn failure(action: String) -> impl FnOnce(rusqlite::Error) -> BookError {
    move |source| BookError { action, source }
}

#[cfg(test)]
mod tests {
    use ailurus_model::WorkerStatus;

    use super::*;

    fn worker(number: u64) -> Worker {
        Worker {
            harvester_id: HarvesterId::new("h"),
            worker_id: WorkerId::new(number),
            batch_id: BatchId::default(),
            queue: QueueName::new("JINR"),
            status: WorkerStatus::Pending,
            resource_type: "SCORE".to_owned(),
            job_type: "managed".to_owned(),
            core_count: 2,
            node: NodeName::default(),
            submit_time: Some(Timestamp::from_millis(5)),
            start_time: None,
            end_time: None,
            exit_code: None,
            diag: String::new(),
            panda_ids: vec![PandaId::new(3), PandaId::new(4)],
            detail: ailurus_model::WorkerDetail::of_sure_end(),
        }
    }

    struct Shelf {
        dir: tempfile::TempDir,
        book: WorkerBook,
    }

    impl Shelf {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let book = open(dir.path(), "h");
            Self { dir, book }
        }

        /// Opens the file again, as after a crash: nothing is closed in between.
        fn reopened(&self) -> WorkerBook {
            open(self.dir.path(), "h")
        }
    }

    fn open(dir: &Path, harvester_id: &str) -> WorkerBook {
        WorkerBook::open(&dir.join("harvester.db"), HarvesterId::new(harvester_id)).unwrap()
    }

    #[test]
    fn a_recorded_worker_survives_a_crash_with_all_of_its_facts() {
        let shelf = Shelf::new();
        shelf.book.record(&worker(7)).unwrap();
        let book = shelf.reopened();
        assert_eq!(book.live().unwrap(), [worker(7)]);
        assert_eq!(book.last_id().unwrap(), WorkerId::new(7));
    }

    #[test]
    fn a_saved_change_replaces_the_row() {
        let shelf = Shelf::new();
        shelf.book.record(&worker(7)).unwrap();
        let mut changed = worker(7);
        changed.status = WorkerStatus::Failed;
        changed.batch_id = BatchId::new("123.ce");
        changed.node = NodeName::new("slot1@wn5");
        changed.start_time = Some(Timestamp::from_millis(6));
        changed.end_time = Some(Timestamp::from_millis(7));
        changed.exit_code = Some(-9);
        changed.diag = "killed".to_owned();
        changed.panda_ids.clear();
        shelf.book.save(&changed).unwrap();
        assert_eq!(shelf.reopened().live().unwrap(), [changed]);
    }

    #[test]
    fn a_number_is_recorded_once() {
        let shelf = Shelf::new();
        shelf.book.record(&worker(7)).unwrap();
        let error = shelf.book.record(&worker(7)).unwrap_err();
        assert!(error.to_string().contains("record worker 7"), "{error}");
    }

    #[test]
    fn a_retired_worker_is_not_live_and_its_number_stays_used() {
        let mut shelf = Shelf::new();
        shelf.book.record(&worker(1)).unwrap();
        shelf.book.record(&worker(2)).unwrap();
        shelf.book.retire(WorkerId::new(2)).unwrap();
        shelf.book.retire(WorkerId::new(2)).unwrap();
        let book = shelf.reopened();
        assert_eq!(book.live().unwrap(), [worker(1)]);
        assert_eq!(book.last_id().unwrap(), WorkerId::new(2));
    }

    #[test]
    fn old_retired_rows_are_dropped_and_live_ones_never() {
        let mut shelf = Shelf::new();
        let last = u64::from(RETIRED_KEPT) + 3;
        for number in [1, 2, last] {
            shelf.book.record(&worker(number)).unwrap();
        }
        shelf.book.retire(WorkerId::new(2)).unwrap();
        let rows: u32 = (shelf.book.connection)
            .query_row("SELECT count(*) FROM worker", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 2);
        assert_eq!(shelf.book.live().unwrap(), [worker(1), worker(last)]);
    }

    #[test]
    fn two_instances_do_not_see_each_others_workers() {
        let shelf = Shelf::new();
        shelf.book.record(&worker(7)).unwrap();
        let other = open(shelf.dir.path(), "other");
        assert_eq!(other.live().unwrap(), []);
        assert_eq!(other.last_id().unwrap(), WorkerId::new(0));
    }

    #[test]
    fn the_servers_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.db");
        drop(schema::open(&path, schema::SERVER).unwrap());
        let error = WorkerBook::open(&path, HarvesterId::new("h")).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    }
}
