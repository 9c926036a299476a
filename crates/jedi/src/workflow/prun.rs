//! The parameters of the task that a step becomes, as `prun` makes them from the same arguments.
//!
//! `pchain` sends a template, made by `prun` for a command that does nothing; what the step says is
//! put over it. Sandboxes are those of the template, so nothing is built.
//!
//! Source: PanDA server, `pandaserver/workflow/workflow_utils.py` (`make_task_params`);
//! panda-client 2.2, `pandaclient/PrunScript.py`.

mod inputs;
mod items;

use serde_json::{Map, Value, json};

pub(super) use self::inputs::check_input;
use self::inputs::write_results;
use crate::workflow::{
    options::StepOptions,
    words::{quote, split},
};

/// What a junction's jobs need of their inputs.
const STAGED: &str = "--forceStaged";
/// Files that a job reads at most, unless the step says otherwise.
const FILES_PER_JOB_MAX: i64 = 200;
/// Attempts that `prun` lets a user ask for.
const ATTEMPTS_MAX: i64 = 50;
/// Ways in which files may be read.
const TRANSFER_TYPES: [&str; 4] = ["root", "direct", "davs", "file"];

/// What a step says of its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StepTask<'a> {
    /// The task's name, which begins the names of its datasets.
    pub(super) name: &'a str,
    /// Arguments of `prun`.
    pub(super) args: &'a str,
    /// What jobs run.
    pub(super) exec: &'a str,
    /// The datasets that it reads.
    pub(super) datasets: &'a [String],
    /// The container in which jobs run, if any.
    pub(super) image: Option<&'a str>,
    /// Whether it is a junction.
    pub(super) kind: TaskKind,
}

/// What kind of task a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TaskKind {
    /// One as any.
    Run,
    /// One that makes a decision.
    Junction,
}

/// A task as it will be submitted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TaskMade {
    /// Its parameters.
    pub(super) params: Map<String, Value>,
    /// What its output datasets have behind its name.
    pub(super) output_types: Vec<String>,
}

/// Makes the parameters of a step's task.
///
/// # Errors
///
/// What is wrong with its arguments.
pub(super) fn make_task(
    template: &Map<String, Value>,
    base_platform: Option<&str>,
    step: &StepTask<'_>,
) -> Result<TaskMade, String> {
    let mut words = split(step.args)?;
    let mut more = Vec::new();
    if step.kind == TaskKind::Junction {
        write_results(&mut words);
        if !step.datasets.is_empty() {
            more.push(STAGED.to_owned());
        }
    }
    let options = StepOptions::read(&[&words[..], &more].concat())?;
    check(&options)?;
    let image = step.image.or_else(|| options.text("--containerImage"));
    let mut params = template.clone();
    for key in [
        "basePlatform",
        "buildSpec",
        "container_name",
        "multiStepExec",
    ] {
        params.remove(key);
    }
    set(&mut params, "taskName", step.name);
    set(&mut params, "cliParams", command_line(&words, &more, step));
    set_places(&mut params, &options, base_platform, image);
    if let Some(image) = image {
        set_container(&mut params, &options, image);
    }
    set_sizes(&mut params, &options)?;
    set_amounts(&mut params, &options, step.datasets.is_empty())?;
    set_switches(&mut params, &options);
    let names = items::Names::new(step.name, &options);
    params.remove("log");
    if !options.has("--noSeparateLog") {
        params.insert("log".to_owned(), names.log(&options));
    }
    let archive = items::archive_of(template);
    if options.has("--mergeOutput") || options.text("--mergeScript").is_some() {
        items::set_merge(&mut params, &options, &names, archive.as_deref())?;
    }
    let made = items::made(&options, &names, step)?;
    let base = template.get("jobParameters").and_then(Value::as_array);
    let base = base.map_or(&[][..], Vec::as_slice);
    let merged = items::merged(base, made.items);
    params.insert("jobParameters".to_owned(), Value::Array(merged));
    if step.datasets.is_empty() {
        set(&mut params, "noInput", true);
    } else {
        set(&mut params, "dsForIN", step.datasets.join(","));
    }
    if made.has_secondaries {
        set(&mut params, "reuseSecOnDemand", true);
    }
    if step.kind == TaskKind::Junction {
        set(&mut params, "runOnInstant", true);
    }
    Ok(TaskMade {
        params,
        output_types: made.output_types,
    })
}

fn set(params: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    params.insert(key.to_owned(), value.into());
}

fn check(options: &StepOptions) -> Result<(), String> {
    if let Some(types) = options.text("--transferType")
        && let Some(wrong) = types.split(',').find(|one| !TRANSFER_TYPES.contains(one))
    {
        return Err(format!(
            "option `--transferType` has `{wrong}`: it must be some of {}",
            TRANSFER_TYPES.join(", ")
        ));
    }
    if let Some(pairs) = options.text("--writeInputToTxt")
        && let Some(wrong) = pairs.split(',').find(|pair| pair.split(':').count() != 2)
    {
        return Err(format!(
            "option `--writeInputToTxt` has `{wrong}`: it must be `STREAM:FILE`"
        ));
    }
    let by_files = options.whole("--nFilesPerJob").is_some();
    let by_events = options.whole("--nEventsPerJob").is_some();
    if options.text("--nGBPerJob").is_some() && (by_files || by_events) {
        return Err(
            "options `--nGBPerJob`, `--nFilesPerJob` and `--nEventsPerJob` exclude each other"
                .to_owned(),
        );
    }
    Ok(())
}

/// The command with which a person would have submitted the step.
fn command_line(words: &[String], more: &[String], step: &StepTask<'_>) -> String {
    let mut command = vec!["prun".to_owned()];
    command.extend_from_slice(words);
    if !step.datasets.is_empty() {
        let datasets = step.datasets.join(",");
        let inputs = ["--inDS", &datasets, "--notExpandInDS", "--notExpandSecDSs"];
        command.extend(inputs.map(str::to_owned));
    }
    command.extend_from_slice(more);
    command.extend(["--exec", step.exec, "--outDS", step.name].map(str::to_owned));
    command.extend(
        step.image
            .iter()
            .flat_map(|image| ["--containerImage".to_owned(), (*image).to_owned()]),
    );
    let quoted: Vec<String> = command.iter().map(|word| quote(word)).collect();
    quoted.join(" ")
}

/// Where its jobs may run.
fn set_places(
    params: &mut Map<String, Value>,
    options: &StepOptions,
    base_platform: Option<&str>,
    image: Option<&str>,
) {
    let site = options.text("--site").filter(|site| *site != "AUTO");
    let (site, included) = match site {
        Some(sites) if sites.contains(',') => (Value::Null, json!(options.list("--site"))),
        other => (json!(other), Value::Null),
    };
    params.insert("site".to_owned(), site);
    params.insert("includedSite".to_owned(), included);
    set(
        params,
        "excludedSite",
        json!(options.list("--excludedSite")),
    );
    let mut architecture = options
        .text("--architecture")
        .unwrap_or_default()
        .to_owned();
    if let Some(platform) = base_platform.filter(|_| image.is_none() && !architecture.contains('@'))
    {
        architecture = format!("{architecture}@{platform}");
    }
    set(params, "architecture", architecture);
}

fn set_container(params: &mut Map<String, Value>, options: &StepOptions, image: &str) {
    set(params, "container_name", image);
    if options.has("--wrapExecInContainer") {
        return;
    }
    let mut container = json!({
        "containerExec": "echo \"=== cat exec script ===\"; cat __run_main_exec.sh; echo; echo \
                          \"=== exec script ===\"; /bin/sh __run_main_exec.sh",
        "containerImage": image,
    });
    if let Some(arguments) = options.text("--alrbArgs") {
        container["execArgs"] = json!(arguments);
    }
    let steps = json!({
        "preprocess": {"command": "${TRF}", "args": "--preprocess ${TRF_ARGS}"},
        "postprocess": {"command": "${TRF}", "args": "--postprocess ${TRF_ARGS}"},
        "containerOptions": container,
    });
    params.insert("multiStepExec".to_owned(), steps);
}

/// What a job needs.
fn set_sizes(params: &mut Map<String, Value>, options: &StepOptions) -> Result<(), String> {
    if let Some(megabytes) = options.whole("--memory") {
        let is_fixed = options.has("--fixedRamCount");
        set(params, "ramCount", megabytes);
        set(
            params,
            "ramCountUnit",
            if is_fixed {
                "MBPerCoreFixed"
            } else {
                "MBPerCore"
            },
        );
    }
    if let Some(cores) = options.whole("--nCore").filter(|cores| *cores > 1) {
        set(params, "coreCount", cores);
    }
    if let Some(kilobytes) = options.whole("--outDiskCount") {
        set(params, "outDiskCount", kilobytes);
        set(params, "outDiskUnit", "kBFixed");
    }
    if let Some(time) = options.whole("--cpuTimePerEvent") {
        set(params, "cpuTime", time);
        set(params, "cpuTimeUnit", "HS06sPerEvent");
    }
    if options.has("--fixedCpuTime") {
        set(params, "cpuTimeUnit", "HS06sPerEventFixed");
    }
    for (option, key) in [
        ("--maxCore", "maxCoreCount"),
        ("--maxWalltime", "maxWalltime"),
        ("--priority", "currentPriority"),
    ] {
        if let Some(number) = options.whole(option) {
            set(params, key, number);
        }
    }
    if let Some(attempts) = options.whole("--maxAttempt") {
        if attempts > ATTEMPTS_MAX {
            return Err(format!(
                "option `--maxAttempt` has `{attempts}`: at most {ATTEMPTS_MAX} are allowed"
            ));
        }
        set(params, "maxAttempt", attempts);
    }
    Ok(())
}

/// How much there is to do, and how it is cut.
fn set_amounts(
    params: &mut Map<String, Value>,
    options: &StepOptions,
    is_without_input: bool,
) -> Result<(), String> {
    let most = options
        .whole("--maxNFilesPerJob")
        .unwrap_or(FILES_PER_JOB_MAX);
    set(params, "nMaxFilesPerJob", most);
    if let Some(gigabytes) = options.text("--nGBPerJob").filter(|text| *text != "MAX") {
        set(
            params,
            "nGBPerJob",
            items::gigabytes("--nGBPerJob", gigabytes)?,
        );
    }
    let jobs = options.whole("--nJobs");
    let events = options.whole("--nEvents");
    let events_per_job = options.whole("--nEventsPerJob");
    if is_without_input {
        let (events, per_job) = match (events, jobs, events_per_job) {
            (Some(events), Some(jobs), _) => (events, Some((events / jobs).max(1))),
            (Some(events), None, per_job) => (events, per_job),
            (None, jobs, Some(per_job)) => {
                (per_job.saturating_mul(jobs.unwrap_or(1)), Some(per_job))
            }
            (None, jobs, None) => (jobs.unwrap_or(1), Some(1)),
        };
        set(params, "nEvents", events);
        if let Some(per_job) = per_job {
            set(params, "nEventsPerJob", per_job);
        }
        return Ok(());
    }
    let events_per_file = options.whole("--nEventsPerFile");
    let mut files_per_job = options.whole("--nFilesPerJob").map(|files| files.min(most));
    let mut files = options.whole("--nFiles");
    if let Some(jobs) = jobs {
        if let (Some(per_job), Some(per_file)) = (events_per_job, events_per_file) {
            files = Some((per_job.saturating_mul(jobs) / per_file).max(1));
        }
        if let (Some(per_job), None) = (files_per_job, files) {
            files = Some(per_job.saturating_mul(jobs));
        }
        if let (None, Some(files)) = (files_per_job, files) {
            files_per_job = Some((files / jobs).max(1));
        }
    }
    let all = events.or_else(|| Some(jobs?.saturating_mul(events_per_job?)));
    for (key, number) in [
        ("nFiles", files),
        ("nFilesPerJob", files_per_job),
        ("nEventsPerJob", events_per_job),
        ("nEventsPerFile", events_per_file),
        ("nEvents", all),
    ] {
        if let Some(number) = number {
            set(params, key, number);
        }
    }
    if events_per_job.is_some() && events_per_file.is_none() {
        set(params, "useRealNumEvents", true);
    }
    Ok(())
}

fn set_switches(params: &mut Map<String, Value>, options: &StepOptions) {
    for (option, key) in [
        ("--noEmail", "noEmail"),
        ("--expertOnly_skipScout", "skipScout"),
        ("--msgDriven", "messageDriven"),
        ("--respectLB", "respectLB"),
        ("--osMatching", "osMatching"),
        ("--noLoopingCheck", "noLoopingCheck"),
        ("--useSecrets", "useSecrets"),
        ("--debugMode", "debugMode"),
        ("--avoidVP", "avoidVP"),
    ] {
        if options.has(option) {
            set(params, key, true);
        }
    }
    if options.has("--disableAutoRetry") {
        set(params, "disableAutoRetry", 1);
    }
    for (option, key) in [
        ("--framework", "framework"),
        ("--skipFilesUsedBy", "skipFilesUsedBy"),
        ("--transferType", "transferType"),
    ] {
        if let Some(text) = options.text(option) {
            set(params, key, text);
        }
    }
    let transfer = options.text("--transferType");
    if options.has("--forceStaged") || transfer == Some("file") {
        set(params, "useLocalIO", 1);
    } else if options.has("--useDirectIOSites") || transfer == Some("direct") {
        set(params, "allowInputLAN", "only");
    }
    if let Some(field) = options.text("--addNthFieldOfInFileToLFN") {
        set(params, "addNthFieldToLFN", field);
        set(params, "useFileAsSourceLFN", true);
    } else if let Some(field) = options.text("--addNthFieldOfInDSToLFN") {
        set(params, "addNthFieldToLFN", field);
    }
}
