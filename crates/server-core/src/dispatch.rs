//! Gives activated jobs to a pilot.

use std::time::Duration;

use ailurus_model::{
    AlternativeStageOut, BatchId, HarvesterId, InputFile, Job, JobCloning, JobOptions, JobRequest,
    JobStatus, JobTags, NodeName, OutputFile, PandaId, Queue, QueueName, Seed, SourceLabel,
    TaskSpec, TaskStatus, Timestamp, Worker, WorkerId, WorkerStatus, job_tags, queue::QueueStatus,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    Context,
    definition::{JobOutput, JobOutputs, Payload, Presence},
    events::{EventRole, fit_payload},
    guid,
    ledger::{
        AttemptRecord, ClaimFilter, ClaimOrder, FileRecord, JobRecord, Ledger, LedgerError, Probes,
    },
    operation::Operation,
    secrets::{secrets_for_job, secrets_for_pilot},
    text::{NAME_CHARS_MAX, clipped},
};

/// A pilot's request for jobs was refused.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// No such queue.
    #[error("queue `{queue}` is not known")]
    UnknownQueue {
        /// The queue as it was asked for.
        queue: QueueName,
    },
    /// The queue gives no jobs out.
    #[error("queue `{queue}` is {}, it gives no jobs out", status.as_str())]
    QueueNotServing {
        /// The queue.
        queue: QueueName,
        /// What it is.
        status: QueueStatus,
    },
    /// The rows are out of reach.
    #[error("jobs for queue `{queue}` cannot be looked up")]
    Ledger {
        /// The queue.
        queue: QueueName,
        /// Why.
        #[source]
        source: LedgerError,
    },
}

impl AcquireError {
    /// Returns a word that programs can rely on.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownQueue { .. } => "unknown-queue",
            Self::QueueNotServing { .. } => "queue-not-serving",
            Self::Ledger { .. } => "ledger-failed",
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            Self::UnknownQueue { .. } => {
                "name a queue of the server's queue file, or add this one to it"
            }
            Self::QueueNotServing { .. } => {
                "wait until the queue is online again, or set its status in the queue file"
            }
            Self::Ledger { .. } => "ask again later; the server's log tells more",
        }
    }
}

/// Picks activated jobs for one pilot request, best first, and notes that the pilot has them.
///
/// Returns at most `request.n_jobs` jobs, all of one queue: those of the global share that needs it
/// most first, then by falling priority, then by rising turn and [`PandaId`]. Empty means "nothing fits"; it is not an error. Each job is a new attempt with a
/// seed that no other attempt of its task had.
///
/// # Errors
///
/// [`AcquireError::UnknownQueue`] and [`AcquireError::QueueNotServing`] if the queue gives no jobs
/// out, [`AcquireError::Ledger`] if the rows are out of reach.
///
/// Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/job_complex_module.py`, `getJobs`.
pub fn acquire_jobs(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    request: &JobRequest,
) -> Result<Vec<Job>, AcquireError> {
    let Some(queue) = ctx.queue(&request.queue) else {
        return Err(AcquireError::UnknownQueue {
            queue: request.queue.clone(),
        });
    };
    let label = match queue.status {
        QueueStatus::Online | QueueStatus::Brokeroff => request.source_label.clone(),
        QueueStatus::Test => as_test(&request.source_label),
        QueueStatus::Paused | QueueStatus::Offline => {
            return Err(AcquireError::QueueNotServing {
                queue: queue.name.clone(),
                status: queue.status,
            });
        }
    };
    let mut op = Operation::new(ctx, ledger);
    op.send_jobs(queue, &label, request)
        .and_then(|jobs| op.finish().map(|()| jobs))
        .map_err(|source| AcquireError::Ledger {
            queue: queue.name.clone(),
            source,
        })
}

/// A queue under test gives only test jobs to the pilots that ask for common ones.
fn as_test(label: &SourceLabel) -> SourceLabel {
    match label.as_str() {
        "" | "user" | "managed" | "unified" => SourceLabel::new("test"),
        _ => label.clone(),
    }
}

/// Pilots that ask for test jobs get the probes of their queue, whatever label these have; those
/// that run users' jobs of a queue for everything get nothing else.
fn probes_for(label: &SourceLabel, queue: &Queue, request: &JobRequest) -> Probes {
    let is_users = request.details.job_type.as_deref() == Some("user");
    match label.as_str() {
        "test" if queue.kind == "unified" && is_users => Probes::Only,
        "test" => Probes::Too,
        _ => Probes::AsLabelled,
    }
}

/// How an attempt is defined.
struct Defined {
    payload: Payload,
    outputs: JobOutputs,
    inputs: Vec<FileRecord>,
}

impl<L: Ledger> Operation<'_, L> {
    fn send_jobs(
        &mut self,
        queue: &Queue,
        label: &SourceLabel,
        request: &JobRequest,
    ) -> Result<Vec<Job>, LedgerError> {
        let filter = ClaimFilter {
            queue: &queue.name,
            order: ClaimOrder::Oldest,
            source_label: label,
            probes: probes_for(label, queue, request),
            is_background: request.details.is_background,
            memory: request.memory,
            core_memory: self.core_memory_left(queue)?,
            disk: request.disk,
            remaining_secs: request.remaining_time.map(|time| time.as_secs()),
            resource_type: request.resource_type.as_deref(),
            task_id: request.task_id,
            user: request.user.as_deref(),
        };
        let n_jobs = request
            .n_jobs
            .clamp(1, self.ctx.limits.jobs_per_request_max.max(1));
        let limit = usize::try_from(n_jobs).unwrap_or(usize::MAX);
        let ids = self.claim(filter, request, limit)?;
        self.note_pulse(&queue.name, &ids)?;
        if !ids.is_empty() {
            self.note_worker(queue, request)?;
        }
        ids.into_iter()
            .map(|id| self.send_job(id, queue, request))
            .collect()
    }

    /// Makes the next attempt of a job and gives it out.
    fn send_job(
        &mut self,
        id: PandaId,
        queue: &Queue,
        request: &JobRequest,
    ) -> Result<Job, LedgerError> {
        let mut job = self.job(id)?;
        let mut task = self.task(job.task_id)?;
        let mut attempt = fresh_attempt(&job, task.next_seed, queue.name.clone(), self.ctx.now);
        attempt.node = clipped(request.node.as_str(), NAME_CHARS_MAX)
            .as_str()
            .into();
        attempt.pilot_id = clipped(&request.scheduler_id, NAME_CHARS_MAX);
        self.ledger.put_attempt(&attempt)?;
        task.next_seed = task.next_seed.next();
        if task.status == TaskStatus::Ready {
            self.set_task_status(&mut task, TaskStatus::Running, "")?;
        }
        self.ledger.put_task(&task)?;
        self.set_status(&mut job, JobStatus::Sent, "")?;
        job.worker = worker_of(request);
        if !request.details.is_background {
            job.tags.remove(job_tags::BACKGROUND);
        }
        self.ledger.put_job(&job)?;
        let needs = self.ledger.needs_of(id)?;
        let needs = self.usable_needs(&job, &needs)?;
        let inputs = self.inputs_of(&job, &needs)?;
        let outputs = self.outputs_of(&job, &attempt)?;
        self.prepare_events(&job, &outputs.lfns())?;
        let mut payload = self.payload_of(&job, &attempt, &needs, &inputs, &outputs)?;
        fit_payload(&mut payload, &job.tags);
        let mut defined = Defined {
            payload,
            outputs,
            inputs,
        };
        if EventRole::of(&job.tags) == EventRole::Merges {
            self.merge_instead(&job, queue, &mut defined)?;
        }
        let mut described = described(&task.spec, &job, &attempt, queue, defined);
        if job.tags.has(job_tags::SECRETS) {
            described.options.secrets = Some(secrets_for_job(self.ledger, &task.spec.user)?);
        }
        let secrets = secrets_for_pilot(self.ctx, self.ledger, &job.tags)?;
        described.options.pilot_secrets = secrets;
        Ok(described)
    }

    /// Has a job read what was written of its ranges of events.
    fn merge_instead(
        &mut self,
        job: &JobRecord,
        queue: &Queue,
        defined: &mut Defined,
    ) -> Result<(), LedgerError> {
        let inputs = self.merge_inputs(job, &defined.outputs, queue)?;
        let options = &mut defined.payload.options;
        options.write_to_file = inputs.lists;
        options.storage_tokens = inputs.tokens;
        options.archived_inputs = inputs.archives;
        defined.inputs = inputs.files;
        Ok(())
    }

    /// A worker that asks for jobs runs, also if Harvester has not said so yet.
    fn note_worker(&mut self, queue: &Queue, request: &JobRequest) -> Result<(), LedgerError> {
        let Some((harvester_id, worker_id)) = worker_of(request) else {
            return Ok(());
        };
        if self.ledger.worker(&harvester_id, worker_id)?.is_some() {
            return Ok(());
        }
        let worker = Worker {
            harvester_id,
            worker_id,
            batch_id: BatchId::default(),
            queue: queue.name.clone(),
            status: WorkerStatus::Running,
            resource_type: request
                .resource_type
                .clone()
                .unwrap_or_else(|| "ANY".to_owned()),
            job_type: "ANY".to_owned(),
            core_count: queue.core_count,
            node: request.node.clone(),
            submit_time: None,
            start_time: Some(self.ctx.now),
            end_time: None,
            exit_code: None,
            diag: String::new(),
            panda_ids: Vec::new(),
            detail: ailurus_model::WorkerDetail::default(),
        };
        self.ledger.put_worker(&worker, self.ctx.now)
    }
}

/// Adds what a job's tags say to its options.
fn with_tags(mut options: JobOptions, tags: &JobTags) -> JobOptions {
    options.is_debug |= tags.has(job_tags::DEBUG);
    options.is_hpo |= tags.has(job_tags::HPO);
    options.has_own_setup |= tags.has(job_tags::NO_STRING_CONVERSION);
    options.logs_to_object_store |= tags.has(job_tags::LOG_TO_OBJECT_STORE);
    options.has_in_file_positions |= tags.has(job_tags::IN_FILE_POSITION);
    options.uses_prefetcher |= tags.has(job_tags::PREFETCHER);
    options.merges_on_site |= tags.has(job_tags::ON_SITE_MERGING);
    match EventRole::of(tags) {
        EventRole::Takes => options.is_event_service = true,
        EventRole::TakesBeside => {
            options.is_event_service |= tags.has(job_tags::FINE_GRAINED);
        }
        EventRole::Merges => options.is_event_service_merge = true,
        EventRole::None => {}
    }
    match tags.value_of(job_tags::CLONING) {
        Some("1") => options.cloning = JobCloning::RunOnce,
        Some("2") => options.cloning = JobCloning::StoreOnce,
        Some(_) | None => {}
    }
    match tags.value_of(job_tags::ALTERNATIVE_STAGE_OUT) {
        Some("on") => options.alternative_stage_out = AlternativeStageOut::On,
        Some("off") => options.alternative_stage_out = AlternativeStageOut::Off,
        Some(_) | None => {}
    }
    options
}

/// An attempt of which nothing is known yet.
pub(crate) fn fresh_attempt(
    job: &JobRecord,
    seed: Seed,
    queue: QueueName,
    now: Timestamp,
) -> AttemptRecord {
    AttemptRecord {
        panda_id: job.panda_id,
        attempt_nr: job.attempt_nr,
        seed,
        queue,
        node: NodeName::default(),
        pilot_id: String::new(),
        status: JobStatus::Sent,
        sent: now,
        started: None,
        ended: None,
        payload_exit_code: None,
        pilot_error: None,
        payload_error: None,
        server_error: None,
        diagnosis: String::new(),
        cpu_secs: None,
        rss_max: None,
        timing: String::new(),
        log_surl: String::new(),
        pilot_log: String::new(),
        report: String::new(),
    }
}

fn worker_of(request: &JobRequest) -> Option<(HarvesterId, WorkerId)> {
    let harvester = request.harvester_id.clone()?;
    (!harvester.is_empty()).then_some(())?;
    Some((harvester, request.worker_id?))
}

/// Returns the attempt as the pilot gets it.
fn described(
    spec: &TaskSpec,
    job: &JobRecord,
    attempt: &AttemptRecord,
    queue: &Queue,
    defined: Defined,
) -> Job {
    let endpoint = queue.output_endpoint().cloned().unwrap_or_default();
    let output = |file: &JobOutput, guid| OutputFile {
        lfn: file.lfn.clone(),
        scope: file.scope.clone(),
        guid,
        dataset: file.dataset.clone(),
        endpoint: endpoint.clone(),
    };
    let Defined {
        payload,
        outputs,
        inputs,
    } = defined;
    let optional = outputs
        .files
        .iter()
        .filter(|file| file.presence == Presence::Optional);
    let mut options = with_tags(payload.options, &job.tags);
    if job.tags.has(job_tags::WRITE_INPUT_LIST) && options.write_to_file.is_empty() {
        options.write_to_file = input_lists(&inputs);
    }
    options.is_virtual_placement |= queue.has_virtual_placement();
    let parameters = if job.tags.has(job_tags::ENCODED_PARAMETERS) {
        STANDARD.encode(&payload.parameters)
    } else {
        payload.parameters
    };
    Job {
        panda_id: job.panda_id,
        attempt_nr: attempt.attempt_nr,
        task_id: job.task_id,
        jobset_id: payload.jobset_id,
        name: payload.job_name,
        source_label: job.source_label.clone(),
        processing_type: payload.processing_type,
        user: spec.user.clone(),
        transformation: payload.transformation,
        parameters,
        release: payload.release,
        platform: if payload.platform.is_empty() {
            queue.platform.clone()
        } else {
            payload.platform
        },
        container_image: payload.container_image,
        core_count: job.cores,
        memory: job.memory,
        disk: job.disk,
        walltime: Duration::from_secs(job.walltime_secs),
        resource_type: job.resource_type.clone(),
        priority: job.priority,
        outputs: outputs
            .files
            .iter()
            .map(|file| output(file, None))
            .collect(),
        log: Some(output(&outputs.log, Some(guid::of_log(attempt)))),
        inputs: inputs
            .into_iter()
            .map(|file| input_file(file, queue))
            .collect(),
        looping_check: payload.looping_check && !job.tags.has(job_tags::NO_LOOPING_CHECK),
        outputs_optional: optional.map(|file| file.lfn.clone()).collect(),
        transfer_type: payload.transfer_type,
        options,
    }
}

/// Lists the inputs by dataset, as PanDA writes it: the name of a file for each dataset, and what
/// is to be in it.
fn input_lists(inputs: &[FileRecord]) -> String {
    let mut lists: Vec<(&str, Vec<&str>)> = Vec::new();
    for file in inputs {
        let name = file.dataset.as_str().trim_end_matches('/');
        let name = name.rsplit(':').next().unwrap_or(name);
        let place = match lists.iter().position(|(known, _)| *known == name) {
            Some(place) => place,
            None => {
                lists.push((name, Vec::new()));
                lists.len() - 1
            }
        };
        lists[place].1.push(file.lfn.as_str());
    }
    let lists = lists.iter();
    let lists: Vec<String> = lists
        .map(|(name, lfns)| format!("tmpin_{name}:{}", lfns.join(",")))
        .collect();
    lists.join("^")
}

/// Describes an input by the replica that lies at the queue, if one does.
fn input_file(file: FileRecord, queue: &Queue) -> InputFile {
    let mut at_queue = queue.storages.values().flatten();
    let near =
        at_queue.find(|endpoint| **endpoint == file.endpoint || file.replicas.contains(endpoint));
    let endpoint = near.cloned().unwrap_or(file.endpoint);
    InputFile {
        lfn: file.lfn,
        scope: file.scope,
        guid: file.guid,
        dataset: file.dataset,
        size: file.size,
        checksum: file.checksum,
        endpoint,
    }
}
