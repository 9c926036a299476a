//! One conversation with a storage about one file: requests, redirects, credentials, patience.

use std::{io::Read, sync::Arc, time::Duration};

use ailurus_http::{Answer, Content, Exchange, HttpError, Secret, Wait};
use ailurus_model::ByteCount;

use super::{
    Shared,
    answer::{Action, cause_of, cause_of_silence},
    macaroon::Activity,
    place::Place,
};
use crate::{
    Cause, Direction, TransferError, Watch,
    budget::Part,
    flow_marker::{Flow, MarkedFlow, SCITAG_HEADER},
};

/// Most redirects of one request.
const REDIRECTS_MAX: usize = 8;

/// Longest wait for an answer to a request that moves no file.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Longest wait for cleaning up after a failure.
const CLEANING_LIMIT: Duration = Duration::from_secs(15);

/// Shortest wait for an answer after bytes have moved, also if little patience is left.
const HEAD_LIMIT_MIN: Duration = Duration::from_secs(10);

/// Silence after which a connection is left for a new one, once bytes have moved. Servers forget
/// connections: XRootD 5.5 does under load.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Memory of one connection: our buffer, and the library's for both directions.
pub(crate) const CONNECTION_BYTES: u64 = 512 << 10;

/// A request of this conversation.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) content: Body<'a>,
    /// What a credential must allow.
    pub(crate) activity: Activity,
    /// How long may be waited for the answer.
    pub(crate) limit: Duration,
}

/// What is sent, as often as it has to be.
pub(crate) enum Body<'a> {
    Empty,
    Bytes(&'a [u8]),
    Stream(&'a mut dyn Restart),
}

/// A stream that can be sent again from its beginning.
pub(crate) trait Restart: Read {
    /// Its length in bytes.
    fn length(&self) -> u64;

    /// Goes back to the beginning.
    fn restart(&mut self);

    /// Says whether something of it has been read.
    fn is_begun(&self) -> bool;
}

impl<'a> Ask<'a> {
    /// Says whether doing it twice is doing it once, and little would be sent again. A connection
    /// that was kept may be closed by the storage at the moment of its reuse.
    fn may_be_repeated(&self) -> bool {
        let is_begun = match &self.content {
            Body::Empty | Body::Bytes(_) => false,
            Body::Stream(stream) => stream.is_begun(),
        };
        !is_begun && !matches!(self.method, "MOVE" | "COPY")
    }

    /// A request without content that moves no file.
    pub(crate) const fn plain(method: &'a str, activity: Activity) -> Self {
        Self {
            method,
            headers: &[],
            content: Body::Empty,
            activity,
            limit: ANSWER_LIMIT,
        }
    }
}

/// A conversation. Each thread has its own.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) tool: &'a Shared,
    pub(crate) direction: Direction,
    pub(crate) watch: &'a Watch,
    pub(crate) wait: Arc<Wait>,
    /// Longest wait for any answer.
    limit_max: Duration,
}

impl<'a> Session<'a> {
    pub(crate) fn new(tool: &'a Shared, direction: Direction, watch: &'a Watch) -> Self {
        Self {
            tool,
            direction,
            watch,
            wait: Wait::new(Arc::clone(watch.stop()), ANSWER_LIMIT),
            limit_max: Duration::MAX,
        }
    }

    /// A conversation for cleaning up after a failure, which has to be short.
    pub(crate) fn for_cleaning(&self, watch: &'a Watch) -> Self {
        Self {
            limit_max: CLEANING_LIMIT,
            ..Self::new(self.tool, self.direction, watch)
        }
    }

    /// Marks the connection of the last request, whose bytes come or go from now on.
    pub(crate) fn mark(&self) -> Option<MarkedFlow> {
        let marker = self.tool.options.flow_marker.as_ref()?;
        let (local, remote) = self.wait.connection()?;
        Some(marker.begin(Flow { local, remote }))
    }

    /// Takes the memory of a connection, waiting until others give theirs back.
    pub(crate) fn take_buffers(&self, place: &Place) -> Result<Part, TransferError> {
        let shown = place.shown();
        let who = (self.direction, shown.as_str());
        self.tool.buffers.take(CONNECTION_BYTES, self.watch, who)
    }

    /// Makes an error about a place.
    pub(crate) fn error(&self, place: &Place, cause: Cause) -> TransferError {
        TransferError::new(self.direction, place.shown(), cause)
    }

    /// Makes an error of an answer that is no success.
    pub(crate) fn refused(&self, place: &Place, answer: Answer, action: Action) -> TransferError {
        self.error(place, cause_of(answer, action))
    }

    /// How long may be waited for the answer once the file's bytes have been sent.
    pub(crate) fn head_limit(&self) -> Duration {
        let left = self.watch.wait();
        if self.watch.moved() == ByteCount::from_bytes(0) {
            left
        } else {
            left.max(HEAD_LIMIT_MIN)
        }
    }

    /// How long may be waited for the head of an answer with the file's bytes, or for the next of
    /// them.
    pub(crate) fn silence_limit(&self) -> Duration {
        let left = self.watch.wait();
        if self.watch.moved() == ByteCount::from_bytes(0) {
            left
        } else {
            left.min(SILENCE_MAX)
        }
    }

    /// Sends a request, goes after redirects, and renews the credential once if it is refused.
    /// Any other status is an answer; so is a redirect that leads nowhere.
    pub(crate) fn ask(&self, first: &Place, mut ask: Ask<'_>) -> Result<Answer, TransferError> {
        if self.watch.is_stopped() {
            return Err(self.error(first, Cause::Stopped));
        }
        let mut place = first.clone();
        let mut seen = vec![place.clone()];
        let mut authorization = self.authorization(first, ask.activity)?;
        let (mut is_renewed, mut is_repeated) = (false, false);
        loop {
            let trust = self.tool.options.redirects;
            let sent = authorization
                .as_ref()
                .filter(|_| trust.allows(first, &place));
            let answer = match self.send(&place, &mut ask, sent) {
                Err(error)
                    if !is_repeated
                        && matches!(error.cause, Cause::Broken { .. })
                        && ask.may_be_repeated() =>
                {
                    is_repeated = true;
                    continue;
                }
                result => result?,
            };
            match answer.status {
                301 | 302 | 303 | 307 | 308 => {
                    let location = answer.header("Location");
                    let Some(next) = location.and_then(|it| place.redirected(it)) else {
                        return Ok(answer);
                    };
                    if seen.contains(&next) || seen.len() > REDIRECTS_MAX {
                        let why = format!("redirects in a circle, {} times", seen.len());
                        return Err(self.error(first, Cause::Refused { why }));
                    }
                    tracing::debug!(from = place.shown(), to = next.shown(), "redirected");
                    self.learn_redirect(&ask, &place);
                    seen.push(next.clone());
                    place = next;
                    answer.drain();
                }
                // Some storages answer an expired token with 403.
                401 | 403 if !is_renewed && sent.is_some() => {
                    is_renewed = true;
                    self.tool.macaroons.forget(first, ask.activity);
                    let renewed = self.authorization(first, ask.activity)?;
                    if renewed == authorization {
                        return Ok(answer);
                    }
                    tracing::info!(place = first.shown(), "the credential was renewed");
                    authorization = renewed;
                    answer.drain();
                }
                _ => return Ok(answer),
            }
        }
    }

    fn send(
        &self,
        place: &Place,
        ask: &mut Ask<'_>,
        authorization: Option<&Secret>,
    ) -> Result<Answer, TransferError> {
        self.wait.allow(ask.limit.min(self.limit_max));
        let url = place.url();
        let content = match &mut ask.content {
            Body::Empty => Content::Empty,
            Body::Bytes(bytes) => Content::Bytes(bytes),
            Body::Stream(stream) => {
                stream.restart();
                let length = stream.length();
                // A `Read` is wanted, not what it can do besides.
                let reader: &mut dyn Read = &mut **stream;
                Content::Stream { length, reader }
            }
        };
        let ids = self.tool.options.flow;
        let scitag = ids.map(|ids| ids.of(self.direction).scitag().to_string());
        let mut headers = ask.headers.to_vec();
        headers.extend(scitag.as_deref().map(|it| (SCITAG_HEADER, it)));
        let exchange = Exchange {
            method: ask.method,
            url: &url,
            headers: &headers,
            authorization,
            content,
        };
        let sent = self.tool.exchanger.send(exchange, &self.wait);
        sent.map_err(|error| self.silence(place, &error, ask.limit))
    }

    /// Makes an error of a request without an answer.
    pub(crate) fn silence(
        &self,
        place: &Place,
        error: &HttpError,
        limit: Duration,
    ) -> TransferError {
        self.error(place, cause_of_silence(error, limit))
    }

    /// Returns the credential for a place: what its URL says, a macaroon, the token, or none.
    fn authorization(
        &self,
        place: &Place,
        activity: Activity,
    ) -> Result<Option<Secret>, TransferError> {
        if let Some(basic) = place.basic() {
            return Ok(Some(basic));
        }
        let token = self.tool.token.current();
        let token = token.map_err(|error| self.silence(place, &error, ANSWER_LIMIT))?;
        match self.tool.options.macaroons {
            Some(macaroons) if activity != Activity::Ask => {
                let (memory, secret) = (&self.tool.macaroons, token.as_ref());
                memory
                    .get(self, place, activity, macaroons, secret)
                    .map(Some)
            }
            Some(_) | None => Ok(token),
        }
    }

    fn learn_redirect(&self, ask: &Ask<'_>, place: &Place) {
        if matches!(ask.content, Body::Stream(_)) {
            let origin = place.origin();
            self.tool.hosts.learn(origin, |it| it.takes_bytes = false);
        }
    }
}
