//! Values of the model that can be told on the wire without loss.
//!
//! What the wire cannot carry is made whole here: sizes are whole MiB or KiB, times whole
//! seconds, lists of reports sorted by name, and the GUIDs of outputs are none.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{
    AttemptNr, BatchId, ByteCount, Checksum, Command, DatasetName, EndpointName, FileReport, Guid,
    HarvesterId, InputFile, Job, JobRequest, JobStatus, JobUpdate, Lfn, NodeName, OutputFile,
    PandaId, Queue, QueueName, Scope, SourceLabel, StorageEndpoint, StorageKeys, StorageOptions,
    StorageProtocol, TaskId, Timestamp, UpdateAnswer, UsageSummary, Worker, WorkerId, WorkerStatus,
    queue::QueueStatus,
    update::{PilotTiming, ReportedError},
    usage::MemoryUse,
};
use proptest::{collection::btree_map, collection::vec, option, prelude::*, sample::select};

/// A name without commas that stands for something.
fn name() -> impl Strategy<Value = String> {
    "x[a-z0-9._:/-]{0,12}"
}

/// Any text that stands for something, also with quotes, ampersands and umlauts.
fn text() -> impl Strategy<Value = String> {
    "x[ -~äß✓\n]{0,30}"
}

fn text_or_nothing() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), text()]
}

fn name_or_nothing() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), name()]
}

fn mib() -> impl Strategy<Value = ByteCount> {
    any::<u32>().prop_map(|mib| ByteCount::from_mib(mib.into()))
}

fn seconds() -> impl Strategy<Value = Duration> {
    any::<u32>().prop_map(|seconds| Duration::from_secs(seconds.into()))
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<u32>().prop_map(|seconds| Timestamp::from_millis(i64::from(seconds) * 1000))
}

fn checksum() -> impl Strategy<Value = Checksum> {
    prop_oneof![
        any::<u32>().prop_map(Checksum::Adler32),
        "[0-9a-f]{32}".prop_map(Checksum::Md5),
    ]
}

pub(crate) fn job_request() -> impl Strategy<Value = JobRequest> {
    let who = (name(), name(), name_or_nothing(), name_or_nothing());
    let needs = (
        mib(),
        mib(),
        option::of(1_u32..),
        option::of(name()),
        1_u32..9,
    );
    let links = (
        option::of(any::<u64>()),
        option::of(text()),
        option::of(name()),
        option::of(any::<u64>()),
    );
    (who, needs, links).prop_map(|(who, needs, links)| JobRequest {
        queue: QueueName::new(who.0.clone()),
        source_label: SourceLabel::new(who.1),
        node: NodeName::new(who.2),
        scheduler_id: who.3,
        memory: needs.0,
        disk: needs.1,
        remaining_time: needs.2.map(|seconds| Duration::from_secs(seconds.into())),
        resource_type: needs.3,
        n_jobs: needs.4,
        task_id: links.0.map(TaskId::new),
        user: links.1,
        harvester_id: links.2.map(HarvesterId::new),
        worker_id: links.3.map(WorkerId::new),
        details: ailurus_model::RequestDetails {
            computing_element: QueueName::new(who.0),
            ..Default::default()
        },
    })
}

fn inputs() -> impl Strategy<Value = Vec<InputFile>> {
    let names = (
        name(),
        option::of(name()),
        name_or_nothing(),
        name_or_nothing(),
    );
    let content = (option::of(1_u64..), option::of(checksum()));
    let file = (names, content).prop_map(|((scope, guid, dataset, endpoint), content)| InputFile {
        lfn: Lfn::default(),
        scope: Scope::new(scope),
        guid: guid.map(Guid::new),
        dataset: DatasetName::new(dataset),
        size: content.0.map(ByteCount::from_bytes),
        checksum: content.1,
        endpoint: EndpointName::new(endpoint),
    });
    btree_map(name(), file, 0..4).prop_map(|files| {
        let named = |(lfn, file): (String, InputFile)| InputFile {
            lfn: Lfn::new(lfn),
            ..file
        };
        files.into_iter().map(named).collect()
    })
}

fn outputs() -> impl Strategy<Value = (Vec<OutputFile>, Option<OutputFile>)> {
    let parts = (name(), name_or_nothing(), name_or_nothing());
    let files = btree_map(name(), parts, 0..4).prop_map(|files| {
        let file =
            |(lfn, (scope, dataset, endpoint)): (String, (String, String, String))| OutputFile {
                lfn: Lfn::new(lfn),
                scope: Scope::new(scope),
                guid: None,
                dataset: DatasetName::new(dataset),
                endpoint: EndpointName::new(endpoint),
            };
        files.into_iter().map(file).collect::<Vec<_>>()
    });
    (files, any::<bool>(), option::of(name())).prop_map(|(mut files, has_log, guid)| {
        let log = if has_log { files.pop() } else { None };
        let guid = guid.map(Guid::new);
        let log = log.map(|file| OutputFile { guid, ..file });
        (files, log)
    })
}

pub(crate) fn job() -> impl Strategy<Value = Job> {
    let ids = (
        any::<u64>(),
        any::<u32>(),
        any::<u64>(),
        any::<u64>(),
        any::<i64>(),
    );
    let names = [
        name_or_nothing().boxed(),
        name_or_nothing().boxed(),
        text_or_nothing().boxed(),
        text_or_nothing().boxed(),
        text_or_nothing().boxed(),
        name_or_nothing().boxed(),
        name_or_nothing().boxed(),
        name_or_nothing().boxed(),
        name_or_nothing().boxed(),
        name_or_nothing().boxed(),
    ];
    let needs = (1_u32.., mib(), mib(), seconds(), any::<bool>());
    let files = (inputs(), outputs(), vec(name(), 0..3), name());
    (ids, names, needs, files).prop_map(|(ids, names, needs, files)| {
        let [
            title,
            processing_type,
            user,
            transformation,
            parameters,
            release,
            ..,
        ] = names.clone();
        let [.., platform, container_image, resource_type, transfer_type] = names;
        let (outputs, log) = files.1;
        Job {
            panda_id: PandaId::new(ids.0),
            attempt_nr: AttemptNr::new(ids.1),
            task_id: TaskId::new(ids.2),
            jobset_id: ids.3,
            priority: ids.4,
            name: title,
            source_label: SourceLabel::new(files.3),
            processing_type,
            user,
            transformation,
            parameters,
            release,
            platform,
            container_image,
            core_count: needs.0,
            memory: needs.1,
            disk: needs.2,
            walltime: needs.3,
            resource_type,
            inputs: files.0,
            outputs,
            log,
            looping_check: needs.4,
            outputs_optional: files.2.into_iter().map(Lfn::new).collect(),
            transfer_type,
            options: ailurus_model::JobOptions::default(),
        }
    })
}

fn reported_error() -> impl Strategy<Value = Option<ReportedError>> {
    let error = (1_i64..5000, any::<bool>(), text_or_nothing());
    option::of(error.prop_map(|(code, is_negative, diag)| ReportedError {
        code: if is_negative { -code } else { code },
        diag,
    }))
}

fn memory() -> impl Strategy<Value = MemoryUse> {
    any::<[u32; 4]>().prop_map(|kib| {
        let [rss, pss, vmem, swap] = kib.map(|kib| ByteCount::from_kib(kib.into()));
        MemoryUse {
            rss,
            pss,
            vmem,
            swap,
        }
    })
}

fn usage() -> impl Strategy<Value = UsageSummary> {
    (memory(), memory(), any::<[u64; 4]>()).prop_map(|(max, mean, bytes)| {
        let [read_chars, write_chars, read_bytes, write_bytes] = bytes.map(ByteCount::from_bytes);
        UsageSummary {
            n_samples: 1,
            max,
            mean,
            read_chars,
            write_chars,
            read_bytes,
            write_bytes,
            span: Duration::ZERO,
            cpu: Duration::ZERO,
        }
    })
}

fn reports() -> impl Strategy<Value = Vec<FileReport>> {
    let parts = (
        name_or_nothing(),
        any::<u64>(),
        checksum(),
        text_or_nothing(),
        name_or_nothing(),
    );
    btree_map(text(), parts, 0..4).prop_map(|files| {
        files
            .into_iter()
            .map(|(lfn, (guid, size, checksum, surl, endpoint))| FileReport {
                lfn: Lfn::new(lfn),
                guid: Guid::new(guid),
                size: ByteCount::from_bytes(size),
                checksum,
                surl,
                endpoint: EndpointName::new(endpoint),
            })
            .collect()
    })
}

fn timing() -> impl Strategy<Value = PilotTiming> {
    any::<[u32; 6]>().prop_map(|seconds| {
        let [get_job, stage_in, payload, stage_out, initial_setup, setup] =
            seconds.map(|seconds| Duration::from_secs(seconds.into()));
        PilotTiming {
            get_job,
            stage_in,
            payload,
            stage_out,
            initial_setup,
            setup,
        }
    })
}

fn reported_status() -> impl Strategy<Value = JobStatus> {
    select(vec![
        JobStatus::Running,
        JobStatus::Starting,
        JobStatus::Holding,
        JobStatus::Transferring,
        JobStatus::Finished,
        JobStatus::Failed,
    ])
}

/// An update without Harvester's name, which v1 has no field for.
pub(crate) fn job_update() -> impl Strategy<Value = JobUpdate> {
    let start = (any::<u64>(), option::of(any::<u32>()), reported_status());
    let texts = [(); 11].map(|()| text_or_nothing().boxed());
    let times = (
        option::of(time()),
        option::of(time()),
        option::of(0_u64..1_000_000_000),
        option::of(timing()),
    );
    let numbers = (
        option::of(any::<u32>()),
        option::of(1_u32..),
        option::of(any::<u64>()),
        option::of(any::<i64>()),
    );
    let ends = (
        reported_error(),
        reported_error(),
        option::of(usage()),
        reports(),
    );
    let place = || select(vec!["", "x86_64-v3", "JINR"]);
    let places = (place(), place(), place(), vec(name(), 0..3));
    let parts = (start, texts, times, numbers, ends, places);
    parts.prop_map(|(start, texts, times, numbers, ends, places)| {
        let [site, node, scheduler_id, pilot_id, batch_id, cpu_unit, ..] = texts.clone();
        let [.., pilot_log, metadata, job_metrics, stdout, sub_status] = texts;
        let cpu_time = times.2.map(Duration::from_secs);
        JobUpdate {
            panda_id: PandaId::new(start.0),
            attempt_nr: start.1.map(AttemptNr::new),
            status: start.2,
            site: QueueName::new(site),
            node: NodeName::new(node),
            scheduler_id,
            pilot_id,
            batch_id,
            harvester_id: None,
            start_time: times.0,
            end_time: times.1,
            core_count: numbers.0,
            mean_core_count: numbers.1,
            cpu_time,
            cpu_unit,
            usage: ends.2.map(|usage| UsageSummary {
                cpu: cpu_time.unwrap_or_default(),
                ..usage
            }),
            n_events: numbers.2,
            payload_exit_code: numbers.3,
            pilot_error: ends.0,
            payload_error: ends.1,
            outputs: ends.3,
            timing: times.3,
            pilot_log,
            metadata: Some(metadata).filter(|text| !text.is_empty()),
            job_metrics,
            stdout,
            sub_status,
            n_input_files: numbers.0,
            cpu_level: places.0.into(),
            grid: places.1.into(),
            source_site: places.2.into(),
            destination_site: places.1.into(),
            corrupted_files: places.3.into_iter().map(Lfn::new).collect(),
            unmeasured: Vec::new(),
            report_problem: None,
        }
    })
}

pub(crate) fn update_answer() -> impl Strategy<Value = UpdateAnswer> {
    let command = prop_oneof![
        Just(Command::ToBeKilled),
        Just(Command::SoftKill),
        Just(Command::BadAttemptNr),
        Just(Command::AlreadyDone),
        "(tail|ls|ps|gdb|du) [a-z *./-]{0,9}x".prop_map(|line| Command::Debug(Some(line))),
        name().prop_map(Command::Other),
    ];
    // A bare word behind a debug command belongs to its line.
    let is_clear = |commands: &Vec<Command>| {
        commands
            .windows(2)
            .all(|pair| !matches!(pair, [Command::Debug(_), Command::Other(_)]))
    };
    vec(command, 0..4)
        .prop_filter("commands can be told apart", is_clear)
        .prop_map(|commands| UpdateAnswer {
            commands,
            ..UpdateAnswer::default()
        })
}

fn queue_status() -> impl Strategy<Value = QueueStatus> {
    select(vec![
        QueueStatus::Online,
        QueueStatus::Brokeroff,
        QueueStatus::Test,
        QueueStatus::Paused,
        QueueStatus::Offline,
    ])
}

pub(crate) fn queue() -> impl Strategy<Value = Queue> {
    let names = [
        name().boxed(),
        name().boxed(),
        name_or_nothing().boxed(),
        name_or_nothing().boxed(),
        name_or_nothing().boxed(),
        name_or_nothing().boxed(),
        name_or_nothing().boxed(),
        text_or_nothing().boxed(),
        text_or_nothing().boxed(),
    ];
    let status = queue_status();
    let sizes = (
        1_u32..,
        mib(),
        mib(),
        seconds(),
        any::<u32>(),
        option::of(1_u32..),
    );
    let lists = || btree_map(name(), vec(name(), 0..3), 0..4);
    let switches = (any::<bool>(), any::<bool>(), any::<[u32; 3]>());
    let limits = (option::of(any::<u32>()), option::of(any::<u32>()));
    (names, status, sizes, lists(), lists(), switches, limits).prop_map(
        |(names, status, sizes, tools, storages, switches, limits)| {
            let [name, resource, site, kind, state, resource_type, ..] = names.clone();
            let [.., platform, environ, catchall] = names;
            let [
                walltime_grace_percent,
                memory_grace_percent,
                disk_grace_percent,
            ] = switches.2;
            Queue {
                name: QueueName::new(name),
                resource: QueueName::new(resource),
                site,
                kind,
                state,
                status,
                resource_type,
                core_count: sizes.0,
                memory: sizes.1,
                disk: sizes.2,
                max_time: sizes.3,
                time_floor: Duration::from_secs(60 * u64::from(sizes.4)),
                max_input_size: sizes.5.map(|mib| ByteCount::from_mib(mib.into())),
                platform,
                environ,
                catchall,
                copy_tools: tools,
                storages: storages
                    .into_iter()
                    .map(|(key, names)| (key, names.into_iter().map(EndpointName::new).collect()))
                    .collect(),
                has_cvmfs: switches.0,
                walltime_grace_percent,
                memory_grace_percent,
                disk_grace_percent,
                job_walltime_is_limit: switches.1,
                worker_queue_limit: limits.0,
                worker_limit: limits.1,
                options: ailurus_model::QueueOptions::default(),
            }
        },
    )
}

pub(crate) fn endpoint() -> impl Strategy<Value = StorageEndpoint> {
    let protocol = (name(), name_or_nothing(), option::of(any::<u64>()))
        .prop_map(|(endpoint, path, id)| StorageProtocol { endpoint, path, id });
    let protocols = btree_map(name(), vec(protocol, 0..3), 0..3);
    let names = (
        name(),
        name_or_nothing(),
        name_or_nothing(),
        name_or_nothing(),
    );
    let keys =
        (name(), name(), any::<bool>()).prop_map(|(access, secret, is_secure)| StorageKeys {
            access,
            secret,
            is_secure,
        });
    let options = (
        any::<u64>(),
        [name_or_nothing(), name_or_nothing()],
        any::<bool>(),
    );
    let options =
        (options, btree_map(any::<u64>(), keys, 0..3)).prop_map(|((id, texts, is_tape), keys)| {
            let [token, bucket] = texts;
            StorageOptions {
                id: Some(id),
                token,
                is_tape,
                bucket,
                keys,
            }
        });
    (names, any::<bool>(), protocols, options).prop_map(
        |(names, is_deterministic, protocols, options)| {
            let protocols: BTreeMap<_, _> = protocols;
            StorageEndpoint {
                name: EndpointName::new(names.0),
                site: names.1,
                kind: names.2,
                state: names.3,
                is_deterministic,
                protocols,
                options,
            }
        },
    )
}

/// A worker of the given instance.
pub(crate) fn worker(harvester_id: &'static str) -> impl Strategy<Value = Worker> {
    let ids = (any::<u64>(), name_or_nothing(), name(), name_or_nothing());
    let kind = (select(WorkerStatus::ALL), name(), name(), any::<u32>());
    let times = [(); 3].map(|()| option::of(time()).boxed());
    let ends = (
        option::of(any::<i64>()),
        text_or_nothing(),
        vec(any::<u64>(), 0..3),
    );
    (ids, kind, times, ends).prop_map(move |(ids, kind, times, ends)| {
        let [submit_time, start_time, end_time] = times;
        Worker {
            harvester_id: HarvesterId::new(harvester_id),
            worker_id: WorkerId::new(ids.0),
            batch_id: BatchId::new(ids.1),
            queue: QueueName::new(ids.2),
            node: NodeName::new(ids.3),
            status: kind.0,
            resource_type: kind.1,
            job_type: kind.2,
            core_count: kind.3,
            submit_time,
            start_time,
            end_time,
            exit_code: ends.0,
            diag: ends.1,
            panda_ids: ends.2.into_iter().map(PandaId::new).collect(),
            detail: ailurus_model::WorkerDetail::of_sure_end(),
        }
    })
}
