//! Checks files on this node for being whole: [`check_file`].
//!
//! What is wrong with which format is known by `ailurus-format`; here are the file, the threads and
//! the switch that ends a check.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use ailurus_format::{Depth, Finding, Format, ReadError, Source, Verdict};

use crate::StopSwitch;

/// Most threads for one file.
const THREADS_MAX: usize = 8;
/// Stack of a thread, in bytes. Only what is used of it becomes memory.
const STACK_BYTES: usize = 1 << 20;

/// How a file is to be checked.
#[derive(Debug, Clone)]
pub struct FormatCheck {
    /// What it should be; `None` to go by its name and then by its first bytes.
    pub format: Option<Format>,
    /// How much of it is looked at.
    pub depth: Depth,
    /// Threads at most, this one included; more than 8 are 8.
    pub n_threads: usize,
    /// Ends the check early.
    pub stop: StopSwitch,
}

/// A file could not be checked. This says nothing about what is in it.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be opened.
    #[error("`{}` cannot be opened", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("`{}` is no plain file", path.display())]
    NoFile {
        /// What it is called.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Where, and what the system says.
        #[source]
        source: ReadError,
    },
    /// Nothing tells what it is.
    #[error("neither name nor first bytes of `{}` tell its format: name it", path.display())]
    NoFormat {
        /// Which file.
        path: PathBuf,
    },
    /// The switch was thrown.
    #[error("the check of `{}` was given up", path.display())]
    Stopped {
        /// Which file.
        path: PathBuf,
    },
}

/// Checks one file.
///
/// # Errors
///
/// It is not there, is no plain file, cannot be read, is of no format that is known, or the check
/// was given up. Whatever is wrong with its bytes is in the verdict.
pub fn check_file(path: &Path, check: &FormatCheck) -> Result<Verdict, CheckError> {
    let source = FileSource::open(path, &check.stop)?;
    let read = |source| {
        let path = path.to_owned();
        if check.stop.is_stopped() {
            CheckError::Stopped { path }
        } else {
            CheckError::Read { path, source }
        }
    };
    let by_name = || Format::of_name(path.file_name()?.to_str()?);
    let format = match check.format.or_else(by_name) {
        Some(format) => format,
        None => {
            let guessed = ailurus_format::guess(&source).map_err(read)?;
            let path = path.to_owned();
            guessed.ok_or(CheckError::NoFormat { path })?
        }
    };
    let begun = ailurus_format::begin(&source, format, check.depth);
    let (mut verdict, pieces) = begun.map_err(read)?;
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let work = || {
        while let Some(nr) = Some(next.fetch_add(1, Ordering::Relaxed))
            && let Some(piece) = pieces.get(nr)
        {
            let looked = ailurus_format::check_piece(&source, piece);
            let is_over = looked.is_err();
            found
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((nr, looked));
            if is_over {
                break;
            }
        }
    };
    thread::scope(|scope| {
        // This thread works, too, so that the file is checked even where no thread can be had.
        for _ in 1..check.n_threads.min(THREADS_MAX).min(pieces.len()) {
            let helper = thread::Builder::new()
                .name("format-check".to_owned())
                .stack_size(STACK_BYTES);
            if let Err(error) = helper.spawn_scoped(scope, work) {
                tracing::debug!(%error, "fewer threads for a check than asked for");
                break;
            }
        }
        work();
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(nr, _)| *nr);
    for (_, looked) in found {
        let findings: Vec<Finding> = looked.map_err(read)?;
        verdict.add(findings);
    }
    Ok(verdict)
}

/// An open file, read at any place by any thread.
struct FileSource<'a> {
    file: File,
    length: u64,
    stop: &'a StopSwitch,
}

impl<'a> FileSource<'a> {
    fn open(path: &Path, stop: &'a StopSwitch) -> Result<Self, CheckError> {
        let failed = |source| CheckError::Open {
            path: path.to_owned(),
            source,
        };
        // Opening a pipe would wait for somebody to write to it.
        let is_file = std::fs::metadata(path).map_err(failed)?.is_file();
        if !is_file {
            let path = path.to_owned();
            return Err(CheckError::NoFile { path });
        }
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Self { file, length, stop })
    }
}

impl Source for FileSource<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let read = if self.stop.is_stopped() {
            Err(io::ErrorKind::Interrupted.into())
        } else {
            self.file.read_exact_at(buffer, offset)
        };
        read.map_err(|source| ReadError {
            offset,
            length: buffer.len(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Option<Format>) -> FormatCheck {
        FormatCheck {
            format,
            depth: Depth::Baskets,
            n_threads: 2,
            stop: StopSwitch::new(),
        }
    }

    #[test]
    fn a_file_is_judged_by_its_name_and_then_by_its_first_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join("page.root");
        std::fs::write(&page, "<html>").unwrap();
        let verdict = check_file(&page, &check(None)).unwrap();
        assert_eq!((verdict.format, verdict.is_good()), (Format::Root, false));
        let nameless = dir.path().join("nameless");
        std::fs::write(&nameless, b"\x1f\x8b").unwrap();
        let verdict = check_file(&nameless, &check(None)).unwrap();
        assert_eq!((verdict.format, verdict.is_good()), (Format::Gzip, false));
        let verdict = check_file(&page, &check(Some(Format::Text))).unwrap();
        assert!(verdict.is_good());
    }

    #[test]
    fn what_is_no_readable_file_is_an_error_and_no_verdict() {
        let dir = tempfile::tempdir().unwrap();
        let missing = check_file(&dir.path().join("missing.root"), &check(None));
        assert!(matches!(missing, Err(CheckError::Open { .. })));
        let folder = check_file(dir.path(), &check(None));
        assert!(matches!(folder, Err(CheckError::NoFile { .. })));
        let odd = dir.path().join("odd");
        std::fs::write(&odd, "text").unwrap();
        let unknown = check_file(&odd, &check(None));
        assert!(matches!(unknown, Err(CheckError::NoFormat { .. })));
        let order = check(Some(Format::Text));
        order.stop.stop();
        let stopped = check_file(&odd, &order);
        assert!(matches!(stopped, Err(CheckError::Stopped { .. })));
    }
}
