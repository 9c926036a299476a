//! The token that goes with every call: fetched when it is needed, fetched anew before it ends.

use std::{
    fs, io,
    io::Read as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ailurus_http::{Client, Secret};
use ailurus_model::Timestamp;
use ailurus_wire::rucio::auth;

use crate::{
    Call, Credential, RucioConfig, RucioError,
    client::{judged, refusal_of},
};

/// Largest token file, in bytes.
const TOKEN_MAX_BYTES: u64 = 64 << 10;
/// The part of a token's life after which it is not used any more, in percent.
const USED_PERCENT: u32 = 90;

/// Gives tokens for calls.
#[derive(Debug)]
pub(crate) struct TokenSource {
    /// The last token, and until when it is used.
    last: Mutex<Option<(Secret, Option<Instant>)>>,
}

impl TokenSource {
    pub(crate) const fn new() -> Self {
        Self {
            last: Mutex::new(None),
        }
    }

    /// Returns a token. Calls that come while one is fetched wait for it.
    pub(crate) fn token(
        &self,
        client: &Client,
        config: &RucioConfig,
    ) -> Result<Secret, RucioError> {
        let path = match &config.credential {
            Credential::Token(token) => return Ok(token.clone()),
            Credential::TokenFile(path) => {
                return read(path).map_err(|source| RucioError::NoToken {
                    path: path.clone(),
                    source,
                });
            }
            Credential::UserPass { .. } => auth::USERPASS_PATH,
            Credential::Certificate(_) => auth::X509_PATH,
            Credential::Proxy(_) => auth::X509_PROXY_PATH,
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, until)) = &*last
            && until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(token.clone());
        }
        let (token, life) = fetch(client, config, path)?;
        let until = life.map(|life| Instant::now() + life * USED_PERCENT / 100);
        *last = Some((token.clone(), until));
        Ok(token)
    }

    /// Forgets a token that the server does not believe any more, unless it is replaced already.
    pub(crate) fn forget(&self, token: &Secret) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_some_and(|(known, _)| known == token) {
            *last = None;
        }
    }
}

fn read(path: &Path) -> io::Result<Secret> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(TOKEN_MAX_BYTES)
        .read_to_string(&mut text)?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Secret::new(token))
}

/// Asks for a token; returns it and how long it lives, if that is known.
fn fetch(
    client: &Client,
    config: &RucioConfig,
    path: &str,
) -> Result<(Secret, Option<Duration>), RucioError> {
    let mut headers = vec![(auth::APP_ID, "ailurus")];
    if let Some(account) = &config.account {
        headers.push((auth::ACCOUNT, account));
    }
    if let Some(vo) = &config.vo {
        headers.push((auth::VO, vo));
    }
    if let Credential::UserPass { user, password } = &config.credential {
        headers.push((auth::USER_NAME, user));
        headers.push((auth::PASSWORD, password.reveal()));
    }
    let url = format!("{}{path}", config.auth_host.trim_end_matches('/'));
    let answer = judged(Call::Token, client.get(&url, &headers))?;
    // 206 lists the accounts among which one must be chosen.
    if answer.status != 200 {
        return Err(refusal_of(Call::Token, &answer));
    }
    let issued = auth::decode_answer(|name| answer.header(name)).map_err(|source| {
        RucioError::BadAnswer {
            call: Call::Token,
            source: source.into(),
        }
    })?;
    Ok((
        Secret::new(issued.value),
        issued.expires.and_then(life_until),
    ))
}

/// How long it is until then; unknown where the clocks differ so much that it is over already.
fn life_until(expires: Timestamp) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let now = Timestamp::from_millis(i64::try_from(now.as_millis()).ok()?);
    Some(expires.since(now)).filter(|life| !life.is_zero())
}
