//! The CPUs that this process may use, and where they are.

use std::{fs, path::Path};

/// Where the kernel describes CPUs.
const CPUS: &str = "/sys/devices/system/cpu";

/// Where a CPU is in the node. What cannot be found out is zero, but the core, which is then taken
/// to be one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuPlace {
    /// The kernel's number of it: a thread of a core.
    pub number: u32,
    /// Its core within the package.
    pub core: u32,
    /// The package (socket) of the core.
    pub package: u32,
    /// The memory that is near (NUMA node).
    pub numa_node: u32,
}

/// Returns the CPUs that this process may use, by rising number; none if the kernel does not tell.
#[must_use]
pub fn usable_cpus() -> Vec<CpuPlace> {
    let Ok(usable) = rustix::thread::sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|cpu| usable.is_set(*cpu))
        .filter_map(|cpu| u32::try_from(cpu).ok())
        .map(|cpu| place_of(Path::new(CPUS), cpu))
        .collect()
}

fn place_of(cpus: &Path, number: u32) -> CpuPlace {
    let dir = cpus.join(format!("cpu{number}"));
    let topology = |file: &str| {
        let text = fs::read_to_string(dir.join("topology").join(file)).ok()?;
        text.trim().parse().ok()
    };
    // A link to the node's description lies beside the topology.
    let numa_node = fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .flatten()
        .find_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("node")?
                .parse()
                .ok()
        });
    CpuPlace {
        number,
        core: topology("core_id").unwrap_or(number),
        package: topology("physical_package_id").unwrap_or(0),
        numa_node: numa_node.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_placed_by_its_description() {
        let place = tempfile::tempdir().expect("space");
        let dir = place.path().join("cpu5");
        fs::create_dir_all(dir.join("topology")).expect("space");
        fs::create_dir(dir.join("node1")).expect("space");
        fs::write(dir.join("topology/core_id"), "2\n").expect("space");
        fs::write(dir.join("topology/physical_package_id"), "1\n").expect("space");
        let expected = CpuPlace {
            number: 5,
            core: 2,
            package: 1,
            numa_node: 1,
        };
        assert_eq!(place_of(place.path(), 5), expected);
    }

    #[test]
    fn without_a_description_each_cpu_is_a_core() {
        let place = place_of(Path::new("/no/such/place"), 7);
        assert_eq!((place.core, place.package, place.numa_node), (7, 0, 0));
    }

    #[test]
    fn this_process_may_use_some() {
        assert!(!usable_cpus().is_empty());
    }
}
