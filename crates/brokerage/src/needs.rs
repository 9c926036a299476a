//! What brokerage must know of a job, and of jobs that are alike.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{ByteCount, EndpointName, Queue, QueueName, SourceLabel};

use crate::{filter::refusal_of_place, pattern::NamePatterns};

/// What a job needs. Jobs with equal needs are judged together.
#[derive(Debug, Clone)]
pub struct JobNeeds<'a> {
    /// Production, analysis, test.
    pub source_label: &'a SourceLabel,
    /// What kind of processing it is.
    pub processing_type: &'a str,
    /// The group for which it is done, empty if none.
    pub working_group: &'a str,
    /// The leaf of global shares that it counts for.
    pub share: &'a str,
    /// PanDA's class of its cores and memory.
    pub resource_type: &'a str,
    /// Larger runs earlier.
    pub priority: i64,
    /// Cores, at least 1.
    pub cores: u32,
    /// Memory for the whole job; zero means not stated.
    pub memory: ByteCount,
    /// Scratch space; zero means not stated.
    pub disk: ByteCount,
    /// Wall time; zero means not stated.
    pub walltime: Duration,
    /// Disk I/O in kB/s and core; zero means not stated.
    pub disk_io: u64,
    /// I/O intensity in kB/s; zero means not stated.
    pub io_intensity: u64,
    /// Where it may run.
    pub place: PlaceWish<'a>,
    /// What it must find there.
    pub software: SoftwareWish<'a>,
    /// How its payload reaches the network.
    pub network: NetworkWish<'a>,
    /// Where its outputs are collected, and how much that counts.
    pub nucleus: NucleusWish<'a>,
    /// Whether queues that read through a virtual placement are left out.
    pub avoids_virtual_placement: bool,
    /// Whether it measures what the others of its task need.
    pub is_scout: bool,
    /// Where its inputs lie: files with the same replicas stand together under all of their
    /// endpoints, in rising order; none where no place is known.
    pub inputs: &'a BTreeMap<Vec<EndpointName>, StoredInputs>,
    /// All of its inputs together, each counted once.
    pub input: StoredInputs,
    /// The sample that it has in common with others, if it has one.
    pub mixture: Option<Mixture<'a>>,
    /// Queues that ran the jobs which wrote its inputs.
    pub chain: &'a [QueueName],
    /// Queues where an earlier attempt failed for a reason that may lie in the place.
    pub banned: &'a [QueueName],
}

/// Where a job may run, in the words of its task.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlaceWish<'a> {
    /// Queues that are named; none means all.
    pub queues: &'a [QueueName],
    /// The region, empty for any.
    pub cloud: &'a str,
    /// The site (`PandaSite`), empty for any.
    pub site: &'a str,
    /// Patterns that name queues as `queues` does, unless there is none.
    pub named: Option<&'a NamePatterns>,
    /// Queues must match one of these, unless there is none.
    pub included: Option<&'a NamePatterns>,
    /// Queues must match none of these.
    pub excluded: Option<&'a NamePatterns>,
}

impl PlaceWish<'_> {
    /// Says whether a queue is meant, whatever it offers.
    #[must_use]
    pub fn allows(&self, queue: &Queue) -> bool {
        refusal_of_place(self, queue).is_none()
    }
}

/// What a job must find on the nodes.
#[derive(Debug, Clone, Copy, Default)]
pub struct SoftwareWish<'a> {
    /// Software release, empty if none.
    pub release: &'a str,
    /// Container image, empty if none.
    pub container: &'a str,
    /// PanDA's architecture string, empty if none; see [`crate::architecture`].
    pub architecture: &'a str,
}

/// How a payload reaches the network (`ipConnectivity`); empty texts ask for nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NetworkWish<'a> {
    /// `full`, or `http` for a proxy.
    pub access: &'a str,
    /// `IPv4` or `IPv6`.
    pub stack: &'a str,
}

/// Where outputs are collected.
#[derive(Debug, Clone, Copy, Default)]
pub struct NucleusWish<'a> {
    /// The site, empty if none is said.
    pub site: &'a str,
    /// What its queues weigh more than others (`t1Weight`); below zero, only they are taken; zero
    /// leaves it to the policy.
    pub weight: i64,
}

impl NucleusWish<'_> {
    /// Says whether a queue is of the nucleus.
    #[must_use]
    pub fn has(&self, queue: &Queue) -> bool {
        !self.site.is_empty() && self.site == queue.site
    }
}

/// How much of a job's input is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct StoredInputs {
    /// Files.
    pub files: u64,
    /// Their sizes together, as far as they are known.
    pub size: ByteCount,
}

impl StoredInputs {
    /// Adds one file.
    pub fn add(&mut self, size: Option<ByteCount>) {
        self.files = self.files.saturating_add(1);
        self.size = self.size.plus(size.unwrap_or_default());
    }
}

/// A sample that many jobs read besides their own input (see [`crate::weight::Factor::Mixture`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mixture<'a> {
    /// The name of the sample.
    pub sample: &'a str,
    /// Its size, zero if it is not known.
    pub size: ByteCount,
}
