//! Makes the copy tools of this pilot, each when a file first goes by it.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use ailurus_diagnosis::Catalogue;
use ailurus_http::{ClientConfig, ConfigError};
use ailurus_transfer::{
    Budget, Cause, CommandTools, Direction, Local, Placement, RemoteFile, S3Options, S3Tool, Tool,
    Toolbox, Transfer, TransferError, TransferReport, Watch,
    cache::{Cache, CachedTool},
    flow_marker::TaggingTool,
    http::{HttpOptions, HttpTool},
    space::Floor,
};

use super::mover::Mover;
use crate::{log, settings::Settings};

/// Further threads that all transfers may take together for parts of large files.
const HELPERS: u64 = 4;

/// Tools that are external programs: the names that plans give them, and the URL schemes that they
/// serve where none is named.
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("xrdcp", &["root", "roots", "xroot", "xroots"]),
    ("gfal", &["srm", "gsiftp"]),
    ("lsm", &[]),
    ("objectstore", &[]),
];

/// Set-up scripts of copy tools, by their names.
pub(crate) type Setups = BTreeMap<String, String>;

/// Makes what moves the files of all jobs, once the queue's set-up scripts are known. A cache that
/// cannot be used is left out.
pub(crate) fn mover(settings: &Settings, setups: &Setups) -> Mover {
    let data = &settings.data;
    let tools = tools(&data.http, data.copy_tools.clone(), setups);
    let cache = data.cache.clone().and_then(|config| {
        Cache::open(config)
            .inspect_err(|error| tracing::warn!("no cache: {}", log::chain(error)))
            .ok()
    });
    let cached = cache.map(|cache| {
        let cache = Arc::new(cache);
        let behind = |tool: &Arc<LazyTool>| CachedTool::new(tool.clone(), cache.clone());
        toolbox(
            tools
                .iter()
                .map(|tool| (Arc::new(behind(tool)) as _, tool.names)),
        )
    });
    Mover {
        tools: straight(tools),
        cached,
        parallel: data.parallel,
        floor: Floor {
            free_min: settings.core.profile.limits.free_space_during,
            ..Floor::default()
        },
        seed: settings.core.seed,
    }
}

fn straight(tools: Vec<Arc<LazyTool>>) -> Toolbox {
    toolbox(tools.into_iter().map(|tool| {
        let names = tool.names;
        (tool as _, names)
    }))
}

fn toolbox(tools: impl Iterator<Item = (Arc<dyn Tool>, Names)>) -> Toolbox {
    let mut toolbox = Toolbox::new();
    for (tool, names) in tools {
        toolbox.add(tool, names.further, names.schemes);
    }
    toolbox
}

fn tools(http: &HttpOptions, descriptions: Option<PathBuf>, setups: &Setups) -> Vec<Arc<LazyTool>> {
    let buffers = Budget::new(Budget::BUFFER_BYTES);
    let helpers = Budget::new(HELPERS);
    let shared = (buffers.clone(), helpers.clone());
    let local = LazyTool::new("local", move || {
        let (buffers, helpers) = shared.clone();
        Ok(Arc::new(Local::new(Placement::Copy, buffers, helpers)))
    })
    .with(&Local::FURTHER_NAMES, &Local::SCHEMES);
    let [s3, gs] = object_stores(http, &buffers, &helpers);
    let (options, flow) = (http.clone(), http.flow);
    let http = LazyTool::new("http", move || {
        let tool = HttpTool::new(options.clone(), buffers.clone(), helpers.clone());
        let tool = tool.map_err(|error| log::chain(&error))?;
        Ok(Arc::new(tool))
    })
    .with(&HttpTool::FURTHER_NAMES, &HttpTool::SCHEMES);
    let programs = Arc::new(Programs {
        descriptions,
        tools: OnceLock::new(),
    });
    let program = |(name, schemes): (&'static str, &'static [&'static str])| {
        let (programs, setup) = (programs.clone(), setups.get(name).cloned());
        LazyTool::new(name, move || {
            let setup = setup.as_deref().unwrap_or_default();
            let tool = programs.tools().tool(name, setup);
            let tool = Arc::new(tool.ok_or("no description tells how it is called")?);
            Ok(match flow {
                Some(flow) => Arc::new(TaggingTool::new(tool, flow)),
                None => tool,
            })
        })
        .with(&[], schemes)
    };
    let built_in = [local, http, s3, gs].into_iter();
    built_in
        .chain(PROGRAMS.map(program))
        .map(Arc::new)
        .collect()
}

/// Object stores want keys, which are read when a file first goes there, and no certificate.
fn object_stores(
    http: &HttpOptions,
    buffers: &Arc<Budget>,
    helpers: &Arc<Budget>,
) -> [LazyTool; 2] {
    type Options = fn() -> S3Options;
    type New = fn(S3Options, Arc<Budget>, Arc<Budget>) -> Result<S3Tool, ConfigError>;
    let client = ClientConfig {
        certificate: None,
        token: None,
        ..http.client.clone()
    };
    let store = |name, options: Options, new: New| {
        let (client, buffers, helpers) = (client.clone(), buffers.clone(), helpers.clone());
        LazyTool::new(name, move || {
            let client = client.clone();
            let options = S3Options {
                client,
                ..options()
            };
            let tool = new(options, buffers.clone(), helpers.clone());
            let tool = tool.map_err(|error| log::chain(&error))?;
            Ok(Arc::new(tool))
        })
    };
    let s3 = store("s3", S3Options::from_environment, S3Tool::new);
    let gs = store("gs", S3Options::google_from_environment, S3Tool::google);
    [
        s3.with(&[], &S3Tool::SCHEMES),
        gs.with(&[], &S3Tool::GOOGLE_SCHEMES),
    ]
}

/// Descriptions of copy programs. Most pilots use one of them or none.
#[derive(Debug)]
struct Programs {
    /// A site's own descriptions.
    descriptions: Option<PathBuf>,
    tools: OnceLock<CommandTools>,
}

impl Programs {
    fn tools(&self) -> &CommandTools {
        self.tools.get_or_init(|| {
            let catalogue = Arc::new(Catalogue::built_in());
            let own = self.own_description();
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

    fn own_description(&self) -> Option<String> {
        let path = self.descriptions.as_ref()?;
        fs::read_to_string(path)
            .inspect_err(|error| tracing::warn!("copy tools `{}`: {error}", path.display()))
            .ok()
    }
}

type Make = Box<dyn Fn() -> Result<Arc<dyn Tool>, String> + Send + Sync>;

/// What a tool is found by, beside its name.
#[derive(Debug, Clone, Copy, Default)]
struct Names {
    further: &'static [&'static str],
    /// URL schemes that it serves where no tool is named; the empty one stands for a plain path.
    schemes: &'static [&'static str],
}

/// A copy tool that is made when a file first goes by it, because most pilots need one or two.
struct LazyTool {
    name: &'static str,
    names: Names,
    make: Make,
    tool: OnceLock<Result<Arc<dyn Tool>, String>>,
}

impl fmt::Debug for LazyTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyTool")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl LazyTool {
    fn new(
        name: &'static str,
        make: impl Fn() -> Result<Arc<dyn Tool>, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            names: Names::default(),
            make: Box::new(make),
            tool: OnceLock::new(),
        }
    }

    fn with(self, further: &'static [&'static str], schemes: &'static [&'static str]) -> Self {
        Self {
            names: Names { further, schemes },
            ..self
        }
    }

    fn tool(&self, direction: Direction, url: &str) -> Result<&Arc<dyn Tool>, TransferError> {
        self.tool.get_or_init(&self.make).as_ref().map_err(|why| {
            let cause = Cause::ToolUnusable {
                tool: self.name.to_owned(),
                why: why.clone(),
            };
            TransferError::new(direction, url, cause)
        })
    }
}

impl Tool for LazyTool {
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

/// Makes a mover without options, one file at a time.
#[cfg(test)]
pub(super) fn plain_mover() -> Arc<Mover> {
    let tools = tools(&HttpOptions::default(), None, &Setups::new());
    Arc::new(Mover {
        tools: straight(tools),
        cached: None,
        parallel: std::num::NonZeroUsize::MIN,
        floor: Floor::default(),
        seed: [0; 16],
    })
}

#[cfg(test)]
mod tests {
    use ailurus_pilot_core::data::ToolName;

    use super::*;

    #[test]
    fn there_is_a_tool_for_every_scheme_that_plans_know() {
        let mover = plain_mover();
        for scheme in ["file", "https", "davs", "root", "srm", "gsiftp", "s3", "gs"] {
            let name = ToolName::Rucio.mover(scheme).expect(scheme);
            let tool = mover.tools.named(Direction::StageIn, name.as_str());
            assert_eq!(tool.expect(scheme).name(), name.as_str());
        }
    }

    #[test]
    fn every_program_has_a_description() {
        for tool in tools(&HttpOptions::default(), None, &Setups::new()) {
            assert!(tool.tool(Direction::StageIn, "x").is_ok(), "{tool:?}");
        }
    }

    #[test]
    fn a_tool_that_cannot_be_made_says_why() {
        let tool = LazyTool::new("http", || Err("no certificate".into()));
        let error = tool
            .tool(Direction::StageIn, "https://h/f")
            .expect_err("not made");
        assert!(log::chain(&error).contains("no certificate"), "{error}");
    }
}
