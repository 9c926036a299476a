//! One state, one input, the expected effects.

use std::time::Duration;

use ailurus_model::{BatchId, HarvesterId, NodeName, Queue, queue::QueueStatus};

use super::*;
use crate::plan::Limits;

pub(super) fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

pub(super) fn queue_data(name: &str) -> Queue {
    Queue {
        site: "JINR".to_owned(),
        ..Queue::named(name)
    }
}

pub(super) fn settings(name: &str, limits: Limits) -> QueueSettings {
    QueueSettings {
        name: QueueName::new(name),
        limits,
        job_type: "managed".to_owned(),
        resource_type: "SCORE".to_owned(),
    }
}

const LIMITS: Limits = Limits {
    workers: 4,
    waiting: 3,
    new_per_cycle: 8,
};

/// A core with one queue `Q`, driven by an obedient world.
struct Stage {
    core: HarvesterCore,
    now: Timestamp,
}

impl Stage {
    fn with_jobs(activated: u32) -> Self {
        let mut stage = Self::resumed(Vec::new(), WorkerId::new(0));
        stage.give(Input::QueueRead(Box::new(queue_data("Q"))));
        stage.count_jobs(activated, 0);
        stage
    }

    fn resumed(workers: Vec<Worker>, last_id: WorkerId) -> Self {
        let config = Config::new(HarvesterId::new("h"));
        let queues = vec![settings("Q", LIMITS)];
        Self {
            core: HarvesterCore::resume(config, queues, workers, last_id, at(0)),
            now: at(0),
        }
    }

    fn give(&mut self, input: Input) -> Vec<Effect> {
        self.core.handle(self.now, input)
    }

    fn count_jobs(&mut self, activated: u32, with_pilots: u32) {
        let counts = JobCounts {
            activated,
            with_pilots,
        };
        self.give(Input::JobsCounted(BTreeMap::from([(
            QueueName::new("Q"),
            counts,
        )])));
    }

    fn wait(&mut self, secs: u64) {
        self.now = self.now.after(Duration::from_secs(secs));
    }

    /// Gives an input, records and accepts what it leads to, and returns all effects.
    fn run(&mut self, input: Input) -> Vec<Effect> {
        let mut all = Vec::new();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.give(input) {
                match &effect {
                    Effect::Record(worker) => inputs.push(Input::Recorded(worker.worker_id)),
                    Effect::Submit(worker) => inputs.push(accepted(worker.worker_id)),
                    Effect::Save(_)
                    | Effect::Retire(_)
                    | Effect::Query { .. }
                    | Effect::Cancel { .. }
                    | Effect::ReportWorkers(_)
                    | Effect::ReportStatistics(_)
                    | Effect::Show { .. } => {}
                }
                all.push(effect);
            }
        }
        all
    }

    fn observe(&mut self, observations: &[(u64, Observation)]) -> Vec<Effect> {
        let answer = observations
            .iter()
            .map(|(id, observation)| (WorkerId::new(*id), observation.clone()))
            .collect();
        let input = Input::Observed {
            queue: QueueName::new("Q"),
            asked: self.now,
            answer: Ok(answer),
        };
        self.run(input)
    }

    fn statuses(&self) -> Vec<WorkerStatus> {
        self.core
            .workers()
            .map(|worker| worker.worker().status)
            .collect()
    }
}

fn accepted(worker_id: WorkerId) -> Input {
    Input::SubmissionAnswered {
        worker_id,
        answer: SubmissionAnswer::Accepted(BatchId::new(format!("b{worker_id}"))),
    }
}

fn submitted(effects: &[Effect]) -> Vec<u64> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Submit(worker) => Some(worker.worker_id.value()),
            Effect::Record(_)
            | Effect::Save(_)
            | Effect::Retire(_)
            | Effect::Query { .. }
            | Effect::Cancel { .. }
            | Effect::ReportWorkers(_)
            | Effect::ReportStatistics(_)
            | Effect::Show { .. } => None,
        })
        .collect()
}

fn standing(effects: &[Effect]) -> Option<String> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Show { standing, .. } => Some(standing.to_string()),
        Effect::Record(_)
        | Effect::Submit(_)
        | Effect::Save(_)
        | Effect::Retire(_)
        | Effect::Query { .. }
        | Effect::Cancel { .. }
        | Effect::ReportWorkers(_)
        | Effect::ReportStatistics(_) => None,
    })
}

fn reported(effects: &[Effect]) -> Vec<(WorkerId, Revision)> {
    effects
        .iter()
        .flat_map(|effect| match effect {
            Effect::ReportWorkers(workers) => workers.as_slice(),
            Effect::Record(_)
            | Effect::Submit(_)
            | Effect::Save(_)
            | Effect::Retire(_)
            | Effect::Query { .. }
            | Effect::Cancel { .. }
            | Effect::ReportStatistics(_)
            | Effect::Show { .. } => &[],
        })
        .map(|(revision, worker)| (worker.worker_id, *revision))
        .collect()
}

fn running() -> Observation {
    Observation::Running {
        node: NodeName::default(),
    }
}

fn ended(exit_code: i64) -> Observation {
    Observation::Ended {
        exit_code: Some(exit_code),
        diag: String::new(),
    }
}

#[test]
fn a_worker_is_submitted_only_after_its_row_is_safe() {
    let mut stage = Stage::with_jobs(1);
    let effects = stage.give(Input::CycleDue);
    let [Effect::Show { .. }, Effect::Record(worker)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(worker.status, WorkerStatus::Pending);
    let effects = stage.give(Input::Recorded(worker.worker_id));
    assert_eq!(submitted(&effects), [1]);
    assert_eq!(
        stage.give(Input::Recorded(worker.worker_id)),
        [],
        "said twice"
    );
}

#[test]
fn a_worker_whose_row_cannot_be_written_is_not_submitted_and_pauses_the_queue() {
    let mut stage = Stage::with_jobs(1);
    stage.give(Input::CycleDue);
    let effects = stage.give(Input::RecordFailed {
        worker_id: WorkerId::new(1),
        reason: "disk full".to_owned(),
    });
    assert_eq!(
        standing(&effects).as_deref(),
        Some("no submission until 1970-01-01 00:00:10 UTC: worker 1 cannot be recorded: disk full")
    );
    assert!(stage.core.all_have_ended());
}

#[test]
fn workers_are_made_up_to_the_limit_on_waiting_ones() {
    let mut stage = Stage::with_jobs(100);
    let effects = stage.run(Input::CycleDue);
    assert_eq!(submitted(&effects), [1, 2, 3]);
    assert_eq!(
        standing(&effects).as_deref(),
        Some("at its limit of 3 waiting workers")
    );
}

#[test]
fn running_workers_count_against_the_limit_on_all() {
    let mut stage = Stage::with_jobs(100);
    stage.run(Input::CycleDue);
    let all_run = [(1, running()), (2, running()), (3, running())];
    stage.count_jobs(100, 3);
    let effects = stage.observe(&all_run);
    assert_eq!(submitted(&effects), [4]);
    assert_eq!(
        standing(&effects).as_deref(),
        Some("at its limit of 4 workers")
    );
}

#[test]
fn all_workers_of_a_queue_are_asked_about_at_once() {
    let mut stage = Stage::with_jobs(2);
    stage.run(Input::CycleDue);
    let effects = stage.give(Input::CycleDue);
    let [Effect::Query { workers, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(workers.len(), 2);
    assert_eq!(workers[0].batch_id, BatchId::new("b1"));
}

#[test]
fn the_first_refusal_stops_the_rest_of_the_cycle_and_shows_its_reason() {
    let mut stage = Stage::with_jobs(3);
    stage.give(Input::CycleDue);
    stage.give(Input::Recorded(WorkerId::new(1)));
    let refused = Input::SubmissionAnswered {
        worker_id: WorkerId::new(1),
        answer: SubmissionAnswer::Refused {
            reason: "queue full".to_owned(),
        },
    };
    let effects = stage.run(refused);
    assert_eq!(submitted(&effects), []);
    assert!(standing(&effects).is_some_and(|text| text.ends_with(": queue full")));
    assert_eq!(stage.statuses(), [WorkerStatus::Failed]);
    stage.wait(10);
    assert_eq!(submitted(&stage.run(Input::CycleDue)), [2, 3, 4]);
}

#[test]
fn a_submission_of_unknown_fate_counts_until_it_is_proven_gone() {
    let mut stage = Stage::with_jobs(1);
    stage.give(Input::CycleDue);
    stage.give(Input::Recorded(WorkerId::new(1)));
    stage.give(Input::SubmissionAnswered {
        worker_id: WorkerId::new(1),
        answer: SubmissionAnswer::Unknown {
            reason: "time-out".to_owned(),
        },
    });
    stage.wait(30);
    assert_eq!(
        submitted(&stage.observe(&[(1, Observation::Absent)])),
        [],
        "too early"
    );
    stage.wait(60);
    let effects = stage.observe(&[(1, Observation::Absent)]);
    assert_eq!(stage.statuses()[0], WorkerStatus::Missed);
    assert_eq!(submitted(&effects), [2]);
}

#[test]
fn recorded_workers_of_an_earlier_run_count_and_are_asked_about() {
    let mut stage = Stage::with_jobs(1);
    stage.run(Input::CycleDue);
    let rows: Vec<Worker> = stage
        .core
        .workers()
        .map(|worker| worker.worker().clone())
        .collect();
    let mut again = Stage::resumed(rows, WorkerId::new(7));
    again.give(Input::QueueRead(Box::new(queue_data("Q"))));
    again.count_jobs(2, 0);
    assert!(matches!(
        again.run(Input::CycleDue).as_slice(),
        [Effect::Query { .. }]
    ));
    assert_eq!(submitted(&again.observe(&[(1, Observation::Queued)])), [8]);
}

#[test]
fn an_ended_worker_is_reported_until_the_server_has_taken_it() {
    let mut stage = Stage::with_jobs(1);
    stage.run(Input::CycleDue);
    stage.count_jobs(0, 0);
    stage.observe(&[(1, ended(3))]);
    let first = reported(&stage.give(Input::ReportDue));
    let second = reported(&stage.give(Input::ReportDue));
    assert_eq!((first.len(), &first), (1, &second));
    assert_eq!(
        stage.give(Input::WorkersAcknowledged(first.clone())),
        [Effect::Retire(WorkerId::new(1))]
    );
    assert_eq!(reported(&stage.give(Input::ReportDue)), []);
    assert_eq!(
        stage.give(Input::WorkersAcknowledged(first)),
        [],
        "said twice"
    );
}

#[test]
fn a_live_worker_is_reported_on_change_and_once_in_a_while() {
    let mut stage = Stage::with_jobs(1);
    stage.run(Input::CycleDue);
    let first = reported(&stage.give(Input::ReportDue));
    stage.give(Input::WorkersAcknowledged(first));
    assert_eq!(reported(&stage.give(Input::ReportDue)), []);
    stage.observe(&[(1, running())]);
    let second = reported(&stage.give(Input::ReportDue));
    assert_eq!(second.len(), 1);
    stage.give(Input::WorkersAcknowledged(second));
    stage.wait(1800);
    assert_eq!(reported(&stage.give(Input::ReportDue)).len(), 1);
}

#[test]
fn statistics_are_sent_on_change_and_at_their_interval() {
    let mut stage = Stage::with_jobs(2);
    stage.run(Input::CycleDue);
    let count = |effects: Vec<Effect>| {
        let is_statistics = |effect: &&Effect| matches!(effect, Effect::ReportStatistics(_));
        effects.iter().filter(is_statistics).count()
    };
    assert_eq!(count(stage.give(Input::ReportDue)), 1);
    assert_eq!(count(stage.give(Input::ReportDue)), 0);
    stage.observe(&[(1, running())]);
    assert_eq!(count(stage.give(Input::ReportDue)), 1);
    stage.wait(300);
    assert_eq!(count(stage.give(Input::ReportDue)), 1);
}

#[test]
fn workers_that_end_at_once_without_work_reduce_the_new_ones() {
    let mut stage = Stage::with_jobs(100);
    let mut made = Vec::new();
    let mut effects = stage.run(Input::CycleDue);
    for _ in 0..4 {
        let new = submitted(&effects);
        made.push(new.len());
        stage.wait(1);
        let ends: Vec<(u64, Observation)> = new.iter().map(|id| (*id, ended(0))).collect();
        effects = stage.observe(&ends);
    }
    assert_eq!(made, [3, 3, 2, 1]);
    let text = standing(&effects).expect("paused");
    assert!(text.contains("workers end at once without work"), "{text}");
}

#[test]
fn workers_that_end_fast_after_work_are_welcome() {
    let mut stage = Stage::with_jobs(100);
    stage.run(Input::CycleDue);
    for _ in 0..5 {
        stage.count_jobs(100, 3);
        let ends: Vec<(u64, Observation)> = stage
            .core
            .workers()
            .filter(|worker| worker.is_alive())
            .map(|worker| (worker.worker().worker_id.value(), ended(0)))
            .collect();
        assert_eq!(submitted(&stage.observe(&ends)).len(), 3);
    }
}

#[test]
fn what_is_not_known_stops_submission_and_is_shown() {
    let mut stage = Stage::resumed(Vec::new(), WorkerId::new(0));
    let shown = |stage: &mut Stage| standing(&stage.run(Input::CycleDue)).unwrap_or_default();
    assert_eq!(shown(&mut stage), "the queue's data have not been read");
    let mut data = queue_data("Q");
    data.status = QueueStatus::Offline;
    stage.give(Input::QueueRead(Box::new(data)));
    assert_eq!(shown(&mut stage), "the queue is offline");
    stage.give(Input::QueueRead(Box::new(queue_data("Q"))));
    assert!(shown(&mut stage).contains("how many jobs"));
    stage.count_jobs(5, 0);
    stage.wait(600);
    assert_eq!(
        submitted(&stage.run(Input::CycleDue)),
        [],
        "counts are too old"
    );
    stage.count_jobs(1, 0);
    assert_eq!(
        shown(&mut stage),
        "every activated job has a worker on its way"
    );
}

#[test]
fn a_batch_system_that_cannot_be_asked_gets_no_new_workers() {
    let mut stage = Stage::with_jobs(100);
    stage.give(Input::CycleDue);
    stage.run(Input::Recorded(WorkerId::new(1)));
    let effects = stage.run(Input::Observed {
        queue: QueueName::new("Q"),
        asked: at(0),
        answer: Err("no route to host".to_owned()),
    });
    assert_eq!(submitted(&effects), []);
    assert!(standing(&effects).is_some_and(|text| text.ends_with("queried: no route to host")));
}

#[test]
fn a_stop_leaves_workers_and_a_cancel_repeats_until_they_are_gone() {
    let mut stage = Stage::with_jobs(2);
    stage.run(Input::CycleDue);
    assert_eq!(stage.give(Input::Stop), []);
    stage.count_jobs(100, 0);
    assert_eq!(submitted(&stage.observe(&[(1, Observation::Queued)])), []);
    for _ in 0..2 {
        let effects = stage.give(Input::CancelAll);
        assert!(matches!(&effects[0], Effect::Cancel { workers, .. } if workers.len() == 2));
    }
    stage.observe(&[
        (1, ended(143)),
        (
            2,
            Observation::Removed {
                diag: String::new(),
            },
        ),
    ]);
    assert_eq!(
        stage.statuses(),
        [WorkerStatus::Cancelled, WorkerStatus::Cancelled]
    );
    assert!(stage.core.all_have_ended());
}

#[test]
fn a_late_acceptance_of_a_worker_given_up_cancels_it() {
    let mut stage = Stage::with_jobs(1);
    stage.give(Input::CycleDue);
    stage.give(Input::Recorded(WorkerId::new(1)));
    stage.observe(&[(1, Observation::Absent)]);
    stage.wait(60);
    stage.observe(&[(1, Observation::Absent)]);
    let effects = stage.give(accepted(WorkerId::new(1)));
    assert!(matches!(effects.as_slice(), [Effect::Cancel { .. }]));
}

#[test]
fn words_about_strangers_change_nothing() {
    let mut stage = Stage::with_jobs(0);
    let stranger = WorkerId::new(99);
    assert_eq!(stage.give(accepted(stranger)), []);
    assert_eq!(stage.give(Input::Recorded(stranger)), []);
    stage.run(Input::CycleDue);
    assert_eq!(stage.observe(&[(99, running())]), []);
}

#[test]
fn a_failed_query_takes_the_proof_from_an_absence() {
    let mut stage = Stage::with_jobs(1);
    stage.give(Input::CycleDue);
    stage.give(Input::Recorded(WorkerId::new(1)));
    stage.give(accepted(WorkerId::new(1)));
    stage.observe(&[(1, Observation::Absent)]);
    stage.wait(30);
    stage.give(Input::Observed {
        queue: QueueName::new("Q"),
        asked: stage.now,
        answer: Err("no answer".to_owned()),
    });
    stage.wait(30);
    stage.observe(&[(1, Observation::Absent)]);
    assert_eq!(stage.statuses(), [WorkerStatus::Submitted]);
}
