//! Fetches a job's inputs and checks them.

use std::{fs, path::PathBuf};

use ailurus_model::ErrorCode;
use ailurus_pilot_core::{
    Problem,
    data::{
        Access, Failure, StageInFile, StageInPlan, Try,
        formats::{Verified, bad_input},
        place,
    },
};
use ailurus_transfer::{
    Direction, Durability, FileIdentity, Transfer, TransferReport, checksum::ChecksumKind,
};

use super::{
    JobPlace,
    check::check_file,
    courses::Leg,
    mover::{FileToMove, patience},
    tell_moved,
};

/// Name of the catalogue that ROOT reads.
const POOL_FILE_CATALOG: &str = "PoolFileCatalog.xml";

/// The inputs of one job that are copied.
struct Inputs<'a> {
    place: &'a JobPlace,
    files: Vec<&'a StageInFile>,
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
            patience: patience(input.size),
            identity: FileIdentity {
                scope: Some(input.scope.clone()),
                lfn: Some(input.lfn.clone()),
                guid: input.guid.clone(),
                endpoint: Some(way.endpoint.clone()),
                space_token: None,
            },
        }
    }

    fn judge(&self, file: usize, report: &TransferReport) -> Result<(), Failure> {
        let input = self.files[file];
        if let Some(check) = &input.check
            && let Err(said) = check_file(&self.path(file), check)
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
}

impl JobPlace {
    /// Fetches, verifies and checks all inputs.
    pub(crate) fn stage_in(&self, plan: &StageInPlan) -> Result<(), Problem> {
        for file in &plan.files {
            if let Access::Remote(remote) = &file.access {
                tracing::info!("input `{}` is read from `{}`", file.lfn, remote.endpoint);
            }
        }
        let inputs = Inputs {
            place: self,
            files: plan.copied().collect(),
        };
        let files = inputs.files.iter().map(|file| FileToMove {
            lfn: &file.lfn,
            size: file.size,
            tries: file.tries.clone(),
        });
        let moved = self.mover.run(
            place::Direction::Read,
            files.collect(),
            (&inputs, &self.stop),
            (plan.limits, plan.cache),
        );
        for (file, moved) in inputs.files.iter().zip(moved) {
            for (way, bad) in &moved.ended.bad {
                tracing::warn!(
                    "bad replica of `{}` at `{}`: {}",
                    file.lfn,
                    way.place(),
                    bad.problem
                );
            }
            if let Some(problem) = moved.ended.problem {
                return Err(problem);
            }
            if !matches!(moved.outcome, Some(Ok(_))) {
                let detail = format!("`{}` was not fetched: the pilot was stopped", file.lfn);
                return Err(Problem::new(ErrorCode::StageInFailed, detail));
            }
        }
        self.write_catalog(plan)
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
