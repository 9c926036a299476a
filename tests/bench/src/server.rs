//! Full job cycles per second: request, starting, running, finished with an output report.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use ailurus_testkit::{Connection, Deployment, QueueSettings, Settings, place, place::Profile};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::figure::{Better, Figure};

/// Clients at a time, each on a connection of its own.
const CLIENTS: usize = 64;
/// Cycles in one run.
const CYCLES: u64 = 10_000;
/// Runs, each over a new database.
const RUNS: usize = 3;
const QUEUE: &str = "BENCH";

/// Measures the server on SQLite, durable as shipped.
///
/// # Errors
///
/// A program does not start, or an answer is wrong.
pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    let mut rates = Vec::new();
    for run in 0..RUNS {
        rates.push(cycles_per_second(run)?);
    }
    Ok(vec![Figure::new(
        "server.sqlite.cycles_per_s",
        "1/s",
        Better::Larger,
        1000.0,
        rates,
    )])
}

fn cycles_per_second(run: usize) -> anyhow::Result<f64> {
    let folder = place::target().join(format!("bench/server-{run}"));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let deployment = Deployment::start_server_only(Settings {
        folder: folder.clone(),
        profile: Profile::Release,
        queues: vec![QueueSettings::new(QUEUE, "BENCH", 1)],
        transforms: place::production().join("payloads"),
        programs_first: None,
        heartbeat_timeout: "2h".into(),
        heartbeat_interval: "30m".into(),
    })?;
    let chain = folder.join("chain.toml");
    fs::write(&chain, task_file())?;
    deployment.command_line(&["task", "submit", chain.to_str().context("a plain path")?])?;

    let host = deployment.url().trim_start_matches("http://").to_owned();
    let done = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| client(&host, &done)))
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| match client.join() {
                Ok(result) => result,
                Err(_) => bail!("a client panicked"),
            })
    })?;
    let elapsed = start.elapsed().as_secs_f64();
    let finished = done.load(Ordering::Relaxed);
    if finished != CYCLES {
        bail!("{finished} of {CYCLES} jobs finished");
    }
    check_finished(&deployment)?;
    deployment.stop()?;
    Ok(f64::from(u32::try_from(finished)?) / elapsed)
}

fn task_file() -> String {
    format!(
        "scope = \"bench\"\nuser = \"bench\"\n[[task]]\nname = \"cycles\"\n\
         transformation = \"http://127.0.0.1/none.sh\"\nparameters = \"--seed {{seed}}\"\n\
         events = {CYCLES}\nevents_per_job = 1\ncores = 1\nmemory = \"1 GiB\"\ndisk = \"1 GiB\"\n\
         walltime = \"1h\"\n[[task.output]]\nname = \"out\"\ndataset = \"bench.out\"\n\
         lfn = \"out_{{seed}}.root\"\n"
    )
}

/// Takes jobs through their lives until there are none.
fn client(host: &str, done: &AtomicU64) -> anyhow::Result<()> {
    let mut server = Connection::open(host)?;
    loop {
        let answer = server.post(
            "/api/v1/pilot/acquire_jobs",
            &json!({"site_name": QUEUE, "prod_source_label": "managed", "node": "bench",
                "computing_element": QUEUE, "memory": 4000, "disk_space": 20000}),
        )?;
        if answer["success"] != json!(true) {
            return Ok(());
        }
        let job = &answer["data"]["jobs"][0];
        for state in ["starting", "running"] {
            update(&mut server, job, state, json!({}))?;
        }
        update(&mut server, job, "finished", final_fields(job)?)?;
        done.fetch_add(1, Ordering::Relaxed);
    }
}

fn update(server: &mut Connection, job: &Value, state: &str, more: Value) -> anyhow::Result<()> {
    let mut body = json!({"job_id": job["PandaID"], "job_status": state,
        "attempt_nr": job["attemptNr"], "site_name": QUEUE, "node": "bench",
        "pilot_id": "bench|PR|0", "core_count": 1});
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    let answer = server.post("/api/v1/pilot/update_job", &body)?;
    let command = &answer["data"]["command"];
    let is_refused = answer["success"] != json!(true) || !(command.is_null() || command == "NULL");
    if is_refused {
        bail!("update to {state} was answered with {answer}");
    }
    Ok(())
}

fn final_fields(job: &Value) -> anyhow::Result<Value> {
    let mut report = serde_json::Map::new();
    let names = job["outFiles"].as_str().context("a job has output names")?;
    for (index, lfn) in names.split(',').enumerate() {
        let guid = format!("00000000-0000-4000-8000-{:012}", index);
        report.insert(
            lfn.to_owned(),
            json!({"guid": guid, "fsize": 1000, "adler32": "0a0b0c0d",
                "surl": format!("file:///bench/{lfn}"), "endpoint": "BENCH_DISK"}),
        );
    }
    Ok(
        json!({"job_output_report": Value::Object(report).to_string(), "trans_exit_code": 0,
        "pilot_error_code": 0, "cpu_consumption_time": 10, "max_rss": 100_000, "max_pss": 90_000,
        "pilot_timing": "0|0|1|0|0|0"}),
    )
}

fn check_finished(deployment: &Deployment) -> anyhow::Result<()> {
    let tasks = deployment.command_line(&["task", "list"])?;
    let finished = tasks.pointer("/0/jobs/finished").and_then(Value::as_u64);
    if finished != Some(CYCLES) {
        bail!("the server counts {finished:?} finished jobs instead of {CYCLES}");
    }
    Ok(())
}
