//! The parts of a job's work one after another: pre-process, payload, post-process.
//!
//! ```text
//! ┌──► preprocess ─ exit 0 ─► payload (with its co-process) ──► postprocess ─┬─► over
//! │        ├─ exit 160, 161, 162: nothing left to do ────────────────────────┤
//! │        └─ any other end: 1356 ───────────────────────────────────────────┤
//! └──────────────────── all went well, and the job repeats ──────────────────┘
//! ```
//!
//! What the job does not have is left out. The post-process runs after a failed payload too, which
//! it may tidy up after, but not after one that the pilot ended.
//!
//! Source: Pilot 3, `pilot/control/payloads/generic.py`, `Executor.run`.

use ailurus_experiment::{PayloadPlan, PlanError, Profile, StepKind, plan_payload, plan_step};
use ailurus_model::{ErrorCode, Job, Queue};

use crate::{Problem, input::PayloadEnd, recovery::PayloadExit};

/// Exit codes by which a pre-process says that there is nothing (more) to do.
const NOTHING_TO_DO: std::ops::RangeInclusive<i32> = 160..=162;
/// Most rounds of a job that repeats; more are a pre-process that never says that it is enough.
const ROUNDS_MAX: u32 = 100_000;
/// The variable that counts the rounds.
const ROUND_VARIABLE: &str = "PILOT_EXEC_ITERATION_COUNT";

/// The parts of a job's work, and which one is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    before: Option<PayloadPlan>,
    main: PayloadPlan,
    after: Option<PayloadPlan>,
    repeats: Repeats,
    current: StepKind,
    round: u32,
    /// How the payload ended, while the post-process runs.
    main_end: Option<PayloadEnd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeats {
    Never,
    UntilToldOtherwise,
}

/// Who ended a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// Itself, well or badly.
    Itself,
    /// The pilot, for a reason of its own.
    Pilot,
}

/// What follows from the end of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The next part is to be started.
    Start(Box<PayloadPlan>),
    /// The work is over.
    Over(Box<WorkEnd>),
}

/// How a job's work ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkEnd {
    /// How the payload ended, or what never let it start.
    pub end: PayloadEnd,
    /// A failure that is not the payload's own.
    pub problem: Option<Problem>,
    /// Whether outputs are to be expected.
    pub outputs: Outputs,
}

/// Whether outputs are to be expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outputs {
    /// Those that the job names.
    #[default]
    AsPlanned,
    /// None: there was nothing to do.
    None,
}

impl Steps {
    /// Plans a job's work.
    ///
    /// # Errors
    ///
    /// [`PlanError`] if profile, queue and job do not fit together.
    pub fn plan(profile: &Profile, job: &Job, queue: &Queue) -> Result<Self, PlanError> {
        let before = plan_step(profile, job, queue, StepKind::Before)?;
        let repeats = if job.options.is_hpo && before.is_some() {
            Repeats::UntilToldOtherwise
        } else {
            Repeats::Never
        };
        Ok(Self {
            before,
            main: plan_payload(profile, job, queue)?,
            after: plan_step(profile, job, queue, StepKind::After)?,
            repeats,
            current: StepKind::Main,
            round: 0,
            main_end: None,
        })
    }

    /// Sets a variable for every part.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        let parts = [
            self.before.as_mut(),
            Some(&mut self.main),
            self.after.as_mut(),
        ];
        for part in parts.into_iter().flatten() {
            if let Some(beside) = part.beside.as_deref_mut() {
                beside.environment.insert(name.to_owned(), value.to_owned());
            }
            part.environment.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Returns the first part, which is under way from now on.
    pub fn begin(&mut self) -> Box<PayloadPlan> {
        let (kind, plan) = match &self.before {
            Some(before) => (StepKind::Before, before.clone()),
            None => (StepKind::Main, self.main.clone()),
        };
        self.start(kind, plan)
    }

    /// Takes the end of the part that is under way.
    pub fn on_end(&mut self, end: PayloadEnd, by: EndedBy) -> Next {
        if by == EndedBy::Pilot {
            return over(end, None);
        }
        match self.current {
            StepKind::Before => self.on_before(end),
            StepKind::Main | StepKind::Beside => self.on_main(end),
            StepKind::After => self.on_after(&end),
        }
    }

    fn on_before(&mut self, end: PayloadEnd) -> Next {
        match end.exit {
            PayloadExit::Code(0) => Next::Start(self.start(StepKind::Main, self.main.clone())),
            PayloadExit::Code(code) if NOTHING_TO_DO.contains(&code) => {
                Next::Over(Box::new(WorkEnd {
                    end: PayloadEnd {
                        exit: PayloadExit::Code(0),
                        ..end
                    },
                    problem: None,
                    outputs: Outputs::None,
                }))
            }
            PayloadExit::Code(_)
            | PayloadExit::Signal(_)
            | PayloadExit::OutOfMemory(_)
            | PayloadExit::Unknown => {
                let problem = step_problem(ErrorCode::PreProcessFailure, &end);
                over(end, Some(problem))
            }
        }
    }

    fn on_main(&mut self, end: PayloadEnd) -> Next {
        if let Some(after) = self.after.clone() {
            self.main_end = Some(end);
            return Next::Start(self.start(StepKind::After, after));
        }
        self.finish(end, None)
    }

    fn on_after(&mut self, end: &PayloadEnd) -> Next {
        let main_end = self.main_end.take().unwrap_or_default();
        let is_failed = end.exit != PayloadExit::Code(0);
        // What the payload failed with says more.
        let counts = is_failed && main_end.exit == PayloadExit::Code(0);
        let problem = counts.then(|| step_problem(ErrorCode::PostProcessFailure, end));
        self.finish(main_end, problem)
    }

    fn finish(&mut self, end: PayloadEnd, problem: Option<Problem>) -> Next {
        let is_well = end.exit == PayloadExit::Code(0) && problem.is_none();
        match self.repeats {
            Repeats::UntilToldOtherwise if is_well && self.round < ROUNDS_MAX => {
                self.round += 1;
                Next::Start(self.begin())
            }
            Repeats::UntilToldOtherwise | Repeats::Never => over(end, problem),
        }
    }

    fn start(&mut self, kind: StepKind, mut plan: PayloadPlan) -> Box<PayloadPlan> {
        self.current = kind;
        let round = self.round.to_string();
        plan.environment.insert(ROUND_VARIABLE.to_owned(), round);
        Box::new(plan)
    }
}

fn over(end: PayloadEnd, problem: Option<Problem>) -> Next {
    Next::Over(Box::new(WorkEnd {
        end,
        problem,
        outputs: Outputs::AsPlanned,
    }))
}

fn step_problem(code: ErrorCode, end: &PayloadEnd) -> Problem {
    let how = match end.exit {
        PayloadExit::Code(code) => format!("exit code {code}"),
        PayloadExit::Signal(signal) => format!("ended by signal {signal}"),
        PayloadExit::OutOfMemory(_) => "killed for lack of memory".to_owned(),
        PayloadExit::Unknown => "nobody saw how it ended".to_owned(),
    };
    if end.last_words.is_empty() {
        Problem::new(code, how)
    } else {
        Problem::new(code, format!("{how}: {}", end.last_words))
    }
}

#[cfg(test)]
mod tests {
    use ailurus_model::JobStep;

    use super::*;
    use crate::control::testing::{job, site};

    fn steps(change: impl FnOnce(&mut Job)) -> Steps {
        let mut job = job(1);
        job.transformation = "/sw/run.sh".into();
        change(&mut job);
        let profile = Profile::built_in("generic").expect("built in");
        Steps::plan(&profile, &job, &site().queue).expect("fits")
    }

    fn step(command: &str) -> Option<JobStep> {
        Some(JobStep {
            command: command.into(),
            args: String::new(),
        })
    }

    fn exit(code: i32) -> PayloadEnd {
        PayloadEnd {
            exit: PayloadExit::Code(code),
            last_words: "last words".into(),
            ..PayloadEnd::default()
        }
    }

    fn started(next: &Next) -> Option<StepKind> {
        match next {
            Next::Start(plan) => Some(plan.step),
            Next::Over(_) => None,
        }
    }

    fn work_end(next: Next) -> WorkEnd {
        match next {
            Next::Over(end) => *end,
            Next::Start(plan) => panic!("`{}` is started", plan.step),
        }
    }

    #[test]
    fn a_job_without_steps_is_its_payload() {
        let mut steps = steps(|_| ());
        assert_eq!(steps.begin().step, StepKind::Main);
        let end = work_end(steps.on_end(exit(3), EndedBy::Itself));
        assert_eq!((end.end.exit, end.problem), (PayloadExit::Code(3), None));
    }

    #[test]
    fn all_parts_run_in_order() {
        let mut steps = steps(|job| {
            job.options.preprocess = step("./pre.sh");
            job.options.postprocess = step("./post.sh");
        });
        assert_eq!(steps.begin().step, StepKind::Before);
        let next = steps.on_end(exit(0), EndedBy::Itself);
        assert_eq!(started(&next), Some(StepKind::Main));
        let next = steps.on_end(exit(0), EndedBy::Itself);
        assert_eq!(started(&next), Some(StepKind::After));
        let end = work_end(steps.on_end(exit(0), EndedBy::Itself));
        assert_eq!((end.problem, end.outputs), (None, Outputs::AsPlanned));
    }

    #[test]
    fn a_failed_pre_process_lets_no_payload_start() {
        let mut steps = steps(|job| job.options.preprocess = step("./pre.sh"));
        steps.begin();
        let end = work_end(steps.on_end(exit(7), EndedBy::Itself));
        let problem = end.problem.expect("failed");
        assert_eq!(problem.code, ErrorCode::PreProcessFailure);
        assert_eq!(problem.detail, "exit code 7: last words");
    }

    #[test]
    fn a_pre_process_with_nothing_to_do_ends_the_job_well_and_without_outputs() {
        for code in 160..=162 {
            let mut steps = steps(|job| job.options.preprocess = step("./pre.sh"));
            steps.begin();
            let end = work_end(steps.on_end(exit(code), EndedBy::Itself));
            assert_eq!((end.end.exit, end.problem), (PayloadExit::Code(0), None));
            assert_eq!(end.outputs, Outputs::None);
        }
    }

    #[test]
    fn the_post_process_runs_after_a_failure_but_cannot_hide_it() {
        let mut steps = steps(|job| job.options.postprocess = step("./post.sh"));
        steps.begin();
        let next = steps.on_end(exit(5), EndedBy::Itself);
        assert_eq!(started(&next), Some(StepKind::After));
        let end = work_end(steps.on_end(exit(9), EndedBy::Itself));
        assert_eq!((end.end.exit, end.problem), (PayloadExit::Code(5), None));
    }

    #[test]
    fn a_failed_post_process_fails_a_good_payload() {
        let mut steps = steps(|job| job.options.postprocess = step("./post.sh"));
        steps.begin();
        steps.on_end(exit(0), EndedBy::Itself);
        let end = work_end(steps.on_end(exit(9), EndedBy::Itself));
        assert_eq!(
            end.problem.map(|it| it.code),
            Some(ErrorCode::PostProcessFailure)
        );
    }

    #[test]
    fn nothing_follows_a_payload_that_the_pilot_ended() {
        let mut steps = steps(|job| job.options.postprocess = step("./post.sh"));
        steps.begin();
        let end = work_end(steps.on_end(exit(0), EndedBy::Pilot));
        assert_eq!(end.problem, None);
    }

    #[test]
    fn a_job_that_repeats_goes_on_until_its_pre_process_has_nothing_to_do() {
        let mut steps = steps(|job| {
            job.options.preprocess = step("./pre.sh");
            job.options.is_hpo = true;
        });
        assert_eq!(steps.begin().environment[ROUND_VARIABLE], "0");
        steps.on_end(exit(0), EndedBy::Itself);
        let Next::Start(plan) = steps.on_end(exit(0), EndedBy::Itself) else {
            panic!("a second round");
        };
        assert_eq!(plan.step, StepKind::Before);
        assert_eq!(plan.environment[ROUND_VARIABLE], "1");
        let end = work_end(steps.on_end(exit(160), EndedBy::Itself));
        assert_eq!(end.outputs, Outputs::None);
    }

    #[test]
    fn a_failed_round_is_the_last() {
        let mut steps = steps(|job| {
            job.options.preprocess = step("./pre.sh");
            job.options.is_hpo = true;
        });
        steps.begin();
        steps.on_end(exit(0), EndedBy::Itself);
        let end = work_end(steps.on_end(exit(1), EndedBy::Itself));
        assert_eq!(end.end.exit, PayloadExit::Code(1));
    }
}
