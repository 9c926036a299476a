//! Arguments of jobs, against the texts that PanDA's own function makes.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::{RefineSettings, SplitRules, TaskParams, refine};

/// A template with a job's files, and the text that PanDA's server makes of it.
#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    template: String,
    inputs: Vec<Input>,
    outputs: Vec<(String, String)>,
    #[serde(default = "one")]
    serial: u64,
    seed: Option<u64>,
    #[serde(default)]
    seed_offset: u64,
    surl: Option<String>,
    ordered: Option<String>,
    #[serde(default)]
    pfns: Vec<String>,
    #[serde(default)]
    extra: Vec<(String, String)>,
    #[serde(default)]
    es: bool,
    #[serde(default)]
    merging: bool,
    expected: Option<String>,
    #[serde(default)]
    dropped: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Input {
    stream: Option<String>,
    dataset: String,
    pseudo: bool,
    files: Vec<Value>,
}

fn one() -> u64 {
    1
}

fn task(case: &Case) -> RefinedTask {
    let map = json!({
        "taskName": "t", "noInput": true, "skipScout": true, "sourceURL": case.surl, "pfnList": case.pfns,
        "mergeOutput": case.outputs.iter().any(|(_, lfn)| lfn.starts_with("panda.um")),
        "mergeSpec": {"jobParameters": "x"}, "jobParameters": [],
    });
    let params = TaskParams::from_value(map).expect("an object");
    let mut task = refine(&params, &RefineSettings::default()).expect("a good map");
    task.payload.command.clone_from(&case.template);
    if case.es {
        task.event_service = EventService::Ranges;
    }
    if case.ordered.is_some() {
        task.rules.set(Rule::OrderInputBy, 1);
    }
    if case.seed.is_some() {
        task.rules.set(
            Rule::RandomSeed,
            i64::try_from(case.seed_offset).expect("small"),
        );
    }
    task
}

fn values<'a>(case: &'a Case) -> JobValues<'a> {
    let inputs = case.inputs.iter().map(|input| InputValue {
        stream: input.stream.as_deref(),
        dataset: &input.dataset,
        files: input
            .files
            .iter()
            .map(|file| {
                (
                    file[0].as_str().expect("a name"),
                    file[1].as_u64().expect("a size"),
                )
            })
            .collect(),
        are_physical: input.pseudo,
    });
    let master: Vec<Content> = case.inputs[0]
        .files
        .iter()
        .map(|file| Content {
            first_event: file[2].as_u64(),
            range: file[3]
                .as_u64()
                .zip(file[4].as_u64())
                .map(|(start, end)| crate::split::EventRange { start, end }),
            ..Content::default()
        })
        .collect();
    JobValues {
        task: None,
        inputs: inputs.collect(),
        outputs: case
            .outputs
            .iter()
            .map(|(stream, lfn)| (stream.as_str(), lfn.as_str()))
            .collect(),
        serial: case.serial,
        seed: case.seed,
        events: EventNumbers::of(&master),
        attempt: 3,
        extra: case
            .extra
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect(),
    }
}

/// The cases were put through PanDA's own function; what it made of them stands beside.
#[test]
fn arguments_are_those_that_pandas_server_makes() {
    for line in include_str!("../../testdata/expand.jsonl").lines() {
        let case: Case = serde_json::from_str(line).expect("a case");
        let task = task(&case);
        let made = if case.merging {
            let merge = MergeSpec {
                transformation: String::new(),
                command: case.template.clone(),
                cores: None,
                ram_mb: None,
            };
            merge_parameters(&task, &merge, &values(&case))
        } else {
            run_parameters(&task, &values(&case))
        };
        match (&case.expected, made) {
            (Some(expected), Ok(made)) => {
                assert_eq!(&made.text, expected, "{}", case.name);
                assert_eq!(made.dropped_outputs, case.dropped, "{}", case.name);
            }
            (None, Err(ExpandError::Unresolved { .. })) => {}
            (expected, made) => panic!("{}: {made:?} instead of {expected:?}", case.name),
        }
    }
}

fn expand(template: &str, files: &[&str]) -> Result<String, ExpandError> {
    let task = RefinedTask {
        payload: crate::refined::Payload {
            command: template.to_owned(),
            ..Default::default()
        },
        rules: SplitRules::default(),
        ..task(
            &serde_json::from_value(json!({
                "name": "", "template": "", "inputs": [], "outputs": []
            }))
            .expect("a case"),
        )
    };
    let files = files.iter().map(|lfn| (*lfn, 0)).collect();
    let inputs = vec![InputValue {
        stream: Some("IN"),
        dataset: "user.a.ds/",
        files,
        are_physical: false,
    }];
    let made = run_parameters(
        &task,
        &JobValues {
            inputs,
            ..JobValues::default()
        },
    )?;
    Ok(made.text)
}

#[test]
fn slices_are_those_of_python() {
    let files = ["f1", "f2", "f3", "f4"];
    let slice = |template| expand(template, &files).expect("there are files");
    assert_eq!(slice("${IN[0:2]} ${IN[2:]}"), "f[1,2] f[3,4]");
    assert_eq!(slice("${IN[:-1]/L} ${IN[-1:]} ${IN[1]}"), "f1,f2,f3 f4 f2");
    assert_eq!(slice("${IN[0:1],IN[3:]/L}"), "f1,f4");
    assert_eq!(
        expand("${IN[4:]}", &files),
        Err(ExpandError::Unresolved {
            placeholder: "${IN[4:]}".to_owned()
        })
    );
}

#[test]
fn a_formula_that_is_none_is_an_error() {
    let error = expand("${IN/M[#+]}", &["7"]).expect_err("no formula");
    assert!(
        error
            .to_string()
            .starts_with("`${IN/M[#+]}` cannot be worked out"),
        "{error}"
    );
    assert!(expand("${IN/M[#/0]}", &["7"]).is_err());
    assert!(expand("${IN/M[9**9**9**9]}", &["7"]).is_err());
    assert!(expand(&format!("${{IN/M[{}1]}}", "(".repeat(100_000)), &["7"]).is_err());
}

#[test]
fn a_physical_name_that_is_not_listed_is_an_error() {
    let case: Case = serde_json::from_value(json!({
        "name": "", "template": "${IN}", "pfns": ["root://x//a"], "outputs": [],
        "inputs": [{"stream": null, "dataset": "pseudo_dataset", "pseudo": true, "files": [["000007:a", 0]]}],
    }))
    .expect("a case");
    let error = run_parameters(&task(&case), &values(&case)).expect_err("no such entry");
    assert_eq!(
        error,
        ExpandError::NoPhysicalName {
            lfn: "000007:a".to_owned(),
            count: 1
        }
    );
}

#[test]
fn steps_get_arguments_and_script() {
    let steps = json!({"preprocess": {"command": "${TRF}", "args": "--pre ${TRF_ARGS}"}});
    let text = with_steps("-x 1", &steps, "run.sh");
    let tail = r#"<MULTI_STEP_EXEC>{"preprocess":{"args":"--pre -x 1","command":"run.sh"}}</MULTI_STEP_EXEC>"#;
    assert_eq!(text, format!("-x 1{tail}"));
}

proptest! {
    #[test]
    fn any_template_and_names_expand_without_a_panic(
        template in "(\\$\\{(IN|SN|IN\\[[0-9:-]{0,4}\\])(/[LASTFEM])?(\\[[#+*/()0-9-]{0,6}\\])?\\}|.){0,5}",
        files in proptest::collection::vec("[a-f0-9.%é]{1,8}", 1..5),
    ) {
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let _ = expand(&template, &files);
    }
}
