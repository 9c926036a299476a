//! Renews the bearer token: asks the server for a new one and puts it in the old one's place.
//!
//! When a renewal is due, [`due`] decides. Pilot 3 renews at the start and every hour, whenever the
//! token ends; here one that ends soon is renewed before.
//!
//! Source: Pilot 3, `pilot/util/https.py`, `refresh_oidc_token`, `handle_file_content`,
//! `decode_jwt_payload`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use ailurus_model::SecretText;
use ailurus_wire::{credential_call, fields::Fields};

use super::call::Calls;
use crate::{log, settings::wall_now};

/// Time between two renewals, Pilot 3's `download_check`.
const PERIOD: Duration = Duration::from_secs(3600);
/// A token that ends within this time is renewed at once.
const MARGIN: Duration = Duration::from_secs(20 * 60);
/// Time between two tries for a token that ends soon.
const RETRY_PERIOD: Duration = Duration::from_secs(5 * 60);
/// Largest key or token that is read, in bytes.
const SECRET_MAX: u64 = 64 << 10;
/// Mode of the new token's file.
const MODE: u32 = 0o600;

/// What a renewal needs.
#[derive(Debug, Clone)]
pub(crate) struct TokenRenewal {
    /// The token's file, which is replaced.
    pub(crate) token_file: PathBuf,
    /// The file with the key by which the server knows the token.
    pub(crate) key_file: PathBuf,
}

/// Why there is no new token.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenewalError {
    #[error("`{}` cannot be read", path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the server was not asked: {0}")]
    Call(String),
    #[error("the server gave no token")]
    Answer(#[from] ailurus_wire::AnswerError),
    #[error("`{}` cannot be replaced", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Says whether to renew a token that has `left` to live, `since` after the last try.
pub(super) fn due(since: Option<Duration>, left: Option<Duration>) -> bool {
    let Some(since) = since else {
        return true;
    };
    since >= PERIOD || (since >= RETRY_PERIOD && left.is_some_and(|left| left < MARGIN))
}

/// Tells how long the token in a file lives; none if it does not say.
pub(super) fn time_left(token_file: &Path) -> Option<Duration> {
    let token = read_secret(token_file).ok()?;
    let end = end_of(token.reveal())?;
    let now = Duration::from_secs(u64::try_from(wall_now().as_secs()).ok()?);
    Some(end.saturating_sub(now))
}

/// Asks for a new token and puts it in place.
pub(super) fn renew(calls: &Calls, renewal: &TokenRenewal) -> Result<(), RenewalError> {
    let key = read_secret(&renewal.key_file).map_err(|source| RenewalError::Key {
        path: renewal.key_file.clone(),
        source,
    })?;
    let (dialect, bytes) = calls
        .get(|dialect| credential_call::token_path(dialect, &key))
        .map_err(|error| RenewalError::Call(error.into_text()))?;
    let token = credential_call::decode_answer(dialect, &bytes)?;
    replace(&renewal.token_file, &token).map_err(|source| RenewalError::Write {
        path: renewal.token_file.clone(),
        source,
    })
}

/// Renews, and says in the log what came of it.
pub(super) fn renew_and_tell(calls: &Calls, renewal: &TokenRenewal) {
    match renew(calls, renewal) {
        Ok(()) => tracing::info!("the token is renewed"),
        Err(error) => tracing::warn!("the token is not renewed: {}", log::chain(&error)),
    }
}

/// Writes beside the file and renames, so that nobody reads half a token.
fn replace(path: &Path, token: &SecretText) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(&new)
        .and_then(|mut file| file.write_all(token.reveal().trim().as_bytes()))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // It may not have been made at all.
        let _ = fs::remove_file(&new);
    }
    written
}

fn read_secret(path: &Path) -> io::Result<SecretText> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(SECRET_MAX)
        .read_to_string(&mut text)?;
    match text.trim() {
        "" => Err(io::ErrorKind::InvalidData.into()),
        secret => Ok(SecretText::new(secret)),
    }
}

/// Reads the end of a JSON web token, in time since 1970. Nothing is verified: that is the
/// server's part.
fn end_of(token: &str) -> Option<Duration> {
    let payload = token.split('.').nth(1)?;
    let claims: serde_json::Value = serde_json::from_slice(&from_base64url(payload)?).ok()?;
    let claims = Fields::from_value(claims).ok()?;
    claims.whole_if_any("exp").map(Duration::from_secs)
}

/// Decodes Base64 with the alphabet of URLs, with or without padding (RFC 4648, section 5).
fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut n_bits) = (0_u32, 0);
    for character in text.trim_end_matches('=').bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push(u8::try_from((bits >> n_bits) & 0xFF).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_renewed_at_the_start_hourly_and_when_it_ends_soon() {
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert!(due(None, None));
        assert!(!due(minutes(59), None) && due(minutes(60), None));
        assert!(!due(minutes(10), minutes(30)) && due(minutes(10), minutes(19)));
        assert!(!due(minutes(4), minutes(0)));
    }

    #[test]
    fn the_end_of_a_token_is_read_without_a_key() {
        // {"alg":"none"} and {"exp":1795376921,"name":"x"}
        let token = "eyJhbGciOiJub25lIn0.eyJleHAiOjE3OTUzNzY5MjEsIm5hbWUiOiJ4In0.c2ln";
        assert_eq!(end_of(token), Some(Duration::from_secs(1_795_376_921)));
        for bad in ["", "opaque", "a.b.c", "a.!!.c", "a.e30.c"] {
            assert_eq!(end_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_new_token_takes_the_old_ones_place_and_is_its_owners_only() {
        let place = tempfile::tempdir().expect("space");
        let file = place.path().join("token");
        fs::write(&file, "old").expect("space");
        replace(&file, &SecretText::new("new\n")).expect("own directory");
        assert_eq!(fs::read_to_string(&file).expect("there"), "new");
        let mode = fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        assert_eq!(fs::read_dir(place.path()).expect("there").count(), 1);
        assert!(replace(Path::new("/no/such/dir/token"), &SecretText::new("x")).is_err());
    }
}
