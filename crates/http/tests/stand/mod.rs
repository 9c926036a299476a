//! A stand-in for a server: it says what it is told to, byte for byte, over real sockets.

use std::{
    io::{BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use ailurus_testkit::http::Request;

/// Limit of every wait in the stand.
const LIMIT: Duration = Duration::from_secs(20);

/// A server for one test. Its threads end with the test's process.
pub(crate) struct Stand {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    n_connections: usize,
    n_closed: usize,
}

#[derive(Clone)]
struct Behaviour {
    answer: String,
    /// Close after each answer, without having said so.
    is_closing: bool,
    /// Connections that are closed when their request has come.
    n_hung_up: usize,
    /// Answer before any request.
    is_hasty: bool,
}

impl Stand {
    /// Gives this answer to every request and keeps connections open.
    pub(crate) fn answering(answer: &str) -> Self {
        Self::start(Behaviour {
            answer: answer.to_owned(),
            is_closing: false,
            n_hung_up: 0,
            is_hasty: false,
        })
    }

    /// As `answering`, and closes the connection after it, without having said so.
    pub(crate) fn answering_once_a_connection(answer: &str) -> Self {
        Self::start(Behaviour {
            answer: answer.to_owned(),
            is_closing: true,
            n_hung_up: 0,
            is_hasty: false,
        })
    }

    /// Closes the first connections once their request has come.
    pub(crate) fn hanging_up_on_first(n_hung_up: usize, answer: &str) -> Self {
        Self::start(Behaviour {
            answer: answer.to_owned(),
            is_closing: false,
            n_hung_up,
            is_hasty: false,
        })
    }

    /// Gives the answer as soon as a connection stands, whatever is asked.
    pub(crate) fn answering_at_once(answer: &str) -> Self {
        Self::start(Behaviour {
            answer: answer.to_owned(),
            is_closing: true,
            n_hung_up: 0,
            is_hasty: true,
        })
    }

    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stand = Self {
            address,
            seen: Arc::clone(&seen),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let nr = {
                    let mut seen = seen.lock().expect("no panic");
                    seen.n_connections += 1;
                    seen.n_connections
                };
                let (behaviour, seen) = (behaviour.clone(), Arc::clone(&seen));
                thread::spawn(move || {
                    serve(stream, nr, &behaviour, &seen);
                    seen.lock().expect("no panic").n_closed += 1;
                });
            }
        });
        stand
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().expect("no panic").requests.clone()
    }

    pub(crate) fn n_connections(&self) -> usize {
        self.seen.lock().expect("no panic").n_connections
    }

    pub(crate) fn wait_until_all_closed(&self) {
        let begin = Instant::now();
        loop {
            {
                let seen = self.seen.lock().expect("no panic");
                if seen.n_closed == seen.n_connections {
                    return;
                }
            }
            assert!(begin.elapsed() < LIMIT, "a connection stays open");
            thread::yield_now();
        }
    }
}

fn serve(mut stream: TcpStream, nr: usize, behaviour: &Behaviour, seen: &Mutex<Seen>) {
    if behaviour.is_hasty {
        // The peer may have gone already.
        let _ = stream.write_all(behaviour.answer.as_bytes());
    }
    let mut reader = BufReader::new(stream.try_clone().expect("open"));
    while let Ok(request) = Request::read(&mut reader) {
        seen.lock().expect("no panic").requests.push(request);
        if nr <= behaviour.n_hung_up || stream.write_all(behaviour.answer.as_bytes()).is_err() {
            return;
        }
        if behaviour.is_closing {
            return;
        }
    }
}
