//! Several payloads on one node: what a job needs, what is left, and which cores it gets.

use std::num::NonZeroU32;

use ailurus_model::{ByteCount, Job};

use crate::{
    config::Slots,
    data::space::SpaceNeed,
    resource::{NodeFacts, hard_limits::HardLimits},
};

/// What a node has for jobs. Zero means that it is not known, and so no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capacity {
    /// Logical cores.
    pub cores: u32,
    /// GPUs.
    pub gpus: u32,
    /// Memory.
    pub memory: ByteCount,
    /// Free space where the pilot works, when it was last measured.
    pub disk: ByteCount,
}

impl Capacity {
    /// Returns what was measured, with as many cores as the pilot was told to use.
    #[must_use]
    pub fn of(facts: NodeFacts, slots: &Slots) -> Self {
        Self {
            cores: slots.cores.unwrap_or(facts.cores),
            gpus: facts.gpus,
            memory: facts.memory,
            disk: facts.free_space,
        }
    }
}

/// What a job takes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Logical cores, at least 1.
    pub cores: u32,
    /// Memory; zero if nobody said.
    pub memory: ByteCount,
    /// Scratch space; zero if nobody said.
    pub disk: ByteCount,
}

impl Need {
    /// Returns what a job says that it needs, and at least the space of its inputs.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        Self {
            cores: job.core_count.max(1),
            memory: job.memory,
            disk: SpaceNeed::of(job).total,
        }
    }
}

/// What a payload may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allotment {
    /// Counts the payloads that run side by side, from 0.
    pub slot: u32,
    /// The cores that it is bound to, as positions in the list of those that the pilot may use;
    /// none if it is bound to none.
    pub cores: Vec<u32>,
    /// The GPUs that it sees, by number; none if it sees what the pilot sees.
    pub gpus: Vec<u32>,
    /// What the kernel is asked to hold it to.
    pub hard_limits: HardLimits,
}

/// What is not yet taken of a node.
#[derive(Debug, Clone)]
pub struct Free<'a> {
    slots: &'a Slots,
    capacity: Capacity,
    slot_is_taken: Vec<bool>,
    core_is_taken: Vec<bool>,
    n_payloads: u32,
    cores: u32,
    memory: ByteCount,
    disk: ByteCount,
}

impl<'a> Free<'a> {
    /// Returns a node of which nothing is taken.
    #[must_use]
    pub fn all(slots: &'a Slots, capacity: Capacity) -> Self {
        Self {
            slots,
            capacity,
            slot_is_taken: vec![false; slots.payloads.get() as usize],
            core_is_taken: vec![false; capacity.cores as usize],
            n_payloads: 0,
            cores: 0,
            memory: ByteCount::ZERO,
            disk: ByteCount::ZERO,
        }
    }

    /// Takes what a payload that runs has.
    pub fn take(&mut self, need: Need, allotment: &Allotment) {
        let slot = self.slot_is_taken.get_mut(allotment.slot as usize);
        slot.into_iter().for_each(|is_taken| *is_taken = true);
        for core in &allotment.cores {
            let core = self.core_is_taken.get_mut(*core as usize);
            core.into_iter().for_each(|is_taken| *is_taken = true);
        }
        self.count(need);
    }

    /// Takes what a job will have that waits, if there is room for it.
    pub fn reserve(&mut self, need: Need) -> bool {
        let has_room = self.has_room(need);
        if has_room {
            self.count(need);
        }
        has_room
    }

    /// Returns what a payload may use, none if it has to wait.
    #[must_use]
    pub fn allot(&self, need: Need) -> Option<Allotment> {
        if !self.has_room(need) {
            return None;
        }
        // Other pilots may share the node with one that runs one payload at a time.
        if self.slots.payloads == NonZeroU32::MIN {
            return Some(Allotment::default());
        }
        let slot = self.slot_is_taken.iter().position(|is_taken| !is_taken)?;
        let slot = u32::try_from(slot).ok()?;
        let free = (0..self.capacity.cores).zip(&self.core_is_taken);
        let free = free.filter(|(_, is_taken)| !**is_taken);
        let wanted = self.cores_of(need) as usize;
        let cores = free.map(|(core, _)| core).take(wanted).collect();
        let gpus_each = self.capacity.gpus / self.slots.payloads;
        let gpus = (slot * gpus_each..(slot + 1) * gpus_each).collect();
        Some(Allotment {
            slot,
            cores,
            gpus,
            hard_limits: HardLimits::default(),
        })
    }

    /// Returns for how many further jobs there is room, if each needs one core.
    #[must_use]
    pub fn room(&self) -> u32 {
        let is_full = |left: Option<ByteCount>| left == Some(ByteCount::ZERO);
        if is_full(self.memory_left()) || is_full(self.disk_left()) {
            return 0;
        }
        let slots = self.slots.payloads.get().saturating_sub(self.n_payloads);
        match self.capacity.cores {
            0 => slots,
            cores => slots.min(cores.saturating_sub(self.cores)),
        }
    }

    /// Returns the cores that are left; none if it is not known how many there are.
    #[must_use]
    pub fn cores_left(&self) -> Option<u32> {
        (self.capacity.cores > 0).then(|| self.capacity.cores.saturating_sub(self.cores))
    }

    /// Returns the memory that is left; none if it is not known how much there is.
    #[must_use]
    pub fn memory_left(&self) -> Option<ByteCount> {
        left(self.capacity.memory, self.memory)
    }

    /// Returns the disk space that is left once each job has taken what it asked for; none if it is
    /// not known how much there is.
    #[must_use]
    pub fn disk_left(&self) -> Option<ByteCount> {
        left(self.capacity.disk, self.disk)
    }

    /// A job that is too large for the whole node gets all of it, but for itself.
    fn has_room(&self, need: Need) -> bool {
        if self.n_payloads == 0 {
            return true;
        }
        let has_slot = self.n_payloads < self.slots.payloads.get();
        let has_cores = self
            .cores_left()
            .is_none_or(|left| self.cores_of(need) <= left);
        let has_memory = self.memory_left().is_none_or(|left| need.memory <= left);
        let has_disk = self.disk_left().is_none_or(|left| need.disk <= left);
        has_slot && has_cores && has_memory && has_disk
    }

    fn cores_of(&self, need: Need) -> u32 {
        match self.capacity.cores {
            0 => need.cores,
            cores => need.cores.min(cores),
        }
    }

    fn count(&mut self, need: Need) {
        self.n_payloads += 1;
        self.cores = self.cores.saturating_add(self.cores_of(need));
        self.memory = self.memory.plus(need.memory);
        self.disk = self.disk.plus(need.disk);
    }
}

fn left(all: ByteCount, taken: ByteCount) -> Option<ByteCount> {
    (all != ByteCount::ZERO).then(|| all.minus(taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(payloads: u32) -> Slots {
        Slots {
            payloads: NonZeroU32::new(payloads).expect("not zero"),
            ..Slots::default()
        }
    }

    fn node(cores: u32, gib: u64) -> Capacity {
        Capacity {
            cores,
            memory: ByteCount::from_gib(gib),
            ..Capacity::default()
        }
    }

    fn need(cores: u32, gib: u64) -> Need {
        Need {
            cores,
            memory: ByteCount::from_gib(gib),
            disk: ByteCount::ZERO,
        }
    }

    #[test]
    fn a_single_slot_takes_any_job_but_only_one_and_binds_it_to_nothing() {
        let slots = slots(1);
        let mut free = Free::all(&slots, node(2, 4));
        assert_eq!(free.allot(need(64, 999)), Some(Allotment::default()));
        free.take(need(64, 999), &Allotment::default());
        assert_eq!(free.allot(need(1, 0)), None);
        assert_eq!(free.room(), 0);
    }

    #[test]
    fn payloads_get_cores_of_their_own_until_none_is_left() {
        let slots = slots(4);
        let mut free = Free::all(&slots, node(4, 16));
        let first = free.allot(need(2, 1)).expect("there is room");
        free.take(need(2, 1), &first);
        let second = free.allot(need(1, 1)).expect("there is room");
        free.take(need(1, 1), &second);
        assert_eq!((first.cores, second.cores), (vec![0, 1], vec![2]));
        assert_eq!((first.slot, second.slot), (0, 1));
        assert_eq!(free.allot(need(2, 1)), None, "one core is left");
        assert_eq!((free.room(), free.cores_left()), (1, Some(1)));
    }

    #[test]
    fn memory_is_shared_and_what_nobody_knows_limits_nothing() {
        let slots = slots(8);
        let mut free = Free::all(&slots, node(8, 4));
        free.take(need(1, 3), &Allotment::default());
        assert_eq!(free.allot(need(1, 2)), None);
        assert!(free.allot(need(1, 1)).is_some());
        let mut free = Free::all(&slots, node(0, 0));
        free.take(need(99, 3), &Allotment::default());
        assert!(free.allot(need(99, 99)).is_some());
        assert_eq!((free.room(), free.cores_left()), (7, None));
    }

    #[test]
    fn disk_space_that_jobs_asked_for_is_not_given_twice() {
        let slots = slots(8);
        let capacity = Capacity {
            disk: ByteCount::from_gib(10),
            ..node(8, 0)
        };
        let with_disk = |gib| Need {
            disk: ByteCount::from_gib(gib),
            ..need(1, 0)
        };
        let mut free = Free::all(&slots, capacity);
        free.take(with_disk(6), &Allotment::default());
        assert_eq!(free.allot(with_disk(5)), None);
        assert!(free.reserve(with_disk(4)));
        assert_eq!(free.disk_left(), Some(ByteCount::ZERO));
        assert_eq!(free.room(), 0, "no further job is asked for");
    }

    #[test]
    fn a_job_larger_than_the_node_has_it_for_itself() {
        let slots = slots(4);
        let mut free = Free::all(&slots, node(2, 4));
        let all = free.allot(need(16, 64)).expect("nothing else runs");
        assert_eq!(all.cores, [0, 1]);
        free.take(need(16, 64), &all);
        assert_eq!(free.room(), 0);
        assert!(!free.reserve(need(1, 0)));
    }

    #[test]
    fn gpus_are_shared_out_evenly() {
        let slots = slots(2);
        let capacity = Capacity {
            gpus: 5,
            ..node(8, 8)
        };
        let mut free = Free::all(&slots, capacity);
        let first = free.allot(need(1, 0)).expect("there is room");
        free.take(need(1, 0), &first);
        let second = free.allot(need(1, 0)).expect("there is room");
        assert_eq!((first.gpus, second.gpus), (vec![0, 1], vec![2, 3]));
    }
}
