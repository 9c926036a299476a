//! Who calls: each request carries an [`Extension`](axum::Extension) of [`Caller`] for its handler.
//!
//! [`Peer`] is what a connection tells about its other end, and a request may bring a token besides.
//! Handlers ask the caller, never the peer.

use std::{net::SocketAddr, sync::Arc};

use ailurus_identity::{TokenIdentity, TokenRefusal};
use ailurus_model::Caller;
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::identities::{Certified, Identities};

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// What is between.
    pub(crate) way: Way,
}

/// What is between the server and a client.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// Plain HTTP, which others may read and change.
    Plain,
    /// TLS, with what the client has shown.
    Tls(Option<Arc<Certified>>),
}

impl Peer {
    /// Says whether it is on this machine.
    fn is_local(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}

/// Why a request is not let in. PanDA's words.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("Token authentication failed. {0}")]
    Token(#[from] TokenRefusal),
    #[error("Token authentication failed. tokens are taken over HTTPS only")]
    PlainToken,
    #[error("the certificate has expired since the connection was made")]
    Expired,
    #[error("{0} is banned")]
    Banned(String),
}

/// Gives the request its caller, or refuses it.
pub(crate) async fn identify(
    State(identities): State<Arc<Identities>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    match find(&identities, &peer, request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => {
            let (address, reason) = (peer.address, refusal.to_string());
            tracing::info!(%address, reason, "a request is refused");
            (StatusCode::FORBIDDEN, format!("ERROR : {refusal}")).into_response()
        }
    }
}

async fn find(
    identities: &Arc<Identities>,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<Caller, Refusal> {
    let of_certificate = match &peer.way {
        Way::Tls(Some(certified)) => Some(certified.caller().ok_or(Refusal::Expired)?),
        Way::Tls(None) | Way::Plain => None,
    };
    let of_token = match (bearer(headers), identities.tokens()) {
        (Some(token), Some(_)) => {
            if matches!(peer.way, Way::Plain) && !peer.is_local() {
                return Err(Refusal::PlainToken);
            }
            let origin = text_of(headers, header::ORIGIN);
            Some(judge(identities, token, origin).await?)
        }
        (None, _) | (_, None) => None,
    };
    // Who shows both is who the certificate says, as in PanDA; but the token must be good.
    let caller = match (of_certificate, of_token) {
        (Some(caller), _) => caller,
        (None, Some(identity)) => identities.caller_of_token(identity),
        (None, None) if peer.is_local() && identities.trusts_loopback() => Caller::loopback(),
        (None, None) => Caller::nobody(),
    };
    if identities.is_banned(&caller.name) {
        return Err(Refusal::Banned(caller.name));
    }
    Ok(caller)
}

/// Judges a token; a thread that may wait asks its issuer if need be.
async fn judge(
    identities: &Arc<Identities>,
    token: &str,
    origin: Option<&str>,
) -> Result<TokenIdentity, TokenRefusal> {
    let Some(tokens) = identities.tokens() else {
        return Err(TokenRefusal::UnknownClient);
    };
    if let Some(known) = tokens.known(token, origin) {
        return known;
    }
    let (token, origin) = (token.to_owned(), origin.map(str::to_owned));
    let judged = tokio::task::spawn_blocking(move || tokens.judge(&token, origin.as_deref())).await;
    judged.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text_of(headers, header::AUTHORIZATION)?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
