//! One request and its answer, with everything in the caller's hands: for storage.
//!
//! [`Exchanger`] sends any method, streams bodies both ways, follows no redirect and adds no
//! token: where a request goes on to and which credential goes with it is the caller's decision.
//! Connections are kept and shared by threads.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use ureq::{Body, BodyReader, SendBody, http};

use crate::{
    ClientConfig, ConfigError, HttpError, Secret,
    agent::{AgentSource, Purpose},
    connector::EarlyAnswer,
    spelling::expect_head,
    wait::Wait,
};

/// Most headers of an answer that came early.
const HEADERS_MAX: usize = 64;

/// How much of a body that nobody wants is read to keep its connection, in bytes.
const DRAIN_MAX_BYTES: usize = 64 << 10;

/// How long such a body may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Sends requests to storage. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Exchanger {
    agents: Arc<AgentSource>,
    response_max_bytes: u64,
}

/// One request.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The method, for example `PROPFIND`.
    pub method: &'a str,
    /// The URL, encoded.
    pub url: &'a str,
    /// Names and values.
    pub headers: &'a [(&'a str, &'a str)],
    /// The value of the `Authorization` header, if it is to be sent.
    pub authorization: Option<&'a Secret>,
    /// What is sent.
    pub content: Content<'a>,
}

/// The body of a request.
pub enum Content<'a> {
    /// None.
    Empty,
    /// These bytes.
    Bytes(&'a [u8]),
    /// What a reader gives.
    Stream {
        /// How many bytes it gives; fewer are an error.
        length: u64,
        /// The reader.
        reader: &'a mut dyn Read,
    },
}

/// An answer, whatever its status. A body that is not read to its end closes the connection.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status, for example 207.
    pub status: u16,
    headers: http::HeaderMap,
    body: AnswerBody,
    wait: Arc<Wait>,
    url: String,
    limit_bytes: u64,
}

enum AnswerBody {
    Streamed(BodyReader<'static>),
    /// What came of an early answer.
    Kept(io::Cursor<Vec<u8>>),
}

impl Exchanger {
    /// Makes one. No connection is opened. The token of `config` is not used.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a certificate or key cannot be read, or the proxy's address is none.
    pub fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            response_max_bytes: config.response_max_bytes,
            agents: Arc::new(AgentSource::new(config, Purpose::Exchanges)?),
        })
    }

    /// Sends one request, once, and returns its answer as soon as its head has come. Redirects
    /// are answers. Waiting ends with `wait`, also that for the body.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if there is no answer.
    pub fn send(&self, exchange: Exchange<'_>, wait: &Arc<Wait>) -> Result<Answer, HttpError> {
        let _here = wait.enter();
        let Exchange { url, .. } = exchange;
        let failed = |error| HttpError::of_request(url, self.response_max_bytes, error);
        let head = head_of(&exchange).map_err(|error| failed(error.into()))?;
        if !matches!(head.uri().scheme_str(), Some("http" | "https")) {
            return Err(failed(ureq::Error::BadUri(url.to_owned())));
        }
        let mut content = exchange.content;
        let sent = self.agents.run(|agent| {
            let head = head.clone();
            expect_head(exchange.headers.iter().map(|(name, _)| *name));
            let result = match &mut content {
                Content::Empty => agent.run(head.map(|()| SendBody::none())),
                Content::Bytes(bytes) => agent.run(head.map(|()| *bytes)),
                Content::Stream { reader, .. } => {
                    agent.run(head.map(|()| SendBody::from_reader(*reader)))
                }
            };
            result.map_err(failed)
        });
        let (parts, body) = match sent {
            Ok(answer) => {
                let (parts, body) = answer.into_parts();
                (parts, AnswerBody::Streamed(Body::into_reader(body)))
            }
            Err(HttpError::Broken { source, .. }) if early(&source).is_some() => {
                let answer = early(&source).and_then(of_early).ok_or(source);
                answer.map_err(|source| failed(*source))?
            }
            Err(error) => return Err(error),
        };
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            wait: Arc::clone(wait),
            url: url.to_owned(),
            limit_bytes: self.response_max_bytes,
        })
    }
}

fn head_of(exchange: &Exchange<'_>) -> Result<http::Request<()>, http::Error> {
    let mut request = http::Request::builder()
        .method(exchange.method)
        .uri(exchange.url);
    for (name, value) in exchange.headers {
        request = request.header(*name, *value);
    }
    if let Some(authorization) = exchange.authorization {
        request = request.header("Authorization", authorization.reveal());
    }
    let length = match &exchange.content {
        Content::Empty => None,
        Content::Bytes(bytes) => u64::try_from(bytes.len()).ok(),
        Content::Stream { length, .. } => Some(*length),
    };
    // A body's length, also zero, is what makes the library send it with any method.
    let sends_body = matches!(exchange.method, "PUT" | "POST");
    if let Some(length) = length.or(sends_body.then_some(0)) {
        request = request.header("Content-Length", length);
    }
    request.body(())
}

fn early(error: &ureq::Error) -> Option<&EarlyAnswer> {
    let ureq::Error::Other(inner) = error else {
        return None;
    };
    inner.downcast_ref()
}

/// Reads the head of an answer that came before its request was sent. None if it is no answer, or
/// only a permission to go on.
fn of_early(answer: &EarlyAnswer) -> Option<(http::response::Parts, AnswerBody)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let mut rest = answer.bytes.as_slice();
    let (code, length) = loop {
        let httparse::Status::Complete(length) = head.parse(rest).ok()? else {
            return None;
        };
        match head.code? {
            100..=199 => {
                rest = &rest[length..];
                headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
                head = httparse::Response::new(&mut headers);
            }
            code => break (code, length),
        }
    };
    let mut response = http::Response::builder().status(code);
    for header in head.headers.iter() {
        response = response.header(header.name, header.value);
    }
    let (parts, ()) = response.body(()).ok()?.into_parts();
    let body = io::Cursor::new(rest[length..].to_vec());
    Some((parts, AnswerBody::Kept(body)))
}

impl Answer {
    /// Says whether the status is one of success, 200 to 299.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// Returns the first header of this name that is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|it| it.to_str().ok())
    }

    /// Returns all headers of this name that are text.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .get_all(name)
            .into_iter()
            .filter_map(|it| it.to_str().ok())
    }

    /// Returns the length that the answer claims for its body, in bytes.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.header("Content-Length")?.trim().parse().ok()
    }

    /// Says whether a cut of the body would show: it has a length, or comes in chunks.
    #[must_use]
    pub fn shows_its_end(&self) -> bool {
        self.content_length().is_some() || self.header("Transfer-Encoding").is_some()
    }

    /// Reads the next bytes of the body; none at its end.
    ///
    /// After [`HttpError::TimedOut`] reading may go on, if the caller has moved the deadline.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if the connection breaks or the waiting ends.
    pub fn read(&mut self, room: &mut [u8]) -> Result<usize, HttpError> {
        let result = match &mut self.body {
            AnswerBody::Kept(bytes) => bytes.read(room),
            AnswerBody::Streamed(reader) => {
                let _here = self.wait.enter();
                reader.read(room)
            }
        };
        result.map_err(|error| HttpError::of_request(&self.url, self.limit_bytes, error.into()))
    }

    /// Reads what is left of the body, at most `max_bytes` of it, as text. What cannot be read is
    /// left out: it is for messages.
    #[must_use]
    pub fn text(&mut self, max_bytes: usize) -> String {
        let mut text = vec![0; max_bytes];
        let mut length = 0;
        while length < max_bytes {
            match self.read(&mut text[length..]) {
                Ok(0) | Err(_) => break,
                Ok(more) => length += more,
            }
        }
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    /// Reads and forgets the body, so that its connection can be used again. A long or slow one
    /// costs the connection instead.
    pub fn drain(mut self) {
        self.wait.allow(self.wait.left().min(DRAIN_LIMIT));
        let _ = self.text(DRAIN_MAX_BYTES);
    }
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream { length, .. } => write!(f, "Stream({length})"),
        }
    }
}

impl std::fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnswerBody")
    }
}
