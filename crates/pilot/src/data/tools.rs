//! Makes the copy tools of this pilot.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use ailurus_diagnosis::Catalogue;
use ailurus_experiment::ChecksumChoice;
use ailurus_transfer::{
    Budget, Cause, CommandTool, CommandTools, Direction, Local, Placement, RemoteFile, Tool,
    Toolbox, Transfer, TransferError, TransferReport, Watch,
    cache::{Cache, CachedTool},
    checksum::ChecksumKind,
};

use super::mover::Mover;
use crate::{log, settings::Settings};

/// Further threads that all copies may take together.
const HELPERS: u64 = 2;

/// Tools that are external programs: the names that plans give them, and the URL schemes that they
/// serve where none is named.
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("xrdcp", &["root", "roots", "xroot", "xroots"]),
    ("gfal", &["srm", "gsiftp"]),
    ("lsm", &[]),
    ("objectstore", &[]),
];

/// A tool, its further names and its schemes.
type Entry = (
    Arc<dyn Tool>,
    &'static [&'static str],
    &'static [&'static str],
);

/// Set-up scripts of copy tools, by their names.
pub(crate) type Setups = BTreeMap<String, String>;

/// Makes what moves the files of all jobs, once the queue's set-up scripts are known. A cache that
/// cannot be used is left out.
pub(crate) fn mover(settings: &Settings, setups: &Setups) -> Mover {
    let entries = entries(settings.data.copy_tools.clone(), setups);
    let mut tools = Toolbox::new();
    for (tool, names, schemes) in &entries {
        tools.add(tool.clone(), names, schemes);
    }
    let cache = settings.data.cache.clone().and_then(|config| {
        Cache::open(config)
            .inspect_err(|error| tracing::warn!("no cache: {}", log::chain(error)))
            .ok()
    });
    let cached = cache.map(|cache| {
        let cache = Arc::new(cache);
        let mut cached = Toolbox::new();
        for (tool, names, schemes) in entries {
            let tool = Arc::new(CachedTool::new(tool, cache.clone()));
            cached.add(tool, names, schemes);
        }
        cached
    });
    Mover {
        tools,
        cached,
        parallel: settings.data.parallel,
        checksum: match settings.core.profile.data.checksum {
            ChecksumChoice::Adler32 => ChecksumKind::Adler32,
            ChecksumChoice::Md5 => ChecksumKind::Md5,
            ChecksumChoice::Sha256 => ChecksumKind::Sha256,
        },
        seed: settings.core.seed,
    }
}

fn entries(descriptions: Option<PathBuf>, setups: &Setups) -> Vec<Entry> {
    let buffers = Budget::new(Budget::BUFFER_BYTES);
    let helpers = Budget::new(HELPERS);
    let local = Local::new(Placement::Copy, buffers, helpers);
    let programs = Arc::new(Programs {
        descriptions,
        setups: setups.clone(),
        tools: OnceLock::new(),
    });
    let program = |(name, schemes)| -> Entry {
        let tool = Program {
            name,
            programs: programs.clone(),
            tool: OnceLock::new(),
        };
        (Arc::new(tool), &[], schemes)
    };
    let local: Entry = (Arc::new(local), &Local::FURTHER_NAMES, &Local::SCHEMES);
    [local].into_iter().chain(PROGRAMS.map(program)).collect()
}

/// Copy tools that are external programs. Most pilots use one of them or none, so their
/// descriptions are read when the first is called.
#[derive(Debug)]
struct Programs {
    /// A site's own descriptions.
    descriptions: Option<PathBuf>,
    setups: Setups,
    tools: OnceLock<CommandTools>,
}

impl Programs {
    fn tools(&self) -> &CommandTools {
        self.tools.get_or_init(|| {
            let catalogue = Arc::new(Catalogue::built_in());
            let own = self.descriptions.as_ref().and_then(|path| {
                fs::read_to_string(path)
                    .inspect_err(|error| {
                        tracing::warn!("copy tools `{}`: {error}", path.display());
                    })
                    .ok()
            });
            let files: Vec<(&str, &str)> = own
                .iter()
                .map(|text| ("the site's copy tools", text.as_str()))
                .collect();
            CommandTools::built_in_with(&files, catalogue.clone()).unwrap_or_else(|error| {
                tracing::warn!("only the built-in copy tools: {}", log::chain(&error));
                CommandTools::built_in(catalogue).expect("a test reads the built-in ones")
            })
        })
    }
}

/// A copy tool that is an external program, made when it is first called.
#[derive(Debug)]
struct Program {
    name: &'static str,
    programs: Arc<Programs>,
    tool: OnceLock<Option<CommandTool>>,
}

impl Program {
    fn tool(&self, direction: Direction, url: &str) -> Result<&CommandTool, TransferError> {
        let make = || {
            let setup = self.programs.setups.get(self.name);
            let setup = setup.map_or("", String::as_str);
            self.programs.tools().tool(self.name, setup)
        };
        self.tool.get_or_init(make).as_ref().ok_or_else(|| {
            let cause = Cause::UnknownTool {
                wanted: self.name.to_owned(),
                known: self.programs.tools().names().collect::<Vec<_>>().join(", "),
            };
            TransferError::new(direction, url, cause)
        })
    }
}

impl Tool for Program {
    fn name(&self) -> &str {
        self.name
    }

    fn transfer(
        &self,
        transfer: &Transfer,
        watch: &Watch,
    ) -> Result<TransferReport, TransferError> {
        let tool = self.tool(transfer.direction, &transfer.url)?;
        tool.transfer(transfer, watch)
    }

    fn look(&self, url: &str, watch: &Watch) -> Result<RemoteFile, TransferError> {
        self.tool(Direction::StageIn, url)?.look(url, watch)
    }

    fn remove(&self, url: &str, watch: &Watch) -> Result<(), TransferError> {
        self.tool(Direction::StageOut, url)?.remove(url, watch)
    }
}

/// Makes what moves files within this node, one at a time.
#[cfg(test)]
pub(super) fn local_mover() -> Arc<Mover> {
    let mut tools = Toolbox::new();
    for (tool, names, schemes) in entries(None, &Setups::new()) {
        tools.add(tool, names, schemes);
    }
    Arc::new(Mover {
        tools,
        cached: None,
        parallel: std::num::NonZeroUsize::MIN,
        checksum: ChecksumKind::Adler32,
        seed: [0; 16],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_a_description() {
        let programs = Arc::new(Programs {
            descriptions: None,
            setups: Setups::new(),
            tools: OnceLock::new(),
        });
        for (name, _) in PROGRAMS {
            let program = Program {
                name,
                programs: programs.clone(),
                tool: OnceLock::new(),
            };
            assert!(program.tool(Direction::StageIn, "x").is_ok(), "{name}");
        }
    }
}
