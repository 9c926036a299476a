//! `pchain` and `pchain_native` submit, our pilot runs the steps, `pbook` shows and steers.

use std::fs;

use ailurus_testkit::wait::look_every;
use anyhow::Context as _;

use crate::site::{LABEL, LIMIT, LOOK, QUEUE, Site};

/// Two steps: two files, and their sum.
const CWL: &str = "cwlVersion: v1.2
class: Workflow
inputs: {site: string}
outputs:
  outDS: {type: string, outputSource: sum/outDS}
steps:
  make:
    run: prun
    in:
      opt_exec: {default: sh make.sh}
      opt_args: {default: --outputs one.txt --nJobs 2 --site QUEUE}
    out: [outDS]
  sum:
    run: prun
    in:
      opt_inDS: make/outDS
      opt_exec: {default: sh sum.sh %IN}
      opt_args: {default: --outputs two.txt --nFilesPerJob 2 --forceStaged --site QUEUE}
    out: [outDS]
";
/// The same in PanDA's own language.
const NATIVE: &str = "name: made and summed
inputs: {}
outputs: {final: {from: sum/outDS}}
steps:
  make: {type: prun, exec: sh make.sh, args: --outputs one.txt --nJobs 2 --site QUEUE}
  sum:
    type: prun
    inDS: make/outDS
    exec: sh sum.sh %IN
    args: --outputs two.txt --nFilesPerJob 2 --forceStaged --site QUEUE
";

/// Files of a loop, which adds a line in each round until there are enough, and of what reads it.
const LOOP: &str = "cwlVersion: v1.2
class: Workflow
requirements: {SubworkflowFeatureRequirement: {}}
inputs: []
outputs:
  outDS: {type: string, outputSource: sum/outDS}
steps:
  scan:
    run: body.cwl
    in: {param_lines: {default: 1}}
    out: [outDS]
    hints: [loop]
  sum:
    run: prun
    in:
      opt_inDS: scan/outDS
      opt_exec: {default: sh sum.sh %IN}
      opt_args: {default: --outputs two.txt --forceStaged --site QUEUE}
    out: [outDS]
";
const BODY: &str = "cwlVersion: v1.2
class: Workflow
inputs:
  param_lines: {type: int, default: 0}
outputs:
  outDS: {type: string, outputSource: write/outDS}
steps:
  write:
    run: prun
    in:
      opt_exec: {default: 'sh write.sh %{lines} %{i} > one.txt'}
      opt_args: {default: --outputs one.txt --nJobs 1 --site QUEUE}
    out: [outDS]
  judge:
    run: junction
    in:
      opt_inDS: write/outDS
      opt_exec: {default: 'sh judge.sh %IN'}
      opt_args: {default: --site QUEUE}
    out: []
";
/// Asks for another round with one line more until there are two.
const JUDGE: &str = "lines=$(wc -l < $1)
if [ $lines -lt 2 ]; then
    echo \"{\\\"lines\\\": $((lines + 1)), \\\"to_continue\\\": true}\" > results.json
else
    echo '{\"to_continue\": false}' > results.json
fi
";

fn site() -> Site {
    let site = Site::start(&[]).unwrap();
    let write = |name: &str, text: &str| fs::write(site.user.work().join(name), text).unwrap();
    write("make.sh", "echo made > one.txt\n");
    write("sum.sh", "cat $(echo $1 | tr , ' ') > two.txt\n");
    write("wf.cwl", &CWL.replace("QUEUE", QUEUE));
    write("inputs.yaml", "site: here\n");
    write("loop.cwl", &LOOP.replace("QUEUE", QUEUE));
    write("body.cwl", &BODY.replace("QUEUE", QUEUE));
    write("judge.sh", JUDGE);
    write("write.sh", "seq $1 | sed \"s/^/round $2 line /\"\n");
    write("wf.yaml", &NATIVE.replace("QUEUE", QUEUE));
    write(
        "bad.cwl",
        &CWL.replace("opt_inDS: make/outDS", "opt_inDS: nothing/outDS"),
    );
    site
}

impl Site {
    fn pbook(&self, command: &str) -> String {
        self.user.run_well("pbook", &["-c", command]).unwrap()
    }

    fn pchain(&self, name: &str, more: &[&str]) -> String {
        let out = format!("user.jdoe.{name}");
        let mut arguments = vec!["--outDS", &out, "--vo", "spd"];
        arguments.extend(more);
        self.user.run_well("pchain", &arguments).unwrap()
    }

    /// Runs pilots until the workflow is what it is to be.
    fn run_until(&self, status: &str) {
        let what = format!("workflow 1 to be {status}");
        let mut last = String::new();
        let waited = look_every(LOOK, &what, LIMIT * 2, || {
            self.run_pilot(LABEL)?;
            last = self.pbook("show_workflow(1)");
            Ok(last
                .contains(&format!("workflow 1 is {status}"))
                .then_some(()))
        });
        waited.with_context(|| last.clone()).unwrap();
    }

    fn check_sum(&self, name: &str) {
        let sums = self.stored("two.txt").unwrap();
        assert_eq!(sums.len(), 1, "{sums:?}");
        assert_eq!(sums[0].1, "made\nmade\n");
        assert!(sums[0].0.to_string_lossy().contains(name), "{sums:?}");
    }
}

#[test]
fn a_chain_of_pchain_is_checked_submitted_and_finished() {
    let site = site();
    let wf = ["--cwl", "wf.cwl", "--yaml", "inputs.yaml"];
    let checked = site.pchain("chain", &[&wf[..], &["--check"]].concat());
    assert!(
        checked.contains("successfully verified workflow description"),
        "{checked}"
    );
    let bad = ["--cwl", "bad.cwl", "--yaml", "inputs.yaml", "--check"];
    let refused = site.pchain("chain", &bad);
    let told = "step `sum`: it reads from `nothing`, which is no step";
    assert!(
        refused.contains(told) && refused.contains("is corrupted"),
        "{refused}"
    );
    let submitted = site.pchain("chain", &wf);
    assert!(
        submitted.contains("successfully submitted with request_id=1"),
        "{submitted}"
    );
    site.run_until("done");
    site.check_sum("user.jdoe");
}

#[test]
fn a_native_workflow_is_submitted_shown_and_finished() {
    let site = site();
    let arguments = [
        "--wfd",
        "wf.yaml",
        "--outDS",
        "user.jdoe.native",
        "--vo",
        "spd",
    ];
    let submitted = site.user.run_well("pchain_native", &arguments).unwrap();
    assert!(submitted.contains("'workflow_id': 1"), "{submitted}");
    let shown = site.pbook("show_native_workflow(1, show_data=True)");
    for told in [
        "made and summed",
        "panda_task",
        "make",
        "pending",
        "user.jdoe.native_002_sum",
    ] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    site.run_until("done");
    site.check_sum("user.jdoe");
}

#[test]
fn a_killed_workflow_is_tried_again() {
    let site = site();
    let wf = ["--cwl", "wf.cwl", "--yaml", "inputs.yaml"];
    site.pchain("again", &wf);
    let killed = site.pbook("kill_workflow(1)");
    assert!(killed.contains("workflow 1 is killed with"), "{killed}");
    site.run_until("cancelled");
    let tried = site.pbook("retry_workflow(1)");
    assert!(tried.contains("workflow 1 is tried again with"), "{tried}");
    site.run_until("done");
}

#[test]
fn a_loop_goes_on_until_its_junction_says_stop() {
    let site = site();
    let checked = site.pchain(
        "scan",
        &["--cwl", "loop.cwl", "--yaml", "inputs.yaml", "--check"],
    );
    assert!(
        checked.contains("successfully verified workflow description"),
        "{checked}"
    );
    site.pchain("scan", &["--cwl", "loop.cwl", "--yaml", "inputs.yaml"]);
    site.run_until("done");
    // Two rounds, and the last one only is read by what follows.
    let sums = site.stored("two.txt").unwrap();
    assert_eq!(sums.len(), 1, "{sums:?}");
    assert_eq!(sums[0].1, "round 2 line 1\nround 2 line 2\n");
    assert_eq!(site.stored("one.txt").unwrap().len(), 2);
}

#[test]
fn a_workflow_is_held_and_finished() {
    let site = site();
    site.pchain("held", &["--cwl", "wf.cwl", "--yaml", "inputs.yaml"]);
    let held = site.pbook("pause_workflow(1)");
    assert!(held.contains("workflow 1 is suspended with"), "{held}");
    let shown = site.pbook("show_workflow(1)");
    assert!(shown.contains("workflow 1 is suspended: 0 of 2"), "{shown}");
    let resumed = site.pbook("resume_workflow(1)");
    assert!(resumed.contains("workflow 1 is resumed with"), "{resumed}");
    let finished = site.pbook("finish_workflow(1)");
    assert!(finished.contains("workflow 1 is finished"), "{finished}");
    let look = site.pbook("show_workflow(1)");
    assert!(!look.contains("suspended"), "{look}");
}
