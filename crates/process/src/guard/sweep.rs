//! Ends processes so that none slips away: all are stopped first, then killed.
//!
//! What is stopped starts nothing new, so once a look finds nobody that still runs, the kill that
//! follows meets all of them, also those of a payload that starts processes faster than it ends.

use std::{collections::BTreeSet, fs::File, io, os::unix::fs::FileExt};

use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};

use crate::descendants::{Process, all_processes, groups_of, with_descendants};

/// Looks for processes that still run, before the kill comes in any case.
const LOOKS_MAX: usize = 200;

/// Longest list of children that is read, in bytes.
const CHILDREN_MAX_BYTES: usize = 1 << 20;

/// Bytes of the list that are read at first: enough for those of some hundred payloads.
const CHILDREN_BYTES: usize = 4 << 10;

/// Kills these processes with all of their descendants, and returns the numbers of all that were
/// met alive.
pub(super) fn kill_trees(roots: &BTreeSet<i32>) -> BTreeSet<i32> {
    let own = own_number();
    let mut stopped = BTreeSet::new();
    let mut victims = Vec::new();
    for _ in 0..LOOKS_MAX {
        victims = with_descendants(roots, &all_processes());
        victims.retain(|it| it.pid != own);
        let fresh: Vec<Process> = victims
            .iter()
            .filter(|it| !stopped.contains(&it.pid))
            .copied()
            .collect();
        if fresh.is_empty() {
            break;
        }
        // A group is stopped at one stroke, so that nothing in it can fork its way out.
        for group in groups_of(&fresh, own) {
            signal_group(group, Signal::STOP);
        }
        for process in &fresh {
            signal_one(process.pid, Signal::STOP);
            stopped.insert(process.pid);
        }
    }
    for group in groups_of(&victims, own) {
        signal_group(group, Signal::KILL);
    }
    for victim in &victims {
        signal_one(victim.pid, Signal::KILL);
    }
    victims
        .iter()
        .filter(|it| !it.is_zombie)
        .map(|it| it.pid)
        .collect()
}

/// Lists the children of this process, of which only it can make the number fall.
#[derive(Debug)]
pub(super) struct Children {
    /// The kernel's list; none where the kernel keeps none.
    list: Option<File>,
    buffer: Vec<u8>,
}

impl Children {
    pub(super) fn new() -> Self {
        Self {
            list: File::open("/proc/thread-self/children").ok(),
            buffer: vec![0; CHILDREN_BYTES],
        }
    }

    /// Returns the numbers of all children, ended ones included.
    pub(super) fn numbers(&mut self) -> Vec<i32> {
        match self.read_list() {
            Ok(length) => String::from_utf8_lossy(&self.buffer[..length])
                .split_ascii_whitespace()
                .filter_map(|number| number.parse().ok())
                .collect(),
            Err(_) => {
                let own = own_number();
                let all = all_processes();
                let children = all.iter().filter(|it| it.parent == own);
                children.map(|it| it.pid).collect()
            }
        }
    }

    /// Reads the list in one go, because between two reads it may change.
    fn read_list(&mut self) -> io::Result<usize> {
        let list = self.list.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        loop {
            let mut length = 0;
            loop {
                let count = list.read_at(&mut self.buffer[length..], length as u64)?;
                length += count;
                if count == 0 || length == self.buffer.len() {
                    break;
                }
            }
            if length < self.buffer.len() || length >= CHILDREN_MAX_BYTES {
                return Ok(length);
            }
            self.buffer.resize(2 * length, 0);
        }
    }
}

pub(crate) fn kill_one(pid: i32) {
    signal_one(pid, Signal::KILL);
}

pub(crate) fn kill_group(group: i32) {
    signal_group(group, Signal::KILL);
}

fn signal_one(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 1) {
        let _ = kill_process(pid, signal);
    }
}

fn signal_group(group: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(group).filter(|_| group > 1) {
        let _ = kill_process_group(group, signal);
    }
}

fn own_number() -> i32 {
    getpid().as_raw_nonzero().get()
}
