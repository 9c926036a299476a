//! PanDA's HTTP API in both dialects: which calls there are, and the frame around each.
//!
//! The frame finds the call in a table, reads the fields of the request, has the call's handler
//! answer, and writes the answer in the form that the client asked for. Handlers decode with
//! `wire`, decide with `server-core`, and act through [`App`].

mod calls;
mod harvester;
mod pilot;
mod statistics;

use std::sync::Arc;

use ailurus_wire::{
    Answer, Dialect, Envelope, Fields, LegacyForm,
    body::{self, BodyError},
    v1,
};
use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, Method, StatusCode as HttpStatus, header},
    response::{IntoResponse, Response},
};

use crate::{app::App, knowledge::chain};

use calls::{ENDPOINTS, Endpoint};

/// What a handler gives back.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An answer in the form that the client accepts.
    Answer(Answer),
    /// A legacy answer that is a form, whatever the client accepts.
    Form(Answer),
    /// Bytes as they are.
    Bytes(Vec<u8>),
    /// JSON without any frame.
    Json(serde_json::Value),
    /// Nothing was done, and the client is to ask again: why.
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

/// Answers `/server/panda/METHOD`.
pub(crate) async fn legacy(
    State(app): State<Arc<App>>,
    Path(method): Path<String>,
    request: Request,
) -> Response {
    match find(Dialect::Legacy, &method) {
        Some(endpoint) => answer(&app, endpoint, request).await,
        None => forbidden(&method),
    }
}

/// Answers `/api/VERSION/MODULE/METHOD`.
pub(crate) async fn v1(
    State(app): State<Arc<App>>,
    Path((version, module, method)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let endpoint = find(Dialect::V1, &format!("{module}/{method}"));
    match endpoint.filter(|_| version == "v1") {
        Some(endpoint) => answer(&app, endpoint, request).await,
        None => forbidden(&method),
    }
}

/// Answers a path that has none of PanDA's shapes.
pub(crate) async fn no_such_path(request: Request) -> Response {
    let path = request.uri().path();
    forbidden(path.rsplit('/').next().unwrap_or(path))
}

/// The reference server's answer to a method that it does not have.
fn forbidden(method: &str) -> Response {
    let text = format!("ERROR : method {method} is forbidden");
    (HttpStatus::FORBIDDEN, text).into_response()
}

fn find(dialect: Dialect, name: &str) -> Option<&'static Endpoint> {
    ENDPOINTS
        .iter()
        .find(|endpoint| endpoint.dialect == dialect && endpoint.name == name)
}

async fn answer(app: &App, endpoint: &Endpoint, request: Request) -> Response {
    let dialect = endpoint.dialect;
    let form = LegacyForm::of_accept(text_of(request.headers(), header::ACCEPT));
    if dialect == Dialect::V1
        && let Err(error) = v1::check_method(endpoint.method.as_str(), request.method().as_str())
    {
        return write(error.to_answer(dialect).into(), form);
    }
    match read_fields(dialect, request, app.body_limit).await {
        Ok(fields) => write(endpoint.call.run(app, dialect, fields).await, form),
        Err(refusal) => refusal,
    }
}

/// Reads the fields of a request: those of the query for GET, else those of the body.
async fn read_fields(
    dialect: Dialect,
    request: Request,
    body_limit: usize,
) -> Result<Fields, Response> {
    let (head, body) = request.into_parts();
    if head.method == Method::GET {
        let query = head.uri.query().unwrap_or_default();
        return Ok(match dialect {
            Dialect::Legacy => body::decode_form(query.as_bytes()),
            Dialect::V1 => body::decode_query(query),
        });
    }
    let bytes = read_body(&head.headers, body, body_limit).await?;
    let content_type = text_of(&head.headers, header::CONTENT_TYPE);
    body::decode_request(content_type, &bytes).map_err(|error| {
        let status = match error {
            BodyError::TooLarge => HttpStatus::PAYLOAD_TOO_LARGE,
            BodyError::Compressed(_) | BodyError::Json(_) | BodyError::NotAnObject => {
                HttpStatus::BAD_REQUEST
            }
        };
        (status, format!("ERROR : {}", chain(&error))).into_response()
    })
}

/// Reads a body that is no larger than allowed.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<axum::body::Bytes, Response> {
    let too_large = || {
        let text = format!("ERROR : body is larger than {limit} bytes");
        (HttpStatus::PAYLOAD_TOO_LARGE, text).into_response()
    };
    let announced = text_of(headers, header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    if announced.is_some_and(|length: usize| length > limit) {
        return Err(too_large());
    }
    // What is not too large was cut off by the client, who gets no answer anyway.
    axum::body::to_bytes(body, limit)
        .await
        .map_err(|_| too_large())
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn write(reply: Reply, form: LegacyForm) -> Response {
    let (kind, bytes) = match reply {
        Reply::Answer(answer) => {
            let is_json = matches!((&answer, form), (Answer::V1(_), _) | (_, LegacyForm::Json));
            let kind = if is_json {
                body::JSON_TYPE
            } else {
                "text/plain"
            };
            (kind, answer.to_body(form))
        }
        Reply::Form(answer) => ("text/plain", answer.to_body(LegacyForm::Urlencoded)),
        Reply::Bytes(bytes) => ("text/plain", bytes),
        Reply::Json(value) => (body::JSON_TYPE, value.to_string().into_bytes()),
        Reply::Failed(reason) => {
            let text = format!("ERROR : {reason}");
            return (HttpStatus::SERVICE_UNAVAILABLE, text).into_response();
        }
    };
    ([(header::CONTENT_TYPE, kind)], bytes).into_response()
}

/// The answer to a call that the server could not carry out.
///
/// It is no answer of PanDA's on purpose. Pilot 3 takes anything that it can read for the word that
/// its final report has arrived, and never sends it again; this makes it repeat.
fn failed(error: &dyn std::error::Error) -> Reply {
    let text = chain(error);
    tracing::error!(error = text, "a call failed");
    Reply::Failed(text)
}

#[cfg(test)]
mod tests {
    use ailurus_server_core::ledger::LedgerError;
    use ailurus_store::WriteError;

    use super::*;

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
            let response = write(failed(&error), LegacyForm::Json);
            assert_eq!(response.status(), HttpStatus::SERVICE_UNAVAILABLE);
            let kind = text_of(response.headers(), header::CONTENT_TYPE);
            assert!(kind.is_some_and(|kind| kind.starts_with("text/plain")));
        }
    }
}
