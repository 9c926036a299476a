//! A pilot with many slots: how much memory each payload costs, how many jobs a second it runs.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use ailurus_testkit::{
    Deployment, QueueSettings, Settings, panda::sample, place, place::Profile, wait::wait_for,
};
use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::{
    ends::{offer, stand_in},
    site::{Addresses, Site},
};

/// Payloads of the larger pilot whose memory is measured.
const MANY: usize = 21;
/// Longest wait for anything, a safety net.
const LIMIT: Duration = Duration::from_secs(120);
/// Jobs, or programs, in one run of the rates.
const JOBS: usize = 2000;
/// Jobs on the node for each of its processors: while one starts, others are fetched and reported.
const SLOTS_PER_CORE: usize = 4;
const QUEUE: &str = "NODE";
/// An experiment whose jobs are one program that is there already.
const PROFILE: &str = "name = \"bench\"\ndescription = \"Runs nothing.\"\n\
    [[payload.commands]]\ntransformation = \"*\"\ncommand = [\"/bin/true\"]\n";

/// Returns how many MiB each payload after the first costs, all processes of the pilot together.
pub(super) fn rss_per_payload_mib(site: &Site, folder: &Path) -> anyhow::Result<f64> {
    let one = memory_mib(site, &folder.join("one-payload"), 1)?;
    let many = memory_mib(site, &folder.join("many-payloads"), MANY)?;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let further = (MANY - 1) as f64;
    Ok((many - one) / further)
}

fn memory_mib(site: &Site, place: &Path, slots: usize) -> anyhow::Result<f64> {
    let (panda, addresses) = stand_in(site, place)?;
    let hold = place.join("hold");
    fs::write(&hold, "")?;
    let script = format!(
        "#!/bin/sh\nwhile [ -e {} ]; do sleep 0.2; done\n",
        hold.display()
    );
    let ids = 1001..=1000 + u64::try_from(slots)?;
    offer(&panda, ids.clone(), &script);
    let count = slots.to_string();
    let options = [
        "--slots",
        &count,
        "--slots-cores",
        &count,
        "--allow-same-user",
        "False",
    ];
    let mut pilot = site.start_pilot(sample::QUEUE, place, &addresses, &options)?;
    wait_for("running payloads", LIMIT, || {
        let run = |id: u64| panda.states(id).iter().any(|state| state == "running");
        Ok(ids.clone().all(run).then_some(()))
    })?;
    let memory = memory_of_pilots_below(pilot.id());
    fs::remove_file(&hold)?;
    pilot.wait()?;
    let finished = ids.filter(|id| {
        panda
            .end_of(*id)
            .is_some_and(|end| end.status == "finished")
    });
    ensure!(
        finished.count() == slots,
        "not all of {slots} jobs finished"
    );
    memory
}

/// Sums what this process and its descendants of the same program have for themselves, and their
/// parts of what they share.
fn memory_of_pilots_below(pid: u32) -> anyhow::Result<f64> {
    let program = fs::read_link(format!("/proc/{pid}/exe"))?;
    let mut open = vec![pid];
    let mut kib = 0.0;
    while let Some(pid) = open.pop() {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        open.extend(
            children
                .split_whitespace()
                .filter_map(|it| it.parse::<u32>().ok()),
        );
        let is_pilot = fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|it| it == program);
        if is_pilot {
            let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            kib += super::field(&smaps, "Pss:");
        }
    }
    Ok(kib / 1024.0)
}

/// Jobs a second of a pilot that fills the node, and how many times a second the node can start
/// and reap the same program by itself.
pub(super) struct Rates {
    pub(super) jobs_per_s: f64,
    pub(super) spawns_per_s: f64,
}

/// Measures both in one run, one after the other.
pub(super) fn rates(site: &Site, folder: &Path, index: usize) -> anyhow::Result<Rates> {
    Ok(Rates {
        spawns_per_s: spawns_per_s()?,
        jobs_per_s: jobs_per_s(site, &folder.join(format!("node-{index}")))?,
    })
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn per_second(count: usize, begin: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let count = count as f64;
    count / begin.elapsed().as_secs_f64()
}

/// As many threads as processors, each starting one program after the other.
fn spawns_per_s() -> anyhow::Result<f64> {
    let share = JOBS / cores();
    let begin = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores())
            .map(|_| scope.spawn(move || spawn(share)))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(_) => bail!("a worker panicked"),
            })
    })?;
    Ok(per_second(share * cores(), begin))
}

/// The standard library takes `posix_spawn` for a command as plain as this.
fn spawn(count: usize) -> anyhow::Result<()> {
    for _ in 0..count {
        let status = Command::new("/bin/true").stdin(Stdio::null()).status();
        ensure!(
            status.context("`/bin/true` is there")?.success(),
            "it fails"
        );
    }
    Ok(())
}

fn jobs_per_s(site: &Site, place: &Path) -> anyhow::Result<f64> {
    let deployment = Deployment::start_server_only(Settings {
        folder: place.join("deployment"),
        profile: Profile::Release,
        queues: vec![QueueSettings::new(QUEUE, QUEUE, 1)],
        transforms: place::production().join("payloads"),
        programs_first: None,
        heartbeat_timeout: "2h".into(),
        heartbeat_interval: "30m".into(),
    })?;
    let chain = place.join("chain.toml");
    fs::write(&chain, task_file())?;
    deployment.command_line(&["task", "submit", chain.to_str().context("a plain path")?])?;
    fs::write(place.join("bench.toml"), PROFILE)?;
    let server = deployment.url();
    let addresses = Addresses {
        queue_data: format!("{server}/cache/schedconfig/{{pandaqueue}}.all.json"),
        storage_data: format!("{server}/ddmendpoints.json"),
        server,
    };
    let slots = (cores() * SLOTS_PER_CORE).to_string();
    let profiles = place.display().to_string();
    let options = [
        "--slots",
        &slots,
        "--slots-cores",
        &slots,
        "--slots-ahead",
        &slots,
        "--pilot-user",
        "bench",
        "--profile-path",
        &profiles,
        // The pilot is to leave when there is nothing left, not a minute later.
        "--job-request-pause",
        "100ms",
        "--allow-same-user",
        "False",
    ];
    let begin = Instant::now();
    let mut pilot = site.start_pilot(QUEUE, place, &addresses, &options)?;
    pilot.wait()?;
    let rate = per_second(JOBS, begin);
    let tasks = deployment.command_line(&["task", "list"])?;
    let finished = tasks.pointer("/0/jobs/finished").and_then(Value::as_u64);
    ensure!(
        finished == u64::try_from(JOBS).ok(),
        "{finished:?} of {JOBS} jobs finished: see `{}`",
        place.join("pilot.out").display()
    );
    deployment.stop()?;
    Ok(rate)
}

fn task_file() -> String {
    format!(
        "scope = \"bench\"\nuser = \"bench\"\n[[task]]\nname = \"node\"\ntransformation = \"true\"\n\
         events = {JOBS}\nevents_per_job = 1\ncores = 1\nmemory = \"1 MiB\"\ndisk = \"1 MiB\"\n\
         walltime = \"1h\"\n"
    )
}
