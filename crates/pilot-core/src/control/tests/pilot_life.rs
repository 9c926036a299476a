//! The pilot around its jobs: start, requests, refusals, the way out.

use std::time::Duration;

use ailurus_model::{
    AttemptNr, ByteCount, ErrorCode, HarvesterId, JobStatus, PandaId, WorkerId, queue::QueueStatus,
};

use super::bench::{Bench, code, problem, roomy, stored};
use crate::{
    Effect, Input, JobInput, Problem,
    control::testing::{config, job, site},
    input::{AcquireFailure, Offer, RefusedJob},
    recovery::PayloadExit,
    resource::NodeFacts,
};

#[test]
fn a_pilot_loads_measures_and_asks() {
    let mut bench = Bench::new(config());
    bench.give(Input::Started);
    assert_eq!(bench.words(), ["load-site"]);
    bench.give(Input::SiteLoaded(Ok(Box::new(site()))));
    assert_eq!(bench.words(), ["measure"]);
    bench.give(Input::NodeMeasured(roomy()));
    assert_eq!(bench.words(), ["ask"]);
}

#[test]
fn what_a_pilot_cannot_start_with_is_its_exit_code() {
    let mut bench = Bench::new(config());
    bench.give(Input::Started);
    bench.give(Input::SiteLoaded(problem(ErrorCode::QueueDataNotOk)));
    assert_eq!(bench.words(), ["load-site", "exit 72"]);

    let mut offline = site();
    offline.queue.status = QueueStatus::Offline;
    let mut bench = Bench::new(config());
    bench.give(Input::Started);
    bench.give(Input::SiteLoaded(Ok(Box::new(offline))));
    assert_eq!(bench.words(), ["load-site", "exit 83"]);

    let mut bench = Bench::new(config());
    bench.give(Input::Started);
    bench.give(Input::SiteLoaded(Ok(Box::new(site()))));
    bench.give(Input::NodeMeasured(NodeFacts {
        free_space: ByteCount::from_mib(1),
        ..roomy()
    }));
    assert_eq!(bench.words(), ["load-site", "measure", "exit 69"]);
}

#[test]
fn a_server_that_is_away_at_the_start_is_asked_for_the_queue_again() {
    let mut bench = Bench::new(config());
    bench.give(Input::Started);
    for _ in 1..6 {
        bench.give(Input::SiteLoaded(problem(ErrorCode::QueueData)));
        assert_eq!(bench.words(), ["load-site"]);
        bench.pass_secs(20);
    }
    bench.give(Input::SiteLoaded(problem(ErrorCode::QueueData)));
    assert_eq!(bench.words(), ["load-site", "exit 71"]);
}

#[test]
fn a_signal_ends_the_wait_for_the_queue_data() {
    let mut bench = Bench::new(config());
    bench.give(Input::Started);
    bench.give(Input::SiteLoaded(problem(ErrorCode::QueueData)));
    bench.give(Input::StopRequested(15));
    assert_eq!(bench.words(), ["load-site", "exit 143"]);
}

#[test]
fn the_pilot_leaves_after_the_last_request_without_a_job() {
    let mut bench = Bench::asking(config(), site());
    bench.no_job();
    bench.pass_secs(59);
    assert!(bench.words().is_empty());
    bench.pass_secs(1);
    assert_eq!(bench.words(), ["measure"]);
    bench.give(Input::NodeMeasured(roomy()));
    bench.no_job();
    assert_eq!(bench.words(), ["ask", "exit 0"]);
}

fn no_answer() -> Input {
    Input::AcquireFailed(AcquireFailure::NoAnswer("reset".into()))
}

fn not_allowed() -> Input {
    Input::AcquireFailed(AcquireFailure::NotAllowed("no role".into()))
}

#[test]
fn a_server_that_never_answers_is_the_exit_code() {
    let mut config = config();
    config.job_failures_max = 2;
    let mut bench = Bench::asking(config, site());
    bench.give(no_answer());
    bench.pass_secs(60);
    bench.give(Input::NodeMeasured(roomy()));
    bench.give(no_answer());
    assert_eq!(bench.words(), ["measure", "ask", "exit 79"]);
}

#[test]
fn credentials_that_the_server_does_not_take_are_the_exit_code_after_as_many_requests_as_no_jobs() {
    let mut bench = Bench::asking(config(), site());
    bench.give(not_allowed());
    bench.pass_secs(60);
    bench.give(Input::NodeMeasured(roomy()));
    bench.give(not_allowed());
    assert_eq!(bench.words(), ["measure", "ask", "exit 68"]);
    // After an answer the pilot has done what it could.
    let mut bench = Bench::asking(config(), site());
    bench.no_job();
    bench.pass_secs(60);
    bench.give(Input::NodeMeasured(roomy()));
    bench.give(not_allowed());
    assert_eq!(bench.words(), ["measure", "ask", "exit 0"]);
}

#[test]
fn a_job_that_cannot_be_understood_is_reported_as_failed() {
    let mut bench = Bench::asking(config(), site());
    let refused = RefusedJob {
        panda_id: PandaId::new(9),
        attempt_nr: Some(AttemptNr::new(3)),
        problem: Problem::new(ErrorCode::ConversionFailure, "`attemptNr`"),
    };
    bench.give(Input::JobsOffered(Offer {
        jobs: Vec::new(),
        refused: vec![refused],
    }));
    let update = bench.update();
    assert_eq!(
        (update.panda_id, update.status),
        (PandaId::new(9), JobStatus::Failed)
    );
    assert_eq!(
        (code(&update), update.attempt_nr),
        (1302, Some(AttemptNr::new(3)))
    );
    bench.give(Input::Job(crate::JobTicket::default().next(), answer(1)));
    assert_eq!(bench.words(), ["exit 0"]);
}

#[test]
fn within_the_time_floor_the_next_job_is_of_the_same_task() {
    let mut site = site();
    site.queue.time_floor = Duration::from_secs(3600);
    let mut bench = Bench::asking(config(), site);
    bench.accept(job(1));
    run_to_the_end(&mut bench);
    assert_eq!(bench.words().last().map(String::as_str), Some("measure"));
    bench.give(Input::NodeMeasured(roomy()));
    match bench.wanted().as_slice() {
        [Effect::AcquireJob(request)] => assert_eq!(request.task_id, Some(job(1).task_id)),
        other => panic!("{other:?}"),
    }
    bench.pass_secs(3601);
    bench.accept(job(2));
    run_to_the_end(&mut bench);
    assert_eq!(bench.words().last().map(String::as_str), Some("exit 0"));
}

#[test]
fn harvester_hears_of_start_and_end_but_cannot_hold_the_pilot() {
    let mut config = config();
    config.identity.harvester_id = Some(HarvesterId::new("h1"));
    config.identity.worker_id = Some(WorkerId::new(42));
    let mut bench = Bench::new(config);
    bench.give(Input::Started);
    assert_eq!(bench.words(), ["load-site", "worker Started"]);
    bench.give(Input::WorkerReported);
    bench.give(Input::SiteLoaded(problem(ErrorCode::QueueDataNotOk)));
    assert_eq!(bench.words(), ["worker Finished"]);
    bench.pass_secs(9);
    assert!(bench.words().is_empty());
    bench.pass_secs(1);
    assert_eq!(bench.words(), ["exit 72"]);
}

#[test]
fn the_end_of_a_worker_is_told_after_its_start() {
    let mut config = config();
    config.identity.harvester_id = Some(HarvesterId::new("h1"));
    config.identity.worker_id = Some(WorkerId::new(42));
    let mut bench = Bench::new(config);
    bench.give(Input::Started);
    bench.give(Input::SiteLoaded(problem(ErrorCode::QueueDataNotOk)));
    assert_eq!(bench.words(), ["load-site", "worker Started"]);
    bench.give(Input::WorkerReported);
    assert_eq!(bench.words(), ["worker Finished"]);
    bench.give(Input::WorkerReported);
    assert_eq!(bench.words(), ["exit 72"]);
}

#[test]
fn a_signal_before_any_job_ends_the_pilot_at_once() {
    let mut bench = Bench::new(config());
    bench.give(Input::Started);
    bench.give(Input::StopRequested(15));
    assert_eq!(bench.words(), ["load-site", "exit 143"]);
}

#[test]
fn a_job_that_is_handed_out_during_a_stop_is_given_back() {
    let mut bench = Bench::asking(config(), site());
    bench.give(Input::StopRequested(15));
    assert!(bench.words().is_empty());
    bench.accept(job(1));
    let update = bench.update();
    assert_eq!((update.status, code(&update)), (JobStatus::Failed, 1201));
    bench.job(answer(1));
    assert_eq!(bench.words(), ["exit 143"]);
}

#[test]
fn a_server_that_hangs_does_not_hold_a_stopped_pilot() {
    let mut bench = Bench::asking(config(), site());
    bench.give(Input::StopRequested(2));
    bench.pass_secs(5);
    assert_eq!(bench.words(), ["exit 130"]);
}

#[test]
fn a_node_with_slots_asks_for_what_is_left_and_ahead_for_what_will_be() {
    let mut config = config();
    config.slots.payloads = std::num::NonZeroU32::MIN.saturating_add(1);
    config.slots.ahead = 1;
    let mut bench = Bench::asking(config, site());
    let mut large = job(1);
    large.core_count = 3;
    large.memory = ByteCount::from_gib(6);
    large.disk = ByteCount::from_gib(90);
    bench.accept(large);
    bench.words();
    bench.give(Input::NodeMeasured(roomy()));
    let left = bench.request();
    assert_eq!(
        (left.memory, left.disk),
        (ByteCount::from_gib(2), ByteCount::from_gib(10))
    );
    assert_eq!(
        (left.n_jobs, left.resource_type.as_deref()),
        (2, Some("SCORE"))
    );
    bench.accept(job(2));
    bench.give(Input::NodeMeasured(roomy()));
    let ahead = bench.request();
    assert_eq!((ahead.memory, ahead.n_jobs), (ByteCount::from_gib(8), 1));
    assert_eq!(ahead.resource_type, None);
}

#[test]
fn an_idle_node_does_not_wait_for_the_end_of_a_pause() {
    let mut config = config();
    config.slots.payloads = std::num::NonZeroU32::MIN.saturating_add(1);
    let mut bench = Bench::asking(config, site());
    bench.accept(job(1));
    bench.give(Input::NodeMeasured(roomy()));
    bench.no_job();
    bench.words();
    run_to_the_end(&mut bench);
    assert_eq!(bench.words().last().map(String::as_str), Some("measure"));
    bench.give(Input::NodeMeasured(roomy()));
    bench.no_job();
    assert_eq!(bench.words(), ["ask"]);
    bench.pass_secs(59);
    assert!(bench.words().is_empty(), "an idle pilot pauses, too");
    bench.pass_secs(1);
    assert_eq!(bench.words(), ["measure"]);
}

fn answer(nr: u32) -> JobInput {
    JobInput::UpdateAnswered {
        nr,
        result: Ok(ailurus_model::UpdateAnswer::default()),
    }
}

fn run_to_the_end(bench: &mut Bench) {
    bench.answer(1);
    bench.job(JobInput::WorkDirReady(Ok(())));
    bench.job(JobInput::ScriptReady(Ok(())));
    bench.job(JobInput::PayloadStarted(Ok(())));
    bench.answer(2);
    bench.payload_exits(PayloadExit::Code(0));
    bench.job(JobInput::LogSaved(stored()));
    bench.answer(3);
    bench.job(JobInput::CleanedUp);
}

#[test]
fn a_proxy_that_ends_soon_ends_the_job_with_its_code() {
    let mut bench = Bench::running(job(1001));
    bench.words();
    for left in [None, Some(Duration::from_secs(600))] {
        bench.give(Input::ProxyLooked(left));
        assert_eq!(bench.words(), [""; 0]);
    }
    bench.give(Input::ProxyLooked(Some(Duration::from_secs(599))));
    assert_eq!(bench.words(), ["term"]);
}

#[test]
fn without_a_job_an_ending_proxy_changes_nothing_until_the_next_request() {
    let mut bench = Bench::new(config());
    bench.give(Input::Started);
    bench.give(Input::SiteLoaded(Ok(Box::new(site()))));
    bench.give(Input::ProxyLooked(Some(Duration::ZERO)));
    bench.give(Input::NodeMeasured(NodeFacts {
        proxy_left: Some(Duration::ZERO),
        ..roomy()
    }));
    assert_eq!(bench.words(), ["load-site", "measure", "exit 68"]);
}
