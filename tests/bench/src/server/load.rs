//! The load: many clients, each on a connection of its own, that do as little as they can, because
//! they share the processors with what is measured.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use ailurus_testkit::{Connection, wait::wait_for};
use anyhow::{Context as _, bail};

/// Clients at a time.
const CLIENTS: usize = 128;
/// Clients that ask for jobs where the time of one answer counts.
const ASKING: usize = 4;
const HEADERS: &str = "Content-Type: application/json\r\nAccept: application/json\r\n";
/// How long the server may take until it is ready.
const READY_LIMIT: Duration = Duration::from_mins(2);

/// The name of a queue.
pub(super) fn queue_name(nr: usize) -> String {
    format!("BENCH{nr}")
}

/// A job that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) panda_id: u64,
    pub(super) attempt_nr: u64,
    /// Names of its outputs, with commas.
    outputs: String,
}

impl Held {
    /// A job of which no output will be reported.
    pub(super) const fn new(panda_id: u64) -> Self {
        Self {
            panda_id,
            attempt_nr: 1,
            outputs: String::new(),
        }
    }
}

/// Clients of servers over one database, spread evenly.
#[derive(Debug)]
pub(super) struct Load {
    hosts: Vec<String>,
}

impl Load {
    /// Clients of the servers at these URLs.
    pub(super) fn at(urls: impl Iterator<Item = String>) -> Self {
        Self {
            hosts: urls
                .map(|url| url.trim_start_matches("http://").to_owned())
                .collect(),
        }
    }

    /// Waits until all servers say that they can serve.
    pub(super) fn wait_until_ready(&self) -> anyhow::Result<()> {
        self.hosts.iter().try_for_each(|host| {
            wait_for("the server to be ready", READY_LIMIT, || {
                let answer = Connection::open(host)
                    .and_then(|mut server| server.send("GET", "/ready", "", b""));
                Ok(answer
                    .is_ok_and(|answer| answer.status == 200)
                    .then_some(()))
            })
        })
    }

    /// Takes jobs through their lives until there are none, and returns how many.
    pub(super) fn cycles(&self) -> anyhow::Result<u64> {
        let done = AtomicU64::new(0);
        self.each_client(CLIENTS, |server, _| {
            while let Some(job) = acquire(server, &queue_name(0))? {
                update(server, &job, "starting", "")?;
                update(server, &job, "running", "")?;
                update(server, &job, "finished", &final_fields(&job))?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })?;
        Ok(done.into_inner())
    }

    /// Takes all jobs that there are and says that they run.
    pub(super) fn take_and_run(&self) -> anyhow::Result<Vec<Held>> {
        let taken = std::sync::Mutex::new(Vec::new());
        self.each_client(CLIENTS, |server, _| {
            while let Some(job) = acquire(server, &queue_name(0))? {
                update(server, &job, "running", "")?;
                if let Ok(mut taken) = taken.lock() {
                    taken.push(job);
                }
            }
            Ok(())
        })?;
        Ok(taken.into_inner().unwrap_or_default())
    }

    /// Sends heartbeats of jobs in turn for a while, and returns how many a second.
    pub(super) fn heartbeats(&self, jobs: &[Held], time: Duration) -> anyhow::Result<f64> {
        let sent = AtomicU64::new(0);
        let is_over = AtomicBool::new(false);
        let start = Instant::now();
        self.each_client(CLIENTS, |server, nr| {
            let own = jobs.iter().skip(nr).step_by(CLIENTS).cycle();
            for (beat, job) in own.enumerate() {
                if is_over.load(Ordering::Relaxed) || start.elapsed() > time {
                    is_over.store(true, Ordering::Relaxed);
                    break;
                }
                // What the payload uses changes with each.
                let used = format!(",\"cpu_consumption_time\":{}", beat + 1);
                update(server, job, "running", &used)?;
                sent.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })?;
        super::rate(sent.into_inner(), start.elapsed().as_secs_f64())
    }

    /// Asks for jobs at queues in turn, and returns the time within which 99 of 100 answers came,
    /// in milliseconds.
    pub(super) fn request_p99(&self, requests: usize, queues: usize) -> anyhow::Result<f64> {
        let times = std::sync::Mutex::new(Vec::new());
        self.each_client(ASKING, |server, nr| {
            for request in (nr..requests).step_by(ASKING) {
                let start = Instant::now();
                acquire(server, &queue_name(request % queues))?;
                let took = start.elapsed();
                if let Ok(mut times) = times.lock() {
                    times.push(took);
                }
            }
            Ok(())
        })?;
        let mut times = times.into_inner().unwrap_or_default();
        times.sort_unstable();
        let slow = times
            .get(times.len() * 99 / 100)
            .context("there were requests")?;
        Ok(slow.as_secs_f64() * 1000.0)
    }

    fn each_client(
        &self,
        clients: usize,
        work: impl Fn(&mut Connection, usize) -> anyhow::Result<()> + Sync,
    ) -> anyhow::Result<()> {
        let work = &work;
        thread::scope(|scope| {
            let clients: Vec<_> = (0..clients)
                .map(|nr| {
                    scope.spawn(move || {
                        let mut server = Connection::open(&self.hosts[nr % self.hosts.len()])?;
                        work(&mut server, nr)
                    })
                })
                .collect();
            clients
                .into_iter()
                .try_for_each(|client| match client.join() {
                    Ok(result) => result,
                    Err(_) => bail!("a client panicked"),
                })
        })
    }
}

fn post(server: &mut Connection, path: &str, body: &str) -> anyhow::Result<String> {
    let answer = server.send("POST", path, HEADERS, body.as_bytes())?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    if answer.status != 200 {
        bail!("`{path}` was answered with {}: {text}", answer.status);
    }
    Ok(text)
}

/// Asks for one job; none if there is none.
fn acquire(server: &mut Connection, queue: &str) -> anyhow::Result<Option<Held>> {
    let body = format!(
        "{{\"site_name\":\"{queue}\",\"prod_source_label\":\"managed\",\"node\":\"bench\",\
         \"computing_element\":\"{queue}\",\"memory\":4000,\"disk_space\":20000}}"
    );
    let answer = post(server, "/api/v1/pilot/acquire_jobs", &body)?;
    let Some(panda_id) = field(&answer, "PandaID") else {
        return Ok(None);
    };
    Ok(Some(Held {
        panda_id: panda_id.parse()?,
        attempt_nr: field(&answer, "attemptNr")
            .context("a job has an attempt")?
            .parse()?,
        outputs: field(&answer, "outFiles").unwrap_or_default().to_owned(),
    }))
}

/// Finds a field of a JSON object by its name alone: the whole is not worth reading.
fn field<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
    let rest = rest.trim_start();
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next(),
        None => rest.split([',', '}']).next(),
    }
}

fn update(server: &mut Connection, job: &Held, state: &str, more: &str) -> anyhow::Result<()> {
    let body = format!(
        "{{\"job_id\":{},\"job_status\":\"{state}\",\"attempt_nr\":{},\"node\":\"bench\",\
         \"pilot_id\":\"bench|PR|0\",\"core_count\":1{more}}}",
        job.panda_id, job.attempt_nr
    );
    let answer = post(server, "/api/v1/pilot/update_job", &body)?;
    let command = field(&answer, "command");
    let is_fine = command.is_none_or(|command| command == "NULL" || command == "null");
    if !answer.contains("\"success\":true") || !is_fine {
        bail!(
            "update of job {} to {state} was answered with {answer}",
            job.panda_id
        );
    }
    Ok(())
}

fn final_fields(job: &Held) -> String {
    let outputs: Vec<String> = job
        .outputs
        .split(',')
        .enumerate()
        .map(|(nr, lfn)| {
            format!(
                "\\\"{lfn}\\\":{{\\\"guid\\\":\\\"00000000-0000-4000-8000-{nr:012}\\\",\
                 \\\"fsize\\\":1000,\\\"adler32\\\":\\\"0a0b0c0d\\\",\
                 \\\"surl\\\":\\\"file:///bench/{lfn}\\\",\\\"endpoint\\\":\\\"BENCH_DISK\\\"}}"
            )
        })
        .collect();
    format!(
        ",\"job_output_report\":\"{{{}}}\",\"trans_exit_code\":0,\"pilot_error_code\":0,\
         \"cpu_consumption_time\":10,\"max_rss\":100000,\"max_pss\":90000,\
         \"pilot_timing\":\"0|0|1|0|0|0\"",
        outputs.join(",")
    )
}
