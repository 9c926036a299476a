//! Which rules the parameters of a task set, as tables.

use crate::{
    params::{Fields, ParamError},
    refine::{Catalogue, RefineSettings},
    rules::{Rule, SplitRules},
};

/// Parameters whose number is the rule's.
const NUMBERS: [(&str, Rule); 33] = [
    ("nFilesPerJob", Rule::NFilesPerJob),
    ("nEventsPerJob", Rule::NEventsPerJob),
    ("nMaxFilesPerJob", Rule::NMaxFilesPerJob),
    ("maxEventsPerJob", Rule::MaxEventsPerJob),
    ("nEventsPerWorker", Rule::NEventsPerWorker),
    ("nEventsPerInputFile", Rule::NEventsPerInput),
    ("nEsConsumers", Rule::NEsConsumers),
    ("scoutSuccessRate", Rule::ScoutSuccessRate),
    ("t1Weight", Rule::T1Weight),
    ("maxAttemptES", Rule::MaxAttemptEs),
    ("maxAttemptEsJob", Rule::MaxAttemptEsJob),
    ("nSitesPerJob", Rule::NSitesPerJob),
    ("nEventsPerMergeJob", Rule::NEventsPerMergeJob),
    ("nFilesPerMergeJob", Rule::NFilesPerMergeJob),
    ("nMaxFilesPerMergeJob", Rule::NMaxFilesPerMergeJob),
    ("maxWalltime", Rule::MaxWalltime),
    ("tgtMaxOutputForNG", Rule::TgtMaxOutputForNg),
    ("maxNumJobs", Rule::MaxNumJobs),
    ("totNumJobs", Rule::TotNumJobs),
    ("nChunksToWait", Rule::NChunksToWait),
    ("retryRamOffset", Rule::RetryRamOffset),
    ("retryRamStep", Rule::RetryRamStep),
    ("retryRamMax", Rule::RetryRamMax),
    ("nJumboJobs", Rule::NJumboJobs),
    ("maxJumboPerSite", Rule::MaxJumboPerSite),
    ("minCpuEfficiency", Rule::MinCpuEfficiency),
    ("nEventsPerRange", Rule::DynamicNumEvents),
    ("minGranularity", Rule::DynamicNumEvents),
    ("maxCoreCount", Rule::MaxCoreCount),
    ("noInputPooling", Rule::NoInputPooling),
    ("groupBoundaryID", Rule::GroupBoundaryId),
    ("registerDatasets", Rule::RegisterDatasets),
    ("nGBPerMergeJob", Rule::NGbPerMergeJob),
];

/// Parameters that switch a rule on.
const FLAGS: [(&str, Rule); 51] = [
    ("disableAutoRetry", Rule::DisableAutoRetry),
    ("waitInput", Rule::WaitInput),
    ("noWaitParent", Rule::NoWaitParent),
    ("respectLB", Rule::RespectLb),
    ("releasePerLB", Rule::ReleasePerLb),
    ("orderByLB", Rule::OrderByLb),
    ("respectSplitRule", Rule::RespectSplitRule),
    ("reuseSecOnDemand", Rule::ReuseSecOnDemand),
    ("disableReassign", Rule::DisableReassign),
    ("allowPartialFinish", Rule::AllowPartialFinish),
    ("useExhausted", Rule::UseExhausted),
    ("useRealNumEvents", Rule::UseRealNumEvents),
    ("runUntilClosed", Rule::RunUntilClosed),
    ("stayOutputOnSite", Rule::StayOutputOnSite),
    ("failWhenGoalUnreached", Rule::FailGoalUnreached),
    ("switchEStoNormal", Rule::SwitchEsToNormal),
    ("allowInputWAN", Rule::AllowInputWan),
    ("putLogToOS", Rule::PutLogToOs),
    ("mergeEsOnOS", Rule::MergeEsOnOs),
    ("writeInputToFile", Rule::WriteInputToFile),
    ("useFileAsSourceLFN", Rule::UseFileAsSourceLfn),
    ("ignoreMissingInDS", Rule::IgnoreMissingInDs),
    ("noExecStrCnv", Rule::NoExecStrCnv),
    ("inFilePosEvtNum", Rule::InFilePosEvtNum),
    ("registerEsFiles", Rule::RegisterEsFiles),
    ("disableAutoFinish", Rule::DisableAutoFinish),
    ("resurrectConsumers", Rule::ResurrectConsumers),
    ("usePrefetcher", Rule::UsePrefetcher),
    ("notDiscardEvents", Rule::NotDiscardEvents),
    ("decAttOnFailedES", Rule::DecAttOnFailedEs),
    ("useZipToPin", Rule::UseZipToPin),
    ("osMatching", Rule::OsMatching),
    ("onlyTagsForFC", Rule::OnlyTagsForFc),
    ("avoidVP", Rule::AvoidVp),
    ("noLoopingCheck", Rule::NoLoopingCheck),
    ("encJobParams", Rule::EncJobParams),
    ("useSecrets", Rule::UseSecrets),
    ("debugMode", Rule::DebugMode),
    ("cloudAsVO", Rule::CloudAsVo),
    ("pushJob", Rule::PushJob),
    ("fineGrainedProc", Rule::FineGrainedProc),
    ("onSiteMerging", Rule::OnSiteMerging),
    ("intermediateTask", Rule::IntermediateTask),
    ("allowEmptyInput", Rule::AllowEmptyInput),
    ("allowIncompleteInDS", Rule::AllowIncompleteInDs),
    ("noAutoPause", Rule::NoAutoPause),
    ("workflowHoldup", Rule::WorkflowHoldup),
    ("mergeOutput", Rule::MergeOutput),
    ("inputPreStaging", Rule::InputPreStaging),
    ("pushStatusChanges", Rule::PushStatusChanges),
    ("messageDriven", Rule::MessageDriven),
];

/// Parameters that are on unless they are switched off.
const ON_BY_DEFAULT: [&str; 3] = ["pushStatusChanges", "messageDriven", "cloudAsVO"];

/// Parameters whose word stands for the rule's number.
const WORDS: [(&str, Rule, &str); 4] = [
    ("altStageOut", Rule::AltStageOut, "`on`, `off` or `force`"),
    ("allowInputLAN", Rule::AllowInputLan, "`use` or `only`"),
    (
        "fullChain",
        Rule::FullChain,
        "`only`, `require` or `capable`",
    ),
    ("orderInputBy", Rule::OrderInputBy, "`eventsAlignment`"),
];

/// Rules that tell how far a task has come; they outlive a new reading of the parameters.
const KEPT: [Rule; 4] = [
    Rule::RegisterDatasets,
    Rule::FirstContentsFeed,
    Rule::RetryModuleRules,
    Rule::UsePrePro,
];

pub(super) fn read(
    fields: &Fields<'_>,
    settings: &RefineSettings,
) -> Result<SplitRules, ParamError> {
    let earlier = settings.earlier_rules.clone().unwrap_or_default();
    let mut rules = earlier.only(&KEPT);
    scouts(fields, &earlier, &mut rules)?;
    sizes(fields, &mut rules)?;
    for (key, rule) in NUMBERS {
        if let Some(number) = fields.integer(key)? {
            rules.set(rule, number);
        }
    }
    for (key, rule) in FLAGS {
        let is_default = fields.value(key).is_none() && ON_BY_DEFAULT.contains(&key);
        if is_default || fields.flag(key)? {
            rules.set(rule, 1);
        }
    }
    for (key, rule, allowed) in WORDS {
        if let Some(word) = fields.filled_text(key)? {
            let number = rule
                .number_of(&word)
                .ok_or_else(|| fields.invalid(key, allowed))?;
            rules.set(rule, number);
        }
    }
    middle_name(fields, &mut rules)?;
    network(fields, &mut rules)?;
    presence(fields, settings, &mut rules)?;
    Ok(rules)
}

fn scouts(
    fields: &Fields<'_>,
    earlier: &SplitRules,
    rules: &mut SplitRules,
) -> Result<(), ParamError> {
    if earlier.number(Rule::UseScout) == Some(3) {
        rules.set(Rule::UseScout, 3);
    } else if !fields.flag("skipScout")? {
        rules.set(Rule::UseScout, 2);
    }
    Ok(())
}

/// Sets what depends on several parameters: files of a job from its events, and GB.
fn sizes(fields: &Fields<'_>, rules: &mut SplitRules) -> Result<(), ParamError> {
    if fields.value("nFilesPerJob").is_none() {
        let per_job = fields.integer("nEventsPerJob")?;
        if let Some(target) = fields.integer("tgtNumEventsPerJob")? {
            rules.set(Rule::NEventsPerJob, target);
        } else if let (Some(job), Some(file)) = (per_job, fields.integer("nEventsPerInputFile")?)
            && file > 0
            && job >= file
        {
            rules.set(Rule::NFilesPerJob, job / file);
        }
    }
    // Clients write `MAX` for no bound.
    if fields.text("nGBPerJob")?.as_deref() != Some("MAX")
        && let Some(gib) = fields.integer("nGBPerJob")?
    {
        rules.set(Rule::NGbPerJob, gib);
    }
    Ok(())
}

fn middle_name(fields: &Fields<'_>, rules: &mut SplitRules) -> Result<(), ParamError> {
    let key = "addNthFieldToLFN";
    if let Some(list) = fields.filled_text(key)? {
        rules
            .set_text(Rule::AddNthFieldToLfn, list.trim_matches(','))
            .map_err(|_| fields.invalid(key, "numbers of fields, joined by commas"))?;
    }
    Ok(())
}

/// Reads `ipConnectivity`, for example `full#IPv6`.
fn network(fields: &Fields<'_>, rules: &mut SplitRules) -> Result<(), ParamError> {
    let key = "ipConnectivity";
    let Some(text) = fields.filled_text(key)? else {
        return Ok(());
    };
    let (access, stack) = text.split_once('#').unwrap_or((&text, ""));
    let allowed = "`full` or `http`, with `#IPv4` or `#IPv6` if that matters";
    for (rule, word) in [(Rule::IpConnectivity, access), (Rule::IpStack, stack)] {
        if !word.is_empty() {
            let number = rule
                .number_of(word)
                .ok_or_else(|| fields.invalid(key, allowed))?;
            rules.set(rule, number);
        }
    }
    Ok(())
}

/// Sets rules that follow from other parameters being there.
fn presence(
    fields: &Fields<'_>,
    settings: &RefineSettings,
    rules: &mut SplitRules,
) -> Result<(), ParamError> {
    let staged = if fields.value("forceStaged").is_some() {
        "forceStaged"
    } else {
        "useLocalIO"
    };
    if fields.value(staged).is_some() {
        rules.set(Rule::UseLocalIo, i64::from(fields.flag(staged)?));
    }
    if let Some(backend) = fields.filled_text("ddmBackEnd")? {
        rules
            .set_text(Rule::DdmBackEnd, &backend)
            .map_err(|_| fields.invalid("ddmBackEnd", "a word without commas"))?;
    }
    for (key, rule) in [
        ("multiStepExec", Rule::MultiStepExec),
        ("pfnList", Rule::PfnList),
        ("buildSpec", Rule::UseBuild),
        ("segmentSpecs", Rule::SegmentedWork),
    ] {
        if fields.value(key).is_some() {
            rules.set(rule, 1);
        }
    }
    let included = fields.list("includedSite")?;
    let excluded = fields.list("excludedSite")?;
    match (included.is_empty(), excluded.is_empty()) {
        (true, true) => {}
        (false, true) => rules.set(Rule::LimitedSites, 1),
        (true, false) => rules.set(Rule::LimitedSites, 2),
        (false, false) => rules.set(Rule::LimitedSites, 3),
    }
    if let Some(kind) = fields.filled_text("useJobCloning")? {
        let number = match kind.as_str() {
            "runonce" => 1,
            "storeonce" => 2,
            _ => return Err(fields.invalid("useJobCloning", "`runonce` or `storeonce`")),
        };
        rules.set(Rule::UseJobCloning, number);
        cloning_defaults(rules);
    }
    if fields.flag("fineGrainedProc")? {
        rules.set(Rule::NotDiscardEvents, 1);
        rules.set(Rule::MaxAttemptEsJob, 0);
        rules.set(Rule::MaxAttemptEs, 1);
    }
    match settings.catalogue {
        Catalogue::None => {}
        Catalogue::Rucio => {
            rules.set(Rule::InstantiateTmpl, 1);
            rules.set(Rule::InstantiateTmplSite, 1);
        }
    }
    Ok(())
}

fn cloning_defaults(rules: &mut SplitRules) {
    if rules.number(Rule::NEventsPerWorker).is_none() {
        rules.set(Rule::NEventsPerWorker, 1);
    }
    let sites = rules.number(Rule::NSitesPerJob).unwrap_or(2);
    rules.set(Rule::NSitesPerJob, sites);
    if rules.number(Rule::NEsConsumers).is_none() {
        rules.set(Rule::NEsConsumers, sites);
    }
}
