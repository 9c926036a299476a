//! The real binary on a free port of the loopback, spoken to as its clients do.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod crowds;
#[cfg(test)]
mod events;
#[cfg(test)]
mod explaining;
#[cfg(test)]
mod files;
#[cfg(test)]
mod fuzzing;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod harvester;
#[cfg(test)]
mod harvester_communicator;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod job_calls;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod monitoring;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod rucio;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod workflows;
