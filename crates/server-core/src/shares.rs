//! Which global share needs resources most, and how many workers streamed queues are to get.
//!
//! Both are worked out now and then from counts of jobs and written down: a job request and a
//! Harvester read what stands there.

use std::collections::BTreeMap;

use ailurus_brokerage::ShareLine;
use ailurus_model::{ByteCount, HarvesterId, JobStatus, Queue};

use crate::{
    Context,
    commands::{NewCommand, Replaces, give_command},
    ledger::{Acknowledgement, Ledger, LedgerError, WorkerStatisticsRecord},
    streaming::{StreamingState, WorkerNumbers, is_streamed, new_workers},
};

/// Power of a core where the queue does not say it, in thousandths of HS06, as in PanDA.
const CORE_POWER_MILLI: u64 = 10_000;
/// The command that says how many workers a queue is to get.
const SET_WORKERS: &str = "SET_N_WORKERS_JOBTYPE";
/// The type of job that all streamed workers have.
const JOB_TYPE: &str = "managed";

/// Lists all shares with what runs and waits for them, in HS06.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn share_lines(ctx: &Context<'_>, ledger: &impl Ledger) -> Result<Vec<ShareLine>, LedgerError> {
    let (executing, queued) = by_share(ctx, ledger)?;
    Ok(ctx.scheduling.shares.lines(&executing, &queued))
}

/// Orders the leaves of global shares by need and writes the order down. Returns it.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn refresh_shares(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
) -> Result<Vec<String>, LedgerError> {
    let (executing, _) = by_share(ctx, ledger)?;
    let order = ctx.scheduling.shares.order(&executing);
    let order: Vec<String> = order.into_iter().map(str::to_owned).collect();
    if ledger.share_order()? != order {
        ledger.put_share_order(&order)?;
    }
    Ok(order)
}

/// Tells the Harvesters of streamed queues how many workers to submit. Returns how many queues
/// that were. Queues whose Harvester has not reported its workers lately are passed over.
///
/// Source: PanDA server, `pandaserver/daemons/scripts/pilotStreaming.py`.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn stream_pilots(ctx: &Context<'_>, ledger: &mut impl Ledger) -> Result<u64, LedgerError> {
    let queues: Vec<&Queue> = ctx.queues.values().filter(|it| is_streamed(it)).collect();
    if queues.is_empty() {
        return Ok(0);
    }
    let since = ctx.now.before(ctx.scheduling.streaming.statistics_age_max);
    let reports = ledger.worker_statistics_since(since)?;
    let order = ledger.share_order()?;
    let mut told = 0;
    for queue in queues {
        let harvester = &queue.options.terms.harvester;
        let report = reports
            .iter()
            .find(|it| it.queue == queue.name && it.harvester.as_str() == harvester);
        if let Some(report) = report {
            tell(ctx, ledger, queue, report, &order)?;
            told += 1;
        }
    }
    Ok(told)
}

fn tell(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    queue: &Queue,
    report: &WorkerStatisticsRecord,
    order: &[String],
) -> Result<(), LedgerError> {
    let mut shares = ledger.waiting_shares(&queue.name)?;
    let place = |share: &String| order.iter().position(|leaf| leaf == share);
    shares.sort_by_key(|share| place(share).unwrap_or(usize::MAX));
    let mut waiting: Vec<(String, u64)> = Vec::new();
    for share in &shares {
        waiting.extend(ledger.waiting_classes(&queue.name, share)?);
    }
    let (memory, cores) = ledger.running_memory(&queue.name)?;
    let state = StreamingState {
        workers: workers_of(report),
        jobs: waiting
            .iter()
            .map(|(class, n)| (class.as_str(), *n))
            .collect(),
        memory_mean: (cores > 0).then(|| ByteCount::from_bytes(memory.as_bytes() / cores)),
    };
    let new = new_workers(&ctx.scheduling.streaming, queue, &state);
    let params = serde_json::json!({JOB_TYPE: new}).to_string();
    give_command(
        ctx,
        ledger,
        NewCommand {
            harvester: &HarvesterId::new(&*queue.options.terms.harvester),
            command: &format!("{SET_WORKERS}:{}", queue.name),
            params,
            acknowledgement: Acknowledgement::NotWanted,
            replaces: Replaces::SameText,
        },
    )
    .map(drop)
}

/// Workers by resource class, of all types of jobs.
fn workers_of(report: &WorkerStatisticsRecord) -> BTreeMap<&str, WorkerNumbers> {
    let mut workers: BTreeMap<&str, WorkerNumbers> = BTreeMap::new();
    for (class, by_status) in report.counts.values().flatten() {
        let numbers = workers.entry(class).or_default();
        let of = |status: &str| by_status.get(status).copied().unwrap_or(0);
        numbers.waiting = numbers
            .waiting
            .saturating_add(of("submitted") + of("ready"));
        numbers.running = numbers.running.saturating_add(of("running"));
    }
    workers
}

type OfShare = BTreeMap<String, f64>;

/// What runs and what waits for each leaf, in HS06.
fn by_share(ctx: &Context<'_>, ledger: &impl Ledger) -> Result<(OfShare, OfShare), LedgerError> {
    let (mut executing, mut queued) = (OfShare::new(), OfShare::new());
    for row in ledger.loads()? {
        let sums = match row.status {
            JobStatus::Sent | JobStatus::Starting | JobStatus::Running => &mut executing,
            JobStatus::Assigned | JobStatus::Activated => &mut queued,
            JobStatus::Pending
            | JobStatus::Defined
            | JobStatus::Holding
            | JobStatus::Transferring
            | JobStatus::Merging
            | JobStatus::Finished
            | JobStatus::Failed
            | JobStatus::Cancelled
            | JobStatus::Closed => continue,
        };
        let stated = ctx
            .queues
            .get(&row.queue)
            .map_or(0, |queue| queue.options.terms.core_power_milli);
        let power = if stated > 0 { stated } else { CORE_POWER_MILLI };
        *sums.entry(row.share).or_default() += hs06(row.cores.saturating_mul(power));
    }
    Ok((executing, queued))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sums of cores and their power are far below 2^53"
)]
fn hs06(milli: u64) -> f64 {
    milli as f64 / 1000.0
}
