//! The items of a step's job parameters: outputs, inputs, what jobs run, and the log.
//!
//! Source: panda-client 2.2, `pandaclient/PrunScript.py` and `MiscUtils.py`; PanDA server,
//! `pandaserver/workflow/workflow_utils.py` (`merge_job_params`).

use regex::Regex;
use serde_json::{Map, Value, json};

use super::{StepTask, set};
use crate::workflow::{exec::pieces, options::StepOptions};

/// The longest name of an output dataset.
const DATASET_CHARS_MAX: usize = 132;
/// Outputs of a job, unless the step says that there may be more.
const OUTPUTS_MAX: usize = 10;
/// What the name of an output file must not have.
const FORBIDDEN_IN_NAMES: &str = "%|;><?'\"()$@:=&^#\\[]{}`";
/// Which of the input files are no input.
const LOGS: &str = r"\.log\.tgz(\.\d+)*$";

/// The names that follow from that of the task.
pub(super) struct Names {
    /// The task's own.
    task: String,
    /// What names of files begin with.
    prefix: String,
}

/// What a step's jobs read, write and run.
pub(super) struct Made {
    pub(super) items: Vec<Value>,
    pub(super) output_types: Vec<String>,
    pub(super) has_secondaries: bool,
}

fn has_middle_name(options: &StepOptions) -> bool {
    let given = |name| options.text(name).is_some();
    given("--addNthFieldOfInDSToLFN") || given("--addNthFieldOfInFileToLFN")
}

impl Names {
    pub(super) fn new(task: &str, options: &StepOptions) -> Self {
        let task = task.trim_end_matches('/').to_owned();
        let mut parts = task.split('.');
        let prefix = match (parts.next(), parts.next(), parts.next()) {
            (Some(first), Some(second), Some(_)) => format!("{first}.{second}"),
            _ => task.clone(),
        };
        let middle = if has_middle_name(options) {
            "${MIDDLENAME}"
        } else {
            ""
        };
        Self {
            task,
            prefix: format!("{prefix}{middle}"),
        }
    }

    pub(super) fn log(&self, options: &StepOptions) -> Value {
        let dataset = format!("{}.log/", self.task);
        let file = if options.text("--addNthFieldOfInFileToLFN").is_some() {
            format!("{}.$JEDITASKID._${{SN}}.log.tgz", self.prefix)
        } else {
            format!("{}.log.$JEDITASKID.${{SN}}.log.tgz", self.task)
        };
        let mut log = json!({
            "dataset": dataset,
            "container": dataset,
            "type": "template",
            "param_type": "log",
            "value": file,
        });
        if let Some(token) = options.text("--spaceToken") {
            log["token"] = json!(token);
        }
        log
    }

    /// The container into which datasets that a step reads are put first.
    fn consolidated(&self, what: &str) -> String {
        format!("{}.in.{what}/", self.task)
    }
}

/// Finds the archive that jobs of the template unpack.
pub(super) fn archive_of(template: &Map<String, Value>) -> Option<String> {
    let items = template.get("jobParameters")?.as_array()?;
    let mut values = items.iter().filter_map(|item| item["value"].as_str());
    let archive = values.find_map(|value| value.strip_prefix("-a "))?;
    Some(archive.split_whitespace().next()?.to_owned())
}

/// Puts a step's items in the place of those that the template has for its idle command.
pub(super) fn merged(base: &[Value], own: Vec<Value>) -> Vec<Value> {
    let mut kept = Vec::new();
    let mut is_in_command = false;
    for item in base {
        let is_constant = item["type"] == "constant";
        if is_constant
            && item["value"]
                .as_str()
                .is_some_and(|text| text.starts_with("-p "))
        {
            is_in_command = true;
        } else if is_in_command {
            // The closing quotation mark is the first constant that is followed by a blank.
            is_in_command = !(is_constant && item.get("padding").is_none());
        } else {
            kept.push(item.clone());
        }
    }
    kept.extend(own);
    kept
}

fn constant(value: impl Into<Value>) -> Value {
    json!({"type": "constant", "value": value.into()})
}

/// Makes a step's own items.
pub(super) fn made(
    options: &StepOptions,
    names: &Names,
    step: &StepTask<'_>,
) -> Result<Made, String> {
    let mut items = Vec::new();
    let output_types = add_outputs(&mut items, options, names)?;
    if !step.datasets.is_empty() {
        items.push(input(options, names, step.datasets));
    }
    if step.exec.contains("%DB:") || step.exec.contains("%DB=") {
        return Err("`%DB` in the command is not available in workflows".to_owned());
    }
    items.push(json!({"type": "constant", "value": "-p \"", "padding": false}));
    items.extend(pieces(step.exec));
    items.push(constant("\""));
    let has_secondaries = add_secondaries(&mut items, options, names, step)?;
    let misc = misc_options(options);
    if !misc.is_empty() {
        items.push(constant(misc));
    }
    Ok(Made {
        items,
        output_types,
        has_secondaries,
    })
}

fn add_outputs(
    items: &mut Vec<Value>,
    options: &StepOptions,
    names: &Names,
) -> Result<Vec<String>, String> {
    let Some(outputs) = options.text("--outputs") else {
        return Ok(Vec::new());
    };
    let outputs = outputs.replace(' ', "");
    let optional = optional_outputs(options)?;
    let (mut types, mut map) = (Vec::<String>::new(), Vec::new());
    for (nr, output) in outputs.split(',').enumerate() {
        let (suffix, file) = match output.split_once(':') {
            Some((suffix, file)) => (suffix.to_owned(), file),
            None => (String::new(), output),
        };
        let (suffix, lfn) = if file.starts_with("regex|") {
            let numbered = if suffix.is_empty() {
                nr.to_string()
            } else {
                suffix
            };
            (numbered, file.to_owned())
        } else {
            let named = if file.contains('*') {
                format!("{}.tgz", file.replace('*', "XYZ"))
            } else {
                file.to_owned()
            };
            check_name(&named)?;
            let lfn = format!("{}.$JEDITASKID._${{SN/P}}.{named}", names.prefix);
            (if suffix.is_empty() { named } else { suffix }, lfn)
        };
        if types.contains(&suffix) {
            return Err(format!(
                "option `--outputs` names `{suffix}` twice: each output needs a name of its own"
            ));
        }
        items.push(output_item(&lfn, &suffix, options, names, &optional)?);
        map.push(format!("{}: {}", python_text(file), python_text(&lfn)));
        types.push(suffix);
    }
    if types.len() > OUTPUTS_MAX && !options.has("--unlimitNumOutputs") {
        return Err(format!(
            "option `--outputs` names {} files: more than {OUTPUTS_MAX} need \
             `--unlimitNumOutputs`",
            types.len()
        ));
    }
    items.push(constant(format!("-o \"{{{}}}\"", map.join(", "))));
    Ok(types)
}

fn optional_outputs(options: &StepOptions) -> Result<Vec<Regex>, String> {
    let patterns = options.list("--allowNoOutput").into_iter();
    patterns
        .map(|text| {
            Regex::new(&format!("^.*{text}$"))
                .map_err(|_| format!("option `--allowNoOutput` has `{text}`, which is no pattern"))
        })
        .collect()
}

fn output_item(
    lfn: &str,
    suffix: &str,
    options: &StepOptions,
    names: &Names,
    optional: &[Regex],
) -> Result<Value, String> {
    let dataset = format!("{}_{suffix}/", names.task);
    if dataset.len() > DATASET_CHARS_MAX || !dataset.is_ascii() {
        return Err(format!(
            "the output dataset `{dataset}` must have plain letters and at most \
             {DATASET_CHARS_MAX} of them: choose a shorter `--outDS` or output"
        ));
    }
    let mut item = json!({
        "type": "template",
        "value": lfn,
        "param_type": "output",
        "dataset": dataset,
        "container": dataset,
        "hidden": true,
    });
    for (option, key) in [("--destSE", "destination"), ("--spaceToken", "token")] {
        if let Some(text) = options.text(option) {
            item[key] = json!(text);
        }
    }
    if optional.iter().any(|pattern| pattern.is_match(lfn)) {
        item["allowNoOutput"] = json!(true);
    }
    Ok(item)
}

fn check_name(name: &str) -> Result<(), String> {
    let wrong = name
        .chars()
        .find(|c| *c == '/' || FORBIDDEN_IN_NAMES.contains(*c));
    match wrong {
        Some(c) => Err(format!(
            "the output file `{name}` must not have `{c}` in its name"
        )),
        None if name.is_empty() => Err("option `--outputs` has an empty name".to_owned()),
        None => Ok(()),
    }
}

/// Writes a text as Python does among the items of a dictionary.
fn python_text(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\");
    if text.contains('\'') && !text.contains('"') {
        format!("\"{escaped}\"")
    } else {
        format!("'{}'", escaped.replace('\'', "\\'"))
    }
}

/// A pattern of `prun`, in which only `*` is special, as a regular expression.
fn pattern(text: &str) -> String {
    text.replace('.', r"\.").replace('*', ".*")
}

fn input(options: &StepOptions, names: &Names, datasets: &[String]) -> Value {
    let takes_logs = options.has("--notSkipLog") || options.has("--useLogAsInput");
    let mut excluded: Vec<String> = if takes_logs {
        Vec::new()
    } else {
        vec![LOGS.to_owned()]
    };
    excluded.extend(options.text("--antiMatch").map(pattern));
    let mut item = json!({
        "type": "template",
        "param_type": "input",
        "value": "-i \"${IN/T}\"",
        "dataset": datasets.join(","),
        "consolidate": names.consolidated("IN"),
    });
    if !excluded.is_empty() {
        item["exclude"] = json!(excluded.join(","));
    }
    if let Some(skipped) = options.whole("--nSkipFiles") {
        item["offset"] = json!(skipped);
    }
    if let Some(matched) = options.text("--match") {
        item["include"] = json!(pattern(matched));
    }
    item
}

/// Adds the further inputs, and says whether there are any.
fn add_secondaries(
    items: &mut Vec<Value>,
    options: &StepOptions,
    names: &Names,
    step: &StepTask<'_>,
) -> Result<bool, String> {
    let Some(text) = options.text("--secondaryDSs") else {
        return Ok(false);
    };
    let reusable = options.list("--reusableSecondary");
    let is_ratio = options.has("--useNumFilesInSecDSsAsRatio");
    let mut streams = Vec::new();
    if !step.datasets.is_empty() {
        streams.push("IN".to_owned());
    }
    for part in text.split(',') {
        let separator = if part.contains('#') { '#' } else { ':' };
        let fields: Vec<&str> = part.split(separator).collect();
        let wrong = || {
            format!(
                "option `--secondaryDSs` has `{part}`: it must be \
                 `STREAM:FILES_PER_JOB:DATASET[:PATTERN[:FILES_TO_SKIP]]`"
            )
        };
        let (Some(stream), Some(files), Some(dataset), true) = (
            fields.first(),
            fields.get(1),
            fields.get(2),
            fields.len() <= 5,
        ) else {
            return Err(wrong());
        };
        let files: u64 = files.parse().map_err(|_| wrong())?;
        let mut item = json!({
            "type": "template",
            "value": format!("${{{stream}}}"),
            "param_type": "input",
            "dataset": dataset.replace('^', ","),
            "consolidate": names.consolidated(stream),
            "hidden": true,
        });
        if let Some(include) = fields.get(3).filter(|text| !text.is_empty()) {
            item["include"] = json!(include);
        }
        if let Some(skipped) = fields.get(4).filter(|text| !text.is_empty()) {
            item["offset"] = json!(skipped.parse::<u64>().map_err(|_| wrong())?);
        }
        if files > 0 {
            item[if is_ratio { "ratio" } else { "nFilesPerJob" }] = json!(files);
        }
        if reusable.iter().any(|name| name == stream) {
            item["reusable"] = json!(true);
        }
        items.push(item);
        streams.push((*stream).to_owned());
    }
    let map: Vec<String> = streams
        .iter()
        .map(|stream| format!("'{stream}': ${{{stream}/T}}"))
        .collect();
    items.push(constant(format!("--inMap \"{{{}}}\"", map.join(", "))));
    Ok(true)
}

fn root_version(options: &StepOptions) -> Option<String> {
    Some(options.text("--rootVer")?.replace('/', "."))
}

fn misc_options(options: &StepOptions) -> String {
    let mut misc = String::new();
    if let Some(version) = root_version(options) {
        misc.push_str(&format!("--rootVer {version} "));
    }
    if let Some(config) = options.text("--cmtConfig") {
        misc.push_str(&format!("--cmtConfig {config} "));
    }
    if let Some(pairs) = options.text("--writeInputToTxt") {
        misc.push_str(&format!("--writeInputToTxt {} ", pairs.replace('%', "")));
    }
    if options.has("--execWithRealFileNames") {
        misc.push_str("--execWithRealFileNames ");
    }
    misc
}

/// Reads a size in GB.
pub(super) fn gigabytes(option: &str, text: &str) -> Result<u64, String> {
    let size = text.parse().ok().filter(|size| *size > 0);
    size.ok_or_else(|| {
        format!("option `{option}` has `{text}`: it must be a whole number or `MAX`")
    })
}

/// Has outputs merged.
pub(super) fn set_merge(
    params: &mut Map<String, Value>,
    options: &StepOptions,
    names: &Names,
    archive: Option<&str>,
) -> Result<(), String> {
    let mut arguments = "-r . ".to_owned();
    if let Some(script) = options.text("--mergeScript") {
        arguments.push_str(&format!("-j \"{script}\" "));
    }
    if let Some(version) = root_version(options) {
        arguments.push_str(&format!("--rootVer {version} "));
    }
    if let Some(config) = options.text("--cmtConfig") {
        arguments.push_str(&format!("--cmtConfig {config} "));
    }
    let archive = archive.unwrap_or("None");
    arguments.push_str(&format!(
        "-a {archive} --sourceURL ${{SURL}} ${{TRN_OUTPUT:OUTPUT}} "
    ));
    if options.has("--mergeLog") {
        arguments.push_str("${TRN_LOG_MERGE:LOG_MERGE}");
        let mut log = names.log(options);
        let dataset = format!("{}.merge_log/", names.task);
        let file = log["value"].as_str().unwrap_or_default();
        log["value"] = json!(file.replace(".log.tgz", ".merge_log.tgz"));
        log["dataset"] = json!(dataset);
        log["container"] = json!(dataset);
        log["param_type"] = json!("output");
        log["mergeOnly"] = json!(true);
        params.insert("log_merge".to_owned(), log);
    } else {
        arguments.push_str("${TRN_LOG:LOG}");
    }
    let spec = json!({"useLocalIO": 1, "jobParameters": arguments});
    params.insert("mergeSpec".to_owned(), spec);
    set(params, "mergeOutput", true);
    if let Some(size) = options
        .text("--nGBPerMergeJob")
        .filter(|text| *text != "MAX")
    {
        set(
            params,
            "nGBPerMergeJob",
            gigabytes("--nGBPerMergeJob", size)?,
        );
    }
    Ok(())
}
