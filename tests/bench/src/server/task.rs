//! How long a task of PanDA with 100,000 jobs takes from its submission until its last job is made,
//! while the server answers others.

use std::{
    thread,
    time::{Duration, Instant},
};

use ailurus_testkit::Connection;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// Jobs of the task.
const JOBS: u64 = 100_000;
/// How often the server is asked how many there are.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long the jobs may take at most.
const LIMIT: Duration = Duration::from_secs(600);

/// Submits the task to the server at `url` and returns the seconds until all of its jobs are made.
///
/// # Errors
///
/// The server refuses the task, or its jobs are not made in time.
pub(super) fn seconds(url: &str) -> anyhow::Result<f64> {
    let host = url.trim_start_matches("http://");
    let start = Instant::now();
    let answer = post(
        host,
        "/api/v1/task/submit",
        &json!({"task_parameters": parameters()}),
    )?;
    let id = answer["data"]
        .as_u64()
        .filter(|_| answer["success"] == true)
        .with_context(|| format!("the task is refused: {answer}"))?;
    loop {
        let made = jobs_of(host, id)?;
        if made == JOBS {
            return Ok(start.elapsed().as_secs_f64());
        }
        if start.elapsed() > LIMIT {
            bail!("{made} of {JOBS} jobs are made after {LIMIT:?}");
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

fn parameters() -> Value {
    json!({
        "taskName": "bench.large", "userName": "bench", "taskType": "prod", "vo": "spd",
        "prodSourceLabel": "managed", "processingType": "bench", "noInput": true,
        "nEvents": JOBS, "nEventsPerJob": 1, "skipScout": true,
        "transPath": "http://127.0.0.1/none.sh",
        "log": {"type": "template", "param_type": "log", "dataset": "bench.large.log",
                "value": "bench.large.$JEDITASKID.${SN}.log.tgz"},
        "jobParameters": [
            {"type": "constant", "value": "-n ${MAXEVENTS}"},
            {"type": "template", "param_type": "output", "dataset": "bench.large.out",
             "value": "--out=bench.large.$JEDITASKID._${SN/P}.root"},
        ],
    })
}

/// How many jobs the task has.
fn jobs_of(host: &str, id: u64) -> anyhow::Result<u64> {
    let mut connection = Connection::open(host)?;
    let headers = "Accept: application/json\r\n";
    let answer = connection.send("GET", &format!("/ailurus/v1/tasks/{id}"), headers, b"")?;
    let task: Value = serde_json::from_slice(&answer.body)?;
    let counts = task["jobs"].as_object().context("a task has jobs")?;
    Ok(counts.values().filter_map(Value::as_u64).sum())
}

fn post(host: &str, path: &str, fields: &Value) -> anyhow::Result<Value> {
    let mut connection = Connection::open(host)?;
    let headers = "Content-Type: application/json\r\nAccept: application/json\r\n";
    let answer = connection.send("POST", path, headers, fields.to_string().as_bytes())?;
    Ok(serde_json::from_slice(&answer.body)?)
}
