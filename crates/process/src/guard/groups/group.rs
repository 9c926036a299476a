//! One payload's control group: its limits, its members, and their end.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use super::super::kill_one;
use crate::{Confined, Confinement, Enforcement};

/// The period over which CPU time is shared out, in microseconds; the kernel's own default.
const CPU_PERIOD_MICROS: u64 = 100_000;

/// Most bytes of a file with counters.
const COUNTERS_MAX_BYTES: usize = 1 << 10;

/// Most levels of groups that a payload makes below its own, such as those of containers.
const DEPTH_MAX: usize = 16;

/// A control group for one payload at a time.
#[derive(Debug)]
pub(in super::super) struct Group {
    dir: Dir,
    version: Enforcement,
    /// Counts the kills for lack of memory, with the count at the start of the payload.
    kills: Option<(File, u64)>,
    /// The limits that are set.
    limits: Confinement,
}

#[derive(Debug)]
struct Dir {
    path: PathBuf,
    /// A process that writes `0` here enters the group.
    entrance: File,
    controllers: Vec<&'static str>,
}

impl Group {
    pub(super) fn of_version_2(path: &Path, controllers: &[&'static str]) -> io::Result<Self> {
        let dir = Dir::make(path, controllers)?;
        // All or nothing: half a payload that goes on would only hide what has happened. Older
        // kernels have no such file.
        let _ = dir.set("memory.oom.group", "1");
        Ok(Self {
            kills: kill_counter(path).ok().map(|file| (file, 0)),
            dir,
            version: Enforcement::Cgroup2,
            limits: Confinement::default(),
        })
    }

    pub(super) fn of_version_1(path: &Path) -> io::Result<Self> {
        let dir = Dir::make(path, &["memory"])?;
        Ok(Self {
            kills: kill_counter(path).ok().map(|file| (file, 0)),
            dir,
            version: Enforcement::Cgroup1,
            limits: Confinement::default(),
        })
    }

    /// Sets the limits of the payload to come, and notes which of them hold.
    pub(super) fn limit(&mut self, wanted: &Confinement, confined: &mut Confined) {
        if let Some((file, before)) = &mut self.kills {
            *before = read_kills(file);
        }
        confined.memory = self.enforce(
            "memory",
            wanted.memory_max_bytes.is_some(),
            |it| it.memory_max_bytes != wanted.memory_max_bytes,
            |dir, version| set_memory(dir, version, wanted.memory_max_bytes),
        );
        confined.tasks = self.enforce(
            "pids",
            wanted.tasks_max.is_some(),
            |it| it.tasks_max != wanted.tasks_max,
            |dir, _| dir.set("pids.max", &or_max(wanted.tasks_max)),
        );
        confined.cpu_time = self.enforce(
            "cpu",
            wanted.cpu_millicores_max.is_some(),
            |it| it.cpu_millicores_max != wanted.cpu_millicores_max,
            |dir, _| set_cpu_time(dir, wanted.cpu_millicores_max),
        );
        // The first process is told in any case; the group's set also binds those who would change
        // their own.
        let _ = self.enforce(
            "cpuset",
            !wanted.cpus.is_empty(),
            |it| it.cpus != wanted.cpus,
            |dir, _| dir.set("cpuset.cpus", &format!("{}\n", cpu_list(&wanted.cpus))),
        );
        confined.descendants = match self.version {
            Enforcement::Cgroup2 => Enforcement::Cgroup2,
            Enforcement::NotAsked
            | Enforcement::Cgroup1
            | Enforcement::Process
            | Enforcement::Nothing => Enforcement::Process,
        };
        self.limits = wanted.clone();
    }

    fn enforce(
        &self,
        controller: &str,
        is_asked: bool,
        is_change: impl Fn(&Confinement) -> bool,
        set: impl Fn(&Dir, Enforcement) -> io::Result<()>,
    ) -> Enforcement {
        let has_controller = self.dir.controllers.contains(&controller);
        let is_set =
            has_controller && (!is_change(&self.limits) || set(&self.dir, self.version).is_ok());
        match (is_asked, is_set) {
            (false, _) => Enforcement::NotAsked,
            (true, true) => self.version,
            (true, false) => Enforcement::Nothing,
        }
    }

    /// Returns the file through which a process enters.
    pub(in super::super) fn entrance(&self) -> BorrowedFd<'_> {
        self.dir.entrance.as_fd()
    }

    /// Returns how many of its processes the kernel has killed for lack of memory.
    pub(in super::super) fn memory_kills(&self) -> u64 {
        let kills = self.kills.as_ref();
        kills.map_or(0, |(file, before)| read_kills(file).saturating_sub(*before))
    }

    /// Says whether its memory is limited: then the kills for lack of memory are its own.
    pub(in super::super) fn has_memory_limit(&self) -> bool {
        self.limits.memory_max_bytes.is_some() && self.kills.is_some()
    }

    /// Says whether a process of it is left.
    pub(in super::super) fn is_populated(&self) -> bool {
        match fs::read_to_string(self.dir.path.join("cgroup.events")) {
            Ok(events) => counter(&events, "populated") > 0,
            Err(_) => !members(&self.dir.path).is_empty(),
        }
    }

    /// Kills all of its processes, and returns the numbers of those that it met.
    pub(in super::super) fn kill(&self) -> Vec<i32> {
        let members = members(&self.dir.path);
        // The kernel does it at one stroke, groups below included, since 5.14.
        if self.dir.set("cgroup.kill", "1").is_err() {
            members.iter().copied().for_each(kill_one);
        }
        members
    }

    /// Says whether it is as good as new: nobody reads its totals, which would be those of all its
    /// payloads, and the payload has made no groups below it.
    pub(super) fn is_reusable(&self) -> bool {
        const LINKS_WITHOUT_CHILDREN: u64 = 2;
        let is_bare = fs::metadata(&self.dir.path);
        let is_bare = is_bare.is_ok_and(|meta| meta.nlink() <= LINKS_WITHOUT_CHILDREN);
        self.version == Enforcement::Cgroup1 && is_bare
    }

    pub(super) fn remove(self) {
        remove_tree(&self.dir.path);
    }
}

impl Dir {
    fn make(path: &Path, controllers: &[&'static str]) -> io::Result<Self> {
        fs::create_dir(path)?;
        Ok(Self {
            entrance: OpenOptions::new()
                .write(true)
                .open(path.join("cgroup.procs"))?,
            path: path.to_owned(),
            controllers: controllers.to_vec(),
        })
    }

    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.path.join(file), value)
    }
}

fn set_memory(dir: &Dir, version: Enforcement, limit: Option<u64>) -> io::Result<()> {
    if version == Enforcement::Cgroup1 {
        let limit = limit.map_or_else(|| "-1".to_owned(), |limit| limit.to_string());
        return dir.set("memory.limit_in_bytes", &limit);
    }
    // Memory that is moved to the disk is no less needed. Not every kernel has the file.
    let _ = dir.set("memory.swap.max", &or_max(limit.map(|_| 0)));
    dir.set("memory.max", &or_max(limit))
}

fn set_cpu_time(dir: &Dir, millicores: Option<u32>) -> io::Result<()> {
    let micros = millicores.map(|it| u64::from(it) * CPU_PERIOD_MICROS / 1000);
    dir.set(
        "cpu.max",
        &format!("{} {CPU_PERIOD_MICROS}", or_max(micros)),
    )
}

fn or_max<T: ToString>(limit: Option<T>) -> String {
    limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string())
}

fn cpu_list(cpus: &[u32]) -> String {
    let cpus: Vec<String> = cpus.iter().map(u32::to_string).collect();
    cpus.join(",")
}

/// Opens the file in which the kernel counts kills for lack of memory.
pub(super) fn kill_counter(dir: &Path) -> io::Result<File> {
    let version_2 = File::open(dir.join("memory.events"));
    version_2.or_else(|_| File::open(dir.join("memory.oom_control")))
}

pub(super) fn read_kills(file: &File) -> u64 {
    let mut text = [0; COUNTERS_MAX_BYTES];
    let length = file.read_at(&mut text, 0).unwrap_or(0);
    counter(&String::from_utf8_lossy(&text[..length]), "oom_kill")
}

/// Reads one counter of a file with a name and a number a line; zero if it is not there.
fn counter(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(it, _)| *it == name)
        .and_then(|(_, count)| count.trim().parse().ok())
        .unwrap_or(0)
}

fn members(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Removes a group without processes, and the groups below it.
pub(super) fn remove_tree(dir: &Path) {
    remove_levels(dir, DEPTH_MAX);
}

fn remove_levels(dir: &Path, levels: usize) {
    if levels == 0 || fs::remove_dir(dir).is_ok() {
        return;
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            remove_levels(&entry.path(), levels - 1);
        }
    }
    // One with processes stays; so does what is above it.
    let _ = fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let events = "low 0\noom 7\noom_kill 3\noom_group_kill 1\n";
        assert_eq!(counter(events, "oom_kill"), 3);
        assert_eq!(counter(events, "absent"), 0);
        assert_eq!(counter("oom_kill many", "oom_kill"), 0);
    }

    #[test]
    fn cpus_are_listed_as_the_kernel_reads_them() {
        assert_eq!(cpu_list(&[0, 2, 17]), "0,2,17");
        assert_eq!(cpu_list(&[]), "");
    }
}
