//! Every rule of a task that PanDA knows: its two letters, its name, what it says.
//!
//! The main type is [`Rule`]. What a rule's value means is told by the typed readings of
//! [`super::SplitRules`]; this file only names them.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/task_split_rules.py`.

use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $tag:literal, $name:literal;)*) => {
        /// What a rule of a task is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[$doc])* $variant,)*
        }

        impl Rule {
            /// Every rule, by its tag.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the two letters that stand for the rule in `splitRule`.
            #[must_use]
            pub const fn tag(self) -> &'static str {
                match self { $(Self::$variant => $tag),* }
            }

            /// Returns PanDA's name, mostly that of the task parameter.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

rules! {
    /// The task may end well without any input file.
    AllowEmptyInput = "AE", "allowEmptyInput";
    /// Input datasets may lack files.
    AllowIncompleteInDs = "AI", "allowIncompleteInDS";
    /// Fields of the input's name that go into `${MIDDLENAME}`, numbered from 1, a list.
    AddNthFieldToLfn = "AN", "addNthFieldToLFN";
    /// The task may be `finished` with some files failed.
    AllowPartialFinish = "AP", "allowPartialFinish";
    /// Outputs may go to another storage: 1 on, 2 off, 3 force.
    AltStageOut = "AT", "altStageOut";
    /// No virtual placement of inputs.
    AvoidVp = "AV", "avoidVP";
    /// Most cores of a job.
    MaxCoreCount = "CC", "maxCoreCount";
    /// The cloud stands for the virtual organisation in data management.
    CloudAsVo = "CV", "cloudAsVO";
    /// Name of the data management system, a word.
    DdmBackEnd = "DE", "ddmBackEnd";
    /// A running task is never ended for its progress.
    DisableAutoFinish = "DF", "disableAutoFinish";
    /// Waiting jobs stay where they are.
    DisableReassign = "DI", "disableReassign";
    /// Jobs start in debug mode.
    DebugMode = "DM", "debugMode";
    /// A failed file is not tried again.
    DisableAutoRetry = "DR", "disableAutoRetry";
    /// Events in the smallest piece that jobs may be made of.
    DynamicNumEvents = "DY", "dynamicNumEvents";
    /// Jobs that share the events of one input.
    NEsConsumers = "EC", "nEsConsumers";
    /// Events in each input file.
    NEventsPerInput = "EI", "nEventsPerInput";
    /// Parameters travel in base 64.
    EncJobParams = "EJ", "encJobParams";
    /// Events that an event service job takes at a time.
    NEventsPerWorker = "ES", "nEventsPerWorker";
    /// Input lists are read for the first time: 0 no, 1 yes.
    FirstContentsFeed = "FC", "firstContentsFeed";
    /// The task fails when its goal is not reached.
    FailGoalUnreached = "FG", "failGoalUnreached";
    /// Each input is processed piece by piece inside jobs.
    FineGrainedProc = "FP", "fineGrainedProc";
    /// Number added to the first event.
    FirstEvent = "FT", "firstEvent";
    /// All steps at one nucleus: 1 only, 2 require, 3 capable.
    FullChain = "FU", "fullChain";
    /// Files with one boundary stay together: 1, 2 may be cut, 3, 4 may not; 2, 4 also map outputs.
    GroupBoundaryId = "GB", "groupBoundaryID";
    /// Hyperparameters are optimised by a service outside.
    HpoWorkflow = "HO", "hpoWorkflow";
    /// Output datasets are made per site.
    InstantiateTmplSite = "IA", "instantiateTmplSite";
    /// Event numbers are positions in the file.
    InFilePosEvtNum = "IF", "inFilePosEvtNum";
    /// IP version that sites need: 4 or 6.
    IpStack = "IK", "ipStack";
    /// Inputs are read over the local network: 1 use, 2 only.
    AllowInputLan = "IL", "allowInputLAN";
    /// Input datasets that do not exist are passed over.
    IgnoreMissingInDs = "IM", "ignoreMissingInDS";
    /// Outputs are only for the next task.
    IntermediateTask = "IN", "intermediateTask";
    /// Network that jobs need: 1 full, 2 http.
    IpConnectivity = "IP", "ipConnectivity";
    /// Inputs are recalled from tape first: 0 no, 1 yes.
    InputPreStaging = "IS", "inputPreStaging";
    /// Output datasets are templates.
    InstantiateTmpl = "IT", "instantiateTmpl";
    /// Inputs may be read over the wide network.
    AllowInputWan = "IW", "allowInputWAN";
    /// Payloads without progress are not ended.
    NoLoopingCheck = "LC", "noLoopingCheck";
    /// Inputs are always copied to the node: 0 no, 1 yes.
    UseLocalIo = "LI", "useLocalIO";
    /// Queues are limited: 1 by an allow list, 2 by a deny list, 3 by both.
    LimitedSites = "LS", "limitedSites";
    /// Jobs are described by a file.
    LoadXml = "LX", "loadXML";
    /// Least CPU efficiency of the first jobs, percent.
    MinCpuEfficiency = "MC", "minCpuEfficiency";
    /// Messages move the task on.
    MessageDriven = "MD", "messageDriven";
    /// Event service outputs are merged at the object store.
    MergeEsOnOs = "ME", "mergeEsOnOS";
    /// Most input files of a job.
    NMaxFilesPerJob = "MF", "nMaxFilesPerJob";
    /// Most jumbo jobs at a site.
    MaxJumboPerSite = "MJ", "maxJumboPerSite";
    /// Most jobs of the task at a time.
    MaxNumJobs = "MN", "maxNumJobs";
    /// Outputs are merged.
    MergeOutput = "MO", "mergeOutput";
    /// A job has several steps.
    MultiStepExec = "MS", "multiStepExec";
    /// Most wall time of a job, hours.
    MaxWalltime = "MW", "maxWalltime";
    /// Most events of a job.
    MaxEventsPerJob = "MX", "maxEventsPerJob";
    /// Parameters hold the set-up too.
    NoExecStrCnv = "NC", "noExecStrCnv";
    /// Events of lost jobs are kept.
    NotDiscardEvents = "ND", "notDiscardEvents";
    /// Events in a job.
    NEventsPerJob = "NE", "nEventsPerJob";
    /// Input files in a job.
    NFilesPerJob = "NF", "nFilesPerJob";
    /// Most input and output of a job, GiB.
    NGbPerJob = "NG", "nGBPerJob";
    /// Inputs are not pooled between jobs.
    NoInputPooling = "NI", "noInputPooling";
    /// Jumbo jobs of the task.
    NJumboJobs = "NJ", "nJumboJobs";
    /// The task is not paused by itself.
    NoAutoPause = "NP", "noAutoPause";
    /// Sites that run the same job.
    NSitesPerJob = "NS", "nSitesPerJob";
    /// Chunks of files to wait for.
    NChunksToWait = "NT", "nChunksToWait";
    /// The task starts before its parent ends.
    NoWaitParent = "NW", "noWaitParent";
    /// Order of input files: 1 by events.
    OrderInputBy = "OI", "orderInputBy";
    /// Inputs are ordered by lumi block.
    OrderByLb = "OL", "orderByLB";
    /// Outputs are merged where they are made.
    OnSiteMerging = "OM", "onSiteMerging";
    /// Operating systems must match.
    OsMatching = "OS", "osMatching";
    /// Only tags are looked at when a container is chosen.
    OnlyTagsForFc = "OT", "onlyTagsForFC";
    /// Changes of status are announced by messages.
    PushStatusChanges = "PC", "pushStatusChanges";
    /// Jobs are announced by messages.
    PushJob = "PJ", "pushJob";
    /// Inputs are a list of physical names.
    PfnList = "PL", "pfnList";
    /// Logs go to an object store.
    PutLogToOs = "PO", "putLogToOS";
    /// The task goes on until its input is closed.
    RunUntilClosed = "RC", "runUntilClosed";
    /// Output datasets: 1 to register, 2 registered, 3 moving.
    RegisterDatasets = "RD", "registerDatasets";
    /// Event service files are registered.
    RegisterEsFiles = "RE", "registerEsFiles";
    /// A job stays in one lumi block.
    RespectLb = "RL", "respectLB";
    /// Limits set by the rules of retries, `tag:value` joined by `|`.
    RetryModuleRules = "RM", "retryModuleRules";
    /// Secondary inputs are used again when they run out.
    ReuseSecOnDemand = "RO", "reuseSecOnDemand";
    /// Inputs are released by lumi block.
    ReleasePerLb = "RP", "releasePerLB";
    /// The first jobs are cut like all others.
    RespectSplitRule = "RR", "respectSplitRule";
    /// Number added to random seeds.
    RandomSeed = "RS", "randomSeed";
    /// Memory of the first retry, MB.
    RetryRamOffset = "RX", "retryRamOffset";
    /// Memory added by each further retry, MB.
    RetryRamStep = "RY", "retryRamStep";
    /// Most memory of a retry, MB.
    RetryRamMax = "RZ", "retryRamMax";
    /// Event service jobs are made again.
    ResurrectConsumers = "SC", "resurrectConsumers";
    /// Jobs handle files where events cannot be handled.
    SwitchEsToNormal = "SE", "switchEStoNormal";
    /// Outputs stay where they are made.
    StayOutputOnSite = "SO", "stayOutputOnSite";
    /// Tenths of the first jobs that must succeed.
    ScoutSuccessRate = "SS", "scoutSuccessRate";
    /// Jobs get the user's secrets.
    UseSecrets = "ST", "useSecrets";
    /// The work has named segments.
    SegmentedWork = "SW", "segmentedWork";
    /// Jobs of the task altogether.
    TotNumJobs = "TJ", "totNumJobs";
    /// Size that the largest output is to have, GiB.
    TgtMaxOutputForNg = "TN", "tgtMaxOutputForNG";
    /// Weight of the first tier.
    T1Weight = "TW", "t1Weight";
    /// A build job comes first.
    UseBuild = "UB", "useBuild";
    /// The same job runs several times: 1 runs once, 2 is stored once.
    UseJobCloning = "UC", "useJobCloning";
    /// Events are counted from the catalogue.
    UseRealNumEvents = "UE", "useRealNumEvents";
    /// Outputs are named after the input file.
    UseFileAsSourceLfn = "UF", "useFileAsSourceLFN";
    /// A step before the jobs: 1 to do, 2 done, 3 over.
    UsePrePro = "UP", "usePrePro";
    /// The first few jobs measure: 1 no, 2 yes, 3 they have.
    UseScout = "US", "useScout";
    /// Events are fetched ahead.
    UsePrefetcher = "UT", "usePrefetcher";
    /// A person decides when the goal is not reached.
    UseExhausted = "UX", "useExhausted";
    /// Archives are used to hold inputs on disk.
    UseZipToPin = "UZ", "useZipToPin";
    /// Lists of inputs are written to files on the node.
    WriteInputToFile = "WF", "writeInputToFile";
    /// A workflow holds the task.
    WorkflowHoldup = "WH", "workflowHoldup";
    /// The task waits until its input appears.
    WaitInput = "WI", "waitInput";
    /// Attempts of an event.
    MaxAttemptEs = "XA", "maxAttemptES";
    /// Only failed events lose an attempt.
    DecAttOnFailedEs = "XF", "decAttOnFailedES";
    /// Attempts of an event service job.
    MaxAttemptEsJob = "XJ", "maxAttemptEsJob";
    /// Events in a merge job.
    NEventsPerMergeJob = "ZE", "nEventsPerMergeJob";
    /// Files in a merge job.
    NFilesPerMergeJob = "ZF", "nFilesPerMergeJob";
    /// Most output of a merge job, GiB.
    NGbPerMergeJob = "ZG", "nGBPerMergeJob";
    /// Most files of a merge job.
    NMaxFilesPerMergeJob = "ZM", "nMaxFilesPerMergeJob";
}

impl Rule {
    /// Finds a rule by its two letters.
    #[must_use]
    pub fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.tag() == tag)
    }

    /// Finds a rule by its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }

    /// Says whether a living task may be given another value (`changeable_split_rule_names`).
    #[must_use]
    pub fn is_changeable(self) -> bool {
        CHANGEABLE.contains(&self)
    }

    /// Returns the word for one of the rule's numbers, where numbers stand for words.
    #[must_use]
    pub fn label(self, value: &str) -> Option<&'static str> {
        let labels = self.labels();
        labels
            .iter()
            .find(|(number, _)| *number == value)
            .map(|(_, label)| *label)
    }

    /// Returns the number that stands for a word, where words are written as numbers.
    #[must_use]
    pub fn number_of(self, label: &str) -> Option<i64> {
        let (number, _) = self.labels().iter().find(|(_, word)| *word == label)?;
        number.parse().ok()
    }

    /// Returns the numbers that stand for words, with the words.
    #[must_use]
    pub fn labels(self) -> &'static [(&'static str, &'static str)] {
        LABELS
            .iter()
            .find(|(rule, _)| *rule == self)
            .map_or(&[], |(_, labels)| labels)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.tag())
    }
}

const CHANGEABLE: [Rule; 18] = [
    Rule::AllowIncompleteInDs,
    Rule::T1Weight,
    Rule::NEsConsumers,
    Rule::NMaxFilesPerJob,
    Rule::NGbPerJob,
    Rule::NoInputPooling,
    Rule::NFilesPerJob,
    Rule::NEventsPerWorker,
    Rule::NJumboJobs,
    Rule::AvoidVp,
    Rule::AllowInputLan,
    Rule::UseLocalIo,
    Rule::NoLoopingCheck,
    Rule::MaxCoreCount,
    Rule::OnlyTagsForFc,
    Rule::UseZipToPin,
    Rule::IgnoreMissingInDs,
    Rule::NoAutoPause,
];

/// Numbers of a rule with the words that they stand for.
type Labels = &'static [(&'static str, &'static str)];

const LABELS: [(Rule, Labels); 12] = [
    (
        Rule::UseScout,
        &[
            ("1", "no_use"),
            ("2", "will_update_requirements"),
            ("3", "updated_requirements"),
        ],
    ),
    (
        Rule::LimitedSites,
        &[
            ("1", "with_allowlist"),
            ("2", "with_denylist"),
            ("3", "with_allow_and_denylist"),
        ],
    ),
    (Rule::IpConnectivity, &[("1", "full"), ("2", "http")]),
    (Rule::IpStack, &[("4", "IPv4"), ("6", "IPv6")]),
    (
        Rule::AltStageOut,
        &[("1", "on"), ("2", "off"), ("3", "force")],
    ),
    (Rule::AllowInputLan, &[("1", "use"), ("2", "only")]),
    (
        Rule::UsePrePro,
        &[
            ("1", "toPreProcess"),
            ("2", "preProcessed"),
            ("3", "postPProcess"),
        ],
    ),
    (
        Rule::RegisterDatasets,
        &[("1", "registering"), ("2", "registered"), ("3", "moving")],
    ),
    (Rule::InputPreStaging, &[("0", "notUse"), ("1", "use")]),
    (Rule::FirstContentsFeed, &[("0", "False"), ("1", "True")]),
    (
        Rule::FullChain,
        &[("1", "only"), ("2", "require"), ("3", "capable")],
    ),
    (Rule::OrderInputBy, &[("1", "eventsAlignment")]),
];
