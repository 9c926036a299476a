//! The command line of `ailurus-server`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// The server of Ailurus: PanDA's HTTP API over an embedded database.
#[derive(Debug, Parser)]
#[command(name = "ailurus-server", version)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve until told to stop (SIGTERM or SIGINT).
    Serve(Options),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting, its value and where the value comes from.
    Show(Options),
    /// Say whether the configuration can be used; exit code 2 if not.
    Check(Options),
}

/// The configuration file and what overrides it.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Database file; made if it is not there.
    #[arg(long, value_name = "FILE")]
    pub(crate) database: Option<PathBuf>,
    /// Queue data as CRIC has them: a JSON object keyed by queue.
    #[arg(long, value_name = "FILE")]
    pub(crate) queues: Option<PathBuf>,
    /// Storage data as CRIC has them (`ddmendpoints.json`).
    #[arg(long, value_name = "FILE")]
    pub(crate) storages: Option<PathBuf>,
    /// Folder whose files are served at `/trf/user/NAME`.
    #[arg(long, value_name = "DIR")]
    pub(crate) transforms: Option<PathBuf>,
    /// File into which the bound address is written once the server listens.
    #[arg(long, value_name = "FILE")]
    pub(crate) port_file: Option<PathBuf>,
    /// Listen on an address that other machines reach, although they cannot say who they are: they
    /// may do what everybody may, and no more.
    #[arg(long)]
    pub(crate) insecure_any_address: bool,
}
