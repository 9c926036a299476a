//! What the cache decides: pure functions of what was found.
//!
//! Is there room for a file, who has to go for it, what does a failed use mean, may a directory be
//! trusted. Carried out in `room.rs` and `cache.rs`.

use ailurus_model::{ByteCount, ErrorCode};

use super::key::{Key, Stem};
use crate::{Cause, TransferError, TransferReport, checksum::ChecksumKind};

/// How much the cache may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Most bytes of all entries.
    pub(super) size_max: u64,
    /// Bytes that stay free on the file system.
    pub(super) free_min: u64,
    /// Most entries.
    pub(super) entries_max: usize,
}

/// What the cache holds, and how much its file system has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Occupancy {
    /// Bytes of complete entries.
    pub(super) stored: u64,
    /// Bytes that are promised to entries in the making.
    pub(super) promised: u64,
    /// Those of the promised bytes that are not on the disk yet.
    pub(super) unwritten: u64,
    /// Entries, complete and in the making.
    pub(super) n_entries: usize,
    /// Free bytes of the file system.
    pub(super) free: u64,
}

impl Occupancy {
    /// Returns what is left once a complete entry has gone. `freed` is what the file system gets
    /// back, in bytes: nothing if the data have another hard link.
    pub(super) const fn without(self, size: u64, freed: u64) -> Self {
        Self {
            stored: self.stored.saturating_sub(size),
            n_entries: self.n_entries.saturating_sub(1),
            free: self.free.saturating_add(freed),
            ..self
        }
    }
}

/// Says whether a file of `incoming` bytes can be taken in as things are.
pub(super) const fn has_room(incoming: u64, occupancy: &Occupancy, limits: &Limits) -> bool {
    let held = occupancy
        .stored
        .saturating_add(occupancy.promised)
        .saturating_add(incoming);
    held <= limits.size_max
        && occupancy.n_entries < limits.entries_max
        && has_free(incoming, occupancy, limits)
}

const fn has_free(incoming: u64, occupancy: &Occupancy, limits: &Limits) -> bool {
    let wanted = limits
        .free_min
        .saturating_add(occupancy.unwritten)
        .saturating_add(incoming);
    occupancy.free >= wanted
}

/// What entries are removed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// To take in a file of so many bytes.
    TakeIn(u64),
    /// Only to give the file system its minimum back: the file would not fit even then.
    GiveBack,
}

impl Goal {
    /// Chooses the goal. `removable` is the number and the bytes of entries that could go.
    pub(super) const fn choose(
        incoming: u64,
        occupancy: &Occupancy,
        removable: (usize, u64),
        limits: &Limits,
    ) -> Self {
        let emptied = Occupancy {
            n_entries: occupancy.n_entries.saturating_sub(removable.0),
            ..occupancy.without(removable.1, removable.1)
        };
        if has_room(incoming, &emptied, limits) {
            Self::TakeIn(incoming)
        } else {
            Self::GiveBack
        }
    }

    /// Says whether it is reached.
    pub(super) const fn is_reached(self, occupancy: &Occupancy, limits: &Limits) -> bool {
        match self {
            Self::TakeIn(incoming) => has_room(incoming, occupancy, limits),
            Self::GiveBack => has_free(0, occupancy, limits),
        }
    }
}

/// A complete entry that may have to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) stem: Stem,
    /// When it was used last, in nanoseconds since 1970, by the clock of the file system.
    pub(super) last_use: i128,
}

/// Puts those that go first to the front: the least recently used, of equal ones the larger.
pub(super) fn sort_for_removal(candidates: &mut [Candidate]) {
    candidates.sort_unstable_by_key(|it| (it.last_use, std::cmp::Reverse(it.stem.size), it.stem));
}

/// What a failed use of an entry means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The entry is damaged: it has to be fetched again.
    Damaged,
    /// The entry has gone meanwhile.
    Gone,
    /// The entry is not for this account.
    Closed,
    /// The job's side fails, or the job is given up: a fetch would end in the same way.
    OfTheJob,
}

/// Whether an error names the job's file or the entry's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The job's file, or a directory above it.
    Job,
    /// The cache's file.
    Entry,
}

/// Judges why an entry could not be given to a job.
pub(super) const fn judge_failure(cause: &Cause, side: Side) -> Failure {
    if matches!(cause, Cause::Stopped) || matches!(side, Side::Job) {
        return Failure::OfTheJob;
    }
    if matches!(cause, Cause::Missing) {
        return Failure::Gone;
    }
    if matches!(cause, Cause::NoPermission { .. }) {
        return Failure::Closed;
    }
    Failure::Damaged
}

/// Compares what a fetch reports with what was wanted.
pub(super) fn check_fetched(report: &TransferReport, key: &Key) -> Result<(), Cause> {
    if report.size != key.size() {
        return Err(Cause::SizeMismatch {
            expected: key.size(),
            found: report.size,
        });
    }
    let is_same_kind = ChecksumKind::of(&report.checksum) == ChecksumKind::of(key.checksum());
    // One of another kind says nothing: the entry is verified when it is used.
    if is_same_kind && &report.checksum != key.checksum() {
        return Err(Cause::ChecksumMismatch {
            expected: key.checksum().clone(),
            found: report.checksum.clone(),
        });
    }
    Ok(())
}

/// Says whether a fetch failed for the cache's own directory `shelf`, so that it may succeed without
/// the cache. At stage-in only this node can lack space.
pub(super) fn is_of_the_cache(error: &TransferError, shelf: &str) -> bool {
    let is_local = matches!(
        error.cause,
        Cause::NoPermission { .. } | Cause::NoDirectory(_) | Cause::BadPlace(_) | Cause::Io { .. }
    );
    error.code() == ErrorCode::NoLocalSpace || (is_local && error.place.starts_with(shelf))
}

/// Says on which side of a placement an error is. `target` is the job's file as text.
pub(super) fn side_of(error: &TransferError, target: &str) -> Side {
    let parent = target.rsplit_once('/').map_or("", |(parent, _)| parent);
    if error.place == target || (!parent.is_empty() && parent.starts_with(&error.place)) {
        Side::Job
    } else {
        Side::Entry
    }
}

/// Who may do what in the cache's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ownership {
    /// Permission bits of the directory that the configuration names.
    pub(super) dir_mode: u32,
    /// Its owner's id.
    pub(super) dir_owner: u32,
    /// This process's user id.
    pub(super) own_id: u32,
}

/// With whom the cache is shared, which decides about permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// With nobody: only this account's pilots use it.
    Account,
    /// With the members of the directory's group.
    Group,
}

impl Sharing {
    /// Judges a directory; none if everybody could put files in or take them out.
    pub(super) const fn judge(ownership: Ownership) -> Option<Self> {
        if ownership.dir_mode & 0o002 != 0 {
            return None;
        }
        if ownership.dir_mode & 0o020 != 0 {
            return Some(Self::Group);
        }
        // Another's directory that only they can write to is of no use, and fails by itself.
        if ownership.dir_owner == ownership.own_id || ownership.dir_owner == 0 {
            Some(Self::Account)
        } else {
            None
        }
    }

    /// Returns the permission bits of directories.
    pub(super) const fn dir_mode(self) -> u32 {
        match self {
            Self::Account => 0o700,
            // New files belong to the directory's group.
            Self::Group => 0o2770,
        }
    }

    /// Returns the permission bits of locks.
    pub(super) const fn lock_mode(self) -> u32 {
        match self {
            Self::Account => 0o600,
            Self::Group => 0o660,
        }
    }

    /// Returns the permission bits of data: nobody writes to them, not even through a hard link.
    pub(super) const fn data_mode(self) -> u32 {
        match self {
            Self::Account => 0o400,
            Self::Group => 0o440,
        }
    }
}

/// Returns limits from sizes.
pub(super) const fn limits(size_max: ByteCount, free_min: ByteCount, entries_max: usize) -> Limits {
    Limits {
        size_max: size_max.as_bytes(),
        free_min: free_min.as_bytes(),
        entries_max,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Direction, cache::key::tests::any_stem};

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (any_stem(0..1000), 0_i128..50);
        prop::collection::vec(
            one.prop_map(|(stem, last_use)| Candidate { stem, last_use }),
            0..40,
        )
    }

    fn held(candidates: &[Candidate], free: u64, promised: u64) -> Occupancy {
        Occupancy {
            stored: candidates.iter().map(|it| it.stem.size).sum(),
            promised,
            unwritten: promised / 2,
            n_entries: candidates.len(),
            free,
        }
    }

    /// Removes in order until the goal is reached, but for entries in use; returns who is left.
    fn remove_until(
        goal: Goal,
        mut occupancy: Occupancy,
        candidates: &[Candidate],
        in_use: &[bool],
        limits: &Limits,
    ) -> (Occupancy, Vec<Candidate>) {
        let mut left = Vec::new();
        for (candidate, in_use) in candidates.iter().zip(in_use) {
            if *in_use || goal.is_reached(&occupancy, limits) {
                left.push(*candidate);
            } else {
                occupancy = occupancy.without(candidate.stem.size, candidate.stem.size);
            }
        }
        (occupancy, left)
    }

    proptest! {
        #[test]
        fn a_file_that_is_taken_in_keeps_all_limits(
            mut candidates in candidates(),
            in_use in prop::collection::vec(any::<bool>(), 40),
            incoming in 0_u64..5000,
            size_max in 0_u64..20_000,
            free_min in 0_u64..5000,
            entries_max in 0_usize..50,
            free in 0_u64..20_000,
            promised in 0_u64..3000,
        ) {
            let limits = Limits { size_max, free_min, entries_max };
            sort_for_removal(&mut candidates);
            let before = held(&candidates, free, promised);
            let removable = (candidates.len(), before.stored);
            let goal = Goal::choose(incoming, &before, removable, &limits);
            let (after, left) = remove_until(goal, before, &candidates, &in_use, &limits);
            if has_room(incoming, &after, &limits) {
                prop_assert!(after.stored + promised + incoming <= size_max);
                prop_assert!(after.n_entries < entries_max);
                prop_assert!(after.free >= free_min + incoming + after.unwritten);
            } else {
                // Nothing is given up for a file that could never fit.
                prop_assert!(goal == Goal::GiveBack || in_use.iter().any(|it| *it));
                if goal == Goal::GiveBack && free >= free_min + before.unwritten {
                    prop_assert_eq!(left.len(), candidates.len());
                }
            }
        }

        #[test]
        fn no_entry_goes_while_an_older_unused_one_stays(
            mut candidates in candidates(),
            size_max in 0_u64..20_000,
        ) {
            let limits = Limits { size_max, free_min: 0, entries_max: usize::MAX };
            sort_for_removal(&mut candidates);
            let before = held(&candidates, u64::MAX, 0);
            let unused = vec![false; candidates.len()];
            let goal = Goal::TakeIn(0);
            let (after, left) = remove_until(goal, before, &candidates, &unused, &limits);
            let n_gone = candidates.len() - left.len();
            prop_assert_eq!(&left[..], &candidates[n_gone..]);
            prop_assert!(after.stored <= size_max);
            if let Some(last) = candidates[..n_gone].last() {
                prop_assert!(after.stored + last.stem.size > size_max, "one less would have done");
            }
        }

        #[test]
        fn no_sizes_make_a_judgement_panic(
            incoming: u64, stored: u64, promised: u64, unwritten: u64, free: u64, gone: u64,
            size_max: u64, free_min: u64, n_entries: usize, entries_max: usize,
        ) {
            let limits = Limits { size_max, free_min, entries_max };
            let occupancy = Occupancy { stored, promised, unwritten, n_entries, free };
            let goal = Goal::choose(incoming, &occupancy, (n_entries, gone), &limits);
            let _ = goal.is_reached(&occupancy.without(gone, gone), &limits);
        }
    }

    #[test]
    fn a_failed_use_is_told_from_a_damaged_entry() {
        let (job, entry) = (Side::Job, Side::Entry);
        let wrong = || Cause::SizeMismatch {
            expected: ByteCount::from_bytes(1),
            found: ByteCount::ZERO,
        };
        let closed = || Cause::NoPermission { action: "read" };
        assert_eq!(judge_failure(&wrong(), entry), Failure::Damaged);
        assert_eq!(judge_failure(&Cause::Missing, entry), Failure::Gone);
        assert_eq!(judge_failure(&closed(), entry), Failure::Closed);
        for (cause, side) in [
            (Cause::Stopped, entry),
            (Cause::NoSpace, job),
            (closed(), job),
        ] {
            assert_eq!(judge_failure(&cause, side), Failure::OfTheJob);
        }
    }

    #[test]
    fn an_error_about_the_target_or_its_directory_is_the_jobs() {
        let side = |place: &str| {
            let error = TransferError::new(Direction::StageIn, place, Cause::NoSpace);
            side_of(&error, "/job/in/file")
        };
        assert_eq!(side("/job/in/file"), Side::Job);
        assert_eq!(side("/job/in"), Side::Job);
        assert_eq!(side("/cache/file"), Side::Entry);
    }

    #[test]
    fn a_fetch_that_failed_for_the_cache_is_told_from_one_that_failed_for_the_storage() {
        let judge = |place: &str, cause| {
            let error = TransferError::new(Direction::StageIn, place, cause);
            is_of_the_cache(&error, "/cache/ailurus-1")
        };
        let closed = || Cause::NoPermission { action: "write" };
        assert!(judge("/cache/ailurus-1/x.part/y/data", closed()));
        assert!(judge("root://storage//file", Cause::NoSpace));
        assert!(!judge("/nfs/storage/file", closed()));
        assert!(!judge("/cache/ailurus-1/x.part/y/data", Cause::Missing));
    }

    #[test]
    fn a_directory_that_everybody_can_write_to_is_not_trusted() {
        let judge = |dir_mode, dir_owner| {
            Sharing::judge(Ownership {
                dir_mode,
                dir_owner,
                own_id: 7,
            })
        };
        assert_eq!(judge(0o700, 7), Some(Sharing::Account));
        assert_eq!(judge(0o2775, 8), Some(Sharing::Group));
        for (mode, owner) in [(0o1777, 0), (0o777, 7), (0o755, 8)] {
            assert_eq!(judge(mode, owner), None, "{mode:o} of {owner}");
        }
    }
}
