//! Who calls: each request carries an [`Extension`](axum::Extension) of [`Caller`] for its handler.
//!
//! [`Peer`] is what a connection tells about its other end. Handlers ask the caller, never the peer.

use std::net::SocketAddr;

use ailurus_model::Caller;
use axum::{
    extract::{ConnectInfo, Request, connect_info::Connected},
    middleware::Next,
    response::Response,
    serve::IncomingStream,
};

use crate::listener::BoundedListener;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Where it is.
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Says whether it is on this machine.
    fn is_local(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Gives the request its caller.
pub(crate) async fn identify(
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = if peer.is_local() {
        Caller::loopback()
    } else {
        Caller::nobody()
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}
