//! Workflows: what their files mean, and the tasks that their steps become.
//!
//! Two languages are read, PanDA's own ([`read_native`]) and CWL ([`read_cwl`]), both into a
//! [`Graph`] for each workflow that a file has. [`plan`] puts its steps in order, with those of the
//! workflows that steps stand for in their place, gives them names and numbers, copies those that
//! are scattered, and makes the parameters of each step's task as `prun` would. When a step runs is
//! decided by who carries the plan out; what it is called in the round of a loop, [`Blocks`] say.
//! Files are read elsewhere, into a [`Document`].
//!
//! Steps are those of `prun` and junctions; other kinds of steps are refused by name.
//!
//! Source: PanDA server, `pandaserver/workflow/`.

mod blocks;
mod condition;
mod cwl;
mod definition;
mod document;
mod exec;
mod graph;
mod native;
mod options;
mod plan;
mod prun;
mod words;

#[cfg(test)]
mod tests;

pub use self::{
    blocks::{BlockState, Blocks, PlannedBlock, Variable},
    condition::{Condition, Outcome},
    cwl::read_cwl,
    definition::read_definition,
    document::Document,
    graph::{
        Graph, GraphOutput, GraphStep, Handover, Numbering, Order, Repeats, Source, StepInput,
        Work, WorkflowFile,
    },
    native::read_native,
    plan::{Plan, PlanLimits, PlanRequest, PlannedStep, Start, plan},
};

/// A workflow cannot be carried out as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkflowError {
    /// The file as such is wrong.
    #[error("the workflow cannot be read: {problem}")]
    File {
        /// What is wrong.
        problem: String,
    },
    /// One step is wrong.
    #[error("step `{step}`: {problem}")]
    Step {
        /// Its name.
        step: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// Steps wait for each other.
    #[error("the steps never begin: {0}")]
    Cycle(String),
    /// There are too many.
    #[error("the workflow has {found} steps: at most {allowed} are allowed")]
    TooManySteps {
        /// How many there are.
        found: usize,
        /// How many there may be.
        allowed: usize,
    },
}

impl WorkflowError {
    /// The file as such is wrong.
    pub fn file(problem: impl Into<String>) -> Self {
        Self::File {
            problem: problem.into(),
        }
    }

    /// One step is wrong.
    pub fn step(step: &str, problem: impl Into<String>) -> Self {
        Self::Step {
            step: step.to_owned(),
            problem: problem.into(),
        }
    }
}
