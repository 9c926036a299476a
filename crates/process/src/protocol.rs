//! The few words that pilot and guard exchange over their sockets. Bytes to types, no I/O.
//!
//! For each payload the pilot passes three files to the guard over the socket that they share: a
//! socket of the payload's own, its standard output and its standard error. Over the payload's
//! socket goes one [`Spec`] behind its length, then single bytes: a signal's number, or
//! [`KILL_ALL`]. The guard answers there with [`Report`]s of fixed size: one on the start, one on
//! the end. The end of a stream means that the other side is gone.

use std::ffi::CStr;

use crate::{Confined, Confinement};

/// Asks the guard to kill the payload and all of its descendants.
pub(crate) const KILL_ALL: u8 = 255;

/// Most bytes of an encoded [`Spec`]; more than the kernel takes as arguments and environment.
pub(crate) const SPEC_MAX_BYTES: usize = 16 << 20;

/// Most CPUs that a spec names; more than any kernel manages.
const CPUS_MAX: usize = 1 << 16;

/// Bytes of an encoded [`Report`].
pub(crate) const REPORT_BYTES: usize = 8 * 8;

/// Stands for a limit that is not set.
const UNLIMITED: u64 = u64::MAX;

/// What the guard is to start, as the pilot describes it.
#[derive(Debug)]
pub(crate) struct SpecText<'a> {
    /// The file to execute.
    pub(crate) program: &'a [u8],
    /// The work directory.
    pub(crate) cwd: &'a [u8],
    /// The arguments, the program's name first.
    pub(crate) argv: Vec<&'a [u8]>,
    /// Name, then value.
    pub(crate) env: Vec<(&'a [u8], &'a [u8])>,
    /// Largest core file in bytes, none for no limit.
    pub(crate) core_max_bytes: Option<u64>,
    pub(crate) confinement: &'a Confinement,
}

/// What the guard is to start, as it arrives: views of the bytes, ready for the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spec<'a> {
    pub(crate) program: &'a CStr,
    pub(crate) cwd: &'a CStr,
    pub(crate) argv: Vec<&'a CStr>,
    /// Each `NAME=value`.
    pub(crate) env: Vec<&'a CStr>,
    /// Largest core file in bytes, none for no limit.
    pub(crate) core_max_bytes: Option<u64>,
    pub(crate) confinement: Confinement,
}

impl SpecText<'_> {
    /// Writes the spec behind its length. `None` if it is too long to be sent, or if a text holds a
    /// zero byte.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let limits = self.confinement;
        let of_env = self.env.iter().flat_map(|(name, value)| [name, value]);
        let others = [&self.program, &self.cwd].into_iter().chain(&self.argv);
        if others.chain(of_env).any(|text| text.contains(&0)) {
            return None;
        }
        let mut bytes = vec![0; 4];
        for word in [
            self.core_max_bytes.unwrap_or(UNLIMITED),
            limits.memory_max_bytes.unwrap_or(UNLIMITED),
            limits.tasks_max.map_or(UNLIMITED, u64::from),
            limits.cpu_millicores_max.map_or(UNLIMITED, u64::from),
            limits.file_max_bytes.unwrap_or(UNLIMITED),
            u64::try_from(limits.cpus.len()).ok()?,
            u64::try_from(self.argv.len()).ok()?,
            u64::try_from(self.env.len()).ok()?,
        ] {
            bytes.extend(word.to_le_bytes());
        }
        for cpu in &limits.cpus {
            bytes.extend(cpu.to_le_bytes());
        }
        for text in [self.program, self.cwd].iter().chain(&self.argv) {
            bytes.extend(*text);
            bytes.push(0);
        }
        for (name, value) in &self.env {
            bytes.extend(*name);
            bytes.push(b'=');
            bytes.extend(*value);
            bytes.push(0);
        }
        let length = bytes.len() - 4;
        bytes[..4].copy_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
        (length <= SPEC_MAX_BYTES && limits.cpus.len() <= CPUS_MAX).then_some(bytes)
    }
}

impl<'a> Spec<'a> {
    /// Reads what [`SpecText::encode`] wrote behind the length; `None` for anything else.
    pub(crate) fn decode(mut bytes: &'a [u8]) -> Option<Self> {
        let mut words = [0; 8];
        for word in &mut words {
            *word = u64::from_le_bytes(take(&mut bytes)?);
        }
        let [core, memory, tasks, millicores, file, n_cpus, n_argv, n_env] = words;
        let n_cpus = usize::try_from(n_cpus).ok().filter(|it| *it <= CPUS_MAX)?;
        let cpus = (0..n_cpus)
            .map(|_| take(&mut bytes).map(u32::from_le_bytes))
            .collect::<Option<_>>()?;
        let spec = Self {
            program: take_text(&mut bytes)?,
            cwd: take_text(&mut bytes)?,
            argv: take_texts(&mut bytes, n_argv)?,
            env: take_texts(&mut bytes, n_env)?,
            core_max_bytes: limit(core),
            confinement: Confinement {
                memory_max_bytes: limit(memory),
                tasks_max: small_limit(tasks)?,
                cpu_millicores_max: small_limit(millicores)?,
                cpus,
                file_max_bytes: limit(file),
            },
        };
        (bytes.is_empty() && !spec.argv.is_empty()).then_some(spec)
    }
}

fn limit(word: u64) -> Option<u64> {
    (word != UNLIMITED).then_some(word)
}

/// The outer `None` means that it is no such limit.
fn small_limit(word: u64) -> Option<Option<u32>> {
    limit(word).map(u32::try_from).transpose().ok()
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

fn take_texts<'a>(bytes: &mut &'a [u8], count: u64) -> Option<Vec<&'a CStr>> {
    (0..count).map(|_| take_text(bytes)).collect()
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a CStr> {
    let text = CStr::from_bytes_until_nul(bytes).ok()?;
    *bytes = &bytes[text.count_bytes() + 1..];
    Some(text)
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
    Started { pid: u32, confined: Confined },
    /// It could not be started.
    NotStarted { errno: i32 },
    /// The payload and all that it left behind are gone.
    Ended(EndReport),
}

/// How a payload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndReport {
    pub(crate) end: RawEnd,
    /// Descendants that had to be killed after the payload's end.
    pub(crate) n_leftovers: u32,
    /// Of these, those that were still there when the guard gave up.
    pub(crate) n_unkillable: u32,
    /// Processes that the kernel killed because a memory limit was reached.
    pub(crate) n_memory_kills: u32,
    /// User CPU time of the payload and its descendants.
    pub(crate) cpu_user_micros: u64,
    /// System CPU time of the payload and its descendants.
    pub(crate) cpu_system_micros: u64,
}

impl Report {
    pub(crate) fn encode(self) -> [u8; REPORT_BYTES] {
        let words = match self {
            Self::Started { pid, confined } => {
                [1, u64::from(pid), confined.to_word(), 0, 0, 0, 0, 0]
            }
            Self::NotStarted { errno } => [2, to_word(errno), 0, 0, 0, 0, 0, 0],
            Self::Ended(report) => {
                let (is_signal, number) = match report.end {
                    RawEnd::Exited(code) => (0, code),
                    RawEnd::Signalled(signal) => (1, signal),
                };
                [
                    3,
                    is_signal,
                    to_word(number),
                    u64::from(report.n_leftovers),
                    u64::from(report.n_unkillable),
                    u64::from(report.n_memory_kills),
                    report.cpu_user_micros,
                    report.cpu_system_micros,
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
        let mut words = [0_u64; 8];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(chunk.try_into().ok()?);
        }
        match words {
            [1, pid, confined, ..] => Some(Self::Started {
                pid: u32::try_from(pid).ok()?,
                confined: Confined::of_word(confined)?,
            }),
            [2, errno, ..] => Some(Self::NotStarted {
                errno: i32::try_from(errno).ok()?,
            }),
            [
                3,
                is_signal,
                number,
                leftovers,
                unkillable,
                kills,
                user,
                system,
            ] => {
                let number = i32::try_from(number).ok()?;
                Some(Self::Ended(EndReport {
                    end: if is_signal == 0 {
                        RawEnd::Exited(number)
                    } else {
                        RawEnd::Signalled(number)
                    },
                    n_leftovers: u32::try_from(leftovers).ok()?,
                    n_unkillable: u32::try_from(unkillable).ok()?,
                    n_memory_kills: u32::try_from(kills).ok()?,
                    cpu_user_micros: user,
                    cpu_system_micros: system,
                }))
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
    use crate::Enforcement;

    fn confinement() -> Confinement {
        Confinement {
            memory_max_bytes: Some(1 << 40),
            tasks_max: Some(500),
            cpu_millicores_max: None,
            cpus: vec![0, 191],
            file_max_bytes: Some(0),
        }
    }

    fn encoded(confinement: &Confinement) -> Vec<u8> {
        let spec = SpecText {
            program: b"/bin/sh",
            cwd: b"/",
            argv: vec![b"sh", b"", &[0xFF, b'\n']],
            env: vec![(b"A", b"=b")],
            core_max_bytes: Some(0),
            confinement,
        };
        spec.encode().expect("short")
    }

    #[test]
    fn a_spec_survives_the_socket() {
        let confinement = confinement();
        let bytes = encoded(&confinement);
        let (length, body) = bytes.split_first_chunk::<4>().expect("a length");
        assert_eq!(u32::from_le_bytes(*length) as usize, body.len());
        let expected = Spec {
            program: c"/bin/sh",
            cwd: c"/",
            argv: vec![c"sh", c"", c"\xFF\n"],
            env: vec![c"A==b"],
            core_max_bytes: Some(0),
            confinement,
        };
        assert_eq!(Spec::decode(body), Some(expected));
    }

    #[test]
    fn a_cut_or_longer_spec_is_refused() {
        let bytes = encoded(&confinement());
        let mut body = bytes[4..].to_vec();
        for length in 0..body.len() {
            assert_eq!(Spec::decode(&body[..length]), None, "{length} bytes");
        }
        body.push(0);
        assert_eq!(Spec::decode(&body), None);
    }

    #[test]
    fn reports_survive_the_socket() {
        let reports = [
            Report::Started {
                pid: 77,
                confined: Confined {
                    cpus: Enforcement::Process,
                    ..Confined::default()
                },
            },
            Report::NotStarted { errno: 2 },
            Report::Ended(EndReport {
                end: RawEnd::Signalled(9),
                n_leftovers: 3,
                n_unkillable: 1,
                n_memory_kills: 2,
                cpu_user_micros: 1 << 40,
                cpu_system_micros: 5,
            }),
        ];
        for report in reports {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode(&[0; REPORT_BYTES]), None);
    }
}
