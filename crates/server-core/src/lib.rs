//! Decides what the server does: jobs, tasks, dispatch, retries and watchdogs over a ledger of rows.
//!
//! Every operation is a function that takes a [`Context`] (time, queues, knowledge, limits) and a
//! [`Ledger`] (the rows), one operation a file. It reads and writes rows and returns an answer; it
//! reads no clock, sends nothing and knows no wire format. All of a call belongs to the one
//! transaction that its caller began, so a refused or failed call leaves nothing behind once that
//! transaction is given up.
//!
//! | operation | who asks |
//! |---|---|
//! | [`submit()`] | a person, with tasks |
//! | [`acquire_jobs`], [`update_job`], [`job_statuses`], [`note_worker_pilot`] | a pilot |
//! | [`acquire_event_ranges`], [`update_event_ranges`] | a pilot, or Harvester |
//! | [`update_workers`], [`acquire_commands`], [`acknowledge_commands`] | Harvester |
//! | [`kill_job`], [`kill_task`], [`retry_task`] | a person |
//! | [`broker()`], [`watch()`], [`archive_jobs`], [`drop_jobs`], [`shorten_history`] | the server's own timer |

mod action;
mod archive;
mod attempt_end;
mod broker;
mod cache_files;
mod claim;
mod commands;
mod context;
mod definition;
mod describe;
mod direct;
mod dispatch;
mod events;
pub mod explain;
mod guid;
mod harvesters;
mod input;
pub mod invariants;
mod job_status;
mod kill;
pub mod ledger;
pub mod memory;
mod naming;
pub mod news;
mod offline_script;
mod operation;
mod outputs;
mod priority;
mod release;
mod report;
mod resource_type;
mod retry;
mod scheduling;
pub mod secrets;
mod shares;
mod signature;
mod steer;
pub mod streaming;
mod submit;
mod submit_jobs;
mod task_status;
pub mod tasks;
pub mod template;
mod text;
pub mod throttle;
mod update;
pub mod watch;
mod worker_sync;
mod workers;
pub mod workflows;

pub use action::{ActionError, check_job_owner, check_task_owner, kill_job, kill_task};
pub use archive::{ArchiveRules, ArchiveStep, DropStep, archive_jobs, drop_jobs, shorten_history};
pub use broker::broker;
pub use cache_files::{
    CacheNameError, NOT_NOTED, OVERWRITES, cache_file_max, cache_file_name, checkpoint_max,
    expire_cache_files, note_archives, note_cache_file, same_cache_file, task_log_max,
    touch_cache_file,
};
pub use commands::{
    NewCommand, Replaces, SweepError, acknowledge_commands, acquire_commands, expire_commands,
    give_command, sweep_queue,
};
pub use context::{Context, Limits};
pub use describe::{command_to_pilot, describe_job, job_label};
pub use dispatch::{AcquireError, acquire_jobs};
pub use events::{
    EventAnswers, EventRangeState, EventVersion, RANGES_PER_CALL_MAX, acquire_event_ranges,
    count_event_ranges, event_range_states, update_event_ranges,
};
pub use explain::{Explanation, QueueFinding, explain_job, explain_task};
pub use harvesters::{
    HarvesterWord, expire_harvester_notes, note_dialogs, note_heartbeat, note_service_metrics,
    note_worker_statistics, set_target_slots,
};
pub use job_status::job_statuses;
pub use kill::{KillCode, KillRequest, Unmerged, kill_jobs, reassign_jobs};
pub use ledger::PilotPhase;
pub use ledger::{Ledger, LedgerError};
pub use memory::MemoryLedger;
pub use offline_script::offline_script;
pub use priority::{PriorityInput, first_priority};
pub use resource_type::{ResourceType, ResourceTypes, ResourceTypesError};
pub use retry::retry_task;
pub use scheduling::Scheduling;
pub use secrets::{SecretChange, SecretError, change_secrets, secrets_of};
pub use shares::{refresh_shares, share_lines, stream_pilots};
pub use signature::{SignatureError, sign};
pub use steer::{CommandFate, DebugFate, DebugMode, set_command, set_debug_mode};
pub use submit::{SubmitError, Submitted, submit};
pub use submit_jobs::{SubmittedJob, submit_jobs};
pub use update::update_job;
pub use watch::{WatchReport, watch};
pub use worker_sync::ask_about_stale_workers;
pub use workers::{note_worker_pilot, update_workers};

#[cfg(test)]
mod tests;
