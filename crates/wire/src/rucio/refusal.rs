//! What the server says instead of an answer: the class of its error and a sentence.
//!
//! The status alone does not tell much: names that the server's rules forbid give 500 or 400, and
//! an endpoint that is switched off gives 503.
//!
//! Source: Rucio, `lib/rucio/web/rest/flaskapi/v1/common.py`, `generate_http_error_flask`;
//! classes in `lib/rucio/common/exception.py`.

use serde_json::Value;

use crate::fields::{first_chars, text_of};

const CLASS: &str = "ExceptionClass";
const MESSAGE: &str = "ExceptionMessage";
/// The longest sentence that is kept, in characters. Refused lists are repeated whole by servers.
const MESSAGE_MAX: usize = 300;

/// The server refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Rucio says {class}: {message}")]
pub struct Refusal {
    /// The class of the error, for example `RSENotFound`.
    pub class: String,
    /// The server's sentence, on one line.
    pub message: String,
}

/// What a class of errors means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalKind {
    /// The token, the certificate or the password is not believed.
    NotBelieved,
    /// The account may not do this.
    NotAllowed,
    /// The file, the dataset, the scope, the endpoint or the account does not exist.
    Unknown,
    /// It is there already.
    Exists,
    /// The request breaks the server's rules: names, places, lists that are too long.
    AgainstRules,
    /// It may work later.
    Busy,
    /// Anything else.
    Other,
}

/// Classes with a meaning of their own. All others are [`RefusalKind::Other`].
const KINDS: &[(&str, RefusalKind)] = &[
    ("CannotAuthenticate", RefusalKind::NotBelieved),
    ("CannotAuthorize", RefusalKind::NotBelieved),
    ("IdentityError", RefusalKind::NotBelieved),
    ("IdentityNotFound", RefusalKind::NotBelieved),
    ("NoAuthInformation", RefusalKind::NotBelieved),
    ("AccessDenied", RefusalKind::NotAllowed),
    ("AccountNotFound", RefusalKind::Unknown),
    ("DataIdentifierNotFound", RefusalKind::Unknown),
    ("ReplicaNotFound", RefusalKind::Unknown),
    ("RSENotFound", RefusalKind::Unknown),
    ("RSEProtocolNotSupported", RefusalKind::Unknown),
    ("ScopeNotFound", RefusalKind::Unknown),
    ("DataIdentifierAlreadyExists", RefusalKind::Exists),
    ("Duplicate", RefusalKind::Exists),
    ("DuplicateContent", RefusalKind::Exists),
    ("FileAlreadyExists", RefusalKind::Exists),
    ("FileConsistencyMismatch", RefusalKind::Exists),
    ("ReplicaAlreadyExists", RefusalKind::Exists),
    ("InputValidationError", RefusalKind::AgainstRules),
    ("InvalidObject", RefusalKind::AgainstRules),
    ("InvalidPath", RefusalKind::AgainstRules),
    ("InvalidRSEExpression", RefusalKind::AgainstRules),
    ("InvalidType", RefusalKind::AgainstRules),
    ("RSEFileNameNotSupported", RefusalKind::AgainstRules),
    ("SortingAlgorithmNotSupported", RefusalKind::AgainstRules),
    ("UnsupportedOperation", RefusalKind::AgainstRules),
    ("ValueError", RefusalKind::AgainstRules),
    ("DatabaseException", RefusalKind::Busy),
    ("ResourceTemporaryUnavailable", RefusalKind::Busy),
    ("ServiceUnavailable", RefusalKind::Busy),
];

impl Refusal {
    /// Says what the class means.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        KINDS
            .iter()
            .find(|(class, _)| *class == self.class)
            .map_or(RefusalKind::Other, |(_, kind)| *kind)
    }

    /// Reads a refusal from one JSON object, if it is one.
    pub(super) fn of_object(object: &Value) -> Option<Self> {
        let class = text_of(object.get(CLASS)?).into_owned();
        let message = object.get(MESSAGE).map(text_of).unwrap_or_default();
        Some(Self::new(&class, &message))
    }

    fn new(class: &str, message: &str) -> Self {
        let words: Vec<&str> = first_chars(message, 4 * MESSAGE_MAX)
            .split_whitespace()
            .collect();
        Self {
            class: first_chars(class.trim(), MESSAGE_MAX).to_owned(),
            message: first_chars(&words.join(" "), MESSAGE_MAX).to_owned(),
        }
    }
}

/// Reads the refusal of an answer: its body counts, then its headers. None if it has none, as
/// with answers of proxies before the server.
#[must_use]
pub fn decode<'a>(header: impl Fn(&str) -> Option<&'a str>, body: &[u8]) -> Option<Refusal> {
    let of_body = || Refusal::of_object(&serde_json::from_slice(body).ok()?);
    let of_headers = || {
        Some(Refusal::new(
            header(CLASS)?,
            header(MESSAGE).unwrap_or_default(),
        ))
    };
    of_body().or_else(of_headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_counts_before_the_headers_which_servers_cut() {
        let header = |name: &str| match name {
            CLASS => Some("RSENotFound"),
            MESSAGE => Some("RSE..."),
            _ => None,
        };
        let body = br#"{"ExceptionClass": "RSENotFound", "ExceptionMessage": "RSE 'X'\n is none"}"#;
        let refusal = decode(header, body).expect("a refusal");
        assert_eq!(
            refusal.to_string(),
            "Rucio says RSENotFound: RSE 'X' is none"
        );
        assert_eq!(refusal.kind(), RefusalKind::Unknown);
        let refusal = decode(header, b"<html>").expect("a refusal");
        assert_eq!(refusal.message, "RSE...");
        assert_eq!(decode(|_| None, b"<html>"), None);
    }

    #[test]
    fn a_repeated_list_is_cut() {
        let body = format!(
            r#"{{"ExceptionClass": "InvalidObject", "ExceptionMessage": "{}"}}"#,
            "x ".repeat(100_000)
        );
        let refusal = decode(|_| None, body.as_bytes()).expect("a refusal");
        assert!(refusal.message.len() <= MESSAGE_MAX);
        assert_eq!(refusal.kind(), RefusalKind::AgainstRules);
    }

    #[test]
    fn no_class_stands_twice() {
        for (at, (class, _)) in KINDS.iter().enumerate() {
            assert!(
                KINDS[at + 1..].iter().all(|(other, _)| other != class),
                "{class}"
            );
        }
    }
}
