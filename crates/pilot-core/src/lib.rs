//! Decides what a pilot does: one state machine from inputs to effects.
//!
//! [`PilotCore`] takes what happened ([`Input`]) with the time, and returns what is to be done
//! ([`Effect`]). It reads no clock, file, environment or socket, so a whole pilot's life can be
//! replayed from its inputs. Its rooms:
//!
//! | room | decides |
//! |---|---|
//! | [`control`] | the pilot's life and the job's life, what the server is told and when |
//! | [`payload`] | where the script comes from, how a payload is ended, what its reports say |
//! | [`data`] | from where to where inputs, outputs and the log go |
//! | [`monitoring`] | what a payload used, and whether that is within its limits |
//! | [`resource`] | what the node has, and what job is asked for |
//! | [`recovery`] | what failed, with which code, and when to try again |

pub mod config;
pub mod control;
pub mod data;
pub mod effect;
pub mod input;
pub mod monitoring;
pub mod payload;
pub mod problem;
pub mod recovery;
pub mod resource;

pub use config::PilotConfig;
pub use control::{exit_code::PilotExit, pilot::PilotCore};
pub use effect::{Effect, JobEffect};
pub use input::{Input, JobInput, JobTicket};
pub use problem::Problem;
