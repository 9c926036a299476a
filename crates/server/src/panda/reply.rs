//! What a handler gives back, and how it is written for the client that asked.

use ailurus_wire::{
    Answer, Dialect, Envelope, LegacyForm, RequestError,
    body::{self, JSON_TYPE},
    python_literal,
};
use axum::{
    http::{HeaderMap, StatusCode as HttpStatus, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use crate::knowledge::chain;

const TEXT_TYPE: &str = "text/plain";

/// What a handler gives back.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An answer in the form that the client accepts.
    Answer(Answer),
    /// A legacy answer that is a form, whatever the client accepts.
    Form(Answer),
    /// A text.
    Text(String),
    /// JSON without any frame.
    Json(Value),
    /// Nothing was done, and the client is to ask again: why. HTTP 503.
    Failed(String),
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl From<Envelope> for Reply {
    fn from(envelope: Envelope) -> Self {
        Self::Answer(Answer::V1(envelope))
    }
}

impl Reply {
    /// A v1 answer with data.
    pub(crate) fn data(data: impl Into<Value>) -> Self {
        Envelope::success(data).into()
    }

    /// A v1 answer with data and words for people.
    pub(crate) fn data_and_message(data: impl Into<Value>, message: impl Into<String>) -> Self {
        let message = message.into();
        Envelope {
            message,
            ..Envelope::success(data)
        }
        .into()
    }

    /// A v1 answer that says that it is not done, and why.
    pub(crate) fn refusal(message: impl Into<String>) -> Self {
        Envelope::failure(message).into()
    }

    /// The answer to a request that cannot be taken.
    pub(crate) fn bad_request(dialect: Dialect, error: &RequestError) -> Self {
        error.to_answer(dialect).into()
    }
}

/// The answer to a call that the server could not carry out.
///
/// It is no answer of PanDA's on purpose. Pilot 3 takes anything that it can read for the word that
/// its final report has arrived, and never sends it again; this makes it repeat.
pub(crate) fn failed(error: &dyn std::error::Error) -> Reply {
    let text = chain(error);
    tracing::error!(error = text, "a call failed");
    Reply::Failed(text)
}

/// In which forms a client wants its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    legacy: LegacyForm,
    is_json_in_v1: bool,
}

impl Wanted {
    /// JSON, whatever was said.
    pub(crate) const JSON: Self = Self {
        legacy: LegacyForm::Json,
        is_json_in_v1: true,
    };

    /// Tells them from the head of a request.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let legacy = LegacyForm::of_accept(text_of(headers, header::ACCEPT));
        let content_type = text_of(headers, header::CONTENT_TYPE);
        Self {
            legacy,
            is_json_in_v1: legacy == LegacyForm::Json
                || content_type.is_some_and(body::is_json_type),
        }
    }

    /// Writes an answer.
    pub(crate) fn write(self, reply: Reply) -> Response {
        let (kind, bytes) = match reply {
            Reply::Answer(answer) => self.write_answer(&answer),
            Reply::Form(answer) => (TEXT_TYPE, answer.to_body(LegacyForm::Urlencoded)),
            Reply::Text(text) => (TEXT_TYPE, text.into_bytes()),
            Reply::Json(value) => (JSON_TYPE, value.to_string().into_bytes()),
            Reply::Failed(reason) => return error(HttpStatus::SERVICE_UNAVAILABLE, &reason),
        };
        ([(header::CONTENT_TYPE, kind)], bytes).into_response()
    }

    fn write_answer(self, answer: &Answer) -> (&'static str, Vec<u8>) {
        match answer {
            Answer::V1(_) if self.is_json_in_v1 => (JSON_TYPE, answer.to_body(self.legacy)),
            Answer::V1(Envelope {
                success,
                message,
                data,
            }) => {
                let message = python_literal::encode(&Value::from(message.as_str()));
                let success = python_literal::encode(&Value::from(*success));
                let data = python_literal::encode(data);
                let dict =
                    format!("{{'success': {success}, 'message': {message}, 'data': {data}}}");
                (TEXT_TYPE, dict.into_bytes())
            }
            Answer::Legacy(_) => {
                let kind = match self.legacy {
                    LegacyForm::Json => JSON_TYPE,
                    LegacyForm::Urlencoded => TEXT_TYPE,
                };
                (kind, answer.to_body(self.legacy))
            }
        }
    }
}

/// An HTTP error in PanDA's words.
pub(crate) fn error(status: HttpStatus, reason: &str) -> Response {
    (status, format!("ERROR : {reason}")).into_response()
}

/// A header as text.
pub(crate) fn text_of(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use ailurus_server_core::ledger::LedgerError;
    use ailurus_store::WriteError;

    use serde_json::json;

    use super::*;

    fn wanted(name: header::HeaderName, value: &'static str) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(name, header::HeaderValue::from_static(value));
        Wanted::of(&headers)
    }

    #[test]
    fn what_was_not_saved_is_not_answered_in_a_form_that_pilots_can_read() {
        let errors: [WriteError<LedgerError>; 3] = [
            WriteError::Overloaded,
            WriteError::NotSaved {
                reason: "disk full".to_owned(),
            },
            WriteError::Operation(LedgerError {
                action: "read job 7".to_owned(),
                source: "disk full".into(),
            }),
        ];
        for error in errors {
            let response = wanted(header::ACCEPT, JSON_TYPE).write(failed(&error));
            assert_eq!(response.status(), HttpStatus::SERVICE_UNAVAILABLE);
            let kind = text_of(response.headers(), header::CONTENT_TYPE);
            assert!(kind.is_some_and(|kind| kind.starts_with("text/plain")));
        }
    }

    #[test]
    fn v1_is_json_for_who_speaks_json_and_python_for_others() {
        let answer = Answer::V1(Envelope::success(json!({"a": [null, true, "it's"]})));
        for (name, value) in [
            (header::ACCEPT, "application/json"),
            (header::CONTENT_TYPE, "application/json"),
        ] {
            let (kind, bytes) = wanted(name, value).write_answer(&answer);
            assert_eq!(kind, JSON_TYPE);
            assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
        }
        let (kind, bytes) = wanted(header::ACCEPT, "*/*").write_answer(&answer);
        let text = String::from_utf8(bytes).expect("text");
        assert_eq!(kind, TEXT_TYPE);
        assert!(
            text.contains(r#"'data': {'a': [None, True, "it's"]}"#),
            "{text}"
        );
    }
}
