//! One connection of a client: requests come, answers go, as honest as told.

use std::{
    io::{self, BufRead, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use super::{
    Lie, Shared, path,
    service::{self, Delivery, Outcome},
};
use crate::{
    http::{self, Request},
    listener,
    stand_in::{Door, Guest, Stream},
};

/// Longest body that is taken, in bytes.
const BODY_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of a chunk.
const CHUNK_BYTES: usize = 16 * 1024;

/// Whether the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoesOn,
    Ends,
}

/// Serves one connection until either side ends it.
pub(super) fn serve(
    shared: &Shared,
    door: Option<&dyn Door>,
    stream: &TcpStream,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let plain = stream.try_clone()?;
    let guest = match door {
        Some(door) => door.open(plain)?,
        None => Guest {
            stream: Box::new(plain),
            certificate: None,
        },
    };
    let mut client = Client {
        reader: BufReader::new(guest.stream),
        raw: stream,
    };
    loop {
        let head = http::read_head(&mut client.reader)?;
        let request = Request {
            head,
            body: Vec::new(),
            certificate: guest.certificate.clone(),
        };
        if client.serve_one(shared, &request)? == Then::Ends {
            return Ok(());
        }
    }
}

struct Client<'stream> {
    reader: BufReader<Box<dyn Stream>>,
    raw: &'stream TcpStream,
}

impl Client<'_> {
    fn serve_one(&mut self, shared: &Shared, request: &Request) -> io::Result<Then> {
        let lie = note(shared, request);
        match lie {
            Some(Lie::Silent) => return self.wait_for_the_end(),
            Some(Lie::Full { after }) => {
                self.invite(request)?;
                self.skip(request, after)?;
                let outcome = Outcome::new(507, "full").with("Connection", "close");
                self.send(request, &outcome)?;
                return self.linger();
            }
            Some(Lie::BreaksUpload { after }) => {
                self.invite(request)?;
                self.skip(request, after)?;
                listener::reset(self.raw);
                return Ok(Then::Ends);
            }
            Some(_) | None => {}
        }
        if !is_known(shared, request) {
            let outcome = Outcome::new(401, "who are you?").with("WWW-Authenticate", "Bearer");
            return self.refuse(request, outcome);
        }
        let is_refused = matches!(
            lie,
            Some(Lie::Status(_) | Lie::Busy { .. } | Lie::RedirectLoop | Lie::RedirectTo(_))
        );
        if is_refused && waits(request) {
            let outcome = service::answer(shared, request, Vec::new(), lie.as_ref());
            return self.refuse(request, outcome);
        }
        self.invite(request)?;
        let body = self.read_body(request)?;
        let outcome = service::answer(shared, request, body, lie.as_ref());
        if lie == Some(Lie::StoresAndLeaves) {
            return Ok(Then::Ends);
        }
        self.send(request, &outcome)
    }

    /// Answers without taking the body, as good servers do: a client that waits for its turn does
    /// not send it, and of another one what comes is thrown away.
    fn refuse(&mut self, request: &Request, outcome: Outcome) -> io::Result<Then> {
        if waits(request) {
            self.send(request, &outcome.with("Connection", "close"))?;
            return self.linger();
        }
        self.read_body(request)?;
        self.send(request, &outcome)
    }

    /// Tells a client that waits for it to send its body.
    fn invite(&mut self, request: &Request) -> io::Result<()> {
        if waits(request) {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.reader.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Takes so many bytes of a body and no more.
    fn skip(&mut self, request: &Request, count: usize) -> io::Result<()> {
        let length = length(request)?.unwrap_or(u64::MAX);
        let count = length.min(count as u64);
        io::copy(&mut self.reader.by_ref().take(count), &mut io::sink()).map(drop)
    }

    fn read_body(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if let Some(length) = length(request)? {
            if length > BODY_BYTES_MAX {
                return Err(http::invalid("a body is too long"));
            }
            let n_read = self.reader.by_ref().take(length).read_to_end(&mut body)?;
            if n_read as u64 != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return Ok(body);
        }
        if request.header("Transfer-Encoding").is_none() {
            return Ok(body);
        }
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim(), 16);
            let size = size.map_err(|_| http::invalid("a chunk has no size"))?;
            if size > BODY_BYTES_MAX - body.len() as u64 {
                return Err(http::invalid("a body is too long"));
            }
            self.reader.by_ref().take(size).read_to_end(&mut body)?;
            line.clear();
            self.reader.read_line(&mut line)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    /// Sends an answer as its delivery says.
    fn send(&mut self, request: &Request, outcome: &Outcome) -> io::Result<Then> {
        let mut head = format!("HTTP/1.1 {} X\r\n", outcome.status);
        for (name, value) in &outcome.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = &outcome.body;
        let length = match outcome.delivery {
            Delivery::NoLength | Delivery::Chunked | Delivery::ChunkedShort(_) => None,
            Delivery::WrongLength(by) => Some(body.len().saturating_add_signed(by)),
            Delivery::Whole | Delivery::Short(_) | Delivery::Hang(_) | Delivery::Reset(_) => {
                Some(body.len())
            }
        };
        let is_chunked = matches!(
            outcome.delivery,
            Delivery::Chunked | Delivery::ChunkedShort(_)
        );
        match length {
            Some(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
            None if is_chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            None => head.push_str("Connection: close\r\n"),
        }
        head.push_str("\r\n");
        self.write(head.as_bytes())?;
        if request.method_and_target().starts_with("HEAD ") {
            return Ok(Then::GoesOn);
        }
        self.send_body(body, outcome.delivery)
    }

    fn send_body(&mut self, body: &[u8], delivery: Delivery) -> io::Result<Then> {
        let first = |after: usize| &body[..after.min(body.len())];
        match delivery {
            Delivery::Whole => {
                self.write(body)?;
                Ok(Then::GoesOn)
            }
            Delivery::Chunked => {
                self.write_chunks(body)?;
                self.write(b"0\r\n\r\n")?;
                Ok(Then::GoesOn)
            }
            Delivery::ChunkedShort(after) => {
                self.write_chunks(first(after))?;
                self.linger()
            }
            Delivery::Short(after) => {
                self.write(first(after))?;
                self.linger()
            }
            Delivery::WrongLength(_) | Delivery::NoLength => {
                self.write(body)?;
                self.linger()
            }
            Delivery::Hang(after) => {
                self.write(first(after))?;
                self.wait_for_the_end()
            }
            Delivery::Reset(after) => {
                self.write(first(after))?;
                listener::reset(self.raw);
                Ok(Then::Ends)
            }
        }
    }

    fn write_chunks(&mut self, body: &[u8]) -> io::Result<()> {
        for chunk in body.chunks(CHUNK_BYTES) {
            self.write(format!("{:x}\r\n", chunk.len()).as_bytes())?;
            self.write(chunk)?;
            self.write(b"\r\n")?;
        }
        Ok(())
    }

    /// Ends the connection politely: what was sent arrives, whatever the client still sends.
    fn linger(&mut self) -> io::Result<Then> {
        self.raw.shutdown(Shutdown::Write)?;
        self.wait_for_the_end()
    }

    /// Takes and forgets what comes until the client leaves or the storage ends.
    fn wait_for_the_end(&mut self) -> io::Result<Then> {
        io::copy(&mut self.reader, &mut io::sink())?;
        Ok(Then::Ends)
    }
}

/// Remembers a request, and finds the lie for it.
fn note(shared: &Shared, request: &Request) -> Option<Lie> {
    let (method, target) = request
        .method_and_target()
        .split_once(' ')
        .unwrap_or_default();
    let path = path::decode(target);
    let mut state = shared.lock();
    state.heard.push(request.clone());
    let mut rules = state.rules.iter_mut();
    let rule = rules.find_map(|rule| rule.take(method, &path).then(|| rule.lie.clone()));
    state.n_lies += u64::from(rule.is_some());
    rule
}

/// Says whether the client shows the token that is wanted.
fn is_known(shared: &Shared, request: &Request) -> bool {
    let state = shared.lock();
    let shown = request.header("Authorization");
    let shown = shown.and_then(|text| text.strip_prefix("Bearer "));
    !state.has_expired && (state.token.is_none() || state.token.as_deref() == shown)
}

/// Says whether the client waits for an invitation before it sends the body.
fn waits(request: &Request) -> bool {
    let expected = request.header("Expect");
    expected.is_some_and(|text| text.eq_ignore_ascii_case("100-continue"))
}

fn length(request: &Request) -> io::Result<Option<u64>> {
    let header = request.header("Content-Length").map(str::parse);
    header
        .transpose()
        .map_err(|_| http::invalid("a length is no number"))
}
