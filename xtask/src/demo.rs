//! `cargo xtask demo`: the SPD production chain, end to end, on this machine.
//!
//! It makes the payloads' Python environment, builds our programs, starts a server and a
//! Harvester with two queues that stand for JINR and PNPI, submits
//! `examples/spd-production/chain.toml` through the command line, shows the progress, and at the
//! end says what came out and where. The files lie in folders or, with `--storage`, on an XRootD
//! server a site. One simulation job fails on purpose, so that people see how
//! a failure is explained and healed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ailurus_testkit::{
    Deployment, QueueSettings, Settings,
    place::{self, Profile},
    python,
    wait::look_every,
};
use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::shell;

use storage::{Kind, Servers};

mod report;
mod screen;
mod storage;

/// The address that stands in the example's chain file.
const EXAMPLE_URL: &str = "http://127.0.0.1:25080";
/// The event number that stands in the example's chain file.
const EXAMPLE_EVENTS: &str = "events = 20000";
/// Events that each job of the example makes.
const EXAMPLE_EVENTS_PER_JOB: u64 = 1000;
/// The part of the simulation that fails at its first attempt; the last one, if there are fewer.
const FAULTY_PART: u64 = 3;
/// Longest run of the chain before the demo gives up.
const CHAIN_LIMIT: Duration = Duration::from_mins(20);
/// Time between two looks at the chain.
const REDRAW_INTERVAL: Duration = Duration::from_millis(300);
/// Pilots at a time on each of the two queues.
const SLOTS: u32 = 1;

/// What was asked for on the command line.
struct Options {
    events: u64,
    fault: bool,
    keep: bool,
    storage: Kind,
}

/// Runs the demo.
///
/// # Errors
///
/// A program is missing, the chain does not complete, or the peaks are not where they must be.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    run_in(&place::target().join("demo"), arguments)
}

/// Runs the demo in a folder, which is emptied first.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn run_in(folder: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let options = parse(arguments)?;
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("`{}` cannot be removed", folder.display()))?;
    }
    eprintln!("Preparing the payloads' Python environment (once) …");
    let python = python::prepare()?;
    eprintln!("Building server, harvester, pilot and command line …");
    shell::build(&place::PROGRAMS, Profile::Dev)?;

    let mut settings = settings(folder, &python);
    // It must be there before the queues are told of it, and until the last job has ended.
    let servers = Servers::start(options.storage, folder, &mut settings.queues)?;
    let mut deployment = Deployment::start(settings)?;
    let chain = write_chain(folder, &deployment.url(), &options)?;
    eprintln!(
        "Server at {}, submitting {}",
        deployment.url(),
        chain.display()
    );
    let start = Instant::now();
    deployment.command_line(&["task", "submit", path_text(&chain)?])?;
    let tasks = follow(&mut deployment, start)?;
    let outcome = report::collect(&deployment, &servers, &tasks, start.elapsed())?;
    outcome.write(folder)?;
    if options.storage != Kind::Directory {
        println!();
        servers.show()?;
    }
    outcome.print(&deployment);
    if options.keep {
        keep(&mut deployment)?;
    }
    deployment.stop()?;
    outcome.check(options.fault, options.events)
}

fn parse(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options {
        events: 20_000,
        fault: true,
        keep: false,
        storage: Kind::Directory,
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--events" => {
                let value = words.next().context("`--events` needs a number")?;
                options.events = value
                    .parse()
                    .ok()
                    .filter(|events| *events > 0)
                    .with_context(|| format!("`{value}` is no number of events: 1 or more"))?;
            }
            "--storage" => {
                let name = words.next().map_or("", String::as_str);
                options.storage = Kind::named(name).with_context(|| {
                    format!("`{name}` is no storage of the demo: {}", Kind::NAMES)
                })?;
            }
            "--no-fault" => options.fault = false,
            "--keep" => options.keep = true,
            other => bail!(
                "`{other}` is no option of `demo`: --events N, --storage KIND, --no-fault, --keep"
            ),
        }
    }
    Ok(options)
}

fn settings(folder: &Path, python: &Path) -> Settings {
    Settings {
        folder: folder.to_path_buf(),
        profile: Profile::Dev,
        queues: vec![
            QueueSettings::new("JINR_CICC", "JINR", SLOTS),
            QueueSettings::new("PNPI_GATCHINA", "PNPI", SLOTS),
        ],
        transforms: place::production().join("payloads"),
        programs_first: Some(python.join("bin")),
        heartbeat_timeout: "2m".to_owned(),
        heartbeat_interval: "20s".to_owned(),
    }
}

/// Writes the chain as submitted: the example with this server's address, the wanted number of
/// events and the fault.
fn write_chain(folder: &Path, url: &str, options: &Options) -> anyhow::Result<PathBuf> {
    let example = place::production().join("chain.toml");
    let mut text = fs::read_to_string(&example)
        .with_context(|| format!("`{}` cannot be read", example.display()))?
        .replace(EXAMPLE_URL, url)
        .replace(EXAMPLE_EVENTS, &format!("events = {}", options.events));
    if options.fault {
        let part = FAULTY_PART.min((options.events - 1) / EXAMPLE_EVENTS_PER_JOB);
        let fault = format!("--attempt {{attempt}} --fault {part}:1");
        text = text.replace("--attempt {attempt}", &fault);
    }
    let path = folder.join("chain.toml");
    fs::write(&path, text).with_context(|| format!("`{}` cannot be written", path.display()))?;
    Ok(path)
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .with_context(|| format!("`{}` is not valid text", path.display()))
}

/// Shows the chain's progress until every task has ended, and returns the tasks.
fn follow(deployment: &mut Deployment, start: Instant) -> anyhow::Result<Vec<Value>> {
    let mut screen = screen::Screen::new();
    let result = look_every(REDRAW_INTERVAL, "the end of the chain", CHAIN_LIMIT, || {
        deployment.check_alive()?;
        let tasks = deployment.command_line(&["task", "list"])?;
        let tasks = tasks.as_array().cloned().unwrap_or_default();
        let failures = deployment.command_line(&["job", "list", "--failed-attempts"])?;
        screen.show(
            &tasks,
            failures.as_array().map_or(&[], Vec::as_slice),
            start.elapsed(),
        );
        let all_ended = !tasks.is_empty() && tasks.iter().all(has_ended);
        Ok(all_ended.then_some(tasks))
    });
    screen.finish();
    result
}

fn has_ended(task: &Value) -> bool {
    matches!(
        text(task, "status"),
        "done" | "finished" | "failed" | "aborted"
    )
}

/// Returns a text field of an answer, empty if it is not there.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Returns a number field of an answer, zero if it is not there.
fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// Leaves everything running until the person presses Ctrl-C, which ends this process and with
/// it the deployment.
fn keep(deployment: &mut Deployment) -> anyhow::Result<()> {
    eprintln!(
        "Everything keeps running at {} until Ctrl-C.",
        deployment.url()
    );
    loop {
        deployment.check_alive()?;
        std::thread::sleep(Duration::from_secs(1));
    }
}
