//! Merges what the jobs of a task wrote.
//!
//! A job whose outputs are to be merged is `merging` until the merge job that reads them has ended,
//! and shares its fate. Which outputs go together is told by the task's rules.

use std::sync::Arc;

use ailurus_jedi::{
    RefinedTask, estimate,
    split::{Content, JobLimits, QueueSize, Splitter, limits::Access},
};
use ailurus_model::{ByteCount, FileStatus, JobKind, JobStatus, job_tags};

use crate::{
    ledger::{FileRecord, Generation, InputNeed, JobRecord, Ledger, LedgerError, ScoutPhase},
    operation::Operation,
    tasks::{
        define::run_datasets,
        record::{DATASETS_PER_STREAM, PandaTask},
    },
};

/// What the sub-status of a job says whose outputs are in a merge job.
const IN_MERGE: &str = "inmerge";

impl<L: Ledger> Operation<'_, L> {
    /// Makes merge jobs of what was written, and returns how many.
    pub(super) fn make_merges(&mut self, task: &mut PandaTask) -> Result<u32, LedgerError> {
        let definition = Arc::clone(&task.definition);
        let Some(refined) = &definition.refined else {
            return Ok(0);
        };
        if refined.merge.is_none() {
            return Ok(0);
        }
        let mut waiting = Vec::new();
        for id in self.ledger.jobs_of_task(task.id(), &[JobStatus::Merging])? {
            let job = self.job(id)?;
            if job.sub_status != IN_MERGE {
                waiting.push(job);
            }
        }
        if waiting.is_empty() {
            return Ok(0);
        }
        let groups = self.groups(task, refined, &waiting)?;
        let mut made = 0;
        for group in groups {
            let sources: Vec<JobRecord> = group.iter().map(|at| waiting[*at].clone()).collect();
            self.make_merge(task, refined, sources)?;
            made += 1;
        }
        Ok(made)
    }

    /// Puts jobs together whose outputs go into one merge job. Those that are too few wait for
    /// more, unless no more will come.
    fn groups(
        &mut self,
        task: &PandaTask,
        refined: &RefinedTask,
        waiting: &[JobRecord],
    ) -> Result<Vec<Vec<usize>>, LedgerError> {
        let counts = self.ledger.task_counts(task.id())?;
        let live: u64 = counts
            .iter()
            .filter(|(status, _)| !status.is_terminal() && **status != JobStatus::Merging)
            .map(|(_, n)| n)
            .sum();
        let waits_for_more = live > 0
            || (task.progress.generation == Generation::Open
                && task.progress.scouts != ScoutPhase::Made);
        let datasets = run_datasets(refined, task.id());
        let mut contents = Vec::new();
        for (at, job) in waiting.iter().enumerate() {
            let mut size = 0;
            for dataset in &datasets {
                let file: Option<FileRecord> = self.ledger.file_of_part(dataset, job.part)?;
                let bytes = file.and_then(|file| file.size).unwrap_or_default();
                size += bytes.as_bytes();
            }
            contents.push(Content {
                id: u64::try_from(at).unwrap_or(u64::MAX),
                lfn: format!("{:010}", job.part),
                size,
                events: (job.n_events > 0).then_some(job.n_events),
                ..Content::default()
            });
        }
        let limits = JobLimits::for_merge(
            refined,
            &QueueSize {
                scratch_bytes: 0,
                walltime_max_s: 0,
                cores: 1,
                core_power_milli: 0,
                access: Access::Copied,
            },
        );
        let n = contents.len();
        let mut groups = Vec::new();
        let mut done = 0;
        for chunk in Splitter::new(contents.into_iter(), Vec::new(), &limits) {
            done += chunk.master.len();
            if done == n && waits_for_more && is_open(&chunk.master, &limits) {
                break;
            }
            let group = chunk.master.iter();
            groups.push(
                group
                    .filter_map(|content| usize::try_from(content.id).ok())
                    .collect(),
            );
        }
        Ok(groups)
    }

    fn make_merge(
        &mut self,
        task: &mut PandaTask,
        refined: &RefinedTask,
        sources: Vec<JobRecord>,
    ) -> Result<(), LedgerError> {
        let mut job = self.blank_job(task, JobKind::Merge)?;
        job.part = task.progress.n_merges;
        job.priority = estimate::MERGE_PRIORITY;
        job.tags.insert(job_tags::MERGE);
        let merge = refined.merge.as_ref();
        job.cores = merge.and_then(|merge| merge.cores).unwrap_or(1).max(1);
        let memory = merge.and_then(|merge| merge.ram_mb);
        job.memory = ByteCount::from_mib(memory.unwrap_or(estimate::MERGE_RAM_MB));
        self.class_of(job.cores, job.memory)
            .clone_into(&mut job.resource_type);
        task.progress.n_merges += 1;
        let mut needs = Vec::new();
        for (nr, dataset) in (0..).zip(run_datasets(refined, task.id())) {
            for source in &sources {
                if self.ledger.file_of_part(&dataset, source.part)?.is_some() {
                    needs.push(InputNeed {
                        panda_id: job.panda_id,
                        input: DATASETS_PER_STREAM * nr,
                        dataset: dataset.clone(),
                        part: source.part,
                        status: FileStatus::Ready,
                    });
                }
            }
        }
        for mut source in sources {
            IN_MERGE.clone_into(&mut source.sub_status);
            self.ledger.put_job(&source)?;
        }
        for output in &refined.outputs {
            if output.unmerged.is_some() && output.kind == ailurus_jedi::OutputKind::Output {
                let name = super::record::written_dataset(&output.dataset, task.id());
                self.put_written(name, task.id(), task.progress.n_merges)?;
            }
        }
        self.wake_children(task.id())?;
        self.insert_made(task, job, needs)
    }

    /// Has the jobs whose outputs a merge job read share its fate.
    pub(crate) fn after_merge(&mut self, merge: &JobRecord) -> Result<(), LedgerError> {
        if merge.kind != JobKind::Merge || !merge.status.is_terminal() {
            return Ok(());
        }
        for mut source in self.sources_of(merge, JobStatus::Merging)? {
            let (status, why) = if merge.status == JobStatus::Finished {
                source.sub_status.clear();
                (JobStatus::Finished, String::new())
            } else {
                let why = format!("merge job {} ended {}", merge.panda_id, merge.status);
                (JobStatus::Failed, why)
            };
            source.reason.clone_from(&why);
            self.set_status(&mut source, status, &why)?;
            self.ledger.put_job(&source)?;
        }
        Ok(())
    }

    /// Has the jobs of a merge job that is tried again wait for it again.
    pub(crate) fn before_merge_again(&mut self, merge: &JobRecord) -> Result<(), LedgerError> {
        if merge.kind != JobKind::Merge {
            return Ok(());
        }
        for mut source in self.sources_of(merge, JobStatus::Failed)? {
            source.reason.clear();
            let why = format!("merge job {} is tried again", merge.panda_id);
            self.set_status(&mut source, JobStatus::Merging, &why)?;
            self.ledger.put_job(&source)?;
        }
        Ok(())
    }

    /// Has a job that has written its outputs wait for a merge again, and says whether it has.
    pub(super) fn merge_again(
        &mut self,
        job: &mut JobRecord,
        why: &str,
    ) -> Result<bool, LedgerError> {
        let attempt = self.ledger.attempt(job.panda_id, job.attempt_nr)?;
        let is_worker = matches!(job.kind, JobKind::Run | JobKind::Scout);
        if !is_worker || attempt.is_none_or(|one| one.status != JobStatus::Finished) {
            return Ok(false);
        }
        job.sub_status.clear();
        job.reason.clear();
        job.command = None;
        self.set_status(job, JobStatus::Merging, why)?;
        self.ledger.put_job(job)?;
        Ok(true)
    }

    fn sources_of(
        &self,
        merge: &JobRecord,
        status: JobStatus,
    ) -> Result<Vec<JobRecord>, LedgerError> {
        let needs = self.ledger.needs_of(merge.panda_id)?;
        let parts: std::collections::BTreeSet<u32> = needs.iter().map(|need| need.part).collect();
        let mut sources = Vec::new();
        for id in self.ledger.jobs_of_task(merge.task_id, &[status])? {
            let job = self.job(id)?;
            let is_worker = matches!(job.kind, JobKind::Run | JobKind::Scout);
            if is_worker && job.sub_status == IN_MERGE && parts.contains(&job.part) {
                sources.push(job);
            }
        }
        Ok(sources)
    }
}

/// Says whether the outputs of a job are in a merge job, or were: if it failed, that did.
pub(crate) fn is_only_unmerged(job: &JobRecord) -> bool {
    job.sub_status == IN_MERGE
}

/// Says whether a merge job could take more than these.
fn is_open(files: &[Content], limits: &JobLimits) -> bool {
    let n = u64::try_from(files.len()).unwrap_or(u64::MAX);
    n < limits.files_per_job.unwrap_or(limits.files_max)
}
