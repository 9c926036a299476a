//! Statements over long texts of jobs.

use ailurus_model::{AttemptNr, PandaId};
use ailurus_server_core::ledger::{JobText, JobTextRows, LedgerError};

use crate::{
    DatabaseLedger,
    ledger::{archive, failed},
    sql::{
        Column::{Int, Text},
        SqlError, Table, only, params,
    },
};

/// Long texts of jobs.
pub(super) static JOB_TEXT: Table = Table {
    name: "job_text",
    columns: &[
        Int("panda_id"),
        Int("attempt_nr"),
        Text("kind"),
        Text("text"),
    ],
    key: 3,
};

impl JobTextRows for DatabaseLedger {
    fn put_job_text(
        &mut self,
        job: PandaId,
        attempt_nr: AttemptNr,
        kind: JobText,
        text: &str,
    ) -> Result<(), LedgerError> {
        self.take_out(job)
            .map_err(failed(|| format!("take job {job} out of the archive")))?;
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
        self.read_text(job, attempt_nr, kind).map_err(failed(|| {
            format!("read the {} of job {job}", kind.as_str())
        }))
    }
}

impl DatabaseLedger {
    fn take_out(&self, job: PandaId) -> Result<(), SqlError> {
        match archive::may_have(self.session(), job)? {
            true => archive::bring_back(self.session(), job),
            false => Ok(()),
        }
    }

    fn read_text(
        &self,
        job: PandaId,
        attempt_nr: AttemptNr,
        kind: JobText,
    ) -> Result<Option<String>, SqlError> {
        let kind = kind.as_str();
        let asked = params![job, attempt_nr, kind];
        let text = self.sql().first(
            "SELECT text FROM job_text WHERE panda_id = ?1 AND attempt_nr = ?2 AND kind = ?3",
            asked,
            only,
        )?;
        if text.is_some() || !archive::may_have(self.session(), job)? {
            return Ok(text);
        }
        self.sql().first(
            "SELECT text FROM archived_job_text
             WHERE panda_id = ?1 AND attempt_nr = ?2 AND kind = ?3",
            asked,
            only,
        )
    }
}
