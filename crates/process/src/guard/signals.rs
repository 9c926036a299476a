//! How the guard takes signals: never, but while it waits for something to happen.

use std::{io, ptr};

use rustix::event::{PollFd, Timespec};

/// Signals that a batch system sends to all processes of a slot: the pilot decides on them. A
/// closed socket is seen where it is written.
const NOTED: [i32; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGXCPU,
    libc::SIGPIPE,
    libc::SIGCHLD,
];

/// The highest number of a signal.
const HIGHEST: i32 = 64;

/// Does nothing: the signal has interrupted the wait, which is all it is for.
extern "C" fn note(_signal: i32) {}

/// Blocks all signals, and makes those of a batch system and `SIGCHLD` harmless.
///
/// No signal stays ignored, because one that is ignored would be so in the payload too.
#[expect(unsafe_code, reason = "dispositions of signals are set by pointer")]
pub(super) fn prepare() -> io::Result<()> {
    // SAFETY: all structures are valid for the calls, zeroed memory is a valid initial state for
    // them, and the handler does nothing, so it is safe at any time.
    unsafe {
        for signal in 1..=HIGHEST {
            let mut action: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, ptr::null(), &raw mut action) == 0
                && action.sa_sigaction == libc::SIG_IGN
            {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        for signal in NOTED {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as *const () as usize;
            if libc::sigaction(signal, &raw const action, ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
            libc::sigdelset(&raw mut all, fault);
        }
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Gives a new process the signals that every program expects. Safe between fork and exec.
///
/// # Safety
///
/// The process must have its own table of handlers.
#[expect(unsafe_code, reason = "dispositions of signals are set by pointer")]
pub(super) unsafe fn reset_in_child() {
    // SAFETY: only system calls are made, on this process's own table and mask.
    unsafe {
        for signal in NOTED {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Waits until a file is ready, a signal comes, or the limit is over. Signals are taken only here,
/// so none can come between a look at what there is and the wait for more.
#[expect(unsafe_code, reason = "rustix polls without a signal mask")]
pub(super) fn wait_ready(files: &mut [PollFd<'_>], limit: Option<&Timespec>) {
    let count = libc::nfds_t::try_from(files.len()).unwrap_or(0);
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: limit.tv_sec,
        tv_nsec: limit.tv_nsec,
    });
    // SAFETY: `PollFd` has the layout of `pollfd`, as its documentation promises; the other
    // pointers are valid for the call or null where that means "none". An interruption is as good
    // as an event, so the result does not matter: the caller looks at everything again.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::ppoll(
            files.as_mut_ptr().cast(),
            count,
            limit.as_ref().map_or(ptr::null(), ptr::from_ref),
            &raw const none,
        );
    }
}
