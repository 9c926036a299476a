//! What a client is told once, when it is made.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use ailurus_http::{ClientCertificate, ClientConfig, Secret};

/// Most bytes of one answer: 1,000 files with 60 replicas each have about 20 MiB.
const ANSWER_MAX_BYTES: u64 = 32 << 20;

/// All settings of a [`crate::RucioClient`].
#[derive(Debug, Clone)]
pub struct RucioConfig {
    /// The server, for example `https://rucio.example.org:443`.
    pub host: String,
    /// The server that gives tokens, mostly the same.
    pub auth_host: String,
    /// The account to act for; none for the one that the credential belongs to.
    pub account: Option<String>,
    /// Whose accounts these are, where one server serves several organisations.
    pub vo: Option<String>,
    /// How the client proves who it is.
    pub credential: Credential,
    /// Whom it believes, its HTTP proxy, limits on time and bytes. Token and certificate are
    /// those of `credential`, whatever stands here, and redirects are never gone after.
    pub http: ClientConfig,
    /// How often a call is tried.
    pub retries: Retries,
}

impl RucioConfig {
    /// Makes settings for one server with everything else as usual.
    #[must_use]
    pub fn new(host: impl Into<String>, credential: Credential) -> Self {
        let host = host.into();
        Self {
            auth_host: host.clone(),
            host,
            account: None,
            vo: None,
            credential,
            http: ClientConfig {
                response_max_bytes: ANSWER_MAX_BYTES,
                ..ClientConfig::default()
            },
            retries: Retries::default(),
        }
    }
}

/// How a client proves who it is.
#[derive(Debug, Clone)]
pub enum Credential {
    /// By user name and password.
    UserPass {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// By a user's or host's certificate.
    Certificate(ClientCertificate),
    /// By a grid proxy.
    Proxy(ClientCertificate),
    /// By a bearer token of another service.
    Token(Secret),
    /// By such a token in a file, which may be replaced at any time.
    TokenFile(PathBuf),
}

/// How often a call that can be repeated is tried, and how long the client waits in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Tries in all.
    pub tries_max: NonZeroU32,
    /// The first pause. Each further one is twice as long.
    pub pause_first: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Default for Retries {
    /// Four tries within a quarter of a minute, where the server answers at once.
    fn default() -> Self {
        Self {
            tries_max: NonZeroU32::new(4).expect("not zero"),
            pause_first: Duration::from_secs(2),
            pause_max: Duration::from_secs(10),
        }
    }
}

impl Retries {
    /// Returns the pause after the try with this number, counted from 1; none if it was the last.
    pub(crate) fn pause_after(&self, try_nr: u32) -> Option<Duration> {
        if try_nr >= self.tries_max.get() {
            return None;
        }
        let factor = 1_u32.checked_shl(try_nr - 1).unwrap_or(u32::MAX);
        Some(self.pause_first.saturating_mul(factor).min(self.pause_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let retries = Retries {
            tries_max: NonZeroU32::new(5).expect("not zero"),
            ..Retries::default()
        };
        let pauses: Vec<_> = (1..6).map(|nr| retries.pause_after(nr)).collect();
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(
            pauses,
            [seconds(2), seconds(4), seconds(8), seconds(10), None]
        );
        let endless = Retries {
            tries_max: NonZeroU32::MAX,
            ..retries
        };
        assert_eq!(endless.pause_after(1000), seconds(10));
    }
}
