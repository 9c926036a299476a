//! One HTTP/1.1 request on a connection, and its answer. Nothing more: a connection is closed after
//! one answer.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use ailurus_wire::body::JSON_TYPE;
use serde_json::Value;

/// Longest head of a request, in bytes.
const HEAD_MAX: usize = 32 << 10;
/// Most headers.
const HEADERS_MAX: usize = 100;
/// Largest body, in bytes. A job with ten thousand files has about 2 MB.
const BODY_MAX: usize = 8 << 20;
/// Longest line that begins a chunk, in bytes.
const CHUNK_LINE_MAX: usize = 128;
/// Time for a whole request.
const REQUEST_PATIENCE: Duration = Duration::from_secs(30);
/// Time for a write.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// A request that was read whole.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// Returns a header by its name in lower case; of repeated ones the first.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// An answer, without the headers that follow from its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), JSON_TYPE.to_owned())],
            body: body.to_string().into_bytes(),
        }
    }
}

/// A request cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// Nobody asks anything.
    #[error("the connection was closed")]
    Closed,
    /// The network fails, or the peer stops in the middle.
    #[error("the request is not complete")]
    Io(#[source] io::Error),
    /// The peer is too slow.
    #[error("the request took longer than {} s", REQUEST_PATIENCE.as_secs())]
    Slow,
    /// It is no HTTP.
    #[error("the request is not HTTP/1: {0}")]
    Syntax(String),
    /// The head is too long.
    #[error("the head of the request is longer than {HEAD_MAX} bytes")]
    HeadTooLong,
    /// The body is too long.
    #[error("the body is longer than {BODY_MAX} bytes")]
    BodyTooLong,
}

impl HttpError {
    /// Returns the status of the answer.
    pub(super) const fn status(&self) -> u16 {
        match self {
            Self::Closed | Self::Io(_) | Self::Syntax(_) => 400,
            Self::Slow => 408,
            Self::HeadTooLong => 431,
            Self::BodyTooLong => 413,
        }
    }
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

/// Reads one request.
pub(super) fn read_request(stream: &mut TcpStream) -> Result<Request, HttpError> {
    let mut input = Input {
        stream,
        bytes: Vec::new(),
        until: Instant::now() + REQUEST_PATIENCE,
    };
    let (mut request, head_length) = loop {
        if let Some(parsed) = parse_head(&input.bytes)? {
            break parsed;
        }
        if input.bytes.len() > HEAD_MAX {
            return Err(HttpError::HeadTooLong);
        }
        if !input.read_more()? {
            return Err(if input.bytes.is_empty() {
                HttpError::Closed
            } else {
                HttpError::Io(io::ErrorKind::UnexpectedEof.into())
            });
        }
    };
    input.bytes.drain(..head_length);
    let framing = framing(&request)?;
    let expects = request.header("expect").unwrap_or_default();
    if expects.eq_ignore_ascii_case("100-continue") {
        let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
        input.stream.write_all(go_on).map_err(HttpError::Io)?;
    }
    request.body = match framing {
        Framing::Length(length) => input.take(length)?,
        Framing::Chunked => input.take_chunks()?,
    };
    Ok(request)
}

/// Returns the request without its body and the length of its head, none if more is to come.
fn parse_head(bytes: &[u8]) -> Result<Option<(Request, usize)>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HttpError::HeadTooLong),
        Err(error) => return Err(HttpError::Syntax(error.to_string())),
    };
    let header = |header: &httparse::Header<'_>| {
        let value = String::from_utf8_lossy(header.value).into_owned();
        (header.name.to_ascii_lowercase(), value)
    };
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        headers: parsed.headers.iter().map(header).collect(),
        body: Vec::new(),
    };
    Ok(Some((request, length)))
}

fn framing(request: &Request) -> Result<Framing, HttpError> {
    if let Some(encoding) = request.header("transfer-encoding") {
        // Two ways to tell the end are how requests are smuggled.
        if !encoding.trim().eq_ignore_ascii_case("chunked")
            || request.header("content-length").is_some()
        {
            return Err(HttpError::Syntax("the body's end is not clear".into()));
        }
        return Ok(Framing::Chunked);
    }
    let lengths: Vec<&str> = request
        .headers
        .iter()
        .filter(|(name, _)| name == "content-length")
        .map(|(_, value)| value.trim())
        .collect();
    let length = match lengths.as_slice() {
        [] => 0,
        [length] if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            // What does not fit is too long in any case.
            length.parse().unwrap_or(usize::MAX)
        }
        _ => return Err(HttpError::Syntax("the body's length is not clear".into())),
    };
    if length > BODY_MAX {
        return Err(HttpError::BodyTooLong);
    }
    Ok(Framing::Length(length))
}

/// Systems differ in how they say that the time is over.
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// What has come and was not used yet.
struct Input<'a> {
    stream: &'a mut TcpStream,
    bytes: Vec<u8>,
    until: Instant,
}

impl Input<'_> {
    /// Waits for more; false at the end of the stream.
    fn read_more(&mut self) -> Result<bool, HttpError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(HttpError::Slow);
        }
        self.stream
            .set_read_timeout(Some(left))
            .map_err(HttpError::Io)?;
        let mut buffer = [0; 8192];
        match self.stream.read(&mut buffer) {
            Ok(n_bytes) => {
                self.bytes.extend_from_slice(&buffer[..n_bytes]);
                Ok(n_bytes > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) if is_timeout(&error) => Err(HttpError::Slow),
            Err(error) => Err(HttpError::Io(error)),
        }
    }

    fn need_more(&mut self) -> Result<(), HttpError> {
        if self.read_more()? {
            return Ok(());
        }
        Err(HttpError::Io(io::ErrorKind::UnexpectedEof.into()))
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, HttpError> {
        while self.bytes.len() < length {
            self.need_more()?;
        }
        Ok(self.bytes.drain(..length).collect())
    }

    fn take_chunks(&mut self) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        loop {
            let (line_length, size) = self.chunk_size()?;
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > BODY_MAX - body.len() {
                return Err(HttpError::BodyTooLong);
            }
            self.take(line_length)?;
            if size == 0 {
                // What follows are trailers, of which none is wanted; the connection is closed.
                return Ok(body);
            }
            body.extend(self.take(size)?);
            if self.take(2)? != b"\r\n" {
                return Err(HttpError::Syntax("a chunk has another length".into()));
            }
        }
    }

    fn chunk_size(&mut self) -> Result<(usize, u64), HttpError> {
        loop {
            match httparse::parse_chunk_size(&self.bytes) {
                Ok(httparse::Status::Complete(found)) => return Ok(found),
                Ok(httparse::Status::Partial) if self.bytes.len() <= CHUNK_LINE_MAX => {
                    self.need_more()?;
                }
                Ok(httparse::Status::Partial) | Err(_) => {
                    return Err(HttpError::Syntax("the length of a chunk is none".into()));
                }
            }
        }
    }
}

/// Writes an answer, after which the connection is to be closed.
pub(super) fn write_answer(stream: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    let reason = match answer.status {
        200 => "OK",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Bad Request",
    };
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = answer.body.len();
    head.push_str(&format!(
        "content-length: {length}\r\nconnection: close\r\n\r\n"
    ));
    stream.set_write_timeout(Some(WRITE_PATIENCE))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(&answer.body)?;
    stream.flush()?;
    stream.shutdown(std::net::Shutdown::Write)
}
