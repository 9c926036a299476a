//! Where queue and storage data are looked for: options, then the configuration file, then usual
//! places.
//!
//! Pilot 3 also asks CERN's information system, whoever runs it; here only who names it.
//!
//! Source: Pilot 3, `pilot/info/extinfo.py`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::ConfigFile;
use crate::{
    args::Args,
    environment::Environment,
    site::{Place, PlaceKind, SitePlaces},
};

/// What stands for the queue in URLs and paths.
const QUEUE_MARK: &str = "{pandaqueue}";
/// Where CVMFS is mounted, if nobody says.
const CVMFS: &str = "/cvmfs";
/// Files of an experiment that keeps such data in CVMFS, below its mount.
const QUEUES_IN_CVMFS: &str = "atlas.cern.ch/repo/sw/local/etc/cric_pandaqueues.json";
const STORAGES_IN_CVMFS: &str = "atlas.cern.ch/repo/sw/local/etc/cric_ddmendpoints.json";
/// Copies in the pilot's directory, under the names by which Pilot 3 looks for them.
const QUEUE_COPY: &str = "queuedata.json";
const QUEUES_COPY: &str = "cric_pandaqueues.json";
const STORAGES_COPY: &str = "cric_ddmendpoints.json";

/// Makes the places; `server` is scheme, host and port of the PanDA server.
pub(super) fn site_places(
    args: &Args,
    (environment, file): (&Environment, &ConfigFile),
    server: &str,
    launch_dir: &Path,
) -> SitePlaces {
    let queue = args.jobs.queue.as_str();
    let cvmfs = environment.get("ATLAS_SW_BASE").unwrap_or(CVMFS);
    let named = |address: &str, copy: Option<&str>| {
        let address = address.replace(QUEUE_MARK, queue);
        Place {
            address: if address.contains("://") {
                address
            } else {
                launch_dir.join(address).display().to_string()
            },
            kind: PlaceKind::Named,
            copy: copy.map(str::to_owned),
        }
    };
    let in_cvmfs = |key, usual: &str| match file.place(key, cvmfs) {
        Some(path) => named(&path, None),
        None => Place {
            kind: PlaceKind::Usual,
            ..named(&format!("{cvmfs}/{usual}"), None)
        },
    };
    let option = |given: &Option<String>| given.clone().filter(|given| !given.is_empty());
    let queue_url = option(&args.server.queuedata_url)
        .or_else(|| file.place("queuedata_url", cvmfs))
        .unwrap_or_else(|| format!("{server}/cache/schedconfig/{QUEUE_MARK}.all.json"));
    let storage_url = option(&args.server.storagedata_url)
        .or_else(|| file.place("storages_url", cvmfs))
        .unwrap_or_else(|| format!("{server}/cache/ddmendpoints.json"));
    let queues_url = file.place("queues_url", cvmfs);
    let queue_copy = format!("agis_schedconf.agis.{queue}.json");
    SitePlaces {
        queue: [
            Some(named(&queue_url, Some(QUEUE_COPY))),
            Some(in_cvmfs("queuedata_cvmfs", QUEUES_IN_CVMFS)),
            queues_url
                .as_deref()
                .map(|url| named(url, Some(&queue_copy))),
        ]
        .into_iter()
        .flatten()
        .collect(),
        full_queue: [
            environment
                .get("LOCAL_AGIS_SCHEDCONF")
                .map(|address| named(address, Some(QUEUES_COPY))),
            Some(in_cvmfs("queues_cvmfs", QUEUES_IN_CVMFS)),
        ]
        .into_iter()
        .flatten()
        .collect(),
        storages: vec![
            named(&storage_url, Some(STORAGES_COPY)),
            in_cvmfs("storages_cvmfs", STORAGES_IN_CVMFS),
        ],
        copy_tools: file.get("Information", "acopytools").map(str::to_owned),
    }
}

/// Returns where the profile's software is on this node; nothing if nobody is to look.
pub(super) fn software(
    locations: &[String],
    args: &Args,
    environment: &Environment,
) -> Arc<[PathBuf]> {
    if args.jobs.no_cvmfs || environment.get("NO_CVMFS_OK").is_some() {
        return Arc::default();
    }
    let base = environment.get("ATLAS_SW_BASE").unwrap_or(CVMFS);
    let places = locations.iter().map(|location| {
        let below = location.strip_prefix(CVMFS);
        let below = below.filter(|rest| rest.starts_with('/'));
        PathBuf::from(below.map_or_else(|| location.clone(), |rest| format!("{base}{rest}")))
    });
    places.collect()
}
