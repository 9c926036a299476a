//! Workflows as `pchain` and `pbook` see them.

use std::io::Write as _;

use ailurus_wire::body;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::harness::{Server, wait_for};

const SANDBOX: &str = "jobO.wf.tar.gz";
const CWL: &str = "cwlVersion: v1.2
class: Workflow
inputs: {data: string}
outputs: {outDS: {type: string, outputSource: second/outDS}}
steps:
  first:
    run: prun
    in:
      opt_exec: {default: 'sh make.sh > one.txt'}
      opt_args: {default: --outputs one.txt --nJobs 2}
    out: [outDS]
  second:
    run: prun
    in:
      opt_inDS: first/outDS
      opt_exec: {default: cat %IN > two.txt}
      opt_args: {default: --outputs two.txt}
    out: [outDS]
";
const NATIVE: &str = "name: two
inputs: {data: 'spd:d'}
steps:
  first: {type: prun, exec: sh make.sh, args: --outputs one.txt}
  second: {type: prun, inDS: first/outDS, exec: cat %IN, args: --outputs two.txt}
";

/// Packs files as `pchain` does.
fn packed(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len()).unwrap());
        header.set_mode(0o644);
        let content = content.as_bytes();
        tar.append_data(&mut header, format!("./{name}"), content)
            .unwrap();
    }
    let mut gz = tar.into_inner().unwrap();
    gz.flush().unwrap();
    gz.finish().unwrap()
}

/// What `pchain` sends, with these files.
fn request(language: &str, spec: &str) -> Value {
    let template = include_str!("../../../jedi/testdata/workflows/template.json");
    let template: Value = serde_json::from_str(template).unwrap();
    json!({
        "taskParams": {"container": template},
        "sourceURL": "https://localhost:1",
        "sandbox": SANDBOX,
        "workflowSpecFile": spec,
        "workflowInputFile": "in.yaml",
        "language": language,
        "outDS": "user.jdoe.wf",
        "base_platform": "centos7",
    })
}

impl Server {
    fn with_sandbox(files: &[(&str, &str)]) -> Self {
        let server = Self::start();
        let sent = server.send_file("file_server/upload_cache_file", SANDBOX, &packed(files));
        assert_eq!(sent.json()["success"], true);
        server
    }

    /// Sends a request as `pchain` does: compressed JSON with JSON within.
    fn pchain(&self, request: &Value, mode: &str) -> Value {
        let fields = json!({"data": request.to_string(), mode: true});
        self.idds_or_pchain("put_workflow_request", &fields)
    }

    fn idds_or_pchain(&self, method: &str, fields: &Value) -> Value {
        let body = body::compress(fields.to_string().as_bytes());
        let headers = "Content-Type: application/json\r\n";
        let path = format!("/server/panda/{method}");
        self.send("POST", &path, headers, &body).json()
    }

    fn pbook(&self, command: &str, id: u64) -> Value {
        let kwargs = json!({"request_id": id}).to_string();
        let fields = json!({"command_name": command, "kwargs": kwargs});
        self.idds_or_pchain("execute_idds_workflow_command", &fields)
    }

    fn details(&self, id: u64) -> Value {
        self.get(&format!(
            "/api/v1/workflow/get_workflow_details?workflow_id={id}"
        ))
        .data()
    }

    /// Waits until so many steps have tasks, and returns their numbers.
    fn tasks_of(&self, workflow: u64, count: usize) -> Vec<u64> {
        wait_for("tasks of the workflow", || {
            let told = self.details(workflow);
            let targets = told["steps"].as_array()?.iter();
            let tasks = targets.filter_map(|step| step["target_id"].as_str()?.parse().ok());
            let tasks: Vec<u64> = tasks.collect();
            (tasks.len() == count).then_some(tasks)
        })
    }
}

#[test]
fn a_workflow_of_pchain_is_checked_taken_in_and_survives_its_server() {
    let mut server = Server::with_sandbox(&[("wf.cwl", CWL), ("in.yaml", "data: spd:d\n")]);
    let wanted = request("cwl", "wf.cwl");
    let checked = server.pchain(&wanted, "check");
    assert_eq!(checked[1]["status"], true, "{checked}");
    assert_eq!(checked[1]["request_id"], Value::Null);
    let log = checked[1]["log"].as_str().unwrap();
    assert!(
        log.contains("ID:1 Name:second Type:prun\n  Parent:0\n"),
        "{log}"
    );
    let taken = server.pchain(&wanted, "sync");
    assert_eq!(taken[1]["request_id"], 1, "{taken}");
    // The second reads file by file, so it is there with the first.
    let tasks = server.tasks_of(1, 2);
    let params = server.get(&format!(
        "/api/v1/task/get_task_parameters?task_id={}",
        tasks[1]
    ));
    let params = params.data();
    assert_eq!(params["taskName"], "user.jdoe.wf_001_second");
    assert_eq!(params["dsForIN"], "user.jdoe.wf_000_first_one.txt/");
    assert_eq!(params["parentTaskName"], "user.jdoe.wf_000_first");

    server.kill_and_restart();
    let told = server.pbook("get_status", 1);
    let line = told[1].as_str().unwrap();
    assert!(
        line.starts_with("workflow 1 is running: 0 of 2 steps done"),
        "{told}"
    );
    assert_eq!(server.tasks_of(1, 2), tasks);
    let held = server.pbook("suspend", 1);
    assert_eq!(held[1][0][0], true, "{held}");
    assert_eq!(server.details(1)["status"], "suspended");
    let again = server.pbook("suspend", 1);
    assert_eq!(again[0], false, "{again}");
    assert_eq!(server.pbook("resume", 1)[0], true);
    let killed = server.pbook("abort", 1);
    assert_eq!(killed[1][0][1], "workflow 1 is killed with 2 of its tasks");
    assert_eq!(server.details(1)["status"], "cancelled");
    assert_eq!(
        server.pbook("abort", 7),
        json!([false, "request 7 is not found"])
    );
    assert_eq!(
        server.pbook("dance", 1),
        json!([false, "dance is unsupported"])
    );
}

#[test]
fn a_workflow_of_pandas_own_language_waits_step_by_step() {
    let server = Server::with_sandbox(&[("wf.yaml", NATIVE)]);
    let wanted = json!({"params": request("yaml", "wf.yaml")});
    let taken = server.v1("workflow/submit_workflow_raw_request", &wanted);
    assert_eq!(taken.data(), json!({"workflow_id": 1}));
    server.tasks_of(1, 1);
    let told = server.details(1);
    assert_eq!(
        (&told["name"], &told["status"]),
        (&json!("two"), &json!("running"))
    );
    assert_eq!(told["steps"][1]["member_id"], 2);
    assert_eq!(told["steps"][1]["status"], "pending");
    assert_eq!(told["steps"][1]["reason"], "waits for `first`");
    assert_eq!(told["data"][2]["target_id"], "user.jdoe.wf_002_second");
    let unknown = server.get("/api/v1/workflow/get_workflow_details?workflow_id=9");
    assert_eq!(unknown.json()["message"], "workflow_id=9 not found");

    let node = |id: u32, parents: Value| {
        json!({"id": id, "name": format!("n{id}"), "parents": parents,
               "task_params": {"taskName": format!("user.jdoe.n{id}")}})
    };
    let definition =
        json!({"workflow_name": "made", "nodes": [node(0, json!([])), node(1, json!([0]))]});
    let fields = json!({"workflow_definition": definition});
    let taken = server.v1("workflow/submit_workflow", &fields);
    assert_eq!(taken.data(), json!({"workflow_id": 2}));
    // Its task lacks nearly everything.
    let failed = wait_for("the end of the workflow", || {
        let told = server.details(2);
        (told["status"] == "failed").then_some(told)
    });
    assert_eq!(failed["steps"][1]["status"], "closed", "{failed}");
}

/// A loop over another file, which is in a folder.
const LOOP: &str = "cwlVersion: v1.2
class: Workflow
inputs: []
outputs: {outDS: {type: string, outputSource: scan/outDS}}
steps:
  scan:
    run: parts/body.cwl
    in: {param_cut: {default: 5}}
    out: [outDS]
    hints: [loop]
";
const BODY: &str = "cwlVersion: v1.2
class: Workflow
inputs:
  param_cut: {type: int, default: 1}
outputs: {outDS: {type: string, outputSource: try/outDS}}
steps:
  try:
    run: prun
    in:
      opt_exec: {default: 'try.sh %{cut} > out.txt'}
      opt_args: {default: --outputs out.txt}
    out: [outDS]
  judge:
    run: junction
    in:
      opt_inDS: try/outDS
      opt_exec: {default: 'judge.sh %IN'}
    out: []
";

#[test]
fn a_loop_over_a_further_file_is_read_and_its_first_round_begins() {
    let server = Server::with_sandbox(&[
        ("wf.cwl", LOOP),
        ("parts/body.cwl", BODY),
        ("missing.cwl", &LOOP.replace("body", "nobody")),
        ("broken.cwl", &LOOP.replace("parts/body", "parts/bad")),
        (
            "parts/bad.cwl",
            &BODY.replace("class: Workflow", "class: Tool"),
        ),
        ("outside.cwl", &LOOP.replace("parts/body", "../body")),
        ("in.yaml", "{}\n"),
    ]);
    let checked = server.pchain(&request("cwl", "wf.cwl"), "check");
    let log = checked[1]["log"].as_str().unwrap();
    assert!(
        log.contains("ID:1 Name:scan/judge Type:junction\n  Parent:0\n"),
        "{log}"
    );
    let taken = server.pchain(&request("cwl", "wf.cwl"), "sync");
    assert_eq!(taken[1]["request_id"], 1, "{taken}");
    let tasks = server.tasks_of(1, 1);
    let params = server.get(&format!(
        "/api/v1/task/get_task_parameters?task_id={}",
        tasks[0]
    ));
    let params = params.data();
    assert_eq!(params["taskName"], "user.jdoe.wf_000_try.1");
    let command = params["cliParams"].as_str().unwrap();
    assert!(command.contains("try.sh 5 > out.txt"), "{command}");
    assert_eq!(server.details(1)["steps"][0]["loop_count"], "1");
    for (file, told) in [
        ("missing.cwl", "the sandbox has no file `parts/nobody.cwl`"),
        (
            "broken.cwl",
            "`parts/bad.cwl`: the workflow cannot be read: `class` is `Tool`",
        ),
        (
            "outside.cwl",
            "`../body.cwl` cannot be a file of the sandbox",
        ),
    ] {
        let answer = server.pchain(&request("cwl", file), "check");
        let log = answer[1]["log"].as_str().unwrap();
        assert!(log.contains(told) && log.lines().count() == 1, "{log}");
    }
    let finished = server.pbook("finish", 1);
    assert_eq!(finished[0], true, "{finished}");
}

#[test]
fn what_is_wrong_with_a_workflow_is_told_at_once_and_nothing_is_taken() {
    let cycle = NATIVE.replace("sh make.sh,", "sh make.sh, inDS: second/outDS,");
    let huge = format!("{NATIVE}# {}", "x".repeat(1 << 20));
    let server = Server::with_sandbox(&[
        ("cycle.yaml", &cycle),
        ("broken.yaml", "steps: ["),
        ("huge.yaml", &huge),
        ("wf.cwl", &CWL.replace("run: prun", "run: phpo")),
        ("in.yaml", "data: spd:d\n"),
    ]);
    let mut elsewhere = request("yaml", "cycle.yaml");
    elsewhere["sandbox"] = json!("jobO.none.tar.gz");
    for (wanted, told) in [
        (
            request("yaml", "cycle.yaml"),
            "the steps never begin: `first` waits for `second` waits for `first`",
        ),
        (request("yaml", "broken.yaml"), "`broken.yaml` is no YAML: "),
        (
            request("yaml", "huge.yaml"),
            "`huge.yaml` of the sandbox is longer than 1 MiB",
        ),
        (
            request("yaml", "none.yaml"),
            "the sandbox has no file `none.yaml`",
        ),
        (
            request("yaml", "../server.toml"),
            "cannot be a file of the sandbox",
        ),
        (
            request("cwl", "wf.cwl"),
            "step `first`: it runs `phpo`, which is not available here",
        ),
        (
            request("snakemake", "Snakefile"),
            "only `cwl` and `yaml` are available here",
        ),
        (elsewhere, "sandbox `jobO.none.tar.gz` is not here"),
        (json!({}), "`language` is missing"),
        (json!([1]), "`language` is missing"),
    ] {
        for mode in ["check", "sync"] {
            let answer = server.pchain(&wanted, mode);
            assert_eq!(
                (&answer[0], &answer[1]["status"]),
                (&json!(true), &json!(false))
            );
            let log = answer[1]["log"].as_str().unwrap();
            assert!(log.contains(told) && log.lines().count() == 1, "{log}");
        }
        assert_eq!(server.pchain(&wanted, "neither")[0], false);
        let raw = server.v1(
            "workflow/submit_workflow_raw_request",
            &json!({"params": wanted}),
        );
        assert!(
            raw.json()["message"].as_str().unwrap().contains(told),
            "{raw:?}"
        );
    }
    let unread = server.v1(
        "workflow/submit_workflow_raw_request",
        &json!({"params": "{"}),
    );
    assert_eq!(unread.json()["success"], false);
    let first = server.get("/api/v1/workflow/get_workflow_details?workflow_id=1");
    assert_eq!(first.json()["success"], false);
}
