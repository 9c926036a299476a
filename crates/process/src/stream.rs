//! Runs a program that moves data, for as long as its caller likes.
//!
//! For copy programs: `xrdcp`, `gfal-copy`. The bytes may pass through a pipe, so that the caller
//! sums them up and sees them move. The caller judges how long it may go on; a short question is
//! [`ShortCommand`](crate::ShortCommand)'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    pipe::fcntl_setpipe_size,
    process::{Signal, getpid, getppid, set_parent_process_death_signal},
};

use crate::{
    CommandEnd, StartError,
    watched_child::{WatchedChild, is_passing, set_nonblocking, to_timespec},
};

/// Size of the pipe that data pass through, in bytes: what Linux gives without privileges.
const PIPE_BYTES: usize = 1 << 20;

/// Bytes of what a program says that are read at once.
const READ_BYTES: usize = 16 << 10;

/// A program that moves data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamCommand {
    /// Program and arguments; no shell is involved.
    pub argv: Vec<OsString>,
    /// Variables set on top of the inherited environment.
    pub env: BTreeMap<OsString, OsString>,
    /// Inherited variables that it does not get.
    pub env_removed: BTreeSet<OsString>,
    /// The work directory; this process's own if none is given.
    pub cwd: Option<PathBuf>,
    /// Whether data pass through a pipe.
    pub data: DataStream,
    /// Most bytes that are kept of what it says on each output. The last ones are.
    pub said_max_bytes: usize,
}

/// Whether a program's data pass through a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DataStream {
    /// They do not. What it writes on standard output is said.
    #[default]
    None,
    /// It writes them on standard output.
    FromProgram,
    /// It reads them from standard input.
    ToProgram,
}

/// A running program. Dropping it kills its process group.
///
/// It dies with the thread that started it, also by `kill -9`.
#[derive(Debug)]
pub struct RunningStream {
    process: WatchedChild,
    /// None after its end.
    data: Option<File>,
    stdout: Said,
    stderr: Said,
}

/// What a program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// Its data can be read, or it takes some.
    Ready,
    /// It has ended, and all that it had written is read.
    Ended,
    /// It spoke, or nothing happened in the time.
    Other,
}

/// How a program ended, and its last words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEnd {
    /// How it ended.
    pub end: CommandEnd,
    /// The last bytes of standard output, unless they were data.
    pub stdout: Vec<u8>,
    /// The last bytes of standard error.
    pub stderr: Vec<u8>,
}

/// The last bytes of what came out of a pipe.
#[derive(Debug)]
struct Said {
    /// None after its end.
    pipe: Option<File>,
    last: Vec<u8>,
    max_bytes: usize,
}

impl StreamCommand {
    /// Starts the program in a process group of its own.
    ///
    /// # Errors
    ///
    /// [`StartError`] if there is no such program or it cannot be run.
    pub fn start(&self) -> Result<RunningStream, StartError> {
        let program = self.argv.first().ok_or(StartError::EmptyCommand)?;
        let failed = |error| {
            let own = self.env.get(OsStr::new("PATH")).cloned();
            let search_path = own.or_else(|| std::env::var_os("PATH"));
            StartError::diagnose(program, search_path.as_deref(), self.cwd.as_deref(), error)
        };
        let mut child = self.command(program).spawn().map_err(failed)?;
        let stdin = child.stdin.take().map(|it| File::from(OwnedFd::from(it)));
        let stdout = child.stdout.take().map(|it| File::from(OwnedFd::from(it)));
        let stderr = child.stderr.take().map(|it| File::from(OwnedFd::from(it)));
        let process = WatchedChild::new(child).map_err(failed)?;
        let (data, stdout) = match self.data {
            DataStream::None => (None, stdout),
            DataStream::FromProgram => (stdout, None),
            DataStream::ToProgram => (stdin, stdout),
        };
        if let Some(pipe) = &data {
            // A smaller pipe is slower and works as well.
            let _ = fcntl_setpipe_size(pipe, PIPE_BYTES);
        }
        for pipe in [&data, &stdout, &stderr].into_iter().flatten() {
            set_nonblocking(pipe).map_err(failed)?;
        }
        Ok(RunningStream {
            process,
            data,
            stdout: Said::new(stdout, self.said_max_bytes),
            stderr: Said::new(stderr, self.said_max_bytes),
        })
    }

    fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new(program);
        command
            .args(&self.argv[1..])
            .envs(&self.env)
            .stdin(match self.data {
                DataStream::ToProgram => Stdio::piped(),
                DataStream::None | DataStream::FromProgram => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for name in &self.env_removed {
            command.env_remove(name);
        }
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        die_with_this_thread(&mut command);
        command
    }
}

/// Makes the kernel kill the program when the thread that starts it is gone.
#[expect(unsafe_code, reason = "only the new process itself can ask for it")]
fn die_with_this_thread(command: &mut Command) {
    let parent = getpid();
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() == Some(parent) {
            return Ok(());
        }
        Err(io::Error::from(rustix::io::Errno::SRCH))
    };
    // SAFETY: between `fork` and `exec` the closure makes two system calls; it neither allocates
    // nor takes a lock.
    unsafe { command.pre_exec(ask) };
}

impl RunningStream {
    /// Waits until something happens, at most for `limit`.
    ///
    /// # Errors
    ///
    /// The operating system's, if the pipes cannot be watched.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Happened> {
        let ended = self.process.ended();
        let mut polled = vec![PollFd::new(&ended, PollFlags::IN)];
        if let Some(data) = &self.data {
            polled.push(PollFd::new(data, PollFlags::IN | PollFlags::OUT));
        }
        let said = [&self.stdout.pipe, &self.stderr.pipe].into_iter().flatten();
        polled.extend(said.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut polled, Some(&to_timespec(limit))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let has_ended = !polled[0].revents().is_empty();
        let is_ready = self.data.is_some() && !polled[1].revents().is_empty();
        drop(polled);
        let has_spoken = self.stdout.read_some()? | self.stderr.read_some()?;
        Ok(if is_ready {
            Happened::Ready
        } else if has_ended && !has_spoken {
            Happened::Ended
        } else {
            Happened::Other
        })
    }

    /// Reads data; zero if there are none at the moment.
    ///
    /// # Errors
    ///
    /// The operating system's, if the pipe cannot be read.
    pub fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let Some(pipe) = &mut self.data else {
            return Ok(0);
        };
        match pipe.read(chunk) {
            Ok(0) => {
                self.data = None;
                Ok(0)
            }
            Err(error) if is_passing(&error) => Ok(0),
            other => other,
        }
    }

    /// Writes data and says how many bytes the program took. One that takes no more is no error
    /// here: its end tells why.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let Some(pipe) = &mut self.data else { return 0 };
        match pipe.write(bytes) {
            Ok(length) => length,
            Err(error) if is_passing(&error) => 0,
            Err(_) => {
                self.data = None;
                0
            }
        }
    }

    /// Says whether the data's pipe is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.data.is_some()
    }

    /// Closes the data's pipe: the program has got everything.
    pub fn close(&mut self) {
        self.data = None;
    }

    /// Ends the watch of a program that has ended: kills what is left of its group.
    ///
    /// # Errors
    ///
    /// The operating system's, if it cannot be waited for.
    pub fn finish(mut self) -> io::Result<StreamEnd> {
        Ok(StreamEnd {
            end: self.process.finish()?,
            stdout: self.stdout.into_last(),
            stderr: self.stderr.into_last(),
        })
    }
}

impl Said {
    fn new(pipe: Option<File>, max_bytes: usize) -> Self {
        Self {
            pipe,
            last: Vec::new(),
            max_bytes,
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
                self.last.extend_from_slice(&chunk[..length]);
                if self.last.len() > 2 * self.max_bytes {
                    self.cut();
                }
                Ok(true)
            }
            Err(error) if is_passing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn cut(&mut self) {
        let surplus = self.last.len().saturating_sub(self.max_bytes);
        self.last.drain(..surplus);
    }

    fn into_last(mut self) -> Vec<u8> {
        self.cut();
        self.last
    }
}
