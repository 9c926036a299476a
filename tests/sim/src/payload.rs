//! A simulated payload: how long it runs, what it uses, and how it ends.

use std::time::Duration;

use ailurus_diagnosis::Catalogue;
use ailurus_model::{ByteCount, Job, Moment, usage::UsageSample};
use ailurus_pilot_core::{
    input::PayloadEnd,
    recovery::{PayloadExit, Symptom},
};

use crate::{chance::Chance, faults::Fault};

/// How long a good payload runs, in seconds.
const RUN_SECS: (u64, u64) = (20, 1500);
/// Known errors that are looked for in a payload's output.
const SYMPTOMS_MAX: usize = 3;

/// A payload that runs.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) cores: u32,
    born: Moment,
    /// What it would do if left alone; none if it never ends.
    pub(crate) course: Course,
    /// Whether it ends when it is asked to.
    pub(crate) obeys: bool,
    /// Memory that it uses in the end.
    memory: ByteCount,
    /// What it wrote last.
    words: String,
}

/// What a payload does if it is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// It ends so long after its start, in this way.
    Ends(Duration, PayloadExit),
    /// It stops to make progress, and never ends.
    Loops,
}

impl Payload {
    /// Draws a payload. `fault` is what goes wrong with it, if anything.
    pub(crate) fn draw(
        chance: &mut Chance,
        catalogue: &Catalogue,
        now: Moment,
        (job, memory_limit): (&Job, ByteCount),
        fault: Option<Fault>,
    ) -> Self {
        let mut payload = Self {
            cores: job.core_count,
            born: now,
            course: Course::Ends(chance.seconds(RUN_SECS.0, RUN_SECS.1), PayloadExit::Code(0)),
            obeys: chance.says_yes(700),
            memory: ByteCount::from_bytes(job.memory.as_bytes() / 2),
            words: String::new(),
        };
        let soon = chance.seconds(1, RUN_SECS.1);
        match fault {
            Some(Fault::PayloadFails) => {
                payload.words = draw_words(chance, catalogue);
                let code = *chance.one_of(&[1, 2, 65, 127, 134, 137]);
                payload.course = Course::Ends(soon, PayloadExit::Code(code));
            }
            Some(Fault::PayloadSignalled) => {
                let signal = *chance.one_of(&[6, 9, 11]);
                payload.course = Course::Ends(soon, PayloadExit::Signal(signal));
            }
            Some(Fault::PayloadLoops) => payload.course = Course::Loops,
            Some(Fault::PayloadGrows) => {
                payload.memory = ByteCount::from_bytes(memory_limit.as_bytes().saturating_mul(4));
            }
            Some(_) | None => {}
        }
        payload
    }

    /// What its processes use at a moment: memory grows in its first minutes.
    pub(crate) fn usage(&self, now: Moment) -> UsageSample {
        let age = now.since(self.born);
        let share = age.as_secs().min(300) + 1;
        let memory = ByteCount::from_bytes(self.memory.as_bytes() / 301 * share);
        UsageSample {
            rss: memory,
            pss: memory,
            vmem: memory,
            cpu_user: age * self.cores,
            n_processes: 2,
            n_threads: self.cores,
            ..UsageSample::default()
        }
    }

    /// When it last changed a file.
    pub(crate) const fn last_progress(&self, now: Moment) -> Moment {
        match self.course {
            Course::Ends(..) => now,
            Course::Loops => self.born,
        }
    }

    /// What is left of it once it ended.
    pub(crate) fn end(&self, now: Moment, exit: PayloadExit, catalogue: &Catalogue) -> PayloadEnd {
        let findings = catalogue.scan(self.words.as_bytes(), SYMPTOMS_MAX);
        let symptoms = findings.into_iter().map(|finding| Symptom {
            id: finding.entry.id.clone(),
            code: finding.entry.code,
            blame: finding.entry.blame,
            cause: finding.entry.cause.clone(),
            remedy: finding.entry.remedy.clone(),
            line: finding.line,
        });
        PayloadEnd {
            exit,
            cpu: Some(now.since(self.born) * self.cores),
            symptoms: symptoms.collect(),
            last_words: self.words.clone(),
            free_space: None,
            job_report: None,
            error_report: None,
            problem: None,
            n_events: None,
            files: vec![],
        }
    }
}

/// Draws a line of output that the catalogue may know.
fn draw_words(chance: &mut Chance, catalogue: &Catalogue) -> String {
    let entries = catalogue.entries().iter();
    let examples: Vec<&String> = entries.flat_map(|entry| &entry.examples).collect();
    if examples.is_empty() || chance.says_yes(200) {
        return "something went wrong".to_owned();
    }
    (*chance.one_of(&examples)).clone()
}
