//! Which credential goes with which request.
//!
//! A client's certificate belongs to the connection: it is shown to whoever asks, and proves nothing
//! to who overhears it. A token is a secret that works for whoever has it. So a token goes where
//! the caller sent it, and along a redirect only to hosts that [`RedirectTrust`] allows, never from
//! an encrypted connection to an open one. Storages that redirect from a head node to a pool put
//! what the pool needs into the URL; curl and browsers do not send the token on either.

use std::{path::PathBuf, time::Duration};

use ailurus_http::{BearerToken, HttpError, Secret, TokenFile};

use super::place::Place;

/// To which hosts a token goes along a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RedirectTrust {
    /// Only to the host that redirects, at any port.
    SameHost,
    /// Also to hosts of the same domain, that is without its first part: from
    /// `head.se.example.org` to `pool7.se.example.org`. The domain must have two parts.
    #[default]
    SameDomain,
    /// To any: for storages whose pools are elsewhere and which are trusted entirely.
    Anywhere,
}

impl RedirectTrust {
    /// Says whether a secret that was meant for one place may be sent to another.
    pub(crate) fn allows(self, from: &Place, to: &Place) -> bool {
        if from.is_secure() && !to.is_secure() {
            return false;
        }
        if from.host() == to.host() {
            return true;
        }
        match self {
            Self::SameHost => false,
            Self::SameDomain => domain(from.host()).is_some_and(|it| Some(it) == domain(to.host())),
            Self::Anywhere => true,
        }
    }
}

/// The name without its first part; none for addresses, which have no domains.
fn domain(host: &str) -> Option<&str> {
    let (_, domain) = host.split_once('.')?;
    let is_address = host.starts_with('[') || host.ends_with(|it: char| it.is_ascii_digit());
    (!is_address && domain.contains('.')).then_some(domain)
}

/// How long a macaroon is asked for, and for what it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Macaroons {
    /// Its validity. Half of it is used.
    pub validity: Duration,
}

/// The token of a storage tool.
#[derive(Debug)]
pub(crate) struct Token(Option<TokenFile>);

impl Token {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self(file.map(|file| {
            TokenFile::new(BearerToken {
                file,
                origin: String::new(),
            })
        }))
    }

    /// Returns the header's value, from the file as it is now.
    pub(crate) fn current(&self) -> Result<Option<Secret>, HttpError> {
        self.0.as_ref().map(TokenFile::authorization).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Direction;

    #[test]
    fn tokens_go_where_they_may() {
        use RedirectTrust::{Anywhere, SameDomain, SameHost};
        for (trust, from, to, is_allowed) in [
            (SameHost, "https://h.x.org/a", "https://h.x.org:99/b", true),
            (SameHost, "https://h.x.org/a", "https://p.x.org/b", false),
            (SameDomain, "https://h.x.org/a", "https://p.x.org/b", true),
            (SameDomain, "https://h.x.org/a", "http://h.x.org/b", false),
            (SameDomain, "https://h.x.org/a", "http://p.x.org/b", false),
            (SameDomain, "http://h.x.org/a", "https://p.x.org/b", true),
            (SameDomain, "https://h.x.org/a", "https://p.y.org/b", false),
            (SameDomain, "https://x.org/a", "https://y.org/b", false),
            (
                SameDomain,
                "https://10.1.2.3/a",
                "https://11.1.2.3/b",
                false,
            ),
            (SameDomain, "https://[::1]/a", "https://[::2]/b", false),
            (SameDomain, "https://localhost/a", "https://other/b", false),
            (Anywhere, "https://h.x.org/a", "https://p.y.org/b", true),
            (Anywhere, "https://h.x.org/a", "http://p.y.org/b", false),
        ] {
            let place = |url| Place::read(Direction::StageIn, url).expect(url);
            let found = trust.allows(&place(from), &place(to));
            assert_eq!(found, is_allowed, "{trust:?} {from} {to}");
        }
    }
}
