//! The catalogue of replicas: what it is asked, and what it says.
//!
//! The adapter translates both for Rucio; what is done with an answer is decided in
//! [`replicas`](super::replicas).
//!
//! Source: Pilot 3, `pilot/api/data.py`, `list_replicas`.

use ailurus_model::{ByteCount, Checksum, EndpointName, Job, Lfn, Scope};

use super::copy_tools::Tools;

/// Schemes that the catalogue is asked for.
const LOOKED_UP_SCHEMES: [&str; 9] = [
    "srm", "root", "davs", "gsiftp", "https", "storm", "file", "s3", "gs",
];
/// Endpoints that a job with virtual placement reads from.
const VIRTUAL_PLACEMENT: &str = r"istape=False\type=SPECIAL";

/// What the catalogue is asked, about all inputs of a job at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaQuery {
    /// The files.
    pub files: Vec<(Scope, Lfn)>,
    /// URL schemes that can be used here.
    pub schemes: Vec<String>,
    /// Which endpoints are looked at, in Rucio's language; none for all.
    pub rse_expression: Option<String>,
    /// Whether endpoints that are switched off for reading count.
    pub switched_off: SwitchedOff,
}

/// What becomes of endpoints that are switched off for reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchedOff {
    /// Their replicas are told.
    Told,
    /// Their replicas are left out.
    LeftOut,
}

/// What the catalogue says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueFile {
    /// Its scope.
    pub scope: Scope,
    /// Its name.
    pub lfn: Lfn,
    /// Its size, if known.
    pub size: Option<ByteCount>,
    /// Its checksums, the preferred one first.
    pub checksums: Vec<Checksum>,
    /// Its replicas, in any order.
    pub replicas: Vec<Replica>,
}

/// One copy of a file, as the catalogue says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// The URL; may hold a signature.
    pub url: String,
    /// The catalogue's order, the smallest is the best.
    pub priority: u32,
    /// What it lies on.
    pub medium: Medium,
}

/// What a replica lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Disk.
    Disk,
    /// Tape, from where it would have to be recalled.
    Tape,
}

/// Returns what the catalogue is to be asked for a job; none if none of its copy tools looks there.
#[must_use]
pub fn replica_query(job: &Job, tools: &Tools) -> Option<ReplicaQuery> {
    if job.inputs.is_empty() || !tools.tools.iter().any(|tool| tool.looks_up()) {
        return None;
    }
    let files = job.inputs.iter();
    let files = files.filter(|file| !job.options.input_urls.contains_key(&file.lfn));
    let files = files.map(|file| (file.scope.clone(), file.lfn.clone()));
    let is_virtual = job.options.is_virtual_placement;
    let schemes = if is_virtual {
        &["root"][..]
    } else {
        &LOOKED_UP_SCHEMES
    };
    Some(ReplicaQuery {
        files: files.collect(),
        schemes: schemes.iter().map(|it| (*it).to_owned()).collect(),
        rse_expression: is_virtual.then(|| VIRTUAL_PLACEMENT.to_owned()),
        switched_off: if is_virtual {
            SwitchedOff::LeftOut
        } else {
            SwitchedOff::Told
        },
    })
}
