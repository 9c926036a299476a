//! Who gives jobs, as options and environment say: the server, Harvester's files, or a job that
//! was given by hand.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ailurus_wire::harvester_files::{JOB_SPEC, JOB_SPEC_OLD};
use serde_json::{Value, json};

use crate::{
    args::Args,
    environment::Environment,
    link::{
        given::GivenJob,
        harvester::{HarvesterSettings, JobsFrom, ReportsTo, Supply},
    },
    settings::{ServerUse, Settings},
    site::{INLINE_DATA, Place, PlaceKind},
};

/// Variables with the number of this process in a parallel batch job, the more telling first.
const RANK_VARIABLES: [&str; 6] = [
    "PMIX_RANK",
    "PMI_RANK",
    "OMPI_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_RANK",
    "SLURM_PROCID",
    "ALPS_APP_PE",
];
/// Pilot 3's number of looks for a file with a job.
const FILE_LOOKS_MAX: u32 = 60;
/// Its pause between two of them.
const FILE_LOOK_PAUSE: Duration = Duration::from_secs(10);
/// Pause between two looks into a list, by a pilot that has free slots beside its payloads.
const LIST_LOOK_PAUSE: Duration = Duration::from_secs(5);
/// Its numbers of failed requests, by default and in push mode: Harvester looks for requests only
/// once in some minutes.
const FAILURES_DEFAULT: u32 = 5;
const FAILURES_PUSH: u32 = 12;
/// The mark of a job's number in directories.
const PANDA_ID_MARK: &str = "{panda_id}";

/// Who gives jobs.
#[derive(Debug, Clone)]
pub(crate) enum WorkFrom {
    /// The server, or a file that a wrapper put in place.
    Server,
    /// Harvester, by files.
    Harvester(HarvesterSettings),
    /// There is one job.
    Given(Arc<GivenJob>),
}

/// Says whether Pilot 3 would be in Harvester mode.
///
/// Source: Pilot 3, `pilot/util/harvester.py`, `is_harvester_mode`.
fn is_harvester_mode(args: &Args, environment: &Environment) -> bool {
    let is_worker = ["HARVESTER_ID", "HARVESTER_WORKER_ID"]
        .iter()
        .any(|name| environment.get(name).is_some());
    (args.server.no_server_update && args.harvester.names_files())
        || (is_worker && args.harvester.is_push())
}

/// Finds out who gives jobs, and fits the other settings to it.
pub(crate) fn apply(settings: &mut Settings, args: &Args, environment: &Environment) {
    let is_hpc = args.harvester.is_hpc();
    if !is_hpc && !is_harvester_mode(args, environment) {
        return;
    }
    let launch_dir = settings.launch_dir.clone();
    let below = |dir: &Path| launch_dir.join(dir);
    let given = args.harvester.harvester_workdir.as_deref();
    let point = given
        .filter(|dir| !dir.as_os_str().is_empty())
        .or_else(|| environment.get("HARVESTER_WORKDIR").map(Path::new))
        .map_or_else(|| launch_dir.clone(), below);
    let harvester = HarvesterSettings {
        job_files: job_files(settings, args, environment),
        jobs: if is_hpc || args.harvester.is_push() {
            JobsFrom::Files
        } else {
            JobsFrom::FilesThenServer
        },
        reports: if is_hpc || settings.server_use == ServerUse::FileOnly {
            ReportsTo::Files
        } else {
            ReportsTo::Server
        },
        supply: if is_hpc {
            Supply::List
        } else {
            Supply::OnRequest
        },
        rank: rank(environment),
        lifetime: settings.core.lifetime,
        access_point: point,
    };
    fit(settings, args, &harvester);
    settings.work_from = WorkFrom::Harvester(harvester);
}

/// The number of this pilot in a parallel batch job.
fn rank(environment: &Environment) -> Option<u32> {
    let mut ranks = RANK_VARIABLES
        .iter()
        .filter_map(|name| environment.get(name)?.parse().ok());
    ranks.next()
}

/// Source: Pilot 3, `pilot/control/job.py`, `locate_job_definition`.
fn job_files(settings: &Settings, args: &Args, environment: &Environment) -> Vec<PathBuf> {
    let launch_dir = &settings.launch_dir;
    let data_dir = args.harvester.harvester_datadir.as_deref();
    let data_dir = data_dir.filter(|dir| !dir.as_os_str().is_empty());
    let mut files: Vec<PathBuf> = match data_dir {
        Some(dir) => vec![launch_dir.join(dir).join(JOB_SPEC_OLD)],
        None => [
            launch_dir.parent(),
            Some(launch_dir.as_path()),
            settings.base_dir.as_deref(),
            args.harvester.harvester_workdir.as_deref(),
        ]
        .into_iter()
        .flatten()
        .map(|dir| launch_dir.join(dir).join(JOB_SPEC_OLD))
        .collect(),
    };
    let work_dir = environment.get("HARVESTER_WORKDIR");
    files.extend(work_dir.map(|dir| launch_dir.join(dir).join(JOB_SPEC)));
    files
}

/// Fits limits, directories and the use of the network.
fn fit(settings: &mut Settings, args: &Args, harvester: &HarvesterSettings) {
    let core = &mut settings.core;
    let point = harvester.access_point.display();
    let job_dir = format!("{point}/{PANDA_ID_MARK}");
    core.input_places = vec![job_dir.clone(), point.to_string()];
    match harvester.supply {
        // One look tells that the list is at its end.
        Supply::List => {
            core.job_requests_max = 1;
            core.job_request_pause = args.own.job_request_pause.unwrap_or(LIST_LOOK_PAUSE);
        }
        Supply::OnRequest => {
            core.job_requests_max = FILE_LOOKS_MAX;
            let pause = args.own.job_request_pause;
            core.job_request_pause = pause.unwrap_or(FILE_LOOK_PAUSE);
        }
    }
    if args.harvester.is_push() && core.job_failures_max == FAILURES_DEFAULT {
        core.job_failures_max = FAILURES_PUSH;
    }
    if harvester.reports == ReportsTo::Server {
        return;
    }
    core.identity.worker_id = None;
    core.output_dir.get_or_insert(job_dir);
    if harvester.jobs == JobsFrom::Files {
        without_network(settings, args);
    }
}

/// Loads nothing from servers but what was asked for.
fn without_network(settings: &mut Settings, args: &Args) {
    settings.server_use = ServerUse::FileOnly;
    let places = &mut settings.places;
    if args.server.queuedata_url.is_none() {
        let queue = own_queue(&args.jobs.queue);
        places.queue = vec![Place {
            address: format!("{INLINE_DATA}{queue}"),
            kind: PlaceKind::Named,
            copy: None,
        }];
        let is_file = |place: &Place| !place.address.contains("://");
        places
            .full_queue
            .retain(|place| place.kind == PlaceKind::Named && is_file(place));
    }
    if args.server.storagedata_url.is_none() {
        places.storages.clear();
    }
}

/// A queue of which nothing is known: any job may run, outputs go where options say.
fn own_queue(name: &str) -> Value {
    json!({
        "nickname": name, "panda_resource": name, "state": "ACTIVE", "status": "online",
        "type": "unified", "corecount": 1, "timefloor": 0, "maxtime": 0, "catchall": "",
        "copytools": {"mv": {}}, "acopytools": {"pr": ["mv"], "pw": ["mv"]}, "astorages": {},
        "params": {}, "container_type": "", "resource_type": "grid", "is_cvmfs": false,
    })
}

/// Gives the pilot one job. Its files are taken from and put to where the pilot was started,
/// unless options name directories or storages.
pub(crate) fn give(settings: &mut Settings, args: &Args, job: Arc<GivenJob>) {
    without_network(settings, args);
    let launch_dir = settings.launch_dir.display().to_string();
    let core = &mut settings.core;
    core.identity.worker_id = None;
    core.job_requests_max = 1;
    core.job_failures_max = 1;
    core.input_places = vec![launch_dir.clone()];
    if args.server.storagedata_url.is_none() {
        core.output_dir.get_or_insert(launch_dir);
    }
    settings.work_from = WorkFrom::Given(job);
}
