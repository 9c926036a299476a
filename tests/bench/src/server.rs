//! The server under load, over each of its databases: full job cycles, heartbeats, and both with a
//! million running jobs at 150 queues.
//!
//! Load generator, server and database share the machine, and everything is durable as shipped.
//! A cycle is a request, `starting`, `running` and `finished` with an output report.

mod database;
mod load;
mod task;

use std::time::{Duration, Instant};

use ailurus_testkit::{Deployment, QueueSettings, Settings, place, place::Profile};
use anyhow::{Context as _, bail};
use serde_json::Value;

pub(crate) use self::database::Kind;
use self::{
    database::Database,
    load::{Load, queue_name},
};
use crate::figure::{Better, Figure};

/// Cycles in one run.
const CYCLES: u64 = 10_000;
/// Runs at most, each over a new database.
pub(crate) const RUNS_MAX: usize = 3;
/// How long heartbeats are sent.
const HEARTBEAT_TIME: Duration = Duration::from_secs(10);
/// Jobs that are heard of where the database has few.
const JOBS_HEARD: u64 = 2_000;
/// Queues of the large measurement.
const QUEUES: usize = 150;
/// Jobs that wait at them.
const JOBS_WAITING: u64 = 3_000;
/// Requests for jobs of which the slowest hundredth counts.
const REQUESTS: usize = 2_000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Over which database.
    pub(crate) kind: Kind,
    /// Runs of what is measured several times.
    pub(crate) runs: usize,
    /// Server processes over the database.
    pub(crate) servers: usize,
    /// How many running jobs the database has in the large measurement; none leaves it out.
    pub(crate) running: Option<u64>,
}

/// The names of the figures of a database, and their goals that differ.
struct Names {
    cycles: &'static str,
    cycles_goal: f64,
    heartbeats: &'static str,
    million_heartbeats: &'static str,
    million_request: &'static str,
    million_memory: &'static str,
    million_restart: &'static str,
}

const fn names(kind: Kind) -> Names {
    match kind {
        Kind::Sqlite => Names {
            cycles: "server.sqlite.cycles_per_s",
            cycles_goal: 3000.0,
            heartbeats: "server.sqlite.heartbeats_per_s",
            million_heartbeats: "server.sqlite.million.heartbeats_per_s",
            million_request: "server.sqlite.million.request_p99_ms",
            million_memory: "server.sqlite.million.rss_mib",
            million_restart: "server.sqlite.million.restart_s",
        },
        Kind::Postgres => Names {
            cycles: "server.postgres.cycles_per_s",
            cycles_goal: 2000.0,
            heartbeats: "server.postgres.heartbeats_per_s",
            million_heartbeats: "server.postgres.million.heartbeats_per_s",
            million_request: "server.postgres.million.request_p99_ms",
            million_memory: "server.postgres.million.rss_mib",
            million_restart: "server.postgres.million.restart_s",
        },
    }
}

/// Measures the server over a database, durable as shipped.
///
/// # Errors
///
/// A program does not start, or an answer is wrong.
pub(crate) fn measure(plan: Plan) -> anyhow::Result<Vec<Figure>> {
    let names = names(plan.kind);
    let mut cycles = Vec::new();
    let mut heartbeats = Vec::new();
    for run in 0..plan.runs.min(RUNS_MAX) {
        let (rate, heard) = few_jobs(plan, run)?;
        cycles.push(rate);
        heartbeats.push(heard);
    }
    let mut figures = vec![
        Figure::new(
            names.cycles,
            "1/s",
            Better::Larger,
            names.cycles_goal,
            cycles,
        ),
        Figure::new(
            names.heartbeats,
            "1/s",
            Better::Larger,
            20_000.0,
            heartbeats,
        ),
    ];
    figures.push(Figure::new(
        "server.task_100k_s",
        "s",
        Better::Smaller,
        10.0,
        vec![large_task(plan.kind)?],
    ));
    if let Some(running) = plan.running {
        let large = many_jobs(plan, running)?;
        figures.extend([
            Figure::new(
                names.million_heartbeats,
                "1/s",
                Better::Larger,
                20_000.0,
                vec![large.heartbeats],
            ),
            Figure::new(
                names.million_request,
                "ms",
                Better::Smaller,
                50.0,
                vec![large.request_ms],
            ),
            Figure::new(
                names.million_memory,
                "MiB",
                Better::Smaller,
                1024.0,
                vec![large.memory_mib],
            ),
            Figure::new(
                names.million_restart,
                "s",
                Better::Smaller,
                10.0,
                vec![large.restart_s],
            ),
        ]);
    }
    Ok(figures)
}

/// Starts servers over one database, one after the other.
fn deployments(
    folder: &std::path::Path,
    database: &Database,
    queues: usize,
    servers: usize,
) -> anyhow::Result<Vec<Deployment>> {
    (0..servers)
        .map(|nr| deployment(&folder.join(format!("server{nr}")), database, queues))
        .collect()
}

fn deployment(
    folder: &std::path::Path,
    database: &Database,
    queues: usize,
) -> anyhow::Result<Deployment> {
    Deployment::start_server_over(
        Settings {
            folder: folder.to_owned(),
            profile: Profile::Release,
            queues: (0..queues)
                .map(|nr| QueueSettings::new(&queue_name(nr), "BENCH", 1))
                .collect(),
            transforms: place::production().join("payloads"),
            programs_first: None,
            heartbeat_timeout: "2h".into(),
            heartbeat_interval: "30m".into(),
        },
        database.address(),
    )
}

/// Cycles, then heartbeats of some jobs that stay.
fn few_jobs(plan: Plan, run: usize) -> anyhow::Result<(f64, f64)> {
    let folder = new_folder(&format!("server-{}-{run}", plan.kind.name()))?;
    let database = Database::start(plan.kind, &folder)?;
    let servers = deployments(&folder, &database, 1, plan.servers)?;
    let first = servers.first().context("there is a server")?;
    submit(first, "cycles", CYCLES)?;
    let load = Load::at(servers.iter().map(Deployment::url));
    let start = Instant::now();
    let done = load.cycles()?;
    let elapsed = start.elapsed().as_secs_f64();
    if done != CYCLES {
        bail!("{done} of {CYCLES} jobs finished");
    }
    check_finished(first)?;
    submit(first, "heard", JOBS_HEARD)?;
    let jobs = load.take_and_run()?;
    let heard = load.heartbeats(&jobs, HEARTBEAT_TIME)?;
    for server in servers {
        server.stop()?;
    }
    Ok((rate(done, elapsed)?, heard))
}

/// How long a large task takes from its submission to its last job.
fn large_task(kind: Kind) -> anyhow::Result<f64> {
    let folder = new_folder(&format!("server-{}-task", kind.name()))?;
    let database = Database::start(kind, &folder)?;
    let deployment = deployment(&folder.join("server"), &database, 1)?;
    let seconds = task::seconds(&deployment.url())?;
    deployment.stop()?;
    Ok(seconds)
}

/// The figures of a server with very many running jobs.
struct Large {
    heartbeats: f64,
    request_ms: f64,
    memory_mib: f64,
    restart_s: f64,
}

fn many_jobs(plan: Plan, running: u64) -> anyhow::Result<Large> {
    let folder = new_folder(&format!("server-{}-large", plan.kind.name()))?;
    let database = Database::start(plan.kind, &folder)?;
    let mut servers = deployments(&folder, &database, QUEUES, plan.servers)?;
    let first = servers.first().context("there is a server")?;
    submit(first, "waiting", JOBS_WAITING)?;
    servers.iter_mut().try_for_each(Deployment::stop_server)?;
    let jobs = database.fill(running, QUEUES)?;
    let start = Instant::now();
    servers
        .iter_mut()
        .try_for_each(Deployment::restart_server)?;
    let load = Load::at(servers.iter().map(Deployment::url));
    load.wait_until_ready()?;
    let restart_s = start.elapsed().as_secs_f64();
    let heartbeats = load.heartbeats(&jobs, HEARTBEAT_TIME)?;
    let request_ms = load.request_p99(REQUESTS, QUEUES)?;
    let mut largest_mib: f64 = 0.0;
    for server in servers {
        largest_mib = largest_mib.max(memory_mib(server.server_id())?);
        server.stop()?;
    }
    Ok(Large {
        heartbeats,
        request_ms,
        memory_mib: largest_mib,
        restart_s,
    })
}

fn new_folder(name: &str) -> anyhow::Result<std::path::PathBuf> {
    let folder = place::target().join("bench").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn submit(deployment: &Deployment, name: &str, jobs: u64) -> anyhow::Result<()> {
    let chain = deployment.folder().join(format!("{name}.toml"));
    let text = format!(
        "scope = \"bench\"\nuser = \"bench\"\n[[task]]\nname = \"{name}\"\n\
         transformation = \"http://127.0.0.1/none.sh\"\nparameters = \"--seed {{seed}}\"\n\
         events = {jobs}\nevents_per_job = 1\ncores = 1\nmemory = \"1 GiB\"\ndisk = \"1 GiB\"\n\
         walltime = \"1h\"\n[[task.output]]\nname = \"out\"\ndataset = \"bench.{name}\"\n\
         lfn = \"{name}_{{seed}}.root\"\n"
    );
    std::fs::write(&chain, text)?;
    deployment.command_line(&["task", "submit", chain.to_str().context("a plain path")?])?;
    Ok(())
}

fn rate(n: u64, seconds: f64) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(n)?) / seconds)
}

/// The largest resident memory of a process so far.
fn memory_mib(process: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .context("the system says how much memory a process has")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}

fn check_finished(deployment: &Deployment) -> anyhow::Result<()> {
    let tasks = deployment.command_line(&["task", "list"])?;
    let finished = tasks.pointer("/0/jobs/finished").and_then(Value::as_u64);
    if finished != Some(CYCLES) {
        bail!("the server counts {finished:?} finished jobs instead of {CYCLES}");
    }
    Ok(())
}
