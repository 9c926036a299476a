//! What a job is: what it reads, what it writes, and what its pilot is to run.
//!
//! Jobs of different tasks are defined in different ways; everything else in this crate asks here.
//! A job's definition is worked out when it is needed, because names depend on the attempt and on
//! the inputs that turned out to exist. The main types are [`JobOutputs`] and [`Payload`].

use std::collections::BTreeMap;

use ailurus_model::{DatasetName, JobKind, JobOptions, Lfn, Scope, TaskSpec};

use crate::{
    input::usable,
    ledger::{AttemptRecord, FileRecord, InputNeed, JobRecord, Ledger, LedgerError},
    naming::{log_dataset, log_lfn, output_lfns, parameters},
    operation::Operation,
    tasks::define::{parts_written, usable_inputs},
};

/// A file that an attempt is to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobOutput {
    /// The name by which its task knows it, for people.
    pub(crate) name: String,
    pub(crate) lfn: Lfn,
    pub(crate) scope: Scope,
    pub(crate) dataset: DatasetName,
    /// Which part of the dataset it becomes.
    pub(crate) part: u32,
    /// Whether the job may end well without it.
    pub(crate) presence: Presence,
}

/// Whether a job may end well without a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    Optional,
}

/// All that an attempt is to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobOutputs {
    /// Results, in the order of the definition.
    pub(crate) files: Vec<JobOutput>,
    /// The log archive.
    pub(crate) log: JobOutput,
}

impl JobOutputs {
    /// Returns the names of the results, in order.
    pub(crate) fn lfns(&self) -> Vec<Lfn> {
        self.files.iter().map(|file| file.lfn.clone()).collect()
    }
}

/// What the pilot is to run. Empty texts are not stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    /// A name for people.
    pub(crate) job_name: String,
    pub(crate) jobset_id: u64,
    pub(crate) processing_type: String,
    pub(crate) transformation: String,
    pub(crate) parameters: String,
    pub(crate) release: String,
    /// Platform; if empty, that of the queue.
    pub(crate) platform: String,
    pub(crate) container_image: String,
    pub(crate) looping_check: bool,
    pub(crate) transfer_type: String,
    pub(crate) options: JobOptions,
}

impl<L: Ledger> Operation<'_, L> {
    /// Lists the parts of datasets that a job is to write, without its log.
    pub(crate) fn parts_of(
        &mut self,
        job: &JobRecord,
    ) -> Result<Vec<(DatasetName, u32)>, LedgerError> {
        if job.kind == JobKind::Direct {
            return self.direct_parts(job);
        }
        if let Some(definition) = self.panda_task(job.task_id)? {
            let task = self.task(job.task_id)?;
            return Ok(parts_written(&task, &definition, job));
        }
        let spec = self.spec(job.task_id)?;
        Ok(spec
            .outputs
            .iter()
            .map(|output| (output.dataset.clone(), job.part))
            .collect())
    }

    /// Names the files that an attempt is to write.
    pub(crate) fn outputs_of(
        &mut self,
        job: &JobRecord,
        attempt: &AttemptRecord,
    ) -> Result<JobOutputs, LedgerError> {
        if job.kind == JobKind::Direct {
            return self.direct_outputs(job, attempt.attempt_nr);
        }
        if let Some(definition) = self.panda_task(job.task_id)? {
            return self.panda_outputs(&definition, job, attempt);
        }
        let spec = self.spec(job.task_id)?;
        let lfns = output_lfns(&spec, job, attempt)?;
        let output = |name: &str, lfn, dataset| JobOutput {
            name: name.to_owned(),
            lfn,
            scope: spec.scope.clone(),
            dataset,
            part: job.part,
            presence: Presence::Required,
        };
        let outputs = spec.outputs.iter().zip(lfns);
        Ok(JobOutputs {
            files: outputs
                .map(|(named, lfn)| output(&named.name, lfn, named.dataset.clone()))
                .collect(),
            log: output("log", log_lfn(&spec, attempt), log_dataset(&spec)),
        })
    }

    /// Returns the inputs that a job reads, by input, then part; nothing if it needs some and
    /// cannot run with what exists.
    pub(crate) fn usable_needs<'n>(
        &mut self,
        job: &JobRecord,
        needs: &'n [InputNeed],
    ) -> Result<Vec<&'n InputNeed>, LedgerError> {
        if self.panda_task(job.task_id)?.is_some() {
            return Ok(usable_inputs(job, needs));
        }
        let spec = self.spec(job.task_id)?;
        Ok(usable(spec.split, needs))
    }

    /// Reads the files that a job reads; `needs` are those that it can use.
    pub(crate) fn inputs_of(
        &self,
        job: &JobRecord,
        needs: &[&InputNeed],
    ) -> Result<Vec<FileRecord>, LedgerError> {
        match job.kind {
            JobKind::Direct => self.direct_inputs(job),
            JobKind::Run | JobKind::Scout | JobKind::Build | JobKind::Merge | JobKind::Consumer => {
                self.files_of(needs)
            }
        }
    }

    /// Says what the pilot is to run; `files` are those of `needs`, in their order.
    pub(crate) fn payload_of(
        &mut self,
        job: &JobRecord,
        attempt: &AttemptRecord,
        needs: &[&InputNeed],
        files: &[FileRecord],
        outputs: &JobOutputs,
    ) -> Result<Payload, LedgerError> {
        if job.kind == JobKind::Direct {
            return self.direct_payload(job, attempt);
        }
        if let Some(definition) = self.panda_task(job.task_id)? {
            return self.panda_payload(&definition, job, attempt, needs, files, outputs);
        }
        let spec = self.spec(job.task_id)?;
        let inputs = lfns_by_input(&spec, needs, files);
        Ok(Payload {
            job_name: format!("{}.{:06}", spec.name, job.part),
            jobset_id: job.task_id.value(),
            processing_type: spec.processing_type.clone(),
            transformation: spec.transformation.clone(),
            parameters: parameters(&spec, job, attempt, inputs, &outputs.lfns())?,
            release: String::new(),
            platform: String::new(),
            container_image: String::new(),
            looping_check: true,
            transfer_type: String::new(),
            options: JobOptions::default(),
        })
    }
}

fn lfns_by_input<'a>(
    spec: &'a TaskSpec,
    needs: &[&InputNeed],
    files: &[FileRecord],
) -> BTreeMap<&'a str, Vec<Lfn>> {
    let mut lfns: BTreeMap<&str, Vec<Lfn>> = BTreeMap::new();
    for (need, file) in needs.iter().zip(files) {
        let input = usize::try_from(need.input)
            .ok()
            .and_then(|nr| spec.inputs.get(nr));
        if let Some(input) = input {
            lfns.entry(&input.name).or_default().push(file.lfn.clone());
        }
    }
    lfns
}
