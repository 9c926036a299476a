//! Databases that earlier programs wrote are read by this one, and become what it makes itself.

use ailurus_model::{AttemptNr, Command, JobStatus, PandaId, TaskId};
use ailurus_server_core::ledger::{ArchiveRows as _, Ledger};
use ailurus_store::{Database, DatabaseLedger};

use crate::postgresql;

/// Opens a database of version 1, and checks that all of it is there and goes on.
fn read_and_continue(database: Database) {
    let mut ledger = DatabaseLedger::open(database).unwrap();
    let task = ledger.task(TaskId::new(7)).unwrap().unwrap();
    assert_eq!(task.spec.name, "sim");
    let job = ledger.job(PandaId::new(7)).unwrap().unwrap();
    assert_eq!(job.status, JobStatus::Running);
    assert_eq!(job.command, Some(Command::ToBeKilled));
    let attempt = ledger.attempt(job.panda_id, AttemptNr::new(1)).unwrap();
    assert_eq!(attempt.unwrap().node.as_str(), "wn7");
    assert_eq!(ledger.task_counts(task.id).unwrap()[&job.status], 1);
    assert_eq!(ledger.new_panda_id().unwrap(), PandaId::new(8));
    let mut ended = job;
    ended.status = JobStatus::Finished;
    let kept = ledger.transact(|ledger| {
        ledger.put_job(&ended)?;
        ledger.archive_jobs(&[ended.panda_id])
    });
    kept.unwrap().unwrap();
    assert_eq!(ledger.task_counts(task.id).unwrap()[&ended.status], 1);
}

#[test]
fn a_file_of_version_1_is_read_and_continued() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old.db"), dir.path().join("new.db"));
    rusqlite::Connection::open(&old)
        .unwrap()
        .execute_batch(include_str!("../../testdata/version-1.sql"))
        .unwrap();
    read_and_continue(Database::File(old.clone()));
    drop(DatabaseLedger::open(&new).unwrap());
    let shape = |path| -> Vec<String> {
        let connection = rusqlite::Connection::open(path).unwrap();
        let text = "SELECT name || ': ' || coalesce((SELECT group_concat(name || ' ' || type, ', ')
                        FROM pragma_table_info(s.name)), '')
                    FROM sqlite_schema AS s WHERE type IN ('table', 'index') ORDER BY name";
        let mut statement = connection.prepare(text).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(shape(&old), shape(&new));
}

#[test]
fn a_postgresql_database_of_version_1_is_read_and_continued() {
    postgresql::with_server(|| {
        let old = postgresql::new_database().unwrap();
        postgresql::execute(include_str!("../../testdata/version-1.postgres.sql"));
        read_and_continue(old);
        let shape = || {
            let columns = "SELECT table_name, string_agg(column_name || ' ' || data_type, ', '
                               ORDER BY ordinal_position) FROM information_schema.columns
                           WHERE table_schema = 'public' GROUP BY table_name ORDER BY table_name";
            let indices = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
                           ORDER BY indexdef";
            [columns, indices].map(postgresql::execute)
        };
        let migrated = shape();
        drop(DatabaseLedger::open(postgresql::new_database().unwrap()).unwrap());
        assert_eq!(migrated, shape());
    });
}
