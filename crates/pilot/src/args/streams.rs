//! Options for showing the output of payloads while they run.

/// Where the output of payloads is shown while they run.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output of payloads while they run")]
pub(crate) struct StreamArgs {
    /// Send the output of every payload to a log server, not only in debug mode
    #[arg(long)]
    pub(crate) use_realtime_logging: bool,
    /// Log server, as `logserver=logstash;https://HOST:PORT` (also loki, and logstash over tcp)
    #[arg(
        long,
        value_name = "SERVER",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) realtime_logging_server: String,
    /// Name of the log [default: pilot-log]
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) realtime_logname: String,
}
