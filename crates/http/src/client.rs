//! The client and its answers.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ureq::{Agent, Body, http};

use crate::{
    ClientConfig, ConfigError, HttpError,
    agent::{AgentSource, Purpose},
    error::without_secrets,
    token::TokenFile,
};

/// Bytes of a download that are copied at once.
const COPY_BYTES: usize = 256 << 10;

/// A blocking HTTP client. Cheap to clone; clones share connections and token.
#[derive(Debug, Clone)]
pub struct Client {
    agents: Arc<AgentSource>,
    token: Option<Arc<TokenFile>>,
    response_max_bytes: u64,
    download_timeout: Duration,
    /// Until the head of an answer has come, also that of a download.
    answer_timeout: Duration,
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status, for example 200.
    pub status: u16,
    /// Names in lower case and values, in the order of the answer. Values that are no text are
    /// left out.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// What came of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileAnswer {
    /// The file is complete.
    Saved {
        /// Its bytes.
        size_bytes: u64,
    },
    /// The server answered with a status other than 200; no file was written.
    Refused(Response),
}

impl Response {
    /// Says whether the status is one of success, 200 to 299.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// Returns the first header of this name; upper and lower case are the same.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns the body as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// Makes a client. No connection is opened.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a certificate or key cannot be read, or the proxy's address is none.
    pub fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            token: config
                .token
                .clone()
                .map(|token| Arc::new(TokenFile::new(token))),
            response_max_bytes: config.response_max_bytes,
            download_timeout: config.timeouts.download,
            answer_timeout: config.timeouts.whole,
            agents: Arc::new(AgentSource::new(config, Purpose::Calls)?),
        })
    }

    /// Sends a body and returns the answer.
    ///
    /// A request is sent once: whether it may be repeated is known to the caller only. Connections
    /// that the server has closed meanwhile are not used.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if there is no answer.
    pub fn post(
        &self,
        url: &str,
        body: &[u8],
        content_type: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response, HttpError> {
        self.send_body(http::Method::POST, url, (body, content_type), headers)
    }

    /// As [`Self::post`], by the method `PUT`.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if there is no answer.
    pub fn put(
        &self,
        url: &str,
        body: &[u8],
        content_type: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response, HttpError> {
        self.send_body(http::Method::PUT, url, (body, content_type), headers)
    }

    fn send_body(
        &self,
        method: http::Method,
        url: &str,
        (body, content_type): (&[u8], &str),
        headers: &[(&str, &str)],
    ) -> Result<Response, HttpError> {
        let answer = self.agents.run(|agent| {
            let mut request = http::Request::builder()
                .method(&method)
                .uri(url)
                .header("Content-Type", content_type);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = self.complete(url, request)?;
            agent
                .run(request.map(|()| body))
                .map_err(|error| self.failed(url, error))
        })?;
        self.whole(url, answer)
    }

    /// Asks for a resource and returns the answer.
    ///
    /// Asks a second time if the connection breaks before any answer, which happens when a server
    /// closes an idle connection at the moment of its reuse.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if there is no answer.
    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response, HttpError> {
        let answer = self.get_answer(url, headers, None)?;
        self.whole(url, answer)
    }

    /// Downloads a resource into a file of at most `max_bytes` bytes.
    ///
    /// The file appears whole or not at all: it is written under another name in the same
    /// directory first. An existing file is replaced.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if there is no answer, it is too large, or the file cannot be written.
    pub fn get_to_file(
        &self,
        url: &str,
        path: &Path,
        max_bytes: u64,
    ) -> Result<FileAnswer, HttpError> {
        let answer = self.get_answer(url, &[], Some(self.download_timeout))?;
        if answer.status() != http::StatusCode::OK {
            return self.whole(url, answer).map(FileAnswer::Refused);
        }
        let partial = partial_path(path);
        let saved = self
            .save(url, answer, &partial, max_bytes)
            .and_then(|size_bytes| {
                fs::rename(&partial, path).map_err(|source| HttpError::File {
                    path: path.to_owned(),
                    source,
                })?;
                Ok(FileAnswer::Saved { size_bytes })
            });
        if saved.is_err() {
            // It may not have been made at all.
            let _ = fs::remove_file(&partial);
        }
        saved
    }

    fn get_answer(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        timeout: Option<Duration>,
    ) -> Result<http::Response<Body>, HttpError> {
        let ask_one = |agent: &Agent| {
            let mut request = http::Request::get(url);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let mut request = agent.configure_request(self.complete(url, request)?);
            if let Some(timeout) = timeout {
                // A file may take its time, but not its beginning.
                request = request
                    .timeout_global(Some(timeout))
                    .timeout_recv_response(Some(self.answer_timeout));
            }
            agent
                .run(request.build())
                .map_err(|error| self.failed(url, error))
        };
        let ask = || self.agents.run(ask_one);
        match ask() {
            Err(HttpError::Broken { source, .. }) => {
                tracing::debug!(url = without_secrets(url), %source, "asking a second time");
                ask()
            }
            answer => answer,
        }
    }

    /// Adds the credentials and checks the request's form.
    fn complete(
        &self,
        url: &str,
        mut request: http::request::Builder,
    ) -> Result<http::Request<()>, HttpError> {
        if let Some(token) = &self.token {
            request = request
                .header("Authorization", token.authorization()?.reveal())
                .header("Origin", token.origin());
        }
        let request = request
            .body(())
            .map_err(|error| self.failed(url, error.into()))?;
        match request.uri().scheme_str() {
            Some("http" | "https") => Ok(request),
            _ => Err(HttpError::BadUrl {
                url: without_secrets(url),
            }),
        }
    }

    /// Reads the whole body into memory.
    fn whole(&self, url: &str, answer: http::Response<Body>) -> Result<Response, HttpError> {
        let (parts, body) = answer.into_parts();
        let body = body
            .into_with_config()
            .limit(self.response_max_bytes)
            .read_to_vec()
            .map_err(|error| self.failed(url, error))?;
        let headers = parts.headers.iter().filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        });
        Ok(Response {
            status: parts.status.as_u16(),
            headers: headers.collect(),
            body,
        })
    }

    /// Writes the body to a new file, through to the disk.
    fn save(
        &self,
        url: &str,
        answer: http::Response<Body>,
        path: &Path,
        max_bytes: u64,
    ) -> Result<u64, HttpError> {
        let file_error = |source| HttpError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = File::create(path).map_err(file_error)?;
        let mut body = answer.into_body().into_reader();
        let mut chunk = vec![0; COPY_BYTES];
        let mut size_bytes = 0;
        loop {
            let length = match body.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(HttpError::of_request(url, max_bytes, error.into())),
            };
            size_bytes += u64::try_from(length).unwrap_or(u64::MAX);
            if size_bytes > max_bytes {
                return Err(HttpError::TooLarge {
                    url: without_secrets(url),
                    limit_bytes: max_bytes,
                });
            }
            file.write_all(&chunk[..length]).map_err(file_error)?;
        }
        file.sync_all().map_err(file_error)?;
        Ok(size_bytes)
    }

    fn failed(&self, url: &str, error: ureq::Error) -> HttpError {
        HttpError::of_request(url, self.response_max_bytes, error)
    }
}

/// A name beside the file that no other process or thread uses.
fn partial_path(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nr = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{nr}.part", std::process::id()));
    path.with_file_name(name)
}
