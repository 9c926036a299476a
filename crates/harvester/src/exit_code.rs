//! Exit codes of `ailurus-harvester`.

/// It was told to stop and did.
pub(crate) const OK: u8 = 0;
/// It could not go on: database, spool or system.
pub(crate) const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub(crate) const USAGE: u8 = 2;
