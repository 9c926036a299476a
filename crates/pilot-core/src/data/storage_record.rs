//! What a pilot has seen of storages: how fast they are, and which of them fail now.
//!
//! One small record for all jobs of a pilot. It only changes the order of tries, never what is
//! tried at all: a storage that failed is tried last, and is forgiven after a while.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::{ByteCount, EndpointName, Lfn, Timestamp};
use serde::{Deserialize, Serialize};

use super::{FailureKind, Try};

/// Storages that are remembered; of more, those that were used longest ago are forgotten.
const STORAGES_MAX: usize = 64;
/// Failures in a row after which a storage is tried last.
const FAILURES_IN_A_ROW: u32 = 2;
/// Time after which failures are forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_secs(900);
/// Smaller files say more about the latency than about the speed.
const MEASURED_FROM: ByteCount = ByteCount::from_mib(4);
/// How much of the speed seen so far stays, in eighths.
const SPEED_KEPT_EIGHTHS: u64 = 5;

/// One try that is over, as it counts for later ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Scheme and server, or scheme and endpoint where there is no server.
    server: String,
    /// Bytes that were moved.
    size: ByteCount,
    /// How long that took.
    duration: Duration,
    /// Why it failed, if it did.
    failure: Option<FailureKind>,
}

impl Move {
    /// Notes how a try went.
    #[must_use]
    pub fn new(
        way: &Try,
        size: ByteCount,
        duration: Duration,
        failure: Option<FailureKind>,
    ) -> Self {
        Self {
            server: server_of(way),
            size,
            duration,
            failure,
        }
    }
}

/// What a storage is remembered by.
fn server_of(way: &Try) -> String {
    let server = match way.host() {
        "" => way.endpoint.as_str(),
        host => host,
    };
    format!("{}://{server}", way.scheme())
}

/// What a stage-in or stage-out has shown, whether it succeeded or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransfersSeen {
    /// Every try.
    pub moves: Vec<Move>,
    /// Replicas that are not what the catalogue says.
    pub bad: Vec<BadFile>,
}

/// A replica that is not what the catalogue says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFile {
    /// The file.
    pub lfn: Lfn,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// What was found, with the URL.
    pub found: String,
}

impl std::fmt::Display for BadFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            lfn,
            endpoint,
            found,
        } = self;
        write!(f, "bad replica of `{lfn}` at `{endpoint}`: {found}")
    }
}

/// What was seen of one storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    failures_in_a_row: u32,
    last_use: Timestamp,
    /// Mean speed in bytes a second; zero if it was not measured.
    speed: u64,
}

/// What a pilot has seen of storages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StorageRecord {
    tallies: BTreeMap<String, Tally>,
}

impl StorageRecord {
    /// Takes in how a try went.
    pub fn note(&mut self, now: Timestamp, seen: &Move) {
        let unseen = Tally {
            failures_in_a_row: 0,
            last_use: now,
            speed: 0,
        };
        let tally = self.tallies.entry(seen.server.clone()).or_insert(unseen);
        tally.last_use = now;
        match seen.failure {
            None => {
                tally.failures_in_a_row = 0;
                if let Some(speed) = measured(seen) {
                    let kept = tally.speed.saturating_mul(SPEED_KEPT_EIGHTHS);
                    let new = speed.saturating_mul(8 - SPEED_KEPT_EIGHTHS);
                    tally.speed = match tally.speed {
                        0 => speed,
                        _ => kept.saturating_add(new) / 8,
                    };
                }
            }
            Some(kind) if is_of_storage(kind) => {
                tally.failures_in_a_row = tally.failures_in_a_row.saturating_add(1);
            }
            Some(_) => {}
        }
        self.forget();
    }

    /// Says whether a storage fails now.
    #[must_use]
    pub fn is_failing(&self, now: Timestamp, way: &Try) -> bool {
        self.tallies.get(&server_of(way)).is_some_and(|tally| {
            tally.failures_in_a_row >= FAILURES_IN_A_ROW
                && now.since(tally.last_use) < FORGIVEN_AFTER
        })
    }

    /// Returns how fast a storage was, in bytes a second, if that was measured.
    #[must_use]
    pub fn speed(&self, way: &Try) -> Option<u64> {
        let tally = self.tallies.get(&server_of(way))?;
        (tally.speed > 0).then_some(tally.speed)
    }

    fn forget(&mut self) {
        while self.tallies.len() > STORAGES_MAX {
            let oldest = self.tallies.iter().min_by_key(|(_, tally)| tally.last_use);
            let Some(oldest) = oldest.map(|(server, _)| server.clone()) else {
                return;
            };
            self.tallies.remove(&oldest);
        }
    }
}

/// The speed of a try, if it is large enough to say something.
fn measured(seen: &Move) -> Option<u64> {
    let millis = u64::try_from(seen.duration.as_millis()).ok()?.max(1);
    let speed = seen.size.as_bytes().saturating_mul(1000) / millis;
    (seen.size >= MEASURED_FROM && speed > 0).then_some(speed)
}

/// Says whether a failure is the storage's as a whole, and not one file's or the node's.
const fn is_of_storage(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Broken
        | FailureKind::Busy { .. }
        | FailureKind::Denied
        | FailureKind::Unreachable
        | FailureKind::TimedOut
        | FailureKind::NoRemoteSpace
        | FailureKind::ToolMissing
        | FailureKind::Other => true,
        FailureKind::Missing
        | FailureKind::Refused
        | FailureKind::Mismatch
        | FailureKind::BadAtOrigin
        | FailureKind::NoLocalSpace
        | FailureKind::Stopped => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn way(url: &str) -> Try {
        Try::in_directory(url.to_owned())
    }

    fn seen(url: &str, failure: Option<FailureKind>) -> Move {
        Move::new(
            &way(url),
            ByteCount::from_mib(100),
            Duration::from_secs(1),
            failure,
        )
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).after(Duration::from_secs(secs))
    }

    #[test]
    fn a_storage_that_fails_twice_is_failing_until_it_works_or_is_forgiven() {
        let (mut record, it) = (StorageRecord::default(), way("root://h//f"));
        let fails = Some(FailureKind::Unreachable);
        record.note(at(0), &seen("root://h//a", fails));
        assert!(!record.is_failing(at(0), &it));
        record.note(at(1), &seen("root://h//b", fails));
        assert!(record.is_failing(at(1), &it));
        assert!(
            !record.is_failing(at(1), &way("davs://h/f")),
            "another door"
        );
        assert!(!record.is_failing(at(901), &it), "forgiven");
        record.note(at(2), &seen("root://h//c", None));
        assert!(!record.is_failing(at(2), &it));
    }

    #[test]
    fn what_is_one_files_fault_or_the_nodes_is_not_the_storages() {
        let mut record = StorageRecord::default();
        for kind in [
            FailureKind::Mismatch,
            FailureKind::NoLocalSpace,
            FailureKind::Stopped,
        ] {
            for second in 0..5 {
                record.note(at(second), &seen("root://h//a", Some(kind)));
            }
        }
        assert!(!record.is_failing(at(5), &way("root://h//f")));
    }

    #[test]
    fn speed_is_a_mean_that_follows_and_small_files_say_nothing() {
        let (mut record, it) = (StorageRecord::default(), way("root://h//f"));
        let small = Move::new(&it, ByteCount::from_kib(1), Duration::from_secs(9), None);
        record.note(at(0), &small);
        assert_eq!(record.speed(&it), None);
        record.note(at(0), &seen("root://h//a", None));
        let first = record.speed(&it).expect("measured");
        assert_eq!(first, 100 << 20);
        let slow = Move::new(
            &it,
            ByteCount::from_mib(100),
            Duration::from_secs(100),
            None,
        );
        record.note(at(1), &slow);
        let then = record.speed(&it).expect("measured");
        assert!(then < first && then > first / 2, "{then}");
    }

    #[test]
    fn a_record_survives_being_written() {
        let mut record = StorageRecord::default();
        record.note(at(0), &seen("root://h//a", None));
        let text = serde_json::to_string(&record).expect("JSON");
        assert_eq!(
            serde_json::from_str::<StorageRecord>(&text).expect("the same"),
            record
        );
    }

    proptest! {
        #[test]
        fn a_record_stays_small(hosts in prop::collection::vec(0_u16..500, 0..300)) {
            let mut record = StorageRecord::default();
            for (second, host) in (0..).zip(hosts) {
                record.note(at(second), &seen(&format!("root://h{host}//f"), None));
            }
            prop_assert!(record.tallies.len() <= STORAGES_MAX);
        }
    }
}
