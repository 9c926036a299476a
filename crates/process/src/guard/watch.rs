//! The guard's loop: starts payloads, passes signals on, waits for ends, and tells the pilot.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::{Pid, getsid},
};

use super::{
    groups::{Group, Groups},
    launch::{Launcher, Surroundings},
    payload::{Payload, Reaped, reap_one},
    signals::wait_ready,
    sweep::{Children, kill_trees},
};
use crate::{
    files::{N_FILES, Received, read_spec, receive_files},
    protocol::{EndReport, RawEnd, Report, Spec},
};

/// How long the guard goes on killing before it counts what is left as unkillable. A process with
/// a pending kill runs no more code of its own; it can only wait for a device.
const SWEEP_LIMIT: Duration = Duration::from_secs(20);

/// How long the guard waits for killed processes to end before it looks again.
const SWEEP_PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// SIGKILL's number, and the exit code by which a shell reports it.
const SIGKILL: i32 = 9;
const EXIT_KILLED: i32 = 128 + SIGKILL;

/// The guard of any number of payloads.
#[derive(Debug)]
pub(super) struct Guard {
    /// None once the pilot wants no further payloads.
    pilot: Option<UnixStream>,
    payloads: Vec<Payload>,
    launcher: Launcher,
    groups: Groups,
    children: Children,
    /// Processes that no signal ends.
    given_up: BTreeSet<i32>,
}

impl Guard {
    pub(super) fn new(pilot: UnixStream) -> Self {
        Self {
            pilot: Some(pilot),
            payloads: Vec::new(),
            launcher: Launcher::new(),
            groups: Groups::find(),
            children: Children::new(),
            given_up: BTreeSet::new(),
        }
    }

    /// Serves the pilot until it is gone or wants no more, and all payloads have ended.
    pub(super) fn watch(mut self) {
        loop {
            self.reap();
            let is_sweeping = self.settle();
            if self.pilot.is_none() && self.payloads.is_empty() {
                return;
            }
            let (has_news, asking) = self.wait(is_sweeping);
            for index in asking {
                self.serve(index);
            }
            if has_news {
                self.accept();
            }
        }
    }

    /// Waits for something to happen; says whether the pilot has a payload to start, and which
    /// payloads it asks something of.
    fn wait(&self, is_sweeping: bool) -> (bool, Vec<usize>) {
        let asking = |index: &usize| self.payloads[*index].has_pilot;
        let open: Vec<usize> = (0..self.payloads.len()).filter(asking).collect();
        let sockets = open.iter().map(|index| &self.payloads[*index].socket);
        let mut polled: Vec<PollFd<'_>> = self
            .pilot
            .iter()
            .chain(sockets)
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        wait_ready(&mut polled, is_sweeping.then_some(&SWEEP_PAUSE));
        let mut is_ready = polled.iter().map(|it| !it.revents().is_empty());
        let has_news = self.pilot.is_some() && is_ready.next() == Some(true);
        let ready = open.iter().copied().zip(is_ready);
        let asking = ready.filter(|(_, is_ready)| *is_ready);
        (has_news, asking.map(|(index, _)| index).collect())
    }

    /// Waits for every child that has ended.
    fn reap(&mut self) {
        while let Some(reaped) = reap_one() {
            self.given_up.remove(&reaped.pid);
            if let Some(payload) = self.owner_of(&reaped) {
                payload.cpu_user_micros += reaped.cpu_user_micros;
                payload.cpu_system_micros += reaped.cpu_system_micros;
                if payload.is_first(reaped.pid) {
                    payload.end = Some(reaped.end);
                    payload.ends_since.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    /// Finds the payload whose first process this is, else the one that left it: the last to end.
    fn owner_of(&mut self, reaped: &Reaped) -> Option<&mut Payload> {
        let by_end = |(_, it): &(usize, &Payload)| it.ends_since;
        let first = self.payloads.iter().position(|it| it.is_first(reaped.pid));
        let index = first.or_else(|| {
            let ended = self.payloads.iter().enumerate();
            let ended = ended.filter(|(_, it)| it.end.is_some());
            ended.max_by_key(by_end).map(|(index, _)| index)
        })?;
        self.payloads.get_mut(index)
    }

    /// Kills what ended payloads have left, and reports those that have left nothing more. Says
    /// whether there is something to come back to.
    fn settle(&mut self) -> bool {
        if self.payloads.iter().all(|it| it.ends_since.is_none()) {
            return false;
        }
        let orphans = self.orphans();
        let met = if orphans.is_empty() {
            BTreeSet::new()
        } else {
            kill_trees(&orphans)
        };
        let mut is_sweeping = false;
        let mut index = 0;
        while let Some(payload) = self.payloads.get_mut(index) {
            let Some(since) = payload.ends_since else {
                index += 1;
                continue;
            };
            payload.leftovers.extend(&met);
            let is_over = !payload.kill_group() && payload.end.is_some() && orphans.is_empty();
            let is_hopeless =
                since.elapsed() > SWEEP_LIMIT && (payload.end.is_some() || !payload.has_pilot);
            if is_over || is_hopeless {
                let n_unkillable = if is_over { 0 } else { orphans.len().max(1) };
                self.given_up.extend(&orphans);
                let payload = self.payloads.swap_remove(index);
                self.report_end(payload, n_unkillable);
            } else {
                is_sweeping = true;
                index += 1;
            }
        }
        is_sweeping
    }

    /// Returns the children of the guard that payloads have left: all but the first processes, what
    /// no signal ends, and what belongs to a session of a payload that still runs.
    fn orphans(&mut self) -> BTreeSet<i32> {
        let first = |pid: i32| self.payloads.iter().any(|it| it.is_first(pid));
        let children = self.children.numbers();
        let session = |pid: i32| {
            let pid = Pid::from_raw(pid)?;
            Some(getsid(Some(pid)).ok()?.as_raw_nonzero().get())
        };
        children
            .into_iter()
            .filter(|pid| !first(*pid) && !self.given_up.contains(pid))
            .filter(|pid| session(*pid).is_none_or(|session| !first(session)))
            .collect()
    }

    fn report_end(&mut self, payload: Payload, n_unkillable: usize) {
        let end = payload.end.unwrap_or(RawEnd::Signalled(SIGKILL));
        let report = EndReport {
            end,
            n_leftovers: count(payload.leftovers.len()),
            n_unkillable: count(n_unkillable),
            n_memory_kills: u32::try_from(self.memory_kills(&payload, end)).unwrap_or(u32::MAX),
            cpu_user_micros: payload.cpu_user_micros,
            cpu_system_micros: payload.cpu_system_micros,
        };
        // A pilot that is gone needs no report.
        let _ = (&payload.socket).write_all(&Report::Ended(report).encode());
        if let Some(group) = payload.group {
            self.groups.give_back(group);
        }
    }

    /// Returns how many processes the kernel has killed for lack of memory: in the payload's own
    /// group if that has a limit, else in the slot, if it looks as if it was this payload.
    fn memory_kills(&self, payload: &Payload, end: RawEnd) -> u64 {
        match &payload.group {
            Some(group) if group.has_memory_limit() => group.memory_kills(),
            Some(_) | None => {
                let is_killed =
                    end == RawEnd::Signalled(SIGKILL) || end == RawEnd::Exited(EXIT_KILLED);
                let kills = || self.groups.slot_kills().saturating_sub(payload.slot_kills);
                if is_killed { kills() } else { 0 }
            }
        }
    }

    /// Carries out what the pilot asks of a payload.
    fn serve(&mut self, index: usize) {
        let payload = &mut self.payloads[index];
        let mut requests = [0; 64];
        match payload.socket.read(&mut requests) {
            Ok(0) => payload.lose_pilot(),
            Ok(length) => requests[..length].iter().for_each(|it| payload.obey(*it)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => payload.lose_pilot(),
        }
    }

    /// Takes the files of a payload from the pilot and starts it, or sees that the pilot is gone.
    fn accept(&mut self) {
        let Some(pilot) = &self.pilot else {
            return;
        };
        match receive_files(pilot) {
            Ok(Received::Files(files)) => self.start(files),
            Ok(Received::Nothing) => {}
            // Its other sockets tell of payloads that it has forgotten.
            Ok(Received::End) | Err(_) => self.pilot = None,
        }
    }

    /// Starts a payload. Without an answer the pilot sees the end of the payload's socket.
    fn start(&mut self, [socket, stdout, stderr]: [OwnedFd; N_FILES]) {
        let socket = UnixStream::from(socket);
        let Ok(bytes) = read_spec(&socket) else {
            return;
        };
        let Some(spec) = Spec::decode(&bytes) else {
            return;
        };
        let (group, mut confined) = self.groups.take(&spec.confinement);
        let slot_kills = self.groups.slot_kills();
        let surroundings = Surroundings {
            stdout: stdout.as_fd(),
            stderr: stderr.as_fd(),
            group: group.as_ref().map(Group::entrance),
        };
        let launched = self.launcher.launch(&spec, &surroundings);
        let report = match &launched {
            Ok(launched) => {
                confined.cpus = launched.cpus;
                let pid = launched.pid.as_raw_nonzero().get().unsigned_abs();
                Report::Started { pid, confined }
            }
            Err(errno) => Report::NotStarted {
                errno: errno.raw_os_error(),
            },
        };
        // A pilot that is gone by now is noticed by the watch.
        let _ = (&socket).write_all(&report.encode());
        match launched {
            Ok(launched) => {
                let payload = Payload::new(socket, launched.pid, group, slot_kills);
                self.payloads.push(payload);
            }
            Err(_) => group.into_iter().for_each(|it| self.groups.give_back(it)),
        }
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
