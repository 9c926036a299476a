//! Statements over what brokerage must know of queues.

use std::collections::BTreeMap;

use ailurus_model::{JobStatus, PandaId, QueueName, TaskId, Timestamp};
use ailurus_server_core::ledger::{
    BrokerageRows, JobRecord, LedgerError, LoadRow, MixtureRecord, QueuePulse, TaskPlace,
};

use crate::{
    DatabaseLedger,
    ledger::failed,
    sql::{Columns, Sql, SqlError, only, params},
};

/// What a job adds to the load of its queue; nothing if it has none or has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    queue: QueueName,
    share: String,
    resource_type: String,
    status: JobStatus,
    cores: i64,
}

impl Counted {
    pub(super) fn of(job: &JobRecord) -> Option<Self> {
        let queue = job.queue.as_ref()?;
        (!job.status.is_terminal()).then(|| Self {
            queue: queue.clone(),
            share: job.global_share.clone(),
            resource_type: job.resource_type.clone(),
            status: job.status,
            cores: i64::from(job.cores),
        })
    }

    /// Reads the columns `queue, global_share, resource_type, status, cores`.
    pub(super) fn read(columns: &mut Columns<'_>) -> Result<(JobStatus, Option<Self>), SqlError> {
        let queue: Option<QueueName> = columns.take()?;
        let share = columns.take()?;
        let resource_type = columns.take()?;
        let status: JobStatus = columns.take()?;
        let cores = columns.take()?;
        let counted = queue.filter(|_| !status.is_terminal()).map(|queue| Self {
            queue,
            share,
            resource_type,
            status,
            cores,
        });
        Ok((status, counted))
    }
}

/// Keeps the loads of queues equal to the rows they count.
pub(super) fn count_load(
    sql: &dyn Sql,
    old: Option<&Counted>,
    new: Option<&Counted>,
) -> Result<(), SqlError> {
    if old == new {
        return Ok(());
    }
    for (counted, sign) in [(old, -1), (new, 1)] {
        if let Some(counted) = counted {
            add_load(sql, counted, sign)?;
        }
    }
    Ok(())
}

fn add_load(sql: &dyn Sql, counted: &Counted, sign: i64) -> Result<(), SqlError> {
    sql.execute(
        "INSERT INTO queue_load (queue, share, resource_type, status, jobs, cores)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (queue, share, resource_type, status) DO UPDATE SET
             jobs = queue_load.jobs + excluded.jobs, cores = queue_load.cores + excluded.cores",
        params![
            counted.queue,
            counted.share,
            counted.resource_type,
            counted.status,
            sign,
            sign * counted.cores
        ],
    )
    .map(drop)
}

fn read_load(columns: &mut Columns<'_>) -> Result<LoadRow, SqlError> {
    Ok(LoadRow {
        queue: columns.take()?,
        share: columns.take()?,
        resource_type: columns.take()?,
        status: columns.take()?,
        jobs: columns.take()?,
        cores: columns.take()?,
    })
}

fn read_pulse(columns: &mut Columns<'_>) -> Result<QueuePulse, SqlError> {
    Ok(QueuePulse {
        pilot_seen: columns.take::<Option<Timestamp>>()?,
        job_started: columns.take::<Option<Timestamp>>()?,
    })
}

impl BrokerageRows for DatabaseLedger {
    fn loads(&self) -> Result<Vec<LoadRow>, LedgerError> {
        self.sql()
            .rows(
                "SELECT queue, share, resource_type, status, jobs, cores FROM queue_load
                 WHERE jobs > 0 ORDER BY queue, share, resource_type, status",
                params![],
                read_load,
            )
            .map_err(failed(|| "read the loads of all queues".to_owned()))
    }

    fn waiting_shares(&self, queue: &QueueName) -> Result<Vec<String>, LedgerError> {
        self.sql()
            .rows(
                "SELECT DISTINCT share FROM queue_load
                 WHERE queue = ?1 AND status = 'activated' AND jobs > 0 ORDER BY share",
                params![queue],
                only,
            )
            .map_err(failed(|| format!("list the shares that wait at `{queue}`")))
    }

    fn pulses(&self) -> Result<BTreeMap<QueueName, QueuePulse>, LedgerError> {
        let rows = self
            .sql()
            .rows(
                "SELECT queue, pilot_seen, job_started FROM queue_pulse",
                params![],
                |columns| Ok((columns.take()?, read_pulse(columns)?)),
            )
            .map_err(failed(|| "read when queues were heard of".to_owned()))?;
        Ok(rows.into_iter().collect())
    }

    fn pulse(&self, queue: &QueueName) -> Result<QueuePulse, LedgerError> {
        let row = self
            .sql()
            .first(
                "SELECT pilot_seen, job_started FROM queue_pulse WHERE queue = ?1",
                params![queue],
                read_pulse,
            )
            .map_err(failed(|| format!("read when `{queue}` was heard of")))?;
        Ok(row.unwrap_or_default())
    }

    fn put_pulse(&mut self, queue: &QueueName, pulse: QueuePulse) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO queue_pulse (queue, pilot_seen, job_started) VALUES (?1, ?2, ?3)
                 ON CONFLICT (queue) DO UPDATE SET
                     pilot_seen = excluded.pilot_seen, job_started = excluded.job_started",
                params![queue, pulse.pilot_seen, pulse.job_started],
            )
            .map(drop)
            .map_err(failed(|| format!("note that `{queue}` was heard of")))
    }

    fn task_places(&self, task: TaskId) -> Result<BTreeMap<QueueName, TaskPlace>, LedgerError> {
        let rows = self
            .sql()
            .rows(
                "SELECT queue, jobs, failed, finished, closed FROM task_place WHERE task_id = ?1",
                params![task],
                |columns| {
                    let queue = columns.take()?;
                    let place = TaskPlace {
                        jobs: columns.take()?,
                        failed: columns.take()?,
                        finished: columns.take()?,
                        closed: columns.take()?,
                    };
                    Ok((queue, place))
                },
            )
            .map_err(failed(|| format!("read where task {task} ran")))?;
        Ok(rows.into_iter().collect())
    }

    fn add_task_place(
        &mut self,
        task: TaskId,
        queue: &QueueName,
        more: &TaskPlace,
    ) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO task_place (task_id, queue, jobs, failed, finished, closed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (task_id, queue) DO UPDATE SET
                     jobs = task_place.jobs + excluded.jobs,
                     failed = task_place.failed + excluded.failed,
                     finished = task_place.finished + excluded.finished,
                     closed = task_place.closed + excluded.closed",
                params![
                    task,
                    queue,
                    more.jobs,
                    more.failed,
                    more.finished,
                    more.closed
                ],
            )
            .map(drop)
            .map_err(failed(|| {
                format!("note how task {task} fares at `{queue}`")
            }))
    }

    fn mixture(&self, sample: &str) -> Result<Option<MixtureRecord>, LedgerError> {
        let failed = || failed(|| format!("read where sample `{sample}` is read"));
        let sql = self.sql();
        let turn: Option<PandaId> = sql
            .first(
                "SELECT turn FROM mixture WHERE sample = ?1",
                params![sample],
                only,
            )
            .map_err(failed())?;
        let Some(turn) = turn else { return Ok(None) };
        let jobs = sql
            .rows(
                "SELECT queue, jobs FROM mixture_place WHERE sample = ?1",
                params![sample],
                |columns| Ok((columns.take()?, columns.take()?)),
            )
            .map_err(failed())?;
        Ok(Some(MixtureRecord {
            turn,
            jobs: jobs.into_iter().collect(),
        }))
    }

    fn add_mixture(
        &mut self,
        sample: &str,
        first: PandaId,
        queue: &QueueName,
        jobs: u64,
    ) -> Result<(), LedgerError> {
        let failed = || failed(|| format!("note that sample `{sample}` is read at `{queue}`"));
        let sql = self.sql();
        sql.execute(
            "INSERT INTO mixture (sample, turn) VALUES (?1, ?2) ON CONFLICT (sample) DO NOTHING",
            params![sample, first],
        )
        .map_err(failed())?;
        sql.execute(
            "INSERT INTO mixture_place (sample, queue, jobs) VALUES (?1, ?2, ?3)
             ON CONFLICT (sample, queue) DO UPDATE SET jobs = mixture_place.jobs + excluded.jobs",
            params![sample, queue, jobs],
        )
        .map(drop)
        .map_err(failed())
    }

    fn share_order(&self) -> Result<Vec<String>, LedgerError> {
        self.sql()
            .rows(
                "SELECT leaf FROM share_order ORDER BY place",
                params![],
                only,
            )
            .map_err(failed(|| "read the order of global shares".to_owned()))
    }

    fn put_share_order(&mut self, leaves: &[String]) -> Result<(), LedgerError> {
        let failed = || failed(|| "write the order of global shares".to_owned());
        let sql = self.sql();
        sql.execute("DELETE FROM share_order", params![])
            .map_err(failed())?;
        for (place, leaf) in (0_u64..).zip(leaves) {
            sql.execute(
                "INSERT INTO share_order (place, leaf) VALUES (?1, ?2)",
                params![place, leaf],
            )
            .map_err(failed())?;
        }
        Ok(())
    }
}
