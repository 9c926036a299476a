//! The commands and options, noun then verb.

use std::path::PathBuf;

use ailurus_model::JobStatus;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::credentials::Credentials;

/// Tasks, jobs, queues and datasets of a PanDA production, for people.
///
/// Data go to standard output, everything else to standard error. Exit codes: 0 done, 1 refused or
/// failed, 2 wrong command line, 3 no server.
#[derive(Debug, Parser)]
#[command(name = "ailurus", version)]
pub(crate) struct Cli {
    /// What to look at or change.
    #[command(subcommand)]
    pub(crate) noun: Noun,
    /// Options of every command.
    #[command(flatten)]
    pub(crate) options: Options,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The server.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help = "The server [default: AILURUS_SERVER in the environment, else http://127.0.0.1:25080]"
    )]
    pub(crate) server: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Who the person is.
    #[command(flatten)]
    pub(crate) credentials: Credentials,
}

/// What to look at or change.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Submit and steer tasks.
    #[command(subcommand)]
    Task(TaskVerb),
    /// Look into jobs.
    #[command(subcommand)]
    Job(JobVerb),
    /// Look at queues.
    #[command(subcommand)]
    Queue(QueueVerb),
    /// Look at global shares.
    #[command(subcommand)]
    Share(ShareVerb),
    /// Look at datasets.
    #[command(subcommand)]
    Dataset(DatasetVerb),
}

/// What to do with tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskVerb {
    /// Submit the tasks of a file; all of them or none.
    Submit {
        /// The task file (TOML), or one task as a map of PanDA's task parameters (`.json`).
        file: PathBuf,
        /// On whose behalf, if a TOML file does not say.
        #[arg(long, default_value = "anonymous")]
        user: String,
    },
    /// List tasks with the counts of their jobs.
    List {
        /// Only those of this chain.
        #[arg(long, value_name = "NAME")]
        chain: Option<String>,
    },
    /// Show one task.
    Show {
        /// Its number.
        id: u64,
    },
    /// Say why a task waits, runs or ended, and what would change that.
    Explain {
        /// Its number.
        id: u64,
    },
    /// Hold a task of PanDA: no more jobs are made of it.
    Pause {
        /// Its number.
        id: u64,
    },
    /// Let a task of PanDA go on that was held.
    Resume {
        /// Its number.
        id: u64,
    },
    /// End a task of PanDA with what it has; jobs that run are ended.
    Finish {
        /// Its number.
        id: u64,
    },
    /// End a task and its jobs.
    Kill {
        /// Its number.
        id: u64,
    },
    /// Give the failed jobs of a task further attempts.
    Retry {
        /// Its number.
        id: u64,
    },
}

/// What to do with jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum JobVerb {
    /// List jobs, the newest last.
    List {
        /// Only those of this task.
        #[arg(long, value_name = "ID")]
        task: Option<u64>,
        /// Only those in this status: pending, activated, running, finished, failed ...
        #[arg(long)]
        status: Option<JobStatus>,
        /// Only those of which an attempt failed, also if the job then finished.
        #[arg(long)]
        failed_attempts: bool,
        /// At most so many, the newest ones; up to 10000.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Show one job with all of its attempts, and why they failed.
    Show {
        /// Its number.
        id: u64,
    },
    /// Say why a job waits, runs or ended, where it would run, and what would change that.
    Explain {
        /// Its number.
        id: u64,
    },
    /// Print a file of the log archive of an attempt.
    Log {
        /// The job's number.
        id: u64,
        /// Which attempt [default: the latest one that has a log].
        #[arg(long, value_name = "N")]
        attempt: Option<u32>,
        /// Which file.
        #[arg(long, value_enum, default_value_t = LogFile::Stdout)]
        file: LogFile,
    },
    /// End a job.
    Kill {
        /// Its number.
        id: u64,
    },
}

/// A file of a log archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFile {
    /// What the payload printed.
    #[value(name = "payload.stdout")]
    Stdout,
    /// What the payload printed to standard error.
    #[value(name = "payload.stderr")]
    Stderr,
    /// What the pilot did.
    #[value(name = "pilotlog.txt")]
    Pilot,
}

impl LogFile {
    /// Returns its name within the archive.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "payload.stdout",
            Self::Stderr => "payload.stderr",
            Self::Pilot => "pilotlog.txt",
        }
    }
}

/// What to do with queues.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueVerb {
    /// List queues with the counts of their jobs and workers.
    List,
    /// Show one queue.
    Show {
        /// Its name.
        name: String,
    },
}

/// What to do with global shares.
#[derive(Debug, Subcommand)]
pub(crate) enum ShareVerb {
    /// List shares with what is pledged to them, runs and waits.
    List,
}

/// What to do with datasets.
#[derive(Debug, Subcommand)]
pub(crate) enum DatasetVerb {
    /// Show the files of a dataset.
    Show {
        /// Its name.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
