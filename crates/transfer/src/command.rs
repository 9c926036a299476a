//! Copy tools that are external programs, described in files: [`CommandTools`].
//!
//! `profiles/copy-tools.toml` says how each program is called and what its answers mean; the code
//! here knows no program by name. No shell reads a URL or a file's name. A program may run as long
//! as it moves the file, and ends with the transfer: when it is given up, and when the pilot dies.

mod ask;
mod copy_in;
mod copy_out;
mod description;
mod place;
mod verdict;
mod words;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ailurus_diagnosis::Catalogue;
use ailurus_process::{DataStream, RunningStream, StartError, StreamCommand};

use crate::{
    Cause, Direction, RemoteFile, Tool, Transfer, TransferError, TransferReport, Watch,
    toolbox::split_url,
};

pub use description::DescriptionError;

use ask::Helper;
use description::Description;
use place::RemotePlace;
use verdict::Failure;
use words::{Values, Word, WordsError, behind_setup, fill_words, setup_words};

/// Most bytes that are kept of what a program says.
const SAID_MAX_BYTES: usize = 64 << 10;

/// How often a program that shows nothing is looked at.
const TICK: Duration = Duration::from_millis(200);

/// The copy tools that are external programs.
#[derive(Debug, Clone)]
pub struct CommandTools {
    descriptions: Arc<BTreeMap<String, Arc<Description>>>,
    catalogue: Arc<Catalogue>,
}

/// A copy tool that is an external program.
pub struct CommandTool {
    name: String,
    description: Arc<Description>,
    catalogue: Arc<Catalogue>,
    /// A script that is read before the program runs, and its arguments; empty if none.
    setup: Vec<OsString>,
    /// Which options the program has, once it was asked.
    options: Mutex<BTreeMap<String, bool>>,
}

impl CommandTools {
    /// Takes the built-in descriptions. What a program says is looked up in `catalogue`.
    ///
    /// # Errors
    ///
    /// None, unless the built-in descriptions are broken, which a test rules out.
    pub fn built_in(catalogue: Arc<Catalogue>) -> Result<Self, DescriptionError> {
        Self::built_in_with(&[], catalogue)
    }

    /// Takes the built-in descriptions and those of further files, pairs of name and content. A
    /// later description replaces an earlier one of the same name.
    ///
    /// # Errors
    ///
    /// [`DescriptionError`] names file, tool and fault.
    pub fn built_in_with(
        files: &[(&str, &str)],
        catalogue: Arc<Catalogue>,
    ) -> Result<Self, DescriptionError> {
        let described = description::read(files)?.into_iter();
        let shared = described.map(|(name, description)| (name, Arc::new(description)));
        Ok(Self {
            descriptions: Arc::new(shared.collect()),
            catalogue,
        })
    }

    /// Returns the names of all tools, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.descriptions.keys().map(String::as_str)
    }

    /// Finds the tool that a queue asks for by name or alias. `setup` is the queue's set-up script
    /// for it (`copytools.<tool>.setup`), empty if there is none; it may have arguments, and
    /// variables of the pilot's environment.
    #[must_use]
    pub fn tool(&self, name: &str, setup: &str) -> Option<CommandTool> {
        let is_meant = |known: &str, it: &Description| {
            known == name || it.aliases.iter().any(|alias| alias == name)
        };
        let (known, description) = self
            .descriptions
            .iter()
            .find(|(known, it)| is_meant(known, it))?;
        Some(CommandTool {
            name: known.clone(),
            description: description.clone(),
            catalogue: self.catalogue.clone(),
            setup: setup_words(setup, |name| std::env::var_os(name)),
            options: Mutex::default(),
        })
    }
}

/// The description is as long as its file.
impl fmt::Debug for CommandTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandTool")
            .field("name", &self.name)
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

impl CommandTool {
    /// Returns the further names by which queues ask for it.
    #[must_use]
    pub fn aliases(&self) -> &[String] {
        &self.description.aliases
    }

    /// Returns the URL schemes that it moves, best first; none stands for any.
    #[must_use]
    pub fn schemes(&self) -> &[String] {
        &self.description.schemes
    }

    fn check_scheme(&self, direction: Direction, url: &str) -> Result<RemotePlace, TransferError> {
        let place = RemotePlace::new(url);
        let known = self.schemes();
        if known.is_empty() || known.iter().any(|scheme| scheme == place.scheme()) {
            return Ok(place);
        }
        let cause = Cause::UnknownTool {
            wanted: split_url(url).map_or("", |(scheme, _)| scheme).to_owned(),
            known: known.join(", "),
        };
        Err(TransferError::new(direction, place.shown(), cause))
    }

    /// Makes a command's arguments.
    fn argv(
        &self,
        words: &[Word],
        values: &Values,
        direction: Direction,
        place: &RemotePlace,
        watch: &Watch,
    ) -> Result<Vec<OsString>, TransferError> {
        let mut option = |name: &str| self.option_words(name, direction, place, watch);
        fill_words(words, values, &mut option).map_err(|error| {
            let program = self.name.clone();
            let code = match (&error, direction) {
                (WordsError::Unknown(_), Direction::StageIn) => {
                    ailurus_model::ErrorCode::StageInFailed
                }
                (WordsError::Unknown(_), Direction::StageOut) => {
                    ailurus_model::ErrorCode::StageOutFailed
                }
                (WordsError::LooksLikeOption(_) | WordsError::ZeroByte(_), _) => {
                    ailurus_model::ErrorCode::FileHandlingFailure
                }
            };
            let said = error.to_string();
            let cause = Cause::ToolFailed {
                program,
                code,
                said,
            };
            TransferError::new(direction, place.shown(), cause)
        })
    }

    /// Returns the words of an option that depends on what the program says about itself. It is
    /// asked once; one that cannot be asked has no options.
    fn option_words(
        &self,
        name: &str,
        direction: Direction,
        place: &RemotePlace,
        watch: &Watch,
    ) -> Vec<Word> {
        let Some(option) = self.description.option.get(name) else {
            return Vec::new();
        };
        let known = self.options().get(name).copied();
        let has_it = known.unwrap_or_else(|| {
            let helper = Helper::new(self, direction, place, watch);
            let has_it = helper.says(&option.ask, &option.says);
            self.options().insert(name.to_owned(), has_it);
            has_it
        });
        if has_it {
            option.words.clone()
        } else {
            option.otherwise.clone()
        }
    }

    fn options(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, bool>> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a program. Also returns its name.
    fn start(
        &self,
        argv: Vec<OsString>,
        data: DataStream,
        direction: Direction,
        place: &RemotePlace,
    ) -> Result<(RunningStream, String), TransferError> {
        let program = argv
            .first()
            .map_or_else(String::new, |it| it.to_string_lossy().into_owned());
        let argv = if self.setup.is_empty() {
            argv
        } else {
            behind_setup(&self.setup, argv)
        };
        let description = &self.description;
        let has_not = |(name, _): &(&String, &String)| std::env::var_os(name).is_none();
        let names_nothing =
            |name: &&String| std::env::var_os(name).is_some_and(|path| !Path::new(&path).exists());
        let command = StreamCommand {
            argv,
            env: description
                .environment
                .iter()
                .filter(has_not)
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            env_removed: description
                .file_variables
                .iter()
                .filter(names_nothing)
                .map(OsString::from)
                .collect(),
            cwd: None,
            data,
            said_max_bytes: SAID_MAX_BYTES,
        };
        let started = command.start().map_err(|error| {
            TransferError::new(direction, place.shown(), not_started(&program, &error))
        })?;
        Ok((started, program))
    }

    /// Makes an error of a failed program.
    fn failed(
        &self,
        failure: Failure,
        program: &str,
        direction: Direction,
        place: &RemotePlace,
    ) -> TransferError {
        let cause = match failure {
            Failure::Cause(cause) => cause,
            Failure::NoChecksum => Cause::ToolFailed {
                program: program.to_owned(),
                code: ailurus_model::ErrorCode::ChecksumNotSupported,
                said: "the storage has no checksums to tell".to_owned(),
            },
        };
        TransferError::new(direction, place.shown(), cause)
    }
}

impl Tool for CommandTool {
    fn name(&self) -> &str {
        &self.name
    }

    fn transfer(
        &self,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<TransferReport, TransferError> {
        match transfer.direction {
            Direction::StageIn => self.copy_in(transfer, watch),
            Direction::StageOut => self.copy_out(transfer, watch),
        }
    }

    fn look(&self, url: &str, watch: &Watch) -> Result<RemoteFile, TransferError> {
        let place = self.check_scheme(Direction::StageIn, url)?;
        Helper::new(self, Direction::StageIn, &place, watch).look(None)
    }

    fn remove(&self, url: &str, watch: &Watch) -> Result<(), TransferError> {
        let place = self.check_scheme(Direction::StageOut, url)?;
        Helper::new(self, Direction::StageOut, &place, watch).remove()
    }
}

/// Sorts why a program could not be started.
fn not_started(program: &str, error: &StartError) -> Cause {
    let is_missing = matches!(
        error,
        StartError::NotFound { .. }
            | StartError::NoInterpreter { .. }
            | StartError::NotExecutable { .. }
            | StartError::NotAProgram { .. }
    );
    if is_missing {
        let program = program.to_owned();
        return Cause::ToolMissing { program };
    }
    Cause::Io {
        action: "start a program for",
        source: std::io::Error::other(error.to_string()),
    }
}
