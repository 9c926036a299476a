//! A started child whose end can be polled like a file, and which never stays behind.

use std::{
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::Child,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, WaitId, WaitIdOptions, waitid},
};

use crate::{CommandEnd, guard::kill_group, spawn_named};

/// Stack of the thread that waits for the command, in bytes.
const WAIT_STACK_BYTES: usize = 128 << 10;

/// How long a killed command may take to end. One that hangs in a device is left behind then.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// A child that leads a process group. Dropping it kills the group and reaps the child.
#[derive(Debug)]
pub(crate) struct WatchedChild {
    pub(crate) child: Child,
    is_reaped: bool,
    /// Hangs up when the child has ended and waits to be reaped.
    ended: OwnedFd,
}

impl WatchedChild {
    pub(crate) fn new(child: Child) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        let (ended, held_until_end) = pipe_with(PipeFlags::CLOEXEC).inspect_err(|_| {
            kill_group(pid.as_raw_nonzero().get());
        })?;
        let watched = Self {
            child,
            is_reaped: false,
            ended,
        };
        // The child stays unreaped, so that its number still means its group when that is killed.
        spawn_named("command-wait", WAIT_STACK_BYTES, move || {
            while let Err(rustix::io::Errno::INTR) = waitid(
                WaitId::Pid(pid),
                WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
            ) {}
            drop(held_until_end);
        })?;
        Ok(watched)
    }

    /// Becomes readable when the child has ended.
    pub(crate) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Kills what is left of the group of a child that has ended, and reaps the child.
    pub(crate) fn finish(&mut self) -> io::Result<CommandEnd> {
        self.kill_group();
        let status = self.child.wait()?;
        self.is_reaped = true;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => CommandEnd::Exited(code),
            (None, signal) => CommandEnd::Signalled(signal.unwrap_or(0)),
        })
    }

    fn kill_group(&self) {
        kill_group(Pid::from_child(&self.child).as_raw_nonzero().get());
    }
}

impl Drop for WatchedChild {
    fn drop(&mut self) {
        if self.is_reaped {
            return;
        }
        self.kill_group();
        let mut polled = [PollFd::new(&self.ended, PollFlags::IN)];
        if matches!(poll(&mut polled, Some(&to_timespec(KILL_LIMIT))), Ok(1..)) {
            // What cannot be waited for has been waited for.
            let _ = self.child.wait();
        } else {
            tracing::warn!(
                pid = self.child.id(),
                "a killed command hangs in the kernel"
            );
        }
    }
}

pub(crate) fn set_nonblocking(pipe: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(&pipe)? | OFlags::NONBLOCK;
    fcntl_setfl(&pipe, flags)?;
    Ok(())
}

pub(crate) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

pub(crate) fn to_timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
