//! Runs a short external command to its end, within limits on time and output.
//!
//! For tools that answer a question: `sbatch`, `squeue`, a hook. Not for payloads.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    StartError,
    watched_child::{WatchedChild, is_passing, set_nonblocking, to_timespec},
};

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// A short external command.
#[derive(Debug, Clone)]
pub struct ShortCommand {
    /// Program and arguments; no shell is involved.
    pub argv: Vec<OsString>,
    /// Variables set on top of the inherited environment.
    pub env: BTreeMap<OsString, OsString>,
    /// The work directory; this process's own if none is given.
    pub cwd: Option<PathBuf>,
    /// What the command reads from standard input.
    pub stdin: Vec<u8>,
    /// Longest run. The whole process group is killed then.
    pub timeout: Duration,
    /// Most bytes of standard output, and of standard error. A command that says more is killed.
    pub output_max_bytes: usize,
}

/// What a command said, and how it ended. A failing command is no error here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// How it ended.
    pub end: CommandEnd,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
    /// How long it ran.
    pub duration: Duration,
}

/// How a short command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandEnd {
    /// It exited with this code, from 0 to 255.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

/// A command gave no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started.
    #[error("a command could not be run")]
    Start(#[from] StartError),
    /// It did not end in time and was killed.
    #[error("`{program}` did not end within {} s and was killed", limit.as_secs_f64())]
    TimedOut {
        /// The program.
        program: String,
        /// The limit that it broke.
        limit: Duration,
    },
    /// It said more than it may and was killed.
    #[error("`{program}` wrote more than {limit_bytes} bytes and was killed")]
    TooMuchOutput {
        /// The program.
        program: String,
        /// The limit that it broke, in bytes.
        limit_bytes: usize,
    },
    /// Its pipes or its end could not be watched. It was killed.
    #[error("`{program}` could not be watched and was killed")]
    Watch {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl CommandOutput {
    /// Says whether the command exited with code 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.end == CommandEnd::Exited(0)
    }

    /// Returns standard output as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns standard error as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Runs a command with the inherited environment and nothing on standard input.
///
/// # Errors
///
/// As [`ShortCommand::run`].
pub fn run_command<S: AsRef<OsStr>>(
    argv: &[S],
    timeout: Duration,
    output_max_bytes: usize,
) -> Result<CommandOutput, RunError> {
    ShortCommand {
        argv: argv.iter().map(|it| it.as_ref().to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: None,
        stdin: Vec::new(),
        timeout,
        output_max_bytes,
    }
    .run()
}

impl ShortCommand {
    /// Runs the command to its end.
    ///
    /// It gets a process group of its own. What is left of the group at its end is killed; a
    /// process that has left the group and holds the output open is not waited for.
    ///
    /// # Errors
    ///
    /// [`RunError`] if it cannot be started, breaks a limit or cannot be watched. Nothing of its
    /// process group runs on then.
    pub fn run(&self) -> Result<CommandOutput, RunError> {
        let begin = Instant::now();
        let program = self.argv.first().ok_or(StartError::EmptyCommand)?;
        let child = self.spawn(program)?;
        let watch_failed = |source| RunError::Watch {
            program: program.to_string_lossy().into_owned(),
            source,
        };
        let mut watched = Watched::new(child, &self.stdin).map_err(watch_failed)?;
        let deadline = begin + self.timeout;
        loop {
            match watched.step(deadline).map_err(watch_failed)? {
                Step::Ended => break,
                Step::Moved => {}
                Step::TimedOut => {
                    return Err(RunError::TimedOut {
                        program: program.to_string_lossy().into_owned(),
                        limit: self.timeout,
                    });
                }
            }
            if watched.longest_output() > self.output_max_bytes {
                break;
            }
        }
        if watched.longest_output() > self.output_max_bytes {
            return Err(RunError::TooMuchOutput {
                program: program.to_string_lossy().into_owned(),
                limit_bytes: self.output_max_bytes,
            });
        }
        Ok(CommandOutput {
            end: watched.process.finish().map_err(watch_failed)?,
            stdout: std::mem::take(&mut watched.stdout.collected),
            stderr: std::mem::take(&mut watched.stderr.collected),
            duration: begin.elapsed(),
        })
    }

    fn spawn(&self, program: &OsStr) -> Result<Child, StartError> {
        let mut command = Command::new(program);
        command
            .args(&self.argv[1..])
            .envs(&self.env)
            .stdin(if self.stdin.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command.spawn().map_err(|error| {
            let search_path = self
                .env
                .get(OsStr::new("PATH"))
                .cloned()
                .or_else(|| std::env::var_os("PATH"));
            StartError::diagnose(program, search_path.as_deref(), self.cwd.as_deref(), error)
        })
    }
}

/// A running command with its pipes. Dropping it kills and reaps what is left.
struct Watched {
    process: WatchedChild,
    stdin: Option<File>,
    to_write: Vec<u8>,
    stdout: Collector,
    stderr: Collector,
}

enum Step {
    /// Something was read, written or interrupted.
    Moved,
    /// The command has ended and all that it had written is read.
    Ended,
    TimedOut,
}

/// One output pipe and what came out of it.
struct Collector {
    /// None after its end.
    pipe: Option<File>,
    collected: Vec<u8>,
}

impl Watched {
    fn new(mut child: Child, stdin: &[u8]) -> io::Result<Self> {
        let watched = Self {
            stdin: child.stdin.take().map(|it| File::from(OwnedFd::from(it))),
            to_write: stdin.to_vec(),
            stdout: Collector::new(child.stdout.take().map(OwnedFd::from)),
            stderr: Collector::new(child.stderr.take().map(OwnedFd::from)),
            process: WatchedChild::new(child)?,
        };
        let pipes = [&watched.stdin, &watched.stdout.pipe, &watched.stderr.pipe];
        for pipe in pipes.into_iter().flatten() {
            set_nonblocking(pipe)?;
        }
        Ok(watched)
    }

    /// Waits for one thing to happen and carries it out.
    fn step(&mut self, deadline: Instant) -> io::Result<Step> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Step::TimedOut);
        }
        let ended = self.process.ended();
        let mut polled = vec![PollFd::new(&ended, PollFlags::IN)];
        let outputs = [&self.stdout.pipe, &self.stderr.pipe];
        polled.extend(
            outputs
                .into_iter()
                .flatten()
                .map(|pipe| PollFd::new(pipe, PollFlags::IN)),
        );
        polled.extend(
            self.stdin
                .iter()
                .map(|pipe| PollFd::new(pipe, PollFlags::OUT)),
        );
        match poll(&mut polled, Some(&to_timespec(left))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let has_ended = !polled[0].revents().is_empty();
        drop(polled);
        self.write_some();
        let has_read = self.stdout.read_some()? | self.stderr.read_some()?;
        Ok(if has_ended && !has_read {
            Step::Ended
        } else {
            Step::Moved
        })
    }

    /// Writes what the command takes. One that does not read its input is no error.
    fn write_some(&mut self) {
        let Some(pipe) = &mut self.stdin else { return };
        match pipe.write(&self.to_write) {
            Ok(length) => {
                self.to_write.drain(..length);
            }
            Err(error) if is_passing(&error) => return,
            Err(_) => self.to_write.clear(),
        }
        if self.to_write.is_empty() {
            self.stdin = None;
        }
    }

    fn longest_output(&self) -> usize {
        self.stdout.collected.len().max(self.stderr.collected.len())
    }
}

impl Collector {
    fn new(pipe: Option<OwnedFd>) -> Self {
        Self {
            pipe: pipe.map(File::from),
            collected: Vec::new(),
        }
    }

    /// Reads once what is there; false if there is nothing.
    fn read_some(&mut self) -> io::Result<bool> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(false);
        };
        let mut chunk = [0; READ_BYTES];
        match pipe.read(&mut chunk) {
            Ok(0) => {
                self.pipe = None;
                Ok(true)
            }
            Ok(length) => {
                self.collected.extend_from_slice(&chunk[..length]);
                Ok(true)
            }
            Err(error) if is_passing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
