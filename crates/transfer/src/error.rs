//! Why a file could not be moved: [`TransferError`] names the place, [`Cause`] says why.

use std::{io, path::Path, time::Duration};

use ailurus_model::{Blame, ByteCount, Checksum, ErrorCode, Retry};
use rustix::io::Errno;

use crate::patience::Impatience;

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
#[error("`{place}`")]
pub struct TransferError {
    /// Which way the file goes.
    pub direction: Direction,
    /// The path or URL that it is about, without secrets.
    pub place: String,
    /// Why.
    #[source]
    pub cause: Cause,
}

/// Why a file could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// There is nothing at the source.
    #[error("it does not exist")]
    Missing,
    /// The source is a directory, a pipe or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// The name leads out of its directory, is empty or too long.
    #[error("it cannot be a file's place: {0}")]
    BadPlace(BadPlaceReason),
    /// No tool moves files with such a URL or of such a name.
    #[error("no copy tool for `{wanted}`; there are: {known}")]
    UnknownTool {
        /// The scheme or name that was asked for.
        wanted: String,
        /// The schemes or names that there are.
        known: String,
    },
    /// The target's file system or storage is full, or a quota is used up.
    #[error("no space is left for it")]
    NoSpace,
    /// The pilot's account may not read or write here.
    #[error("no permission to {action} it")]
    NoPermission {
        /// `read` or `write`.
        action: &'static str,
    },
    /// The target's directory could not be made.
    #[error("the directory cannot be made")]
    NoDirectory(#[source] io::Error),
    /// The file has another size than the catalogue says.
    #[error("it has {found} bytes instead of {expected}", found = found.as_bytes(), expected = expected.as_bytes())]
    SizeMismatch {
        /// As the catalogue says.
        expected: ByteCount,
        /// As it was read.
        found: ByteCount,
    },
    /// The file has another checksum than the catalogue says.
    #[error("it has checksum {found} instead of {expected}")]
    ChecksumMismatch {
        /// As the catalogue says.
        expected: Checksum,
        /// As it was read.
        found: Checksum,
    },
    /// The file changed while it was read.
    #[error("it changed while it was read: {what}")]
    Changed {
        /// What showed it.
        what: String,
    },
    /// It does not move.
    #[error("the transfer does not move: {0}")]
    TooSlow(#[source] Impatience),
    /// The pilot was told to stop.
    #[error("the transfer was stopped")]
    Stopped,
    /// The storage's host cannot be reached.
    #[error("the storage cannot be reached: {why}")]
    Unreachable {
        /// What failed: name, connection, TLS.
        why: String,
    },
    /// The connection broke after the storage had answered. The same place can be asked again.
    #[error("the connection broke: {why}")]
    Broken {
        /// How.
        why: String,
    },
    /// The storage is busy or down for a while.
    #[error("the storage is busy: {why}")]
    Busy {
        /// What it said.
        why: String,
        /// How long it wants to be left alone, if it said so.
        retry_after: Option<Duration>,
    },
    /// The storage does not take the pilot's credential.
    #[error("the storage refuses the credential: {why}")]
    Denied {
        /// What it said.
        why: String,
    },
    /// The storage says no for another reason.
    #[error("the storage refuses: {why}")]
    Refused {
        /// What it said, with its status.
        why: String,
    },
    /// The storage sent something that is not the file: a page, a wrong range.
    #[error("the storage sent something else: {why}")]
    NotTheFile {
        /// What came.
        why: String,
    },
    /// The program that moves such files is not on this node.
    #[error("the program `{program}` is not on this node")]
    ToolMissing {
        /// The program.
        program: String,
    },
    /// The tool cannot be used on this node: a certificate that cannot be read, for example.
    #[error("the copy tool `{tool}` cannot be used here: {why}")]
    ToolUnusable {
        /// The tool.
        tool: String,
        /// What is wrong.
        why: String,
    },
    /// The program that moves the file failed.
    #[error("`{program}` failed: {said}")]
    ToolFailed {
        /// The program.
        program: String,
        /// The code that its message means.
        code: ErrorCode,
        /// Its last words.
        said: String,
    },
    /// The copy tool has a bug, which ended the transfer.
    #[error("the copy tool `{tool}` broke down: {said}")]
    Panicked {
        /// The tool.
        tool: String,
        /// Its last words.
        said: String,
    },
    /// Anything else on this node.
    #[error("cannot {action} it")]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is wrong with a path or URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPlaceReason {
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
    /// It cannot be read as a URL.
    #[error("it is no URL")]
    NoUrl,
}

impl TransferError {
    /// Makes an error about a place.
    #[must_use]
    pub fn new(direction: Direction, place: impl Into<String>, cause: Cause) -> Self {
        Self {
            direction,
            place: place.into(),
            cause,
        }
    }

    /// Makes an error about a path of this node.
    #[must_use]
    pub fn of_path(direction: Direction, path: &Path, cause: Cause) -> Self {
        Self::new(direction, path.display().to_string(), cause)
    }

    /// Returns the pilot's error code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        use ErrorCode as E;
        let pick = self.direction;
        match &self.cause {
            Cause::Missing => pick.pick(E::MissingInputFile, E::MissingOutputFile),
            Cause::BadPlace(BadPlaceReason::TooLong) => E::LfnTooLong,
            Cause::BadPlace(
                BadPlaceReason::NoName
                | BadPlaceReason::LeadsUp
                | BadPlaceReason::NotAbsolute
                | BadPlaceReason::NoUrl,
            ) => E::FileHandlingFailure,
            Cause::UnknownTool { .. } | Cause::ToolMissing { .. } | Cause::ToolUnusable { .. } => {
                E::UnknownCopyTool
            }
            Cause::NoSpace => pick.pick(E::NoLocalSpace, E::NoRemoteSpace),
            Cause::NoDirectory(_) => E::Mkdir,
            Cause::ChecksumMismatch { expected, .. } => match expected {
                // PanDA has no code for SHA-256: that of its usual checksum stands for a mismatch.
                Checksum::Adler32(_) | Checksum::Sha256(_) => {
                    pick.pick(E::GetAdMismatch, E::PutAdMismatch)
                }
                Checksum::Md5(_) => pick.pick(E::GetMd5Mismatch, E::PutMd5Mismatch),
            },
            Cause::TooSlow(_) => pick.pick(E::StageInTimeout, E::StageOutTimeout),
            Cause::Unreachable { .. } => E::UnreachableNetwork,
            Cause::Busy { .. } => E::ServiceNotAvailable,
            Cause::Denied { .. } => pick.pick(
                E::StageInAuthenticationFailure,
                E::StageOutAuthenticationFailure,
            ),
            Cause::ToolFailed { code, .. } => *code,
            Cause::NotAFile
            | Cause::NoPermission { .. }
            | Cause::SizeMismatch { .. }
            | Cause::Changed { .. }
            | Cause::Stopped
            | Cause::Broken { .. }
            | Cause::Refused { .. }
            | Cause::NotTheFile { .. }
            | Cause::Panicked { .. }
            | Cause::Io { .. } => pick.pick(E::StageInFailed, E::StageOutFailed),
        }
    }

    /// Says whether trying again can help, and where.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        if matches!(self.cause, Cause::BadPlace(_) | Cause::UnknownTool { .. }) {
            return Retry::Never;
        }
        if matches!(self.cause, Cause::Stopped) {
            return Retry::Later;
        }
        self.code().retry()
    }

    /// Says who can do something about it.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        if matches!(self.cause, Cause::BadPlace(_)) {
            return Blame::User;
        }
        if matches!(self.cause, Cause::Stopped | Cause::Panicked { .. }) {
            return Blame::Pilot;
        }
        self.code().blame()
    }

    /// Sorts what the operating system said about reading the source.
    pub(crate) fn of_reading(direction: Direction, path: &Path, source: io::Error) -> Self {
        let cause = match errno_of(&source) {
            Some(Errno::NOENT | Errno::NOTDIR) => Cause::Missing,
            _ => Cause::of_either("read", source),
        };
        Self::of_path(direction, path, cause)
    }

    /// Sorts what the operating system said about writing the target.
    pub(crate) fn of_writing(direction: Direction, path: &Path, source: io::Error) -> Self {
        let cause = match errno_of(&source) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Cause::NoSpace,
            _ => Cause::of_either("write", source),
        };
        Self::of_path(direction, path, cause)
    }

    /// Sorts what the operating system said about making the target's directory.
    pub(crate) fn of_mkdir(direction: Direction, path: &Path, source: io::Error) -> Self {
        let cause = match errno_of(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Cause::NoSpace,
            _ => Cause::NoDirectory(source),
        };
        Self::of_path(direction, path, cause)
    }
}

impl Cause {
    fn of_either(action: &'static str, source: io::Error) -> Self {
        match errno_of(&source) {
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Self::NoPermission { action },
            Some(Errno::NAMETOOLONG) => Self::BadPlace(BadPlaceReason::TooLong),
            _ => Self::Io { action, source },
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
        let path = Path::new("/x");
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            let stage_in = TransferError::of_writing(Direction::StageIn, path, os(errno));
            assert_eq!(stage_in.code(), ErrorCode::NoLocalSpace);
            let stage_out = TransferError::of_writing(Direction::StageOut, path, os(errno));
            assert_eq!(stage_out.code(), ErrorCode::NoRemoteSpace);
        }
    }

    #[test]
    fn a_missing_source_is_named_by_the_direction() {
        let code = |direction| {
            TransferError::of_reading(direction, Path::new("/x"), os(Errno::NOENT)).code()
        };
        assert_eq!(code(Direction::StageIn), ErrorCode::MissingInputFile);
        assert_eq!(code(Direction::StageOut), ErrorCode::MissingOutputFile);
    }

    #[test]
    fn a_mismatch_is_named_by_checksum_and_direction() {
        let code = |direction, expected| {
            let found = Checksum::Adler32(2);
            let cause = Cause::ChecksumMismatch { expected, found };
            TransferError::new(direction, "/x", cause).code().number()
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
        let (path, errno) = (Path::new("/x"), os(Errno::NAMETOOLONG));
        let error = TransferError::of_writing(Direction::StageOut, path, errno);
        assert_eq!(error.code(), ErrorCode::LfnTooLong);
        assert_eq!((error.retry(), error.blame()), (Retry::Never, Blame::User));
    }
}
