//! HTTPS before a plain server, as Apache stands before PanDA's.
//!
//! Our own server speaks plain HTTP behind such a front; benches and tests measure with one too.

use std::{cell::RefCell, sync::Arc};

use crate::{
    Connection,
    http::{Answer, Reply, Request},
    stand_in::{Door, Entrance, HttpStandIn},
};

/// Headers that belong to one connection, not to the message.
const OWN_HEADERS: [&str; 3] = ["host", "content-length", "connection"];

thread_local! {
    /// The way to the server behind; each client's connection has a thread and a way of its own.
    static BEHIND: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

/// Starts a front to the server at `host:port`; it ends with what is returned.
///
/// # Errors
///
/// Loopback has no free port.
pub fn start(host: &str, door: Arc<dyn Door>) -> anyhow::Result<HttpStandIn> {
    let host = host.to_owned();
    let entrance = Entrance {
        address: None,
        door: Some(door),
    };
    HttpStandIn::start_at(entrance, move |request| {
        // A kept connection may have been closed behind; a new one has not.
        let answer = pass_on(&host, request).or_else(|_| pass_on(&host, request));
        answer.map_or(Reply::HangUp, Reply::Whole)
    })
}

fn pass_on(host: &str, request: &Request) -> anyhow::Result<Answer> {
    BEHIND.with_borrow_mut(|behind| {
        let mut connection = match behind.take() {
            Some(connection) => connection,
            None => Connection::open(host)?,
        };
        let (method, target) = request
            .method_and_target()
            .split_once(' ')
            .unwrap_or_default();
        let headers: String = request
            .head
            .lines()
            .skip(1)
            .filter(|line| {
                let name = line.split(':').next().unwrap_or_default();
                !line.is_empty() && !OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name))
            })
            .flat_map(|line| [line, "\r\n"])
            .collect();
        let answer = connection.send(method, target, &headers, &request.body)?;
        *behind = Some(connection);
        Ok(answer)
    })
}
