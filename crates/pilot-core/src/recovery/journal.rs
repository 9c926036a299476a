//! What is written of a job's life, so that another pilot can continue it.
//!
//! A journal is one [`Opening`], written before the job is acted on at all, and then a [`Snapshot`]
//! for each state that matters to a successor, written before that state is acted on. The core makes
//! them and reads them; where and how they lie on disk is the adapter's business.

use ailurus_model::{Job, JobUpdate};
use serde::{Deserialize, Serialize};

use crate::{
    config::Identity,
    control::update::Record,
    data::{LogPlan, StageOutPlan, destinations::storages_of_outputs},
    input::Site,
};

/// Counts changes of the form of [`Opening`] and [`Snapshot`]. A pilot continues only journals of
/// its own version.
pub const JOURNAL_VERSION: u32 = 1;

/// What is known of a job when it is taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// The job.
    pub job: Box<Job>,
    /// The queue, and those storages that this job's files may go to.
    pub site: Site,
    /// The pilot that took it.
    pub identity: Identity,
    /// What the update of its acceptance says of the time before.
    pub(crate) record: Record,
}

/// What has become of a job so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub(crate) record: Record,
    pub(crate) stage: Stage,
}

/// How far a job has come, as far as a successor must know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// Its payload has not been asked to start.
    Preparing,
    /// Its payload may run.
    Payload,
    /// Its payload has ended well; some of its outputs may be stored.
    StagingOut(StageOutPlan),
    /// Its log may be stored.
    SavingLog(Box<LogPlan>),
    /// This is its final update; the server may have it.
    Reporting(Box<JobUpdate>),
    /// The server needs nothing more.
    CleaningUp,
}

/// Something to be done with a job's journal.
#[derive(Debug, Clone, PartialEq)]
pub enum JournalStep {
    /// Begin it.
    Open(Box<Opening>),
    /// Write what has become of the job.
    Append(Box<Snapshot>),
    /// Remove it: the job is over.
    Remove,
    /// Leave it where it is, for the next pilot.
    Leave,
}

/// The journal of a job whose pilot has died.
#[derive(Debug, Clone, PartialEq)]
pub struct Journal {
    /// Its beginning.
    pub opening: Box<Opening>,
    /// Its last state; none if the pilot died before the payload was asked to start.
    pub last: Option<Box<Snapshot>>,
    /// Whether the job's directory is still there.
    pub directory: JobDirectory,
}

/// Whether there is a directory out of which outputs and a log could be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobDirectory {
    /// There is none.
    Absent,
    /// It is there.
    Made,
}

impl Journal {
    /// Returns how far the job had come.
    pub(crate) fn into_parts(self) -> (Box<Opening>, Record, Stage) {
        match self.last {
            Some(last) => (self.opening, last.record, last.stage),
            None => {
                let record = self.opening.record.clone();
                (self.opening, record, Stage::Preparing)
            }
        }
    }
}

impl Site {
    /// Returns the same with only those storages that the files of one job may go to.
    pub(crate) fn narrowed_to(&self, job: &Job) -> Self {
        let wanted = storages_of_outputs(job, &self.queue);
        let storages = self.storages.iter();
        let storages = storages.filter(|(name, _)| wanted.contains(name));
        Self {
            queue: self.queue.clone(),
            storages: storages
                .map(|(name, storage)| (name.clone(), storage.clone()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ailurus_model::{EndpointName, JobStatus, Moment, update::PilotTiming};

    use super::*;
    use crate::control::testing::{config, job, output_file, site};

    fn opening() -> Opening {
        let mut job = job(7);
        job.outputs = vec![output_file("out")];
        let mut site = site();
        let other = site.storages[&EndpointName::new("EP")].clone();
        site.storages.insert(EndpointName::new("ELSEWHERE"), other);
        Opening {
            site: site.narrowed_to(&job),
            job: Box::new(job),
            identity: config().identity,
            record: Record::new(&config(), Moment::START, PilotTiming::default()),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let opening = opening();
        let text = serde_json::to_string(&opening).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Opening>(&text).expect("the same"),
            opening
        );
        let update = JobUpdate::new(opening.job.panda_id, None, JobStatus::Finished);
        for stage in [
            Stage::Preparing,
            Stage::Payload,
            Stage::Reporting(Box::new(update)),
        ] {
            let record = opening.record.clone();
            let snapshot = Snapshot { record, stage };
            let text = serde_json::to_string(&snapshot).expect("JSON");
            assert_eq!(
                serde_json::from_str::<Snapshot>(&text).expect("the same"),
                snapshot
            );
        }
    }

    #[test]
    fn only_the_storages_of_the_job_are_written() {
        let names: Vec<String> = opening()
            .site
            .storages
            .keys()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["EP"]);
    }
}
