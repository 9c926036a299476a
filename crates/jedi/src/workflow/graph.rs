//! A workflow as its file states it: steps that refer to inputs and to each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::workflow::{Condition, Document, WorkflowError};

/// Steps that refer to inputs and to each other, in the order of their file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its inputs with their values; nothing where none is given.
    pub inputs: Vec<(String, Document)>,
    /// The steps whose outputs are those of the whole.
    pub outputs: Vec<String>,
    /// Its steps.
    pub steps: Vec<GraphStep>,
    /// When a step gets what another one makes.
    pub handover: Handover,
    /// How its steps are put in order.
    pub order: Order,
}

/// When a step gets what another one makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// When that one has succeeded.
    WhenDone,
    /// File by file, if it reads from one step only; else when those have succeeded.
    FileByFile,
}

/// How steps are put in order, from which their numbers follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// All that can run first, then all that can run after those, and so on.
    ByLevel,
    /// Each in its turn, but after what it needs.
    DepthFirst,
}

/// A step as its file states it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GraphStep {
    /// Its name.
    pub name: String,
    /// Its inputs by name (`opt_inDS` and so on).
    pub inputs: BTreeMap<String, StepInput>,
    /// Inputs that are lists, of each item of which there is a copy of the step.
    pub scatter: Vec<String>,
    /// When it runs, in names of its inputs.
    pub condition: Option<Condition<String>>,
}

/// What an input of a step is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepInput {
    /// Its value if nothing else is said.
    pub default: Document,
    /// Where it comes from.
    pub sources: Vec<Source>,
    /// Several sources were given, so that it is a list.
    pub is_list: bool,
}

/// Where an input of a step comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An input of the whole, by name.
    Input(String),
    /// What a step makes, by the step's name.
    Step(String),
    /// A dataset that is just named.
    Dataset(String),
}

impl GraphStep {
    /// Lists the steps from which it reads.
    pub fn parents(&self) -> BTreeSet<&str> {
        let sources = self.inputs.values().flat_map(|input| &input.sources);
        sources
            .filter_map(|source| match source {
                Source::Step(name) => Some(name.as_str()),
                Source::Input(_) | Source::Dataset(_) => None,
            })
            .collect()
    }
}

impl Graph {
    /// Puts the steps in order: each comes after those that it needs.
    ///
    /// # Errors
    ///
    /// A name that stands twice, a reference to a step that is not there, or steps that wait for
    /// each other.
    pub(super) fn ordered(&self) -> Result<Vec<&GraphStep>, WorkflowError> {
        let mut by_name = BTreeMap::new();
        for step in &self.steps {
            if by_name.insert(step.name.as_str(), step).is_some() {
                let problem = "the name stands twice: give each step its own";
                return Err(WorkflowError::step(&step.name, problem));
            }
        }
        for step in &self.steps {
            let is_missing = |name: &&&str| !by_name.contains_key(**name);
            if let Some(parent) = step.parents().iter().find(is_missing) {
                let problem = format!("it reads from `{parent}`, which is no step");
                return Err(WorkflowError::step(&step.name, problem));
            }
        }
        let levels = self.levels(&by_name)?;
        Ok(match self.order {
            Order::ByLevel => levels,
            Order::DepthFirst => {
                let mut ordered = Vec::new();
                let mut seen = BTreeSet::new();
                for step in &self.steps {
                    self.visit(step, &mut seen, &mut ordered);
                }
                ordered
            }
        })
    }

    fn levels<'a>(
        &'a self,
        by_name: &BTreeMap<&str, &'a GraphStep>,
    ) -> Result<Vec<&'a GraphStep>, WorkflowError> {
        let mut placed: BTreeSet<&str> = BTreeSet::new();
        let mut ordered: Vec<&GraphStep> = Vec::new();
        while ordered.len() < self.steps.len() {
            let mut level = Vec::new();
            for step in &self.steps {
                let is_ready = step.parents().iter().all(|parent| placed.contains(parent));
                if is_ready && !placed.contains(step.name.as_str()) {
                    level.push(step);
                }
            }
            if level.is_empty() {
                return Err(WorkflowError::Cycle(cycle_in(by_name, &placed)));
            }
            placed.extend(level.iter().map(|step| step.name.as_str()));
            ordered.extend(level);
        }
        Ok(ordered)
    }

    /// Puts a step behind those that it needs, which are taken in the order of the file. There are
    /// no cycles: levels were found before.
    fn visit<'a>(
        &'a self,
        step: &'a GraphStep,
        seen: &mut BTreeSet<&'a str>,
        ordered: &mut Vec<&'a GraphStep>,
    ) {
        // An explicit stack: chains may be long.
        let mut stack = vec![(step, false)];
        while let Some((step, is_expanded)) = stack.pop() {
            if is_expanded {
                if seen.insert(&step.name) {
                    ordered.push(step);
                }
                continue;
            }
            if seen.contains(step.name.as_str()) {
                continue;
            }
            stack.push((step, true));
            let parents = step.parents();
            let steps = self.steps.iter().rev();
            let needed = steps.filter(|other| parents.contains(other.name.as_str()));
            stack.extend(needed.map(|parent| (parent, false)));
        }
    }
}

/// Names steps that wait for each other, the first again at the end.
fn cycle_in(by_name: &BTreeMap<&str, &GraphStep>, placed: &BTreeSet<&str>) -> String {
    let waiting = |name: &&str| !placed.contains(name);
    let mut way: Vec<&str> = by_name.keys().copied().filter(waiting).take(1).collect();
    while let Some(step) = way.last().and_then(|name| by_name.get(name)) {
        let Some(next) = step.parents().into_iter().find(waiting) else {
            break;
        };
        let known = way.iter().position(|name| *name == next);
        way.push(next);
        if let Some(start) = known {
            way.drain(..start);
            break;
        }
    }
    let names: Vec<String> = way.iter().map(|name| format!("`{name}`")).collect();
    names.join(" waits for ")
}
