//! Pilots that die, and what the next one in the same place makes of it.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::PathBuf,
};

use serde_json::json;

use crate::stage::{Pilot, PilotRun, Stage};

const UPDATES: &str = "/api/v1/pilot/update_job";
/// More answers than any test waits for.
const ALWAYS: u32 = 1000;
const OUTPUT_SCRIPT: &str = "#!/bin/sh\necho 0123456789 > out.dat\n";
const ENDLESS_SCRIPT: &str = "#!/bin/sh\nsleep 300 &\necho $! > ../../child\nwait\n";

/// A pilot that is killed when its log says something.
fn killed_at(stage: &Stage, line: &str) {
    let pilot = stage.start();
    stage.wait_for_line(line);
    pilot.kill();
}

/// A job that is done, but whose final update the server never took.
fn done_but_unreported() -> Stage {
    let stage = Stage::new("run.sh", OUTPUT_SCRIPT)
        .with_output("out.dat")
        .busy(UPDATES, ALWAYS);
    killed_at(&stage, "saving-log -> reporting");
    stage.busy(UPDATES, 0)
}

fn journal_of(stage: &Stage) -> PathBuf {
    let homes = fs::read_dir(stage.path("work")).expect("a directory");
    let homes: Vec<PathBuf> = homes.flatten().map(|home| home.path()).collect();
    let files = homes
        .iter()
        .flat_map(|home| fs::read_dir(home).expect("a home"));
    let mut journals = files.flatten().map(|file| file.path());
    let is_journal = |path: &PathBuf| path.extension().is_some_and(|end| end == "journal");
    journals.find(is_journal).expect("a journal")
}

/// Keeps only the first lines of a journal, as if its pilot had died earlier.
fn cut_journal(stage: &Stage, is_last: impl Fn(&str) -> bool) {
    let path = journal_of(stage);
    let text = fs::read_to_string(&path).expect("a journal");
    let last = text.lines().position(is_last).expect("such a line");
    let lines: Vec<&str> = text.lines().take(last + 1).collect();
    fs::write(&path, lines.join("\n") + "\n").expect("space");
}

fn next_pilot(stage: &Stage) -> PilotRun {
    Pilot::finish(stage.start_without_job(&[]))
}

#[test]
fn a_payload_whose_pilot_was_killed_is_reported_with_its_log_and_gone() {
    let stage = Stage::new("run.sh", ENDLESS_SCRIPT);
    let pilot = stage.start();
    stage.wait_for_file("child");
    pilot.kill();
    let run = next_pilot(&stage);
    let last = run.last_update();
    assert_eq!(
        (&last["job_status"], &last["pilot_error_code"]),
        (&json!("failed"), &json!(1200)),
        "{}",
        run.output
    );
    let report = last["job_output_report"].as_str().expect("a report");
    assert!(report.contains("log.tgz"), "{report}");
    assert_eq!(
        stage.leftovers(),
        ["child"],
        "what the payload put elsewhere"
    );
    let child = stage.read("child");
    stage.wait_until(|| !PathBuf::from(format!("/proc/{}", child.trim())).exists());
    assert_eq!(run.exit_code, Some(0));
}

#[test]
fn a_final_update_that_was_not_sent_is_sent_by_the_next_pilot() {
    let stage = done_but_unreported();
    let run = next_pilot(&stage);
    let last = run.last_update();
    assert_eq!(last["job_status"], "finished", "{}", run.output);
    let report = last["job_output_report"].as_str().expect("a report");
    assert!(report.contains("out.dat"), "{report}");
    assert_eq!(stage.leftovers(), Vec::<String>::new());
}

#[test]
fn outputs_that_are_stored_are_not_stored_again() {
    let stage = done_but_unreported();
    cut_journal(&stage, |line| line.contains("\"staging-out\""));
    let run = next_pilot(&stage);
    assert_eq!(
        run.last_update()["job_status"],
        "finished",
        "{}",
        run.output
    );
    assert!(
        run.output.contains("output `out.dat` is stored already"),
        "{}",
        run.output
    );
}

#[test]
fn outputs_that_are_missing_or_damaged_are_stored_by_the_next_pilot() {
    let stage = done_but_unreported();
    cut_journal(&stage, |line| line.contains("\"staging-out\""));
    let stored = stage.stored("out.dat");
    fs::write(&stored, "damaged").expect("space");
    let run = next_pilot(&stage);
    assert_eq!(
        run.last_update()["job_status"],
        "finished",
        "{}",
        run.output
    );
    assert_eq!(fs::read(&stored).expect("stored"), b"0123456789\n");
}

#[test]
fn an_attempt_that_no_longer_counts_is_dropped_and_nothing_is_stored() {
    let stage = done_but_unreported();
    cut_journal(&stage, |line| line.contains("\"staging-out\""));
    let stored = stage.stored("out.dat");
    fs::write(&stored, "of another attempt").expect("space");
    stage.answer_updates("badattemptnr");
    let run = next_pilot(&stage);
    assert_eq!(run.statuses().last().map(String::as_str), Some("running"));
    assert_eq!(fs::read(&stored).expect("stored"), b"of another attempt");
    assert_eq!(stage.leftovers(), Vec::<String>::new(), "{}", run.output);
}

#[test]
fn a_torn_last_line_takes_nothing_away() {
    let stage = done_but_unreported();
    let mut journal = OpenOptions::new()
        .append(true)
        .open(journal_of(&stage))
        .expect("a journal");
    journal
        .write_all(b"1234abcd {\"snapshot\":{\"rec")
        .expect("space");
    drop(journal);
    let run = next_pilot(&stage);
    assert_eq!(
        run.last_update()["job_status"],
        "finished",
        "{}",
        run.output
    );
}

#[test]
fn journals_that_cannot_be_used_are_named_and_left_where_they_are() {
    let stage = done_but_unreported();
    let path = journal_of(&stage);
    let sound = fs::read_to_string(&path).expect("a journal");
    let (first, rest) = sound.split_once('\n').expect("lines");
    let other_host = first
        .replace(&host_name(), "elsewhere")
        .replace(&boot_id(), "other");
    let spoilt: [(String, &str); 5] = [
        (String::new(), "its beginning is broken"),
        (
            "<html>no journal</html>\n".into(),
            "its beginning is broken",
        ),
        (format!("{first}\n"), "does not name a job"),
        (
            format!(
                "{}\n{rest}",
                sealed(&first[9..].replace("journal\":1", "journal\":99"))
            ),
            "version 99 of the journal's form",
        ),
        (
            format!("{}\n{rest}", sealed(&other_host[9..])),
            "was written on `elsewhere`",
        ),
    ];
    for (text, why) in spoilt {
        fs::write(&path, &text).expect("space");
        let run = next_pilot(&stage);
        assert_eq!(run.exit_code, Some(0), "{}", run.output);
        assert!(run.output.contains(why), "{why}: {}", run.output);
        assert_eq!(fs::read_to_string(&path).expect("still there"), text);
    }
}

#[test]
fn a_journal_that_another_pilot_holds_is_left_alone() {
    let stage = done_but_unreported();
    let held = fs::File::open(journal_of(&stage)).expect("a journal");
    held.lock().expect("free");
    let run = next_pilot(&stage);
    assert!(!run.output.contains("taking over"), "{}", run.output);
    assert!(journal_of(&stage).exists());
}

#[test]
fn recover_ends_the_jobs_of_a_directory_and_nothing_else() {
    let stage = done_but_unreported();
    let run = stage.recover(&stage.path("work"));
    assert_eq!(run.exit_code, Some(0), "{}", run.output);
    assert_eq!(run.last_update()["job_status"], "finished");
    assert_eq!(
        run.calls_to("/api/v1/pilot/acquire_jobs").len(),
        1,
        "only the first pilot's"
    );
    assert_eq!(stage.leftovers(), Vec::<String>::new());

    let again = stage.recover(&stage.path("work"));
    assert_eq!(again.exit_code, Some(0), "nothing to do is no failure");
}

#[test]
fn recover_says_by_its_exit_code_that_something_is_left() {
    let stage = done_but_unreported();
    fs::write(journal_of(&stage), "spoilt\n").expect("space");
    let run = stage.recover(&stage.path("work"));
    assert_ne!(run.exit_code, Some(0), "{}", run.output);
}

#[test]
fn an_update_that_a_pilot_kept_is_sent_by_the_next_one() {
    let stage = Stage::new("run.sh", OUTPUT_SCRIPT).busy(UPDATES, ALWAYS);
    let mut pilot = stage.start();
    stage.wait_for_line("saving-log -> reporting");
    pilot.signal();
    let run = pilot.finish();
    let kept = stage.path("outside").join("undelivered-update-1001.json");
    assert!(kept.is_file(), "{}", run.output);
    let stage = stage.busy(UPDATES, 0);
    let n_before = run.calls_to(UPDATES).len();
    let run = next_pilot(&stage);
    assert_eq!(run.calls_to(UPDATES).len(), n_before + 1, "{}", run.output);
    assert_eq!(run.last_update()["job_status"], "finished");
    assert!(!kept.exists());
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("a kernel");
    name.trim().to_owned()
}

fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a kernel");
    id.trim().to_owned()
}

/// Writes a line's checksum before it.
fn sealed(json: &str) -> String {
    format!("{:08x} {json}", crate::stage::adler32(json.as_bytes()))
}
