//! Files that earlier programs wrote are read by this one.

use ailurus_model::{AttemptNr, Command, JobStatus, PandaId, TaskId};
use ailurus_server_core::ledger::Ledger;
use ailurus_store::DatabaseLedger;

#[test]
fn a_database_of_version_1_is_read_and_continued() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(include_str!("../../testdata/version-1.sql"))
        .unwrap();
    let mut ledger = DatabaseLedger::open(&path).unwrap();
    let task = ledger.task(TaskId::new(7)).unwrap().unwrap();
    assert_eq!(task.spec.name, "sim");
    let job = ledger.job(PandaId::new(7)).unwrap().unwrap();
    assert_eq!(job.status, JobStatus::Running);
    assert_eq!(job.command, Some(Command::ToBeKilled));
    let attempt = ledger.attempt(job.panda_id, AttemptNr::new(1)).unwrap();
    assert_eq!(attempt.unwrap().node.as_str(), "wn7");
    assert_eq!(ledger.task_counts(task.id).unwrap()[&job.status], 1);
    assert_eq!(ledger.new_panda_id().unwrap(), PandaId::new(8));
}
