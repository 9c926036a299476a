//! What `data get` and `data put` share: they move files with the pilot's own tools and credentials,
//! each once, and tell what became of them.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use ailurus_model::{ByteCount, Checksum};
use ailurus_pilot_core::data::copy_tools::{ToolName, scheme_of};
use ailurus_transfer::{
    Cause, Direction, Durability, FileIdentity, Patience, Transfer, TransferError, TransferReport,
    checksum::ChecksumKind,
    engine::{self, Next, Options, Outcome, Steering, Tried, Try},
};
use clap::Parser;
use serde_json::json;

use crate::{
    USAGE_ERROR,
    args::Args,
    complain,
    data::{Setups, mover},
    log,
    settings::Settings,
};

/// Exit code if a file could not be moved.
const NOT_MOVED: u8 = 1;
/// The queue of files that belong to none.
const NO_QUEUE: &str = "LOCAL";

const AFTER_HELP: &str = "\
What is not given as FROM and TO is a URL on the side of the storage, such as
https://se.example.org/spd/a, root://, s3://, file:// or a path that this node mounts, and a path on
the other. A list has a file in each line: from, to, size in bytes and checksum, separated by tabs;
the last two may be missing.

Checksums are written like ad:0a1b2c3d, md:<32 digits> or sha256:<64 digits>.

One line a file goes to standard output. Exit codes: 0 all files were moved; 1 at least one was not;
2 an option makes no sense.";

/// Moves files with the tools and credentials of the pilot, each verified, whole or not at all.
#[derive(Debug, Parser)]
#[command(max_term_width = 100, after_help = AFTER_HELP)]
struct MoveArgs {
    /// From where to where
    #[arg(num_args = 2, value_names = ["FROM", "TO"], required_unless_present = "list")]
    places: Vec<String>,
    /// Many files, from a list
    #[arg(long, value_name = "FILE", conflicts_with = "places")]
    list: Option<PathBuf>,
    /// The size that the file must have
    #[arg(long, value_name = "BYTES", requires = "places")]
    size: Option<u64>,
    /// The checksum that the file must have
    #[arg(long, value_name = "CHECKSUM", requires = "places")]
    checksum: Option<Checksum>,
    /// Further checksums to tell: `adler32`, `md5`, `sha256`
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = kind_of)]
    also: Vec<ChecksumKind>,
    /// The copy tool, instead of the one that serves the URL's scheme
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Most files at a time
    #[arg(long, value_name = "COUNT", default_value = "4")]
    parallel: NonZeroUsize,
    /// One JSON object a line, for programs
    #[arg(long)]
    json: bool,
    /// Options of the pilot, such as `--capath`
    #[arg(last = true, value_name = "PILOT OPTION")]
    pilot: Vec<OsString>,
}

fn kind_of(name: &str) -> Result<ChecksumKind, String> {
    match name {
        "adler32" => Ok(ChecksumKind::Adler32),
        "md5" => Ok(ChecksumKind::Md5),
        "sha256" => Ok(ChecksumKind::Sha256),
        _ => Err("known are adler32, md5, sha256".to_owned()),
    }
}

/// A file to move.
struct File {
    from: String,
    to: String,
    size: Option<ByteCount>,
    checksum: Option<Checksum>,
}

/// A list of files cannot be used.
#[derive(Debug, thiserror::Error)]
enum ListError {
    #[error("the list `{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("line {nr} of the list `{}`: {wrong}", path.display())]
    Line {
        path: PathBuf,
        nr: usize,
        wrong: String,
    },
}

/// Runs the command, and returns the process's exit code.
pub(super) fn run(words: Vec<OsString>, direction: Direction) -> ExitCode {
    let args = MoveArgs::parse_from(words);
    let queue = ["ailurus-pilot", "--queue", NO_QUEUE].map(OsString::from);
    let pilot = Args::parse_from(queue.into_iter().chain(args.pilot.iter().cloned()));
    let settings = match Settings::gather(&pilot, Instant::now()) {
        Ok(settings) => settings,
        Err(error) => {
            complain(error.code(), &error);
            return ExitCode::from(USAGE_ERROR);
        }
    };
    let files = match files(&args) {
        Ok(files) => files,
        Err(error) => {
            complain("bad-list", &error);
            return ExitCode::from(USAGE_ERROR);
        }
    };
    let tools = mover(&settings, &Setups::new()).tools;
    let sizes: Vec<_> = files.iter().map(|file| file.size).collect();
    let options = Options {
        parallel: args.parallel,
        per_host: args.parallel,
        ..Options::default()
    };
    let once = Once {
        files: &files,
        args: &args,
        direction,
    };
    let outcomes = engine::run(&sizes, &tools, &options, &once, &());
    let told = tell(&args, &files, &outcomes);
    let is_all = outcomes
        .iter()
        .all(|outcome| matches!(outcome, Some(Ok(_))));
    if is_all && told.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_MOVED)
    }
}

/// Has each file tried once.
struct Once<'a> {
    files: &'a [File],
    args: &'a MoveArgs,
    direction: Direction,
}

impl Steering for Once<'_> {
    fn begin(&self, file: usize) -> Next {
        let file = &self.files[file];
        let (url, path) = match self.direction {
            Direction::StageIn => (&file.from, &file.to),
            Direction::StageOut => (&file.to, &file.from),
        };
        Next::Try(Box::new(Try {
            tool: self.args.tool.clone().or_else(|| tool_for(url)),
            transfer: Transfer {
                direction: self.direction,
                url: url.clone(),
                path: PathBuf::from(path),
                size: file.size,
                checksum: file.checksum.clone(),
                kind: ChecksumKind::Adler32,
                also: self.args.also.clone(),
                durability: match self.direction {
                    Direction::StageIn => Durability::Relaxed,
                    Direction::StageOut => Durability::Synced,
                },
                patience: Patience::default(),
                identity: FileIdentity::default(),
            },
        }))
    }

    fn next(&self, _file: usize, _tried: &Tried<'_>) -> Next {
        Next::Done
    }
}

/// Returns the tool that a plan would take for a URL of this scheme.
fn tool_for(url: &str) -> Option<String> {
    let scheme = match scheme_of(url) {
        "" => "file",
        scheme => scheme,
    };
    let tool = ToolName::Rucio.mover(scheme)?;
    Some(tool.to_string())
}

fn files(args: &MoveArgs) -> Result<Vec<File>, ListError> {
    let Some(path) = &args.list else {
        let mut places = args.places.iter().cloned();
        let (from, to) = (places.next(), places.next());
        return Ok(vec![File {
            from: from.unwrap_or_default(),
            to: to.unwrap_or_default(),
            size: args.size.map(ByteCount::from_bytes),
            checksum: args.checksum.clone(),
        }]);
    };
    let text = fs::read_to_string(path).map_err(|source| ListError::Read {
        path: path.clone(),
        source,
    })?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty());
    lines
        .map(|(index, line)| {
            file_of(line).map_err(|wrong| ListError::Line {
                path: path.clone(),
                nr: index + 1,
                wrong,
            })
        })
        .collect()
}

/// Reads a line of a list.
fn file_of(line: &str) -> Result<File, String> {
    let mut fields = line.split('\t');
    let mut some = || fields.next().filter(|field| !field.is_empty());
    let (Some(from), Some(to)) = (some(), some()) else {
        return Err("it must be from and to, separated by a tab".to_owned());
    };
    let size = some().map(str::parse).transpose();
    let size = size.map_err(|_| "the size must be a number of bytes".to_owned())?;
    let checksum = some().map(str::parse::<Checksum>).transpose();
    Ok(File {
        from: from.to_owned(),
        to: to.to_owned(),
        size: size.map(ByteCount::from_bytes),
        checksum: checksum.map_err(|error| error.to_string())?,
    })
}

/// Tells what became of each file.
fn tell(args: &MoveArgs, files: &[File], outcomes: &[Option<Outcome>]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for (file, outcome) in files.iter().zip(outcomes) {
        let line = match (outcome, args.json) {
            (Some(Ok(report)), false) => moved_line(file, report),
            (Some(Ok(report)), true) => moved_json(file, report),
            (Some(Err(error)), is_json) => failed(file, error, is_json),
            (None, is_json) => {
                let stopped = TransferError::new(Direction::StageIn, "", Cause::Stopped);
                failed(file, &stopped, is_json)
            }
        };
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn moved_line(file: &File, report: &TransferReport) -> String {
    let also: String = report.also.iter().map(|sum| format!(", {sum}")).collect();
    let (size, checksum) = (report.size, &report.checksum);
    let millis = report.duration.as_millis();
    format!(
        "moved  {}: {size} in {millis} ms, {checksum}{also}",
        file.from
    )
}

fn moved_json(file: &File, report: &TransferReport) -> String {
    let sums = [&report.checksum].into_iter().chain(&report.also);
    json!({
        "from": file.from,
        "to": file.to,
        "size_bytes": report.size.as_bytes(),
        "checksums": sums.map(ToString::to_string).collect::<Vec<_>>(),
        "duration_ms": u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX),
    })
    .to_string()
}

fn failed(file: &File, error: &TransferError, is_json: bool) -> String {
    let (code, said) = (error.code().number(), log::chain(error));
    if is_json {
        return json!({"from": file.from, "to": file.to, "code": code, "error": said}).to_string();
    }
    format!("failed {}: {code}, {said}", file.from)
}
