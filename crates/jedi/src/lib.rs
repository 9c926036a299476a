//! PanDA's language of tasks: what task parameters mean, and how a task is cut into jobs.
//!
//! [`TaskParams`] is what a client sends, [`refine()`] tells what it means, and a [`RefinedTask`] is
//! kept beside the task. From it and from rows that others keep, [`split`] makes chunks of files,
//! [`estimate`] says what a job needs, and so on. Nothing here
//! reads a row, a clock, a file or the network: the same input always gives the same result.

pub mod build;
pub mod command;
pub mod completion;
pub mod estimate;
pub mod expand;
pub mod feed;
pub mod merge;
pub mod names;
pub mod params;
pub mod refine;
pub mod refined;
pub mod resources;
pub mod retry_rules;
pub mod rules;
pub mod scouts;
pub mod sites;
pub mod split;
pub mod workflow;

pub use params::{ParamError, TaskParams};
pub use refine::{RefineSettings, refine};
pub use refined::{InputKind, InputStream, OutputKind, OutputStream, RefinedTask};
pub use resources::TaskResources;
pub use rules::{Rule, SplitRules};
pub use sites::SiteSelection;
