//! Looks at a running payload: its processes and its directory, what it uses of GPUs and energy,
//! and how long the slot lasts.
//!
//! It measures and decides nothing; the core judges each [`Sample`]. What was measured is also
//! written down by the [`Recorder`].

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ailurus_experiment::plan::{STDERR_FILE, STDOUT_FILE};
use ailurus_model::{ByteCount, Job};
use ailurus_node::{
    DirBounds, EnergyMeter, GpuTool, NetworkCounters, Sampler, free_space, look_at_dir,
};
use ailurus_pilot_core::monitoring::{
    FilesSample, GpuUse, KillFile, Sample, SampleScope,
    metrics::event_number,
    prmon::{FILES_PART, GpuColumns, NetworkUse, Prmon, Row},
};

use crate::{
    node_view::NodeView,
    payload::read_tail,
    recorder::Recorder,
    settings::{VERSION, wall_now},
};

/// The file in the pilot's directory by which programs on the node ask for a payload's end.
const KILL_FILE: &str = "pilot_kill_payload";
/// Where some payloads write down which event they work on.
const EVENT_FILE: &str = "eventLoopHeartBeat.txt";
/// Most of its end that is read, in bytes.
const EVENT_TAIL: u64 = 4 << 10;
/// Most entries of a directory among which log files are looked for.
const LOG_ENTRIES_MAX: usize = 10_000;
/// Where log files lie below the job's directory, how their names begin.
///
/// Source: Pilot 3, `pilot/util/monitoring.py`, `check_payload_stdout`.
const LOG_FILES: [(&str, &str); 2] = [("", "log."), ("workDir", "tmp.stdout.")];
/// Part of the names of what looks like a log file and is an archive.
const NO_LOG_FILE: &str = "job.log.tgz";

/// The files that a job moves: they do not count as what its payload made for itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobFiles {
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl JobFiles {
    pub(crate) fn of(job: &Job) -> Self {
        let inputs = job.inputs.iter().map(|input| input.lfn.to_string());
        let outputs = job.outputs.iter().map(|output| output.lfn.to_string());
        Self {
            inputs: inputs.collect(),
            outputs: outputs.collect(),
        }
    }
}

/// What is looked at while a payload runs.
#[derive(Debug)]
pub(crate) struct Watch {
    sampler: Sampler,
    dir: PathBuf,
    /// The pilot's own directory.
    home: PathBuf,
    files: JobFiles,
    /// Texts of paths that say nothing about progress.
    ignored: Vec<String>,
    view: Arc<NodeView>,
    recorder: Arc<Recorder>,
    gpu_tool: Option<GpuTool>,
    energy: EnergyMeter,
    network: NetworkCounters,
    n_samples: u64,
    /// Processes of the payload that the kernel has killed for lack of memory.
    oom_kills: u64,
}

/// Where a payload works, and what is known of it.
#[derive(Debug)]
pub(crate) struct WatchPlace {
    /// The job's directory.
    pub(crate) dir: PathBuf,
    /// The pilot's own directory.
    pub(crate) home: PathBuf,
    /// What the job moves.
    pub(crate) files: JobFiles,
    /// Texts of paths that say nothing about progress.
    pub(crate) ignored: Vec<String>,
}

impl Watch {
    /// Returns the payload's processes.
    pub(crate) fn processes(&mut self) -> Vec<i32> {
        // Only a sample knows the processes of today.
        let _ = self.sampler.sample();
        self.sampler.processes().to_vec()
    }

    /// Begins to watch the payload whose first process is `pid`.
    pub(crate) fn new(
        pid: u32,
        place: WatchPlace,
        view: Arc<NodeView>,
        recorder: Arc<Recorder>,
    ) -> Self {
        let mut ignored = place.ignored;
        // The pilot's own files are no progress of the payload.
        ignored.push(FILES_PART.to_owned());
        Self {
            sampler: Sampler::of_tree(pid),
            dir: place.dir,
            home: place.home,
            files: place.files,
            ignored,
            view,
            recorder,
            gpu_tool: None,
            energy: EnergyMeter::start(),
            network: NetworkCounters::read(),
            n_samples: 0,
            oom_kills: 0,
        }
    }

    /// Takes a sample.
    pub(crate) fn sample(&mut self, scope: SampleScope) -> Sample {
        let mut sample = Sample {
            usage: self.sampler.sample(),
            energy_joules: self.energy.joules(),
            ..Sample::default()
        };
        if scope == SampleScope::UsageAndFiles {
            sample.files = self.look_at_files();
            sample.slot = self.view.slot();
        }
        if self.n_samples == 0 {
            sample.machine = Some(Box::new(self.view.machine()));
            let has_gpus = !self.view.gpus().cards.is_empty();
            self.gpu_tool = self.view.gpu_tool().filter(|_| has_gpus);
        }
        // The tool looks for a second: not with every sample.
        if self.n_samples == 0 || scope == SampleScope::UsageAndFiles {
            sample.gpu = self.gpu_use();
        }
        self.n_samples += 1;
        self.tell_oom_kills();
        self.record(&sample);
        sample
    }

    /// Says at once what a payload may survive, and what explains its end if it does not.
    fn tell_oom_kills(&mut self) {
        let killed = self.sampler.group_use().map_or(0, |group| group.oom_kills);
        if killed > self.oom_kills {
            tracing::warn!("the kernel killed {killed} of the payload's processes: no memory left");
            self.oom_kills = killed;
        }
    }

    fn gpu_use(&mut self) -> Option<GpuUse> {
        let used = self.gpu_tool.as_mut()?.use_of(self.sampler.processes())?;
        Some(GpuUse {
            n_gpus: used.n_gpus,
            compute_percent: used.compute_percent,
            memory_percent: used.memory_percent,
            memory: used.memory,
        })
    }

    fn record(&self, sample: &Sample) {
        let Some(usage) = sample.usage else { return };
        let network = NetworkCounters::read().since(&self.network);
        let row = Row {
            time: wall_now(),
            wall: self.recorder.wall(),
            usage,
            network: NetworkUse {
                received_bytes: network.received_bytes,
                received_packets: network.received_packets,
                sent_bytes: network.sent_bytes,
                sent_packets: network.sent_packets,
            },
            gpu: sample.gpu.unwrap_or_default(),
            energy_joules: sample.energy_joules,
        };
        self.recorder.add(&row, || {
            let gpus = if self.gpu_tool.is_some() {
                GpuColumns::With
            } else {
                GpuColumns::Without
            };
            Prmon::new(&self.view.hardware(), gpus, VERSION)
        });
    }

    fn look_at_files(&self) -> Option<FilesSample> {
        let look = look_at_dir(&self.dir, &self.ignored, DirBounds::default());
        let space = free_space(&self.dir);
        let (look, space) = match (look, space) {
            (Ok(look), Ok(space)) => (look, space),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!("`{}` cannot be looked at: {error}", self.dir.display());
                return None;
            }
        };
        let sum = |names: &[String]| {
            let sizes = names.iter().map(|name| size_of(&self.dir.join(name)));
            sizes.fold(ByteCount::ZERO, ByteCount::plus)
        };
        let outputs = self.files.outputs.iter();
        let outputs = outputs.map(|name| size_of(&self.dir.join(name)));
        let streams = [STDOUT_FILE, STDERR_FILE].map(|name| size_of(&self.dir.join(name)));
        let kill_file = if self.home.join(KILL_FILE).exists() {
            KillFile::Present
        } else {
            KillFile::Absent
        };
        Some(FilesSample {
            total: look.size,
            transferred: sum(&self.files.inputs).plus(sum(&self.files.outputs)),
            free_space: self.view.writable(space.available, look.size),
            stdout: streams
                .into_iter()
                .chain(log_file_sizes(&self.dir))
                .max()
                .unwrap_or_default(),
            largest_output: outputs.max().unwrap_or_default(),
            idle: look.newest_change.map(|change| wall_now().since(change)),
            event_number: self.event_number(),
            kill_file,
        })
    }

    fn event_number(&self) -> Option<u64> {
        let tail = read_tail(&self.dir.join(EVENT_FILE), EVENT_TAIL).ok()?;
        event_number(&String::from_utf8_lossy(&tail))
    }
}

/// Returns the sizes of all log files of a payload.
fn log_file_sizes(dir: &Path) -> impl Iterator<Item = ByteCount> {
    LOG_FILES.into_iter().flat_map(move |(below, begin)| {
        let entries = fs::read_dir(dir.join(below)).into_iter().flatten();
        entries
            .take(LOG_ENTRIES_MAX)
            .flatten()
            .filter(move |entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with(begin) && !name.contains(NO_LOG_FILE)
            })
            .map(|entry| size_of(&entry.path()))
    })
}

/// Returns the size of a regular file; zero for anything else, links too.
fn size_of(path: &Path) -> ByteCount {
    let meta = fs::symlink_metadata(path)
        .ok()
        .filter(fs::Metadata::is_file);
    ByteCount::from_bytes(meta.map_or(0, |meta| meta.len()))
}

#[cfg(test)]
mod tests {
    use ailurus_http::ClientConfig;

    use super::*;
    use crate::node_view::NodeSettings;

    /// A watch over this process, which works in `dir`.
    fn watch(dir: &Path, files: JobFiles) -> Watch {
        let facts = ailurus_node::node_facts();
        let settings = NodeSettings::default();
        let view = NodeView::new(settings, facts, wall_now(), &ClientConfig::default());
        let place = WatchPlace {
            dir: dir.to_owned(),
            home: dir.to_owned(),
            files,
            ignored: vec!["payload.std".to_owned()],
        };
        let recorder = Arc::new(Recorder::new(dir));
        Watch::new(std::process::id(), place, Arc::new(view), recorder)
    }

    #[test]
    fn a_sample_has_processes_and_files_and_is_written_down() {
        let dir = tempfile::tempdir().expect("space");
        let write = |name: &str, size| fs::write(dir.path().join(name), vec![b'x'; size]);
        fs::create_dir(dir.path().join("workDir")).expect("space");
        write("in.root", 100).expect("space");
        write("out.root", 300).expect("space");
        write("log.Sim", 7000).expect("space");
        write("log.job.log.tgz", 90_000).expect("space");
        write("workDir/tmp.stdout.1", 8000).expect("space");
        write(EVENT_FILE, 0).expect("space");
        let line = " done processing event #17, run #3 9 events read so far\n";
        fs::write(dir.path().join(EVENT_FILE), line).expect("space");
        let files = JobFiles {
            inputs: vec!["in.root".into()],
            outputs: vec!["out.root".into(), "not-yet.root".into()],
        };
        let mut watch = watch(dir.path(), files);
        let sample = watch.sample(SampleScope::UsageAndFiles);
        assert!(
            sample
                .usage
                .is_some_and(|usage| usage.rss > ByteCount::ZERO)
        );
        assert!(sample.machine.is_some());
        let files = sample.files.expect("there");
        assert_eq!(files.transferred, ByteCount::from_bytes(400));
        assert_eq!(files.largest_output, ByteCount::from_bytes(300));
        assert_eq!(files.stdout, ByteCount::from_bytes(8000));
        assert_eq!(files.event_number, Some(17));
        assert_eq!(files.kill_file, KillFile::Absent);
        let table = dir.path().join("memory_monitor_output.txt");
        assert!(fs::read_to_string(table).is_ok_and(|text| text.lines().count() == 2));
    }

    #[test]
    fn the_pilots_own_files_are_no_progress() {
        let dir = tempfile::tempdir().expect("space");
        let mut watch = watch(dir.path(), JobFiles::default());
        fs::write(dir.path().join(STDOUT_FILE), "x").expect("space");
        watch.sample(SampleScope::Usage);
        let files = watch.sample(SampleScope::UsageAndFiles).files;
        assert_eq!(files.expect("there").idle, None);
    }

    #[test]
    fn a_kill_file_in_the_pilots_directory_is_seen() {
        let dir = tempfile::tempdir().expect("space");
        let mut watch = watch(dir.path(), JobFiles::default());
        fs::write(dir.path().join(KILL_FILE), "").expect("space");
        let files = watch.sample(SampleScope::UsageAndFiles).files;
        assert_eq!(files.expect("there").kill_file, KillFile::Present);
    }
}
