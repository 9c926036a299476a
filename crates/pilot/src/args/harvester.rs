//! Options of Harvester's file mode and of HPC.

use std::path::PathBuf;

/// Pilot 3's workflows. Those with `production` and `analysis` are other names of the generic ones.
const WORKFLOWS: [&str; 9] = [
    "generic",
    "generic_hpc",
    "production",
    "production_hpc",
    "analysis",
    "analysis_hpc",
    "eventservice_hpc",
    "stager",
    "payload_stageout",
];
/// Workflows that need no network: jobs from files, reports to files.
const HPC_WORKFLOWS: [&str; 3] = ["generic_hpc", "production_hpc", "analysis_hpc"];

/// How the pilot works with Harvester, and without a network.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Harvester and HPC")]
pub(crate) struct HarvesterArgs {
    /// Workflow: those that end in `_hpc` take jobs from files only and report to files only; the
    /// others are one
    #[arg(short = 'w', long, default_value = "generic", hide_default_value = true, value_name = "NAME",
        value_parser = WORKFLOWS, hide_possible_values = true)]
    pub(crate) workflow: String,
    /// Access point: the directory shared with Harvester [default: `HARVESTER_WORKDIR`, then the
    /// current one]
    #[arg(long, value_name = "DIR")]
    pub(crate) harvester_workdir: Option<PathBuf>,
    /// The only directory that is searched for pandaJobData.out
    #[arg(long, value_name = "DIR")]
    pub(crate) harvester_datadir: Option<PathBuf>,
    /// With -z, asks for Harvester's file mode; the file's name is Harvester's default
    #[arg(long, value_name = "FILE")]
    pub(crate) harvester_eventstatusdump: Option<PathBuf>,
    /// With -z, asks for Harvester's file mode; the file's name is Harvester's default
    #[arg(long, value_name = "FILE")]
    pub(crate) harvester_workerattributes: Option<PathBuf>,
    /// PUSH: jobs come by files only; PULL: the server is asked where there is no file
    #[arg(
        long,
        value_name = "MODE",
        default_value = "PULL",
        hide_default_value = true
    )]
    pub(crate) harvester_submit_mode: String,
}

impl HarvesterArgs {
    /// Says whether the pilot is to do without a network.
    pub(crate) fn is_hpc(&self) -> bool {
        HPC_WORKFLOWS.contains(&self.workflow.as_str())
    }

    /// Says whether jobs come by files only.
    pub(crate) fn is_push(&self) -> bool {
        self.harvester_submit_mode.eq_ignore_ascii_case("push")
    }

    /// Says whether one of the options that ask for file mode is given.
    pub(crate) fn names_files(&self) -> bool {
        let options = [
            &self.harvester_workdir,
            &self.harvester_datadir,
            &self.harvester_eventstatusdump,
            &self.harvester_workerattributes,
        ];
        options
            .into_iter()
            .flatten()
            .any(|path| !path.as_os_str().is_empty())
    }
}
