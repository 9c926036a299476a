//! `ailurus-harvester`: keeps the right number of pilots on batch systems.
//!
//! Reads the command line, opens what is needed, and runs [`shell::Shell`].

mod clock;
mod config;
mod courier;
mod error_text;
mod exit_code;
mod panda;
mod shell;
mod signals;
mod start;
mod template;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::{config::Config, error_text::chain, shell::WorkersAtStop, start::StartError};

/// Keeps the right number of pilots on batch systems.
#[derive(Debug, Parser)]
#[command(name = "ailurus-harvester", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM or SIGINT. Workers of an earlier run are found again.
    Run {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// End all workers when told to stop, instead of leaving them to the next run.
        #[arg(long)]
        cancel_workers: bool,
        /// Most detailed messages that are logged: error, warn, info, debug or trace.
        #[arg(long, default_value = "info")]
        log_level: LevelFilter,
    },
}

fn main() -> ExitCode {
    let Command::Run {
        config,
        cancel_workers,
        log_level,
    } = Arguments::parse().command;
    tracing_subscriber::fmt()
        .with_max_level(log_level)
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    let at_stop = if cancel_workers {
        WorkersAtStop::Cancel
    } else {
        WorkersAtStop::Leave
    };
    ExitCode::from(run(&config, at_stop))
}

fn run(path: &std::path::Path, at_stop: WorkersAtStop) -> u8 {
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => {
            complain("bad-configuration", &error);
            return exit_code::USAGE;
        }
    };
    let cycle = config.cycle;
    match start::open(config) {
        Ok(shell) => {
            shell.run(cycle, at_stop);
            tracing::info!("stopped");
            exit_code::OK
        }
        Err(StartError::Stopped) => exit_code::OK,
        Err(error) => {
            complain("harvester-failed", &error);
            exit_code::FAILED
        }
    }
}

/// Says why there is no Harvester, with a code that scripts can rely on.
fn complain(code: &str, error: &dyn std::error::Error) {
    // Where standard error is gone, nobody can be told.
    drop(writeln!(
        std::io::stderr(),
        "error[{code}]: {}",
        chain(error)
    ));
}
