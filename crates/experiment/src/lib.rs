//! Profiles: what an experiment needs of a pilot, as data.
//!
//! A profile is one TOML file: how the payload's command is made, its environment, which files
//! show progress, limits, what stays out of the log archive. [`Profile`] is the file as types,
//! [`plan_payload`] turns profile and job into what is to be started. Nothing here reads a file,
//! starts a program or knows an experiment by name.

pub mod limits;
pub mod pattern;
pub mod plan;
pub mod profile;
pub mod template;
pub mod words;

pub use limits::Limits;
pub use pattern::NamePattern;
pub use plan::{PayloadPlan, PlanError, ScriptNeed, plan_payload};
pub use profile::{HIDDEN_VARIABLES, Profile, ProfileError};
pub use template::Template;
