//! PanDA's tasks: taken in as maps of parameters, cut into jobs step by step, and ended.
//!
//! What the parameters mean is told by `ailurus_jedi`; jobs, attempts, inputs and releases are
//! those of all tasks. This module has what is between: it lists a task's inputs, makes its jobs in
//! steps of bounded size, lets its first jobs measure what the others need, merges, and follows
//! the commands of people. Each step is one transaction, so a task is made on after any crash.
//!
//! ```text
//! registered ─► defined ─► ready ─► scouting ─► scouted ─► running ─► prepared ─► done
//!     │            │ └ pending        │ └ exhausted          │                    finished
//!     └► broken ◄──┘                  └──── aborting, finishing ◄┘                failed
//! ```
//!
//! | file | has |
//! |---|---|
//! | `submit` | how a task comes in |
//! | `step` | what is due next |
//! | `turns` | whose turn it is, and who is throttled |
//! | `catalogue` | what the catalogue of datasets is asked, and its answers |
//! | `feed` | which files a task reads |
//! | `generate`, `chunk`, `consumers` | how jobs are made |
//! | `define` | names, parameters and options of a job |
//! | `scouts`, `measure`, `merges`, `end` | what follows from jobs that have ended |
//! | `failure` | what the operator's rules do about failed attempts |
//! | `command` | what people want of a task |
//! | `chores` | what they want of all of its jobs |
//! | `revision` | changed parameters and needs |
//! | `libraries` | which build job makes the library of which jobs |
//! | `throttling` | tasks whose jobs fail again and again wait |
//! | `describe` | what people are shown of a task |

mod catalogue;
mod chores;
mod chunk;
pub(crate) mod command;
mod consumers;
pub(crate) mod define;
mod describe;
mod end;
mod failure;
mod feed;
mod generate;
mod libraries;
mod measure;
pub(crate) mod merges;
mod record;
mod revision;
mod scouts;
mod settings;
mod step;
mod submit;
mod tags;
mod throttling;
mod turns;

pub use catalogue::{
    DatasetAnswer, FoundFile, Openness, WantedDataset, answer_dataset, open_datasets,
    wanted_datasets,
};
pub use command::{
    AttemptCount, CommandReply, CommandRequest, FinishMode, command_task, retry_limits::RetryLimits,
};
pub use define::streams_by_dataset;
pub use describe::{FileLists, describe_task, digest_task, list_datasets, summarise_task};
pub use end::{FileTally, file_tally};
pub(crate) use libraries::site_group;
pub(crate) use record::stream_of;
pub use settings::TaskLimits;
pub use step::{Backlog, StepReport, step_tasks};
pub use submit::{SubmitReply, TaskRequest, submit_task};
