//! The section `[limits]` of the configuration file.

use std::time::Duration;

use ailurus_model::units::{format_duration, optional_duration_text};
use ailurus_server_core::Limits;
use serde::Deserialize;

use crate::config::{Origin, Shown};

/// Makes the section with one optional entry for each field of [`Limits`], so that the defaults
/// stand in one place only.
macro_rules! limits_section {
    (
        durations { $($(#[$duration_doc:meta])* $duration:ident,)* }
        numbers { $($(#[$number_doc:meta])* $number:ident,)* }
    ) => {
        /// Limits on jobs, tasks and workers.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct LimitsSection {
            $($(#[$duration_doc])*
            #[serde(with = "optional_duration_text")]
            $duration: Option<Duration>,)*
            $($(#[$number_doc])*
            $number: Option<u32>,)*
        }

        impl LimitsSection {
            /// Puts the section over the defaults and notes every value.
            pub(crate) fn resolve(self, shown: &mut Vec<Shown>) -> Limits {
                let mut limits = Limits::default();
                let origin = |is_given| if is_given { Origin::File } else { Origin::BuiltIn };
                $(
                    limits.$duration = self.$duration.unwrap_or(limits.$duration);
                    shown.push(Shown {
                        key: concat!("limits.", stringify!($duration)),
                        value: format!("\"{}\"", format_duration(limits.$duration)),
                        origin: origin(self.$duration.is_some()),
                    });
                )*
                $(
                    limits.$number = self.$number.unwrap_or(limits.$number);
                    shown.push(Shown {
                        key: concat!("limits.", stringify!($number)),
                        value: limits.$number.to_string(),
                        origin: origin(self.$number.is_some()),
                    });
                )*
                limits
            }
        }
    };
}

limits_section! {
    durations {
        /// How long a job that a pilot has may be silent. Default `2h`.
        heartbeat_timeout,
        /// How long a pilot may take from getting a job to its first update. Default `30m`.
        sent_timeout,
        /// How long a pilot may hold a final report back. Default `3h`.
        holding_timeout,
        /// How long outputs may be on their way. Default `2h`.
        transferring_timeout,
        /// How long a job may wait at one queue before it is brokered anew. Default `2d`.
        activated_timeout,
        /// How long an ordinary production job's final report may be held back. Default `2d`.
        production_holding_timeout,
        /// How long a user's job may wait where nothing of its task runs. Default `12h`.
        user_activated_timeout,
        /// How long an urgent job may wait at a queue that starts nothing. Default `4h`.
        urgent_activated_timeout,
        /// After how long without a start a queue starts nothing. Default `2h`.
        queue_inactive_timeout,
        /// How long a job without a task may wait for a pilot. Default `7d`.
        waiting_timeout,
        /// How long a job may be starting. Default `2d`.
        starting_timeout,
        /// How long a job may be running. Default `21d`.
        running_timeout,
        /// How long a worker that has ended keeps that status. Default `3h`.
        worker_final_sticky,
        /// How long a file that a user sent stays without being of use. Default `7d`.
        cache_keep,
        /// How long a file that a user sent is offered instead of the same one again. Default `3d`.
        cache_reuse,
    }
    numbers {
        /// Tasks of one submission. Default 1000.
        tasks_per_submission_max,
        /// Jobs of one submission without a task. Default 5000.
        jobs_per_submission_max,
        /// Jobs of one task. Default 100 000.
        jobs_per_task_max,
        /// Files of one listed dataset. Default 100 000.
        files_per_dataset_max,
        /// Inputs, and outputs, that a task may name. Default 50.
        files_per_task_max,
        /// Attempts that a task may ask for. Default 10.
        attempts_max,
        /// Ranges of events of one job. Default 100 000.
        event_ranges_per_job_max,
        /// Cores that a job may ask for. Default 1024.
        cores_max,
        /// Length of a task's parameters in bytes. Default 65 536.
        parameters_bytes_max,
        /// Jobs that one request gets at most. Default 500.
        jobs_per_request_max,
        /// Jobs that the watchdog handles at a time for each of its conditions. Default 500.
        watch_batch,
        /// Jobs for which one round chooses queues. Default 1000.
        broker_batch,
    }
}
