//! Control groups: what the slot may use, and what a payload in a group of its own uses.
//!
//! Version 2 and version 1 of the kernel's interface are both read, also side by side; each limit
//! of a group holds for all groups below it, so the tightest one counts. [`SlotLimits`] is what the
//! batch system or the container leaves to this pilot; [`GroupUse`] is one look at a payload's
//! group, which costs a few reads however many processes it has.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use ailurus_model::ByteCount;

use crate::process_text::named_number;

/// Where control groups are mounted.
pub(crate) const CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// From here on, a limit of version 1 means that there is none: the kernel rounds the largest
/// number down to whole pages.
const NO_LIMIT: u64 = 1 << 60;

/// What the control groups of a process leave to it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SlotLimits {
    /// Memory, if limited.
    pub memory: Option<ByteCount>,
    /// Memory and swap together or swap alone beyond which the kernel kills, if limited.
    pub swap: Option<ByteCount>,
    /// Cores by CPU quota, if limited; 1.5 is possible.
    pub cores: Option<f64>,
}

/// What the processes of one group of version 2 used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupUse {
    /// Memory that the group's processes hold: anonymous and mapped pages, each counted once.
    /// Files that are only cached are left out, as proportional memory leaves them out.
    pub memory: ByteCount,
    /// Memory in swap.
    pub swap: ByteCount,
    /// User CPU time of all processes that ever were in it.
    pub cpu_user: Duration,
    /// System CPU time of the same.
    pub cpu_system: Duration,
    /// Processes that the kernel killed because the group's memory was full.
    pub oom_kills: u64,
}

/// Reads the limits of the groups that `/proc/<pid>/cgroup` names, and of all above them.
///
/// The root counts too: in a container it is the container's own group.
#[must_use]
pub fn slot_limits(root: &Path, cgroup: &str) -> SlotLimits {
    let mut limits = SlotLimits::default();
    for (controllers, path) in cgroup.lines().filter_map(parse_cgroup_line) {
        if controllers.is_empty() {
            for mount in [root.to_owned(), root.join("unified")] {
                for group in with_all_above(&mount, path) {
                    limits.tighten(&limits_of_v2(&group));
                }
            }
        } else {
            for mount in mounts_of_v1(root, controllers) {
                for group in with_all_above(&mount, path) {
                    limits.tighten(&limits_of_v1(&group));
                }
            }
        }
    }
    limits
}

/// Looks at what a group of version 2 used; none if it has no memory controller.
#[must_use]
pub fn group_use(group: &Path) -> Option<GroupUse> {
    let memory = fs::read(group.join("memory.stat")).ok()?;
    let held = |name: &[u8]| named_number(&memory, name);
    let cpu = fs::read(group.join("cpu.stat")).unwrap_or_default();
    let micros = |name: &[u8]| Duration::from_micros(named_number(&cpu, name).unwrap_or(0));
    let events = fs::read(group.join("memory.events")).unwrap_or_default();
    Some(GroupUse {
        memory: ByteCount::from_bytes(held(b"anon ")?)
            .plus(ByteCount::from_bytes(held(b"file_mapped ").unwrap_or(0))),
        swap: size_of(&group.join("memory.swap.current")).unwrap_or_default(),
        cpu_user: micros(b"user_usec "),
        cpu_system: micros(b"system_usec "),
        oom_kills: named_number(&events, b"oom_kill ").unwrap_or(0),
    })
}

/// Finds the group of version 2 that a payload's process has for itself, by what
/// `/proc/<pid>/cgroup` says of it and of the pilot. A group that both share is nobody's own.
#[must_use]
pub fn own_group(root: &Path, of_payload: &str, of_pilot: &str) -> Option<PathBuf> {
    let path = parse_cgroup_path(of_payload)?;
    let shared = parse_cgroup_path(of_pilot)?;
    if path == shared || Path::new(shared).starts_with(path) {
        return None;
    }
    [root.to_owned(), root.join("unified")]
        .into_iter()
        .map(|mount| mount.join(path.trim_start_matches('/')))
        .find(|group| group.join("memory.stat").is_file())
}

/// Returns the path of a process in the hierarchy of version 2, out of `/proc/<pid>/cgroup`.
#[must_use]
pub fn parse_cgroup_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Reads `cpu.max` of a group: the cores that it may use, none if there is no limit.
#[must_use]
pub fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    quotient(quota, period)
}

/// Splits a line of `/proc/<pid>/cgroup` into controllers, none for version 2, and path.
fn parse_cgroup_line(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(':')?;
    rest.split_once(':')
}

fn quotient(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (f64, f64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    let cores = quota / period;
    (quota > 0.0 && period > 0.0 && cores.is_finite()).then_some(cores)
}

/// Controllers are mounted together, as `cpu,cpuacct`, or each for itself.
fn mounts_of_v1<'a>(root: &'a Path, controllers: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    let each = controllers.split(',').filter(move |it| *it != controllers);
    std::iter::once(controllers)
        .chain(each)
        .filter(|name| !name.contains('='))
        .map(|name| root.join(name))
}

/// Returns a group and all above it up to the mount, as far as they exist.
fn with_all_above(mount: &Path, path: &str) -> Vec<PathBuf> {
    mount
        .join(path.trim_start_matches('/'))
        .ancestors()
        .take_while(|group| group.starts_with(mount))
        .filter(|group| group.is_dir())
        .map(Path::to_owned)
        .collect()
}

fn limits_of_v2(group: &Path) -> SlotLimits {
    let memory = ["memory.max", "memory.high"].map(|name| size_of(&group.join(name)));
    SlotLimits {
        memory: memory.into_iter().flatten().min(),
        swap: size_of(&group.join("memory.swap.max")),
        cores: parse_cpu_max(&text_of(&group.join("cpu.max"))),
    }
}

fn limits_of_v1(group: &Path) -> SlotLimits {
    SlotLimits {
        memory: size_of(&group.join("memory.limit_in_bytes")),
        swap: size_of(&group.join("memory.memsw.limit_in_bytes")),
        cores: quotient(
            &text_of(&group.join("cpu.cfs_quota_us")),
            &text_of(&group.join("cpu.cfs_period_us")),
        ),
    }
}

impl SlotLimits {
    fn tighten(&mut self, other: &Self) {
        let smaller =
            |one: Option<ByteCount>, two: Option<ByteCount>| one.into_iter().chain(two).min();
        self.memory = smaller(self.memory, other.memory);
        self.swap = smaller(self.swap, other.swap);
        self.cores = match (self.cores, other.cores) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
    }
}

/// Reads a file that holds one size; none if there is no limit in it.
fn size_of(path: &Path) -> Option<ByteCount> {
    let bytes: u64 = text_of(path).trim().parse().ok()?;
    (bytes < NO_LIMIT).then(|| ByteCount::from_bytes(bytes))
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("space");
        fs::write(path, text).expect("space");
    }

    #[test]
    fn the_tightest_group_of_version_2_above_counts() {
        let root = tempfile::tempdir().expect("space");
        let root = root.path();
        write(root, "slurm/cpu.max", "150000 100000\n");
        write(root, "slurm/memory.max", "4096\n");
        write(root, "slurm/job_17/cpu.max", "max 100000\n");
        write(root, "slurm/job_17/memory.max", "max\n");
        write(root, "slurm/job_17/memory.high", "2048\n");
        write(root, "slurm/job_17/memory.swap.max", "0\n");
        let limits = slot_limits(root, "0::/slurm/job_17\n");
        assert_eq!(limits.cores, Some(1.5));
        assert_eq!(limits.memory, Some(ByteCount::from_bytes(2048)));
        assert_eq!(limits.swap, Some(ByteCount::ZERO));
    }

    #[test]
    fn groups_of_version_1_limit_too() {
        let root = tempfile::tempdir().expect("space");
        let root = root.path();
        write(
            root,
            "memory/htcondor/slot1/memory.limit_in_bytes",
            "3145728\n",
        );
        write(
            root,
            "memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        write(
            root,
            "cpu,cpuacct/htcondor/slot1/cpu.cfs_quota_us",
            "200000\n",
        );
        write(
            root,
            "cpu,cpuacct/htcondor/slot1/cpu.cfs_period_us",
            "100000\n",
        );
        write(root, "cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
        let text =
            "9:name=systemd:/\n4:memory:/htcondor/slot1\n2:cpu,cpuacct:/htcondor/slot1\n0::/\n";
        let limits = slot_limits(root, text);
        assert_eq!(limits.memory, Some(ByteCount::from_mib(3)));
        assert_eq!(limits.cores, Some(2.0));
    }

    #[test]
    fn a_containers_own_group_is_the_root() {
        let root = tempfile::tempdir().expect("space");
        write(root.path(), "memory.max", "1048576\n");
        let limits = slot_limits(root.path(), "0::/not/visible/here\n");
        assert_eq!(limits.memory, Some(ByteCount::from_mib(1)));
    }

    #[test]
    fn without_groups_there_are_no_limits() {
        let none = SlotLimits::default();
        assert_eq!(slot_limits(Path::new("/no/such/place"), "0::/a\n"), none);
        assert_eq!(slot_limits(Path::new("/no/such/place"), "nonsense"), none);
    }

    #[test]
    fn what_a_payloads_group_used_is_read() {
        let root = tempfile::tempdir().expect("space");
        let root = root.path();
        write(
            root,
            "memory.stat",
            "anon 1048576\nfile 99999999\nfile_mapped 4096\n",
        );
        write(root, "memory.swap.current", "8192\n");
        write(
            root,
            "memory.events",
            "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n",
        );
        write(
            root,
            "cpu.stat",
            "usage_usec 3000\nuser_usec 2000\nsystem_usec 1000\n",
        );
        assert_eq!(
            group_use(root),
            Some(GroupUse {
                memory: ByteCount::from_bytes(1_052_672),
                swap: ByteCount::from_kib(8),
                cpu_user: Duration::from_millis(2),
                cpu_system: Duration::from_millis(1),
                oom_kills: 2,
            })
        );
        assert_eq!(group_use(Path::new("/no/such/place")), None);
    }

    #[test]
    fn a_group_that_the_pilot_is_in_is_not_the_payloads_own() {
        let root = tempfile::tempdir().expect("space");
        let root = root.path();
        write(root, "slot/payload/memory.stat", "anon 0\n");
        write(root, "slot/memory.stat", "anon 0\n");
        let own = |payload: &str, pilot: &str| own_group(root, payload, pilot);
        assert_eq!(
            own("0::/slot/payload\n", "0::/slot\n"),
            Some(root.join("slot/payload"))
        );
        assert_eq!(own("0::/slot\n", "0::/slot\n"), None);
        assert_eq!(own("0::/slot\n", "0::/slot/pilot\n"), None);
        assert_eq!(own("0::/gone\n", "0::/slot\n"), None);
    }

    #[test]
    fn odd_quotas_are_no_limits() {
        assert_eq!(parse_cpu_max("max 100000\n"), None);
        assert_eq!(parse_cpu_max("0 0\n"), None);
        assert_eq!(parse_cpu_max("inf 1"), None);
        assert_eq!(parse_cpu_max(""), None);
    }

    /// A group of version 1 made for a test.
    struct Made(PathBuf);

    impl Drop for Made {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0);
        }
    }

    #[test]
    fn the_limit_of_a_real_group_is_found() {
        let root = Path::new(CGROUP_ROOT);
        let name = format!("ailurus-test-{}", std::process::id());
        let group = Made(root.join("memory").join(&name));
        if fs::create_dir(&group.0).is_err() {
            eprintln!("skipped: no groups of version 1 may be made here");
            return;
        }
        fs::write(group.0.join("memory.limit_in_bytes"), "67108864").expect("own group");
        let limits = slot_limits(root, &format!("4:memory:/{name}\n0::/\n"));
        assert_eq!(limits.memory, Some(ByteCount::from_mib(64)));
    }
}
