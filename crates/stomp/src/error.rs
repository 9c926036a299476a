//! Why a broker did not take or give messages.

use std::{io, path::PathBuf, time::Duration};

use crate::FrameError;

/// The broker did not take or give messages. The connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum StompError {
    /// No connection stands.
    #[error("message broker `{address}` cannot be reached")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or the peer closed it.
    #[error("the connection to message broker `{address}` broke")]
    Broken {
        /// Host and port.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The broker was silent for too long.
    #[error("message broker `{address}` did not answer within {limit:?}")]
    Silent {
        /// Host and port.
        address: String,
        /// The limit.
        limit: Duration,
    },
    /// What came is no STOMP.
    #[error("`{address}` does not speak STOMP as it should: is this the broker's STOMP port?")]
    Protocol {
        /// Host and port.
        address: String,
        /// What is wrong.
        #[source]
        source: FrameError,
    },
    /// The broker said no.
    #[error("message broker `{address}` refused: {reason}")]
    Refused {
        /// Host and port.
        address: String,
        /// Its words.
        reason: String,
    },
    /// The broker's certificate authorities are of no use.
    #[error("`{}` holds no usable certificate authority", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
    },
    /// The host's name cannot stand in a certificate.
    #[error("`{host}` is no name of a host, so its certificate cannot be checked")]
    HostName {
        /// The name.
        host: String,
    },
}
