//! The one way in which threads are started.

use std::{io, thread};

/// Starts a thread with a name, which shows in `ps -L`, debuggers and logs.
///
/// `name` shows with at most 15 bytes. `stack_bytes` is the size of its stack in bytes.
///
/// # Errors
///
/// The operating system's, if it has no room for another thread.
pub fn spawn_named<T, F>(
    name: &str,
    stack_bytes: usize,
    activity: F,
) -> io::Result<thread::JoinHandle<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let own_name = name.to_owned();
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(stack_bytes)
        .spawn(move || {
            let outcome = activity();
            tracing::trace!(thread = own_name, "thread ended");
            outcome
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_its_name_and_gives_its_result() {
        let handle = spawn_named("stage-in", 256 << 10, || {
            thread::current().name().map(str::to_owned)
        });
        let name = handle.expect("room for a thread").join().expect("no panic");
        assert_eq!(name.as_deref(), Some("stage-in"));
    }
}
