//! The names of the datasets that a step reads, and what stands for them in its texts.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;

use crate::workflow::{Document, PlannedStep};

/// The values of a step's inputs, by name.
pub(super) type Inputs = BTreeMap<String, Document>;

static LEFT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"%\{[A-Z]*DS(\d+|\*)\}").expect("a pattern of this file"));

/// Checks that nothing stands for a dataset any more.
pub(super) fn check_resolved(name: &str, text: &str) -> Result<(), String> {
    match LEFT.find(text) {
        Some(found) => Err(format!(
            "{} is unresolved in `{name}`: the step has no such input",
            found.as_str()
        )),
        None => Ok(()),
    }
}

fn texts(inputs: &Inputs, name: &str) -> Result<Vec<String>, String> {
    let items = inputs.get(name).map_or(&[][..], Document::items);
    let read = items.iter().map(|item| match item.to_text() {
        None if item.is_null() => Ok(String::new()),
        None => Err(format!("`{name}` has {}: it must have texts", item.kind())),
        Some(text) => Ok(text),
    });
    read.collect()
}

/// Completes the names of datasets by what their kinds are: the one given, or the first that the
/// step writes which makes it. Only names that have a kind end with `end`, or all with another.
fn completed(
    names: &[String],
    kinds: &[String],
    steps: &[PlannedStep],
) -> Result<Vec<(String, bool)>, String> {
    let mut completed = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let given = if kinds.len() == 1 && names.len() > 1 {
            kinds.first()
        } else {
            kinds.get(at)
        };
        let given = given.filter(|kind| !kind.is_empty()).map(|kind| {
            if kind.contains('*') {
                format!("{}.tgz", kind.replace('*', "XYZ"))
            } else {
                kind.clone()
            }
        });
        let parent = steps.iter().find(|step| step.task_name == *name);
        let kind = match (given, parent) {
            (Some(kind), Some(parent)) if !parent.output_types.contains(&kind) => {
                return Err(format!(
                    "it reads `{kind}` of step `{}`, which writes {}",
                    parent.name,
                    written(parent)
                ));
            }
            (Some(kind), _) => Some(kind),
            (None, Some(parent)) => match parent.output_types.first() {
                Some(kind) => Some(kind.clone()),
                None => {
                    return Err(format!(
                        "it reads from step `{}`, which writes nothing: give that `--outputs`",
                        parent.name
                    ));
                }
            },
            (None, None) => None,
        };
        completed.push(match kind {
            Some(kind) => (format!("{name}_{kind}/"), true),
            None => (name.clone(), false),
        });
    }
    Ok(completed)
}

fn written(step: &PlannedStep) -> String {
    if step.output_types.is_empty() {
        return "nothing".to_owned();
    }
    let names = step.output_types.iter().map(|kind| format!("`{kind}`"));
    names.collect::<Vec<_>>().join(", ")
}

/// The datasets that a step reads first of all.
pub(super) fn read_datasets(inputs: &Inputs, steps: &[PlannedStep]) -> Result<Vec<String>, String> {
    let names: Vec<String> = texts(inputs, "opt_inDS")?
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect();
    let kinds = texts(inputs, "opt_inDsType")?;
    let completed = completed(&names, &kinds, steps)?;
    Ok(completed.into_iter().map(|(name, _)| name).collect())
}

/// What stands for a step's further inputs, and what becomes of it.
pub(super) fn secondaries(
    inputs: &Inputs,
    steps: &[PlannedStep],
) -> Result<Vec<(String, String)>, String> {
    let names = texts(inputs, "opt_secondaryDSs")?;
    let kinds = texts(inputs, "opt_secondaryDsTypes")?;
    if !kinds.is_empty() && kinds.len() != names.len() {
        return Err(format!(
            "`opt_secondaryDsTypes` has {} entries for the {} of `opt_secondaryDSs`",
            kinds.len(),
            names.len()
        ));
    }
    let datasets: Vec<String> = completed(&names, &kinds, steps)?
        .into_iter()
        .map(|(name, has_kind)| {
            if has_kind {
                name
            } else {
                format!("{}/", name.trim_end_matches('/'))
            }
        })
        .collect();
    Ok(placeholders("SECDS", &datasets))
}

/// What stands for datasets by their numbers, and for all of them.
pub(super) fn placeholders(word: &str, datasets: &[String]) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = (1..)
        .zip(datasets)
        .map(|(nr, dataset)| (format!("%{{{word}{nr}}}"), dataset.clone()))
        .collect();
    if !datasets.is_empty() {
        pairs.push((format!("%{{{word}*}}"), datasets.join(",")));
    }
    pairs
}
