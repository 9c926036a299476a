//! What a task's parameters mean together: the step that PanDA calls refinement.
//!
//! [`refine()`] reads the map once and gives a [`RefinedTask`] or the first thing that is wrong. It
//! asks no catalogue: names of datasets stay names, and whether they exist is found out when their
//! files are listed.
//!
//! Source: PanDA server, `pandajedi/jedirefine/TaskRefinerBase.py`, `GenTaskRefiner.py`.

mod items;
mod needs;
mod rules;
mod specs;
#[cfg(test)]
mod tests;

pub use items::{PSEUDO_DATASET, SEED_DATASET, SEQUENCE_DATASET, UNMERGED_MARK};

use crate::{
    params::{Fields, ParamError, TaskParams},
    refined::{Attempts, CONSUMERS_MAX, EventService, RefinedTask},
    rules::{Rule, SplitRules},
};

/// Attempts of a file when the parameters do not say (`maxAttempt` of the contents feeder).
pub const ATTEMPTS_DEFAULT: u32 = 3;
/// Most attempts of a file.
pub const ATTEMPTS_MAX: u32 = 1000;
/// Priority of a task of a person that states none.
pub const PRIORITY_DEFAULT: i64 = 1000;

/// What the server adds to parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefineSettings {
    /// Whose the task is, if the parameters do not say.
    pub user: String,
    /// Its virtual organisation, if the parameters do not say.
    pub vo: String,
    /// Scripts that run what people send, where the parameters name none.
    pub scripts: Scripts,
    /// Whether a catalogue of files is there, so that outputs are datasets of it.
    pub catalogue: Catalogue,
    /// The rules that the task had before, when it is read again with new parameters.
    pub earlier_rules: Option<SplitRules>,
}

/// Whether a catalogue of files is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Catalogue {
    /// Datasets are only names.
    #[default]
    None,
    /// Datasets are those of Rucio: outputs are made per site (rules `IT`, `IA`).
    Rucio,
}

/// Addresses of the scripts that run what people send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scripts {
    /// Runs any program (`runGen`).
    pub run: String,
    /// Runs what `pathena` sends (`runAthena`).
    pub run_athena: String,
    /// Runs a container (`runcontainer`).
    pub run_container: String,
    /// Builds any program (`buildGen`).
    pub build: String,
    /// Builds what `pathena` sends (`buildJob`).
    pub build_athena: String,
    /// Merges outputs (`runMerge`).
    pub merge: String,
}

impl Scripts {
    /// Makes the addresses below one base address, with the names that PanDA uses.
    #[must_use]
    pub fn below(base: &str) -> Self {
        let base = base.trim_end_matches('/');
        Self {
            run: format!("{base}/trf/user/runGen-00-00-02"),
            run_athena: format!("{base}/trf/user/runAthena-00-00-12"),
            run_container: format!("{base}/trf/user/runcontainer"),
            build: format!("{base}/trf/user/buildGen-00-00-01"),
            build_athena: format!("{base}/trf/user/buildJob-00-00-03"),
            merge: format!("{base}/trf/user/runMerge-00-00-02"),
        }
    }
}

impl Default for Scripts {
    fn default() -> Self {
        Self::below("https://pandaserver-doma.cern.ch")
    }
}

/// Reads what a task's parameters say.
///
/// # Errors
///
/// [`ParamError`] names the first parameter that is missing, wrong or not supported.
pub fn refine(params: &TaskParams, settings: &RefineSettings) -> Result<RefinedTask, ParamError> {
    let fields = params.fields();
    refuse(&fields)?;
    let rules = rules::read(&fields, settings)?;
    let streams = items::read(&fields, &rules)?;
    let event_service = event_service(&fields)?;
    let command = match event_service {
        EventService::Ranges => specs::with_event_merge(&fields, streams.command)?,
        EventService::None | EventService::Cloning | EventService::FineGrained => streams.command,
    };
    let priority = fields.integer("taskPriority")?;
    let task_type = fields
        .filled_text("taskType")?
        .unwrap_or_else(|| "anal".to_owned());
    let default_priority = if task_type == "anal" {
        PRIORITY_DEFAULT
    } else {
        0
    };
    let priority = priority.unwrap_or(default_priority);
    let text_or = |key: &str, default: &str| {
        Ok(fields
            .filled_text(key)?
            .unwrap_or_else(|| default.to_owned()))
    };
    let mut task = RefinedTask {
        name: fields.required_text("taskName")?,
        user: text_or("userName", &settings.user)?,
        vo: text_or("vo", &settings.vo)?,
        label: text_or(
            "prodSourceLabel",
            if task_type == "anal" {
                "user"
            } else {
                "managed"
            },
        )?,
        processing_type: fields.text_or_empty("processingType")?,
        framework: fields.text_or_empty("framework")?,
        working_group: fields.filled_text("workingGroup")?,
        country_group: fields.filled_text("countryGroup")?,
        campaign: fields.filled_text("campaign")?,
        request: fields.integer("reqID")?,
        global_share: fields.filled_text("gshare")?,
        priority,
        current_priority: fields.integer("currentPriority")?.unwrap_or(priority),
        architecture: fields.text_or_empty("architecture")?,
        payload: specs::payload(&fields, settings, command)?,
        inputs: streams.inputs,
        outputs: streams.outputs,
        rules,
        resources: needs::resources(&fields)?,
        sites: needs::sites(&fields)?,
        amount: needs::amount(&fields)?,
        attempts: attempts(&fields)?,
        goal_per_mille: goal(&fields)?,
        merge: specs::merge(&fields, settings)?,
        build: specs::build(&fields, settings)?,
        pfns: fields.list("pfnList")?,
        segments: specs::segments(&fields)?,
        event_service,
        task_type,
    };
    if let Some(offset) = streams.seed_offset {
        task.rules.set(Rule::RandomSeed, offset);
    }
    if let Some(offset) = streams.first_event_offset {
        task.rules.set(Rule::FirstEvent, offset);
    }
    Ok(task)
}

/// Refuses what would otherwise be understood wrongly without a word.
fn refuse(fields: &Fields<'_>) -> Result<(), ParamError> {
    const REFUSED: [(&str, &str); 3] = [
        (
            "preproSpec",
            "prepare the list of inputs before the task is submitted",
        ),
        ("loadXML", "give each kind of job a task of its own"),
        (
            "hpoRequestData",
            "run the steering of the search beside the tasks",
        ),
    ];
    for (key, advice) in REFUSED {
        if fields.value(key).is_some() {
            return Err(fields.unsupported(key, advice));
        }
    }
    if fields.flag("onSiteMerging")? {
        let advice =
            "merge by `mergeOutput`, or by the `esmergeSpec` of jobs with `nEventsPerWorker`";
        return Err(fields.unsupported("onSiteMerging", advice));
    }
    if fields.count("nJumboJobs")?.is_some_and(|n| n > 0) {
        let advice = "leave it out: several jobs take the ranges of one input with `nEsConsumers`";
        return Err(fields.unsupported("nJumboJobs", advice));
    }
    if fields
        .count("nEsConsumers")?
        .is_some_and(|n| n > CONSUMERS_MAX)
    {
        return Err(fields.invalid("nEsConsumers", "a number of at most 100"));
    }
    Ok(())
}

fn attempts(fields: &Fields<'_>) -> Result<Attempts, ParamError> {
    let small = |key: &str| match fields.count(key)? {
        None => Ok(None),
        Some(count) => match u32::try_from(count) {
            Ok(count) if count <= ATTEMPTS_MAX => Ok(Some(count)),
            Ok(_) | Err(_) => Err(fields.invalid(key, "a number of at most 1000")),
        },
    };
    let per_file = small("maxAttempt")?
        .filter(|count| *count > 0)
        .unwrap_or(ATTEMPTS_DEFAULT);
    let is_once = fields.flag("disableAutoRetry")?;
    Ok(Attempts {
        per_file: if is_once { 1 } else { per_file },
        failures: small("maxFailure")?,
    })
}

/// Reads the goal: percent with a decimal, of which more than all is no goal.
fn goal(fields: &Fields<'_>) -> Result<Option<u32>, ParamError> {
    let per_mille = fields
        .millionths("goal")?
        .map(|millionths| millionths / 100_000);
    Ok(per_mille
        .and_then(|goal| u32::try_from(goal).ok())
        .filter(|goal| *goal <= 1000))
}

fn event_service(fields: &Fields<'_>) -> Result<EventService, ParamError> {
    if fields.value("useJobCloning").is_some() {
        Ok(EventService::Cloning)
    } else if fields
        .count("nEventsPerWorker")?
        .is_some_and(|events| events > 0)
    {
        Ok(EventService::Ranges)
    } else if fields.flag("fineGrainedProc")? {
        Ok(EventService::FineGrained)
    } else {
        Ok(EventService::None)
    }
}
