//! Long texts that belong to a job or to one of its attempts and are read rarely.

use ailurus_model::{AttemptNr, PandaId};

use crate::ledger::LedgerError;

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobText {
    /// The payload's job report of an attempt (`metaData`).
    Metadata,
    /// The latest output of an attempt's payload, sent in debug mode (`stdout`).
    Stdout,
    /// What was submitted as this very job, as JSON. It is of the job: attempt 0.
    Spec,
    /// Names of the outputs of an attempt that takes ranges of events, as a JSON list.
    EventOutputs,
    /// What a job asked for before it became the merge of what its ranges of events gave, as JSON.
    /// It is of the job: attempt 0.
    BeforeMerge,
}

impl JobText {
    /// Returns the word for tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Stdout => "stdout",
            Self::Spec => "spec",
            Self::EventOutputs => "event-outputs",
            Self::BeforeMerge => "before-merge",
        }
    }
}

/// Keeps long texts of jobs.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails only if the rows are out of reach"
)]
pub trait JobTextRows {
    /// Writes a text in place of the one before, if there was one.
    fn put_job_text(
        &mut self,
        job: PandaId,
        attempt_nr: AttemptNr,
        kind: JobText,
        text: &str,
    ) -> Result<(), LedgerError>;
    /// Reads a text.
    fn job_text(
        &self,
        job: PandaId,
        attempt_nr: AttemptNr,
        kind: JobText,
    ) -> Result<Option<String>, LedgerError>;
}
