//! A listener that speaks TLS: handshakes run beside each other, and none holds up the next.
//!
//! [`TlsListener`] takes connections of a [`BoundedListener`], so its bounds hold here, too. The
//! certificate and the authorities are those of the moment at which a handshake begins.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::serve::Listener;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    caller::{Peer, Way},
    identities::Identities,
    listener::{BoundedListener, Connection},
};

/// Connections that are ready and wait to be taken.
const READY_MAX: usize = 64;

/// Accepts connections over TLS.
#[derive(Debug)]
pub(crate) struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<Connection>, Peer)>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

/// What one handshake may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandshakeBounds {
    /// From its first byte to its last.
    pub(crate) time: Duration,
    /// How many run at a time; more wait.
    pub(crate) at_once: usize,
}

impl TlsListener {
    /// Begins to accept.
    pub(crate) fn new(
        inner: BoundedListener,
        address: SocketAddr,
        identities: Arc<Identities>,
        bounds: HandshakeBounds,
    ) -> Self {
        let (sender, ready) = mpsc::channel(READY_MAX);
        let accepting = tokio::spawn(accept_all(inner, identities, bounds, sender));
        Self {
            ready,
            address,
            accepting,
        }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<Connection>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Peer) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // Only a server that is going away accepts no more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer {
            address: self.address,
            way: Way::Tls(None),
        })
    }
}

async fn accept_all(
    mut inner: BoundedListener,
    identities: Arc<Identities>,
    bounds: HandshakeBounds,
    ready: mpsc::Sender<(TlsStream<Connection>, Peer)>,
) {
    let turns = Arc::new(Semaphore::new(bounds.at_once.min(Semaphore::MAX_PERMITS)));
    loop {
        let (connection, peer) = inner.accept().await;
        let identities = Arc::clone(&identities);
        let (turns, ready) = (Arc::clone(&turns), ready.clone());
        tokio::spawn(async move {
            let address = peer.address;
            // Who says nothing takes nobody's turn.
            if !matches!(timeout(bounds.time, connection.heard()).await, Ok(Ok(()))) {
                tracing::debug!(%address, "a client said nothing");
                return;
            }
            let turn = turns.acquire().await.expect("it is never closed");
            let shaken = timeout(bounds.time, shake_hands(&identities, connection, peer)).await;
            // Waiting to be taken is no part of the handshake.
            drop(turn);
            match shaken {
                Ok(Ok(connection)) => drop(ready.send(connection).await),
                Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS with a client"),
                Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
            }
        });
    }
}

async fn shake_hands(
    identities: &Identities,
    connection: Connection,
    peer: Peer,
) -> io::Result<(TlsStream<Connection>, Peer)> {
    let tls = identities.tls();
    let tls = tls.ok_or_else(|| io::Error::other("no certificate is configured"))?;
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
    let stream = acceptor.accept(connection).await?;
    let shown = stream.get_ref().1.peer_certificates();
    let certified = match shown {
        Some(shown) if !shown.is_empty() => {
            let refused = || io::Error::other("the client's certificate is refused");
            Some(identities.certified(&tls, shown).ok_or_else(refused)?)
        }
        Some(_) | None => None,
    };
    let way = Way::Tls(certified);
    Ok((stream, Peer { way, ..peer }))
}
