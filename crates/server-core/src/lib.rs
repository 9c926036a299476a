//! Decides what the server does: jobs, tasks, dispatch, retries and watchdogs over a ledger of rows.

pub mod ledger;
