//! The script of a job on its way: one try after another while its server is away.

use ailurus_model::{ErrorCode, Moment};

use crate::{
    JobEffect, Problem, control::random::Random, payload::script::ScriptPlan, recovery::Backoff,
};

/// Most tries to fetch a script from a server that is away; with [`Backoff::SCRIPT`] they last two
/// minutes and the time of the tries themselves.
const SCRIPT_TRIES_MAX: u32 = 8;

/// Where a script is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fetch {
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
    pub(super) fn begin(plan: ScriptPlan, out: &mut Vec<JobEffect>) -> Self {
        match plan {
            ScriptPlan::None => Self::Done,
            ScriptPlan::Input { .. } => Self::AfterInputs(plan),
            ScriptPlan::Download { .. } | ScriptPlan::Copy { .. } => Self::send(plan, 0, out),
        }
    }

    /// Goes on once the inputs are there.
    pub(super) fn on_inputs(&mut self, out: &mut Vec<JobEffect>) {
        if let Self::AfterInputs(plan) = self {
            *self = Self::send(plan.clone(), 0, out);
        }
    }

    /// Takes what a try came to.
    ///
    /// # Errors
    ///
    /// The problem of the try, if another one could not help or there were enough.
    pub(super) fn on_result(
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
    pub(super) fn on_timeout(&mut self, now: Moment, out: &mut Vec<JobEffect>) {
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
    pub(super) const fn next_deadline(&self) -> Option<Moment> {
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
