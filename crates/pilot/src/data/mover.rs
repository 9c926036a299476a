//! What all jobs of a pilot move their files with: copy tools, bounds, the node's cache.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use ailurus_model::{ByteCount, Lfn};
use ailurus_pilot_core::data::{CacheUse, Course, CourseLimits, Direction, Try};
use ailurus_transfer::{
    Patience, StopSwitch, Toolbox,
    engine::{self, Observer, Options, Outcome, Tried},
    space::{Floor, SpaceWatch},
};

use super::courses::{Courses, Ended, Leg, OnCourse};

/// What all jobs of a pilot move their files with.
#[derive(Debug)]
pub(crate) struct Mover {
    /// Tools that move straight.
    pub(crate) tools: Toolbox,
    /// The same tools with the node's cache in front, if there is one.
    pub(crate) cached: Option<Toolbox>,
    /// Most transfers of a job at a time.
    pub(crate) parallel: NonZeroUsize,
    /// What has to stay free on the node's disk while inputs come.
    pub(crate) floor: Floor,
    /// Spreads pauses.
    pub(crate) seed: [u8; 16],
}

/// A file to move, as its course needs it.
pub(crate) struct FileToMove<'a> {
    pub(crate) lfn: &'a Lfn,
    pub(crate) size: Option<ByteCount>,
    pub(crate) tries: Vec<Try>,
}

/// What holds for all files of one call.
pub(crate) struct Rules<'a> {
    pub(crate) direction: Direction,
    pub(crate) limits: CourseLimits,
    pub(crate) cache: CacheUse,
    pub(crate) stop: &'a StopSwitch,
    /// Looks after the disk that files come to.
    pub(crate) space: Option<Arc<SpaceWatch>>,
}

/// A file that was moved, or not.
pub(crate) struct Moved {
    pub(crate) ended: Ended,
    /// How the last try came out; none if there was none.
    pub(crate) outcome: Option<Outcome>,
}

impl Mover {
    /// Moves files; returns when each has an outcome, in their order.
    pub(crate) fn run(
        &self,
        files: Vec<FileToMove<'_>>,
        leg: &dyn Leg,
        rules: &Rules<'_>,
    ) -> Vec<Moved> {
        let sizes: Vec<Option<ByteCount>> = files.iter().map(|file| file.size).collect();
        let on_course = files.into_iter().enumerate().map(|(index, file)| {
            let lfn = file.lfn.clone();
            let seed = self.seed_of(index);
            let course = Course::new(lfn, rules.direction, &file.tries, rules.limits, seed);
            OnCourse::new(course, file.tries)
        });
        let courses = Courses::new(on_course, leg);
        let options = Options {
            parallel: self.parallel,
            stop: rules.stop.clone(),
            space: rules.space.clone(),
            ..Options::default()
        };
        let tools = match (&self.cached, rules.cache) {
            (Some(cached), CacheUse::Cached) => cached,
            (Some(_), CacheUse::Uncached) | (None, _) => &self.tools,
        };
        let outcomes = engine::run(&sizes, tools, &options, &courses, &Log);
        let ended = courses.end();
        ended
            .zip(outcomes)
            .map(|(ended, outcome)| Moved { ended, outcome })
            .collect()
    }

    fn seed_of(&self, index: usize) -> [u8; 16] {
        let mut seed = self.seed;
        for (byte, mixed) in seed.iter_mut().zip(index.to_le_bytes()) {
            *byte ^= mixed;
        }
        seed
    }
}

/// Returns how long a file may take on this way: as long as it moves, and of a tool that does not show
/// that, as long as the core says.
pub(crate) fn patience(way: &Try, size: Option<ByteCount>) -> Patience {
    Patience {
        blind: way.blind_limit(size),
        ..Patience::default()
    }
}

/// Writes to the log what moves.
struct Log;

impl Observer for Log {
    fn moved(&self, file: usize, moved: ByteCount, elapsed: Duration) {
        tracing::debug!("file {file}: {moved} in {} s", elapsed.as_secs());
    }

    fn ended(&self, _file: usize, tried: &Tried<'_>) {
        let tool = tried.attempt.tool.as_deref().unwrap_or_default();
        let (moved, millis) = (tried.moved, tried.elapsed.as_millis());
        tracing::debug!("{tool}: {moved} in {millis} ms");
    }
}
