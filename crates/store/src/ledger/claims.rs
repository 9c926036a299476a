//! Finds activated jobs for pilots.
//!
//! Requests of one batch often ask for the same, so what fits is read once, with whole rows, and
//! then looked up among the rows that are kept: those have what the batch has changed.

use std::{cell::RefCell, cmp::Reverse, collections::BTreeMap, ops::ControlFlow};

use ailurus_model::{ByteCount, PandaId, SourceLabel, TaskId};
use ailurus_server_core::ledger::{ClaimFilter, ClaimOrder, JobRecord};

use super::{
    jobs::{self, JOB, JOB_COLUMNS, is_activated, read_job},
    needs, pulse,
};
use crate::{
    session::Session,
    sql::{Columns, Key, OnRow, OwnedRow, Sql, SqlError, Value, row},
};

/// Jobs that are read at least when a pilot asks, whatever it asks for.
const PAGE_MIN: usize = 8;

/// What was read for the requests of a batch.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// How far the jobs that fit a filter are kept.
    read_to: RefCell<BTreeMap<Key, Horizon>>,
    /// The state of the session for which this holds.
    drops: RefCell<u64>,
    /// How many requests the batch has.
    expected: RefCell<usize>,
}

/// The order of jobs: by falling priority, then rising turn, then rising number; or by number
/// alone.
type Place = (Reverse<i64>, PandaId, PandaId);

fn place_of(job: &JobRecord, order: ClaimOrder<'_>) -> Place {
    match order {
        ClaimOrder::ByNeed { .. } => (Reverse(job.priority), job.turn, job.panda_id),
        ClaimOrder::Oldest => (Reverse(0), PandaId::default(), job.panda_id),
    }
}

/// How far jobs were read.
#[derive(Debug, Clone, Copy)]
enum Horizon {
    /// To the end.
    All,
    /// To this one.
    To(Place),
}

impl Claims {
    /// Says how many requests the batch that begins has.
    pub(super) fn expect(&self, n: usize) {
        self.read_to.borrow_mut().clear();
        self.expected.replace(n);
    }

    fn horizon(&self, session: &Session, key: &Key) -> Option<Horizon> {
        if self.drops.replace(session.drops()) != session.drops() {
            self.read_to.borrow_mut().clear();
        }
        self.read_to.borrow().get(key).copied()
    }
}

/// Lists the queue's activated jobs that fit, in their order, until there are `limit` of them.
pub(super) fn claimable(
    session: &Session,
    claims: &Claims,
    filter: &ClaimFilter<'_>,
    limit: usize,
    of_task: impl Fn(TaskId, &SourceLabel) -> Result<bool, SqlError>,
) -> Result<Vec<PandaId>, SqlError> {
    let key = key_of(filter);
    let mut page = limit.max(PAGE_MIN).max(*claims.expected.borrow());
    let mut horizon = claims.horizon(session, &key);
    // Outside a batch nothing is kept, so everything is read here.
    let mut alone: Vec<OwnedRow> = Vec::new();
    loop {
        if let Some(horizon) = horizon {
            let mut fitting: Vec<Result<Option<Fit>, SqlError>> = Vec::new();
            let mut see = |row: &OwnedRow| fitting.push(fits(row, filter));
            match session.is_batch() {
                true => session.for_each_kept(&JOB, &mut see),
                false => alone.iter().for_each(&mut see),
            }
            let mut found: Vec<Place> = Vec::new();
            for fit in fitting {
                if let Some(fit) = fit?
                    && horizon.has(fit.place)
                    && of_task(fit.task, &fit.label)?
                {
                    found.push(fit.place);
                }
            }
            if found.len() >= limit || matches!(horizon, Horizon::All) {
                found.sort_unstable();
                return Ok(found.into_iter().take(limit).map(|(_, _, id)| id).collect());
            }
            page = page.saturating_mul(2);
        }
        let last = horizon;
        let rows = read_page(session, filter, last, page)?;
        let was_last = rows.len() < page;
        let end = rows
            .last()
            .map(|row| read_job(&mut Columns::of(row)))
            .transpose()?;
        horizon = Some(match end {
            Some(job) if !was_last => Horizon::To(place_of(&job, filter.order)),
            Some(_) | None => Horizon::All,
        });
        if session.is_batch() {
            needs::prefetch_of(session, &rows)?;
            for row in rows {
                pulse::expect_none(session, jobs::id_of(&row)?);
                session.learn(&JOB, row);
            }
            if let Some(horizon) = horizon {
                claims.read_to.borrow_mut().insert(key.clone(), horizon);
            }
        } else {
            alone.extend(rows);
        }
    }
}

impl Horizon {
    fn has(self, place: Place) -> bool {
        match self {
            Self::All => true,
            Self::To(last) => place <= last,
        }
    }
}

/// What of a filter the database looks at.
fn key_of(filter: &ClaimFilter<'_>) -> Key {
    row![
        filter.queue,
        or_no_limit(filter.memory),
        or_no_limit(filter.disk),
        filter.remaining_secs.unwrap_or(u64::MAX),
        filter.resource_type,
        filter.task_id,
        share_of(filter),
    ]
    .to_vec()
}

/// The share that is asked for, if it is one only.
const fn share_of<'a>(filter: &ClaimFilter<'a>) -> Option<&'a str> {
    match filter.order {
        ClaimOrder::ByNeed { share } => Some(share),
        ClaimOrder::Oldest => None,
    }
}

const fn or_no_limit(size: ByteCount) -> ByteCount {
    match size {
        ByteCount::ZERO => ByteCount::from_bytes(u64::MAX),
        size => size,
    }
}

/// Reads the next jobs that fit as the database has them, in their order.
fn read_page(
    session: &Session,
    filter: &ClaimFilter<'_>,
    after: Option<Horizon>,
    page: usize,
) -> Result<Vec<OwnedRow>, SqlError> {
    let mut values: Vec<Value<'_>> = key_of(filter);
    values.extend(row![page]);
    let after = match after {
        Some(Horizon::To(place)) => Some(place),
        Some(Horizon::All) | None => None,
    };
    let order = match filter.order {
        ClaimOrder::ByNeed { .. } => "priority DESC, turn, panda_id",
        ClaimOrder::Oldest => "panda_id",
    };
    let beyond = match (after, filter.order) {
        (Some((Reverse(priority), turn, id)), ClaimOrder::ByNeed { .. }) => {
            values.extend(row![priority, turn, id]);
            "AND (priority < ?9
                  OR (priority = ?9 AND (turn > ?10 OR (turn = ?10 AND panda_id > ?11))))"
        }
        (Some((_, _, id)), ClaimOrder::Oldest) => {
            values.extend(row![id]);
            "AND panda_id > ?9"
        }
        (None, _) => "",
    };
    let share = match share_of(filter) {
        Some(_) => "global_share = ?7",
        // The same parameters in each statement.
        None => "(global_share = ?7 OR ?7 IS NULL)",
    };
    let text = format!(
        "SELECT {JOB_COLUMNS} FROM job
         WHERE status = 'activated' AND queue = ?1 AND {share}
           AND memory <= ?2 AND disk <= ?3 AND walltime_secs <= ?4
           AND (resource_type = ?5 OR ?5 IS NULL) AND (task_id = ?6 OR ?6 IS NULL) {beyond}
         ORDER BY {order} LIMIT ?8"
    );
    let mut rows = Vec::new();
    let on_row: OnRow<'_> = &mut |columns| {
        rows.push(columns.values(JOB.columns.len())?);
        Ok(ControlFlow::Continue(()))
    };
    match session.is_batch() {
        true => session.peek(&text, &values, on_row)?,
        false => session.query(&text, &values, on_row)?,
    }
    Ok(rows)
}

/// A job that fits as far as its row tells.
struct Fit {
    place: Place,
    task: TaskId,
    label: SourceLabel,
}

/// Returns what a job is in the order, if it fits.
fn fits(row: &OwnedRow, filter: &ClaimFilter<'_>) -> Result<Option<Fit>, SqlError> {
    if !is_activated(row) {
        return Ok(None);
    }
    let job = read_job(&mut Columns::of(row))?;
    let place = place_of(&job, filter.order);
    Ok(fits_filter(&job, filter).then_some(Fit {
        place,
        task: job.task_id,
        label: job.source_label,
    }))
}

fn fits_filter(job: &JobRecord, filter: &ClaimFilter<'_>) -> bool {
    job.queue.as_ref() == Some(filter.queue)
        && share_of(filter).is_none_or(|share| job.global_share == share)
        && job.memory <= or_no_limit(filter.memory)
        && job.disk <= or_no_limit(filter.disk)
        && filter
            .remaining_secs
            .is_none_or(|secs| job.walltime_secs <= secs)
        && filter
            .resource_type
            .is_none_or(|class| job.resource_type == class)
        && filter.task_id.is_none_or(|task| job.task_id == task)
        && filter.admits(job)
}
