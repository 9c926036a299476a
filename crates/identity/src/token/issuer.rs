//! One issuer of tokens: where its keys are, how old they are, and when it may be asked again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ailurus_http::{Client, HttpError};
use serde_json::Value;

use crate::token::{TokenRefusal, TokenSettings, config::is_safe_url, keys::KeySet};

/// An issuer's keys are not to be had.
#[derive(Debug)]
pub(super) struct IssuerError {
    /// What was asked.
    pub(super) url: String,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Http(Box<HttpError>),
    Status(u16),
    Answer(&'static str),
}

impl IssuerError {
    /// Returns the whole reason in one line.
    pub(super) fn in_words(&self) -> String {
        match &self.problem {
            Problem::Http(error) => {
                let mut text = error.to_string();
                let mut source = std::error::Error::source(&**error);
                while let Some(error) = source {
                    text = format!("{text}: {error}");
                    source = error.source();
                }
                text
            }
            Problem::Status(status) => format!("`{}` was answered with {status}", self.url),
            Problem::Answer(what) => format!("`{}` answered no {what}", self.url),
        }
    }
}

/// What a token needs of its issuer.
#[derive(Debug)]
pub(super) enum Need {
    /// Its keys are there.
    Nothing(Arc<KeySet>),
    /// It must be asked.
    Asking,
    /// It was asked a moment ago, and does not have the key.
    Refused(TokenRefusal),
}

#[derive(Debug, Default)]
struct State {
    keys: Option<(Arc<KeySet>, Instant)>,
    asked: Option<Instant>,
    problem: Option<String>,
}

/// An issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    discovery_url: String,
    state: Mutex<State>,
    /// Held by the one who asks.
    asking: Mutex<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Issuer {
    pub(super) fn new(discovery_url: &str) -> Self {
        Self {
            discovery_url: discovery_url.to_owned(),
            state: Mutex::default(),
            asking: Mutex::default(),
        }
    }

    /// Says what a token with this key needs.
    pub(super) fn need(&self, key_id: &str, settings: &TokenSettings) -> Need {
        let state = locked(&self.state);
        let may_ask = state
            .asked
            .is_none_or(|asked| asked.elapsed() >= settings.ask_pause);
        match &state.keys {
            Some((keys, fetched)) => {
                let age = fetched.elapsed();
                let has_key = keys.find(key_id).is_some();
                if has_key && age < settings.keys_lifetime {
                    Need::Nothing(Arc::clone(keys))
                } else if may_ask {
                    Need::Asking
                } else if has_key && age < settings.keys_kept {
                    Need::Nothing(Arc::clone(keys))
                } else {
                    Need::Refused(TokenRefusal::UnknownKey)
                }
            }
            None if may_ask => Need::Asking,
            None => Need::Refused(TokenRefusal::NoKeys {
                url: self.discovery_url.clone(),
                reason: state.problem.clone().unwrap_or_default(),
            }),
        }
    }

    /// Returns the keys; asks the issuer if need be. One asks at a time, and the others wait for
    /// what comes of it.
    pub(super) fn keys(
        &self,
        key_id: &str,
        settings: &TokenSettings,
        client: &Client,
    ) -> Result<Arc<KeySet>, TokenRefusal> {
        let _turn = locked(&self.asking);
        match self.need(key_id, settings) {
            Need::Nothing(keys) => return Ok(keys),
            Need::Refused(refusal) => return Err(refusal),
            Need::Asking => {}
        }
        let answer = self.ask(client);
        let mut state = locked(&self.state);
        state.asked = Some(Instant::now());
        match answer {
            Ok(keys) => {
                let keys = Arc::new(keys);
                state.keys = Some((Arc::clone(&keys), Instant::now()));
                state.problem = None;
                Ok(keys)
            }
            Err(error) => {
                let reason = error.in_words();
                tracing::warn!(
                    issuer = self.discovery_url,
                    reason,
                    "an issuer does not answer"
                );
                state.problem = Some(reason);
                match &state.keys {
                    Some((keys, fetched)) if fetched.elapsed() < settings.keys_kept => {
                        Ok(Arc::clone(keys))
                    }
                    Some(_) | None => Err(error.into()),
                }
            }
        }
    }

    /// Returns for how long the keys still are the newest.
    pub(super) fn freshness(&self, settings: &TokenSettings) -> Duration {
        let state = locked(&self.state);
        let age = state.keys.as_ref().map(|(_, fetched)| fetched.elapsed());
        age.map_or(Duration::ZERO, |age| {
            settings.keys_lifetime.saturating_sub(age)
        })
    }

    /// Asks for the keys.
    pub(super) fn ask(&self, client: &Client) -> Result<KeySet, IssuerError> {
        let description = get(client, &self.discovery_url)?;
        let text = |name: &str| description.get(name).and_then(Value::as_str);
        let wrong = |what| IssuerError {
            url: self.discovery_url.clone(),
            problem: Problem::Answer(what),
        };
        let issuer = text("issuer").ok_or_else(|| wrong("`issuer`"))?;
        let url = text("jwks_uri").filter(|url| is_safe_url(url));
        let url = url.ok_or_else(|| wrong("`jwks_uri` that begins with `https`"))?;
        let set = get(client, url)?;
        let keys = KeySet::read(issuer, &set).filter(|keys| keys.len() > 0);
        keys.ok_or_else(|| IssuerError {
            url: url.to_owned(),
            problem: Problem::Answer("key for RS256"),
        })
    }
}

fn get(client: &Client, url: &str) -> Result<Value, IssuerError> {
    let failed = |problem| IssuerError {
        url: url.to_owned(),
        problem,
    };
    let answer = client
        .get(url, &[("Accept", "application/json")])
        .map_err(|error| failed(Problem::Http(Box::new(error))))?;
    if answer.status != 200 {
        return Err(failed(Problem::Status(answer.status)));
    }
    serde_json::from_slice(&answer.body).map_err(|_| failed(Problem::Answer("JSON")))
}
