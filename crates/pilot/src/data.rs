//! Carries out what the core plans for data: inputs, outputs, script, log archive.

use std::{
    fs, io,
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ailurus_http::{Client, FileAnswer};
use ailurus_model::{ByteCount, ErrorCode, Lfn};
use ailurus_pilot_core::{
    Problem,
    data::{Beginning, LogPlan, StageInFile, StageInPlan, StageOutFile, StageOutPlan, StoredFile},
    payload::script::ScriptPlan,
};
use ailurus_transfer::{
    Direction, Durability, StageFile, StageOptions, TransferError, TransferReport,
    archive::{PackError, PackLimits, PackRequest, pack},
    checksum::ChecksumKind,
    file_checksum, local_path, stage,
};

use crate::log::{self, LOG_FILE};

/// Files of a job that are moved at the same time.
const PARALLEL: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");
/// Largest script, in bytes.
const SCRIPT_MAX: u64 = 100 << 20;
/// Answers below 500 of servers that may answer better later: a time-out, and too many requests.
const BUSY_STATUSES: [u16; 2] = [408, 429];
/// Mode of a script.
const SCRIPT_MODE: u32 = 0o755;

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
            let (now, without): (Vec<_>, Vec<_>) = open
                .into_iter()
                .partition(|file| round < file.sources.len());
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
            source: file.sources[round].clone(),
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
        Some(StoredFile { size, checksum })
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

    /// Puts the pilot's log since the job's begin into the job's directory. A pilot may run thousands
    /// of jobs, and each archive has a log of its own.
    fn cut_log(&self) {
        if self.log_begin == 0 {
            return;
        }
        let home_log = self.dir.with_file_name(LOG_FILE);
        if let Err(error) = log::cut(&home_log, self.log_begin, &self.dir.join(LOG_FILE)) {
            tracing::debug!("the archive gets the whole log: {error}");
        }
    }

    /// Packs the log archive beside the job's directory, and stores it.
    pub(crate) fn save_log(&self, plan: &LogPlan) -> Result<StoredFile, Problem> {
        self.cut_log();
        // Not under the name that the job gives: that could be one of the pilot's own files.
        let archive = self.dir.with_extension("log.tgz");
        let names = plan.left_out_names.iter().map(ToString::to_string);
        let patterns = plan
            .left_out
            .iter()
            .map(|pattern| pattern.as_str().to_owned());
        let request = PackRequest {
            dir: self.dir.clone(),
            archive: archive.clone(),
            root_name: plan.top_directory.clone(),
            exclude: names.chain(patterns).collect(),
            linked_files: vec![self.dir.with_file_name(LOG_FILE)],
            limits: PackLimits::default(),
        };
        let packed = pack(&request).or_else(|error| match error {
            PackError::NoSpace { .. } => {
                tracing::warn!("{}: inputs and outputs make room", log::chain(&error));
                self.remove_files(&plan.left_out_names);
                pack(&request)
            }
            PackError::Unwritable { .. }
            | PackError::Unreadable { .. }
            | PackError::TimedOut { .. } => Err(error),
        });
        let packed = packed.map_err(|error| Problem::new(error.code(), log::chain(&error)))?;
        for note in &packed.notes {
            tracing::info!("log archive: {note}");
        }
        let file = StageFile {
            source: archive.display().to_string(),
            target: plan.file.destination.clone(),
            size: Some(packed.size),
            checksum: Some(packed.checksum),
            time_limit: time_limit(packed.size),
        };
        let outcome = stage(&[file], &self.options(Direction::StageOut)).pop();
        if matches!(outcome, Some(Ok(_)))
            && let Err(error) = fs::remove_file(&archive)
        {
            tracing::debug!("`{}` cannot be removed: {error}", archive.display());
        }
        match outcome {
            Some(outcome) => stored(&plan.file, outcome),
            None => Err(Problem::new(
                ErrorCode::StageOutFailed,
                "the log has no result",
            )),
        }
    }

    /// Removes files of the job that nobody needs any more. What is a link, only that is removed.
    fn remove_files(&self, names: &[Lfn]) {
        for name in names {
            // Most of them may never have been there.
            let _ = fs::remove_file(self.dir.join(name.as_str()));
        }
    }

    /// Gets the script and makes it executable.
    pub(crate) fn fetch_script(&self, client: &Client, plan: &ScriptPlan) -> Result<(), Problem> {
        let name = match plan {
            ScriptPlan::None => return Ok(()),
            ScriptPlan::Input { name } => name,
            ScriptPlan::Copy { path, name } => {
                let target = self.dir.join(name);
                fs::copy(path, target).map_err(|error| no_script(path, &error.to_string()))?;
                name
            }
            ScriptPlan::Download { url, name } => {
                let target = self.dir.join(name);
                download_script(client, url, &target)?;
                name
            }
        };
        make_executable(&self.dir.join(name))
            .map_err(|error| Problem::new(ErrorCode::ChmodTrf, format!("`{name}`: {error}")))
    }

    fn path_text(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

fn make_executable(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(SCRIPT_MODE))
}

/// Downloads a script. What may work later is 1324, all else 1149.
fn download_script(client: &Client, url: &str, target: &Path) -> Result<(), Problem> {
    let away = |why: &str| Problem::new(ErrorCode::ServiceNotAvailable, format!("`{url}`: {why}"));
    match client.get_to_file(url, target, SCRIPT_MAX) {
        Ok(FileAnswer::Saved { size_bytes: 0 }) => Err(no_script(url, "it is empty")),
        Ok(FileAnswer::Saved { .. }) => Ok(()),
        Ok(FileAnswer::Refused(answer)) => {
            let why = format!("HTTP status {}", answer.status);
            if answer.status >= 500 || BUSY_STATUSES.contains(&answer.status) {
                return Err(away(&why));
            }
            Err(no_script(url, &why))
        }
        Err(error) if error.is_passing() => Err(away(&log::chain(&error))),
        Err(error) => Err(no_script(url, &log::chain(&error))),
    }
}

fn no_script(place: &str, why: &str) -> Problem {
    Problem::new(ErrorCode::TrfDownloadFailure, format!("`{place}`: {why}"))
}

fn stored(
    file: &StageOutFile,
    outcome: Result<TransferReport, TransferError>,
) -> Result<StoredFile, Problem> {
    let report = outcome.map_err(|error| problem_of(&error))?;
    tell_moved("output", file.lfn.as_str(), &report);
    Ok(StoredFile {
        size: report.size,
        checksum: report.checksum,
    })
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

#[cfg(test)]
mod tests {
    use ailurus_model::{EndpointName, Guid};

    use super::*;

    #[test]
    fn a_log_named_like_the_pilots_own_takes_nothing_away_and_leaves_no_archive() {
        let home = tempfile::tempdir().expect("space");
        let storage = tempfile::tempdir().expect("space");
        let place = JobPlace::new(home.path().join("PanDA_Pilot-1"), 0);
        fs::create_dir(&place.dir).expect("space");
        fs::write(home.path().join(LOG_FILE), "the pilot's").expect("space");
        let target = storage.path().join("log");
        let plan = LogPlan {
            file: StageOutFile {
                lfn: Lfn::new(LOG_FILE),
                destination: target.display().to_string(),
                endpoint: EndpointName::new("EP"),
                guid: Guid::new("G"),
            },
            top_directory: "tarball".into(),
            left_out_names: Vec::new(),
            left_out: Vec::new(),
        };
        place.save_log(&plan).expect("saved");
        let own = fs::read_to_string(home.path().join(LOG_FILE)).expect("there");
        assert_eq!(own, "the pilot's");
        assert!(target.is_file());
        assert_eq!(fs::read_dir(home.path()).expect("there").count(), 2);
    }
}
