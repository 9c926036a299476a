//! Real storage for tests, benches and the demo, and storage that misbehaves on purpose.
//!
//! * [`XRootD`]: `root://`, HTTP, HTTPS, `WebDAV` and third-party copy;
//! * [`Apache`]: `WebDAV` as a plain web server has it;
//! * [`S3`]: objects, with signatures that are checked;
//! * [`Certificates`]: an authority, hosts, users and grid proxies for the first two;
//! * [`BreakingProxy`]: before any of them, cuts and resets and stalls connections from a seed;
//! * [`LyingStore`]: HTTP storage that lies as told.
//!
//! The first four need programs of the machine. Where one is missing, their `start` says so and
//! gives none, and the test goes without it; with `AILURUS_STORAGE=all` in the environment, as
//! `cargo xtask test` sets it once it has installed them, that is an error. Every server writes
//! only below the folder that it is given and ends with its value, by its process id, or with the
//! thread that started it.

pub mod apache;
pub mod attributes;
pub mod breaking;
pub mod certificates;
pub mod lying;
pub mod s3;
pub mod xrootd;

pub use crate::server::{ALL, DEMAND, is_there};
pub use apache::Apache;
pub use attributes::VomsAttributes;
pub use breaking::BreakingProxy;
pub use certificates::Certificates;
pub use lying::{Lie, LyingStore, Rule};
pub use s3::S3;
pub use xrootd::XRootD;
