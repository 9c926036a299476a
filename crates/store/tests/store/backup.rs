//! Copies are whole, and one can go back to them.

use ailurus_model::{PandaId, TaskId};
use ailurus_server_core::ledger::{Ledger, LedgerError};
use ailurus_store::{BackupError, Database, DatabaseLedger, Writer};

use crate::{postgresql, rows::job};

#[test]
fn a_copy_of_a_file_in_use_is_a_database_with_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    let database = Database::File(place("server.db"));
    let writer = Writer::start(DatabaseLedger::open(database.clone()).unwrap()).unwrap();
    let insert = |id| {
        let job = job(PandaId::new(id), TaskId::new(1));
        writer
            .run(move |ledger| ledger.insert_job(&job, &[]))
            .unwrap();
    };
    insert(1);
    database.back_up(&place("copy.db")).unwrap();
    insert(2);
    let restored = DatabaseLedger::open(&place("copy.db")).unwrap();
    assert!(restored.job(PandaId::new(1)).unwrap().is_some());
    assert!(restored.job(PandaId::new(2)).unwrap().is_none());
    let again = database.back_up(&place("copy.db"));
    assert!(
        matches!(again, Err(BackupError::Exists { .. })),
        "{again:?}"
    );
}

#[test]
fn a_dump_of_postgresql_is_restored_by_its_own_programs() {
    postgresql::with_server(|| {
        let database = postgresql::new_database().unwrap();
        let there = |id| -> Result<bool, LedgerError> {
            let ledger = DatabaseLedger::open(database.clone()).unwrap();
            Ok(ledger.job(PandaId::new(id))?.is_some())
        };
        let insert = |id| {
            let mut ledger = DatabaseLedger::open(database.clone()).unwrap();
            let job = job(PandaId::new(id), TaskId::new(1));
            ledger.insert_job(&job, &[]).unwrap();
        };
        insert(1);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.dump");
        let refused = database
            .back_up(&file)
            .expect_err("it has its own programs");
        assert!(refused.to_string().contains("pg_dump"), "{refused}");
        postgresql::dump(&file);
        insert(2);
        postgresql::restore(&file);
        assert!(there(1).unwrap() && !there(2).unwrap());
    });
}
