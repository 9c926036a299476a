//! Moves files, computes their checksums in the same pass, packs the log archive.
//!
//! * [`Tool`] is the port that all copy tools serve, and [`Toolbox`] finds them by name and scheme.
//! * [`engine`] moves many files at once, and asks what is to be tried next.
//! * [`Local`] copies between directories of this node, verified, never half-written at its target.
//! * [`CommandTools`] are external copy programs, described in files.
//! * [`http::HttpTool`] moves files over HTTP and WebDAV.
//! * [`S3Tool`] moves files over S3, also to Google's storage.
//! * [`cache::Cache`] keeps inputs for many pilots.
//! * [`space`] is what is left, set aside and watched on this node's disks.
//! * [`flow_marker`] tells networks what a connection is for.
//! * [`check_file`] says whether a file is whole and of its format.
//! * [`archive::pack`] makes the log archive.
//!
//! Which replica to take, when to try again and what a failure means for the job is decided by the
//! core; each error says its [`ErrorCode`](ailurus_model::ErrorCode).

pub mod archive;
pub mod budget;
pub mod cache;
pub mod checksum;
mod command;
pub mod engine;
mod error;
pub mod flow_marker;
mod format_check;
pub mod http;
mod incoming;
mod local;
mod naming;
mod partial;
pub mod patience;
mod port;
mod s3;
pub mod space;
mod stop;
mod target;
mod toolbox;

pub use budget::Budget;
pub use command::{CommandTool, CommandTools, DescriptionError};
pub use error::{BadPlaceReason, Cause, Direction, TransferError};
pub use format_check::{CheckError, FormatCheck, check_file};
pub use local::{Local, Placement, file_checksum, file_checksums, local_path};
pub use naming::{deterministic_path, new_guid};
pub use patience::{Impatience, Patience};
pub use port::{Durability, FileIdentity, RemoteFile, Tool, Transfer, TransferReport, Watch};
pub use s3::{AccessKey, S3Keys, S3Options, S3Signer, S3Tool};
pub use stop::StopSwitch;
pub use toolbox::Toolbox;
