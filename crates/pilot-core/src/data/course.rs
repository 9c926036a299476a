//! The course of one file: which try follows which outcome.
//!
//! A [`Course`] goes through the tries of a plan and answers each outcome with what is to be done
//! next. It moves nothing and waits for nothing: the engine of transfers asks it.
//!
//! ```text
//!            ┌──────────── Try / TryAfter / RenewCredential ───────────┐
//!            ▼                                                         │
//!   begin ─► under way ── failed ──► places left? ── yes ──────────────┘
//!                │                        └── no, or a cause of this node ──► GiveUp
//!                └── moved ──► Done
//! ```
//!
//! It ends after at most `tries_each + resumes_each + 1` tries with each place; each place is tried
//! before it gives up, unless the cause is the node's own.

use std::time::Duration;

use ailurus_model::{ByteCount, ErrorCode, Lfn, Moment};
use serde::{Deserialize, Serialize};

use super::{
    place::Direction,
    tries::{Rank, Try},
};
use crate::{Problem, control::random::Random, problem::cut, recovery::Backoff};

/// How often and how long a file is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CourseLimits {
    /// Tries with one place from the beginning of the file, at least 1.
    pub tries_each: u32,
    /// Tries with one place that go on where the one before broke.
    pub resumes_each: u32,
    /// Pauses before a place is tried again.
    pub pauses: Backoff,
    /// The longest time that a storage may ask to be left alone for.
    pub retry_after_max: Duration,
    /// No place is tried again later than this after the beginning.
    pub patience: Duration,
}

impl Default for CourseLimits {
    fn default() -> Self {
        Self {
            tries_each: 3,
            resumes_each: 8,
            pauses: Backoff {
                first: Duration::from_secs(1),
                last: Duration::from_secs(60),
            },
            retry_after_max: Duration::from_secs(600),
            patience: Duration::from_secs(7200),
        }
    }
}

/// Why a try failed, as far as it matters for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// There is no such file at the source.
    Missing,
    /// The file there has another size or checksum, or is damaged.
    Mismatch,
    /// The file is damaged, and was so when it was registered: so are all its replicas.
    BadAtOrigin,
    /// The connection broke in the middle.
    Broken,
    /// The storage asks to be left alone for a while.
    Busy {
        /// For how long, if it says so.
        retry_after: Option<Duration>,
    },
    /// The credential was not accepted.
    Denied,
    /// Nobody answers there.
    Unreachable,
    /// It stalled.
    TimedOut,
    /// The node's disk is full.
    NoLocalSpace,
    /// The storage is full.
    NoRemoteSpace,
    /// It says no, and would say so again: a permission, a name that cannot be.
    Refused,
    /// The program or its set-up is not on this node.
    ToolMissing,
    /// The pilot was told to stop.
    Stopped,
    /// Anything else.
    Other,
}

/// A try that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub kind: FailureKind,
    /// Code and words, without secrets.
    pub problem: Problem,
    /// Bytes from the file's beginning that are safe and need not be moved again.
    pub kept: ByteCount,
}

/// Where a try begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// At the beginning of the file.
    FromStart,
    /// Where the try before broke, if the tool can.
    Continue,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Try this one at once.
    Try {
        /// Its place in the plan.
        index: usize,
        /// Where it begins.
        resume: Resume,
    },
    /// Try this one after a pause.
    TryAfter {
        /// The pause.
        pause: Duration,
        /// Its place in the plan.
        index: usize,
        /// Where it begins.
        resume: Resume,
    },
    /// Renew token or proxy, whether that works or not, then try this one.
    RenewCredential {
        /// Its place in the plan.
        index: usize,
    },
    /// The file cannot be moved.
    GiveUp(Problem),
    /// The file is moved.
    Done,
}

/// A replica that is not what the catalogue says, to be reported where people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadReplica {
    /// Its place in the plan.
    pub index: usize,
    /// [`FailureKind::Missing`] or [`FailureKind::Mismatch`].
    pub kind: FailureKind,
    /// What was found.
    pub problem: Problem,
}

/// One place on the course.
#[derive(Debug, Clone)]
struct Place {
    /// What people see of it.
    label: String,
    rank: Rank,
    is_open: bool,
    /// Tries from the beginning.
    tries: u32,
    resumes: u32,
    /// It is not to be tried before this.
    not_before: Moment,
    /// The first failure here.
    first: Option<Failure>,
}

/// The course of one file.
#[derive(Debug, Clone)]
pub struct Course {
    lfn: Lfn,
    direction: Direction,
    limits: CourseLimits,
    places: Vec<Place>,
    /// The one that is tried now.
    at: usize,
    began: Moment,
    /// How much the last broken try left.
    kept: ByteCount,
    has_renewed: bool,
    /// In the order in which they came.
    failures: Vec<(usize, Failure)>,
    random: Random,
}

/// Longest text of one failure in the final problem, in bytes.
const FAILURE_TEXT_MAX: usize = 160;
/// Places whose failures the final problem tells.
const PLACES_TOLD_MAX: usize = 4;

impl Course {
    /// Makes the course of a file. `seed` spreads the pauses.
    #[must_use]
    pub fn new(
        lfn: Lfn,
        direction: Direction,
        tries: &[Try],
        limits: CourseLimits,
        seed: [u8; 16],
    ) -> Self {
        let place = |it: &Try| Place {
            label: if it.endpoint.is_empty() {
                it.place()
            } else {
                it.endpoint.to_string()
            },
            rank: it.rank,
            is_open: true,
            tries: 0,
            resumes: 0,
            not_before: Moment::START,
            first: None,
        };
        Self {
            lfn,
            direction,
            limits,
            places: tries.iter().map(place).collect(),
            at: 0,
            began: Moment::START,
            kept: ByteCount::ZERO,
            has_renewed: false,
            failures: Vec::new(),
            random: Random::new(seed),
        }
    }

    /// Begins: says what is tried first.
    pub fn begin(&mut self, now: Moment) -> Next {
        self.began = now;
        self.choose(now)
    }

    /// Takes how a try ended.
    pub fn on_outcome(&mut self, now: Moment, outcome: Result<(), Failure>) -> Next {
        let Err(failure) = outcome else {
            return Next::Done;
        };
        if self.places.is_empty() {
            return Next::GiveUp(self.no_place());
        }
        let at = self.at;
        let kind = failure.kind;
        let is_local = self.is_local(&failure);
        let kept = failure.kept;
        self.places[at].first.get_or_insert_with(|| failure.clone());
        self.failures.push((at, failure));
        if is_local {
            return Next::GiveUp(self.problem());
        }
        match kind {
            FailureKind::Broken if self.may_resume(kept) => self.resume(now, kept),
            FailureKind::Denied if !self.has_renewed => {
                self.has_renewed = true;
                Next::RenewCredential { index: at }
            }
            FailureKind::Missing
            | FailureKind::Mismatch
            | FailureKind::Denied
            | FailureKind::NoRemoteSpace
            | FailureKind::Refused
            | FailureKind::ToolMissing => {
                self.places[at].is_open = false;
                self.choose(now)
            }
            FailureKind::Busy { retry_after } => {
                self.postpone(now, retry_after);
                self.choose(now)
            }
            FailureKind::Broken
            | FailureKind::Unreachable
            | FailureKind::TimedOut
            | FailureKind::Other => {
                self.postpone(now, None);
                self.choose(now)
            }
            FailureKind::NoLocalSpace | FailureKind::BadAtOrigin | FailureKind::Stopped => {
                Next::GiveUp(self.problem())
            }
        }
    }

    /// Returns the replicas that were found to be missing or damaged, each once.
    #[must_use]
    pub fn bad_replicas(&self) -> Vec<BadReplica> {
        let is_bad =
            |kind: FailureKind| matches!(kind, FailureKind::Missing | FailureKind::Mismatch);
        let bad = self.failures.iter().filter(|(_, it)| is_bad(it.kind));
        bad.map(|(index, failure)| BadReplica {
            index: *index,
            kind: failure.kind,
            problem: failure.problem.clone(),
        })
        .collect()
    }

    /// Says whether no other place can help: the cause lies on this node, or in the file itself.
    fn is_local(&self, failure: &Failure) -> bool {
        let is_own_file =
            failure.kind == FailureKind::Missing && self.direction == Direction::Write;
        is_own_file
            || matches!(
                failure.kind,
                FailureKind::NoLocalSpace | FailureKind::BadAtOrigin | FailureKind::Stopped
            )
    }

    /// A broken try is worth going on with as long as each leaves more than the one before.
    fn may_resume(&self, kept: ByteCount) -> bool {
        self.places[self.at].resumes < self.limits.resumes_each && kept > self.kept
    }

    fn resume(&mut self, now: Moment, kept: ByteCount) -> Next {
        self.kept = kept;
        let place = &mut self.places[self.at];
        place.resumes += 1;
        let pause = self.limits.pauses.pause(place.resumes, &mut self.random);
        place.not_before = now.after(pause);
        Next::TryAfter {
            pause,
            index: self.at,
            resume: Resume::Continue,
        }
    }

    /// Lets a place rest, or leaves it for good if it was tried often enough.
    fn postpone(&mut self, now: Moment, retry_after: Option<Duration>) {
        let place = &mut self.places[self.at];
        let pause = self.limits.pauses.pause(place.tries, &mut self.random);
        let wanted = retry_after
            .unwrap_or_default()
            .min(self.limits.retry_after_max);
        place.not_before = now.after(pause.max(wanted));
        let is_late = place.not_before.since(self.began) > self.limits.patience;
        place.is_open = place.tries < self.limits.tries_each && !is_late;
    }

    /// Chooses the next place: one that was not tried yet, else the one that rests shortest. The
    /// alternative ones come once nothing is left of the first.
    fn choose(&mut self, now: Moment) -> Next {
        let open = |rank: Rank| {
            let places = self.places.iter().enumerate();
            let open = places.filter(move |(_, place)| place.is_open && place.rank == rank);
            open.min_by_key(|(index, place)| {
                (
                    place.tries > 0,
                    place.not_before.max(now),
                    place.tries,
                    *index,
                )
            })
        };
        let chosen = open(Rank::Primary).or_else(|| open(Rank::Alternative));
        let Some((index, _)) = chosen else {
            return Next::GiveUp(self.problem());
        };
        let place = &mut self.places[index];
        place.tries += 1;
        let pause = place.not_before.since(now);
        self.at = index;
        self.kept = ByteCount::ZERO;
        let resume = Resume::FromStart;
        if pause.is_zero() {
            return Next::Try { index, resume };
        }
        Next::TryAfter {
            pause,
            index,
            resume,
        }
    }

    fn no_place(&self) -> Problem {
        let code = match self.direction {
            Direction::Read => ErrorCode::NoReplicas,
            Direction::Write => ErrorCode::NoStorage,
        };
        Problem::new(code, format!("`{}` has no place to be tried", self.lfn))
    }

    /// Returns what is said of a file that could not be moved: the code by Pilot 3's rules, and each
    /// place with its first failure.
    ///
    /// Source: Pilot 3, `pilot/api/data.py`, `StagingClient.transfer`.
    fn problem(&self) -> Problem {
        let (Some((_, first)), Some((_, last))) = (self.failures.first(), self.failures.last())
        else {
            return self.no_place();
        };
        let has = |kind| self.failures.iter().any(|(_, it)| it.kind == kind);
        let is_bad_queue =
            |it: &&(usize, Failure)| it.1.problem.code == ErrorCode::BadQueueConfiguration;
        let code = if self.is_local(last) {
            last.problem.code
        } else if has(FailureKind::Denied) {
            match self.direction {
                Direction::Read => ErrorCode::StageInAuthenticationFailure,
                Direction::Write => ErrorCode::StageOutAuthenticationFailure,
            }
        } else if let Some((_, it)) = self.failures.iter().find(is_bad_queue) {
            it.problem.code
        } else {
            first.problem.code
        };
        let tried = self.places.iter().filter_map(|place| {
            let failure = place.first.as_ref()?;
            let text = cut(&failure.problem.detail, FAILURE_TEXT_MAX);
            let tries = match place.tries + place.resumes {
                0 | 1 => String::new(),
                tries => format!(", {tries} tries"),
            };
            Some(format!("`{}`: {text}{tries}", place.label))
        });
        let tried: Vec<String> = tried.collect();
        let more = match tried.len().saturating_sub(PLACES_TOLD_MAX) {
            0 => String::new(),
            n_more => format!("; and {n_more} more"),
        };
        let told = &tried[..tried.len().min(PLACES_TOLD_MAX)];
        let verb = match self.direction {
            Direction::Read => "could not be read",
            Direction::Write => "could not be stored",
        };
        let detail = format!("`{}` {verb} ({}{more})", self.lfn, told.join("; "));
        Problem::new(code, detail)
    }
}

#[cfg(test)]
mod tests;
