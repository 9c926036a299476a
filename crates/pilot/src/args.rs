//! The command line: Pilot 3's options with their names and forms, and long options of our own.
//!
//! Options that this pilot has no use for are accepted, because wrappers and Harvester give them.

use std::{path::PathBuf, time::Duration};

use ailurus_model::units::{ParseDurationError, parse_duration};
use clap::{ArgAction, Parser};

/// The PanDA pilot: takes jobs of one queue, runs them on this node and reports.
#[derive(Debug, Parser)]
#[command(name = "ailurus-pilot", version, max_term_width = 100)]
#[command(after_help = "Durations are written like `30s`, `45m` or `2h 30m`. \
    Exit codes are those of Pilot 3: 0 also when a payload failed.")]
pub(crate) struct Args {
    /// PanDA queue to serve
    #[arg(short = 'q', long = "queue")]
    pub(crate) queue: String,
    /// Which jobs to take: PanDA's prodSourceLabel
    #[arg(short = 'j', long = "joblabel", default_value = "ptest")]
    pub(crate) job_label: String,
    /// Profile of the experiment: `generic`, `spd`, or NAME.toml in the profile path
    #[arg(long, default_value = "generic", value_name = "NAME")]
    pub(crate) pilot_user: String,
    /// Version tag: PR, RC, RCM or ALRB
    #[arg(short = 'i', long = "versiontag", default_value = "PR")]
    pub(crate) version_tag: String,
    /// Directory below which the pilot makes its own [default: work in the current one]
    #[arg(short = 'a', long = "workdir", value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// Longest life in seconds, if the queue states none
    #[arg(
        short = 'l',
        long = "lifetime",
        default_value_t = 324_000,
        value_name = "SECONDS"
    )]
    pub(crate) lifetime: u64,
    /// Most job requests in a row that bring no job
    #[arg(
        short = 'v',
        long = "getjobrequests",
        default_value_t = 2,
        value_name = "N"
    )]
    pub(crate) job_requests: u32,
    /// Most job requests that fail
    #[arg(
        short = 'x',
        long = "getjobfailures",
        default_value_t = 5,
        value_name = "N"
    )]
    pub(crate) job_failures: u32,
    /// Remove work directories at the end
    #[arg(long, default_value = "true", value_parser = bool_text, action = ArgAction::Set, value_name = "BOOL")]
    pub(crate) cleanup: bool,
    /// Take further jobs only from the task of the first one
    #[arg(long, default_value = "true", value_parser = bool_text, action = ArgAction::Set, value_name = "BOOL")]
    pub(crate) allow_same_user: bool,
    /// Take only jobs of this PanDA resource type, for example SCORE
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) resource_type: String,
    /// Write debug messages, and where each message comes from
    #[arg(short = 'd', long)]
    pub(crate) debug: bool,
    /// Write no pilotlog.txt
    #[arg(long)]
    pub(crate) no_pilot_log: bool,
    /// Write messages to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) redirect_stdout: Option<PathBuf>,

    /// PanDA server
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
    /// Send no updates; the last one is written to heartbeat.json
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
        help_heading = "Own options"
    )]
    pub(crate) profile_path: String,
    /// Pause after a request that brought no job
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "DURATION", help_heading = "Own options")]
    pub(crate) job_request_pause: Duration,
    /// Time between two heartbeats [default: the profile's]
    #[arg(long, value_parser = period, value_name = "DURATION", help_heading = "Own options")]
    pub(crate) heartbeat: Option<Duration>,
    /// Time between two samples of memory and CPU [default: the profile's]
    #[arg(long, value_parser = period, value_name = "DURATION", help_heading = "Own options")]
    pub(crate) sample_interval: Option<Duration>,
    /// Time without progress after which a payload is ended [default: the profile's]
    #[arg(long, value_parser = duration, value_name = "DURATION", help_heading = "Own options")]
    pub(crate) looping_limit: Option<Duration>,
    /// Time between SIGTERM and SIGKILL for a payload [default: the profile's]
    #[arg(long, value_parser = duration, value_name = "DURATION", help_heading = "Own options")]
    pub(crate) kill_grace: Option<Duration>,
    /// Write a line of JSON with the times of each job to this file
    #[arg(long, value_name = "FILE", help_heading = "Own options")]
    pub(crate) timing_file: Option<PathBuf>,
    /// Believe any server certificate: for test stands only
    #[arg(long, help_heading = "Own options")]
    pub(crate) no_server_verification: bool,

    #[command(flatten)]
    _without_effect: WithoutEffect,
}

/// Options of Pilot 3 that change nothing here.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Accepted because wrappers give them, without effect")]
struct WithoutEffect {
    /// Workflow
    #[arg(short = 'w', long, default_value = "generic")]
    workflow: String,
    /// Obsolete
    #[arg(short = 'r', long)]
    resource: Option<String>,
    /// Obsolete
    #[arg(short = 's', long)]
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
    /// Lease of the stager workflow
    #[arg(short = 'L', long = "leasetime")]
    lease_time: Option<u64>,
    /// HTTPS follows from the URL
    #[arg(long)]
    use_https: Option<String>,
    /// Unused by the server
    #[arg(long)]
    country_group: Option<String>,
    /// Unused by the server
    #[arg(long)]
    working_group: Option<String>,
    /// Unused by the server
    #[arg(long)]
    allow_other_country: Option<String>,
    /// Unused by the server
    #[arg(long)]
    job_type: Option<String>,
    /// Upload attempts
    #[arg(long)]
    stageout_attempts: Option<u32>,
    /// Message broker
    #[arg(long)]
    subscribe_to_msgsvc: bool,
    /// Real-time logging
    #[arg(long)]
    use_realtime_logging: bool,
    /// Real-time logging
    #[arg(long)]
    realtime_logging_server: Option<String>,
    /// Real-time logging
    #[arg(long)]
    realtime_logname: Option<String>,
    /// Rucio
    #[arg(long)]
    use_rucio_traces: Option<String>,
    /// Rucio
    #[arg(long)]
    rucio_host: Option<String>,
    /// Harvester's file mode
    #[arg(long)]
    harvester_workdir: Option<String>,
    /// Harvester's file mode
    #[arg(long)]
    harvester_datadir: Option<String>,
    /// Harvester's file mode
    #[arg(long)]
    harvester_eventstatusdump: Option<String>,
    /// Harvester's file mode
    #[arg(long)]
    harvester_workerattributes: Option<String>,
    /// Harvester's file mode
    #[arg(long)]
    harvester_submit_mode: Option<String>,
    /// Inputs go to the job's directory
    #[arg(long)]
    input_destination_dir: Option<String>,
    /// HPC modules
    #[arg(long)]
    hpc_resource: Option<String>,
    /// HPC modules
    #[arg(long)]
    hpc_mode: Option<String>,
    /// Event service
    #[arg(long)]
    es_executor_type: Option<String>,
    /// Kubernetes pods
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
