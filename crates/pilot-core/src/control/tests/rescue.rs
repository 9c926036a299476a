//! Jobs of dead pilots, jobs whose final update waits, and nodes that fail jobs.

use std::time::Duration;

use ailurus_model::{Command, ErrorCode, JobStatus, TaskId, UpdateAnswer};

use super::bench::{Bench, code, problem, stored};
use crate::{
    Input, JobEffect, JobInput, JobTicket,
    config::Purpose,
    control::{
        phase::PhaseName,
        testing::{config, job, output_file, site},
    },
    data::Beginning,
    input::{FoundJournals, UpdateFailure},
    recovery::{
        PayloadExit,
        journal::{JobDirectory, Journal},
    },
};

/// A job with one output, left by a pilot that died when `phase` was reached.
fn journal_at(phase: PhaseName) -> Journal {
    let mut job = job(1);
    job.outputs = vec![output_file("out")];
    let mut bench = Bench::asking(config(), site());
    bench.accept(job);
    bench.job(JobInput::WorkDirReady(Ok(())));
    let steps = [
        JobInput::ScriptReady(Ok(())),
        JobInput::PayloadStarted(Ok(())),
        JobInput::PayloadEnded(Box::new(crate::input::PayloadEnd {
            exit: PayloadExit::Code(0),
            ..Default::default()
        })),
        JobInput::StageOutEnded(vec![stored()]),
        JobInput::LogSaved(stored()),
    ];
    for step in steps {
        if bench.phase() == Some(phase) {
            break;
        }
        bench.job(step);
    }
    assert_eq!(bench.phase(), Some(phase));
    bench.journal.expect("a journal")
}

/// A pilot that only takes over one job.
fn rescue(journal: Journal) -> Bench {
    let mut config = config();
    config.purpose = Purpose::Recover;
    let mut bench = Bench::new(config);
    bench.found = FoundJournals {
        jobs: vec![(0, journal)],
        ..FoundJournals::default()
    };
    bench.give(Input::Started);
    bench.expect_ticket();
    bench
}

#[test]
fn a_payload_that_was_cut_off_fails_its_job_once_the_server_says_that_it_counts() {
    for phase in [
        PhaseName::StagingIn,
        PhaseName::Starting,
        PhaseName::Running,
    ] {
        let mut bench = rescue(journal_at(phase));
        assert_eq!(bench.words()[0], "take-over");
        bench.answer(1);
        assert_eq!(bench.words(), ["save-log"], "{phase}");
        bench.job(JobInput::LogSaved(stored()));
        let update = bench.update();
        assert_eq!((update.status, code(&update)), (JobStatus::Failed, 1200));
        bench.answer(2);
        bench.job(JobInput::CleanedUp);
        assert_eq!(bench.words(), ["clean-up", "exit 0"]);
    }
}

#[test]
fn a_stage_out_goes_on_where_it_was() {
    let mut bench = rescue(journal_at(PhaseName::StagingOut));
    assert_eq!(bench.words(), ["take-over", "update 1 running"]);
    bench.answer(1);
    let is_resumed = |effect: &JobEffect| matches!(effect, JobEffect::StageOut(plan) if plan.beginning == Beginning::Resumed);
    assert!(bench.wants(is_resumed));
    bench.job(JobInput::StageOutEnded(vec![stored()]));
    bench.job(JobInput::LogSaved(stored()));
    let update = bench.update();
    assert_eq!(update.status, JobStatus::Finished);
    assert_eq!(update.outputs.len(), 2);
}

#[test]
fn a_final_update_is_sent_as_it_was_and_without_a_question() {
    let journal = journal_at(PhaseName::Reporting);
    let mut bench = rescue(journal);
    assert_eq!(bench.words(), ["take-over", "update 1 finished"]);
    bench.answer(1);
    bench.job(JobInput::CleanedUp);
    assert_eq!(bench.words(), ["clean-up", "exit 0"]);
}

#[test]
fn an_attempt_that_no_longer_counts_is_only_cleaned_up() {
    for command in [Command::BadAttemptNr, Command::AlreadyDone] {
        let mut bench = rescue(journal_at(PhaseName::StagingOut));
        bench.words();
        bench.command(1, command);
        bench.job(JobInput::CleanedUp);
        assert_eq!(bench.words(), ["clean-up", "exit 0"]);
    }
}

#[test]
fn outputs_whose_directory_is_gone_are_lost_with_a_code_that_is_tried_again() {
    let mut journal = journal_at(PhaseName::StagingOut);
    journal.directory = JobDirectory::Absent;
    let mut bench = rescue(journal);
    bench.answer(1);
    assert_eq!(code(&bench.update()), 1200);
}

#[test]
fn without_a_server_the_job_is_left_to_the_next_pilot_and_the_exit_code_says_so() {
    let mut bench = rescue(journal_at(PhaseName::StagingOut));
    bench.words();
    for nr in 1..100 {
        bench.no_answer(nr);
        bench.pass_secs(150);
        if bench.words().contains(&"exit 79".to_owned()) {
            return assert!(bench.now.as_millis() >= 3_600_000);
        }
    }
    panic!("the pilot never gives up");
}

#[test]
fn every_state_is_written_down_before_it_is_acted_on() {
    let mut job = job(1);
    job.outputs = vec![output_file("out")];
    let mut bench = Bench::asking(config(), site());
    bench.with_journal = true;
    bench.accept(job);
    assert_eq!(bench.words()[0], "journal open");
    bench.job(JobInput::WorkDirReady(Ok(())));
    bench.words();
    bench.job(JobInput::ScriptReady(Ok(())));
    assert_eq!(bench.words(), ["journal", "start"]);
    bench.job(JobInput::PayloadStarted(Ok(())));
    bench.answer(1);
    bench.answer(2);
    bench.words();
    bench.payload_exits(PayloadExit::Code(0));
    assert_eq!(bench.words(), ["journal", "stage-out"]);
    bench.job(JobInput::StageOutEnded(vec![stored()]));
    assert_eq!(bench.words(), ["journal", "save-log"]);
    bench.job(JobInput::LogSaved(stored()));
    assert_eq!(bench.words(), ["journal", "update 3 finished"]);
    bench.answer(3);
    assert_eq!(bench.words(), ["journal", "clean-up"]);
    bench.job(JobInput::CleanedUp);
    assert_eq!(bench.words(), ["journal remove", "exit 0"]);
}

/// A pilot within its time floor, whose job is done but for a final update that got no answer.
fn unheard() -> Bench {
    let mut site = site();
    site.queue.time_floor = Duration::from_secs(7200);
    let mut bench = Bench::asking(config(), site);
    bench.accept(job(1));
    bench.job(JobInput::WorkDirReady(problem(ErrorCode::LfnTooLong)));
    bench.answer(1);
    bench.words();
    bench.no_answer(2);
    bench
}

#[test]
fn the_next_job_is_asked_for_while_a_final_update_waits() {
    let mut bench = unheard();
    assert_eq!(bench.words(), ["measure"]);
    let first = JobTicket::default().next();
    bench.pass_secs(10);
    let is_sent_again = |effect: &JobEffect| matches!(effect, JobEffect::SendUpdate { nr: 3, .. });
    assert!(bench.wants(is_sent_again));
    bench.give(Input::Job(
        first,
        JobInput::UpdateAnswered {
            nr: 3,
            result: Ok(UpdateAnswer::default()),
        },
    ));
    assert_eq!(bench.core.jobs().count(), 0);
}

#[test]
fn a_server_that_is_away_for_an_hour_costs_no_job() {
    let mut bench = unheard();
    bench.words();
    let first = JobTicket::default().next();
    let mut nr = 2;
    while bench.now.as_millis() < 3_500_000 {
        bench.pass_secs(150);
        nr += 1;
        let result = Err(UpdateFailure::Unreachable("refused".into()));
        bench.give(Input::Job(first, JobInput::UpdateAnswered { nr, result }));
    }
    bench.pass_secs(150);
    let last = bench.update();
    assert_eq!(last.status, JobStatus::Failed);
    let result = Ok(UpdateAnswer::default());
    let nr = nr + 1;
    bench.give(Input::Job(first, JobInput::UpdateAnswered { nr, result }));
    assert_eq!(bench.core.jobs().count(), 0, "the server has it");
}

#[test]
fn a_pilot_waits_for_the_final_update_of_its_last_job() {
    let mut bench = unheard();
    bench.words();
    bench.give(Input::StopRequested(15));
    assert_eq!(
        bench.words(),
        Vec::<String>::new(),
        "not without a last try"
    );
    bench.pass_secs(5);
    let words = bench.words();
    assert!(words.contains(&"keep-update".to_owned()), "{words:?}");
    assert_eq!(words.last().map(String::as_str), Some("exit 143"));
}

#[test]
fn a_node_that_fails_jobs_fast_stops_asking_and_tells_the_server() {
    let mut site = site();
    site.queue.time_floor = Duration::from_secs(7200);
    let mut bench = Bench::asking(config(), site);
    for nr in 1..=3 {
        let mut job = job(nr);
        job.task_id = TaskId::new(nr);
        bench.accept(job);
        bench.answer(1);
        bench.job(JobInput::WorkDirReady(Ok(())));
        bench.job(JobInput::ScriptReady(Ok(())));
        bench.job(JobInput::PayloadStarted(Ok(())));
        bench.answer(2);
        bench.payload_exits(PayloadExit::Code(127));
        bench.words();
        bench.job(JobInput::LogSaved(stored()));
        let update = bench.update();
        let text = update.pilot_error.expect("failed").diag;
        assert_eq!(text.contains("takes no further job"), nr == 3, "{text}");
        bench.answer(3);
        bench.job(JobInput::CleanedUp);
        let end = if nr < 3 { "measure" } else { "exit 75" };
        assert_eq!(bench.words(), ["clean-up", end]);
        bench.give(Input::NodeMeasured(super::bench::roomy()));
    }
}
