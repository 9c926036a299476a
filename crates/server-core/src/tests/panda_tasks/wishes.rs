//! What a task's parameters say of where its jobs go, for which share, and when they are made.

use std::collections::BTreeMap;

use ailurus_brokerage::{ShareEntry, ShareTree};
use ailurus_model::Hardware;

use super::*;
use crate::{
    ledger::BrokerageRows,
    tests::harness::{FAR, NEAR},
    throttle::{ThrottleCap, ThrottleRules},
};

/// A server whose queues differ in what tasks can ask for.
fn server() -> Server {
    let mut server = Server::new();
    for (name, site, cloud) in [(NEAR, "JINR", "RU"), (FAR, "SPBU", "NW")] {
        let queue = server.queue(name);
        site.clone_into(&mut queue.site);
        cloud.clone_into(&mut queue.options.terms.cloud);
    }
    server
}

/// Where the one job of a task with these changes goes, and the task's number.
fn placed(server: &mut Server, changes: &Value) -> (Option<String>, u64) {
    let id = server.ledger.jobs().count() as u64 + 1;
    let reply = server.submit_panda(with(generation(&format!("w{id}"), 1), changes));
    assert_eq!(reply.code, 0, "{}", reply.message);
    server.steps();
    let task = reply.task.unwrap();
    let mut jobs = server.ledger.jobs().filter(|job| job.task_id == task);
    let queue = jobs.next().expect("a job").queue.clone();
    (queue.map(|queue| queue.to_string()), task.value())
}

fn assert_placed(server: &mut Server, changes: &Value, expected: Option<&str>) {
    let (queue, _) = placed(server, changes);
    assert_eq!(queue.as_deref(), expected, "{changes}");
}

#[test]
fn names_and_patterns_of_queues_sites_and_clouds_are_obeyed() {
    for (changes, expected) in [
        (json!({"site": NEAR}), Some(NEAR)),
        (json!({"site": FAR}), Some(FAR)),
        (json!({"site": "NOWHERE"}), None),
        (json!({"site": "NOWHERE,SPBU_FAR"}), Some(FAR)),
        (json!({"site": "JINR*"}), Some(NEAR)),
        (json!({"site": "^(X|SPBU)_"}), Some(FAR)),
        (json!({"excludedSite": "JINR*"}), Some(FAR)),
        (json!({"excludedSite": ["SPBU_.*"]}), Some(NEAR)),
        (json!({"excludedSite": "JINR_NEAR,SPBU_FAR"}), None),
        (json!({"excludedSite": "*"}), None),
        (json!({"includedSite": "*FAR"}), Some(FAR)),
        (json!({"includedSite": ["JINR_NEAR", "X"]}), Some(NEAR)),
        (
            json!({"includedSite": "*_*", "excludedSite": FAR}),
            Some(NEAR),
        ),
        (json!({"site": NEAR, "excludedSite": NEAR}), None),
        (json!({"PandaSite": "SPBU"}), Some(FAR)),
        (json!({"PandaSite": "PNPI"}), None),
        (json!({"cloud": "NW"}), Some(FAR)),
        (json!({"cloud": "RU"}), Some(NEAR)),
        (json!({"site": FAR, "cloud": "RU"}), Some(FAR)),
    ] {
        assert_placed(&mut server(), &changes, expected);
    }
    for changes in [json!({"cloud": "WORLD"}), json!({"workingGroup": "spd"})] {
        let (queue, _) = placed(&mut server(), &changes);
        assert!(queue.is_some(), "{changes}");
    }
}

#[test]
fn a_queue_that_comes_later_is_looked_at_with_the_same_words() {
    let mut server = server();
    let far = server.queues.remove(&FAR.into()).unwrap();
    assert_placed(&mut server, &json!({"site": "SPBU*"}), None);
    assert_placed(&mut server, &json!({"excludedSite": NEAR}), None);
    server.queues.insert(FAR.into(), far);
    assert_eq!(server.broker(), 2);
    assert!(
        server
            .ledger
            .jobs()
            .all(|job| job.queue == Some(FAR.into()))
    );
}

#[test]
fn a_retry_with_new_parameters_goes_where_they_say() {
    let mut server = server();
    let changes = json!({"site": NEAR, "maxAttempt": 1});
    let (queue, task) = placed(&mut server, &changes);
    assert_eq!(queue.as_deref(), Some(NEAR));
    for (words, expected) in [
        (json!({"site": FAR}), FAR),
        (json!({"site": null, "excludedSite": "SPBU*"}), NEAR),
        (json!({"excludedSite": "", "includedSite": "*FAR"}), FAR),
    ] {
        let job = server.next_job().unwrap();
        server.fail(&job, ErrorCode::LoopingJob);
        server.steps();
        let words = words.as_object().unwrap().clone();
        let request = CommandRequest::Retry(RetryQualifiers::default(), words);
        let (code, message) = server.command(task, request, &Caller::loopback());
        assert_eq!(code, 0, "{message}");
        server.steps();
        let job = server.job(job.panda_id.value());
        assert_eq!(job.queue, Some(expected.into()));
    }
}

#[test]
fn software_hardware_and_speed_that_only_one_queue_has_decide() {
    for (changes, change) in [
        (
            json!({"architecture": "#aarch64"}),
            (|server: &mut Server| {
                for (name, arch) in [(NEAR, "x86_64"), (FAR, "aarch64")] {
                    server.queue(name).options.terms.hardware = vec![Hardware {
                        arch: vec![arch.to_owned()],
                        ..Hardware::default()
                    }];
                }
            }) as fn(&mut Server),
        ),
        (json!({"transUses": "spdroot-5"}), |server| {
            server.queue(NEAR).options.terms.releases = vec!["spdroot-4".to_owned()];
        }),
        (json!({"container_name": "/cvmfs/spd/image"}), |server| {
            server.queue(NEAR).has_cvmfs = false;
            server.queue(FAR).has_cvmfs = true;
        }),
        (json!({"ioIntensity": 500}), |server| {
            server.queue(NEAR).options.terms.io_intensity_max = 499;
        }),
        (json!({"diskIO": 500}), |server| {
            server.queue(NEAR).options.terms.disk_io_max = 499;
        }),
    ] {
        let mut server = server();
        change(&mut server);
        assert_placed(&mut server, &changes, Some(FAR));
    }
}

fn share(name: &str, change: fn(&mut ShareEntry)) -> ShareEntry {
    let mut entry = ShareEntry {
        name: name.to_owned(),
        value: 10.0,
        ..ShareEntry::default()
    };
    change(&mut entry);
    entry
}

#[test]
fn group_campaign_vo_and_wish_decide_for_which_share_a_job_counts() {
    let entries = vec![
        share("Group", |it| it.workinggroup = Some("tracking".into())),
        share("Campaign", |it| it.campaign = Some("MC26".into())),
        share("Vo", |it| it.vo = Some("nica".into())),
        share("Wish", |it| it.processingtype = Some("never".into())),
        share("Rest", |_| {}),
    ];
    for (changes, expected) in [
        (json!({"workingGroup": "tracking"}), "Group"),
        (json!({"campaign": "MC26"}), "Campaign"),
        (json!({"vo": "nica"}), "Vo"),
        (json!({"gshare": "Wish"}), "Wish"),
        (json!({"gshare": "Unknown"}), "Rest"),
        (json!({}), "Rest"),
    ] {
        let mut server = server();
        server.scheduling.shares = ShareTree::new(entries.clone()).unwrap();
        placed(&mut server, &changes);
        let job = server.ledger.jobs().next().unwrap();
        assert_eq!(job.global_share, expected, "{changes}");
    }
}

#[test]
fn a_secondary_input_that_is_not_cut_is_one_sample_and_a_library_is_none() {
    for (attributes, expected) in [("nosplit", true), ("reusable", true), ("", false)] {
        let mut server = server();
        server.submit_panda(generation("own", 2));
        server.submit_panda(generation("minbias", 2));
        server.run_dry();
        let mut task = reading("reco", "own.hits", &json!({"nFilesPerJob": 1}));
        task["jobParameters"].as_array_mut().unwrap().push(json!(
            {"type": "template", "param_type": "input", "dataset": "minbias.hits",
             "value": "-m \"${MB/L}\"", "attributes": attributes, "ratio": 1}
        ));
        let reply = server.submit_panda(task);
        assert_eq!(reply.code, 0, "{}", reply.message);
        server.run_dry();
        assert_eq!(server.task_status(3), TaskStatus::Done, "{attributes}");
        let mixture = server.ledger.mixture("minbias.hits").unwrap();
        let placed = mixture.map(|it| it.jobs.values().sum::<u64>());
        assert_eq!(placed, expected.then_some(2), "{attributes}");
    }
    let mut server = server();
    let build = json!({"buildSpec": {"prodSourceLabel": "managed", "archiveName": "a.tgz",
        "jobParameters": "-i ${IN} -o ${OUT}"}});
    server.submit_panda(with(generation("built", 2), &build));
    server.run_dry();
    let library = server.ledger.jobs().all(|job| job.turn == job.panda_id);
    assert!(library, "jobs of a task with a library are no mixture");
}

#[test]
fn no_jobs_are_made_while_enough_wait() {
    let mut server = server();
    let cap = ThrottleCap {
        queued_max: Some(2),
        exempt_priority: Some(900),
        ..ThrottleCap::default()
    };
    server.scheduling.throttle = ThrottleRules {
        caps: BTreeMap::from([(("*".to_owned(), "*".to_owned()), cap)]),
    };
    server.limits.tasks.jobs_per_step = 2;
    server.submit_panda(generation("many", 5));
    server.steps();
    assert_eq!(server.kinds(1, JobKind::Run), 2);
    let message = server.ledger.task_progress(TaskId::new(1)).unwrap();
    let message = message.unwrap().message;
    assert!(message.contains("2 waiting jobs"), "{message}");
    let important = with(generation("important", 1), &json!({"taskPriority": 900}));
    server.submit_panda(important);
    server.steps();
    assert_eq!(server.kinds(2, JobKind::Run), 1);
    for _ in 0..5 {
        while let Some(job) = server.next_job() {
            server.finish(&job);
        }
        let interval = server.limits.tasks.retry_interval;
        server.pass(interval);
        server.steps();
    }
    assert_eq!(server.kinds(1, JobKind::Run), 5);
    server.run_dry();
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn users_take_turns_when_jobs_are_made() {
    let mut server = server();
    server.limits.tasks.jobs_per_step = 10;
    for nr in 0..6 {
        let user = if nr == 5 { "bob" } else { "alice" };
        let changes = json!({"userName": user, "taskType": "prod"});
        server.submit_panda(with(generation(&format!("t{nr}"), 10), &changes));
    }
    while server.ledger.jobs().count() < 20 {
        server.run_again(step_tasks).unwrap();
    }
    assert_eq!(
        server.kinds(6, JobKind::Run),
        10,
        "the last task of another user comes after one of the first user's"
    );
}

#[test]
fn network_nucleus_and_virtual_placement_are_obeyed() {
    let mut server = server();
    for (name, connectivity) in [(NEAR, "http"), (FAR, "full")] {
        connectivity.clone_into(&mut server.queue(name).options.terms.connectivity);
    }
    let read = server.queue(NEAR).storages.get_mut("pr").expect("storage");
    read.push("JINR_VP_DISK".into());
    for (changes, expected) in [
        (json!({"ipConnectivity": "full"}), Some(FAR)),
        (json!({"ipConnectivity": "full#IPv6"}), None),
        (json!({"avoidVP": true}), Some(FAR)),
        (json!({"nucleus": "JINR", "t1Weight": -1}), Some(NEAR)),
        (json!({"nucleus": "SPBU", "t1Weight": -1}), Some(FAR)),
        (json!({"nucleus": "JINR", "t1Weight": 50}), Some(NEAR)),
        (json!({"nucleus": "SPBU", "t1Weight": 50}), Some(FAR)),
    ] {
        assert_placed(&mut server, &changes, expected);
    }
    let at_virtual = json!({"nucleus": "JINR", "t1Weight": -1});
    let (_, task) = placed(&mut server, &at_virtual);
    while let Some(job) = server.acquire(NEAR).pop() {
        assert!(job.options.is_virtual_placement, "of task {}", job.task_id);
        if job.task_id.value() == task {
            return;
        }
    }
    panic!("no job of task {task}");
}
