//! What an experiment wants of data: copy tools, checksums, remote reading, formats.
//!
//! Names of copy tools and formats are text here, because their tables belong to others: who acts
//! on a profile checks them. A queue that names copy tools of its own overrules the profile.

use serde::{Deserialize, Serialize};

use crate::{HookProfile, NamePattern};

/// How inputs and outputs are moved (`[data]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataProfile {
    /// Copy tools for queues that name none, best first. Default: `rucio`.
    pub copy_tools: Vec<String>,
    /// The checksum that is made of outputs. Default: Adler-32.
    pub checksum: ChecksumChoice,
    /// URL schemes that a payload reads over the local network. Default: Pilot 3's.
    pub direct_access_lan: Vec<String>,
    /// URL schemes that a payload reads from far away. Default: Pilot 3's.
    pub direct_access_wan: Vec<String>,
    /// Words that tell the payload of an analysis job that it reads remotely; without any, the
    /// inputs' names in the parameters become URLs, as they do for all other jobs. Default: none.
    pub direct_access_arguments: Vec<String>,
    /// Inputs that are never moved, because they are on every node. Default: none.
    pub not_transferred: Vec<NamePattern>,
    /// Whether `PoolFileCatalog.xml` is written for the payload. Default: no.
    pub pool_file_catalog: bool,
    /// When inputs go through a cache on the node. Default: as the queue says.
    pub cache: CacheChoice,
    /// How networks know the experiment (`[data.flow_marker]`), for pilots that mark their
    /// connections. Default: not at all.
    pub flow_marker: Option<FlowMarkerProfile>,
}

impl Default for DataProfile {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
        Self {
            copy_tools: owned(&["rucio"]),
            checksum: ChecksumChoice::default(),
            direct_access_lan: owned(&["root", "dcache", "dcap", "file", "https"]),
            direct_access_wan: owned(&["root", "https"]),
            direct_access_arguments: Vec::new(),
            not_transferred: Vec::new(),
            pool_file_catalog: false,
            cache: CacheChoice::default(),
            flow_marker: None,
        }
    }
}

/// The numbers by which networks know an experiment and what it moves data for.
///
/// Source: the registry of `SciTags`, `scitags.org/api.json`. An experiment that is not in it has no
/// numbers, and is not marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowMarkerProfile {
    /// The experiment, from 1 to 1023.
    pub experiment_id: u16,
    /// Activities that have no number of their own below, from 1 to 63. Default: 1.
    #[serde(default = "default_activity")]
    pub activity_id: u16,
    /// Inputs of production jobs.
    #[serde(default)]
    pub production_input_id: Option<u16>,
    /// Outputs of production jobs.
    #[serde(default)]
    pub production_output_id: Option<u16>,
    /// Inputs of analysis jobs.
    #[serde(default)]
    pub analysis_input_id: Option<u16>,
    /// Outputs of analysis jobs.
    #[serde(default)]
    pub analysis_output_id: Option<u16>,
}

const fn default_activity() -> u16 {
    1
}

/// What a job's connection moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowActivity {
    /// An input of a production job.
    ProductionInput,
    /// An output of a production job.
    ProductionOutput,
    /// An input of an analysis job.
    AnalysisInput,
    /// An output of an analysis job.
    AnalysisOutput,
}

impl FlowMarkerProfile {
    /// Returns an activity's number.
    #[must_use]
    pub fn activity(&self, activity: FlowActivity) -> u16 {
        let own = match activity {
            FlowActivity::ProductionInput => self.production_input_id,
            FlowActivity::ProductionOutput => self.production_output_id,
            FlowActivity::AnalysisInput => self.analysis_input_id,
            FlowActivity::AnalysisOutput => self.analysis_output_id,
        };
        own.unwrap_or(self.activity_id)
    }

    /// Says what is wrong with the numbers, if anything: the key and what is allowed.
    pub(crate) fn fault(&self) -> Option<(&'static str, u16, &'static str)> {
        if !(1..=1023).contains(&self.experiment_id) {
            return Some(("experiment_id", self.experiment_id, "from 1 to 1023"));
        }
        let activities = [
            ("activity_id", Some(self.activity_id)),
            ("production_input_id", self.production_input_id),
            ("production_output_id", self.production_output_id),
            ("analysis_input_id", self.analysis_input_id),
            ("analysis_output_id", self.analysis_output_id),
        ];
        let mut set = activities
            .into_iter()
            .filter_map(|(key, id)| Some((key, id?)));
        set.find(|(_, id)| !(1..=63).contains(id))
            .map(|(key, id)| (key, id, "from 1 to 63"))
    }
}

/// Which checksum is made of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumChoice {
    /// Adler-32, which every storage of the grid knows.
    #[default]
    Adler32,
    /// MD5.
    Md5,
    /// SHA-256; neither PanDA nor Rucio keeps it.
    Sha256,
}

/// When inputs go through a cache on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheChoice {
    /// Where the queue says so (`use_pcache`).
    #[default]
    ByQueue,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Files that are checked, and how (`[[formats]]`). The first entry that fits a file counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatProfile {
    /// Which files, by name.
    pub pattern: NamePattern,
    /// The format; may be left out where there is a `command`.
    #[serde(default)]
    pub format: String,
    /// How much of a file is looked at, `structure` or `baskets`. Default `structure`.
    #[serde(default = "default_depth")]
    pub depth: String,
    /// When. Default: at input and at output.
    #[serde(default = "always")]
    pub when: Vec<CheckTime>,
    /// What the built-in checks cannot say, this program says: it gets the file's path as its last
    /// word, and a file is bad if it fails. Default: none.
    #[serde(default)]
    pub command: Option<HookProfile>,
}

fn default_depth() -> String {
    "structure".to_owned()
}

fn always() -> Vec<CheckTime> {
    vec![CheckTime::Input, CheckTime::Output]
}

/// When a file is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckTime {
    /// Before the payload reads it.
    Input,
    /// Before it is stored and registered.
    Output,
}

impl FormatProfile {
    /// Says what is wrong with an entry, if anything: its key and what is allowed.
    pub(crate) fn fault(&self) -> Option<(&'static str, &'static str)> {
        if self.format.is_empty() && self.command.is_none() {
            return Some((
                "format",
                "the name of a format, unless there is a `command`",
            ));
        }
        if self.when.is_empty() {
            return Some(("when", "at least one of `input` and `output`"));
        }
        let is_empty = |hook: &HookProfile| hook.command.is_empty();
        self.command
            .as_ref()
            .is_some_and(is_empty)
            .then_some(("command.command", "at least one word"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;

    #[test]
    fn numbers_of_flow_markers_are_those_of_the_registry() {
        let marker = |name: &str| {
            let profile = Profile::built_in(name).expect("built in");
            profile.data.flow_marker
        };
        assert_eq!(marker("spd"), None, "it is not in the registry");
        let mut marker = marker("rubin").expect("it is");
        assert_eq!(marker.activity(FlowActivity::AnalysisOutput), 1);
        assert_eq!(marker.fault(), None);
        marker.production_input_id = Some(63);
        assert_eq!(marker.activity(FlowActivity::ProductionInput), 63);
        assert_eq!(marker.fault(), None);
        marker.production_input_id = Some(64);
        let key = |marker: &FlowMarkerProfile| marker.fault().map(|(key, _, _)| key);
        assert_eq!(key(&marker), Some("production_input_id"));
        marker.experiment_id = 0;
        assert_eq!(key(&marker), Some("experiment_id"));
    }
}
