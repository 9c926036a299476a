//! The database below the server, and how it gets very many running jobs.

use std::path::{Path, PathBuf};

use ailurus_testkit::postgres::{self, Durability, PostgresServer};
use anyhow::bail;

use super::load::{Held, queue_name};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file.
    Sqlite,
    /// A server of our own.
    Postgres,
}

impl Kind {
    /// Returns its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// A database for one run.
#[derive(Debug)]
pub(super) struct Database {
    address: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Server(PostgresServer),
}

/// The first number of the jobs that are filled in.
const FIRST: u64 = 10_000_000;

impl Database {
    /// Makes a database below a folder, durable as shipped.
    pub(super) fn start(kind: Kind, folder: &Path) -> anyhow::Result<Self> {
        match kind {
            Kind::Sqlite => {
                let path = folder.join("server.db");
                Ok(Self {
                    address: path.display().to_string(),
                    place: Place::File(path),
                })
            }
            Kind::Postgres => {
                if !postgres::is_there()? {
                    bail!("without PostgreSQL there is nothing to measure");
                }
                let server = PostgresServer::start(&folder.join("postgresql"), Durability::Tuned)?;
                Ok(Self {
                    address: server.new_database()?,
                    place: Place::Server(server),
                })
            }
        }
    }

    /// Returns its path or URL.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Adds running jobs, spread over the queues, while no server runs.
    pub(super) fn fill(&self, jobs: u64, queues: usize) -> anyhow::Result<Vec<Held>> {
        let statements = statements(jobs, queues);
        match &self.place {
            Place::File(path) => {
                let connection = rusqlite::Connection::open(path)?;
                connection.execute_batch(&statements)?;
            }
            Place::Server(server) => {
                server.ask(&server.last_database(), &statements)?;
                for chore in ["VACUUM ANALYZE", "CHECKPOINT"] {
                    server.ask(&server.last_database(), chore)?;
                }
            }
        }
        Ok((FIRST..FIRST + jobs).map(Held::new).collect())
    }
}

/// Copies of one waiting job, as they are while they run, and the counts that go with them.
fn statements(jobs: u64, queues: usize) -> String {
    let queue = queue_name(0);
    let prefix = queue.trim_end_matches('0');
    let last = FIRST + jobs - 1;
    let numbers = format!(
        "WITH RECURSIVE n (i) AS (SELECT {FIRST} UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
    );
    format!(
        "BEGIN;
         {numbers}
         INSERT INTO job (panda_id, task_id, part, status, attempt_nr, max_attempts, first_event,
             n_events, queue, priority, source_label, resource_type, cores, memory, disk,
             walltime_secs, created, modified, state_changed, reason, sub_status, tags,
             global_share, kind, serial, turn)
         SELECT i, task_id, part + i, 'running', 1, max_attempts, first_event, n_events,
             '{prefix}' || (i % {queues}), priority, source_label, resource_type, cores, memory,
             disk, walltime_secs, created, modified, state_changed, '', '', '', global_share, kind,
             serial, i
         FROM n JOIN job ON panda_id = (SELECT min(panda_id) FROM job);
         {numbers}
         INSERT INTO attempt (panda_id, attempt_nr, task_id, seed, queue, node, pilot_id, status,
             sent, started, diagnosis, timing, log_surl, pilot_log, report)
         SELECT i, 1, task_id, i, '{prefix}' || (i % {queues}), 'bench', 'bench|PR|0', 'running',
             modified, modified, '', '', '', '', ''
         FROM n JOIN job ON panda_id = (SELECT min(panda_id) FROM job);
         DELETE FROM task_job_count;
         INSERT INTO task_job_count (task_id, status, n)
             SELECT task_id, status, count(*) FROM job GROUP BY task_id, status;
         DELETE FROM queue_load;
         INSERT INTO queue_load (queue, share, resource_type, status, jobs, cores)
             SELECT queue, global_share, resource_type, status, count(*), sum(cores) FROM job
             WHERE queue IS NOT NULL GROUP BY queue, global_share, resource_type, status;
         UPDATE counter SET last = {last} + 1 WHERE name = 'job';
         COMMIT;"
    )
}
