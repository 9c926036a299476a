//! One job that somebody gave by hand, and what became of it.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use ailurus_model::{
    HarvesterId, Job, JobRequest, JobUpdate, NodeName, QueueName, UpdateAnswer, WorkerId,
};
use ailurus_pilot_core::{
    Input,
    effect::WorkerPhase,
    input::{AcquireFailure, Offer, UpdateFailure},
};
use ailurus_wire::{get_job::OfferedJobs, job_text::JobError};

use super::Link;
use crate::server::offer_of;

/// A job, until it is taken, and its last update.
#[derive(Debug)]
pub(crate) struct GivenJob {
    job: Mutex<Option<Result<Job, JobError>>>,
    last: Mutex<Option<JobUpdate>>,
}

impl GivenJob {
    /// Takes a job. A script that is named from `dir` gets its whole path.
    pub(crate) fn new(mut job: Result<Job, JobError>, dir: &Path) -> Self {
        if let Ok(job) = &mut job {
            let script = dir.join(&job.transformation);
            let is_input = |job: &Job| {
                job.inputs
                    .iter()
                    .any(|input| input.lfn.as_str() == job.transformation)
            };
            if !job.transformation.contains("://") && !is_input(job) && script.is_file() {
                job.transformation = script.display().to_string();
            }
        }
        Self {
            job: Mutex::new(Some(job)),
            last: Mutex::default(),
        }
    }

    /// Returns the last update, if there was one.
    pub(crate) fn last_update(&self) -> Option<JobUpdate> {
        lock(&self.last).clone()
    }
}

impl Link for std::sync::Arc<GivenJob> {
    fn acquire(&self, _: &JobRequest) -> Input {
        let mut offered = OfferedJobs::default();
        match lock(&self.job).take() {
            None => return Input::JobsOffered(Offer::default()),
            Some(Ok(job)) => offered.jobs.push(job),
            Some(Err(broken)) => offered.broken.push(broken),
        }
        match offer_of(offered) {
            Ok(offer) => Input::JobsOffered(offer),
            Err(why) => Input::AcquireFailed(AcquireFailure::NoAnswer(why)),
        }
    }

    fn update(&self, update: &JobUpdate) -> Result<UpdateAnswer, UpdateFailure> {
        *lock(&self.last) = Some(update.clone());
        Ok(UpdateAnswer::default())
    }

    fn report_worker(&self, _: WorkerPhase, _: (HarvesterId, WorkerId), _: (QueueName, NodeName)) {}
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
