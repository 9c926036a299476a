//! How soon a pilot that is told to end has told its server.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use ailurus_testkit::{
    panda::{PandaSettings, PandaStandIn, Token, sample},
    wait::wait_for,
};
use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::site::{Addresses, ORIGIN, Site, TOKEN};

/// Longest wait for anything, a safety net.
const LIMIT: Duration = Duration::from_secs(60);
const PANDA_ID: u64 = 1001;
/// A payload that does as it is told.
const OBEDIENT: &str = "#!/bin/sh\nexec sleep 300\n";

/// A server that notes when each update comes, and a storage.
pub(super) fn stand_in(site: &Site, folder: &Path) -> anyhow::Result<(PandaStandIn, Addresses)> {
    let store = folder.join("store");
    std::fs::create_dir_all(&store)?;
    let panda = PandaStandIn::start(PandaSettings {
        door: Some(site.door()?),
        token: Some(Token {
            token: TOKEN.into(),
            origin: ORIGIN.into(),
        }),
        ..PandaSettings::default()
    })?;
    panda.serve("/queue.json", sample::queue().to_string());
    let storages = sample::storages(&format!("{}/", store.display()));
    panda.serve("/storage.json", storages.to_string());
    let server = panda.url();
    let addresses = Addresses {
        queue_data: format!("{server}/queue.json"),
        storage_data: format!("{server}/storage.json"),
        server,
    };
    Ok((panda, addresses))
}

/// Offers jobs that run this script.
pub(super) fn offer(panda: &PandaStandIn, ids: impl IntoIterator<Item = u64>, script: &str) {
    panda.serve("/trf/user/run.sh", script);
    for id in ids {
        panda.offer(sample::job(id, &format!("{}/trf/user/run.sh", panda.url())));
    }
}

/// Runs a pilot, sends it SIGTERM while its payload runs, and returns after how many milliseconds
/// its last update was at the server, the log stored.
pub(super) fn sigterm_to_update_ms(
    site: &Site,
    folder: &Path,
    index: usize,
) -> anyhow::Result<f64> {
    let place = folder.join(format!("sigterm-{index}"));
    let (panda, addresses) = stand_in(site, &place)?;
    offer(&panda, [PANDA_ID], OBEDIENT);
    let mut pilot = site.start_pilot(sample::QUEUE, &place, &addresses, &[])?;
    wait_for("a running payload", LIMIT, || {
        let is_running = panda
            .states(PANDA_ID)
            .iter()
            .any(|state| state == "running");
        Ok(is_running.then_some(()))
    })?;
    let pid = i32::try_from(pilot.id()).ok().and_then(Pid::from_raw);
    let begin = Instant::now();
    kill_process(pid.context("a process has a number")?, Signal::TERM)?;
    pilot.wait()?;
    let end = panda.end_of(PANDA_ID).context("the job has no end")?;
    let has_log = end.report()[format!("log.{PANDA_ID}.tgz")].is_object();
    ensure!(
        end.status == "failed" && has_log,
        "an end without log: {end:?}"
    );
    Ok(end.at.duration_since(begin).as_secs_f64() * 1000.0)
}
