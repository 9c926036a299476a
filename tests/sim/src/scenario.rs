//! What is drawn before a run begins: queues, storages, limits, and what people submit.

use std::{collections::BTreeMap, time::Duration};

use ailurus_experiment::Profile;
use ailurus_harvester_core::{Config as HarvesterConfig, Limits as WorkerLimits, QueueSettings};
use ailurus_model::{
    ByteCount, ChainName, DatasetName, EndpointName, HarvesterId, Lfn, Moment, Queue, QueueName,
    Scope, SourceLabel, StorageEndpoint, StorageProtocol, TaskSpec, Timestamp,
    file::Checksum,
    task::{ListedDataset, ListedFile, Resources, Split, Submission, TaskInput, TaskOutput},
};
use ailurus_server_core::{Limits as ServerLimits, tasks::TaskLimits};

use crate::{chance::Chance, panda_tasks::PENDING_TIMEOUT};

/// Wall-clock time at virtual time zero: 1 January 2026.
const EPOCH: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// Where payload scripts are said to lie.
pub(crate) const SCRIPT_URL: &str = "https://scripts.example.org";
/// Scope of all files.
const SCOPE: &str = "sim";
/// How long after the end of all faults a run may still take.
const PATIENCE: Duration = Duration::from_secs(96 * HOUR);

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

/// Returns the true wall-clock time.
pub(crate) fn wall_clock(now: Moment) -> Timestamp {
    EPOCH.after(now.since(Moment::START))
}

/// The setting of one run.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) queues: BTreeMap<QueueName, Queue>,
    pub(crate) worker_limits: BTreeMap<QueueName, WorkerLimits>,
    pub(crate) storages: BTreeMap<EndpointName, StorageEndpoint>,
    pub(crate) submission: Submission,
    pub(crate) server_limits: ServerLimits,
    pub(crate) profile: Profile,
    pub(crate) harvester: HarvesterConfig,
    /// When all faults stop.
    pub(crate) faults_end: Moment,
    /// When everything must have ended.
    pub(crate) give_up: Moment,
}

impl Scenario {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let faults_end = Moment::START.after(chance.seconds(HOUR / 3, 3 * HOUR));
        let queues = draw_queues(chance);
        let submission = draw_submission(chance, &queues);
        let worker_limits = queues
            .keys()
            .map(|name| (name.clone(), draw_worker_limits(chance)));
        Self {
            worker_limits: worker_limits.collect(),
            storages: queues.keys().map(storage_of).collect(),
            queues,
            submission,
            server_limits: draw_server_limits(chance),
            profile: draw_profile(chance),
            harvester: HarvesterConfig {
                report_refresh: chance.seconds(5 * MINUTE, 30 * MINUTE),
                ..HarvesterConfig::new(HarvesterId::new("sim-harvester"))
            },
            faults_end,
            give_up: faults_end.after(PATIENCE),
        }
    }

    pub(crate) fn queue_settings(&self) -> Vec<QueueSettings> {
        let settings = self
            .worker_limits
            .iter()
            .map(|(name, limits)| QueueSettings {
                name: name.clone(),
                limits: *limits,
                job_type: "ANY".to_owned(),
                resource_type: "ANY".to_owned(),
            });
        settings.collect()
    }
}

fn draw_queues(chance: &mut Chance) -> BTreeMap<QueueName, Queue> {
    let n_queues = chance.count(1, 3);
    let queues = (1..=n_queues).map(|nr| {
        // The first one can run every job.
        let cores = if nr == 1 {
            8
        } else {
            *chance.one_of(&[1, 4, 8])
        };
        let queue = draw_queue(chance, nr, cores);
        (queue.name.clone(), queue)
    });
    queues.collect()
}

fn draw_queue(chance: &mut Chance, nr: u32, cores: u32) -> Queue {
    let name = QueueName::new(format!("SIM_{nr}"));
    let endpoint = endpoint_of(&name);
    let storages =
        ["read_lan", "write_lan"].map(|activity| (activity.to_owned(), vec![endpoint.clone()]));
    Queue {
        site: format!("SITE_{nr}"),
        core_count: cores,
        memory: ByteCount::from_mib(u64::from(cores) * *chance.one_of(&[2000, 4000])),
        disk: ByteCount::from_gib(100),
        max_time: chance.seconds(4 * HOUR, 12 * HOUR),
        time_floor: *chance.one_of(&[
            Duration::ZERO,
            Duration::from_secs(HOUR),
            Duration::from_secs(3 * HOUR),
        ]),
        storages: storages.into(),
        memory_grace_percent: 100,
        disk_grace_percent: 20,
        job_walltime_is_limit: chance.says_yes(500),
        worker_limit: chance.says_yes(300).then(|| chance.count(2, 8)),
        ..Queue::named(name.as_str())
    }
}

fn endpoint_of(queue: &QueueName) -> EndpointName {
    EndpointName::new(format!("{queue}_DISK"))
}

fn storage_of(queue: &QueueName) -> (EndpointName, StorageEndpoint) {
    let name = endpoint_of(queue);
    let protocol = StorageProtocol {
        endpoint: "file://".to_owned(),
        path: format!("/storage/{name}"),
        id: None,
    };
    let endpoint = StorageEndpoint {
        name: name.clone(),
        site: queue.to_string(),
        kind: "DATADISK".to_owned(),
        state: "ACTIVE".to_owned(),
        is_deterministic: true,
        protocols: BTreeMap::from([("default".to_owned(), vec![protocol])]),
        options: ailurus_model::StorageOptions::default(),
    };
    (name, endpoint)
}

fn draw_worker_limits(chance: &mut Chance) -> WorkerLimits {
    WorkerLimits {
        workers: chance.count(2, 12),
        waiting: chance.count(1, 6),
        new_per_cycle: chance.count(1, 6),
    }
}

fn draw_server_limits(chance: &mut Chance) -> ServerLimits {
    ServerLimits {
        heartbeat_timeout: chance.seconds(10 * MINUTE, 40 * MINUTE),
        sent_timeout: chance.seconds(3 * MINUTE, 10 * MINUTE),
        holding_timeout: chance.seconds(10 * MINUTE, 40 * MINUTE),
        production_holding_timeout: chance.seconds(10 * MINUTE, 40 * MINUTE),
        transferring_timeout: chance.seconds(10 * MINUTE, 40 * MINUTE),
        activated_timeout: chance.seconds(30 * MINUTE, 4 * HOUR),
        worker_final_sticky: chance.seconds(10 * MINUTE, 3 * HOUR),
        watch_batch: chance.count(1, 50),
        broker_batch: chance.count(5, 100),
        tasks: TaskLimits {
            pending_timeout: PENDING_TIMEOUT,
            exhausted_timeout: PENDING_TIMEOUT,
            ..TaskLimits::default()
        },
        ..ServerLimits::default()
    }
}

fn draw_profile(chance: &mut Chance) -> Profile {
    let mut profile = Profile::built_in("generic").expect("it is built in");
    let limits = &mut profile.limits;
    limits.heartbeat = chance.seconds(2 * MINUTE, 5 * MINUTE);
    limits.lost_heartbeat = chance.seconds(8 * MINUTE, 30 * MINUTE);
    limits.looping = chance.seconds(10 * MINUTE, 20 * MINUTE);
    limits.looping_check = chance.seconds(MINUTE, 5 * MINUTE);
    limits.sample = Duration::from_secs(MINUTE);
    limits.disk_check = Duration::from_secs(2 * MINUTE);
    limits.soft_kill_grace = chance.seconds(MINUTE, 5 * MINUTE);
    limits.final_update_patience = chance.seconds(5 * MINUTE, HOUR);
    profile
}

/// Draws a chain: the first task makes events or reads a listed dataset, each further one reads
/// what the one before writes, and the last may merge all of it.
fn draw_submission(chance: &mut Chance, queues: &BTreeMap<QueueName, Queue>) -> Submission {
    let mut submission = Submission::default();
    let n_tasks = chance.count(2, 4);
    let mut n_parts = chance.count(5, 60);
    for nr in 1..=n_tasks {
        let mut task = draw_task(chance, nr, queues);
        if nr == 1 && chance.says_yes(300) {
            let listed = list_dataset(queues, n_parts);
            task.inputs = vec![input_of(&listed.name)];
            submission.datasets.push(listed);
        }
        if let Some(before) = submission.tasks.last() {
            task.inputs = before
                .outputs
                .iter()
                .map(|output| input_of(&output.dataset))
                .collect();
        }
        task.split = if task.inputs.is_empty() {
            Split::Events {
                total: u64::from(n_parts) * 100 - 50,
                per_job: 100,
            }
        } else if nr == n_tasks && chance.says_yes(400) {
            Split::AllFiles
        } else {
            let per_job = chance.count(1, 3);
            n_parts = n_parts.div_ceil(per_job);
            Split::Files { per_job }
        };
        task.parameters = parameters(&task);
        submission.tasks.push(task);
    }
    submission
}

fn draw_task(chance: &mut Chance, nr: u32, queues: &BTreeMap<QueueName, Queue>) -> TaskSpec {
    let cores = *chance.one_of(&[1, 1, 1, 4, 8]);
    let first = queues.keys().next().cloned();
    let lfn = *chance.one_of(&["_{seed:06}", "_{part}_{attempt}"]);
    let n_outputs = chance.count(1, 2);
    let outputs = (1..=n_outputs).map(|output| TaskOutput {
        name: format!("out{output}"),
        dataset: DatasetName::new(format!("sim.step{nr}.out{output}")),
        lfn: format!("step{nr}.out{output}{lfn}.root"),
    });
    TaskSpec {
        name: format!("step{nr}"),
        chain: Some(ChainName::new("chain")),
        user: "alice".to_owned(),
        scope: Scope::new(SCOPE),
        source_label: SourceLabel::new("managed"),
        processing_type: "simulation".to_owned(),
        transformation: format!("{SCRIPT_URL}/step{nr}.sh"),
        parameters: String::new(),
        split: Split::AllFiles,
        inputs: Vec::new(),
        outputs: outputs.collect(),
        resources: Resources {
            cores,
            memory: ByteCount::from_mib(u64::from(cores) * *chance.one_of(&[1000, 2000])),
            disk: ByteCount::from_gib(1),
            walltime: Duration::from_secs(*chance.one_of(&[HOUR, 2 * HOUR])),
        },
        priority: i64::from(chance.count(100, 1000)),
        max_attempts: chance.count(1, 5),
        queues: first.filter(|_| chance.says_yes(200)).into_iter().collect(),
    }
}

fn input_of(dataset: &DatasetName) -> TaskInput {
    let name = dataset.as_str().rsplit('.').next().unwrap_or_default();
    TaskInput {
        name: name.to_owned(),
        dataset: dataset.clone(),
    }
}

fn parameters(task: &TaskSpec) -> String {
    let inputs = task
        .inputs
        .iter()
        .map(|input| format!("--{0} {{input.{0}}}", input.name));
    let outputs = task
        .outputs
        .iter()
        .map(|output| format!("--{0} {{output.{0}}}", output.name));
    let words: Vec<String> = inputs.chain(outputs).collect();
    format!("--seed {{seed}} {}", words.join(" "))
}

fn list_dataset(queues: &BTreeMap<QueueName, Queue>, n_files: u32) -> ListedDataset {
    let endpoint = queues.keys().next().map(endpoint_of).unwrap_or_default();
    let files = (0..n_files).map(|nr| ListedFile {
        lfn: Lfn::new(format!("raw_{nr}.root")),
        scope: Scope::new(SCOPE),
        guid: None,
        size: Some(ByteCount::from_kib(u64::from(nr) + 1)),
        checksum: Some(Checksum::Adler32(nr + 1)),
        endpoint: endpoint.clone(),
    });
    ListedDataset {
        name: DatasetName::new("sim.raw"),
        files: files.collect(),
    }
}
