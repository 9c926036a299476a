//! The courses of a job's files, as the engine of transfers asks for them.
//!
//! What is tried next is decided by each file's [`Course`]; here its answers become what the engine
//! can carry out.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ailurus_model::Moment;
use ailurus_pilot_core::{
    Problem,
    data::{BadReplica, Course, Failure, Move, Next as CoreNext, Try},
};
use ailurus_transfer::{
    Transfer, TransferReport,
    engine::{Next, Steering, Tried, Try as Attempt},
};

use super::failure::failure_of;

/// One file on its course.
pub(crate) struct OnCourse {
    course: Course,
    /// The ways that the course chooses from.
    tries: Vec<Try>,
    /// The way that is tried after a pause.
    pending: Option<usize>,
    /// The way that is tried.
    at: usize,
    problem: Option<Problem>,
    moves: Vec<Move>,
}

impl OnCourse {
    pub(crate) const fn new(course: Course, tries: Vec<Try>) -> Self {
        Self {
            course,
            tries,
            pending: None,
            at: 0,
            problem: None,
            moves: Vec::new(),
        }
    }
}

/// How a file's course ended.
pub(crate) struct Ended {
    /// The way that was tried last: where the file is, if it was moved.
    pub(crate) way: Option<Try>,
    /// Why it was not moved.
    pub(crate) problem: Option<Problem>,
    /// Replicas that are not what the catalogue says.
    pub(crate) bad: Vec<(Try, BadReplica)>,
    /// Every try.
    pub(crate) moves: Vec<Move>,
}

/// What is particular to a direction.
pub(crate) trait Leg: Sync {
    /// Makes the transfer of a file on this way.
    fn transfer(&self, file: usize, way: &Try) -> Transfer;

    /// Judges a file that was moved.
    fn judge(&self, file: usize, report: &TransferReport) -> Result<(), Failure>;

    /// Tells what became of a try that took this long and has just ended.
    fn tell(&self, file: usize, way: &Try, elapsed: Duration, failure: Option<&Failure>);
}

/// The courses of all files of one call.
pub(crate) struct Courses<'a> {
    files: Vec<Mutex<OnCourse>>,
    leg: &'a dyn Leg,
    /// What the courses count their time from.
    begin: Instant,
}

impl<'a> Courses<'a> {
    pub(crate) fn new(files: impl Iterator<Item = OnCourse>, leg: &'a dyn Leg) -> Self {
        Self {
            files: files.map(Mutex::new).collect(),
            leg,
            begin: Instant::now(),
        }
    }

    /// Says how each file's course ended.
    pub(crate) fn end(self) -> impl Iterator<Item = Ended> {
        self.files.into_iter().map(|file| {
            let file = file.into_inner().unwrap_or_else(PoisonError::into_inner);
            let way = |index: usize| file.tries.get(index).cloned();
            let bad = file.course.bad_replicas().into_iter();
            Ended {
                way: way(file.at),
                bad: bad.filter_map(|it| Some((way(it.index)?, it))).collect(),
                problem: file.problem,
                moves: file.moves,
            }
        })
    }

    fn now(&self) -> Moment {
        Moment::START.after(self.begin.elapsed())
    }

    fn lock(&self, file: usize) -> MutexGuard<'_, OnCourse> {
        self.files[file]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, file: usize, state: &mut OnCourse, next: CoreNext) -> Next {
        match next {
            CoreNext::Try { index, .. } | CoreNext::RenewCredential { index } => {
                // Tools read tokens and proxies anew by themselves when their files change.
                self.attempt(file, state, index)
            }
            CoreNext::TryAfter { pause, index, .. } => {
                state.pending = Some(index);
                Next::Pause(pause)
            }
            CoreNext::GiveUp(problem) => {
                state.problem = Some(problem);
                Next::Done
            }
            CoreNext::Done => Next::Done,
        }
    }

    fn attempt(&self, file: usize, state: &mut OnCourse, index: usize) -> Next {
        state.at = index;
        let way = &state.tries[index];
        Next::Try(Box::new(Attempt {
            tool: Some(way.tool.as_str().to_owned()),
            transfer: self.leg.transfer(file, way),
        }))
    }
}

impl Steering for Courses<'_> {
    fn begin(&self, file: usize) -> Next {
        let mut state = self.lock(file);
        if let Some(index) = state.pending.take() {
            return self.attempt(file, &mut state, index);
        }
        let next = state.course.begin(self.now());
        self.follow(file, &mut state, next)
    }

    fn next(&self, file: usize, tried: &Tried<'_>) -> Next {
        let outcome = match tried.outcome {
            Ok(report) => self.leg.judge(file, report),
            Err(error) => Err(failure_of(error)),
        };
        let mut state = self.lock(file);
        let way = &state.tries[state.at];
        if let Err(failure) = &outcome {
            tracing::warn!("`{}`: {}", way.place(), failure.problem);
        }
        self.leg
            .tell(file, way, tried.elapsed, outcome.as_ref().err());
        let failure = outcome.as_ref().err().map(|failure| failure.kind);
        let seen = Move::new(way, tried.moved, tried.elapsed, failure);
        state.moves.push(seen);
        let next = state.course.on_outcome(self.now(), outcome);
        self.follow(file, &mut state, next)
    }
}
