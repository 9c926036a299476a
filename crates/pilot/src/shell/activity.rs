//! Activities: what blocks, each on a thread of its own with a name.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::SyncSender,
};

use ailurus_pilot_core::Input;
use ailurus_process::spawn_named;

use super::Message;

/// Stack of a thread, in bytes. Only what is used of it becomes memory.
pub(super) const STACK_BYTES: usize = 1 << 20;

/// Starts an activity, whose result goes into the channel. If it panics, or there is no room for
/// its thread, `fallback` goes there.
pub(super) fn spawn(
    sender: &SyncSender<Message>,
    name: &str,
    fallback: Input,
    activity: impl FnOnce(&SyncSender<Message>) -> Input + Send + 'static,
) {
    let own_sender = sender.clone();
    let own_fallback = fallback.clone();
    let run = move || {
        let input = catch_unwind(AssertUnwindSafe(|| activity(&own_sender)));
        // The loop may have ended meanwhile; then nobody needs the result.
        let _ = own_sender.send(Message::Input(input.unwrap_or(own_fallback)));
    };
    if let Err(error) = spawn_named(name, STACK_BYTES, run) {
        tracing::error!("no room for thread `{name}`: {error}");
        // The loop itself calls this, so it must not wait for room in its own channel.
        if let Err(error) = sender.try_send(Message::Input(fallback)) {
            tracing::error!("an input is lost: {error}");
        }
    }
}
