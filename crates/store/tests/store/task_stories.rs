//! PanDA's tasks from their parameters to their end, on each kind of ledger: what becomes of them
//! is the same in memory, in `SQLite` and in `PostgreSQL`.
//!
//! Each operation is a transaction of its own, as in a server.

use std::{collections::BTreeMap, fmt::Write as _, sync::LazyLock, time::Duration};

use ailurus_diagnosis::Catalogue;
use ailurus_model::{
    ByteCount, Caller, Checksum, ErrorCode, FileReport, Guid, Job, JobRequest, JobStatus,
    JobUpdate, Lfn, PandaId, Queue, QueueName, TaskId, TaskStatus, Timestamp,
    update::ReportedError,
};
use ailurus_server_core::{
    Context, Limits, MemoryLedger, Scheduling, acquire_jobs, broker, describe_job, explain_job,
    explain_task,
    ledger::{Ledger, LedgerError},
    tasks::{
        CommandRequest, DatasetAnswer, FileLists, FinishMode, FoundFile, Openness, RetryLimits,
        TaskRequest, answer_dataset, command_task, file_tally, list_datasets, step_tasks,
        submit_task,
    },
    update_job,
};
use ailurus_store::{Database, DatabaseLedger, Readers};
use serde_json::{Map, Value, json};

use crate::{postgresql, rows::NOW};

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::built_in);
/// Steps after which a story must be over.
const STEPS_MAX: u32 = 500;

/// Rows that change in transactions.
trait Transactions: Ledger + Sized {
    fn within<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T;
}

impl Transactions for MemoryLedger {
    fn within<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        work(self)
    }
}

impl Transactions for DatabaseLedger {
    fn within<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.transact(work).unwrap()
    }
}

/// A server with two queues over some rows.
struct Server<L> {
    ledger: L,
    queues: BTreeMap<QueueName, Queue>,
    limits: Limits,
    now: Timestamp,
    scheduling: Scheduling,
    /// What happened, for comparison.
    told: String,
}

impl<L: Transactions> Server<L> {
    fn over(ledger: L) -> Self {
        let mut limits = Limits::default();
        limits.tasks.jobs_per_library = 3;
        limits.tasks.jobs_per_step = 7;
        let all = RetryLimits {
            failed_jobs_percent_max: 90,
            ..RetryLimits::default()
        };
        limits.tasks.retry_limits = [("*".to_owned(), all)].into();
        Self {
            ledger,
            queues: ["NEAR", "FAR"]
                .map(|name| (name.into(), queue(name)))
                .into(),
            limits,
            now: NOW,
            scheduling: Scheduling::default(),
            told: String::new(),
        }
    }

    fn run<T>(&mut self, operation: impl FnOnce(&Context<'_>, &mut L) -> T) -> T {
        let ctx = Context {
            now: self.now,
            queues: &self.queues,
            catalogue: &CATALOGUE,
            limits: &self.limits,
            scheduling: &self.scheduling,
        };
        self.ledger.within(|ledger| operation(&ctx, ledger))
    }

    fn submit(&mut self, params: Value, parent: Option<u64>) {
        let request = TaskRequest {
            params,
            parent: parent.map(TaskId::new),
            origin: String::new(),
        };
        let caller = Caller::loopback();
        let reply = self.run(|ctx, ledger| submit_task(ctx, ledger, request, &caller));
        assert_eq!(reply.unwrap().code, 0);
    }

    fn command(&mut self, id: u64, request: CommandRequest) {
        let caller = Caller::loopback();
        let id = TaskId::new(id);
        let reply = self.run(|ctx, ledger| command_task(ctx, ledger, id, request, &caller));
        let reply = reply.unwrap();
        writeln!(self.told, "task {id}: {} {}", reply.code, reply.message).unwrap();
    }

    fn steps(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.ledger.tasks_due(self.now, 1).unwrap().is_empty() {
                return;
            }
            self.run(step_tasks).unwrap();
        }
        panic!("the steps do not come to an end");
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    fn answer(&mut self, name: &str, n: u32, openness: Openness) {
        let file = |nr| FoundFile {
            lfn: Lfn::new(format!("raw_{nr}.root")),
            scope: "spd".into(),
            guid: None,
            size: Some(ByteCount::from_mib(1)),
            checksum: None,
            endpoint: "NEAR_DISK".into(),
            replicas: Vec::new(),
            n_events: None,
        };
        let answer = DatasetAnswer::Files((0..n).map(file).collect(), openness);
        self.run(|ctx, ledger| answer_dataset(ctx, ledger, name, answer))
            .unwrap();
        self.steps();
    }

    /// Gets a job of any queue.
    fn next(&mut self) -> Option<Job> {
        self.run(broker).unwrap();
        for queue in ["NEAR", "FAR"] {
            let request = JobRequest {
                queue: queue.into(),
                source_label: ailurus_model::SourceLabel::new("managed"),
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
            };
            let jobs = self.run(|ctx, ledger| acquire_jobs(ctx, ledger, &request));
            if let Some(job) = jobs.unwrap().pop() {
                let (id, nr) = (job.panda_id, Some(job.attempt_nr));
                self.update(&JobUpdate::new(id, nr, JobStatus::Running));
                return Some(job);
            }
        }
        None
    }

    fn update(&mut self, update: &JobUpdate) {
        self.run(|ctx, ledger| update_job(ctx, ledger, update))
            .unwrap();
    }

    fn finish(&mut self, job: &Job) {
        let mut update = JobUpdate::new(job.panda_id, Some(job.attempt_nr), JobStatus::Finished);
        let files = job.outputs.iter().chain(&job.log);
        update.outputs = files
            .map(|file| FileReport {
                lfn: file.lfn.clone(),
                guid: Guid::new(format!("guid-of-{}", file.lfn)),
                size: ByteCount::from_mib(10),
                checksum: Checksum::Adler32(7),
                surl: format!("file:///eos/{}", file.lfn),
                endpoint: file.endpoint.clone(),
            })
            .collect();
        update.payload_exit_code = Some(0);
        self.pass(Duration::from_secs(60));
        self.update(&update);
        self.steps();
    }

    fn fail(&mut self, job: &Job) {
        let mut update = JobUpdate::new(job.panda_id, Some(job.attempt_nr), JobStatus::Failed);
        update.pilot_error = Some(ReportedError {
            code: i64::from(ErrorCode::StageInFailed.number()),
            diag: "no way".to_owned(),
        });
        self.pass(Duration::from_secs(60));
        self.update(&update);
        self.steps();
    }

    /// Runs all that there is, with the timer between.
    fn run_dry(&mut self) {
        for _ in 0..3 {
            self.steps();
            while let Some(job) = self.next() {
                self.finish(&job);
            }
            self.pass(Duration::from_secs(60));
        }
    }

    fn status(&self, id: u64) -> TaskStatus {
        self.ledger.task(TaskId::new(id)).unwrap().unwrap().status
    }

    /// Tells all that people can see of the tasks and their jobs.
    fn tell(&mut self) {
        let mut told = std::mem::take(&mut self.told);
        self.tell_tasks(&mut told).unwrap();
        self.told = told;
    }

    fn tell_tasks(&self, told: &mut String) -> Result<(), LedgerError> {
        let ledger = &self.ledger;
        for id in (1..).map(TaskId::new) {
            let Some(task) = ledger.task(id)? else { break };
            let progress = ledger.task_progress(id)?.unwrap();
            let tally = file_tally(ledger, id)?;
            let work = ledger.work_of(id)?;
            let counts = ledger.task_counts(id)?;
            let text = format!(
                "task {id} {} n={} {:?} {tally:?} {work:?} {counts:?} {:?} {:?}\n",
                task.status, task.n_jobs, progress.message, progress.builds, progress.inputs
            );
            told.push_str(&text);
            for job in ledger.jobs_of_task(id, JobStatus::ALL)? {
                let job = ledger.job(job)?.unwrap();
                let needs = ledger.needs_of(job.panda_id)?;
                let text = format!(
                    "  job {} {} {} part {} {} of {} at {:?} prio {} {:?} {needs:?}\n",
                    job.panda_id,
                    job.kind,
                    job.status,
                    job.part,
                    job.attempt_nr,
                    job.max_attempts,
                    job.queue,
                    job.priority,
                    job.reason
                );
                told.push_str(&text);
            }
            let types = ["input", "output", "log"].map(str::to_owned);
            let lists = list_datasets(ledger, id, &types, FileLists::Shown)?;
            told.push_str(&format!("  {}\n", json!(lists)));
        }
        Ok(())
    }
}

fn queue(name: &str) -> Queue {
    let storage = |activity: &str| {
        let endpoint = format!("{name}_DISK").as_str().into();
        (activity.to_owned(), vec![endpoint])
    };
    Queue {
        core_count: 8,
        storages: ["pr", "pw"].map(storage).into(),
        ..Queue::named(name)
    }
}

/// A task of `n` jobs without input, with changes.
fn task(name: &str, n: u32, changes: &Value) -> Value {
    let mut task = json!({
        "taskName": name, "userName": "prod", "taskType": "prod", "prodSourceLabel": "managed",
        "vo": "spd", "processingType": "gen", "noInput": true, "nEvents": n, "nEventsPerJob": 1,
        "skipScout": true, "transPath": "gen.sh", "architecture": "",
        "log": {"type": "template", "param_type": "log", "dataset": format!("{name}.log"),
                "value": format!("{name}.$JEDITASKID.${{SN}}.log.tgz")},
        "jobParameters": [
            {"type": "constant", "value": "-n ${MAXEVENTS} --skip ${SKIPEVENTS}"},
            {"type": "template", "param_type": "output", "dataset": format!("{name}.hits"),
             "value": format!("--out={name}.$JEDITASKID._${{SN/P}}.root")},
        ],
    });
    let map = task.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            map.remove(key);
        } else {
            map.insert(key.clone(), value.clone());
        }
    }
    task
}

/// A task that reads a dataset.
fn reading(name: &str, dataset: &str, changes: &Value) -> Value {
    let nothing = json!({"noInput": null, "nEvents": null, "nEventsPerJob": null});
    let mut task = task(name, 1, &nothing);
    let items = task["jobParameters"].as_array_mut().unwrap();
    items.push(json!(
        {"type": "template", "param_type": "input", "dataset": dataset, "value": "-i ${IN/L}"}
    ));
    for (key, value) in changes.as_object().unwrap() {
        task[key] = value.clone();
    }
    task
}

/// Scouts first, then all others, whose outputs are merged.
fn scouts_and_merging<L: Transactions>(server: &mut Server<L>) {
    let merging = json!({
        "skipScout": false, "mergeOutput": true, "nFilesPerMergeJob": 4,
        "mergeSpec": {"transPath": "merge.sh",
            "jobParameters": "-o ${OUTPUT0} -i ${TRN_OUTPUT0/L}"},
    });
    server.submit(task("sim", 15, &merging), None);
    server.steps();
    assert_eq!(server.status(1), TaskStatus::Scouting);
    server.tell();
    server.run_dry();
    assert_eq!(server.status(1), TaskStatus::Done);
}

/// A chain file by file, whose second step builds a library at each site.
fn chain_with_libraries<L: Transactions>(server: &mut Server<L>) {
    let build = json!({
        "nFilesPerJob": 2, "noWaitParent": true,
        "buildSpec": {"prodSourceLabel": "managed", "archiveName": "a", "jobParameters": "x"},
    });
    server.submit(task("gen", 16, &json!({})), None);
    server.submit(reading("reco", "gen.hits", &build), Some(1));
    server.steps();
    server.tell();
    server.run_dry();
    assert_eq!(server.status(2), TaskStatus::Done);
    let progress = server.ledger.task_progress(TaskId::new(2)).unwrap();
    assert!(!progress.unwrap().builds.is_empty());
}

/// Failures, commands about many jobs, a soft end, retries until a limit, and a kill.
fn failures_and_commands<L: Transactions>(server: &mut Server<L>) {
    use ailurus_jedi::command::{ReassignMode, ReassignTarget, RetryQualifiers};

    let retry = || CommandRequest::Retry(RetryQualifiers::default(), Map::new());
    server.submit(task("t", 20, &json!({"maxAttempt": 2})), None);
    server.steps();
    for round in 0..9 {
        let job = server.next().unwrap();
        if round == 0 {
            server.finish(&job);
        } else {
            server.fail(&job);
        }
    }
    server.command(1, CommandRequest::Priority(77));
    server.command(1, CommandRequest::IncreaseAttempts(1));
    let target = ReassignTarget::Site("FAR".to_owned());
    server.command(
        1,
        CommandRequest::Reassign(target, ReassignMode::EndWaiting),
    );
    server.steps();
    server.tell();
    server.command(1, CommandRequest::Finish(FinishMode::Soft));
    server.steps();
    assert_eq!(server.status(1), TaskStatus::Finished);
    server.command(1, retry());
    server.steps();
    while let Some(job) = server.next() {
        server.fail(&job);
    }
    server.steps();
    server.command(1, retry());
    assert_eq!(server.status(1), TaskStatus::Exhausted);
    server.tell();
    server.submit(task("u", 12, &json!({})), None);
    server.steps();
    server.command(2, CommandRequest::Pause);
    server.command(2, CommandRequest::Resume);
    server.command(2, CommandRequest::Kill);
    server.steps();
    assert_eq!(server.status(2), TaskStatus::Aborted);
}

/// A dataset of the catalogue that grows, and is read once more.
fn open_dataset<L: Transactions>(server: &mut Server<L>) {
    use ailurus_jedi::command::RetryQualifiers;

    let rules = json!({"nFilesPerJob": 2, "runUntilClosed": true});
    server.submit(reading("r", "spd:raw", &rules), None);
    server.steps();
    server.answer("spd:raw", 5, Openness::Open);
    server.run_dry();
    server.tell();
    server.answer("spd:raw", 9, Openness::Closed);
    server.run_dry();
    assert_eq!(server.status(1), TaskStatus::Done);
    server.command(
        1,
        CommandRequest::Incexec(RetryQualifiers::default(), Map::new()),
    );
    server.steps();
    server.answer("spd:raw", 11, Openness::Closed);
    server.run_dry();
    assert_eq!(server.status(1), TaskStatus::Done);
}

/// A task whose jobs fail again and again.
fn throttled<L: Transactions>(server: &mut Server<L>) {
    server.submit(task("bad", 2, &json!({"maxAttempt": 20})), None);
    server.steps();
    while server.status(1) != TaskStatus::Throttled {
        let job = server.next().unwrap();
        server.fail(&job);
    }
    server.tell();
    server.pass(Duration::from_secs(3 * 3600));
    server.run_dry();
    assert_eq!(server.status(1), TaskStatus::Done);
}

/// Tells a story on some rows.
fn told<L: Transactions>(ledger: L, story: impl Fn(&mut Server<L>)) -> String {
    let mut server = Server::over(ledger);
    story(&mut server);
    server.tell();
    server.told
}

/// Compares a story on a database with the one in memory.
macro_rules! same_story {
    ($open:expr, $($story:ident),*) => {
        $(
            let in_memory = told(MemoryLedger::new(), $story);
            let in_database = told($open, $story);
            for (memory, database) in in_memory.lines().zip(in_database.lines()) {
                assert_eq!(memory, database, "{}", stringify!($story));
            }
            assert_eq!(in_memory.len(), in_database.len());
        )*
    };
}

/// Describes and explains the jobs of a story that is half told, beside the writer.
fn look_beside(database: impl Into<Database>) {
    let database = database.into();
    let mut server = Server::over(DatabaseLedger::open(database.clone()).unwrap());
    server.submit(task("sim", 5, &json!({})), None);
    server.submit(reading("r", "spd:nowhere", &json!({})), None);
    server.steps();
    let job = server.next().unwrap();
    server.finish(&job);
    let ctx = Context {
        now: server.now,
        queues: &server.queues,
        catalogue: &CATALOGUE,
        limits: &server.limits,
        scheduling: &server.scheduling,
    };
    let readers = Readers::new(database);
    for id in (1..=5).map(PandaId::new) {
        let form = readers.look(|ledger| describe_job(&ctx, ledger, id));
        assert!(form.unwrap().is_some());
        let why = readers.look(|ledger| explain_job(&ctx, ledger, id));
        assert!(!why.unwrap().unwrap().sentence.is_empty());
    }
    for id in [1, 2].map(TaskId::new) {
        let why = readers.look(|ledger| explain_task(&ctx, ledger, id));
        assert!(!why.unwrap().unwrap().sentence.is_empty());
    }
    let refused = readers.look(|ledger| {
        let mut job = ledger.job(job.panda_id)?.unwrap();
        job.priority += 1;
        ledger.put_job(&job)
    });
    assert!(refused.is_err());
}

#[test]
fn people_are_answered_beside_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    look_beside(dir.path().join("server.db").as_path());
    postgresql::with_server(|| look_beside(postgresql::new_database().unwrap()));
}

#[test]
fn tasks_live_in_sqlite_as_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut nr = 0;
    let mut open = || {
        nr += 1;
        DatabaseLedger::open(&dir.path().join(format!("{nr}.db"))).unwrap()
    };
    same_story!(
        open(),
        scouts_and_merging,
        chain_with_libraries,
        failures_and_commands,
        open_dataset,
        throttled
    );
}

#[test]
fn tasks_live_in_postgresql_as_in_memory() {
    postgresql::with_server(|| {
        let open = || DatabaseLedger::open(postgresql::new_database().unwrap()).unwrap();
        same_story!(
            open(),
            scouts_and_merging,
            chain_with_libraries,
            failures_and_commands,
            open_dataset,
            throttled
        );
    });
}
