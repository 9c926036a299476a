//! The rarer parts of a job definition: [`JobOptions`].
//!
//! What is not stated is not written. What makes no sense here fails the job only where it would
//! run something else than was asked for: steps and container options.
//!
//! Source: Pilot 3, `pilot/info/jobdata.py`, `JobData`; PanDA server,
//! `pandaserver/jobdispatcher/Protocol.py`, `Response.appendJob`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ailurus_model::{
    AlternativeStageOut, ContainerOptions, InputFile, JobCloning, JobOptions, JobStep, Lfn,
    SecretText,
};
use serde_json::{Map, Value, json};

use crate::{
    fields::{FieldError, Fields, is_missing_text, text_of},
    job_files::InputName,
    python_literal,
};

const CONTAINER_OPTIONS: &str = "containerOptions";
const PILOT_SECRETS: &str = "pilotSecrets";
const SECRETS: &str = "secrets";
const TOKENS: &str = "prodDBlockToken";

/// Most secrets that are kept for the pilot.
const PILOT_SECRETS_MAX: usize = 64;

/// Texts by field, with the place that each has in the options.
macro_rules! texts {
    ($options:expr) => {
        [
            ("debug_command", &$options.debug_command),
            ("writeToFile", &$options.write_to_file),
            ("ioIntensityUnit", &$options.io_intensity_unit),
            ("nucleus", &$options.nucleus),
            ("scheduler_ip", &$options.scheduler_ip),
            ("session_ip", &$options.session_ip),
        ]
    };
}

/// Writes what is stated.
pub(crate) fn encode(out: &mut Fields, options: &JobOptions) {
    for (name, step) in [
        ("preprocess", &options.preprocess),
        ("postprocess", &options.postprocess),
        ("coprocess", &options.coprocess),
    ] {
        if let Some(step) = step {
            out.put(name, json!({"command": step.command, "args": step.args}));
        }
    }
    if options.container != ContainerOptions::default() {
        out.put(
            CONTAINER_OPTIONS,
            json!({
                "containerExec": options.container.exec,
                "containerImage": options.container.image,
                "execArgs": options.container.exec_args,
            }),
        );
    }
    if !options.home_package.is_empty() {
        out.put("homepackage", options.home_package.as_str());
    }
    if !options.cpu_time_max.is_zero() {
        out.put("maxCpuCount", options.cpu_time_max.as_secs());
    }
    for (name, flag) in [
        ("debug", options.is_debug),
        ("eventService", options.is_event_service),
        ("eventServiceMerge", options.is_event_service_merge),
        ("isHPO", options.is_hpo),
        ("useVP", options.is_virtual_placement),
        ("noExecStrCnv", options.has_own_setup),
        ("putLogToOS", options.logs_to_object_store),
        ("inFilePosEvtNum", options.has_in_file_positions),
        ("usePrefetcher", options.uses_prefetcher),
        ("onSiteMerging", options.merges_on_site),
    ] {
        // The reference server sends them as text, and only where they are set.
        if flag {
            out.put(name, "True");
        }
    }
    for (name, text) in texts!(options) {
        if !text.is_empty() {
            out.put(name, text.as_str());
        }
    }
    match options.alternative_stage_out {
        AlternativeStageOut::Unspecified => {}
        AlternativeStageOut::On => out.put("altStageOut", "on"),
        AlternativeStageOut::Off => out.put("altStageOut", "off"),
    }
    if let Some(word) = options.cloning.word() {
        out.put("cloneJob", word);
    }
    if options.io_intensity > 0 {
        out.put("ioIntensity", options.io_intensity);
    }
    if let Some(secrets) = &options.secrets {
        out.put(SECRETS, secrets.reveal());
    }
    put_pilot_secrets(out, &options.pilot_secrets);
}

/// Writes the pilot's secrets, if there are any, into a job or into the answer to an update.
pub(crate) fn put_pilot_secrets(out: &mut Fields, secrets: &BTreeMap<String, SecretText>) {
    if !secrets.is_empty() {
        let members: Map<String, Value> = secrets
            .iter()
            .map(|(name, secret)| (name.clone(), secret.reveal().into()))
            .collect();
        out.put(PILOT_SECRETS, Value::Object(members));
    }
}

/// Reads what is stated.
pub(crate) fn decode(fields: &Fields, inputs: &[InputFile]) -> Result<JobOptions, FieldError> {
    let flag = |name| fields.flag(name).unwrap_or(false);
    let (input_urls, archived_inputs) = special_inputs(fields);
    Ok(JobOptions {
        preprocess: step(fields, "preprocess")?,
        postprocess: step(fields, "postprocess")?,
        coprocess: step(fields, "coprocess")?,
        container: container(fields)?,
        home_package: fields.text("homepackage"),
        cpu_time_max: Duration::from_secs(fields.whole_if_any("maxCpuCount").unwrap_or(0)),
        is_debug: flag("debug"),
        debug_command: fields.text("debug_command"),
        alternative_stage_out: match fields.text("altStageOut").to_ascii_lowercase().as_str() {
            "on" => AlternativeStageOut::On,
            "off" => AlternativeStageOut::Off,
            _ => AlternativeStageOut::Unspecified,
        },
        is_event_service: flag("eventService"),
        is_event_service_merge: flag("eventServiceMerge"),
        is_hpo: flag("isHPO"),
        is_virtual_placement: flag("useVP"),
        has_own_setup: flag("noExecStrCnv"),
        cloning: JobCloning::from_word(&fields.text("cloneJob")),
        logs_to_object_store: flag("putLogToOS"),
        has_in_file_positions: flag("inFilePosEvtNum"),
        uses_prefetcher: flag("usePrefetcher"),
        merges_on_site: flag("onSiteMerging"),
        io_intensity: fields.whole_if_any("ioIntensity").unwrap_or(0),
        io_intensity_unit: fields.text("ioIntensityUnit"),
        write_to_file: fields.text("writeToFile"),
        nucleus: fields.text("nucleus"),
        scheduler_ip: fields.text("scheduler_ip"),
        session_ip: fields.text("session_ip"),
        storage_tokens: tokens(fields, inputs),
        input_urls,
        archived_inputs,
        secrets: fields.get(SECRETS).map(|it| SecretText::new(text_of(it))),
        pilot_secrets: pilot_secrets(fields),
    })
}

/// An object, also as JSON text or as Python writes it.
fn object(fields: &Fields, name: &str) -> Result<Option<Fields>, FieldError> {
    let Some(value) = fields.get(name) else {
        return Ok(None);
    };
    let parsed = match value.as_str() {
        Some(text) => python_literal::parse(text).unwrap_or(Value::Null),
        None => value.clone(),
    };
    match Fields::from_value(parsed) {
        Ok(object) => Ok(Some(object)),
        Err(_) => Err(FieldError::new(name, Some(value), "an object")),
    }
}

fn step(fields: &Fields, name: &str) -> Result<Option<JobStep>, FieldError> {
    Ok(object(fields, name)?
        .map(|object| JobStep {
            command: object.text("command"),
            args: object.text("args"),
        })
        .filter(|step| !step.command.is_empty()))
}

fn container(fields: &Fields) -> Result<ContainerOptions, FieldError> {
    let Some(object) = object(fields, CONTAINER_OPTIONS)? else {
        return Ok(ContainerOptions::default());
    };
    Ok(ContainerOptions {
        exec: object.text("containerExec"),
        image: object.text("containerImage"),
        exec_args: object.text("execArgs"),
    })
}

/// The tokens that say something, by the name of their input.
fn tokens(fields: &Fields, inputs: &[InputFile]) -> BTreeMap<Lfn, String> {
    let (names, tokens) = (fields.text("inFiles"), fields.text(TOKENS));
    let known: BTreeSet<&Lfn> = inputs.iter().map(|file| &file.lfn).collect();
    names
        .split(',')
        .zip(tokens.split(','))
        .filter(|(_, token)| !is_missing_text(token))
        .map(|(name, token)| {
            let name = InputName::of(name.trim());
            (Lfn::new(name.lfn()), token.trim().to_owned())
        })
        .filter(|(name, _)| known.contains(name))
        .collect()
}

/// The inputs that are more than a name: where they lie, or that they are archives.
fn special_inputs(fields: &Fields) -> (BTreeMap<Lfn, String>, BTreeSet<Lfn>) {
    let (mut urls, mut archives) = (BTreeMap::new(), BTreeSet::new());
    for text in fields.text("inFiles").split(',') {
        let name = InputName::of(text.trim());
        let lfn = Lfn::new(name.lfn());
        match name {
            InputName::Plain(_) => {}
            InputName::Archive(_) => {
                archives.insert(lfn);
            }
            InputName::Url(url) => {
                urls.entry(lfn).or_insert_with(|| url.to_owned());
            }
        }
    }
    (urls, archives)
}

/// The pilot's secrets, whether in a job or in the answer to an update. What is no object, or
/// unreadable, counts as none: no job should fail for it.
pub(crate) fn pilot_secrets(fields: &Fields) -> BTreeMap<String, SecretText> {
    let secrets = object(fields, PILOT_SECRETS).ok().flatten();
    secrets
        .unwrap_or_default()
        .iter()
        .take(PILOT_SECRETS_MAX)
        .map(|(name, value)| (name.to_owned(), SecretText::new(text_of(value))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_json(value: Value) -> Result<JobOptions, FieldError> {
        decode(&Fields::from_value(value).expect("an object"), &[])
    }

    #[test]
    fn steps_and_containers_come_as_objects_and_as_python_writes_them() {
        let typed = decode_json(json!({
            "preprocess": {"command": "http://x/pre.sh", "args": "-a 'b c'"},
            "containerOptions": {"containerImage": "/cvmfs/i", "execArgs": null},
        }));
        let text = decode_json(json!({
            "preprocess": "{'command': 'http://x/pre.sh', 'args': \"-a 'b c'\"}",
            "containerOptions": "{'containerImage': '/cvmfs/i', 'execArgs': None}",
        }));
        let options = typed.expect("options");
        assert_eq!(text, Ok(options.clone()));
        assert_eq!(options.container.image, "/cvmfs/i");
        assert_eq!(options.preprocess.expect("a step").args, "-a 'b c'");
    }

    #[test]
    fn a_step_that_cannot_be_read_fails_the_job() {
        for bad in [json!("run this"), json!(["a"]), json!(7)] {
            let error = decode_json(json!({"postprocess": bad})).expect_err("no step");
            assert_eq!(error.field, "postprocess");
        }
        assert_eq!(
            decode_json(json!({"coprocess": ""})),
            Ok(JobOptions::default())
        );
    }

    #[test]
    fn what_is_stated_is_written_and_read_again() {
        let options = JobOptions {
            postprocess: Some(JobStep {
                command: "post.sh".into(),
                args: String::new(),
            }),
            container: ContainerOptions {
                image: "i".into(),
                ..ContainerOptions::default()
            },
            cpu_time_max: Duration::from_secs(5),
            is_debug: true,
            debug_command: "tail x".into(),
            alternative_stage_out: AlternativeStageOut::Off,
            is_hpo: true,
            cloning: JobCloning::StoreOnce,
            logs_to_object_store: true,
            has_in_file_positions: true,
            uses_prefetcher: true,
            merges_on_site: true,
            io_intensity: 250,
            io_intensity_unit: "kBPerS".into(),
            nucleus: "N".into(),
            secrets: Some(SecretText::new("{\"a\": 1}")),
            pilot_secrets: BTreeMap::from([("k".to_owned(), SecretText::new("v"))]),
            ..JobOptions::default()
        };
        let mut fields = Fields::new();
        encode(&mut fields, &options);
        assert_eq!(decode(&fields, &[]), Ok(options));
        let mut nothing = Fields::new();
        encode(&mut nothing, &JobOptions::default());
        assert_eq!(nothing, Fields::new());
    }
}
