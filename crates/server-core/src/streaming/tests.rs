//! Numbers of workers, against PanDA's rules worked out by hand.

use super::*;
use crate::tests::harness::queue;

fn streamed() -> Queue {
    let mut queue = queue("STREAM");
    queue.core_count = 8;
    let terms = &mut queue.options.terms;
    terms.capability = "ucore".to_owned();
    terms.workflow = "pull_ups".to_owned();
    terms.harvester = "h1".to_owned();
    queue
}

fn numbers(waiting: u64, running: u64) -> WorkerNumbers {
    WorkerNumbers { waiting, running }
}

fn asked(queue: &Queue, state: &StreamingState<'_>) -> Vec<(String, u64)> {
    new_workers(&StreamingRules::default(), queue, state)
        .into_iter()
        .collect()
}

fn owned(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
    rows.iter()
        .map(|(class, n)| ((*class).to_owned(), *n))
        .collect()
}

#[test]
fn only_queues_that_say_so_are_streamed() {
    let mut queue = streamed();
    assert!(is_streamed(&queue));
    queue.options.terms.workflow = "pull".to_owned();
    assert!(!is_streamed(&queue));
}

#[test]
fn one_worker_keeps_an_idle_queue_alive() {
    let state = StreamingState::default();
    assert_eq!(asked(&streamed(), &state), owned(&[("SCORE", 1)]));
    let state = StreamingState {
        workers: BTreeMap::from([("MCORE", numbers(50, 0))]),
        jobs: vec![("MCORE", 10)],
        ..StreamingState::default()
    };
    assert_eq!(asked(&streamed(), &state), owned(&[("SCORE", 1)]));
}

#[test]
fn seventy_five_slots_are_wanted_where_little_runs() {
    let state = StreamingState {
        jobs: vec![("MCORE", 10_000)],
        ..StreamingState::default()
    };
    // 600 cores in slots of 8, and PanDA's one more.
    assert_eq!(asked(&streamed(), &state), owned(&[("MCORE", 76)]));
}

#[test]
fn waiting_workers_are_not_asked_for_again() {
    let state = StreamingState {
        workers: BTreeMap::from([("MCORE", numbers(70, 0))]),
        jobs: vec![("MCORE", 10_000)],
        ..StreamingState::default()
    };
    // 40 cores are left; the job of the last waiting worker is counted among them.
    assert_eq!(asked(&streamed(), &state), owned(&[("MCORE", 5)]));
}

#[test]
fn two_fifths_of_what_runs_should_wait() {
    let state = StreamingState {
        workers: BTreeMap::from([("MCORE", numbers(0, 500))]),
        jobs: vec![("MCORE", 10_000)],
        ..StreamingState::default()
    };
    // 4000 cores run, so 1600 should wait.
    assert_eq!(asked(&streamed(), &state), owned(&[("MCORE", 201)]));
    let mut target = streamed();
    target.options.terms.streaming_cores = 8000;
    assert_eq!(asked(&target, &state), owned(&[("MCORE", 401)]));
    target.status = QueueStatus::Test;
    assert_eq!(asked(&target, &state), owned(&[("MCORE", 201)]));
}

#[test]
fn jobs_are_served_in_the_order_of_need() {
    let state = StreamingState {
        jobs: vec![("SCORE", 100), ("MCORE", 10), ("SCORE", 10_000)],
        ..StreamingState::default()
    };
    // 600 cores: 100, then 80, then 420 more.
    assert_eq!(
        asked(&streamed(), &state),
        owned(&[("MCORE", 11), ("SCORE", 521)])
    );
}

#[test]
fn classes_have_limits_in_workers_and_much_memory_in_cores() {
    let mut queue = streamed();
    queue.options.terms.worker_limits =
        BTreeMap::from([("SCORE".to_owned(), 5), ("HIMEM".to_owned(), 16)]);
    let state = StreamingState {
        workers: BTreeMap::from([("SCORE", numbers(0, 5)), ("MCORE_HIMEM", numbers(0, 2))]),
        jobs: vec![
            ("SCORE", 10),
            ("SCORE_HIMEM", 10),
            ("MCORE_HIMEM", 10),
            ("MCORE", 3),
        ],
        ..StreamingState::default()
    };
    assert_eq!(asked(&queue, &state), owned(&[("MCORE", 4)]));
}

#[test]
fn no_large_jobs_are_fetched_while_the_mean_is_too_high() {
    let mut queue = streamed();
    queue.options.terms.memory_mean = ByteCount::from_mib(2000);
    let mut state = StreamingState {
        jobs: vec![("SCORE_HIMEM", 10), ("SCORE", 3)],
        memory_mean: Some(ByteCount::from_mib(2001)),
        ..StreamingState::default()
    };
    assert_eq!(asked(&queue, &state), owned(&[("SCORE", 4)]));
    state.memory_mean = Some(ByteCount::from_mib(2000));
    assert_eq!(
        asked(&queue, &state),
        owned(&[("SCORE", 4), ("SCORE_HIMEM", 11)])
    );
}
