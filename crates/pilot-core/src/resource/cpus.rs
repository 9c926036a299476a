//! In which order CPUs are handed out, so that payloads do not get into each other's way.

/// Where a CPU is in the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu {
    /// The kernel's number of it: a thread of a core.
    pub number: u32,
    /// Its core within the package.
    pub core: u32,
    /// The package (socket) of the core.
    pub package: u32,
    /// The memory that is near (NUMA node).
    pub numa_node: u32,
}

/// Returns the numbers of the CPUs in the order in which they are to be handed out.
///
/// A payload gets neighbours in this order: the threads of one core, then cores that share memory,
/// then those of the same package. So two payloads share a core or a NUMA node only where it cannot
/// be helped, whatever numbers the kernel has given to threads and sockets.
#[must_use]
pub fn in_order(cpus: &[Cpu]) -> Vec<u32> {
    let mut sorted = cpus.to_vec();
    sorted.sort_unstable_by_key(|cpu| (cpu.package, cpu.numa_node, cpu.core, cpu.number));
    sorted.dedup_by_key(|cpu| cpu.number);
    sorted.into_iter().map(|cpu| cpu.number).collect()
}

/// Returns the numbers behind positions in the order; none if one is beyond it, because then the
/// payload would get less than it was allotted.
#[must_use]
pub fn at_positions(order: &[u32], positions: &[u32]) -> Vec<u32> {
    let number = |position: &u32| order.get(usize::try_from(*position).ok()?).copied();
    let numbers: Option<Vec<u32>> = positions.iter().map(number).collect();
    numbers.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two packages with two cores of two threads, numbered as Linux does on x86: first one thread
    /// of every core, packages in turn, then the second threads.
    fn node() -> Vec<Cpu> {
        (0..8)
            .map(|number| Cpu {
                number,
                core: number / 2 % 2,
                package: number % 2,
                numa_node: number % 2,
            })
            .collect()
    }

    #[test]
    fn threads_of_a_core_stand_together_and_cores_of_a_package() {
        assert_eq!(in_order(&node()), [0, 4, 2, 6, 1, 5, 3, 7]);
    }

    #[test]
    fn payloads_of_two_cores_each_get_whole_cores_near_one_memory() {
        let (node, order) = (node(), in_order(&node()));
        for pair in order.chunks(2) {
            let cpu = |number: u32| node.iter().find(|it| it.number == number).expect("there");
            let (first, second) = (cpu(pair[0]), cpu(pair[1]));
            assert_eq!(
                (first.core, first.numa_node),
                (second.core, second.numa_node)
            );
        }
    }

    #[test]
    fn several_numa_nodes_of_one_package_stay_apart() {
        let cpu = |number, numa_node| Cpu {
            number,
            core: number,
            package: 0,
            numa_node,
        };
        let cpus = [cpu(0, 0), cpu(1, 1), cpu(2, 0), cpu(3, 1)];
        assert_eq!(in_order(&cpus), [0, 2, 1, 3]);
    }

    #[test]
    fn a_position_beyond_the_order_binds_to_nothing() {
        assert_eq!(at_positions(&[4, 7], &[1, 0]), [7, 4]);
        assert!(at_positions(&[4, 7], &[1, 2]).is_empty());
        assert!(at_positions(&[], &[]).is_empty());
    }
}
