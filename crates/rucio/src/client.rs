//! The client: one call, made as often as it is safe, with a token that is believed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ailurus_http::{Client, ClientConfig, HttpError, Redirects, Response};
use ailurus_model::EndpointName;
use ailurus_wire::{
    body::JSON_TYPE,
    fields::first_chars,
    rucio::{
        RucioAnswerError, auth, refusal,
        rse::{self, Rse},
    },
};

use crate::{Call, Credential, RucioConfig, RucioError, token::TokenSource};

/// How often a pause looks whether to stop.
const STOP_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The longest part of an unexpected answer that is repeated, in characters.
const SHOWN_MAX: usize = 80;

/// A client of one Rucio server. Clones share connections and token.
#[derive(Debug, Clone)]
pub struct RucioClient {
    client: Client,
    config: Arc<RucioConfig>,
    tokens: Arc<TokenSource>,
    stop: Arc<AtomicBool>,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) call: Call,
    pub(crate) method: Method,
    /// Below the server's address.
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) repeat: Repeat,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Method {
    Get,
    Post,
    Put,
}

/// Whether a call may be made again after an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Doing it twice is the same as once.
    Always,
    /// Each time counts.
    IfNotArrived,
}

impl RucioClient {
    /// Makes a client. No connection is opened.
    ///
    /// # Errors
    ///
    /// [`RucioError::Config`] if a certificate or key cannot be read.
    pub fn new(config: RucioConfig) -> Result<Self, RucioError> {
        let certificate = match &config.credential {
            Credential::Certificate(certificate) | Credential::Proxy(certificate) => {
                Some(certificate.clone())
            }
            Credential::UserPass { .. } | Credential::Token(_) | Credential::TokenFile(_) => None,
        };
        let client = Client::new(ClientConfig {
            certificate,
            token: None,
            redirects: Redirects::Told,
            ..config.http.clone()
        })?;
        Ok(Self {
            client,
            config: Arc::new(config),
            tokens: Arc::new(TokenSource::new()),
            stop: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Returns the same client, which makes no further try and ends its pauses once `stop` is set.
    #[must_use]
    pub fn with_stop(&self, stop: Arc<AtomicBool>) -> Self {
        Self {
            stop,
            ..self.clone()
        }
    }

    /// Returns the server's address.
    #[must_use]
    pub fn host(&self) -> &str {
        self.config.host.trim_end_matches('/')
    }

    /// Asks what an endpoint is.
    ///
    /// # Errors
    ///
    /// [`RucioError`] if there is no such endpoint, or no good answer.
    pub fn rse(&self, name: &EndpointName) -> Result<Rse, RucioError> {
        let path = format!("/rses/{}", encoded(name.as_str()));
        let request = Request {
            call: Call::Rse,
            method: Method::Get,
            path: &path,
            body: &[],
            repeat: Repeat::Always,
        };
        self.call(request, |answer| rse::decode_rse(&answer.body))
    }

    /// Makes a call until it has a good answer, and reads that.
    pub(crate) fn call<T>(
        &self,
        request: Request<'_>,
        read: impl Fn(&Response) -> Result<T, RucioAnswerError>,
    ) -> Result<T, RucioError> {
        let Request { call, repeat, .. } = request;
        let mut try_nr = 1;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RucioError::Stopped { call });
            }
            let outcome = self.call_believed(request).and_then(|answer| {
                read(&answer).map_err(|source| RucioError::BadAnswer { call, source })
            });
            let error = match outcome {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let may_repeat = repeat == Repeat::Always || !error.may_have_arrived();
            let pause = self.config.retries.pause_after(try_nr);
            match pause.filter(|_| may_repeat && error.is_passing()) {
                None => return Err(error),
                Some(pause) => {
                    tracing::debug!(%error, try_nr, "Rucio is asked again");
                    self.wait(pause);
                    try_nr += 1;
                }
            }
        }
    }

    /// Makes a call once, and once again with a new token where the old one is not believed.
    fn call_believed(&self, request: Request<'_>) -> Result<Response, RucioError> {
        let token = self.tokens.token(&self.client, &self.config)?;
        match self.call_with(request, token.reveal()) {
            Err(error) if error.is_disbelief() => {
                self.tokens.forget(&token);
                let new = self.tokens.token(&self.client, &self.config)?;
                if new == token {
                    return Err(error);
                }
                self.call_with(request, new.reveal())
            }
            outcome => outcome,
        }
    }

    fn call_with(&self, request: Request<'_>, token: &str) -> Result<Response, RucioError> {
        let url = format!("{}{}", self.host(), request.path);
        let mut headers = vec![(auth::TOKEN, token)];
        if let Some(account) = &self.config.account {
            headers.push((auth::ACCOUNT, account));
        }
        if let Some(vo) = &self.config.vo {
            headers.push((auth::VO, vo));
        }
        let body = request.body;
        let answer = match request.method {
            Method::Get => self.client.get(&url, &headers),
            Method::Post => self.client.post(&url, body, JSON_TYPE, &headers),
            Method::Put => self.client.put(&url, body, JSON_TYPE, &headers),
        };
        let answer = judged(request.call, answer)?;
        if answer.is_success() {
            Ok(answer)
        } else {
            Err(refusal_of(request.call, &answer))
        }
    }

    fn wait(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while !self.stop.load(Ordering::Relaxed) {
            match end.checked_duration_since(Instant::now()) {
                None | Some(Duration::ZERO) => return,
                Some(left) => thread::sleep(left.min(STOP_LOOK_INTERVAL)),
            }
        }
    }
}

pub(crate) fn judged(
    call: Call,
    answer: Result<Response, HttpError>,
) -> Result<Response, RucioError> {
    answer.map_err(|source| RucioError::NoAnswer { call, source })
}

/// Makes an error of an answer whose status is none of success.
pub(crate) fn refusal_of(call: Call, answer: &Response) -> RucioError {
    let status = answer.status;
    match refusal::decode(|name| answer.header(name), &answer.body) {
        Some(refusal) => RucioError::Refused {
            call,
            status,
            refusal,
        },
        None => RucioError::Status {
            call,
            status,
            beginning: first_chars(&answer.text(), SHOWN_MAX)
                .replace(char::is_control, " ")
                .trim()
                .to_owned(),
        },
    }
}

/// Writes a name so that it can be one part of a URL's path.
pub(crate) fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_to_another_place() {
        assert_eq!(encoded("DISK_1-a.b~"), "DISK_1-a.b~");
        assert_eq!(encoded("a/../b?c=d e%ä"), "a%2F..%2Fb%3Fc%3Dd%20e%25%C3%A4");
    }
}
