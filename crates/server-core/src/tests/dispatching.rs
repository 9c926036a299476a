//! Which jobs a pilot gets, in which order, and how they are described.

use std::{collections::BTreeSet, time::Duration};

use ailurus_model::{
    AttemptNr, ByteCount, JobRequest, JobStatus, SourceLabel, TaskStatus, WorkerId, WorkerStatus,
    queue::QueueStatus, task::Submission,
};

use super::harness::*;
use crate::{AcquireError, Ledger as _, naming::first_seed};

/// A server with one queue only, so that it is clear where jobs wait.
fn only_near(tasks: impl Into<Vec<ailurus_model::TaskSpec>>) -> Server {
    let mut server = Server::new();
    server.queues.remove(&FAR.into());
    server.submit(tasks);
    server
}

#[test]
fn a_job_is_described_in_full() {
    let mut server = only_near([generation(3)]);
    let jobs = server
        .try_acquire(&JobRequest {
            n_jobs: 3,
            ..request(NEAR)
        })
        .unwrap();
    let job = &jobs[2];
    assert_eq!(job.name, "gen.000002");
    assert_eq!(job.attempt_nr, AttemptNr::new(1));
    assert_eq!(job.jobset_id, 1);
    assert_eq!(
        job.parameters,
        "--seed 1000003 --events 1000 --first 2000 -o gen_1000003.root"
    );
    assert_eq!(job.outputs[0].lfn.as_str(), "gen_1000003.root");
    assert_eq!(job.outputs[0].dataset.as_str(), "spd.gen");
    assert_eq!(job.outputs[0].endpoint.as_str(), "JINR_NEAR_DISK");
    let log = job.log.as_ref().unwrap();
    assert_eq!(log.lfn.as_str(), "gen.3.1.log.tgz");
    assert_eq!(log.dataset.as_str(), "spd.gen.log");
    assert_eq!(log.endpoint.as_str(), "JINR_NEAR_DISK");
    assert_eq!(job.resource_type, "SCORE");
    assert_eq!(job.platform, "x86_64-el9");
    let row = server.job(3);
    assert_eq!(row.status, JobStatus::Sent);
    assert_eq!(server.attempt(3, 1).node.as_str(), "slot1@node7");
}

#[test]
fn every_log_has_a_guid_of_its_own() {
    let mut server = only_near([generation(50)]);
    let jobs = server
        .try_acquire(&JobRequest {
            n_jobs: 50,
            ..request(NEAR)
        })
        .unwrap();
    let guids: BTreeSet<_> = jobs
        .iter()
        .map(|job| job.log.as_ref().unwrap().guid.clone())
        .collect();
    assert_eq!(guids.len(), 50);
}

#[test]
fn inputs_come_with_what_is_known_of_their_files() {
    let mut server = Server::new();
    let submission = Submission {
        datasets: vec![listed("raw", "JINR_NEAR_DISK", 2)],
        tasks: vec![reading("raw", "reco", FILE_BY_FILE)],
    };
    server.try_submit(&submission).unwrap();
    let job = server.acquire(NEAR).pop().unwrap();
    let input = &job.inputs[0];
    assert_eq!(input.lfn.as_str(), "raw_0.root");
    assert_eq!(input.endpoint.as_str(), "JINR_NEAR_DISK");
    assert_eq!(input.size, Some(ByteCount::from_mib(100)));
    assert_eq!(job.parameters, "-i raw_0.root -o reco_0_1.root");
}

#[test]
fn higher_priority_comes_first_then_the_older_job() {
    let mut late = generation(1);
    late.name = "urgent".to_owned();
    late.outputs = vec![output("gen2", "x_{seed}.root")];
    late.parameters = String::new();
    late.priority = 900;
    let mut server = only_near([generation(2), late]);
    let jobs = server
        .try_acquire(&JobRequest {
            n_jobs: 9,
            ..request(NEAR)
        })
        .unwrap();
    let order: Vec<u64> = jobs.iter().map(|job| job.panda_id.value()).collect();
    assert_eq!(order, [3, 1, 2]);
}

#[test]
fn a_pilot_gets_only_what_fits() {
    let mut spec = generation(1);
    spec.resources.memory = ByteCount::from_gib(4);
    spec.resources.disk = ByteCount::from_gib(20);
    spec.resources.walltime = Duration::from_secs(3600);
    let mut server = only_near([spec]);
    let too_small: [fn(&mut JobRequest); 7] = [
        |request| request.memory = ByteCount::from_gib(3),
        |request| request.disk = ByteCount::from_gib(19),
        |request| request.remaining_time = Some(Duration::from_secs(3599)),
        |request| request.resource_type = Some("SCORE".to_owned()),
        |request| request.task_id = Some(ailurus_model::TaskId::new(7)),
        |request| request.user = Some("bob".to_owned()),
        |request| request.source_label = SourceLabel::new("user"),
    ];
    for shrink in too_small {
        let mut request = request(NEAR);
        shrink(&mut request);
        assert!(
            server.try_acquire(&request).unwrap().is_empty(),
            "{request:?}"
        );
    }
    let fitting = JobRequest {
        memory: ByteCount::from_gib(4),
        disk: ByteCount::from_gib(20),
        remaining_time: Some(Duration::from_secs(3600)),
        resource_type: Some("SCORE_HIMEM".to_owned()),
        task_id: Some(ailurus_model::TaskId::new(1)),
        user: Some("alice".to_owned()),
        ..request(NEAR)
    };
    assert_eq!(server.try_acquire(&fitting).unwrap().len(), 1);
}

#[test]
fn a_pilot_for_test_jobs_gets_probes_whatever_their_label() {
    let task = |name: &str, label: &str, processing: &str| {
        let mut task = generation(1);
        task.name = name.to_owned();
        task.source_label = SourceLabel::new(label);
        task.processing_type = processing.to_owned();
        task.outputs.clear();
        task.parameters = String::new();
        task
    };
    let mut server = only_near([
        task("work", "user", "evgen"),
        task("probe", "user", "gangarobot"),
        task("check", "prod_test", "evgen"),
        task("try", "test", "evgen"),
        task("setup", "install", "evgen"),
        task("second", "managed", "gangarobot"),
    ]);
    let asking = |label: &str, job_type: Option<&str>| {
        let mut request = request(NEAR);
        request.source_label = SourceLabel::new(label);
        request.details.job_type = job_type.map(str::to_owned);
        request
    };
    let first = |server: &mut Server, request: &JobRequest| {
        let job = server.try_acquire(request).unwrap().pop();
        job.map(|job| job.name)
    };
    let users = asking("test", Some("user"));
    assert_eq!(first(&mut server, &users).as_deref(), Some("probe.000000"));
    // Users' pilots of a queue under test ask for test jobs, too.
    server.queue(NEAR).status = QueueStatus::Test;
    let users = asking("user", Some("user"));
    assert_eq!(first(&mut server, &users).as_deref(), Some("second.000000"));
    assert_eq!(first(&mut server, &users), None);
    let all: Vec<_> = (0..4)
        .filter_map(|_| first(&mut server, &asking("unified", None)))
        .collect();
    assert_eq!(all, ["check.000000", "try.000000", "setup.000000"]);
    server.queue(NEAR).status = QueueStatus::Online;
    let users = asking("user", None);
    assert_eq!(first(&mut server, &users).as_deref(), Some("work.000000"));
}

#[test]
fn a_push_queue_above_its_mean_memory_takes_only_jobs_below_it() {
    let task = |name: &str, cores: u32, mib: u64| {
        let mut task = generation(1);
        task.name = name.to_owned();
        task.resources.cores = cores;
        task.resources.memory = ByteCount::from_mib(mib);
        task.outputs.clear();
        task.parameters = String::new();
        task
    };
    let mut server = only_near([
        task("large", 1, 3000),
        task("larger", 1, 3000),
        task("wide", 2, 4000),
    ]);
    let terms = &mut server.queue(NEAR).options.terms;
    terms.memory_mean = ByteCount::from_mib(2000);
    terms.workflow = "push_cric".to_owned();
    let job = server.acquire(NEAR).pop().expect("nothing runs yet");
    assert_eq!(job.name, "large.000000");
    server.update(&job, JobStatus::Running);
    let job = server.acquire(NEAR).pop().expect("a job below the mean");
    assert_eq!(job.name, "wide.000000");
    assert!(server.acquire(NEAR).is_empty());
    server.queue(NEAR).options.terms.workflow = "pull".to_owned();
    assert_eq!(server.acquire(NEAR).len(), 1);
}

#[test]
fn a_job_is_given_out_once() {
    let mut server = only_near([generation(1)]);
    assert_eq!(server.acquire(NEAR).len(), 1);
    assert!(server.acquire(NEAR).is_empty());
}

#[test]
fn seeds_are_never_handed_out_twice() {
    let mut server = only_near([generation(3)]);
    let mut seeds = BTreeSet::new();
    while let Some(job) = server.next_job() {
        let seed = server
            .attempt(job.panda_id.value(), job.attempt_nr.value())
            .seed;
        assert!(seeds.insert(seed));
        server.fail(&job, ailurus_model::ErrorCode::StageInFailed);
    }
    assert_eq!(seeds.len(), 9);
    assert_eq!(seeds.first(), Some(&first_seed(server.task(1).id)));
}

#[test]
fn the_first_dispatch_makes_the_task_run() {
    let mut server = only_near([generation(2)]);
    assert_eq!(server.task_status(1), TaskStatus::Ready);
    server.acquire(NEAR);
    assert_eq!(server.task_status(1), TaskStatus::Running);
}

#[test]
fn pilots_may_ask_by_the_name_of_the_resource() {
    let mut server = only_near([generation(1)]);
    assert_eq!(server.acquire("JINR_NEAR_RESOURCE").len(), 1);
}

#[test]
fn unknown_and_closed_queues_give_nothing_out() {
    let mut server = only_near([generation(1)]);
    let error = server
        .try_acquire(&request("NOWHERE"))
        .expect_err("unknown");
    assert_eq!(error.code(), "unknown-queue");
    assert_eq!(error.to_string(), "queue `NOWHERE` is not known");
    for status in [QueueStatus::Offline, QueueStatus::Paused] {
        server.queue(NEAR).status = status;
        let error = server.try_acquire(&request(NEAR)).expect_err("closed");
        assert!(matches!(error, AcquireError::QueueNotServing { .. }));
    }
    server.queue(NEAR).status = QueueStatus::Brokeroff;
    assert_eq!(server.acquire(NEAR).len(), 1);
}

#[test]
fn a_queue_under_test_gives_out_test_jobs_only() {
    let mut test = generation(1);
    test.name = "probe".to_owned();
    test.source_label = SourceLabel::new("prod_test");
    test.outputs.clear();
    test.parameters = String::new();
    let mut server = only_near([generation(1), test]);
    server.queue(NEAR).status = QueueStatus::Test;
    let request = JobRequest {
        n_jobs: 5,
        ..request(NEAR)
    };
    let jobs = server.try_acquire(&request).unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].source_label.as_str(), "prod_test");
}

#[test]
fn a_request_for_many_jobs_is_bounded() {
    let mut server = only_near([generation(5)]);
    server.limits.jobs_per_request_max = 2;
    let request = JobRequest {
        n_jobs: 1000,
        ..request(NEAR)
    };
    assert_eq!(server.try_acquire(&request).unwrap().len(), 2);
}

#[test]
fn a_request_for_no_job_gets_one() {
    let mut server = only_near([generation(5)]);
    let request = JobRequest {
        n_jobs: 0,
        ..request(NEAR)
    };
    assert_eq!(server.try_acquire(&request).unwrap().len(), 1);
}

#[test]
fn the_worker_that_asks_is_linked_and_known_to_run() {
    let mut server = only_near([generation(1)]);
    server.try_acquire(&request_in_worker(NEAR, 5)).unwrap();
    let id = WorkerId::new(5);
    assert_eq!(server.job(1).worker, Some((HARVESTER.into(), id)));
    let worker = server
        .ledger
        .worker(&HARVESTER.into(), id)
        .unwrap()
        .unwrap();
    assert_eq!(worker.status, WorkerStatus::Running);
    assert_eq!(worker.queue.as_str(), NEAR);
}

#[test]
fn a_worker_that_gets_nothing_leaves_no_trace() {
    let mut server = Server::new();
    server.try_acquire(&request_in_worker(NEAR, 5)).unwrap();
    assert_eq!(server.ledger.workers().count(), 0);
}

#[test]
fn an_input_is_read_from_the_replica_at_the_queue() {
    let mut server = Server::new();
    server
        .try_submit(&Submission {
            datasets: vec![listed("raw", "ELSEWHERE_DISK", 1)],
            tasks: vec![ailurus_model::TaskSpec {
                queues: vec![NEAR.into()],
                ..reading("raw", "first", FILE_BY_FILE)
            }],
        })
        .unwrap();
    let mut file = server.file("spd.raw", 0).expect("a file");
    file.replicas = vec!["THIRD_DISK".into(), format!("{FAR}_DISK").as_str().into()];
    file.dataset = "spd.copied".into();
    server.run(|_, ledger| {
        file.id = ledger.new_file_id().unwrap();
        ledger.insert_file(&file).unwrap();
        let copied = crate::ledger::DatasetRecord {
            name: "spd.copied".into(),
            producer: None,
            n_parts: 1,
        };
        ledger.put_dataset(&copied).unwrap();
    });
    server.submit([reading("copied", "reco", FILE_BY_FILE)]);
    let job = server.acquire(FAR).pop().expect("it went to its input");
    assert_eq!(job.inputs[0].endpoint.as_str(), format!("{FAR}_DISK"));
}
