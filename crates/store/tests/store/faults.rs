//! Several servers over one `PostgreSQL` are as one, and neither its end nor theirs loses what was
//! acknowledged or holds the others up.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use ailurus_model::{DatasetName, JobStatus, PandaId, TaskId};
use ailurus_server_core::ledger::{DatasetRecord, Ledger, LedgerError};
use ailurus_store::{Database, DatabaseLedger, WriteError, Writer};
use ailurus_testkit::{
    postgres::{self, Durability, PostgresServer},
    wait::wait_for,
};

use crate::{postgresql, rows::job};

/// How long the database may take until it serves again.
const LIMIT: Duration = Duration::from_secs(60);
const TASK: TaskId = TaskId::new(5);

fn writer(database: &Database) -> Writer {
    Writer::start(DatabaseLedger::open(database.clone()).unwrap()).unwrap()
}

fn dataset(nr: usize) -> DatasetRecord {
    DatasetRecord {
        name: DatasetName::new(format!("spd.mc:set{nr}")),
        producer: Some(TASK),
        n_parts: 1,
    }
}

/// Makes a job, and moves the one before on.
fn step(ledger: &mut DatabaseLedger) -> Result<PandaId, LedgerError> {
    let id = ledger.new_panda_id()?;
    ledger.insert_job(&job(id, TASK), &[])?;
    let before = PandaId::new(id.value() - 1);
    if let Some(mut before) = ledger.job(before)? {
        before.status = JobStatus::Running;
        ledger.put_job(&before)?;
    }
    Ok(id)
}

#[test]
fn several_writers_over_one_postgresql_are_as_one() {
    const WRITERS: usize = 4;
    const STEPS: usize = 150;
    postgresql::with_server(|| {
        let database = postgresql::new_database().unwrap();
        let writers: Vec<Writer> = (0..WRITERS).map(|_| writer(&database)).collect();
        let ids: Vec<PandaId> = thread::scope(|scope| {
            let running: Vec<_> = writers
                .iter()
                .map(|writer| {
                    scope.spawn(move || {
                        let steps = (0..STEPS).map(|_| writer.run(step).unwrap());
                        steps.collect::<Vec<PandaId>>()
                    })
                })
                .collect();
            let ended = running.into_iter().map(|one| one.join().unwrap());
            ended.flatten().collect()
        });
        let all = WRITERS * STEPS;
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), all);
        let ledger = DatabaseLedger::open(database).unwrap();
        let counts = ledger.task_counts(TASK).unwrap();
        let rows = |status| ledger.jobs_of_task(TASK, &[status]).unwrap().len() as u64;
        assert_eq!(counts[&JobStatus::Activated], 1);
        assert_eq!(counts[&JobStatus::Running], rows(JobStatus::Running));
        assert_eq!(rows(JobStatus::Running), all as u64 - 1);
    });
}

#[test]
fn what_was_acknowledged_survives_the_kill_of_postgresql() {
    if !postgres::is_there().unwrap() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut server = PostgresServer::start(dir.path(), Durability::Durable).unwrap();
    let database: Database = server.new_database().unwrap().parse().unwrap();
    let writer = Arc::new(writer(&database));
    let stop = Arc::new(AtomicBool::new(false));
    let (saved, is_stopped) = (Arc::clone(&writer), Arc::clone(&stop));
    let load = thread::spawn(move || {
        let mut acknowledged = Vec::new();
        for nr in 0.. {
            if is_stopped.load(Ordering::Relaxed) {
                break;
            }
            let put = move |ledger: &mut DatabaseLedger| ledger.put_dataset(&dataset(nr));
            match saved.run(put) {
                Ok(()) => acknowledged.push(nr),
                Err(WriteError::NotSaved { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        acknowledged
    });
    let put = |nr| writer.run(move |ledger| ledger.put_dataset(&dataset(nr)));
    for round in 0..2 {
        wait_for("a change that is kept", LIMIT, || {
            Ok(put(1_000_000 + round).ok())
        })
        .unwrap();
        server.kill().unwrap();
        let refused = put(2_000_000 + round);
        assert!(
            matches!(refused, Err(WriteError::NotSaved { .. })),
            "{refused:?}"
        );
        server.restart().unwrap();
    }
    wait_for("a change after the last start", LIMIT, || {
        Ok(put(3_000_000).ok())
    })
    .unwrap();
    stop.store(true, Ordering::Relaxed);
    let acknowledged = load.join().unwrap();
    let ledger = DatabaseLedger::open(database).unwrap();
    for nr in acknowledged.into_iter().chain(1_000_000..1_000_002) {
        let found = ledger.dataset(&dataset(nr).name).unwrap();
        assert!(found.is_some(), "dataset {nr}");
    }
}

#[test]
fn a_server_that_stands_still_holds_the_others_up_for_seconds_only() {
    postgresql::with_server(|| {
        let database = postgresql::new_database().unwrap();
        let (still, other) = (writer(&database), writer(&database));
        let (began, has_begun) = mpsc::channel();
        let (goes_on, wait) = mpsc::channel::<()>();
        let (answered, answer) = mpsc::channel();
        still.submit(
            move |ledger| {
                ledger.put_dataset(&dataset(1))?;
                began.send(()).unwrap();
                // As if it were stopped by a signal within its transaction.
                wait.recv().unwrap();
                Ok::<_, LedgerError>(())
            },
            move |result| answered.send(result).unwrap(),
        );
        has_begun.recv().unwrap();
        other
            .run(|ledger| ledger.put_dataset(&dataset(2)))
            .expect("the database ends the session that stands still");
        goes_on.send(()).unwrap();
        let answer = answer.recv().unwrap();
        assert!(
            matches!(answer, Err(WriteError::NotSaved { .. })),
            "{answer:?}"
        );
        // It has a new connection for the next one.
        still.run(|ledger| ledger.put_dataset(&dataset(3))).unwrap();
        let ledger = DatabaseLedger::open(database).unwrap();
        let is_there = |nr| ledger.dataset(&dataset(nr).name).unwrap().is_some();
        assert!(!is_there(1) && is_there(2) && is_there(3));
    });
}
