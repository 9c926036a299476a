//! What a step of `prun` and a junction may be given.
//!
//! Source: PanDA server, `pandaserver/workflow/workflow_utils.py` (`verify`, `make_task_params`).

use crate::workflow::graph::Work;

/// Inputs that a step may have.
const INPUTS: [&str; 8] = [
    "opt_inDS",
    "opt_inDsType",
    "opt_secondaryDSs",
    "opt_secondaryDsTypes",
    "opt_args",
    "opt_exec",
    "opt_useAthenaPackages",
    "opt_containerImage",
];
/// Inputs that a junction may have.
const JUNCTION_INPUTS: [&str; 5] = [
    "opt_inDS",
    "opt_inDsType",
    "opt_args",
    "opt_exec",
    "opt_containerImage",
];
/// The file in which a junction says what follows.
const RESULTS_FILE: &str = "results.json";
/// The option that names outputs.
const OUTPUTS: &str = "--outputs";

/// Checks that a step may have this input.
///
/// # Errors
///
/// Which inputs it may have.
pub(in crate::workflow) fn check_input(work: &Work, name: &str) -> Result<(), String> {
    let (run, allowed) = match work {
        Work::Run => ("prun", &INPUTS[..]),
        Work::Junction => ("junction", &JUNCTION_INPUTS[..]),
        Work::Workflow(..) => return Ok(()),
    };
    if allowed.contains(&name) {
        return Ok(());
    }
    Err(format!(
        "unknown input parameter `{name}` for {run}: there are `{}`",
        allowed.join("`, `")
    ))
}

/// Has a junction write its results.
pub(super) fn write_results(words: &mut Vec<String>) {
    let separate = words.iter().position(|word| word == OUTPUTS);
    if let Some(at) = separate.filter(|at| at + 1 < words.len()) {
        let named = words.remove(at + 1);
        if let Some(word) = words.get_mut(at) {
            *word = format!("{OUTPUTS}={named}");
        }
    }
    let outputs = words.iter_mut().find(|word| word.starts_with(OUTPUTS));
    match outputs {
        Some(outputs) if outputs.contains(RESULTS_FILE) => {}
        Some(outputs) => outputs.push_str(&format!(",{RESULTS_FILE}")),
        None => words.extend([OUTPUTS, RESULTS_FILE].map(str::to_owned)),
    }
}
