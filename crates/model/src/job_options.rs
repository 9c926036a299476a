//! The rarer parts of a job definition: steps around the payload, containers, debugging, secrets.
//!
//! Most jobs have none of them: the default of every type here says "not stated".
//!
//! Source: Pilot 3, `pilot/info/jobdata.py`, `JobData`; PanDA server,
//! `pandaserver/jobdispatcher/Protocol.py`, `Response.appendJob`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::Lfn;

/// What a job may say besides files, program and needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobOptions {
    /// A program to run before the payload, if any.
    pub preprocess: Option<JobStep>,
    /// A program to run after the payload, if any.
    pub postprocess: Option<JobStep>,
    /// A program to run beside the payload, if any.
    pub coprocess: Option<JobStep>,
    /// How the container is to be made.
    pub container: ContainerOptions,
    /// Package of the software release (`homepackage`), empty if none.
    pub home_package: String,
    /// CPU time that the job may use (`maxCpuCount`); zero means not stated.
    pub cpu_time_max: Duration,
    /// Whether the payload's output is to be shown from the start (`debug`).
    pub is_debug: bool,
    /// What is to be shown (`debug_command`), empty for the payload's output.
    pub debug_command: String,
    /// Whether outputs may go to another storage (`altStageOut`).
    pub alternative_stage_out: AlternativeStageOut,
    /// Whether the job handles events instead of files (`eventService`).
    pub is_event_service: bool,
    /// Whether the job merges what event service jobs wrote (`eventServiceMerge`).
    pub is_event_service_merge: bool,
    /// Whether the payload is repeated with other hyperparameters (`isHPO`).
    pub is_hpo: bool,
    /// Whether inputs lie elsewhere and are read from there (`useVP`).
    pub is_virtual_placement: bool,
    /// Whether the parameters hold the set-up too (`noExecStrCnv`).
    pub has_own_setup: bool,
    /// Whether several copies of the job run at a time (`cloneJob`).
    #[serde(default)]
    pub cloning: JobCloning,
    /// Whether the log goes to an object store (`putLogToOS`).
    #[serde(default)]
    pub logs_to_object_store: bool,
    /// Whether event numbers are positions in files (`inFilePosEvtNum`).
    #[serde(default)]
    pub has_in_file_positions: bool,
    /// Whether events are fetched ahead (`usePrefetcher`).
    #[serde(default)]
    pub uses_prefetcher: bool,
    /// Whether outputs are merged where they are made (`onSiteMerging`).
    #[serde(default)]
    pub merges_on_site: bool,
    /// Speed of input and output (`ioIntensity`) in [`Self::io_intensity_unit`]; zero means not
    /// stated.
    #[serde(default)]
    pub io_intensity: u64,
    /// PanDA's word for that unit (`ioIntensityUnit`), mostly `kBPerS`; empty means not stated.
    #[serde(default)]
    pub io_intensity_unit: String,
    /// Lists of names to be written to files (`writeToFile`), as PanDA writes it.
    pub write_to_file: String,
    /// The nucleus of the task, empty if none.
    pub nucleus: String,
    /// Address of the job's Dask scheduler (`scheduler_ip`), empty if none.
    pub scheduler_ip: String,
    /// Address of the job's Jupyter session (`session_ip`), empty if none.
    pub session_ip: String,
    /// Storage token of an input (`prodDBlockToken`): `local` demands a copy on the node.
    pub storage_tokens: BTreeMap<Lfn, String>,
    /// Where an input lies, if the job itself says so (`gs://…` in place of a name).
    #[serde(default)]
    pub input_urls: BTreeMap<Lfn, String>,
    /// Inputs that are archives to be unpacked (`zip://…` in place of a name).
    #[serde(default)]
    pub archived_inputs: BTreeSet<Lfn>,
    /// Secrets of the user for the payload. Never written to a log, a journal or a test trace.
    #[serde(skip)]
    pub secrets: Option<SecretText>,
    /// Secrets for the pilot, for example of the server that takes logs. Never written either.
    #[serde(skip)]
    pub pilot_secrets: BTreeMap<String, SecretText>,
}

/// A program that is run before, beside or after the payload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobStep {
    /// URL or name of the program.
    pub command: String,
    /// Its arguments, one text.
    pub args: String,
}

/// How a job's container is to be made (`containerOptions`). Empty texts are not stated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerOptions {
    /// The command to run in the container in place of the payload's (`containerExec`).
    pub exec: String,
    /// The image (`containerImage`).
    pub image: String,
    /// Further arguments of the container's program (`execArgs`).
    pub exec_args: String,
}

/// Whether outputs may go to another storage than the one that the job names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlternativeStageOut {
    /// The job does not say.
    #[default]
    Unspecified,
    /// They may.
    On,
    /// They may not.
    Off,
}

/// Whether several copies of a job run at a time, and which of them counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobCloning {
    /// There is one copy.
    #[default]
    None,
    /// The first that starts is the only one that runs.
    RunOnce,
    /// All run, and the first that ends stores its outputs.
    StoreOnce,
}

impl JobCloning {
    /// Returns PanDA's word, none where there is one copy.
    #[must_use]
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::RunOnce => Some("runonce"),
            Self::StoreOnce => Some("storeonce"),
        }
    }

    /// Reads PanDA's word; what is none of them means one copy.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "runonce" => Self::RunOnce,
            "storeonce" => Self::StoreOnce,
            _ => Self::None,
        }
    }
}

/// A secret that a server sent along. `Debug` and `Display` do not show it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the secret, to be given to the one that it is meant for.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(hidden)")
    }
}

impl fmt::Display for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_show_neither_in_logs_nor_in_what_is_written() {
        let options = JobOptions {
            secrets: Some(SecretText::new("s3cret")),
            pilot_secrets: BTreeMap::from([("key".to_owned(), SecretText::new("s3cret"))]),
            ..JobOptions::default()
        };
        assert!(!format!("{options:?}").contains("s3cret"));
        assert_eq!(SecretText::new("s3cret").to_string(), "(hidden)");
        assert_eq!(SecretText::new("s3cret").reveal(), "s3cret");
    }
}
