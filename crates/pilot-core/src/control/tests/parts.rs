//! The parts of a job's work, and debug mode while they run.

use ailurus_experiment::StepKind;
use ailurus_model::Command;

use super::bench::{Bench, code, stored};
use crate::{
    JobEffect, JobInput,
    control::testing::job,
    input::{DebugAnswer, PayloadEnd},
    payload::ending::PayloadSignal,
    recovery::PayloadExit,
};

#[test]
fn debug_mode_shows_the_payload_at_once_and_every_minute() {
    let mut bench = Bench::running(job(1));
    bench.pass_secs(1800);
    bench.wanted();
    bench.command(3, Command::Debug(Some("tail log.*".into())));
    let is_look = |effect: &JobEffect| matches!(effect, JobEffect::Look(_));
    assert!(bench.wants(is_look), "at once");
    let answer = DebugAnswer {
        text: "log.txt\nline".into(),
        has_core_file: false,
    };
    bench.job(JobInput::Looked(Box::new(answer)));
    let shows = |effect: &JobEffect| matches!(effect, JobEffect::SendUpdate { update, .. } if update.stdout == "log.txt\nline");
    assert!(bench.wants(shows), "the answer is told");
    bench.answer(4);
    bench.wanted();
    bench.pass_secs(61);
    assert!(bench.wants(is_look), "again after a minute");
}

#[test]
fn a_debug_command_that_is_not_allowed_is_not_carried_out() {
    let mut bench = Bench::running(job(1));
    bench.pass_secs(1800);
    bench.wanted();
    bench.command(3, Command::Debug(Some("tail /etc/passwd".into())));
    assert!(!bench.wants(|effect| matches!(effect, JobEffect::Look(_))));
}

#[test]
fn a_payload_is_ended_once_its_core_file_is_there() {
    let mut bench = Bench::running(job(1));
    bench.pass_secs(1800);
    bench.wanted();
    let line = "gdb --pid % -ex 'generate-core-file'";
    bench.command(3, Command::Debug(Some(line.into())));
    let answer = DebugAnswer {
        text: "Saved corefile".into(),
        has_core_file: true,
    };
    bench.job(JobInput::Looked(Box::new(answer)));
    let is_end =
        |effect: &JobEffect| matches!(effect, JobEffect::SignalPayload(PayloadSignal::Terminate));
    assert!(bench.wants(is_end));
}

#[test]
fn the_parts_of_a_job_follow_each_other_and_a_failed_first_one_is_told() {
    let mut with_steps = job(1);
    with_steps.options.preprocess = Some(ailurus_model::JobStep {
        command: "./pre.sh".into(),
        args: String::new(),
    });
    let mut bench = Bench::running(with_steps.clone());
    bench.job(JobInput::PayloadEnded(Box::new(PayloadEnd {
        exit: PayloadExit::Code(0),
        ..PayloadEnd::default()
    })));
    let is_main = |effect: &JobEffect| matches!(effect, JobEffect::StartPayload(plan, _) if plan.step == StepKind::Main);
    assert!(bench.wants(is_main));
    let mut bench = Bench::running(with_steps);
    bench.job(JobInput::PayloadEnded(Box::new(PayloadEnd {
        exit: PayloadExit::Code(9),
        ..PayloadEnd::default()
    })));
    assert!(!bench.wants(is_main));
    bench.job(JobInput::LogSaved(stored()));
    assert_eq!(code(&bench.update()), 1356);
}
