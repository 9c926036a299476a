//! Describes a task by PanDA's columns, as clients ask for it.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/JediTaskSpec.py`,
//! `db_proxy_mods/task_utils_module.py` (`getJediTaskDetails`).

use ailurus_jedi::{InputKind, OutputKind, RefinedTask};
use ailurus_model::{DatasetName, JobKind, JobStatus, PandaId, TaskId, TaskStatus, Timestamp};
use serde_json::{Map, Value, json};

use crate::{
    ledger::{InputState, Ledger, LedgerError},
    tasks::{
        define::{log_of, streams_by_dataset},
        end::file_tally,
        record::PandaTask,
    },
};

/// Most files of one dataset that are listed.
const FILES_MAX: usize = 100_000;

/// Most logs of one dataset that are listed: their names are worked out one by one.
const LOGS_MAX: usize = 10_000;

/// Which datasets of a task are listed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileLists {
    /// With their files.
    Shown,
    /// Without.
    Hidden,
}

/// A time as PanDA's JSON has it.
fn time(time: Timestamp) -> Value {
    json!({ "__datetime__": time.to_panda_text().replace(' ', "T") })
}

fn optional_time(value: Option<Timestamp>) -> Value {
    value.map_or(Value::Null, time)
}

fn load(ledger: &impl Ledger, id: TaskId) -> Result<Option<PandaTask>, LedgerError> {
    let (Some(record), Some(progress)) = (ledger.task(id)?, ledger.task_progress(id)?) else {
        return Ok(None);
    };
    let definition = ledger.panda_task(id, record.revision)?;
    Ok(definition.map(|definition| PandaTask {
        record,
        definition,
        progress,
    }))
}

/// PanDA's summary of a status, by which `pbook` finds tasks that live (`registered`, `submitting`,
/// `ready`, `running`) or have ended.
///
/// Source: calls of `setSuperStatus_JEDI`, `db_proxy_mods/task_complex_module.py`; what sets none
/// there counts as what came before it.
fn super_status(status: TaskStatus) -> &'static str {
    use TaskStatus::{
        Aborted, Aborting, Assigning, Broken, Defined, Done, Exhausted, Failed, Finished,
        Finishing, Merging, Passed, Paused, Pending, Prepared, Preprocessing, Ready, Reassigning,
        Registered, Rerefine, Running, Scouted, Scouting, Staging, Throttled, ToAbort, ToBroken,
        ToIncexec, ToPreprocess, ToReassign, ToRetry, Waiting,
    };
    match status {
        Waiting | Registered | Defined | ToPreprocess | Preprocessing => "registered",
        Ready | ToRetry | ToIncexec | Rerefine | ToReassign | Reassigning => "ready",
        Scouting => "submitting",
        Scouted | Running | Pending | Throttled | Merging | Prepared | Finishing | Passed => {
            "running"
        }
        Staging | Assigning | Paused | Exhausted | Done | Finished | Failed | Aborting
        | ToAbort | Aborted | ToBroken | Broken => status.as_str(),
    }
}

/// Describes a task by PanDA's columns and what is shown with them; none if there is no such task
/// of PanDA.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn describe_task(
    ledger: &impl Ledger,
    id: TaskId,
) -> Result<Option<Map<String, Value>>, LedgerError> {
    let Some(task) = load(ledger, id)? else {
        return Ok(None);
    };
    let mut columns = common_columns(&task);
    refined_columns(&mut columns, &task);
    let tally = file_tally(ledger, id)?.unwrap_or_default();
    let percent = |n: u64| (n * 100).checked_div(tally.n_files).unwrap_or(0);
    let missing = task
        .progress
        .inputs
        .iter()
        .filter(|input| input.state == InputState::Unlisted)
        .count();
    for (key, value) in [
        ("nFiles", json!(tally.n_files)),
        ("nFilesFinished", json!(tally.n_finished)),
        ("nFilesFailed", json!(tally.n_failed)),
        ("nFilesMissing", json!(missing)),
        ("pctFinished", json!(percent(tally.n_finished))),
        ("pctFailed", json!(percent(tally.n_failed))),
    ] {
        columns.insert(key.to_owned(), value);
    }
    let params = task.definition.params.raw();
    let text = |key: &str| params.get(key).cloned().unwrap_or(Value::Null);
    columns.insert("task_creation_arguments".to_owned(), text("cliParams"));
    columns.insert(
        "raw_task_params".to_owned(),
        Value::String(Value::Object(params.clone()).to_string()),
    );
    let command = task.definition.refined.as_ref();
    let command = command.map(|refined| refined.payload.command.clone());
    columns.insert("job_execution_params".to_owned(), json!(command));
    Ok(Some(columns))
}

fn common_columns(task: &PandaTask) -> Map<String, Value> {
    let (record, progress) = (&task.record, &task.progress);
    let spec = &record.spec;
    let mut columns = Map::new();
    for (key, value) in [
        ("jediTaskID", json!(record.id)),
        ("reqID", json!(record.id)),
        ("taskName", json!(spec.name)),
        ("status", json!(record.status)),
        ("superStatus", json!(super_status(record.status))),
        ("userName", json!(spec.user)),
        ("prodSourceLabel", json!(spec.source_label)),
        ("processingType", json!(spec.processing_type)),
        ("creationDate", time(record.created)),
        ("modificationTime", time(progress.modified)),
        ("stateChangeTime", time(record.state_changed)),
        ("realModificationTime", time(progress.modified)),
        ("startTime", optional_time(progress.started)),
        ("endTime", optional_time(progress.ended)),
        ("frozenTime", optional_time(progress.frozen)),
        ("currentPriority", json!(progress.priority)),
        ("taskPriority", json!(spec.priority)),
        ("attemptNr", json!(progress.attempt_nr)),
        ("errorDialog", json!(progress.message)),
        ("oldStatus", json!(progress.resume_to)),
        ("parent_tid", json!(progress.parent.unwrap_or(record.id))),
        ("transPath", json!(spec.transformation)),
    ] {
        columns.insert(key.to_owned(), value);
    }
    columns
}

fn refined_columns(columns: &mut Map<String, Value>, task: &PandaTask) {
    let Some(refined) = &task.definition.refined else {
        return;
    };
    let (needs, sites) = (&refined.resources, &refined.sites);
    let request = refined.request.and_then(|id| u64::try_from(id).ok());
    let goal = refined.goal_per_mille;
    let share = refined.global_share.clone();
    for (key, value) in [
        ("reqID", json!(request.unwrap_or(task.record.id.value()))),
        ("vo", json!(refined.vo)),
        ("taskType", json!(refined.task_type)),
        ("workingGroup", json!(refined.working_group)),
        ("countryGroup", json!(refined.country_group)),
        ("campaign", json!(refined.campaign)),
        ("framework", json!(refined.framework)),
        ("architecture", json!(refined.architecture)),
        ("transUses", json!(refined.payload.release)),
        ("transHome", json!(refined.payload.home_package)),
        ("container_name", json!(refined.payload.container)),
        ("splitRule", json!(refined.rules.to_named_text())),
        ("coreCount", json!(needs.cores)),
        ("ramCount", json!(needs.ram_mb)),
        ("ramUnit", json!(needs.ram_unit.as_str())),
        ("baseRamCount", json!(needs.base_ram_mb)),
        ("cpuTime", json!(needs.cpu_time)),
        (
            "cpuTimeUnit",
            json!(
                needs
                    .cpu_time_unit
                    .map(ailurus_jedi::resources::CpuTimeUnit::as_str)
            ),
        ),
        ("cpuEfficiency", json!(needs.cpu_efficiency_percent)),
        ("baseWalltime", json!(needs.base_walltime_s)),
        ("walltime", json!(needs.walltime_s_per_mb)),
        ("walltimeUnit", json!(needs.walltime_unit)),
        ("outDiskCount", json!(needs.out_disk)),
        ("outDiskUnit", json!(needs.out_disk_unit.to_string())),
        ("workDiskCount", json!(needs.work_disk)),
        ("workDiskUnit", json!(needs.work_disk_unit.as_str())),
        ("ioIntensity", json!(needs.io_intensity)),
        ("ioIntensityUnit", json!(needs.io_intensity_unit)),
        ("diskIO", json!(needs.disk_io)),
        ("goal", json!(goal)),
        ("gshare", json!(share)),
        ("cloud", json!(sites.cloud)),
        ("nucleus", json!(sites.nucleus)),
        ("site", json!(sites.site.join(","))),
    ] {
        columns.insert(key.to_owned(), value);
    }
}

/// Describes a task as the list of changed tasks has it.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn summarise_task(
    ledger: &impl Ledger,
    id: TaskId,
) -> Result<Option<Map<String, Value>>, LedgerError> {
    const KEYS: [&str; 13] = [
        "jediTaskID",
        "modificationTime",
        "status",
        "processingType",
        "transUses",
        "transHome",
        "architecture",
        "reqID",
        "creationDate",
        "site",
        "cloud",
        "taskName",
        "userName",
    ];
    let Some(task) = load(ledger, id)? else {
        return Ok(None);
    };
    let mut columns = common_columns(&task);
    refined_columns(&mut columns, &task);
    columns.retain(|key, _| KEYS.contains(&key.as_str()));
    Ok(Some(columns))
}

/// Describes what a task reads and writes, and its jobs, as `get_details` has it.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn digest_task(
    ledger: &impl Ledger,
    id: TaskId,
) -> Result<Option<Map<String, Value>>, LedgerError> {
    let Some(task) = load(ledger, id)? else {
        return Ok(None);
    };
    let mut inputs: Vec<String> = Vec::new();
    let mut outputs: Vec<String> = Vec::new();
    if let Some(refined) = &task.definition.refined {
        let real = refined
            .inputs
            .iter()
            .filter(|one| one.kind == InputKind::Dataset);
        inputs.extend(real.flat_map(|one| one.datasets.clone()));
        for output in &refined.outputs {
            let named = output.container.as_ref().unwrap_or(&output.dataset);
            if output.kind == OutputKind::Output && !outputs.contains(named) {
                outputs.push(named.clone());
            }
        }
    }
    let tally = file_tally(ledger, id)?.unwrap_or_default();
    let under_way = tally
        .n_used
        .saturating_sub(tally.n_finished + tally.n_failed);
    let statistics: Vec<String> = [
        ("tobedone", tally.n_files.saturating_sub(tally.n_used)),
        ("running", under_way),
        ("finished", tally.n_finished),
        ("failed", tally.n_failed),
    ]
    .iter()
    .filter(|(_, n)| *n > 0)
    .map(|(word, n)| format!("{word}*{n}"))
    .collect();
    let (mut ids, mut merges, mut merge_status) = (Vec::new(), Vec::new(), Value::Null);
    for job in ledger.jobs_of_task(id, JobStatus::ALL)? {
        match ledger.job(job)? {
            Some(job) if job.kind == JobKind::Merge => {
                merge_status = json!(job.status);
                merges.push(job.panda_id);
            }
            Some(job) => ids.push(job.panda_id),
            None => {}
        }
    }
    let digest = json!({
        "inDS": inputs.join(","),
        "outDS": outputs.join(","),
        "statistics": statistics.join(","),
        "PandaID": ids,
        "mergePandaID": merges,
        "mergeStatus": merge_status,
    });
    Ok(digest.as_object().cloned())
}

/// Lists what a task reads or writes, by PanDA's types of datasets.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn list_datasets(
    ledger: &impl Ledger,
    id: TaskId,
    types: &[String],
    lists: FileLists,
) -> Result<Option<Vec<Value>>, LedgerError> {
    let Some(task) = load(ledger, id)? else {
        return Ok(None);
    };
    let is_wanted = |word: &str| types.iter().any(|wanted| wanted == word);
    let mut found = Vec::new();
    let Some(refined) = &task.definition.refined else {
        return Ok(Some(found));
    };
    for (nr, input) in task.progress.inputs.iter().enumerate() {
        let stream = usize::try_from(input.stream)
            .ok()
            .and_then(|at| refined.inputs.get(at));
        if !stream.is_some_and(|stream| is_wanted(&stream.param_type)) {
            continue;
        }
        let mut files = Vec::new();
        if lists == FileLists::Shown && !input.dataset.is_empty() {
            let wanted: std::collections::BTreeSet<u32> = input.parts.iter_from(0).collect();
            for file in ledger.files_from(&input.dataset, 0, FILES_MAX)? {
                if wanted.contains(&file.part) {
                    files.push(json!({
                        "lfn": file.lfn, "scope": file.scope, "id": file.id, "status": "ready",
                    }));
                }
            }
        }
        found.push(json!({"dataset": {"name": input.named, "id": nr + 1}, "files": files}));
    }
    for (nr, (name, kind)) in (1_u32..).zip(streams_by_dataset(id, refined)) {
        let word = match kind {
            OutputKind::Output => "output",
            OutputKind::Log => "log",
        };
        if !is_wanted(word) {
            continue;
        }
        let files = match (lists, kind) {
            (FileLists::Hidden, _) => Vec::new(),
            (FileLists::Shown, OutputKind::Log) => list_logs(ledger, &task, refined, &name)?,
            (FileLists::Shown, OutputKind::Output) => ledger
                .files_from(&name, 0, FILES_MAX)?
                .into_iter()
                .map(|file| {
                    json!({
                        "lfn": file.lfn, "scope": file.scope, "id": file.id, "status": "finished",
                    })
                })
                .collect(),
        };
        let number = 1000 + nr;
        found.push(json!({"dataset": {"name": name, "id": number}, "files": files}));
    }
    Ok(Some(found))
}

/// Lists the logs of jobs that have ended as files of their dataset; each has its job's number.
fn list_logs(
    ledger: &impl Ledger,
    task: &PandaTask,
    refined: &RefinedTask,
    dataset: &DatasetName,
) -> Result<Vec<Value>, LedgerError> {
    let mut files = Vec::new();
    let ended = [JobStatus::Finished, JobStatus::Merging, JobStatus::Failed];
    let jobs = ledger.jobs_of_task_after(task.id(), &ended, PandaId::default(), LOGS_MAX)?;
    for id in jobs {
        let Some(job) = ledger.job(id)? else { continue };
        let log = log_of(ledger, &task.record, refined, &job)?;
        if log.dataset != *dataset {
            continue;
        }
        let attempt = ledger.attempt(id, job.attempt_nr)?;
        let is_kept = attempt.is_some_and(|attempt| !attempt.log_surl.is_empty());
        let status = if is_kept { "finished" } else { "failed" };
        files.push(json!({
            "lfn": log.lfn, "scope": log.scope, "id": id, "status": status,
        }));
    }
    Ok(files)
}
