//! When no further jobs of a kind are made, and which task is next to get some.
//!
//! Pure functions: generation of jobs calls them. A task that is throttled is looked at again later.
//!
//! Sources: PanDA server, `pandajedi/jedithrottle/`, keys `NQUEUELIMIT_*`, `NRUNNINGCAP_*` and
//! `NQUEUECAP_*`; `pandajedi/jediorder/JobGenerator.py` for the order.

use std::collections::BTreeMap;

use ailurus_model::TaskId;

/// From which priority on tasks stand in a line of their own.
const SUPER_HIGH_PRIORITY: i64 = 1500;
/// Percent of picks for which that line comes first.
const SUPER_HIGH_PERCENT: u64 = 30;
/// What stands for all shares, or all resource classes.
const ALL: &str = "*";

/// Caps on jobs of a share and a resource class.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ThrottleRules {
    /// Caps by share and resource class; `*` stands for all that are not named.
    pub caps: BTreeMap<(String, String), ThrottleCap>,
}

/// Caps on jobs of one share and resource class. What is not stated is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThrottleCap {
    /// Jobs that may wait in any case (`NQUEUELIMIT`), if waiting is limited by what runs.
    pub queued_least: Option<u64>,
    /// Jobs that may wait for a hundred that run, beyond `queued_least`.
    pub queued_per_100_running: u64,
    /// Jobs that may wait whatever runs (`NQUEUECAP`).
    pub queued_max: Option<u64>,
    /// Jobs that may run (`NRUNNINGCAP`).
    pub running_max: Option<u64>,
    /// From which priority on tasks are not throttled.
    pub exempt_priority: Option<i64>,
}

/// Jobs of a share and a resource class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShareLoad {
    /// Jobs that wait.
    pub queued: u64,
    /// Jobs that pilots have.
    pub running: u64,
}

/// Why no further jobs are made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("share `{share}` has {has} {what} jobs of class `{resource_type}`, {limit} may be")]
pub struct Throttled {
    /// The share.
    pub share: String,
    /// The resource class.
    pub resource_type: String,
    /// `waiting` or `running`.
    pub what: &'static str,
    /// Such jobs.
    pub has: u64,
    /// How many may be.
    pub limit: u64,
}

impl ThrottleRules {
    /// Says why no further jobs are to be made, none if some may.
    #[must_use]
    pub fn throttled(
        &self,
        share: &str,
        resource_type: &str,
        priority: i64,
        load: ShareLoad,
    ) -> Option<Throttled> {
        let cap = self.cap_of(share, resource_type)?;
        if cap.exempt_priority.is_some_and(|from| priority >= from) {
            return None;
        }
        let by_running = cap.queued_least.map(|least| {
            let more = load.running.saturating_mul(cap.queued_per_100_running) / 100;
            least.max(more)
        });
        let queued_max = [by_running, cap.queued_max].into_iter().flatten().min();
        [
            ("waiting", load.queued, queued_max),
            ("running", load.running, cap.running_max),
        ]
        .into_iter()
        .find_map(|(what, has, limit)| {
            let limit = limit.filter(|limit| has >= *limit)?;
            Some(Throttled {
                share: share.to_owned(),
                resource_type: resource_type.to_owned(),
                what,
                has,
                limit,
            })
        })
    }

    /// The most exact cap: share and class, share, class, all.
    fn cap_of(&self, share: &str, resource_type: &str) -> Option<&ThrottleCap> {
        [
            (share, resource_type),
            (share, ALL),
            (ALL, resource_type),
            (ALL, ALL),
        ]
        .into_iter()
        .find_map(|(share, class)| self.caps.get(&(share.to_owned(), class.to_owned())))
    }
}

/// A task that could get further jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskInLine {
    /// The task.
    pub id: TaskId,
    /// Its user.
    pub user: String,
    /// Larger runs earlier.
    pub priority: i64,
    /// Whether only its outputs are left to be merged.
    pub is_merging: bool,
}

/// Orders tasks so that users take turns: each user's best task, then each user's second, and so
/// on. Tasks of very high priority stand in a line of their own, which comes first now and then.
/// `seed` decides whose turn is first; the same seed gives the same order.
#[must_use]
pub fn round_robin(mut tasks: Vec<TaskInLine>, seed: u64) -> Vec<TaskId> {
    // The best last, so that they can be popped.
    tasks.sort_by_key(|task| (task.is_merging, task.priority, std::cmp::Reverse(task.id)));
    let mut special = Vec::new();
    let mut by_user: BTreeMap<String, Vec<TaskInLine>> = BTreeMap::new();
    for task in tasks {
        if task.priority >= SUPER_HIGH_PRIORITY {
            special.push(task);
        } else {
            by_user.entry(task.user.clone()).or_default().push(task);
        }
    }
    let mut dice = Dice(seed);
    let mut lines: Vec<Vec<TaskInLine>> = by_user.into_values().collect();
    dice.shuffle(&mut lines);
    dice.shuffle(&mut special);
    let mut order = Vec::new();
    while !lines.is_empty() {
        for line in &mut lines {
            if dice.below(100) < SUPER_HIGH_PERCENT {
                order.extend(special.pop());
            }
            order.extend(line.pop());
        }
        lines.retain(|line| !line.is_empty());
    }
    order.extend(special.into_iter().rev());
    order.into_iter().map(|task| task.id).collect()
}

/// Numbers that look random and follow from a seed (`SplitMix64`).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % n.max(1)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let range = u64::try_from(last + 1).expect("a length fits into 64 bits");
            let other = usize::try_from(self.below(range)).expect("below a length");
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(share: &str, class: &str, cap: ThrottleCap) -> ThrottleRules {
        ThrottleRules {
            caps: BTreeMap::from([((share.to_owned(), class.to_owned()), cap)]),
        }
    }

    #[test]
    fn nothing_is_throttled_without_caps() {
        let load = ShareLoad {
            queued: u64::MAX,
            running: 0,
        };
        assert_eq!(
            ThrottleRules::default().throttled("A", "SCORE", 0, load),
            None
        );
    }

    #[test]
    fn waiting_jobs_are_limited_by_those_that_run_and_absolutely() {
        let rules = rules(
            "*",
            "SCORE",
            ThrottleCap {
                queued_least: Some(20),
                queued_per_100_running: 200,
                queued_max: Some(100),
                running_max: Some(1000),
                exempt_priority: Some(900),
            },
        );
        let at = |queued, running, priority| {
            let load = ShareLoad { queued, running };
            rules
                .throttled("A", "SCORE", priority, load)
                .map_or_else(String::new, |why| why.to_string())
        };
        assert_eq!(at(19, 0, 0), "");
        assert_eq!(
            at(20, 0, 0),
            "share `A` has 20 waiting jobs of class `SCORE`, 20 may be"
        );
        assert_eq!(at(20, 11, 0), "");
        assert_eq!(at(99, 60, 0), "");
        assert!(at(100, 60, 0).contains("100 may be"));
        assert!(at(0, 1000, 0).contains("running"));
        assert_eq!(at(100, 1000, 900), "");
    }

    #[test]
    fn the_most_exact_cap_counts() {
        let cap = |queued_max| ThrottleCap {
            queued_max: Some(queued_max),
            ..ThrottleCap::default()
        };
        let mut rules = rules("*", "*", cap(1));
        rules.caps.insert(("A".into(), "*".into()), cap(2));
        rules.caps.insert(("A".into(), "MCORE".into()), cap(3));
        let limit = |share, class| {
            let load = ShareLoad {
                queued: 9,
                running: 0,
            };
            rules.throttled(share, class, 0, load).unwrap().limit
        };
        assert_eq!(limit("A", "MCORE"), 3);
        assert_eq!(limit("A", "SCORE"), 2);
        assert_eq!(limit("B", "SCORE"), 1);
    }

    #[test]
    fn users_take_turns_and_the_best_task_of_each_is_first() {
        let task = |id, user: &str, priority, is_merging| TaskInLine {
            id: TaskId::new(id),
            user: user.to_owned(),
            priority,
            is_merging,
        };
        let tasks = vec![
            task(1, "a", 100, false),
            task(2, "a", 300, false),
            task(3, "a", 200, true),
            task(4, "b", 100, false),
        ];
        for seed in 0..20 {
            let order = round_robin(tasks.clone(), seed);
            let first: Vec<u64> = order.iter().take(2).map(|id| id.value()).collect();
            assert!(first == [3, 4] || first == [4, 3], "{first:?}");
            assert_eq!(order.len(), 4);
            assert_eq!(order, round_robin(tasks.clone(), seed));
        }
    }

    #[test]
    fn very_important_tasks_are_first_now_and_then_and_never_lost() {
        let tasks: Vec<TaskInLine> = (1..=20)
            .map(|id| TaskInLine {
                id: TaskId::new(id),
                user: format!("u{id}"),
                priority: if id == 20 { 1500 } else { 100 },
                is_merging: false,
            })
            .collect();
        let places: Vec<usize> = (0..100)
            .map(|seed| {
                let order = round_robin(tasks.clone(), seed);
                assert_eq!(order.len(), 20);
                order.iter().position(|id| id.value() == 20).unwrap()
            })
            .collect();
        let first = places.iter().filter(|place| **place == 0).count();
        assert!((15..50).contains(&first), "{first} of 100");
    }
}
