//! Speaks HTTP/1.1 on the connections of a listener, until the server is to stop.
//!
//! A client has a limited time for the head of a request, however many pieces it comes in: the
//! listener bounds silence, but not a byte now and then.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    serve::Listener,
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};

use crate::caller::Peer;

/// Answers requests until `stop` is there, then lets those under way end.
///
/// `head_limit` is the longest time from one answer to the whole head of the next request.
pub(crate) async fn serve<L: Listener<Addr = Peer>>(
    mut listener: L,
    router: Router,
    head_limit: Duration,
    stop: impl Future<Output = ()>,
) {
    let router = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(head_limit);
    let under_way = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (router, address) = (router.clone(), peer.address);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer.clone()));
            router.call(request)
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = under_way.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%address, %error, "a connection broke");
            }
        });
    }
    drop(listener);
    under_way.shutdown().await;
}
