//! The same numbered steps in a `PostgreSQL` database.

use tokio_postgres::Transaction;

use super::{Migration, OpenError, Schema};
use crate::{database::Server, sql::postgres::Link};

/// The lock of who migrates: the letters `AiMg`.
const MIGRATION_LOCK: i64 = 0x4169_4d67;

/// What `PostgreSQL` is told about tables whose rows change often: room on each page for the next
/// version of a row, so that no index has to know, and early cleaning.
const TUNING: &str = "
    ALTER TABLE job SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
    ALTER TABLE attempt SET (fillfactor = 70);
    ALTER TABLE pulse SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
    ALTER TABLE task SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
    ALTER TABLE task_job_count SET (fillfactor = 25, autovacuum_vacuum_scale_factor = 0.02);
    ALTER TABLE counter SET (fillfactor = 10);
";

/// Brings a database up to date. Programs that start together wait for each other.
pub(crate) fn migrate(link: &mut Link, server: &Server, schema: Schema) -> Result<(), OpenError> {
    let failed = |source| server.failed("migrate it", source);
    let (runtime, client) = link.runtime_and_client();
    runtime.block_on(async {
        let transaction = client.transaction().await.map_err(failed)?;
        transaction
            .batch_execute(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            .await
            .map_err(failed)?;
        let found = applied(&transaction, server, schema).await?;
        let missing = schema.migrations.iter().filter(|step| step.number > found);
        let mut is_changed = false;
        for step in missing {
            tracing::info!(number = step.number, name = step.name, "database migrated");
            apply(&transaction, *step).await.map_err(failed)?;
            is_changed = true;
        }
        if is_changed {
            transaction.batch_execute(TUNING).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    })
}

/// Says whether a database is ours, or empty, and not of a newer program.
pub(crate) fn check(link: &mut Link, server: &Server, schema: Schema) -> Result<(), OpenError> {
    let failed = |source| server.failed("look at it", source);
    let (runtime, client) = link.runtime_and_client();
    runtime.block_on(async {
        let transaction = client.transaction().await.map_err(failed)?;
        // What was made on the way goes with the transaction.
        applied(&transaction, server, schema).await.map(drop)
    })
}

/// Returns the number of the last step that was done, zero for an empty database.
async fn applied(
    transaction: &Transaction<'_>,
    server: &Server,
    schema: Schema,
) -> Result<u32, OpenError> {
    let failed = |source| server.failed("read its schema", source);
    let tables = transaction
        .query(
            "SELECT table_name::text FROM information_schema.tables
             WHERE table_schema = current_schema()",
            &[],
        )
        .await
        .map_err(failed)?;
    let tables: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    let has = |name: &str| tables.iter().any(|table| table == name);
    if !has("ailurus_migration") {
        if !tables.is_empty() {
            return Err(OpenError::Foreign {
                path: server.to_string(),
            });
        }
        transaction
            .batch_execute(
                "CREATE TABLE ailurus_migration (
                     number BIGINT PRIMARY KEY, name TEXT NOT NULL,
                     applied TIMESTAMPTZ NOT NULL DEFAULT now())",
            )
            .await
            .map_err(failed)?;
    }
    let row = transaction
        .query_one(
            "SELECT coalesce(max(number), 0)::bigint FROM ailurus_migration",
            &[],
        )
        .await
        .map_err(failed)?;
    let found = u32::try_from(row.get::<_, i64>(0)).unwrap_or(u32::MAX);
    let known = schema.migrations.last().map_or(0, |last| last.number);
    if found > known {
        return Err(OpenError::Newer {
            path: server.to_string(),
            found,
            known,
        });
    }
    Ok(found)
}

async fn apply(
    transaction: &Transaction<'_>,
    step: Migration,
) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(&translated(step.sql)).await?;
    transaction
        .execute(
            "INSERT INTO ailurus_migration (number, name) VALUES ($1, $2)",
            &[&i64::from(step.number), &step.name],
        )
        .await?;
    Ok(())
}

/// Writes neutral DDL as `PostgreSQL` wants it: numbers of 64 bits, texts that compare as bytes,
/// and none of the options of `SQLite`'s tables. There were never triggers here to drop.
fn translated(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len() + sql.len() / 4);
    for line in sql.lines() {
        let line = line.split("--").next().unwrap_or_default();
        if line.starts_with("DROP TRIGGER") {
            continue;
        }
        let line = line
            .replace(") STRICT, WITHOUT ROWID", ")")
            .replace(") STRICT", ")");
        let mut before = "";
        for word in line.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()) {
            let name = word.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
            let rest = &word[name.len()..];
            match name {
                "INTEGER" => text.push_str("BIGINT"),
                "REAL" => text.push_str("DOUBLE PRECISION"),
                "TEXT" if before != "AS" => text.push_str("TEXT COLLATE \"C\""),
                _ => text.push_str(name),
            }
            text.push_str(rest);
            before = name;
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::translated;

    #[test]
    fn neutral_tables_become_those_of_postgresql() {
        let neutral = "-- A TEXT.\nCREATE TABLE t (\n    a INTEGER PRIMARY KEY,\n    b TEXT NOT NULL\n) STRICT, WITHOUT ROWID;\nDROP TRIGGER IF EXISTS x;\nALTER TABLE t ADD COLUMN c TEXT;";
        let expected = "\nCREATE TABLE t (\n    a BIGINT PRIMARY KEY,\n    b TEXT COLLATE \"C\" NOT NULL\n);\nALTER TABLE t ADD COLUMN c TEXT COLLATE \"C\";\n";
        assert_eq!(translated(neutral), expected);
    }
}
