//! A program that we started: it is ended with its owner, and only by its own id.

use std::{
    fs::File,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::wait_for;

/// How long a program may take to end after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A running program whose output goes to a file.
#[derive(Debug)]
pub struct Child {
    name: String,
    inner: std::process::Child,
}

impl Child {
    /// Starts a program; its output and errors are appended to `log`.
    ///
    /// # Errors
    ///
    /// The log cannot be opened or the program cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("`{}` cannot be opened", log.display()))?;
        let inner = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("`{}` cannot be started", command.get_program().display()))?;
        Ok(Self {
            name: name.to_owned(),
            inner,
        })
    }

    /// Returns its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Says how it ended, if it has.
    ///
    /// # Errors
    ///
    /// The system cannot say.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.inner.try_wait()?)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// It is gone already.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.inner.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process has an id")?, signal)
            .with_context(|| format!("{} cannot be signalled", self.name))
    }

    /// Kills it as `kill -9` does and waits until it is gone.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.inner.kill()?;
        self.inner.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits; kills it if it does not within 20 s.
    ///
    /// # Errors
    ///
    /// It had to be killed, or the system refuses.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        let what = format!("the end of {} after SIGTERM", self.name);
        match wait_for(&what, STOP_LIMIT, || self.ended()) {
            Ok(status) => Ok(status),
            Err(error) => {
                self.kill()?;
                Err(error)
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !matches!(self.ended(), Ok(Some(_))) {
            // Its owner failed before it could stop it; nothing must be left over.
            drop(self.kill());
        }
    }
}
