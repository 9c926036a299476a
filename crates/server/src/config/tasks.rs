//! The section `[tasks]` of the configuration file: PanDA's tasks.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use ailurus_jedi::{
    retry_rules::{RetryBook, RetryRules},
    scouts::ScoutSettings,
};
use ailurus_model::units::{format_duration, optional_duration_text};
use ailurus_server_core::tasks::{RetryLimits, TaskLimits};
use serde::Deserialize;

use super::{ConfigError, Origin, Picker, Shown};

/// Makes the section with one optional entry for each setting, so that the defaults stand in one
/// place only.
macro_rules! tasks_section {
    (
        durations { $($(#[$duration_doc:meta])* $duration:ident,)* }
        numbers { $($(#[$number_doc:meta])* $number:ident,)* }
        texts { $($(#[$text_doc:meta])* $text:ident,)* }
    ) => {
        /// The section as people write it.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct TasksSection {
            $($(#[$duration_doc])*
            #[serde(with = "optional_duration_text")]
            $duration: Option<Duration>,)*
            $($(#[$number_doc])*
            $number: Option<u32>,)*
            $($(#[$text_doc])*
            $text: Option<String>,)*
            /// What follows from what a task's first jobs measure, by the names of PanDA's
            /// constants in small letters.
            scouts: Option<ScoutSettings>,
            /// Limits of retries by label of tasks; `*` is all that are not named.
            retry_limits: BTreeMap<String, RetryLimits>,
            /// File of rules about failed attempts. Without it, there are none.
            pub(super) retry_rules: Option<PathBuf>,
        }

        impl TasksSection {
            /// Puts the section over the defaults, checks it and notes every value.
            pub(super) fn resolve(self, shown: &mut Vec<Shown>) -> Result<TaskLimits, ConfigError> {
                let mut limits = TaskLimits::default();
                let origin = |is_given| if is_given { Origin::File } else { Origin::BuiltIn };
                $(
                    limits.$duration = self.$duration.unwrap_or(limits.$duration);
                    shown.push(Shown {
                        key: concat!("tasks.", stringify!($duration)),
                        value: format!("\"{}\"", format_duration(limits.$duration)),
                        origin: origin(self.$duration.is_some()),
                    });
                    if limits.$duration.is_zero() {
                        return Err(ConfigError::Value {
                            key: concat!("tasks.", stringify!($duration)),
                            value: format_duration(limits.$duration),
                            allowed: "longer than nothing",
                        });
                    }
                )*
                $(
                    limits.$number = self.$number.unwrap_or(limits.$number);
                    shown.push(Shown {
                        key: concat!("tasks.", stringify!($number)),
                        value: limits.$number.to_string(),
                        origin: origin(self.$number.is_some()),
                    });
                )*
                $(
                    let is_given = self.$text.is_some();
                    limits.$text = self.$text.unwrap_or(limits.$text);
                    shown.push(Shown {
                        key: concat!("tasks.", stringify!($text)),
                        value: format!("\"{}\"", limits.$text),
                        origin: origin(is_given),
                    });
                )*
                limits.scouts = self.scouts.unwrap_or(limits.scouts);
                limits.retry_limits = self.retry_limits;
                for (key, value) in [
                    ("tasks.jobs_per_step", limits.jobs_per_step),
                    ("tasks.files_per_step", limits.files_per_step),
                    ("tasks.tasks_per_round", limits.tasks_per_round),
                    ("tasks.scouts_max", limits.scouts_max),
                    ("tasks.libraries_max", limits.libraries_max),
                ] {
                    if value == 0 {
                        return Err(ConfigError::Value {
                            key,
                            value: value.to_string(),
                            allowed: "at least 1",
                        });
                    }
                }
                Ok(limits)
            }
        }
    };
}

tasks_section! {
    durations {
        /// How often scouts are looked at before all have ended. Default `10m`.
        scouts_interval,
        /// How often a task that waits for something outside is looked at. Default `1m`.
        retry_interval,
        /// How long a task may wait before it is given up. Default `7d`.
        pending_timeout,
        /// How long a task may wait for a person's decision before it is ended. Default `2d`.
        exhausted_timeout,
        /// How long a task waits that is throttled for the first time; for the n-th time n² times
        /// as long. Default `2h`.
        throttled_timeout,
        /// How long finished outputs wait for more before they are merged. Default `30s`.
        merge_interval,
        /// How long what a build job made is used for further jobs. Default `7d`.
        library_reuse,
        /// How often an open dataset of the catalogue is listed again. Default `10m`.
        relist_interval,
    }
    numbers {
        /// Tasks that a person may have under way; zero for no limit. Default 0.
        active_per_user_max,
        /// Jobs that one step makes at most. Default 1000.
        jobs_per_step,
        /// Input files that one step looks at for a task at most. Default 5000.
        files_per_step,
        /// Tasks that one round of steps serves at most. Default 50.
        tasks_per_round,
        /// First jobs that measure what the others need, at most. Default 10.
        scouts_max,
        /// Failed attempts of a job, in the mean, after which a task is throttled; zero is never.
        /// Default 5.
        throttled_attempts,
        /// Groups of queues that share storage for which a task builds its library. Default 10.
        libraries_max,
        /// Jobs that a group gets before the library is built for another one. Default 25.
        jobs_per_library,
    }
    texts {
        /// Virtual organisation of tasks that name none. Default `generic`.
        vo,
        /// Address below which scripts are served that run what people send; empty for the address
        /// at which the submitter reached the server. Default empty.
        scripts_url,
        /// Compact name of the person or robot whose secrets pilots get with jobs in debug mode.
        /// Default `pilot secrets`.
        pilot_secrets_owner,
    }
}

/// Reads the rules about failed attempts, and notes where they are.
pub(super) fn retry_rules(
    picker: &mut Picker,
    file: Option<PathBuf>,
) -> Result<RetryBook, ConfigError> {
    let shown = |path: &Option<PathBuf>| match path {
        Some(path) => format!("\"{}\"", path.display()),
        None => "none".to_owned(),
    };
    let file = picker.pick("tasks.retry_rules", [None, file.map(Some)], None, shown);
    let Some(path) = file else {
        return Ok(RetryBook::default());
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(ConfigError::Unreadable { path, source }),
    };
    book_of(&text).map_err(|problem| ConfigError::Malformed { path, problem })
}

/// Reads rules, and refuses what this server does not do.
fn book_of(text: &str) -> Result<RetryBook, String> {
    let rules: RetryRules = toml::from_str(text).map_err(|error| error.to_string())?;
    for rule in &rules.rules {
        if rule.work_queue.is_some() {
            return Err(format!(
                "rule `{}`: `work_queue` is given, but this server has no work queues",
                rule.id
            ));
        }
    }
    RetryBook::new(rules).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_would_not_be_followed_are_refused() {
        let head = "[[rule]]\nid = \"r\"\nsource = \"pilotErrorCode\"\ncode = 1099\n";
        assert!(book_of(&format!("{head}action = \"no_retry\"\n")).is_ok());
        assert!(book_of("").is_ok());
        for line in [
            "action = \"no_retry\"\nwork_queue = 3",
            "action = \"no_retry\"\ndiag = \"(\"",
            "action = \"dance\"",
        ] {
            let problem = book_of(&format!("{head}{line}\n")).expect_err(line);
            assert!(!problem.is_empty());
        }
        let class = "[[class]]\nid = \"c\"\nsource = \"pilotErrorCode\"\ncode = 1\nclass = ";
        assert!(book_of(&format!("{class}\"system\"\n")).is_ok());
        assert!(book_of(&format!("{class}\"nobody\"\n")).is_err());
    }
}
