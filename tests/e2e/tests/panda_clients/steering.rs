//! `pbook` lists and steers tasks, and keeps secrets.

use std::fs;

use crate::site::{LABEL, Site};

/// Submits a task of two jobs that nobody runs yet.
fn waiting_task(site: &Site, name: &str) -> u64 {
    task_of(site, name, "echo hi > out.txt\n")
}

/// Submits a task of two jobs that run a script.
fn task_of(site: &Site, name: &str, script: &str) -> u64 {
    fs::write(site.user.work().join("go.sh"), script).unwrap();
    let options = ["--outputs", "out.txt", "--nJobs", "2"];
    site.begin(name, "sh go.sh", &options).unwrap()
}

/// Runs `pbook` to its end.
fn pbook(site: &Site, arguments: &[&str]) -> String {
    site.user.run_well("pbook", arguments).unwrap()
}

/// Says what is to become of a task, by the module that `pbook` uses: it has no such command.
fn say(site: &Site, call: &str, task: u64) -> String {
    let lines = format!("from pandaclient import Client\nprint(Client.{call}({task}))");
    site.user.python(&lines).unwrap()
}

/// The jobs of a task, as the client lists them.
fn jobs_of(site: &Site, task: u64) -> Vec<u64> {
    let said = say(site, "getPandaIDsWithTaskID", task);
    let ids = said.split_once('[').unwrap().1.split_once(']').unwrap().0;
    ids.split(',')
        .map(|id| id.trim().parse().unwrap())
        .collect()
}

#[test]
fn tasks_are_shown_to_their_user() {
    let site = Site::start(&[]).unwrap();
    let task = waiting_task(&site, "shown").to_string();
    let named = ["show", "--taskname", "user.jdoe.shown/"];
    for arguments in [
        &["show"][..],
        &["show", &task],
        &["show", "run"],
        &named,
        &["-c", "print(show(format='json'))"],
        &["show", &task, "--format", "plain"],
        &["showl"],
        &["-c", &format!("show({task})")],
    ] {
        let said = pbook(&site, arguments);
        assert!(
            said.contains(&task) && said.contains("user.jdoe.shown"),
            "{arguments:?}: {said}"
        );
    }
    for arguments in [
        &["show", "99999999"][..],
        &["show", "99"],
        &["show", "fin"],
        &["show", "--status", "done"],
    ] {
        let said = pbook(&site, arguments);
        assert!(!said.contains("user.jdoe.shown"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_killed_task_ends_and_gives_no_jobs() {
    let site = Site::start(&[]).unwrap();
    let task = waiting_task(&site, "killed");
    let said = pbook(&site, &["-c", &format!("kill({task})")]);
    assert!(said.contains("will be killed"), "{said}");
    site.wait_for(task, &["aborted"]).unwrap();
    site.run_pilot(LABEL).unwrap();
    assert!(site.stored("out.txt").unwrap().is_empty());
    let again = site.user.run("pbook", &["-c", &format!("kill({task})")]);
    let again = again.unwrap();
    assert_eq!(again.exit_code, Some(1), "{again:?}");
    let said = pbook(&site, &["kill", "99"]);
    assert!(said.contains("Permission denied: reqID=99"), "{said}");
}

#[test]
fn all_tasks_of_a_user_are_killed_or_finished_at_once() {
    let site = Site::start(&[]).unwrap();
    let first = waiting_task(&site, "one");
    let second = waiting_task(&site, "two");
    let said = pbook(&site, &["finish", &format!("{first},99")]);
    assert!(said.contains("will be finished soon"), "{said}");
    site.wait_for(first, &["finished", "failed"]).unwrap();
    let third = waiting_task(&site, "three");
    let said = pbook(&site, &["kill", "all"]);
    assert!(!said.contains("Failed"), "{said}");
    for task in [second, third] {
        site.wait_for(task, &["aborted"]).unwrap();
    }
    assert!(["finished", "failed"].contains(&&*site.status(first).unwrap()));
}

#[test]
fn a_task_that_was_finished_early_is_retried_to_its_end() {
    let site = Site::start(&[]).unwrap();
    let task = waiting_task(&site, "finished");
    let id = task.to_string();
    pbook(&site, &["finish", &id]);
    site.wait_for(task, &["finished", "failed"]).unwrap();
    let said = pbook(&site, &["retry", &id]);
    assert!(!said.contains("Failed"), "{said}");
    site.wait_for(task, &["running", "scouting"]).unwrap();
    site.run_pilot(LABEL).unwrap();
    site.wait_for(task, &["done"]).unwrap();
    assert_eq!(site.stored("out.txt").unwrap().len(), 2);
}

#[test]
fn a_retry_takes_new_parameters_whether_the_task_runs_or_has_ended() {
    let site = Site::start(&[]).unwrap();
    let task = waiting_task(&site, "changed");
    let id = task.to_string();
    let said = pbook(&site, &["retry", &id, "--memory", "1500"]);
    assert!(said.contains("triggered for failed jobs"), "{said}");
    pbook(&site, &["kill", &id]);
    site.wait_for(task, &["aborted"]).unwrap();
    let said = pbook(&site, &["retry", &id]);
    assert!(said.contains("Failed to retry"), "{said}");
    let elsewhere = format!("retry({id}, newOpts={{'excludedSite': 'ELSEWHERE'}})");
    let said = pbook(&site, &["-c", &elsewhere]);
    assert!(!said.contains("Failed"), "{said}");
    site.wait_for(task, &["running", "scouting"]).unwrap();
    site.run_pilot(LABEL).unwrap();
    site.wait_for(task, &["done"]).unwrap();
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
    site.run_pilot(LABEL).unwrap();
    site.wait_for(task, &["done"]).unwrap();
}

#[test]
fn a_job_is_debugged_and_what_its_program_noted_is_fetched() {
    let site = Site::start(&[]).unwrap();
    let script = "echo hi > out.txt; echo '{\"events\": 7}' > userJobMetadata.json\n";
    let task = task_of(&site, "noted", script);
    let job = jobs_of(&site, task)[0];
    let said = pbook(&site, &["debug", &job.to_string(), "True"]);
    assert!(!said.contains("Failed"), "{said}");
    site.run_pilot(LABEL).unwrap();
    site.wait_for(task, &["done"]).unwrap();
    let id = task.to_string();
    pbook(&site, &["get_user_job_metadata", &id, "noted.json"]);
    let noted = fs::read_to_string(site.user.work().join("noted.json")).unwrap();
    let noted: serde_json::Value = serde_json::from_str(&noted).unwrap();
    assert_eq!(
        noted[job.to_string()]["user_job_metadata"]["events"],
        7,
        "{noted}"
    );
    let said = pbook(&site, &["reload_input", &id]);
    assert!(said.contains("command is registered"), "{said}");
    let said = pbook(&site, &["recover_lost_files", &id]);
    assert!(said.contains("request was not received"), "{said}");
}

#[test]
fn secrets_are_kept_and_listed() {
    let site = Site::start(&[]).unwrap();
    pbook(&site, &["set_secret", "PASSWORD", "open sesame"]);
    let said = pbook(&site, &["list_secrets"]);
    assert!(said.contains("PASSWORD"), "{said}");
    fs::write(site.user.work().join("key.pem"), "the key\n").unwrap();
    pbook(&site, &["set_secret", "KEY", "key.pem", "--is_file"]);
    pbook(&site, &["delete_secret", "PASSWORD"]);
    let said = pbook(&site, &["list_secrets", "--full"]);
    assert!(said.contains("dGhlIGtleQo="), "{said}");
    assert!(!said.contains("PASSWORD"), "{said}");
    pbook(&site, &["delete_all_secrets"]);
    let said = pbook(&site, &["list_secrets"]);
    assert!(said.contains("No secrets"), "{said}");
}
