//! Statements over long texts of jobs.

use ailurus_model::{AttemptNr, PandaId};
use ailurus_server_core::ledger::{JobText, JobTextRows, LedgerError};

use crate::{
    DatabaseLedger,
    ledger::failed,
    sql::{only, params},
};

impl JobTextRows for DatabaseLedger {
    fn put_job_text(
        &mut self,
        job: PandaId,
        attempt_nr: AttemptNr,
        kind: JobText,
        text: &str,
    ) -> Result<(), LedgerError> {
        self.sql()
            .execute(
                "INSERT INTO job_text (panda_id, attempt_nr, kind, text) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (panda_id, attempt_nr, kind) DO UPDATE SET text = ?4",
                params![job, attempt_nr, kind.as_str(), text],
            )
            .map(drop)
            .map_err(failed(|| {
                format!("keep the {} of job {job}", kind.as_str())
            }))
    }

    fn job_text(
        &self,
        job: PandaId,
        attempt_nr: AttemptNr,
        kind: JobText,
    ) -> Result<Option<String>, LedgerError> {
        self.sql()
            .first(
                "SELECT text FROM job_text WHERE panda_id = ?1 AND attempt_nr = ?2 AND kind = ?3",
                params![job, attempt_nr, kind.as_str()],
                only,
            )
            .map_err(failed(|| {
                format!("read the {} of job {job}", kind.as_str())
            }))
    }
}
