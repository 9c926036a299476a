//! The pilot's own cost for trivial jobs against a server on loopback, as sites run it: over
//! HTTPS, with certificate, token, Harvester and all checks.

mod ends;
mod node;
mod site;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Child,
    time::Instant,
};

use ailurus_testkit::{
    Deployment, QueueSettings, Settings, front, place, place::Profile, stand_in::HttpStandIn,
};
use anyhow::{Context as _, bail};
use serde_json::Value;

use self::{
    node::Rates,
    site::{Addresses, Site},
};
use crate::figure::{Better, Figure};

const SITE: &str = "BENCH";
const MIB: f64 = 1_048_576.0;
/// Runs in which memory and threads are watched; their payload takes a third of a second.
const WATCHED_RUNS: usize = 5;
/// Runs of a pilot that fills the node.
const RATE_RUNS: usize = 3;

/// Measures the pilot: `runs` jobs without and `runs` jobs with a small input and output.
///
/// # Errors
///
/// A program does not start, or a job does not finish.
pub(crate) fn measure(runs: usize) -> anyhow::Result<Vec<Figure>> {
    let bench = Bench::start(runs)?;
    let mut plain = Runs::default();
    for index in 0..runs {
        plain.add(&bench.run_pilot("PLAIN", index)?);
    }
    for index in 0..runs {
        bench.run_pilot("WRITER", index)?;
    }
    let mut with_files = Runs::default();
    for index in 0..runs {
        with_files.add(&bench.run_pilot("FILES", index)?);
    }
    let mut failing = Runs::default();
    for index in 0..runs {
        failing.add(&bench.run_pilot("FAILING", index)?);
    }
    let mut memory = Vec::new();
    let mut threads = Vec::new();
    for index in 0..WATCHED_RUNS {
        let (peak_mib, most_threads) = bench.watch_pilot(index)?;
        memory.push(peak_mib);
        threads.push(most_threads);
    }
    let size = fs::metadata(place::program("ailurus-pilot", Profile::Release))?.len();
    let size_mib = f64::from(u32::try_from(size)?) / MIB;
    let mut sigterm = Vec::new();
    for index in 0..WATCHED_RUNS {
        sigterm.push(ends::sigterm_to_update_ms(
            &bench.site,
            &bench.folder,
            index,
        )?);
    }
    let per_payload = node::rss_per_payload_mib(&bench.site, &bench.folder)?;
    let mut rates = Vec::new();
    for index in 0..RATE_RUNS {
        rates.push(node::rates(&bench.site, &bench.folder, index)?);
    }
    bench.stop()?;
    let of_rates = |rate: fn(&Rates) -> f64| rates.iter().map(rate).collect::<Vec<_>>();
    let ratio = of_rates(|rates| rates.jobs_per_s / rates.spawns_per_s);
    let smaller = |name, unit, goal, values| Figure::new(name, unit, Better::Smaller, goal, values);
    Ok(vec![
        smaller("pilot.overhead_ms", "ms", 50.0, plain.overhead),
        smaller("pilot.overhead_input_ms", "ms", 80.0, with_files.overhead),
        smaller(
            "pilot.request_to_start_ms",
            "ms",
            15.0,
            plain.request_to_start,
        ),
        smaller("pilot.end_to_update_ms", "ms", 25.0, plain.end_to_update),
        smaller("pilot.failed_report_ms", "ms", 25.0, failing.end_to_update),
        smaller("pilot.sigterm_to_update_ms", "ms", 5000.0, sigterm),
        smaller("pilot.rss_mib", "MiB", 15.0, memory),
        smaller("pilot.rss_per_payload_mib", "MiB", 1.0, vec![per_payload]),
        smaller("pilot.binary_mib", "MiB", 6.0, vec![size_mib]),
        smaller("pilot.threads", "threads", 12.0, threads),
        Figure::new("pilot.node_rate_ratio", "", Better::Larger, 0.5, ratio),
        Figure::without_goal(
            "pilot.node_jobs_per_s",
            "1/s",
            of_rates(|rates| rates.jobs_per_s),
        ),
    ])
}

/// Values of several runs, in milliseconds.
#[derive(Default)]
struct Runs {
    overhead: Vec<f64>,
    request_to_start: Vec<f64>,
    end_to_update: Vec<f64>,
}

impl Runs {
    fn add(&mut self, run: &Run) {
        self.overhead
            .push(run.wall_ms - (run.mark("payload_end_ms") - run.mark("payload_start_ms")));
        self.request_to_start
            .push(run.mark("payload_start_ms") - run.mark("request_sent_ms"));
        self.end_to_update
            .push(run.mark("final_update_sent_ms") - run.mark("payload_end_ms"));
    }
}

/// One pilot from its start to its exit.
struct Run {
    wall_ms: f64,
    marks: Value,
}

impl Run {
    fn mark(&self, name: &str) -> f64 {
        self.marks
            .get(name)
            .and_then(Value::as_f64)
            .unwrap_or(f64::NAN)
    }
}

/// A server with a task for each kind of job, HTTPS before it, and a folder for the pilots.
struct Bench {
    deployment: Deployment,
    // It serves until it is dropped.
    _front: HttpStandIn,
    site: Site,
    addresses: Addresses,
    folder: PathBuf,
}

impl Bench {
    fn start(runs: usize) -> anyhow::Result<Self> {
        let folder = place::target().join("bench/pilot");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let transforms = folder.join("transforms");
        fs::create_dir_all(&transforms)?;
        fs::write(transforms.join("nothing.sh"), "#!/bin/sh\nexit 0\n")?;
        fs::write(
            transforms.join("write.sh"),
            "#!/bin/sh\necho text > \"$1\"\n",
        )?;
        fs::write(
            transforms.join("copy.sh"),
            "#!/bin/sh\ncat \"$1\" > \"$2\"\n",
        )?;
        fs::write(transforms.join("fail.sh"), "#!/bin/sh\nexit 1\n")?;
        fs::write(transforms.join("rest.sh"), "#!/bin/sh\nexec sleep 0.3\n")?;
        let queue = |name: &str| QueueSettings::new(name, SITE, 1).with_one_job_a_pilot();
        let deployment = Deployment::start_server_only(Settings {
            folder: folder.join("deployment"),
            profile: Profile::Release,
            queues: ["PLAIN", "WRITER", "FILES", "FAILING", "WATCHED"]
                .map(queue)
                .to_vec(),
            transforms,
            programs_first: None,
            heartbeat_timeout: "2h".into(),
            heartbeat_interval: "30m".into(),
        })?;
        let site = Site::new(&folder.join("site"))?;
        let host = deployment.url().trim_start_matches("http://").to_owned();
        let front = front::start(&host, site.door()?)?;
        let server = front.url();
        let chain = folder.join("chain.toml");
        fs::write(&chain, task_file(&server, runs))?;
        deployment.command_line(&["task", "submit", chain.to_str().context("a plain path")?])?;
        Ok(Self {
            deployment,
            addresses: Addresses {
                queue_data: format!("{server}/cache/schedconfig/{{pandaqueue}}.all.json"),
                storage_data: format!("{server}/ddmendpoints.json"),
                server,
            },
            _front: front,
            site,
            folder,
        })
    }

    fn stop(self) -> anyhow::Result<()> {
        self.deployment.stop()
    }

    /// Runs one pilot that takes one job, and checks that the job finished.
    fn run_pilot(&self, queue: &str, index: usize) -> anyhow::Result<Run> {
        let place = self.folder.join(format!("{queue}-{index}"));
        let start = Instant::now();
        let mut pilot = self.start_pilot(queue, &place)?;
        let status = pilot.wait()?;
        let wall_ms = start.elapsed().as_secs_f64() * 1000.0;
        let log = place.join("pilot.out");
        if !status.success() {
            bail!("a pilot ended with {status}: see `{}`", log.display());
        }
        let marks = fs::read_to_string(place.join("timing.json")).with_context(|| {
            format!("a pilot on {queue} wrote no times: see `{}`", log.display())
        })?;
        let marks = marks.lines().next().context("a pilot had no job")?;
        Ok(Run {
            wall_ms,
            marks: serde_json::from_str(marks)?,
        })
    }

    /// Runs one pilot and returns its largest resident memory in MiB and its most threads.
    fn watch_pilot(&self, index: usize) -> anyhow::Result<(f64, f64)> {
        let mut pilot =
            self.start_pilot("WATCHED", &self.folder.join(format!("watched-{index}")))?;
        let status_file = format!("/proc/{}/status", pilot.id());
        let (mut peak_kib, mut most_threads) = (0.0_f64, 0.0_f64);
        while pilot.try_wait()?.is_none() {
            let status = fs::read_to_string(&status_file).unwrap_or_default();
            peak_kib = peak_kib.max(field(&status, "VmHWM:"));
            most_threads = most_threads.max(field(&status, "Threads:"));
        }
        Ok((peak_kib / 1024.0, most_threads))
    }

    fn start_pilot(&self, queue: &str, place: &Path) -> anyhow::Result<Child> {
        self.site.start_pilot(queue, place, &self.addresses, &[])
    }
}

/// Five tasks, each on a queue of its own so that a pilot gets the kind of job it is to measure.
fn task_file(url: &str, runs: usize) -> String {
    let task = |name: &str, script: &str, parameters: &str, queue: &str, jobs: usize| {
        format!(
            "[[task]]\nname = \"{name}\"\ntransformation = \"{url}/trf/user/{script}\"\n\
             {parameters}\nqueues = [\"{queue}\"]\ncores = 1\n\
             memory = \"1 GiB\"\ndisk = \"1 GiB\"\nwalltime = \"1h\"\n{}\n",
            if jobs > 0 {
                format!("events = {jobs}\nevents_per_job = 1")
            } else {
                "files_per_job = 1".into()
            }
        )
    };
    let output = |dataset: &str| {
        format!(
            "[[task.output]]\nname = \"out\"\ndataset = \"{dataset}\"\nlfn = \"{dataset}_{{seed}}.txt\"\n"
        )
    };
    let input = "[[task.input]]\nname = \"in\"\ndataset = \"bench.first\"\n";
    [
        "scope = \"bench\"\nuser = \"bench\"\n".to_owned(),
        task("plain", "nothing.sh", "", "PLAIN", runs),
        task(
            "writer",
            "write.sh",
            "parameters = \"{output.out}\"",
            "WRITER",
            runs,
        ),
        output("bench.first"),
        task(
            "files",
            "copy.sh",
            "parameters = \"{input.in} {output.out}\"",
            "FILES",
            0,
        ),
        input.to_owned(),
        output("bench.second"),
        task("failing", "fail.sh", "", "FAILING", runs),
        task("watched", "rest.sh", "", "WATCHED", WATCHED_RUNS),
    ]
    .concat()
}

/// Returns a number of `/proc/PID/status`, zero if it is not there any more.
pub(crate) fn field(status: &str, name: &str) -> f64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}
