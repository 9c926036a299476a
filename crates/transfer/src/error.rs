//! Why a file could not be moved.

use std::{io, path::PathBuf, time::Duration};

use ailurus_model::{Blame, ByteCount, Checksum, ErrorCode, Retry};
use rustix::io::Errno;

/// Which way a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From storage to the job.
    StageIn,
    /// From the job to storage.
    StageOut,
}

impl Direction {
    /// Picks what belongs to this direction.
    const fn pick(self, stage_in: ErrorCode, stage_out: ErrorCode) -> ErrorCode {
        match self {
            Self::StageIn => stage_in,
            Self::StageOut => stage_out,
        }
    }
}

/// A file could not be moved. Its target is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// There is nothing at the source.
    #[error("`{}` does not exist", path.display())]
    MissingSource {
        /// Which way the file goes.
        direction: Direction,
        /// The source.
        path: PathBuf,
    },
    /// The source is a directory, a pipe or a device.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// Which way the file goes.
        direction: Direction,
        /// The source.
        path: PathBuf,
    },
    /// The name leads out of its directory, is empty or too long.
    #[error("`{}` cannot be a file's path: {reason}", path.display())]
    BadPath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: BadPathReason,
    },
    /// No tool moves files with such a URL or of such a name.
    #[error("no copy tool for `{wanted}`; there are: {known}")]
    UnknownTool {
        /// The scheme or name that was asked for.
        wanted: String,
        /// The schemes or names that there are.
        known: String,
    },
    /// The target's file system is full, or a quota is used up.
    #[error("no space left for `{}`", path.display())]
    NoSpace {
        /// Which way the file goes.
        direction: Direction,
        /// The target.
        path: PathBuf,
    },
    /// The pilot's account may not read or write here.
    #[error("no permission to {action} `{}`", path.display())]
    NoPermission {
        /// Which way the file goes.
        direction: Direction,
        /// `read` or `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
    },
    /// The target's directory could not be made.
    #[error("the directory `{}` cannot be made", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file has another size than the catalogue says.
    #[error("`{}` has {found} bytes instead of {expected}", path.display(), found = found.as_bytes(), expected = expected.as_bytes())]
    SizeMismatch {
        /// Which way the file goes.
        direction: Direction,
        /// The source.
        path: PathBuf,
        /// As the catalogue says.
        expected: ByteCount,
        /// As it was read.
        found: ByteCount,
    },
    /// The file has another checksum than the catalogue says.
    #[error("`{}` has checksum {found} instead of {expected}", path.display())]
    ChecksumMismatch {
        /// Which way the file goes.
        direction: Direction,
        /// The source.
        path: PathBuf,
        /// As the catalogue says.
        expected: Checksum,
        /// As it was read.
        found: Checksum,
    },
    /// The transfer took too long.
    #[error("`{}` was not moved within {} s", path.display(), limit.as_secs())]
    TimedOut {
        /// Which way the file goes.
        direction: Direction,
        /// The source.
        path: PathBuf,
        /// The limit that was reached.
        limit: Duration,
    },
    /// The pilot was told to stop.
    #[error("the transfer of `{}` was stopped", path.display())]
    Stopped {
        /// Which way the file goes.
        direction: Direction,
        /// The source.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// Which way the file goes.
        direction: Direction,
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPathReason {
    /// It has no file name at its end.
    #[error("it names no file")]
    NoName,
    /// It has a `..`.
    #[error("it has a `..`")]
    LeadsUp,
    /// A file URL without an absolute path.
    #[error("a file URL must have an absolute path")]
    NotAbsolute,
    /// A part is longer than the file system takes.
    #[error("its name is too long")]
    TooLong,
}

impl TransferError {
    /// Returns the pilot's error code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        use ErrorCode as E;
        match self {
            Self::MissingSource { direction, .. } => {
                direction.pick(E::MissingInputFile, E::MissingOutputFile)
            }
            Self::BadPath { reason, .. } => match reason {
                BadPathReason::TooLong => E::LfnTooLong,
                BadPathReason::NoName | BadPathReason::LeadsUp | BadPathReason::NotAbsolute => {
                    E::FileHandlingFailure
                }
            },
            Self::UnknownTool { .. } => E::UnknownCopyTool,
            Self::NoSpace { direction, .. } => direction.pick(E::NoLocalSpace, E::NoRemoteSpace),
            Self::NoDirectory { .. } => E::Mkdir,
            Self::ChecksumMismatch {
                direction,
                expected,
                ..
            } => match expected {
                Checksum::Adler32(_) => direction.pick(E::GetAdMismatch, E::PutAdMismatch),
                Checksum::Md5(_) => direction.pick(E::GetMd5Mismatch, E::PutMd5Mismatch),
            },
            Self::TimedOut { direction, .. } => {
                direction.pick(E::StageInTimeout, E::StageOutTimeout)
            }
            Self::NotAFile { direction, .. }
            | Self::NoPermission { direction, .. }
            | Self::SizeMismatch { direction, .. }
            | Self::Stopped { direction, .. }
            | Self::Io { direction, .. } => direction.pick(E::StageInFailed, E::StageOutFailed),
        }
    }

    /// Says whether trying again can help, and where.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::BadPath { .. } | Self::UnknownTool { .. } => Retry::Never,
            Self::Stopped { .. } => Retry::Later,
            Self::MissingSource { .. }
            | Self::NotAFile { .. }
            | Self::NoSpace { .. }
            | Self::NoPermission { .. }
            | Self::NoDirectory { .. }
            | Self::SizeMismatch { .. }
            | Self::ChecksumMismatch { .. }
            | Self::TimedOut { .. }
            | Self::Io { .. } => self.code().retry(),
        }
    }

    /// Says who can do something about it.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::BadPath { .. } => Blame::User,
            Self::Stopped { .. } => Blame::Pilot,
            Self::MissingSource { .. }
            | Self::NotAFile { .. }
            | Self::UnknownTool { .. }
            | Self::NoSpace { .. }
            | Self::NoPermission { .. }
            | Self::NoDirectory { .. }
            | Self::SizeMismatch { .. }
            | Self::ChecksumMismatch { .. }
            | Self::TimedOut { .. }
            | Self::Io { .. } => self.code().blame(),
        }
    }

    /// Sorts what the operating system said about reading the source.
    pub(crate) fn of_reading(direction: Direction, path: PathBuf, source: io::Error) -> Self {
        match errno_of(&source) {
            Some(Errno::NOENT | Errno::NOTDIR) => Self::MissingSource { direction, path },
            _ => Self::of_either(direction, "read", path, source),
        }
    }

    /// Sorts what the operating system said about writing the target.
    pub(crate) fn of_writing(direction: Direction, path: PathBuf, source: io::Error) -> Self {
        match errno_of(&source) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Self::NoSpace { direction, path },
            _ => Self::of_either(direction, "write", path, source),
        }
    }

    /// Sorts what the operating system said about making the target's directory.
    pub(crate) fn of_mkdir(direction: Direction, path: PathBuf, source: io::Error) -> Self {
        match errno_of(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace { direction, path },
            _ => Self::NoDirectory { path, source },
        }
    }

    fn of_either(
        direction: Direction,
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    ) -> Self {
        match errno_of(&source) {
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Self::NoPermission {
                direction,
                action,
                path,
            },
            Some(Errno::NAMETOOLONG) => Self::BadPath {
                path,
                reason: BadPathReason::TooLong,
            },
            _ => Self::Io {
                direction,
                action,
                path,
                source,
            },
        }
    }
}

pub(crate) fn errno_of(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(errno: Errno) -> io::Error {
        errno.into()
    }

    #[test]
    fn a_full_target_is_named_by_the_direction() {
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            let stage_in = TransferError::of_writing(Direction::StageIn, "/x".into(), os(errno));
            assert_eq!(stage_in.code(), ErrorCode::NoLocalSpace);
            let stage_out = TransferError::of_writing(Direction::StageOut, "/x".into(), os(errno));
            assert_eq!(stage_out.code(), ErrorCode::NoRemoteSpace);
        }
    }

    #[test]
    fn a_missing_source_is_named_by_the_direction() {
        let code =
            |direction| TransferError::of_reading(direction, "/x".into(), os(Errno::NOENT)).code();
        assert_eq!(code(Direction::StageIn), ErrorCode::MissingInputFile);
        assert_eq!(code(Direction::StageOut), ErrorCode::MissingOutputFile);
    }

    #[test]
    fn a_mismatch_is_named_by_checksum_and_direction() {
        let code = |direction, expected| {
            TransferError::ChecksumMismatch {
                direction,
                path: "/x".into(),
                expected,
                found: Checksum::Adler32(2),
            }
            .code()
            .number()
        };
        assert_eq!(code(Direction::StageIn, Checksum::Adler32(1)), 1171);
        assert_eq!(code(Direction::StageOut, Checksum::Adler32(1)), 1172);
        assert_eq!(code(Direction::StageIn, Checksum::Md5(String::new())), 1145);
        assert_eq!(
            code(Direction::StageOut, Checksum::Md5(String::new())),
            1141
        );
    }

    #[test]
    fn a_name_that_is_too_long_is_the_users_to_change() {
        let path = PathBuf::from("/x");
        let error = TransferError::of_writing(Direction::StageOut, path, os(Errno::NAMETOOLONG));
        assert_eq!(error.code(), ErrorCode::LfnTooLong);
        assert_eq!((error.retry(), error.blame()), (Retry::Never, Blame::User));
    }
}
