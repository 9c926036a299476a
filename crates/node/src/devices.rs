//! Disks and network interfaces, as `/sys` describes them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ailurus_model::ByteCount;

/// The kernel counts the size of every disk in these, whatever its own blocks are, in bytes.
const SECTOR_BYTES: u64 = 512;
/// Beginnings of the names of block devices that are no disks.
const NO_DISKS: [&str; 6] = ["loop", "ram", "zram", "dm-", "md", "sr"];
/// The loopback interface.
const LOOPBACK: &str = "lo";

/// A network interface that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name, for example `eth0`.
    pub name: String,
    /// Its speed in Mbit/s, if it says one; virtual interfaces often do not.
    pub speed_mbit: Option<u32>,
}

/// What went through all interfaces of the node since it was booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkCounters {
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
}

impl NetworkCounters {
    /// Reads the counters of all interfaces, loopback included, as prmon does.
    #[must_use]
    pub fn read() -> Self {
        network_counters(Path::new("/sys"))
    }

    /// Returns what went through since `earlier`. A counter that fell, because an interface
    /// vanished, gives nothing.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            received_bytes: self.received_bytes.saturating_sub(earlier.received_bytes),
            received_packets: self
                .received_packets
                .saturating_sub(earlier.received_packets),
            sent_bytes: self.sent_bytes.saturating_sub(earlier.sent_bytes),
            sent_packets: self.sent_packets.saturating_sub(earlier.sent_packets),
        }
    }
}

/// Sums the sizes of all disks below `sys`.
pub(crate) fn disk_total(sys: &Path) -> ByteCount {
    below(&sys.join("block"))
        .filter(|(name, _)| !NO_DISKS.iter().any(|begin| name.starts_with(begin)))
        .filter_map(|(_, path)| number(&path.join("size")))
        .fold(ByteCount::ZERO, |sum, sectors| {
            sum.plus(ByteCount::from_bytes(sectors.saturating_mul(SECTOR_BYTES)))
        })
}

/// Lists the interfaces below `sys` that are up, by name.
pub(crate) fn interfaces(sys: &Path) -> Vec<Interface> {
    let mut found: Vec<Interface> = below(&sys.join("class/net"))
        .filter(|(name, path)| name != LOOPBACK && is_up(path))
        .map(|(name, path)| Interface {
            name,
            // An unknown speed is -1, or the file cannot be read.
            speed_mbit: number(&path.join("speed"))
                .and_then(|speed| u32::try_from(speed).ok())
                .filter(|speed| *speed > 0 && *speed != u32::MAX),
        })
        .collect();
    found.sort_by(|one, two| one.name.cmp(&two.name));
    found
}

fn network_counters(sys: &Path) -> NetworkCounters {
    let mut sum = NetworkCounters::default();
    for (_, path) in below(&sys.join("class/net")) {
        let counter = |name: &str| number(&path.join("statistics").join(name)).unwrap_or(0);
        sum.received_bytes += counter("rx_bytes");
        sum.received_packets += counter("rx_packets");
        sum.sent_bytes += counter("tx_bytes");
        sum.sent_packets += counter("tx_packets");
    }
    sum
}

fn is_up(interface: &Path) -> bool {
    fs::read_to_string(interface.join("operstate")).is_ok_and(|state| state.trim() == "up")
}

fn below(dir: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
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
    fn disks_are_summed_without_what_only_looks_like_one() {
        let sys = tempfile::tempdir().expect("space");
        write(sys.path(), "block/sda/size", "2048\n");
        write(sys.path(), "block/nvme0n1/size", "4096\n");
        write(sys.path(), "block/loop0/size", "999999\n");
        write(sys.path(), "block/dm-0/size", "999999\n");
        assert_eq!(disk_total(sys.path()), ByteCount::from_mib(3));
        assert_eq!(disk_total(Path::new("/no/such/place")), ByteCount::ZERO);
    }

    #[test]
    fn interfaces_that_are_up_have_a_speed_if_they_say_one() {
        let sys = tempfile::tempdir().expect("space");
        for (name, state, speed) in [
            ("eth0", "up", "10000\n"),
            ("tun0", "up", "-1\n"),
            ("eth1", "down", "1000\n"),
            ("lo", "up", "1\n"),
        ] {
            write(sys.path(), &format!("class/net/{name}/operstate"), state);
            write(sys.path(), &format!("class/net/{name}/speed"), speed);
        }
        let found = interfaces(sys.path());
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.name.as_str(), it.speed_mbit))
            .collect();
        assert_eq!(found, [("eth0", Some(10_000)), ("tun0", None)]);
    }

    #[test]
    fn network_counters_are_summed_and_never_run_backwards() {
        let sys = tempfile::tempdir().expect("space");
        for name in ["eth0", "lo"] {
            for (counter, value) in [("rx_bytes", "100"), ("tx_packets", "7")] {
                write(
                    sys.path(),
                    &format!("class/net/{name}/statistics/{counter}"),
                    value,
                );
            }
        }
        let seen = network_counters(sys.path());
        assert_eq!((seen.received_bytes, seen.sent_packets), (200, 14));
        assert_eq!(
            NetworkCounters::default().since(&seen),
            NetworkCounters::default()
        );
    }
}
