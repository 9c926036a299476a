//! The store from outside: every ledger keeps its contract, and nothing acknowledged is lost.

mod contract;
mod migration;
mod rows;
mod writer;
