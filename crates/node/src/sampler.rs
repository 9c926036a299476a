//! Measures the processes below one process, in one pass over `/proc`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    time::Duration,
};

use ailurus_model::{ByteCount, usage::UsageSample};

use crate::text::{
    IoCounters, StatLine, parse_io, parse_smaps_rollup, parse_stat, parse_status_swap,
};

/// Most bytes of one file in `/proc` that are read.
const FILE_MAX_BYTES: u64 = 64 << 10;

/// Measures all descendants of one process again and again.
///
/// The process itself, a payload's guard, counts only for what its ended children had used: it
/// inherits and waits for every orphan, so nothing is lost. Memory of ended processes is none.
#[derive(Debug)]
pub struct Sampler {
    root: i32,
    /// Totals never fall, also when a process ends whose parent does not wait for it.
    highest: UsageSample,
    buffer: Vec<u8>,
    page_bytes: u64,
    ticks_per_second: u64,
}

impl Sampler {
    /// Makes a sampler for the descendants of `root`.
    #[must_use]
    pub fn below(root: u32) -> Self {
        Self {
            root: i32::try_from(root).unwrap_or(i32::MAX),
            highest: UsageSample::default(),
            buffer: Vec::new(),
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
        let stats = self.read_stats();
        let root = *stats.get(&self.root)?;
        let mut sample = UsageSample::default();
        let mut user_ticks = root.children_user_ticks;
        let mut system_ticks = root.children_system_ticks;
        self.add_io(self.root, &mut sample);
        for pid in descendants_of(self.root, &stats) {
            let stat = &stats[&pid];
            user_ticks += stat.user_ticks + stat.children_user_ticks;
            system_ticks += stat.system_ticks + stat.children_system_ticks;
            self.add_io(pid, &mut sample);
            if !matches!(stat.state, 'Z' | 'X' | 'x') {
                self.add_memory(pid, stat, &mut sample);
                sample.n_processes += 1;
                sample.n_threads += stat.n_threads;
            }
        }
        sample.cpu_user = self.duration(user_ticks);
        sample.cpu_system = self.duration(system_ticks);
        self.keep_totals(&mut sample);
        Some(sample)
    }

    fn read_stats(&mut self) -> BTreeMap<i32, StatLine> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return BTreeMap::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, parse_stat(self.read(pid, "stat")?.as_ref())?)))
            .collect()
    }

    fn add_memory(&mut self, pid: i32, stat: &StatLine, sample: &mut UsageSample) {
        let rss = ByteCount::from_bytes(stat.rss_pages.saturating_mul(self.page_bytes));
        sample.rss = sample.rss.plus(rss);
        sample.vmem = sample.vmem.plus(ByteCount::from_bytes(stat.vmem_bytes));
        let rollup = self
            .read(pid, "smaps_rollup")
            .and_then(|text| parse_smaps_rollup(&text));
        let (pss, swap) = match rollup {
            Some(rollup) => (
                ByteCount::from_kib(rollup.pss_kib),
                ByteCount::from_kib(rollup.swap_kib),
            ),
            None => {
                let status = self.read(pid, "status").unwrap_or_default();
                (rss, ByteCount::from_kib(parse_status_swap(&status)))
            }
        };
        sample.pss = sample.pss.plus(pss);
        sample.swap = sample.swap.plus(swap);
    }

    /// Adds a process's I/O, to which the kernel adds that of its ended children.
    fn add_io(&mut self, pid: i32, sample: &mut UsageSample) {
        let io = self
            .read(pid, "io")
            .map_or_else(IoCounters::default, |text| parse_io(&text));
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

    /// Reads a file of a process; none if it is gone or may not be read.
    fn read(&mut self, pid: i32, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        self.buffer.clear();
        File::open(format!("/proc/{pid}/{name}"))
            .ok()?
            .take(FILE_MAX_BYTES)
            .read_to_end(&mut self.buffer)
            .ok()?;
        Some(String::from_utf8_lossy(&self.buffer))
    }
}

/// Returns the descendants of `root`, without itself.
fn descendants_of(root: i32, stats: &BTreeMap<i32, StatLine>) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (pid, stat) in stats {
        // Each process has one parent, so no process is met twice; a ring can only be a misread.
        if *pid != root {
            children.entry(stat.parent).or_default().push(*pid);
        }
    }
    let mut found = Vec::new();
    let mut backlog = vec![root];
    while let Some(parent) = backlog.pop() {
        let of_parent = children.remove(&parent).unwrap_or_default();
        found.extend(&of_parent);
        backlog.extend(of_parent);
    }
    found
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
            let mut sampler = Sampler::below(self.0.id());
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
    fn memory_and_processes_below_the_root_are_counted() {
        let shell = Shell::start("sh -c 'read x; :' & cat <&0 | cat; wait");
        let sample = shell.sample_until(|it| it.n_processes >= 2 && it.rss > ByteCount::ZERO);
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
        let mut sampler = Sampler::below(shell.0.id());
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
        assert_eq!(descendants_of(2, &stats), [3, 4]);
    }
}
