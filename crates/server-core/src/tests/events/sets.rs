//! Several jobs that take from one set of ranges side by side.

use ailurus_model::QueueName;

use super::*;

/// A task whose jobs of six events share them with others, two events in a range.
fn shared(name: &str, n: u32, n_consumers: u32) -> serde_json::Value {
    with(
        task(name, n),
        &json!({"nEsConsumers": n_consumers, "nSitesPerJob": 2}),
    )
}

impl Server {
    /// A task of one part that so many jobs do, all of which run.
    fn shared_by(n_consumers: u32) -> (Self, Vec<Job>) {
        let mut server = Self::new();
        let reply = server.submit_panda(shared("es", 6, n_consumers));
        assert_eq!(reply.code, 0, "{}", reply.message);
        server.steps();
        let jobs = (0..n_consumers).map(|_| server.running_job()).collect();
        assert!(server.next_job().is_none());
        (server, jobs)
    }

    fn kind_and_status(&self, id: PandaId) -> (JobKind, JobStatus) {
        let job = self.job(id.value());
        (job.kind, job.status)
    }
}

#[test]
fn jobs_of_one_set_take_different_ranges_and_one_of_them_merges() {
    let (mut server, jobs) = Server::shared_by(3);
    let kinds = jobs.iter().map(|job| server.job(job.panda_id.value()).kind);
    let kinds: Vec<JobKind> = kinds.collect();
    assert_eq!(kinds, [JobKind::Run, JobKind::Consumer, JobKind::Consumer]);
    let queues: std::collections::BTreeSet<QueueName> = jobs
        .iter()
        .filter_map(|job| server.job(job.panda_id.value()).queue.clone())
        .collect();
    assert_eq!(queues.len(), 2);
    let mut events = Vec::new();
    for job in &jobs {
        assert!(job.options.is_event_service);
        let ranges = server.ranges(job, 1);
        assert_eq!(ranges[0].id.panda_id, job.panda_id);
        events.push(ranges[0].first_event);
        server.report(&ranges, EventOutcome::Finished);
    }
    assert_eq!(events, [1, 3, 5]);
    assert_eq!(
        count_event_ranges(&server.ledger, jobs[1].panda_id, None).unwrap(),
        0
    );
    let own = event_range_states(&server.ledger, jobs[1].panda_id, jobs[1].task_id).unwrap();
    assert_eq!(own.len(), 1, "those of the others are not told");
    // Those that have nothing left wait for the last one.
    for job in &jobs[..2] {
        server.finish(job);
        let row = server.job(job.panda_id.value());
        assert_eq!(
            (row.status, row.sub_status.as_str()),
            (JobStatus::Pending, "es_wait")
        );
    }
    assert!(server.next_job().is_none());
    server.finish(&jobs[2]);
    let merge = server.running_job();
    assert_eq!(merge.panda_id, jobs[0].panda_id);
    assert!(merge.options.is_event_service_merge);
    let inputs: Vec<String> = merge
        .inputs
        .iter()
        .map(|file| file.lfn.to_string())
        .collect();
    for (job, input) in jobs.iter().zip(&inputs) {
        let name = &job.outputs[0].lfn;
        assert!(
            input.starts_with(&format!("{name}.1-{}-", job.panda_id)),
            "{input}"
        );
    }
    server.finish(&merge);
    for (job, kind) in jobs.iter().zip(kinds) {
        assert_eq!(
            server.kind_and_status(job.panda_id),
            (kind, JobStatus::Finished)
        );
    }
    assert_eq!(server.ledger.files().count(), 1);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn one_without_ranges_is_closed_unused_and_one_that_waits_rests() {
    let mut server = Server::new();
    server.submit_panda(shared("es", 6, 3));
    server.steps();
    let leader = server.running_job();
    let idle = server.running_job();
    let ranges = server.ranges(&leader, 3);
    assert_eq!(ranges.len(), 3);
    assert!(server.ranges(&idle, 1).is_empty());
    assert!(server.next_job().is_none(), "the third one rests");
    assert_eq!(server.job(3).sub_status, "es_wait");
    server.report(&ranges, EventOutcome::Finished);
    server.finish(&leader);
    let merge = server.running_job();
    assert_eq!(merge.panda_id, leader.panda_id);
    server.finish(&merge);
    for (id, code) in [(2, 116), (3, 116)] {
        let job = server.job(id);
        assert_eq!((job.status, job.server_code), (JobStatus::Closed, code));
        assert_eq!(job.sub_status, "es_unused");
    }
    // The pilot that still runs learns it.
    let answer = server.update(&idle, JobStatus::Running);
    assert!(
        answer
            .commands
            .contains(&ailurus_model::Command::ToBeKilled)
    );
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn what_a_dead_consumer_leaves_is_taken_by_one_that_rests() {
    let (mut server, jobs) = Server::shared_by(2);
    let [leader, consumer] = &jobs[..] else {
        panic!("two jobs");
    };
    let own = server.ranges(leader, 1);
    let others = server.ranges(consumer, 2);
    server.report(&own, EventOutcome::Finished);
    server.finish(leader);
    // The last attempt of the consumer is lost.
    let mut row = server.job(consumer.panda_id.value());
    row.max_attempts = 1;
    server.ledger.put_job(&row).unwrap();
    server.report(&others[..1], EventOutcome::Finished);
    server.fail(consumer, ErrorCode::PayloadExecutionFailure);
    assert_eq!(server.job(2).sub_status, "es_wait");
    let again = server.running_job();
    assert_eq!(
        (again.panda_id, again.attempt_nr.value()),
        (leader.panda_id, 2)
    );
    let rest = server.ranges(&again, 9);
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].first_event, others[1].first_event);
    // What the dead one still says is not taken.
    let late = message(&others[1..], EventOutcome::Finished);
    let answers = server.tell(&late, EventVersion::AfterDispatch);
    assert_eq!(answers.returns, [Some(false)]);
    server.report(&rest, EventOutcome::Finished);
    server.finish(&again);
    work(&mut server);
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn a_consumer_cannot_report_on_ranges_of_another() {
    let (mut server, jobs) = Server::shared_by(2);
    let mut theirs = server.ranges(&jobs[0], 1);
    theirs[0].id.panda_id = jobs[1].panda_id;
    let returns = server.report(&theirs, EventOutcome::Finished);
    assert_eq!(returns, [Some(false)]);
    assert_eq!(server.range_statuses(jobs[0].panda_id)[0], "sent");
}

#[test]
fn all_of_a_set_end_with_the_one_that_is_killed_and_a_retry_brings_new_ones() {
    let (mut server, jobs) = Server::shared_by(2);
    server.ranges(&jobs[1], 1);
    assert!(server.kill_as(&Caller::loopback(), jobs[1].panda_id, KillCode::Force));
    assert_eq!(
        server.range_statuses(jobs[0].panda_id),
        ["cancelled", "cancelled", "cancelled"]
    );
    for job in &jobs {
        assert_eq!(server.status(job.panda_id.value()), JobStatus::Cancelled);
    }
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Failed);
    server.retry_task(1).unwrap();
    server.steps();
    let again: Vec<Job> = (0..2).map(|_| server.running_job()).collect();
    assert_eq!(again[0].panda_id, jobs[0].panda_id);
    assert_eq!(again[1].panda_id, PandaId::new(3), "a new one");
    for job in &again {
        let ranges = server.ranges(job, 2);
        server.report(&ranges, EventOutcome::Finished);
        server.finish(job);
    }
    work(&mut server);
    assert_eq!(server.task_status(1), TaskStatus::Done);
    assert_eq!(
        server.status(2),
        JobStatus::Cancelled,
        "it stays as it ended"
    );
}

#[test]
fn one_that_was_told_to_end_is_cancelled_although_the_others_go_on() {
    let (mut server, jobs) = Server::shared_by(2);
    let ranges = server.ranges(&jobs[0], 3);
    assert!(server.kill_as(&Caller::loopback(), jobs[1].panda_id, KillCode::User));
    server.report(&ranges, EventOutcome::Finished);
    server.finish(&jobs[0]);
    let merge = server.running_job();
    server.finish(&merge);
    let ends = [1, 2].map(|id| server.status(id));
    assert_eq!(ends, [JobStatus::Finished, JobStatus::Cancelled]);
}

#[test]
fn a_merge_that_is_tried_again_merges_alone() {
    let (mut server, jobs) = Server::shared_by(2);
    for job in &jobs {
        let ranges = server.ranges(job, 2);
        server.report(&ranges, EventOutcome::Finished);
        server.finish(job);
    }
    server.fail_for_good(1);
    let ends = [1, 2].map(|id| server.status(id));
    assert_eq!(ends, [JobStatus::Failed; 2]);
    server.steps();
    server.retry_task(1).unwrap();
    server.steps();
    assert_eq!(server.ledger.jobs().count(), 2);
    let merge = server.running_job();
    assert!(merge.options.is_event_service_merge);
    server.finish(&merge);
    server.steps();
    assert_eq!(server.task_status(1), TaskStatus::Done);
}

#[test]
fn a_set_fails_once_nobody_may_take_what_is_left() {
    let (mut server, jobs) = Server::shared_by(2);
    for job in &jobs {
        let mut row = server.job(job.panda_id.value());
        row.max_attempts = 1;
        server.ledger.put_job(&row).unwrap();
    }
    server.ranges(&jobs[0], 1);
    server.fail(&jobs[0], ErrorCode::PayloadExecutionFailure);
    assert_eq!(
        server.job(1).sub_status,
        "es_wait",
        "the other one may take it"
    );
    server.fail(&jobs[1], ErrorCode::PayloadExecutionFailure);
    let ends: Vec<(JobStatus, u32)> = (1..=2)
        .map(|id| (server.job(id).status, server.job(id).server_code))
        .collect();
    assert_eq!(ends, [(JobStatus::Failed, 118), (JobStatus::Failed, 121)]);
}

#[test]
fn the_number_of_consumers_is_bounded() {
    let mut server = Server::new();
    let reply = server.submit_panda(shared("es", 6, 101));
    server.steps();
    let id = reply.task.expect("it is taken");
    assert_eq!(server.task_status(id.value()), TaskStatus::Broken);
    let progress = server.ledger.task_progress(id).unwrap().unwrap();
    assert!(
        progress.message.contains("nEsConsumers"),
        "{}",
        progress.message
    );
}

#[test]
fn jobs_that_share_events_go_with_their_mixture_as_others_do() {
    let mut server = Server::new();
    server.submit_panda(generation("pileup", 2));
    server.submit_panda(generation("gen", 4));
    work(&mut server);
    let mut params = reading(
        "mix",
        "gen.hits",
        &json!({
            "nFilesPerJob": 1, "nEventsPerFile": 4, "nEventsPerWorker": 2, "nEsConsumers": 2,
            "esmergeSpec": {"transPath": "merge.sh", "jobParameters": "x"},
        }),
    );
    params["jobParameters"].as_array_mut().unwrap().push(json!(
        {"type": "template", "param_type": "input", "dataset": "pileup.hits",
         "value": "-m \"${MB/L}\"", "attributes": "nosplit", "ratio": 1}
    ));
    server.submit_panda(params);
    server.steps();
    let jobs: Vec<_> = server
        .ledger
        .jobs()
        .filter(|job| job.task_id.value() == 3)
        .collect();
    assert_eq!(jobs.len(), 8);
    let first = jobs.iter().map(|job| job.panda_id).min().unwrap();
    let queues: std::collections::BTreeSet<_> = jobs.iter().map(|job| &job.queue).collect();
    assert_eq!(queues.len(), 1, "all where the sample is: {jobs:?}");
    assert!(jobs.iter().all(|job| job.turn == first), "{jobs:?}");
    work(&mut server);
    assert_eq!(server.task_status(3), TaskStatus::Done);
}
