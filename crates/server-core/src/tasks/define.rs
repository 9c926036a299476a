//! What a job of PanDA's tasks is: names of its files, its arguments, its options.
//!
//! Source: PanDA server, `pandajedi/jediorder/JobGenerator.py`.

mod arguments;
mod payload;

use std::collections::BTreeMap;

use ailurus_jedi::{
    OutputKind, OutputStream, RefinedTask, Rule,
    names::{JobIds, fill_ids, middle_name, output_lfn, scope_of},
};
use ailurus_model::{AttemptNr, DatasetName, FileStatus, JobKind, Lfn, Scope};

use crate::{
    definition::{JobOutput, JobOutputs, Presence},
    input::companions,
    ledger::{
        AttemptRecord, InputNeed, JobRecord, Ledger, LedgerError, PandaTaskRecord, TaskRecord,
    },
    operation::Operation,
    tasks::record::{DATASETS_PER_STREAM, written_dataset},
};

/// Returns the dataset that a build job of a task writes, by its number from 0: each has its own.
pub(super) fn library_dataset(task: &TaskRecord, part: u32) -> DatasetName {
    let millis = task.created.as_millis();
    let stamp = task.created.to_panda_text();
    let digits: String = stamp.chars().filter(char::is_ascii_digit).collect();
    let month_to_second = digits.get(4..).unwrap_or(&digits);
    let nr = if part == 0 {
        String::new()
    } else {
        format!(".{part}")
    };
    DatasetName::new(format!(
        "panda.{month_to_second}.{}.lib._{:06}{nr}",
        millis.rem_euclid(1000),
        task.id.value()
    ))
}

/// Lists the datasets that the jobs which do a task's work write, without their logs.
pub(super) fn run_datasets(refined: &RefinedTask, task: ailurus_model::TaskId) -> Vec<DatasetName> {
    run_streams(refined)
        .map(|output| match &output.unmerged {
            Some(unmerged) => written_dataset(&unmerged.dataset, task),
            None => written_dataset(&output.dataset, task),
        })
        .collect()
}

fn run_streams(refined: &RefinedTask) -> impl Iterator<Item = &OutputStream> {
    let outputs = refined.outputs.iter();
    outputs.filter(|output| output.kind == OutputKind::Output && !output.is_merge_only)
}

fn log_stream(refined: &RefinedTask, kind: JobKind) -> Option<&OutputStream> {
    let is_merge = kind == JobKind::Merge;
    let logs = || {
        let outputs = refined.outputs.iter();
        outputs.filter(|output| output.kind == OutputKind::Log)
    };
    logs()
        .find(|output| output.is_merge_only == is_merge)
        .or_else(|| logs().next())
}

/// The streams that a merge job writes.
fn merged_streams(refined: &RefinedTask) -> impl Iterator<Item = &OutputStream> {
    run_streams(refined).filter(|output| output.unmerged.is_some())
}

/// What the names and arguments of one job follow from.
struct JobView<'a> {
    task: &'a TaskRecord,
    refined: &'a RefinedTask,
    job: &'a JobRecord,
    /// Name of its first input file, empty if it has none.
    first_input: String,
}

impl<'a> JobView<'a> {
    const fn new(task: &'a TaskRecord, refined: &'a RefinedTask, job: &'a JobRecord) -> Self {
        Self {
            task,
            refined,
            job,
            first_input: String::new(),
        }
    }

    fn with_first_input(self, first_input: String) -> Self {
        Self {
            first_input,
            ..self
        }
    }

    fn ids(&self) -> JobIds {
        let job = self.job.panda_id.value();
        JobIds {
            job,
            set: self.task.id.value(),
            origin: job,
            task: self.task.id.value(),
        }
    }

    fn lfn(&self, template: &str, first_serial: u64) -> Lfn {
        let serial = first_serial
            .saturating_add(u64::from(self.job.serial))
            .saturating_sub(1);
        let lfn = output_lfn(template, self.task.id.value(), serial, &self.middle_name());
        Lfn::new(fill_ids(&lfn, &self.ids()))
    }

    /// What names of outputs take from the input.
    fn middle_name(&self) -> String {
        let dataset = self.refined.master().and_then(|one| one.datasets.first());
        let dataset = dataset.map_or("", String::as_str);
        middle_name(self.refined, dataset, &self.first_input, None)
    }

    fn output(&self, output: &OutputStream, dataset: &str, template: &str) -> JobOutput {
        JobOutput {
            name: output.stream.clone(),
            lfn: self.lfn(template, output.first_serial),
            scope: Scope::new(scope_of(dataset)),
            dataset: written_dataset(dataset, self.task.id),
            part: self.job.part,
            presence: if output.may_be_absent {
                Presence::Optional
            } else {
                Presence::Required
            },
        }
    }

    fn outputs(&self) -> Vec<JobOutput> {
        match self.job.kind {
            JobKind::Run | JobKind::Scout | JobKind::Direct | JobKind::Consumer => {
                run_streams(self.refined)
                    .map(|output| match &output.unmerged {
                        Some(unmerged) => {
                            self.output(output, &unmerged.dataset, &unmerged.lfn_template)
                        }
                        None => self.output(output, &output.dataset, &output.lfn_template),
                    })
                    .collect()
            }
            JobKind::Merge => merged_streams(self.refined)
                .map(|output| self.output(output, &output.dataset, &output.lfn_template))
                .collect(),
            JobKind::Build => vec![self.library()],
        }
    }

    fn library(&self) -> JobOutput {
        let dataset = library_dataset(self.task, self.job.part);
        JobOutput {
            name: "LIB".to_owned(),
            lfn: Lfn::new(format!(
                "{dataset}.{}.{}.lib.tgz",
                self.job.panda_id, self.job.attempt_nr
            )),
            scope: Scope::new(scope_of(&self.refined.name)),
            dataset,
            part: 0,
            presence: Presence::Required,
        }
    }

    fn log(&self, attempt_nr: AttemptNr) -> JobOutput {
        if self.job.kind == JobKind::Build {
            let library = self.library();
            let lfn = library.lfn.as_str().replace(".lib.tgz", ".log.tgz");
            return JobOutput {
                name: "LOG".to_owned(),
                lfn: Lfn::new(lfn),
                ..library
            };
        }
        let Some(output) = log_stream(self.refined, self.job.kind) else {
            let lfn = format!(
                "{}.{}.{attempt_nr}.log.tgz",
                self.refined.name.trim_end_matches('/'),
                self.job.panda_id
            );
            let dataset = format!("{}.log", self.refined.name.trim_end_matches('/'));
            return JobOutput {
                name: "LOG".to_owned(),
                lfn: Lfn::new(lfn),
                scope: Scope::new(scope_of(&self.refined.name)),
                dataset: written_dataset(&dataset, self.task.id),
                part: self.job.part,
                presence: Presence::Optional,
            };
        };
        let log = self.output(output, &output.dataset, &output.lfn_template);
        // Without a template of its own, a merge job's log must not take another job's name.
        if self.job.kind == JobKind::Merge && !output.is_merge_only {
            let lfn = format!("{}.merge", log.lfn);
            return JobOutput {
                lfn: Lfn::new(lfn),
                ..log
            };
        }
        log
    }
}

/// Lists the parts of datasets that a job writes, without its log.
pub(crate) fn parts_written(
    task: &TaskRecord,
    definition: &PandaTaskRecord,
    job: &JobRecord,
) -> Vec<(DatasetName, u32)> {
    let Some(refined) = &definition.refined else {
        return Vec::new();
    };
    let datasets = match job.kind {
        JobKind::Run | JobKind::Scout | JobKind::Direct => run_datasets(refined, task.id),
        JobKind::Build => return vec![(library_dataset(task, job.part), 0)],
        JobKind::Consumer => return Vec::new(),
        JobKind::Merge => merged_streams(refined)
            .map(|output| written_dataset(&output.dataset, task.id))
            .collect(),
    };
    let parts = datasets.into_iter();
    parts.map(|dataset| (dataset, job.part)).collect()
}

/// Returns the inputs that a job of a task of PanDA reads; nothing if it cannot run with what
/// exists. What goes along with its first stream must all be there.
pub(crate) fn usable_inputs<'n>(job: &JobRecord, needs: &'n [InputNeed]) -> Vec<&'n InputNeed> {
    let is_master =
        |need: &&InputNeed| job.kind == JobKind::Merge || need.input / DATASETS_PER_STREAM == 0;
    companions(needs, is_master)
}

impl<L: Ledger> Operation<'_, L> {
    /// Names the files that an attempt of a job of a task of PanDA is to write.
    pub(crate) fn panda_outputs(
        &mut self,
        definition: &PandaTaskRecord,
        job: &JobRecord,
        attempt: &AttemptRecord,
    ) -> Result<JobOutputs, LedgerError> {
        let task = self.task(job.task_id)?;
        let refined = refined_of(definition)?;
        let first_input = first_input(self.ledger, refined, job)?;
        let view = JobView::new(&task, refined, job).with_first_input(first_input);
        Ok(JobOutputs {
            files: view.outputs(),
            log: view.log(attempt.attempt_nr),
        })
    }
}

/// Reads the name of a job's first input, where names of outputs are made from it.
fn first_input(
    ledger: &impl Ledger,
    refined: &RefinedTask,
    job: &JobRecord,
) -> Result<String, LedgerError> {
    if !refined.rules.is_set(Rule::UseFileAsSourceLfn) {
        return Ok(String::new());
    }
    let needs = ledger.needs_of(job.panda_id)?;
    let mut ready = needs
        .iter()
        .filter(|need| need.status == FileStatus::Ready && need.input < DATASETS_PER_STREAM);
    let Some(first) = ready.next() else {
        return Ok(String::new());
    };
    let file = ledger.file_of_part(&first.dataset, first.part)?;
    Ok(file.map_or_else(String::new, |file| file.lfn.to_string()))
}

/// Names the log of a job's current attempt.
pub(super) fn log_of(
    ledger: &impl Ledger,
    task: &TaskRecord,
    refined: &RefinedTask,
    job: &JobRecord,
) -> Result<JobOutput, LedgerError> {
    let first_input = first_input(ledger, refined, job)?;
    let view = JobView::new(task, refined, job).with_first_input(first_input);
    Ok(view.log(job.attempt_nr))
}

fn refined_of(definition: &PandaTaskRecord) -> Result<&RefinedTask, LedgerError> {
    definition.refined.as_ref().ok_or_else(|| {
        LedgerError::contradiction(format!(
            "task {} has jobs, but its parameters were not understood",
            definition.id
        ))
    })
}

/// Returns the streams of a task by the dataset that its jobs write, for lists of files.
#[must_use]
pub fn streams_by_dataset(
    task: ailurus_model::TaskId,
    refined: &RefinedTask,
) -> BTreeMap<DatasetName, OutputKind> {
    let outputs = refined.outputs.iter();
    outputs
        .map(|output| (written_dataset(&output.dataset, task), output.kind))
        .collect()
}
