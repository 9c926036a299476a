//! The task of one step.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    PlannedStep,
    datasets::{Inputs, check_resolved, placeholders, read_datasets, secondaries},
    scope::Given,
};
use crate::workflow::{
    Document, GraphStep, Work,
    prun::{StepTask, TaskKind, TaskMade, make_task},
};

/// Inputs that are datasets, and those that say which ones of their makers are meant.
const DATASETS: [(&str, &str); 2] = [
    ("opt_inDS", "opt_inDsType"),
    ("opt_secondaryDSs", "opt_secondaryDsTypes"),
];

/// Makes the task of a step: its name, its inputs, what stands for the workflow's inputs in its
/// texts, the steps before it, and the template with the platform of tasks without a container.
pub(super) fn task_of(
    step: &GraphStep,
    name: &str,
    given: &BTreeMap<String, Given>,
    globals: &[(String, String)],
    steps: &[PlannedStep],
    (template, base_platform): (&Map<String, Value>, Option<&str>),
) -> Result<TaskMade, String> {
    let values = values_of(given);
    let text = |name: &str| match values.get(name) {
        None | Some(Document::Null) => Ok(String::new()),
        Some(value) => value
            .to_text()
            .ok_or_else(|| format!("`{name}` is {}: it must be a text", value.kind())),
    };
    let athena = values.get("opt_useAthenaPackages");
    if athena.is_some_and(Document::is_yes) {
        return Err("Athena packages are not available here: put them into a container".to_owned());
    }
    let (mut args, mut exec) = (text("opt_args")?, text("opt_exec")?);
    let image = text("opt_containerImage")?;
    if exec.is_empty() {
        return Err("`opt_exec` is missing: give the command that jobs run".to_owned());
    }
    let read = read_datasets(&values, steps)?;
    let mut pairs = secondaries(&values, steps)?;
    pairs.extend(placeholders("DS", &read));
    for (from, to) in pairs.iter().chain(globals) {
        args = args.replace(from, to);
        exec = exec.replace(from, to);
    }
    check_resolved("opt_args", &args)?;
    check_resolved("opt_exec", &exec)?;
    let kind = if step.work == Work::Junction {
        TaskKind::Junction
    } else {
        TaskKind::Run
    };
    let task = StepTask {
        name,
        args: &args,
        exec: &exec,
        datasets: &read,
        image: (!image.is_empty()).then_some(image.as_str()),
        kind,
    };
    make_task(template, base_platform, &task)
}

/// The values of a step's inputs. Datasets have their whole names where it is known which are
/// meant and the step does not say so itself.
fn values_of(given: &BTreeMap<String, Given>) -> Inputs {
    let entries = given.iter().map(|(name, one)| {
        let kinds = DATASETS.iter().find(|(datasets, _)| datasets == name);
        let is_free = kinds.is_some_and(|(_, kinds)| {
            let said = given.get(*kinds).map(|kinds| &kinds.value);
            said.is_none_or(Document::is_null)
        });
        let whole = one.datasets.as_ref().filter(|_| is_free);
        (name.clone(), whole.unwrap_or(&one.value).clone())
    });
    entries.collect()
}
