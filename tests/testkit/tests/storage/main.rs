//! Each storage component by itself, asked by clients that are not ours: `xrdcp`, `curl`,
//! `openssl`.

#![expect(clippy::unwrap_used, reason = "a test fails where its parts do")]

mod apache;
mod breaking;
mod certificates;
mod client;
mod lying;
mod s3;
mod xrootd;
