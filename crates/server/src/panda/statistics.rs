//! Calls about how many jobs there are, by queue, class, share, label, cloud and status.
//!
//! Counting looks at all rows, so each count is kept for a while: ten times as long as it took.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use ailurus_model::{JobStatus, QueueName, SourceLabel};
use ailurus_server_core::ledger::{Ledger, LedgerError};
use ailurus_store::{Counted, JobCount, Reader, TaskJobCount};
use ailurus_wire::system_call;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::{
    knowledge::{Knowledge, now},
    panda::{
        Call, Endpoint, Reply,
        endpoint::{Parameter, Preset, Shape, handler, int, text},
        failed,
    },
    reads::AskError,
};

/// For how long jobs that have ended are counted, in minutes, unless something else is asked for.
const WINDOW_MIN: u64 = 12 * 60;
/// The longest time for which jobs that have ended are counted, in minutes.
const WINDOW_MAX_MIN: u64 = 7 * 24 * 60;
/// A count is kept for so many times the time that it took.
const KEPT_PER_COST: u32 = 10;
/// A count is never kept for longer.
const KEPT_MAX: Duration = Duration::from_secs(60);
/// The cloud of a queue whose data name none, and of jobs without a queue.
const NO_CLOUD: &str = "WORLD";
/// The label of production.
const PRODUCTION: &str = "managed";

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::get("statistics/active_job_stats_by_site", handler!(by_queue))
        .gives(Shape::Map(&Shape::Map(&Shape::Int)))
        .by_harvester()
        .doc("Counts the jobs of every queue that have not ended, by status."),
    Endpoint::get(
        "statistics/active_job_detailed_stats_by_site",
        handler!(by_queue_class_and_label),
    )
    .gives(Shape::Map(&Shape::Map(&Shape::Map(&Shape::Map(
        &Shape::Int,
    )))))
    .by_harvester()
    .doc("Counts the jobs of every queue that have not ended, by class, label and status."),
    Endpoint::get("statistics/job_stats_by_cloud", handler!(by_cloud))
        .takes(&[text("type")
            .or(Preset::Text("production"))
            .doc("`production` or `analysis`")])
        .gives(Shape::Map(&Shape::Map(&Shape::Int)))
        .doc("Counts jobs by cloud and status; ended ones for twelve hours."),
    Endpoint::get(
        "statistics/production_job_stats_by_cloud_and_processing_type",
        handler!(by_cloud_and_processing_type),
    )
    .gives(Shape::Map(&Shape::Map(&Shape::Map(&Shape::Int))))
    .doc(
        "Counts production jobs by cloud, kind of processing and status; ended ones for twelve \
         hours.",
    ),
    Endpoint::get(
        "statistics/job_stats_by_site_and_resource_type",
        handler!(by_queue_and_class),
    )
    .takes(WINDOW)
    .gives(Shape::Map(&Shape::Map(&Shape::Map(&Shape::Int))))
    .doc("Counts jobs by queue, class and status; ended ones for as long as is asked for."),
    Endpoint::get(
        "statistics/job_stats_by_site_share_and_resource_type",
        handler!(by_queue_share_and_class),
    )
    .takes(WINDOW)
    .gives(Shape::Map(&Shape::Map(&Shape::Map(&Shape::Map(
        &Shape::Int,
    )))))
    .doc("Counts jobs by queue, share, class and status; ended ones for as long as is asked for."),
];

const WINDOW: &[Parameter] = &[
    int("time_window").doc("minutes for which jobs that have ended are counted; 720 without it")
];

/// A count that is kept.
#[derive(Debug)]
struct Kept<T> {
    until: Instant,
    which: Counted,
    rows: Arc<Vec<T>>,
}

/// The last counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    jobs: Mutex<Option<Kept<JobCount>>>,
    active: Mutex<Option<Kept<JobCount>>>,
    tasks: Mutex<Option<Kept<TaskJobCount>>>,
}

/// Takes the count that was kept, or counts anew. Who comes meanwhile waits for the same count.
async fn count<T: Send + Sync + 'static>(
    call: &Call,
    place: &Mutex<Option<Kept<T>>>,
    which: Counted,
    question: fn(&Reader, Counted) -> Result<Vec<T>, LedgerError>,
) -> Result<Arc<Vec<T>>, AskError> {
    let mut kept = place.lock().await;
    let begin = Instant::now();
    if let Some(kept) = &*kept
        && kept.until > begin
        && is_alike(kept.which, which)
    {
        return Ok(Arc::clone(&kept.rows));
    }
    let rows = call.app.read(move |reader| question(reader, which)).await?;
    let rows = Arc::new(rows);
    *kept = Some(Kept {
        until: Instant::now() + (begin.elapsed() * KEPT_PER_COST).min(KEPT_MAX),
        which,
        rows: Arc::clone(&rows),
    });
    Ok(rows)
}

/// Says whether two counts differ by no more than the time for which one is kept.
fn is_alike(one: Counted, other: Counted) -> bool {
    match (one, other) {
        (Counted::Active, Counted::Active) => true,
        (Counted::ActiveAndEndedSince(one), Counted::ActiveAndEndedSince(other)) => {
            one.since(other).max(other.since(one)) <= KEPT_MAX
        }
        (Counted::Active, Counted::ActiveAndEndedSince(_))
        | (Counted::ActiveAndEndedSince(_), Counted::Active) => false,
    }
}

async fn active(call: &Call) -> Result<Arc<Vec<JobCount>>, AskError> {
    let place = &call.app.counts.active;
    count(call, place, Counted::Active, Reader::job_counts).await
}

/// Counts jobs, ended ones for the time that the call asks for.
async fn windowed(call: &Call) -> Result<Arc<Vec<JobCount>>, Reply> {
    let window = match call.fields.get("time_window") {
        None => WINDOW_MIN,
        Some(_) => call
            .whole("time_window")
            .filter(|minutes| *minutes <= WINDOW_MAX_MIN)
            .ok_or_else(|| {
                Reply::refusal(format!(
                    "Parameter \"time_window\" needs to be a positive integer smaller than \
                     {WINDOW_MAX_MIN} min (7 days)"
                ))
            })?,
    };
    let place = &call.app.counts.jobs;
    count(call, place, since_minutes(window), Reader::job_counts)
        .await
        .map_err(|error| failed(&error))
}

fn since_minutes(minutes: u64) -> Counted {
    Counted::ActiveAndEndedSince(now().before(Duration::from_secs(minutes * 60)))
}

/// Adds a number below names: `{"a": {"b": 3}}`.
fn add(map: &mut Map<String, Value>, path: &[&str], jobs: u64) {
    match path {
        [] => {}
        [last] => {
            let known = map.get(*last).and_then(Value::as_u64).unwrap_or(0);
            map.insert((*last).to_owned(), Value::from(known + jobs));
        }
        [first, rest @ ..] => {
            let below = map.entry(*first).or_insert_with(|| json!({}));
            if let Value::Object(below) = below {
                add(below, rest, jobs);
            }
        }
    }
}

fn cloud_of<'a>(knowledge: &'a Knowledge, queue: Option<&QueueName>) -> &'a str {
    queue
        .and_then(|queue| knowledge.queue_record(queue.as_str()))
        .and_then(|record| record.get("cloud"))
        .and_then(Value::as_str)
        .filter(|cloud| !cloud.is_empty())
        .unwrap_or(NO_CLOUD)
}

fn is_production(label: &SourceLabel) -> bool {
    label.as_str() == PRODUCTION
}

/// The jobs for which Harvester starts workers: not those that are merged by others.
fn of_harvester(rows: &[JobCount]) -> impl Iterator<Item = &JobCount> {
    let is_merged = |row: &&JobCount| row.status == JobStatus::Merging;
    rows.iter().filter(move |row| !is_merged(row))
}

/// Counts active jobs by queue and status, with every queue there is.
async fn by_queue(call: Call) -> Reply {
    let rows = match active(&call).await {
        Ok(rows) => rows,
        Err(error) => return failed(&error),
    };
    let queues = call.app.knowledge();
    let mut counts: system_call::JobStatistics = (queues
        .queues
        .keys()
        .map(|queue| (queue.clone(), BTreeMap::new())))
    .collect();
    for row in of_harvester(&rows) {
        if let Some(queue) = &row.queue {
            let of_queue = counts.entry(queue.clone()).or_default();
            *of_queue.entry(row.status).or_default() += row.jobs;
        }
    }
    system_call::encode_job_statistics(&counts).into()
}

/// The same by class and label too. Harvester takes an answer that names no queue for a failure.
async fn by_queue_class_and_label(call: Call) -> Reply {
    let rows = match active(&call).await {
        Ok(rows) => rows,
        Err(error) => return failed(&error),
    };
    let mut counts = Map::new();
    for queue in call.app.knowledge().queues.keys() {
        counts.insert(queue.to_string(), json!({}));
    }
    for row in of_harvester(&rows) {
        let Some(queue) = &row.queue else { continue };
        let (class, label) = (row.resource_type.as_str(), row.source_label.as_str());
        let path = |status: JobStatus| [queue.as_str(), class, label, status.as_str()];
        add(&mut counts, &path(row.status), row.jobs);
        for status in system_call::ALWAYS_COUNTED {
            add(&mut counts, &path(status), 0);
        }
    }
    Reply::data(counts)
}

async fn by_queue_and_class(call: Call) -> Reply {
    let rows = match windowed(&call).await {
        Ok(rows) => rows,
        Err(refusal) => return refusal,
    };
    by_path(&rows, |row, queue| {
        [queue, &row.resource_type, row.status.as_str()]
    })
}

async fn by_queue_share_and_class(call: Call) -> Reply {
    let rows = match windowed(&call).await {
        Ok(rows) => rows,
        Err(refusal) => return refusal,
    };
    by_path(&rows, |row, queue| {
        let (share, class) = (row.global_share.as_str(), row.resource_type.as_str());
        [queue, share, class, row.status.as_str()]
    })
}

/// Answers with the numbers of jobs that have a queue, below names that begin with the queue's.
fn by_path<'r, const N: usize>(
    rows: &'r [JobCount],
    path: impl Fn(&'r JobCount, &'r str) -> [&'r str; N],
) -> Reply {
    let mut counts = Map::new();
    for row in rows {
        if let Some(queue) = &row.queue {
            add(&mut counts, &path(row, queue.as_str()), row.jobs);
        }
    }
    Reply::data(counts)
}

async fn by_cloud(call: Call) -> Reply {
    let wants_production = match call.text("type").as_deref() {
        Some("production") => true,
        Some("analysis") => false,
        _ => {
            let message = "Parameter \"type\" needs to be either \"production\" or \"analysis\" ";
            return Reply::refusal(message);
        }
    };
    let place = &call.app.counts.jobs;
    let rows = count(&call, place, since_minutes(WINDOW_MIN), Reader::job_counts).await;
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => return failed(&error),
    };
    let knowledge = call.app.knowledge();
    let mut counts = Map::new();
    for row in &*rows {
        if is_production(&row.source_label) == wants_production {
            let cloud = cloud_of(&knowledge, row.queue.as_ref());
            add(&mut counts, &[cloud, row.status.as_str()], row.jobs);
        }
    }
    Reply::data(counts)
}

async fn by_cloud_and_processing_type(call: Call) -> Reply {
    let place = &call.app.counts.tasks;
    let which = since_minutes(WINDOW_MIN);
    let rows = match count(&call, place, which, Reader::task_job_counts).await {
        Ok(rows) => rows,
        Err(error) => return failed(&error),
    };
    let knowledge = call.app.knowledge();
    let counted = call.app.read(move |reader| {
        let mut counts = Map::new();
        let production = rows.iter().filter(|row| is_production(&row.source_label));
        for row in production {
            let task = reader.ledger().task(row.task_id)?;
            let kind = task.map_or_else(String::new, |task| task.spec.processing_type.clone());
            let cloud = cloud_of(&knowledge, row.queue.as_ref());
            add(&mut counts, &[cloud, &kind, row.status.as_str()], row.jobs);
        }
        Ok(counts)
    });
    match counted.await {
        Ok(counts) => Reply::data(counts),
        Err(error) => failed(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_add_up_below_their_names() {
        let mut counts = Map::new();
        for (path, jobs) in [
            (["Q", "running"], 2),
            (["Q", "running"], 3),
            (["R", "sent"], 1),
        ] {
            add(&mut counts, &path, jobs);
        }
        let expected = json!({"Q": {"running": 5}, "R": {"sent": 1}});
        assert_eq!(Value::Object(counts), expected);
    }
}
