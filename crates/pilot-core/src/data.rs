//! The data room: from where to where inputs, outputs and the log go.
//!
//! It plans; adapters look up and move.
//!
//! | module | decides |
//! |---|---|
//! | [`copy_tools`] | which tools serve which activity, and what moves a scheme |
//! | [`stage_in`], [`stage_out`] | the plan of a job's inputs, outputs and log |
//! | [`catalogue`] | what Rucio is asked about inputs |
//! | [`replicas`], [`storage_record`] | which replica is tried when, also after past failures |
//! | [`destinations`], [`place`] | which storages an output goes to, and under which path |
//! | [`direct_access`], [`pool_file_catalog`] | what the payload reads remotely, and how it is told |
//! | [`course`] | which try follows which outcome |
//! | [`space`] | whether a job fits on the disk |
//! | [`describe`] | a plan for people |
//! | [`traces`] | what Rucio is told of each try |
//! | [`formats`] | which files are checked, and what a bad one means |

pub mod catalogue;
pub mod copy_tools;
pub mod course;
pub mod describe;
pub mod destinations;
pub mod direct_access;
pub mod formats;
pub mod patterns;
pub mod place;
pub mod pool_file_catalog;
pub mod replicas;
pub mod space;
pub mod stage_in;
pub mod stage_out;
pub mod storage_record;
pub mod traces;
pub mod tries;

pub use catalogue::{CatalogueFile, Medium, Replica, ReplicaQuery, SwitchedOff};
pub use copy_tools::ToolName;
pub use course::{BadReplica, Course, CourseLimits, Failure, FailureKind, Next, Resume};
pub use describe::PlanTable;
pub use formats::FormatCheck;
pub use patterns::expand_outputs;
pub use place::Direction;
pub use stage_in::{
    Access, CacheUse, Known, RemoteInput, StageInFile, StageInPlan, catalogue_query, plan_stage_in,
};
pub use stage_out::{
    Beginning, GuidSource, LogPlan, StageOutFile, StageOutPlan, StoredFile, StoredPlace,
    alternative_note, plan_log, plan_stage_out,
};
pub use storage_record::{BadFile, Move, StorageRecord, TransfersSeen};
pub use traces::{JobTraces, Trace, TraceEnd, TraceTimes, TracedFile};
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
