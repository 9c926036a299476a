//! The payload room: where the script comes from, how a payload is ended, what its reports say.

pub mod debug;
pub mod ending;
pub mod log_stream;
pub mod report;
pub mod script;
pub mod steps;
