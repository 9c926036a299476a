//! `cargo xtask bench`: figures, one JSON line each on standard output, a table on standard error.
//!
//! Everything runs on loopback with release builds. A figure is the median of its runs. A goal
//! that is missed is shown, never a failure: speed is looked at, not asserted.

#![expect(
    clippy::print_stderr,
    reason = "the table is for the person at the terminal"
)]
#![expect(clippy::print_stdout, reason = "the figures are what is asked for")]

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use server::{Kind, Plan};

mod brokerage;
mod figure;
mod monitor;
mod pilot;
mod root_check;
mod server;
mod transfer;

const HELP: &str = "usage: ailurus-bench [pilot|server|brokerage|transfer|root-check|all] [--runs N] \
                    [--database sqlite|postgres] [--running N] [--servers N]";

/// Running jobs in the server's database where that is not said.
const RUNNING: u64 = 1_000_000;

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut which = "all".to_owned();
    let mut runs = 20;
    let mut databases = vec![Kind::Sqlite, Kind::Postgres];
    let mut running = RUNNING;
    let mut servers = 1;
    let mut words = arguments;
    while let Some(word) = words.next() {
        match word.as_str() {
            "pilot" | "server" | "brokerage" | "transfer" | "root-check" | "all" => which = word,
            "--runs" => runs = count(&mut words, "runs")?,
            "--database" => {
                databases = match words.next().context(HELP)?.as_str() {
                    "sqlite" => vec![Kind::Sqlite],
                    "postgres" => vec![Kind::Postgres],
                    other => bail!("`{other}` is no database: `sqlite` or `postgres`"),
                }
            }
            "--running" => {
                let value = words.next().context(HELP)?;
                running = value
                    .parse()
                    .with_context(|| format!("`{value}` is no number of running jobs"))?;
            }
            "--servers" => servers = count(&mut words, "servers")?,
            other => bail!("`{other}` is not known; {HELP}"),
        }
    }
    let mut figures = Vec::new();
    let is_asked = |name: &str| which == name || which == "all";
    if is_asked("pilot") {
        figures.extend(pilot::measure(runs)?);
        figures.push(monitor::measure()?);
    }
    if is_asked("server") {
        for kind in databases {
            figures.extend(server::measure(Plan {
                kind,
                runs,
                servers,
                running: Some(running).filter(|running| *running > 0),
            })?);
        }
    }
    if is_asked("brokerage") {
        figures.extend(brokerage::measure()?);
    }
    if is_asked("transfer") {
        figures.extend(transfer::measure()?);
    }
    if is_asked("transfer") || is_asked("root-check") {
        figures.extend(root_check::measure()?);
    }
    for figure in &figures {
        println!("{}", figure.json());
    }
    eprint!("{}", figure::table(&figures));
    Ok(())
}

/// Reads the number of something of which there must be one.
fn count(words: &mut impl Iterator<Item = String>, what: &str) -> anyhow::Result<usize> {
    let value = words.next().context(HELP)?;
    let number = value.parse().ok().filter(|number| *number > 0);
    number.with_context(|| format!("`{value}` is no number of {what}: 1 or more"))
}
