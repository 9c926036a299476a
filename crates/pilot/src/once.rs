//! `ailurus-pilot once`: runs one job that is given by file or standard input, without a server,
//! and writes its final report to standard output.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use ailurus_model::JobStatus;
use ailurus_wire::{
    Dialect,
    body::{BODY_MAX, encode_json},
    plain_job::{self, GivenJobError},
    update_job,
};
use clap::Parser;

use crate::{
    USAGE_ERROR,
    args::Args,
    complain,
    link::given::GivenJob,
    settings::{LogOut, Settings, wall_now},
    shell, work_from,
};

/// The word that asks for it.
pub(crate) const COMMAND: &str = "once";
/// Exit code of a job that failed for a reason that has no code of its own.
const JOB_FAILED: u8 = 1;
/// The queue of jobs that belong to none.
const NO_QUEUE: &str = "LOCAL";
/// Stands for standard input.
const STDIN: &str = "-";

const AFTER_HELP: &str = "\
The job is JSON: PanDA's answer to a job request in either dialect, a job definition file of
Harvester, or only what matters:

  {\"transformation\": \"run.sh\", \"parameters\": [\"-n\", \"5\"], \"inputs\": [\"in.dat\"],
   \"outputs\": [\"out.dat\"], \"log\": \"log.tgz\", \"cores\": 2, \"memory\": \"2 GiB\",
   \"walltime\": \"1h\", \"image\": \"payload.sif\"}

Script, inputs and outputs are in the current directory, unless --input-dir, --output-dir or
--storagedata-url say something else. The log goes to standard error; the final report, with the
fields of an update to a PanDA server, to standard output.

Exit codes: 0 the job finished; 1 it failed, the report says why; 2 the job or an option makes no
sense; others as without `once`, for what the pilot or the node is to blame for.";

/// Runs exactly one job, without a server.
#[derive(Debug, Parser)]
#[command(
    name = "ailurus-pilot once",
    bin_name = "ailurus-pilot once",
    version,
    max_term_width = 100,
    args_override_self = true
)]
#[command(after_help = AFTER_HELP)]
struct OnceArgs {
    /// The job: a file, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    job: PathBuf,
    /// End with the process that started this one
    #[arg(long, hide = true)]
    end_with_parent: bool,
    #[command(flatten)]
    pilot: Args,
}

/// No job could be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobFileError {
    /// The file cannot be read.
    #[error("the job `{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// What is in it cannot be run.
    #[error("the job `{}` cannot be used", path.display())]
    Content {
        path: PathBuf,
        #[source]
        source: GivenJobError,
    },
}

/// Runs the command, and returns the process's exit code.
pub(crate) fn main(begin: Instant) -> ExitCode {
    let args = parse();
    if args.end_with_parent {
        end_with_parent();
    }
    let mut settings = match Settings::gather(&args.pilot, begin) {
        Ok(settings) => settings,
        Err(error) => {
            complain(error.code(), &error);
            return ExitCode::from(USAGE_ERROR);
        }
    };
    let job = match read_job(&args.job) {
        Ok(job) => Arc::new(GivenJob::new(job, &settings.launch_dir)),
        Err(error) => {
            complain("bad-job", &error);
            return ExitCode::from(USAGE_ERROR);
        }
    };
    if settings.log.out == LogOut::Stdout {
        settings.log.out = LogOut::Stderr;
    }
    let own_base = settings.base_dir.is_none().then(own_base);
    settings.base_dir = settings.base_dir.take().or_else(|| own_base.clone());
    work_from::give(&mut settings, &args.pilot, job.clone());
    let ended = shell::run(settings);
    if let Some(dir) = own_base {
        // It is empty unless something is to be kept.
        let _ = std::fs::remove_dir(dir);
    }
    match ended {
        Ok(code) => ExitCode::from(report(&job, code)),
        Err(error) => {
            let (word, code) = error.code();
            complain(word, &error);
            ExitCode::from(code)
        }
    }
}

/// A directory below which no other pilot looks for jobs of dead ones.
fn own_base() -> PathBuf {
    let (pid, now) = (std::process::id(), wall_now().as_secs());
    std::env::temp_dir().join(format!("ailurus-once-{pid}-{now}"))
}

/// Reads the command line: the pilot's options, with a queue for jobs that belong to none.
fn parse() -> OnceArgs {
    // The first word is the program, the second the command. Of two queues the last one counts.
    let mut words = std::env::args_os().skip(1);
    let command = words.next();
    let queue = ["--queue", NO_QUEUE].map(OsString::from);
    OnceArgs::parse_from(command.into_iter().chain(queue).chain(words))
}

pub(crate) type Given = Result<ailurus_model::Job, ailurus_wire::job_text::JobError>;

/// Reads a job from a file or from standard input.
pub(crate) fn read_job(path: &Path) -> Result<Given, JobFileError> {
    let unreadable = |source| JobFileError::Read {
        path: path.to_owned(),
        source,
    };
    let limit = u64::try_from(BODY_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let read = |source: &mut dyn Read, bytes: &mut Vec<u8>| {
        source.take(limit.saturating_add(1)).read_to_end(bytes)
    };
    if path == Path::new(STDIN) {
        read(&mut io::stdin().lock(), &mut bytes).map_err(unreadable)?;
    } else {
        let mut file = File::open(path).map_err(unreadable)?;
        read(&mut file, &mut bytes).map_err(unreadable)?;
    }
    plain_job::decode(&bytes).map_err(|source| JobFileError::Content {
        path: path.to_owned(),
        source,
    })
}

/// Writes the final report, and returns the exit code that says what became of the job.
fn report(job: &GivenJob, pilot_code: u8) -> u8 {
    let Some(update) = job.last_update() else {
        // A pilot that did nothing wrong and has no job to tell of is not possible.
        return pilot_code.max(JOB_FAILED);
    };
    let mut line = encode_json(&update_job::encode_request(Dialect::V1, &update));
    line.push(b'\n');
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(&line).and_then(|()| out.flush()) {
        tracing::error!("the report cannot be written: {error}");
        return pilot_code.max(JOB_FAILED);
    }
    match (pilot_code, update.status) {
        (0, JobStatus::Finished) => 0,
        (0, _) => JOB_FAILED,
        (code, _) => code,
    }
}

/// Has the kernel send SIGTERM when the parent's thread that started this process ends.
fn end_with_parent() {
    let term = Some(rustix::process::Signal::TERM);
    if let Err(error) = rustix::process::set_parent_process_death_signal(term) {
        tracing::debug!("this process will not end with its parent: {error}");
    }
}
