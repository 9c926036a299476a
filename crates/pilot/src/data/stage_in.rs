//! Fetches a job's inputs and checks them.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use ailurus_model::ErrorCode;
use ailurus_pilot_core::{
    Problem,
    data::{
        Access, BadFile, Direction as Way, Failure, StageInFile, StageInPlan, TransfersSeen, Try,
        formats::{Verified, bad_input},
        traces::{TraceEnd, TracedFile},
    },
};
use ailurus_transfer::{
    Direction, Durability, FileIdentity, Transfer, TransferReport, checksum::ChecksumKind,
    space::SpaceWatch,
};

use super::{
    JobPlace,
    check::check,
    courses::{Ended, Leg},
    mover::{FileToMove, Rules, patience},
    tell_moved,
};
use crate::traces::JobTracer;

/// Name of the catalogue that ROOT reads.
const POOL_FILE_CATALOG: &str = "PoolFileCatalog.xml";

/// The inputs of one job that are copied.
struct Inputs<'a> {
    place: &'a JobPlace,
    files: Vec<&'a StageInFile>,
    tracer: Option<JobTracer>,
}

impl Inputs<'_> {
    fn path(&self, file: usize) -> PathBuf {
        self.place.dir.join(self.files[file].lfn.as_str())
    }
}

impl Leg for Inputs<'_> {
    fn transfer(&self, file: usize, way: &Try) -> Transfer {
        let input = self.files[file];
        Transfer {
            direction: Direction::StageIn,
            url: way.url.clone(),
            path: self.path(file),
            size: input.size,
            checksum: input.checksum.clone(),
            kind: ChecksumKind::Adler32,
            also: Vec::new(),
            durability: Durability::Relaxed,
            patience: patience(way, input.size),
            identity: FileIdentity {
                scope: Some(input.scope.clone()),
                lfn: Some(input.lfn.clone()),
                guid: input.guid.clone(),
                endpoint: Some(way.endpoint.clone()),
                space_token: way.space_token.clone(),
            },
        }
    }

    fn judge(&self, file: usize, report: &TransferReport) -> Result<(), Failure> {
        let input = self.files[file];
        if let Some(format) = &input.check
            && let Err(said) = check(&self.path(file), format, &self.place.stop)
        {
            let verified = match &input.checksum {
                Some(_) => Verified::ByChecksum,
                None => Verified::No,
            };
            // The next replica replaces it; without one nobody must take it for sound.
            let _ = fs::remove_file(self.path(file));
            return Err(bad_input(&input.lfn, &said, verified));
        }
        tell_moved("input", input.lfn.as_str(), report);
        Ok(())
    }

    fn tell(&self, file: usize, way: &Try, elapsed: Duration, failure: Option<&Failure>) {
        if let Some(tracer) = &self.tracer {
            let end = failure.map_or(TraceEnd::Moved, TraceEnd::Failed);
            tracer.tell(Way::Read, (way, traced(self.files[file])), elapsed, end);
        }
    }
}

/// Describes a file for its traces.
fn traced(file: &StageInFile) -> TracedFile {
    let name = (&file.scope, &file.lfn);
    TracedFile::new(name, &file.dataset, file.guid.as_ref(), file.size)
}

impl JobPlace {
    /// Fetches, verifies and checks all inputs.
    pub(crate) fn stage_in(&self, plan: &StageInPlan) -> (TransfersSeen, Result<(), Problem>) {
        for note in &plan.notes {
            tracing::info!("{note}");
        }
        let tracer = self.tracer();
        for file in &plan.files {
            if let Access::Remote(remote) = &file.access {
                tracing::info!("input `{}` is read from `{}`", file.lfn, remote.endpoint);
                if let Some(tracer) = &tracer {
                    let way = Try {
                        endpoint: remote.endpoint.clone(),
                        domain: remote.domain,
                        ..Try::in_directory(remote.url.clone())
                    };
                    let what = (&way, traced(file));
                    tracer.tell(Way::Read, what, Duration::ZERO, TraceEnd::Remote);
                }
            }
        }
        let inputs = Inputs {
            place: self,
            files: plan.copied().collect(),
            tracer,
        };
        let files = inputs.files.iter().map(|file| FileToMove {
            lfn: &file.lfn,
            size: file.size,
            tries: file.tries.clone(),
        });
        let rules = Rules {
            direction: Way::Read,
            limits: plan.limits,
            cache: plan.cache,
            stop: &self.stop,
            space: Some(Arc::new(SpaceWatch::new(
                self.dir.clone(),
                self.mover.floor,
            ))),
        };
        let moved = self.mover.run(files.collect(), &inputs, &rules);
        let mut seen = TransfersSeen::default();
        let mut result = Ok(());
        for (file, moved) in inputs.files.iter().zip(moved) {
            let is_there = matches!(moved.outcome, Some(Ok(_)));
            let problem = note_end(file, moved.ended, &mut seen);
            let problem = problem.or_else(|| {
                let detail = format!("`{}` was not fetched: the pilot was stopped", file.lfn);
                (!is_there).then(|| Problem::new(ErrorCode::StageInFailed, detail))
            });
            if let (Some(problem), Ok(())) = (problem, &result) {
                result = Err(problem);
            }
        }
        (seen, result.and_then(|()| self.write_catalog(plan)))
    }

    fn write_catalog(&self, plan: &StageInPlan) -> Result<(), Problem> {
        let Some(text) = &plan.pool_file_catalog else {
            return Ok(());
        };
        let path = self.dir.join(POOL_FILE_CATALOG);
        fs::write(&path, text).map_err(|error| {
            let detail = format!("`{}` cannot be written: {error}", path.display());
            Problem::new(ErrorCode::StageInFailed, detail)
        })
    }
}

/// Adds what a file's course has shown, and returns why it failed.
fn note_end(file: &StageInFile, ended: Ended, seen: &mut TransfersSeen) -> Option<Problem> {
    let bad = ended.bad.into_iter().map(|(way, bad)| BadFile {
        lfn: file.lfn.clone(),
        endpoint: way.endpoint,
        found: bad.problem.detail,
    });
    seen.bad.extend(bad);
    seen.moves.extend(ended.moves);
    ended.problem
}
