//! An HTTP server for one test: a closure answers, and every request is remembered.
//!
//! [`HttpStandIn`] keeps connections and serves each on a thread of its own. With a [`Door`] its
//! connections are encrypted. The closure may also send broken bytes or be silent: see [`Reply`].

use std::{
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use crate::{
    http::{Answer, Reply, Request},
    listener::Listener,
};

/// A server on a free port of loopback. It ends with this value, and its connections with it.
#[derive(Debug)]
pub struct HttpStandIn {
    scheme: &'static str,
    shared: Arc<Shared>,
    listener: Listener,
}

struct Shared {
    requests: Mutex<Vec<Request>>,
    door: Option<Arc<dyn Door>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

/// Both directions of a connection.
pub trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// What a connection goes through before its first request: encryption.
pub trait Door: Send + Sync {
    /// Lets a client in.
    ///
    /// # Errors
    ///
    /// One side does not believe the other.
    fn open(&self, stream: TcpStream) -> io::Result<Guest>;
}

/// A client that was let in.
pub struct Guest {
    /// What its requests come over.
    pub stream: Box<dyn Stream>,
    /// Its certificate in DER form, if it showed one.
    pub certificate: Option<Vec<u8>>,
}

/// Where a stand-in listens, and through which door its clients come.
#[derive(Clone, Default)]
pub struct Entrance {
    /// The address; none for a free port.
    pub address: Option<SocketAddr>,
    /// Plain HTTP without one.
    pub door: Option<Arc<dyn Door>>,
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
        Self::start_at(Entrance::default(), move |request| {
            answer(request).map_or(Reply::HangUp, Reply::Whole)
        })
    }

    /// As [`Self::start`], at an address and through a door, with replies that need not be honest.
    ///
    /// # Errors
    ///
    /// The address is in use.
    pub fn start_at<F>(entrance: Entrance, reply: F) -> anyhow::Result<Self>
    where
        F: Fn(&Request) -> Reply + Send + Sync + 'static,
    {
        let scheme = if entrance.door.is_some() {
            "https"
        } else {
            "http"
        };
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            door: entrance.door,
        });
        let of_listener = Arc::clone(&shared);
        // A client that is not let in, or leaves, ends only its own connection.
        let listener = Listener::start(entrance.address, move |stream| {
            drop(of_listener.serve(stream, &reply));
        })?;
        Ok(Self {
            scheme,
            shared,
            listener,
        })
    }

    /// Returns the server's URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address())
    }

    /// Returns where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.listener.address()
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
    /// Serves one connection until either side closes it.
    fn serve(&self, stream: &TcpStream, reply: &impl Fn(&Request) -> Reply) -> io::Result<()> {
        // Answers are small; waiting for more of them would cost each client 40 ms.
        stream.set_nodelay(true)?;
        let plain = stream.try_clone()?;
        let guest = match &self.door {
            Some(door) => door.open(plain)?,
            None => Guest {
                stream: Box::new(plain),
                certificate: None,
            },
        };
        let mut stream = BufReader::new(guest.stream);
        loop {
            let mut request = Request::read(&mut stream)?;
            request.certificate.clone_from(&guest.certificate);
            self.requests
                .lock()
                .expect("nothing panics while it holds them")
                .push(request.clone());
            match reply(&request) {
                Reply::Whole(answer) => {
                    stream.get_mut().write_all(&answer.to_bytes())?;
                    stream.get_mut().flush()?;
                }
                Reply::Raw(bytes) => {
                    stream.get_mut().write_all(&bytes)?;
                    return stream.get_mut().flush();
                }
                Reply::Drip(bytes, pause) => {
                    for byte in bytes {
                        stream.get_mut().write_all(&[byte])?;
                        stream.get_mut().flush()?;
                        thread::sleep(pause);
                    }
                    return Ok(());
                }
                Reply::Silence => {
                    // Whatever comes now is not looked at; the end wakes.
                    return io::copy(&mut stream, &mut io::sink()).map(drop);
                }
                Reply::HangUp => return Ok(()),
            }
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
