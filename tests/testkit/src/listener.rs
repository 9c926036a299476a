//! A listener on loopback that serves each connection on a thread of its own, and ends with all
//! of them.
//!
//! [`HttpStandIn`](crate::stand_in::HttpStandIn) and the storage that misbehaves stand on it. What
//! is said on a connection is the business of the closure that serves it.

use std::{
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, Weak},
    thread::{self, JoinHandle},
};

use anyhow::Context as _;

/// The connections so far, none once the listener is to end.
type Connections = Arc<Mutex<Option<Vec<Weak<TcpStream>>>>>;

/// A listener with its connections. Both end with this value.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    connections: Connections,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens at an address, or at a free port of loopback, and gives each connection to `serve`
    /// on a thread of its own. The connection ends when `serve` returns.
    ///
    /// # Errors
    ///
    /// The address is in use.
    pub fn start<F>(address: Option<SocketAddr>, serve: F) -> anyhow::Result<Self>
    where
        F: Fn(&TcpStream) + Send + Sync + 'static,
    {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let wanted = address.unwrap_or(free);
        let listener = TcpListener::bind(wanted)
            .with_context(|| format!("nobody can listen at `{wanted}`"))?;
        let address = listener.local_addr()?;
        let connections: Connections = Arc::new(Mutex::new(Some(Vec::new())));
        let of_thread = Arc::clone(&connections);
        let thread = thread::spawn(move || listen(&listener, &of_thread, &serve));
        Ok(Self {
            address,
            connections,
            thread: Some(thread),
        })
    }

    /// Returns where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

fn listen(listener: &TcpListener, connections: &Connections, serve: &(impl Fn(&TcpStream) + Sync)) {
    thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            let stream = Arc::new(stream);
            match connections.lock().as_deref_mut() {
                Ok(Some(connections)) => {
                    connections.retain(|connection| connection.strong_count() > 0);
                    connections.push(Arc::downgrade(&stream));
                }
                Ok(None) | Err(_) => return,
            }
            scope.spawn(move || serve(&stream));
        }
    });
}

/// Makes the end of a connection a reset, once its last handle is closed.
#[cfg(feature = "storage")]
pub(crate) fn reset(stream: &TcpStream) {
    let at_once = Some(std::time::Duration::ZERO);
    // Whoever has left already needs no reset.
    let _ = rustix::net::sockopt::set_socket_linger(stream, at_once);
}

impl Drop for Listener {
    /// Ends the listener and its connections.
    ///
    /// # Panics
    ///
    /// The closure panicked, so that no test passes over it.
    fn drop(&mut self) {
        let connections = self.connections.lock();
        let connections = connections.map_or(None, |mut connections| connections.take());
        for stream in connections.into_iter().flatten() {
            if let Some(stream) = stream.upgrade() {
                // The other side may have closed it already.
                drop(stream.shutdown(Shutdown::Both));
            }
        }
        // A last connection wakes the listener, which sees that it is to end.
        let is_awake = TcpStream::connect(self.address).is_ok();
        if is_awake && let Some(thread) = self.thread.take() {
            let has_ended_well = thread.join().is_ok();
            assert!(
                has_ended_well || thread::panicking(),
                "a stand-in panicked over a request"
            );
        }
    }
}
