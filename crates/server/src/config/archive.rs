//! The section `[archive]` of the configuration file: what becomes of what ended long ago.

use std::time::Duration;

use ailurus_model::units::{format_duration, optional_duration_text, parse_duration};
use ailurus_server_core::ArchiveRules;
use serde::Deserialize;

use super::{ConfigError, Picker};

/// The word for what is not to happen.
const NEVER: &str = "never";
/// A day in seconds.
const DAY: u64 = 24 * 3600;
/// How long ago a job must have ended, by default, in seconds.
const AFTER_SECS: u64 = 30 * DAY;
/// How long changes of statuses are kept, by default, in seconds, as in PanDA.
const HISTORY_KEEP_SECS: u64 = 90 * DAY;
/// How long changes are kept that a reader has not read, by default, in seconds.
const UNREAD_KEEP_SECS: u64 = 365 * DAY;
/// Time between two passes, by default, in seconds.
const INTERVAL_SECS: u64 = 30 * 60;
/// Jobs that one step looks at, by default.
const BATCH: u32 = 500;

/// The section as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ArchiveSection {
    /// How long ago a job must have ended to go to the archive, or `never`. Default `30d`.
    after: Option<String>,
    /// How long ago a task must have ended for its archived jobs to be dropped, or `never`. Default
    /// `never`.
    drop_after: Option<String>,
    /// How long changes of statuses are kept, or `never` to forget none. Default `90d`.
    history_keep: Option<String>,
    /// How long changes are kept that a reader has not read yet, or `never` to wait for it for
    /// ever. Default `365d`.
    unread_keep: Option<String>,
    /// Time between two passes. Default `30m`.
    #[serde(with = "optional_duration_text")]
    interval: Option<Duration>,
    /// Jobs, or changes, that one transaction looks at. Default 500.
    batch: Option<u32>,
}

/// The section as the server uses it.
#[derive(Debug, Clone)]
pub(crate) struct ArchiveConfig {
    /// What goes where, and when.
    pub(crate) rules: ArchiveRules,
    /// Time between two passes.
    pub(crate) interval: Duration,
}

impl ArchiveSection {
    /// Checks the section and notes every value.
    pub(super) fn resolve(self, picker: &mut Picker) -> Result<ArchiveConfig, ConfigError> {
        let after = age(picker, "archive.after", self.after, Some(AFTER_SECS))?;
        let drop_after = age(picker, "archive.drop_after", self.drop_after, None)?;
        check_order(after, drop_after)?;
        let history_keep = age(
            picker,
            "archive.history_keep",
            self.history_keep,
            Some(HISTORY_KEEP_SECS),
        )?;
        let unread_keep = age(
            picker,
            "archive.unread_keep",
            self.unread_keep,
            Some(UNREAD_KEEP_SECS),
        )?;
        let key = "archive.interval";
        let interval = super::duration(picker, key, self.interval, INTERVAL_SECS);
        if interval.is_zero() {
            return Err(ConfigError::Value {
                key,
                value: format_duration(interval),
                allowed: "longer than nothing",
            });
        }
        let batch = super::at_least_one(picker, "archive.batch", self.batch, BATCH)?;
        Ok(ArchiveConfig {
            rules: ArchiveRules {
                after,
                drop_after,
                history_keep,
                unread_keep,
                batch,
            },
            interval,
        })
    }
}

/// Refuses to drop jobs before they would come to the archive.
fn check_order(after: Option<Duration>, drop_after: Option<Duration>) -> Result<(), ConfigError> {
    if let (Some(after), Some(drop_after)) = (after, drop_after)
        && drop_after < after
    {
        return Err(ConfigError::Value {
            key: "archive.drop_after",
            value: format_duration(drop_after),
            allowed: "at least `archive.after`, or `never`",
        });
    }
    Ok(())
}

/// Picks a duration, or none for `never`.
fn age(
    picker: &mut Picker,
    key: &'static str,
    file: Option<String>,
    built_in_secs: Option<u64>,
) -> Result<Option<Duration>, ConfigError> {
    let given = match file {
        None => None,
        Some(text) if text == NEVER => Some(None),
        Some(text) => match parse_duration(&text) {
            Ok(duration) => Some(Some(duration)),
            Err(_) => {
                return Err(ConfigError::Value {
                    key,
                    value: text,
                    allowed: "a duration with a unit, such as `30d`, or `never`",
                });
            }
        },
    };
    let built_in = built_in_secs.map(Duration::from_secs);
    Ok(picker.pick(key, [None, given], built_in, |age| match age {
        Some(age) => format!("\"{}\"", format_duration(*age)),
        None => format!("\"{NEVER}\""),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<ArchiveConfig, String> {
        let section: ArchiveSection = toml::from_str(text).unwrap();
        section
            .resolve(&mut Picker::default())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn never_switches_a_step_off() {
        let config = resolved("after = \"never\"\nhistory_keep = \"1d\"").unwrap();
        assert_eq!(config.rules.after, None);
        let day = Duration::from_secs(DAY);
        assert_eq!(config.rules.history_keep, Some(day));
    }

    #[test]
    fn nothing_is_dropped_unless_an_age_is_told() {
        assert_eq!(resolved("").unwrap().rules.drop_after, None);
        let rules = resolved("drop_after = \"730d\"").unwrap().rules;
        assert_eq!(rules.drop_after, Some(Duration::from_secs(730 * DAY)));
    }

    #[test]
    fn values_without_sense_are_refused() {
        for text in [
            "after = \"soon\"",
            "drop_after = \"29d\"",
            "interval = \"0s\"",
            "batch = 0",
        ] {
            let error = resolved(text).expect_err(text);
            assert!(error.contains("must be"), "{error}");
        }
    }
}
