//! The pilot's exit code, which wrappers and Harvester read.
//!
//! Source: Pilot 3, `pilot/common/errorcodes.py` and `pilot/util/auxiliary.py`.

use ailurus_model::ErrorCode;

use crate::Problem;

/// How a pilot leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PilotExit {
    /// What went wrong with the pilot itself; none also where a payload failed.
    pub error: Option<ErrorCode>,
}

/// Least exit code of a program that a signal ended.
const BY_SIGNAL_MIN: u8 = 129;
/// Exit code of an error that has none of its own.
const OTHER_ERROR: u8 = 1;

/// Errors with an exit code of their own.
const EXIT_CODES: [(ErrorCode, u8); 30] = [
    (ErrorCode::CvmfsIsNotAlive, 64),
    (ErrorCode::GeneralError, 65),
    (ErrorCode::Mkdir, 66),
    (ErrorCode::NoSuchFile, 67),
    (ErrorCode::NoVomsProxy, 68),
    (ErrorCode::NoProxy, 68),
    (ErrorCode::CertificateHasExpired, 68),
    (ErrorCode::NoLocalSpace, 69),
    (ErrorCode::UnknownException, 70),
    (ErrorCode::QueueData, 71),
    (ErrorCode::QueueDataNotOk, 72),
    (ErrorCode::NoSoftwareDir, 73),
    (ErrorCode::JsonRetrievalTimeout, 74),
    (ErrorCode::BlackHole, 75),
    (ErrorCode::MiddlewareImportFailure, 76),
    (ErrorCode::MissingInputFile, 77),
    (ErrorCode::PandaQueueNotActive, 78),
    (ErrorCode::CommunicationFailure, 79),
    (ErrorCode::ProxyTooShort, 80),
    (ErrorCode::ReachedMaxTime, 81),
    (ErrorCode::NoJobsInPanda, 82),
    (ErrorCode::PandaQueueNotOnline, 83),
    (ErrorCode::Sigint, 130),
    (ErrorCode::Sigquit, 131),
    (ErrorCode::Sigbus, 135),
    (ErrorCode::KillSignal, 137),
    (ErrorCode::Sigusr1, 138),
    (ErrorCode::Sigsegv, 139),
    (ErrorCode::Sigterm, 143),
    (ErrorCode::Sigxcpu, 152),
];

impl PilotExit {
    /// Nothing is wrong with the pilot.
    pub const GOOD: Self = Self { error: None };

    /// This is wrong with the pilot.
    pub(crate) const fn because_of(problem: &Problem) -> Self {
        Self {
            error: Some(problem.code),
        }
    }

    /// Says whether somebody sent the pilot away.
    #[must_use]
    pub fn is_by_signal(self) -> bool {
        self.code() >= BY_SIGNAL_MIN
    }

    /// Returns the process's exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        let Some(error) = self.error else {
            return 0;
        };
        EXIT_CODES
            .iter()
            .find(|(known, _)| *known == error)
            .map_or(OTHER_ERROR, |(_, code)| *code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(error: ErrorCode) -> u8 {
        PilotExit { error: Some(error) }.code()
    }

    #[test]
    fn wrappers_find_the_codes_they_know() {
        assert_eq!(PilotExit::GOOD.code(), 0);
        assert_eq!(code(ErrorCode::Sigterm), 143);
        assert_eq!(code(ErrorCode::Sigint), 130);
        assert_eq!(code(ErrorCode::NoLocalSpace), 69);
        assert_eq!(code(ErrorCode::NoJobsInPanda), 82);
    }

    #[test]
    fn the_whole_table_is_that_of_pilot_3() {
        // Pilot 3, `pilot/util/auxiliary.py`, `shell_exit_code`.
        let table = [
            (1377, 64),
            (1008, 65),
            (1199, 66),
            (1103, 67),
            (1177, 68),
            (1163, 68),
            (1373, 68),
            (1098, 69),
            (1301, 70),
            (1116, 71),
            (1117, 72),
            (1186, 73),
            (1330, 74),
            (1332, 75),
            (1342, 76),
            (1331, 77),
            (1359, 78),
            (1318, 79),
            (1382, 80),
            (1213, 81),
            (1385, 82),
            (1386, 83),
            (1200, 137),
            (1201, 143),
            (1202, 131),
            (1203, 139),
            (1204, 152),
            (1206, 135),
            (1207, 138),
            (1208, 130),
        ];
        assert_eq!(table.len(), EXIT_CODES.len());
        for (number, expected) in table {
            let error = ErrorCode::from_number(number).expect("a code");
            assert_eq!(code(error), expected, "{number}");
        }
    }

    #[test]
    fn any_other_error_is_one() {
        assert_eq!(code(ErrorCode::LoopingJob), 1);
    }

    #[test]
    fn every_signal_has_its_shell_code() {
        for signal in [2, 3, 7, 10, 11, 15, 24] {
            assert_eq!(i32::from(code(ErrorCode::of_signal(signal))), 128 + signal);
        }
    }
}
