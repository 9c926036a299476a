//! `ailurus-pilot data plan`: says which tool would try which place of a job's files, in which
//! order, and what is left out and why. Nothing is moved.

use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use ailurus_http::{Client, ClientConfig, ConfigError};
use ailurus_model::Job;
use ailurus_pilot_core::{
    Problem,
    data::{CatalogueFile, Known, StorageRecord, catalogue_query, describe::PlanTable},
    input::Site,
};
use ailurus_wire::job_text::JobError;
use clap::Parser;

use crate::{
    USAGE_ERROR,
    args::Args,
    complain,
    once::{self, read_job},
    replicas::Catalogue,
    settings::{Settings, wall_now},
    site,
};

/// The word that asks for it.
pub(super) const NAME: &str = "plan";
/// What it is for.
pub(super) const ABOUT: &str = "say from where a job's files would come and whereto they would go";
/// Exit code if a file has no way.
const NO_WAY: u8 = 1;
/// Exit code if the queue or its storages are not known, as for a pilot.
const NO_SITE: u8 = 71;

const AFTER_HELP: &str = "\
The job is JSON as for `ailurus-pilot once`. Queue and storage data come from where a pilot gets
them: the PanDA server (--url), or --queuedata-url and --storagedata-url, which may be files. Rucio
is asked if a server of it is named (--rucio-host).

Exit codes: 0 every file has a way; 1 one has none, the table says why; 2 the job or an option makes
no sense; 71 no queue or storage data.";

/// Says which tool would try which place of a job's files, in which order. Nothing is moved.
#[derive(Debug, Parser)]
#[command(max_term_width = 100, args_override_self = true, after_help = AFTER_HELP)]
struct PlanArgs {
    /// The job: a file, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    job: PathBuf,
    /// JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pilot: Args,
}

/// There is no plan.
#[derive(Debug, thiserror::Error)]
enum PlanError {
    #[error(transparent)]
    Read(#[from] once::JobFileError),
    #[error("the job makes no sense")]
    Job(#[source] JobError),
    #[error("no HTTP client can be made")]
    Client(#[from] ConfigError),
    #[error("no data of queue or storages: {0}")]
    Site(Problem),
}

impl PlanError {
    const fn code(&self) -> (&'static str, u8) {
        match self {
            Self::Read(_) | Self::Job(_) => ("bad-job", USAGE_ERROR),
            Self::Client(_) => ("bad-credentials", USAGE_ERROR),
            Self::Site(_) => ("no-site", NO_SITE),
        }
    }
}

/// Runs the command, and returns the process's exit code.
pub(super) fn run(words: Vec<OsString>) -> ExitCode {
    let args = PlanArgs::parse_from(words);
    let settings = match Settings::gather(&args.pilot, Instant::now()) {
        Ok(settings) => settings,
        Err(error) => {
            complain(error.code(), &error);
            return ExitCode::from(USAGE_ERROR);
        }
    };
    let table = match plan(&args, &settings) {
        Ok(table) => table,
        Err(error) => {
            let (word, code) = error.code();
            complain(word, &error);
            return ExitCode::from(code);
        }
    };
    let text = if args.json {
        let json = serde_json::to_string_pretty(&table);
        json.expect("a table of texts and numbers is JSON")
    } else {
        table.to_string()
    };
    let mut out = io::stdout().lock();
    // Whoever reads may have gone.
    let _ = writeln!(out, "{}", text.trim_end());
    if table.is_complete() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NO_WAY)
    }
}

fn plan(args: &PlanArgs, settings: &Settings) -> Result<PlanTable, PlanError> {
    let job = read_job(&args.job)?.map_err(PlanError::Job)?;
    let site = load_site(settings)?;
    let (found, note) = match look_up(&job, &site, settings) {
        None => (None, None),
        Some(Ok(found)) => (Some(found), None),
        Some(Err(problem)) => (None, Some(problem)),
    };
    let known = Known {
        catalogue: found.as_deref(),
        record: &StorageRecord::default(),
        now: wall_now(),
    };
    let mut table = PlanTable::of(&job, &site, &settings.core, &known);
    if let (Some(problem), Some(part)) = (note, table.parts.first_mut()) {
        part.notes.insert(0, format!("the catalogue: {problem}"));
    }
    Ok(table)
}

/// Loads them as a pilot does, with copies in a directory that goes again.
fn load_site(settings: &Settings) -> Result<Box<Site>, PlanError> {
    let client = Client::new(ClientConfig {
        token: None,
        ..settings.client.clone()
    })?;
    let home = std::env::temp_dir().join(format!("ailurus-plan-{}", std::process::id()));
    let made = std::fs::create_dir_all(&home);
    if let Err(error) = made {
        tracing::debug!("no copies of queue and storage data: {error}");
    }
    let loaded = site::load(&client, &settings.core.queue, &settings.places, &home);
    // Nobody needs the copies.
    let _ = std::fs::remove_dir_all(&home);
    loaded.map_err(PlanError::Site)
}

/// Asks the catalogue; none if it need not be asked. A job without a copy tool is told by its plan.
fn look_up(
    job: &Job,
    site: &Site,
    settings: &Settings,
) -> Option<Result<Vec<CatalogueFile>, Problem>> {
    let query = catalogue_query(job, site, &settings.core).ok().flatten()?;
    let rucio = settings.rucio.as_ref()?;
    let catalogue = Catalogue::new(rucio, &settings.node_facts.host_name);
    Some(catalogue.find(&query, &Arc::new(AtomicBool::new(false))))
}
