//! The Python pilot while others act on its job: somebody looks at its output and kills it, or its
//! payload fails.

use std::{
    fs,
    process::{Child, Stdio},
};

use ailurus_testkit::{
    panda_clients::{PythonPilot, Transport},
    wait::{look_every, wait_for},
};
use serde_json::Value;

use crate::site::{LOOK, OWN_SCRIPT, PYTHON_QUEUE, Site};

/// Longest wait for what a heartbeat brings.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);
/// Longest wait for the end of a job: this pilot may wait for two minutes before it tells.
const END_LIMIT: std::time::Duration = std::time::Duration::from_secs(240);

const TICKS: &str = "#!/bin/sh\n\
    i=0\nwhile [ $i -lt 300 ]; do i=$((i + 1)); echo \"tick $i\"; sleep 1; done\n\
    echo late > \"$2\"\n";
const FAILS: &str = "#!/bin/sh\necho 'no such table: geometry' >&2\nexit 42\n";

/// A pilot in its own namespace, which ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts a site with jobs that run this script, and the Python pilot.
fn start(script: &str) -> (Site, Running) {
    let site = Site::start(&[(OWN_SCRIPT, script)]).unwrap();
    site.submit_own().unwrap();
    let url = site.world.deployment.url();
    let folder = site.world.folder().join("python-pilot");
    let pilot = PythonPilot::new(&folder, Transport::plain(&url)).unwrap();
    beat_often(&folder.join("pilot.cfg"));
    let log = fs::File::create(folder.join("pilot.log")).unwrap();
    let child = pilot
        .command(PYTHON_QUEUE, "managed")
        .env("http_proxy", url)
        .env("no_proxy", "127.0.0.1,localhost")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    (site, Running(child))
}

/// Has the pilot report every few seconds, and look for no log server at CERN.
fn beat_often(configuration: &std::path::Path) {
    let text = fs::read_to_string(configuration).unwrap();
    let lines = text.lines().map(|line| match line.split_once(':') {
        Some((key @ ("heartbeat" | "debug_heartbeat"), _)) => format!("{key}: 5\n"),
        Some(("rtlogging", _)) => "rtlogging: off\n".to_owned(),
        Some(_) | None => format!("{line}\n"),
    });
    fs::write(configuration, lines.collect::<String>()).unwrap();
}

fn id_of(job: &Value) -> u64 {
    job["panda_id"].as_u64().unwrap()
}

/// Returns what was waited for, or fails with the end of the pilot's log.
fn expect<T>(site: &Site, waited: anyhow::Result<T>) -> T {
    waited.unwrap_or_else(|error| panic!("{error:#}: {}", site.failures().unwrap()))
}

/// Waits until a job has ended so, and returns it.
fn ended(site: &Site, status: &str) -> Value {
    let waited = wait_for(&format!("a job that is {status}"), END_LIMIT, || {
        let list = ["job", "list", "--status", status];
        let jobs = site.world.deployment.command_line(&list)?;
        let ended = jobs.as_array().and_then(|jobs| jobs.first());
        ended.map(|job| site.world.job(id_of(job))).transpose()
    });
    expect(site, waited)
}

#[test]
fn what_a_payload_says_is_shown_in_debug_mode_until_its_job_is_killed() {
    let (site, _pilot) = start(TICKS);
    let job = expect(&site, site.world.wait_for_job("running"));
    let id = id_of(&job);
    let said = site
        .user
        .python(&format!(
            "from pandaclient import Client\nprint(Client.setDebugMode({id}, True, False))"
        ))
        .unwrap();
    assert!(said.contains("Succeeded"), "{said}");
    let shown = look_every(LOOK, "the payload's output", LIMIT, || {
        let job = site.world.job(id)?;
        let has_output = job["output"].as_str().is_some_and(|it| it.contains("tick"));
        Ok(has_output.then_some(()))
    });
    expect(&site, shown);
    let id = id.to_string();
    let killed = site.world.deployment.command_line(&["job", "kill", &id]);
    killed.unwrap();
    let job = ended(&site, "cancelled");
    let attempt = &job["attempts"][0];
    assert_eq!(attempt["diagnosis"]["code"], 1144, "{job:#}");
    assert!(site.stored(".txt").unwrap().is_empty(), "{job:#}");
}

#[test]
fn a_payload_that_fails_is_told_with_its_exit_code_and_log() {
    let (site, _pilot) = start(FAILS);
    let job = ended(&site, "failed");
    let attempt = &job["attempts"][0];
    assert_eq!(attempt["payload_exit_code"], 42, "{job:#}");
    assert_eq!(attempt["diagnosis"]["code"], 1305, "{job:#}");
    assert_eq!(site.stored(".log.tgz").unwrap().len(), 1, "{job:#}");
}
