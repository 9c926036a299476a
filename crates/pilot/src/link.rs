//! Who gives jobs and takes updates: the PanDA server, or something in its place.
//!
//! The shell knows only [`Link`]. Calls that may block come from a thread of their own.

mod access_point;
pub(crate) mod given;
pub(crate) mod harvester;
pub(crate) mod job_file;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use ailurus_http::Client;
use ailurus_model::{
    HarvesterId, JobRequest, JobUpdate, NodeName, QueueName, UpdateAnswer, WorkerId,
};
use ailurus_pilot_core::{
    Input, PilotExit,
    effect::WorkerPhase,
    input::{Site, UpdateFailure},
};

use crate::{
    server::{JOB_FILE, LinkConfig, ServerLink},
    settings::Settings,
    work_from::WorkFrom,
};
use harvester::HarvesterLink;

/// Gives jobs and takes updates.
pub(crate) trait Link: fmt::Debug + Send + Sync {
    /// Asks for jobs.
    fn acquire(&self, request: &JobRequest) -> Input;

    /// Hands over an update.
    fn update(&self, update: &JobUpdate) -> Result<UpdateAnswer, UpdateFailure>;

    /// Hands over several updates, and returns an answer for each in order.
    fn update_all(&self, updates: &[&JobUpdate]) -> Vec<Result<UpdateAnswer, UpdateFailure>> {
        updates.iter().map(|update| self.update(update)).collect()
    }

    /// Tells that the worker starts or ends. Whether anybody hears it changes nothing.
    fn report_worker(
        &self,
        phase: WorkerPhase,
        worker: (HarvesterId, WorkerId),
        place: (QueueName, NodeName),
    );

    /// Changes what is known of the site, before anybody uses it.
    fn complete(&self, _site: &mut Site) {}

    /// Hears what queue and storages are, once they are known: quick.
    fn learn(&self, _site: &Site) {}

    /// Shows that the pilot is alive. Called about once a minute by the loop: quick.
    fn beat(&self) {}

    /// How often [`Link::look`] is called, none for never.
    fn look_period(&self) -> Option<Duration> {
        None
    }

    /// Looks whether the pilot is to end, and returns as which signal that counts: quick.
    fn look(&self) -> Option<i32> {
        None
    }

    /// Says whether a pilot without work is still needed, by other pilots of its worker.
    fn must_stay(&self) -> bool {
        false
    }

    /// Says that the pilot is over.
    fn close(&self, _exit: PilotExit) {}
}

impl Link for ServerLink {
    fn acquire(&self, request: &JobRequest) -> Input {
        Self::acquire(self, request)
    }

    fn update(&self, update: &JobUpdate) -> Result<UpdateAnswer, UpdateFailure> {
        Self::update(self, update)
    }

    fn update_all(&self, updates: &[&JobUpdate]) -> Vec<Result<UpdateAnswer, UpdateFailure>> {
        Self::update_all(self, updates)
    }

    fn report_worker(
        &self,
        phase: WorkerPhase,
        worker: (HarvesterId, WorkerId),
        place: (QueueName, NodeName),
    ) {
        Self::report_worker(self, phase, worker, place);
    }

    fn learn(&self, site: &Site) {
        Self::learn(self, site);
    }

    fn beat(&self) {
        Self::beat(self);
    }
}

/// Makes the link that the settings ask for.
pub(crate) fn make(settings: &Settings, client: Client, home: &Path) -> Arc<dyn Link> {
    let launch_dir = &settings.launch_dir;
    let base_dir = settings.base_dir.as_deref();
    let job_files = [launch_dir.parent(), Some(launch_dir), base_dir];
    let job_files = job_files
        .into_iter()
        .flatten()
        .map(|dir| dir.join(JOB_FILE))
        .collect();
    let server = ServerLink::new(
        client,
        settings.server.clone(),
        LinkConfig {
            server_use: settings.server_use,
            home: home.to_owned(),
            job_files,
            overrides: settings.job_overrides.clone(),
            renewal: settings.token_renewal.clone(),
            node: settings.node_report.clone(),
        },
    );
    match settings.work_from.clone() {
        WorkFrom::Server => Arc::new(server),
        WorkFrom::Given(job) => Arc::new(job),
        WorkFrom::Harvester(harvester) => {
            let node = &settings.core.identity.node;
            Arc::new(HarvesterLink::new(harvester, server, home.to_owned(), node))
        }
    }
}
