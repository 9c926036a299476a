//! Which process a worker is, so that a reused process number is never taken for it.

use std::{fs, io, path::Path};

use rustix::process::Pid;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What makes a process unique: its number, its start and the machine's boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// Process number; also that of the process group and session.
    pub(super) pid: i32,
    start_ticks: u64,
    boot: String,
}

/// What `/proc/<pid>/stat` says that is needed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: u8,
    session: i32,
    start_ticks: u64,
}

impl Identity {
    /// Reads what the worker's wrapper wrote; none if it is not there or not whole.
    pub(super) fn read(path: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(path).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let identity = Self {
            pid: words.next()?.parse().ok().filter(|pid| *pid > 1)?,
            start_ticks: words.next()?.parse().ok()?,
            boot: words.next()?.to_owned(),
        };
        words.next().is_none().then_some(identity)
    }

    /// Says whether the process is there and is the same. A zombie is not.
    pub(super) fn is_alive(&self) -> bool {
        self.is_of_this_boot()
            && read_stat(self.pid).is_some_and(|stat| {
                stat.start_ticks == self.start_ticks && !matches!(stat.state, b'Z' | b'X')
            })
    }

    /// Returns the processes of the worker's session, whether or not its first one lives.
    ///
    /// The kernel gives a session's number to no new process while the session has members, so
    /// these are the worker's unless another process has the number.
    pub(super) fn session(&self) -> io::Result<Vec<Pid>> {
        let is_other = read_stat(self.pid).is_some_and(|stat| stat.start_ticks != self.start_ticks);
        if is_other || !self.is_of_this_boot() {
            return Ok(Vec::new());
        }
        let mut members = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let is_member = read_stat(pid)
                .is_some_and(|stat| stat.session == self.pid && !matches!(stat.state, b'Z' | b'X'));
            if is_member {
                members.extend(Pid::from_raw(pid));
            }
        }
        Ok(members)
    }

    /// Returns the number for signals.
    pub(super) fn group(&self) -> Option<Pid> {
        Pid::from_raw(self.pid)
    }

    fn is_of_this_boot(&self) -> bool {
        fs::read_to_string(BOOT_ID).is_ok_and(|boot| boot.trim() == self.boot)
    }
}

fn read_stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads a line of `/proc/<pid>/stat`. The program's name comes second and may hold anything.
///
/// Source: `proc_pid_stat(5)`.
fn parse_stat(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let session = fields.nth(2)?.parse().ok()?;
    let start_ticks = fields.nth(15)?.parse().ok()?;
    Some(Stat {
        state,
        session,
        start_ticks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let line = "17 (a) S) 1) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.state, stat.session, stat.start_ticks), (b'R', 3, 19));
        assert_eq!(parse_stat("17 (a"), None);
    }

    #[test]
    fn a_process_of_another_start_or_boot_is_another_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let me = Identity {
            pid,
            start_ticks: read_stat(pid).unwrap().start_ticks,
            boot: fs::read_to_string(BOOT_ID).unwrap().trim().to_owned(),
        };
        assert!(me.is_alive());
        let mut earlier = me.clone();
        earlier.start_ticks -= 1;
        assert!(!earlier.is_alive());
        assert_eq!(earlier.session().unwrap(), []);
        let mut rebooted = me;
        rebooted.boot = "other".to_owned();
        assert!(!rebooted.is_alive());
    }

    #[test]
    fn a_torn_file_is_no_identity() {
        for text in ["", "17", "17 5", "x 5 b", "1 5 b", "17 5 b c"] {
            assert_eq!(Identity::parse(text), None, "{text}");
        }
        assert!(Identity::parse("17 5 b\n").is_some());
    }
}
