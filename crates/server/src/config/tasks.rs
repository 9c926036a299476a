//! The section `[tasks]` of the configuration file: PanDA's tasks.

use std::{fs, path::PathBuf, time::Duration};

use ailurus_jedi::{
    retry_rules::{RetryAction, RetryBook, RetryRules},
    scouts::ScoutSettings,
};
use ailurus_model::units::{format_duration, optional_duration_text};
use ailurus_server_core::tasks::TaskLimits;
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
                for (key, value) in [
                    ("tasks.jobs_per_step", limits.jobs_per_step),
                    ("tasks.files_per_step", limits.files_per_step),
                    ("tasks.tasks_per_round", limits.tasks_per_round),
                    ("tasks.scouts_max", limits.scouts_max),
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
        /// How long a throttled task waits before it goes on. Default `2h`.
        throttled_timeout,
        /// How long finished outputs wait for more before they are merged. Default `30s`.
        merge_interval,
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
    if let Some(class) = rules.classes.first() {
        return Err(format!(
            "`[[class]]` `{}`: this server follows no rules about whose failure it is",
            class.id
        ));
    }
    for rule in &rules.rules {
        let is_done = match rule.action {
            RetryAction::NoRetry
            | RetryAction::LimitRetry { .. }
            | RetryAction::IncreaseMemory
            | RetryAction::IncreaseMemoryXtimes => true,
            RetryAction::IncreaseCputime | RetryAction::ReduceInputPerJob { .. } => false,
        };
        if !is_done {
            return Err(format!(
                "rule `{}`: `action` must be `no_retry`, `limit_retry`, `increase_memory` or \
                 `increase_memory_xtimes`",
                rule.id
            ));
        }
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
            "action = \"increase_cputime\"",
            "action = \"no_retry\"\nwork_queue = 3",
            "action = \"no_retry\"\ndiag = \"(\"",
            "action = \"dance\"",
        ] {
            let problem = book_of(&format!("{head}{line}\n")).expect_err(line);
            assert!(!problem.is_empty());
        }
        let class = "[[class]]\nid = \"c\"\nsource = \"pilotErrorCode\"\ncode = 1\n\
                     class = \"system\"\n";
        assert!(book_of(class).expect_err("no classes").contains("`c`"));
    }
}
