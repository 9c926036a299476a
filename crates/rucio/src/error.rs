//! Why Rucio was asked in vain.

use std::{fmt, io, path::PathBuf};

use ailurus_http::{ConfigError, HttpError};
use ailurus_model::{Blame, ErrorCode, Retry};
use ailurus_wire::rucio::{Did, RucioAnswerError, refusal::Refusal, refusal::RefusalKind};

/// What Rucio was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// A token.
    Token,
    /// Files of a dataset.
    ListFiles,
    /// Replicas of files.
    ListReplicas,
    /// What an endpoint is.
    Rse,
    /// New replicas.
    Register,
    /// New states of replicas.
    States,
    /// Files for a dataset.
    Attach,
    /// Bad replicas.
    DeclareBad,
    /// Replicas that may be bad.
    DeclareSuspicious,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Token => "giving a token",
            Self::ListFiles => "listing files of a dataset",
            Self::ListReplicas => "listing replicas",
            Self::Rse => "describing an endpoint",
            Self::Register => "registering replicas",
            Self::States => "changing states of replicas",
            Self::Attach => "attaching files to a dataset",
            Self::DeclareBad => "declaring bad replicas",
            Self::DeclareSuspicious => "declaring suspicious replicas",
        })
    }
}

/// Rucio was asked in vain.
#[derive(Debug, thiserror::Error)]
pub enum RucioError {
    /// The client cannot be made.
    #[error("no client for Rucio")]
    Config(#[from] ConfigError),
    /// The file with the token cannot be used.
    #[error("the token file `{}` holds no usable token", path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no answer.
    #[error("no answer of Rucio while {call}")]
    NoAnswer {
        /// What was asked for.
        call: Call,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// The answer makes no sense.
    #[error("a bad answer of Rucio while {call}")]
    BadAnswer {
        /// What was asked for.
        call: Call,
        /// What is wrong with it.
        #[source]
        source: RucioAnswerError,
    },
    /// The server refused.
    #[error("Rucio refused (HTTP status {status}) while {call}")]
    Refused {
        /// What was asked for.
        call: Call,
        /// The HTTP status.
        status: u16,
        /// Its words.
        #[source]
        refusal: Refusal,
    },
    /// Something before the server answered, or the server gave no reason.
    #[error("HTTP status {status} without a reason while {call}: `{beginning}`")]
    Status {
        /// What was asked for.
        call: Call,
        /// The HTTP status.
        status: u16,
        /// How the body begins.
        beginning: String,
    },
    /// The catalogue has the file with another size or checksum.
    #[error("Rucio knows `{did}` with {known} instead of {given}: give the file another name")]
    OtherFile {
        /// The file.
        did: Did,
        /// Size or checksum in the catalogue.
        known: String,
        /// Size or checksum of the file to register.
        given: String,
    },
    /// The catalogue does not have a replica that was registered.
    #[error("Rucio does not have `{did}` at `{rse}` although it took it")]
    NotRegistered {
        /// The file.
        did: Did,
        /// The endpoint.
        rse: String,
    },
    /// The caller gave up.
    #[error("told to stop while {call}")]
    Stopped {
        /// What was asked for.
        call: Call,
    },
}

impl RucioError {
    fn call(&self) -> Option<Call> {
        match self {
            Self::Config(_) | Self::NoToken { .. } => None,
            Self::OtherFile { .. } | Self::NotRegistered { .. } => Some(Call::Register),
            Self::NoAnswer { call, .. }
            | Self::BadAnswer { call, .. }
            | Self::Refused { call, .. }
            | Self::Status { call, .. }
            | Self::Stopped { call } => Some(*call),
        }
    }

    fn kind(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused { refusal, .. }
            | Self::BadAnswer {
                source: RucioAnswerError::Refused(refusal),
                ..
            } => Some(refusal.kind()),
            Self::Config(_)
            | Self::NoToken { .. }
            | Self::NoAnswer { .. }
            | Self::BadAnswer { .. }
            | Self::Status { .. }
            | Self::OtherFile { .. }
            | Self::NotRegistered { .. }
            | Self::Stopped { .. } => None,
        }
    }

    /// Says whether the server did not believe the credential.
    #[must_use]
    pub fn is_disbelief(&self) -> bool {
        self.kind() == Some(RefusalKind::NotBelieved)
            || matches!(self, Self::Status { status: 401, .. })
    }

    /// Says whether the same call may succeed later without anything being changed.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NoAnswer { source, .. } => source.is_passing(),
            Self::Status { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            Self::Refused { .. } => self.kind() == Some(RefusalKind::Busy),
            // A page with status 200, or an answer that ends in the middle.
            Self::BadAnswer { source, .. } => match source {
                RucioAnswerError::NotJson { .. } => true,
                RucioAnswerError::Refused(_) => self.kind() == Some(RefusalKind::Busy),
                RucioAnswerError::Field(_) => false,
            },
            Self::Config(_)
            | Self::NoToken { .. }
            | Self::OtherFile { .. }
            | Self::NotRegistered { .. }
            | Self::Stopped { .. } => false,
        }
    }

    /// Says whether the server may have done what it was asked for.
    pub(crate) const fn may_have_arrived(&self) -> bool {
        match self {
            Self::NoAnswer { source, .. } => source.may_have_arrived(),
            Self::Config(_) | Self::NoToken { .. } | Self::Refused { .. } => false,
            Self::BadAnswer { .. }
            | Self::Status { .. }
            | Self::OtherFile { .. }
            | Self::NotRegistered { .. }
            | Self::Stopped { .. } => true,
        }
    }

    /// Returns the pilot's error code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        if self.is_disbelief() || matches!(self, Self::NoToken { .. } | Self::Config(_)) {
            return match self.call() {
                Some(Call::Register | Call::States | Call::Attach) => {
                    ErrorCode::StageOutAuthenticationFailure
                }
                Some(Call::ListFiles | Call::ListReplicas | Call::Rse) => {
                    ErrorCode::StageInAuthenticationFailure
                }
                // Tokens are asked for by whatever call comes first: the look-up.
                Some(Call::Token | Call::DeclareBad | Call::DeclareSuspicious) | None => {
                    ErrorCode::RucioListReplicasFailed
                }
            };
        }
        match self.call() {
            Some(Call::Register | Call::States | Call::Attach) => ErrorCode::StageOutFailed,
            Some(Call::DeclareBad | Call::DeclareSuspicious) => ErrorCode::RucioServiceUnavailable,
            Some(Call::Token | Call::ListFiles | Call::ListReplicas | Call::Rse) | None => {
                ErrorCode::RucioListReplicasFailed
            }
        }
    }

    /// Says whether trying again can help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        if self.is_passing() || matches!(self, Self::Stopped { .. } | Self::NotRegistered { .. }) {
            return Retry::Later;
        }
        // Another site has another credential and another configuration.
        if self.is_disbelief()
            || matches!(
                self,
                Self::NoToken { .. } | Self::Config(_) | Self::NoAnswer { .. }
            )
        {
            return Retry::Elsewhere;
        }
        Retry::Never
    }

    /// Says who can do something about it.
    #[must_use]
    pub fn blame(&self) -> Blame {
        if self.is_disbelief() {
            return Blame::Credentials;
        }
        match self {
            Self::NoToken { .. } | Self::Config(_) => Blame::Credentials,
            Self::NoAnswer {
                source: HttpError::TlsRefused { .. },
                ..
            } => Blame::Credentials,
            Self::NoAnswer {
                source: HttpError::BadUrl { .. } | HttpError::BadRequest { .. },
                ..
            } => Blame::Site,
            Self::OtherFile { .. } => Blame::User,
            Self::Stopped { .. } => Blame::Pilot,
            Self::Refused { .. } => match self.kind() {
                Some(RefusalKind::NotAllowed) => Blame::Credentials,
                Some(RefusalKind::Unknown | RefusalKind::Exists | RefusalKind::AgainstRules) => {
                    Blame::User
                }
                Some(RefusalKind::NotBelieved | RefusalKind::Busy | RefusalKind::Other) | None => {
                    Blame::Network
                }
            },
            Self::NoAnswer { .. }
            | Self::BadAnswer { .. }
            | Self::Status { .. }
            | Self::NotRegistered { .. } => Blame::Network,
        }
    }

    /// Says what to do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match (self, self.kind()) {
            (Self::NoToken { .. }, _) => "write a token for Rucio into this file",
            (Self::Config(_), _) => "check the paths of certificate, key and CA certificates",
            (_, Some(RefusalKind::NotBelieved)) | (Self::Status { status: 401, .. }, _) => {
                "renew the proxy or token, or have its identity added to the account in Rucio"
            }
            (_, Some(RefusalKind::NotAllowed)) => {
                "use an account that may do this, or have the permission given"
            }
            (_, Some(RefusalKind::Unknown)) => "check scope, name and endpoint in Rucio",
            (_, Some(RefusalKind::Exists)) => "give the file a name that is not used yet",
            (_, Some(RefusalKind::AgainstRules)) => "use names and places that Rucio allows",
            (Self::OtherFile { .. }, _) => "give the file a name that is not used yet",
            (Self::NoAnswer { source, .. }, _) if !source.is_passing() => {
                "check the address of Rucio and the CA certificates"
            }
            _ => "check that the node reaches the Rucio server, and try again later",
        }
    }
}
