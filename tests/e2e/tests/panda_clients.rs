//! The Python programs of PanDA against our server, unmodified: `prun` submits, `pbook` steers, the
//! Python pilot runs jobs, and the user gets the outputs.
//!
//! What they say to the server is their business: nothing here knows a call.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "panda_clients/inputs.rs"]
mod inputs;
#[path = "panda_clients/secure.rs"]
mod secure;
#[path = "panda_clients/site.rs"]
mod site;
#[path = "panda_clients/steering.rs"]
mod steering;
#[path = "panda_clients/submitting.rs"]
mod submitting;
#[path = "panda_clients/workflows.rs"]
mod workflows;

use site::Site;

const HELLO: &str = "#!/bin/sh\necho \"hello $1\" > \"$2\"\n";

/// A task of our own whose script comes from where the Python pilot fetches scripts.
const OWN_TASK: &str = r#"
scope = "test"
user = "tester"

[[task]]
name = "own"
transformation = "{scripts}/hello.sh"
parameters = "{seed} {output.file}"
events = 2
events_per_job = 1
cores = 1
memory = "100 MiB"
disk = "100 MiB"
walltime = "10m"
max_attempts = 1
[[task.output]]
name = "file"
dataset = "test.own"
lfn = "own_{seed}.txt"
"#;

#[test]
fn the_python_pilot_runs_jobs_of_our_own_tasks() {
    let site = Site::start(&[("hello.sh", HELLO)]).unwrap();
    let task = OWN_TASK.replace("{scripts}", site::PYTHON_PILOT_SCRIPTS);
    site.world.submit(&task).unwrap();
    site.run_python_pilot("managed").unwrap();
    let job = site.world.wait_for_job("finished").unwrap();
    let output = site.stored(".txt").unwrap();
    assert_eq!(output.len(), 1, "{job:#}");
    assert!(output[0].1.starts_with("hello "), "{output:?}");
    assert_eq!(site.stored(".log.tgz").unwrap().len(), 1, "{job:#}");
}
