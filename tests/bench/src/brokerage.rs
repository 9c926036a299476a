//! How long it takes to give 10,000 jobs their queues, of 200, with everything that the server does
//! for it: rows are read, each job is judged and written, and SQLite commits.

use std::{collections::BTreeMap, time::Duration, time::Instant};

use ailurus_diagnosis::Catalogue;
use ailurus_model::{
    ByteCount, Lfn, Queue, QueueName, SourceLabel, TaskSpec, Timestamp,
    task::{ListedDataset, ListedFile, Resources, Split, Submission, TaskInput},
};
use ailurus_server_core::{Context, Limits, Scheduling, broker, submit};
use ailurus_store::{DatabaseLedger, Writer};
use ailurus_testkit::place;
use anyhow::{Context as _, anyhow, ensure};

use crate::figure::{Better, Figure};

/// Runs, each over a new database.
const RUNS: usize = 3;
const QUEUES: u32 = 200;
/// Tasks whose jobs are all alike, and those whose jobs each read a file of their own.
const ALIKE: (u32, u32) = (10, 500);
const DIFFERENT: (u32, u32) = (5, 1000);
const JOBS: u64 = 10_000;
/// The goal in seconds.
const GOAL_S: f64 = 1.0;
const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// Measures brokerage.
///
/// # Errors
///
/// The database cannot be written, or not every job gets a queue.
pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    let runs: anyhow::Result<Vec<f64>> = (0..RUNS).map(|_| one_run()).collect();
    Ok(vec![Figure::new(
        "brokerage.10k_jobs_200_queues_s",
        "s",
        Better::Smaller,
        GOAL_S,
        runs?,
    )])
}

fn one_run() -> anyhow::Result<f64> {
    let folder = place::target().join("bench/brokerage");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let ledger = DatabaseLedger::open(&folder.join("server.db"))?;
    let writer = Writer::start(ledger)?;
    // Without queues, all jobs wait for brokerage.
    let all = submission();
    run(&writer, BTreeMap::new(), move |ctx, ledger| {
        submit(ctx, ledger, &all)
    })?;
    let queues: BTreeMap<QueueName, Queue> = (0..QUEUES)
        .map(queue)
        .map(|queue| (queue.name.clone(), queue))
        .collect();
    let mut placed = 0;
    let start = Instant::now();
    loop {
        let round = run(&writer, queues.clone(), broker)?;
        placed += round;
        if round == 0 {
            break;
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    drop(writer);
    std::fs::remove_dir_all(&folder)?;
    ensure!(placed == JOBS, "{placed} of {JOBS} jobs got a queue");
    Ok(elapsed)
}

fn run<T, E>(
    writer: &Writer,
    queues: BTreeMap<QueueName, Queue>,
    operation: impl FnOnce(&Context<'_>, &mut DatabaseLedger) -> Result<T, E> + Send + 'static,
) -> anyhow::Result<T>
where
    T: Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let done = writer.run(move |ledger| {
        let (catalogue, limits) = (Catalogue::built_in(), Limits::default());
        let ctx = Context {
            now: NOW,
            queues: &queues,
            catalogue: &catalogue,
            limits: &limits,
            scheduling: Scheduling::built_in(),
        };
        operation(&ctx, ledger)
    });
    done.map_err(|error| anyhow!("{error:?}"))
        .context("the database was to be written")
}

fn submission() -> Submission {
    let mut all = Submission::default();
    for nr in 0..ALIKE.0 {
        let mut spec = task(&format!("alike{nr}"));
        spec.split = Split::Events {
            total: u64::from(ALIKE.1),
            per_job: 1,
        };
        all.tasks.push(spec);
    }
    for nr in 0..DIFFERENT.0 {
        let name = format!("different{nr}");
        all.datasets.push(ListedDataset {
            name: name.as_str().into(),
            files: (0..DIFFERENT.1).map(|part| file(&name, part)).collect(),
        });
        let mut spec = task(&name);
        spec.split = Split::Files { per_job: 1 };
        spec.inputs.push(TaskInput {
            name: "in".to_owned(),
            dataset: name.as_str().into(),
        });
        all.tasks.push(spec);
    }
    all
}

fn file(dataset: &str, part: u32) -> ListedFile {
    ListedFile {
        lfn: Lfn::new(format!("{dataset}_{part}.root")),
        scope: "spd".into(),
        guid: None,
        size: Some(ByteCount::from_bytes(1_000_000_000 + u64::from(part))),
        checksum: None,
        endpoint: endpoint(part % QUEUES).as_str().into(),
    }
}

fn endpoint(nr: u32) -> String {
    format!("STORE_{nr}")
}

fn task(name: &str) -> TaskSpec {
    TaskSpec {
        name: name.to_owned(),
        chain: None,
        user: "bench".to_owned(),
        scope: "spd".into(),
        source_label: SourceLabel::default(),
        processing_type: "simulation".to_owned(),
        transformation: "simulate.py".to_owned(),
        parameters: String::new(),
        split: Split::AllFiles,
        inputs: Vec::new(),
        outputs: Vec::new(),
        resources: Resources {
            cores: 1,
            memory: ByteCount::from_mib(2000),
            disk: ByteCount::from_gib(10),
            walltime: Duration::from_secs(3600),
        },
        priority: 100,
        max_attempts: 3,
        queues: Vec::new(),
    }
}

fn queue(nr: u32) -> Queue {
    let name = format!("QUEUE_{nr}");
    Queue {
        site: format!("SITE_{nr}"),
        core_count: 8,
        memory: ByteCount::from_gib(16),
        disk: ByteCount::from_gib(100),
        max_time: Duration::from_secs(48 * 3600),
        storages: BTreeMap::from([("pr".to_owned(), vec![endpoint(nr).as_str().into()])]),
        has_cvmfs: true,
        ..Queue::named(&name)
    }
}
