//! What the pilot of a job is to run: script, arguments, image, options.

use std::time::Duration;

use ailurus_jedi::{Rule, expand::with_steps};
use ailurus_model::{JobKind, JobOptions, Lfn, job_options::AlternativeStageOut};

use super::{JobView, refined_of};
use crate::{
    definition::{JobOutputs, Payload},
    ledger::{
        AttemptRecord, FileRecord, InputNeed, JobRecord, Ledger, LedgerError, PandaTaskRecord,
    },
    operation::Operation,
    tasks::record::LIBRARY_INPUT,
};

/// PanDA's word for merge jobs (`processingType`).
const MERGE_TYPE: &str = "pmerge";

impl JobView<'_> {
    fn transformation(&self) -> String {
        match (self.job.kind, &self.refined.build, &self.refined.merge) {
            (JobKind::Build, Some(build), _) => build.transformation.clone(),
            (JobKind::Merge, _, Some(merge)) => merge.transformation.clone(),
            (JobKind::Run | JobKind::Scout | JobKind::Direct | JobKind::Consumer, _, _)
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
            JobKind::Run
            | JobKind::Scout
            | JobKind::Merge
            | JobKind::Direct
            | JobKind::Consumer => self.refined.payload.container.clone(),
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

impl<L: Ledger> Operation<'_, L> {
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
        let view = JobView::new(&task, refined, job);
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
        let has_steps = matches!(job.kind, JobKind::Run | JobKind::Scout | JobKind::Consumer);
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
}
