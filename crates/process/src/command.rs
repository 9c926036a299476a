//! What is to be started, and the signals that can be sent to it.

use std::{collections::BTreeMap, ffi::OsString, fs::File, path::PathBuf};

use crate::Confinement;

/// A payload to start: program, arguments and all of its surroundings.
///
/// Nothing is inherited from the pilot: the environment is `env` and no more, standard input is
/// `/dev/null`, and no other file descriptor is passed on.
#[derive(Debug)]
pub struct PayloadCommand {
    /// Program and arguments. A program without a slash is looked for in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: BTreeMap<OsString, OsString>,
    /// The work directory, an absolute path.
    pub cwd: PathBuf,
    /// Where standard output goes.
    pub stdout: File,
    /// Where standard error goes.
    pub stderr: File,
    /// Whether a crash may leave a core file.
    pub core_dumps: CoreDumps,
    /// What it may use at most.
    pub confinement: Confinement,
}

/// Whether a crashing payload leaves a core file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CoreDumps {
    /// No core files: both limits are zero.
    #[default]
    Forbidden,
    /// As large as the node allows.
    Allowed,
    /// At most as large as this, in bytes.
    UpTo(u64),
}

/// A signal that the pilot sends to a payload's process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Signal {
    /// The terminal is gone (1).
    Hup = 1,
    /// Interrupted by a person (2).
    Int = 2,
    /// Quit, with a core dump where allowed (3).
    Quit = 3,
    /// Abort, with a core dump where allowed (6).
    Abrt = 6,
    /// The end without a word (9).
    Kill = 9,
    /// First signal of the user's own meaning (10).
    Usr1 = 10,
    /// Second signal of the user's own meaning (12).
    Usr2 = 12,
    /// Polite request to end (15).
    Term = 15,
    /// Go on after a stop (18).
    Cont = 18,
    /// Stop until told to go on (19).
    Stop = 19,
    /// CPU time is used up (24).
    Xcpu = 24,
}

impl Signal {
    /// Every signal, by rising number.
    pub const ALL: [Self; 11] = [
        Self::Hup,
        Self::Int,
        Self::Quit,
        Self::Abrt,
        Self::Kill,
        Self::Usr1,
        Self::Usr2,
        Self::Term,
        Self::Cont,
        Self::Stop,
        Self::Xcpu,
    ];

    /// Returns Linux's number of the signal.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Finds the signal of a number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|signal| signal.number() == number)
    }

    pub(crate) const fn to_rustix(self) -> rustix::process::Signal {
        use rustix::process::Signal as Raw;
        match self {
            Self::Hup => Raw::HUP,
            Self::Int => Raw::INT,
            Self::Quit => Raw::QUIT,
            Self::Abrt => Raw::ABORT,
            Self::Kill => Raw::KILL,
            Self::Usr1 => Raw::USR1,
            Self::Usr2 => Raw::USR2,
            Self::Term => Raw::TERM,
            Self::Cont => Raw::CONT,
            Self::Stop => Raw::STOP,
            Self::Xcpu => Raw::XCPU,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_linux() {
        for signal in Signal::ALL {
            assert_eq!(
                i32::from(signal.number()),
                signal.to_rustix().as_raw(),
                "{signal:?}"
            );
            assert_eq!(Signal::from_number(signal.number()), Some(signal));
        }
        assert_eq!(Signal::from_number(0), None);
    }
}
