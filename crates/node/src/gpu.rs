//! GPUs of the node by `nvidia-smi`: which there are, and what the payload's processes use.
//!
//! The tool may be absent, hang on a broken card, or say what makes no sense. Each run has a time
//! limit; a tool that fails [`FAILURES_MAX`] times in a row is not asked again.

use std::{path::PathBuf, time::Duration};

use ailurus_model::ByteCount;
use ailurus_process::run_command;

/// The tool of NVIDIA's driver.
const TOOL: &str = "nvidia-smi";
/// Longest run of the tool. It answers in a second; a card that has fallen off makes it hang.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most output of the tool that is read, in bytes.
const OUTPUT_MAX: usize = 256 << 10;
/// Failed runs in a row after which the tool is given up.
pub const FAILURES_MAX: u32 = 3;
/// Most cards that a node is believed to have.
const CARDS_MAX: usize = 64;
/// Longest name of a card, in bytes.
const NAME_MAX: usize = 100;

/// Generations by a part of the card's name, the first that fits.
///
/// Source: Pilot 3, `pilot/util/workernode.py`, `get_gpu_architecture`.
const ARCHITECTURES: [(&str, &str); 10] = [
    ("K80", "Kepler"),
    ("P100", "Pascal"),
    ("V100", "Volta"),
    ("T4", "Turing"),
    ("A100", "Ampere"),
    ("L40", "Ada Lovelace"),
    ("RTX 6000", "Ada Lovelace"),
    ("GH200", "Grace Hopper"),
    ("H100", "Hopper"),
    ("B200", "Blackwell"),
];

/// One card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuCard {
    /// Its name, for example `NVIDIA A100-PCIE-40GB`.
    pub name: String,
    /// Its memory.
    pub memory: ByteCount,
    /// Version of its driver, empty if not said.
    pub driver: String,
    /// Largest clock of its processors in MHz, zero if not said.
    pub clock_mhz: u32,
}

impl GpuCard {
    /// Returns the generation of the card, `Unknown` if the name does not tell.
    #[must_use]
    pub fn architecture(&self) -> &'static str {
        ARCHITECTURES
            .iter()
            .find(|(part, _)| self.name.contains(part))
            .map_or("Unknown", |(_, architecture)| architecture)
    }
}

/// The GPUs of the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GpuFacts {
    /// All cards, in the tool's order.
    pub cards: Vec<GpuCard>,
    /// The CUDA version that the driver offers, empty if not said.
    pub cuda: String,
}

/// What the payload's processes use of all GPUs, in prmon's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GpuUse {
    /// Cards on which there is a process of the payload.
    pub n_gpus: u32,
    /// Sum of the shares of time in which the processes computed, in percent of one card.
    pub compute_percent: u32,
    /// Sum of the shares of time in which memory was read or written, in percent of one card.
    pub memory_percent: u32,
    /// Memory that the processes hold.
    pub memory: ByteCount,
}

/// Asks `nvidia-smi`.
#[derive(Debug)]
pub struct GpuTool {
    program: PathBuf,
    timeout: Duration,
    failures: u32,
}

impl GpuTool {
    /// Finds the tool in the directories of `path`, a list as in the variable `PATH`.
    #[must_use]
    pub fn find(path: &str) -> Option<Self> {
        let program = std::env::split_paths(path)
            .map(|dir| dir.join(TOOL))
            .find(|program| program.is_absolute() && program.is_file())?;
        Some(Self {
            program,
            timeout: TIMEOUT,
            failures: 0,
        })
    }

    /// Asks which cards there are; none if there is no answer or no card.
    pub fn facts(&mut self) -> Option<GpuFacts> {
        let fields = "--query-gpu=name,memory.total,driver_version,clocks.max.sm";
        let cards = parse_cards(&self.ask(&[fields, "--format=csv,noheader,nounits"])?);
        if cards.is_empty() {
            return None;
        }
        let cuda = self.ask(&[]).unwrap_or_default();
        Some(GpuFacts {
            cards,
            cuda: parse_cuda_version(&cuda).to_owned(),
        })
    }

    /// Asks what some processes use; none if there is no answer.
    pub fn use_of(&mut self, pids: &[i32]) -> Option<GpuUse> {
        let answer = self.ask(&["pmon", "-s", "um", "-c", "1"])?;
        parse_processes(&answer, pids)
    }

    /// Whether the tool still answers.
    #[must_use]
    pub const fn is_given_up(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    fn ask(&mut self, arguments: &[&str]) -> Option<String> {
        if self.is_given_up() {
            return None;
        }
        let mut argv = vec![self.program.as_os_str()];
        argv.extend(arguments.iter().map(std::ffi::OsStr::new));
        let answer = run_command(&argv, self.timeout, OUTPUT_MAX)
            .ok()
            .filter(|output| output.is_success());
        self.failures = if answer.is_some() {
            0
        } else {
            self.failures + 1
        };
        answer.map(|output| output.stdout_text())
    }
}

/// Reads the answer to the query for cards: name, memory in MiB, driver, clock.
#[must_use]
pub fn parse_cards(csv: &str) -> Vec<GpuCard> {
    csv.lines()
        .filter_map(|line| {
            let mut fields = line.split(',').map(str::trim);
            let name = clean(fields.next()?);
            let mib: u64 = fields.next()?.parse().ok()?;
            Some(GpuCard {
                name: (!name.is_empty()).then_some(name)?,
                memory: ByteCount::from_mib(mib.min(1 << 24)),
                driver: clean(fields.next().unwrap_or_default()),
                clock_mhz: fields.next().and_then(|it| it.parse().ok()).unwrap_or(0),
            })
        })
        .take(CARDS_MAX)
        .collect()
}

/// Finds the CUDA version in the tool's overview; empty if it says none.
#[must_use]
pub fn parse_cuda_version(overview: &str) -> &str {
    overview
        .split_once("CUDA Version:")
        .and_then(|(_, rest)| rest.split_ascii_whitespace().next())
        .filter(|version| version.starts_with(|it: char| it.is_ascii_digit()))
        .map_or("", |version| {
            version.get(..version.len().min(20)).unwrap_or("")
        })
}

/// Reads the table of processes, `nvidia-smi pmon -s um -c 1`, for some processes.
///
/// The columns differ from driver to driver, so they are found by the names in the first line; none
/// without such a line. A value that is not known is `-`.
#[must_use]
pub fn parse_processes(table: &str, pids: &[i32]) -> Option<GpuUse> {
    let header = table.lines().find_map(|line| {
        let names: Vec<&str> = line.strip_prefix('#')?.split_ascii_whitespace().collect();
        names.contains(&"pid").then_some(names)
    })?;
    let column = |name: &str| header.iter().position(|it| *it == name);
    let [gpu, pid, compute, memory, held] = ["gpu", "pid", "sm", "mem", "fb"].map(column);
    let mut cards = std::collections::BTreeSet::new();
    let mut sum = GpuUse::default();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |column: Option<usize>| -> Option<u32> { fields.get(column?)?.parse().ok() };
        let owner = number(pid).and_then(|pid| i32::try_from(pid).ok());
        if !owner.is_some_and(|owner| pids.contains(&owner)) {
            continue;
        }
        cards.extend(number(gpu));
        // No share of time is larger than all of it, whatever a broken counter says.
        sum.compute_percent += number(compute).unwrap_or(0).min(100);
        sum.memory_percent += number(memory).unwrap_or(0).min(100);
        let mib = u64::from(number(held).unwrap_or(0));
        sum.memory = sum.memory.plus(ByteCount::from_mib(mib));
    }
    sum.n_gpus = u32::try_from(cards.len()).unwrap_or(u32::MAX);
    Some(sum)
}

/// Cuts a text of the tool to what may stand in a report.
fn clean(text: &str) -> String {
    let text = text.replace(char::is_control, "");
    let text = text.trim();
    text[..text.floor_char_boundary(NAME_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::*;

    const PROCESSES: &str = "\
# gpu         pid   type     sm    mem    enc    dec    jpg    ofa     fb   ccpm    command
# Idx           #    C/G      %      %      %      %      %      %     MB     MB    name
    0       1729      C     84     40      -      -      -      -   1024      0    python
    0       1730      C      -      -      -      -      -      -    512      0    python
    1       1729      C     10      5      -      -      -      -     64      0    python
    2       4000      C     99     99      -      -      -      -   9999      0    other
    3          -      -      -      -      -      -      -      -      -      -    -
";

    fn tool(dir: &Path, script: &str) -> GpuTool {
        let path = dir.join(TOOL);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("space");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("own");
        GpuTool::find(dir.to_str().expect("text")).expect("there")
    }

    #[test]
    fn recorded_cards_are_read() {
        let csv = "NVIDIA A100-PCIE-40GB, 40960, 535.161.08, 1410\n\
                   NVIDIA GH200 480GB, 97871, 550.54.15, [N/A]\nNo devices were found\n, 1\n";
        let cards = parse_cards(csv);
        assert_eq!(cards.len(), 2);
        assert_eq!(cards[0].name, "NVIDIA A100-PCIE-40GB");
        assert_eq!(cards[0].memory, ByteCount::from_gib(40));
        assert_eq!(
            (cards[0].driver.as_str(), cards[0].clock_mhz),
            ("535.161.08", 1410)
        );
        assert_eq!(cards[0].architecture(), "Ampere");
        assert_eq!(
            (cards[1].architecture(), cards[1].clock_mhz),
            ("Grace Hopper", 0)
        );
    }

    #[test]
    fn the_cuda_version_stands_in_the_overview() {
        let line = "| NVIDIA-SMI 535.161.08  Driver Version: 535.161.08  CUDA Version: 12.2  |";
        assert_eq!(parse_cuda_version(line), "12.2");
        assert_eq!(parse_cuda_version("CUDA Version: N/A"), "");
        assert_eq!(parse_cuda_version(""), "");
    }

    #[test]
    fn only_the_payloads_processes_count() {
        let seen = parse_processes(PROCESSES, &[1729, 1730]).expect("a table");
        assert_eq!(
            seen,
            GpuUse {
                n_gpus: 2,
                compute_percent: 94,
                memory_percent: 45,
                memory: ByteCount::from_mib(1600),
            }
        );
        assert_eq!(parse_processes(PROCESSES, &[]), Some(GpuUse::default()));
    }

    #[test]
    fn a_table_of_an_older_driver_has_other_columns() {
        let table = "# gpu        pid  type    sm   mem   enc   dec    fb   command\n\
                     # Idx          #   C/G     %     %     %     %    MB   name\n\
                     \x20   0       7     C   300     -     -     -    10   x\n";
        let seen = parse_processes(table, &[7]).expect("a table");
        assert_eq!(
            (seen.compute_percent, seen.memory),
            (100, ByteCount::from_mib(10))
        );
        assert_eq!(parse_processes("Failed to initialize NVML\n", &[7]), None);
    }

    #[test]
    fn a_tool_that_answers_is_believed() {
        let dir = tempfile::tempdir().expect("space");
        let script = "case \"$1\" in
            --query-gpu*) echo 'Tesla T4, 15360, 470.1, 1590' ;;
            pmon) printf '# gpu pid sm mem fb\\n0 42 50 20 100\\n' ;;
            *) echo 'CUDA Version: 11.4' ;;
            esac";
        let mut tool = tool(dir.path(), script);
        let facts = tool.facts().expect("an answer");
        assert_eq!((facts.cards.len(), facts.cuda.as_str()), (1, "11.4"));
        assert_eq!(tool.use_of(&[42]).map(|it| it.compute_percent), Some(50));
    }

    #[test]
    fn a_tool_that_hangs_or_fails_is_given_up() {
        let dir = tempfile::tempdir().expect("space");
        let mut hanging = tool(dir.path(), "exec sleep 1000");
        hanging.timeout = Duration::from_millis(50);
        for _ in 0..FAILURES_MAX {
            assert!(!hanging.is_given_up());
            assert_eq!(hanging.facts(), None);
        }
        assert!(hanging.is_given_up());
        assert_eq!(hanging.use_of(&[1]), None);
        let mut failing = tool(dir.path(), "echo 'No devices were found'; exit 6");
        assert_eq!(failing.facts(), None);
    }

    #[test]
    fn an_absent_tool_is_not_found() {
        assert!(GpuTool::find("/no/such/place::relative").is_none());
    }
}
