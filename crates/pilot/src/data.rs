//! Carries out what the core plans for data: inputs, outputs, script, log archive.

mod log_archive;
mod script;

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ailurus_model::{ByteCount, ErrorCode};
use ailurus_pilot_core::{
    Problem,
    data::{Beginning, StageInFile, StageInPlan, StageOutFile, StageOutPlan, StoredFile},
};
use ailurus_transfer::{
    Direction, Durability, StageFile, StageOptions, TransferError, TransferReport,
    checksum::ChecksumKind, file_checksum, local_path, stage,
};

use crate::log;

/// Files of a job that are moved at the same time.
const PARALLEL: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");
/// An output before it is stored.
#[derive(Debug)]
enum Output {
    /// It is sound, and has this size.
    ToStore(ByteCount),
    /// A pilot that died has stored it.
    Stored(StoredFile),
}

/// A job's directory, and the switch that gives up its transfers.
#[derive(Debug, Clone)]
pub(crate) struct JobPlace {
    pub(crate) dir: PathBuf,
    pub(crate) stop: Arc<AtomicBool>,
    /// Where the pilot's log was when the job began, in bytes.
    log_begin: u64,
}

impl JobPlace {
    pub(crate) fn new(dir: PathBuf, log_begin: u64) -> Self {
        Self {
            dir,
            stop: Arc::new(AtomicBool::new(false)),
            log_begin,
        }
    }

    /// Returns the same place for transfers that are not given up.
    pub(crate) fn with_new_stop(&self) -> Self {
        Self::new(self.dir.clone(), self.log_begin)
    }

    fn options(&self, direction: Direction) -> StageOptions {
        StageOptions {
            direction,
            parallel: PARALLEL,
            kind: ChecksumKind::Adler32,
            durability: match direction {
                Direction::StageIn => Durability::Relaxed,
                Direction::StageOut => Durability::Synced,
            },
            stop: self.stop.clone(),
        }
    }

    /// Fetches and verifies all inputs, replica after replica.
    pub(crate) fn stage_in(&self, plan: &StageInPlan) -> Result<(), Problem> {
        let mut open: Vec<&StageInFile> = plan.files.iter().collect();
        let mut round = 0;
        let mut first_problem = None;
        while !open.is_empty() {
            let (now, without): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|file| round < file.tries.len());
            if let Some(file) = without.first() {
                let no_source = || Problem::new(ErrorCode::NoReplicas, format!("`{}`", file.lfn));
                return Err(first_problem.unwrap_or_else(no_source));
            }
            let files: Vec<StageFile> = now.iter().map(|file| self.fetch(file, round)).collect();
            let outcomes = stage(&files, &self.options(Direction::StageIn));
            open = Vec::new();
            for (file, outcome) in now.into_iter().zip(outcomes) {
                match outcome {
                    Ok(report) => tell_moved("input", file.lfn.as_str(), &report),
                    Err(error) => {
                        let problem = problem_of(&error);
                        tracing::warn!("input `{}`: {problem}", file.lfn);
                        first_problem.get_or_insert(problem);
                        open.push(file);
                    }
                }
            }
            round += 1;
        }
        Ok(())
    }

    fn fetch(&self, file: &StageInFile, round: usize) -> StageFile {
        StageFile {
            source: file.tries[round].url.clone(),
            target: self.path_text(file.lfn.as_str()),
            size: file.size,
            checksum: file.checksum.clone(),
            time_limit: time_limit(file.size.unwrap_or_default()),
        }
    }

    /// Verifies and stores all outputs.
    pub(crate) fn stage_out(&self, plan: &StageOutPlan) -> Vec<Result<StoredFile, Problem>> {
        let checked: Vec<Result<Output, Problem>> = plan
            .files
            .iter()
            .map(|file| {
                let size = self.check_output(file, plan.size_max)?;
                let before = match plan.beginning {
                    Beginning::Fresh => None,
                    Beginning::Resumed => self.stored_before(file),
                };
                Ok(before.map_or(Output::ToStore(size), Output::Stored))
            })
            .collect();
        let sound = plan.files.iter().zip(&checked);
        let files: Vec<StageFile> = sound
            .filter_map(|(file, output)| match output {
                Ok(Output::ToStore(size)) => Some(self.store(file, *size)),
                Ok(Output::Stored(_)) | Err(_) => None,
            })
            .collect();
        let mut outcomes = stage(&files, &self.options(Direction::StageOut)).into_iter();
        let results = checked.into_iter().zip(&plan.files).map(|(checked, file)| {
            if let Output::Stored(before) = checked? {
                return Ok(before);
            }
            match outcomes.next() {
                Some(outcome) => stored(file, outcome),
                None => Err(Problem::new(
                    ErrorCode::StageOutFailed,
                    format!("`{}`", file.lfn),
                )),
            }
        });
        results.collect()
    }

    /// An output must be there, be a file, and have a size between nothing and too much.
    fn check_output(&self, file: &StageOutFile, size_max: ByteCount) -> Result<ByteCount, Problem> {
        let path = self.dir.join(file.lfn.as_str());
        let wrong = |code, what: &str| Err(Problem::new(code, format!("`{}` {what}", file.lfn)));
        match fs::metadata(&path) {
            Ok(_) if !self.is_inside(&path) => wrong(
                ErrorCode::MissingOutputFile,
                "is a link out of the job's directory",
            ),
            Ok(meta) if !meta.is_file() => wrong(ErrorCode::MissingOutputFile, "is not a file"),
            Ok(meta) if meta.len() == 0 => wrong(ErrorCode::ZeroFileSize, "is empty"),
            Ok(meta) if ByteCount::from_bytes(meta.len()) > size_max => {
                let size = ByteCount::from_bytes(meta.len());
                wrong(
                    ErrorCode::OutputFileTooLarge,
                    &format!("has {size}, {size_max} are allowed"),
                )
            }
            Ok(meta) => Ok(ByteCount::from_bytes(meta.len())),
            Err(error) => wrong(
                ErrorCode::MissingOutputFile,
                &format!("cannot be read: {error}"),
            ),
        }
    }

    /// Returns what lies at an output's place, if that is the output, whole.
    fn stored_before(&self, file: &StageOutFile) -> Option<StoredFile> {
        let sum =
            |path: &Path| file_checksum(path, ChecksumKind::Adler32, Direction::StageOut).ok();
        let target = local_path(Direction::StageOut, &file.destination).ok()?;
        let there = sum(&target)?;
        let (size, checksum) = sum(&self.dir.join(file.lfn.as_str()))?;
        if there != (size, checksum.clone()) {
            return None;
        }
        tracing::info!(
            "output `{}` is stored already: {size}, {checksum}",
            file.lfn
        );
        Some(StoredFile::new(size, checksum))
    }

    /// Says whether a file is really in the job's directory. By a link, a payload in a container
    /// could have files stored that it may not read itself.
    fn is_inside(&self, path: &Path) -> bool {
        match (self.dir.canonicalize(), path.canonicalize()) {
            (Ok(dir), Ok(path)) => path.starts_with(dir),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    fn store(&self, file: &StageOutFile, size: ByteCount) -> StageFile {
        StageFile {
            source: self.path_text(file.lfn.as_str()),
            target: file.destination.clone(),
            size: Some(size),
            checksum: None,
            time_limit: time_limit(size),
        }
    }

    fn path_text(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

fn stored(
    file: &StageOutFile,
    outcome: Result<TransferReport, TransferError>,
) -> Result<StoredFile, Problem> {
    let report = outcome.map_err(|error| problem_of(&error))?;
    tell_moved("output", file.lfn.as_str(), &report);
    Ok(StoredFile::new(report.size, report.checksum))
}

fn tell_moved(what: &str, name: &str, report: &TransferReport) {
    let millis = report.duration.as_millis();
    tracing::info!(
        "{what} `{name}`: {} in {millis} ms, {}",
        report.size,
        report.checksum
    );
}

fn problem_of(error: &TransferError) -> Problem {
    Problem::new(error.code(), log::chain(error))
}

/// The time that a transfer may take.
///
/// Source: Pilot 3, `pilot/copytool/common.py`, `get_timeout`.
fn time_limit(size: ByteCount) -> Duration {
    Duration::from_secs((400 + size.as_bytes() / 1_000_000).min(10_800))
}
