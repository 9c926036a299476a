//! Goes through the steps of a workflow, and of those within it, in order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    Plan, PlanRequest, PlannedStep, Start,
    scatter::scattered,
    scope::{Given, Made, Place, Scope, variable_of},
    tasks::task_of,
    too_many,
};
use crate::workflow::{
    Blocks, Condition, Graph, GraphStep, Handover, Numbering, PlannedBlock, Repeats, Source,
    Variable, Work, WorkflowError,
    blocks::{is_variable_name, round_holder},
};

/// Workflows within each other, at most.
const DEPTH_MAX: usize = 5;

/// What is the same for all workflows of a plan.
pub(super) struct Planner<'a> {
    request: &'a PlanRequest<'a>,
    template: &'a Map<String, Value>,
    steps: Vec<PlannedStep>,
    blocks: Vec<PlannedBlock>,
    /// The number of the next step, where all have one sequence.
    next: u32,
}

/// A copy of a step, about to be planned.
struct StepCopy<'a> {
    step: &'a GraphStep,
    inputs: BTreeMap<String, Given>,
    condition: Option<Condition<Vec<u32>>>,
    /// Its number, if it has one already.
    number: u32,
    /// Which one it is of those that are scattered, from 1.
    index: Option<usize>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(request: &'a PlanRequest<'a>, template: &'a Map<String, Value>) -> Self {
        Self {
            request,
            template,
            steps: Vec::new(),
            blocks: Vec::new(),
            next: request.first_number,
        }
    }

    pub(super) fn plan(mut self, graph: &'a Graph) -> Result<Plan, WorkflowError> {
        let place = Place {
            out_ds: self.request.out_ds.trim_end_matches('/').to_owned(),
            ..Place::default()
        };
        let scope = Scope::new(graph, place, BTreeMap::new(), self.request.first_number);
        let scope = self.add_all(scope)?;
        let outputs = scope.outputs(&self.steps).unwrap_or_default();
        let wanted: BTreeSet<u32> = outputs
            .iter()
            .flat_map(|(_, given)| given.origins.iter().copied())
            .collect();
        let read: BTreeSet<u32> = self
            .steps
            .iter()
            .flat_map(|step| step.parents.iter().copied())
            .collect();
        for (place, step) in (0..).zip(&mut self.steps) {
            let is_read = read.contains(&place);
            step.is_output = !is_read || wanted.contains(&place);
            if is_read {
                step.params.insert("noEmail".to_owned(), true.into());
            }
        }
        let texts = graph.inputs.iter();
        Ok(Plan {
            name: graph.name.clone(),
            inputs: texts
                .filter_map(|(name, value)| Some((name.clone(), value.to_text()?)))
                .collect(),
            steps: self.steps,
            blocks: self.blocks,
        })
    }

    /// Plans all steps of a workflow.
    fn add_all(&mut self, mut scope: Scope<'a>) -> Result<Scope<'a>, WorkflowError> {
        if scope.graph.steps.len() > self.request.limits.steps_max {
            return Err(too_many(scope.graph.steps.len(), self.request));
        }
        for step in scope.graph.ordered()? {
            let name = format!("{}{}", scope.place.trail, step.name);
            let wrong = |problem: String| WorkflowError::step(&name, problem);
            let inputs = scope.inputs_of(step, &self.steps).map_err(wrong)?;
            let condition = scope.condition_of(step, &self.steps).map_err(wrong)?;
            let copies = scattered(step, &inputs).map_err(wrong)?;
            let is_scattered = !step.scatter.is_empty();
            let shared = self.shared_number(&mut scope, step);
            let mut made = Vec::new();
            for (index, inputs) in (1..).zip(copies) {
                let number = match shared {
                    Some(number) => number,
                    None => self.own_number(&mut scope),
                };
                let copy = StepCopy {
                    step,
                    inputs,
                    condition: condition.clone(),
                    number,
                    index: is_scattered.then_some(index),
                };
                made.push(match &step.work {
                    Work::Run | Work::Junction => Made::Task(self.add_task(&scope, copy)?),
                    Work::Workflow(of, repeats) => {
                        Made::Workflow(self.add_workflow(&scope, copy, of, *repeats)?)
                    }
                });
            }
            scope.made.insert(&step.name, made);
        }
        Ok(scope)
    }

    /// The number that all copies of a workflow have; none where each copy has its own.
    fn shared_number(&self, scope: &mut Scope<'_>, step: &GraphStep) -> Option<u32> {
        match (&step.work, scope.graph.numbering) {
            (Work::Run | Work::Junction, _) => None,
            // It gets its number after its steps.
            (Work::Workflow(..), Numbering::Throughout) => Some(self.next),
            (Work::Workflow(..), Numbering::Nested) => Some(taken(&mut scope.next)),
        }
    }

    fn own_number(&mut self, scope: &mut Scope<'_>) -> u32 {
        match scope.graph.numbering {
            Numbering::Throughout => taken(&mut self.next),
            Numbering::Nested => taken(&mut scope.next),
        }
    }

    /// Plans a step that is a task, and returns its place.
    fn add_task(&mut self, scope: &Scope<'a>, copy: StepCopy<'a>) -> Result<u32, WorkflowError> {
        if self.steps.len() >= self.request.limits.steps_max {
            return Err(too_many(self.steps.len() + 1, self.request));
        }
        let place = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        let name = format!("{}{}", scope.place.trail, copy.step.name);
        let planned = self
            .planned(scope, copy, &name)
            .map_err(|problem| WorkflowError::step(&name, problem))?;
        self.steps.push(planned);
        Ok(place)
    }

    fn planned(
        &self,
        scope: &Scope<'a>,
        copy: StepCopy<'a>,
        name: &str,
    ) -> Result<PlannedStep, String> {
        let StepCopy {
            step,
            mut inputs,
            condition,
            number,
            ..
        } = copy;
        let parents: BTreeSet<u32> = inputs
            .values()
            .flat_map(|given| given.origins.iter().copied())
            .collect();
        // What a failed step would have made cannot be read.
        for input in step.condition.iter().flat_map(Condition::failing) {
            inputs.remove(input.split('[').next().unwrap_or(input));
        }
        let round = scope.place.repeated.map(round_holder);
        let round = round.map_or_else(String::new, |round| format!(".{round}"));
        let task_name = format!("{}_{number:03}_{}{round}", scope.place.out_ds, step.name);
        let globals = scope.globals();
        let mut made = task_of(
            step,
            &task_name,
            &inputs,
            &globals,
            &self.steps,
            (self.template, self.request.base_platform),
        )?;
        let mut all = parents.iter();
        let only_parent = match (all.next(), all.next()) {
            (Some(parent), None)
                if scope.graph.handover == Handover::FileByFile && condition.is_none() =>
            {
                usize::try_from(*parent)
                    .ok()
                    .and_then(|at| self.steps.get(at))
            }
            _ => None,
        };
        if let Some(parent) = only_parent {
            let params = &mut made.params;
            params.insert("noWaitParent".to_owned(), true.into());
            params.insert("parentTaskName".to_owned(), parent.task_name.clone().into());
        }
        let is_junction = step.work == Work::Junction;
        let is_beside = only_parent.is_some_and(|parent| self.is_in_same_round(scope, parent));
        Ok(PlannedStep {
            name: name.to_owned(),
            number,
            block: scope.place.block,
            is_junction,
            start: if is_beside && !is_junction {
                Start::WithParent
            } else {
                Start::WhenDone
            },
            parents: parents.into_iter().collect(),
            condition,
            inputs: names_of_inputs(step),
            is_output: false,
            task_name,
            output_types: made.output_types,
            params: made.params,
        })
    }

    /// Says whether all loops around a step are around the steps of a workflow, too.
    fn is_in_same_round(&self, scope: &Scope<'_>, step: &PlannedStep) -> bool {
        let blocks = Blocks::from(self.blocks.clone());
        let around: BTreeSet<u32> = blocks.around(scope.place.block).collect();
        let mut loops = blocks.around(step.block).filter(|block| {
            let at = usize::try_from(*block).ok();
            let planned = at.and_then(|at| self.blocks.get(at));
            planned.is_some_and(|planned| planned.junction.is_some())
        });
        loops.all(|block| around.contains(&block))
    }

    /// Plans the steps of a workflow within another, and returns its outputs.
    fn add_workflow(
        &mut self,
        scope: &Scope<'a>,
        copy: StepCopy<'a>,
        of: &str,
        repeats: Repeats,
    ) -> Result<Vec<(String, Given)>, WorkflowError> {
        let name = format!("{}{}", scope.place.trail, copy.step.name);
        let wrong = |problem: String| WorkflowError::step(&name, problem);
        if scope.place.depth >= DEPTH_MAX {
            return Err(wrong(format!(
                "more than {DEPTH_MAX} workflows stand within each other"
            )));
        }
        let graph = self.request.workflows.get(of);
        let graph = graph.ok_or_else(|| wrong(format!("there is no workflow `{of}`")))?;
        check_names(graph, &copy.inputs, of).map_err(wrong)?;
        let (block, mut place) = self.place_within(scope, graph, &copy, repeats);
        let mut given = copy.inputs;
        if let Some(block) = block {
            let variables = variables_of(graph, &mut given, scope.place.block).map_err(wrong)?;
            let outer = scope.place.block;
            self.blocks.push(PlannedBlock {
                name: name.clone(),
                outer,
                steps: Vec::new(),
                // Which it is is known later; that it is repeated matters at once.
                junction: (repeats == Repeats::Loop).then_some(u32::MAX),
                variables,
            });
            place.block = Some(block);
        }
        let first = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        let inner = Scope::new(graph, place, given, self.request.first_number);
        let inner = self.add_all(inner)?;
        if graph.numbering == Numbering::Throughout {
            taken(&mut self.next);
        }
        if let Some(block) = block {
            let junction = (repeats == Repeats::Loop).then(|| junction_of(&inner));
            let junction = junction.map(|found| {
                found.ok_or_else(|| {
                    wrong(format!(
                        "it is repeated, but no step of `{of}` runs `junction`: nothing says when \
                         to stop"
                    ))
                })
            });
            let junction = junction.transpose()?;
            let end = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
            let at = usize::try_from(block).ok();
            if let Some(planned) = at.and_then(|at| self.blocks.get_mut(at)) {
                planned.steps = (first..end).collect();
                planned.junction = junction;
            }
        }
        inner.outputs(&self.steps).map_err(wrong)
    }

    /// Where the steps of a workflow within another stand, and their block if it is a new one.
    fn place_within(
        &self,
        scope: &Scope<'_>,
        graph: &Graph,
        copy: &StepCopy<'_>,
        repeats: Repeats,
    ) -> (Option<u32>, Place) {
        let has_variables = graph
            .inputs
            .iter()
            .any(|(input, _)| variable_of(input).is_some());
        let next = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        let block = (has_variables || repeats == Repeats::Loop).then_some(next);
        let out_ds = match (scope.graph.numbering, copy.index) {
            (Numbering::Throughout, _) => scope.place.out_ds.clone(),
            (Numbering::Nested, None) => format!("{}_{:03}", scope.place.out_ds, copy.number),
            (Numbering::Nested, Some(index)) => {
                format!("{}_{:03}s{index}", scope.place.out_ds, copy.number)
            }
        };
        let place = Place {
            trail: format!("{}{}/", scope.place.trail, copy.step.name),
            out_ds,
            depth: scope.place.depth + 1,
            block: scope.place.block,
            repeated: block
                .filter(|_| repeats == Repeats::Loop)
                .or(scope.place.repeated),
            condition: copy.condition.clone(),
        };
        (block, place)
    }
}

fn taken(next: &mut u32) -> u32 {
    let number = *next;
    *next = next.saturating_add(1);
    number
}

/// Finds the first junction among the steps of a workflow.
fn junction_of(scope: &Scope<'_>) -> Option<u32> {
    let junctions = scope.graph.steps.iter();
    let mut junctions = junctions.filter(|step| step.work == Work::Junction);
    let places = junctions.find_map(|step| scope.made.get(step.name.as_str()))?;
    places.iter().find_map(|made| match made {
        Made::Task(place) => Some(*place),
        Made::Workflow(_) => None,
    })
}

/// Checks that a workflow has the inputs that it is given.
fn check_names(graph: &Graph, given: &BTreeMap<String, Given>, of: &str) -> Result<(), String> {
    let names: Vec<&str> = graph.inputs.iter().map(|(name, _)| name.as_str()).collect();
    match given.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(format!(
            "`{of}` has no input `{name}`: it has {}",
            names.join(", ")
        )),
        None => Ok(()),
    }
}

/// The variables of a block as they are at first.
fn variables_of(
    graph: &Graph,
    given: &mut BTreeMap<String, Given>,
    outer: Option<u32>,
) -> Result<BTreeMap<String, Variable>, String> {
    let mut variables = BTreeMap::new();
    for (input, default) in &graph.inputs {
        let Some(name) = variable_of(input) else {
            continue;
        };
        if !is_variable_name(name) {
            return Err(format!(
                "the variable `{input}` must have letters, digits and single `_` behind `param_`, \
                 and not be `param_i`"
            ));
        }
        let found = given.get(input);
        let variable = match found.and_then(|given| given.variable.clone()) {
            Some((name, item)) if outer.is_some() => Variable::Outer { name, item },
            Some(_) | None => {
                let value = found.map_or(default, |given| &given.value);
                Variable::Value(value.to_json())
            }
        };
        variables.insert(name.to_owned(), variable);
    }
    Ok(variables)
}

/// The names of what a step reads: of inputs, and of steps with `/outDS`.
fn names_of_inputs(step: &GraphStep) -> Vec<String> {
    let sources = step.inputs.values().flat_map(|input| &input.sources);
    let mut names: Vec<String> = sources
        .map(|source| match source {
            Source::Input(name) | Source::Dataset(name) => name.clone(),
            Source::Step(name, _) => format!("{name}/outDS"),
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
