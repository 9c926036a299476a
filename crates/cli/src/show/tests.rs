//! Tests of the texts that people read.

use ailurus_wire::rest::DiagnosisView;

use super::*;

fn failed_attempt() -> AttemptView {
    AttemptView {
        attempt_nr: 1,
        status: "failed".into(),
        queue: "JINR".into(),
        node: "wn1".into(),
        seed: 7,
        sent: "2026-01-31 10:00:00".into(),
        started: String::new(),
        ended: String::new(),
        payload_exit_code: Some(65),
        cpu_secs: None,
        rss_max: Some(1 << 30),
        diagnosis: Some(DiagnosisView {
            code: 1305,
            entry: "root-file-truncated".into(),
            blame: "storage".into(),
            cause: "The input file is cut off.".into(),
            remedy: "Read another replica.".into(),
            text: "Failed to execute payload".into(),
            payload_text: "Error in <TFile::Init>: file is truncated".into(),
        }),
        log_surl: String::new(),
        pilot_log: String::new(),
        report: BTreeMap::from([
            ("coreCount".into(), 8.into()),
            ("cpuConsumptionUnit".into(), "s+AMD".into()),
        ]),
    }
}

fn a_job() -> JobView {
    JobView {
        panda_id: 12,
        task_id: 3,
        task_name: "simulation".into(),
        part: 3,
        status: "finished".into(),
        attempt_nr: 2,
        max_attempts: 3,
        queue: "PNPI".into(),
        reason: String::new(),
        created: "2026-01-31 09:00:00".into(),
        state_changed: "2026-01-31 11:00:00".into(),
        attempts: vec![failed_attempt()],
        history: vec![ChangeView {
            id: 40,
            time: "2026-01-31 10:00:00".into(),
            attempt_nr: 1,
            old: "activated".into(),
            new: "sent".into(),
            queue: "JINR".into(),
            reason: "a pilot came".into(),
        }],
        output: "payload.stdout\nevent 12\u{1b}[2J\n".into(),
    }
}

#[test]
fn a_failed_attempt_is_one_sentence_with_cause_and_remedy() {
    let text = job(&a_job());
    let sentence = "attempt 1 failed on JINR: The input file is cut off. Read another replica.";
    assert!(text.contains(sentence), "{text}");
    assert!(
        text.contains("1305 (root-file-truncated, storage)"),
        "{text}"
    );
}

#[test]
fn the_latest_output_of_a_payload_is_shown_without_what_steers_terminals() {
    let text = job(&a_job());
    assert!(text.contains("\n  payload.stdout\n  event 12"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn times_and_sizes_have_their_units_and_empty_values_no_line() {
    let text = job(&a_job());
    assert!(text.contains("2026-01-31 10:00:00 UTC"), "{text}");
    assert!(text.contains("1 GiB"), "{text}");
    assert!(text.contains("cpuConsumptionUnit s+AMD"), "{text}");
    assert!(!text.contains("started"), "{text}");
}

#[test]
fn an_empty_list_says_what_to_do() {
    assert!(tasks(&[]).contains("ailurus task submit"));
    assert!(queues(&[]).contains("--queues"));
}

#[test]
fn a_list_of_jobs_says_why() {
    assert!(jobs(&[a_job()]).contains("The input file is cut off."));
}

#[test]
fn a_job_shows_its_history_and_what_its_pilots_said() {
    let text = job(&a_job());
    assert!(text.contains("coreCount         8"), "{text}");
    let row = text.lines().find(|line| line.contains("a pilot came"));
    assert!(row.is_some_and(|row| row.contains("sent")), "{text}");
}
