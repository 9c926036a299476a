//! The Python programs of PanDA against our server, unmodified: `prun` submits, `pbook` steers, the
//! Python pilot runs jobs, and the user gets the outputs.
//!
//! What they say to the server is their business: nothing here knows a call.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "panda_clients/inputs.rs"]
mod inputs;
#[path = "panda_clients/python_pilot.rs"]
mod python_pilot;
#[path = "panda_clients/secure.rs"]
mod secure;
#[path = "panda_clients/site.rs"]
mod site;
#[path = "panda_clients/steered_pilot.rs"]
mod steered_pilot;
#[path = "panda_clients/steering.rs"]
mod steering;
#[path = "panda_clients/submitting.rs"]
mod submitting;
#[path = "panda_clients/workflows.rs"]
mod workflows;
