//! HTTP/1.1 messages as far as tests need them: a head, and a body of declared length.
//!
//! The stand-in and the connection share them. They carry bytes: compression and JSON are the
//! caller's business. A chunked body is refused, since its length is not declared.

use std::io::{self, BufRead, ErrorKind, Read as _};

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
}

impl Request {
    /// Reads the next request of a connection.
    ///
    /// # Errors
    ///
    /// The connection ends, or what comes is no request with a body of declared length.
    pub fn read(reader: &mut impl BufRead) -> io::Result<Self> {
        let (head, body) = read_message(reader)?;
        Ok(Self { head, body })
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
    /// The body, empty if there is none.
    pub body: Vec<u8>,
}

impl Answer {
    /// Makes an answer of a status and a body.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
        }
    }

    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Self> {
        let (head, body) = read_message(reader)?;
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.ok_or_else(|| invalid("an answer has no status"))?;
        Ok(Self { status, body })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (status, length) = (self.status, self.body.len());
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

fn read_message(reader: &mut impl BufRead) -> io::Result<(String, Vec<u8>)> {
    let mut head = String::new();
    let mut lines = reader.by_ref().take(HEAD_BYTES_MAX);
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
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

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
