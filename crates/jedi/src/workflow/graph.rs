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
    /// Its outputs.
    pub outputs: Vec<GraphOutput>,
    /// Its steps.
    pub steps: Vec<GraphStep>,
    /// When a step gets what another one makes.
    pub handover: Handover,
    /// How its steps are put in order.
    pub order: Order,
    /// How steps of workflows within it are numbered.
    pub numbering: Numbering,
}

/// An output of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphOutput {
    /// Its name.
    pub name: String,
    /// The step that makes it, and what that step calls it.
    pub made_by: (String, String),
    /// Which outputs of that step are meant; its first if none is named.
    pub types: Vec<String>,
}

/// Workflows that are written in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowFile {
    /// The one that the file is about.
    pub main: Graph,
    /// Others, by the names under which steps know them.
    pub blocks: BTreeMap<String, Graph>,
}

impl WorkflowFile {
    /// Lists the files that its steps need.
    #[must_use]
    pub fn needs(&self) -> BTreeSet<&str> {
        let graphs = std::iter::once(&self.main).chain(self.blocks.values());
        let works = graphs.flat_map(|graph| &graph.steps).map(|step| &step.work);
        let names = works.filter_map(|work| match work {
            Work::Workflow(name, _) => Some(name.as_str()),
            Work::Run | Work::Junction => None,
        });
        names
            .filter(|name| !self.blocks.contains_key(*name))
            .collect()
    }
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

/// How steps of workflows within others are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// One after the other, and a workflow after its steps.
    Throughout,
    /// Anew in each workflow, behind the number of the workflow.
    Nested,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Work {
    /// A task of `prun`.
    #[default]
    Run,
    /// A task of `prun` whose file `results.json` sets variables and says whether a loop goes on.
    Junction,
    /// The workflow of this name.
    Workflow(String, Repeats),
}

/// How often a workflow within another is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// Once.
    Never,
    /// As long as its junction says so.
    Loop,
}

/// A step as its file states it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GraphStep {
    /// Its name.
    pub name: String,
    /// What it does.
    pub work: Work,
    /// Its inputs by name: `opt_inDS` and so on, or those of the workflow that it runs.
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
    /// What a step makes, by the names of the step and of what it makes.
    Step(String, String),
    /// A dataset that is just named.
    Dataset(String),
}

impl GraphStep {
    /// Lists the steps from which it reads.
    pub fn parents(&self) -> BTreeSet<&str> {
        let sources = self.inputs.values().flat_map(|input| &input.sources);
        sources
            .filter_map(|source| match source {
                Source::Step(name, _) => Some(name.as_str()),
                Source::Input(_) | Source::Dataset(_) => None,
            })
            .collect()
    }
}

impl Graph {
    /// Gives its inputs values in the place of those that its file has for them.
    ///
    /// # Errors
    ///
    /// The values are no map.
    pub fn give(&mut self, values: &Document) -> Result<(), WorkflowError> {
        if !matches!(values, Document::Map(_) | Document::Null) {
            let problem = format!("the file of inputs is {}, not a map", values.kind());
            return Err(WorkflowError::file(problem));
        }
        for (name, value) in &mut self.inputs {
            if let Some(given) = values.get(name) {
                *value = given.clone();
            }
        }
        Ok(())
    }

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
