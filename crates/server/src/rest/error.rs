//! Errors of the JSON API: an HTTP status and an [`ErrorBody`].

use ailurus_server_core::{ActionError, SubmitError, ledger::LedgerError};
use ailurus_store::{ReadError, WriteError};
use ailurus_wire::rest::ErrorBody;
use axum::{
    Json,
    extract::rejection::QueryRejection,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{knowledge::chain, reads::AskError};

/// What helps against most failures of the database.
const LOOK_AT_DISK: &str = "look at the server's log and at its disk";
/// The code and the help where too many ask.
const OVERLOADED: &str = "overloaded";
const LATER: &str = "try again in a minute";

/// A refused or failed request.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
}

impl ApiError {
    /// Makes an error from its parts.
    pub(super) fn new(
        status: StatusCode,
        code: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            status,
            body: ErrorBody {
                code: code.to_owned(),
                message: message.into(),
                help: help.into(),
            },
        }
    }

    /// Nobody knows who asks.
    pub(super) fn unknown_caller() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unknown-caller",
            "this server wants to know who asks",
            "give a certificate or grid proxy (X509_USER_PROXY), or a token (AILURUS_TOKEN_FILE), \
             over https",
        )
    }

    /// The caller is known, and may not do this.
    pub(super) fn not_allowed(error: &dyn std::error::Error) -> Self {
        let help = "ask the operators for the production role, or leave it to the owner";
        Self::new(StatusCode::FORBIDDEN, "not-allowed", chain(error), help)
    }

    /// The thing that the path names is not there.
    pub(super) fn not_found(kind: &str, name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            &format!("unknown-{kind}"),
            format!("there is no {kind} `{name}`"),
            "",
        )
    }

    /// A parameter of the request makes no sense.
    pub(super) fn bad_value(name: &str, problem: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-value",
            format!("`{name}`: {}", problem.into()),
            "",
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<QueryRejection> for ApiError {
    fn from(error: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-query", error.body_text(), "")
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let status = match error {
            SubmitError::Ledger(source) => return source.into(),
            SubmitError::TaskExists { .. } | SubmitError::DatasetExists { .. } => {
                StatusCode::CONFLICT
            }
            SubmitError::Empty
            | SubmitError::BadValue { .. }
            | SubmitError::TooMany { .. }
            | SubmitError::MissingDataset { .. }
            | SubmitError::UnpairedInput { .. }
            | SubmitError::BadTemplate { .. }
            | SubmitError::LfnNotUnique { .. }
            | SubmitError::UnknownQueue { .. } => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.code(), error.to_string(), error.help())
    }
}

impl From<ActionError> for ApiError {
    fn from(error: ActionError) -> Self {
        let status = match error {
            ActionError::Ledger(source) => return source.into(),
            ActionError::UnknownJob { .. } | ActionError::UnknownTask { .. } => {
                StatusCode::NOT_FOUND
            }
            ActionError::TaskAborted { .. } | ActionError::JobsDropped { .. } => {
                StatusCode::CONFLICT
            }
            ActionError::NotYours { .. } => StatusCode::FORBIDDEN,
        };
        Self::new(status, error.code(), error.to_string(), error.help())
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        let text = chain(&error);
        tracing::error!(error = text, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "database-failed",
            text,
            LOOK_AT_DISK,
        )
    }
}

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Read(ReadError::Ledger(error)) => error.into(),
            AskError::Read(ReadError::Open(error)) => LedgerError {
                action: "read".to_owned(),
                source: Box::new(error),
            }
            .into(),
            AskError::Busy { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                OVERLOADED,
                error.to_string(),
                LATER,
            ),
        }
    }
}

impl<E: Into<Self>> From<WriteError<E>> for ApiError {
    fn from(error: WriteError<E>) -> Self {
        let (status, code, message, help) = match error {
            WriteError::Operation(error) => return error.into(),
            WriteError::Panicked { message } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "server-defect",
                format!("the server has a defect: {message}"),
                "report this with the server's log",
            ),
            WriteError::NotSaved { reason } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "database-failed",
                format!("the database cannot keep the change: {reason}"),
                LOOK_AT_DISK,
            ),
            WriteError::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                OVERLOADED,
                "too many requests wait for the database".to_owned(),
                LATER,
            ),
            WriteError::Stopped => (
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "the server is stopping".to_owned(),
                "try again once the server runs again",
            ),
        };
        Self::new(status, code, message, help)
    }
}
