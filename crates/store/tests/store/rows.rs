//! Rows for tests: each function makes a record that is complete and says what matters.

use std::{sync::Arc, time::Duration};

use ailurus_model::{
    AttemptNr, BatchId, ByteCount, ChainName, Checksum, DatasetName, EndpointName, FileId,
    FileStatus, Guid, HarvesterId, JobKind, JobStatus, JobTags, Lfn, NodeName, PandaId, QueueName,
    Scope, Seed, SourceLabel, TaskId, TaskSpec, TaskStatus, Timestamp, Worker, WorkerId,
    WorkerStatus,
    task::{Resources, Split, TaskInput, TaskOutput},
    update::ReportedError,
};
use ailurus_server_core::ledger::{
    AttemptRecord, ClaimFilter, ClaimOrder, FileRecord, InputNeed, JobRecord, Probes, TaskRecord,
};

/// The time at which everything in tests was made.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_376_921_123);

pub(crate) fn task(id: TaskId, name: &str) -> TaskRecord {
    TaskRecord {
        id,
        spec: Arc::new(spec(name)),
        revision: 0,
        status: TaskStatus::Ready,
        n_jobs: 2,
        next_seed: Seed::new(7),
        created: NOW,
        state_changed: NOW,
    }
}

fn spec(name: &str) -> TaskSpec {
    TaskSpec {
        name: name.to_owned(),
        chain: Some(ChainName::new("mc26")),
        user: "alice".to_owned(),
        scope: Scope::new("spd.mc"),
        source_label: SourceLabel::default(),
        processing_type: "simulation".to_owned(),
        transformation: "sim.py".to_owned(),
        parameters: "--in {input.gen}".to_owned(),
        split: Split::Files { per_job: 1 },
        inputs: vec![TaskInput {
            name: "gen".to_owned(),
            dataset: DatasetName::new("spd.mc:gen"),
        }],
        outputs: vec![TaskOutput {
            name: "hits".to_owned(),
            dataset: DatasetName::new("spd.mc:hits"),
            lfn: "hits_{seed}.root".to_owned(),
        }],
        resources: Resources {
            cores: 1,
            memory: ByteCount::from_gib(2),
            disk: ByteCount::ZERO,
            walltime: Duration::from_secs(3600),
        },
        priority: 900,
        max_attempts: 3,
        queues: Vec::new(),
    }
}

pub(crate) fn job(panda_id: PandaId, task_id: TaskId) -> JobRecord {
    JobRecord {
        panda_id,
        task_id,
        part: 0,
        kind: JobKind::Run,
        serial: 0,
        status: JobStatus::Activated,
        attempt_nr: AttemptNr::new(1),
        max_attempts: 3,
        first_event: 1,
        n_events: 100,
        queue: Some(QueueName::new("JINR")),
        priority: 900,
        source_label: SourceLabel::default(),
        resource_type: "SCORE".to_owned(),
        cores: 1,
        memory: ByteCount::from_gib(2),
        disk: ByteCount::from_gib(10),
        walltime_secs: 3600,
        command: None,
        created: NOW,
        modified: NOW,
        state_changed: NOW,
        worker: None,
        reason: String::new(),
        sub_status: "toreassign".to_owned(),
        tags: JobTags::new("sj,dm"),
        global_share: "Test".to_owned(),
        parent: Some(PandaId::new(1)),
        server_code: 102,
        turn: panda_id,
    }
}

pub(crate) fn need(panda_id: PandaId, dataset: &str, part: u32) -> InputNeed {
    InputNeed {
        panda_id,
        input: 0,
        dataset: DatasetName::new(dataset),
        part,
        status: FileStatus::Expected,
    }
}

pub(crate) fn file(id: FileId, dataset: &str, part: u32) -> FileRecord {
    FileRecord {
        id,
        dataset: DatasetName::new(dataset),
        part,
        lfn: Lfn::new(format!("gen_{part}.root")),
        scope: Scope::new("spd.mc"),
        guid: Some(Guid::new("FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF")),
        size: Some(ByteCount::from_mib(3)),
        checksum: Some(Checksum::Adler32(31)),
        surl: "file:///eos/gen.root".to_owned(),
        endpoint: EndpointName::new("EOS"),
        replicas: vec!["JINR_DISK".into(), "PNPI_DISK".into()],
        producer: Some(PandaId::new(3)),
        n_events: None,
    }
}

pub(crate) fn attempt(panda_id: PandaId, nr: u32, status: JobStatus) -> AttemptRecord {
    AttemptRecord {
        panda_id,
        attempt_nr: AttemptNr::new(nr),
        seed: Seed::new(41),
        queue: QueueName::new("JINR"),
        node: NodeName::new("slot1@wn7"),
        pilot_id: "unknown|PR|3.11".to_owned(),
        status,
        sent: NOW,
        started: Some(NOW),
        ended: None,
        payload_exit_code: Some(65),
        pilot_error: Some(ReportedError {
            code: 1305,
            diag: "payload failed".to_owned(),
        }),
        payload_error: None,
        server_error: None,
        diagnosis: "root-file-truncated".to_owned(),
        cpu_secs: Some(12),
        rss_max: Some(ByteCount::from_mib(512)),
        timing: "1|2|3|4|5|6".to_owned(),
        log_surl: "file:///eos/log.tgz".to_owned(),
        pilot_log: "last words".to_owned(),
        report: r#"{"maxRSS":1}"#.to_owned(),
    }
}

pub(crate) fn worker(id: u64, status: WorkerStatus) -> Worker {
    Worker {
        harvester_id: HarvesterId::new("nica"),
        worker_id: WorkerId::new(id),
        batch_id: BatchId::new("4711.0"),
        queue: QueueName::new("JINR"),
        status,
        resource_type: "ANY".to_owned(),
        job_type: "ANY".to_owned(),
        core_count: 8,
        node: NodeName::new("wn7"),
        submit_time: Some(NOW),
        start_time: None,
        end_time: None,
        exit_code: Some(-9),
        diag: "held".to_owned(),
        panda_ids: vec![PandaId::new(1), PandaId::new(2)],
        detail: ailurus_model::WorkerDetail {
            computing_element: "ce.example:9619".to_owned(),
            error: Some(ReportedError {
                code: 3,
                diag: "no slot".to_owned(),
            }),
            ..ailurus_model::WorkerDetail::of_sure_end()
        },
    }
}

/// What a pilot without any wish asks for.
pub(crate) fn any_job<'a>(queue: &'a QueueName, label: &'a SourceLabel) -> ClaimFilter<'a> {
    ClaimFilter {
        queue,
        order: ClaimOrder::ByNeed { share: "Test" },
        source_label: label,
        probes: Probes::AsLabelled,
        is_background: false,
        memory: ByteCount::ZERO,
        core_memory: ByteCount::ZERO,
        disk: ByteCount::ZERO,
        remaining_secs: None,
        resource_type: None,
        task_id: None,
        user: None,
    }
}
