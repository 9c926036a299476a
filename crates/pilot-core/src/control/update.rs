//! What the server is told of a job.

use std::{sync::Arc, time::Duration};

use ailurus_model::{
    AttemptNr, ByteCount, FileReport, Job, JobStatus, JobUpdate, Moment, PandaId, Timestamp,
    update::{PilotTiming, ReportedError},
};

use serde::{Deserialize, Serialize};

use crate::{
    PilotConfig, Problem,
    input::Site,
    monitoring::{
        UsageMeter,
        leak::Tails,
        metrics::{MetricsInput, job_metrics},
    },
    problem::cut,
};

/// Remarks that are kept of one job.
const REMARKS_MAX: usize = 8;
/// Longest text of them that is reported, in bytes.
const REMARKS_LENGTH_MAX: usize = 500;

/// What does not change in a job's life.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) job: Box<Job>,
    pub(crate) config: Arc<PilotConfig>,
    pub(crate) site: Arc<Site>,
}

/// What has become of a job so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// When the job was taken, for people and peers.
    pub(crate) began: Timestamp,
    /// When this pilot took it, by its own clock.
    #[serde(skip)]
    pub(crate) taken: Moment,
    /// What went wrong, the most important first: that one is reported.
    pub(crate) problems: Vec<Problem>,
    /// Outputs and log that lie in storage.
    pub(crate) stored: Vec<FileReport>,
    pub(crate) meter: UsageMeter,
    pub(crate) timing: PilotTiming,
    pub(crate) n_events: Option<u64>,
    pub(crate) metadata: Option<String>,
    pub(crate) payload_exit_code: Option<i64>,
    pub(crate) payload_error: Option<ReportedError>,
    /// What the server asked to see, empty if nothing.
    pub(crate) stdout: String,
    /// What people should know of a job that may yet succeed, for example of a bad replica.
    #[serde(default)]
    pub(crate) remarks: Vec<String>,
}

impl Record {
    pub(crate) fn new(config: &PilotConfig, taken: Moment, timing: PilotTiming) -> Self {
        Self {
            began: wall_clock(config, taken),
            taken,
            problems: Vec::new(),
            stored: Vec::new(),
            meter: UsageMeter::default(),
            timing,
            n_events: None,
            metadata: None,
            payload_exit_code: None,
            payload_error: None,
            stdout: String::new(),
            remarks: Vec::new(),
        }
    }

    /// Keeps a remark, if there are few of them.
    pub(crate) fn remark(&mut self, text: String) {
        if self.remarks.len() < REMARKS_MAX {
            self.remarks.push(text);
        }
    }

    /// Returns the error of the final update: the first problem, else the remarks under code 0.
    fn error(&self) -> Option<ReportedError> {
        if let Some(first) = self.problems.first() {
            return Some(first.report());
        }
        let text = self.remarks.join("; ");
        (!text.is_empty()).then(|| ReportedError {
            code: 0,
            diag: cut(&text, REMARKS_LENGTH_MAX).to_owned(),
        })
    }
}

/// Returns the wall-clock time of a moment.
pub(crate) fn wall_clock(config: &PilotConfig, now: Moment) -> Timestamp {
    config.start_time.after(now.since(Moment::START))
}

/// Makes an update that is not final.
pub(crate) fn state_update(desk: &Desk, record: &Record, status: JobStatus) -> JobUpdate {
    let Desk { job, config, site } = desk;
    let identity = &config.identity;
    let payload_time = record.timing.payload;
    let cpu = record.meter.cpu();
    JobUpdate {
        site: site.queue.resource.clone(),
        node: identity.node.clone(),
        scheduler_id: identity.scheduler_id.clone(),
        pilot_id: config
            .profile
            .reporting
            .pilot_id(&identity.pilot_id, job.panda_id),
        batch_id: identity.batch_id.clone(),
        harvester_id: identity.harvester_id.clone(),
        start_time: Some(record.began),
        core_count: Some(job.core_count),
        mean_core_count: mean_cores(cpu, payload_time),
        cpu_time: (!cpu.is_zero()).then_some(cpu),
        cpu_unit: identity.cpu_unit.clone(),
        cpu_level: identity.cpu_level.clone(),
        source_site: identity.source_site.clone(),
        destination_site: identity.destination_site.clone(),
        usage: record.meter.summary(),
        n_events: record.n_events,
        stdout: record.stdout.clone(),
        job_metrics: job_metrics(&record.meter, &metrics_input(job, record, status)),
        ..JobUpdate::new(job.panda_id, Some(job.attempt_nr), status)
    }
}

/// Makes the final update: `finished` exactly if nothing went wrong.
pub(crate) fn final_update(desk: &Desk, record: &Record, now: Moment) -> JobUpdate {
    let first = record.problems.first();
    let status = if first.is_none() {
        JobStatus::Finished
    } else {
        JobStatus::Failed
    };
    JobUpdate {
        end_time: Some(wall_clock(&desk.config, now)),
        payload_exit_code: record.payload_exit_code,
        pilot_error: record.error(),
        payload_error: record.payload_error.clone(),
        outputs: record.stored.clone(),
        timing: Some(record.timing),
        metadata: record.metadata.clone(),
        ..state_update(desk, record, status)
    }
}

fn metrics_input(job: &Job, record: &Record, status: JobStatus) -> MetricsInput {
    let sizes = job.inputs.iter().filter_map(|input| input.size);
    MetricsInput {
        payload_time: record.timing.payload,
        core_count: job.core_count,
        input_size: sizes.fold(ByteCount::ZERO, ByteCount::plus),
        n_events: record.n_events,
        tails: if status.is_terminal() {
            Tails::LeftOut
        } else {
            Tails::Kept
        },
    }
}

/// Makes the final update of a job that never began.
pub(crate) fn refusal_update(
    config: &PilotConfig,
    site: &Site,
    (panda_id, attempt_nr): (PandaId, Option<AttemptNr>),
    problem: &Problem,
    now: Moment,
) -> JobUpdate {
    let identity = &config.identity;
    let time = Some(wall_clock(config, now));
    JobUpdate {
        site: site.queue.resource.clone(),
        node: identity.node.clone(),
        scheduler_id: identity.scheduler_id.clone(),
        pilot_id: config
            .profile
            .reporting
            .pilot_id(&identity.pilot_id, panda_id),
        batch_id: identity.batch_id.clone(),
        harvester_id: identity.harvester_id.clone(),
        start_time: time,
        end_time: time,
        pilot_error: Some(problem.report()),
        ..JobUpdate::new(panda_id, attempt_nr, JobStatus::Failed)
    }
}

/// Returns the cores that were busy in the mean, rounded, at least one.
fn mean_cores(cpu: Duration, wall: Duration) -> Option<u32> {
    let wall = wall.as_millis();
    if cpu.is_zero() || wall == 0 {
        return None;
    }
    let rounded = (cpu.as_millis() + wall / 2) / wall;
    Some(u32::try_from(rounded).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_cores_are_rounded_and_unknown_without_measurement() {
        let seconds = Duration::from_secs;
        assert_eq!(mean_cores(seconds(35), seconds(10)), Some(4));
        assert_eq!(mean_cores(seconds(1), seconds(10)), Some(1));
        assert_eq!(mean_cores(seconds(0), seconds(10)), None);
        assert_eq!(mean_cores(seconds(1), seconds(0)), None);
    }
}
