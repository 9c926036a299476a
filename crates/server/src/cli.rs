//! The command line of `ailurus-server`.

use std::{net::SocketAddr, path::PathBuf};

use ailurus_store::Database;
use clap::{Args, Parser, Subcommand};

/// The server of Ailurus: PanDA's HTTP API over an embedded database or `PostgreSQL`.
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
    /// Copy the database to a file while the server runs.
    Backup(BackupOptions),
    /// Describe PanDA's HTTP API as this server has it.
    #[command(subcommand)]
    Api(ApiCommand),
}

/// In which form to describe the API.
#[derive(Debug, Subcommand)]
pub(crate) enum ApiCommand {
    /// Print it as OpenAPI 3.1 (JSON).
    Openapi,
    /// Print it as a page (Markdown).
    Page,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting, its value and where the value comes from.
    Show(Options),
    /// Say whether the configuration can be used; exit code 2 if not.
    Check(Options),
}

/// What is copied where.
#[derive(Debug, Args)]
pub(crate) struct BackupOptions {
    /// The copy; it must not be there yet. To go back to it, put it in the place of the database
    /// while no server runs.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) options: Options,
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
    /// Database file, made if it is not there; or a PostgreSQL server: `postgres://user@host/name`.
    /// Others on this machine can read a password that stands here; it is safe in the file.
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) database: Option<Database>,
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
