//! Reads the texts of `/proc` that describe the node. Pure: a text goes in, numbers come out.
//!
//! [`crate::process_text`] reads those that describe a process.
//!
//! Nothing here panics on any text. What is missing is `None` or zero, as each function says.

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
    /// What the first processor can do, as `/proc/cpuinfo` lists it: `flags` of x86, `Features` of
    /// ARM; empty if it is not said.
    pub flags: String,
}

/// What each level of x86-64 adds, by the kernel's names. The first level is what every such
/// processor has.
///
/// Source: x86-64 psABI, table "Micro-Architecture Levels"; the kernel calls SSE3 `pni`, LZCNT `abm`.
const LEVELS: [(&str, &[&str]); 3] = [
    (
        "x86-64-v2",
        &[
            "cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3",
        ],
    ),
    (
        "x86-64-v3",
        &[
            "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave",
        ],
    ),
    (
        "x86-64-v4",
        &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
    ),
];

impl CpuInfo {
    /// Whether the first processor can do something, for example `avx2`.
    #[must_use]
    pub fn has_flag(&self, name: &str) -> bool {
        self.flags.split_ascii_whitespace().any(|flag| flag == name)
    }

    /// Whether this is a virtual machine, as far as it says so.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        self.has_flag("hypervisor")
    }

    /// Returns the level of x86-64 that programs may be compiled for, for example `x86-64-v3`;
    /// empty for other processors.
    #[must_use]
    pub fn architecture_level(&self) -> &'static str {
        // Long mode: without it this is no x86-64.
        if !self.has_flag("lm") {
            return "";
        }
        LEVELS
            .iter()
            .take_while(|(_, flags)| flags.iter().all(|flag| self.has_flag(flag)))
            .last()
            .map_or("x86-64-v1", |(level, _)| level)
    }

    /// Returns the logical processors of a core, at least 1.
    #[must_use]
    pub fn threads_per_core(&self) -> u32 {
        self.siblings
            .checked_div(self.cores_per_socket)
            .unwrap_or(1)
            .max(1)
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
            "flags" | "Features" if info.flags.is_empty() => value.clone_into(&mut info.flags),
            "siblings" => info.siblings = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    info.n_sockets = u32::try_from(packages.len()).unwrap_or(u32::MAX).max(1);
    info
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
    fn the_level_is_the_last_of_which_nothing_is_missing() {
        let level = |flags: &str| {
            let info = CpuInfo {
                flags: flags.into(),
                ..CpuInfo::default()
            };
            info.architecture_level()
        };
        let v2 = "lm cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3";
        let v3 = format!("{v2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave");
        assert_eq!(level(""), "");
        assert_eq!(level("lm sse2"), "x86-64-v1");
        assert_eq!(level(v2), "x86-64-v2");
        assert_eq!(level(&v3), "x86-64-v3");
        assert_eq!(level(&v3.replace(" fma", "")), "x86-64-v2");
        let v4 = format!("{v3} avx512f avx512bw avx512cd avx512dq avx512vl");
        assert_eq!(level(&v4), "x86-64-v4");
        assert_eq!(level(&v4.replace(" avx2", "")), "x86-64-v2");
    }

    #[test]
    fn threads_of_a_core_follow_from_the_package() {
        let info = |siblings, cores_per_socket| CpuInfo {
            siblings,
            cores_per_socket,
            ..CpuInfo::default()
        };
        assert_eq!(info(8, 4).threads_per_core(), 2);
        assert_eq!(info(4, 4).threads_per_core(), 1);
        assert_eq!(info(0, 0).threads_per_core(), 1);
    }
}
