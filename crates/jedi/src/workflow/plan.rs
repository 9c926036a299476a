//! Makes the plan of a workflow: its steps in order, with their tasks.
//!
//! Source: PanDA server, `pandaserver/workflow/pcwl_utils.py` (`resolve_nodes`) and
//! `workflow_native_utils.py` (`Node`).

mod datasets;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::datasets::{Inputs, check_resolved, read_datasets, secondaries};
use crate::workflow::{
    Condition, Document, Graph, GraphStep, Handover, Source, WorkflowError,
    prun::{StepTask, make_task},
};

/// The template of `prun` for steps without Athena.
const TEMPLATE: &str = "container";

/// How large a workflow may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Steps, with all copies of scattered ones.
    pub steps_max: usize,
}

/// What a plan follows from besides the workflow.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// What the names of all tasks begin with.
    pub out_ds: &'a str,
    /// The number of the first step: 1 in PanDA's own engine, 0 in that of `pchain`.
    pub first_number: u32,
    /// Templates of task parameters, by kind.
    pub templates: &'a Map<String, Value>,
    /// The platform of steps without a container, if any.
    pub base_platform: Option<&'a str>,
    /// How large it may be.
    pub limits: PlanLimits,
}

/// When a step's task is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// When all steps that it reads from have succeeded.
    WhenDone,
    /// When the task of the one step that it reads from is there, as a task after that.
    WithParent,
}

/// A step with its task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its name.
    pub name: String,
    /// Its number in the names of its datasets.
    pub number: u32,
    /// The steps that it reads from, by their places in the plan.
    pub parents: Vec<u32>,
    /// When its task is submitted.
    pub start: Start,
    /// When it runs at all, by places in the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition<Vec<u32>>>,
    /// The names of what it reads, as the workflow knows them.
    pub inputs: Vec<String>,
    /// Whether what it makes is an output of the whole.
    pub is_output: bool,
    /// The name of its task.
    pub task_name: String,
    /// What its output datasets have behind that.
    pub output_types: Vec<String>,
    /// The parameters of its task.
    pub params: Map<String, Value>,
}

/// A workflow as it will be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Datasets that it reads, by the names of its inputs.
    pub inputs: Vec<(String, String)>,
    /// Its steps; each comes after those that it reads from.
    pub steps: Vec<PlannedStep>,
}

/// Makes the plan of a workflow.
///
/// # Errors
///
/// [`WorkflowError`] that names the step and what is wrong with it.
pub fn plan(graph: &Graph, request: &PlanRequest<'_>) -> Result<Plan, WorkflowError> {
    if graph.steps.len() > request.limits.steps_max {
        return Err(too_many(graph.steps.len(), request));
    }
    if request.out_ds.is_empty() {
        return Err(WorkflowError::file(
            "`outDS` is missing: give a name for the outputs",
        ));
    }
    let template = request.templates.get(TEMPLATE).and_then(Value::as_object);
    let template = template.ok_or_else(|| {
        WorkflowError::file("`taskParams` has no template `container`: submit with `pchain`")
    })?;
    let mut planner = Planner {
        graph,
        request,
        template,
        values: graph
            .inputs
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .collect(),
        copies: BTreeMap::new(),
        steps: Vec::new(),
    };
    let ordered = graph.ordered()?;
    for step in &ordered {
        planner.add(step)?;
    }
    Ok(planner.finish())
}

fn too_many(found: usize, request: &PlanRequest<'_>) -> WorkflowError {
    WorkflowError::TooManySteps {
        found,
        allowed: request.limits.steps_max,
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    request: &'a PlanRequest<'a>,
    template: &'a Map<String, Value>,
    values: BTreeMap<&'a str, &'a Document>,
    /// The places of each step's copies, by its name.
    copies: BTreeMap<&'a str, Vec<u32>>,
    steps: Vec<PlannedStep>,
}

impl<'a> Planner<'a> {
    fn finish(self) -> Plan {
        let texts = self.graph.inputs.iter();
        Plan {
            name: self.graph.name.clone(),
            inputs: texts
                .filter_map(|(name, value)| Some((name.clone(), value.to_text()?)))
                .collect(),
            steps: self.steps,
        }
    }

    fn add(&mut self, step: &'a GraphStep) -> Result<(), WorkflowError> {
        let wrong = |problem: String| WorkflowError::step(&step.name, problem);
        let mut values = Inputs::new();
        for (name, input) in &step.inputs {
            let mut found = Vec::new();
            for source in &input.sources {
                found.push(
                    self.value_of(source)
                        .map_err(|problem| wrong(format!("`{name}` {problem}")))?,
                );
            }
            let value = match (found.len(), input.is_list) {
                (0, _) => input.default.clone(),
                (1, false) => found.remove(0),
                _ => Document::List(found.iter().flat_map(Document::items).cloned().collect()),
            };
            values.insert(name.clone(), value);
        }
        let mut places = Vec::new();
        for copy in scattered(step, &values).map_err(wrong)? {
            if self.steps.len() >= self.request.limits.steps_max {
                return Err(too_many(self.steps.len() + 1, self.request));
            }
            places.push(u32::try_from(self.steps.len()).unwrap_or(u32::MAX));
            let planned = self.planned(step, copy).map_err(wrong)?;
            self.steps.push(planned);
        }
        self.copies.insert(&step.name, places);
        Ok(())
    }

    fn value_of(&self, source: &Source) -> Result<Document, String> {
        match source {
            Source::Dataset(name) => Ok(Document::from(name.as_str())),
            Source::Input(name) => match self.values.get(name.as_str()) {
                Some(value) if !value.is_null() => Ok((*value).clone()),
                Some(_) | None => Err(format!(
                    "comes from the input `{name}`, which has no value: give it one"
                )),
            },
            Source::Step(name) => {
                let places = self
                    .copies
                    .get(name.as_str())
                    .map_or(&[][..], Vec::as_slice);
                let mut names = places.iter().filter_map(|place| self.step(*place));
                let mut names: Vec<Document> = names
                    .by_ref()
                    .map(|step| Document::from(step.task_name.as_str()))
                    .collect();
                Ok(match names.len() {
                    1 => names.remove(0),
                    _ => Document::List(names),
                })
            }
        }
    }

    fn step(&self, place: u32) -> Option<&PlannedStep> {
        self.steps.get(usize::try_from(place).ok()?)
    }

    /// The places of the steps from which an input comes; those of one source only if told.
    fn places_of(&self, step: &GraphStep, input: &str) -> Result<Vec<u32>, String> {
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
        let places: Vec<u32> = sources
            .filter(|(at, _)| index.is_none_or(|index| index == *at))
            .filter_map(|(_, source)| match source {
                Source::Step(name) => self.copies.get(name.as_str()),
                Source::Input(_) | Source::Dataset(_) => None,
            })
            .flatten()
            .copied()
            .collect();
        if places.is_empty() {
            return Err(format!("`when` names `{input}`, which comes from no step"));
        }
        Ok(places)
    }

    fn planned(&self, step: &GraphStep, mut values: Inputs) -> Result<PlannedStep, String> {
        let condition = match &step.condition {
            Some(condition) => {
                // What a failed step would have made cannot be read.
                for input in condition.failing() {
                    values.remove(input.split('[').next().unwrap_or(input));
                }
                Some(condition.try_map(&mut |input| self.places_of(step, input))?)
            }
            None => None,
        };
        let mut parents = Vec::new();
        for parent in step.parents() {
            parents.extend(self.copies.get(parent).into_iter().flatten().copied());
        }
        parents.sort_unstable();
        let place = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        let number = self.request.first_number.saturating_add(place);
        let out_ds = self.request.out_ds.trim_end_matches('/');
        let task_name = format!("{out_ds}_{number:03}_{}", step.name);
        let is_read = |other: &GraphStep| other.parents().contains(step.name.as_str());
        let is_last = !self.graph.steps.iter().any(is_read);
        let is_output = is_last || self.graph.outputs.contains(&step.name);
        let mut made = self.task_of(&task_name, &values, is_last)?;
        let only_parent = match parents.as_slice() {
            [parent] if self.graph.handover == Handover::FileByFile && condition.is_none() => {
                self.step(*parent)
            }
            _ => None,
        };
        if let Some(parent) = only_parent {
            let params = &mut made.params;
            params.insert("noWaitParent".to_owned(), true.into());
            params.insert("parentTaskName".to_owned(), parent.task_name.clone().into());
        }
        Ok(PlannedStep {
            name: step.name.clone(),
            number,
            start: if only_parent.is_some() {
                Start::WithParent
            } else {
                Start::WhenDone
            },
            parents,
            condition,
            inputs: names_of_inputs(step),
            is_output,
            task_name,
            output_types: made.output_types,
            params: made.params,
        })
    }

    fn task_of(
        &self,
        task_name: &str,
        values: &Inputs,
        is_last: bool,
    ) -> Result<crate::workflow::prun::TaskMade, String> {
        let text = |name: &str| match values.get(name) {
            None | Some(Document::Null) => Ok(String::new()),
            Some(value) => value
                .to_text()
                .ok_or_else(|| format!("`{name}` is {}: it must be a text", value.kind())),
        };
        if values
            .get("opt_useAthenaPackages")
            .is_some_and(Document::is_yes)
        {
            return Err(
                "Athena packages are not available here: put them into a container".to_owned(),
            );
        }
        let (mut args, mut exec) = (text("opt_args")?, text("opt_exec")?);
        let image = text("opt_containerImage")?;
        if exec.is_empty() {
            return Err("`opt_exec` is missing: give the command that jobs run".to_owned());
        }
        let read = read_datasets(values, &self.steps)?;
        for (from, to) in secondaries(values, &self.steps)?
            .into_iter()
            .chain(datasets::placeholders("DS", &read))
        {
            args = args.replace(&from, &to);
            exec = exec.replace(&from, &to);
        }
        check_resolved("opt_args", &args)?;
        check_resolved("opt_exec", &exec)?;
        let step = StepTask {
            name: task_name,
            args: &args,
            exec: &exec,
            datasets: &read,
            image: (!image.is_empty()).then_some(image.as_str()),
            is_last,
        };
        make_task(self.template, self.request.base_platform, &step)
    }
}

/// The names of what a step reads: of inputs, and of steps with `/outDS`.
fn names_of_inputs(step: &GraphStep) -> Vec<String> {
    let sources = step.inputs.values().flat_map(|input| &input.sources);
    let mut names: Vec<String> = sources
        .map(|source| match source {
            Source::Input(name) | Source::Dataset(name) => name.clone(),
            Source::Step(name) => format!("{name}/outDS"),
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Makes the inputs of each copy of a step; one copy if nothing is scattered.
fn scattered(step: &GraphStep, values: &Inputs) -> Result<Vec<Inputs>, String> {
    if step.scatter.is_empty() {
        return Ok(vec![values.clone()]);
    }
    let mut lists = Vec::new();
    for name in &step.scatter {
        match values.get(name) {
            Some(Document::List(items)) if !items.is_empty() => lists.push((name, items)),
            Some(other) => {
                let kind = other.kind();
                return Err(format!(
                    "`scatter` names `{name}`, which is {kind}, not a list of something"
                ));
            }
            None => return Err(format!("`scatter` names `{name}`, which is no input")),
        }
    }
    let length = lists.first().map_or(0, |(_, items)| items.len());
    if let Some((name, items)) = lists.iter().find(|(_, items)| items.len() != length) {
        return Err(format!(
            "`scatter` goes over lists of different lengths: `{name}` has {}, the first {length}",
            items.len()
        ));
    }
    let copies = (0..length).map(|at| {
        let mut copy = values.clone();
        for (name, items) in &lists {
            copy.extend(items.get(at).map(|item| ((*name).clone(), item.clone())));
        }
        copy
    });
    Ok(copies.collect())
}
