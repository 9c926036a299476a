//! The section `[workflows]` of the configuration file: sizes and times of workflows.

use std::time::Duration;

use ailurus_model::units::{format_duration, optional_duration_text};
use ailurus_server_core::workflows::WorkflowLimits;
use serde::Deserialize;

use super::{ConfigError, Picker};

/// The section as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WorkflowsSection {
    /// Steps of one workflow, with all copies of scattered ones. Default 200.
    steps_max: Option<u32>,
    /// Rounds of one loop. Default 100.
    rounds_max: Option<u32>,
    /// Tasks that one turn submits at most. Default 20.
    submissions_per_turn: Option<u32>,
    /// Workflows that one round of turns serves at most. Default 20.
    workflows_per_round: Option<u32>,
    /// How often a workflow is looked at that nothing wakes. Default `1h`.
    #[serde(with = "optional_duration_text")]
    recheck_interval: Option<Duration>,
}

impl WorkflowsSection {
    /// Puts the section over the defaults, checks it and notes every value.
    pub(super) fn resolve(self, picker: &mut Picker) -> Result<WorkflowLimits, ConfigError> {
        let defaults = WorkflowLimits::default();
        let mut number = |key, file, built_in| {
            let number = super::at_least_one(picker, key, file, built_in)?;
            Ok(u32::try_from(number).unwrap_or(u32::MAX))
        };
        let limits = WorkflowLimits {
            steps_max: number("workflows.steps_max", self.steps_max, defaults.steps_max)?,
            rounds_max: number("workflows.rounds_max", self.rounds_max, defaults.rounds_max)?,
            submissions_per_turn: number(
                "workflows.submissions_per_turn",
                self.submissions_per_turn,
                defaults.submissions_per_turn,
            )?,
            workflows_per_round: number(
                "workflows.workflows_per_round",
                self.workflows_per_round,
                defaults.workflows_per_round,
            )?,
            recheck_interval: defaults.recheck_interval,
        };
        let key = "workflows.recheck_interval";
        let built_in = defaults.recheck_interval.as_secs();
        let recheck_interval = super::duration(picker, key, self.recheck_interval, built_in);
        if recheck_interval.is_zero() {
            return Err(ConfigError::Value {
                key,
                value: format_duration(recheck_interval),
                allowed: "longer than nothing",
            });
        }
        Ok(WorkflowLimits {
            recheck_interval,
            ..limits
        })
    }
}
