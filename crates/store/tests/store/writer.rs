//! The writer keeps exactly what it has acknowledged, whatever happens beside it.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
};

use ailurus_model::{JobStatus, PandaId, TaskId};
use ailurus_server_core::ledger::{Ledger, LedgerError};
use ailurus_store::{DatabaseLedger, JobFilter, Readers, WriteError, Writer};

use crate::rows::{attempt, job, task};

/// Set for the child of the crash test: the database that it writes until it is killed.
const CRASH_DATABASE: &str = "AILURUS_TEST_CRASH_DATABASE";
/// Jobs that the child has acknowledged when it is killed, at least.
const ACKNOWLEDGED_BEFORE_KILL: usize = 200;

fn writer(path: &Path) -> Writer {
    Writer::start(DatabaseLedger::open(path).unwrap()).unwrap()
}

fn add_job(ledger: &mut DatabaseLedger) -> Result<PandaId, LedgerError> {
    let id = ledger.new_panda_id()?;
    ledger.insert_job(&job(id, TaskId::new(1)), &[])?;
    Ok(id)
}

#[test]
fn a_restart_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.db");
    let first = writer(&path).run(add_job).unwrap();
    let second = writer(&path).run(add_job).unwrap();
    assert!(second > first);
    let ledger = DatabaseLedger::open(&path).unwrap();
    assert!(ledger.job(first).unwrap().is_some());
    assert!(ledger.job(second).unwrap().is_some());
}

#[test]
fn an_operation_that_errs_or_panics_is_taken_back_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.db");
    let writer = writer(&path);
    let (sender, receiver) = mpsc::channel();
    // While the first operation waits, the others gather in one group behind it.
    let (release, gate) = mpsc::channel::<()>();
    writer.submit(
        move |_| gate.recv().map_err(|_| ()),
        |_: Result<(), WriteError<()>>| {},
    );
    for nr in 0..9_u8 {
        let sender = sender.clone();
        writer.submit(
            move |ledger| {
                let id = add_job(ledger).map_err(|_| "ledger")?;
                match nr % 3 {
                    0 => Ok(id),
                    1 => Err("refused"),
                    _ => panic!("a defect"),
                }
            },
            move |result| sender.send((nr, result)).unwrap(),
        );
    }
    release.send(()).unwrap();
    let mut kept = Vec::new();
    for (nr, result) in receiver.iter().take(9) {
        match (nr % 3, result) {
            (0, Ok(id)) => kept.push(id),
            (1, Err(WriteError::Operation(text))) => assert_eq!(text, "refused"),
            (2, Err(WriteError::Panicked { message })) => assert_eq!(message, "a defect"),
            (_, other) => panic!("operation {nr} was answered {other:?}"),
        }
    }
    let jobs = Readers::new(&path)
        .read(|reader| reader.list_jobs(JobFilter::default(), 99))
        .unwrap();
    let found: Vec<PandaId> = jobs.iter().map(|row| row.job.panda_id).collect();
    assert_eq!(kept, [1, 2, 3].map(PandaId::new));
    assert_eq!(found, kept);
}

#[test]
fn a_task_that_was_taken_back_leaves_no_specification_behind() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(&dir.path().join("server.db"));
    let put = |name: &'static str| {
        move |ledger: &mut DatabaseLedger| {
            let id = ledger.new_task_id()?;
            ledger.put_task(&task(id, name)).map(|()| id)
        }
    };
    let refused: Result<(), _> = writer.run(move |ledger| {
        put("first")(ledger).unwrap();
        Err("refused")
    });
    assert!(matches!(refused, Err(WriteError::Operation("refused"))));
    let id = writer.run(put("second")).unwrap();
    let read = writer.run(move |ledger| ledger.task(id)).unwrap().unwrap();
    assert_eq!(read.spec.name, "second");
}

#[test]
fn failed_attempts_are_counted_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.db");
    let mut ledger = DatabaseLedger::open(&path).unwrap();
    ledger.put_task(&task(TaskId::new(1), "sim")).unwrap();
    let id = add_job(&mut ledger).unwrap();
    for (nr, status) in [
        (1, JobStatus::Failed),
        (2, JobStatus::Failed),
        (3, JobStatus::Finished),
    ] {
        ledger.put_attempt(&attempt(id, nr, status)).unwrap();
    }
    let readers = Readers::new(&path);
    let tasks = readers.read(|reader| reader.list_tasks(Some("mc26"), 9));
    assert_eq!(tasks.unwrap()[0].failed_attempts, 2);
    let row = readers.read(|reader| reader.show_job(id)).unwrap().unwrap();
    assert_eq!((row.attempts.len(), row.task_name.as_str()), (3, "sim"));
    let rows = readers.read(|reader| reader.list_jobs(JobFilter::default(), 9));
    assert_eq!(rows.unwrap()[0].attempts.len(), 2);
}

/// Not a check of its own: what the killed process of the next test does.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(path) = std::env::var(CRASH_DATABASE) else {
        return;
    };
    let writer = writer(Path::new(&path));
    loop {
        let id = writer.run(add_job).unwrap();
        println!("acknowledged {id}");
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "writer::child_that_writes_until_it_is_killed",
            "--nocapture",
        ])
        .env(CRASH_DATABASE, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged: Vec<u64> = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The test harness writes the child's name before its first line.
        if let Some((_, id)) = line.unwrap().split_once("acknowledged ") {
            acknowledged.push(id.parse().unwrap());
        }
        if acknowledged.len() == ACKNOWLEDGED_BEFORE_KILL {
            // SIGKILL: the child gets no chance to tidy up.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= ACKNOWLEDGED_BEFORE_KILL);
    let ledger = DatabaseLedger::open(&path).unwrap();
    for id in acknowledged {
        assert!(ledger.job(PandaId::new(id)).unwrap().is_some(), "job {id}");
    }
}
