//! The store from outside: every ledger keeps its contract, and nothing acknowledged is lost.

#[cfg(test)]
mod brokerage;
mod cache_files;
mod contract;
#[cfg(test)]
mod harvesters;
#[cfg(test)]
mod migration;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod writer;
