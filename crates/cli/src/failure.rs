//! Why a command did not do what it was told, what to do about it, and the exit code.

use std::process::ExitCode;

use ailurus_http::{ConfigError, HttpError};
use ailurus_wire::task_file::TaskFileError;

/// The command was refused or failed.
pub(crate) const FAILED: u8 = 1;
/// No server answered.
pub(crate) const NO_SERVER: u8 = 3;

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A file cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    File {
        path: String,
        source: std::io::Error,
    },
    /// A task file is no text.
    #[error("{path}:{line}: this is not UTF-8 text")]
    NotText { path: String, line: usize },
    /// A task file has a mistake.
    #[error("{0}")]
    TaskFile(#[from] TaskFileError),
    /// A file of task parameters is no JSON object.
    #[error("{path}:{}: no JSON object of task parameters: {source}", source.line())]
    Params {
        path: String,
        source: serde_json::Error,
    },
    /// The client cannot be made.
    #[error(transparent)]
    Client(#[from] ConfigError),
    /// The server did not answer.
    #[error("{source}")]
    NoAnswer { server: String, source: HttpError },
    /// The server refused.
    #[error("{message}")]
    Refused {
        code: String,
        message: String,
        help: String,
    },
    /// The server answered something that this program does not understand.
    #[error("the server at `{server}` gave an answer that is not of Ailurus: {reason}")]
    Foreign { server: String, reason: String },
    /// There is no such attempt or log.
    #[error("{message}")]
    NoLog { message: String, help: String },
    /// A log archive cannot be read.
    #[error("the log archive `{path}` cannot be read: {source}")]
    Archive {
        path: String,
        source: std::io::Error,
    },
    /// Standard output cannot be written.
    #[error("standard output cannot be written: {0}")]
    Output(std::io::Error),
}

impl Failure {
    /// Returns a word that scripts can rely on.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::File { .. } => "unreadable-file",
            Self::NotText { .. } => "not-utf-8",
            Self::TaskFile(error) => error.code(),
            Self::Params { .. } => "bad-task-parameters",
            Self::Client(_) => "bad-client",
            Self::NoAnswer { .. } => "no-server",
            Self::Refused { code, .. } => code,
            Self::Foreign { .. } => "foreign-answer",
            Self::NoLog { .. } => "no-log",
            Self::Archive { .. } => "unreadable-archive",
            Self::Output(_) => "no-output",
        }
    }

    /// Says what to do next, empty if nothing can be said.
    pub(crate) fn help(&self) -> String {
        match self {
            Self::File { .. } => {
                "give the path of a task file, for example `examples/spd-production/chain.toml`"
                    .into()
            }
            Self::NotText { .. } | Self::TaskFile(_) | Self::Params { .. } => {
                "mend the file and submit it again: nothing was submitted".into()
            }
            Self::Client(_) | Self::Output(_) => String::new(),
            Self::NoAnswer { server, .. } => format!(
                "is the server running at `{server}`? Name another one with --server URL or AILURUS_SERVER; \
                 `ailurus-server serve --config FILE` starts one"
            ),
            Self::Refused { help, .. } | Self::NoLog { help, .. } => help.clone(),
            Self::Foreign { .. } => {
                "name an Ailurus server with --server URL or AILURUS_SERVER".into()
            }
            Self::Archive { path, .. } => {
                format!("copy `{path}` by hand, or ask the site that keeps it")
            }
        }
    }

    /// Names the file of which the server refused the content.
    pub(crate) fn in_file(self, path: &str) -> Self {
        match self {
            Self::Refused {
                code,
                message,
                help,
            } => Self::Refused {
                code,
                message: format!("{path}: {message}"),
                help,
            },
            Self::File { .. }
            | Self::NotText { .. }
            | Self::TaskFile(_)
            | Self::Params { .. }
            | Self::Client(_)
            | Self::NoAnswer { .. }
            | Self::Foreign { .. }
            | Self::NoLog { .. }
            | Self::Archive { .. }
            | Self::Output(_) => self,
        }
    }

    /// Returns the exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoAnswer { .. } => ExitCode::from(NO_SERVER),
            Self::File { .. }
            | Self::NotText { .. }
            | Self::TaskFile(_)
            | Self::Params { .. }
            | Self::Client(_)
            | Self::Refused { .. }
            | Self::Foreign { .. }
            | Self::NoLog { .. }
            | Self::Archive { .. }
            | Self::Output(_) => ExitCode::from(FAILED),
        }
    }
}
