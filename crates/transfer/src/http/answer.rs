//! What a storage's refusal means.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ailurus_http::{Answer, HttpError, http_date, retry_after};

use crate::{BadPlaceReason, Cause, Impatience};

/// Most bytes of a refusal that are read for its message.
const SAID_READ_BYTES: usize = 2048;

/// Longest part of it that is kept, in characters.
const SAID_MAX_CHARS: usize = 200;

/// What a request wants to do, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The storage's file is read.
    Read,
    /// Something is changed on the storage.
    Write,
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Sorts an answer that is no success.
pub(crate) fn cause_of(mut answer: Answer, action: Action) -> Cause {
    let status = answer.status;
    let retry_after = pause(&answer);
    let said = readable(&answer.text(SAID_READ_BYTES));
    let why = if said.is_empty() {
        format!("status {status}")
    } else {
        format!("status {status}: {said}")
    };
    if is_full(status, &said) && action == Action::Write {
        return Cause::NoSpace;
    }
    match status {
        401 | 407 => Cause::Denied { why },
        403 => Cause::NoPermission {
            action: action.word(),
        },
        404 | 410 if action == Action::Read => Cause::Missing,
        412 => Cause::Changed {
            what: "the storage has another version of it".to_owned(),
        },
        408 | 423 | 425 | 429 | 500 | 502..=504 => Cause::Busy { why, retry_after },
        206 | 416 => Cause::NotTheFile { why },
        _ => Cause::Refused { why },
    }
}

/// Says whether a storage is full. Some say so only in words.
fn is_full(status: u16, said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    let words = [
        "no space left",
        "quota exceeded",
        "disk full",
        "insufficient storage",
    ];
    status == 507 || (status >= 400 && words.iter().any(|it| said.contains(it)))
}

/// Returns the pause that a storage asks for. Its own clock counts, if it shows it.
fn pause(answer: &Answer) -> Option<Duration> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).ok();
    let now = answer.header("Date").and_then(http_date).or_else(now);
    retry_after(answer.header("Retry-After")?, now.unwrap_or_default())
}

/// Makes one short line of what a storage says, which is often a page.
fn readable(text: &str) -> String {
    let mut line = String::new();
    let mut is_tag = false;
    for letter in text.chars() {
        match letter {
            '<' => is_tag = true,
            '>' if is_tag => {
                is_tag = false;
                line.push(' ');
            }
            _ if is_tag => {}
            _ if letter.is_whitespace() || letter.is_control() => line.push(' '),
            _ => line.push(letter),
        }
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ").chars().take(SAID_MAX_CHARS).collect()
}

/// Sorts a request without an answer. `limit` is how long it waited.
pub(crate) fn cause_of_silence(error: &HttpError, limit: Duration) -> Cause {
    let why = chain(error);
    match error {
        HttpError::GivenUp { .. } => Cause::Stopped,
        HttpError::BadUrl { .. } => Cause::BadPlace(BadPlaceReason::NoUrl),
        HttpError::NoToken { .. } => Cause::Denied { why },
        HttpError::TlsRefused { .. } if error.is_identity_refused() => Cause::Denied { why },
        HttpError::CannotConnect { .. } | HttpError::TlsRefused { .. } => {
            Cause::Unreachable { why }
        }
        HttpError::TimedOut { .. } if !error.may_have_arrived() => Cause::Unreachable { why },
        HttpError::TimedOut { .. } => Cause::TooSlow(Impatience::NotBegun { limit }),
        HttpError::Broken { .. } => Cause::Broken { why },
        HttpError::TooLarge { .. } => Cause::NotTheFile { why },
        HttpError::BadRequest { .. } | HttpError::BadRedirect { .. } => Cause::Refused { why },
        HttpError::File { .. } => Cause::Refused { why },
    }
}

/// Joins an error with its reasons.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let reason = source.to_string();
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_become_one_line() {
        let page =
            "<!DOCTYPE html>\n<html><head><title>409 Conflict</title></head>\n<p>No\tparent</p>";
        assert_eq!(readable(page), "409 Conflict No parent");
        assert_eq!(readable("plain\r\nwords"), "plain words");
        assert_eq!(readable(&"x".repeat(5000)).len(), SAID_MAX_CHARS);
        assert_eq!(readable("<unclosed"), "");
    }

    #[test]
    fn a_full_storage_says_so_by_status_or_in_words() {
        assert!(is_full(507, ""));
        assert!(is_full(500, "write: No space left on device"));
        assert!(!is_full(200, "no space left"));
        assert!(!is_full(403, "forbidden"));
    }
}
