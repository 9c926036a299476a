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
