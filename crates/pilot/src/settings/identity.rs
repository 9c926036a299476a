//! Who the pilot is: for the server, and for the payload's environment.

use std::{collections::BTreeMap, path::Path};

use ailurus_node::{NodeFacts, text::CpuInfo};
use ailurus_pilot_core::config::Identity;

use super::VERSION;
use crate::{args::Args, environment::Environment};

/// Gathers what the pilot says of itself in requests and updates.
pub(super) fn identity(args: &Args, environment: &Environment, facts: &NodeFacts) -> Identity {
    let batch = environment.batch();
    let log_url = environment.get("GTAG").unwrap_or("unknown");
    let batch_type = batch.as_ref().map(|batch| batch.system.as_str());
    let parts = [
        Some(log_url),
        batch_type,
        Some(&args.jobs.version_tag),
        Some(VERSION),
    ];
    let is_worker = !args.server.no_worker_status && !args.server.no_server_update;
    let (source_site, destination_site) = environment.grid_sites().unwrap_or_default();
    Identity {
        node: environment.node_name(&facts.host_name),
        scheduler_id: environment
            .get("PANDA_JSID")
            .unwrap_or("unknown")
            .to_owned(),
        pilot_id: parts.into_iter().flatten().collect::<Vec<_>>().join("|"),
        batch_id: batch.map(|batch| batch.id).unwrap_or_default(),
        harvester_id: environment.harvester_id(),
        worker_id: environment.worker_id().filter(|_| is_worker),
        cpu_unit: cpu_unit(&facts.cpu),
        cpu_level: facts.cpu.architecture_level().to_owned(),
        source_site,
        destination_site,
    }
}

/// Variables that Pilot 3 sets for payloads, without those that only it reads.
///
/// Source: Pilot 3, `pilot.py`, `set_environment_variables`.
pub(super) fn variables(
    args: &Args,
    environment: &Environment,
    server: &str,
    launch_dir: &Path,
) -> BTreeMap<String, String> {
    let launch_dir = launch_dir.display().to_string();
    let work_dir = args.directories.work_dir.as_ref();
    let source_dir = environment.get("PILOT_SOURCE_DIR").unwrap_or(&launch_dir);
    [
        ("PILOT_SOURCE_DIR", Some(source_dir.to_owned())),
        ("PILOT_USER", Some(args.jobs.pilot_user.clone())),
        ("PILOT_VERSION", Some(VERSION.to_owned())),
        ("PANDA_SERVER_URL", Some(server.to_owned())),
        (
            "PILOT_WORK_DIR",
            work_dir.map(|dir| dir.display().to_string()),
        ),
        ("PILOT_OUTPUT_DIR", args.directories.output_dir.clone()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// Describes the processors as Pilot 3 does, for example
/// `s+Intel(R) Xeon(R) Gold 6248 28160 KB 40-Core Processor HT 2-Sockets+AVX2`.
///
/// Source: Pilot 3, `pilot/util/workernode.py`, `update_modelstring`; `pilot/control/job.py`,
/// `get_cpu_consumption_unit`.
fn cpu_unit(cpu: &CpuInfo) -> String {
    if cpu.model.is_empty() {
        return String::new();
    }
    let n_cores = cpu.cores_per_socket.max(1) * cpu.n_sockets.max(1);
    let model = format!("{} {}", cpu.model, cpu.cache).trim().to_owned();
    let model = if model.contains("-Core Processor") {
        // The number is in it already.
        model
    } else if model.contains("Core Processor") {
        model.replacen("Core", &format!("{n_cores}-Core"), 1)
    } else if model.contains("Processor") {
        model.replacen("Processor", &format!("{n_cores}-Core Processor"), 1)
    } else {
        format!("{model} {n_cores}-Core Processor")
    };
    let threads = if cpu.threads_per_core() == 2 {
        " HT"
    } else {
        ""
    };
    let plural = if cpu.n_sockets > 1 { "s" } else { "" };
    let instructions = if cpu.has_flag("avx2") { "+AVX2" } else { "" };
    format!(
        "s+{model}{threads} {}-Socket{plural}{instructions}",
        cpu.n_sockets
    )
}

#[cfg(test)]
mod tests {
    use ailurus_node::text::parse_cpuinfo;

    use super::*;

    fn unit(model: &str, siblings: u32, flags: &str) -> String {
        cpu_unit(&parse_cpuinfo(&format!(
            "processor\t: 0\nmodel name\t: {model}\ncache size\t: 1024 KB\nphysical id\t: 0\n\
             siblings\t: {siblings}\ncpu cores\t: 2\nflags\t\t: {flags}\n"
        )))
    }

    #[test]
    fn processors_are_described_as_by_pilot_3() {
        assert_eq!(
            unit("AMD EPYC", 2, "lm avx2"),
            "s+AMD EPYC 1024 KB 2-Core Processor 1-Socket+AVX2"
        );
        assert_eq!(
            unit("AMD EPYC 7452 32-Core Processor", 4, "lm"),
            "s+AMD EPYC 7452 32-Core Processor 1024 KB HT 1-Socket"
        );
        assert_eq!(
            unit("Intel Xeon Processor (Skylake)", 2, ""),
            "s+Intel Xeon 2-Core Processor (Skylake) 1024 KB 1-Socket"
        );
        assert_eq!(cpu_unit(&parse_cpuinfo("")), "");
    }
}
