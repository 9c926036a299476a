//! A task as it is understood: everything that its parameters say, with types.
//!
//! The main type is [`RefinedTask`]. It is made by [`crate::refine()`], kept as JSON beside the
//! task, and read by whoever makes jobs. It holds no counts of files and no states: those are rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    resources::TaskResources,
    rules::{Rule, SplitRules},
    sites::SiteSelection,
};

/// What a task is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefinedTask {
    /// Its name (`taskName`), mostly that of its outputs' container.
    pub name: String,
    /// Whose it is: the compact name of a person.
    pub user: String,
    /// The virtual organisation.
    pub vo: String,
    /// What its jobs are for (`prodSourceLabel`): `user`, `managed`, `test` ….
    pub label: String,
    /// `anal` or `prod`.
    pub task_type: String,
    /// What kind of processing it is (`processingType`).
    pub processing_type: String,
    /// The program that submitted it (`framework`): `prun`, `pathena` …; empty if not told.
    pub framework: String,
    /// Group that it is done for.
    pub working_group: Option<String>,
    /// Country that it is done for.
    pub country_group: Option<String>,
    /// Campaign that it belongs to.
    pub campaign: Option<String>,
    /// Request that it belongs to (`reqID`); a task without one is its own request.
    pub request: Option<i64>,
    /// Global share that it asks for.
    pub global_share: Option<String>,
    /// Larger runs earlier (`taskPriority`).
    pub priority: i64,
    /// The priority that it starts with (`currentPriority`).
    pub current_priority: i64,
    /// What a worker must be, `platform@base#cpu&gpu` or JSON.
    pub architecture: String,
    /// What its jobs run.
    pub payload: Payload,
    /// What its jobs read; the first stream is the master, the others go along with it.
    pub inputs: Vec<InputStream>,
    /// What its jobs write.
    pub outputs: Vec<OutputStream>,
    /// How it is cut into jobs, and how it behaves.
    pub rules: SplitRules,
    /// What its jobs need.
    pub resources: TaskResources,
    /// Where its jobs may run.
    pub sites: SiteSelection,
    /// How much of its input is used.
    pub amount: Amount,
    /// How often its files are tried.
    pub attempts: Attempts,
    /// Per mille of the work that make it a success, if told (`goal`).
    pub goal_per_mille: Option<u32>,
    /// How its outputs are merged, if they are.
    pub merge: Option<MergeSpec>,
    /// What is built before its jobs, if anything.
    pub build: Option<BuildSpec>,
    /// Physical names that stand for an input (`pfnList`).
    pub pfns: Vec<String>,
    /// Names of the segments of its work (`segmentSpecs`).
    pub segments: Vec<Segment>,
    /// Whether jobs share the events of one input, and how.
    pub event_service: EventService,
}

/// What a task's jobs run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Payload {
    /// The payload script: a URL or a name (`transPath`).
    pub transformation: String,
    /// Package of the software release (`transHome`), empty if none.
    pub home_package: String,
    /// The software release (`transUses`), empty if none.
    pub release: String,
    /// The container image (`container_name`), if any.
    pub container: Option<String>,
    /// The arguments with their placeholders.
    pub command: String,
    /// Where the user's archive of files is loaded from (`sourceURL`).
    pub source_url: Option<String>,
    /// The user's archive of files, if the parameters name one.
    pub sandbox: Option<String>,
    /// The steps of a job, as they were given (`multiStepExec`).
    pub steps: Option<serde_json::Value>,
    /// System of the submitting machine (`osInfo`), for people.
    pub os_info: Option<String>,
}

/// What an input stream is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum InputKind {
    /// Files of datasets.
    Dataset,
    /// Nothing: each entry only stands for a job (`pseudo_dataset`).
    Pseudo,
    /// Numbers, one after the other (`seq_number`).
    Sequence,
    /// Random seeds (`RNDMSEED`).
    RandomSeed,
    /// Physical names that the task lists.
    PhysicalNames,
}

/// One stream that jobs read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputStream {
    /// The name by which the arguments refer to it: `IN`, `SECDS` …; none if they do not.
    pub stream: Option<String>,
    /// What it is made of.
    pub kind: InputKind,
    /// Its datasets or containers, in order.
    pub datasets: Vec<String>,
    /// PanDA's word for its type (`param_type`): `input`, `pseudo_input`, `random_seed`.
    pub param_type: String,
    /// Whether a container is replaced by its datasets, each with its own rows (`expand`).
    pub is_expanded: bool,
    /// Container that all datasets are put into first (`consolidate`).
    pub consolidate: Option<String>,
    /// How many files go with a file of the master, in millionths (`ratio`).
    pub ratio_millionths: u64,
    /// How many events go with an event of the master, in millionths (`eventRatio`).
    pub event_ratio_millionths: Option<u64>,
    /// How many files go into each job, whatever the master does (`nFilesPerJob`).
    pub files_per_job: Option<u64>,
    /// Files that are left out at the beginning (`offset`).
    pub offset: u64,
    /// How many records a sequence or pseudo input has (`num_records`).
    pub records: Option<u64>,
    /// Files whose names match one of these expressions, if there are any (`include`).
    pub include: Vec<String>,
    /// Not files whose names match one of these expressions (`exclude`).
    pub exclude: Vec<String>,
    /// Only these files, if there are any (`files`).
    pub files: Vec<ListedName>,
    /// Every job gets all its files (`nosplit`).
    pub is_whole: bool,
    /// Its files are used again when they run out (`repeat`).
    pub is_repeated: bool,
    /// Its files are used again when too few are left (`reusable`).
    pub is_reusable: bool,
    /// Its files are taken in random order (`random`).
    pub is_random: bool,
    /// The same file may be listed twice (`usedup`).
    pub has_duplicates: bool,
    /// Its list is checked against its files at each feed (`check`).
    pub is_checked: bool,
    /// The n-th file belongs to the n-th file of the master (`indexConsistent`).
    pub is_index_consistent: bool,
    /// Its files are not recalled from tape (`no_staging`).
    pub is_never_staged: bool,
    /// Where its files are to be (`token`).
    pub token: Option<String>,
}

/// A file that the parameters name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListedName {
    /// Logical name.
    pub lfn: String,
    /// First event, if the entry says so (`firstEvent` or `startEvent`).
    pub first_event: Option<u64>,
    /// How many events it has, if the entry says so (`nEvents`).
    pub events: Option<u64>,
    /// Size in bytes, if the entry says so (`filesize` or `fsize`).
    pub bytes: Option<u64>,
    /// Globally unique id, if the entry says so.
    pub guid: Option<String>,
    /// Boundary that it belongs to, if the entry says so (`boundaryID`).
    pub boundary: Option<i64>,
}

/// What an output stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OutputKind {
    /// Results.
    Output,
    /// Logs of pilot and payload.
    Log,
}

/// One stream that jobs write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputStream {
    /// `OUTPUT0`, `LOG0`, `LOG_MERGE` ….
    pub stream: String,
    /// What it is.
    pub kind: OutputKind,
    /// Dataset that its files belong to.
    pub dataset: String,
    /// Container that the dataset belongs to.
    pub container: Option<String>,
    /// Name of its files, with placeholders that make it unique.
    pub lfn_template: String,
    /// Serial number of the first file, at least 1.
    pub first_serial: u64,
    /// Where its files go (`token`).
    pub token: Option<String>,
    /// Endpoint that its files go to (`destination`).
    pub destination: Option<String>,
    /// Whether the dataset goes away later, if told (`transient`).
    pub is_transient: Option<bool>,
    /// Whether a job may end well without the file (`allowNoOutput`).
    pub may_be_absent: bool,
    /// Whether the arguments do not tell the payload its name (`hidden`).
    pub is_hidden: bool,
    /// Whether only merge jobs write it (`mergeOnly`).
    pub is_merge_only: bool,
    /// The stream that holds its files until they are merged, if they are.
    pub unmerged: Option<Unmerged>,
}

/// What holds outputs until they are merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmerged {
    /// Dataset that the files belong to.
    pub dataset: String,
    /// Name of the files.
    pub lfn_template: String,
}

/// How much of the input is used, and how many events there are where no catalogue tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amount {
    /// Files of the master, all if not told (`nFiles`).
    pub files: Option<u64>,
    /// Events of the master, all if not told (`nEvents`).
    pub events: Option<u64>,
    /// Events in each input file (`nEventsPerInputFile`, `nEventsPerFile`).
    pub events_per_file: Option<u64>,
    /// Events in the smallest piece of a file (`nEventsPerRange`, `minGranularity`).
    pub events_per_piece: Option<u64>,
    /// Events that a job should have about (`tgtNumEventsPerJob`).
    pub target_events: Option<u64>,
    /// Files with too few events are left out (`skipShortInput`).
    pub skips_short_input: bool,
    /// Jobs with too few events are left out (`skipShortOutput`).
    pub skips_short_output: bool,
    /// Tasks whose used files are left out (`skipFilesUsedBy`).
    pub skip_files_used_by: Vec<i64>,
}

/// How often files are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// Attempts of a file, at least 1 (`maxAttempt`).
    pub per_file: u32,
    /// Failures of a file, if bounded (`maxFailure`).
    pub failures: Option<u32>,
}

/// How outputs are merged. How many go together is told by the task's rules `ZF`, `ZE`, `ZG`, `ZM`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeSpec {
    /// The script of a merge job.
    pub transformation: String,
    /// Its arguments with their placeholders.
    pub command: String,
    /// Cores of a merge job (`mergeCoreCount`).
    pub cores: Option<u32>,
    /// Memory of a merge job in MB (`mergeRamCount`).
    pub ram_mb: Option<u64>,
}

/// What is built before a task's jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSpec {
    /// What the build job is for (`prodSourceLabel`): `panda`.
    pub label: String,
    /// The user's archive of files (`archiveName`).
    pub archive: String,
    /// The script of the build job.
    pub transformation: String,
    /// Its arguments with their placeholders.
    pub command: String,
    /// Its container image, if any.
    pub container: Option<String>,
    /// Dataset and name of the archive when it lies in storage (`tarBallViaDDM`).
    pub archive_in_storage: Option<(String, String)>,
}

/// One named part of a task's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: i64,
}

/// Jobs that may take from the same events, or copies of one (`nEsConsumers`).
pub const CONSUMERS_MAX: u64 = 100;

/// How jobs share events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EventService {
    /// They do not.
    None,
    /// Jobs take ranges of events until none is left.
    Ranges,
    /// The same job runs at several sites, and the first one counts.
    Cloning,
    /// Each input is worked on piece by piece.
    FineGrained,
}

impl RefinedTask {
    /// Returns the stream that is cut into jobs.
    #[must_use]
    pub fn master(&self) -> Option<&InputStream> {
        self.inputs
            .iter()
            .find(|input| input.kind != InputKind::RandomSeed)
    }

    /// Returns the streams that go along with the master.
    pub fn secondaries(&self) -> impl Iterator<Item = &InputStream> {
        let inputs = self
            .inputs
            .iter()
            .filter(|input| input.kind != InputKind::RandomSeed);
        inputs.skip(1)
    }

    /// Says whether each job needs a random seed.
    #[must_use]
    pub fn needs_seeds(&self) -> bool {
        self.rules.is_set(Rule::RandomSeed)
    }

    /// Returns the streams that jobs write before any merging, with the names that they write.
    #[must_use]
    pub fn written_streams(&self) -> BTreeMap<&str, (&str, &str)> {
        let written = self.outputs.iter().filter(|output| !output.is_merge_only);
        written
            .map(|output| match &output.unmerged {
                Some(unmerged) => (
                    output.stream.as_str(),
                    (unmerged.dataset.as_str(), unmerged.lfn_template.as_str()),
                ),
                None => (
                    output.stream.as_str(),
                    (output.dataset.as_str(), output.lfn_template.as_str()),
                ),
            })
            .collect()
    }
}
