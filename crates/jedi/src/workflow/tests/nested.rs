//! Workflows within workflows, and loops.

use super::*;

/// Files of one folder in one text: workflows by their names, and `inputs`.
fn files(text: &str) -> BTreeMap<String, Document> {
    let all = file(text);
    all.entries().iter().cloned().collect()
}

fn planned_files(text: &str) -> Result<Plan, WorkflowError> {
    let files = files(text);
    let mut workflows = BTreeMap::new();
    for (name, content) in files.iter().filter(|(name, _)| *name != "inputs") {
        workflows.insert(name.clone(), read_cwl(name, content)?.main);
    }
    let mut main = workflows.remove("main.cwl").expect("a main file");
    main.give(&files["inputs"])?;
    planned_of(&main, &workflows, 0)
}

const LOOP: &str = include_str!("../../../testdata/workflows/loop.json");
const SLICES: &str = include_str!("../../../testdata/workflows/slices.json");

#[test]
fn steps_of_workflows_within_are_the_tasks_that_panda_makes() {
    let plan = planned_files(include_str!("../../../testdata/workflows/sub.json")).unwrap();
    check_against(
        &plan,
        include_str!("../../../testdata/workflows/sub-tasks.jsonl"),
    );
    assert_eq!(plan.steps[4].name, "each/tracks");
    assert!(plan.blocks.is_empty());
    let outputs = plan.steps.iter().filter(|step| step.is_output);
    assert_eq!(outputs.count(), 1);
    // What is read from one step only is read file by file, wherever that step stands.
    assert_eq!(plan.steps[1].start, Start::WithParent);
    assert_eq!(plan.steps[5].start, Start::WhenDone);
}

#[test]
fn steps_of_a_loop_are_the_tasks_that_panda_makes() {
    let plan = planned_files(LOOP).unwrap();
    check_against(
        &plan,
        include_str!("../../../testdata/workflows/loop-tasks.jsonl"),
    );
    let [block] = plan.blocks.as_slice() else {
        panic!("{:?}", plan.blocks);
    };
    assert_eq!(
        (block.steps.as_slice(), block.junction),
        (&[1, 2, 3][..], Some(3))
    );
    let starts: Vec<Start> = plan.steps.iter().map(|step| step.start).collect();
    // Neither a junction nor what follows a loop begins before the end.
    assert_eq!(starts[1..3], [Start::WithParent; 2]);
    assert_eq!(starts[3..], [Start::WhenDone; 2]);
}

#[test]
fn copies_in_a_loop_have_items_of_its_variables() {
    let plan = planned_files(SLICES).unwrap();
    check_against(
        &plan,
        include_str!("../../../testdata/workflows/slices-tasks.jsonl"),
    );
    let mut blocks = Blocks::from(plan.blocks.clone());
    let exec = |blocks: &Blocks, place: usize| {
        let params = blocks.filled_params(&plan.steps[place].params);
        params["cliParams"].as_str().unwrap().to_owned()
    };
    assert!(exec(&blocks, 0).contains("core.sh %IN 123 0.456 > out.txt"));
    assert!(exec(&blocks, 1).contains("core.sh %IN 456 0.866 > out.txt"));
    let results = json!({"x": [345, 678], "nothing": 1, "to_continue": true});
    blocks.take_results(0, 2, results.as_object().unwrap());
    assert!(blocks.states[0].goes_on);
    blocks.next_round(0);
    assert!(!blocks.states[0].goes_on);
    let second = exec(&blocks, 1);
    assert!(
        second.contains("core.sh %IN 678 0.866 > out.txt"),
        "{second}"
    );
    assert!(
        second.contains("--outDS user.jdoe.wf_002_core.2"),
        "{second}"
    );
}

#[test]
fn what_a_loop_knows_is_put_into_names_and_into_the_encoded_command() {
    let plan = planned_files(LOOP).unwrap();
    let mut blocks = Blocks::from(plan.blocks.clone());
    let results = json!({"cut": "a b", "to_continue": true});
    blocks.take_results(0, 2, results.as_object().unwrap());
    assert!(!blocks.states[0].goes_on);
    blocks.next_round(0);
    let params = blocks.filled_params(&plan.steps[1].params);
    assert_eq!(params["taskName"], "user.jdoe.wf_001_select.2");
    let text = Value::Object(params).to_string();
    assert!(text.contains("%25IN%20a%20b%202%20%3E%20sel.txt"), "{text}");
    assert!(
        text.contains("user.jdoe.wf_001_select.2_sel.txt/"),
        "{text}"
    );
    // What follows the loop reads what its last round has made.
    let last = blocks.filled_params(&plan.steps[4].params);
    assert_eq!(last["dsForIN"], "user.jdoe.wf_002_smear.2_out.txt/");
    assert_eq!(
        blocks.filled("___run_7___ ___var_0_no___"),
        "___run_7___ ___var_0_no___"
    );
}

#[test]
fn loops_within_loops_count_their_rounds_anew() {
    let block = |outer, junction| PlannedBlock {
        name: "b".to_owned(),
        outer,
        steps: vec![0],
        junction,
        variables: BTreeMap::from([("v".to_owned(), Variable::Value(json!(1)))]),
    };
    let planned = vec![
        block(None, Some(0)),
        block(Some(0), None),
        block(Some(1), Some(0)),
    ];
    let mut blocks = Blocks::from(planned);
    blocks.next_round(2);
    blocks.next_round(2);
    blocks.take_results(2, 9, json!({"v": 5}).as_object().unwrap());
    assert_eq!(blocks.rounds(Some(2)), "1_3");
    assert_eq!(blocks.rounds(Some(1)), "1");
    assert_eq!(blocks.value(2, "v"), Some(&json!(5)));
    blocks.next_round(0);
    assert_eq!(blocks.rounds(Some(2)), "2_1");
    assert_eq!(blocks.value(2, "v"), Some(&json!(1)));
    assert_eq!(blocks.rounds(None), "");
}

#[test]
fn only_true_has_a_loop_go_on() {
    for (said, goes_on) in [
        (json!({"to_continue": true}), true),
        (json!({"to_continue": 1}), true),
        (json!({"to_continue": "true"}), false),
        (json!({"to_continue": false}), false),
        (json!({}), false),
    ] {
        let mut blocks = Blocks::from(planned_files(LOOP).unwrap().blocks);
        blocks.take_results(0, 3, said.as_object().unwrap());
        assert_eq!(blocks.states[0].goes_on, goes_on, "{said}");
    }
}

#[test]
fn a_wrong_workflow_within_is_refused_in_one_sentence() {
    let changed = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    for (text, told) in [
        (
            changed(LOOP, "\"junction\"", "\"prun\""),
            "step `fit`: it is repeated, but no step of `body.cwl` runs `junction`",
        ),
        (
            changed(LOOP, "\"run\": \"body.cwl\"", "\"run\": \"other.cwl\""),
            "step `fit`: there is no workflow `other.cwl`",
        ),
        (
            changed(LOOP, "\"run\": \"body.cwl\"", "\"run\": \"main.cwl\""),
            "there is no workflow `main.cwl`",
        ),
        (
            changed(LOOP, "param_cut", "param_i"),
            "and not be `param_i`",
        ),
        (
            changed(
                LOOP,
                "\"dataset\": \"first/outDS\"",
                "\"data\": \"first/outDS\"",
            ),
            "`body.cwl` has no input `data`: it has dataset, param_cut, param_width",
        ),
        (
            changed(
                LOOP,
                "\"opt_inDS\": \"fit/outDS\"",
                "\"opt_inDS\": \"fit/hits\"",
            ),
            "`opt_inDS` reads `hits` of step `fit`, whose workflow has the outputs: outDS",
        ),
        (
            changed(
                LOOP,
                "\"opt_inDS\": \"select/outDS\"",
                "\"opt_inDS\": \"none/outDS\"",
            ),
            "it reads from `none`, which is no step",
        ),
        (
            changed(
                LOOP,
                "\"opt_inDS\": \"dataset\"",
                "\"opt_inDS\": \"param_none\"",
            ),
            "step `select`: `opt_inDS` comes from `param_none`",
        ),
    ] {
        let error = planned_files(&text).expect_err(told).to_string();
        assert!(
            error.contains(told) && error.lines().count() == 1,
            "{error}"
        );
    }
}

#[test]
fn a_workflow_that_runs_itself_is_refused() {
    let text =
        json!({"class": "Workflow", "steps": {"again": {"run": "wf.cwl", "in": {}, "out": []}}});
    let read = read_cwl("a/wf.cwl", &file(&text.to_string())).unwrap();
    assert_eq!(read.needs().into_iter().collect::<Vec<_>>(), ["a/wf.cwl"]);
    let workflows = BTreeMap::from([("a/wf.cwl".to_owned(), read.main.clone())]);
    let error = planned_of(&read.main, &workflows, 0)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("more than 5 workflows stand within each other"),
        "{error}"
    );
    assert!(error.contains("`again/again/"), "{error}");
}

#[test]
fn files_are_named_beside_the_one_that_names_them() {
    let needs = |run: &str| {
        let text = json!({"class": "Workflow", "steps": {"s": {"run": run, "in": {}, "out": []}}});
        let read = read_cwl("a/b/wf.cwl", &file(&text.to_string())).unwrap();
        let mut needs = read.needs().into_iter().map(str::to_owned);
        needs.next().unwrap()
    };
    assert_eq!(needs("x.cwl"), "a/b/x.cwl");
    assert_eq!(needs("./c/x.cwl"), "a/b/c/x.cwl");
    assert_eq!(needs("../x.cwl"), "a/x.cwl");
    assert_eq!(needs("../../../x.cwl"), "../x.cwl");
}

/// A workflow of PanDA's own language with another one within it.
fn native_with(inner: Value) -> Result<Plan, WorkflowError> {
    let step = |name: &str, more: Value| {
        let mut step = json!({"type": "prun", "exec": format!("{name} %IN"), "args": format!("--outputs {name}.root")});
        step.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        step
    };
    let body = json!({
        "inputs": {"data": "spd:default"},
        "outputs": {"outDS": {"from": "second/outDS", "output_types": ["b.root"]}},
        "steps": {
            "first": step("first", json!({"inDS": "{data}"})),
            "second": step("second", json!({"inDS": "first/outDS", "args": "--outputs a.root,b.root"})),
        },
    });
    let mut inner = inner;
    if inner.get("workflow_ref").is_none() {
        inner
            .as_object_mut()
            .unwrap()
            .extend(body.as_object().unwrap().clone());
    }
    let text = json!({
        "inputs": {"runs": ["spd:r1", "spd:r2"]},
        "workflow_blocks": {"block": body},
        "steps": {
            "calib": step("calib", json!({})),
            "fits": inner,
            "sum": step("sum", json!({"inDS": "fits/outDS"})),
        },
    });
    planned(&read_native("wf.yaml", &file(&text.to_string()))?, 1)
}

#[test]
fn workflows_within_are_numbered_as_panda_does() {
    for inner in [
        json!({"type": "workflow"}),
        json!({"type": "workflow", "workflow_ref": "block"}),
    ] {
        let plan = native_with(inner).unwrap();
        let names: Vec<&str> = plan
            .steps
            .iter()
            .map(|step| step.task_name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "user.jdoe.wf_001_calib",
                "user.jdoe.wf_002_001_first",
                "user.jdoe.wf_002_002_second",
                "user.jdoe.wf_003_sum",
            ]
        );
        assert_eq!(plan.steps[1].params["dsForIN"], "spd:default");
        // The output of a workflow within is what it says, not the first that its step writes.
        assert_eq!(
            plan.steps[3].params["dsForIN"],
            "user.jdoe.wf_002_002_second_b.root/"
        );
        assert_eq!(plan.steps[3].parents, [2]);
    }
}

#[test]
fn a_workflow_within_may_be_given_steps_and_lists() {
    let plan = native_with(
        json!({"type": "workflow", "workflow_ref": "block", "inputs": {"data": "calib/outDS"}}),
    );
    let plan = plan.unwrap();
    assert_eq!(
        plan.steps[1].params["dsForIN"],
        "user.jdoe.wf_001_calib_calib.root/"
    );
    assert_eq!(plan.steps[1].parents, [0]);

    let scattered = json!({
        "type": "workflow", "workflow_ref": "block",
        "scatter_inputs": {"data": "runs"}, "scatter_mode": "zip",
    });
    let plan = native_with(scattered).unwrap();
    let names: Vec<&str> = plan
        .steps
        .iter()
        .map(|step| step.task_name.as_str())
        .collect();
    assert_eq!(names[1], "user.jdoe.wf_002s1_001_first");
    assert_eq!(names[4], "user.jdoe.wf_002s2_002_second");
    assert_eq!(plan.steps[3].params["dsForIN"], "spd:r2");
    assert_eq!(
        plan.steps[5].params["dsForIN"],
        "user.jdoe.wf_002s1_002_second_b.root/,user.jdoe.wf_002s2_002_second_b.root/"
    );
    for (inner, told) in [
        (
            json!({"type": "workflow", "workflow_ref": "x.yaml"}),
            "there is no workflow `x.yaml`",
        ),
        (
            json!({"type": "workflow", "workflow_ref": "block", "scatter_mode": "cross"}),
            "only `zip`",
        ),
        (
            json!({"type": "workflow", "workflow_ref": "block", "scatter_inputs": {"data": "none"}}),
            "comes from the input `none`",
        ),
        (
            json!({"type": "workflow", "workflow_ref": "block", "steps": {}}),
            "give one of them",
        ),
    ] {
        let error = native_with(inner).expect_err(told).to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn a_condition_of_a_workflow_within_is_one_of_all_its_steps() {
    let text = include_str!("../../../testdata/workflows/sub.json");
    let text = text.replace(
        "\"scatterMethod\": \"dotproduct\"",
        "\"scatterMethod\": \"dotproduct\", \"when\": \"$(self.constants)\"",
    );
    let plan = planned_files(&text).unwrap();
    for place in 1..5 {
        assert_eq!(plan.steps[place].condition, Some(Condition::Done(vec![0])));
    }
    assert_eq!(plan.steps[5].condition, None);
}
