//! Long texts of jobs, in memory.

use ailurus_model::{AttemptNr, PandaId};

use crate::{
    MemoryLedger,
    ledger::{JobText, JobTextRows, LedgerError},
};

impl JobTextRows for MemoryLedger {
    fn put_job_text(
        &mut self,
        job: PandaId,
        attempt_nr: AttemptNr,
        kind: JobText,
        text: &str,
    ) -> Result<(), LedgerError> {
        let key = (job, attempt_nr, kind);
        self.archived.remove(&job);
        self.job_texts.insert(key, text.to_owned());
        Ok(())
    }

    fn job_text(
        &self,
        job: PandaId,
        attempt_nr: AttemptNr,
        kind: JobText,
    ) -> Result<Option<String>, LedgerError> {
        Ok(self.job_texts.get(&(job, attempt_nr, kind)).cloned())
    }
}
