//! Energy of the node's processors by RAPL, the counters below `/sys/class/powercap`.
//!
//! Most kernels let only root read them; then nothing is known.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the kernel shows the counters.
const POWERCAP: &str = "/sys/class/powercap";
/// Beginning of the names of whole processor packages, for example `intel-rapl:0`. AMD's are called
/// the same. What has a second colon is a part of one.
const PACKAGE: &str = "intel-rapl:";

/// Adds up what the processor packages used since the meter was made.
#[derive(Debug)]
pub struct EnergyMeter {
    packages: Vec<Package>,
}

/// The counter of one processor package.
#[derive(Debug)]
struct Package {
    dir: PathBuf,
    /// The counter begins again behind this, in µJ.
    range: u64,
    last: u64,
    used: u64,
}

impl EnergyMeter {
    /// Begins to count.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at(Path::new(POWERCAP))
    }

    fn start_at(root: &Path) -> Self {
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        let packages = entries
            .filter(|entry| {
                let name = entry.file_name();
                let number = name.to_str().and_then(|name| name.strip_prefix(PACKAGE));
                number.is_some_and(|number| !number.contains(':'))
            })
            .filter_map(|entry| {
                let dir = entry.path();
                Some(Package {
                    range: number(&dir.join("max_energy_range_uj"))?,
                    last: number(&dir.join("energy_uj"))?,
                    dir,
                    used: 0,
                })
            })
            .collect();
        Self { packages }
    }

    /// Returns the energy since the start in joules; none if there is no counter that can be read.
    ///
    /// A counter runs around in about an hour under full load, so it is to be looked at more often.
    pub fn joules(&mut self) -> Option<u64> {
        for package in &mut self.packages {
            if let Some(now) = number(&package.dir.join("energy_uj")) {
                package.used += difference(package.last, now, package.range);
                package.last = now;
            }
        }
        let used = self.packages.iter().map(|package| package.used);
        (!self.packages.is_empty()).then(|| used.sum::<u64>() / 1_000_000)
    }
}

/// Returns how far a counter went that begins again behind `range`.
const fn difference(earlier: u64, now: u64, range: u64) -> u64 {
    if now >= earlier {
        now - earlier
    } else {
        range.saturating_sub(earlier).saturating_add(now)
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(root: &Path, package: &str, joules: u64) {
        let dir = root.join(package);
        fs::create_dir_all(&dir).expect("space");
        fs::write(dir.join("max_energy_range_uj"), "262143000000\n").expect("space");
        let text = format!("{}\n", joules * 1_000_000);
        fs::write(dir.join("energy_uj"), text).expect("space");
    }

    #[test]
    fn packages_are_summed_and_their_parts_left_out() {
        let root = tempfile::tempdir().expect("space");
        for package in ["intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "other"] {
            set(root.path(), package, 1000);
        }
        let mut meter = EnergyMeter::start_at(root.path());
        assert_eq!(meter.joules(), Some(0));
        for package in ["intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "other"] {
            set(root.path(), package, 1250);
        }
        assert_eq!(meter.joules(), Some(500));
    }

    #[test]
    fn a_counter_that_begins_again_goes_on() {
        let root = tempfile::tempdir().expect("space");
        set(root.path(), "intel-rapl:0", 262_140);
        let mut meter = EnergyMeter::start_at(root.path());
        set(root.path(), "intel-rapl:0", 7);
        assert_eq!(meter.joules(), Some(10));
        set(root.path(), "intel-rapl:0", 8);
        assert_eq!(meter.joules(), Some(11));
    }

    #[test]
    fn without_counters_nothing_is_known() {
        assert_eq!(
            EnergyMeter::start_at(Path::new("/no/such/place")).joules(),
            None
        );
        assert_eq!(difference(10, 5, 3), 5);
    }
}
