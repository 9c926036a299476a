//! A copy of the database while it is in use.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use crate::{
    database::Database,
    schema::{self, OpenError},
};

/// No copy was made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database is of no use.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is something in the place of the copy.
    #[error("`{}` is there already: name a file that is not", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The copy cannot be written.
    #[error("the copy `{}` cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// PostgreSQL has programs for that.
    #[error(
        "{server} has its own programs for copies: `pg_dump --format=custom --file={} …` makes \
         one, `pg_restore` goes back to it",
        path.display()
    )]
    Server {
        /// Which server.
        server: String,
        /// The file that was asked for.
        path: PathBuf,
    },
}

impl Database {
    /// Copies the database to a file that is not there yet, as it was committed last. Who writes
    /// meanwhile is not held up. The copy is itself a database, and is whole if it is there.
    ///
    /// # Errors
    ///
    /// [`BackupError`]; [`BackupError::Server`] for every `PostgreSQL` server.
    pub fn back_up(&self, to: &Path) -> Result<(), BackupError> {
        let from = match self {
            Self::File(path) => path,
            Self::Server(server) => {
                return Err(BackupError::Server {
                    server: server.to_string(),
                    path: to.to_owned(),
                });
            }
        };
        if to.exists() {
            return Err(BackupError::Exists {
                path: to.to_owned(),
            });
        }
        let mut unfinished = to.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let connection = schema::open_read_only(from)?;
        // One that was cut short is of no use.
        drop(std::fs::remove_file(&unfinished));
        let copied = connection
            .execute("VACUUM INTO ?1", [unfinished.to_string_lossy()])
            .map_err(Into::into)
            .and_then(|_| keep(&unfinished, to));
        copied.map_err(|source| {
            drop(std::fs::remove_file(&unfinished));
            BackupError::Write {
                path: to.to_owned(),
                source,
            }
        })
    }
}

/// Makes a file durable and gives it its name.
fn keep(unfinished: &Path, to: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    File::open(unfinished)?.sync_all()?;
    std::fs::rename(unfinished, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}
