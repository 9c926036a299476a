//! What a payload used, in the form of prmon's files: a table with a line a sample, and a summary.
//!
//! Programs find the table's columns by the names in its first line. Memory is in KiB, times are in
//! seconds, I/O is in bytes, and `Time` counts from 1970. The summary has `Max`, `Avg`, `HW` and
//! `prmon`; what prmon does not know stands below `ailurus`.
//!
//! Source: prmon 3.3.0, `package/src/prmon.cpp` and the monitors beside it.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use ailurus_model::{ByteCount, Timestamp, usage::UsageSample};
use serde_json::{Map, Value, json};

use super::GpuUse;

/// The table's name in the job's directory.
pub const TABLE_FILE: &str = "memory_monitor_output.txt";
/// The summary's name there.
pub const SUMMARY_FILE: &str = "memory_monitor_summary.json";
/// Part of both names, by which they are known as no sign of progress.
pub const FILES_PART: &str = "memory_monitor_";

/// How a column becomes `Max` and `Avg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It rises and falls: largest and mean value.
    Level,
    /// It only rises: last value, and value a second.
    Total,
    /// It only rises, and a rate makes no sense: last value.
    Time,
}

/// A column of the table.
#[derive(Debug, Clone, Copy)]
struct Column {
    name: &'static str,
    kind: Kind,
    value: fn(&Row) -> u64,
}

/// The columns after `Time`, in prmon's order of monitors and names.
const COLUMNS: [Column; 17] = [
    Column {
        name: "nprocs",
        kind: Kind::Level,
        value: |row| row.usage.n_processes.into(),
    },
    Column {
        name: "nthreads",
        kind: Kind::Level,
        value: |row| row.usage.n_threads.into(),
    },
    Column {
        name: "stime",
        kind: Kind::Time,
        value: |row| row.usage.cpu_system.as_secs(),
    },
    Column {
        name: "utime",
        kind: Kind::Time,
        value: |row| row.usage.cpu_user.as_secs(),
    },
    Column {
        name: "rchar",
        kind: Kind::Total,
        value: |row| row.usage.read_chars.as_bytes(),
    },
    Column {
        name: "read_bytes",
        kind: Kind::Total,
        value: |row| row.usage.read_bytes.as_bytes(),
    },
    Column {
        name: "wchar",
        kind: Kind::Total,
        value: |row| row.usage.write_chars.as_bytes(),
    },
    Column {
        name: "write_bytes",
        kind: Kind::Total,
        value: |row| row.usage.write_bytes.as_bytes(),
    },
    Column {
        name: "pss",
        kind: Kind::Level,
        value: |row| row.usage.pss.as_kib(),
    },
    Column {
        name: "rss",
        kind: Kind::Level,
        value: |row| row.usage.rss.as_kib(),
    },
    Column {
        name: "swap",
        kind: Kind::Level,
        value: |row| row.usage.swap.as_kib(),
    },
    Column {
        name: "vmem",
        kind: Kind::Level,
        value: |row| row.usage.vmem.as_kib(),
    },
    Column {
        name: "rx_bytes",
        kind: Kind::Total,
        value: |row| row.network.received_bytes,
    },
    Column {
        name: "rx_packets",
        kind: Kind::Total,
        value: |row| row.network.received_packets,
    },
    Column {
        name: "tx_bytes",
        kind: Kind::Total,
        value: |row| row.network.sent_bytes,
    },
    Column {
        name: "tx_packets",
        kind: Kind::Total,
        value: |row| row.network.sent_packets,
    },
    Column {
        name: "wtime",
        kind: Kind::Time,
        value: |row| row.wall.as_secs(),
    },
];
/// More columns where the node has GPUs.
const GPU_COLUMNS: [Column; 4] = [
    Column {
        name: "gpufbmem",
        kind: Kind::Level,
        value: |row| row.gpu.memory.as_kib(),
    },
    Column {
        name: "gpumempct",
        kind: Kind::Level,
        value: |row| row.gpu.memory_percent.into(),
    },
    Column {
        name: "gpusmpct",
        kind: Kind::Level,
        value: |row| row.gpu.compute_percent.into(),
    },
    Column {
        name: "ngpus",
        kind: Kind::Level,
        value: |row| row.gpu.n_gpus.into(),
    },
];

/// Whether the node has GPUs, and so the table columns for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuColumns {
    /// There are none.
    Without,
    /// There are some.
    With,
}

/// What went through the node's network interfaces since the payload's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkUse {
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// When it was measured.
    pub time: Timestamp,
    /// Time since the payload's start.
    pub wall: Duration,
    /// The payload's processes.
    pub usage: UsageSample,
    /// The network.
    pub network: NetworkUse,
    /// GPUs; all zero without any.
    pub gpu: GpuUse,
    /// What the node's processors used since the payload's start in joules, if known.
    pub energy_joules: Option<u64>,
}

/// The machine, for the summary's part `HW`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hardware {
    /// The processor's name.
    pub cpu_model: String,
    /// Logical processors.
    pub n_processors: u32,
    /// Packages.
    pub n_sockets: u32,
    /// Cores of a package.
    pub cores_per_socket: u32,
    /// Logical processors of a core.
    pub threads_per_core: u32,
    /// The node's memory.
    pub memory: ByteCount,
    /// Name, largest clock in MHz and memory of each GPU.
    pub gpus: Vec<(String, u32, ByteCount)>,
}

/// Makes table and summary of one payload.
#[derive(Debug, Clone)]
pub struct Prmon {
    columns: Vec<Column>,
    hardware: Value,
    version: String,
    sums: BTreeMap<&'static str, (u64, u128)>,
    n_rows: u32,
    last: Option<Row>,
}

impl Prmon {
    /// Begins a table. `version` is the program that measures.
    #[must_use]
    pub fn new(hardware: &Hardware, gpus: GpuColumns, version: &str) -> Self {
        let mut columns = COLUMNS.to_vec();
        if gpus == GpuColumns::With {
            columns.extend(GPU_COLUMNS);
        }
        Self {
            columns,
            hardware: hardware_json(hardware),
            version: version.to_owned(),
            sums: BTreeMap::new(),
            n_rows: 0,
            last: None,
        }
    }

    /// Returns the first line of the table.
    #[must_use]
    pub fn header(&self) -> String {
        let mut line = "Time".to_owned();
        for column in &self.columns {
            line.push('\t');
            line.push_str(column.name);
        }
        line.push('\n');
        line
    }

    /// Takes a row, and returns its line.
    pub fn add(&mut self, row: &Row) -> String {
        self.n_rows += 1;
        self.last = Some(*row);
        let mut line = row.time.as_secs().to_string();
        for column in &self.columns {
            let value = (column.value)(row);
            // Writing to a text cannot fail.
            let _ = write!(line, "\t{value}");
            let (max, sum) = self.sums.entry(column.name).or_default();
            *max = (*max).max(value);
            *sum += u128::from(value);
        }
        line.push('\n');
        line
    }

    /// Takes how long the payload ran in all, and its CPU time as the system counted it at the end,
    /// which no row shows. What that is more than the rows say counts as user time.
    pub fn end(&mut self, wall: Duration, cpu: Option<Duration>) {
        let system = self.sums.get("stime").map_or(0, |(max, _)| *max);
        let mut raise = |name: &'static str, value: u64| {
            let (max, _) = self.sums.entry(name).or_default();
            *max = (*max).max(value);
        };
        raise("wtime", wall.as_secs());
        if let Some(cpu) = cpu {
            raise("utime", cpu.as_secs().saturating_sub(system));
        }
    }

    /// Returns the summary of all rows so far; none without any.
    #[must_use]
    pub fn summary(&self) -> Option<String> {
        let last = self.last.as_ref()?;
        let (mut max, mut mean) = (Map::new(), Map::new());
        let wall = self.sums.get("wtime").map_or(0, |(max, _)| *max).max(1);
        for Column { name, kind, .. } in &self.columns {
            let (largest, sum) = self.sums.get(name).copied().unwrap_or_default();
            max.insert((*name).to_owned(), largest.into());
            let part = match kind {
                Kind::Level => quotient(sum, u64::from(self.n_rows)),
                Kind::Total => quotient(u128::from(largest), wall),
                Kind::Time => continue,
            };
            mean.insert((*name).to_owned(), part);
        }
        let mut own = Map::new();
        if let Some(joules) = last.energy_joules {
            own.insert("energy_j".to_owned(), joules.into());
        }
        own.insert("n_samples".to_owned(), self.n_rows.into());
        let summary = json!({
            "Max": max,
            "Avg": mean,
            "HW": self.hardware,
            "prmon": { "Version": self.version },
            "ailurus": own,
        });
        Some(format!("{summary:#}\n"))
    }
}

/// A mean with three decimals, or without if it is large: prmon's precision.
fn quotient(sum: u128, count: u64) -> Value {
    const PRECISION: u128 = 1000;
    let count = u128::from(count.max(1));
    let whole = sum / count;
    let thousandths = (sum % count) * PRECISION / count;
    if whole > PRECISION || thousandths == 0 {
        return u64::try_from(whole).unwrap_or(u64::MAX).into();
    }
    let text = format!("{whole}.{thousandths:03}");
    text.parse::<f64>().map_or(Value::Null, Value::from)
}

fn hardware_json(hardware: &Hardware) -> Value {
    let mut parts = json!({
        "cpu": {
            "ModelName": hardware.cpu_model,
            "CPUs": hardware.n_processors,
            "Sockets": hardware.n_sockets,
            "CoresPerSocket": hardware.cores_per_socket,
            "ThreadsPerCore": hardware.threads_per_core,
        },
        "mem": { "MemTotal": hardware.memory.as_kib() },
    });
    if !hardware.gpus.is_empty() {
        let mut gpus = Map::new();
        gpus.insert("nGPU".to_owned(), hardware.gpus.len().into());
        for (nr, (name, clock, memory)) in hardware.gpus.iter().enumerate() {
            let card = json!({
                "name": name,
                "sm_freq": clock,
                "total_mem": memory.as_kib(),
            });
            gpus.insert(format!("gpu_{nr}"), card);
        }
        parts["gpu"] = gpus.into();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(second: u64, pss_kib: u64) -> Row {
        Row {
            time: Timestamp::from_millis(i64::try_from(second * 1000).expect("small")),
            wall: Duration::from_secs(second),
            usage: UsageSample {
                pss: ByteCount::from_kib(pss_kib),
                rss: ByteCount::from_kib(2 * pss_kib),
                cpu_user: Duration::from_millis(1900 * second),
                read_chars: ByteCount::from_bytes(10 * second),
                n_processes: 3,
                n_threads: 8,
                ..UsageSample::default()
            },
            network: NetworkUse {
                received_bytes: 7,
                ..NetworkUse::default()
            },
            gpu: GpuUse {
                n_gpus: 1,
                ..GpuUse::default()
            },
            energy_joules: Some(50),
        }
    }

    fn hardware() -> Hardware {
        Hardware {
            cpu_model: "Xeon".into(),
            n_processors: 8,
            n_sockets: 1,
            cores_per_socket: 4,
            threads_per_core: 2,
            memory: ByteCount::from_gib(1),
            gpus: vec![("Tesla T4".into(), 1590, ByteCount::from_gib(15))],
        }
    }

    #[test]
    fn the_table_has_prmons_columns() {
        let mut prmon = Prmon::new(&Hardware::default(), GpuColumns::Without, "x");
        assert_eq!(
            prmon.header(),
            "Time\tnprocs\tnthreads\tstime\tutime\trchar\tread_bytes\twchar\twrite_bytes\tpss\trss\
             \tswap\tvmem\trx_bytes\trx_packets\ttx_bytes\ttx_packets\twtime\n"
        );
        assert_eq!(
            prmon.add(&row(10, 100)),
            "10\t3\t8\t0\t19\t100\t0\t0\t0\t100\t200\t0\t0\t7\t0\t0\t0\t10\n"
        );
    }

    #[test]
    fn every_column_has_a_value() {
        let mut prmon = Prmon::new(&hardware(), GpuColumns::With, "x");
        let line = prmon.add(&row(1, 1));
        let n_columns = prmon.header().split('\t').count();
        assert_eq!(line.split('\t').count(), n_columns);
        assert!(line.ends_with("\t1\n"), "{line}");
    }

    #[test]
    fn the_summary_has_what_pilots_and_people_read() {
        let mut prmon = Prmon::new(&hardware(), GpuColumns::With, "ailurus-pilot 1");
        assert_eq!(prmon.summary(), None);
        prmon.add(&row(10, 100));
        prmon.add(&row(20, 401));
        prmon.end(Duration::from_secs(25), Some(Duration::from_secs(90)));
        let text = prmon.summary().expect("two rows");
        let summary: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(summary["Max"]["pss"], 401);
        assert_eq!(summary["Avg"]["pss"], 250.5);
        assert_eq!(summary["Avg"]["rss"], 501);
        assert_eq!(
            (&summary["Max"]["utime"], &summary["Max"]["wtime"]),
            (&json!(90), &json!(25))
        );
        assert_eq!(
            (&summary["Max"]["rchar"], &summary["Avg"]["rchar"]),
            (&json!(200), &json!(8))
        );
        assert!(summary["Avg"].get("utime").is_none());
        assert_eq!(summary["HW"]["cpu"]["CoresPerSocket"], 4);
        assert_eq!(summary["HW"]["mem"]["MemTotal"], 1_048_576);
        assert_eq!(summary["HW"]["gpu"]["gpu_0"]["name"], "Tesla T4");
        assert_eq!(summary["HW"]["gpu"]["nGPU"], 1);
        assert_eq!(summary["prmon"]["Version"], "ailurus-pilot 1");
        assert_eq!(summary["ailurus"]["energy_j"], 50);
    }

    #[test]
    fn means_have_prmons_precision() {
        assert_eq!(quotient(10, 4), json!(2.5));
        assert_eq!(quotient(10, 5), json!(2));
        assert_eq!(quotient(1, 3), json!(0.333));
        assert_eq!(quotient(300_001, 100), json!(3000));
        assert_eq!(quotient(5, 0), json!(5));
    }
}
