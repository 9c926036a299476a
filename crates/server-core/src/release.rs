//! Lets jobs go on whose inputs are settled, and carries lost parts down the chain.
//!
//! A part of a dataset is settled when its file is registered, or when the job that was to write
//! it has ended for good without it. A job waits until all of its parts are settled; then it runs
//! with what there is, or is closed and its own parts are lost as well.

use std::collections::VecDeque;

use ailurus_model::{DatasetName, FileStatus, JobStatus, PandaId};

use crate::{
    ledger::{JobRecord, Ledger, LedgerError},
    operation::Operation,
    text::{DIAG_CHARS_MAX, clipped},
};

/// A part of a dataset about which nothing is open any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SettledPart {
    pub(crate) dataset: DatasetName,
    pub(crate) part: u32,
    pub(crate) fate: Fate,
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its file is registered.
    Ready,
    /// This job ended without writing it.
    LostBy(PandaId),
}

impl<L: Ledger> Operation<'_, L> {
    /// Settles parts, and all that follows from it down the chain.
    pub(crate) fn settle(&mut self, parts: Vec<SettledPart>) -> Result<(), LedgerError> {
        let mut parts = VecDeque::from(parts);
        while let Some(SettledPart {
            dataset,
            part,
            fate,
        }) = parts.pop_front()
        {
            let status = match fate {
                Fate::Ready => FileStatus::Ready,
                Fate::LostBy(_) => FileStatus::Failed,
            };
            let waiting = self.ledger.waiting_for(&dataset, part)?;
            self.ledger.settle_needs(&dataset, part, status)?;
            for id in waiting {
                let mut job = self.job(id)?;
                parts.extend(self.release(&mut job, &dataset, part, fate)?);
            }
        }
        Ok(())
    }

    /// Lets a pending job go on if nothing is open about its inputs. Returns the parts that are
    /// lost with it, if it has to be closed.
    fn release(
        &mut self,
        job: &mut JobRecord,
        dataset: &DatasetName,
        part: u32,
        fate: Fate,
    ) -> Result<Vec<SettledPart>, LedgerError> {
        if job.status != JobStatus::Pending || self.ledger.has_expected_needs(job.panda_id)? {
            return Ok(Vec::new());
        }
        let needs = self.ledger.needs_of(job.panda_id)?;
        if !self.usable_needs(job, &needs)?.is_empty() {
            self.choose_queue(job, &needs)?;
            self.ledger.put_job(job)?;
            return Ok(Vec::new());
        }
        if self.find_other_library(job, &needs)? {
            self.ledger.put_job(job)?;
            return Ok(Vec::new());
        }
        job.reason = match fate {
            Fate::LostBy(producer) => self.why_lost(dataset, part, producer)?,
            Fate::Ready => "none of its input files has all of its companions".to_owned(),
        };
        let why = job.reason.clone();
        self.set_status(job, JobStatus::Closed, &why)?;
        self.ledger.put_job(job)?;
        self.touched.insert(job.task_id);
        self.parts_lost_with(job)
    }

    /// Says which job did not write a part.
    pub(crate) fn why_lost(
        &mut self,
        dataset: &DatasetName,
        part: u32,
        producer: PandaId,
    ) -> Result<String, LedgerError> {
        let job = self.job(producer)?;
        let spec = self.spec(job.task_id)?;
        let text = format!(
            "input part {part} of dataset `{dataset}` will not come: job {producer} of task `{}` \
             ended {}",
            spec.name, job.status
        );
        Ok(clipped(&text, DIAG_CHARS_MAX))
    }

    /// Lists the parts that a job was to write and will not.
    pub(crate) fn parts_lost_with(
        &mut self,
        job: &JobRecord,
    ) -> Result<Vec<SettledPart>, LedgerError> {
        let parts = self.parts_of(job)?;
        Ok(parts
            .into_iter()
            .map(|(dataset, part)| SettledPart {
                dataset,
                part,
                fate: Fate::LostBy(job.panda_id),
            })
            .collect())
    }
}
