//! The data room: from where to where inputs, outputs and the log go.
//!
//! It plans; adapters look up and move.
//!
//! | module | decides |
//! |---|---|
//! | [`copy_tools`] | which tools serve which activity, and what moves a scheme |
//! | [`stage_in`], [`stage_out`] | the plan of a job's inputs, outputs and log |
//! | [`course`] | which try follows which outcome |
//! | [`formats`] | which files are checked, and what a bad one means |

pub mod copy_tools;
pub mod course;
pub mod formats;
pub mod patterns;
pub mod place;
pub mod stage_in;
pub mod stage_out;
pub mod tries;

pub use copy_tools::ToolName;
pub use course::{BadReplica, Course, CourseLimits, Failure, FailureKind, Next, Resume};
pub use formats::FormatCheck;
pub use patterns::expand_outputs;
pub use stage_in::{Access, CacheUse, StageInFile, StageInPlan, plan_stage_in};
pub use stage_out::{
    Beginning, LogPlan, StageOutFile, StageOutPlan, StoredFile, StoredPlace, plan_log,
    plan_stage_out,
};
pub use tries::{Domain, LeftOut, LeftOutReason, Rank, Try};

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
