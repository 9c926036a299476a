//! `cargo xtask test`: everything that must hold before a change lands, in the order of cost.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use ailurus_testkit::{
    oidc, panda_clients,
    place::{self, Profile},
    python, rucio, schemathesis,
    storage::{ALL, DEMAND},
};
use anyhow::bail;

use crate::{
    demo, docs, machine, package, shell, storage, tidy,
    trees::{self, Tree},
};

/// A step's name and what it does.
type Step = (&'static str, fn() -> anyhow::Result<()>);

/// The version that the rules are written for.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// Runs formatting, layers, licences, lints, tests, fixed seeds and the production chain.
///
/// # Errors
///
/// The first step that fails ends the run.
pub(crate) fn run(options: &[String]) -> anyhow::Result<()> {
    if let Some(option) = options.first() {
        bail!("`{option}` is no option of `test`: it takes none");
    }
    let steps: [Step; 18] = [
        ("formatting", formatting),
        ("layers, names and sizes", || tidy::run(&[])),
        ("licences and bans", licences),
        ("payload environment", || python::prepare().map(drop)),
        ("Rucio server", || rucio::prepare().map(drop)),
        ("OIDC provider", || oidc::prepare().map(drop)),
        ("PanDA's Python programs", || {
            panda_clients::prepare().map(drop)
        }),
        ("API fuzzer", || schemathesis::prepare().map(drop)),
        ("storage servers", storage::provide),
        ("lints", lints),
        ("generated pages", generated_pages),
        ("other systems", other_systems),
        ("tests", tests),
        ("the release's pilot", released_pilot),
        ("control groups", machine::test_control_groups),
        ("simulated seeds", || sim(&["--seeds", "0..200"])),
        ("the production chain", production_chain),
        ("the production chain on XRootD", production_chain_on_xrootd),
    ];
    for (name, step) in steps {
        eprintln!("── {name}");
        let start = Instant::now();
        step()?;
        eprintln!("   {name}: {}", seconds(start.elapsed()));
    }
    Ok(())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn formatting() -> anyhow::Result<()> {
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
}

fn lints() -> anyhow::Result<()> {
    shell::run(shell::cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))
}

fn generated_pages() -> anyhow::Result<()> {
    docs::run(&["--check".to_owned()])
}

/// The rules are in `deny.toml`. The database of advisories lies on the internet at large, so
/// that check is left to where people are online: `cargo deny check advisories`.
fn licences() -> anyhow::Result<()> {
    let deny = cargo_deny()?;
    shell::run(shell::command(deny).args(["check", "bans", "licenses", "sources"]))
}

/// Returns the path of cargo-deny; builds it once below the target folder if it is not installed.
fn cargo_deny() -> anyhow::Result<PathBuf> {
    if has_cargo_command("deny") {
        return Ok("cargo-deny".into());
    }
    // Without its defaults it needs no C library, and no network for what we ask it.
    shell::install("cargo-deny", CARGO_DENY_VERSION, &["--no-default-features"])
}

/// Makes what tests with containers need. Without it they say so and go without.
fn other_systems() -> anyhow::Result<()> {
    if trees::provide_tools()?
        && let Err(error) = Tree::New.provide()
    {
        eprintln!("   no {}: {error:#}", Tree::New.name());
    }
    Ok(())
}

/// The static binary as it is released, in other systems.
fn released_pilot() -> anyhow::Result<()> {
    package::run(&["--tarball-only", "--check"].map(str::to_owned))
}

fn tests() -> anyhow::Result<()> {
    let mut cargo = shell::cargo();
    if has_cargo_command("nextest") {
        cargo.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    } else {
        cargo.args(["test", "--quiet", "--workspace", "--no-fail-fast"]);
    }
    if storage::is_complete() {
        cargo.env(DEMAND, ALL);
    }
    // The end-to-end tests start our programs, which a test build alone does not make.
    shell::build(&place::PROGRAMS, Profile::Dev)?;
    shell::run(&mut cargo)
}

/// The demo on a smaller sample: real physics, the fault found and healed, peaks in their places.
fn production_chain() -> anyhow::Result<()> {
    let options = ["--events".to_owned(), "6000".to_owned()];
    demo::run_in(&place::target().join("test-chain"), &options)
}

/// The same with a server a site, on the smallest sample that both sites share.
fn production_chain_on_xrootd() -> anyhow::Result<()> {
    if !storage::provide_xrootd()? {
        eprintln!("   left out: no XRootD can be had here");
        return Ok(());
    }
    let options = ["--events", "2000", "--storage", "xrootd"].map(str::to_owned);
    demo::run_in(&place::target().join("test-chain-xrootd"), &options)
}

fn sim(options: &[&str]) -> anyhow::Result<()> {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    shell::cargo_run("ailurus-sim", Profile::Dev, &options)
}

fn has_cargo_command(name: &str) -> bool {
    Command::new(format!("cargo-{name}"))
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}
