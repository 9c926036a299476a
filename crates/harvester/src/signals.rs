//! SIGTERM and SIGINT as events. Signals that come on and on each make one.

use std::{
    io::{self, Read as _},
    os::unix::net::UnixStream,
    sync::mpsc::SyncSender,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::pipe,
};

use crate::shell::Event;

/// Starts the thread `signals`, which turns signals into [`Event::Stop`].
pub(crate) fn listen(events: SyncSender<Event>) -> io::Result<()> {
    let (mut read_end, write_end) = UnixStream::pair()?;
    pipe::register(SIGTERM, write_end.try_clone()?)?;
    pipe::register(SIGINT, write_end)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut byte = [0];
            while read_end.read_exact(&mut byte).is_ok() {
                if events.send(Event::Stop).is_err() {
                    return;
                }
            }
        })?;
    Ok(())
}
