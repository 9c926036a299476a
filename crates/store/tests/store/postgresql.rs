//! A `PostgreSQL` server for checks that are written for any database.

use std::cell::RefCell;

use ailurus_store::Database;
use ailurus_testkit::postgres::{self, Durability, PostgresServer};

thread_local! {
    static SERVER: RefCell<Option<PostgresServer>> = const { RefCell::new(None) };
}

/// Does something while [`new_database`] gives databases of a server; goes without where none can
/// be had.
pub(crate) fn with_server(work: impl FnOnce()) {
    if !postgres::is_there().unwrap() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = PostgresServer::start(dir.path(), Durability::Fast).unwrap();
    SERVER.set(Some(server));
    work();
    SERVER.take();
}

/// Makes an empty database, inside of [`with_server`].
pub(crate) fn new_database() -> Option<Database> {
    SERVER.with_borrow(|server| {
        let server = server.as_ref()?;
        Some(server.new_database().unwrap().parse().unwrap())
    })
}

/// Runs statements in the last database by its own client, all of them or none, and returns what
/// it prints.
pub(crate) fn execute(sql: &str) -> String {
    run("psql", |command, database| {
        command
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set", "ON_ERROR_STOP=1", "--single-transaction"])
            .args(["--dbname", database, "--command", sql]);
    })
}

/// Copies the last database to a file, as an operator does.
pub(crate) fn dump(file: &std::path::Path) {
    run("pg_dump", |command, database| {
        command
            .args(["--format=custom", "--file"])
            .arg(file)
            .arg(database);
    });
}

/// Goes back to a copy of the last database.
pub(crate) fn restore(file: &std::path::Path) {
    run("pg_restore", |command, database| {
        command
            .args([
                "--clean",
                "--if-exists",
                "--single-transaction",
                "--dbname",
                database,
            ])
            .arg(file);
    });
}

fn run(program: &str, configure: impl FnOnce(&mut std::process::Command, &str)) -> String {
    SERVER.with_borrow(|server| {
        let server = server.as_ref().unwrap();
        let mut command = server.command(program);
        configure(&mut command, &server.last_database());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    })
}
