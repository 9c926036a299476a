//! The arguments of jobs: placeholders filled in with names, numbers and events.

use std::sync::Arc;

use ailurus_jedi::{
    InputKind, Rule,
    expand::{EventNumbers, InputValue, JobValues, merge_parameters, run_parameters},
    names::fill_ids,
    refined::BuildSpec,
};
use ailurus_model::{AttemptNr, JobKind, Lfn};

use super::{JobView, merged_streams, refined_of};
use crate::{
    definition::JobOutput,
    ledger::{JobRecord, Ledger, LedgerError},
    operation::Operation,
    tasks::{
        chunk::JobPlan,
        generate::numbers_per_job,
        record::{DATASETS_PER_STREAM, LIBRARY_INPUT, PandaTask},
    },
};

impl JobView<'_> {
    /// Fills in what a build job's arguments refer to.
    pub(super) fn build_parameters(&self, build: &BuildSpec) -> String {
        let source = self.refined.payload.source_url.clone().unwrap_or_default();
        let text = build
            .command
            .replace("${IN}", &build.archive)
            .replace("${OUT}", self.library().lfn.as_str())
            .replace("${SURL}", &source);
        fill_ids(&text, &self.ids())
    }

    /// Makes the arguments of a job; those that cannot be made stay as the task states them.
    pub(super) fn parameters(
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
                .chain([("MIDDLENAME", self.middle_name())])
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
}

fn files_of_stream(inputs: &[(u32, Lfn, u64)], stream: u32) -> Vec<(&str, u64)> {
    inputs
        .iter()
        .filter(|(input, _, _)| *input != LIBRARY_INPUT && *input / DATASETS_PER_STREAM == stream)
        .map(|(_, lfn, size)| (lfn.as_str(), *size))
        .collect()
}

impl<L: Ledger> Operation<'_, L> {
    /// Makes the arguments of a job that is planned; the inner error says why they cannot be made.
    pub(in crate::tasks) fn try_parameters(
        &mut self,
        task: &mut PandaTask,
        plan: &JobPlan,
    ) -> Result<Result<(), String>, LedgerError> {
        let definition = Arc::clone(&task.definition);
        let refined = refined_of(&definition)?;
        let job = JobRecord {
            first_event: plan.first_event,
            n_events: plan.n_events,
            serial: task.progress.next_serial,
            ..blank(task, self.ctx.now)
        };
        let view = JobView::new(&task.record, refined, &job);
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
        part: task.progress.next_part,
        serial: 1,
        source_label: task.record.spec.source_label.clone(),
        ..JobRecord::new(
            ailurus_model::PandaId::default(),
            task.id(),
            JobKind::Run,
            now,
        )
    }
}
