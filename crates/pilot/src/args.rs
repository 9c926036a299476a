//! The command line: Pilot 3's options with their names and forms, and long options of our own.
//!
//! Options that this pilot has no use for are accepted, because wrappers and Harvester give them.

use std::{path::PathBuf, time::Duration};

use ailurus_model::units::{ParseDurationError, parse_duration};
use clap::{ArgAction, Parser};

/// What follows the list of options.
const AFTER_HELP: &str = "\
A batch job typically runs
  ailurus-pilot -q QUEUE -j managed --pilot-user spd --url https://SERVER -a \"$TMPDIR\"

Durations are written like `30s`, `45m` or `2h 30m`. Relative paths start where the pilot does.
Limits and periods are the profile's; the page for site admins lists them all.

Exit codes (Pilot 3's): 0 good, also when a payload failed or there was no job; 2 bad options or
profile; 66 no directory; 69 no space; 71 and 72 no queue data; 77 missing input; 78 and 83 queue
off; 79 no server; 81 out of time; 130 to 152 ended by a signal; 1 anything else: see the last line
of pilotlog.txt.";

/// The PanDA pilot: takes jobs of one queue, runs them on this node and reports.
#[derive(Debug, Parser)]
#[command(
    name = "ailurus-pilot",
    version,
    max_term_width = 100,
    args_override_self = true
)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// PanDA queue to serve
    #[arg(
        short = 'q',
        long = "queue",
        value_name = "QUEUE",
        help_heading = "Which jobs"
    )]
    pub(crate) queue: String,
    /// Label of the jobs to take, PanDA's prodSourceLabel: `managed`, `user`, `ptest`...
    #[arg(
        short = 'j',
        long = "joblabel",
        value_name = "LABEL",
        default_value = "ptest",
        help_heading = "Which jobs"
    )]
    pub(crate) job_label: String,
    /// Profile of the experiment: `generic`, `spd`, or NAME.toml in the profile path
    #[arg(
        long,
        default_value = "generic",
        value_name = "NAME",
        help_heading = "Which jobs"
    )]
    pub(crate) pilot_user: String,
    /// Kind of pilot: PR for production; RC, RCM and ALRB ask for test jobs
    #[arg(
        short = 'i',
        long = "versiontag",
        value_name = "TAG",
        default_value = "PR",
        help_heading = "Which jobs"
    )]
    pub(crate) version_tag: String,
    /// Scratch directory: the pilot makes its own below, and removes it [default: works in the current one]
    #[arg(
        short = 'a',
        long = "workdir",
        value_name = "DIR",
        help_heading = "Directories and log"
    )]
    pub(crate) work_dir: Option<PathBuf>,
    /// Longest life, if the queue's `maxtime` states none
    #[arg(
        short = 'l',
        long = "lifetime",
        default_value_t = 324_000,
        value_name = "SECONDS",
        help_heading = "Which jobs"
    )]
    pub(crate) lifetime: u64,
    /// Leave after this many job requests in a row without a job
    #[arg(
        short = 'v',
        long = "getjobrequests",
        default_value_t = 2,
        value_name = "N",
        help_heading = "Which jobs"
    )]
    pub(crate) job_requests: u32,
    /// Leave after this many job requests without an answer
    #[arg(
        short = 'x',
        long = "getjobfailures",
        default_value_t = 5,
        value_name = "N",
        help_heading = "Which jobs"
    )]
    pub(crate) job_failures: u32,
    /// Remove work directories at the end
    #[arg(long, default_value = "true", value_parser = bool_text, action = ArgAction::Set, value_name = "BOOL", help_heading = "Directories and log")]
    pub(crate) cleanup: bool,
    /// Take further jobs only from the task of the first one
    #[arg(long, default_value = "true", value_parser = bool_text, action = ArgAction::Set, value_name = "BOOL", help_heading = "Which jobs")]
    pub(crate) allow_same_user: bool,
    /// Take only jobs of this type, for example `SCORE` or `MCORE_HIMEM` [default: all]
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TYPE",
        help_heading = "Which jobs"
    )]
    pub(crate) resource_type: String,
    /// Log debug messages too, each with the place it comes from
    #[arg(short = 'd', long, help_heading = "Directories and log")]
    pub(crate) debug: bool,
    /// Log to standard output only: write no pilotlog.txt
    #[arg(long, help_heading = "Directories and log")]
    pub(crate) no_pilot_log: bool,
    /// Log to this file in place of standard output
    #[arg(long, value_name = "FILE", help_heading = "Directories and log")]
    pub(crate) redirect_stdout: Option<PathBuf>,

    /// PanDA server, for example `https://panda.example.org:25443` [default: CERN's]
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        help_heading = "Server and site"
    )]
    pub(crate) url: String,
    /// Port of the PanDA server, unless the URL has one; 0 for the scheme's own
    #[arg(
        short = 'p',
        long,
        default_value_t = 25443,
        help_heading = "Server and site"
    )]
    pub(crate) port: u16,
    /// Queue data: URL or path, `{pandaqueue}` stands for the queue [default: from the server]
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "URL",
        help_heading = "Server and site"
    )]
    pub(crate) queuedata_url: String,
    /// Storage data: URL or path [default: from the server]
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "URL",
        help_heading = "Server and site"
    )]
    pub(crate) storagedata_url: String,
    /// URLs below which scripts may lie, separated by commas, besides the server's
    #[arg(
        short = 'g',
        long = "baseurls",
        default_value = "",
        hide_default_value = true,
        value_name = "URLS",
        help_heading = "Server and site"
    )]
    pub(crate) base_urls: String,
    /// Do not tell the server when the worker starts and ends
    #[arg(
        short = 'k',
        long = "noworkerpilotstatusupdate",
        help_heading = "Server and site"
    )]
    pub(crate) no_worker_status: bool,
    /// Send no job updates: write the last one to heartbeat.json in the pilot's directory
    #[arg(short = 'z', long = "noserverupdate", help_heading = "Server and site")]
    pub(crate) no_server_update: bool,
    /// Client certificate or proxy file [default: `X509_USER_PROXY`]
    #[arg(long = "cacert", value_name = "FILE", help_heading = "Server and site")]
    pub(crate) certificate: Option<PathBuf>,
    /// Directory of CA certificates [default: `X509_CERT_DIR`]
    #[arg(long = "capath", value_name = "DIR", help_heading = "Server and site")]
    pub(crate) ca_directory: Option<PathBuf>,
    /// Directory from which all inputs are taken
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "DIR",
        help_heading = "Server and site"
    )]
    pub(crate) input_dir: String,
    /// Directory to which all outputs go
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "DIR",
        help_heading = "Server and site"
    )]
    pub(crate) output_dir: String,

    /// Directories with profiles, separated by colons, looked at before the built-in ones
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "DIRS",
        help_heading = "Options that Pilot 3 does not have"
    )]
    pub(crate) profile_path: String,
    /// Pause after a request that brought no job
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "DURATION", help_heading = "Options that Pilot 3 does not have")]
    pub(crate) job_request_pause: Duration,
    /// Time between two heartbeats [default: the profile's]
    #[arg(long, value_parser = period, value_name = "DURATION", help_heading = "Options that Pilot 3 does not have")]
    pub(crate) heartbeat: Option<Duration>,
    /// Time between two samples of memory and CPU [default: the profile's]
    #[arg(long, value_parser = period, value_name = "DURATION", help_heading = "Options that Pilot 3 does not have")]
    pub(crate) sample_interval: Option<Duration>,
    /// Time without progress after which a payload is ended [default: the profile's]
    #[arg(long, value_parser = duration, value_name = "DURATION", help_heading = "Options that Pilot 3 does not have")]
    pub(crate) looping_limit: Option<Duration>,
    /// Time between SIGTERM and SIGKILL for a payload [default: the profile's]
    #[arg(long, value_parser = duration, value_name = "DURATION", help_heading = "Options that Pilot 3 does not have")]
    pub(crate) kill_grace: Option<Duration>,
    /// Write a line of JSON with the times of each job to this file
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Options that Pilot 3 does not have"
    )]
    pub(crate) timing_file: Option<PathBuf>,
    /// Believe any server certificate: for test stands only
    #[arg(long, help_heading = "Options that Pilot 3 does not have")]
    pub(crate) no_server_verification: bool,

    #[command(flatten)]
    _without_effect: WithoutEffect,
}

/// Options of Pilot 3 that change nothing here.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Accepted without effect, because wrappers and Harvester give them")]
struct WithoutEffect {
    /// Workflow: there is one
    #[arg(
        short = 'w',
        long,
        default_value = "generic",
        hide_default_value = true,
        value_name = "X"
    )]
    workflow: String,
    /// Obsolete in Pilot 3 too
    #[arg(short = 'r', long, value_name = "X")]
    resource: Option<String>,
    /// Obsolete in Pilot 3 too
    #[arg(short = 's', long, value_name = "X")]
    site: Option<String>,
    /// CVMFS is not checked
    #[arg(short = 'b', long = "nocvmfs")]
    no_cvmfs: bool,
    /// Proxies are not checked
    #[arg(short = 't', long = "noproxyverification")]
    no_proxy_verification: bool,
    /// Proxies are not checked
    #[arg(short = 'u', long = "verifypayloadproxy")]
    verify_payload_proxy: bool,
    /// Tokens are not renewed
    #[arg(short = 'y', long = "notokenrenewal")]
    no_token_renewal: bool,
    /// There is no stager workflow
    #[arg(short = 'L', long = "leasetime", value_name = "X")]
    lease_time: Option<u64>,
    /// HTTPS follows from the URL
    #[arg(long, value_name = "X")]
    use_https: Option<String>,
    /// Not sent to the server
    #[arg(long, value_name = "X")]
    country_group: Option<String>,
    /// Not sent to the server
    #[arg(long, value_name = "X")]
    working_group: Option<String>,
    /// Not sent to the server
    #[arg(long, value_name = "X")]
    allow_other_country: Option<String>,
    /// Not sent to the server
    #[arg(long, value_name = "X")]
    job_type: Option<String>,
    /// Each output is stored once
    #[arg(long, value_name = "X")]
    stageout_attempts: Option<u32>,
    /// No message broker is listened to
    #[arg(long)]
    subscribe_to_msgsvc: bool,
    /// Logs are not sent in real time
    #[arg(long)]
    use_realtime_logging: bool,
    /// Logs are not sent in real time
    #[arg(long, value_name = "X")]
    realtime_logging_server: Option<String>,
    /// Logs are not sent in real time
    #[arg(long, value_name = "X")]
    realtime_logname: Option<String>,
    /// No traces are sent
    #[arg(long, value_name = "X")]
    use_rucio_traces: Option<String>,
    /// Rucio is not asked
    #[arg(long, value_name = "X")]
    rucio_host: Option<String>,
    /// There is no file mode: the server is asked
    #[arg(long, value_name = "X")]
    harvester_workdir: Option<String>,
    /// There is no file mode: the server is asked
    #[arg(long, value_name = "X")]
    harvester_datadir: Option<String>,
    /// There is no file mode: the server is asked
    #[arg(long, value_name = "X")]
    harvester_eventstatusdump: Option<String>,
    /// There is no file mode: the server is asked
    #[arg(long, value_name = "X")]
    harvester_workerattributes: Option<String>,
    /// There is no file mode: the server is asked
    #[arg(long, value_name = "X")]
    harvester_submit_mode: Option<String>,
    /// Inputs always go to the job's directory
    #[arg(long, value_name = "X")]
    input_destination_dir: Option<String>,
    /// There are no HPC modules
    #[arg(long, value_name = "X")]
    hpc_resource: Option<String>,
    /// There are no HPC modules
    #[arg(long, value_name = "X")]
    hpc_mode: Option<String>,
    /// There is no event service
    #[arg(long, value_name = "X")]
    es_executor_type: Option<String>,
    /// Pods are treated like other nodes
    #[arg(long)]
    pod: bool,
}

/// Shortest period: a shorter one would keep a core busy.
const PERIOD_MIN: Duration = Duration::from_millis(10);

/// Reads a duration that is repeated again and again.
fn period(text: &str) -> Result<Duration, String> {
    let period = parse_duration(text).map_err(|error| error.to_string())?;
    if period < PERIOD_MIN {
        return Err("it must be at least `10ms`".into());
    }
    Ok(period)
}

/// Reads Pilot 3's texts for yes and no, in any case.
fn bool_text(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "t" | "y" | "1" => Ok(true),
        "no" | "false" | "f" | "n" | "0" => Ok(false),
        _ => Err("write yes, true, t, y or 1, or no, false, f, n or 0".into()),
    }
}

fn duration(text: &str) -> Result<Duration, ParseDurationError> {
    parse_duration(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_options_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_command_line_of_the_wrapper_is_understood() {
        let line = "pilot.py -q Q -i PR -j managed --pilot-user spd -v 1 -x 3 -l 3600 -t -u -d -b \
            -w generic -r x -s y -k --url https://p -p 25443 -g http://a,http://b --cleanup False \
            --use-https True --use-rucio-traces false --harvester-submit-mode PULL -a work";
        let args = Args::try_parse_from(line.split_whitespace()).expect("understood");
        assert!(!args.cleanup && args.debug && args.no_worker_status);
        assert_eq!(
            (args.job_requests, args.job_failures, args.lifetime),
            (1, 3, 3600)
        );
    }

    #[test]
    fn of_an_option_that_is_given_twice_the_last_one_counts() {
        let line = "pilot.py -q Q -j managed -r x -v 1 -j user -r y -v 3 -d -d";
        let args = Args::try_parse_from(line.split_whitespace()).expect("understood");
        assert_eq!((args.job_label.as_str(), args.job_requests), ("user", 3));
    }

    #[test]
    fn a_period_that_keeps_a_core_busy_is_refused() {
        assert!(period("0s").is_err());
        assert_eq!(period("1s"), Ok(Duration::from_secs(1)));
    }

    #[test]
    fn texts_for_yes_and_no_are_those_of_pilot_3() {
        assert_eq!(bool_text("Yes"), Ok(true));
        assert_eq!(bool_text("0"), Ok(false));
        assert!(bool_text("maybe").is_err());
    }
}
