//! Checks a job's outputs and stores them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use ailurus_experiment::ChecksumChoice;
use ailurus_model::{ByteCount, Checksum, ErrorCode};
use ailurus_pilot_core::{
    Problem,
    data::{
        Beginning, CacheUse, CourseLimits, Direction as Way, Failure, StageOutFile, StageOutPlan,
        StoredFile, TransfersSeen, Try,
        formats::bad_output,
        traces::{TraceEnd, TracedFile},
    },
};
use ailurus_transfer::{
    Direction, Durability, FileIdentity, Transfer, TransferReport, Watch, checksum::ChecksumKind,
    file_checksum, local_path,
};

use super::{
    JobPlace,
    check::check,
    courses::Leg,
    mover::{FileToMove, Moved, Rules, patience},
    tell_moved,
};
use crate::traces::JobTracer;

/// An output before it is stored.
#[derive(Debug)]
enum Output {
    /// It is sound, and has this size.
    ToStore(ByteCount),
    /// A pilot that died has stored it.
    Stored(StoredFile),
}

/// A file of this node that is to be stored.
pub(super) struct LocalFile<'a> {
    pub(super) file: &'a StageOutFile,
    pub(super) path: PathBuf,
    pub(super) size: ByteCount,
}

/// Outputs of one job that are stored, or its log.
struct Outputs<'a> {
    files: Vec<LocalFile<'a>>,
    checksum: ChecksumKind,
    tracer: Option<JobTracer>,
}

impl Leg for Outputs<'_> {
    fn transfer(&self, file: usize, way: &Try) -> Transfer {
        let LocalFile { file, path, size } = &self.files[file];
        Transfer {
            direction: Direction::StageOut,
            url: way.url.clone(),
            path: path.clone(),
            size: Some(*size),
            checksum: None,
            kind: self.checksum,
            also: Vec::new(),
            durability: Durability::Synced,
            patience: patience(way, Some(*size)),
            identity: FileIdentity {
                scope: Some(file.scope.clone()),
                lfn: Some(file.lfn.clone()),
                guid: Some(file.guid.clone()),
                endpoint: Some(way.endpoint.clone()),
                space_token: way.space_token.clone(),
            },
        }
    }

    fn judge(&self, file: usize, report: &TransferReport) -> Result<(), Failure> {
        tell_moved("output", self.files[file].file.lfn.as_str(), report);
        Ok(())
    }

    fn tell(&self, file: usize, way: &Try, elapsed: Duration, failure: Option<&Failure>) {
        if let Some(tracer) = &self.tracer {
            let LocalFile { file, size, .. } = &self.files[file];
            let name = (&file.scope, &file.lfn);
            let traced = TracedFile::new(name, &file.dataset, Some(&file.guid), Some(*size));
            let end = failure.map_or(TraceEnd::Moved, TraceEnd::Failed);
            tracer.tell(Way::Write, (way, traced), elapsed, end);
        }
    }
}

impl JobPlace {
    /// Checks and stores all outputs.
    pub(crate) fn stage_out(
        &self,
        plan: &StageOutPlan,
    ) -> (TransfersSeen, Vec<Result<StoredFile, Problem>>) {
        let kind = kind_of(plan.checksum);
        let checked: Vec<Result<Output, Problem>> = plan
            .files
            .iter()
            .map(|file| {
                let size = self.check_output(file, plan.size_max)?;
                let before = match plan.beginning {
                    Beginning::Fresh => None,
                    Beginning::Resumed => self.stored_before(file, kind),
                };
                Ok(before.map_or(Output::ToStore(size), Output::Stored))
            })
            .collect();
        let sound = plan.files.iter().zip(&checked);
        let to_store = sound.filter_map(|(file, output)| match output {
            Ok(Output::ToStore(size)) => Some(LocalFile {
                file,
                path: self.dir.join(file.lfn.as_str()),
                size: *size,
            }),
            Ok(Output::Stored(_)) | Err(_) => None,
        });
        let (seen, outcomes) = self.store(to_store.collect(), kind);
        let mut outcomes = outcomes.into_iter();
        let results = checked.into_iter().map(|checked| {
            if let Output::Stored(before) = checked? {
                return Ok(before);
            }
            outcomes
                .next()
                .expect("one outcome for each that is stored")
        });
        (seen, results.collect())
    }

    /// Stores files, each on the first of its ways that works.
    pub(super) fn store(
        &self,
        files: Vec<LocalFile<'_>>,
        checksum: ChecksumKind,
    ) -> (TransfersSeen, Vec<Result<StoredFile, Problem>>) {
        let outputs = Outputs {
            files,
            checksum,
            tracer: self.tracer(),
        };
        let to_move = outputs.files.iter().map(|local| FileToMove {
            lfn: &local.file.lfn,
            size: Some(local.size),
            tries: local.file.ways(),
        });
        let rules = Rules {
            direction: Way::Write,
            limits: CourseLimits::default(),
            cache: CacheUse::Uncached,
            stop: &self.stop,
            space: None,
        };
        let moved = self.mover.run(to_move.collect(), &outputs, &rules);
        let mut seen = TransfersSeen::default();
        let mut results = Vec::new();
        for (local, mut moved) in outputs.files.iter().zip(moved) {
            seen.moves.append(&mut moved.ended.moves);
            results.push(stored(local.file, moved));
        }
        (seen, results)
    }

    /// An output must be there, be a file, have a size between nothing and too much, and be of its
    /// format.
    fn check_output(&self, file: &StageOutFile, size_max: ByteCount) -> Result<ByteCount, Problem> {
        let path = self.dir.join(file.lfn.as_str());
        let wrong = |code, what: &str| Err(Problem::new(code, format!("`{}` {what}", file.lfn)));
        let size = match fs::metadata(&path) {
            Ok(_) if !self.is_inside(&path) => {
                return wrong(
                    ErrorCode::MissingOutputFile,
                    "is a link out of the job's directory",
                );
            }
            Ok(meta) if !meta.is_file() => {
                return wrong(ErrorCode::MissingOutputFile, "is not a file");
            }
            Ok(meta) => ByteCount::from_bytes(meta.len()),
            Err(error) => {
                let what = format!("cannot be read: {error}");
                return wrong(ErrorCode::MissingOutputFile, &what);
            }
        };
        if size == ByteCount::ZERO {
            return wrong(ErrorCode::ZeroFileSize, "is empty");
        }
        if size > size_max {
            let what = format!("has {size}, {size_max} are allowed");
            return wrong(ErrorCode::OutputFileTooLarge, &what);
        }
        if let Some(format) = &file.check {
            check(&path, format, &self.stop).map_err(|said| bad_output(&file.lfn, &said))?;
        }
        Ok(size)
    }

    /// Returns what lies at one of an output's places, if that is the output, whole.
    fn stored_before(&self, file: &StageOutFile, kind: ChecksumKind) -> Option<StoredFile> {
        let path = self.dir.join(file.lfn.as_str());
        let (size, checksum) = file_checksum(&path, kind, Direction::StageOut).ok()?;
        let lies_at = |way: &Try| {
            let tool = self
                .mover
                .tools
                .named(Direction::StageOut, way.tool.as_str());
            let watch = Watch::new(self.stop.flag().clone(), patience(way, Some(size)));
            let there = tool.ok()?.look(&way.url, &watch).ok()?;
            let sum = there.checksum.or_else(|| checksum_of_place(way, kind));
            let is_it = there.size == Some(size) && sum.as_ref() == Some(&checksum);
            is_it.then(|| StoredFile::new(size, checksum.clone()).by(way))
        };
        let before = file.ways().iter().find_map(lies_at)?;
        tracing::info!(
            "output `{}` is stored already: {size}, {}",
            file.lfn,
            before.checksum
        );
        Some(before)
    }

    /// Says whether a file is really in the job's directory. By a link, a payload in a container
    /// could have files stored that it may not read itself.
    fn is_inside(&self, path: &Path) -> bool {
        match (self.dir.canonicalize(), path.canonicalize()) {
            (Ok(dir), Ok(path)) => path.starts_with(dir),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }
}

fn stored(file: &StageOutFile, moved: Moved) -> Result<StoredFile, Problem> {
    if let Some(problem) = moved.ended.problem {
        return Err(problem);
    }
    let stopped = || {
        let detail = format!("`{}` was not stored: the pilot was stopped", file.lfn);
        Problem::new(ErrorCode::StageOutFailed, detail)
    };
    match (moved.outcome, moved.ended.way) {
        (Some(Ok(report)), Some(way)) => Ok(StoredFile::new(report.size, report.checksum).by(&way)),
        _ => Err(stopped()),
    }
}

/// Returns the checksum of what lies in a mounted file system, which knows none by itself.
fn checksum_of_place(way: &Try, kind: ChecksumKind) -> Option<Checksum> {
    let path = local_path(Direction::StageOut, &way.url).ok()?;
    let sum = file_checksum(&path, kind, Direction::StageOut);
    sum.ok().map(|(_, checksum)| checksum)
}

/// Returns the kind of checksum that a plan wants.
pub(super) const fn kind_of(choice: ChecksumChoice) -> ChecksumKind {
    match choice {
        ChecksumChoice::Adler32 => ChecksumKind::Adler32,
        ChecksumChoice::Md5 => ChecksumKind::Md5,
        ChecksumChoice::Sha256 => ChecksumKind::Sha256,
    }
}
