//! One call to the PanDA server: which dialect, which form of body, and what an answer is worth.
//!
//! A server of which nothing is known is asked in v1, then in the legacy dialect; what works is
//! remembered. One that has worked before and suddenly knows no call is being worked on: then its
//! answer counts as none, and the other dialect is tried, because servers are upgraded while
//! pilots run.

use std::sync::{Mutex, PoisonError};

use ailurus_http::{Client, Response, gzipped};
use ailurus_pilot_core::input::{AcquireFailure, UpdateFailure};
use ailurus_wire::{
    Dialect, Fields,
    body::{FORM_TYPE, JSON_TYPE, encode_form, encode_json},
};

use crate::log;

/// Calls one server. Shared by all activities; connections are kept open.
#[derive(Debug)]
pub(super) struct Calls {
    client: Client,
    /// Scheme, host and port.
    address: String,
    spoken: Mutex<Option<Spoken>>,
}

/// What a server is known to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    V1,
    /// Compressed JSON, as Pilot 3's first client sends it.
    Legacy,
    /// Forms, as Pilot 3's curl sends them.
    LegacyForm,
}

impl Spoken {
    const fn dialect(self) -> Dialect {
        match self {
            Self::V1 => Dialect::V1,
            Self::Legacy | Self::LegacyForm => Dialect::Legacy,
        }
    }
}

/// How a body of the legacy dialect is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LegacyBody {
    /// As the server takes it.
    AsKnown,
    /// As a form, whatever else it takes (`curlgetjob`).
    Form,
}

/// A call has no usable answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// The same may work later.
    Unreachable(String),
    /// The same will hardly work later.
    Refused(String),
    /// Nor for this caller in any other call: the server takes nothing from it.
    Forbidden(String),
}

impl CallError {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Unreachable(text) | Self::Refused(text) | Self::Forbidden(text) => text,
        }
    }
}

impl From<CallError> for AcquireFailure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable(text) | CallError::Refused(text) => Self::NoAnswer(text),
            CallError::Forbidden(text) => Self::NotAllowed(text),
        }
    }
}

impl From<CallError> for UpdateFailure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable(text) => Self::Unreachable(text),
            CallError::Refused(text) | CallError::Forbidden(text) => Self::Refused(text),
        }
    }
}

/// Why a request brought no answer.
#[derive(Debug)]
enum RequestError {
    /// The server has no such call.
    NoSuchCall(String),
    /// The server has no such call, which PanDA says in this way, or not for this caller.
    Forbidden(String),
    /// The server stumbled over the form of the body, perhaps.
    BadForm(String),
    Unreachable(String),
    Refused(String),
}

impl Calls {
    pub(super) const fn new(client: Client, address: String) -> Self {
        Self {
            client,
            address,
            spoken: Mutex::new(None),
        }
    }

    /// Posts fields, and returns the answer's body with the dialect that it is in.
    pub(super) fn post(
        &self,
        path_of: fn(Dialect) -> &'static str,
        encode: impl Fn(Dialect) -> Fields,
        legacy_body: LegacyBody,
    ) -> Result<(Dialect, Vec<u8>), CallError> {
        self.in_a_dialect(|spoken| {
            let form = match (spoken, legacy_body) {
                (Spoken::Legacy, LegacyBody::Form) => Spoken::LegacyForm,
                (spoken, LegacyBody::AsKnown | LegacyBody::Form) => spoken,
            };
            let dialect = form.dialect();
            self.post_once(path_of(dialect), form, &encode(dialect))
        })
    }

    /// Gets what lies at a path, which may hold a secret in its query.
    pub(super) fn get(
        &self,
        path_of: impl Fn(Dialect) -> String,
    ) -> Result<(Dialect, Vec<u8>), CallError> {
        self.in_a_dialect(|spoken| {
            let url = format!("{}{}", self.address, path_of(spoken.dialect()));
            judge(self.client.get(&url, &[("Accept", JSON_TYPE)]))
        })
    }

    /// Posts fields of a call that only v1 has. Nothing is learned from the answer.
    pub(super) fn post_v1(&self, path: &str, fields: &Fields) -> Result<Vec<u8>, CallError> {
        self.post_once(path, Spoken::V1, fields)
            .map_err(|error| error.into_call_error(None))
    }

    /// Says whether the server is known to take v1.
    pub(super) fn is_known_v1(&self) -> bool {
        *self.spoken.lock().unwrap_or_else(PoisonError::into_inner) == Some(Spoken::V1)
    }

    fn in_a_dialect(
        &self,
        ask: impl Fn(Spoken) -> Result<Vec<u8>, RequestError>,
    ) -> Result<(Dialect, Vec<u8>), CallError> {
        let known = *self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        let first = known.unwrap_or(Spoken::V1);
        let error = match ask(first) {
            Ok(bytes) => return Ok(self.remember(known, first, bytes)),
            Err(error) => error,
        };
        if !error.is_about_the_call() {
            return Err(error.into_call_error(known));
        }
        let second = match first {
            Spoken::V1 => Spoken::Legacy,
            Spoken::Legacy | Spoken::LegacyForm => Spoken::V1,
        };
        match ask(second) {
            Ok(bytes) => Ok(self.remember(known, second, bytes)),
            // Neither dialect: what the first one said is nearer to the truth.
            Err(second) if second.is_about_the_call() => Err(error.into_call_error(known)),
            Err(RequestError::BadForm(_)) if second == Spoken::Legacy && known.is_none() => {
                match ask(Spoken::LegacyForm) {
                    Ok(bytes) => Ok(self.remember(known, Spoken::LegacyForm, bytes)),
                    Err(error) => Err(error.into_call_error(known)),
                }
            }
            Err(error) => Err(error.into_call_error(known)),
        }
    }

    fn remember(
        &self,
        known: Option<Spoken>,
        spoken: Spoken,
        bytes: Vec<u8>,
    ) -> (Dialect, Vec<u8>) {
        if known != Some(spoken) {
            tracing::debug!("the server takes {spoken:?}");
            *self.spoken.lock().unwrap_or_else(PoisonError::into_inner) = Some(spoken);
        }
        (spoken.dialect(), bytes)
    }

    fn post_once(
        &self,
        path: &str,
        form: Spoken,
        fields: &Fields,
    ) -> Result<Vec<u8>, RequestError> {
        let url = format!("{}{path}", self.address);
        let answer = match form {
            Spoken::V1 => self.client.post(
                &url,
                &gzipped(&encode_json(fields)),
                JSON_TYPE,
                &[("Content-Encoding", "gzip"), ("Accept", JSON_TYPE)],
            ),
            // Such servers decompress JSON whatever the headers say, and answer as to Pilot 3 only
            // without these.
            Spoken::Legacy => {
                self.client
                    .post(&url, &gzipped(&encode_json(fields)), JSON_TYPE, &[])
            }
            Spoken::LegacyForm => self.client.post(
                &url,
                encode_form(fields).as_bytes(),
                FORM_TYPE,
                &[("Accept", JSON_TYPE)],
            ),
        };
        judge(answer)
    }
}

impl RequestError {
    /// Says whether the other dialect may have the call.
    const fn is_about_the_call(&self) -> bool {
        match self {
            Self::NoSuchCall(_) | Self::Forbidden(_) => true,
            Self::BadForm(_) | Self::Unreachable(_) | Self::Refused(_) => false,
        }
    }

    /// `known` is what the server took before.
    fn into_call_error(self, known: Option<Spoken>) -> CallError {
        match self {
            Self::NoSuchCall(text) if known.is_none() => CallError::Refused(text),
            Self::Forbidden(text) if known.is_none() => CallError::Forbidden(text),
            Self::NoSuchCall(text)
            | Self::Forbidden(text)
            | Self::BadForm(text)
            | Self::Unreachable(text) => CallError::Unreachable(text),
            Self::Refused(text) => CallError::Refused(text),
        }
    }
}

/// Sorts answers by what they mean for the caller. Besides those that are about this very message,
/// a bad status comes from a server, a proxy or a credential that may be well again later.
fn judge(answer: Result<Response, ailurus_http::HttpError>) -> Result<Vec<u8>, RequestError> {
    let answer = answer.map_err(|error| RequestError::Unreachable(log::chain(&error)))?;
    let why = || log::answer_in_words(&answer);
    match answer.status {
        200..=299 => Ok(answer.body),
        403 => Err(RequestError::Forbidden(why())),
        404 | 405 | 410 => Err(RequestError::NoSuchCall(why())),
        400 | 415 | 500 => Err(RequestError::BadForm(why())),
        413 | 414 | 422 | 431 => Err(RequestError::Refused(why())),
        _ => Err(RequestError::Unreachable(why())),
    }
}
