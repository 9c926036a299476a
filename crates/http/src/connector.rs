//! TCP connections that can be given up while they wait, and that keep an answer that comes early.
//!
//! The library's own connection blocks until its time is up. [`TcpConnector`] makes connections
//! that wake a few times a second and look at the thread's [`Wait`]. [`EarlyAnswerConnector`]
//! stands above encryption: a server that refuses a body while it is sent answers and hangs up,
//! so that sending fails although an answer is there to be read.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, connect, recv, socket_with, sockopt},
};
use ureq::{
    Error, Proxy, ProxyProtocol, Timeout,
    unversioned::transport::{
        Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    },
};

use crate::{
    spelling::spell_head,
    wait::{GivenUp, Wait},
};

/// Longest sleep before the switch is looked at again.
const TICK: Duration = Duration::from_millis(250);

/// How long an early answer may take to arrive after sending has failed.
const EARLY_ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How a permission to send the body begins.
const PERMISSION: &[u8] = b"HTTP/1.1 100 ";

/// Most bytes of an early answer.
const EARLY_ANSWER_MAX_BYTES: usize = 64 << 10;

/// Opens TCP connections, unless a proxy's is there already.
#[derive(Debug)]
pub(crate) struct TcpConnector;

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, TcpTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if let Some(chained) = chained {
            return Ok(Some(Either::A(chained)));
        }
        let config = details.config;
        if config.proxy().is_some_and(is_socks) {
            return Err(Error::InvalidProxyUrl);
        }
        let limit = Limit::new(details.timeout);
        let stream = connect_any(&details.addrs, &limit)?;
        stream.set_nodelay(true)?;
        let ends = stream.local_addr().ok().zip(stream.peer_addr().ok());
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Either::B(TcpTransport {
            stream,
            ends,
            buffers,
            read_tick: None,
            write_tick: None,
            is_write_closed: false,
        })))
    }
}

fn is_socks(proxy: &Proxy) -> bool {
    !matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
}

/// Until when an operation may wait.
struct Limit {
    deadline: Option<Instant>,
    reason: Timeout,
    wait: Option<Arc<Wait>>,
}

impl Limit {
    fn new(timeout: NextTimeout) -> Self {
        Self {
            deadline: timeout.not_zero().map(|left| Instant::now() + *left),
            reason: timeout.reason,
            wait: Wait::current(),
        }
    }

    /// Returns how long to sleep before asking again.
    fn next(&self) -> Result<Duration, Error> {
        let mut left = TICK;
        if let Some(wait) = &self.wait {
            if wait.is_stopped() {
                return Err(Error::Other(Box::new(GivenUp)));
            }
            left = left.min(wait.left());
        }
        let mut reason = Timeout::PerRead;
        if let Some(deadline) = self.deadline {
            let until = deadline.saturating_duration_since(Instant::now());
            if until < left {
                (left, reason) = (until, self.reason);
            }
        }
        if left.is_zero() {
            return Err(Error::Timeout(reason));
        }
        // Zero would mean no limit to the kernel.
        Ok(left.max(Duration::from_millis(1)))
    }
}

/// Tries a host's addresses in order; each but the last has half of the time that is left.
fn connect_any(addresses: &[SocketAddr], limit: &Limit) -> Result<TcpStream, Error> {
    let mut failed = Error::ConnectionFailed;
    for (nr, address) in addresses.iter().enumerate() {
        let is_last = nr + 1 == addresses.len();
        let share = Limit {
            deadline: limit.deadline.map(|deadline| {
                let now = Instant::now();
                let left = deadline.saturating_duration_since(now);
                now + if is_last { left } else { left / 2 }
            }),
            reason: Timeout::Connect,
            wait: limit.wait.clone(),
        };
        match connect_one(*address, &share) {
            Ok(stream) => return Ok(stream),
            Err(error @ Error::Other(_)) => return Err(error),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn connect_one(address: SocketAddr, limit: &Limit) -> Result<TcpStream, Error> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None).map_err(of_errno)?;
    match connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::INPROGRESS | Errno::INTR) => loop {
            let left = limit.next()?;
            let tick = Timespec::try_from(left).map_err(|_| Error::ConnectionFailed)?;
            let mut waiting = [PollFd::new(&socket, PollFlags::OUT)];
            match poll(&mut waiting, Some(&tick)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => break,
                Err(errno) => return Err(of_errno(errno)),
            }
        },
        Err(errno) => return Err(of_errno(errno)),
    }
    sockopt::socket_error(&socket)
        .map_err(of_errno)?
        .map_err(of_errno)?;
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn of_errno(errno: Errno) -> Error {
    Error::Io(errno.into())
}

/// A connection and its buffers.
#[derive(Debug)]
pub(crate) struct TcpTransport {
    stream: TcpStream,
    /// This end and the peer's.
    ends: Option<(SocketAddr, SocketAddr)>,
    buffers: LazyBuffers,
    /// The limits that the kernel knows, so that they are set only when they change.
    read_tick: Option<Duration>,
    write_tick: Option<Duration>,
    /// The peer takes nothing more. What is written then is dropped, so that the encryption above
    /// can still be asked for the answer that may have come.
    is_write_closed: bool,
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let limit = Limit::new(timeout.for_write());
        if let Some(wait) = &limit.wait {
            wait.note_connection(self.ends);
        }
        let mut rest = &self.buffers.output()[..amount];
        while !rest.is_empty() && !self.is_write_closed {
            let tick = limit.next()?;
            if self.write_tick != Some(tick) {
                self.stream.set_write_timeout(Some(tick))?;
                self.write_tick = Some(tick);
            }
            match (&self.stream).write(rest) {
                Ok(length) => rest = &rest[length..],
                Err(error) if is_to_be_repeated(&error) => {}
                Err(error) => {
                    self.is_write_closed = true;
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let limit = Limit::new(timeout.for_read());
        let room = self.buffers.input_append_buf();
        loop {
            let tick = limit.next()?;
            if self.read_tick != Some(tick) {
                self.stream.set_read_timeout(Some(tick))?;
                self.read_tick = Some(tick);
            }
            match (&self.stream).read(room) {
                Ok(length) => {
                    self.buffers.input_appended(length);
                    return Ok(length > 0);
                }
                Err(error) if is_to_be_repeated(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Anything there to be read on an idle connection means that it cannot be used again: the
    /// peer has closed it, or has sent what nobody asked for.
    fn is_open(&mut self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        !self.is_write_closed
            && matches!(
                recv(&self.stream, &mut [0_u8; 1][..], flags),
                Err(Errno::AGAIN)
            )
    }
}

fn is_to_be_repeated(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// Keeps the answer of a server that hangs up while a body is sent to it.
#[derive(Debug)]
pub(crate) struct EarlyAnswerConnector;

impl<In: Transport> Connector<In> for EarlyAnswerConnector {
    type Out = EarlyAnswerTransport<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|below| EarlyAnswerTransport {
            below,
            may_be_unseen: false,
        }))
    }
}

/// What came before the body was sent, as an error of sending it.
#[derive(Debug, thiserror::Error)]
#[error("the server answered before it had the whole body")]
pub(crate) struct EarlyAnswer {
    /// Head and, as far as it came, body of the answer.
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct EarlyAnswerTransport<In> {
    below: In,
    /// Input has come that perhaps nobody has tried to read. The library asks for more input after
    /// a refusal that came instead of `100 Continue`, and would wait for it in vain.
    may_be_unseen: bool,
}

impl<In: Transport> EarlyAnswerTransport<In> {
    fn early_answer(&mut self) -> Option<EarlyAnswer> {
        let end = Instant::now() + EARLY_ANSWER_LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = NextTimeout {
                after: left.into(),
                reason: Timeout::RecvResponse,
                ..NextTimeout::default()
            };
            let has_ended = left.is_zero() || !matches!(self.below.await_input(timeout), Ok(true));
            let bytes = self.below.buffers().input();
            if has_ended || bytes.len() >= EARLY_ANSWER_MAX_BYTES {
                let is_answer = bytes.starts_with(b"HTTP/1.");
                return is_answer.then(|| EarlyAnswer {
                    bytes: bytes.to_vec(),
                });
            }
        }
    }
}

impl<In: Transport> Transport for EarlyAnswerTransport<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.below.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        spell_head(&mut self.below.buffers().output()[..amount]);
        let error = match self.below.transmit_output(amount, timeout) {
            Err(Error::Io(error)) if is_hung_up(&error) => error,
            result => return result,
        };
        Err(match self.early_answer() {
            Some(answer) => Error::Other(Box::new(answer)),
            None => Error::Io(error),
        })
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        // What has been read in vain already is read in vain once more, which does no harm.
        let has_input = !self.below.buffers().input().is_empty();
        if std::mem::take(&mut self.may_be_unseen) && has_input {
            return Ok(true);
        }
        self.may_be_unseen = self.below.await_input(timeout)?;
        simplify_permission(self.below.buffers());
        Ok(self.may_be_unseen)
    }

    fn is_open(&mut self) -> bool {
        self.below.is_open()
    }

    fn is_tls(&self) -> bool {
        self.below.is_tls()
    }
}

/// Takes the headers out of a `100 Continue`, which `XRootD` sends: the library would take it for a
/// refusal.
fn simplify_permission(buffers: &mut dyn Buffers) {
    let input = buffers.input();
    if !input.starts_with(PERMISSION) {
        return;
    }
    let Some(end) = input.windows(4).position(|it| it == b"\r\n\r\n") else {
        return;
    };
    // What follows at once is an answer to a body that was not sent: then the permission is void.
    buffers.input_consume(end + 4);
    let plain = b"HTTP/1.1 100 Continue\r\n\r\n";
    if buffers.input().is_empty()
        && let Some(room) = buffers.input_append_buf().get_mut(..plain.len())
    {
        room.copy_from_slice(plain);
        buffers.input_appended(plain.len());
    }
}

fn is_hung_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
    )
}
