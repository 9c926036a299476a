//! `ailurus-pilot data check`: says of each file whether it is whole and of its format.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use ailurus_format::{Depth, Finding, Format, Verdict};
use ailurus_transfer::{CheckError, FormatCheck, StopSwitch, check_file};
use clap::Parser;
use serde_json::{Value, json};

use crate::{USAGE_ERROR, log};

/// The word that asks for it.
pub(super) const NAME: &str = "check";
/// What it is for.
pub(super) const ABOUT: &str = "say of files whether they are whole and of their format";
/// Exit code if a file is bad.
const BAD: u8 = 1;
/// Most threads, over all files.
const THREADS_MAX: usize = 8;
/// Stack of a thread, in bytes. Only what is used of it becomes memory.
const STACK_BYTES: usize = 1 << 20;

/// Says of each file whether it is whole and of its format.
#[derive(Debug, Parser)]
#[command(max_term_width = 100, after_help = after_help())]
struct CheckArgs {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What they should be, instead of what names and then first bytes tell
    #[arg(long, value_name = "NAME", value_parser = format_of)]
    format: Option<Format>,
    /// How much to look at: `structure` for milliseconds, `baskets` for every checksum
    #[arg(long, value_name = "DEPTH", default_value = "baskets", value_parser = depth_of)]
    depth: Depth,
    /// A file without entries in any tree is bad, too
    #[arg(long)]
    entries: bool,
    /// One JSON object a line, for programs
    #[arg(long)]
    json: bool,
}

fn format_of(name: &str) -> Result<Format, String> {
    let names = || Format::names().collect::<Vec<_>>().join(", ");
    Format::from_name(name).ok_or_else(|| format!("known are {}", names()))
}

fn depth_of(name: &str) -> Result<Depth, String> {
    let known = Depth::ALL.map(Depth::name).join(" and ");
    Depth::from_name(name).ok_or_else(|| format!("known are {known}"))
}

fn after_help() -> String {
    let mut text = "Formats:\n".to_owned();
    for format in Format::names().filter_map(Format::from_name) {
        text.push_str(&format!("  {:<8}{}\n", format.name(), format.sees()));
    }
    text.push_str(
        "\nOne line a file goes to standard output: `good` or `bad`, then what was found, and the\n\
         entries of each tree. Files that cannot be read are told on standard error.\n\n\
         Exit codes: 0 all files are good; 1 at least one is bad; 2 an option makes no sense, or a\n\
         file could not be checked.",
    );
    text
}

/// What became of one file.
type Outcome = Result<Verdict, CheckError>;

/// Runs the command, and returns the process's exit code.
pub(super) fn run(words: Vec<OsString>) -> ExitCode {
    let args = CheckArgs::parse_from(words);
    let mut code = 0;
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    check_all(&args, |nr, outcome| {
        waiting.insert(nr, outcome);
        // The lines have the order of the files.
        while let Some(outcome) = waiting.remove(&next) {
            code = code.max(tell(&args.files[next], &outcome, &args)?);
            next += 1;
        }
        Ok(())
    })
    .unwrap_or_else(|error: io::Error| {
        // Who closes our output early has seen enough.
        let is_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        code = if is_pipe { code } else { USAGE_ERROR };
    });
    ExitCode::from(code)
}

/// Checks all files, several at a time, and gives each outcome to `act` as it comes.
fn check_all(
    args: &CheckArgs,
    mut act: impl FnMut(usize, Outcome) -> io::Result<()>,
) -> io::Result<()> {
    let n_cores = thread::available_parallelism().map_or(1, usize::from);
    let n_threads = n_cores.min(THREADS_MAX);
    let n_files_at_once = n_threads.min(args.files.len());
    let check = FormatCheck {
        format: args.format,
        depth: args.depth,
        n_threads: n_threads / n_files_at_once,
        stop: StopSwitch::new(),
    };
    let next = AtomicUsize::new(0);
    let (tx, rx) = mpsc::sync_channel(n_threads);
    let work = |tx: &mpsc::SyncSender<(usize, Outcome)>| {
        loop {
            let nr = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = args.files.get(nr) else {
                break;
            };
            if tx.send((nr, check_file(path, &check))).is_err() {
                break;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..n_files_at_once {
            let tx = tx.clone();
            thread::Builder::new()
                .name("data-check".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, move || work(&tx))?;
        }
        drop(tx);
        for (nr, outcome) in rx {
            act(nr, outcome).inspect_err(|_| check.stop.stop())?;
        }
        Ok(())
    })
}

/// Tells what became of one file, and returns the exit code that is due to it.
fn tell(path: &Path, outcome: &Outcome, args: &CheckArgs) -> io::Result<u8> {
    let mut out = io::stdout().lock();
    match outcome {
        Ok(verdict) => {
            let lacks_entries = args.entries && verdict.entries().unwrap_or(0) == 0;
            let is_good = verdict.is_good() && !lacks_entries;
            if args.json {
                writeln!(out, "{}", to_json(path, verdict, is_good))?;
            } else {
                writeln!(out, "{}", to_line(path, verdict, is_good))?;
            }
            out.flush()?;
            Ok(if is_good { 0 } else { BAD })
        }
        Err(error) => {
            if args.json {
                let line = json!({"file": path.to_string_lossy(), "error": log::chain(error)});
                writeln!(out, "{line}")?;
                out.flush()?;
            }
            crate::complain("not-checked", error);
            Ok(USAGE_ERROR)
        }
    }
}

/// The line for people.
fn to_line(path: &Path, verdict: &Verdict, is_good: bool) -> String {
    let word = if is_good { "good" } else { "bad " };
    let mut line = format!("{word} {}: {}", path.display(), verdict.format.name());
    let mut told: Vec<String> = verdict.findings.iter().map(Finding::to_string).collect();
    if verdict.n_more > 0 {
        told.push(format!("{} more", verdict.n_more));
    }
    if !told.is_empty() {
        line.push_str(&format!(": {}", told.join("; ")));
    }
    let has_entries = |one: &&ailurus_format::Content| one.entries.is_some();
    let entries = verdict.contents.iter().filter(has_entries);
    let entries: Vec<String> = entries
        .map(|one| format!("{} {}", one.name, one.entries.unwrap_or(0)))
        .map(|text| text.trim_start().to_owned())
        .collect();
    if !entries.is_empty() {
        line.push_str(&format!(" (entries: {})", entries.join(", ")));
    }
    // A name may have any characters, and a line has to stay one.
    line.chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

/// The line for programs.
fn to_json(path: &Path, verdict: &Verdict, is_good: bool) -> Value {
    let findings: Vec<Value> = verdict
        .findings
        .iter()
        .map(|one| json!({"code": one.code(), "fault": one.is_fault(), "text": one.to_string()}))
        .collect();
    let contents: Vec<Value> = verdict
        .contents
        .iter()
        .map(|one| json!({"class": one.class, "name": one.name, "entries": one.entries}))
        .collect();
    json!({
        "file": path.to_string_lossy(),
        "good": is_good,
        "format": verdict.format.name(),
        "depth": verdict.depth.name(),
        "bytes": verdict.length,
        "entries": verdict.entries(),
        "findings": findings,
        "findings_left_off": verdict.n_more,
        "contents": contents,
    })
}
