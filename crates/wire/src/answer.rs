//! Answers of the server in both dialects, before a call's own module looks into them.
//!
//! A legacy answer is a flat map with a `StatusCode`, written as a form or, if the client accepts
//! JSON, as an object. A v1 answer is an [`Envelope`]. Whether an answer means success is told
//! here; what its data mean is told by the call's module.
//!
//! Source: PanDA server, `pandaserver/jobdispatcher/Protocol.py`, `Response`; Pilot 3,
//! `pilot/util/https.py`, `request2`.

use ailurus_model::{Blame, ErrorCode, Retry};
use serde_json::{Value, json};

use crate::{
    body::{self, BodyError},
    fields::{FieldError, Fields, is_missing, whole_of},
    table::Dialect,
    v1::{self, Envelope, RequestError},
};

/// The name of the status field in legacy answers and in the data of v1 pilot calls.
pub(crate) const STATUS: &str = "StatusCode";
/// The name of the message field in legacy answers.
const MESSAGE: &str = "errorDialog";
/// The text that means success to old pilots.
const SUCCEEDED: &str = "Succeeded";

/// `StatusCode`: what became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusCode {
    /// 0: done.
    Success,
    /// 10: the server did not manage in time.
    TimedOut,
    /// 20: no job fits.
    NoJobs,
    /// 30: the server failed.
    Failed,
    /// 40: no verified identity.
    NotSecure,
    /// 50: the request is invalid.
    Invalid,
    /// 60: the caller has not the right role.
    Role,
    /// 70: the caller may not do this.
    Permission,
    /// 80: a key is missing.
    MissingKey,
    /// 90: no proxy could be had.
    Proxy,
    /// A number that PanDA did not define.
    Other(i64),
}

impl StatusCode {
    /// Returns the number on the wire.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Success => 0,
            Self::TimedOut => 10,
            Self::NoJobs => 20,
            Self::Failed => 30,
            Self::NotSecure => 40,
            Self::Invalid => 50,
            Self::Role => 60,
            Self::Permission => 70,
            Self::MissingKey => 80,
            Self::Proxy => 90,
            Self::Other(number) => number,
        }
    }

    /// Tells the code of a number.
    #[must_use]
    pub const fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Success,
            10 => Self::TimedOut,
            20 => Self::NoJobs,
            30 => Self::Failed,
            40 => Self::NotSecure,
            50 => Self::Invalid,
            60 => Self::Role,
            70 => Self::Permission,
            80 => Self::MissingKey,
            90 => Self::Proxy,
            number => Self::Other(number),
        }
    }
}

/// How a legacy answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacyForm {
    /// As a form, which Pilot 3 gets.
    Urlencoded,
    /// As a JSON object, for clients that accept it.
    Json,
}

impl LegacyForm {
    /// Both forms.
    pub const ALL: [Self; 2] = [Self::Urlencoded, Self::Json];

    /// Tells the form from a request's `Accept` header.
    #[must_use]
    pub fn of_accept(header: Option<&str>) -> Self {
        if header.is_some_and(body::is_json_type) {
            Self::Json
        } else {
            Self::Urlencoded
        }
    }
}

/// An answer in one of the dialects.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A flat map with a `StatusCode`.
    Legacy(Fields),
    /// The v1 envelope.
    V1(Envelope),
}

/// A server's answer is a refusal or makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It cannot be read at all: a proxy's error page, half a body.
    #[error("answer of the server cannot be read")]
    Body(#[from] BodyError),
    /// The server refused or failed.
    #[error("server answered `{message}` (status code {})", status.number())]
    Refused {
        /// What became of the call.
        status: StatusCode,
        /// The server's words, possibly none.
        message: String,
    },
    /// A field of the answer makes no sense.
    #[error("answer of the server makes no sense")]
    Field(#[from] FieldError),
}

impl AnswerError {
    /// Returns the code for a heartbeat or an exit status.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Body(_) | Self::Refused { .. } => ErrorCode::CommunicationFailure,
            Self::Field(_) => ErrorCode::ConversionFailure,
        }
    }

    /// Says whether asking again can help.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Body(_) => Retry::Later,
            Self::Field(_) => Retry::Never,
            Self::Refused { status, .. } => match status {
                StatusCode::TimedOut | StatusCode::NoJobs | StatusCode::Failed => Retry::Later,
                StatusCode::Proxy | StatusCode::Other(_) | StatusCode::Success => Retry::Later,
                StatusCode::NotSecure
                | StatusCode::Invalid
                | StatusCode::Role
                | StatusCode::Permission
                | StatusCode::MissingKey => Retry::Never,
            },
        }
    }

    /// Says who can do something about it.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Body(_) => Blame::Network,
            Self::Field(_) => Blame::Server,
            Self::Refused { status, .. } => match status {
                StatusCode::NotSecure | StatusCode::Role | StatusCode::Permission => {
                    Blame::Credentials
                }
                StatusCode::Success
                | StatusCode::TimedOut
                | StatusCode::NoJobs
                | StatusCode::Failed
                | StatusCode::Invalid
                | StatusCode::MissingKey
                | StatusCode::Proxy
                | StatusCode::Other(_) => Blame::Server,
            },
        }
    }
}

impl Answer {
    /// Makes a success: the fields beside the status in the legacy dialect, or the data of v1.
    #[must_use]
    pub fn success(dialect: Dialect, mut fields: Fields) -> Self {
        fields.put(STATUS, StatusCode::Success.number());
        match dialect {
            Dialect::Legacy => Self::Legacy(fields),
            Dialect::V1 => Self::V1(Envelope::success(fields.into_value())),
        }
    }

    /// Makes a success of a call without data.
    #[must_use]
    pub fn done(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Legacy => Self::success(dialect, Fields::new()),
            Dialect::V1 => Self::V1(Envelope::success(Value::Null)),
        }
    }

    /// Makes a refusal or failure.
    #[must_use]
    pub fn failure(dialect: Dialect, status: StatusCode, message: &str) -> Self {
        match dialect {
            Dialect::Legacy => {
                let mut fields = Fields::new();
                fields.put(STATUS, status.number());
                if !message.is_empty() {
                    fields.put(MESSAGE, message);
                }
                Self::Legacy(fields)
            }
            Dialect::V1 => Self::V1(Envelope {
                data: json!({ STATUS: status.number() }),
                ..Envelope::failure(message)
            }),
        }
    }

    /// Writes the body. The form concerns legacy answers only: v1 answers are always JSON.
    #[must_use]
    pub fn to_body(&self, form: LegacyForm) -> Vec<u8> {
        match (self, form) {
            (Self::Legacy(fields), LegacyForm::Urlencoded) => {
                body::encode_form(fields).into_bytes()
            }
            (Self::Legacy(fields), LegacyForm::Json) => body::encode_json(fields),
            (Self::V1(envelope), LegacyForm::Urlencoded | LegacyForm::Json) => {
                body::encode_value(envelope)
            }
        }
    }

    /// Reads a body. A legacy one is told as Pilot 3 does: JSON if it begins with a brace,
    /// success if it is the word for it, else a form.
    ///
    /// # Errors
    ///
    /// [`BodyError`].
    pub fn parse(dialect: Dialect, bytes: &[u8]) -> Result<Self, BodyError> {
        let plain = body::decompress(bytes)?;
        match dialect {
            Dialect::V1 => serde_json::from_slice(&plain)
                .map(Self::V1)
                .map_err(BodyError::Json),
            Dialect::Legacy => {
                let text = plain.trim_ascii();
                if text.starts_with(b"{") {
                    body::decode_json(text).map(Self::Legacy)
                } else if text == SUCCEEDED.as_bytes() {
                    let mut fields = Fields::new();
                    fields.put(STATUS, StatusCode::Success.number());
                    Ok(Self::Legacy(fields))
                } else {
                    Ok(Self::Legacy(body::decode_form(text)))
                }
            }
        }
    }

    /// Returns the data of a successful answer, whatever they are: in the legacy dialect all of
    /// its fields.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Refused`] as [`Self::into_fields`].
    pub fn into_data(self) -> Result<Value, AnswerError> {
        match self {
            Self::Legacy(_) => self.into_fields().map(Fields::into_value),
            Self::V1(envelope) => envelope.into_data(),
        }
    }

    /// Returns the fields of a successful answer whose data are an object. A v1 answer without
    /// data has no fields.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Refused`] for everything but success, also for a legacy answer without a
    /// status.
    pub fn into_fields(self) -> Result<Fields, AnswerError> {
        let fields = match self {
            Self::Legacy(fields) => {
                let status = status_of(&fields).unwrap_or(StatusCode::Other(-1));
                return expect_success(status, fields);
            }
            Self::V1(envelope) => match Fields::from_value(envelope.into_data()?) {
                Ok(fields) => fields,
                Err(value) if is_missing(&value) => Fields::new(),
                Err(value) => {
                    return Err(FieldError::new("data", Some(&value), "an object").into());
                }
            },
        };
        let status = status_of(&fields).unwrap_or(StatusCode::Success);
        expect_success(status, fields)
    }
}

impl RequestError {
    /// Returns the answer to a request that cannot be taken.
    #[must_use]
    pub fn to_answer(&self, dialect: Dialect) -> Answer {
        match dialect {
            Dialect::Legacy => Answer::failure(dialect, StatusCode::Invalid, &self.to_string()),
            Dialect::V1 => Answer::V1(Envelope::failure(self.to_string())),
        }
    }
}

impl Envelope {
    /// Returns the data of a successful answer.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Refused`] with the server's message and, if it is told, the status code.
    pub fn into_data(self) -> Result<Value, AnswerError> {
        if self.success {
            return Ok(self.data);
        }
        let status = self
            .data
            .get(STATUS)
            .and_then(whole_of)
            .and_then(|number| i64::try_from(number).ok());
        Err(AnswerError::Refused {
            status: status.map_or_else(|| status_in_words(&self.message), StatusCode::from_number),
            message: self.message,
        })
    }
}

/// Tells what a refusal without a status code is by its words: PanDA's v1 has no codes for these.
fn status_in_words(message: &str) -> StatusCode {
    let has = |words: &str| message.starts_with(words);
    if has(v1::NO_ROLE) || has(v1::NO_PILOT_ROLE) {
        StatusCode::Role
    } else if has(v1::NOT_SECURE) {
        StatusCode::NotSecure
    } else {
        StatusCode::Failed
    }
}

fn status_of(fields: &Fields) -> Option<StatusCode> {
    fields.whole_if_any(STATUS).map(StatusCode::from_number)
}

fn expect_success(status: StatusCode, fields: Fields) -> Result<Fields, AnswerError> {
    if status == StatusCode::Success {
        return Ok(fields);
    }
    Err(AnswerError::Refused {
        status,
        message: fields.text(MESSAGE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(dialect: Dialect, text: &str) -> Result<Fields, AnswerError> {
        Answer::parse(dialect, text.as_bytes())?.into_fields()
    }

    #[test]
    fn legacy_answers_come_as_form_as_json_and_as_a_word() {
        for text in [
            "StatusCode=0&command=NULL",
            r#"{"StatusCode": 0, "command": "NULL"}"#,
            r#"{"StatusCode": "0"}"#,
            "Succeeded",
        ] {
            assert!(parse(Dialect::Legacy, text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_refusal_keeps_code_and_message() {
        let error = parse(Dialect::Legacy, "StatusCode=60&errorDialog=no+role").expect_err("60");
        assert_eq!(
            error.to_string(),
            "server answered `no role` (status code 60)"
        );
        assert_eq!(error.blame(), Blame::Credentials);
        let error = parse(
            Dialect::V1,
            r#"{"success": false, "message": "no role", "data": null}"#,
        );
        assert!(matches!(error, Err(AnswerError::Refused { message, .. }) if message == "no role"));
    }

    #[test]
    fn a_refusal_of_v1_for_lack_of_a_role_is_known_by_its_words() {
        for (message, status) in [
            ("production or pilot role required", StatusCode::Role),
            (
                "no production/pilot role in VOMS FQANs or non pilot owner: more",
                StatusCode::Role,
            ),
            ("SSL secure connection is required", StatusCode::NotSecure),
            ("database error", StatusCode::Failed),
        ] {
            let error = Envelope::failure(message).into_data().expect_err("refused");
            assert!(
                matches!(error, AnswerError::Refused { status: found, .. } if found == status),
                "{error}"
            );
        }
    }

    #[test]
    fn success_of_v1_with_a_bad_status_in_its_data_is_a_failure() {
        let text = r#"{"success": true, "message": "Timed out", "data": {"StatusCode": 10}}"#;
        assert!(matches!(
            parse(Dialect::V1, text),
            Err(AnswerError::Refused {
                status: StatusCode::TimedOut,
                ..
            })
        ));
    }

    #[test]
    fn an_error_page_is_no_success() {
        assert!(parse(Dialect::Legacy, "<html>502 Bad Gateway</html>").is_err());
        assert!(parse(Dialect::V1, "<html>502 Bad Gateway</html>").is_err());
        assert!(parse(Dialect::Legacy, "").is_err());
    }

    #[test]
    fn what_is_written_is_read() {
        for dialect in Dialect::ALL {
            for form in [LegacyForm::Urlencoded, LegacyForm::Json] {
                let answer = Answer::failure(dialect, StatusCode::Role, "a b");
                let parsed = Answer::parse(dialect, &answer.to_body(form)).expect("an answer");
                let error = parsed.into_fields().expect_err("refused");
                assert!(error.to_string().contains("a b"), "{error}");
            }
        }
    }
}
