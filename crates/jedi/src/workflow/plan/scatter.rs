//! Copies of steps that go over lists.

use std::collections::BTreeMap;

use super::scope::Given;
use crate::workflow::{Document, GraphStep};

/// Makes the inputs of each copy of a step; one copy if nothing is scattered.
pub(super) fn scattered(
    step: &GraphStep,
    inputs: &BTreeMap<String, Given>,
) -> Result<Vec<BTreeMap<String, Given>>, String> {
    if step.scatter.is_empty() {
        return Ok(vec![inputs.clone()]);
    }
    let mut lists = Vec::new();
    for name in &step.scatter {
        match inputs.get(name).map(|given| (given, &given.value)) {
            Some((given, Document::List(items))) if !items.is_empty() => {
                lists.push((name, given, items));
            }
            Some((_, other)) => {
                let kind = other.kind();
                return Err(format!(
                    "`scatter` names `{name}`, which is {kind}, not a list of something"
                ));
            }
            None => return Err(format!("`scatter` names `{name}`, which is no input")),
        }
    }
    let length = lists.first().map_or(0, |(_, _, items)| items.len());
    if let Some((name, _, items)) = lists.iter().find(|(_, _, items)| items.len() != length) {
        return Err(format!(
            "`scatter` goes over lists of different lengths: `{name}` has {}, the first {length}",
            items.len()
        ));
    }
    let copies = (0..length).map(|at| {
        let mut copy = inputs.clone();
        for (name, given, items) in &lists {
            copy.extend(
                items
                    .get(at)
                    .map(|item| ((*name).clone(), given.item(at, item))),
            );
        }
        copy
    });
    Ok(copies.collect())
}
