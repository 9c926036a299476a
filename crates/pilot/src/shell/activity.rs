//! Activities: what blocks, each on a thread that bears its name.
//!
//! A thread that is done waits a while for the next activity, because a node full of short jobs
//! needs hundreds of them a second. An activity never waits for a thread: if none is idle, there is
//! a new one.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, SyncSender, channel},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use ailurus_pilot_core::Input;
use ailurus_process::spawn_named;

use super::{Message, lock};

/// Stack of a thread, in bytes. Only what is used of it becomes memory.
pub(super) const STACK_BYTES: usize = 1 << 20;
/// How long a thread waits for its next activity.
const IDLE_TIME: Duration = Duration::from_secs(5);
/// Most threads that wait.
const IDLE_MAX: usize = 4;

/// Starts activities.
#[derive(Debug, Clone)]
pub(super) struct Activities {
    sender: SyncSender<Message>,
    idle: Arc<Mutex<Vec<IdleThread>>>,
}

type Activity = Box<dyn FnOnce() + Send>;

/// A thread that waits. It takes itself off the list when its time is over.
#[derive(Debug)]
struct IdleThread {
    id: ThreadId,
    door: Sender<Errand>,
}

struct Errand {
    name: String,
    activity: Activity,
}

impl Activities {
    pub(super) fn new(sender: SyncSender<Message>) -> Self {
        Self {
            sender,
            idle: Arc::default(),
        }
    }

    /// Starts an activity, whose result goes into the channel. If it panics, or there is no room for
    /// its thread, `fallback` goes there.
    pub(super) fn start(
        &self,
        name: &str,
        fallback: Input,
        activity: impl FnOnce(&SyncSender<Message>) -> Input + Send + 'static,
    ) {
        let own_sender = self.sender.clone();
        let own_fallback = fallback.clone();
        let run = move || {
            let input = catch_unwind(AssertUnwindSafe(|| activity(&own_sender)));
            // The loop may have ended meanwhile; then nobody needs the result.
            let _ = own_sender.send(Message::Input(input.unwrap_or(own_fallback)));
        };
        if let Err(error) = self.run(name, run) {
            tracing::error!("no room for thread `{name}`: {error}");
            // The loop itself calls this, so it must not wait for room in its own channel.
            if let Err(error) = self.sender.try_send(Message::Input(fallback)) {
                tracing::error!("an input is lost: {error}");
            }
        }
    }

    /// Runs something that must not panic on a thread of its own.
    ///
    /// # Errors
    ///
    /// There is no room for a thread.
    pub(super) fn run(&self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut errand = Errand {
            name: name.to_owned(),
            activity: Box::new(run),
        };
        let next_idle = || lock(&self.idle).pop();
        while let Some(thread) = next_idle() {
            match thread.door.send(errand) {
                Ok(()) => return Ok(()),
                Err(returned) => errand = returned.0,
            }
        }
        let idle = self.idle.clone();
        spawn_named(name, STACK_BYTES, move || live(&idle, errand.activity)).map(drop)
    }
}

/// The life of a thread.
fn live(idle: &Mutex<Vec<IdleThread>>, first: Activity) {
    first();
    let (door, errands) = channel();
    while wait_in_line(idle, &door)
        && let Some(errand) = next(idle, &errands)
    {
        rename(&errand.name);
        (errand.activity)();
    }
}

/// Says whether the thread may wait for another activity.
fn wait_in_line(idle: &Mutex<Vec<IdleThread>>, door: &Sender<Errand>) -> bool {
    let mut waiting = lock(idle);
    let has_place = waiting.len() < IDLE_MAX;
    if has_place {
        waiting.push(IdleThread {
            id: thread::current().id(),
            door: door.clone(),
        });
    }
    has_place
}

fn next(idle: &Mutex<Vec<IdleThread>>, errands: &Receiver<Errand>) -> Option<Errand> {
    if let Ok(errand) = errands.recv_timeout(IDLE_TIME) {
        return Some(errand);
    }
    let own = thread::current().id();
    let mut waiting = lock(idle);
    if let Some(place) = waiting.iter().position(|thread| thread.id == own) {
        waiting.remove(place);
        return None;
    }
    drop(waiting);
    // Somebody took it off the list, and is about to hand over an errand.
    errands.recv().ok()
}

/// Gives the thread the name of what it does now, for `ps -L` and debuggers.
fn rename(name: &str) {
    let shown = &name[..name.floor_char_boundary(15)];
    if let Ok(name) = std::ffi::CString::new(shown) {
        // A wrong name harms nobody.
        let _ = rustix::thread::set_name(&name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_thread_that_is_done_takes_the_next_activity_under_its_name() {
        let (sender, receiver) = sync_channel(1);
        let activities = Activities::new(sender);
        let (tell, told) = channel();
        let name_and_id = || {
            let name = rustix::thread::name().map(|name| name.to_string_lossy().into_owned());
            (name.unwrap_or_default(), thread::current().id())
        };
        let mut ids = Vec::new();
        for name in ["first", "second-with-a-long-name"] {
            let tell = tell.clone();
            let run = move || tell.send(name_and_id()).expect("somebody listens");
            activities.run(name, run).expect("room for a thread");
            let (shown, id) = told.recv().expect("it runs");
            assert_eq!(shown, name[..name.len().min(15)]);
            ids.push(id);
            while lock(&activities.idle).is_empty() {
                thread::yield_now();
            }
        }
        assert_eq!(ids[0], ids[1]);
        drop(receiver);
    }

    #[test]
    fn activities_at_the_same_time_have_threads_of_their_own() {
        let (sender, _receiver) = sync_channel(1);
        let activities = Activities::new(sender);
        let meeting = Arc::new(std::sync::Barrier::new(9));
        for _ in 0..8 {
            let meeting = meeting.clone();
            let run = move || {
                meeting.wait();
            };
            activities.run("guest", run).expect("room for a thread");
        }
        meeting.wait();
    }

    #[test]
    fn an_activity_that_panics_sends_its_fallback() {
        let (sender, receiver) = sync_channel(1);
        let activities = Activities::new(sender);
        activities.start("bad", Input::WorkerReported, |_| panic!("on purpose"));
        let message = receiver.recv().expect("something comes");
        assert!(matches!(message, Message::Input(Input::WorkerReported)));
    }
}
