//! The pilot's side of a guard: the process, and the socket over which payloads go to it.

use std::{
    ffi::OsString,
    io::{self, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    PayloadCommand, RunningPayload, StartError, files::send_files, guard::GUARD_ARGUMENT, orphans,
    payload,
};

/// Bytes of a spec that are sent before the guard is told; less than any socket holds.
const FIRST_MAX_BYTES: usize = 32 << 10;

/// A guard process that serves any number of payloads, one after another or side by side.
///
/// It costs about half a megabyte of memory of its own and no thread, and makes the start of a payload as cheap as
/// that of any process. Clones share the process, which ends with the last clone and payload. One
/// that somebody killed is replaced at the next start.
#[derive(Debug, Clone)]
pub struct Guard {
    link: Arc<Mutex<Arc<Link>>>,
}

/// One guard process.
#[derive(Debug)]
pub(crate) struct Link {
    socket: UnixStream,
    pid: u32,
    /// None once it has been waited for.
    process: Mutex<Option<Child>>,
}

impl Guard {
    /// Starts a guard process. It does not wait until it is ready.
    ///
    /// # Errors
    ///
    /// [`StartError::Guard`] if there is no room for another process.
    pub fn start() -> Result<Self, StartError> {
        let link = Arc::new(Link::start()?);
        Ok(Self {
            link: Arc::new(Mutex::new(link)),
        })
    }

    /// Starts a payload.
    ///
    /// Returns once the payload's program runs. Nothing that it starts outlives the pilot, also
    /// when the pilot is killed by `SIGKILL`, and no other process is touched.
    ///
    /// # Errors
    ///
    /// [`StartError`], which names what was tried and what would help. Nothing runs then.
    pub fn start_payload(&self, command: PayloadCommand) -> Result<RunningPayload, StartError> {
        payload::start_behind(self, command)
    }

    /// Returns the number of the guard process, of which all payloads are descendants.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.current().pid
    }

    /// Passes a payload to the guard process; to a new one if the last has been killed.
    pub(crate) fn send(
        &self,
        mut socket: &UnixStream,
        guards: UnixStream,
        command: &PayloadCommand,
        spec: &[u8],
    ) -> Result<Arc<Link>, StartError> {
        let failed = |source| StartError::Guard {
            what: "takes no payload".to_owned(),
            source: Some(source),
        };
        // What fits goes first, so that the guard, once it is woken, need not wait for it.
        let (first, rest) = spec.split_at(spec.len().min(FIRST_MAX_BYTES));
        socket.write_all(first).map_err(failed)?;
        let files = [
            guards.as_fd(),
            command.stdout.as_fd(),
            command.stderr.as_fd(),
        ];
        let mut current = self.current();
        if send_files(&current.socket, files).is_err() {
            *current = Arc::new(Link::start()?);
            send_files(&current.socket, files).map_err(failed)?;
        }
        let link = Arc::clone(&current);
        drop(current);
        drop(guards);
        // Refused by a guard that has gone meanwhile, which shows in its answer.
        let _ = socket.write_all(rest);
        Ok(link)
    }

    fn current(&self) -> MutexGuard<'_, Arc<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn start() -> Result<Self, StartError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            |source| StartError::Guard {
                what,
                source: Some(source),
            }
        };
        let (socket, guards) = UnixStream::pair().map_err(failed("has no socket"))?;
        orphans::adopt();
        let process = orphans::guard_begins(|| spawn_guard(guards))
            .map_err(failed("could not be started"))?;
        Ok(Self {
            socket,
            pid: process.id(),
            process: Mutex::new(Some(process)),
        })
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets the guard process end, which kills what is left, and waits for it.
    pub(crate) fn end(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut process) = process.take() {
            // Either may fail only because the guard is gone already.
            let _ = self.socket.shutdown(Shutdown::Both);
            let _ = process.wait();
            orphans::guard_ended(self.pid);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts this executable again, whatever has become of its file. The guard's standard input is
/// the socket.
fn spawn_guard(socket: UnixStream) -> io::Result<Child> {
    let own_name = std::env::args_os()
        .next()
        .unwrap_or_else(|| OsString::from("payload-guard"));
    Command::new("/proc/self/exe")
        .arg0(own_name)
        .arg(GUARD_ARGUMENT)
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}
