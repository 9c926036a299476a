//! Writes prmon's files into a job's directory while its payload runs.
//!
//! The payload may write there too, so what it made is never followed nor replaced: where the table
//! is already there, a monitor of the payload's own is at work and nothing is written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ailurus_pilot_core::monitoring::prmon::{Prmon, Row, SUMMARY_FILE, TABLE_FILE};

/// Least time between two lines of the table, and between two versions of the summary.
const LINE_PERIOD: Duration = Duration::from_secs(60);
/// What the summary is called until it is whole.
const UNFINISHED: &str = "memory_monitor_summary.json_tmp";

/// Writes the table and the summary of one payload.
#[derive(Debug)]
pub(crate) struct Recorder {
    dir: PathBuf,
    begin: Instant,
    stage: Mutex<Stage>,
}

#[derive(Debug)]
enum Stage {
    /// No sample yet, and no file.
    Empty,
    /// The table is open.
    Open {
        prmon: Box<Prmon>,
        table: File,
        /// When a line was written last.
        written: Instant,
        /// The line of the last sample, if it is not yet in the table.
        pending: Option<String>,
    },
    /// The payload is over, or the files are somebody else's.
    Closed,
}

impl Recorder {
    /// Begins with the payload. No file is made before the first sample.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            begin: Instant::now(),
            stage: Mutex::new(Stage::Empty),
        }
    }

    /// Returns how long the payload has run.
    pub(crate) fn wall(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Takes a sample. `make` says what the table is like, before the first.
    pub(crate) fn add(&self, row: &Row, make: impl FnOnce() -> Prmon) {
        let mut stage = self.lock();
        let done = match &mut *stage {
            Stage::Closed => Ok(()),
            Stage::Empty => self.open(make(), row).map(|open| *stage = open),
            Stage::Open {
                prmon,
                table,
                written,
                pending,
            } => {
                let line = prmon.add(row);
                if written.elapsed() < LINE_PERIOD {
                    *pending = Some(line);
                    Ok(())
                } else {
                    *written = Instant::now();
                    *pending = None;
                    table
                        .write_all(line.as_bytes())
                        .and_then(|()| self.write_summary(prmon))
                }
            }
        };
        self.close_on_failure(&mut stage, done);
    }

    /// Completes the files at the payload's end. `cpu` is its CPU time in all, if that was counted.
    pub(crate) fn end(&self, cpu: Option<Duration>) {
        let mut stage = self.lock();
        let last = std::mem::replace(&mut *stage, Stage::Closed);
        if let Stage::Open {
            mut prmon,
            mut table,
            pending,
            ..
        } = last
        {
            prmon.end(self.wall(), cpu);
            let done = table
                .write_all(pending.unwrap_or_default().as_bytes())
                .and_then(|()| self.write_summary(&prmon));
            self.close_on_failure(&mut stage, done);
        }
    }

    fn open(&self, mut prmon: Prmon, row: &Row) -> io::Result<Stage> {
        let mut table = create(&self.dir.join(TABLE_FILE))?;
        let text = prmon.header() + &prmon.add(row);
        table.write_all(text.as_bytes())?;
        self.write_summary(&prmon)?;
        Ok(Stage::Open {
            prmon: Box::new(prmon),
            table,
            written: Instant::now(),
            pending: None,
        })
    }

    fn write_summary(&self, prmon: &Prmon) -> io::Result<()> {
        let Some(text) = prmon.summary() else {
            return Ok(());
        };
        let unfinished = self.dir.join(UNFINISHED);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        create(&unfinished)?.write_all(text.as_bytes())?;
        fs::rename(&unfinished, self.dir.join(SUMMARY_FILE))
    }

    /// A payload can do without these files, and its pilot too.
    fn close_on_failure(&self, stage: &mut Stage, done: io::Result<()>) {
        if let Err(error) = done {
            tracing::warn!(
                "no further `{TABLE_FILE}` in `{}`: {error}",
                self.dir.display()
            );
            *stage = Stage::Closed;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a new file. One that is there, a link too, is an error.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests {
    use ailurus_model::{Timestamp, usage::UsageSample};
    use ailurus_pilot_core::monitoring::{
        GpuUse,
        prmon::{GpuColumns, Hardware, NetworkUse},
    };

    use super::*;

    fn prmon() -> Prmon {
        Prmon::new(&Hardware::default(), GpuColumns::Without, "test")
    }

    fn row(second: i64) -> Row {
        Row {
            time: Timestamp::from_millis(second * 1000),
            wall: Duration::ZERO,
            usage: UsageSample::default(),
            network: NetworkUse::default(),
            gpu: GpuUse::default(),
            energy_joules: None,
        }
    }

    #[test]
    fn table_and_summary_are_there_during_the_run_and_whole_at_its_end() {
        let dir = tempfile::tempdir().expect("space");
        let recorder = Recorder::new(dir.path());
        recorder.add(&row(1), prmon);
        let table = || fs::read_to_string(dir.path().join(TABLE_FILE)).expect("made");
        let summary = || fs::read_to_string(dir.path().join(SUMMARY_FILE)).expect("made");
        assert_eq!(table().lines().count(), 2);
        assert!(summary().contains("\"n_samples\": 1"));
        recorder.add(&row(2), prmon);
        recorder.add(&row(3), prmon);
        assert_eq!(table().lines().count(), 2);
        recorder.end(Some(Duration::from_secs(77)));
        assert!(table().lines().count() == 3 && table().contains("\n3\t"));
        assert!(summary().contains("\"utime\": 77") && summary().contains("\"n_samples\": 3"));
        assert!(!dir.path().join(UNFINISHED).exists());
        recorder.add(&row(4), prmon);
        assert_eq!(table().lines().count(), 3);
    }

    #[test]
    fn a_payload_without_a_sample_leaves_no_files() {
        let dir = tempfile::tempdir().expect("space");
        Recorder::new(dir.path()).end(None);
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 0);
    }

    #[test]
    fn what_the_payload_put_there_is_left_alone() {
        let dir = tempfile::tempdir().expect("space");
        let secret = dir.path().join("token");
        fs::write(&secret, "secret").expect("space");
        std::os::unix::fs::symlink(&secret, dir.path().join(TABLE_FILE)).expect("space");
        let recorder = Recorder::new(dir.path());
        recorder.add(&row(1), prmon);
        recorder.end(None);
        assert_eq!(fs::read_to_string(&secret).expect("there"), "secret");
        assert!(!dir.path().join(SUMMARY_FILE).exists());
    }

    #[test]
    fn a_link_in_the_summarys_place_is_not_followed() {
        let dir = tempfile::tempdir().expect("space");
        let secret = dir.path().join("token");
        fs::write(&secret, "secret").expect("space");
        for name in [SUMMARY_FILE, UNFINISHED] {
            std::os::unix::fs::symlink(&secret, dir.path().join(name)).expect("space");
        }
        let recorder = Recorder::new(dir.path());
        recorder.add(&row(1), prmon);
        assert_eq!(fs::read_to_string(&secret).expect("there"), "secret");
        assert!(fs::symlink_metadata(dir.path().join(SUMMARY_FILE)).is_ok_and(|it| it.is_file()));
    }
}
