//! What a job of PanDA's tasks is: names of its files, its arguments, its options.
//!
//! Source: PanDA server, `pandajedi/jediorder/JobGenerator.py`.

use std::{collections::BTreeMap, time::Duration};

use ailurus_jedi::{
    InputKind, OutputKind, OutputStream, RefinedTask, Rule,
    expand::{EventNumbers, InputValue, JobValues, merge_parameters, run_parameters, with_steps},
    names::{JobIds, fill_ids, middle_name, output_lfn, scope_of},
    refined::BuildSpec,
};
use ailurus_model::{
    AttemptNr, DatasetName, FileStatus, JobKind, JobOptions, Lfn, Scope,
    job_options::AlternativeStageOut,
};

use crate::{
    definition::{JobOutput, JobOutputs, Payload, Presence},
    input::companions,
    ledger::{
        AttemptRecord, FileRecord, InputNeed, JobRecord, Ledger, LedgerError, PandaTaskRecord,
        TaskRecord,
    },
    operation::Operation,
    tasks::{
        chunk::JobPlan,
        generate::numbers_per_job,
        record::{DATASETS_PER_STREAM, LIBRARY_INPUT, PandaTask, written_dataset},
    },
};

/// PanDA's word for merge jobs (`processingType`).
const MERGE_TYPE: &str = "pmerge";

/// Returns the dataset that a task's build job writes.
pub(super) fn library_dataset(task: &TaskRecord) -> DatasetName {
    let millis = task.created.as_millis();
    let stamp = task.created.to_panda_text();
    let digits: String = stamp.chars().filter(char::is_ascii_digit).collect();
    let month_to_second = digits.get(4..).unwrap_or(&digits);
    DatasetName::new(format!(
        "panda.{month_to_second}.{}.lib._{:06}",
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

impl JobView<'_> {
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
        let dataset = self.refined.master().and_then(|one| one.datasets.first());
        let dataset = dataset.map_or("", String::as_str);
        let middle = middle_name(self.refined, dataset, &self.first_input, None);
        let lfn = output_lfn(template, self.task.id.value(), serial, &middle);
        Lfn::new(fill_ids(&lfn, &self.ids()))
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
            JobKind::Run | JobKind::Scout | JobKind::Direct => run_streams(self.refined)
                .map(|output| match &output.unmerged {
                    Some(unmerged) => {
                        self.output(output, &unmerged.dataset, &unmerged.lfn_template)
                    }
                    None => self.output(output, &output.dataset, &output.lfn_template),
                })
                .collect(),
            JobKind::Merge => merged_streams(self.refined)
                .map(|output| self.output(output, &output.dataset, &output.lfn_template))
                .collect(),
            JobKind::Build => vec![self.library()],
        }
    }

    fn library(&self) -> JobOutput {
        let dataset = library_dataset(self.task);
        JobOutput {
            name: "LIB".to_owned(),
            lfn: Lfn::new(format!(
                "{dataset}.{}.{}.lib.tgz",
                self.job.panda_id, self.job.attempt_nr
            )),
            scope: Scope::new(scope_of(&self.refined.name)),
            dataset,
            part: self.job.part,
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

    /// Fills in what a build job's arguments refer to.
    fn build_parameters(&self, build: &BuildSpec) -> String {
        let source = self.refined.payload.source_url.clone().unwrap_or_default();
        let text = build
            .command
            .replace("${IN}", &build.archive)
            .replace("${OUT}", self.library().lfn.as_str())
            .replace("${SURL}", &source);
        fill_ids(&text, &self.ids())
    }

    /// Makes the arguments of a job; those that cannot be made stay as the task states them.
    fn parameters(
        &self,
        attempt_nr: AttemptNr,
        inputs: &[(u32, Lfn, u64)],
        outputs: &[JobOutput],
    ) -> Result<String, String> {
        let library = inputs.iter().find(|(input, _, _)| *input == LIBRARY_INPUT);
        let numbers = self.numbers(0);
        // Running numbers may start later (`offset` of their item).
        let sequences: Vec<Vec<String>> = self
            .refined
            .inputs
            .iter()
            .map(|stream| self.numbers(stream.offset))
            .collect();
        let mut values = JobValues {
            task: Some(self.task.id.value()),
            serial: u64::from(self.job.serial),
            seed: Some(u64::from(self.job.serial)),
            events: self.events(),
            attempt: attempt_nr.value(),
            extra: library
                .map(|(_, lfn, _)| ("LIB", lfn.to_string()))
                .into_iter()
                .collect(),
            ..JobValues::default()
        };
        values.outputs = outputs
            .iter()
            .map(|output| (output.name.as_str(), output.lfn.as_str()))
            .collect();
        let text = match (&self.refined.merge, self.job.kind) {
            (Some(merge), JobKind::Merge) => {
                for (nr, output) in (0..).zip(merged_streams(self.refined)) {
                    values.inputs.push(InputValue {
                        stream: Some(&output.stream),
                        dataset: &output.dataset,
                        files: files_of_stream(inputs, nr),
                        are_physical: false,
                    });
                }
                merge_parameters(self.refined, merge, &values)
            }
            (Some(_) | None, _) => {
                let streams = self.refined.inputs.iter().zip(&sequences);
                for (nr, (stream, sequence)) in (0..).zip(streams) {
                    let files = match stream.kind {
                        InputKind::Dataset => files_of_stream(inputs, nr),
                        InputKind::Sequence => {
                            sequence.iter().map(|name| (name.as_str(), 0)).collect()
                        }
                        InputKind::Pseudo | InputKind::RandomSeed | InputKind::PhysicalNames => {
                            numbers.iter().map(|name| (name.as_str(), 0)).collect()
                        }
                    };
                    values.inputs.push(InputValue {
                        stream: stream.stream.as_deref(),
                        dataset: stream.datasets.first().map_or("", String::as_str),
                        files,
                        are_physical: stream.kind == InputKind::PhysicalNames,
                    });
                }
                run_parameters(self.refined, &values)
            }
        };
        let text = text.map_err(|error| error.to_string())?.text;
        Ok(fill_ids(&text, &self.ids()))
    }

    /// The numbers that stand for a job without files: of its physical names, or in a row that
    /// starts after `offset`.
    fn numbers(&self, offset: u64) -> Vec<String> {
        let per_job = self.refined.rules.events_per_job();
        let first = match per_job.filter(|_| self.job.n_events > 0) {
            Some(per_job) => self.job.first_event / per_job.max(1),
            None => self.job.first_event,
        };
        let n = u64::from(numbers_per_job(self.refined));
        let physical = u64::try_from(self.refined.pfns.len()).unwrap_or(0);
        let is_physical = physical > 0;
        (first..first.saturating_add(n))
            .filter(|number| !is_physical || *number < physical)
            .map(|number| {
                if is_physical {
                    format!("{number}:{number}")
                } else {
                    number.saturating_add(offset).saturating_add(1).to_string()
                }
            })
            .collect()
    }

    fn events(&self) -> EventNumbers {
        let has_events = self.job.n_events > 0;
        let offset = self.refined.rules.number(Rule::FirstEvent);
        let offset = offset.and_then(|offset| u64::try_from(offset).ok());
        // Events are numbered from 1 (`firstEventNumber` of the contents feeder).
        let first = offset.unwrap_or(0).saturating_add(1);
        EventNumbers {
            skip: if has_events { self.job.first_event } else { 0 },
            count: has_events.then_some(self.job.n_events),
            first: has_events.then(|| first.saturating_add(self.job.first_event)),
        }
    }

    fn transformation(&self) -> String {
        match (self.job.kind, &self.refined.build, &self.refined.merge) {
            (JobKind::Build, Some(build), _) => build.transformation.clone(),
            (JobKind::Merge, _, Some(merge)) => merge.transformation.clone(),
            (JobKind::Run | JobKind::Scout | JobKind::Direct, _, _)
            | (JobKind::Build, None, _)
            | (JobKind::Merge, _, None) => self.refined.payload.transformation.clone(),
        }
    }

    fn container(&self) -> String {
        let of_build = self
            .refined
            .build
            .as_ref()
            .and_then(|build| build.container.clone());
        let own = match self.job.kind {
            JobKind::Build => of_build,
            JobKind::Run | JobKind::Scout | JobKind::Merge | JobKind::Direct => {
                self.refined.payload.container.clone()
            }
        };
        own.unwrap_or_default()
    }

    fn options(&self, library: Option<&Lfn>) -> JobOptions {
        let rules = &self.refined.rules;
        let per_mb = self.refined.resources.walltime_s_per_mb.unsigned_abs();
        JobOptions {
            home_package: self.refined.payload.home_package.replace("-", "/"),
            cpu_time_max: Duration::from_secs(per_mb),
            is_debug: rules.is_set(Rule::DebugMode),
            has_own_setup: rules.is_set(Rule::NoExecStrCnv),
            alternative_stage_out: match rules.number(Rule::AltStageOut) {
                Some(1) => AlternativeStageOut::On,
                Some(2) => AlternativeStageOut::Off,
                Some(_) | None => AlternativeStageOut::Unspecified,
            },
            io_intensity: self.refined.resources.io_intensity,
            io_intensity_unit: (self.refined.resources.io_intensity_unit.clone())
                .unwrap_or_default(),
            nucleus: self.refined.sites.nucleus.clone().unwrap_or_default(),
            storage_tokens: library
                .map(|lfn| (lfn.clone(), "local".to_owned()))
                .into_iter()
                .collect(),
            ..JobOptions::default()
        }
    }
}

fn files_of_stream(inputs: &[(u32, Lfn, u64)], stream: u32) -> Vec<(&str, u64)> {
    inputs
        .iter()
        .filter(|(input, _, _)| *input != LIBRARY_INPUT && *input / DATASETS_PER_STREAM == stream)
        .map(|(_, lfn, size)| (lfn.as_str(), *size))
        .collect()
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
        JobKind::Build => vec![library_dataset(task)],
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
        let view = JobView {
            task: &task,
            refined,
            job,
            first_input: self.first_input(refined, job)?,
        };
        Ok(JobOutputs {
            files: view.outputs(),
            log: view.log(attempt.attempt_nr),
        })
    }

    /// Reads the name of a job's first input, where names of outputs are made from it.
    fn first_input(&self, refined: &RefinedTask, job: &JobRecord) -> Result<String, LedgerError> {
        if !refined.rules.is_set(Rule::UseFileAsSourceLfn) {
            return Ok(String::new());
        }
        let needs = self.ledger.needs_of(job.panda_id)?;
        let mut ready = needs
            .iter()
            .filter(|need| need.status == FileStatus::Ready && need.input < DATASETS_PER_STREAM);
        let Some(first) = ready.next() else {
            return Ok(String::new());
        };
        let file = self.ledger.file_of_part(&first.dataset, first.part)?;
        Ok(file.map_or_else(String::new, |file| file.lfn.to_string()))
    }

    /// Says what the pilot of a job of a task of PanDA is to run.
    pub(crate) fn panda_payload(
        &mut self,
        definition: &PandaTaskRecord,
        job: &JobRecord,
        attempt: &AttemptRecord,
        needs: &[&InputNeed],
        files: &[FileRecord],
        outputs: &JobOutputs,
    ) -> Result<Payload, LedgerError> {
        let task = self.task(job.task_id)?;
        let refined = refined_of(definition)?;
        let view = JobView {
            task: &task,
            refined,
            job,
            first_input: String::new(),
        };
        let inputs: Vec<(u32, Lfn, u64)> = needs
            .iter()
            .zip(files)
            .map(|(need, file)| {
                let size = file.size.unwrap_or_default().as_bytes();
                (need.input, file.lfn.clone(), size)
            })
            .collect();
        let library = inputs.iter().find(|(input, _, _)| *input == LIBRARY_INPUT);
        let parameters = match (job.kind, &refined.build) {
            (JobKind::Build, Some(build)) => view.build_parameters(build),
            (_, _) => {
                let made = view.parameters(attempt.attempt_nr, &inputs, &outputs.files);
                made.unwrap_or_else(|_| refined.payload.command.clone())
            }
        };
        let transformation = view.transformation();
        let has_steps = matches!(job.kind, JobKind::Run | JobKind::Scout);
        let parameters = match &refined.payload.steps {
            Some(steps) if has_steps => with_steps(&parameters, steps, &transformation),
            Some(_) | None => parameters,
        };
        let platform = refined.architecture.split(['@', '#', '&']).next();
        Ok(Payload {
            job_name: format!("{}.{}", refined.name.trim_end_matches('/'), job.panda_id),
            jobset_id: job.task_id.value(),
            processing_type: if job.kind == JobKind::Merge {
                MERGE_TYPE.to_owned()
            } else {
                refined.processing_type.clone()
            },
            transformation,
            parameters,
            release: refined.payload.release.clone(),
            platform: platform.unwrap_or_default().to_owned(),
            container_image: view.container(),
            looping_check: !refined.rules.is_set(Rule::NoLoopingCheck),
            transfer_type: String::new(),
            options: view.options(library.map(|(_, lfn, _)| lfn)),
        })
    }

    /// Makes the arguments of a job that is planned; the inner error says why they cannot be made.
    pub(super) fn try_parameters(
        &mut self,
        task: &mut PandaTask,
        plan: &JobPlan,
    ) -> Result<Result<(), String>, LedgerError> {
        let definition = std::sync::Arc::clone(&task.definition);
        let refined = refined_of(&definition)?;
        let job = JobRecord {
            panda_id: ailurus_model::PandaId::default(),
            first_event: plan.first_event,
            n_events: plan.n_events,
            serial: task.progress.next_serial,
            ..blank(task, self.ctx.now)
        };
        let view = JobView {
            task: &task.record,
            refined,
            job: &job,
            first_input: String::new(),
        };
        let mut inputs: Vec<(u32, Lfn, u64)> = plan
            .reads
            .iter()
            .map(|(input, _, part, _)| (*input, Lfn::new(format!("part{part}")), 0))
            .collect();
        inputs.push((LIBRARY_INPUT, Lfn::new("lib.tgz"), 0));
        let made = view.parameters(AttemptNr::new(1), &inputs, &view.outputs());
        Ok(made.map(drop))
    }
}

/// A job that is never written.
fn blank(task: &PandaTask, now: ailurus_model::Timestamp) -> JobRecord {
    JobRecord {
        panda_id: ailurus_model::PandaId::default(),
        task_id: task.id(),
        part: task.progress.next_part,
        kind: JobKind::Run,
        serial: 1,
        status: ailurus_model::JobStatus::Pending,
        attempt_nr: AttemptNr::new(1),
        max_attempts: 1,
        first_event: 0,
        n_events: 0,
        queue: None,
        priority: 0,
        source_label: task.record.spec.source_label.clone(),
        resource_type: String::new(),
        cores: 1,
        memory: ailurus_model::ByteCount::ZERO,
        disk: ailurus_model::ByteCount::ZERO,
        walltime_secs: 0,
        command: None,
        created: now,
        modified: now,
        state_changed: now,
        worker: None,
        reason: String::new(),
        sub_status: String::new(),
        tags: ailurus_model::JobTags::default(),
        global_share: String::new(),
        parent: None,
        server_code: 0,
        turn: ailurus_model::PandaId::default(),
    }
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
