//! What becomes of a payload whose guard was killed by somebody, the kernel's out-of-memory killer
//! for one: the pilot inherits the orphans and kills them.

use std::{
    collections::BTreeSet,
    io,
    process::Child,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};

use crate::{
    descendants::{Process, all_processes, descendants_of},
    guard::kill_one,
};

/// How long to go on killing before what is left counts as unkillable.
const KILL_LIMIT: Duration = Duration::from_secs(20);

/// Pause between two looks: nothing tells when another process's child has ended.
const KILL_PAUSE: Duration = Duration::from_millis(5);

/// The guards that this process has started and not yet waited for.
static GUARDS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// What a lost guard left behind.
pub(crate) struct Killed {
    pub(crate) n_found: u32,
    pub(crate) n_unkillable: u32,
}

/// Makes this process inherit the orphans of its descendants.
pub(crate) fn adopt() {
    // Without it only the first guard against orphans is there, the guard process itself.
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        tracing::warn!(%error, "this process cannot inherit orphans");
    }
}

/// Starts a guard and remembers it at one stroke, so that it is never taken for an orphan.
pub(crate) fn guard_begins(start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
    with_guards(|guards| {
        let guard = start()?;
        guards.insert(number(guard.id()));
        Ok(guard)
    })
}

pub(crate) fn guard_ended(guard: u32) {
    with_guards(|guards| guards.remove(&number(guard)));
}

/// Kills what the guard's payload had started. The guard itself must have been waited for.
pub(crate) fn kill_after_lost_guard(guard: u32) -> Killed {
    // One at a time: the number of an orphan that one has waited for may be somebody else's when
    // another kills it.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let begin = Instant::now();
    let mut found = BTreeSet::new();
    loop {
        let victims = orphans_of(number(guard), &all_processes());
        let alive = victims.iter().filter(|it| !it.is_zombie);
        found.extend(alive.clone().map(|it| it.pid));
        let n_alive = alive.clone().count();
        alive.for_each(|it| kill_one(it.pid));
        victims.iter().for_each(|it| reap(it.pid));
        if n_alive == 0 || begin.elapsed() > KILL_LIMIT {
            return Killed {
                n_found: u32::try_from(found.len()).unwrap_or(u32::MAX),
                n_unkillable: u32::try_from(n_alive).unwrap_or(u32::MAX),
            };
        }
        thread::sleep(KILL_PAUSE);
    }
}

/// Finds a lost guard's processes: those of its session, this process's children that left it for
/// a session of their own, and the descendants of both.
///
/// A child of this process that is no orphan is in this process's session, or is a guard.
fn orphans_of(guard: i32, processes: &[Process]) -> Vec<Process> {
    let own = getpid().as_raw_nonzero().get();
    let own_session = processes
        .iter()
        .find(|it| it.pid == own)
        .map(|it| it.session);
    let guards = with_guards(|guards| guards.clone());
    let roots = processes.iter().filter(|it| {
        it.pid != own
            && (it.session == guard
                || (it.parent == own
                    && own_session.is_some_and(|session| session != it.session)
                    && !guards.contains(&it.pid)))
    });
    let mut orphans: Vec<Process> = Vec::new();
    for root in roots {
        orphans.push(*root);
        orphans.extend(descendants_of(root.pid, processes));
    }
    orphans.sort_by_key(|it| it.pid);
    orphans.dedup_by_key(|it| it.pid);
    orphans
}

/// Waits for an adopted orphan, if it is one and has ended.
fn reap(pid: i32) {
    let _ = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
}

fn with_guards<T>(change: impl FnOnce(&mut BTreeSet<i32>) -> T) -> T {
    change(&mut GUARDS.lock().unwrap_or_else(PoisonError::into_inner))
}

fn number(pid: u32) -> i32 {
    i32::try_from(pid).unwrap_or(i32::MAX)
}
