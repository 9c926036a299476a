//! Sends messages to a message broker by STOMP 1.2, as PanDA's servers do.
//!
//! [`Connection`] blocks, within limits. A message counts as taken only once the broker has sent a
//! receipt for it; after any error the connection is to be dropped and what was not confirmed is
//! to be sent again, so that every message arrives at least once.
//!
//! Source: STOMP protocol specification, version 1.2.

mod connection;
mod error;
mod frame;

pub use connection::{BrokerConfig, Connection, Credentials, Encryption, Received};
pub use error::StompError;
pub use frame::{Decoder, Frame, FrameError};
