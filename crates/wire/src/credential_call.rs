//! Fresh credentials from the server: legacy `get_access_token` and `getProxy`, v1
//! `creds/get_access_token` and `creds/get_proxy`.
//!
//! Legacy answers are JSON, or what Python makes of a dictionary.
//!
//! Source: Pilot 3, `pilot/util/https.py`, `refresh_oidc_token`, and `pilot/util/proxy.py`,
//! `get_proxy`; PanDA server, `pandaserver/api/v1/credential_management_api.py`.

use ailurus_model::SecretText;

use crate::{
    answer::{Answer, AnswerError, STATUS, StatusCode},
    body,
    fields::{FieldError, Fields},
    python_literal,
    table::Dialect,
};

/// The name under which pilots are known to the server's token cache.
const CLIENT_NAME: &str = "pilot_server";
/// The names of the credential in answers.
const CREDENTIAL: [&str; 2] = ["user_proxy", "userProxy"];
/// The names of the message in legacy answers.
const MESSAGES: [&str; 2] = ["errorDialog", "ErrorDialog"];

/// Returns the path of the call for a token (GET in both dialects), below the server's address,
/// with its query. The key is a secret: the path must not be logged.
#[must_use]
pub fn token_path(dialect: Dialect, token_key: &SecretText) -> String {
    let path = match dialect {
        Dialect::Legacy => "/server/panda/get_access_token",
        Dialect::V1 => "/api/v1/creds/get_access_token",
    };
    let mut query = Fields::new();
    query.put("client_name", CLIENT_NAME);
    query.put("token_key", token_key.reveal());
    format!("{path}?{}", body::encode_query(&query))
}

/// The path of the legacy call for a proxy (POST of [`proxy_fields`]).
pub const LEGACY_PROXY_PATH: &str = "/server/panda/getProxy";

/// Returns the path of the v1 call for a proxy (GET), with its query.
#[must_use]
pub fn v1_proxy_path(role: &str, dn: &str) -> String {
    let query = body::encode_query(&proxy_fields(role, dn));
    format!("/api/v1/creds/get_proxy?{query}")
}

/// Writes the request for a proxy; an empty `dn` asks for the caller's own.
#[must_use]
pub fn proxy_fields(role: &str, dn: &str) -> Fields {
    let mut fields = Fields::new();
    for (name, text) in [("role", role), ("dn", dn)] {
        if !text.is_empty() {
            fields.put(name, text);
        }
    }
    fields
}

/// Reads a token or a proxy from either call's answer.
///
/// # Errors
///
/// [`AnswerError`] if the server refused, or its answer has no credential.
pub fn decode_answer(dialect: Dialect, bytes: &[u8]) -> Result<SecretText, AnswerError> {
    let fields = match dialect {
        Dialect::V1 => Answer::parse(dialect, bytes)?.into_fields()?,
        Dialect::Legacy => legacy_fields(bytes)?,
    };
    CREDENTIAL
        .iter()
        .map(|name| fields.text(name))
        .find(|text| !text.is_empty())
        .map(SecretText::new)
        .ok_or_else(|| FieldError::new(CREDENTIAL[1], None, "a token or a proxy").into())
}

fn legacy_fields(bytes: &[u8]) -> Result<Fields, AnswerError> {
    let plain = body::decompress(bytes)?;
    let text = String::from_utf8_lossy(&plain);
    let literal = python_literal::parse(text.trim()).and_then(|it| Fields::from_value(it).ok());
    let Some(fields) = literal else {
        return Answer::parse(Dialect::Legacy, &plain)?.into_fields();
    };
    match fields.whole_if_any(STATUS).unwrap_or(0) {
        0 => Ok(fields),
        status => Err(AnswerError::Refused {
            status: StatusCode::from_number(status),
            message: MESSAGES
                .iter()
                .map(|name| fields.text(name))
                .find(|text| !text.is_empty())
                .unwrap_or_default(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_token_goes_into_the_query_whole() {
        let path = token_path(Dialect::Legacy, &SecretText::new("a&b c"));
        assert_eq!(
            path,
            "/server/panda/get_access_token?client_name=pilot_server&token_key=a%26b+c"
        );
        assert_eq!(
            v1_proxy_path("atlas:/atlas/Role=production", ""),
            "/api/v1/creds/get_proxy?role=atlas%3A%2Fatlas%2FRole%3Dproduction"
        );
    }

    #[test]
    fn credentials_are_read_in_all_forms() {
        for (dialect, text) in [
            (
                Dialect::Legacy,
                r#"{"StatusCode": 0, "userProxy": "t", "errorDialog": ""}"#,
            ),
            (
                Dialect::Legacy,
                "{'StatusCode': 0, 'userProxy': 't', 'x': None}",
            ),
            (Dialect::Legacy, "StatusCode=0&userProxy=t"),
            (
                Dialect::V1,
                r#"{"success": true, "message": "", "data": {"user_proxy": "t"}}"#,
            ),
            (
                Dialect::V1,
                r#"{"success": true, "message": "", "data": {"userProxy": "t"}}"#,
            ),
        ] {
            let secret = decode_answer(dialect, text.as_bytes()).expect(text);
            assert_eq!(secret.reveal(), "t");
        }
    }

    #[test]
    fn a_refusal_keeps_its_reason_and_shows_no_secret() {
        for (dialect, text) in [
            (
                Dialect::Legacy,
                "{'StatusCode': 60, 'ErrorDialog': 'no right'}",
            ),
            (
                Dialect::V1,
                r#"{"success": false, "message": "no right", "data": null}"#,
            ),
        ] {
            let error = decode_answer(dialect, text.as_bytes()).expect_err("refused");
            assert!(error.to_string().contains("no right"), "{error}");
        }
        for text in ["", "<html>", "{'StatusCode': 0}", "[1]"] {
            assert!(
                decode_answer(Dialect::Legacy, text.as_bytes()).is_err(),
                "{text}"
            );
        }
    }
}
