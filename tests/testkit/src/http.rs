//! HTTP/1.1 messages as far as tests need them: a head, and a body of declared length.
//!
//! The stand-in and the connection share them. They carry bytes: compression and JSON are the
//! caller's business. A chunked body is refused, since its length is not declared.

use std::{
    io::{self, BufRead, ErrorKind, Read as _},
    time::Duration,
};

/// Longest head of a message, in bytes.
const HEAD_BYTES_MAX: u64 = 64 * 1024;
/// Longest body of a message, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// The request line and the headers, up to and including the empty line.
    pub head: String,
    /// The body, empty if there is none.
    pub body: Vec<u8>,
    /// The certificate by which the client proved itself, in DER form.
    pub certificate: Option<Vec<u8>>,
}

impl Request {
    /// Reads the next request of a connection.
    ///
    /// # Errors
    ///
    /// The connection ends, or what comes is no request with a body of declared length.
    pub fn read(reader: &mut impl BufRead) -> io::Result<Self> {
        let (head, body) = read_message(reader)?;
        Ok(Self {
            head,
            body,
            certificate: None,
        })
    }

    /// Returns the request line without its version, such as `GET /path?query`.
    #[must_use]
    pub fn method_and_target(&self) -> &str {
        let line = self.head.lines().next().unwrap_or_default();
        line.rsplit_once(' ').map_or(line, |(asked, _)| asked)
    }

    /// Returns path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        let asked = self.method_and_target();
        asked.split_once(' ').map_or("", |(_, target)| target)
    }

    /// Returns a header's first value, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status, such as 200.
    pub status: u16,
    /// Headers besides the length, names and values. Those of an answer that was read are left out.
    pub headers: Vec<(&'static str, String)>,
    /// The body, empty if there is none.
    pub body: Vec<u8>,
}

impl Answer {
    /// Makes an answer of a status and a body.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Self> {
        let (head, body) = read_message(reader)?;
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.ok_or_else(|| invalid("an answer has no status"))?;
        Ok(Self::new(status, body))
    }

    /// Returns the answer as it goes over the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_bytes_claiming(self.body.len())
    }

    /// As [`Self::to_bytes`], with a length that need not be the body's.
    #[must_use]
    pub fn to_bytes_claiming(&self, length: usize) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: {length}\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// What happens to a request: an honest answer, or what networks and broken servers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A whole answer; the connection stays open.
    Whole(Answer),
    /// These bytes, whatever they are; then the connection is closed.
    Raw(Vec<u8>),
    /// These bytes one by one with a pause after each; then the connection is closed.
    Drip(Vec<u8>, Duration),
    /// Nothing at all, until the other side gives up.
    Silence,
    /// The connection is closed without an answer.
    HangUp,
}

/// Reads the head of a message, up to and including the empty line.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    let mut lines = reader.by_ref().take(HEAD_BYTES_MAX);
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

fn read_message(reader: &mut impl BufRead) -> io::Result<(String, Vec<u8>)> {
    let head = read_head(reader)?;
    if header(&head, "transfer-encoding").is_some() {
        return Err(invalid("the length of a body is not declared"));
    }
    let length = header(&head, "content-length").map_or(Ok(0), str::parse);
    let length = length.map_err(|_| invalid("a length is no number"))?;
    if length > BODY_BYTES_MAX {
        return Err(invalid("a body is too long"));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((head, body))
}

fn header<'head>(head: &'head str, name: &str) -> Option<&'head str> {
    head.lines().skip(1).find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub(crate) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
