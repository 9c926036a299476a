//! What parameters mean, what is refused and in which words.

use serde_json::{Value, json};

use super::*;
use crate::refined::{InputKind, OutputKind};

fn read(value: Value) -> Result<RefinedTask, ParamError> {
    let params = TaskParams::from_value(value).expect("an object");
    refine(&params, &RefineSettings::default())
}

fn without_input() -> Value {
    json!({
        "taskName": "user.ivan.sim/",
        "userName": "Ivan",
        "vo": "spd",
        "prodSourceLabel": "user",
        "taskPriority": 1000,
        "processingType": "panda-client-1.5-jedi-run",
        "noInput": true,
        "nEvents": 100,
        "nEventsPerJob": 10,
        "jobParameters": [
            {"type": "constant", "value": "-j \"\" --sourceURL ${SURL} -a sources.x.tar.gz -p \"sim%20"},
            {"type": "template", "param_type": "number", "value": "${RNDMSEED}", "offset": 5, "padding": false},
            {"type": "constant", "value": "\""},
            {"type": "template", "param_type": "output", "dataset": "user.ivan.sim_x.root/",
             "container": "user.ivan.sim_x.root/", "hidden": true, "value": "user.ivan.$JEDITASKID._${SN/P}.x.root"},
        ],
        "log": {"type": "template", "param_type": "log", "dataset": "user.ivan.sim.log/",
                "value": "user.ivan.sim.$JEDITASKID.${SN}.log.tgz"},
    })
}

#[test]
fn a_task_without_input_has_a_pseudo_master_and_seeds() {
    let task = read(without_input()).expect("a good map");
    assert_eq!(
        task.master().map(|master| master.kind),
        Some(InputKind::Pseudo)
    );
    assert_eq!(
        task.inputs.last().map(|input| input.kind),
        Some(InputKind::RandomSeed)
    );
    assert_eq!(task.rules.seed_offset(), Some(5));
    assert_eq!(task.payload.sandbox.as_deref(), Some("sources.x.tar.gz"));
    let command = "-j \"\" --sourceURL ${SURL} -a sources.x.tar.gz -p \"sim%20 ${RNDMSEED}\"";
    assert_eq!(task.payload.command, command);
    let streams: Vec<&str> = task
        .outputs
        .iter()
        .map(|output| output.stream.as_str())
        .collect();
    assert_eq!(streams, ["OUTPUT0", "LOG0"]);
    assert_eq!(task.outputs[1].kind, OutputKind::Log);
}

#[test]
fn a_refined_task_survives_json() {
    let task = read(without_input()).expect("a good map");
    let text = serde_json::to_string(&task).expect("it is JSON");
    assert_eq!(
        serde_json::from_str::<RefinedTask>(&text).expect("it is read back"),
        task
    );
}

/// The map above with some keys changed; `null` removes.
fn changed(changes: Value) -> Result<RefinedTask, ParamError> {
    let mut params = TaskParams::from_value(without_input()).expect("an object");
    for (key, value) in changes.as_object().expect("an object") {
        params.set(key, value.clone());
    }
    refine(&params, &RefineSettings::default())
}

fn error(changes: Value) -> String {
    changed(changes).expect_err("a wrong map").to_string()
}

#[test]
fn errors_name_the_parameter_its_value_and_what_is_allowed() {
    let table = [
        (
            json!({"taskName": null}),
            "task parameter `taskName` is missing: give text",
        ),
        (
            json!({"nFilesPerJob": "many"}),
            "task parameter `nFilesPerJob` is `many`: it must be a whole number of at most 15 digits",
        ),
        (
            json!({"ramUnit": "GB"}),
            "task parameter `ramUnit` is `GB`: it must be `MB`, `MBPerCore` or `MBPerCoreFixed`",
        ),
        (
            json!({"skipScout": "maybe"}),
            "task parameter `skipScout` is `maybe`: it must be true or false",
        ),
        (
            json!({"maxAttempt": 5000}),
            "task parameter `maxAttempt` is `5000`: it must be a number of at most 1000",
        ),
        (
            json!({"jobParameters": [{"value": "x"}]}),
            "task parameter `jobParameters[0].type` is missing: give text",
        ),
        (
            json!({"jobParameters": [{"type": "magic"}]}),
            "task parameter `jobParameters[0].type` is `magic`: it must be `constant` or `template`",
        ),
        (
            json!({"noInput": false, "jobParameters": []}),
            "task parameter `noInput` is missing: give true, or an item of `jobParameters` that is an input",
        ),
        (
            json!({"mergeOutput": true}),
            "task parameter `mergeSpec` is missing: give an object with `jobParameters`, for outputs are merged",
        ),
        (
            json!({"loadXML": "<x/>"}),
            "task parameter `loadXML` is not supported: give each kind of job a task of its own",
        ),
        (
            json!({"onSiteMerging": true}),
            "task parameter `onSiteMerging` is not supported: merge by `mergeOutput`, or by the `esmergeSpec` of jobs with `nEventsPerWorker`",
        ),
        (
            json!({"preproSpec": {}}),
            "task parameter `preproSpec` is not supported: prepare the list of inputs before the task is submitted",
        ),
        (
            json!({"ipConnectivity": "some"}),
            "task parameter `ipConnectivity` is `some`: it must be `full` or `http`, with `#IPv4` or `#IPv6` if that matters",
        ),
        (
            json!({"fullChain": "yes"}),
            "task parameter `fullChain` is `yes`: it must be `only`, `require` or `capable`",
        ),
    ];
    for (changes, expected) in table {
        assert_eq!(error(changes), expected);
    }
}

#[test]
fn a_long_wrong_value_is_shortened() {
    let message = error(json!({"nFiles": "x".repeat(1000)}));
    assert!(message.len() < 200, "{message}");
}

#[test]
fn numbers_flags_and_lists_are_read_as_python_clients_write_them() {
    let task = changed(json!({
        "nFilesPerJob": "5", "coreCount": 8.0, "skipScout": 1, "noLoopingCheck": "True", "avoidVP": "0",
        "excludedSite": "A,B*", "includedSite": ["C"], "goal": "99.5", "nGBPerJob": "MAX", "unknownKey": {},
    }))
    .expect("a good map");
    assert_eq!(task.rules.files_per_job(), Some(5));
    assert_eq!(task.resources.cores, 8);
    assert!(task.rules.is_set(Rule::NoLoopingCheck) && !task.rules.is_set(Rule::AvoidVp));
    assert_eq!(task.rules.number(Rule::UseScout), None);
    assert_eq!(task.sites.excluded, ["A", "B*"]);
    assert_eq!(task.rules.number(Rule::LimitedSites), Some(3));
    assert_eq!(task.goal_per_mille, Some(995));
    assert_eq!(task.rules.bytes_per_job(), None);
}

#[test]
fn rules_follow_from_parameters() {
    let text = |changes| changed(changes).expect("a good map").rules.to_string();
    let plain = "US=2,NE=10,CV=1,PC=1,MD=1,RS=5";
    assert_eq!(text(json!({})), plain);
    let several = text(json!({
        "nEventsPerInputFile": 5, "useExhausted": true, "ipConnectivity": "full#IPv6", "addNthFieldToLFN": "1,3",
        "allowInputLAN": "use", "forceStaged": false, "messageDriven": false, "ddmBackEnd": "rucio",
    }));
    assert_eq!(
        several,
        "US=2,NF=2,NE=10,EI=5,UX=1,CV=1,PC=1,IL=1,AN=1,3,IP=1,IK=6,LI=0,DE=rucio,RS=5"
    );
    let cloned = text(json!({"useJobCloning": "storeonce"}));
    assert!(cloned.contains("UC=2,ES=1,NS=2,EC=2"), "{cloned}");
}

#[test]
fn a_task_that_is_read_again_keeps_how_far_it_has_come() {
    let params = TaskParams::from_value(without_input()).expect("an object");
    let earlier: SplitRules = "US=3,NE=50,RM=NG:4,RD=2".parse().expect("rules");
    let settings = RefineSettings {
        earlier_rules: Some(earlier),
        ..RefineSettings::default()
    };
    let rules = refine(&params, &settings)
        .expect("a good map")
        .rules
        .to_string();
    assert_eq!(rules, "RM=NG:4,RD=2,US=3,NE=10,CV=1,PC=1,MD=1,RS=5");
}

#[test]
fn streams_are_numbered_and_merged_outputs_have_a_twin() {
    let output = |dataset: &str| {
        json!({"type": "template", "param_type": "output", "dataset": dataset,
        "value": format!("--out='{dataset}._${{SN}}.root'"), "offset": 10, "token": "T", "allowNoOutput": true})
    };
    let task = changed(json!({
        "jobParameters": [output("a"), output("b")], "mergeOutput": true,
        "mergeSpec": {"jobParameters": "${TRN_OUTPUT:OUTPUT}"},
        "log_merge": {"type": "template", "param_type": "log", "dataset": "m", "value": "m.${SN}.log.tgz", "mergeOnly": true},
    }))
    .expect("a good map");
    let streams: Vec<&str> = task
        .outputs
        .iter()
        .map(|output| output.stream.as_str())
        .collect();
    assert_eq!(streams, ["OUTPUT0", "OUTPUT1", "LOG0", "LOG_MERGE"]);
    assert_eq!(
        task.payload.command,
        "--out='${OUTPUT0}' --out='${OUTPUT1}'"
    );
    let first = &task.outputs[0];
    assert_eq!(
        (first.lfn_template.as_str(), first.first_serial),
        ("a._${SN}.root", 11)
    );
    let twin = first.unmerged.as_ref().expect("a twin");
    assert_eq!(
        (twin.dataset.as_str(), twin.lfn_template.as_str()),
        ("panda.um.a", "panda.um.a._${SN}.root")
    );
    assert!(task.outputs[3].unmerged.is_none());
    assert_eq!(task.written_streams().len(), 3);
}

#[test]
fn inputs_are_read_with_their_attributes() {
    let task = changed(json!({
        "noInput": false, "dsForIN": "a,c",
        "jobParameters": [
            {"type": "template", "param_type": "input", "dataset": "a,b", "value": "-i ${IN/T}", "expand": true},
            {"type": "template", "param_type": "input", "dataset": "s", "value": "${SEC}", "ratio": 0.5,
             "attributes": "nosplit,repeat,np=3", "files": [{"lfn": "f", "nEvents": 7, "boundaryID": 1}]},
            {"type": "template", "param_type": "pseudo_input", "dataset": "seq_number", "value": "${SEQNUMBER}"},
            {"type": "template", "param_type": "input", "dataset": "s", "value": "again"},
        ],
    }))
    .expect("a good map");
    assert_eq!(task.inputs.len(), 3);
    assert_eq!(task.inputs[0].datasets, ["a", "b", "c"]);
    assert!(task.inputs[0].is_expanded);
    let second = &task.inputs[1];
    assert_eq!(
        (second.ratio_millionths, second.files_per_job),
        (500_000, Some(3))
    );
    assert!(second.is_whole && second.is_repeated);
    assert_eq!(second.files[0].events, Some(7));
    assert_eq!(
        (task.inputs[2].kind, task.inputs[2].files_per_job),
        (InputKind::Sequence, Some(1))
    );
}

#[test]
fn scripts_follow_from_the_kind_of_processing() {
    let scripts = Scripts::below("https://server/");
    let params = |kind: &str| {
        let mut params = TaskParams::from_value(without_input()).expect("an object");
        params.set("processingType", json!(kind));
        params
    };
    let settings = RefineSettings {
        scripts,
        ..RefineSettings::default()
    };
    let script = |kind| {
        refine(&params(kind), &settings)
            .expect("a good map")
            .payload
            .transformation
    };
    assert_eq!(
        script("panda-client-1-jedi-run"),
        "https://server/trf/user/runGen-00-00-02"
    );
    assert_eq!(
        script("panda-client-1-jedi-athena"),
        "https://server/trf/user/runAthena-00-00-12"
    );
    assert_eq!(
        script("panda-client-1-jedi-cont"),
        "https://server/trf/user/runcontainer"
    );
}

/// Any JSON, with keys that mean something.
fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "(template|constant|input|output|log|\\$\\{(IN|SN|RNDMSEED)\\}|[a-z=,' ]{0,8}|-?[0-9]{1,20})".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        let key = "(jobParameters|log|type|value|dataset|param_type|noInput|taskName|nFilesPerJob|nEvents|ratio|files|\
                   attributes|mergeSpec|mergeOutput|buildSpec|multiStepExec|pfnList|goal|[a-z]{1,5})";
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn any_json_is_read_without_a_panic(value in any_json()) {
        if let Ok(params) = TaskParams::from_value(value.clone()) {
            let _ = refine(&params, &RefineSettings::default());
        }
        let mut whole = without_input();
        if let Value::Object(map) = value {
            for (key, value) in map {
                whole[key] = value;
            }
        }
        let params = TaskParams::from_value(whole).expect("an object");
        let _ = refine(&params, &RefineSettings::default());
    }
}
