//! Starts, watches and ends payload processes; nothing outlives the pilot.
//!
//! Between the pilot and its payloads stands a *guard*: the same executable, started again with
//! [`guard::GUARD_ARGUMENT`], which owns all that the payloads leave behind. A `main` that starts
//! payloads calls [`guard::run_if_asked`] before anything else.
//!
//! * [`Guard::start_payload`] starts a payload and gives a [`RunningPayload`]: wait in one thread,
//!   signal from others through its [`PayloadControl`]. [`start`] does so with a guard of its own.
//! * [`Confinement`] says what a payload may use at most, [`Confined`] what of it is enforced.
//! * [`run_command`] and [`ShortCommand`] run an external command to its end within a time limit.
//! * [`StreamCommand`] runs a program that moves data, for as long as its caller likes.
//! * [`spawn_named`] is how every thread is started.
//!
//! When to signal, how long to wait and what an outcome means for a job is decided elsewhere.

mod command;
mod confinement;
mod descendants;
mod files;
pub mod guard;
mod orphans;
mod payload;
mod protocol;
mod shared;
mod short;
mod start_error;
mod stream;
mod thread;
mod watched_child;

pub use command::{CoreDumps, PayloadCommand, Signal};
pub use confinement::{Confined, Confinement, Enforcement};
pub use payload::{PayloadControl, PayloadEnd, PayloadEnded, PayloadExit, RunningPayload, start};
pub use shared::Guard;
pub use short::{CommandEnd, CommandOutput, RunError, ShortCommand, run_command};
pub use start_error::StartError;
pub use stream::{DataStream, Happened, RunningStream, StreamCommand, StreamEnd};
pub use thread::spawn_named;
