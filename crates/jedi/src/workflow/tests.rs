//! Whole workflows: PanDA's own code made `testdata/workflows/*-tasks.jsonl` of the files beside
//! them, and this is to make the same.

mod nested;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::*;

const LIMITS: PlanLimits = PlanLimits { steps_max: 20 };

fn template() -> Value {
    let text = include_str!("../../testdata/workflows/template.json");
    serde_json::from_str(text).expect("JSON")
}

fn templates() -> Map<String, Value> {
    Map::from_iter([("container".to_owned(), template())])
}

fn file(text: &str) -> Document {
    serde_json::from_str(text).expect("JSON")
}

fn planned(file: &WorkflowFile, first_number: u32) -> Result<Plan, WorkflowError> {
    planned_of(&file.main, &file.blocks, first_number)
}

fn planned_of(
    graph: &Graph,
    workflows: &BTreeMap<String, Graph>,
    first_number: u32,
) -> Result<Plan, WorkflowError> {
    let templates = templates();
    plan(
        graph,
        &PlanRequest {
            out_ds: "user.jdoe.wf",
            first_number,
            templates: &templates,
            base_platform: None,
            workflows,
            limits: LIMITS,
        },
    )
}

/// Takes the names of temporary containers out, which are random in PanDA.
fn without_random_names(params: &mut Value) {
    if let Some(items) = params["jobParameters"].as_array_mut() {
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.remove("consolidate");
        }
    }
}

/// PanDA's holders say neither of which block they are nor of which loop.
fn as_panda_writes(value: &Value) -> Value {
    let text = value.to_string();
    let rounds = regex::Regex::new(r"___run_\d+___").unwrap();
    let variables = regex::Regex::new(r"___var_\d+_(\w+?)___").unwrap();
    let text = rounds.replace_all(&text, "___idds___num_run___");
    let text = variables.replace_all(&text, "___idds___user_${1}___");
    serde_json::from_str(&text).expect("JSON")
}

fn check_against(plan: &Plan, expected: &str) {
    let expected = expected
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let expected: Vec<Value> = expected.collect();
    assert_eq!(plan.steps.len(), expected.len());
    for (step, mut wanted) in plan.steps.iter().zip(expected) {
        let name = step.name.rsplit('/').next();
        assert_eq!(json!(name), wanted["name"]);
        assert_eq!(json!(step.number), wanted["number"]);
        assert_eq!(json!(step.parents), wanted["parents"], "{}", step.name);
        let mut made = as_panda_writes(&Value::Object(step.params.clone()));
        let mut wanted_task = wanted["task"].take();
        without_random_names(&mut made);
        without_random_names(&mut wanted_task);
        // PanDA makes the parameters without the sandbox at hand, and leaves it out here.
        if let Some(text) = wanted_task["mergeSpec"]["jobParameters"].as_str() {
            wanted_task["mergeSpec"]["jobParameters"] =
                json!(text.replace("-a None", "-a jobO.1.tar.gz"));
        }
        for (key, value) in wanted_task.as_object().expect("an object") {
            assert_eq!(made.get(key), Some(value), "`{key}` of {}", step.name);
        }
        let keys = made.as_object().expect("an object").len();
        assert_eq!(
            keys,
            wanted_task.as_object().map_or(0, Map::len),
            "{made:#}"
        );
    }
}

#[test]
fn steps_of_the_native_language_become_the_tasks_that_panda_makes() {
    let text = include_str!("../../testdata/workflows/native.json");
    let plan = planned(&read_native("wf.yaml", &file(text)).unwrap(), 1).unwrap();
    check_against(
        &plan,
        include_str!("../../testdata/workflows/native-tasks.jsonl"),
    );
    assert_eq!(plan.name.as_deref(), Some("sig_bg"));
    assert!(plan.steps.iter().all(|step| step.start == Start::WhenDone));
    let outputs = plan.steps.iter().filter(|step| step.is_output);
    assert_eq!(
        outputs.map(|step| step.name.as_str()).collect::<Vec<_>>(),
        ["combine"]
    );
}

#[test]
fn steps_of_cwl_become_the_tasks_that_panda_makes() {
    let text = include_str!("../../testdata/workflows/cwl.json");
    let mut read = read_cwl("wf.cwl", &file(text)).unwrap();
    let values = file(include_str!("../../testdata/workflows/cwl-inputs.json"));
    read.main.give(&values).unwrap();
    let plan = planned(&read, 0).unwrap();
    check_against(
        &plan,
        include_str!("../../testdata/workflows/cwl-tasks.jsonl"),
    );
    let starts: Vec<Start> = plan.steps.iter().map(|step| step.start).collect();
    assert_eq!(starts[3..], [Start::WithParent, Start::WhenDone]);
    assert!(plan.steps[1].is_output && plan.steps[4].is_output && !plan.steps[3].is_output);
}

#[test]
fn what_prun_makes_of_the_same_arguments_a_step_makes_too() {
    let maps = include_str!("../../testdata/prun.jsonl");
    let arguments = [
        (
            "no-input",
            "--nJobs 3 --outputs x.root",
            "sim.sh %RNDM:5 > x.root",
            vec![],
        ),
        (
            "input",
            "--nFiles 50 --nFilesPerJob 5 --excludedSite BAD* --outputs o.root",
            "reco %IN",
            vec!["spd:run1.hits"],
        ),
        (
            "container",
            "--nCore 8 --memory 3000 --maxWalltime 5 --outputs o.root --containerImage docker://spd/root:6",
            "root -q %IN",
            vec!["spd:run1.hits"],
        ),
        (
            "event-split",
            "--nEventsPerFile 1000 --nEventsPerJob 100 --maxAttempt 5 --outputs o.root",
            "reco %IN %SKIPEVENTS",
            vec!["spd:run1.hits"],
        ),
    ];
    for (name, args, exec, datasets) in arguments {
        let line = maps
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut prun = line
            .into_iter()
            .find(|entry| entry["name"] == name)
            .unwrap()["map"]
            .take();
        let datasets: Vec<String> = datasets.into_iter().map(str::to_owned).collect();
        let step = prun::StepTask {
            name: "user.ivan.out",
            args,
            exec,
            datasets: &datasets,
            image: None,
            kind: prun::TaskKind::Run,
        };
        let template = template();
        let made = prun::make_task(template.as_object().unwrap(), None, &step).unwrap();
        let mut made = Value::Object(made.params);
        without_random_names(&mut made);
        for (key, value) in prun.as_object_mut().unwrap() {
            match key.as_str() {
                // The sandbox, the name with its slash and what is found out at submission.
                "cliParams" | "taskName" | "architecture" => {}
                "jobParameters" => {
                    let items = value.as_array_mut().unwrap();
                    for item in items.iter_mut() {
                        item.as_object_mut().unwrap().remove("expand");
                    }
                    let behind = |items: &[Value]| items[4..].to_vec();
                    assert_eq!(
                        behind(made[key].as_array().unwrap()),
                        behind(items),
                        "{name}"
                    );
                }
                _ => assert_eq!(made.get(key), Some(&*value), "`{key}` of {name}"),
            }
        }
    }
}

fn native(steps: Value) -> Result<Plan, WorkflowError> {
    let text = json!({"inputs": {"data": "spd:d"}, "steps": steps}).to_string();
    planned(&read_native("wf.yaml", &file(&text))?, 1)
}

fn cwl(steps: Value) -> Result<Plan, WorkflowError> {
    let text = json!({"class": "Workflow", "inputs": {"data": "string", "list": "string[]", "none": "string"}, "steps": steps});
    let values = file(r#"{"data": "spd:d", "list": ["a", "b"]}"#);
    let mut read = read_cwl("wf.cwl", &file(&text.to_string()))?;
    read.main.give(&values)?;
    planned(&read, 0)
}

/// A step of CWL with these inputs besides a command.
fn step(inputs: Value) -> Value {
    let mut all = json!({"opt_exec": {"default": "x"}, "opt_args": {"default": "--outputs o"}});
    let entries = all.as_object_mut().unwrap();
    entries.extend(inputs.as_object().unwrap().clone());
    json!({"run": "prun", "in": all, "out": ["outDS"]})
}

/// A good step of the native language with one thing changed.
fn with(key: &str, value: Value) -> Value {
    let mut step = json!({"type": "prun", "exec": "x", "args": "--outputs o"});
    step[key] = value;
    step
}

fn refused(steps: Value, told: &str) {
    let error = native(steps.clone()).expect_err(told).to_string();
    assert!(
        error.contains(told) && error.lines().count() == 1,
        "{error} for {steps}"
    );
}

#[test]
fn wrong_steps_are_refused_in_one_sentence() {
    let read = |from: &str| with("inDS", json!(from));
    for (steps, told) in [
        (
            json!({"a": read("b/outDS"), "b": read("a/outDS")}),
            "the steps never begin: `a` waits for `b` waits for `a`",
        ),
        (json!({"a": read("a/outDS")}), "`a` waits for `a`"),
        (
            json!({"a": read("frist/outDS")}),
            "step `a`: it reads from `frist`, which is no step",
        ),
        (
            json!({"a": read("{nothing}")}),
            "there is no input `nothing`",
        ),
        (
            json!({"a": with("type", json!("phpo"))}),
            "its type `phpo` is not available here",
        ),
        (
            json!({"a": with("type", json!("workflow"))}),
            "is not known for a workflow",
        ),
        (
            json!({"a": with("colour", json!("red"))}),
            "`colour` is not known",
        ),
        (json!({"a": "prun"}), "it is a text, not a map"),
        (
            json!({"a": with("args", json!("")), "b": read("a/outDS")}),
            "writes nothing",
        ),
        (json!({}), "`steps` is missing"),
    ] {
        refused(steps, told);
    }
    let many = (0..21).map(|n| (format!("s{n}"), with("exec", json!("x"))));
    let error = native(Value::Object(many.collect())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the workflow has 21 steps: at most 20 are allowed"
    );
}

#[test]
fn wrong_arguments_are_refused_in_one_sentence() {
    for (key, value, told) in [
        ("exec", json!(null), "`opt_exec` is missing"),
        (
            "exec",
            json!("cat %{DS1}"),
            "%{DS1} is unresolved in `opt_exec`",
        ),
        ("args", json!("--inDS x"), "`--inDS` cannot be an argument"),
        ("args", json!("--nFiles many"), "it must be a whole number"),
        (
            "args",
            json!("--nFiles"),
            "option `--nFiles` lacks its value",
        ),
        ("args", json!("--bexec make"), "`--bexec` is not available"),
        ("args", json!("--outputs 'o"), "a quotation does not end"),
        ("args", json!("--outputs a/b"), "must not have `/`"),
        ("args", json!("--outputs o,o"), "names `o` twice"),
        (
            "args",
            json!("--secondaryDSs IN2"),
            "option `--secondaryDSs` has `IN2`",
        ),
        (
            "args",
            json!("--nGBPerJob 2 --nFilesPerJob 2"),
            "exclude each other",
        ),
        (
            "args",
            json!(["x", {}]),
            "`opt_args` is a list: it must be a text",
        ),
        (
            "useAthenaPackages",
            json!(true),
            "Athena packages are not available",
        ),
    ] {
        refused(json!({"a": with(key, value)}), told);
    }
}

#[test]
fn what_cwl_may_say_and_this_does_not_do_is_refused_by_name() {
    let with = |key: &str, value: Value| {
        let mut step = step(json!({}));
        step[key] = value;
        json!({"s": step})
    };
    for (steps, told) in [
        (
            with("run", json!("phpo")),
            "step `s`: it runs `phpo`, which is not available here",
        ),
        (
            with("run", json!("inner.cwl")),
            "there is no workflow `inner.cwl`",
        ),
        (with("run", json!("gcc")), "it runs `gcc`: only `prun`"),
        (with("run", json!({})), "`run` is a map: it must be a text"),
        (
            with("hints", json!(["loop"])),
            "it runs `prun` in a loop: only workflows in files",
        ),
        (
            with("when", json!("$(self.opt_none)")),
            "`when` names `opt_none`",
        ),
        (
            with("scatter", json!(["opt_inDS"])),
            "`scatter` names `opt_inDS`",
        ),
        (
            json!({"s": step(json!({"opt_inDS": "none"}))}),
            "which has no value",
        ),
        (
            json!({"s": step(json!({"opt_inDS": "nothing"}))}),
            "which is no input of the workflow",
        ),
        (
            json!({"s": step(json!({"opt_trainingDS": "data"}))}),
            "unknown input parameter",
        ),
        (
            json!({"s": step(json!({"opt_inDS": {"source": "data", "valueFrom": "x"}}))}),
            "`valueFrom`",
        ),
    ] {
        let error = cwl(steps).expect_err(told).to_string();
        assert!(error.contains(told), "{error}");
    }
    let tool = read_cwl("wf.cwl", &file(r#"{"class": "CommandLineTool"}"#));
    assert!(
        tool.unwrap_err()
            .to_string()
            .contains("it must be `Workflow`")
    );
}

#[test]
fn a_scattered_step_is_copied_and_a_condition_names_all_copies() {
    let mut many = step(json!({"opt_inDS": "list"}));
    many["scatter"] = json!("opt_inDS");
    let mut mend = step(json!({"opt_inDS": "many/outDS"}));
    mend["when"] = json!("$(!self.opt_inDS)");
    let all = step(json!({"opt_inDS": "many/outDS"}));
    let plan = cwl(json!({"many": many, "mend": mend, "sum": all})).unwrap();
    let names: Vec<&str> = plan
        .steps
        .iter()
        .map(|step| step.task_name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "user.jdoe.wf_000_many",
            "user.jdoe.wf_001_many",
            "user.jdoe.wf_002_mend",
            "user.jdoe.wf_003_sum"
        ]
    );
    assert_eq!(plan.steps[1].params["dsForIN"], "b");
    assert_eq!(plan.steps[2].condition, Some(Condition::Failed(vec![0, 1])));
    assert_eq!(
        plan.steps[3].params["dsForIN"],
        "user.jdoe.wf_000_many_o/,user.jdoe.wf_001_many_o/"
    );
    // What failed has made nothing that could be read.
    assert_eq!(plan.steps[2].params["noInput"], true);
}

#[test]
fn a_definition_keeps_its_tasks() {
    let node = |id: u32, parents: Value| {
        json!({"id": id, "name": format!("s{id}"), "type": "prun", "parents": parents,
               "task_params": {"taskName": format!("t{id}")}})
    };
    let plan =
        |nodes: Value| read_definition(&json!({"workflow_name": "w", "nodes": nodes}), LIMITS);
    let good = plan(json!([node(7, json!([3])), node(3, json!([]))])).unwrap();
    assert_eq!(good.steps[0].task_name, "t3");
    assert_eq!(good.steps[1].parents, [0]);
    for (nodes, told) in [
        (json!([]), "`nodes` is missing"),
        (json!([{"name": "x"}]), "has no `id`"),
        (json!([node(1, json!([2]))]), "its parent `2` is no node"),
        (
            json!([node(1, json!([2])), node(2, json!([1]))]),
            "wait for each other",
        ),
        (
            json!([{"id": 1, "name": "x", "type": "reana"}]),
            "`reana` is not available",
        ),
        (json!([{"id": 1, "name": "x"}]), "`task_params` is missing"),
    ] {
        let error = plan(nodes).expect_err(told).to_string();
        assert!(error.contains(told), "{error}");
    }
}
