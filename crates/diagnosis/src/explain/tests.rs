//! Tests of explanations: what an error number and its text mean.

use std::sync::LazyLock;

use ailurus_model::ErrorCode;
use proptest::prelude::*;

use super::*;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::built_in);

fn explain(source: ErrorSource, code: i64, text: &str) -> Explanation {
    CATALOGUE.explain(source, code, text)
}

/// The entry and the code of an explanation.
fn answer(source: ErrorSource, code: i64, text: &str) -> (String, i64) {
    let got = explain(source, code, text);
    (got.entry, got.code)
}

#[test]
fn a_known_text_says_more_than_a_general_number() {
    let got = explain(
        ErrorSource::Pilot,
        1305,
        "Failed to execute payload: std::bad_alloc",
    );
    assert_eq!((got.entry.as_str(), got.code), ("payload-bad-alloc", 1223));
    assert_eq!(got.action, Action::MoreMemory);
}

#[test]
fn a_number_that_leaves_nothing_open_says_more_than_a_text() {
    let got = answer(
        ErrorSource::Pilot,
        1150,
        "its last line was: Connection refused",
    );
    assert_eq!(got, ("looping-job".to_owned(), 1150));
}

#[test]
fn the_same_text_has_another_code_in_stage_in_and_stage_out() {
    for (text, stage_in, stage_out) in [
        ("gfal-copy error: 2 (No such file or directory)", 1331, 1103),
        ("TRANSFER  Operation timed out", 1151, 1152),
        ("All pools are full", 1333, 1333),
    ] {
        assert_eq!(explain(ErrorSource::Pilot, 1099, text).code, stage_in);
        assert_eq!(explain(ErrorSource::Pilot, 1137, text).code, stage_out);
    }
}

#[test]
fn a_code_that_depends_on_the_direction_is_not_guessed() {
    let got = answer(
        ErrorSource::Pilot,
        1324,
        "Service not available: Connection refused",
    );
    assert_eq!(got, ("transfer-connection-failed".to_owned(), 1324));
}

#[test]
fn a_negative_number_of_the_pilot_is_the_same_error() {
    let got = answer(ErrorSource::Pilot, -1150, "");
    assert_eq!(got, ("looping-job".to_owned(), 1150));
}

#[test]
fn each_source_counts_its_codes_for_itself() {
    assert_eq!(
        explain(ErrorSource::Dispatcher, 100, "").entry,
        "job-lost-heartbeat"
    );
    assert_eq!(
        explain(ErrorSource::TaskBuffer, 100, "").entry,
        "job-killed"
    );
    assert_eq!(explain(ErrorSource::Ddm, 100, "").entry, "ddm-setup-failed");
}

#[test]
fn an_exit_code_explains_a_payload_whose_text_is_unknown() {
    let got = explain(ErrorSource::Payload, 139, "it did not work");
    assert_eq!(got.entry, "exit-segmentation-fault");
    let got = explain(ErrorSource::Payload, 65, "it did not work");
    assert_eq!(got.entry, "unknown-payload-error");
    let got = explain(ErrorSource::Payload, 65, "athena got a SIGKILL signal");
    assert_eq!(got.entry, "payload-killed");
}

#[test]
fn an_unknown_number_keeps_its_value_and_gets_an_answer() {
    for source in ErrorSource::ALL {
        let got = explain(*source, 987_654, "");
        assert_eq!(got.code, 987_654);
        assert_eq!(got.entry, format!("unknown-{source}-error"));
    }
}

#[test]
fn the_text_of_an_unknown_number_is_searched_for_everything() {
    let got = explain(
        ErrorSource::Pilot,
        0,
        "Killed by Harvester due to worker queuing too long",
    );
    assert_eq!(got.entry, "worker-queued-too-long");
}

#[test]
fn a_lost_worker_is_explained_by_what_the_batch_system_says() {
    let text = "The worker was failed while the job was running : slurm state NODE_FAIL";
    assert_eq!(
        explain(ErrorSource::TaskBuffer, 300, text).entry,
        "worker-node-failed"
    );
}

#[test]
fn a_code_of_the_pilot_without_a_useful_text_is_explained_by_itself() {
    for code in ErrorCode::ALL {
        let number = i64::from(code.number());
        for text in ["", "Job 17 failed"] {
            let got = explain(ErrorSource::Pilot, number, text);
            assert_eq!(got.code, number);
            assert_eq!(got.blame, code.blame());
        }
    }
}

#[test]
fn the_standard_message_of_a_code_does_not_lead_away_from_it() {
    for code in ErrorCode::ALL {
        let number = i64::from(code.number());
        let got = explain(ErrorSource::Pilot, number, &code.diagnostics("something"));
        assert_eq!(got.code, number, "{code} became {}", got.entry);
    }
}

proptest! {
    #[test]
    fn any_report_gets_an_answer_from_the_catalogue(
        source in proptest::sample::select(ErrorSource::ALL),
        code in any::<i64>(),
        text in any::<String>(),
    ) {
        let got = explain(source, code, &text);
        prop_assert!(CATALOGUE.entry(&got.entry).is_some());
        prop_assert!(CATALOGUE.explain_exit(code).is_none_or(|entry| !entry.cause.is_empty()));
    }
}
