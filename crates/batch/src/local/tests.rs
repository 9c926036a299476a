//! Workers as real processes: restarts, kills, doubled submissions, a spool that fails.

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, time::Instant};

use ailurus_model::{HarvesterId, WorkerId};

use super::*;
use crate::port::SubmitOutcome;

const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// A batch system in a folder of its own. What still runs at the end is killed.
struct Bench {
    folder: tempfile::TempDir,
    batch: LocalBatch,
}

impl Bench {
    fn with_slots(slots: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let batch = LocalBatch::open(Self::settings(folder.path(), slots)).unwrap();
        Self { folder, batch }
    }

    fn settings(folder: &Path, slots: u32) -> LocalSettings {
        LocalSettings {
            spool: folder.join("spool"),
            slots,
            cancel_grace: Duration::ZERO,
            ended_kept: 2,
        }
    }

    fn restart(&mut self) {
        let slots = self.batch.settings.slots;
        self.batch = LocalBatch::open(Self::settings(self.folder.path(), slots)).unwrap();
    }

    fn submit(&self, number: u64, script: &str) -> Result<BatchId, SubmitError> {
        self.batch.submit(&submission(number, script))
    }

    fn state(&self, number: u64) -> BatchState {
        let name = name(number);
        self.batch
            .query(std::slice::from_ref(&name))
            .unwrap()
            .remove(&name)
            .unwrap()
    }

    fn wait_for(&self, number: u64, is_reached: impl Fn(&BatchState) -> bool) -> BatchState {
        let start = Instant::now();
        loop {
            let state = self.state(number);
            if is_reached(&state) {
                return state;
            }
            assert!(
                start.elapsed() < WAIT_LIMIT,
                "worker {number} stays {state:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_for_file(&self, number: u64, file: &str) -> String {
        let path = self.batch.work_folder(&name(number)).join(file);
        let start = Instant::now();
        loop {
            match fs::read_to_string(&path) {
                Ok(text) if !text.is_empty() => return text,
                Ok(_) | Err(_) => {}
            }
            assert!(
                start.elapsed() < WAIT_LIMIT,
                "{} stays empty",
                path.display()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn identity(&self, number: u64) -> Identity {
        Identity::read(&self.batch.work_folder(&name(number)).join(PID)).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.folder.path().join("spool"))
            .into_iter()
            .flatten()
        {
            let identity = Identity::read(&entry.unwrap().path().join("pid"));
            for pid in identity.map_or(Vec::new(), |identity| identity.session().unwrap()) {
                ignore_gone(kill_process(pid, Signal::KILL)).unwrap();
            }
        }
    }
}

fn name(number: u64) -> WorkerName {
    WorkerName::new(&HarvesterId::new("test"), WorkerId::new(number)).unwrap()
}

fn submission(number: u64, script: &str) -> WorkerSubmission {
    WorkerSubmission {
        name: name(number),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        environment: BTreeMap::from([("WORKER".to_owned(), number.to_string())]),
    }
}

const FOR_EVER: &str = "echo up; while :; do sleep 1000; done";

fn is_ended(state: &BatchState) -> bool {
    !matches!(state, BatchState::Running { .. })
}

#[test]
fn a_worker_runs_in_its_folder_and_leaves_output_and_exit_code() {
    let bench = Bench::with_slots(1);
    bench
        .submit(1, "pwd; echo $WORKER; echo trouble >&2; exit 7")
        .unwrap();
    let state = bench.wait_for(1, is_ended);
    let diag = "trouble".to_owned();
    assert_eq!(
        state,
        BatchState::Ended {
            exit_code: Some(7),
            diag
        }
    );
    let folder = bench.batch.work_folder(&name(1));
    let stdout = fs::read_to_string(folder.join("stdout")).unwrap();
    assert_eq!(stdout, format!("{}\n1\n", folder.display()));
}

#[test]
fn a_restarted_adapter_sees_running_and_ended_workers() {
    let mut bench = Bench::with_slots(2);
    bench.submit(1, FOR_EVER).unwrap();
    bench.submit(2, "exit 0").unwrap();
    bench.wait_for(2, is_ended);
    bench.restart();
    assert!(matches!(bench.state(1), BatchState::Running { .. }));
    let diag = String::new();
    assert_eq!(
        bench.state(2),
        BatchState::Ended {
            exit_code: Some(0),
            diag
        }
    );
    assert_eq!(bench.state(3), BatchState::Absent);
}

#[test]
fn a_worker_has_a_session_of_its_own() {
    let bench = Bench::with_slots(1);
    let batch_id = bench.submit(1, FOR_EVER).unwrap();
    bench.wait_for_file(1, "stdout");
    let identity = bench.identity(1);
    assert_eq!(identity.pid.to_string(), batch_id.as_str());
    assert!(identity.session().unwrap().len() >= 2, "wrapper and worker");
}

#[test]
fn the_same_name_twice_starts_one_worker() {
    let bench = Bench::with_slots(2);
    let script = "echo up >> starts; while :; do sleep 1000; done";
    let first = bench.submit(1, script).unwrap();
    assert_eq!(bench.submit(1, script).unwrap(), first);
    assert_eq!(bench.wait_for_file(1, "starts").lines().count(), 1);
}

#[test]
fn a_killed_worker_is_seen_and_has_no_exit_code() {
    let bench = Bench::with_slots(1);
    bench.submit(1, FOR_EVER).unwrap();
    bench.wait_for_file(1, "stdout");
    for pid in bench.identity(1).session().unwrap() {
        ignore_gone(kill_process(pid, Signal::KILL)).unwrap();
    }
    let state = bench.wait_for(1, is_ended);
    assert!(
        matches!(&state, BatchState::Ended { exit_code: None, diag } if diag.contains("killed")),
        "{state:?}"
    );
}

#[test]
fn a_worker_whose_wrapper_alone_was_killed_still_runs() {
    let bench = Bench::with_slots(1);
    bench.submit(1, FOR_EVER).unwrap();
    bench.wait_for_file(1, "stdout");
    let identity = bench.identity(1);
    kill_process(identity.group().unwrap(), Signal::KILL).unwrap();
    let start = Instant::now();
    while identity.is_alive() && start.elapsed() < WAIT_LIMIT {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(bench.state(1), BatchState::Running { .. }));
    bench.batch.cancel(&[name(1)]).unwrap();
    assert!(matches!(
        bench.wait_for(1, is_ended),
        BatchState::Removed { .. }
    ));
}

#[test]
fn a_cancelled_worker_gets_its_chance_to_tidy_up() {
    let bench = Bench::with_slots(1);
    bench
        .submit(
            1,
            "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done",
        )
        .unwrap();
    bench.wait_for_file(1, "stdout");
    bench.batch.cancel(&[name(1), name(9)]).unwrap();
    let state = bench.wait_for(1, is_ended);
    assert!(
        matches!(
            state,
            BatchState::Ended {
                exit_code: Some(5),
                ..
            }
        ),
        "{state:?}"
    );
    assert!(bench.wait_for_file(1, "stdout").ends_with("bye\n"));
}

#[test]
fn a_worker_that_does_not_heed_is_killed_by_the_next_call() {
    let bench = Bench::with_slots(1);
    bench
        .submit(1, "trap '' TERM; echo up; while :; do sleep 0.05; done")
        .unwrap();
    bench.wait_for_file(1, "stdout");
    bench.batch.cancel(&[name(1)]).unwrap();
    assert!(matches!(bench.state(1), BatchState::Running { .. }));
    bench.batch.cancel(&[name(1)]).unwrap();
    assert!(matches!(
        bench.wait_for(1, is_ended),
        BatchState::Removed { .. }
    ));
    bench.batch.cancel(&[name(1)]).unwrap();
}

#[test]
fn a_reused_process_number_is_not_taken_for_the_worker() {
    let bench = Bench::with_slots(1);
    let folder = bench.batch.work_folder(&name(1));
    fs::create_dir(&folder).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs::write(
        folder.join("pid"),
        format!("{} 1 {boot}", std::process::id()),
    )
    .unwrap();
    assert!(matches!(
        bench.state(1),
        BatchState::Ended {
            exit_code: None,
            ..
        }
    ));
    bench.batch.cancel(&[name(1)]).unwrap();
}

#[test]
fn slots_are_never_exceeded_and_free_again_after_an_end() {
    let bench = Bench::with_slots(1);
    bench.submit(1, "exit 0").unwrap();
    bench.wait_for(1, is_ended);
    bench.submit(2, FOR_EVER).unwrap();
    let error = bench.submit(3, FOR_EVER).unwrap_err();
    assert_eq!(error.to_string(), "all 1 slots are taken");
    assert_eq!(error.outcome(), SubmitOutcome::NotTaken);
    assert_eq!(bench.state(3), BatchState::Absent);
}

#[test]
fn only_the_newest_folders_of_ended_workers_are_kept() {
    let bench = Bench::with_slots(1);
    for number in 1..=4 {
        bench.submit(number, "exit 0").unwrap();
        bench.wait_for(number, is_ended);
    }
    bench.submit(5, FOR_EVER).unwrap();
    let kept: Vec<u64> = (1..=5)
        .filter(|number| bench.batch.work_folder(&name(*number)).exists())
        .collect();
    assert_eq!(kept, [3, 4, 5]);
}

#[test]
fn a_program_that_does_not_exist_ends_the_worker_with_its_name() {
    let bench = Bench::with_slots(1);
    let mut submission = submission(1, "");
    submission.command = vec!["no-such-pilot".to_owned()];
    bench.batch.submit(&submission).unwrap();
    let state = bench.wait_for(1, is_ended);
    assert!(
        matches!(&state, BatchState::Ended { exit_code: Some(127), diag } if diag.contains("no-such-pilot")),
        "{state:?}"
    );
}

#[test]
fn a_spool_that_cannot_be_written_refuses_with_its_path() {
    let bench = Bench::with_slots(1);
    let spool = bench.folder.path().join("spool");
    fs::remove_dir(&spool).unwrap();
    fs::write(&spool, "a file").unwrap();
    let error = bench.submit(1, FOR_EVER).unwrap_err();
    assert!(
        matches!(error, SubmitError::SpoolUnusable { .. }),
        "{error:?}"
    );
    assert_eq!(error.outcome(), SubmitOutcome::NotTaken);
    assert!(error.to_string().contains("spool"), "{error}");
    assert!(
        bench.batch.query(&[name(1)]).is_err(),
        "nothing is known, rather than all absent"
    );
    fs::remove_file(spool).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_refuses_the_worker() {
    let bench = Bench::with_slots(1);
    let spool = bench.folder.path().join("spool");
    fs::set_permissions(&spool, Permissions::from_mode(0o555)).unwrap();
    let result = bench.submit(1, "exit 0");
    fs::set_permissions(&spool, Permissions::from_mode(0o755)).unwrap();
    // Root may write everywhere.
    match result {
        Err(error) => assert!(
            matches!(error, SubmitError::SpoolUnusable { .. }),
            "{error:?}"
        ),
        Ok(_) => assert!(rustix::process::geteuid().is_root()),
    }
}

#[test]
fn an_empty_command_is_refused() {
    let bench = Bench::with_slots(1);
    let mut submission = submission(1, "");
    submission.command.clear();
    let error = bench.batch.submit(&submission).unwrap_err();
    assert_eq!(error.to_string(), "the command of worker `test.1` is empty");
}

#[test]
fn a_folder_without_a_sign_of_life_is_not_called_absent_at_once() {
    let bench = Bench::with_slots(1);
    fs::create_dir(bench.batch.work_folder(&name(1))).unwrap();
    assert_eq!(bench.state(1), BatchState::Unknown);
    let error = bench.submit(1, FOR_EVER).unwrap_err();
    assert_eq!(error.outcome(), SubmitOutcome::Unknown);
}
