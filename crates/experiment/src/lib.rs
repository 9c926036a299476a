//! Profiles: what an experiment needs of a pilot, as data.
//!
//! A profile is one TOML file: how the payload's command is made, its environment, which files
//! show progress, how data are moved and checked, limits, what stays out of the log archive. [`Profile`] is the file as types,
//! [`plan_payload`] turns profile and job into what is to be started. Nothing here reads a file,
//! starts a program or knows an experiment by name.

pub mod container;
pub mod data;
pub mod hook;
pub mod limits;
pub mod parameters;
pub mod pattern;
pub mod plan;
pub mod profile;
pub mod step;
pub mod template;
pub mod words;

pub use container::{ContainerCall, ContainerError, ContainerPlan, ContainerProfile, NodeView};
pub use data::{
    CacheChoice, CheckTime, ChecksumChoice, DataProfile, FlowActivity, FlowMarkerProfile,
    FormatProfile,
};
pub use hook::{HookAnswer, HookError, HookJob, HookPoint, HookProfile, HookRequest};
pub use limits::Limits;
pub use pattern::NamePattern;
pub use plan::{PayloadPlan, PlanError, ScriptNeed, plan_payload, plan_step};
pub use profile::{CoreDumpPolicy, HIDDEN_VARIABLES, Profile, ProfileError};
pub use step::StepKind;
pub use template::Template;
