//! One look-up: asks DNS servers for the addresses of a name within a deadline.
//!
//! Both kinds of addresses are asked for at once. A server that fails or is silent is followed by
//! the next one; an answer that is too long for a datagram is fetched by TCP.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use ureq::config::IpFamily;

use super::{
    configuration::ResolverConfig,
    message::{self, Answer, Question, RecordType},
};

/// Largest datagram that is read; servers send 512 bytes at most to those who do not ask for more.
const DATAGRAM_MAX_BYTES: usize = 4096;

/// A name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    /// DNS says that there is none.
    #[error("no such host")]
    NotFound,
    /// No server gave an answer.
    #[error("no DNS server answers for `{name}`: asked {servers}")]
    NoAnswer {
        /// The name.
        name: String,
        /// The servers that were asked.
        servers: String,
    },
    /// The caller's time was over.
    #[error("the name was not found in time")]
    OutOfTime,
}

/// What one server had to say.
enum Said {
    Addresses(Vec<IpAddr>),
    NoSuchName,
    Nothing,
}

/// A look-up within a deadline.
#[derive(Debug)]
pub(super) struct Lookup<'a> {
    config: &'a ResolverConfig,
    records: &'static [RecordType],
    deadline: Instant,
}

impl<'a> Lookup<'a> {
    pub(super) const fn new(
        config: &'a ResolverConfig,
        family: IpFamily,
        deadline: Instant,
    ) -> Self {
        Self {
            config,
            records: match family {
                IpFamily::Any => &[RecordType::Aaaa, RecordType::A],
                IpFamily::Ipv4Only => &[RecordType::A],
                IpFamily::Ipv6Only => &[RecordType::Aaaa],
            },
            deadline,
        }
    }

    /// Returns the addresses of a host; there is at least one.
    pub(super) fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let mut failure = LookupError::NotFound;
        for candidate in self.config.candidates(name) {
            if !message::is_host_name(&candidate) {
                continue;
            }
            match self.ask_servers(&candidate) {
                Ok(found) if !found.is_empty() => return Ok(found),
                Ok(_) => {}
                Err(LookupError::OutOfTime) => return Err(LookupError::OutOfTime),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Asks the servers in turn, round by round; the first one that knows decides.
    fn ask_servers(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        for _ in 0..self.config.attempts {
            for server in &self.config.servers {
                match self.ask(*server, name) {
                    Ok(Said::Addresses(found)) => return Ok(found),
                    Ok(Said::NoSuchName) => return Ok(Vec::new()),
                    Ok(Said::Nothing) => {}
                    Err(error) => tracing::debug!(%server, name, %error, "a DNS server fails"),
                }
                if Instant::now() >= self.deadline {
                    return Err(LookupError::OutOfTime);
                }
            }
        }
        let servers: Vec<String> = self
            .config
            .servers
            .iter()
            .map(ToString::to_string)
            .collect();
        Err(LookupError::NoAnswer {
            name: name.to_owned(),
            servers: servers.join(", "),
        })
    }

    fn ask(&self, server: SocketAddr, name: &str) -> io::Result<Said> {
        let ids = RandomState::new().build_hasher().finish().to_be_bytes();
        let questions: Vec<Question> = self
            .records
            .iter()
            .zip(ids.chunks_exact(2))
            .map(|(record, id)| Question {
                id: u16::from_be_bytes([id[0], id[1]]),
                name: name.to_owned(),
                record: *record,
            })
            .collect();
        let until = self.deadline.min(Instant::now() + self.config.timeout);
        let answers = if self.config.is_tcp_only {
            questions.iter().map(|_| Answer::Truncated).collect()
        } else {
            ask_by_udp(server, &questions, until)?
        };
        let mut found = Vec::new();
        let mut answered = 0;
        for (question, answer) in questions.iter().zip(answers) {
            let answer = match answer {
                Answer::Truncated => ask_by_tcp(server, question, until)?,
                Answer::Addresses(_)
                | Answer::NoSuchName
                | Answer::ServerFailed
                | Answer::Unrelated => answer,
            };
            match answer {
                Answer::Addresses(addresses) => {
                    answered += 1;
                    found.extend(addresses);
                }
                Answer::NoSuchName => return Ok(Said::NoSuchName),
                Answer::ServerFailed | Answer::Truncated | Answer::Unrelated => {}
            }
        }
        // No address counts only if the server said so for each kind of them.
        Ok(if !found.is_empty() {
            Said::Addresses(found)
        } else if answered == questions.len() {
            Said::NoSuchName
        } else {
            Said::Nothing
        })
    }
}

/// Asks all questions on one socket and waits for all answers, or for the time.
fn ask_by_udp(
    server: SocketAddr,
    questions: &[Question],
    until: Instant,
) -> io::Result<Vec<Answer>> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    // A connected socket hears this server only, and hears at once that nothing listens.
    socket.connect(server)?;
    for question in questions {
        socket.send(&question.to_bytes())?;
    }
    let mut answers = vec![Answer::Unrelated; questions.len()];
    let mut open: BTreeSet<usize> = (0..questions.len()).collect();
    let mut buffer = [0; DATAGRAM_MAX_BYTES];
    while !open.is_empty() {
        let Some(wait) = time_left(until) else { break };
        socket.set_read_timeout(Some(wait))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if is_time_out(&error) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for (index, question) in questions.iter().enumerate() {
            let answer = question.read_answer(&buffer[..length]);
            if answer != Answer::Unrelated && open.remove(&index) {
                answers[index] = answer;
            }
        }
    }
    Ok(answers)
}

/// Asks one question by TCP, where an answer of any length fits.
fn ask_by_tcp(server: SocketAddr, question: &Question, until: Instant) -> io::Result<Answer> {
    let out_of_time = || io::Error::from(io::ErrorKind::TimedOut);
    let mut stream =
        TcpStream::connect_timeout(&server, time_left(until).ok_or_else(out_of_time)?)?;
    let wait = time_left(until).ok_or_else(out_of_time)?;
    stream.set_write_timeout(Some(wait))?;
    stream.set_read_timeout(Some(wait))?;
    let message = question.to_bytes();
    let mut bytes = u16::try_from(message.len())
        .map_err(io::Error::other)?
        .to_be_bytes()
        .to_vec();
    bytes.extend(message);
    stream.write_all(&bytes)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    let mut filled = 0;
    while filled < answer.len() {
        // The limit of a read begins anew with each, so the whole is watched here.
        stream.set_read_timeout(Some(time_left(until).ok_or_else(out_of_time)?))?;
        match stream.read(&mut answer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    Ok(match question.read_answer(&answer) {
        Answer::Truncated => Answer::ServerFailed,
        answer @ (Answer::Addresses(_)
        | Answer::NoSuchName
        | Answer::ServerFailed
        | Answer::Unrelated) => answer,
    })
}

/// Returns the time that is left, never zero.
fn time_left(until: Instant) -> Option<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

fn is_time_out(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
