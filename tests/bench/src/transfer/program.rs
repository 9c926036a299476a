//! Runs a program, and tells how long it took and how much memory it had.

use std::{
    ffi::OsStr,
    fs,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use ailurus_testkit::place::{self, Profile};
use anyhow::{Context as _, ensure};

/// Time between two looks at a program's memory. The kernel keeps the peak, so that only what is
/// added in the last of them is missed.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// A program with its arguments.
pub(super) struct Program(Command);

/// What a program took.
pub(super) struct Ran {
    pub(super) seconds: f64,
    /// Largest resident memory of the program itself, in MiB.
    pub(super) peak_mib: f64,
}

/// Returns our own program.
pub(super) fn pilot(profile: Profile) -> Program {
    Program::new(place::program("ailurus-pilot", profile))
}

impl Program {
    pub(super) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command)
    }

    pub(super) fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.0.arg(word);
        self
    }

    pub(super) fn args<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.0.args(words);
        self
    }

    /// Runs it to its end, without a look at its memory.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        let status = self.0.status();
        let status = status.with_context(|| format!("{:?} cannot be started", self.0))?;
        ensure!(status.success(), "{:?} ended with {status}", self.0);
        Ok(())
    }

    /// Runs it to its end, on a disk that has nothing else to write.
    pub(super) fn run(mut self) -> anyhow::Result<Ran> {
        let text = format!("{:?}", self.0);
        // What ran before would slow it down.
        rustix::fs::sync();
        let begin = Instant::now();
        let child = self.0.spawn();
        let mut child = child.with_context(|| format!("{text} cannot be started"))?;
        let status_file = format!("/proc/{}/status", child.id());
        let has_ended = AtomicBool::new(false);
        let (seconds, status, peak_kib) = thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut peak_kib = 0.0_f64;
                while !has_ended.load(Ordering::Relaxed) {
                    let status = fs::read_to_string(&status_file).unwrap_or_default();
                    peak_kib = peak_kib.max(crate::pilot::field(&status, "VmHWM:"));
                    thread::sleep(LOOK_PERIOD);
                }
                peak_kib
            });
            let status = child.wait();
            let seconds = begin.elapsed().as_secs_f64();
            has_ended.store(true, Ordering::Relaxed);
            (seconds, status, watcher.join().unwrap_or_default())
        });
        let status = status?;
        ensure!(status.success(), "{text} ended with {status}");
        Ok(Ran {
            seconds,
            peak_mib: peak_kib / 1024.0,
        })
    }
}
