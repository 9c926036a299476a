//! Gives any JSON to what reads workflows and plans them: none may panic, hang or take much memory.

#![no_main]

use ailurus_jedi::workflow::{
    Document, PlanLimits, PlanRequest, plan, read_cwl, read_definition, read_native,
};
use serde_json::{Map, Value};

const LIMITS: PlanLimits = PlanLimits { steps_max: 50 };

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(definition) = serde_json::from_slice::<Value>(bytes) {
        drop(read_definition(&definition, LIMITS));
    }
    let Ok(file) = serde_json::from_slice::<Document>(bytes) else {
        return;
    };
    let template = include_str!("../../crates/jedi/testdata/workflows/template.json");
    let template: Value = serde_json::from_str(template).expect("it is JSON");
    let templates = Map::from_iter([("container".to_owned(), template)]);
    // The values of its inputs are in the same file here.
    let values = file.get("values").cloned().unwrap_or_default();
    for graph in [read_native(&file), read_cwl(&file, &values)] {
        let Ok(graph) = graph else { continue };
        let request = PlanRequest {
            out_ds: "user.alice.out",
            first_number: 1,
            templates: &templates,
            base_platform: None,
            limits: LIMITS,
        };
        if let Ok(plan) = plan(&graph, &request) {
            assert!(plan.steps.len() <= LIMITS.steps_max);
        }
    }
});
