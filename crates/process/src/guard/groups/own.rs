//! Finds the control groups that this process is in. Texts to paths.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The version of a hierarchy of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// A control group that this process is in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OwnGroup {
    pub(super) version: Version,
    /// The controllers of a hierarchy of version 1; none for version 2, whose files tell.
    pub(super) controllers: Vec<String>,
    pub(super) dir: PathBuf,
    /// Whether it is the highest that this process can see.
    pub(super) is_namespace_root: bool,
}

impl OwnGroup {
    pub(super) fn has_controller(&self, controller: &str) -> bool {
        self.controllers.iter().any(|it| it == controller)
    }
}

/// Returns the groups of this process that can be seen in its file system, version 2 first.
pub(super) fn groups() -> Vec<OwnGroup> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    groups_of(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
}

fn groups_of(memberships: &str, mounts: &str) -> Vec<OwnGroup> {
    let mounts: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::parse).collect();
    let mut groups: Vec<OwnGroup> = memberships
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            own_group(controllers, path, &mounts)
        })
        .collect();
    groups.sort_by_key(|it| it.version == Version::One);
    groups
}

fn own_group(controllers: &str, path: &str, mounts: &[Mount<'_>]) -> Option<OwnGroup> {
    let version = if controllers.is_empty() {
        Version::Two
    } else {
        Version::One
    };
    let mount = mounts.iter().find(|mount| {
        let has = |controller| mount.options.split(',').any(|it| it == controller);
        mount.version == version && (version == Version::Two || controllers.split(',').all(has))
    })?;
    let below = Path::new(path).strip_prefix(mount.root).ok()?;
    Some(OwnGroup {
        version,
        controllers: controllers
            .split(',')
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect(),
        dir: Path::new(mount.point).join(below),
        is_namespace_root: path == "/",
    })
}

/// A mounted hierarchy.
struct Mount<'a> {
    version: Version,
    root: &'a str,
    point: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// Reads a line of `mountinfo`. Paths with blanks, which are written as `\040`, are not
    /// understood: nobody mounts control groups there.
    fn parse(line: &'a str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let version = match kind.next()? {
            "cgroup2" => Version::Two,
            "cgroup" => Version::One,
            _ => return None,
        };
        let options = kind.nth(1)?;
        Some(Self {
            version,
            root,
            point,
            options,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_version_2_is_found_by_its_mount() {
        let mounts = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let groups = groups_of("0::/htcondor/slot1_2\n", mounts);
        assert_eq!(
            groups,
            [OwnGroup {
                version: Version::Two,
                controllers: Vec::new(),
                dir: "/sys/fs/cgroup/htcondor/slot1_2".into(),
                is_namespace_root: false,
            }]
        );
    }

    #[test]
    fn of_mixed_versions_each_controller_has_its_place() {
        let mounts = "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let memberships = "4:memory:/batch/job\n2:cpu,cpuacct:/\n0::/\n";
        let groups = groups_of(memberships, mounts);
        assert_eq!(groups[0].version, Version::Two);
        let memory = groups.iter().find(|it| it.has_controller("memory"));
        assert_eq!(
            memory.expect("there").dir,
            Path::new("/sys/fs/cgroup/memory/batch/job")
        );
        let cpu = groups.iter().find(|it| it.has_controller("cpuacct"));
        assert_eq!(
            cpu.expect("there").dir,
            Path::new("/sys/fs/cgroup/cpu,cpuacct")
        );
    }

    #[test]
    fn a_mounted_part_of_a_hierarchy_shows_only_what_is_below() {
        let mounts = "40 30 0:29 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        let dirs = |memberships| {
            let groups = groups_of(memberships, mounts);
            groups.into_iter().map(|it| it.dir).collect::<Vec<_>>()
        };
        assert_eq!(
            dirs("0::/docker/abc/x\n"),
            [PathBuf::from("/sys/fs/cgroup/x")]
        );
        assert!(dirs("0::/elsewhere\n").is_empty());
    }

    #[test]
    fn anything_else_is_no_group() {
        assert_eq!(groups_of("", ""), []);
        assert_eq!(groups_of("0::/\n4:x\n", "a b c\n - cgroup2\n"), []);
    }
}
