//! The script of a job on its way: one try after another while its server is away.

use ailurus_model::{ErrorCode, Moment};

use crate::{
    JobEffect, Problem, control::random::Random, payload::script::ScriptPlan, recovery::Backoff,
};

/// Most tries to fetch a script from a server that is away; with [`Backoff::SCRIPT`] they last two
/// minutes and the time of the tries themselves.
const SCRIPT_TRIES_MAX: u32 = 8;

/// The scripts of a job, fetched one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scripts {
    now: Fetch,
    /// Those that follow, the next one last.
    rest: Vec<ScriptPlan>,
}

impl Scripts {
    /// Begins.
    pub(super) fn begin(mut plans: Vec<ScriptPlan>, out: &mut Vec<JobEffect>) -> Self {
        plans.reverse();
        let mut scripts = Self {
            now: Fetch::Done,
            rest: plans,
        };
        scripts.go_on(out);
        scripts
    }

    /// Says whether all of them are there.
    pub(super) const fn are_there(&self) -> bool {
        matches!(self.now, Fetch::Done) && self.rest.is_empty()
    }

    /// Goes on once the inputs are there.
    pub(super) fn on_inputs(&mut self, out: &mut Vec<JobEffect>) {
        self.now.on_inputs(out);
    }

    /// Takes what a try came to.
    ///
    /// # Errors
    ///
    /// As [`Fetch::on_result`].
    pub(super) fn on_result(
        &mut self,
        turn: (Moment, &mut Random, &mut Vec<JobEffect>),
        result: Result<(), Problem>,
    ) -> Result<(), Problem> {
        let (now, random, out) = turn;
        self.now.on_result(now, result, random)?;
        self.go_on(out);
        Ok(())
    }

    /// Tries again, if that is due.
    pub(super) fn on_timeout(&mut self, now: Moment, out: &mut Vec<JobEffect>) {
        self.now.on_timeout(now, out);
    }

    /// When `on_timeout` is due.
    pub(super) const fn next_deadline(&self) -> Option<Moment> {
        self.now.next_deadline()
    }

    fn go_on(&mut self, out: &mut Vec<JobEffect>) {
        while self.now == Fetch::Done
            && let Some(next) = self.rest.pop()
        {
            self.now = Fetch::begin(next, out);
        }
    }
}

/// Where a script is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fetch {
    /// It is one of the inputs, so it is looked for once these are there.
    AfterInputs(ScriptPlan),
    /// It is being fetched.
    UnderWay { plan: ScriptPlan, failures: u32 },
    /// Its server is away, and asked again at `until`.
    Pausing {
        plan: ScriptPlan,
        failures: u32,
        until: Moment,
    },
    /// It is there, or none is needed.
    Done,
}

impl Fetch {
    /// Begins.
    fn begin(plan: ScriptPlan, out: &mut Vec<JobEffect>) -> Self {
        match plan {
            ScriptPlan::None => Self::Done,
            ScriptPlan::Input { .. } => Self::AfterInputs(plan),
            ScriptPlan::Download { .. } | ScriptPlan::Copy { .. } => Self::send(plan, 0, out),
        }
    }

    /// Goes on once the inputs are there.
    fn on_inputs(&mut self, out: &mut Vec<JobEffect>) {
        if let Self::AfterInputs(plan) = self {
            *self = Self::send(plan.clone(), 0, out);
        }
    }

    /// Takes what a try came to.
    ///
    /// # Errors
    ///
    /// The problem of the try, if another one could not help or there were enough.
    fn on_result(
        &mut self,
        now: Moment,
        result: Result<(), Problem>,
        random: &mut Random,
    ) -> Result<(), Problem> {
        let Self::UnderWay { plan, failures } = self else {
            return Ok(());
        };
        let Err(problem) = result else {
            *self = Self::Done;
            return Ok(());
        };
        let failures = *failures + 1;
        if problem.code != ErrorCode::ServiceNotAvailable || failures >= SCRIPT_TRIES_MAX {
            return Err(problem);
        }
        *self = Self::Pausing {
            plan: plan.clone(),
            failures,
            until: now.after(Backoff::SCRIPT.pause(failures, random)),
        };
        Ok(())
    }

    /// Tries again, if that is due.
    fn on_timeout(&mut self, now: Moment, out: &mut Vec<JobEffect>) {
        if let Self::Pausing {
            plan,
            failures,
            until,
        } = self
            && *until <= now
        {
            *self = Self::send(plan.clone(), *failures, out);
        }
    }

    /// When `on_timeout` is due.
    const fn next_deadline(&self) -> Option<Moment> {
        match self {
            Self::Pausing { until, .. } => Some(*until),
            Self::AfterInputs(_) | Self::UnderWay { .. } | Self::Done => None,
        }
    }

    fn send(plan: ScriptPlan, failures: u32, out: &mut Vec<JobEffect>) -> Self {
        out.push(JobEffect::FetchScript(plan.clone()));
        Self::UnderWay { plan, failures }
    }
}
