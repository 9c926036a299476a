//! What the node is: name, processors, memory, disks, network.

use std::{fs, path::Path};

use ailurus_model::{ByteCount, NodeName};

use crate::{
    cgroup::{CGROUP_ROOT, SlotLimits, slot_limits},
    devices::{Interface, disk_total, interfaces},
    text::{CpuInfo, parse_cpuinfo, parse_meminfo},
};

/// Where the kernel describes devices.
const DEVICES: &str = "/sys";

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
    /// Swap of the node.
    pub swap_total: ByteCount,
    /// Size of all disks of the node, virtual ones left out.
    pub disk_total: ByteCount,
    /// The node's network interfaces that are up, loopback left out.
    pub interfaces: Vec<Interface>,
}

impl NodeFacts {
    /// Returns the memory that jobs of this pilot may use: the node's, or less if groups limit it.
    #[must_use]
    pub fn memory(&self) -> ByteCount {
        let limit = self.memory_limit.unwrap_or(self.memory_total);
        limit.min(self.memory_total)
    }
}

/// Looks at the node.
#[must_use]
pub fn node_facts() -> NodeFacts {
    let cpu = parse_cpuinfo(&text_of("/proc/cpuinfo"));
    let cgroup = text_of("/proc/self/cgroup");
    let limits = slot_limits(Path::new(CGROUP_ROOT), &cgroup);
    let memory = text_of("/proc/meminfo");
    let kib = |name| ByteCount::from_kib(parse_meminfo(&memory, name).unwrap_or(0));
    NodeFacts {
        host_name: NodeName::new(text_of("/proc/sys/kernel/hostname").trim()),
        architecture: std::env::consts::ARCH,
        cores: cores(cpu.n_processors, &limits),
        cpu,
        memory_total: kib("MemTotal:"),
        memory_limit: limits.memory,
        swap_total: kib("SwapTotal:"),
        disk_total: disk_total(Path::new(DEVICES)),
        interfaces: interfaces(Path::new(DEVICES)),
    }
}

fn cores(n_processors: u32, limits: &SlotLimits) -> u32 {
    let by_affinity = rustix::thread::sched_getaffinity(None).map_or(n_processors, |it| it.count());
    let by_quota = limits.cores.map_or(u32::MAX, whole_cores);
    by_affinity.min(by_quota).max(1)
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
    fn this_nodes_processors_fit_together() {
        let facts = node_facts();
        let cpu = &facts.cpu;
        assert!(cpu.n_processors >= facts.cores);
        assert!(cpu.threads_per_core() >= 1);
        assert!(facts.memory() <= facts.memory_total);
    }

    #[test]
    fn a_quota_limits_the_cores() {
        let limits = SlotLimits {
            cores: Some(0.5),
            ..SlotLimits::default()
        };
        assert_eq!(cores(64, &limits), 1);
        assert_eq!((whole_cores(1.5), whole_cores(2.0)), (2, 2));
    }
}
