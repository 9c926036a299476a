//! Checks whether a file is of the format that its name promises: by know-how that is built in, and
//! by a program that the profile names.

use std::{collections::BTreeMap, ffi::OsString, fs::File, io, os::unix::fs::FileExt, path::Path};

use ailurus_experiment::HookProfile;
use ailurus_format::{ReadError, Source};
use ailurus_pilot_core::data::FormatCheck;
use ailurus_process::ShortCommand;

use crate::log;

/// Most bytes that a checker may say.
const ANSWER_MAX_BYTES: usize = 64 << 10;
/// Longest part of what it said that people see, in bytes.
const LAST_WORDS_MAX: usize = 300;

/// Checks a file.
///
/// # Errors
///
/// What is wrong with it, in words.
pub(crate) fn check_file(path: &Path, check: &FormatCheck) -> Result<(), String> {
    if let Some((format, depth)) = check.built_in() {
        let source = OpenFile::open(path).map_err(|error| format!("it cannot be read: {error}"))?;
        let verdict = ailurus_format::check(&source, format, depth)
            .map_err(|error| format!("it cannot be read: {}", log::chain(&error)))?;
        if let Some(fault) = verdict.first_fault() {
            return Err(fault.to_string());
        }
    }
    match &check.command {
        Some(hook) => ask(path, hook),
        None => Ok(()),
    }
}

/// A file's bytes, for the checks.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    length: u64,
}

impl OpenFile {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }
}

impl Source for OpenFile {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|source| ReadError {
                offset,
                length: buffer.len(),
                source,
            })
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
