//! What a server may ask to see of a job that runs: a short list of typed requests.
//!
//! A debug command is text like `tail -20 log.*`. It is split into words without a shell, and
//! becomes a [`DebugRequest`] only if the program is on the list and every path stays in the job's
//! directory. What options say beyond that is left aside: the pilot answers by itself, without
//! starting `tail`, `ls`, `ps` or `du`.
//!
//! Source: Pilot 3, `pilot/control/job.py`, `get_debug_command` and `get_debug_stdout`.

use ailurus_experiment::words::split_words;

/// Longest debug command, in bytes.
const COMMAND_LENGTH_MAX: usize = 1000;
/// Longest answer, in bytes; the server keeps no more.
pub const ANSWER_LENGTH_MAX: usize = 2048;
/// The gdb command that leaves a core file.
const CORE_COMMANDS: [&str; 2] = ["generate-core-file", "gcore"];
/// Gdb commands that only show something. No other one is passed on: some start programs.
const STACK_COMMANDS: [&str; 8] = [
    "bt",
    "bt full",
    "backtrace",
    "where",
    "info threads",
    "thread apply all bt",
    "thread apply all where",
    "thread apply all bt full",
];
/// Gdb commands without an effect of their own.
const IDLE_COMMANDS: [&str; 3] = ["quit", "set pagination off", "detach"];

/// What is to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DebugRequest {
    /// The end of the text file that changed last.
    NewestText,
    /// The end of the newest file whose path matches, below the job's directory.
    Tail {
        /// Parts of the path, which may have `*` and `?`. At least one.
        pattern: Vec<String>,
    },
    /// The files of a directory.
    List {
        /// Parts of the path below the job's directory; none for itself.
        path: Vec<String>,
    },
    /// The payload's processes.
    Processes,
    /// The space that each part of a directory takes.
    DiskUse {
        /// Parts of the path below the job's directory; none for itself.
        path: Vec<String>,
    },
    /// The stacks of a process of the payload.
    Stacks(WhichProcess),
    /// A core file of a process of the payload, which is then ended.
    CoreFile(WhichProcess),
}

/// A process of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichProcess {
    /// The one that used most processor time.
    Busiest,
    /// This one, if it is the payload's.
    Pid(i32),
}

/// A debug command is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DebugError {
    /// It is too long, or holds what no shell must see.
    #[error("it is longer than {COMMAND_LENGTH_MAX} bytes, has an open quote or a `;`")]
    Malformed,
    /// The program is not on the list.
    #[error("`{0}` is none of `tail`, `ls`, `ps`, `gdb` and `du`")]
    Program(String),
    /// A path leads out of the job's directory.
    #[error("`{0}` is no path below the job's directory")]
    Path(String),
    /// Nothing says which file.
    #[error("it names no file")]
    NoFile,
    /// Gdb is asked for what is not allowed.
    #[error("gdb may only show stacks or leave a core file of one process, not `{0}`")]
    Gdb(String),
}

impl DebugRequest {
    /// Reads a debug command; none, and `debug`, mean the newest text file.
    ///
    /// # Errors
    ///
    /// [`DebugError`] for all that is not on the list.
    pub fn read(command: Option<&str>) -> Result<Self, DebugError> {
        let command = command.unwrap_or_default().trim();
        if matches!(command, "" | "debug") {
            return Ok(Self::NewestText);
        }
        if command.len() > COMMAND_LENGTH_MAX
            || command.contains([';', '\0', '\n'])
            || command.contains("&#59")
        {
            return Err(DebugError::Malformed);
        }
        let words = split_words(command).map_err(|_| DebugError::Malformed)?;
        let (program, options) = words.split_first().ok_or(DebugError::Malformed)?;
        // As in Pilot 3, the last word is the path unless it is an option.
        let path = options.last().filter(|word| !word.starts_with('-'));
        let path = path.map(|word| parts_of(word)).transpose()?;
        match program.as_str() {
            "tail" => {
                let pattern = path.filter(|parts| !parts.is_empty());
                Ok(Self::Tail {
                    pattern: pattern.ok_or(DebugError::NoFile)?,
                })
            }
            "ls" => Ok(Self::List {
                path: path.unwrap_or_default(),
            }),
            "du" => Ok(Self::DiskUse {
                path: path.unwrap_or_default(),
            }),
            "ps" => Ok(Self::Processes),
            "gdb" => read_gdb(options),
            other => Err(DebugError::Program(other.to_owned())),
        }
    }

    /// Says whether a stream of the payload's output shows the same.
    #[must_use]
    pub const fn is_output(&self) -> bool {
        matches!(self, Self::NewestText | Self::Tail { .. })
    }
}

fn parts_of(path: &str) -> Result<Vec<String>, DebugError> {
    let bad = || DebugError::Path(path.to_owned());
    if path.starts_with('/') {
        return Err(bad());
    }
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts
        .map(|part| match part {
            ".." => Err(bad()),
            part => Ok(part.to_owned()),
        })
        .collect()
}

/// Reads `--pid N|% -ex 'command' …`, in any order.
fn read_gdb(options: &[String]) -> Result<DebugRequest, DebugError> {
    let mut process = None;
    let mut wants_core = false;
    let mut words = options.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) if word.starts_with('-') => (name, Some(value)),
            Some(_) | None => (word, None),
        };
        let refused = || DebugError::Gdb(word.to_owned());
        match name.trim_start_matches('-') {
            "pid" | "p" => {
                process = Some(match value.or_else(|| words.next()) {
                    Some("%") => WhichProcess::Busiest,
                    Some(text) => {
                        let pid = text.parse().ok().filter(|pid| *pid > 1);
                        WhichProcess::Pid(pid.ok_or_else(refused)?)
                    }
                    None => return Err(refused()),
                });
            }
            "ex" | "eval-command" => {
                let command = value.or_else(|| words.next()).unwrap_or_default().trim();
                if CORE_COMMANDS.contains(&command) {
                    wants_core = true;
                } else if !STACK_COMMANDS.contains(&command) && !IDLE_COMMANDS.contains(&command) {
                    return Err(DebugError::Gdb(command.to_owned()));
                }
            }
            "batch" | "nx" | "n" | "q" | "quiet" => {}
            _ => return Err(refused()),
        }
    }
    let process = process.ok_or_else(|| DebugError::Gdb("no `--pid`".to_owned()))?;
    Ok(if wants_core {
        DebugRequest::CoreFile(process)
    } else {
        DebugRequest::Stacks(process)
    })
}

/// Cuts an answer to what the server keeps: its end.
#[must_use]
pub fn newest_part(text: &str) -> &str {
    let from = text.len().saturating_sub(ANSWER_LENGTH_MAX);
    &text[text.ceil_char_boundary(from)..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(command: &str) -> Result<DebugRequest, DebugError> {
        DebugRequest::read(Some(command))
    }

    fn parts(path: &[&str]) -> Vec<String> {
        path.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn commands_of_pilot_3_are_understood() {
        let pattern = parts(&["workDir", "tmp.stdout*"]);
        for (command, request) in [
            ("debug", DebugRequest::NewestText),
            (
                "tail -n 20 workDir/tmp.stdout*",
                DebugRequest::Tail { pattern },
            ),
            ("ls -ltr", DebugRequest::List { path: vec![] }),
            (
                "ls -l ./workDir",
                DebugRequest::List {
                    path: parts(&["workDir"]),
                },
            ),
            ("ps axo pid,ppid,pgid,args", DebugRequest::Processes),
            ("du -sk", DebugRequest::DiskUse { path: vec![] }),
            (
                "gdb --pid % -ex 'generate-core-file'",
                DebugRequest::CoreFile(WhichProcess::Busiest),
            ),
            (
                "gdb -batch -p 4711 -ex bt -ex quit",
                DebugRequest::Stacks(WhichProcess::Pid(4711)),
            ),
        ] {
            assert_eq!(read(command), Ok(request), "{command}");
        }
        assert_eq!(DebugRequest::read(None), Ok(DebugRequest::NewestText));
    }

    #[test]
    fn what_leads_out_of_the_job_is_refused() {
        for command in [
            "tail /etc/passwd",
            "tail ../other/payload.stdout",
            "ls a/../../b",
            "du -s /",
        ] {
            assert!(
                matches!(read(command), Err(DebugError::Path(_))),
                "{command}"
            );
        }
    }

    #[test]
    fn other_programs_and_shell_syntax_are_refused() {
        for command in [
            "rm -rf x",
            "cat x",
            "tail x; id",
            "ls &#59 id",
            "tail 'x",
            "tail x\nid",
            "tail",
            "tail -f",
        ] {
            assert!(read(command).is_err(), "{command}");
        }
        let long = format!("tail {}", "x".repeat(COMMAND_LENGTH_MAX));
        assert_eq!(read(&long), Err(DebugError::Malformed));
    }

    #[test]
    fn gdb_can_neither_start_programs_nor_touch_other_processes() {
        for command in [
            "gdb --pid % -ex 'shell id'",
            "gdb --pid % -ex '!id'",
            "gdb --pid % -x script",
            "gdb --args id",
            "gdb --pid 1",
            "gdb --pid -5",
            "gdb -ex bt",
            "gdb id --pid %",
        ] {
            assert!(
                matches!(read(command), Err(DebugError::Gdb(_))),
                "{command}"
            );
        }
    }

    #[test]
    fn the_newest_part_of_a_long_answer_is_kept() {
        let text = format!("{}end", "ü".repeat(2000));
        let cut = newest_part(&text);
        assert!(cut.len() <= ANSWER_LENGTH_MAX && cut.ends_with("end"));
        assert_eq!(newest_part("short"), "short");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_path_that_leads_elsewhere(command in "(tail|ls|du) [-a-z./* ]{0,30}") {
            let paths = match read(&command) {
                Ok(DebugRequest::Tail { pattern }) => pattern,
                Ok(DebugRequest::List { path } | DebugRequest::DiskUse { path }) => path,
                Ok(_) | Err(_) => vec![],
            };
            prop_assert!(paths.iter().all(|part| !part.contains('/') && part != ".."));
        }

        #[test]
        fn reading_any_text_never_panics(text in any::<String>()) {
            let _ = read(&text);
            let _ = newest_part(&text);
        }
    }
}
