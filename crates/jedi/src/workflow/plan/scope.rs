//! What is known of one workflow while its steps are planned: what its inputs are, and what its
//! steps make.

use std::collections::{BTreeMap, BTreeSet};

use crate::workflow::{
    Condition, Document, Graph, GraphStep, Numbering, PlannedStep, Source, StepInput,
    blocks::{round_holder, variable_holder},
};

/// What the names of inputs begin with that are variables.
const VARIABLE: &str = "param_";
/// What stands for the round of a loop in the texts of a step.
const ROUND: &str = "%{i}";

/// Returns the variable that an input is.
pub(super) fn variable_of(input: &str) -> Option<&str> {
    input.strip_prefix(VARIABLE)
}

/// What an input is given, or what a step makes.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    /// Its value.
    pub(super) value: Document,
    /// The whole names of its datasets, if it is known which are meant.
    pub(super) datasets: Option<Document>,
    /// The steps that make it, by their places.
    pub(super) origins: BTreeSet<u32>,
    /// The variable that it is, or which item of one.
    pub(super) variable: Option<(String, Option<usize>)>,
}

impl From<Document> for Given {
    fn from(value: Document) -> Self {
        Self {
            value,
            ..Self::default()
        }
    }
}

impl Given {
    /// Makes a list of several; of one, only if that is wanted.
    pub(super) fn joined(mut all: Vec<Self>, is_list: bool) -> Self {
        if all.len() == 1 && !is_list {
            return all.remove(0);
        }
        let items = |pick: fn(&Self) -> &Document| {
            let items = all.iter().flat_map(|one| pick(one).items());
            Document::List(items.cloned().collect())
        };
        let is_named = all.iter().any(|one| one.datasets.is_some());
        Self {
            value: items(|one| &one.value),
            datasets: is_named.then(|| items(|one| one.datasets.as_ref().unwrap_or(&one.value))),
            origins: all.iter().flat_map(|one| &one.origins).copied().collect(),
            variable: None,
        }
    }

    /// One item of a list.
    pub(super) fn item(&self, at: usize, item: &Document) -> Self {
        let name = self.variable.as_ref().filter(|(_, item)| item.is_none());
        Self {
            value: item.clone(),
            datasets: None,
            origins: self.origins.clone(),
            variable: name.map(|(name, _)| (name.clone(), Some(at))),
        }
    }
}

/// What a copy of a step makes.
#[derive(Debug)]
pub(super) enum Made {
    /// The datasets of the task at this place.
    Task(u32),
    /// The outputs of a workflow.
    Workflow(Vec<(String, Given)>),
}

/// Where the steps of a workflow stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// The names of the steps within which it is, each with a slash behind.
    pub(super) trail: String,
    /// What the names of its tasks begin with.
    pub(super) out_ds: String,
    /// How many workflows are around it.
    pub(super) depth: usize,
    /// The block in which it is.
    pub(super) block: Option<u32>,
    /// The innermost loop in which it is.
    pub(super) repeated: Option<u32>,
    /// When it is carried out at all.
    pub(super) condition: Option<Condition<Vec<u32>>>,
}

/// A workflow whose steps are being planned.
pub(super) struct Scope<'a> {
    pub(super) graph: &'a Graph,
    pub(super) place: Place,
    pub(super) inputs: BTreeMap<&'a str, Given>,
    /// What each step makes, by copies.
    pub(super) made: BTreeMap<&'a str, Vec<Made>>,
    /// The number of the next step, if this workflow has its own.
    pub(super) next: u32,
}

impl<'a> Scope<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        place: Place,
        mut given: BTreeMap<String, Given>,
        first: u32,
    ) -> Self {
        let inputs = graph.inputs.iter().map(|(name, default)| {
            let given = given.remove(name);
            let mut given = given.unwrap_or_else(|| Given::from(default.clone()));
            given.variable = variable_of(name).map(|variable| (variable.to_owned(), None));
            (name.as_str(), given)
        });
        Self {
            graph,
            place,
            inputs: inputs.collect(),
            made: BTreeMap::new(),
            next: first,
        }
    }

    /// What each input of a step is given.
    pub(super) fn inputs_of(
        &self,
        step: &GraphStep,
        steps: &[PlannedStep],
    ) -> Result<BTreeMap<String, Given>, String> {
        let mut inputs = BTreeMap::new();
        for (name, input) in &step.inputs {
            let given = self
                .given(input, steps)
                .map_err(|problem| format!("`{name}` {problem}"))?;
            inputs.insert(name.clone(), given);
        }
        Ok(inputs)
    }

    fn given(&self, input: &StepInput, steps: &[PlannedStep]) -> Result<Given, String> {
        if input.sources.is_empty() {
            return Ok(Given::from(input.default.clone()));
        }
        let sources = input.sources.iter();
        let all = sources.map(|source| self.source_given(source, steps));
        Ok(Given::joined(all.collect::<Result<_, _>>()?, input.is_list))
    }

    fn source_given(&self, source: &Source, steps: &[PlannedStep]) -> Result<Given, String> {
        match source {
            Source::Dataset(name) => Ok(Given::from(Document::from(name.as_str()))),
            Source::Input(name) => match self.inputs.get(name.as_str()) {
                Some(given) if !given.value.is_null() => Ok(given.clone()),
                Some(_) | None => Err(format!(
                    "comes from the input `{name}`, which has no value: give it one"
                )),
            },
            Source::Step(name, output) => {
                let copies = self.made.get(name.as_str()).map_or(&[][..], Vec::as_slice);
                let all = copies
                    .iter()
                    .map(|made| self.output_of(name, made, output, steps));
                Ok(Given::joined(all.collect::<Result<_, _>>()?, false))
            }
        }
    }

    /// What a copy of a step has under the name of an output.
    fn output_of(
        &self,
        step: &str,
        made: &Made,
        output: &str,
        steps: &[PlannedStep],
    ) -> Result<Given, String> {
        match made {
            Made::Task(place) => Ok(task_given(*place, steps)),
            Made::Workflow(outputs) => {
                let named = outputs.iter().find(|(name, _)| name == output);
                // PanDA's own language has one name for what any step makes.
                let first = outputs
                    .first()
                    .filter(|_| self.graph.numbering == Numbering::Nested);
                let found = named.or(first).map(|(_, given)| given.clone());
                found.ok_or_else(|| {
                    let names: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
                    format!(
                        "reads `{output}` of step `{step}`, whose workflow has the outputs: {}",
                        names.join(", ")
                    )
                })
            }
        }
    }

    /// The places of the steps from which an input comes; those of one source only if told.
    fn places_of(
        &self,
        step: &GraphStep,
        input: &str,
        steps: &[PlannedStep],
    ) -> Result<Vec<u32>, String> {
        let (name, index) = match input.split_once('[') {
            Some((name, rest)) => {
                let index = rest.trim_end_matches(']').parse::<usize>();
                (
                    name,
                    Some(index.map_err(|_| format!("`when` has `{input}`, which is no input"))?),
                )
            }
            None => (input, None),
        };
        let found = step
            .inputs
            .get(name)
            .ok_or_else(|| format!("`when` names `{name}`, which is none of the step's inputs"))?;
        let sources = found.sources.iter().enumerate();
        let mut places = BTreeSet::new();
        for (_, source) in sources.filter(|(at, _)| index.is_none_or(|index| index == *at)) {
            places.extend(self.source_given(source, steps)?.origins);
        }
        if places.is_empty() {
            return Err(format!("`when` names `{input}`, which comes from no step"));
        }
        Ok(places.into_iter().collect())
    }

    /// When a step runs at all.
    pub(super) fn condition_of(
        &self,
        step: &GraphStep,
        steps: &[PlannedStep],
    ) -> Result<Option<Condition<Vec<u32>>>, String> {
        let own = match &step.condition {
            Some(condition) => {
                Some(condition.try_map(&mut |input| self.places_of(step, input, steps))?)
            }
            None => None,
        };
        Ok(match (self.place.condition.clone(), own) {
            (Some(outer), Some(own)) => Some(Condition::And(Box::new(outer), Box::new(own))),
            (outer, own) => outer.or(own),
        })
    }

    /// What stands for inputs of the workflow in the texts of its steps, and what becomes of it.
    pub(super) fn globals(&self) -> Vec<(String, String)> {
        if self.place.depth == 0 {
            return Vec::new();
        }
        let mut pairs = Vec::new();
        for (name, given) in &self.inputs {
            let pair = match (variable_of(name), self.place.block) {
                (Some(variable), Some(block)) => Some((variable, variable_holder(block, variable))),
                _ => text_of(&given.value).map(|text| (*name, text)),
            };
            pairs.extend(pair.map(|(name, text)| (format!("%{{{name}}}"), text)));
        }
        let round = self.place.repeated.map(round_holder).unwrap_or_default();
        pairs.push((ROUND.to_owned(), round));
        pairs
    }

    /// What the workflow makes, in the order of its file.
    pub(super) fn outputs(&self, steps: &[PlannedStep]) -> Result<Vec<(String, Given)>, String> {
        let mut outputs: Vec<(String, Vec<Given>)> = Vec::new();
        for output in &self.graph.outputs {
            let (step, made) = &output.made_by;
            if !self.made.contains_key(step.as_str()) {
                continue;
            }
            let source = Source::Step(step.clone(), made.clone());
            let mut given = self.source_given(&source, steps)?;
            if !output.types.is_empty() {
                given.datasets = Some(named_datasets(&given, &output.types, steps)?);
            }
            match outputs.iter_mut().find(|(name, _)| *name == output.name) {
                Some((_, all)) => all.push(given),
                None => outputs.push((output.name.clone(), vec![given])),
            }
        }
        let outputs = outputs.into_iter();
        Ok(outputs
            .map(|(name, all)| (name, Given::joined(all, false)))
            .collect())
    }
}

fn text_of(value: &Document) -> Option<String> {
    match value {
        Document::Null => None,
        Document::List(_) | Document::Map(_) => Some(value.to_json().to_string()),
        Document::Flag(_) | Document::Number(_) | Document::Text(_) => value.to_text(),
    }
}

fn at(place: u32, steps: &[PlannedStep]) -> Option<&PlannedStep> {
    steps.get(usize::try_from(place).ok()?)
}

/// What the task at a place makes.
fn task_given(place: u32, steps: &[PlannedStep]) -> Given {
    let name = at(place, steps).map_or("", |step| step.task_name.as_str());
    Given {
        value: Document::from(name),
        origins: BTreeSet::from([place]),
        ..Given::default()
    }
}

/// The names of the datasets of these kinds that the makers of something write.
fn named_datasets(
    given: &Given,
    types: &[String],
    steps: &[PlannedStep],
) -> Result<Document, String> {
    let mut names = Vec::new();
    for step in given.origins.iter().filter_map(|place| at(*place, steps)) {
        for kind in types {
            if !step.output_types.contains(kind) {
                return Err(format!(
                    "`output_types` has `{kind}`, but step `{}` writes {}",
                    step.name,
                    step.output_types.join(", ")
                ));
            }
            let name = format!("{}_{kind}/", step.task_name);
            names.push(Document::from(name.as_str()));
        }
    }
    Ok(Document::List(names))
}
