//! The section `[watchdogs]` of the configuration file: time-outs that differ by queue, label or
//! working group, and fast rebrokerage.

use std::{collections::BTreeMap, time::Duration};

use ailurus_model::units::{format_duration, optional_duration_text, parse_duration};
use ailurus_server_core::watch::rules::{OvershootRules, WatchRules};
use serde::Deserialize;

use super::{ConfigError, Picker};

/// The section as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WatchdogsSection {
    /// How long a job that a pilot has may be silent, by `workflow` of its queue; `analysis` stands
    /// for users' jobs, `production` for all other workflows. Default: `limits.heartbeat_timeout`.
    heartbeat_timeouts: BTreeMap<String, String>,
    /// How long a user's job may wait where nothing of its task runs, by working group. Default:
    /// `limits.user_activated_timeout`.
    user_activated_timeouts: BTreeMap<String, String>,
    /// Jobs of a share that may wait at a queue before fast rebrokerage looks at them, by share.
    /// Shares without an entry are left alone.
    overshoot_waiting_least: BTreeMap<String, u64>,
    /// Jobs that may wait for a hundred that run there. Default 300.
    overshoot_waiting_per_100_running: Option<u64>,
    /// Jobs that may wait there, in percent of all of the share that wait. Default 30.
    overshoot_waiting_percent_of_share: Option<u64>,
    /// How long a job has waited there before it is taken away. Default `40m`.
    #[serde(with = "optional_duration_text")]
    overshoot_waiting_since: Option<Duration>,
}

impl WatchdogsSection {
    /// Checks the section and notes every value.
    pub(super) fn resolve(self, picker: &mut Picker) -> Result<WatchRules, ConfigError> {
        let built_in = OvershootRules::default();
        let timeouts = |picker: &mut Picker, key, entries| -> Result<_, ConfigError> {
            let entries = durations(key, entries)?;
            let given = (!entries.is_empty()).then_some(entries);
            Ok(picker.pick(key, [None, given], BTreeMap::new(), |entries| {
                table(entries, |time| format!("\"{}\"", format_duration(*time)))
            }))
        };
        let least = Some(self.overshoot_waiting_least).filter(|entries| !entries.is_empty());
        Ok(WatchRules {
            heartbeat_timeouts: timeouts(
                picker,
                "watchdogs.heartbeat_timeouts",
                self.heartbeat_timeouts,
            )?,
            user_activated_timeouts: timeouts(
                picker,
                "watchdogs.user_activated_timeouts",
                self.user_activated_timeouts,
            )?,
            overshoot: OvershootRules {
                waiting_least: picker.pick(
                    "watchdogs.overshoot_waiting_least",
                    [None, least],
                    BTreeMap::new(),
                    |entries| table(entries, u64::to_string),
                ),
                waiting_per_100_running: picker.pick(
                    "watchdogs.overshoot_waiting_per_100_running",
                    [None, self.overshoot_waiting_per_100_running],
                    built_in.waiting_per_100_running,
                    u64::to_string,
                ),
                waiting_percent_of_share: picker.pick(
                    "watchdogs.overshoot_waiting_percent_of_share",
                    [None, self.overshoot_waiting_percent_of_share],
                    built_in.waiting_percent_of_share,
                    u64::to_string,
                ),
                waiting_since: super::duration(
                    picker,
                    "watchdogs.overshoot_waiting_since",
                    self.overshoot_waiting_since,
                    built_in.waiting_since.as_secs(),
                ),
            },
        })
    }
}

/// Reads durations above zero.
fn durations(
    key: &'static str,
    entries: BTreeMap<String, String>,
) -> Result<BTreeMap<String, Duration>, ConfigError> {
    let read = |(name, text): (String, String)| match parse_duration(&text) {
        Ok(time) if !time.is_zero() => Ok((name, time)),
        Ok(_) | Err(_) => Err(ConfigError::Value {
            key,
            value: format!("{name} = {text}"),
            allowed: "durations with a unit, such as `4h`, above zero",
        }),
    };
    entries.into_iter().map(read).collect()
}

/// Writes an inline table.
fn table<T>(entries: &BTreeMap<String, T>, text: impl Fn(&T) -> String) -> String {
    let entries = entries
        .iter()
        .map(|(name, value)| format!("\"{name}\" = {}", text(value)));
    format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<WatchRules, String> {
        let section: WatchdogsSection = toml::from_str(text).unwrap();
        let rules = section.resolve(&mut Picker::default());
        rules.map_err(|error| error.to_string())
    }

    #[test]
    fn timeouts_and_thresholds_are_read_by_name() {
        let rules = resolved(
            "heartbeat_timeouts = { push = \"6h\", analysis = \"1h\" }\n\
             overshoot_waiting_least = { Production = 100 }\n\
             overshoot_waiting_per_100_running = 500\n",
        )
        .unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(rules.heartbeat_timeouts["push"], 6 * hour);
        assert_eq!(rules.heartbeat_timeouts["analysis"], hour);
        assert_eq!(rules.overshoot.waiting_least["Production"], 100);
        assert_eq!(rules.overshoot.waiting_per_100_running, 500);
        assert_eq!(resolved("").unwrap(), WatchRules::default());
    }

    #[test]
    fn a_time_without_sense_is_refused_with_its_name() {
        for time in ["0s", "soon", "2"] {
            let error = resolved(&format!("heartbeat_timeouts = {{ push = \"{time}\" }}"))
                .expect_err("refused");
            for part in ["watchdogs.heartbeat_timeouts", "push", time] {
                assert!(error.contains(part), "{error}");
            }
        }
    }
}
