//! The data room: from where to where inputs, outputs and the log go.
//!
//! It plans; an adapter moves. What can be reached today is storage that the node mounts
//! (`file://`), or directories that the pilot was given.

pub mod patterns;
pub mod place;
pub mod stage_in;
pub mod stage_out;

pub use patterns::expand_outputs;
pub use stage_in::{StageInFile, StageInPlan, plan_stage_in};
pub use stage_out::{
    Beginning, LogPlan, StageOutFile, StageOutPlan, StoredFile, plan_log, plan_stage_out,
};

use ailurus_model::{ErrorCode, Lfn};

use crate::Problem;

/// Longest name of a file, in bytes.
const NAME_LENGTH_MAX: usize = 255;

/// Says whether a job may use this name for a file in its own directory.
///
/// # Errors
///
/// 1190 for a name that is too long, `bad` for one that is empty or leads elsewhere.
fn check_name(lfn: &Lfn, bad: ErrorCode) -> Result<(), Problem> {
    let name = lfn.as_str();
    if name.len() > NAME_LENGTH_MAX {
        return Err(Problem::new(ErrorCode::LfnTooLong, format!("`{name}`")));
    }
    if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        let detail = format!("`{name}` is no name for a file in the job's directory");
        return Err(Problem::new(bad, detail));
    }
    Ok(())
}
