//! The calls of a pilot, and the form of every field, as PanDA's servers declare them.
//!
//! Written from the reference, not from our own `wire` crate: one checks the other. v1 types are
//! strict; the legacy dialect takes text for numbers.
//!
//! Source: PanDA server, `pandaserver/api/v1/pilot_api.py` (1.0.3),
//! `pandaserver/jobdispatcher/JobDispatcher.py` (0.8.1); Pilot 3, `pilot/control/job.py`.

use super::Dialect;

/// What a pilot can ask of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// getJob, `acquire_jobs`.
    AcquireJobs,
    /// updateJob, `update_job`.
    UpdateJob,
    /// `update_jobs_bulk`: several updates, v1 only here.
    UpdateJobsBulk,
    /// updateWorkerPilotStatus, `update_worker_status`.
    WorkerStatus,
    /// `update_worker_node`: v1 only.
    WorkerNode,
    /// `update_worker_node_gpu`: v1 only.
    WorkerNodeGpu,
    /// setDebugMode.
    DebugMode,
    /// getResourceTypes.
    ResourceTypes,
    /// `get_access_token`.
    AccessToken,
    /// getProxy.
    Proxy,
    /// getKeyPair.
    KeyPair,
    /// `get_user_secrets`.
    UserSecrets,
}

/// How a call looks in one dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
}

const fn post(path: &'static str) -> Option<Form> {
    Some(Form {
        method: "POST",
        path,
    })
}

const fn get(path: &'static str) -> Option<Form> {
    Some(Form {
        method: "GET",
        path,
    })
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::AcquireJobs,
        Self::UpdateJob,
        Self::UpdateJobsBulk,
        Self::WorkerStatus,
        Self::WorkerNode,
        Self::WorkerNodeGpu,
        Self::DebugMode,
        Self::ResourceTypes,
        Self::AccessToken,
        Self::Proxy,
        Self::KeyPair,
        Self::UserSecrets,
    ];

    /// Method and path in a dialect that has the call.
    pub(super) const fn form(self, dialect: Dialect) -> Option<Form> {
        match (self, dialect) {
            (Self::AcquireJobs, Dialect::V1) => post("/api/v1/pilot/acquire_jobs"),
            (Self::AcquireJobs, Dialect::Legacy) => post("/server/panda/getJob"),
            (Self::UpdateJob, Dialect::V1) => post("/api/v1/pilot/update_job"),
            (Self::UpdateJob, Dialect::Legacy) => post("/server/panda/updateJob"),
            (Self::WorkerStatus, Dialect::V1) => post("/api/v1/pilot/update_worker_status"),
            (Self::WorkerStatus, Dialect::Legacy) => post("/server/panda/updateWorkerPilotStatus"),
            (Self::WorkerNode, Dialect::V1) => post("/api/v1/pilot/update_worker_node"),
            (Self::WorkerNodeGpu, Dialect::V1) => post("/api/v1/pilot/update_worker_node_gpu"),
            (Self::UpdateJobsBulk, Dialect::V1) => post("/api/v1/pilot/update_jobs_bulk"),
            (Self::UpdateJobsBulk | Self::WorkerNode | Self::WorkerNodeGpu, Dialect::Legacy) => {
                None
            }
            (Self::DebugMode, Dialect::V1) => post("/api/v1/job/set_debug_mode"),
            (Self::DebugMode, Dialect::Legacy) => post("/server/panda/setDebugMode"),
            (Self::ResourceTypes, Dialect::V1) => get("/api/v1/metaconfig/get_resource_types"),
            (Self::ResourceTypes, Dialect::Legacy) => post("/server/panda/getResourceTypes"),
            (Self::AccessToken, Dialect::V1) => get("/api/v1/creds/get_access_token"),
            (Self::AccessToken, Dialect::Legacy) => get("/server/panda/get_access_token"),
            (Self::Proxy, Dialect::V1) => get("/api/v1/creds/get_proxy"),
            (Self::Proxy, Dialect::Legacy) => post("/server/panda/getProxy"),
            (Self::KeyPair, Dialect::V1) => get("/api/v1/creds/get_key_pair"),
            (Self::KeyPair, Dialect::Legacy) => post("/server/panda/getKeyPair"),
            (Self::UserSecrets, Dialect::V1) => get("/api/v1/creds/get_user_secrets"),
            (Self::UserSecrets, Dialect::Legacy) => post("/server/panda/get_user_secrets"),
        }
    }

    pub(super) const fn rules(self) -> &'static [Rule] {
        match self {
            Self::AcquireJobs => ACQUIRE_JOBS,
            Self::UpdateJob => UPDATE_JOB,
            Self::UpdateJobsBulk => UPDATE_JOBS_BULK,
            Self::WorkerStatus => WORKER_STATUS,
            Self::WorkerNode => WORKER_NODE,
            Self::WorkerNodeGpu => WORKER_NODE_GPU,
            Self::DebugMode => DEBUG_MODE,
            Self::ResourceTypes => &[],
            Self::AccessToken => ACCESS_TOKEN,
            Self::Proxy => PROXY,
            Self::KeyPair => KEY_PAIR,
            Self::UserSecrets => USER_SECRETS,
        }
    }
}

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// A whole number; in the legacy dialect also as text.
    Int,
    /// A whole number from this one on.
    IntFrom(i64),
    /// A number of a thing: a whole number in v1, text in the legacy dialect.
    Id,
    /// The same, text in both dialects.
    TextId,
    /// A number, perhaps with a fraction.
    Number,
    Text,
    /// A text that is not empty.
    Name,
    /// A text of at most so many characters.
    Short(usize),
    Flag,
    /// `YYYY-MM-DD HH:MM:SS`.
    Time,
    OneOf(&'static [&'static str]),
    /// Six numbers of seconds, joined by `|`.
    Timing,
    /// `<log>|[<batch system>|]<tag>|<version>`.
    PilotId,
    /// `s+<processors>`.
    CpuUnit,
    /// A list of objects, each looked at by itself.
    Objects,
    /// JSON as text: what was stored.
    Report,
    /// The server declares no type.
    Any,
}

/// When a field must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Always,
    Sometimes,
    /// In the last update of a job.
    Final,
}

/// One field of a call; a dialect that does not have it has an empty name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    legacy: &'static str,
    v1: &'static str,
    pub(super) kind: Kind,
    pub(super) need: Need,
}

impl Rule {
    pub(super) const fn name(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Legacy => self.legacy,
            Dialect::V1 => self.v1,
        }
    }
}

const fn always(legacy: &'static str, v1: &'static str, kind: Kind) -> Rule {
    let need = Need::Always;
    Rule {
        legacy,
        v1,
        kind,
        need,
    }
}

const fn may(legacy: &'static str, v1: &'static str, kind: Kind) -> Rule {
    let need = Need::Sometimes;
    Rule {
        legacy,
        v1,
        kind,
        need,
    }
}

const fn last(legacy: &'static str, v1: &'static str, kind: Kind) -> Rule {
    let need = Need::Final;
    Rule {
        legacy,
        v1,
        kind,
        need,
    }
}

/// What a pilot may say of a job.
pub(super) const STATES: &[&str] = &[
    "running",
    "failed",
    "finished",
    "holding",
    "starting",
    "transferring",
];

const ACQUIRE_JOBS: &[Rule] = &[
    always("siteName", "site_name", Kind::Name),
    always("computingElement", "computing_element", Kind::Name),
    always("prodSourceLabel", "prod_source_label", Kind::Name),
    always("diskSpace", "disk_space", Kind::IntFrom(0)),
    // Pilot 3 sends a fraction in the legacy dialect.
    always("mem", "", Kind::Number),
    always("", "memory", Kind::IntFrom(0)),
    always("node", "node", Kind::Name),
    may("cpu", "", Kind::Number),
    may("workingGroup", "", Kind::Text),
    may("countryGroup", "", Kind::Text),
    may("allowOtherCountry", "", Kind::Flag),
    may("jobType", "job_type", Kind::Text),
    may("prodUserID", "prod_user_id", Kind::Text),
    may("taskID", "task_id", Kind::Id),
    may("viaTopic", "via_topic", Kind::Flag),
    may("resourceType", "resource_type", Kind::Text),
    may("harvester_id", "harvester_id", Kind::Name),
    may("worker_id", "worker_id", Kind::Id),
    may("timeout", "timeout", Kind::Int),
    may("nJobs", "n_jobs", Kind::IntFrom(1)),
    may("getProxyKey", "get_proxy_key", Kind::Text),
    may("background", "background", Kind::Flag),
    may("schedulerID", "scheduler_id", Kind::Text),
    may("remaining_time", "remaining_time", Kind::Any),
    may("", "target_architecture", Kind::Any),
];

const UPDATE_JOB: &[Rule] = &[
    always("jobId", "job_id", Kind::Id),
    always("state", "job_status", Kind::OneOf(STATES)),
    always("siteName", "site_name", Kind::Name),
    always("node", "node", Kind::Short(128)),
    always("attemptNr", "attempt_nr", Kind::Int),
    always("schedulerID", "scheduler_id", Kind::Name),
    always("pilotID", "pilot_id", Kind::PilotId),
    always("startTime", "start_time", Kind::Time),
    last("endTime", "end_time", Kind::Time),
    last("pilotErrorCode", "pilot_error_code", Kind::Int),
    last("exeErrorCode", "exe_error_code", Kind::Int),
    may("timestamp", "", Kind::Text),
    may("batchID", "batch_id", Kind::Short(80)),
    may("xml", "job_output_report", Kind::Report),
    may("metaData", "meta_data", Kind::Text),
    may("stdout", "stdout", Kind::Short(2048)),
    may("coreCount", "core_count", Kind::IntFrom(1)),
    may("meanCoreCount", "mean_core_count", Kind::IntFrom(0)),
    may("nEvents", "n_events", Kind::IntFrom(1)),
    may("nInputFiles", "n_input_files", Kind::IntFrom(0)),
    may(
        "cpuConsumptionTime",
        "cpu_consumption_time",
        Kind::IntFrom(0),
    ),
    may("cpuConsumptionUnit", "cpu_consumption_unit", Kind::CpuUnit),
    may("cpuConversionFactor", "cpu_conversion_factor", Kind::Number),
    may(
        "cpu_architecture_level",
        "cpu_architecture_level",
        Kind::Short(20),
    ),
    may("maxRSS", "max_rss", Kind::Number),
    may("maxVMEM", "max_vmem", Kind::Number),
    may("maxSWAP", "max_swap", Kind::Number),
    may("maxPSS", "max_pss", Kind::Number),
    may("avgRSS", "avg_rss", Kind::Number),
    may("avgVMEM", "avg_vmem", Kind::Number),
    may("avgSWAP", "avg_swap", Kind::Number),
    may("avgPSS", "avg_pss", Kind::Number),
    may("totRCHAR", "tot_rchar", Kind::Number),
    may("totWCHAR", "tot_wchar", Kind::Number),
    may("totRBYTES", "tot_rbytes", Kind::Number),
    may("totWBYTES", "tot_wbytes", Kind::Number),
    may("rateRCHAR", "rate_rchar", Kind::Number),
    may("rateWCHAR", "rate_wchar", Kind::Number),
    may("rateRBYTES", "rate_rbytes", Kind::Number),
    may("rateWBYTES", "rate_wbytes", Kind::Number),
    may("jobMetrics", "job_metrics", Kind::Short(500)),
    may("pilotTiming", "pilot_timing", Kind::Timing),
    may("pilotLog", "pilot_log", Kind::Short(1024)),
    may("pilotErrorDiag", "pilot_error_diag", Kind::Short(500)),
    may("transExitCode", "trans_exit_code", Kind::Int),
    may("exeErrorDiag", "exe_error_diag", Kind::Short(500)),
    may("source_site", "source_site", Kind::Text),
    may("destination_site", "destination_site", Kind::Text),
    may("jobSubStatus", "job_sub_status", Kind::Text),
    may("corruptedFiles", "corrupted_files", Kind::Text),
    may("grid", "grid", Kind::Text),
    may("harvester_id", "", Kind::Text),
    may("timeout", "timeout", Kind::Int),
];

const UPDATE_JOBS_BULK: &[Rule] = &[
    always("", "job_list", Kind::Objects),
    may("", "harvester_id", Kind::Text),
];

const WORKER_STATUS: &[Rule] = &[
    always("workerID", "worker_id", Kind::TextId),
    always("harvesterID", "harvester_id", Kind::Name),
    always("status", "status", Kind::OneOf(&["started", "finished"])),
    always("site", "", Kind::Name),
    may("node_id", "node_id", Kind::Name),
    may("timeout", "timeout", Kind::Int),
];

const WORKER_NODE: &[Rule] = &[
    always("", "site", Kind::Name),
    always("", "host_name", Kind::Name),
    always("", "cpu_model", Kind::Name),
    may("", "panda_queue", Kind::Name),
    may("", "n_logical_cpus", Kind::IntFrom(1)),
    may("", "n_sockets", Kind::IntFrom(1)),
    may("", "cores_per_socket", Kind::IntFrom(1)),
    may("", "threads_per_core", Kind::IntFrom(1)),
    may("", "cpu_architecture", Kind::Text),
    may("", "cpu_architecture_level", Kind::Text),
    may("", "clock_speed", Kind::Number),
    may("", "total_memory", Kind::IntFrom(1)),
    may("", "total_local_disk", Kind::IntFrom(0)),
    may("", "timeout", Kind::Int),
];

const WORKER_NODE_GPU: &[Rule] = &[
    always("", "site", Kind::Name),
    always("", "host_name", Kind::Name),
    always("", "vendor", Kind::Name),
    always("", "model", Kind::Name),
    always("", "count", Kind::IntFrom(1)),
    may("", "vram", Kind::IntFrom(0)),
    may("", "architecture", Kind::Text),
    may("", "framework", Kind::Text),
    may("", "framework_version", Kind::Text),
    may("", "driver_version", Kind::Text),
    may("", "timeout", Kind::Int),
];

const DEBUG_MODE: &[Rule] = &[
    always("pandaID", "job_id", Kind::Id),
    always("modeOn", "mode", Kind::Flag),
];

const ACCESS_TOKEN: &[Rule] = &[
    always("client_name", "client_name", Kind::Name),
    may("token_key", "token_key", Kind::Name),
];

const PROXY: &[Rule] = &[may("role", "role", Kind::Text), may("dn", "dn", Kind::Text)];

const KEY_PAIR: &[Rule] = &[
    always("publicKeyName", "public_key_name", Kind::Name),
    always("privateKeyName", "private_key_name", Kind::Name),
];

const USER_SECRETS: &[Rule] = &[
    may("keys", "keys", Kind::Text),
    may("get_json", "get_json", Kind::Flag),
];
