//! The table of calls: one row says where a call is, by which method, and what it is.

use ailurus_wire::{Dialect, Fields};

use crate::{
    app::App,
    panda::{Reply, harvester, pilot, statistics},
};

/// The HTTP method that a v1 call wants. The legacy dialect takes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
}

impl Verb {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The family that it belongs to.
    pub(crate) dialect: Dialect,
    /// The method name, in v1 after its module: `pilot/acquire_jobs`.
    pub(crate) name: &'static str,
    /// The HTTP method.
    pub(crate) method: Verb,
    /// What it does.
    pub(crate) call: Call,
}

/// What a call does, whatever its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    IsAlive,
    AcquireJobs,
    UpdateJob,
    /// v1, Harvester's form.
    UpdateJobs,
    /// Legacy, an older Harvester's form.
    UpdateJobsInBulk,
    PilotJobStatus,
    /// Status and command of jobs, as Harvester asks for them.
    HarvesterJobStatus,
    PilotStatus,
    ResourceTypes,
    JobStatistics,
    Heartbeat,
    UpdateWorkers,
    WorkerStatistics,
    Commands,
    AcknowledgeCommands,
    LastWorkerId,
    /// Taken, and not kept: descriptions of nodes, dialogs, metrics.
    Accept,
}

const fn legacy(name: &'static str, call: Call) -> Endpoint {
    Endpoint {
        dialect: Dialect::Legacy,
        name,
        method: Verb::Post,
        call,
    }
}

const fn v1(method: Verb, name: &'static str, call: Call) -> Endpoint {
    Endpoint {
        dialect: Dialect::V1,
        name,
        method,
        call,
    }
}

/// Every call that there is.
pub(crate) const ENDPOINTS: &[Endpoint] = &[
    legacy("isAlive", Call::IsAlive),
    legacy("getJob", Call::AcquireJobs),
    legacy("updateJob", Call::UpdateJob),
    legacy("updateJobsInBulk", Call::UpdateJobsInBulk),
    legacy("getStatus", Call::PilotJobStatus),
    legacy("updateWorkerPilotStatus", Call::PilotStatus),
    legacy("getResourceTypes", Call::ResourceTypes),
    v1(Verb::Get, "system/is_alive", Call::IsAlive),
    v1(Verb::Post, "pilot/acquire_jobs", Call::AcquireJobs),
    v1(Verb::Post, "pilot/update_job", Call::UpdateJob),
    v1(Verb::Post, "pilot/update_jobs_bulk", Call::UpdateJobs),
    v1(Verb::Get, "pilot/get_job_status", Call::PilotJobStatus),
    v1(Verb::Post, "pilot/update_worker_status", Call::PilotStatus),
    v1(Verb::Post, "pilot/update_worker_node", Call::Accept),
    v1(Verb::Post, "pilot/update_worker_node_gpu", Call::Accept),
    v1(Verb::Get, "job/get_status", Call::HarvesterJobStatus),
    v1(Verb::Post, "harvester/heartbeat", Call::Heartbeat),
    v1(Verb::Post, "harvester/update_workers", Call::UpdateWorkers),
    v1(
        Verb::Post,
        "harvester/report_worker_statistics",
        Call::WorkerStatistics,
    ),
    v1(Verb::Post, "harvester/acquire_commands", Call::Commands),
    v1(
        Verb::Post,
        "harvester/acknowledge_commands",
        Call::AcknowledgeCommands,
    ),
    v1(
        Verb::Get,
        "harvester/get_current_worker_id",
        Call::LastWorkerId,
    ),
    v1(Verb::Post, "harvester/add_dialogs", Call::Accept),
    v1(Verb::Post, "harvester/update_service_metrics", Call::Accept),
    v1(
        Verb::Get,
        "statistics/active_job_stats_by_site",
        Call::JobStatistics,
    ),
    v1(
        Verb::Get,
        "metaconfig/get_resource_types",
        Call::ResourceTypes,
    ),
];

impl Call {
    /// Carries the call out.
    pub(crate) async fn run(self, app: &App, dialect: Dialect, fields: Fields) -> Reply {
        match self {
            Self::IsAlive => statistics::is_alive(dialect),
            Self::AcquireJobs => pilot::acquire_jobs(app, dialect, &fields).await,
            Self::UpdateJob => pilot::update_job(app, dialect, &fields).await,
            Self::UpdateJobs => pilot::update_jobs(app, &fields).await,
            Self::UpdateJobsInBulk => pilot::update_jobs_in_bulk(app, &fields).await,
            Self::PilotJobStatus => pilot::job_status(app, dialect, &fields).await,
            Self::HarvesterJobStatus => harvester::job_status(app, &fields).await,
            Self::PilotStatus => pilot::pilot_status(app, dialect, &fields).await,
            Self::ResourceTypes => statistics::resource_types(dialect),
            Self::JobStatistics => statistics::jobs_by_queue(app).await,
            Self::Heartbeat => harvester::heartbeat(&fields),
            Self::UpdateWorkers => harvester::update_workers(app, &fields).await,
            Self::WorkerStatistics => harvester::worker_statistics(&fields),
            Self::Commands => harvester::commands(&fields),
            Self::AcknowledgeCommands => harvester::acknowledge(&fields),
            Self::LastWorkerId => harvester::last_worker_id(app, &fields).await,
            Self::Accept => ailurus_wire::Answer::done(dialect).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ailurus_wire::{get_job, harvester_call, job_status, system_call, update_bulk, update_job};

    use super::*;

    #[test]
    fn the_table_has_the_paths_that_clients_use() {
        let mut paths = vec![
            update_bulk::PATH,
            harvester_call::HEARTBEAT_PATH,
            harvester_call::STATISTICS_PATH,
            harvester_call::COMMANDS_PATH,
            harvester_call::ACKNOWLEDGE_PATH,
            harvester_call::WORKER_ID_PATH,
            system_call::JOB_STATISTICS_PATH,
            ailurus_wire::worker_text::PATH,
        ];
        for dialect in Dialect::ALL {
            paths.extend([
                get_job::path(dialect),
                update_job::path(dialect),
                job_status::path(dialect),
                ailurus_wire::worker_status::path(dialect),
                system_call::is_alive_path(dialect),
            ]);
        }
        let known: Vec<String> = ENDPOINTS
            .iter()
            .map(|endpoint| match endpoint.dialect {
                Dialect::Legacy => format!("/server/panda/{}", endpoint.name),
                Dialect::V1 => format!("/api/v1/{}", endpoint.name),
            })
            .collect();
        for path in paths {
            assert!(known.iter().any(|known| known == path), "{path}");
        }
    }
}
