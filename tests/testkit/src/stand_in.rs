//! An HTTP server for one test: a closure answers, and every request is remembered.
//!
//! [`HttpStandIn`] keeps connections, serves each on a thread of its own, and is honest: it can
//! refuse and hang up, but a test that needs broken bytes writes them itself.

use std::{
    io::{BufReader, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, Weak},
    thread::{self, JoinHandle},
};

use anyhow::Context as _;

use crate::http::{Answer, Request};

/// A server on a free port of loopback. It ends with this value, and its connections with it.
#[derive(Debug)]
pub struct HttpStandIn {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    /// The connections so far, none once the server is to end.
    connections: Mutex<Option<Vec<Weak<TcpStream>>>>,
}

impl HttpStandIn {
    /// Starts a server that answers each request with what `answer` returns for it; on `None` it
    /// hangs up. Requests of several connections are answered at the same time.
    ///
    /// # Errors
    ///
    /// Loopback has no free port.
    pub fn start<F>(answer: F) -> anyhow::Result<Self>
    where
        F: Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").context("loopback has no free port")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            connections: Mutex::new(Some(Vec::new())),
        });
        let of_listener = Arc::clone(&shared);
        let listener = thread::spawn(move || of_listener.listen(&listener, &answer));
        Ok(Self {
            address,
            shared,
            listener: Some(listener),
        })
    }

    /// Returns the server's URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the requests so far, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        let requests = self.shared.requests.lock();
        requests
            .expect("nothing panics while it holds them")
            .clone()
    }
}

impl Shared {
    fn listen<F>(&self, listener: &TcpListener, answer: &F)
    where
        F: Fn(&Request) -> Option<Answer> + Sync,
    {
        thread::scope(|scope| {
            for stream in listener.incoming().flatten() {
                let stream = Arc::new(stream);
                match self.connections.lock().as_deref_mut() {
                    Ok(Some(connections)) => connections.push(Arc::downgrade(&stream)),
                    Ok(None) | Err(_) => return,
                }
                scope.spawn(move || self.serve(&stream, answer));
            }
        });
    }

    /// Serves one connection until either side closes it.
    fn serve(&self, mut stream: &TcpStream, answer: &impl Fn(&Request) -> Option<Answer>) {
        let mut reader = BufReader::new(stream);
        while let Ok(request) = Request::read(&mut reader) {
            self.requests
                .lock()
                .expect("nothing panics while it holds them")
                .push(request.clone());
            let Some(answer) = answer(&request) else {
                return;
            };
            if stream.write_all(&answer.to_bytes()).is_err() {
                return;
            }
        }
    }
}

impl Drop for HttpStandIn {
    /// Ends the server and its connections.
    ///
    /// # Panics
    ///
    /// The closure panicked, so that no test passes over it.
    fn drop(&mut self) {
        let connections = self.shared.connections.lock();
        let connections = connections.map_or(None, |mut connections| connections.take());
        for stream in connections.into_iter().flatten() {
            if let Some(stream) = stream.upgrade() {
                // The other side may have closed it already.
                drop(stream.shutdown(Shutdown::Both));
            }
        }
        // A last connection wakes the listener, which sees that it is to end.
        let is_awake = TcpStream::connect(self.address).is_ok();
        if is_awake && let Some(listener) = self.listener.take() {
            let has_ended_well = listener.join().is_ok();
            assert!(
                has_ended_well || thread::panicking(),
                "a stand-in panicked over a request"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Connection;

    fn host(server: &HttpStandIn) -> String {
        server.url().trim_start_matches("http://").to_owned()
    }

    #[test]
    fn one_connection_carries_many_requests_and_all_are_remembered() {
        let server =
            HttpStandIn::start(|request| Some(Answer::new(201, request.body.clone()))).unwrap();
        let mut connection = Connection::open(&host(&server)).unwrap();
        for body in ["one", "", "three"] {
            let answer = connection.send("PUT", "/a?b=c", "X-Nr: 5\r\n", body.as_bytes());
            assert_eq!(answer.unwrap(), Answer::new(201, body));
        }
        let requests = server.requests();
        assert_eq!(requests.len(), 3);
        assert_eq!(requests[0].method_and_target(), "PUT /a?b=c");
        assert_eq!(requests[0].target(), "/a?b=c");
        assert_eq!(requests[0].header("x-nr"), Some("5"));
        assert_eq!(requests[2].body, b"three");
    }

    #[test]
    fn a_request_without_an_answer_is_hung_up_on() {
        let server = HttpStandIn::start(|_| None).unwrap();
        let mut connection = Connection::open(&host(&server)).unwrap();
        assert!(connection.send("GET", "/", "", b"").is_err());
        assert_eq!(server.requests().len(), 1);
    }

    #[test]
    fn a_dropped_stand_in_closes_its_connections() {
        let server = HttpStandIn::start(|_| Some(Answer::new(200, ""))).unwrap();
        let mut connection = Connection::open(&host(&server)).unwrap();
        connection.send("GET", "/", "", b"").unwrap();
        drop(server);
        assert!(connection.send("GET", "/", "", b"").is_err());
    }

    #[test]
    #[should_panic(expected = "a stand-in panicked over a request")]
    fn a_panic_over_a_request_fails_the_test() {
        let server = HttpStandIn::start(|request| panic!("{request:?}")).unwrap();
        let mut connection = Connection::open(&host(&server)).unwrap();
        assert!(connection.send("GET", "/", "", b"").is_err());
    }
}
