//! The command line: Pilot 3's options with their names and forms, and long options of our own.
//!
//! Options that this pilot has no use for are accepted, because wrappers and Harvester give them:
//! they are in [`accepted`]. How values are read is in [`values`]. As in Pilot 3, a long option may
//! be cut to what still tells it from the others.
//!
//! Source: Pilot 3, `arguments.py`.

mod accepted;
mod data;
mod harvester;
mod streams;
#[cfg(test)]
mod tests;
mod values;

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use ailurus_model::units::parse_duration;
use clap::{ArgAction, Parser, builder::ArgPredicate};

use accepted::Accepted;
pub(crate) use data::{CacheLink, DataArgs};
pub(crate) use harvester::HarvesterArgs;
use streams::StreamArgs;
use values::{bool_text, count, period, resource_type};

/// What follows the list of options.
const AFTER_HELP: &str = "\
A batch job typically runs
  ailurus-pilot -q QUEUE -j managed --pilot-user spd --url https://SERVER -a \"$TMPDIR\"

Without a server: `ailurus-pilot once --help` runs one job that is given to it,
`ailurus-pilot function --help` takes jobs over HTTP.

Durations are written like `30s`, `45m` or `2h 30m`. BOOL is yes, true, t, y, 1 or no, false, f, n,
0. Relative paths start where the pilot does. Limits and periods are the profile's, or those of the
file that HARVESTER_PILOT_CONFIG names; the page for site admins lists them all.

Variables: X509_USER_PROXY, X509_CERT_DIR, PANDA_AUTH_TOKEN, PANDA_AUTH_ORIGIN, PANDA_AUTH_DIR,
PANDA_AUTH_TOKEN_KEY (or OIDC_AUTH_...), HARVESTER_ID, HARVESTER_WORKER_ID, PANDA_JSID, GTAG,
PANDA_HOSTNAME, PANDAPILOT_LIFETIME, PANDA_BASE_URLS, PANDA_PILOT_SOURCE, HARVESTER_PILOT_CONFIG,
LOCAL_AGIS_SCHEDCONF, ATLAS_SW_BASE, ATHENA_PROC_NUMBER, PILOT_LOGFILE, https_proxy, no_proxy; for
Rucio RUCIO_CONFIG, RUCIO_HOME, RUCIO_ACCOUNT, RUCIO_VO, RUCIO_AUTH_TYPE, RUCIO_CLIENT_PROXY,
RUCIO_CLIENT_CERT, RUCIO_CLIENT_KEY, BEARER_TOKEN, BEARER_TOKEN_FILE, PILOT_RUCIO_SITENAME,
RUCIO_LOCAL_SITE_ID.
Other variables of Pilot 3 do no harm.

Exit codes (Pilot 3's): 0 good, also when a payload failed or there was no job; 2 bad options or
profile; 66 no directory; 68 no proxy; 69 no space; 71 and 72 no queue data; 77 missing input;
78 and 83 queue off; 79 no server; 80 proxy too short; 81 out of time; 82 no job on an HPC queue;
130 to 152 ended by a signal; 1 anything else: see the last line of pilotlog.txt.";

/// The PanDA pilot: takes jobs of one queue, runs them on this node and reports.
#[derive(Debug, Parser)]
#[command(
    name = "ailurus-pilot",
    version,
    max_term_width = 100,
    args_override_self = true,
    infer_long_args = true
)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) jobs: JobArgs,
    #[command(flatten)]
    pub(crate) directories: DirectoryArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    #[command(flatten)]
    pub(crate) harvester: HarvesterArgs,
    #[command(flatten)]
    pub(crate) streams: StreamArgs,
    #[command(flatten)]
    pub(crate) own: OwnArgs,
    #[command(flatten)]
    _accepted: Accepted,
}

/// Which jobs the pilot takes, and for how long.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which jobs")]
pub(crate) struct JobArgs {
    /// PanDA queue to serve
    #[arg(
        short = 'q',
        long = "queue",
        value_name = "QUEUE",
        required = false,
        required_unless_present = "recover",
        default_value_if("recover", ArgPredicate::IsPresent, "none")
    )]
    pub(crate) queue: String,
    /// Label of the jobs to take, PanDA's prodSourceLabel: `managed`, `user`, `ptest`...
    #[arg(
        short = 'j',
        long = "joblabel",
        value_name = "LABEL",
        default_value = "ptest"
    )]
    pub(crate) job_label: String,
    /// Profile of the experiment: `generic`, `spd`, or NAME.toml in the profile path
    #[arg(long, default_value = "generic", value_name = "NAME")]
    pub(crate) pilot_user: String,
    /// Kind of pilot: PR for production; RC, RCM and ALRB ask for test jobs
    #[arg(
        short = 'i',
        long = "versiontag",
        value_name = "TAG",
        default_value = "PR"
    )]
    pub(crate) version_tag: String,
    /// Longest life in seconds, if the queue's `maxtime` states none
    #[arg(short = 'l', long, default_value_t = 324_000, value_name = "SECONDS", value_parser = count, allow_negative_numbers = true)]
    pub(crate) lifetime: u32,
    /// Leave after this many job requests in a row without a job
    #[arg(short = 'v', long = "getjobrequests", default_value_t = 2, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) job_requests: u32,
    /// Leave after this many job requests without an answer
    #[arg(short = 'x', long = "getjobfailures", default_value_t = 5, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) job_failures: u32,
    /// Take further jobs only from the task of the first one
    #[arg(long, default_value = "true", value_parser = bool_text, action = ArgAction::Set, value_name = "BOOL")]
    pub(crate) allow_same_user: bool,
    /// Do not look whether the software that the profile names is on the node
    #[arg(short = 'b', long = "nocvmfs")]
    pub(crate) no_cvmfs: bool,
    /// Take only jobs of this type: `SCORE`, `MCORE`, or one that begins so, for example
    /// `MCORE_HIMEM` [default: all]
    #[arg(long, value_parser = resource_type, value_name = "TYPE")]
    pub(crate) resource_type: Option<String>,
    /// Ask only for this type of jobs [default: all]
    #[arg(long, value_name = "TYPE")]
    pub(crate) job_type: Option<String>,
    /// Name this group in the request; servers of today ignore it
    #[arg(long, value_name = "GROUP")]
    pub(crate) working_group: Option<String>,
    /// Name this country in the request; servers of today ignore it
    #[arg(long, value_name = "GROUP")]
    pub(crate) country_group: Option<String>,
    /// Say in the request that jobs of others are taken too; servers of today ignore it
    #[arg(long, default_value = "false", value_parser = bool_text, action = ArgAction::Set, value_name = "BOOL")]
    pub(crate) allow_other_country: bool,
}

/// Where the pilot works and what it writes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Directories and log")]
pub(crate) struct DirectoryArgs {
    /// Scratch directory: the pilot makes its own below, and removes it [default: works in the
    /// current one]
    #[arg(short = 'a', long = "workdir", value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// Remove work directories at the end
    #[arg(long, default_value = "true", value_parser = bool_text, action = ArgAction::Set, value_name = "BOOL")]
    pub(crate) cleanup: bool,
    /// Log debug messages too, each with the place it comes from
    #[arg(short = 'd', long)]
    pub(crate) debug: bool,
    /// Log to standard output only: write no pilotlog.txt
    #[arg(long)]
    pub(crate) no_pilot_log: bool,
    /// Log to this file in place of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) redirect_stdout: Option<PathBuf>,
    /// Directory from which all inputs are taken
    #[arg(long, value_name = "DIR")]
    pub(crate) input_dir: Option<String>,
    /// Directory to which all outputs go
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: Option<String>,
}

/// Where the server and the data of queue and storages are.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server and site")]
pub(crate) struct ServerArgs {
    /// PanDA server, for example `https://panda.example.org:25443` [default: CERN's]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) url: String,
    /// Port of the PanDA server, unless the URL has one; 0 for the scheme's own
    #[arg(short = 'p', long, default_value_t = 25443)]
    pub(crate) port: u16,
    /// Queue data: URL or path, `{pandaqueue}` stands for the queue [default: from the server]
    #[arg(long, value_name = "URL")]
    pub(crate) queuedata_url: Option<String>,
    /// Storage data: URL or path [default: from the server]
    #[arg(long, value_name = "URL")]
    pub(crate) storagedata_url: Option<String>,
    /// URLs below which scripts may lie, separated by commas, besides the server's
    #[arg(
        short = 'g',
        long = "baseurls",
        default_value = "",
        hide_default_value = true,
        value_name = "URLS"
    )]
    pub(crate) base_urls: String,
    /// Do not tell the server when the worker starts and ends
    #[arg(short = 'k', long = "noworkerpilotstatusupdate")]
    pub(crate) no_worker_status: bool,
    /// Send no job updates: write the last one to heartbeat.json in the pilot's directory
    #[arg(short = 'z', long = "noserverupdate")]
    pub(crate) no_server_update: bool,
    /// Rucio server that knows where files are [default: the one that configuration files name]
    #[arg(long, value_name = "URL")]
    pub(crate) rucio_host: Option<String>,
    /// Tell Rucio what became of each transfer
    #[arg(long, default_value = "true", value_parser = bool_text, action = ArgAction::Set, value_name = "BOOL")]
    pub(crate) use_rucio_traces: bool,
}

/// Who the pilot is for its peers, and whom it believes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Credentials")]
pub(crate) struct CredentialArgs {
    /// Client certificate or proxy file [default: `X509_USER_PROXY`, then `/tmp/x509up_uUID`]
    #[arg(long = "cacert", value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// Directory or PEM file of CA certificates, believed alone [default: `X509_CERT_DIR`, or the
    /// grid's, and built-in ones]
    #[arg(long = "capath", value_name = "DIR")]
    pub(crate) ca_directory: Option<PathBuf>,
    /// Do not look at how long the proxy lives
    #[arg(short = 't', long = "noproxyverification")]
    pub(crate) no_proxy_verification: bool,
    /// Do not renew the token
    #[arg(short = 'y', long = "notokenrenewal")]
    pub(crate) no_token_renewal: bool,
}

/// Options of our own. They begin with nothing that an option of Pilot 3 begins with.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options that Pilot 3 does not have")]
pub(crate) struct OwnArgs {
    /// Directories with profiles, separated by colons, looked at before the built-in ones
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "DIRS"
    )]
    pub(crate) profile_path: String,
    /// Payloads that run side by side, within the cores and the memory of the node
    #[arg(long, default_value_t = NonZeroU32::MIN, value_name = "N", help_heading = "Options that Pilot 3 does not have")]
    pub(crate) slots: NonZeroU32,
    /// Jobs that are fetched and staged in while all slots are busy [default: 1 with several slots]
    #[arg(
        long,
        value_name = "N",
        help_heading = "Options that Pilot 3 does not have"
    )]
    pub(crate) slots_ahead: Option<u32>,
    /// Cores for all slots together [default: all that the pilot may use]
    #[arg(
        long,
        value_name = "N",
        help_heading = "Options that Pilot 3 does not have"
    )]
    pub(crate) slots_cores: Option<u32>,
    /// Pause after a request that brought no job [default: 60s, with Harvester's files 10s]
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub(crate) job_request_pause: Option<Duration>,
    /// Longest time until a server has answered; files may take longer
    #[arg(long, default_value = "120s", value_parser = period, value_name = "DURATION")]
    pub(crate) request_timeout: Duration,
    /// Time between two heartbeats [default: the profile's]
    #[arg(long, value_parser = period, value_name = "DURATION")]
    pub(crate) heartbeat: Option<Duration>,
    /// Time between two samples of memory and CPU [default: the profile's]
    #[arg(long, value_parser = period, value_name = "DURATION")]
    pub(crate) sample_interval: Option<Duration>,
    /// Time without progress after which a payload is ended [default: the profile's]
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub(crate) looping_limit: Option<Duration>,
    /// Time between SIGTERM and SIGKILL for a payload [default: the profile's]
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub(crate) kill_grace: Option<Duration>,
    /// Write a line of JSON with the times of each job to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) timing_file: Option<PathBuf>,
    /// Take no jobs: end those that dead pilots left below this directory, outputs and final
    /// states included
    #[arg(long, value_name = "DIR")]
    pub(crate) recover: Option<PathBuf>,
    /// Believe any server certificate: for test stands only
    #[arg(long)]
    pub(crate) no_server_verification: bool,
}
