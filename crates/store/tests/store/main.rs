//! The store from outside: every ledger keeps its contract, and nothing acknowledged is lost.

#[cfg(test)]
mod archive;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod brokerage;
#[cfg(test)]
mod cache_files;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod events;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod harvesters;
#[cfg(test)]
mod migration;
#[cfg(test)]
mod postgresql;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod surroundings;
#[cfg(test)]
mod task_stories;
#[cfg(test)]
mod workflows;
#[cfg(test)]
mod writer;
