//! Reads the texts of `/proc` and `/sys`. Pure: a text goes in, numbers come out.
//!
//! Nothing here panics on any text. What is missing is `None` or zero, as each function says.

/// The fields of `/proc/<pid>/stat` that a sample needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatLine {
    /// One letter; `Z` and `X` are processes that have ended.
    pub state: char,
    /// The parent's number.
    pub parent: i32,
    /// User CPU time in clock ticks.
    pub user_ticks: u64,
    /// System CPU time in clock ticks.
    pub system_ticks: u64,
    /// User CPU time of ended children that were waited for, in clock ticks.
    pub children_user_ticks: u64,
    /// System CPU time of the same, in clock ticks.
    pub children_system_ticks: u64,
    /// Threads.
    pub n_threads: u32,
    /// Virtual memory in bytes.
    pub vmem_bytes: u64,
    /// Resident memory in pages.
    pub rss_pages: u64,
}

/// Memory of a process by `/proc/<pid>/smaps_rollup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRollup {
    /// Proportional resident memory in KiB.
    pub pss_kib: u64,
    /// Memory in swap in KiB.
    pub swap_kib: u64,
}

/// The counters of `/proc/<pid>/io`, all in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IoCounters {
    /// Read by system calls.
    pub read_chars: u64,
    /// Written by system calls.
    pub write_chars: u64,
    /// Read from storage.
    pub read_bytes: u64,
    /// Written to storage.
    pub write_bytes: u64,
}

/// What `/proc/cpuinfo` says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CpuInfo {
    /// `model name` of the first processor, empty if there is none.
    pub model: String,
    /// `cache size` of the first processor, for example `36608 KB`, empty if there is none.
    pub cache: String,
    /// Clock of the first processor in MHz, zero if it is not said.
    pub mhz: f64,
    /// Logical processors.
    pub n_processors: u32,
    /// Processor packages, at least 1.
    pub n_sockets: u32,
    /// Cores of a package, zero if it is not said.
    pub cores_per_socket: u32,
    /// Logical processors of a package, zero if it is not said.
    pub siblings: u32,
}

/// Reads `/proc/<pid>/stat`.
///
/// The name stands in parentheses and may itself hold parentheses, blanks and line ends, so fields
/// are counted from the last closing one.
#[must_use]
pub fn parse_stat(text: &str) -> Option<StatLine> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(22).collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(StatLine {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        user_ticks: number(11)?,
        system_ticks: number(12)?,
        // Signed in the kernel's format.
        children_user_ticks: number(13).unwrap_or(0),
        children_system_ticks: number(14).unwrap_or(0),
        n_threads: fields.get(17)?.parse().unwrap_or(0),
        vmem_bytes: number(20)?,
        rss_pages: number(21).unwrap_or(0),
    })
}

/// Reads `/proc/<pid>/smaps_rollup`; none if it has no proportional size.
#[must_use]
pub fn parse_smaps_rollup(text: &str) -> Option<MemoryRollup> {
    Some(MemoryRollup {
        pss_kib: field(text, "Pss:")?,
        swap_kib: field(text, "SwapPss:")
            .or_else(|| field(text, "Swap:"))
            .unwrap_or(0),
    })
}

/// Reads the swapped memory out of `/proc/<pid>/status`, in KiB; zero if it is not said.
#[must_use]
pub fn parse_status_swap(text: &str) -> u64 {
    field(text, "VmSwap:").unwrap_or(0)
}

/// Reads `/proc/<pid>/io`; what is missing is zero.
#[must_use]
pub fn parse_io(text: &str) -> IoCounters {
    let counter = |name| field(text, name).unwrap_or(0);
    IoCounters {
        read_chars: counter("rchar:"),
        write_chars: counter("wchar:"),
        read_bytes: counter("read_bytes:"),
        write_bytes: counter("write_bytes:"),
    }
}

/// Reads a line such as `MemTotal:  16384 kB` out of `/proc/meminfo`, in KiB.
#[must_use]
pub fn parse_meminfo(text: &str, name: &str) -> Option<u64> {
    field(text, name)
}

/// Reads `/proc/cpuinfo` of x86 and, as far as it goes, of other processors.
#[must_use]
pub fn parse_cpuinfo(text: &str) -> CpuInfo {
    let mut info = CpuInfo::default();
    let mut packages = std::collections::BTreeSet::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match name.trim() {
            "processor" => info.n_processors += 1,
            "model name" if info.model.is_empty() => value.clone_into(&mut info.model),
            "cache size" if info.cache.is_empty() => value.clone_into(&mut info.cache),
            "cpu MHz" if info.mhz == 0.0 => {
                info.mhz = value
                    .parse()
                    .ok()
                    .filter(|it: &f64| it.is_finite())
                    .unwrap_or(0.0);
            }
            "physical id" => {
                packages.insert(value);
            }
            "cpu cores" => info.cores_per_socket = value.parse().unwrap_or(0),
            "siblings" => info.siblings = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    info.n_sockets = u32::try_from(packages.len()).unwrap_or(u32::MAX).max(1);
    info
}

/// Returns the path of this process in the unified hierarchy, out of `/proc/self/cgroup`.
#[must_use]
pub fn parse_cgroup_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Reads `cpu.max` of a cgroup: the cores that it may use, none if there is no limit.
#[must_use]
pub fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// Reads `memory.max` of a cgroup in bytes, none if there is no limit.
#[must_use]
pub fn parse_memory_max(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Returns the number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(name)?;
        value.split_ascii_whitespace().next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4711 (sh) S 4700 4711 4700 34816 4711 4194304 1432 98765 0 3 120 45 6789 \
        321 20 0 3 0 123456 10485760 512 18446744073709551615 1 1 0 0 0 0 0 4096 65538 0 0 0 17 1 0 0";

    #[test]
    fn a_recorded_stat_line_is_read() {
        assert_eq!(
            parse_stat(STAT),
            Some(StatLine {
                state: 'S',
                parent: 4700,
                user_ticks: 120,
                system_ticks: 45,
                children_user_ticks: 6789,
                children_system_ticks: 321,
                n_threads: 3,
                vmem_bytes: 10_485_760,
                rss_pages: 512,
            })
        );
    }

    #[test]
    fn odd_names_do_not_shift_the_fields() {
        for name in ["a b", ") R 1 2 (", "(((", "tab\tline\n) S", "кот", ""] {
            let text = STAT.replacen("(sh)", &format!("({name})"), 1);
            assert_eq!(parse_stat(&text), parse_stat(STAT), "{name}");
        }
    }

    #[test]
    fn a_cut_stat_line_is_nothing() {
        for length in 0..STAT.find("512").expect("there") {
            let cut = &STAT[..length];
            assert!(parse_stat(cut).is_none_or(|it| it.rss_pages == 0), "{cut}");
        }
    }

    #[test]
    fn a_recorded_rollup_is_read() {
        let text = "55a0000-7ffd000 ---p 00000000 00:00 0  [rollup]\n\
            Rss:                3516 kB\nPss:                1234 kB\nPss_Anon:  96 kB\n\
            Swap:                 40 kB\nSwapPss:              20 kB\nLocked: 0 kB\n";
        assert_eq!(
            parse_smaps_rollup(text),
            Some(MemoryRollup {
                pss_kib: 1234,
                swap_kib: 20
            })
        );
        assert_eq!(parse_smaps_rollup(""), None);
    }

    #[test]
    fn recorded_io_counters_are_read() {
        let text = "rchar: 323934931\nwchar: 323929600\nsyscr: 632687\nsyscw: 632675\n\
            read_bytes: 4096\nwrite_bytes: 323932160\ncancelled_write_bytes: 0\n";
        let io = parse_io(text);
        assert_eq!((io.read_chars, io.write_chars), (323_934_931, 323_929_600));
        assert_eq!((io.read_bytes, io.write_bytes), (4096, 323_932_160));
        assert_eq!(parse_io("rchar: none"), IoCounters::default());
    }

    #[test]
    fn a_recorded_processor_is_read() {
        let one = |nr: u32, package: u32| {
            format!(
                "processor\t: {nr}\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Gold \
                 6338 CPU @ 2.00GHz\ncpu MHz\t\t: 2000.127\ncache size\t: 49152 KB\nphysical id\t: \
                 {package}\nsiblings\t: 4\ncpu cores\t: 2\nflags\t\t: fpu avx2\n\n"
            )
        };
        let text: String = (0..8).map(|nr| one(nr, nr / 4)).collect();
        let info = parse_cpuinfo(&text);
        assert_eq!(info.model, "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz");
        assert_eq!(info.cache, "49152 KB");
        assert!((info.mhz - 2000.127).abs() < 1e-6);
        assert_eq!((info.n_processors, info.n_sockets), (8, 2));
        assert_eq!((info.cores_per_socket, info.siblings), (2, 4));
    }

    #[test]
    fn a_processor_that_says_little_is_read_too() {
        let info = parse_cpuinfo("processor\t: 0\nBogoMIPS\t: 243.75\nCPU part\t: 0xd0c\n");
        assert_eq!((info.n_processors, info.n_sockets), (1, 1));
        assert!(info.model.is_empty());
    }

    #[test]
    fn cgroup_limits_are_read() {
        assert_eq!(parse_cpu_max("150000 100000\n"), Some(1.5));
        assert_eq!(parse_cpu_max("max 100000\n"), None);
        assert_eq!(parse_memory_max("2147483648\n"), Some(1 << 31));
        assert_eq!(parse_memory_max("max\n"), None);
        assert_eq!(
            parse_cgroup_path("1:cpu:/x\n0::/slurm/job_17\n"),
            Some("/slurm/job_17")
        );
    }
}
