//! Looks at a running payload for the server, within the job's directory and its own processes.
//!
//! What may be asked is decided in the core ([`DebugRequest`]). Nothing here follows a link, and
//! only `gdb` is another program.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use ailurus_experiment::{NamePattern, plan::STDOUT_FILE};
use ailurus_model::Timestamp;
use ailurus_pilot_core::{
    input::DebugAnswer,
    payload::debug::{ANSWER_LENGTH_MAX, DebugRequest, WhichProcess},
};
use ailurus_process::ShortCommand;

use crate::{
    log,
    payload::{open_left_file, read_tail},
};

/// Most files that a look takes notice of.
const FILES_MAX: usize = 20_000;
/// Deepest directory that a look goes into.
const DEPTH_MAX: usize = 8;
/// Bytes by which text is told from other files.
const TEXT_PROBE_BYTES: u64 = 512;
/// Time that gdb may take.
const GDB_LIMIT: Duration = Duration::from_secs(120);
/// Most that gdb may say, in bytes.
const GDB_OUTPUT_MAX: usize = 4 << 20;
/// Files of the pilot, which say nothing of the payload.
const OWN_FILES: [&str; 5] = [
    "pilotlog.txt",
    "pilot_heartbeat.json",
    "container_script.sh",
    "memory_monitor_output.txt",
    "memory_monitor_summary.json",
];

/// Carries out a request. `pids` are the payload's processes.
pub(crate) fn look(request: &DebugRequest, dir: &Path, pids: &[i32]) -> DebugAnswer {
    let text = match request {
        DebugRequest::NewestText => tail_of_newest(dir, &newest_text(dir)),
        DebugRequest::Tail { pattern } => newest_of(dir, pattern).map_or_else(
            || format!("no file matches `{}`", pattern.join("/")),
            |path| tail_of_newest(dir, &path),
        ),
        DebugRequest::List { path } => list(dir, path),
        DebugRequest::DiskUse { path } => disk_use(dir, path),
        DebugRequest::Processes => processes(pids),
        DebugRequest::Stacks(which) => {
            let commands = ["thread apply all bt".to_owned()];
            gdb(dir, *which, pids, &commands).unwrap_or_else(|why| why)
        }
        DebugRequest::CoreFile(which) => return core_file(dir, *which, pids),
    };
    DebugAnswer {
        text,
        has_core_file: false,
    }
}

/// One file below a job's directory.
struct Found {
    /// Relative to that directory.
    path: PathBuf,
    changed: SystemTime,
    size: u64,
}

/// Finds the regular files below a directory; links are not followed.
fn files_below(dir: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    let mut places = vec![(PathBuf::new(), 0)];
    while let Some((place, depth)) = places.pop() {
        let entries = fs::read_dir(dir.join(&place)).into_iter().flatten();
        for entry in entries.flatten() {
            let path = place.join(entry.file_name());
            let Ok(meta) = entry.metadata() else {
                continue;
            };
            if meta.is_dir() && depth < DEPTH_MAX {
                places.push((path, depth + 1));
            } else if meta.is_file() {
                let changed = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                let size = meta.len();
                found.push(Found {
                    path,
                    changed,
                    size,
                });
            }
            if found.len() >= FILES_MAX {
                return found;
            }
        }
    }
    found
}

/// Returns the newest file that a path with `*` and `?` means, below a job's directory.
pub(crate) fn newest_match(dir: &Path, pattern: &str) -> Option<PathBuf> {
    let parts: Vec<String> = pattern.split('/').map(str::to_owned).collect();
    newest_of(dir, &parts).map(|path| dir.join(path))
}

fn newest_of(dir: &Path, pattern: &[String]) -> Option<PathBuf> {
    let found = files_below(dir).into_iter();
    let found = found.filter(|file| matches(&file.path, pattern));
    found.max_by_key(|file| file.changed).map(|file| file.path)
}

fn newest_text(dir: &Path) -> PathBuf {
    let mut files = files_below(dir);
    files.retain(|file| {
        let path = file.path.to_string_lossy();
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        file.size > 0 && !OWN_FILES.contains(&name.as_ref()) && !path.contains("prmon")
    });
    files.sort_by_key(|file| std::cmp::Reverse(file.changed));
    let newest = files
        .into_iter()
        .find(|file| is_text(&dir.join(&file.path)));
    newest.map_or_else(|| STDOUT_FILE.into(), |file| file.path)
}

fn is_text(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = open_left_file(path)
        .and_then(|(file, _)| file.take(TEXT_PROBE_BYTES).read_to_end(&mut head));
    read.is_ok() && !head.contains(&0)
}

fn tail_of_newest(dir: &Path, path: &Path) -> String {
    let bytes = read_tail(&dir.join(path), ANSWER_LENGTH_MAX as u64).unwrap_or_default();
    format!("{}\n{}", path.display(), String::from_utf8_lossy(&bytes))
}

fn matches(path: &Path, pattern: &[String]) -> bool {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.len() == pattern.len()
        && parts
            .iter()
            .zip(pattern)
            .all(|(part, pattern)| NamePattern::new(pattern.as_str()).matches(part))
}

/// Goes down from a job's directory, not over links.
fn below(dir: &Path, path: &[String]) -> Option<PathBuf> {
    let mut place = dir.to_owned();
    for part in path {
        place.push(part);
        let meta = fs::symlink_metadata(&place).ok()?;
        if meta.is_symlink() {
            return None;
        }
    }
    Some(place)
}

fn list(dir: &Path, path: &[String]) -> String {
    let Some(place) = below(dir, path) else {
        return format!("no file or directory `{}`", path.join("/"));
    };
    let mut lines = Vec::new();
    if place.is_file() {
        lines.extend(line_of(&place, &path.join("/")));
    }
    let entries = fs::read_dir(&place).into_iter().flatten().flatten();
    for entry in entries.take(FILES_MAX) {
        lines.extend(line_of(&entry.path(), &entry.file_name().to_string_lossy()));
    }
    // Oldest first, as `ls -ltr`: what changed last is in the part that is kept.
    lines.sort();
    let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    lines.join("\n")
}

fn line_of(path: &Path, name: &str) -> Option<(i64, String)> {
    let meta = fs::symlink_metadata(path).ok()?;
    let kind = match () {
        () if meta.is_dir() => 'd',
        () if meta.is_symlink() => 'l',
        () => '-',
    };
    let changed = meta.mtime();
    let time = Timestamp::from_millis(changed.saturating_mul(1000));
    let mode = meta.mode() & 0o7777;
    let line = format!("{kind}{mode:04o} {:>12} {time} {name}", meta.len());
    Some((changed, line))
}

fn disk_use(dir: &Path, path: &[String]) -> String {
    let Some(place) = below(dir, path) else {
        return format!("no directory `{}`", path.join("/"));
    };
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for file in files_below(&place) {
        let first = file.path.iter().next().unwrap_or_default();
        let size = sizes
            .entry(first.to_string_lossy().into_owned())
            .or_default();
        *size += file.size;
    }
    let mut sizes: Vec<(u64, String)> =
        sizes.into_iter().map(|(name, size)| (size, name)).collect();
    sizes.sort();
    let total: u64 = sizes.iter().map(|(size, _)| size).sum();
    let lines = sizes
        .iter()
        .map(|(size, name)| format!("{:>12} KiB {name}", size / 1024));
    let lines: Vec<String> = lines.collect();
    format!("{}\n{:>12} KiB .", lines.join("\n"), total / 1024)
}

/// What `/proc/PID/stat` says of a process: parent, state, processor time in ticks, memory pages.
struct Stat {
    parent: i64,
    state: char,
    ticks: u64,
    pages: u64,
}

fn stat_of(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, a bracket too.
    let rest = text.rsplit_once(')')?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| -> Option<u64> { fields.get(index)?.parse().ok() };
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        ticks: number(11)?.saturating_add(number(12)?),
        pages: number(21)?,
    })
}

fn processes(pids: &[i32]) -> String {
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let page = rustix::param::page_size() as u64;
    let mut lines = vec!["    PID    PPID S     RSS KiB   CPU s COMMAND".to_owned()];
    for pid in pids {
        let Some(stat) = stat_of(*pid) else {
            continue;
        };
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace(char::is_control, " ");
        lines.push(format!(
            "{pid:>7} {:>7} {} {:>11} {:>7} {}",
            stat.parent,
            stat.state,
            stat.pages * page / 1024,
            stat.ticks / ticks,
            command.trim_end()
        ));
    }
    lines.join("\n")
}

fn choose(which: WhichProcess, pids: &[i32]) -> Result<i32, String> {
    let found = match which {
        WhichProcess::Pid(pid) => pids.iter().copied().find(|known| *known == pid),
        WhichProcess::Busiest => {
            let used = |pid: &i32| stat_of(*pid).map_or(0, |stat| stat.ticks);
            pids.iter().copied().max_by_key(used)
        }
    };
    found.ok_or_else(|| format!("{which:?} is no process of the payload"))
}

fn gdb(
    dir: &Path,
    which: WhichProcess,
    pids: &[i32],
    commands: &[String],
) -> Result<String, String> {
    let pid = choose(which, pids)?.to_string();
    let mut argv: Vec<OsString> = ["gdb", "--batch", "--nx", "--pid", &pid]
        .map(OsString::from)
        .into();
    for command in commands {
        argv.extend([OsString::from("-ex"), OsString::from(command)]);
    }
    let command = ShortCommand {
        argv,
        env: BTreeMap::new(),
        cwd: Some(dir.to_owned()),
        stdin: Vec::new(),
        timeout: GDB_LIMIT,
        output_max_bytes: GDB_OUTPUT_MAX,
    };
    let output = command.run().map_err(|error| log::chain(&error))?;
    Ok(format!("{}{}", output.stderr_text(), output.stdout_text()))
}

fn core_file(dir: &Path, which: WhichProcess, pids: &[i32]) -> DebugAnswer {
    let pid = match choose(which, pids) {
        Ok(pid) => pid,
        Err(text) => {
            return DebugAnswer {
                text,
                has_core_file: false,
            };
        }
    };
    let name = format!("core.{pid}");
    let commands = [format!("generate-core-file {name}")];
    let text = gdb(dir, WhichProcess::Pid(pid), pids, &commands).unwrap_or_else(|why| why);
    let meta = fs::symlink_metadata(dir.join(&name));
    DebugAnswer {
        text,
        has_core_file: meta.is_ok_and(|meta| meta.is_file() && meta.len() > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("space");
        fs::create_dir(place.path().join("workDir")).expect("space");
        fs::write(place.path().join("workDir/log.one"), "line 1\nline 2\n").expect("space");
        fs::write(place.path().join("data.root"), [0, 1, 2]).expect("space");
        fs::write(place.path().join("pilotlog.txt"), "mine").expect("space");
        place
    }

    fn shown(request: &DebugRequest, place: &Path) -> String {
        look(request, place, &[]).text
    }

    fn parts(path: &[&str]) -> Vec<String> {
        path.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn the_newest_text_is_neither_the_pilots_nor_binary() {
        let place = place();
        let text = shown(&DebugRequest::NewestText, place.path());
        assert_eq!(text, "workDir/log.one\nline 1\nline 2\n");
    }

    #[test]
    fn a_pattern_finds_a_file_and_follows_no_link() {
        let place = place();
        let secret = tempfile::tempdir().expect("space");
        fs::write(secret.path().join("log.secret"), "secret").expect("space");
        std::os::unix::fs::symlink(secret.path(), place.path().join("out")).expect("space");
        let link = place.path().join("workDir/log.two");
        std::os::unix::fs::symlink(secret.path().join("log.secret"), link).expect("space");
        let tail = |pattern: &[&str]| {
            let pattern = parts(pattern);
            shown(&DebugRequest::Tail { pattern }, place.path())
        };
        assert!(tail(&["workDir", "log.*"]).ends_with("line 2\n"));
        assert!(tail(&["out", "*"]).starts_with("no file matches"));
        let list = |path: &[&str]| {
            let path = parts(path);
            shown(&DebugRequest::List { path }, place.path())
        };
        assert!(list(&["workDir"]).contains("log.one"));
        assert!(list(&["out"]).starts_with("no file or directory"));
    }

    #[test]
    fn disk_use_adds_up_each_part() {
        let place = place();
        fs::write(place.path().join("workDir/big"), vec![1; 4096]).expect("space");
        let text = shown(&DebugRequest::DiskUse { path: vec![] }, place.path());
        assert!(
            text.contains("4 KiB workDir") && text.ends_with("4 KiB ."),
            "{text}"
        );
    }

    #[test]
    fn processes_are_shown_with_parent_and_command() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let text = look(&DebugRequest::Processes, Path::new("/"), &[own]).text;
        assert!(
            text.lines()
                .nth(1)
                .is_some_and(|line| line.contains(&own.to_string())),
            "{text}"
        );
    }

    #[test]
    fn gdb_is_refused_for_a_process_that_is_not_the_payloads() {
        let request = DebugRequest::CoreFile(WhichProcess::Pid(2));
        let answer = look(&request, Path::new("/"), &[]);
        assert!(!answer.has_core_file && answer.text.contains("no process of the payload"));
    }
}
