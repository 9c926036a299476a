//! Carries bytes between two sockets in one thread, as many and as fast as told.
//!
//! One thread a connection has both sockets for itself, so that it can reset them at an exact
//! byte; neither direction ever waits for the other.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes in flight of each direction.
const BUFFER_BYTES: usize = 64 * 1024;

/// How often a wait looks whether it is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Why bytes no longer pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have ended it.
    BySides,
    /// As many bytes as were allowed have passed.
    Limit,
    /// The proxy cuts it.
    Cut,
    /// The proxy resets it.
    Reset,
}

/// One direction: what was read and not yet written.
#[derive(Debug)]
struct Direction<'sockets> {
    from: &'sockets TcpStream,
    to: &'sockets TcpStream,
    buffer: Vec<u8>,
    n_written: usize,
    has_ended: bool,
}

/// Two sockets and what is between them.
#[derive(Debug)]
pub(super) struct Relay<'sockets> {
    directions: [Direction<'sockets>; 2],
    n_read: u64,
    n_passed: u64,
    total: &'sockets AtomicU64,
    bytes_per_second: Option<u64>,
}

impl<'sockets> Relay<'sockets> {
    /// Puts itself between two sockets, and adds the bytes that pass to a total.
    pub(super) const fn new(
        client: &'sockets TcpStream,
        server: &'sockets TcpStream,
        total: &'sockets AtomicU64,
    ) -> Self {
        Self {
            directions: [
                Direction::new(client, server),
                Direction::new(server, client),
            ],
            n_read: 0,
            n_passed: 0,
            total,
            bytes_per_second: None,
        }
    }

    /// Makes what follows no faster than this.
    pub(super) const fn slow_down(&mut self, bytes_per_second: u64) {
        self.bytes_per_second = Some(bytes_per_second);
    }

    /// Lets bytes pass until both sides have ended or, if there is a limit, so many have passed.
    pub(super) fn pass(&mut self, limit: Option<u64>) -> io::Result<End> {
        for direction in &self.directions {
            direction.from.set_nonblocking(true)?;
            direction.from.set_nodelay(true)?;
        }
        let start = Instant::now();
        loop {
            if limit.is_some_and(|limit| self.n_passed >= limit) {
                return Ok(End::Limit);
            }
            let has_ended = |it: &Direction<'_>| it.has_ended && it.buffer.is_empty();
            if self.directions.iter().all(has_ended) {
                return Ok(End::BySides);
            }
            let allowed = self.allowed(start.elapsed(), limit);
            if allowed == 0 {
                self.wait_for_space(LOOK_INTERVAL)?;
            } else {
                self.wait_for_bytes()?;
            }
            let mut room = allowed;
            for direction in &mut self.directions {
                let n_read = direction.read(room)?;
                room -= n_read as u64;
                self.n_read += n_read as u64;
                let n_written = direction.write()?;
                self.n_passed += n_written;
                self.total.fetch_add(n_written, Ordering::SeqCst);
            }
        }
    }

    /// Says how many bytes may be read.
    fn allowed(&self, elapsed: Duration, limit: Option<u64>) -> u64 {
        let by_limit = limit.map_or(u64::MAX, |limit| limit - self.n_read.min(limit));
        let by_speed = self.bytes_per_second.map_or(u64::MAX, |speed| {
            let due = u128::from(speed) * elapsed.as_millis() / 1000;
            u64::try_from(due).map_or(u64::MAX, |due| due.saturating_sub(self.n_read))
        });
        by_limit.min(by_speed)
    }

    /// Lets nothing pass until `is_over`, at most for `limit`; ends if a side leaves altogether.
    pub(super) fn hold(&self, limit: Duration, is_over: impl Fn() -> bool) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < limit && !is_over() {
            let left = limit.saturating_sub(start.elapsed());
            // Asked for nothing, the kernel tells only of ends and errors.
            let mut sockets = [
                PollFd::new(self.directions[0].from, PollFlags::empty()),
                PollFd::new(self.directions[1].from, PollFlags::empty()),
            ];
            wait(&mut sockets, left.min(LOOK_INTERVAL))?;
            if sockets.iter().any(|socket| !socket.revents().is_empty()) {
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }

    fn wait_for_bytes(&self) -> io::Result<()> {
        let wanted = |this: &Direction<'_>, other: &Direction<'_>| {
            let mut flags = PollFlags::empty();
            if this.buffer.is_empty() && !this.has_ended {
                flags |= PollFlags::IN;
            }
            if !other.buffer.is_empty() {
                flags |= PollFlags::OUT;
            }
            flags
        };
        let [one, two] = &self.directions;
        let mut sockets = Vec::new();
        for (this, other) in [(one, two), (two, one)] {
            let flags = wanted(this, other);
            // A socket of which nothing is wanted would report its end again and again.
            if !flags.is_empty() {
                sockets.push(PollFd::new(this.from, flags));
            }
        }
        wait(&mut sockets, Duration::from_secs(1))
    }

    fn wait_for_space(&self, limit: Duration) -> io::Result<()> {
        let mut sockets: Vec<PollFd<'_>> = self
            .directions
            .iter()
            .filter(|direction| !direction.buffer.is_empty())
            .map(|direction| PollFd::new(direction.to, PollFlags::OUT))
            .collect();
        wait(&mut sockets, limit)
    }
}

impl<'sockets> Direction<'sockets> {
    const fn new(from: &'sockets TcpStream, to: &'sockets TcpStream) -> Self {
        Self {
            from,
            to,
            buffer: Vec::new(),
            n_written: 0,
            has_ended: false,
        }
    }

    /// Reads what is there, at most `room` bytes, if everything before was written.
    fn read(&mut self, room: u64) -> io::Result<usize> {
        if self.has_ended || !self.buffer.is_empty() || room == 0 {
            return Ok(0);
        }
        let room = usize::try_from(room).map_or(BUFFER_BYTES, |room| room.min(BUFFER_BYTES));
        self.buffer.resize(room, 0);
        let result = (&*self.from).read(&mut self.buffer);
        let n_read = match &result {
            Ok(n_read) => *n_read,
            Err(_) => 0,
        };
        self.buffer.truncate(n_read);
        match result {
            Ok(0) => {
                self.has_ended = true;
                drop(self.to.shutdown(Shutdown::Write));
                Ok(0)
            }
            Ok(n_read) => Ok(n_read),
            Err(error) if is_not_now(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Writes what there is room for, and returns how much.
    fn write(&mut self) -> io::Result<u64> {
        let before = self.n_written;
        while self.n_written < self.buffer.len() {
            match (&*self.to).write(&self.buffer[self.n_written..]) {
                Ok(n_bytes) => self.n_written += n_bytes,
                Err(error) if is_not_now(&error) => break,
                Err(error) => return Err(error),
            }
        }
        let n_bytes = self.n_written - before;
        if self.n_written == self.buffer.len() {
            self.buffer.clear();
            self.n_written = 0;
        }
        Ok(n_bytes as u64)
    }
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn wait(sockets: &mut [PollFd<'_>], limit: Duration) -> io::Result<()> {
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    match poll(sockets, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
