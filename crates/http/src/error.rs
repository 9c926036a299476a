//! Why there is no client, or no answer.

use std::{io, path::PathBuf};

use crate::wait::GivenUp;

/// A client cannot be made from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file with certificates or a key cannot be read.
    #[error("`{}` cannot be read: check path and permissions", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or directory has no certificate that can be used.
    #[error("`{}` holds no PEM certificate", path.display())]
    NoCertificate {
        /// The file or directory.
        path: PathBuf,
    },
    /// A file has no private key that can be used.
    #[error("`{}` holds no PEM private key without a pass phrase", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The proxy's address is none.
    #[error("`{url}` is not a proxy: write it like `http://squid.example.org:3128`")]
    BadProxy {
        /// The address as given, without user and password.
        url: String,
    },
}

/// A request has no answer. URLs in messages are cut before the query, which may hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL cannot be used.
    #[error("`{url}` is not an HTTP URL: write it like `https://host:port/path`")]
    BadUrl {
        /// The URL.
        url: String,
    },
    /// A header, the method or the body's form cannot be sent.
    #[error("the request to `{url}` cannot be sent: {reason}")]
    BadRequest {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection: unknown host, nothing listens, no route, or the proxy refuses.
    #[error("no connection to `{url}`")]
    CannotConnect {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// A limit on time was reached.
    #[error("`{url}` did not answer in time (while it was to {phase})")]
    TimedOut {
        /// The URL.
        url: String,
        /// What took too long.
        phase: TimedOutPhase,
    },
    /// TLS failed: the server is not believed, or does not believe us.
    #[error(
        "no trust between this client and `{url}`: check CA certificates, host name and own certificate"
    )]
    TlsRefused {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The connection or the answer ended in the middle, or made no sense.
    #[error("the answer of `{url}` is broken")]
    Broken {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The answer has more bytes than are taken.
    #[error("the answer of `{url}` is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The URL.
        url: String,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// More redirects than are followed, or one that cannot be followed.
    #[error("`{url}` redirects too often, or a request with a body")]
    BadRedirect {
        /// The URL.
        url: String,
    },
    /// The bearer token cannot be read.
    #[error("the token file `{}` holds no usable token: renew it", path.display())]
    NoToken {
        /// The token's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The caller gave the request up.
    #[error("the request to `{url}` was given up")]
    GivenUp {
        /// The URL.
        url: String,
    },
    /// The target file of a download cannot be written.
    #[error("`{}` cannot be written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimedOutPhase {
    /// Looking up the name, connecting, TLS.
    Connect,
    /// Everything after it.
    Answer,
}

impl std::fmt::Display for TimedOutPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Answer => "answer",
        })
    }
}

impl HttpError {
    /// Says whether the server may have received the request, and acted on it, all the same.
    #[must_use]
    pub const fn may_have_arrived(&self) -> bool {
        match self {
            Self::BadUrl { .. }
            | Self::BadRequest { .. }
            | Self::CannotConnect { .. }
            | Self::TlsRefused { .. }
            | Self::NoToken { .. } => false,
            Self::TimedOut { phase, .. } => matches!(phase, TimedOutPhase::Answer),
            Self::Broken { .. }
            | Self::TooLarge { .. }
            | Self::BadRedirect { .. }
            | Self::GivenUp { .. }
            | Self::File { .. } => true,
        }
    }

    /// Says whether the same request may succeed later without anything being changed.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::CannotConnect { .. } | Self::TimedOut { .. } | Self::Broken { .. } => true,
            Self::BadUrl { .. }
            | Self::BadRequest { .. }
            | Self::TlsRefused { .. }
            | Self::TooLarge { .. }
            | Self::BadRedirect { .. }
            | Self::NoToken { .. }
            | Self::GivenUp { .. }
            | Self::File { .. } => false,
        }
    }

    /// Says whether the server has refused the client's certificate, or wants one.
    #[must_use]
    pub fn is_identity_refused(&self) -> bool {
        matches!(self, Self::TlsRefused { source, .. } if source.to_string().contains("fatal alert"))
    }

    /// Sorts what the library reports.
    pub(crate) fn of_request(url: &str, limit_bytes: u64, error: ureq::Error) -> Self {
        use ureq::{Error as E, Timeout};
        let url = without_secrets(url);
        if matches!(&error, E::Other(inner) if inner.is::<GivenUp>()) {
            Self::GivenUp { url }
        } else if matches!(error, E::BadUri(_) | E::RequireHttpsOnly(_)) {
            Self::BadUrl { url }
        } else if let E::Http(reason) = error {
            if reason.is::<ureq::http::uri::InvalidUri>() {
                return Self::BadUrl { url };
            }
            let reason = reason.to_string();
            Self::BadRequest { url, reason }
        } else if let E::Timeout(limit) = error {
            let phase = if matches!(limit, Timeout::Resolve | Timeout::Connect) {
                TimedOutPhase::Connect
            } else {
                TimedOutPhase::Answer
            };
            Self::TimedOut { url, phase }
        } else if matches!(error, E::TooManyRedirects | E::RedirectFailed) {
            Self::BadRedirect { url }
        } else if matches!(error, E::BodyExceedsLimit(_) | E::LargeResponseHeader(..)) {
            Self::TooLarge { url, limit_bytes }
        } else if is_no_connection(&error) {
            Self::CannotConnect {
                url,
                source: Box::new(error),
            }
        } else if is_no_trust(&error) {
            Self::TlsRefused {
                url,
                source: Box::new(error),
            }
        } else {
            Self::Broken {
                url,
                source: Box::new(error),
            }
        }
    }
}

fn is_no_connection(error: &ureq::Error) -> bool {
    use io::ErrorKind as Kind;
    use ureq::Error as E;
    matches!(
        error,
        E::HostNotFound | E::ConnectionFailed | E::ConnectProxyFailed(_)
    ) || matches!(
        io_kind(error),
        Some(
            Kind::ConnectionRefused
                | Kind::HostUnreachable
                | Kind::NetworkUnreachable
                | Kind::NetworkDown
                | Kind::AddrNotAvailable
        )
    )
}

/// The TLS library's own errors come as invalid data within an I/O error.
fn is_no_trust(error: &ureq::Error) -> bool {
    use ureq::Error as E;
    matches!(error, E::Tls(_) | E::Pem(_) | E::Rustls(_) | E::TlsRequired)
        || io_kind(error) == Some(io::ErrorKind::InvalidData)
}

fn io_kind(error: &ureq::Error) -> Option<io::ErrorKind> {
    if let ureq::Error::Io(io) = error {
        Some(io.kind())
    } else {
        None
    }
}

/// Returns the URL without user, password, query and fragment.
pub(crate) fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = match rest.find('/') {
                Some(slash) => rest.split_at(slash),
                None => (rest, ""),
            };
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_in_messages_have_no_secrets() {
        assert_eq!(
            without_secrets("https://alice:pw@host:1/a/b?token_key=x#y"),
            "https://host:1/a/b"
        );
        assert_eq!(without_secrets("no url?x"), "no url");
    }
}
