//! Starts a payload's first process as `posix_spawn` does: the new process borrows the guard's
//! memory until it executes its program, so no page is copied.
//!
//! What is not in `posix_spawn`, and why this is here: the new process asks to die with the guard,
//! adopts the orphans of its descendants, enters its control group, and takes limits and CPUs.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    ptr,
    sync::atomic::{AtomicBool, AtomicI32, Ordering},
};

use rustix::{io::Errno, process::Pid};

use super::signals;
use crate::{Enforcement, protocol::Spec};

/// Stack of a new process until it executes its program, in bytes. It calls nothing deep.
const STACK_BYTES: usize = 64 << 10;

/// What a shell runs a file with that is executable and names no interpreter.
const SCRIPT_SHELL: &CStr = c"/bin/sh";

/// The file that says how soon the kernel picks a process when memory is short.
const OOM_SCORE: &CStr = c"/proc/self/oom_score_adj";

/// How much sooner a payload is picked than the guard and the pilot, in thousandths of the memory.
const OOM_SCORE_OF_PAYLOAD: i32 = 200;

/// The highest value of that file.
const OOM_SCORE_MAX: i32 = 1000;

/// Exit code of a process that could not execute its program; nobody sees it.
const EXIT_NOT_EXECUTED: c_int = 127;

/// Starts processes, one at a time.
#[derive(Debug)]
pub(super) struct Launcher {
    /// Sixteen bytes are the alignment that stacks want.
    stack: Box<[u128]>,
    guard: c_int,
    oom_score: String,
}

/// Where a payload is to run.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) stdout: BorrowedFd<'a>,
    pub(super) stderr: BorrowedFd<'a>,
    /// The file of a control group that a process enters by writing to it.
    pub(super) group: Option<BorrowedFd<'a>>,
}

/// All that the new process needs, made ready before: it may not allocate.
struct Plan<'a> {
    program: *const c_char,
    cwd: *const c_char,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    stdout: RawFd,
    stderr: RawFd,
    group: Option<RawFd>,
    /// One bit a CPU; empty for no change.
    cpu_mask: Vec<u8>,
    limits: Vec<(c_int, libc::rlimit)>,
    oom_score: &'a [u8],
    guard: c_int,
    /// Why the program could not be executed.
    errno: AtomicI32,
    /// Whether the kernel has refused the CPUs, of which none may be this process's.
    has_no_cpus: AtomicBool,
}

/// A payload that has been started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Launched {
    pub(super) pid: Pid,
    /// What it runs on, if CPUs were asked for.
    pub(super) cpus: Enforcement,
}

impl Launcher {
    pub(super) fn new() -> Self {
        let own_score: i32 = std::fs::read_to_string("/proc/self/oom_score_adj")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        let score = own_score
            .saturating_add(OOM_SCORE_OF_PAYLOAD)
            .min(OOM_SCORE_MAX);
        Self {
            stack: vec![0; STACK_BYTES / size_of::<u128>()].into(),
            guard: rustix::process::getpid().as_raw_nonzero().get(),
            oom_score: score.to_string(),
        }
    }

    /// Starts the payload in a session and process group of its own.
    pub(super) fn launch(
        &mut self,
        spec: &Spec<'_>,
        at: &Surroundings<'_>,
    ) -> Result<Launched, Errno> {
        let argv: Vec<*const c_char> = spec.argv.iter().map(|it| it.as_ptr()).collect();
        match self.launch_program(spec, spec.program, argv, at) {
            // What `execvp` and every shell do with such a file.
            Err(Errno::NOEXEC) if !is_binary(spec) => {
                let words = [SCRIPT_SHELL.as_ptr(), spec.program.as_ptr()];
                let rest = spec.argv.iter().skip(1).map(|it| it.as_ptr());
                let argv = words.into_iter().chain(rest).collect();
                self.launch_program(spec, SCRIPT_SHELL, argv, at)
            }
            result => result,
        }
    }

    fn launch_program(
        &mut self,
        spec: &Spec<'_>,
        program: &CStr,
        argv: Vec<*const c_char>,
        at: &Surroundings<'_>,
    ) -> Result<Launched, Errno> {
        let env = spec.env.iter().map(|it| it.as_ptr()).collect();
        let plan = Plan {
            program: program.as_ptr(),
            cwd: spec.cwd.as_ptr(),
            argv: ended_by_null(argv),
            env: ended_by_null(env),
            stdout: at.stdout.as_raw_fd(),
            stderr: at.stderr.as_raw_fd(),
            group: at.group.map(|group| group.as_raw_fd()),
            cpu_mask: cpu_mask(&spec.confinement.cpus),
            limits: resource_limits(spec),
            oom_score: self.oom_score.as_bytes(),
            guard: self.guard,
            errno: AtomicI32::new(0),
            has_no_cpus: AtomicBool::new(false),
        };
        let pid = clone_borrowing_memory(&mut self.stack, &plan)?;
        let cpus = match (plan.cpu_mask.is_empty(), plan.has_no_cpus.into_inner()) {
            (true, _) => Enforcement::NotAsked,
            (false, false) => Enforcement::Process,
            (false, true) => Enforcement::Nothing,
        };
        Ok(Launched { pid, cpus })
    }
}

/// Starts a process that carries out the plan, and waits until it has executed its program or has
/// failed to.
#[expect(unsafe_code, reason = "no safe interface starts a process so cheaply")]
fn clone_borrowing_memory(stack: &mut [u128], plan: &Plan<'_>) -> Result<Pid, Errno> {
    // SAFETY: this process has one thread, which sleeps until the new one has executed its program
    // or ended (CLONE_VFORK); the new one has the stack for itself meanwhile, which grows down
    // from its end. All signals are blocked in both, so no handler runs in borrowed memory.
    let number = unsafe {
        libc::clone(
            carry_out,
            stack.as_mut_ptr_range().end.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            ptr::from_ref(plan).cast_mut().cast(),
        )
    };
    let Some(child) = Pid::from_raw(number).filter(|_| number > 0) else {
        return Err(last_error());
    };
    match plan.errno.load(Ordering::Relaxed) {
        0 => Ok(child),
        errno => {
            // It has ended by now.
            let _ = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
            Err(Errno::from_raw_os_error(errno))
        }
    }
}

/// What the new process does. It allocates nothing, takes no lock and never returns.
#[expect(unsafe_code, reason = "the new process may only make system calls")]
extern "C" fn carry_out(plan: *mut c_void) -> c_int {
    // SAFETY: the plan outlives this function, because its owner sleeps until then. Only system
    // calls are made, on what the plan holds.
    unsafe {
        let plan = &*plan.cast::<Plan<'_>>();
        if become_payload(plan) {
            libc::execve(plan.program, plan.argv.as_ptr(), plan.env.as_ptr());
        }
        plan.errno
            .store(last_error().raw_os_error(), Ordering::Relaxed);
        libc::_exit(EXIT_NOT_EXECUTED)
    }
}

/// Does what must be done before the program begins; false with the error in `errno`.
///
/// # Safety
///
/// Only for a new process that shares memory with its sleeping parent.
#[expect(unsafe_code, reason = "the new process may only make system calls")]
unsafe fn become_payload(plan: &Plan<'_>) -> bool {
    // SAFETY: system calls on numbers, and on memory that the plan holds.
    unsafe {
        let has_guard = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0
            // The guard may have died before the request was made.
            && libc::getppid() == plan.guard;
        if !has_guard
            || libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) != 0
            || libc::setsid() < 0
            || libc::dup2(plan.stdout, libc::STDOUT_FILENO) < 0
            || libc::dup2(plan.stderr, libc::STDERR_FILENO) < 0
            || libc::chdir(plan.cwd) != 0
        {
            return false;
        }
        if let Some(group) = plan.group
            && libc::write(group, c"0".as_ptr().cast(), 1) != 1
        {
            return false;
        }
        for (resource, limit) in &plan.limits {
            if libc::syscall(libc::SYS_prlimit64, 0, *resource, limit, 0) != 0 {
                return false;
            }
        }
        if !plan.cpu_mask.is_empty() {
            let (length, mask) = (plan.cpu_mask.len(), plan.cpu_mask.as_ptr());
            let result = libc::syscall(libc::SYS_sched_setaffinity, 0, length, mask);
            plan.has_no_cpus.store(result < 0, Ordering::Relaxed);
        }
        // Refused at worst, which leaves the order as it was.
        let score = libc::open(OOM_SCORE.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if score >= 0 {
            libc::write(score, plan.oom_score.as_ptr().cast(), plan.oom_score.len());
            libc::close(score);
        }
        signals::reset_in_child();
        true
    }
}

fn ended_by_null(mut texts: Vec<*const c_char>) -> Vec<*const c_char> {
    texts.push(ptr::null());
    texts
}

/// Core files and the largest file. A soft limit above the hard one is not asked for.
fn resource_limits(spec: &Spec<'_>) -> Vec<(c_int, libc::rlimit)> {
    use rustix::process::{Resource, getrlimit};
    let hard = |resource| getrlimit(resource).maximum.unwrap_or(libc::RLIM_INFINITY);
    let both = |limit| libc::rlimit {
        rlim_cur: limit,
        rlim_max: limit,
    };
    let core = spec.core_max_bytes.unwrap_or(libc::RLIM_INFINITY);
    let core = core.min(hard(Resource::Core));
    let file = spec
        .confinement
        .file_max_bytes
        .map(|limit| (RLIMIT_FSIZE, both(limit.min(hard(Resource::Fsize)))));
    [(RLIMIT_CORE, both(core))]
        .into_iter()
        .chain(file)
        .collect()
}

/// Linux's numbers, which the C libraries type differently.
const RLIMIT_FSIZE: c_int = 1;
const RLIMIT_CORE: c_int = 4;

/// Returns the kernel's set of CPUs: bit `n` of the whole for CPU `n`, in whole words.
fn cpu_mask(cpus: &[u32]) -> Vec<u8> {
    const WORD_BYTES: usize = size_of::<u64>();
    let Some(highest) = cpus.iter().max() else {
        return Vec::new();
    };
    let index = |cpu: u32| usize::try_from(cpu / 8).unwrap_or(usize::MAX);
    // The protocol bounds how many are named; no kernel has more than this.
    let highest = index(*highest).min(usize::from(u16::MAX));
    let mut mask = vec![0; (highest + 1).next_multiple_of(WORD_BYTES)];
    for cpu in cpus {
        if let Some(byte) = mask.get_mut(index(*cpu)) {
            *byte |= 1 << (cpu % 8);
        }
    }
    mask
}

/// Says whether the program is a binary, which no shell can run.
fn is_binary(spec: &Spec<'_>) -> bool {
    use std::{ffi::OsStr, fs::File, io::Read, os::unix::ffi::OsStrExt, path::Path};
    let path = |text: &CStr| Path::new(OsStr::from_bytes(text.to_bytes())).to_owned();
    let mut head = [b' '; 256];
    let read = File::open(path(spec.cwd).join(path(spec.program)))
        .and_then(|mut file| file.read(&mut head));
    read.is_err() || head.starts_with(b"\x7FELF") || head.contains(&0)
}

fn last_error() -> Errno {
    let number = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    Errno::from_raw_os_error(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_cpus_is_in_whole_words() {
        assert_eq!(cpu_mask(&[]), []);
        assert_eq!(cpu_mask(&[0, 3]), [9, 0, 0, 0, 0, 0, 0, 0]);
        let mask = cpu_mask(&[64]);
        assert_eq!((mask.len(), mask[8]), (16, 1));
        assert_eq!(cpu_mask(&[u32::MAX]).len(), 1 << 16);
    }
}
