//! A blocking HTTP client with the credentials, limits and encodings that PanDA's peers expect.
//!
//! [`Client`] keeps connections open between requests and may be shared by threads. A status such
//! as 404 or 500 is an answer, not an error; [`HttpError`] means that there is no answer, and says
//! why. Nothing here reads the environment, and no secret reaches a log or a message.
//! [`Exchanger`] is for storage: any method, bodies as streams, redirects and tokens in the
//! caller's hands, waiting that can be given up.

mod agent;
mod client;
mod client_key;
mod config;
mod connector;
mod date;
mod error;
mod exchange;
mod file_version;
mod gzip;
mod resolve;
mod secret;
mod spelling;
mod token;
mod trust;
mod validity;
mod wait;

pub use client::{Client, FileAnswer, Response};
pub use config::{
    BearerToken, ClientCertificate, ClientConfig, ProxyConfig, Redirects, Timeouts, Trust,
    Verification,
};
pub use date::{http_date, retry_after};
pub use error::{ConfigError, HttpError, TimedOutPhase};
pub use exchange::{Answer, Content, Exchange, Exchanger};
pub use gzip::gzipped;
pub use secret::Secret;
pub use token::TokenFile;
pub use validity::certificates_end;
pub use wait::Wait;
