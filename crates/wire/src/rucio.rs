//! Messages of Rucio, the catalogue of replicas: its REST API as far as a pilot needs it.
//!
//! | module | is |
//! |---|---|
//! | [`auth`] | proving who one is: headers and the token that comes of it |
//! | [`dids`] | which files a dataset has: `GET /dids/SCOPE/NAME/files` |
//! | [`replicas`] | where files are: `POST /replicas/list` |
//! | [`rse`] | what a storage endpoint is, and where it keeps a file: `GET /rses/NAME` |
//! | [`register`] | new replicas, their states, datasets, bad replicas |
//! | [`refusal`] | what the server says instead of an answer |
//! | [`trace`] | what becomes of each transfer |
//!
//! Answers are read as servers of several years send them: what is missing is left out, what is
//! there twice counts once. Metalink is not read, because it does not say which replicas lie on
//! tape.
//!
//! Source: Rucio 41.5, `lib/rucio/web/rest/flaskapi/v1/`.

pub mod auth;
mod did;
pub mod dids;
pub mod refusal;
pub mod register;
pub mod replicas;
pub mod rse;
pub mod trace;

pub use did::Did;

/// Most names that a server takes in one request: more are refused as a whole.
///
/// Source: Rucio, `lib/rucio/common/schema/generic.py`, `maxItems` of `DIDS` and `R_DIDS`.
pub const DIDS_MAX: usize = 1000;

/// An answer of a server makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RucioAnswerError {
    /// It is not what was asked for: HTML of a proxy, say, or cut in the middle.
    #[error("the answer is not the JSON that it must be: `{beginning}`")]
    NotJson {
        /// How it begins, cut to a readable length.
        beginning: String,
    },
    /// A part of it is of the wrong kind.
    #[error(transparent)]
    Field(#[from] crate::FieldError),
    /// The server refused while it was answering.
    #[error(transparent)]
    Refused(#[from] refusal::Refusal),
}

impl RucioAnswerError {
    /// The longest part of an answer that is repeated, in characters.
    const SHOWN_MAX: usize = 80;

    pub(crate) fn not_json(bytes: &[u8]) -> Self {
        let start = &bytes[..bytes.len().min(4 * Self::SHOWN_MAX)];
        let text = String::from_utf8_lossy(start);
        let beginning = crate::fields::first_chars(&text, Self::SHOWN_MAX)
            .replace(char::is_control, " ")
            .trim()
            .to_owned();
        Self::NotJson { beginning }
    }
}
