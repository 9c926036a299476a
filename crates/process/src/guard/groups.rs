//! Control groups for payloads, where the batch system lets the pilot make some.
//!
//! Version 2 is used where the pilot's own group is delegated to it: each payload gets a group, in
//! which the kernel holds its limits and from which no process can slip away. The pilot itself and
//! what started it move to a leaf first, because a group with processes of its own cannot hand
//! controllers down. Of version 1 only the memory controller is used, if its limit is asked for:
//! each further hierarchy that a process enters makes its start slower. Its empty groups are kept for
//! the payloads to come.

mod group;
mod own;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, access, getxattr},
    process::{Pid, geteuid, getpid, test_kill_process},
};

pub(super) use group::Group;
use own::{OwnGroup, Version};

use crate::{Confined, Confinement, Enforcement};

/// The group into which the pilot moves itself.
const PILOT_LEAF: &str = "ailurus-pilot";

/// How the names of payloads' groups begin; the guard's number and a counter follow.
const NAME_PREFIX: &str = "ailurus-payload-";

/// Controllers of version 2 that are handed down, as far as they are there.
const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "cpuset"];

/// Looks for processes that are to be moved; one that starts others meanwhile is met again.
const MOVES_MAX: usize = 20;

/// Most groups that are kept for payloads to come.
const FREE_MAX: usize = 512;

/// Makes groups for payloads.
#[derive(Debug)]
pub(super) struct Groups {
    /// The delegated group of version 2 with the controllers that it hands down.
    delegated: Option<(PathBuf, Vec<&'static str>)>,
    /// The pilot's own group of version 1 for memory.
    memory1: Option<PathBuf>,
    /// Where the kernel counts the kills for lack of memory in the whole slot.
    slot_kills: Option<File>,
    free: Vec<Group>,
    n_made: u32,
}

impl Groups {
    /// Finds what the pilot may use.
    pub(super) fn find() -> Self {
        let own = own::groups();
        let delegated = own
            .iter()
            .find(|it| it.version == Version::Two)
            .and_then(|it| take_over(it).ok());
        let memory1 = own
            .iter()
            .find(|it| it.has_controller("memory") && is_writable(&it.dir));
        let slot_kills = own.iter().find_map(|it| group::kill_counter(&it.dir).ok());
        let found = Self {
            memory1: memory1.map(|it| it.dir.clone()),
            delegated,
            slot_kills,
            free: Vec::new(),
            n_made: 0,
        };
        found.bases().for_each(remove_stale);
        found
    }

    /// Makes a group for a payload; none if there are no means or no need.
    pub(super) fn take(&mut self, confinement: &Confinement) -> (Option<Group>, Confined) {
        let nothing_of = |is_asked: bool| match is_asked {
            true => Enforcement::Nothing,
            false => Enforcement::NotAsked,
        };
        let mut confined = Confined {
            memory: nothing_of(confinement.memory_max_bytes.is_some()),
            tasks: nothing_of(confinement.tasks_max.is_some()),
            cpu_time: nothing_of(confinement.cpu_millicores_max.is_some()),
            cpus: Enforcement::NotAsked,
            file_size: match confinement.file_max_bytes {
                Some(_) => Enforcement::Process,
                None => Enforcement::NotAsked,
            },
            descendants: Enforcement::Process,
        };
        if self.delegated.is_none() && confinement.memory_max_bytes.is_none() {
            return (None, confined);
        }
        let kept = self.free.pop();
        let Some(mut group) = kept.or_else(|| self.make().ok()) else {
            return (None, confined);
        };
        group.limit(confinement, &mut confined);
        (Some(group), confined)
    }

    /// Takes an empty group back.
    pub(super) fn give_back(&mut self, group: Group) {
        if self.free.len() < FREE_MAX && group.is_reusable() {
            self.free.push(group);
        } else {
            group.remove();
        }
    }

    /// Returns how many processes of the whole slot the kernel has killed for lack of memory.
    pub(super) fn slot_kills(&self) -> u64 {
        self.slot_kills.as_ref().map_or(0, group::read_kills)
    }

    fn make(&mut self) -> io::Result<Group> {
        self.n_made += 1;
        let name = format!("{NAME_PREFIX}{}-{}", getpid().as_raw_nonzero(), self.n_made);
        match &self.delegated {
            Some((base, controllers)) => Group::of_version_2(&base.join(name), controllers),
            None => {
                let base = self.memory1.as_ref().ok_or(io::ErrorKind::Unsupported)?;
                Group::of_version_1(&base.join(name))
            }
        }
    }

    fn bases(&self) -> impl Iterator<Item = &Path> {
        let delegated = self.delegated.iter().map(|(base, _)| base.as_path());
        delegated.chain(self.memory1.iter().map(PathBuf::as_path))
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.free.drain(..).for_each(Group::remove);
    }
}

/// Makes the pilot's own group of version 2 one that can hold groups for payloads.
fn take_over(own: &OwnGroup) -> io::Result<(PathBuf, Vec<&'static str>)> {
    // A pilot before this one, or this one's last guard, may have done so already.
    let is_leaf = own.dir.ends_with(PILOT_LEAF);
    let base = own.dir.parent().filter(|_| is_leaf).unwrap_or(&own.dir);
    if !is_leaf && !is_delegated(own) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let leaf = base.join(PILOT_LEAF);
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    move_all(&base.join("cgroup.procs"), &leaf.join("cgroup.procs"))?;
    let there = fs::read_to_string(base.join("cgroup.controllers"))?;
    let handed_down = CONTROLLERS.into_iter().filter(|controller| {
        there.split_ascii_whitespace().any(|it| it == *controller)
            && fs::write(
                base.join("cgroup.subtree_control"),
                format!("+{controller}"),
            )
            .is_ok()
    });
    Ok((base.to_owned(), handed_down.collect()))
}

/// Says whether a group of version 2 is there for the pilot to divide.
///
/// What an ordinary user can write has been given to it. For the superuser, who can write all, the
/// group must be marked by the service manager, or be the root of a namespace.
fn is_delegated(own: &OwnGroup) -> bool {
    let dir = &own.dir;
    let is_ours = is_writable(dir)
        && is_writable(&dir.join("cgroup.procs"))
        && is_writable(&dir.join("cgroup.subtree_control"));
    if !is_ours || !geteuid().is_root() {
        return is_ours;
    }
    let is_marked = ["user.delegate", "trusted.delegate"]
        .into_iter()
        .any(|name| {
            let mut value = [0; 1];
            matches!(getxattr(dir, name, &mut value), Ok(1)) && value == *b"1"
        });
    // Only the real root of all groups has no such file.
    is_marked || (own.is_namespace_root && dir.join("cgroup.events").exists())
}

fn is_writable(path: &Path) -> bool {
    access(path, Access::WRITE_OK).is_ok()
}

fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for _ in 0..MOVES_MAX {
        let members = fs::read_to_string(from)?;
        if members.trim().is_empty() {
            return Ok(());
        }
        for member in members.lines() {
            // One that has ended meanwhile is no obstacle, and one that stays is met again.
            let _ = fs::write(to, member);
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Removes the empty groups of guards that were killed.
fn remove_stale(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let guard = name
            .to_str()
            .and_then(|name| name.strip_prefix(NAME_PREFIX)?.split('-').next())
            .and_then(|number| Pid::from_raw(number.parse().ok()?));
        if guard.is_some_and(|guard| test_kill_process(guard).is_err()) {
            group::remove_tree(&entry.path());
        }
    }
}
