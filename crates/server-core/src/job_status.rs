//! Tells pilots what the server thinks of their jobs.

use ailurus_model::{AttemptNr, JobStatus, PandaId};

use crate::ledger::{Ledger, LedgerError};

/// Returns status and current attempt of each job, in the order asked for, none for an unknown
/// one.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn job_statuses(
    ledger: &impl Ledger,
    ids: &[PandaId],
) -> Result<Vec<Option<(JobStatus, AttemptNr)>>, LedgerError> {
    ids.iter()
        .map(|id| Ok(ledger.job(*id)?.map(|job| (job.status, job.attempt_nr))))
        .collect()
}
