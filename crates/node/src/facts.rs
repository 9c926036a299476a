//! What the node is: name, processors, memory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ailurus_model::{ByteCount, NodeName};

use crate::text::{
    CpuInfo, parse_cgroup_path, parse_cpu_max, parse_cpuinfo, parse_meminfo, parse_memory_max,
};

/// Where the unified cgroup hierarchy is mounted.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// A description of the node. What cannot be found out is empty or zero.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFacts {
    /// The host's name, as `uname -n`.
    pub host_name: NodeName,
    /// What `/proc/cpuinfo` says.
    pub cpu: CpuInfo,
    /// The processor's architecture, for example `x86_64`.
    pub architecture: &'static str,
    /// Cores that this process may use: the fewest of processor affinity and cgroup limits, at
    /// least 1.
    pub cores: u32,
    /// Memory of the node.
    pub memory_total: ByteCount,
    /// Memory that this process's cgroups allow, if they limit it.
    pub memory_limit: Option<ByteCount>,
}

/// Looks at the node.
#[must_use]
pub fn node_facts() -> NodeFacts {
    let cpu = parse_cpuinfo(&text_of("/proc/cpuinfo"));
    let cgroup = text_of("/proc/self/cgroup");
    let cgroups = cgroups_of(Path::new(CGROUP_ROOT), parse_cgroup_path(&cgroup));
    NodeFacts {
        host_name: NodeName::new(text_of("/proc/sys/kernel/hostname").trim()),
        architecture: std::env::consts::ARCH,
        cores: cores(cpu.n_processors, &cgroups),
        cpu,
        memory_total: ByteCount::from_kib(
            parse_meminfo(&text_of("/proc/meminfo"), "MemTotal:").unwrap_or(0),
        ),
        memory_limit: memory_limit(&cgroups),
    }
}

/// Returns a cgroup and all above it, without the root, which has no limits.
fn cgroups_of(root: &Path, path: Option<&str>) -> Vec<PathBuf> {
    let Some(path) = path else { return Vec::new() };
    root.join(path.trim_start_matches('/'))
        .ancestors()
        .take_while(|it| *it != root && it.starts_with(root))
        .map(Path::to_owned)
        .collect()
}

fn cores(n_processors: u32, cgroups: &[PathBuf]) -> u32 {
    let by_affinity = rustix::thread::sched_getaffinity(None).map_or(n_processors, |it| it.count());
    cgroups
        .iter()
        .filter_map(|cgroup| parse_cpu_max(&text_of(cgroup.join("cpu.max"))))
        .map(whole_cores)
        .fold(by_affinity, u32::min)
        .max(1)
}

/// Rounds up: 1.5 cores run two processes side by side.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the range before"
)]
fn whole_cores(cores: f64) -> u32 {
    cores.ceil().clamp(1.0, f64::from(u32::MAX)) as u32
}

fn memory_limit(cgroups: &[PathBuf]) -> Option<ByteCount> {
    cgroups
        .iter()
        .filter_map(|cgroup| parse_memory_max(&text_of(cgroup.join("memory.max"))))
        .min()
        .map(ByteCount::from_bytes)
}

/// Returns a file's text, empty if it cannot be read.
fn text_of(path: impl AsRef<Path>) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_node_has_a_name_a_core_and_memory() {
        let facts = node_facts();
        assert!(!facts.host_name.is_empty());
        assert!(facts.cores >= 1);
        assert!(facts.memory_total > ByteCount::ZERO);
    }

    #[test]
    fn the_tightest_cgroup_above_counts() {
        let root = tempfile::tempdir().expect("space");
        let job = root.path().join("slurm/job_17");
        fs::create_dir_all(&job).expect("space");
        fs::write(root.path().join("slurm/cpu.max"), "150000 100000\n").expect("space");
        fs::write(job.join("cpu.max"), "max 100000\n").expect("space");
        fs::write(root.path().join("slurm/memory.max"), "4096\n").expect("space");
        fs::write(job.join("memory.max"), "2048\n").expect("space");
        let cgroups = cgroups_of(root.path(), Some("/slurm/job_17"));
        assert_eq!(cgroups.len(), 2);
        assert!(cores(64, &cgroups) <= 2);
        assert_eq!(memory_limit(&cgroups), Some(ByteCount::from_bytes(2048)));
    }

    #[test]
    fn without_cgroups_there_are_no_limits() {
        assert!(cgroups_of(Path::new("/sys"), None).is_empty());
        assert!(cgroups_of(Path::new("/sys"), Some("/")).is_empty());
        assert_eq!(memory_limit(&[]), None);
    }
}
