//! Takes jobs from files: which there are, which of them nobody has claimed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use ailurus_model::{AttemptNr, Job, PandaId};
use ailurus_pilot_core::input::Offer;
use ailurus_wire::{get_job::OfferedJobs, harvester_files, job_text::JobError};

use super::{DEFINITION_COPY, HarvesterLink, OwnJob, lock};
use crate::{
    link::job_file::{self, ReadError},
    log,
};

/// When a file was changed, and its size in bytes.
pub(super) type Stamp = (SystemTime, u64);

fn stamp_of(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((meta.modified().ok()?, meta.len()))
}

impl HarvesterLink {
    /// Takes jobs from files, as many as were asked for.
    pub(super) fn take(&self, n_jobs: usize) -> Result<Offer, String> {
        let mut taken = OfferedJobs::default();
        let claimed = self.point.claimed_ids();
        for (path, dir) in self.candidates(&claimed) {
            if taken.jobs.len() >= n_jobs {
                break;
            }
            match job_file::read(&path) {
                Ok((offered, bytes)) => {
                    let stamp = stamp_of(&path);
                    match self.take_from(&path, &dir, (offered, &bytes), (&mut taken, n_jobs)) {
                        Ok(0) => lock(&self.exhausted).extend(stamp.map(|stamp| (path, stamp))),
                        Ok(_) => {}
                        Err(why) if taken.is_empty() => return Err(why),
                        Err(why) => tracing::warn!("{why}"),
                    }
                }
                // Another pilot of this worker may have taken it meanwhile.
                Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let why = log::chain(&error);
                    job_file::put_aside(&path);
                    if taken.is_empty() {
                        return Err(why);
                    }
                    tracing::warn!("{why}");
                }
            }
        }
        self.server.offer(taken)
    }

    /// Files with jobs in the order in which they are looked at, each with the directory of its
    /// jobs.
    fn candidates(&self, claimed: &[PandaId]) -> Vec<(PathBuf, PathBuf)> {
        let point = self.point.dir();
        let mut files: Vec<(PathBuf, PathBuf)> = self
            .settings
            .job_files
            .iter()
            .cloned()
            .chain([point.join(harvester_files::JOB_SPEC)])
            .map(|file| (file, point.to_owned()))
            .collect();
        let listed = self.listed_ids().into_iter();
        for id in listed.filter(|id| !claimed.contains(id)) {
            let dir = point.join(id.to_string());
            for name in [harvester_files::JOB_SPEC, harvester_files::JOB_SPEC_OLD] {
                files.push((dir.join(name), dir.clone()));
            }
        }
        let exhausted = lock(&self.exhausted);
        files.retain(|(file, _)| {
            let stamp = stamp_of(file);
            stamp.is_some() && exhausted.get(file) != stamp.as_ref()
        });
        files
    }

    /// The worker's jobs as Harvester lists them.
    fn listed_ids(&self) -> Vec<PandaId> {
        let path = self.point.dir().join(harvester_files::PANDA_IDS);
        let Ok(bytes) = fs::read(&path) else {
            return Vec::new();
        };
        harvester_files::decode_ids(&bytes).unwrap_or_else(|error| {
            tracing::warn!("`{}`: {}", path.display(), log::chain(&error));
            Vec::new()
        })
    }

    /// Takes jobs of one file, and returns how many.
    ///
    /// # Errors
    ///
    /// Jobs cannot be claimed, or the file's only job is nobody's.
    fn take_from(
        &self,
        path: &Path,
        dir: &Path,
        (offered, bytes): (OfferedJobs, &[u8]),
        (taken, n_jobs): (&mut OfferedJobs, usize),
    ) -> Result<usize, String> {
        let n_in_file = offered.jobs.len() + offered.broken.len();
        let n_before = taken.jobs.len() + taken.broken.len();
        for job in offered.jobs {
            if taken.jobs.len() < n_jobs && self.claim(job.panda_id, job.attempt_nr)? {
                let shared = n_in_file > 1;
                self.note_own(&job, dir, shared);
                taken.jobs.push(job);
            }
        }
        for broken in offered.broken {
            if broken.panda_id.is_none() {
                let why = format!("`{}`: {}", path.display(), log::chain(&broken));
                if n_in_file == 1 {
                    job_file::put_aside(path);
                    return Err(why);
                }
                tracing::warn!("{why}");
            } else if self.claim_broken(&broken)? {
                taken.broken.push(broken);
            }
        }
        let n_taken = taken.jobs.len() + taken.broken.len() - n_before;
        if n_taken > 0 {
            tracing::info!("{n_taken} of {n_in_file} jobs from `{}`", path.display());
        }
        if n_taken == 1 && n_in_file == 1 {
            self.consume(path, bytes);
        }
        Ok(n_taken)
    }

    /// Removes a file whose only job is taken, as Pilot 3 does: the next one comes to its place.
    fn consume(&self, path: &Path, bytes: &[u8]) {
        if let Err(error) = fs::write(self.home.join(DEFINITION_COPY), bytes) {
            tracing::debug!("no copy of the job definition: {error}");
        }
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!("`{}` cannot be removed: {error}", path.display());
        }
    }

    pub(super) fn claim(&self, panda_id: PandaId, attempt_nr: AttemptNr) -> Result<bool, String> {
        self.point.claim(panda_id, attempt_nr).map_err(|error| {
            let dir = self.point.dir().display();
            format!("job {panda_id} cannot be claimed in `{dir}`: {error}")
        })
    }

    fn claim_broken(&self, broken: &JobError) -> Result<bool, String> {
        let Some(panda_id) = broken.panda_id else {
            return Ok(false);
        };
        let attempt_nr = broken.attempt_nr.unwrap_or_default();
        let is_ours = self.claim(panda_id, attempt_nr)?;
        if is_ours {
            let own = OwnJob {
                dir: self.point.dir().to_owned(),
                attempt_nr,
                log: None,
            };
            self.lock_jobs().insert(panda_id, own);
        }
        Ok(is_ours)
    }

    pub(super) fn note_own(&self, job: &Job, dir: &Path, is_one_of_many: bool) {
        let dir = if is_one_of_many {
            dir.join(job.panda_id.to_string())
        } else {
            dir.to_owned()
        };
        let own = OwnJob {
            dir,
            attempt_nr: job.attempt_nr,
            log: job.log.as_ref().map(|log| log.lfn.clone()),
        };
        self.lock_jobs().insert(job.panda_id, own);
    }
}
