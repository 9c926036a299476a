//! The moves of a worker, and what each observation makes of it.

use ailurus_model::{HarvesterId, QueueName, WorkerId};

use super::*;

const LOST_AFTER: Duration = Duration::from_secs(60);

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn tracked(status: WorkerStatus) -> TrackedWorker {
    let worker = Worker {
        harvester_id: HarvesterId::new("h"),
        worker_id: WorkerId::new(1),
        batch_id: BatchId::default(),
        queue: QueueName::new("Q"),
        status,
        resource_type: "ANY".to_owned(),
        job_type: "ANY".to_owned(),
        core_count: 1,
        node: NodeName::default(),
        submit_time: Some(at(0)),
        start_time: None,
        end_time: None,
        exit_code: None,
        diag: String::new(),
        panda_ids: Vec::new(),
        detail: ailurus_model::WorkerDetail::of_sure_end(),
    };
    TrackedWorker::recorded(worker, at(0))
}

/// The whole table, one line a status: which statuses it may become.
#[test]
fn worker_moves_are_exactly_these() {
    use WorkerStatus::*;
    let ends = [Finished, Failed, Cancelled, Missed];
    let table: &[(WorkerStatus, &[WorkerStatus])] = &[
        (Pending, &[Submitted, Running, Idle]),
        (Submitted, &[Running, Idle]),
        (Running, &[Idle]),
        (Idle, &[Running]),
    ];
    for from in WorkerStatus::ALL {
        let row = table.iter().find(|(status, _)| status == from);
        for to in WorkerStatus::ALL {
            let expected =
                row.is_some_and(|(_, targets)| targets.contains(to) || ends.contains(to));
            assert_eq!(may_move(*from, *to), expected, "{from} to {to}");
        }
    }
}

#[test]
fn a_worker_that_ran_does_not_go_back_to_submitted() {
    let mut worker = tracked(WorkerStatus::Running);
    assert!(!worker.observe(&Observation::Queued, at(5), at(5), LOST_AFTER));
    assert_eq!(worker.worker().status, WorkerStatus::Running);
}

#[test]
fn start_and_end_are_noted_once_with_node_and_exit_code() {
    let mut worker = tracked(WorkerStatus::Submitted);
    let running = Observation::Running {
        node: NodeName::new("n1"),
    };
    assert!(worker.observe(&running, at(5), at(5), LOST_AFTER));
    assert!(!worker.observe(&running, at(9), at(9), LOST_AFTER));
    let ended = Observation::Ended {
        exit_code: Some(3),
        diag: "x".repeat(600),
    };
    assert!(worker.observe(&ended, at(20), at(20), LOST_AFTER));
    let facts = worker.worker();
    assert_eq!(facts.status, WorkerStatus::Failed);
    assert_eq!(
        (facts.start_time, facts.end_time),
        (Some(at(5)), Some(at(20)))
    );
    assert_eq!((facts.node.as_str(), facts.exit_code), ("n1", Some(3)));
    assert_eq!(facts.diag.len(), MAX_DIAG_CHARS);
    assert_eq!(worker.run_time(), Some(Duration::from_secs(15)));
}

#[test]
fn absence_is_believed_only_once_it_lasted() {
    let mut worker = tracked(WorkerStatus::Pending);
    assert!(!worker.observe(&Observation::Absent, at(1), at(500), LOST_AFTER));
    worker.observe(&Observation::Queued, at(30), at(30), LOST_AFTER);
    // The first such answer after a long silence of the batch system is no proof.
    assert!(!worker.observe(&Observation::Absent, at(800), at(800), LOST_AFTER));
    // Nor are two of them with a gap between.
    assert!(!worker.observe(&Observation::Unknown, at(850), at(850), LOST_AFTER));
    assert!(!worker.observe(&Observation::Absent, at(870), at(870), LOST_AFTER));
    assert!(!worker.observe(&Observation::Absent, at(929), at(929), LOST_AFTER));
    assert!(worker.observe(&Observation::Absent, at(930), at(930), LOST_AFTER));
    assert_eq!(worker.worker().status, WorkerStatus::Missed);
}

#[test]
fn an_end_that_was_asked_for_is_a_cancellation() {
    let mut worker = tracked(WorkerStatus::Running);
    worker.mark_unwanted();
    let ended = Observation::Ended {
        exit_code: Some(0),
        diag: String::new(),
    };
    worker.observe(&ended, at(5), at(5), LOST_AFTER);
    assert_eq!(worker.worker().status, WorkerStatus::Cancelled);
}

#[test]
fn a_refusal_after_the_worker_was_seen_is_not_believed() {
    let mut worker = tracked(WorkerStatus::Pending);
    worker.observe(&Observation::Queued, at(5), at(5), LOST_AFTER);
    assert!(!worker.refuse(at(6), "too late"));
    assert!(worker.is_alive());
}

#[test]
fn an_acknowledgement_of_an_older_version_leaves_the_newer_one_due() {
    let mut worker = tracked(WorkerStatus::Pending);
    let old = worker.revision();
    worker.accept(at(1), &BatchId::new("7"));
    worker.acknowledge(old);
    assert!(!worker.is_acknowledged());
    worker.acknowledge(worker.revision());
    worker.acknowledge(old);
    assert!(worker.is_acknowledged());
}
