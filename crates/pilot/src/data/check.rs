//! Checks whether a file is of the format that its name promises: by know-how that is built in, and
//! by a program that the profile names.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use ailurus_experiment::HookProfile;
use ailurus_pilot_core::data::FormatCheck;
use ailurus_process::ShortCommand;
use ailurus_transfer::{self as transfer, StopSwitch, check_file};

use crate::log;

/// Threads for one file.
const THREADS: usize = 2;
/// Most bytes that a checker may say.
const ANSWER_MAX_BYTES: usize = 64 << 10;
/// Longest part of what it said that people see, in bytes.
const LAST_WORDS_MAX: usize = 300;

/// Checks a file. `stop` ends it early, which says nothing about the file.
///
/// # Errors
///
/// What is wrong with it, in words.
pub(crate) fn check(path: &Path, check: &FormatCheck, stop: &StopSwitch) -> Result<(), String> {
    if let Some((format, depth)) = check.built_in() {
        let built_in = transfer::FormatCheck {
            format: Some(format),
            depth,
            n_threads: THREADS,
            stop: stop.clone(),
        };
        let verdict = check_file(path, &built_in).map_err(|error| log::chain(&error))?;
        if let Some(fault) = verdict.first_fault() {
            return Err(fault.to_string());
        }
    }
    match &check.command {
        Some(hook) => ask(path, hook),
        None => Ok(()),
    }
}

/// Asks a profile's program.
fn ask(path: &Path, hook: &HookProfile) -> Result<(), String> {
    let words = hook.command.iter().map(OsString::from);
    let command = ShortCommand {
        argv: words.chain([path.as_os_str().to_owned()]).collect(),
        env: BTreeMap::new(),
        cwd: path.parent().map(Path::to_owned),
        stdin: Vec::new(),
        timeout: hook.timeout,
        output_max_bytes: ANSWER_MAX_BYTES,
    };
    let program = hook.command.first().map_or("", String::as_str);
    let fault = match command.run() {
        Ok(output) if output.is_success() => return Ok(()),
        Ok(output) => {
            let said = if output.stderr.trim_ascii().is_empty() {
                output.stdout_text()
            } else {
                output.stderr_text()
            };
            let said = said.replace(char::is_control, " ");
            let said = said.trim();
            let from = said.ceil_char_boundary(said.len().saturating_sub(LAST_WORDS_MAX));
            format!("`{program}` says ({:?}): {}", output.end, &said[from..])
        }
        Err(error) => format!("it cannot be checked: {}", log::chain(&error)),
    };
    if hook.optional {
        tracing::warn!("`{}`: {fault}", path.display());
        return Ok(());
    }
    Err(fault)
}
