//! Bad input through the whole system: one clear error, nothing lost, nothing left running.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ailurus_e2e::{ONE_JOB, World};
use serde_json::Value;

/// The same job, made from a file instead of an event.
fn job_from_file(dataset: &str) -> String {
    ONE_JOB.replace("events = 1\nevents_per_job = 1", "files_per_job = 1")
        + &format!("[[task.input]]\nname = \"in\"\ndataset = \"{dataset}\"\n")
}

fn failed_job(world: &mut World) -> Value {
    world.wait_for_tasks().unwrap();
    world.wait_for_job("failed").unwrap()
}

/// Asserts that the only attempt failed with one of these codes and names the thing.
fn assert_diagnosed(job: &Value, codes: &[i64], named: &str) {
    let diagnosis = job.pointer("/attempts/0/diagnosis").unwrap();
    let code = diagnosis["code"].as_i64().unwrap();
    assert!(codes.contains(&code), "{job:#}");
    assert!(
        diagnosis["text"].as_str().unwrap().contains(named),
        "{job:#}"
    );
    assert!(!diagnosis["remedy"].as_str().unwrap().is_empty(), "{job:#}");
}

#[test]
fn a_bad_task_file_is_refused_by_key_and_value() {
    let world = World::start(&[]).unwrap();
    let cases = [
        (ONE_JOB.replace("cores = 1", "coers = 1"), "coers"),
        (ONE_JOB.replace("cores = 1", "cores = \"many\""), "cores"),
        (
            ONE_JOB.replace("memory = \"100 MiB\"", "memory = \"100\""),
            "memory",
        ),
        (job_from_file("test.nowhere"), "test.nowhere"),
        (
            ONE_JOB.replace("{output.file}", "{output.fiel}"),
            "output.fiel",
        ),
    ];
    for (text, named) in cases {
        let error = world.submit(&text).expect_err(named).to_string();
        assert!(error.contains(named), "`{named}` is not named in: {error}");
    }
    assert!(
        world.tasks().unwrap().is_empty(),
        "a refused submission leaves nothing behind"
    );
}

#[test]
fn a_payload_without_its_output_fails_with_the_file_named() {
    let mut world = World::start(&[("one.sh", "#!/bin/sh\nexit 0\n")]).unwrap();
    world.submit(ONE_JOB).unwrap();
    assert_diagnosed(&failed_job(&mut world), &[1165], "one_");
}

#[test]
fn a_payload_script_that_is_not_there_fails_with_its_address() {
    let mut world = World::start(&[]).unwrap();
    world.submit(ONE_JOB).unwrap();
    assert_diagnosed(&failed_job(&mut world), &[1149], "one.sh");
}

#[test]
fn an_input_that_is_not_in_its_storage_fails_by_name() {
    let mut world = World::start(&[("one.sh", "#!/bin/sh\ntouch started\n")]).unwrap();
    let text = job_from_file("test.listed")
        + "[[dataset]]\nname = \"test.listed\"\n[[dataset.file]]\nlfn = \"absent.txt\"\n\
           endpoint = \"NORTH_DISK\"\nsize = \"3 B\"\nchecksum = \"ad:00000001\"\n";
    world.submit(&text).unwrap();
    assert_diagnosed(&failed_job(&mut world), &[1331, 1103], "absent.txt");
}
