//! Brings a database file to the schema that this program knows: numbered steps, forward only.
//!
//! Each step runs once, in one transaction with the note that it ran. A file that a newer program
//! wrote, or that belongs to something else, is refused and left as it is.

pub(crate) mod postgres;

use std::{error::Error, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

/// How long a connection waits for a lock of another process before it gives up.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Prepared statements that one connection keeps.
const STATEMENTS_KEPT: usize = 128;
/// Size to which the write-ahead log is cut after a checkpoint, in bytes.
const LOG_BYTES_KEPT: i64 = 64 << 20;

/// Asks for the number of the last step that was done.
const LAST_STEP: &str = "SELECT coalesce(max(number), 0) FROM migration";

/// One step from a schema to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Migration {
    /// Its number; the first is 1, each next one larger by 1.
    pub(crate) number: u32,
    /// What it does, in two or three words.
    pub(crate) name: &'static str,
    /// Its statements.
    pub(crate) sql: &'static str,
}

/// The kind of database that a file holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema {
    /// Written into the file's header, so that no program takes another's file for its own.
    pub(crate) application_id: i32,
    /// All steps, in order.
    pub(crate) migrations: &'static [Migration],
}

/// The database of the server.
pub(crate) const SERVER: Schema = Schema {
    // The letters "AiSv".
    application_id: 0x4169_5376,
    migrations: &[
        Migration {
            number: 1,
            name: "server tables",
            sql: include_str!("../migrations/0001-server.sql"),
        },
        Migration {
            number: 2,
            name: "one SQL",
            sql: include_str!("../migrations/0002-one-sql.sql"),
        },
        Migration {
            number: 3,
            name: "history of statuses",
            sql: include_str!("../migrations/0003-history.sql"),
        },
        Migration {
            number: 4,
            name: "kinds of jobs",
            sql: include_str!("../migrations/0004-job-kinds.sql"),
        },
        Migration {
            number: 5,
            name: "cache files",
            sql: include_str!("../migrations/0005-cache-files.sql"),
        },
        Migration {
            number: 6,
            name: "long texts of jobs",
            sql: include_str!("../migrations/0006-job-texts.sql"),
        },
        Migration {
            number: 7,
            name: "cursors over the history",
            sql: include_str!("../migrations/0007-cursors.sql"),
        },
        Migration {
            number: 8,
            name: "tasks of PanDA",
            sql: include_str!("../migrations/0008-panda-tasks.sql"),
        },
        Migration {
            number: 9,
            name: "commands and numbers of workers",
            sql: include_str!("../migrations/0009-commands.sql"),
        },
        Migration {
            number: 10,
            name: "Harvesters, worker nodes and pilots in workers",
            sql: include_str!("../migrations/0010-harvesters.sql"),
        },
        Migration {
            number: 11,
            name: "secrets of people",
            sql: include_str!("../migrations/0011-secrets.sql"),
        },
        Migration {
            number: 12,
            name: "brokerage",
            sql: include_str!("../migrations/0012-brokerage.sql"),
        },
        Migration {
            number: 13,
            name: "pulse of jobs",
            sql: include_str!("../migrations/0013-pulse.sql"),
        },
        Migration {
            number: 14,
            name: "jobs that stay in one state",
            sql: include_str!("../migrations/0014-watch.sql"),
        },
        Migration {
            number: 15,
            name: "archive of jobs",
            sql: include_str!("../migrations/0015-archive.sql"),
        },
        Migration {
            number: 16,
            name: "replicas of files",
            sql: include_str!("../migrations/0016-replicas.sql"),
        },
        Migration {
            number: 17,
            name: "ranges of events",
            sql: include_str!("../migrations/0017-events.sql"),
        },
        Migration {
            number: 18,
            name: "workflows",
            sql: include_str!("../migrations/0018-workflows.sql"),
        },
        Migration {
            number: 19,
            name: "jobs dropped from the archive",
            sql: include_str!("../migrations/0019-dropped.sql"),
        },
        Migration {
            number: 20,
            name: "consumers of events",
            sql: include_str!("../migrations/0020-consumers.sql"),
        },
        Migration {
            number: 21,
            name: "end of workflows",
            sql: include_str!("../migrations/0021-workflows-end.sql"),
        },
    ],
};

/// A database could not be opened for use.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It could not be reached, opened, read or written.
    #[error("database `{path}` cannot be opened while it was to {action}")]
    Failed {
        /// The file, or the server.
        path: String,
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A newer program wrote it.
    #[error(
        "database `{path}` has schema {found}, this program knows up to {known}: \
         start the program that wrote it, or a newer one"
    )]
    Newer {
        /// The file, or the server.
        path: String,
        /// The number of its last step.
        found: u32,
        /// The number of the last step of this program.
        known: u32,
    },
    /// It is a database of something else.
    #[error("`{path}` is a database of another program: name another file")]
    Foreign {
        /// The file, or the server.
        path: String,
    },
}

/// Opens a file for reading and writing, makes it if it is not there, and migrates it.
pub(crate) fn open(path: &Path, schema: Schema) -> Result<Connection, OpenError> {
    let failed = |action| move |source| failure(path, action, source);
    let mut connection = Connection::open(path).map_err(failed("open the file"))?;
    prepare(&connection).map_err(failed("set it up"))?;
    connection
        .pragma_update(None, "journal_mode", "wal")
        .and_then(|()| connection.pragma_update(None, "synchronous", "full"))
        .and_then(|()| connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT))
        .map_err(failed("set its write-ahead log up"))?;
    migrate(&mut connection, path, schema)?;
    Ok(connection)
}

/// Opens a file that [`open`] has made ready, for reading only.
pub(crate) fn open_read_only(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|source| failure(path, "open the file for reading", source))?;
    prepare(&connection).map_err(|source| failure(path, "set it up", source))?;
    Ok(connection)
}

/// Says whether a file is ours, and not of a newer program.
pub(crate) fn check(path: &Path, schema: Schema) -> Result<(), OpenError> {
    let failed = |action| move |source| failure(path, action, source);
    let connection = open_read_only(path)?;
    let id: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(failed("read its header"))?;
    if id != schema.application_id {
        return Err(OpenError::Foreign {
            path: path.display().to_string(),
        });
    }
    let found: u32 = connection
        .query_row(LAST_STEP, [], |row| row.get(0))
        .map_err(failed("read its schema"))?;
    refuse_newer(path, found, schema)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(LOCK_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "foreign_keys", true)
}

fn migrate(connection: &mut Connection, path: &Path, schema: Schema) -> Result<(), OpenError> {
    let failed = |action| move |source| failure(path, action, source);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed("lock it"))?;
    claim(&transaction, path, schema.application_id)?;
    transaction
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS migration (
                 number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied INTEGER NOT NULL) STRICT",
        )
        .map_err(failed("read its schema"))?;
    let found: u32 = transaction
        .query_row(LAST_STEP, [], |row| row.get(0))
        .map_err(failed("read its schema"))?;
    refuse_newer(path, found, schema)?;
    for step in schema.migrations.iter().filter(|step| step.number > found) {
        tracing::info!(number = step.number, name = step.name, "database migrated");
        transaction
            .execute_batch(step.sql)
            .and_then(|()| {
                transaction.execute(
                    "INSERT INTO migration (number, name, applied) VALUES (?, ?, unixepoch())",
                    params![step.number, step.name],
                )
            })
            .map_err(failed("migrate it"))?;
    }
    transaction.commit().map_err(failed("migrate it"))
}

fn refuse_newer(path: &Path, found: u32, schema: Schema) -> Result<(), OpenError> {
    let known = schema.migrations.last().map_or(0, |last| last.number);
    if found > known {
        return Err(OpenError::Newer {
            path: path.display().to_string(),
            found,
            known,
        });
    }
    Ok(())
}

/// Checks that the file is empty or ours, and marks it as ours.
fn claim(connection: &Connection, path: &Path, application_id: i32) -> Result<(), OpenError> {
    let failed = |source| failure(path, "read its header", source);
    let found: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(failed)?;
    if found == application_id {
        return Ok(());
    }
    let first_table: Option<String> = connection
        .query_row("SELECT name FROM sqlite_schema LIMIT 1", [], |row| {
            row.get(0)
        })
        .optional()
        .map_err(failed)?;
    if found != 0 || first_table.is_some() {
        return Err(OpenError::Foreign {
            path: path.display().to_string(),
        });
    }
    connection
        .pragma_update(None, "application_id", application_id)
        .map_err(failed)
}

fn failure(path: &Path, action: &'static str, source: rusqlite::Error) -> OpenError {
    OpenError::Failed {
        path: path.display().to_string(),
        action,
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.db");
        let connection = open(&path, SERVER).unwrap();
        connection
            .execute(
                "INSERT INTO migration VALUES (99, 'from the future', 0)",
                [],
            )
            .unwrap();
        drop(connection);
        let error = open(&path, SERVER).expect_err("newer");
        assert!(error.to_string().contains("has schema 99"), "{error}");
    }

    #[test]
    fn a_file_of_another_program_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.db");
        let other = Connection::open(&path).unwrap();
        other
            .execute_batch("CREATE TABLE diary (day TEXT)")
            .unwrap();
        drop(other);
        assert!(matches!(
            open(&path, SERVER),
            Err(OpenError::Foreign { .. })
        ));
    }

    #[test]
    fn a_file_that_is_no_database_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("letter.txt");
        std::fs::write(&path, "Dear all, ".repeat(1000)).unwrap();
        let error = open(&path, SERVER).expect_err("no database");
        assert!(error.to_string().contains("letter.txt"), "{error}");
    }

    #[test]
    fn migrations_are_numbered_without_gaps() {
        for (step, number) in SERVER.migrations.iter().zip(1..) {
            assert_eq!(step.number, number, "{}", step.name);
        }
    }
}
