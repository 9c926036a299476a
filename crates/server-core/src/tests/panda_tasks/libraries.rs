//! Build jobs: one for each group of queues that share storage.

use std::time::Duration;

use ailurus_jedi::command::RetryQualifiers;
use ailurus_model::{Caller, ErrorCode, Job, JobKind, JobStatus, TaskId, queue::QueueStatus};
use serde_json::{Map, Value, json};

use super::{generation, with};
use crate::{
    ledger::{JobRecord, PandaTaskRows},
    tasks::{CommandRequest, step_tasks},
    tests::harness::{FAR, NEAR, Server, queue},
};

/// A task of so many jobs with a library.
fn building(name: &str, n: u32) -> Value {
    let mut task = with(
        generation(name, n),
        &json!({"buildSpec": {
            "prodSourceLabel": "managed", "archiveName": "sources.tgz",
            "jobParameters": "-i ${IN} -o ${OUT}"}}),
    );
    let items = task["jobParameters"].as_array_mut().unwrap();
    items.push(json!({"type": "constant", "value": "-l ${LIB}"}));
    task
}

fn jobs_of(server: &Server, kind: JobKind) -> Vec<JobRecord> {
    let jobs = server.ledger.jobs().filter(|job| job.kind == kind);
    jobs.cloned().collect()
}

/// The queue of each run job, as its library says: `(queue, library)`.
fn taken(server: &mut Server) -> Vec<(String, String)> {
    let mut taken = Vec::new();
    while let Some(job) = server.next_job() {
        let library = job.inputs[0].lfn.to_string();
        let queue = server.job(job.panda_id.value()).queue.unwrap().to_string();
        taken.push((queue, library));
        server.finish(&job);
    }
    taken
}

/// Finishes the build jobs, while nothing else can run.
fn finish_builds(server: &mut Server) -> Vec<Job> {
    let builds: Vec<Job> = std::iter::from_fn(|| server.next_job()).collect();
    for build in &builds {
        assert_eq!(server.job(build.panda_id.value()).kind, JobKind::Build);
        server.finish(build);
    }
    builds
}

#[test]
fn each_group_of_queues_that_share_storage_has_a_library_of_its_own() {
    let mut server = Server::new();
    // A third queue shares the storage of the first.
    let mut third = queue("JINR_THIRD");
    third.storages = server.queue(NEAR).storages.clone();
    server.queues.insert("JINR_THIRD".into(), third);
    server.limits.tasks.jobs_per_library = 2;
    server.submit_panda(building("b", 12));
    server.steps();
    assert_eq!(jobs_of(&server, JobKind::Build).len(), 2);
    let runs = jobs_of(&server, JobKind::Run);
    assert!(runs.iter().all(|job| job.status == JobStatus::Pending));
    assert!(runs[0].reason.contains("builds at `"), "{}", runs[0].reason);
    let builds = finish_builds(&mut server);
    let libraries: Vec<_> = builds.iter().map(|job| &job.outputs[0].lfn).collect();
    assert_ne!(libraries[0], libraries[1]);
    let taken = taken(&mut server);
    assert_eq!(taken.len(), 12);
    let of = |library: &str| {
        let mut queues: Vec<&str> = taken
            .iter()
            .filter(|(_, used)| used == library)
            .map(|(queue, _)| queue.as_str())
            .collect();
        queues.dedup();
        queues
    };
    for library in libraries {
        let is_far = of(library.as_str()).contains(&FAR);
        let mixed = of(library.as_str())
            .iter()
            .any(|queue| (*queue == FAR) != is_far);
        assert!(!mixed, "{taken:?}");
    }
}

#[test]
fn a_small_task_builds_once() {
    let mut server = Server::new();
    server.submit_panda(building("b", 10));
    server.steps();
    assert_eq!(jobs_of(&server, JobKind::Build).len(), 1);
    finish_builds(&mut server);
    let taken = taken(&mut server);
    assert_eq!(taken.len(), 10);
    assert!(taken.iter().all(|one| one.0 == taken[0].0), "{taken:?}");
}

#[test]
fn jobs_whose_library_cannot_be_built_go_to_another_group_and_end_if_there_is_none() {
    let mut server = Server::new();
    server.submit_panda(building("b", 2));
    server.steps();
    let first = jobs_of(&server, JobKind::Build)[0].queue.clone();
    for _ in 0..3 {
        let build = server.next_job().unwrap();
        assert_eq!(server.job(build.panda_id.value()).queue, first);
        server.fail(&build, ErrorCode::StageInFailed);
    }
    let builds = jobs_of(&server, JobKind::Build);
    assert_eq!(builds.len(), 2);
    assert_ne!(builds[1].queue, first);
    for job in jobs_of(&server, JobKind::Run) {
        assert_eq!(job.status, JobStatus::Pending);
    }
    for _ in 0..3 {
        let build = server.next_job().unwrap();
        server.fail(&build, ErrorCode::StageInFailed);
    }
    for job in jobs_of(&server, JobKind::Run) {
        assert_eq!(job.status, JobStatus::Closed, "{}", job.reason);
    }
    server.steps();
    assert_eq!(server.task_status(1), ailurus_model::TaskStatus::Failed);
    // A retry builds again, and then runs.
    let request = CommandRequest::Retry(RetryQualifiers::default(), Map::new());
    assert_eq!(server.command(1, request, &Caller::loopback()).0, 0);
    server.steps();
    server.broker();
    finish_builds(&mut server);
    server.broker();
    assert_eq!(taken(&mut server).len(), 2);
    server.steps();
    assert_eq!(server.task_status(1), ailurus_model::TaskStatus::Done);
}

#[test]
fn a_library_is_used_for_a_week() {
    for (days, builds) in [(6, 1), (8, 2)] {
        let mut server = Server::new();
        server.queues.remove(&FAR.into());
        server.submit_panda(with(building("b", 1), &json!({"maxAttempt": 1})));
        server.steps();
        finish_builds(&mut server);
        let run = server.running_job();
        server.pass(Duration::from_secs(days * 24 * 3600));
        server.fail(&run, ErrorCode::LoopingJob);
        server.steps();
        let request = CommandRequest::Retry(RetryQualifiers::default(), Map::new());
        assert_eq!(server.command(1, request, &Caller::loopback()).0, 0);
        server.steps();
        assert_eq!(
            jobs_of(&server, JobKind::Build).len(),
            builds,
            "{days} days"
        );
        if builds == 2 {
            finish_builds(&mut server);
        }
        assert_eq!(taken(&mut server).len(), 1);
        server.steps();
        assert_eq!(server.task_status(1), ailurus_model::TaskStatus::Done);
    }
}

#[test]
fn a_build_whose_site_closes_is_given_up_for_another_site() {
    let mut server = Server::new();
    server.submit_panda(building("b", 2));
    server.steps();
    let first = jobs_of(&server, JobKind::Build)[0].queue.clone().unwrap();
    server.queue(first.as_str()).status = QueueStatus::Offline;
    server.broker();
    server.broker();
    let builds = jobs_of(&server, JobKind::Build);
    assert_eq!(builds[0].status, JobStatus::Closed, "{}", builds[0].reason);
    assert_eq!(builds.len(), 2);
    finish_builds(&mut server);
    assert_eq!(taken(&mut server).len(), 2);
}

#[test]
fn a_big_task_with_builds_is_made_step_by_step() {
    let mut server = Server::new();
    server.limits.tasks.jobs_per_step = 10;
    server.limits.tasks.jobs_per_library = 5;
    server.submit_panda(building("b", 35));
    for _ in 0..8 {
        server.run_again(step_tasks).unwrap();
    }
    assert_eq!(jobs_of(&server, JobKind::Run).len(), 35);
    let progress = server
        .ledger
        .task_progress(TaskId::new(1))
        .unwrap()
        .unwrap();
    let bound: u64 = progress.builds.iter().map(|build| build.n_jobs).sum();
    assert_eq!((progress.builds.len(), bound), (2, 35));
    assert_eq!(server.task(1).n_jobs, 37);
    finish_builds(&mut server);
    assert_eq!(taken(&mut server).len(), 35);
}
