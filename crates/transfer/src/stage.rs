//! Moves many files, a bounded number at a time.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use ailurus_model::{ByteCount, Checksum};

use crate::{
    CopyRequest, CopyTool, Direction, Durability, TransferError, TransferReport,
    checksum::ChecksumKind, local_path,
};

/// Most transfers at a time, whatever is asked for.
const PARALLEL_MAX: usize = 64;

/// Stack of a transfer thread, in bytes.
const STACK_BYTES: usize = 256 << 10;

/// One file to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageFile {
    /// URL or path of the source.
    pub source: String,
    /// URL or path of the target.
    pub target: String,
    /// The size that the catalogue says, if known.
    pub size: Option<ByteCount>,
    /// The checksum that the catalogue says, if known.
    pub checksum: Option<Checksum>,
    /// Longest time that it may take.
    pub time_limit: Duration,
}

/// What all files of one call have in common.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// Which way they go.
    pub direction: Direction,
    /// Most transfers at a time.
    pub parallel: NonZeroUsize,
    /// Which checksum to report for files without a known one.
    pub kind: ChecksumKind,
    /// Whether to wait for the disk.
    pub durability: Durability,
    /// Once true, nothing more is begun and what runs is given up.
    pub stop: Arc<AtomicBool>,
}

/// Moves files; returns when all of them have an outcome, in the order of `files`.
#[must_use]
pub fn stage(
    files: &[StageFile],
    options: &StageOptions,
) -> Vec<Result<TransferReport, TransferError>> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::with_capacity(files.len()));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(index) else { return };
            let outcome = stage_one(file, options);
            outcomes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((index, outcome));
        }
    };
    thread::scope(|scope| {
        // This thread works too, so that the files are moved even where no thread can be had.
        let n_helpers = options.parallel.get().min(PARALLEL_MAX).min(files.len());
        for _ in 1..n_helpers {
            let helper = thread::Builder::new()
                .name("transfer".to_owned())
                .stack_size(STACK_BYTES);
            if let Err(error) = helper.spawn_scoped(scope, work) {
                tracing::warn!(%error, "fewer transfers at a time than asked for");
                break;
            }
        }
        work();
    });
    let mut outcomes = outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn stage_one(file: &StageFile, options: &StageOptions) -> Result<TransferReport, TransferError> {
    let tool = CopyTool::for_url(options.direction, &file.source)?;
    let request = CopyRequest {
        from: local_path(options.direction, &file.source)?,
        to: local_path(options.direction, &file.target)?,
        direction: options.direction,
        size: file.size,
        checksum: file.checksum.clone(),
        kind: options.kind,
        durability: options.durability,
        time_limit: file.time_limit,
    };
    tool.copy(&request, &options.stop)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ailurus_model::ErrorCode;

    use super::*;
    use crate::error::Cause;

    fn options(parallel: usize) -> StageOptions {
        StageOptions {
            direction: Direction::StageIn,
            parallel: NonZeroUsize::new(parallel).expect("not zero"),
            kind: ChecksumKind::Adler32,
            durability: Durability::Relaxed,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    fn file(source: String, target: String) -> StageFile {
        StageFile {
            source,
            target,
            size: None,
            checksum: None,
            time_limit: Duration::from_secs(60),
        }
    }

    #[test]
    fn outcomes_come_in_the_order_of_the_files() {
        let dir = tempfile::tempdir().expect("space");
        let base = dir.path().to_str().expect("text");
        let files: Vec<StageFile> = (0..50)
            .map(|nr| {
                if nr % 7 != 3 {
                    fs::write(dir.path().join(format!("in{nr}")), vec![b'x'; nr]).expect("space");
                }
                file(format!("file://{base}/in{nr}"), format!("{base}/job/{nr}"))
            })
            .collect();
        let outcomes = stage(&files, &options(8));
        assert_eq!(outcomes.len(), 50);
        for (nr, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok(report) => {
                    assert_eq!(report.size.as_bytes(), u64::try_from(nr).expect("small"));
                    assert!(dir.path().join(format!("job/{nr}")).exists());
                }
                Err(error) => {
                    assert_eq!(nr % 7, 3);
                    assert_eq!(error.code(), ErrorCode::MissingInputFile);
                }
            }
        }
    }

    #[test]
    fn an_unknown_scheme_fails_its_own_file_only() {
        let dir = tempfile::tempdir().expect("space");
        let base = dir.path().to_str().expect("text");
        fs::write(dir.path().join("a"), "x").expect("space");
        let files = [
            file("root://eos.example.org//a".into(), format!("{base}/b")),
            file(format!("{base}/a"), format!("{base}/c")),
        ];
        let outcomes = stage(&files, &options(1));
        assert!(matches!(
            outcomes[0],
            Err(TransferError {
                cause: Cause::UnknownTool { .. },
                ..
            })
        ));
        assert!(outcomes[1].is_ok());
    }

    #[test]
    fn nothing_is_moved_after_a_stop() {
        let dir = tempfile::tempdir().expect("space");
        let base = dir.path().to_str().expect("text");
        fs::write(dir.path().join("a"), "x").expect("space");
        let options = options(2);
        options.stop.store(true, Ordering::Relaxed);
        let outcomes = stage(&[file(format!("{base}/a"), format!("{base}/b"))], &options);
        let error = outcomes[0].as_ref().expect_err("stopped");
        assert!(matches!(error.cause, Cause::Stopped));
        assert!(!dir.path().join("b").exists());
    }

    #[test]
    fn no_files_need_no_work() {
        assert!(stage(&[], &options(4)).is_empty());
    }
}
