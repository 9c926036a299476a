//! The few words that pilot and guard exchange over their socket. Bytes to types, no I/O.
//!
//! The pilot first sends one [`Spec`] behind its length, then single bytes: a signal's number, or
//! [`KILL_ALL`]. The guard answers with [`Report`]s of fixed size: one on the start, one on the end.
//! The end of the stream means that the other side is gone.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

/// Asks the guard to kill the payload and all of its descendants.
pub(crate) const KILL_ALL: u8 = 255;

/// Most bytes of an encoded [`Spec`]; more than the kernel takes as arguments and environment.
pub(crate) const SPEC_MAX_BYTES: usize = 16 << 20;

/// Bytes of an encoded [`Report`].
pub(crate) const REPORT_BYTES: usize = 7 * 8;

/// What the guard is to start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: OsString,
    pub(crate) allow_core_dumps: bool,
}

impl Spec {
    /// Writes the spec without its length. `None` if a part is too long to be sent.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![u8::from(self.allow_core_dumps)];
        put_text(&mut bytes, &self.cwd)?;
        put_count(&mut bytes, self.argv.len())?;
        for argument in &self.argv {
            put_text(&mut bytes, argument)?;
        }
        put_count(&mut bytes, self.env.len())?;
        for (name, value) in &self.env {
            put_text(&mut bytes, name)?;
            put_text(&mut bytes, value)?;
        }
        (bytes.len() <= SPEC_MAX_BYTES).then_some(bytes)
    }

    /// Reads what [`Self::encode`] wrote; `None` for anything else.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let (&core_dumps, rest) = bytes.split_first()?;
        bytes = rest;
        let cwd = take_text(&mut bytes)?;
        let argv = (0..take_count(&mut bytes)?)
            .map(|_| take_text(&mut bytes))
            .collect::<Option<_>>()?;
        let env = (0..take_count(&mut bytes)?)
            .map(|_| Some((take_text(&mut bytes)?, take_text(&mut bytes)?)))
            .collect::<Option<_>>()?;
        bytes.is_empty().then_some(Self {
            argv,
            env,
            cwd,
            allow_core_dumps: core_dumps != 0,
        })
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) -> Option<()> {
    bytes.extend(u32::try_from(count).ok()?.to_le_bytes());
    Some(())
}

fn put_text(bytes: &mut Vec<u8>, text: &OsStr) -> Option<()> {
    put_count(bytes, text.len())?;
    bytes.extend(text.as_bytes());
    Some(())
}

fn take_count(bytes: &mut &[u8]) -> Option<usize> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    usize::try_from(u32::from_le_bytes(*count)).ok()
}

fn take_text(bytes: &mut &[u8]) -> Option<OsString> {
    let length = take_count(bytes)?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(OsString::from_vec(text.to_vec()))
}

/// How a payload's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawEnd {
    Exited(i32),
    Signalled(i32),
}

/// What the guard tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// The payload runs.
    Started { pid: u32 },
    /// It could not be started.
    NotStarted { errno: i32 },
    /// The payload and all that it left behind are gone.
    Ended {
        end: RawEnd,
        /// Descendants that had to be killed after the payload's end.
        n_leftovers: u32,
        /// Of these, those that were still there when the guard gave up.
        n_unkillable: u32,
        /// User CPU time of the payload and its descendants.
        cpu_user_millis: u64,
        /// System CPU time of the payload and its descendants.
        cpu_system_millis: u64,
    },
}

impl Report {
    pub(crate) fn encode(self) -> [u8; REPORT_BYTES] {
        let words = match self {
            Self::Started { pid } => [1, u64::from(pid), 0, 0, 0, 0, 0],
            Self::NotStarted { errno } => [2, to_word(errno), 0, 0, 0, 0, 0],
            Self::Ended {
                end,
                n_leftovers,
                n_unkillable,
                cpu_user_millis,
                cpu_system_millis,
            } => {
                let (is_signal, number) = match end {
                    RawEnd::Exited(code) => (0, code),
                    RawEnd::Signalled(signal) => (1, signal),
                };
                [
                    3,
                    is_signal,
                    to_word(number),
                    u64::from(n_leftovers),
                    u64::from(n_unkillable),
                    cpu_user_millis,
                    cpu_system_millis,
                ]
            }
        };
        let mut bytes = [0; REPORT_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; REPORT_BYTES]) -> Option<Self> {
        let mut words = [0_u64; 7];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(chunk.try_into().ok()?);
        }
        match words {
            [1, pid, ..] => Some(Self::Started {
                pid: u32::try_from(pid).ok()?,
            }),
            [2, errno, ..] => Some(Self::NotStarted {
                errno: i32::try_from(errno).ok()?,
            }),
            [3, is_signal, number, leftovers, unkillable, user, system] => {
                let number = i32::try_from(number).ok()?;
                Some(Self::Ended {
                    end: if is_signal == 0 {
                        RawEnd::Exited(number)
                    } else {
                        RawEnd::Signalled(number)
                    },
                    n_leftovers: u32::try_from(leftovers).ok()?,
                    n_unkillable: u32::try_from(unkillable).ok()?,
                    cpu_user_millis: user,
                    cpu_system_millis: system,
                })
            }
            _ => None,
        }
    }
}

/// Exit codes, signals and error numbers are never negative on Linux.
fn to_word(number: i32) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_survives_the_socket() {
        let spec = Spec {
            argv: vec![
                "sh".into(),
                "".into(),
                OsString::from_vec(vec![0xFF, b'\n']),
            ],
            env: vec![("A".into(), "=b".into())],
            cwd: "/".into(),
            allow_core_dumps: true,
        };
        let bytes = spec.encode().expect("short");
        assert_eq!(Spec::decode(&bytes), Some(spec));
    }

    #[test]
    fn a_cut_or_longer_spec_is_refused() {
        let spec = Spec {
            argv: vec!["true".into()],
            env: Vec::new(),
            cwd: "/".into(),
            allow_core_dumps: false,
        };
        let mut bytes = spec.encode().expect("short");
        for length in 0..bytes.len() {
            assert_eq!(Spec::decode(&bytes[..length]), None, "{length} bytes");
        }
        bytes.push(0);
        assert_eq!(Spec::decode(&bytes), None);
    }

    #[test]
    fn reports_survive_the_socket() {
        let reports = [
            Report::Started { pid: 77 },
            Report::NotStarted { errno: 2 },
            Report::Ended {
                end: RawEnd::Signalled(9),
                n_leftovers: 3,
                n_unkillable: 1,
                cpu_user_millis: 1 << 40,
                cpu_system_millis: 5,
            },
        ];
        for report in reports {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode(&[0; REPORT_BYTES]), None);
    }
}
