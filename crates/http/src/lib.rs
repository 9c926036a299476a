//! A blocking HTTP client with the credentials, limits and encodings that PanDA's peers expect.
//!
//! [`Client`] keeps connections open between requests and may be shared by threads. A status such
//! as 404 or 500 is an answer, not an error; [`HttpError`] means that there is no answer, and says
//! why. Nothing here reads the environment, and no secret reaches a log or a message.

mod agent;
mod client;
mod client_key;
mod config;
mod error;
mod file_version;
mod gzip;
mod resolve;
mod secret;
mod token;
mod trust;
mod validity;

pub use client::{Client, FileAnswer, Response};
pub use config::{
    BearerToken, ClientCertificate, ClientConfig, ProxyConfig, Redirects, Timeouts, Trust,
    Verification,
};
pub use error::{ConfigError, HttpError, TimedOutPhase};
pub use gzip::gzipped;
pub use secret::Secret;
pub use validity::certificates_end;
