//! Where a task's jobs may run: names of queues, patterns, a site, a cloud, a nucleus.
//!
//! What the names and patterns mean for a queue is the business of the brokerage.

use serde::{Deserialize, Serialize};

/// Where jobs may run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SiteSelection {
    /// Only these queues (`site`, a list with commas); names or patterns. Empty means all.
    pub site: Vec<String>,
    /// Only queues of this site (`PandaSite`).
    #[serde(default)]
    pub panda_site: Option<String>,
    /// Only these queues (`includedSite`); names or patterns. Empty means all.
    pub included: Vec<String>,
    /// Not these queues (`excludedSite`); names or patterns.
    pub excluded: Vec<String>,
    /// Only queues of this cloud.
    pub cloud: Option<String>,
    /// Outputs are collected at this place.
    pub nucleus: Option<String>,
}
