//! Measures the processes of one payload, in one pass over `/proc`.
//!
//! Everything but proportional memory is read from one short text a process. Proportional memory
//! makes the kernel walk over the process's page tables, so it is looked at less often, the more
//! rarely the longer it takes, and earlier when resident memory grew; in between the last value
//! stands. A payload that has a control group of version 2 for itself is asked for its memory there,
//! which is cheap and exact.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ailurus_model::{ByteCount, usage::UsageSample};

use crate::{
    cgroup::{CGROUP_ROOT, GroupUse, group_use, own_group},
    proc_reader::ProcReader,
    process_text::{
        IoCounters, StatLine, parse_io, parse_smaps_rollup, parse_stat, parse_status_swap,
    },
};

/// Time between two looks at proportional memory, as between two of prmon's under Pilot 3.
const PROPORTIONAL_PERIOD: Duration = Duration::from_secs(60);
/// Such a look may take one part in this many of the time until the next.
const PROPORTIONAL_SHARE: u32 = 200;
/// Resident memory that grew by this part since is a reason to look again earlier.
const GROWTH_DIVISOR: u64 = 8;
/// An earlier look may take one part in this many of the time since the last.
const EARLY_SHARE: u32 = 20;

/// Measures one process and all of its descendants again and again.
///
/// The process, a payload's first, adopts every orphan of the payload, so nothing is lost. Memory of
/// ended processes is none.
#[derive(Debug)]
pub struct Sampler {
    root: i32,
    reader: ProcReader,
    /// All processes of the system by number; kept for its room.
    stats: BTreeMap<i32, StatLine>,
    pids: Vec<i32>,
    tree: Vec<i32>,
    proportional: Proportional,
    group: Group,
    last_group_use: Option<GroupUse>,
    /// Totals never fall, also when a process ends whose parent does not wait for it.
    highest: UsageSample,
    page_bytes: u64,
    ticks_per_second: u64,
}

/// The payload's control group.
#[derive(Debug)]
enum Group {
    /// Looked for when there is a process.
    Unknown,
    /// It has none for itself.
    None,
    /// Its directory.
    Own(PathBuf),
}

/// The last look at proportional memory.
#[derive(Debug, Default)]
struct Proportional {
    looked: Option<Instant>,
    took: Duration,
    rss: ByteCount,
    pss: ByteCount,
    swap: ByteCount,
}

impl Sampler {
    /// Makes a sampler for `root` and its descendants.
    #[must_use]
    pub fn of_tree(root: u32) -> Self {
        Self {
            root: i32::try_from(root).unwrap_or(i32::MAX),
            reader: ProcReader::new("/proc"),
            stats: BTreeMap::new(),
            pids: Vec::new(),
            tree: Vec::new(),
            proportional: Proportional::default(),
            group: Group::Unknown,
            last_group_use: None,
            highest: UsageSample::default(),
            page_bytes: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
        }
    }

    /// Takes a sample; none if the root process is gone.
    ///
    /// CPU time and I/O are totals since the payload's start. Processes that end meanwhile are
    /// counted as far as they were seen. Where proportional memory may not be read, for processes
    /// of another account, resident memory stands for it.
    pub fn sample(&mut self) -> Option<UsageSample> {
        self.read_stats();
        if !self.stats.contains_key(&self.root) {
            return None;
        }
        collect_tree(self.root, &self.stats, &mut self.tree);
        let tree = std::mem::take(&mut self.tree);
        let mut sample = UsageSample::default();
        let (mut user_ticks, mut system_ticks) = (0, 0);
        for pid in &tree {
            let stat = self.stats[pid];
            user_ticks += stat.user_ticks + stat.children_user_ticks;
            system_ticks += stat.system_ticks + stat.children_system_ticks;
            self.add_io(*pid, &mut sample);
            if stat.is_alive() {
                let rss = ByteCount::from_bytes(stat.rss_pages.saturating_mul(self.page_bytes));
                sample.rss = sample.rss.plus(rss);
                sample.vmem = sample.vmem.plus(ByteCount::from_bytes(stat.vmem_bytes));
                sample.n_processes += 1;
                sample.n_threads += stat.n_threads;
            }
        }
        sample.cpu_user = self.duration(user_ticks);
        sample.cpu_system = self.duration(system_ticks);
        self.look_at_group(&tree);
        if let Some(group) = self.last_group_use {
            (sample.pss, sample.swap) = (group.memory.min(sample.rss), group.swap);
            sample.cpu_user = sample.cpu_user.max(group.cpu_user);
            sample.cpu_system = sample.cpu_system.max(group.cpu_system);
        } else {
            (sample.pss, sample.swap) = self.proportional(sample.rss, &tree);
        }
        self.tree = tree;
        self.keep_totals(&mut sample);
        Some(sample)
    }

    /// The processes of the last sample.
    #[must_use]
    pub fn processes(&self) -> &[i32] {
        &self.tree
    }

    /// What the payload's control group said at the last sample, if it has one for itself.
    #[must_use]
    pub const fn group_use(&self) -> Option<GroupUse> {
        self.last_group_use
    }

    fn read_stats(&mut self) {
        self.reader.pids(&mut self.pids);
        self.stats.clear();
        for pid in &self.pids {
            if let Some(stat) = self.reader.read(*pid, "stat").and_then(parse_stat) {
                self.stats.insert(*pid, stat);
            }
        }
    }

    fn look_at_group(&mut self, tree: &[i32]) {
        if matches!(self.group, Group::Unknown)
            && let Some(first) = tree.first()
        {
            self.group = self.find_group(*first).map_or(Group::None, Group::Own);
        }
        if let Group::Own(path) = &self.group {
            self.last_group_use = group_use(path);
        }
    }

    fn find_group(&mut self, pid: i32) -> Option<PathBuf> {
        let of_payload = self.reader.read(pid, "cgroup")?;
        let of_payload = String::from_utf8_lossy(of_payload).into_owned();
        let of_pilot = fs::read_to_string("/proc/self/cgroup").ok()?;
        own_group(Path::new(CGROUP_ROOT), &of_payload, &of_pilot)
    }

    /// Returns proportional and swapped memory: measured, or what the last look gave.
    fn proportional(&mut self, rss: ByteCount, tree: &[i32]) -> (ByteCount, ByteCount) {
        let begin = Instant::now();
        if self.proportional.is_due(begin, rss) {
            let (pss, swap) = self.measure_proportional(tree);
            self.proportional = Proportional {
                looked: Some(begin),
                took: begin.elapsed(),
                rss,
                pss,
                swap,
            };
        }
        self.proportional.at_most(rss)
    }

    fn measure_proportional(&mut self, tree: &[i32]) -> (ByteCount, ByteCount) {
        let (mut pss, mut swap) = (ByteCount::ZERO, ByteCount::ZERO);
        for pid in tree {
            let stat = self.stats[pid];
            if !stat.is_alive() {
                continue;
            }
            let rollup = self
                .reader
                .read(*pid, "smaps_rollup")
                .and_then(parse_smaps_rollup);
            let (of_process, swapped) = match rollup {
                Some(rollup) => (ByteCount::from_kib(rollup.pss_kib), rollup.swap_kib),
                None => (
                    ByteCount::from_bytes(stat.rss_pages.saturating_mul(self.page_bytes)),
                    self.reader
                        .read(*pid, "status")
                        .map_or(0, parse_status_swap),
                ),
            };
            pss = pss.plus(of_process);
            swap = swap.plus(ByteCount::from_kib(swapped));
        }
        (pss, swap)
    }

    /// Adds a process's I/O, to which the kernel adds that of its ended children.
    fn add_io(&mut self, pid: i32, sample: &mut UsageSample) {
        let io = self
            .reader
            .read(pid, "io")
            .map_or_else(IoCounters::default, parse_io);
        let add = |total: &mut ByteCount, bytes| *total = total.plus(ByteCount::from_bytes(bytes));
        add(&mut sample.read_chars, io.read_chars);
        add(&mut sample.write_chars, io.write_chars);
        add(&mut sample.read_bytes, io.read_bytes);
        add(&mut sample.write_bytes, io.write_bytes);
    }

    fn keep_totals(&mut self, sample: &mut UsageSample) {
        let highest = &self.highest;
        sample.cpu_user = sample.cpu_user.max(highest.cpu_user);
        sample.cpu_system = sample.cpu_system.max(highest.cpu_system);
        sample.read_chars = sample.read_chars.max(highest.read_chars);
        sample.write_chars = sample.write_chars.max(highest.write_chars);
        sample.read_bytes = sample.read_bytes.max(highest.read_bytes);
        sample.write_bytes = sample.write_bytes.max(highest.write_bytes);
        self.highest = *sample;
    }

    fn duration(&self, ticks: u64) -> Duration {
        Duration::from_millis(ticks.saturating_mul(1000) / self.ticks_per_second)
    }
}

impl Proportional {
    fn is_due(&self, now: Instant, rss: ByteCount) -> bool {
        let Some(looked) = self.looked else {
            return true;
        };
        let age = now.duration_since(looked);
        let grown = self.rss.as_bytes() + self.rss.as_bytes() / GROWTH_DIVISOR;
        age >= PROPORTIONAL_PERIOD.max(self.took * PROPORTIONAL_SHARE)
            || (rss.as_bytes() > grown && age >= self.took * EARLY_SHARE)
    }

    /// Returns what stands until the next look. It never rises by a guess: processes that fork share
    /// all that they have, and a payload must not be ended for what it does not use.
    fn at_most(&self, rss: ByteCount) -> (ByteCount, ByteCount) {
        (self.pss.min(rss), self.swap)
    }
}

/// Puts `root` and its descendants into `found`.
fn collect_tree(root: i32, stats: &BTreeMap<i32, StatLine>, found: &mut Vec<i32>) {
    found.clear();
    found.push(root);
    let mut children: Vec<(i32, i32)> = stats
        .iter()
        .filter(|(pid, _)| **pid != root)
        .map(|(pid, stat)| (stat.parent, *pid))
        .collect();
    children.sort_unstable();
    // Each process has one parent, so no process is met twice unless there is a ring, which can
    // only be a misread; a ring does not hang below the root.
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let begin = children.partition_point(|(of, _)| *of < parent);
        let of_parent = children[begin..].iter().take_while(|(of, _)| *of == parent);
        found.extend(of_parent.map(|(_, pid)| *pid));
        next += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Child, Command, Stdio},
        time::Instant,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    struct Shell(Child);

    impl Shell {
        fn start(script: &str) -> Self {
            let child = Command::new("sh")
                .args(["-c", script])
                .stdin(Stdio::piped())
                .spawn()
                .expect("there is a shell");
            Self(child)
        }

        fn sample_until(&self, is_so: impl Fn(&UsageSample) -> bool) -> UsageSample {
            let begin = Instant::now();
            let mut sampler = Sampler::of_tree(self.0.id());
            loop {
                let sample = sampler.sample().expect("the shell waits for its input");
                if is_so(&sample) {
                    return sample;
                }
                assert!(begin.elapsed() < LIMIT, "{sample:?}");
                std::thread::yield_now();
            }
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            // Its end of input lets it go; it waits for its children.
            drop(self.0.stdin.take());
            let _ = self.0.wait();
        }
    }

    #[test]
    fn memory_and_processes_of_the_whole_tree_are_counted() {
        let shell = Shell::start("sh -c 'read x; :' & cat <&0 | cat; wait");
        let sample = shell.sample_until(|it| it.n_processes >= 3 && it.rss > ByteCount::ZERO);
        assert!(
            sample.pss > ByteCount::ZERO && sample.pss <= sample.rss,
            "{sample:?}"
        );
        assert!(sample.vmem > sample.rss);
        assert!(sample.n_threads >= sample.n_processes);
    }

    #[test]
    fn ended_children_count_with_their_cpu_time_and_io() {
        let shell = Shell::start(
            "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; head -c 3000000 /dev/zero > /dev/null'
             read x",
        );
        let sample = shell.sample_until(|it| it.read_chars >= ByteCount::from_bytes(3_000_000));
        assert!(sample.cpu_user >= Duration::from_millis(10), "{sample:?}");
    }

    #[test]
    fn a_root_that_is_gone_gives_no_sample() {
        let mut shell = Shell::start("read x");
        let mut sampler = Sampler::of_tree(shell.0.id());
        assert!(sampler.sample().is_some());
        drop(shell.0.stdin.take());
        shell.0.wait().expect("own child");
        assert_eq!(sampler.sample(), None);
    }

    #[test]
    fn a_ring_of_parents_ends() {
        let stat = |parent| StatLine {
            state: 'S',
            parent,
            user_ticks: 0,
            system_ticks: 0,
            children_user_ticks: 0,
            children_system_ticks: 0,
            n_threads: 1,
            vmem_bytes: 0,
            rss_pages: 0,
        };
        let stats = BTreeMap::from([(2, stat(4)), (3, stat(2)), (4, stat(3)), (9, stat(1))]);
        let mut found = vec![7];
        collect_tree(2, &stats, &mut found);
        assert_eq!(found, [2, 3, 4]);
    }

    #[test]
    fn between_two_looks_memory_is_what_was_seen_or_less() {
        let mib = ByteCount::from_mib;
        let last = Proportional {
            rss: mib(100),
            pss: mib(60),
            swap: mib(1),
            ..Proportional::default()
        };
        assert_eq!(last.at_most(mib(900)), (mib(60), mib(1)));
        assert_eq!(last.at_most(mib(50)), (mib(50), mib(1)));
    }

    #[test]
    fn the_dear_look_is_taken_when_it_is_due_or_memory_grew() {
        let mib = ByteCount::from_mib;
        let looked = Instant::now();
        let last = |took_millis| Proportional {
            looked: Some(looked),
            took: Duration::from_millis(took_millis),
            rss: mib(80),
            ..Proportional::default()
        };
        let due = |took_millis, seconds, rss| {
            last(took_millis).is_due(looked + Duration::from_secs(seconds), rss)
        };
        assert!(Proportional::default().is_due(looked, mib(1)));
        assert!(!due(10, 59, mib(80)) && due(10, 60, mib(80)));
        assert!(!due(1000, 199, mib(80)) && due(1000, 200, mib(80)));
        assert!(due(10, 10, mib(91)) && !due(10, 10, mib(90)));
        assert!(!due(1000, 10, mib(91)) && due(1000, 20, mib(91)));
    }
}
