//! Sentences about jobs and tasks, and what would change what they say.

use std::time::Duration;

use ailurus_brokerage::Policy;
use ailurus_model::{
    ByteCount, ErrorCode, JobStatus, PandaId, TaskId, TaskStatus, queue::QueueStatus,
};

use super::harness::{FAR, FILE_BY_FILE, NEAR, Server, generation, reading};
use crate::{Explanation, Ledger, explain_job, explain_task};

impl Server {
    fn explain_job(&mut self, id: u64) -> Explanation {
        self.run(|ctx, ledger| explain_job(ctx, ledger, PandaId::new(id)))
            .unwrap()
            .expect("a job")
    }

    fn explain_task(&mut self, id: u64) -> Explanation {
        self.run(|ctx, ledger| explain_task(ctx, ledger, TaskId::new(id)))
            .unwrap()
            .expect("a task")
    }
}

#[test]
fn a_job_that_fits_nowhere_says_what_would_fit() {
    let mut server = Server::new();
    server.queue(NEAR).memory = ByteCount::from_gib(8);
    server.queue(FAR).memory = ByteCount::from_gib(4);
    let mut large = generation(1);
    large.resources.memory = ByteCount::from_gib(16);
    server.submit([large]);
    let explained = server.explain_job(1);
    assert_eq!(
        explained.sentence,
        "waits: none of 2 queues can run it: `JINR_NEAR` has slots of 8 GiB memory, the job needs \
         16 GiB, `SPBU_FAR` has slots of 4 GiB memory, the job needs 16 GiB; it could run with \
         memory ≤ 8 GiB: `JINR_NEAR`"
    );
    assert_eq!(explained.would_run, None);
    assert_eq!(explained.queues.len(), 2);
    assert!(explained.queues.iter().all(|it| it.filter == "memory"));
}

#[test]
fn a_job_whose_queues_are_full_says_where_it_runs_next() {
    let mut server = Server::new();
    let text = include_str!("../../../../profiles/brokerage.toml").replace(
        "    { is = \"banned\", if_others_remain = true },\n    { is = \"task-failures\"",
        "    { is = \"queue-cap\", least = 1, per_running = 2.0 },\n    { is = \"task-failures\"",
    );
    server.scheduling.policy = Policy::parse(&text).unwrap();
    server.submit([generation(5)]);
    let explained = server.explain_job(5);
    assert!(
        explained.sentence.starts_with(
            "waits: all 2 queues that could run it do not take it now: `JINR_NEAR` is full for \
             share `Undefined`: 2 of 1 wait while 0 run"
        ),
        "{}",
        explained.sentence
    );
    assert!(explained.sentence.contains("would run at `JINR_NEAR` next"));
}

#[test]
fn a_job_that_waits_for_inputs_names_the_task_that_writes_them() {
    let mut server = Server::with([generation(2), reading("gen", "sim", FILE_BY_FILE)]);
    let first = server.running_job();
    server.finish(&first);
    let explained = server.explain_job(4);
    assert_eq!(
        explained.sentence,
        "waits: 1 input file is not there yet, the first is part 1 of dataset `spd.gen`, from task \
         1 `gen`, which is running with 1 of 2 jobs finished"
    );
    assert_eq!(explained.changes, ["see `ailurus task explain 1`"]);
}

#[test]
fn a_job_at_a_queue_says_whether_pilots_come() {
    let mut server = Server::new();
    server.queues.remove(&FAR.into());
    server.submit([generation(2)]);
    server.pass(Duration::from_secs(600));
    let sentence = |server: &mut Server| server.explain_job(2).sentence;
    assert_eq!(
        sentence(&mut server),
        "waits at `JINR_NEAR` for a pilot since 10m: no pilot was ever seen at `JINR_NEAR`"
    );
    let job = server.running_job();
    assert!(sentence(&mut server).ends_with("is full: 1 jobs wait there while 1 run"));
    server.finish(&job);
    server.pass(Duration::from_secs(4 * 3600));
    assert!(
        sentence(&mut server).ends_with("no pilot was seen at `JINR_NEAR` for 4h 10m")
            || sentence(&mut server).ends_with("no pilot was seen at `JINR_NEAR` for 4h")
    );
    server.queue(NEAR).status = QueueStatus::Offline;
    assert!(sentence(&mut server).ends_with("`JINR_NEAR` is offline, it gives no jobs out"));
    server.broker();
    let explained = server.explain_job(2);
    assert!(
        explained
            .changes
            .iter()
            .any(|it| it == "it could run if `JINR_NEAR` was online")
    );
}

#[test]
fn less_demand_is_proposed_where_another_queue_is_free() {
    let mut server = Server::new();
    server.queue(FAR).memory = ByteCount::from_gib(8);
    let mut large = generation(3);
    large.resources.memory = ByteCount::from_gib(16);
    server.submit([large]);
    server.running_job();
    assert!(server.acquire(FAR).is_empty(), "a pilot was seen there");
    let explained = server.explain_job(3);
    assert_eq!(
        explained.changes,
        ["it would start sooner with memory ≤ 8 GiB: `SPBU_FAR`, where nothing waits"]
    );
}

#[test]
fn jobs_that_run_and_that_ended_say_so() {
    let mut server = Server::new();
    server.queues.remove(&FAR.into());
    server.submit([generation(2)]);
    let job = server.running_job();
    assert_eq!(
        server.explain_job(1).sentence,
        "runs at `JINR_NEAR` on node `slot1@node7` since 0s, attempt 1 of 3"
    );
    server.finish(&job);
    assert_eq!(
        server.explain_job(1).sentence,
        "finished at `JINR_NEAR` with attempt 1"
    );
    let mut job = server.running_job();
    loop {
        server.fail(&job, ErrorCode::StageInFailed);
        if server.status(2) == JobStatus::Failed {
            break;
        }
        job = server.running_job();
    }
    let explained = server.explain_job(2);
    assert!(
        explained
            .sentence
            .starts_with("failed at `JINR_NEAR`, and all of its 3 attempts are used up: attempt 3"),
        "{}",
        explained.sentence
    );
    assert_eq!(
        explained.changes,
        ["`ailurus task retry 1` gives it further attempts"]
    );
}

#[test]
fn a_task_says_what_holds_it() {
    let mut server = Server::with([generation(2)]);
    let explained = server.explain_task(1);
    assert!(
        explained
            .sentence
            .starts_with("is ready, jobs: 2 activated; job 1 waits at"),
        "{}",
        explained.sentence
    );
    let mut task = server.task(1);
    for (status, expected) in [
        (TaskStatus::Paused, "is paused by a person"),
        (TaskStatus::Throttled, "is throttled"),
        (TaskStatus::Exhausted, "needs a person's decision"),
        (TaskStatus::Scouting, "waits for its scouts"),
        (TaskStatus::Pending, "waits, no jobs can be made now"),
    ] {
        task.status = status;
        server.ledger.put_task(&task).unwrap();
        let sentence = server
            .look(|ctx, ledger| explain_task(ctx, ledger, TaskId::new(1)))
            .unwrap()
            .unwrap()
            .sentence;
        assert!(sentence.starts_with(expected), "{sentence}");
    }
}

#[test]
fn what_is_not_known_is_not_explained() {
    let mut server = Server::new();
    let job = server.run(|ctx, ledger| explain_job(ctx, ledger, PandaId::new(9)));
    assert_eq!(job.unwrap(), None);
    let task = server.run(|ctx, ledger| explain_task(ctx, ledger, TaskId::new(9)));
    assert_eq!(task.unwrap(), None);
}
