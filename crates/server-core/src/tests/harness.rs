//! A server in memory with short verbs, so that a test says only what it is about.
//!
//! Every verb checks the invariants after it.

use std::{cmp::Reverse, collections::BTreeMap, sync::LazyLock, time::Duration};

use ailurus_diagnosis::Catalogue;
use ailurus_model::{
    AttemptNr, ByteCount, Caller, Checksum, Command, DatasetName, ErrorCode, FileReport, Guid,
    HarvesterId, Job, JobRequest, JobStatus, JobUpdate, Lfn, PandaId, Queue, QueueName,
    SourceLabel, TaskId, TaskSpec, TaskStatus, Timestamp, UpdateAnswer, Worker, WorkerId,
    WorkerStatus,
    task::{ListedDataset, ListedFile, Resources, Split, Submission, TaskInput, TaskOutput},
    update::ReportedError,
};

use crate::{
    AcquireError, ActionError, Context, KillCode, KillRequest, Ledger, Limits, MemoryLedger,
    Scheduling, SubmitError, Submitted, Unmerged, WatchReport, acquire_jobs, broker,
    invariants::{check_always, check_state, check_step},
    kill_job, kill_jobs, kill_task,
    ledger::{AttemptRecord, FileRecord, JobRecord, TaskRecord},
    retry_task, submit, update_job, update_workers, watch,
};

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::built_in);

/// The two queues of every test server.
pub(super) const NEAR: &str = "JINR_NEAR";
pub(super) const FAR: &str = "SPBU_FAR";
/// The Harvester instance of every test.
pub(super) const HARVESTER: &str = "harvester-1";

pub(super) struct Server {
    pub(super) ledger: MemoryLedger,
    pub(super) queues: BTreeMap<QueueName, Queue>,
    pub(super) limits: Limits,
    pub(super) now: Timestamp,
    pub(super) scheduling: Scheduling,
}

impl Server {
    pub(super) fn new() -> Self {
        Self {
            ledger: MemoryLedger::new(),
            queues: [NEAR, FAR].map(|name| (name.into(), queue(name))).into(),
            limits: Limits::default(),
            now: Timestamp::from_millis(1_790_000_000_000),
            scheduling: Scheduling::default(),
        }
    }

    /// A server that was given these tasks.
    pub(super) fn with(tasks: impl Into<Vec<TaskSpec>>) -> Self {
        let mut server = Self::new();
        server.submit(tasks);
        server
    }

    pub(super) fn queue(&mut self, name: &str) -> &mut Queue {
        self.queues.get_mut(&QueueName::new(name)).unwrap()
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    /// Runs an operation and checks what must hold after it.
    pub(super) fn run<T>(
        &mut self,
        operation: impl FnOnce(&Context<'_>, &mut MemoryLedger) -> T,
    ) -> T {
        let before = self.ledger.clone();
        let answer = self.look(operation);
        check_state(&self.ledger).unwrap();
        check_step(&before, &self.ledger).unwrap();
        answer
    }

    /// Runs an operation that may bring jobs back to life.
    pub(super) fn run_again<T>(
        &mut self,
        operation: impl FnOnce(&Context<'_>, &mut MemoryLedger) -> T,
    ) -> T {
        let has_workflows = self.ledger.workflows().next().is_some();
        let before = has_workflows.then(|| self.ledger.clone());
        let answer = self.look(operation);
        if let Some(before) = before {
            check_always(&before, &self.ledger).unwrap();
        }
        check_state(&self.ledger).unwrap();
        answer
    }

    /// Runs an operation that changes nothing, on rows that a test may have made up.
    pub(super) fn look<T>(
        &mut self,
        operation: impl FnOnce(&Context<'_>, &mut MemoryLedger) -> T,
    ) -> T {
        let ctx = Context {
            now: self.now,
            queues: &self.queues,
            catalogue: &CATALOGUE,
            limits: &self.limits,
            scheduling: &self.scheduling,
        };
        operation(&ctx, &mut self.ledger)
    }

    // --- people ---

    pub(super) fn submit(&mut self, tasks: impl Into<Vec<TaskSpec>>) -> Vec<Submitted> {
        self.try_submit(&Submission {
            datasets: Vec::new(),
            tasks: tasks.into(),
        })
        .unwrap()
    }

    pub(super) fn try_submit(&mut self, all: &Submission) -> Result<Vec<Submitted>, SubmitError> {
        self.run(|ctx, ledger| submit(ctx, ledger, all))
    }

    /// Has somebody kill a job by PanDA's call, and says whether it is to end.
    pub(crate) fn kill_as(&mut self, caller: &Caller, id: PandaId, code: KillCode) -> bool {
        let request = KillRequest {
            code,
            caller,
            sub_status: None,
            unmerged: Unmerged::Lost,
        };
        let done = self.run(|ctx, ledger| kill_jobs(ctx, ledger, &[id], request));
        done.unwrap()[0]
    }

    pub(super) fn kill_job(&mut self, id: u64) -> Result<u64, ActionError> {
        self.run(|ctx, ledger| kill_job(ctx, ledger, PandaId::new(id), "alice"))
    }

    pub(super) fn kill_task(&mut self, id: u64) -> Result<u64, ActionError> {
        self.run(|ctx, ledger| kill_task(ctx, ledger, TaskId::new(id), "alice"))
    }

    /// The one operation that changes jobs which have ended.
    pub(super) fn retry_task(&mut self, id: u64) -> Result<u64, ActionError> {
        self.run_again(|ctx, ledger| retry_task(ctx, ledger, TaskId::new(id), "alice"))
    }

    // --- pilots ---

    pub(super) fn acquire(&mut self, queue: &str) -> Vec<Job> {
        self.try_acquire(&request(queue)).unwrap()
    }

    pub(super) fn try_acquire(&mut self, request: &JobRequest) -> Result<Vec<Job>, AcquireError> {
        self.run(|ctx, ledger| acquire_jobs(ctx, ledger, request))
    }

    /// Gets the best job that any queue has.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        let waiting = self
            .ledger
            .jobs()
            .filter(|job| job.status == JobStatus::Activated);
        let best = waiting.max_by_key(|job| (job.priority, Reverse(job.panda_id)))?;
        let queue = best.queue.clone().expect("an activated job has a queue");
        self.acquire(queue.as_str()).pop()
    }

    /// Gets a job and says that it runs.
    pub(super) fn running_job(&mut self) -> Job {
        let job = self.next_job().expect("a job is activated");
        self.update(&job, JobStatus::Running);
        job
    }

    pub(super) fn send(&mut self, update: &JobUpdate) -> UpdateAnswer {
        self.run(|ctx, ledger| update_job(ctx, ledger, update))
            .unwrap()
    }

    pub(super) fn update(&mut self, job: &Job, status: JobStatus) -> UpdateAnswer {
        self.send(&JobUpdate::new(job.panda_id, Some(job.attempt_nr), status))
    }

    pub(super) fn finish(&mut self, job: &Job) -> UpdateAnswer {
        self.send(&finished(job))
    }

    pub(super) fn fail(&mut self, job: &Job, code: ErrorCode) -> UpdateAnswer {
        self.send(&failed(job, code))
    }

    /// Fails every job of a task, until no attempt is left.
    pub(super) fn fail_for_good(&mut self, task: u64) {
        while let Some(job) = self.next_job() {
            assert_eq!(job.task_id, TaskId::new(task));
            self.fail(&job, ErrorCode::LoopingJob);
        }
    }

    // --- Harvester and the server's own timer ---

    pub(super) fn report_worker(&mut self, worker: &Worker) {
        let workers = std::slice::from_ref(worker);
        let taken = self.run(|ctx, ledger| update_workers(ctx, ledger, workers));
        assert_eq!(taken.unwrap(), [true]);
    }

    pub(super) fn watch(&mut self) -> WatchReport {
        self.run(watch).unwrap()
    }

    pub(super) fn broker(&mut self) -> u64 {
        self.run(broker).unwrap()
    }

    // --- rows ---

    pub(super) fn job(&self, id: u64) -> JobRecord {
        self.ledger.job(PandaId::new(id)).unwrap().expect("a job")
    }

    pub(super) fn status(&self, id: u64) -> JobStatus {
        self.job(id).status
    }

    /// Statuses of all jobs of a task, by part.
    pub(super) fn statuses(&self, task: u64) -> Vec<JobStatus> {
        let of_task = |job: &&JobRecord| job.task_id == TaskId::new(task);
        self.ledger
            .jobs()
            .filter(of_task)
            .map(|job| job.status)
            .collect()
    }

    pub(super) fn task(&self, id: u64) -> TaskRecord {
        self.ledger.task(TaskId::new(id)).unwrap().expect("a task")
    }

    pub(super) fn task_status(&self, id: u64) -> TaskStatus {
        self.task(id).status
    }

    pub(super) fn attempt(&self, job: u64, nr: u32) -> AttemptRecord {
        self.ledger
            .attempt(PandaId::new(job), AttemptNr::new(nr))
            .unwrap()
            .expect("an attempt")
    }

    pub(super) fn file(&self, dataset: &str, part: u32) -> Option<FileRecord> {
        self.ledger
            .file_of_part(&DatasetName::new(dataset), part)
            .unwrap()
    }
}

/// A queue that takes everything and has storage of its own.
pub(crate) fn queue(name: &str) -> Queue {
    let storage = |activity: &str| {
        (
            activity.to_owned(),
            vec![format!("{name}_DISK").as_str().into()],
        )
    };
    Queue {
        resource: format!("{name}_RESOURCE").as_str().into(),
        core_count: 8,
        platform: "x86_64-el9".to_owned(),
        storages: ["pr", "pw"].map(storage).into(),
        ..Queue::named(name)
    }
}

/// A task of `n_jobs` jobs without input, each writing one file.
pub(super) fn generation(n_jobs: u64) -> TaskSpec {
    TaskSpec {
        name: "gen".to_owned(),
        chain: None,
        user: "alice".to_owned(),
        scope: "spd".into(),
        source_label: SourceLabel::default(),
        processing_type: "evgen".to_owned(),
        transformation: "generate.py".to_owned(),
        parameters: "--seed {seed} --events {events} --first {first_event} -o {output.gen}"
            .to_owned(),
        split: Split::Events {
            total: n_jobs * 1000,
            per_job: 1000,
        },
        inputs: Vec::new(),
        outputs: vec![output("gen", "gen_{seed:06}.root")],
        resources: Resources {
            cores: 1,
            memory: ByteCount::from_mib(1000),
            disk: ByteCount::ZERO,
            walltime: Duration::ZERO,
        },
        priority: 100,
        max_attempts: 3,
        queues: Vec::new(),
    }
}

/// A task that reads what another one writes and writes one file a job.
pub(super) fn reading(from: &str, name: &str, split: Split) -> TaskSpec {
    TaskSpec {
        name: name.to_owned(),
        parameters: format!("-i {{input.{from}}} -o {{output.{name}}}"),
        split,
        inputs: vec![input(from)],
        outputs: vec![output(name, &format!("{name}_{{part}}_{{attempt}}.root"))],
        ..generation(1)
    }
}

/// A job for each file.
pub(super) const FILE_BY_FILE: Split = Split::Files { per_job: 1 };

pub(super) fn input(name: &str) -> TaskInput {
    TaskInput {
        name: name.to_owned(),
        dataset: format!("spd.{name}").as_str().into(),
    }
}

pub(super) fn output(name: &str, lfn: &str) -> TaskOutput {
    TaskOutput {
        name: name.to_owned(),
        dataset: format!("spd.{name}").as_str().into(),
        lfn: lfn.to_owned(),
    }
}

/// A dataset with files that exist, all on one endpoint.
pub(super) fn listed(name: &str, endpoint: &str, n_files: u32) -> ListedDataset {
    let file = |part| ListedFile {
        lfn: Lfn::new(format!("{name}_{part}.root")),
        scope: "spd".into(),
        guid: None,
        size: Some(ByteCount::from_mib(100)),
        checksum: Some(Checksum::Adler32(part)),
        endpoint: endpoint.into(),
    };
    ListedDataset {
        name: format!("spd.{name}").as_str().into(),
        files: (0..n_files).map(file).collect(),
    }
}

pub(super) fn request(queue: &str) -> JobRequest {
    JobRequest {
        queue: queue.into(),
        source_label: SourceLabel::default(),
        node: "slot1@node7".into(),
        memory: ByteCount::ZERO,
        disk: ByteCount::ZERO,
        remaining_time: None,
        resource_type: None,
        task_id: None,
        user: None,
        n_jobs: 1,
        harvester_id: None,
        worker_id: None,
        scheduler_id: "pilot-1".to_owned(),
        details: ailurus_model::RequestDetails::default(),
    }
}

/// A request of the pilot in a worker.
pub(super) fn request_in_worker(queue: &str, worker_id: u64) -> JobRequest {
    JobRequest {
        harvester_id: Some(HARVESTER.into()),
        worker_id: Some(WorkerId::new(worker_id)),
        ..request(queue)
    }
}

pub(super) fn worker(id: u64, status: WorkerStatus) -> Worker {
    Worker {
        harvester_id: HarvesterId::new(HARVESTER),
        worker_id: WorkerId::new(id),
        batch_id: "4711.0".into(),
        queue: NEAR.into(),
        status,
        resource_type: "SCORE".to_owned(),
        job_type: "managed".to_owned(),
        core_count: 1,
        node: "".into(),
        submit_time: None,
        start_time: None,
        end_time: None,
        exit_code: None,
        diag: String::new(),
        panda_ids: Vec::new(),
        detail: ailurus_model::WorkerDetail::of_sure_end(),
    }
}

/// The last update of an attempt that did all it should.
pub(super) fn finished(job: &Job) -> JobUpdate {
    let mut update = JobUpdate::new(job.panda_id, Some(job.attempt_nr), JobStatus::Finished);
    update.outputs = job.outputs.iter().chain(&job.log).map(report).collect();
    update.payload_exit_code = Some(0);
    update
}

pub(super) fn report(file: &ailurus_model::OutputFile) -> FileReport {
    FileReport {
        lfn: file.lfn.clone(),
        guid: Guid::new(format!("guid-of-{}", file.lfn)),
        size: ByteCount::from_mib(10),
        checksum: Checksum::Adler32(7),
        surl: format!("file:///eos/{}", file.lfn),
        endpoint: file.endpoint.clone(),
    }
}

/// The last update of an attempt that failed.
pub(super) fn failed(job: &Job, code: ErrorCode) -> JobUpdate {
    let mut update = JobUpdate::new(job.panda_id, Some(job.attempt_nr), JobStatus::Failed);
    update.outputs = job.log.iter().map(report).collect();
    update.pilot_error = Some(ReportedError {
        code: i64::from(code.number()),
        diag: code.message().to_owned(),
    });
    update
}

/// The commands of an answer that tells a zombie to end.
pub(super) fn end_with(command: Command) -> Vec<Command> {
    vec![command, Command::ToBeKilled]
}
