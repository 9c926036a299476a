//! `pbook` lists and steers tasks, and keeps secrets.

use std::fs;

use crate::site::{QUEUE, Site};

/// Submits a task of so many jobs that nobody runs yet.
fn waiting_task(site: &Site, name: &str) -> u64 {
    fs::write(site.user.work().join("go.sh"), "echo hi > out.txt\n").unwrap();
    let out = format!("user.jdoe.{name}");
    let task = site
        .prun(&[
            "--noBuild",
            "--exec",
            "sh go.sh",
            "--outDS",
            &out,
            "--outputs",
            "out.txt",
            "--vo",
            "spd",
            "--site",
            QUEUE,
            "--nJobs",
            "2",
        ])
        .unwrap();
    site.wait_for(task, &["running", "scouting"]).unwrap();
    task
}

/// Runs `pbook` to its end.
fn pbook(site: &Site, arguments: &[&str]) -> String {
    site.user.run_well("pbook", arguments).unwrap()
}

/// Says what is to become of a task, by the module that `pbook` uses. `pbook` itself first looks
/// whether the task is its user's, whom a server does not know that trusts the machine.
fn say(site: &Site, call: &str, task: u64) -> String {
    let lines = format!("from pandaclient import Client\nprint(Client.{call}({task}))");
    site.user.python(&lines).unwrap()
}

#[test]
fn tasks_are_shown_to_their_user() {
    let site = Site::start(&[]).unwrap();
    let task = waiting_task(&site, "shown").to_string();
    for arguments in [&["show"][..], &["show", &task], &["showl"]] {
        let said = pbook(&site, arguments);
        assert!(
            said.contains(&task) && said.contains("user.jdoe.shown"),
            "{said}"
        );
    }
    let said = pbook(&site, &["show", "99999999"]);
    assert!(!said.contains("user.jdoe.shown"), "{said}");
}

#[test]
fn a_killed_task_ends_and_gives_no_jobs() {
    let site = Site::start(&[]).unwrap();
    let task = waiting_task(&site, "killed");
    let said = say(&site, "killTask", task);
    assert!(said.contains("True"), "{said}");
    site.wait_for(task, &["aborted"]).unwrap();
    site.run_pilot("user").unwrap();
    assert!(site.stored("out.txt").unwrap().is_empty());
}

#[test]
fn a_task_that_was_finished_early_is_retried_to_its_end() {
    let site = Site::start(&[]).unwrap();
    let task = waiting_task(&site, "finished");
    say(&site, "finishTask", task);
    site.wait_for(task, &["finished", "failed"]).unwrap();
    say(&site, "retryTask", task);
    site.wait_for(task, &["running", "scouting"]).unwrap();
    site.run_pilot("user").unwrap();
    site.wait_for(task, &["done"]).unwrap();
    assert_eq!(site.stored("out.txt").unwrap().len(), 2);
}

#[test]
fn a_paused_task_goes_on_once_it_is_resumed() {
    let site = Site::start(&[]).unwrap();
    let task = waiting_task(&site, "paused");
    say(&site, "pauseTask", task);
    site.wait_for(task, &["paused"]).unwrap();
    say(&site, "resumeTask", task);
    site.wait_for(task, &["running", "scouting", "ready"])
        .unwrap();
    site.run_pilot("user").unwrap();
    site.wait_for(task, &["done"]).unwrap();
}

#[test]
fn secrets_are_kept_and_listed() {
    let site = Site::start(&[]).unwrap();
    pbook(&site, &["set_secret", "PASSWORD", "open sesame"]);
    let said = pbook(&site, &["list_secrets"]);
    assert!(said.contains("PASSWORD"), "{said}");
    pbook(&site, &["delete_all_secrets"]);
    let said = pbook(&site, &["list_secrets"]);
    assert!(!said.contains("PASSWORD"), "{said}");
}
