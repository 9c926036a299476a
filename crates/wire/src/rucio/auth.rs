//! Proving who one is: which place to ask, with which headers, and the token in the answer.
//!
//! The token goes with every further request, in the header [`TOKEN`]. An `OpenID` Connect token
//! goes there as it is, without asking for another one.
//!
//! Source: Rucio, `lib/rucio/web/rest/flaskapi/v1/auth.py`; its client, `baseclient.py`.

use ailurus_model::Timestamp;

use crate::fields::FieldError;

/// The header that carries the token, in requests and in the answer that gives it.
pub const TOKEN: &str = "X-Rucio-Auth-Token";
/// When the token ends, in the answer that gives it.
pub const EXPIRES: &str = "X-Rucio-Auth-Token-Expires";
/// The account to act for.
pub const ACCOUNT: &str = "X-Rucio-Account";
/// Whose accounts these are, where one server serves several organisations.
pub const VO: &str = "X-Rucio-VO";
/// Who asks, for the server's statistics.
pub const APP_ID: &str = "X-Rucio-AppID";
/// User name, for [`USERPASS_PATH`].
pub const USER_NAME: &str = "X-Rucio-Username";
/// Password, for [`USERPASS_PATH`].
pub const PASSWORD: &str = "X-Rucio-Password";

/// Where a user name and a password give a token.
pub const USERPASS_PATH: &str = "/auth/userpass";
/// Where a client certificate gives a token.
pub const X509_PATH: &str = "/auth/x509";
/// Where a grid proxy gives a token.
pub const X509_PROXY_PATH: &str = "/auth/x509_proxy";

/// A token of the server. Its text is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The value for the header [`TOKEN`].
    pub value: String,
    /// When it ends, if the server says so.
    pub expires: Option<Timestamp>,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Reads the token from the headers of an answer.
///
/// # Errors
///
/// [`FieldError`] if there is none that could be sent again.
pub fn decode_answer<'a>(
    header: impl Fn(&str) -> Option<&'a str>,
) -> Result<IssuedToken, FieldError> {
    let value = header(TOKEN).unwrap_or_default().trim();
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        // The value may be a good token of another form: it is not repeated.
        return Err(FieldError::of_text(
            TOKEN,
            "not a token",
            "printable text without blanks",
        ));
    }
    Ok(IssuedToken {
        value: value.to_owned(),
        expires: header(EXPIRES).and_then(time_of),
    })
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Reads a time as Rucio writes it, `Mon, 13 May 2013 10:23:03 UTC`, or as PanDA does.
fn time_of(text: &str) -> Option<Timestamp> {
    let after_day = text.split_once(',').map_or(text, |(_, rest)| rest);
    let words: Vec<&str> = after_day.split_whitespace().collect();
    let plain = match words.as_slice() {
        [day, month, year, time, ..] => {
            let month = 1 + MONTHS.iter().position(|known| known == month)?;
            let day: u8 = day.parse().ok()?;
            format!("{year}-{month:02}-{day:02} {time}")
        }
        _ => text
            .trim()
            .replace('T', " ")
            .trim_end_matches('Z')
            .to_owned(),
    };
    Timestamp::from_panda_text(&plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(token: &'static str, expires: &'static str) -> Result<IssuedToken, FieldError> {
        decode_answer(|name| match name {
            TOKEN => Some(token),
            EXPIRES => Some(expires),
            _ => None,
        })
    }

    #[test]
    fn the_token_and_its_end_are_read_from_headers() {
        let token = answer("root-a-unknown-1", "Mon, 23 Nov 2026 04:55:57 UTC").expect("a token");
        assert_eq!(token.value, "root-a-unknown-1");
        let end = token.expires.expect("an end");
        assert_eq!(end.to_panda_text(), "2026-11-23 04:55:57");
        assert!(!format!("{token:?}").contains("root-a"));
    }

    #[test]
    fn an_end_that_makes_no_sense_is_not_known() {
        for text in [
            "",
            "soon",
            "Mon, 99 Foo 2026 1:2:3 UTC",
            "Mon, 31 Feb 2026 04:55:57 UTC",
        ] {
            assert_eq!(answer("t", text).expect("a token").expires, None, "{text}");
        }
        assert!(
            answer("t", "2026-11-23T04:55:57Z")
                .expect("a token")
                .expires
                .is_some()
        );
    }

    #[test]
    fn what_cannot_be_a_header_is_no_token() {
        for text in ["", "  ", "a b", "a\nb"] {
            assert!(answer(text, "").is_err(), "{text}");
        }
    }
}
