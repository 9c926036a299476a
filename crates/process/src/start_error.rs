//! Why a program could not be started: what was tried, and what would help.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, access},
    io::Errno,
};

/// Longest `#!` line that is read, in bytes; the kernel reads 256.
const SCRIPT_LINE_MAX_BYTES: u64 = 256;

/// Where programs are looked for without a `PATH`, as C libraries do.
const DEFAULT_SEARCH_PATH: &str = "/bin:/usr/bin";

/// A program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is nothing to start.
    #[error("the command is empty: it must name a program")]
    EmptyCommand,
    /// The command cannot be passed to the kernel.
    #[error("the command for `{program}` holds a zero byte or is too long: shorten it")]
    BadCommand {
        /// The program.
        program: String,
    },
    /// The work directory is not there.
    #[error("the work directory `{}` is not a directory: create it first", path.display())]
    NoWorkDirectory {
        /// The path as given.
        path: PathBuf,
    },
    /// No such program.
    #[error("the program `{program}` is not found ({searched}): install it or correct its name")]
    NotFound {
        /// The program as given.
        program: String,
        /// Where it was looked for.
        searched: String,
    },
    /// The file is there and may not be executed.
    #[error("`{}` is not executable: set its execute bit, and check that its file system is not mounted `noexec`", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// The file names an interpreter that is not there.
    #[error("`{}` asks for the interpreter `{interpreter}`, which is not found: install it or correct the first line", path.display())]
    NoInterpreter {
        /// The script or binary.
        path: PathBuf,
        /// What its first line asks for, with control characters made visible; for a binary its
        /// dynamic loader.
        interpreter: String,
    },
    /// The file is no program for this machine.
    #[error("`{}` is not a program for this machine: check its architecture", path.display())]
    NotAProgram {
        /// The file.
        path: PathBuf,
    },
    /// The guard did not do its part.
    #[error("the payload guard {what}: the program's `main` must call `guard::run_if_asked` first")]
    Guard {
        /// What went wrong with it.
        what: String,
        /// Why, where the operating system said so.
        #[source]
        source: Option<io::Error>,
    },
    /// Anything else.
    #[error("`{program}` cannot be started")]
    Os {
        /// The program.
        program: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl StartError {
    /// Finds out why `program` did not start.
    ///
    /// `search_path` is the `PATH` that was used and `cwd` the work directory, if one was set.
    pub(crate) fn diagnose(
        program: &OsStr,
        search_path: Option<&OsStr>,
        cwd: Option<&Path>,
        error: io::Error,
    ) -> Self {
        let name = program.to_string_lossy().into_owned();
        if let Some(cwd) = cwd.filter(|cwd| !cwd.is_dir()) {
            return Self::NoWorkDirectory {
                path: cwd.to_owned(),
            };
        }
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        let path = locate(program, search_path, cwd);
        match (errno, path) {
            (Some(Errno::NOENT | Errno::NOTDIR), None) => Self::NotFound {
                program: name,
                searched: searched(program, search_path),
            },
            (Some(Errno::NOENT), Some(path)) => Self::NoInterpreter {
                interpreter: interpreter_of(&path),
                path,
            },
            (Some(Errno::ACCESS | Errno::PERM), Some(path)) => Self::of_refused(path),
            (Some(Errno::NOEXEC | Errno::LIBBAD | Errno::ISDIR), Some(path)) => {
                Self::NotAProgram { path }
            }
            (Some(Errno::TOOBIG), _) => Self::BadCommand { program: name },
            (None, _) if error.kind() == io::ErrorKind::InvalidInput => {
                Self::BadCommand { program: name }
            }
            _ => Self::Os {
                program: name,
                source: error,
            },
        }
    }

    /// A refusal may mean the script or its interpreter.
    fn of_refused(path: PathBuf) -> Self {
        let is_executable = fs::metadata(&path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
        match script_interpreter(&path) {
            Some(interpreter) if is_executable => Self::NoInterpreter { path, interpreter },
            Some(_) | None => Self::NotExecutable { path },
        }
    }
}

/// Returns the file to execute for a program's name, relative to `cwd` if the name is. Where there
/// is no executable one, one that is not, so that the kernel says what is wrong with it.
///
/// Looks at the file and at the interpreter in its first line, which mounts what they lie on.
pub(crate) fn resolve(
    program: &OsStr,
    search_path: Option<&OsStr>,
    cwd: &Path,
) -> Option<OsString> {
    let look_at = |path: &Path| {
        if let Some(interpreter) = script_interpreter(path) {
            let _ = fs::metadata(interpreter);
        }
    };
    if program.as_encoded_bytes().contains(&b'/') {
        look_at(&cwd.join(program));
        return Some(program.to_owned());
    }
    let search_path = search_path.unwrap_or(OsStr::new(DEFAULT_SEARCH_PATH));
    let is_executable = |path: &PathBuf| access(path, Access::EXEC_OK).is_ok() && path.is_file();
    let found = std::env::split_paths(search_path)
        .map(|directory| cwd.join(directory).join(program))
        .find(is_executable)
        .or_else(|| locate(program, Some(search_path), Some(cwd)))?;
    look_at(&found);
    Some(found.into_os_string())
}

/// Returns the file that the name stands for, executable or not.
fn locate(program: &OsStr, search_path: Option<&OsStr>, cwd: Option<&Path>) -> Option<PathBuf> {
    let base = cwd.unwrap_or(Path::new(""));
    if program.as_encoded_bytes().contains(&b'/') {
        return Some(base.join(program)).filter(|path| path.exists());
    }
    std::env::split_paths(search_path?)
        .map(|directory| base.join(directory).join(program))
        .find(|path| path.is_file())
}

fn searched(program: &OsStr, search_path: Option<&OsStr>) -> String {
    if program.as_encoded_bytes().contains(&b'/') {
        return "no such file".to_owned();
    }
    match search_path {
        Some(path) => format!("not in the `PATH` `{}`", path.to_string_lossy()),
        None => "no `PATH` is set".to_owned(),
    }
}

/// Names what a file needs to run.
fn interpreter_of(path: &Path) -> String {
    script_interpreter(path).unwrap_or_else(|| "dynamic loader of the binary".to_owned())
}

/// Returns the interpreter in the `#!` line, if the file has one. A carriage return at its end,
/// the usual reason for "not found", is shown as `\r`.
fn script_interpreter(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    File::open(path)
        .ok()?
        .take(SCRIPT_LINE_MAX_BYTES)
        .read_to_end(&mut head)
        .ok()?;
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let line = String::from_utf8_lossy(line);
    let interpreter = line.trim_start().split([' ', '\t']).next()?;
    Some(interpreter.escape_debug().to_string())
}
