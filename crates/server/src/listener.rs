//! A listener that bounds what clients can hold: connections at a time, and silence on each.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep, sleep_until},
};

use crate::caller::{Peer, Way};

/// Pause after a failed accept, for example when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections as long as there are fewer than allowed; the next ones wait in the kernel.
#[derive(Debug)]
pub(crate) struct BoundedListener {
    inner: TcpListener,
    connections: Arc<Semaphore>,
    idle_timeout: Duration,
}

impl BoundedListener {
    /// Bounds a listener.
    pub(crate) fn new(inner: TcpListener, connections: usize, idle_timeout: Duration) -> Self {
        let connections = connections.min(Semaphore::MAX_PERMITS);
        Self {
            inner,
            connections: Arc::new(Semaphore::new(connections)),
            idle_timeout,
        }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        let permit = Arc::clone(&self.connections)
            .acquire_owned()
            .await
            .expect("it is never closed");
        loop {
            match self.inner.accept().await {
                Ok((stream, peer)) => {
                    // Answers are small and waited for.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, %peer, "answers may be delayed");
                    }
                    let connection = Connection::new(stream, permit, self.idle_timeout);
                    let peer = Peer {
                        address: peer,
                        way: Way::Plain,
                    };
                    return (connection, peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        let address = self.inner.local_addr()?;
        Ok(Peer {
            address,
            way: Way::Plain,
        })
    }
}

/// A client's connection. Reading from it fails once it was silent for too long, be it between
/// requests or within one; so does writing once it has taken nothing for as long.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    idle_timeout: Duration,
    deadline: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit, idle_timeout: Duration) -> Self {
        Self {
            stream,
            idle_timeout,
            deadline: Box::pin(sleep_until(Instant::now() + idle_timeout)),
            _permit: permit,
        }
    }

    fn touch(&mut self) {
        let deadline = Instant::now() + self.idle_timeout;
        self.deadline.as_mut().reset(deadline);
    }

    /// Notes that something has moved, or fails if nothing has for too long.
    fn unless_stuck<T>(
        &mut self,
        cx: &mut Context<'_>,
        moved: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.touch();
            return moved;
        }
        self.deadline.as_mut().poll(cx).map(|()| {
            let silence = self.idle_timeout;
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the client was silent for {silence:?}"),
            ))
        })
    }

    /// Waits until the client has said something, or is gone.
    pub(crate) async fn heard(&self) -> io::Result<()> {
        self.stream.readable().await
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.unless_stuck(cx, read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.unless_stuck(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.unless_stuck(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
