//! Options of Pilot 3 that change nothing here.

use super::values::{bool_text, count};

/// Options of Pilot 3 that change nothing here.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Accepted without effect, because wrappers and Harvester give them")]
pub(super) struct Accepted {
    /// Obsolete in Pilot 3 too
    #[arg(short = 'r', long, value_name = "X")]
    resource: Option<String>,
    /// Obsolete in Pilot 3 too
    #[arg(short = 's', long, value_name = "X")]
    site: Option<String>,
    /// Payloads have no proxy of their own
    #[arg(short = 'u', long = "verifypayloadproxy")]
    verify_payload_proxy: bool,
    /// There is no stager workflow
    #[arg(short = 'L', long = "leasetime", value_name = "X", value_parser = count, allow_negative_numbers = true)]
    lease_time: Option<u32>,
    /// HTTPS follows from the URL
    #[arg(long, value_name = "X", value_parser = bool_text)]
    use_https: Option<bool>,
    /// Transfers are tried as often as the profile says
    #[arg(long, value_name = "X", value_parser = count, allow_negative_numbers = true)]
    stageout_attempts: Option<u32>,
    /// No message broker is listened to
    #[arg(long)]
    subscribe_to_msgsvc: bool,
    /// Inputs always go to the job's directory
    #[arg(long, value_name = "X")]
    input_destination_dir: Option<String>,
    /// There are no HPC modules
    #[arg(long, value_name = "X")]
    hpc_resource: Option<String>,
    /// Not evaluated in Pilot 3 either
    #[arg(long, value_name = "X")]
    hpc_mode: Option<String>,
    /// There is no event service
    #[arg(long, value_name = "X")]
    es_executor_type: Option<String>,
    /// Pods are treated like other nodes
    #[arg(long)]
    pod: bool,
}
