//! The guard: the process between the pilot and its payloads.
//!
//! It is the subreaper of all that the payloads start, in a session of its own, so it outlives a
//! kill of the pilot's process group and still sees the pilot's death: the end of the socket that
//! was its standard input. It has one thread, so no process number can be reused between the look
//! at it and a signal to it. One guard serves any number of payloads ([`watch`]): it starts them at
//! the cost of `posix_spawn` ([`launch`]), and ends all that they leave behind ([`sweep`]).
//!
//! Whose an orphan is, is always known: each payload's first process adopts the orphans of its own
//! descendants as long as it lives, so what else the guard has for children was left by a payload
//! that has ended.

mod groups;
mod launch;
mod payload;
mod signals;
mod sweep;
mod watch;

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    io::fcntl_dupfd_cloexec,
    process::{getpid, set_child_subreaper, setsid},
};

pub(crate) use sweep::{kill_group, kill_one};

/// The hidden first argument that makes an executable the guard of payloads.
pub const GUARD_ARGUMENT: &str = "__payload-guard";

/// Exit code of a guard that could not begin.
const EXIT_BROKEN: i32 = 70;

/// Becomes the guard and never returns, if the first argument asks for it; else does nothing.
///
/// Must be the first call of a `main` that starts payloads.
#[expect(clippy::exit, reason = "the guard is a process of its own")]
pub fn run_if_asked() {
    if std::env::args_os().nth(1).as_deref() == Some(OsStr::new(GUARD_ARGUMENT)) {
        std::process::exit(match run() {
            Ok(()) => 0,
            Err(_) => EXIT_BROKEN,
        });
    }
}

fn run() -> io::Result<()> {
    close_inherited_files()?;
    let pilot = take_standard_input()?;
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    signals::prepare()?;
    watch::Guard::new(pilot).watch();
    Ok(())
}

/// Closes all files but the three standard ones, also those that the pilot got from whatever
/// started it: a guard or a payload that holds a batch system's pipe would hang its slot.
#[expect(unsafe_code, reason = "the kernel lists open files by number only")]
fn close_inherited_files() -> io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in open {
        // The one that listed the directory is closed already.
        let is_open = std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
        if is_open {
            // SAFETY: this process has just begun and has one thread, so nothing in it owns a file
            // above the standard ones.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    Ok(())
}

/// Takes the socket to the pilot from standard input, which payloads inherit as `/dev/null`.
fn take_standard_input() -> io::Result<UnixStream> {
    const FIRST_BEHIND_STANDARD_FILES: i32 = 3;
    let socket = fcntl_dupfd_cloexec(io::stdin().as_fd(), FIRST_BEHIND_STANDARD_FILES)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(socket))
}
