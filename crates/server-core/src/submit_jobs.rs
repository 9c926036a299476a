//! Takes jobs in that are submitted as they are, without a task.
//!
//! All jobs of one submission belong to one task that only counts them. They run at the queue that
//! they name, or at one that brokerage finds.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/TaskBuffer.py`, `storeJobs`, and
//! `pandaserver/taskbuffer/db_proxy_mods/job_complex_module.py`, `insertNewJob`.

use std::time::Duration;

use ailurus_model::{
    Attributes, ByteCount, JobForm, JobKind, JobStatus, PandaId, QueueName, Scope, SourceLabel,
    TaskId, TaskSpec, job_tags,
    task::{Resources, Split},
};

use crate::{
    Context,
    direct::{PART, WHOLE_JOB, dataset_of},
    events::tags_without_header,
    ledger::{DatasetRecord, JobRecord, JobText, Ledger, LedgerError},
    operation::Operation,
    priority::{PriorityInput, first_priority},
};

/// Attempts that a user's job has beyond the first one, if it does not say.
const FURTHER_ATTEMPTS: i64 = 2;

/// A job that was submitted as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmittedJob {
    /// Its number; none if it was not taken, because the queue that it names is not known.
    pub panda_id: Option<PandaId>,
    /// The number of its submission, or the one that it came with.
    pub definition_id: Option<i64>,
    /// The number that all jobs of the submission share.
    pub jobset_id: u64,
    /// Its name.
    pub name: String,
    /// Production, analysis, test.
    pub source_label: SourceLabel,
}

/// Takes jobs in for a user, and returns what became of each in their order.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn submit_jobs(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    jobs: Vec<JobForm>,
    user: &str,
) -> Result<Vec<SubmittedJob>, LedgerError> {
    let limit = usize::try_from(ctx.limits.jobs_per_submission_max).unwrap_or(usize::MAX);
    let mut op = Operation::new(ctx, ledger);
    let mut taken = Vec::new();
    for form in jobs.into_iter().take(limit) {
        let site = form.attributes.text("computingSite");
        let is_known = site.is_empty() || ctx.queue(&QueueName::new(site)).is_some();
        taken.push((form, is_known));
    }
    let n_jobs = taken.iter().filter(|(_, is_known)| *is_known).count();
    let n_jobs = u32::try_from(n_jobs).unwrap_or(u32::MAX);
    let task = match (n_jobs, taken.first()) {
        (0, _) | (_, None) => None,
        (_, Some((first, _))) => Some(op.write_counting_task(first, user, n_jobs)?),
    };
    let mut submitted = Vec::with_capacity(taken.len());
    let mut part = 0;
    for (form, is_known) in taken {
        match task.filter(|_| is_known) {
            Some(task) => {
                submitted.push(op.write_direct_job(task, part, form, user)?);
                part += 1;
            }
            None => submitted.push(refused(&form, task)),
        }
    }
    op.finish()?;
    Ok(submitted)
}

fn refused(form: &JobForm, task: Option<TaskId>) -> SubmittedJob {
    SubmittedJob {
        panda_id: None,
        definition_id: form.attributes.whole("jobDefinitionID"),
        jobset_id: task.map_or(0, TaskId::value),
        name: form.attributes.text("jobName").to_owned(),
        source_label: SourceLabel::new(form.attributes.text("prodSourceLabel")),
    }
}

impl<L: Ledger> Operation<'_, L> {
    /// Writes the task that counts the jobs of a submission.
    fn write_counting_task(
        &mut self,
        first: &JobForm,
        user: &str,
        n_jobs: u32,
    ) -> Result<TaskId, LedgerError> {
        let id = self.ledger.new_task_id()?;
        let attributes = &first.attributes;
        let spec = TaskSpec {
            name: format!("jobs.{id}"),
            chain: None,
            user: user.to_owned(),
            scope: Scope::default(),
            source_label: SourceLabel::new(attributes.text("prodSourceLabel")),
            processing_type: attributes.text("processingType").to_owned(),
            transformation: attributes.text("transformation").to_owned(),
            parameters: String::new(),
            split: Split::Events {
                total: u64::from(n_jobs),
                per_job: 1,
            },
            inputs: Vec::new(),
            outputs: Vec::new(),
            resources: Resources {
                cores: 1,
                memory: ByteCount::ZERO,
                disk: ByteCount::ZERO,
                walltime: Duration::ZERO,
            },
            priority: attributes.whole("assignedPriority").unwrap_or(0),
            max_attempts: 1,
            queues: Vec::new(),
        };
        self.insert_listed_task(id, spec, n_jobs)?;
        Ok(id)
    }

    fn write_direct_job(
        &mut self,
        task: TaskId,
        part: u32,
        mut form: JobForm,
        user: &str,
    ) -> Result<SubmittedJob, LedgerError> {
        let id = self.new_panda_id()?;
        self.number_outputs(&mut form, task)?;
        let text = serde_json::to_string(&form).expect("attributes are JSON values");
        self.ledger
            .put_job_text(id, WHOLE_JOB, JobText::Spec, &text)?;
        let mut job = self.new_direct_job(id, task, part, &form.attributes, user);
        match self.chosen_queue(&job)? {
            Some(queue) => {
                job.queue = Some(queue);
                self.set_status(&mut job, JobStatus::Activated, "")?;
            }
            None => drop(self.choose_queue(&mut job, &[])?),
        }
        self.insert_job(&job, &[])?;
        let is_users = is_numbered_by_user(job.source_label.as_str());
        Ok(SubmittedJob {
            panda_id: Some(id),
            definition_id: if is_users {
                i64::try_from(task.value()).ok()
            } else {
                form.attributes.whole("jobDefinitionID")
            },
            jobset_id: task.value(),
            name: form.attributes.text("jobName").to_owned(),
            source_label: job.source_label,
        })
    }

    /// Gives each output its part of its dataset, behind what is there.
    fn number_outputs(&mut self, form: &mut JobForm, task: TaskId) -> Result<(), LedgerError> {
        for file in &mut form.files {
            if file.text("type") != "output" {
                continue;
            }
            let name = dataset_of(file);
            let mut dataset = self.ledger.dataset(&name)?.unwrap_or(DatasetRecord {
                name,
                producer: Some(task),
                n_parts: 0,
            });
            file.put(PART, dataset.n_parts);
            dataset.n_parts = dataset.n_parts.saturating_add(1);
            self.ledger.put_dataset(&dataset)?;
        }
        Ok(())
    }

    fn new_direct_job(
        &self,
        panda_id: PandaId,
        task_id: TaskId,
        part: u32,
        attributes: &Attributes,
        user: &str,
    ) -> JobRecord {
        let label = attributes.text("prodSourceLabel");
        let cores = u32::try_from(attributes.count("coreCount")).unwrap_or(u32::MAX);
        let cores = cores.clamp(1, self.ctx.limits.cores_max.max(1));
        let memory = ByteCount::from_mib(attributes.count("minRamCount"));
        let mut tags = tags_without_header(attributes.text("specialHandling"));
        if attributes.whole("jobExecutionID") == Some(1) {
            tags.insert(job_tags::BACKGROUND);
        }
        let priority = first_priority(&PriorityInput {
            source_label: label,
            processing_type: attributes.text("processingType"),
            user,
            tags: &tags,
            assigned: attributes
                .whole("assignedPriority")
                .or(attributes.whole("currentPriority")),
            offset: 0,
            serial: part,
        });
        JobRecord {
            part,
            status: JobStatus::Defined,
            max_attempts: attempts_of(attributes, label).min(self.ctx.limits.attempts_max.max(1)),
            n_events: attributes.count("nEvents"),
            priority,
            source_label: SourceLabel::new(label),
            resource_type: self.class_of(cores, memory).to_owned(),
            cores,
            memory,
            disk: ByteCount::from_mib(attributes.count("maxDiskCount")),
            walltime_secs: attributes.count("maxWalltime"),
            tags,
            global_share: attributes.text("gshare").to_owned(),
            ..JobRecord::new(panda_id, task_id, JobKind::Direct, self.ctx.now)
        }
    }
}

/// Says whether jobs of a label are numbered by their user's submissions.
fn is_numbered_by_user(label: &str) -> bool {
    matches!(
        label,
        "user" | "panda" | "ptest" | "rc_test" | "rc_test2" | "rc_alrb"
    )
}

/// How many attempts a job has: PanDA counts from the number that it comes with, and gives users'
/// jobs two more than that unless they say something larger, or -1 for no more.
fn attempts_of(attributes: &Attributes, label: &str) -> u32 {
    let first = attributes.whole("attemptNr").unwrap_or(0);
    let last = attributes.whole("maxAttempt").unwrap_or(0);
    let last = match last {
        -1 => first,
        last if last <= first && is_numbered_by_user(label) => {
            first.saturating_add(FURTHER_ATTEMPTS)
        }
        last => last.max(first),
    };
    u32::try_from(last.saturating_sub(first).saturating_add(1))
        .unwrap_or(1)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_from_the_one_that_a_job_comes_with() {
        let attempts = |first: Option<i64>, last: Option<i64>, label: &str| {
            let mut attributes = Attributes::default();
            attributes.put_some("attemptNr", first);
            attributes.put_some("maxAttempt", last);
            attempts_of(&attributes, label)
        };
        assert_eq!(attempts(None, None, "user"), 3);
        assert_eq!(attempts(None, Some(-1), "user"), 1);
        assert_eq!(attempts(Some(3), Some(3), "panda"), 3);
        assert_eq!(attempts(Some(1), Some(5), "user"), 5);
        assert_eq!(attempts(None, None, "managed"), 1);
        assert_eq!(attempts(Some(1), Some(3), "managed"), 3);
    }
}
