//! Statements over what brokerage must know of queues.

use std::collections::BTreeMap;

use ailurus_model::{ByteCount, JobStatus, PandaId, QueueName, TaskId, Timestamp};
use ailurus_server_core::ledger::{
    BrokerageRows, JobRecord, LedgerError, LoadRow, MixtureRecord, QueuePulse, TaskPlace,
};

use crate::{
    DatabaseLedger,
    ledger::failed,
    session::Session,
    sql::{
        Column::{Int, Text},
        Columns, Key, OwnedRow, SqlError, Table, only, params, row,
    },
};

/// How many jobs that have not ended a queue has.
static LOAD: Table = Table {
    name: "queue_load",
    columns: &[
        Text("queue"),
        Text("share"),
        Text("resource_type"),
        Text("status"),
        Int("jobs"),
        Int("cores"),
    ],
    key: 4,
};

static PULSE: Table = Table {
    name: "queue_pulse",
    columns: &[Text("queue"), Int("pilot_seen"), Int("job_started")],
    key: 1,
};

static PLACE: Table = Table {
    name: "task_place",
    columns: &[
        Int("task_id"),
        Text("queue"),
        Int("jobs"),
        Int("failed"),
        Int("finished"),
        Int("closed"),
    ],
    key: 2,
};

/// Where a job is counted; nowhere if it has no queue or has ended.
fn load_key(job: &JobRecord) -> Option<(Key, i64)> {
    let queue = job.queue.as_ref().filter(|_| !job.status.is_terminal())?;
    let key = row![queue, job.global_share, job.resource_type, job.status];
    Some((key.to_vec(), i64::from(job.cores)))
}

/// Keeps the loads of queues equal to the rows they count.
pub(super) fn count_load(
    session: &Session,
    old: Option<&JobRecord>,
    new: Option<&JobRecord>,
) -> Result<(), SqlError> {
    let (old, new) = (old.and_then(load_key), new.and_then(load_key));
    if old == new {
        return Ok(());
    }
    for (counted, sign) in [(old, -1), (new, 1)] {
        if let Some((key, cores)) = counted {
            add_load(session, key, sign, cores)?;
        }
    }
    Ok(())
}

fn add_load(session: &Session, key: Key, sign: i64, cores: i64) -> Result<(), SqlError> {
    let stored = session.read(&LOAD, &key)?;
    let stored = stored.map(|row| read_load(&mut Columns::of(&row)));
    let (jobs, all_cores) = match stored.transpose()? {
        Some(load) => (load.jobs, load.cores),
        None => (0, 0),
    };
    let mut row = key;
    row.extend(row![
        jobs.saturating_add_signed(sign),
        all_cores.saturating_add_signed(sign * cores)
    ]);
    session.put(&LOAD, row)
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
        self.read_waiting_shares(queue)
            .map_err(failed(|| format!("list the shares that wait at `{queue}`")))
    }

    fn waiting_classes(
        &self,
        queue: &QueueName,
        share: &str,
    ) -> Result<Vec<(String, u64)>, LedgerError> {
        self.sql()
            .rows(
                "SELECT resource_type, count(*) FROM job
                 WHERE status = 'activated' AND queue = ?1 AND global_share = ?2
                 GROUP BY priority, resource_type ORDER BY priority DESC, resource_type",
                params![queue, share],
                |columns| Ok((columns.take()?, columns.take()?)),
            )
            .map_err(failed(|| format!("count what waits at `{queue}`")))
    }

    fn running_memory(&self, queue: &QueueName) -> Result<(ByteCount, u64), LedgerError> {
        self.sql()
            .one(
                "SELECT CAST(coalesce(sum(memory), 0) AS BIGINT),
                        CAST(coalesce(sum(cores), 0) AS BIGINT) FROM job
                 WHERE queue = ?1 AND status = 'running'
                   AND status NOT IN ('finished', 'failed', 'cancelled', 'closed')",
                params![queue],
                |columns| Ok((columns.take()?, columns.take()?)),
            )
            .map_err(failed(|| format!("sum up what runs at `{queue}`")))
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
        self.read_queue_pulse(queue)
            .map_err(failed(|| format!("read when `{queue}` was heard of")))
    }

    fn put_pulse(&mut self, queue: &QueueName, pulse: QueuePulse) -> Result<(), LedgerError> {
        self.session()
            .put(&PULSE, row![queue, pulse.pilot_seen, pulse.job_started])
            .map_err(failed(|| format!("note that `{queue}` was heard of")))
    }

    fn task_places(&self, task: TaskId) -> Result<BTreeMap<QueueName, TaskPlace>, LedgerError> {
        let rows = self.session().read_all(&PLACE, &row![task]);
        rows.and_then(|rows| rows.iter().map(read_place).collect())
            .map_err(failed(|| format!("read where task {task} ran")))
    }

    fn add_task_place(
        &mut self,
        task: TaskId,
        queue: &QueueName,
        more: &TaskPlace,
    ) -> Result<(), LedgerError> {
        self.write_task_place(task, queue, more).map_err(failed(|| {
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

fn read_place(row: &OwnedRow) -> Result<(QueueName, TaskPlace), SqlError> {
    let mut columns = Columns::of(row);
    columns.take::<TaskId>()?;
    let queue = columns.take()?;
    let place = TaskPlace {
        jobs: columns.take()?,
        failed: columns.take()?,
        finished: columns.take()?,
        closed: columns.take()?,
    };
    Ok((queue, place))
}

impl DatabaseLedger {
    fn read_waiting_shares(&self, queue: &QueueName) -> Result<Vec<String>, SqlError> {
        let mut shares = Vec::new();
        for row in self.session().read_all(&LOAD, &row![queue])? {
            let load = read_load(&mut Columns::of(&row))?;
            if load.status == JobStatus::Activated && load.jobs > 0 {
                shares.push(load.share);
            }
        }
        shares.dedup();
        Ok(shares)
    }

    fn read_queue_pulse(&self, queue: &QueueName) -> Result<QueuePulse, SqlError> {
        let Some(row) = self.session().read(&PULSE, &row![queue])? else {
            return Ok(QueuePulse::default());
        };
        let mut columns = Columns::of(&row);
        columns.take::<QueueName>()?;
        read_pulse(&mut columns)
    }

    fn write_task_place(
        &self,
        task: TaskId,
        queue: &QueueName,
        more: &TaskPlace,
    ) -> Result<(), SqlError> {
        let stored = self.session().read(&PLACE, &row![task, queue])?;
        let stored = stored.map(|row| read_place(&row)).transpose()?;
        let place = stored.map_or_else(TaskPlace::default, |(_, place)| place);
        self.session().put(
            &PLACE,
            row![
                task,
                queue,
                place.jobs.saturating_add(more.jobs),
                place.failed.saturating_add(more.failed),
                place.finished.saturating_add(more.finished),
                place.closed.saturating_add(more.closed),
            ],
        )
    }
}
