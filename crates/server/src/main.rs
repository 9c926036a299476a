//! The server: PanDA's HTTP API in both dialects over an embedded database.

mod app;
mod archive;
mod auth_files;
mod bounds;
mod cache_files;
mod cache_folder;
mod caller;
mod catalogue;
mod cli;
mod config;
mod connections;
mod feeder;
mod housekeeping;
mod identities;
mod knowledge;
mod limits;
mod listener;
mod listening;
mod messages;
mod metrics;
mod panda;
mod reads;
mod reload;
mod rest;
mod sandbox;
mod serve;
mod static_files;
mod tls;
mod transforms;
mod watchdog;

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

use cli::{ApiCommand, BackupOptions, Cli, Command, ConfigCommand};
use config::{Config, ConfigError, LogFormat};
use identities::{Identities, IdentityError};
use knowledge::{Knowledge, KnowledgeError, chain};
use reload::Reloader;

/// Exit code: the server could not start or had to end.
const FAILED: u8 = 1;
/// Exit code: the configuration or the command line cannot be used.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (code, exit_code) = if error.is::<ConfigError>() {
                ("bad-configuration", BAD_CONFIGURATION)
            } else if error.is::<KnowledgeError>() {
                ("bad-site-data", BAD_CONFIGURATION)
            } else if error.is::<IdentityError>() {
                ("bad-identity-files", BAD_CONFIGURATION)
            } else {
                ("server-failed", FAILED)
            };
            // There is nowhere left to say that this failed.
            drop(writeln!(io::stderr(), "error[{code}]: {}", chain(&*error)));
            ExitCode::from(exit_code)
        }
    }
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    match &cli.command {
        Command::Serve(options) => {
            let (config, _) = Config::load(options)?;
            let log = tracing_subscriber::fmt()
                .with_max_level(config.log)
                .with_writer(io::stderr)
                .with_ansi(false);
            match config.log_format {
                LogFormat::Text => log.init(),
                LogFormat::Json => log.json().init(),
            }
            // Before the files are read, so that no change is missed.
            let reloader = Reloader::new(&config);
            let knowledge = Knowledge::load(&config)?;
            let identities = Identities::load(&config.identity)?;
            let port_file = options.port_file.as_deref();
            serve::run(&config, knowledge, identities, reloader, port_file)?;
        }
        Command::Backup(BackupOptions { file, options }) => {
            let (config, _) = Config::load(options)?;
            config.database.back_up(file)?;
            say(&format!(
                "{} is a copy of {}",
                file.display(),
                config.database
            ))?;
        }
        Command::Api(ApiCommand::Openapi) => say(panda::openapi::text().trim_end())?,
        Command::Api(ApiCommand::Page) => say(panda::openapi::page().trim_end())?,
        Command::Config(ConfigCommand::Show(options)) => {
            let (_, shown) = Config::load(options)?;
            let lines: Vec<String> = shown.iter().map(ToString::to_string).collect();
            say(&lines.join("\n"))?;
        }
        Command::Config(ConfigCommand::Check(options)) => {
            let (config, _) = Config::load(options)?;
            for finding in identities::check(&config.identity)? {
                say(&finding)?;
            }
            let knowledge = Knowledge::load(&config)?;
            config.database.check()?;
            say(&format!(
                "the configuration can be used: {} queues, database {}",
                knowledge.queues.len(),
                config.database
            ))?;
        }
    }
    Ok(())
}

/// Prints a text for people or scripts. A reader that has gone is no error.
fn say(text: &str) -> io::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
