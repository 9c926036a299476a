//! What it costs to watch a payload of a thousand processes.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use ailurus_node::Sampler;
use anyhow::{Context as _, ensure};

use crate::figure::{Better, Figure};

/// Processes of the payload that is watched.
const PROCESSES: u32 = 1000;
/// Time between two samples, the profiles' default.
const PERIOD: Duration = Duration::from_secs(10);
/// Samples in a minute, in which everything is looked at once: one run.
const SAMPLES: u32 = 6;
/// Runs, a minute of a payload's life each.
const RUNS: usize = 3;
/// The goal, in percent of one core.
const GOAL_PERCENT: f64 = 1.0;

/// Measures the share of one core that samples take at the default period.
///
/// The minute is not waited for: each run makes the samples of one minute, the dear look at
/// proportional memory among them, and their CPU time is set against the minute.
///
/// # Errors
///
/// The processes cannot be started.
pub(crate) fn measure() -> anyhow::Result<Figure> {
    let payload = Payload::start()?;
    let mut percents = Vec::new();
    for _ in 0..RUNS {
        // A new sampler begins with the look that is otherwise taken once a minute.
        let mut sampler = Sampler::of_tree(payload.0.id());
        let begin = cpu_time();
        for _ in 0..SAMPLES {
            let sample = sampler.sample().context("the payload is gone")?;
            ensure!(
                sample.n_processes > PROCESSES,
                "only {} of {PROCESSES} processes run",
                sample.n_processes
            );
        }
        let used = cpu_time().saturating_sub(begin);
        percents.push(100.0 * used.as_secs_f64() / (PERIOD * SAMPLES).as_secs_f64());
    }
    Ok(Figure::new(
        "pilot.monitor_cpu_percent_1000",
        "%",
        Better::Smaller,
        GOAL_PERCENT,
        percents,
    ))
}

/// A shell with a thousand children that wait for the end of its input.
struct Payload(Child);

impl Payload {
    fn start() -> anyhow::Result<Self> {
        let script = format!(
            "exec 3<&0; i=0; while [ $i -lt {PROCESSES} ]; do cat <&3 & i=$((i+1)); done; \
             echo ready; wait"
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("it is piped")?;
        let payload = Self(child);
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line == "ready\n", "the processes could not be started");
        Ok(payload)
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        // The end of their input ends them all; the shell waits for its children.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Returns the CPU time of this process so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}
