//! A payload as its guard holds it, and the ends of processes.

use std::{collections::BTreeSet, os::unix::net::UnixStream, time::Instant};

use rustix::process::{Pid, kill_process_group};

use super::{groups::Group, sweep::kill_trees};
use crate::protocol::{KILL_ALL, RawEnd};

/// A payload that has been started and not been reported as ended.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) socket: UnixStream,
    pub(super) pid: Pid,
    pub(super) group: Option<Group>,
    /// The kills for lack of memory in the whole slot, at its start.
    pub(super) slot_kills: u64,
    /// How its first process ended, once it has.
    pub(super) end: Option<RawEnd>,
    /// When its end began: its first process has ended, or nobody waits for it any more.
    pub(super) ends_since: Option<Instant>,
    /// Whether the pilot may still ask for something.
    pub(super) has_pilot: bool,
    /// What it had left behind.
    pub(super) leftovers: BTreeSet<i32>,
    pub(super) cpu_user_micros: u64,
    pub(super) cpu_system_micros: u64,
}

impl Payload {
    pub(super) fn new(socket: UnixStream, pid: Pid, group: Option<Group>, slot_kills: u64) -> Self {
        Self {
            socket,
            pid,
            group,
            slot_kills,
            end: None,
            ends_since: None,
            has_pilot: true,
            leftovers: BTreeSet::new(),
            cpu_user_micros: 0,
            cpu_system_micros: 0,
        }
    }

    /// Says whether this is the number of its first process, which still runs or has not been
    /// waited for.
    pub(super) fn is_first(&self, pid: i32) -> bool {
        self.end.is_none() && self.pid.as_raw_nonzero().get() == pid
    }

    /// Carries out a request of the pilot.
    pub(super) fn obey(&self, request: u8) {
        if request == KILL_ALL {
            self.kill();
        } else if let Some(signal) = crate::Signal::from_number(request)
            && self.end.is_none()
        {
            // The group exists as long as its leader has not been waited for.
            let _ = kill_process_group(self.pid, signal.to_rustix());
        }
    }

    /// Nobody waits for the payload any more: it is killed.
    pub(super) fn lose_pilot(&mut self) {
        self.has_pilot = false;
        self.ends_since.get_or_insert_with(Instant::now);
        self.kill();
    }

    /// Kills all of its processes. Its first one is waited for only by the caller, so the number
    /// is still its own.
    fn kill(&self) {
        if self.end.is_none() {
            kill_trees(&BTreeSet::from([self.pid.as_raw_nonzero().get()]));
        }
        if let Some(group) = &self.group {
            group.kill();
        }
    }

    /// Kills what is left in its control group; false if there is nothing.
    pub(super) fn kill_group(&mut self) -> bool {
        let Some(group) = self.group.as_ref().filter(|it| it.is_populated()) else {
            return false;
        };
        self.leftovers.extend(group.kill());
        true
    }
}

/// A child that has ended and been waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reaped {
    pub(super) pid: i32,
    pub(super) end: RawEnd,
    /// User CPU time of it and of the children that it had waited for.
    pub(super) cpu_user_micros: u64,
    /// System CPU time of the same.
    pub(super) cpu_system_micros: u64,
}

/// Waits for one child that has ended, if there is one.
#[expect(unsafe_code, reason = "rustix does not tell what a child has used")]
pub(super) fn reap_one() -> Option<Reaped> {
    let mut status = 0;
    // SAFETY: zeroed memory is valid for this structure of numbers, and both pointers are valid
    // for the call.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let pid = libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage);
        (pid, usage)
    };
    let end = if libc::WIFEXITED(status) {
        RawEnd::Exited(libc::WEXITSTATUS(status))
    } else {
        RawEnd::Signalled(libc::WTERMSIG(status))
    };
    (pid > 0).then_some(Reaped {
        pid,
        end,
        cpu_user_micros: micros(usage.ru_utime),
        cpu_system_micros: micros(usage.ru_stime),
    })
}

fn micros(time: libc::timeval) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(micros)
}
