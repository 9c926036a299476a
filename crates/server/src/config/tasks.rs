//! The section `[tasks]` of the configuration file: PanDA's tasks.

use std::time::Duration;

use ailurus_jedi::scouts::ScoutSettings;
use ailurus_model::units::{format_duration, optional_duration_text};
use ailurus_server_core::tasks::TaskLimits;
use serde::Deserialize;

use super::{ConfigError, Origin, Shown};

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
    }
}
