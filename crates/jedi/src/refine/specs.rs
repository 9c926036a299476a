//! What a task's jobs run: payload, merge and build.

use serde_json::Value;

use super::{RefineSettings, needs};
use crate::{
    params::{Fields, ParamError},
    refined::{BuildSpec, MergeSpec, Payload, Segment},
};

/// Most characters of a task's arguments.
const COMMAND_MAX: usize = 1 << 20;

pub(super) fn payload(
    fields: &Fields<'_>,
    settings: &RefineSettings,
    command: String,
) -> Result<Payload, ParamError> {
    if command.len() > COMMAND_MAX {
        return Err(fields.invalid("jobParameters", "arguments of at most 1 MiB"));
    }
    let transformation = match fields.filled_text("transPath")? {
        Some(path) => path,
        None if has_kind(fields, "athena")? => settings.scripts.run_athena.clone(),
        None if has_kind(fields, "cont")? => settings.scripts.run_container.clone(),
        None => settings.scripts.run.clone(),
    };
    let container = match fields.filled_text("container_name")? {
        Some(image) => Some(image),
        None => image_option(&command),
    };
    Ok(Payload {
        transformation,
        home_package: fields.text_or_empty("transHome")?,
        release: fields.text_or_empty("transUses")?,
        container,
        source_url: fields.filled_text("sourceURL")?,
        sandbox: sandbox(fields, &command)?,
        steps: steps(fields)?,
        os_info: fields.filled_text("osInfo")?,
        command,
    })
}

/// Says whether a word is one of those that `processingType` is made of.
fn has_kind(fields: &Fields<'_>, word: &str) -> Result<bool, ParamError> {
    Ok(fields
        .text_or_empty("processingType")?
        .split('-')
        .any(|one| one == word))
}

/// Finds the image that the arguments name (`--containerImage IMAGE`).
fn image_option(command: &str) -> Option<String> {
    let mut words = command.split_whitespace();
    words.find(|word| *word == "--containerImage")?;
    words.next().map(str::to_owned)
}

/// Finds the user's archive: told, of the build, or `-a ARCHIVE` of the arguments.
fn sandbox(fields: &Fields<'_>, command: &str) -> Result<Option<String>, ParamError> {
    if let Some(name) = fields.filled_text("fixedSandbox")? {
        return Ok(Some(name));
    }
    if let Some(build) = fields.object("buildSpec")? {
        return build.filled_text("archiveName");
    }
    let mut words = command.split_whitespace();
    Ok(words
        .find(|word| *word == "-a")
        .and_then(|_| words.next())
        .map(str::to_owned))
}

/// Takes the steps of a job: an object of objects of texts, as the pilot reads it.
fn steps(fields: &Fields<'_>) -> Result<Option<Value>, ParamError> {
    let key = "multiStepExec";
    let Some(steps) = fields.value(key) else {
        return Ok(None);
    };
    let is_step = |step: &Value| step.as_object().is_some();
    match steps.as_object() {
        Some(map) if map.values().all(is_step) => Ok(Some(steps.clone())),
        Some(_) | None => Err(fields.invalid(key, "an object with one object for each step")),
    }
}

pub(super) fn merge(
    fields: &Fields<'_>,
    settings: &RefineSettings,
) -> Result<Option<MergeSpec>, ParamError> {
    if !fields.flag("mergeOutput")? {
        return Ok(None);
    }
    let spec = fields.object("mergeSpec")?.ok_or_else(|| {
        fields.missing(
            "mergeSpec",
            "an object with `jobParameters`, for outputs are merged",
        )
    })?;
    Ok(Some(MergeSpec {
        transformation: spec
            .filled_text("transPath")?
            .unwrap_or_else(|| settings.scripts.merge.clone()),
        command: spec.required_text("jobParameters")?,
        cores: needs::cores(fields, "mergeCoreCount")?,
        ram_mb: fields.count("mergeRamCount")?,
    }))
}

/// Adds to the arguments how the outputs of ranges of events are merged (`esmergeSpec`). Arguments
/// that say so themselves stay as they are.
pub(super) fn with_event_merge(fields: &Fields<'_>, command: String) -> Result<String, ParamError> {
    if fields.flag("onSiteMerging")? {
        let advice = "leave it out: the outputs of ranges of events are merged by a job";
        return Err(fields.unsupported("onSiteMerging", advice));
    }
    let Some(spec) = fields.object("esmergeSpec")? else {
        if command.contains("<PANDA_ESMERGE_TRF>") {
            return Ok(command);
        }
        let allowed = "how the outputs of ranges of events are merged: `transPath` and \
                       `jobParameters`";
        return Err(fields.missing("esmergeSpec", allowed));
    };
    let (program, arguments) = (
        spec.required_text("transPath")?,
        spec.required_text("jobParameters")?,
    );
    Ok(format!(
        "{command}<PANDA_ESMERGE_TRF>{program}</PANDA_ESMERGE_TRF>\
         <PANDA_ESMERGE_JOBP>{arguments}</PANDA_ESMERGE_JOBP>"
    ))
}

pub(super) fn build(
    fields: &Fields<'_>,
    settings: &RefineSettings,
) -> Result<Option<BuildSpec>, ParamError> {
    let Some(spec) = fields.object("buildSpec")? else {
        return Ok(None);
    };
    let default = if has_kind(fields, "athena")? {
        &settings.scripts.build_athena
    } else {
        &settings.scripts.build
    };
    let archive_in_storage = match spec.filled_text("tarBallViaDDM")? {
        Some(text) => Some(text),
        None => fields.filled_text("tarBallViaDDM")?,
    };
    let archive_in_storage = archive_in_storage
        .map(|text| match text.rsplit_once(':') {
            Some((dataset, lfn)) if !dataset.is_empty() && !lfn.is_empty() => {
                Ok((dataset.to_owned(), lfn.to_owned()))
            }
            Some(_) | None => Err(fields.invalid("tarBallViaDDM", "`DATASET:FILE`")),
        })
        .transpose()?;
    Ok(Some(BuildSpec {
        label: spec
            .filled_text("prodSourceLabel")?
            .unwrap_or_else(|| "panda".to_owned()),
        archive: spec.text_or_empty("archiveName")?,
        transformation: spec
            .filled_text("transPath")?
            .unwrap_or_else(|| default.clone()),
        command: spec.text_or_empty("jobParameters")?,
        container: spec.filled_text("container_name")?,
        archive_in_storage,
    }))
}

pub(super) fn segments(fields: &Fields<'_>) -> Result<Vec<Segment>, ParamError> {
    let specs = fields.objects("segmentSpecs")?;
    specs
        .iter()
        .map(|spec| {
            Ok(Segment {
                name: spec.required_text("name")?,
                id: spec
                    .integer("id")?
                    .ok_or_else(|| spec.missing("id", "a number"))?,
            })
        })
        .collect()
}
