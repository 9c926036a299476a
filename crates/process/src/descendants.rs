//! Finds processes by descent and by session, in one look over `/proc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// One process, as its `/proc/<pid>/stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// Ended, and not yet waited for by its parent.
    pub(crate) is_zombie: bool,
}

/// Returns every process that can be seen. Processes that end meanwhile are left out.
pub(crate) fn all_processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
            parse_stat(pid, &String::from_utf8_lossy(&stat))
        })
        .collect()
}

/// Returns the live descendants of `root`, without `root` itself, by rising number.
pub(crate) fn descendants_of(root: i32, processes: &[Process]) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<&Process>> = BTreeMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = BTreeMap::new();
    let mut backlog = vec![root];
    while let Some(parent) = backlog.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if child.pid != root && found.insert(child.pid, **child).is_none() {
                backlog.push(child.pid);
            }
        }
    }
    found.into_values().filter(|it| !it.is_zombie).collect()
}

/// Returns these processes and all of their descendants, ended ones included: one whose first
/// thread has ended looks like one that has ended itself.
pub(crate) fn with_descendants(roots: &BTreeSet<i32>, processes: &[Process]) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<&Process>> = BTreeMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let is_root = |process: &&Process| roots.contains(&process.pid);
    let mut backlog: Vec<&Process> = processes.iter().filter(is_root).collect();
    let mut found = BTreeMap::new();
    while let Some(process) = backlog.pop() {
        if found.insert(process.pid, *process).is_none() {
            backlog.extend(children.get(&process.pid).into_iter().flatten());
        }
    }
    found.into_values().collect()
}

/// Returns the process groups of `processes`, without `except`.
pub(crate) fn groups_of(processes: &[Process], except: i32) -> BTreeSet<i32> {
    processes
        .iter()
        .map(|process| process.group)
        .filter(|group| *group != except && *group > 1)
        .collect()
}

/// Reads state, parent, group and session. The name before them may hold anything, also
/// parentheses and blanks, so the fields are counted from the last closing parenthesis.
fn parse_stat(pid: i32, stat: &str) -> Option<Process> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let mut number = || fields.next()?.parse().ok();
    Some(Process {
        pid,
        parent: number()?,
        group: number()?,
        session: number()?,
        is_zombie: matches!(state, "Z" | "X" | "x"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process {
            pid,
            parent,
            group: pid,
            session: 1,
            is_zombie: false,
        }
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) R 1 (b c) Z 7 8 9 0 -1 4194560";
        assert_eq!(
            parse_stat(42, stat),
            Some(Process {
                pid: 42,
                parent: 7,
                group: 8,
                session: 9,
                is_zombie: true
            })
        );
    }

    #[test]
    fn a_cut_line_is_no_process() {
        assert_eq!(parse_stat(1, "1 (init) S 0"), None);
        assert_eq!(parse_stat(1, ""), None);
    }

    #[test]
    fn descent_is_followed_through_zombies_and_ends_at_strangers() {
        let mut middle = process(3, 2);
        middle.is_zombie = true;
        let all = [process(2, 1), middle, process(4, 3), process(5, 1)];
        let pids: Vec<i32> = descendants_of(2, &all).iter().map(|it| it.pid).collect();
        assert_eq!(pids, [4]);
    }

    #[test]
    fn a_ring_of_parents_does_not_hang() {
        let all = [process(2, 3), process(3, 2)];
        assert_eq!(descendants_of(2, &all).len(), 1);
    }

    #[test]
    fn this_process_is_seen() {
        let own = i32::try_from(std::process::id()).expect("pids are positive");
        assert!(all_processes().iter().any(|it| it.pid == own));
    }
}
