//! What a failed transfer means to the course of its file.

use ailurus_model::{ByteCount, ErrorCode};
use ailurus_pilot_core::{
    Problem,
    data::{Failure, FailureKind},
};
use ailurus_transfer::{Cause, Direction, TransferError};

use crate::log;

/// Translates an error of a copy tool.
pub(crate) fn failure_of(error: &TransferError) -> Failure {
    Failure {
        kind: kind_of(error),
        problem: problem_of(error),
        // Tools go on by themselves where a connection broke, as long as bytes move.
        kept: ByteCount::ZERO,
    }
}

/// Returns the error's code and words.
pub(crate) fn problem_of(error: &TransferError) -> Problem {
    Problem::new(error.code(), log::chain(error))
}

fn kind_of(error: &TransferError) -> FailureKind {
    match &error.cause {
        Cause::Missing => FailureKind::Missing,
        Cause::SizeMismatch { .. } | Cause::ChecksumMismatch { .. } | Cause::NotTheFile { .. } => {
            FailureKind::Mismatch
        }
        Cause::NoSpace => match error.direction {
            Direction::StageIn => FailureKind::NoLocalSpace,
            Direction::StageOut => FailureKind::NoRemoteSpace,
        },
        Cause::NotAFile
        | Cause::BadPlace(_)
        | Cause::NoPermission { .. }
        | Cause::NoDirectory(_)
        | Cause::Refused { .. } => FailureKind::Refused,
        Cause::UnknownTool { .. } | Cause::ToolMissing { .. } | Cause::ToolUnusable { .. } => {
            FailureKind::ToolMissing
        }
        Cause::TooSlow(_) => FailureKind::TimedOut,
        Cause::Stopped => FailureKind::Stopped,
        Cause::Unreachable { .. } => FailureKind::Unreachable,
        Cause::Broken { .. } => FailureKind::Broken,
        Cause::Busy { retry_after, .. } => FailureKind::Busy {
            retry_after: *retry_after,
        },
        Cause::Denied { .. } => FailureKind::Denied,
        Cause::ToolFailed { code, .. } => kind_of_code(*code),
        Cause::Changed { .. } | Cause::Panicked { .. } | Cause::Io { .. } => FailureKind::Other,
    }
}

/// What a program's failure means, of which only the code is known. Codes that do not stand here are
/// worth another try.
const KINDS_OF_CODES: &[(ErrorCode, FailureKind)] = &[
    (ErrorCode::MissingInputFile, FailureKind::Missing),
    (ErrorCode::NoSuchFile, FailureKind::Missing),
    (ErrorCode::ReplicaNotFound, FailureKind::Missing),
    (ErrorCode::GetAdMismatch, FailureKind::Mismatch),
    (ErrorCode::PutAdMismatch, FailureKind::Mismatch),
    (ErrorCode::GetMd5Mismatch, FailureKind::Mismatch),
    (ErrorCode::PutMd5Mismatch, FailureKind::Mismatch),
    (ErrorCode::StageInTimeout, FailureKind::TimedOut),
    (ErrorCode::StageOutTimeout, FailureKind::TimedOut),
    (ErrorCode::NoLocalSpace, FailureKind::NoLocalSpace),
    (ErrorCode::NoRemoteSpace, FailureKind::NoRemoteSpace),
    (ErrorCode::ServiceNotAvailable, BUSY),
    (ErrorCode::RucioServiceUnavailable, BUSY),
    (ErrorCode::UnreachableNetwork, FailureKind::Unreachable),
    (ErrorCode::StageInAuthenticationFailure, FailureKind::Denied),
    (
        ErrorCode::StageOutAuthenticationFailure,
        FailureKind::Denied,
    ),
    (ErrorCode::MissingCredentials, FailureKind::Denied),
    (ErrorCode::NoProxy, FailureKind::Denied),
    (ErrorCode::UnknownCopyTool, FailureKind::ToolMissing),
];

const BUSY: FailureKind = FailureKind::Busy { retry_after: None };

fn kind_of_code(code: ErrorCode) -> FailureKind {
    let known = KINDS_OF_CODES.iter().find(|(known, _)| *known == code);
    known.map_or(FailureKind::Other, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(direction: Direction, cause: Cause) -> FailureKind {
        failure_of(&TransferError::new(direction, "/x", cause)).kind
    }

    #[test]
    fn a_full_disk_is_the_nodes_at_stage_in_and_the_storages_at_stage_out() {
        let stage_in = kind(Direction::StageIn, Cause::NoSpace);
        assert_eq!(stage_in, FailureKind::NoLocalSpace);
        let stage_out = kind(Direction::StageOut, Cause::NoSpace);
        assert_eq!(stage_out, FailureKind::NoRemoteSpace);
    }

    #[test]
    fn a_program_fails_for_what_its_message_means() {
        for (code, expected) in [
            (ErrorCode::MissingInputFile, FailureKind::Missing),
            (ErrorCode::GetAdMismatch, FailureKind::Mismatch),
            (ErrorCode::StageInTimeout, FailureKind::TimedOut),
            (ErrorCode::XrdcpError, FailureKind::Other),
        ] {
            let cause = Cause::ToolFailed {
                program: "xrdcp".into(),
                code,
                said: "no".into(),
            };
            assert_eq!(kind(Direction::StageIn, cause), expected, "{code:?}");
        }
    }
}
