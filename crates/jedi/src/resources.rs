//! What a task's jobs need, in PanDA's numbers and units.
//!
//! The main type is [`TaskResources`]. What one job needs is worked out by [`crate::estimate`].
//!
//! Source: PanDA server, `pandaserver/taskbuffer/JediTaskSpec.py`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Space that is added to a stated scratch size, bytes (`safetyMargin` of `getWorkDiskSize`).
const WORK_DISK_MARGIN: u64 = 300 << 20;
/// CPU efficiency of a task that states none, percent.
pub const CPU_EFFICIENCY_DEFAULT: u32 = 90;
/// Wall time before the first event of a task that states none, seconds.
pub const BASE_WALLTIME_DEFAULT_S: u64 = 600;
/// Memory of a task that states none, MB per core.
pub const RAM_DEFAULT_MB: u64 = 2000;

/// What jobs of a task need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResources {
    /// Cores (`coreCount`); 0 leaves it to the queue.
    pub cores: u32,
    /// Memory (`ramCount`) in MB, for each core or for the job as `ram_unit` says.
    pub ram_mb: u64,
    /// What `ram_mb` counts for.
    pub ram_unit: RamUnit,
    /// Memory that does not grow with cores (`baseRamCount`), MB.
    pub base_ram_mb: u64,
    /// CPU time in `cpu_time_unit` (`cpuTime`), 0 if not known.
    pub cpu_time: u64,
    /// What `cpu_time` counts in, if told (`cpuTimeUnit`).
    pub cpu_time_unit: Option<CpuTimeUnit>,
    /// Share of the wall time in which cores work, percent (`cpuEfficiency`); 0 takes walltime as unknown.
    pub cpu_efficiency_percent: u32,
    /// Wall time before the first event, seconds (`baseWalltime`).
    pub base_walltime_s: u64,
    /// Seconds for each MB of input (`walltime`); negative asks for no check of progress.
    pub walltime_s_per_mb: i64,
    /// PanDA's word for the unit of `walltime`, if told.
    pub walltime_unit: Option<String>,
    /// Output in `out_disk_unit` (`outDiskCount`).
    pub out_disk: u64,
    /// What `out_disk` counts in.
    pub out_disk_unit: OutDiskUnit,
    /// Scratch space besides input and output (`workDiskCount`) in `work_disk_unit`, if stated.
    pub work_disk: u64,
    /// What `work_disk` counts in.
    pub work_disk_unit: SizeUnit,
    /// Input and output speed (`ioIntensity`) in kB/s, 0 if not known.
    pub io_intensity: u64,
    /// PanDA's word for the unit of `io_intensity`.
    pub io_intensity_unit: Option<String>,
    /// Disk speed for each core (`diskIO`) in kB/s, 0 if not known.
    pub disk_io: u64,
}

/// What a number of MB of memory counts for (`ramUnit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RamUnit {
    /// The job.
    #[serde(rename = "MB")]
    Mb,
    /// Each core.
    #[serde(rename = "MBPerCore")]
    MbPerCore,
    /// Each core; scouts do not change it.
    #[serde(rename = "MBPerCoreFixed")]
    MbPerCoreFixed,
}

/// What CPU time counts in (`cpuTimeUnit`): HS06 seconds for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CpuTimeUnit {
    /// HS06 seconds.
    #[serde(rename = "HS06sPerEvent")]
    PerEvent,
    /// HS06 seconds; scouts do not change it.
    #[serde(rename = "HS06sPerEventFixed")]
    PerEventFixed,
    /// Thousandths of HS06 seconds.
    #[serde(rename = "mHS06sPerEvent")]
    MilliPerEvent,
    /// Thousandths of HS06 seconds; scouts do not change it.
    #[serde(rename = "mHS06sPerEventFixed")]
    MilliPerEventFixed,
}

/// A unit of sizes, in steps of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum SizeUnit {
    /// Bytes.
    #[serde(rename = "B")]
    Bytes,
    /// KiB.
    #[serde(rename = "kB")]
    Kib,
    /// MiB.
    #[default]
    #[serde(rename = "MB")]
    Mib,
    /// GiB.
    #[serde(rename = "GB")]
    Gib,
}

/// What an output size counts in and grows with (`outDiskUnit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutDiskUnit {
    /// Unit of the size.
    pub size: SizeUnit,
    /// What the output grows with.
    pub grows_with: GrowsWith,
    /// Whether scouts leave it as it is.
    pub is_fixed: bool,
}

/// What an output grows with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrowsWith {
    /// MiB of input.
    InputMib,
    /// Events.
    Events,
}

/// A word was no unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a unit of {kind}")]
pub struct ParseUnitError {
    /// What the unit is of.
    pub kind: &'static str,
    /// The word as it was given.
    pub value: String,
}

impl SizeUnit {
    /// Returns how many bytes the unit has.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Bytes => 1,
            Self::Kib => 1 << 10,
            Self::Mib => 1 << 20,
            Self::Gib => 1 << 30,
        }
    }

    /// Returns PanDA's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "B",
            Self::Kib => "kB",
            Self::Mib => "MB",
            Self::Gib => "GB",
        }
    }
}

impl RamUnit {
    /// Returns PanDA's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mb => "MB",
            Self::MbPerCore => "MBPerCore",
            Self::MbPerCoreFixed => "MBPerCoreFixed",
        }
    }

    /// Says whether the memory grows with cores.
    #[must_use]
    pub const fn is_per_core(self) -> bool {
        matches!(self, Self::MbPerCore | Self::MbPerCoreFixed)
    }
}

impl CpuTimeUnit {
    /// Returns PanDA's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PerEvent => "HS06sPerEvent",
            Self::PerEventFixed => "HS06sPerEventFixed",
            Self::MilliPerEvent => "mHS06sPerEvent",
            Self::MilliPerEventFixed => "mHS06sPerEventFixed",
        }
    }

    /// Says whether scouts leave the number as it is.
    #[must_use]
    pub const fn is_fixed(self) -> bool {
        matches!(self, Self::PerEventFixed | Self::MilliPerEventFixed)
    }
}

impl FromStr for SizeUnit {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" | "B" => Ok(Self::Bytes),
            "kB" | "KB" => Ok(Self::Kib),
            "MB" => Ok(Self::Mib),
            "GB" => Ok(Self::Gib),
            _ => Err(ParseUnitError {
                kind: "size",
                value: text.to_owned(),
            }),
        }
    }
}

impl FromStr for RamUnit {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" | "MB" => Ok(Self::Mb),
            "MBPerCore" => Ok(Self::MbPerCore),
            "MBPerCoreFixed" => Ok(Self::MbPerCoreFixed),
            _ => Err(ParseUnitError {
                kind: "memory",
                value: text.to_owned(),
            }),
        }
    }
}

impl FromStr for CpuTimeUnit {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "HS06sPerEvent" => Ok(Self::PerEvent),
            "HS06sPerEventFixed" => Ok(Self::PerEventFixed),
            "mHS06sPerEvent" => Ok(Self::MilliPerEvent),
            "mHS06sPerEventFixed" => Ok(Self::MilliPerEventFixed),
            _ => Err(ParseUnitError {
                kind: "CPU time",
                value: text.to_owned(),
            }),
        }
    }
}

impl Default for OutDiskUnit {
    fn default() -> Self {
        Self {
            size: SizeUnit::Kib,
            grows_with: GrowsWith::InputMib,
            is_fixed: false,
        }
    }
}

impl fmt::Display for OutDiskUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grows = match self.grows_with {
            GrowsWith::InputMib => "",
            GrowsWith::Events => "PerEvent",
        };
        let fixed = if self.is_fixed { "Fixed" } else { "" };
        write!(f, "{}{grows}{fixed}", self.size.as_str())
    }
}

impl FromStr for OutDiskUnit {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rest, is_fixed) = match text.strip_suffix("Fixed") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (size, grows_with) = match rest.strip_suffix("PerEvent") {
            Some(size) => (size, GrowsWith::Events),
            None => (
                rest.strip_suffix("PerMB").unwrap_or(rest),
                GrowsWith::InputMib,
            ),
        };
        Ok(Self {
            size: size.parse()?,
            grows_with,
            is_fixed,
        })
    }
}

impl Serialize for OutDiskUnit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OutDiskUnit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Default for TaskResources {
    fn default() -> Self {
        Self {
            cores: 1,
            ram_mb: RAM_DEFAULT_MB,
            ram_unit: RamUnit::MbPerCore,
            base_ram_mb: 0,
            cpu_time: 0,
            cpu_time_unit: None,
            cpu_efficiency_percent: CPU_EFFICIENCY_DEFAULT,
            base_walltime_s: BASE_WALLTIME_DEFAULT_S,
            walltime_s_per_mb: 0,
            walltime_unit: None,
            out_disk: 0,
            out_disk_unit: OutDiskUnit::default(),
            work_disk: 0,
            work_disk_unit: SizeUnit::default(),
            io_intensity: 0,
            io_intensity_unit: None,
            disk_io: 0,
        }
    }
}

impl TaskResources {
    /// Returns the CPU time of an event in thousandths of HS06 seconds, if it is known.
    #[must_use]
    pub fn milli_hs06s_per_event(&self) -> Option<u64> {
        if self.cpu_time == 0 {
            return None;
        }
        match self.cpu_time_unit? {
            CpuTimeUnit::PerEvent | CpuTimeUnit::PerEventFixed => {
                Some(self.cpu_time.saturating_mul(1000))
            }
            CpuTimeUnit::MilliPerEvent | CpuTimeUnit::MilliPerEventFixed => Some(self.cpu_time),
        }
    }

    /// Returns the bytes of output for each MiB of input or each event (`getOutDiskSize`).
    #[must_use]
    pub const fn out_bytes(&self) -> u64 {
        self.out_disk
            .saturating_mul(self.out_disk_unit.size.bytes())
    }

    /// Returns the bytes of scratch space besides input and output, with a margin (`getWorkDiskSize`).
    #[must_use]
    pub const fn work_bytes(&self) -> u64 {
        let stated = self.work_disk.saturating_mul(self.work_disk_unit.bytes());
        stated.saturating_add(WORK_DISK_MARGIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_units_are_read_and_written_back() {
        for text in ["kB", "kBPerEvent", "kBFixed", "MBPerEventFixed", "GB"] {
            let unit: OutDiskUnit = text.parse().expect("a unit");
            assert_eq!(unit.to_string(), text);
        }
        assert!("furlongs".parse::<OutDiskUnit>().is_err());
    }

    #[test]
    fn words_of_other_units_are_read_back() {
        for unit in [RamUnit::Mb, RamUnit::MbPerCore, RamUnit::MbPerCoreFixed] {
            assert_eq!(unit.as_str().parse(), Ok(unit));
        }
        for unit in [CpuTimeUnit::PerEvent, CpuTimeUnit::MilliPerEventFixed] {
            assert_eq!(unit.as_str().parse(), Ok(unit));
        }
    }

    #[test]
    fn scratch_space_has_a_margin_of_300_mib() {
        let resources = TaskResources {
            work_disk: 100,
            ..TaskResources::default()
        };
        assert_eq!(resources.work_bytes(), 400 << 20);
    }

    #[test]
    fn milli_units_are_a_thousandth() {
        let mut resources = TaskResources {
            cpu_time: 5,
            ..TaskResources::default()
        };
        assert_eq!(resources.milli_hs06s_per_event(), None);
        resources.cpu_time_unit = Some(CpuTimeUnit::PerEvent);
        assert_eq!(resources.milli_hs06s_per_event(), Some(5000));
        resources.cpu_time_unit = Some(CpuTimeUnit::MilliPerEvent);
        assert_eq!(resources.milli_hs06s_per_event(), Some(5));
    }
}
