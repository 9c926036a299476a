//! Workflows within workflows whose steps share variables, and may be repeated.
//!
//! Names of tasks and texts of such steps have *holders* in the places of what is known only when a
//! step begins: the round of a loop, and values of variables. A junction's results set variables,
//! and say whether there is another round.
//!
//! Source: PanDA server, `pandaserver/workflow/workflow_utils.py` (`convert_nodes_to_workflow`);
//! iDDS, `workflow/lib/idds/workflowv2/workflow.py`.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::workflow::exec::percent_encoded;

/// What a junction's results call whether there is another round.
const TO_CONTINUE: &str = "to_continue";
/// The longest text of a variable [characters].
const TEXT_CHARS_MAX: usize = 10_000;

static HOLDER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"___(?:run_(\d+)|var_(\d+)_([A-Za-z0-9]+(?:_[A-Za-z0-9]+)*))___")
        .expect("a pattern of this file")
});
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[A-Za-z0-9]+(?:_[A-Za-z0-9]+)*$").expect("a pattern of this file")
});

/// A workflow within another whose steps share variables, and which may be repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBlock {
    /// The name of the step that stands for it.
    pub name: String,
    /// The block in which it stands, by its place among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outer: Option<u32>,
    /// The places of its steps, with those of blocks within it.
    pub steps: Vec<u32>,
    /// The place of the junction that says whether it is repeated; none if it never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub junction: Option<u32>,
    /// Its variables as they are at first.
    pub variables: BTreeMap<String, Variable>,
}

/// What a variable is at first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variable {
    /// This value. Junctions may set another one.
    Value(Value),
    /// What a variable of the outer block is, or one item of that.
    Outer {
        /// Its name there.
        name: String,
        /// Which item, from 0; none for all of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<usize>,
    },
}

/// How far a block has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockState {
    /// Its round, from 1.
    pub round: u32,
    /// Its variables that junctions have set.
    #[serde(default)]
    pub values: BTreeMap<String, Value>,
    /// Whether its junction wants another round.
    #[serde(default)]
    pub goes_on: bool,
}

impl Default for BlockState {
    fn default() -> Self {
        Self {
            round: 1,
            values: BTreeMap::new(),
            goes_on: false,
        }
    }
}

/// The blocks of a workflow, and how far each has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Blocks {
    /// What they are; each comes after the one in which it stands.
    pub planned: Vec<PlannedBlock>,
    /// How far they have come, in the same order.
    pub states: Vec<BlockState>,
}

impl From<Vec<PlannedBlock>> for Blocks {
    fn from(planned: Vec<PlannedBlock>) -> Self {
        let states = planned.iter().map(|_| BlockState::default()).collect();
        Self { planned, states }
    }
}

impl Blocks {
    /// Says whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    fn at(&self, block: u32) -> Option<(&PlannedBlock, &BlockState)> {
        let at = usize::try_from(block).ok()?;
        Some((self.planned.get(at)?, self.states.get(at)?))
    }

    /// Lists a block and those in which it stands, from within.
    pub fn around(&self, block: Option<u32>) -> impl Iterator<Item = u32> {
        let outer = |block: &u32| {
            let outer = self.at(*block)?.0.outer;
            // An outer one comes first, so this ends whatever the rows say.
            outer.filter(|outer| outer < block)
        };
        std::iter::successors(block, outer)
    }

    /// The rounds of the loops in which a block stands, with its own; empty outside of loops.
    #[must_use]
    pub fn rounds(&self, block: Option<u32>) -> String {
        let around = self.around(block).filter_map(|block| self.at(block));
        let loops = around.filter(|(planned, _)| planned.junction.is_some());
        let mut rounds: Vec<String> = loops.map(|(_, state)| state.round.to_string()).collect();
        rounds.reverse();
        rounds.join("_")
    }

    /// What a variable of a block is now.
    #[must_use]
    pub fn value(&self, block: u32, name: &str) -> Option<&Value> {
        let (planned, state) = self.at(block)?;
        if let Some(value) = state.values.get(name) {
            return Some(value);
        }
        match planned.variables.get(name)? {
            Variable::Value(value) => Some(value),
            Variable::Outer { name, item } => {
                let outer = planned.outer.filter(|outer| *outer < block)?;
                let value = self.value(outer, name)?;
                match item {
                    None => Some(value),
                    Some(item) => value.get(item),
                }
            }
        }
    }

    /// Takes the results of the junction at a place: variables of its block, and whether there is
    /// another round.
    pub fn take_results(&mut self, block: u32, place: u32, results: &Map<String, Value>) {
        let Ok(at) = usize::try_from(block) else {
            return;
        };
        let (Some(planned), Some(state)) = (self.planned.get(at), self.states.get_mut(at)) else {
            return;
        };
        for (name, variable) in &planned.variables {
            if let (Variable::Value(_), Some(value)) = (variable, results.get(name)) {
                state.values.insert(name.clone(), value.clone());
            }
        }
        if planned.junction == Some(place) {
            state.goes_on = results.get(TO_CONTINUE).is_some_and(is_true);
        }
    }

    /// Begins the next round of a block: blocks within it begin anew.
    pub fn next_round(&mut self, block: u32) {
        for place in (0..).take(self.planned.len()) {
            let is_within = place != block && self.around(Some(place)).any(|one| one == block);
            let state = usize::try_from(place)
                .ok()
                .and_then(|at| self.states.get_mut(at));
            match state {
                Some(state) if is_within => *state = BlockState::default(),
                Some(state) if place == block => {
                    state.round = state.round.saturating_add(1);
                    state.goes_on = false;
                }
                Some(_) | None => {}
            }
        }
    }

    /// Puts what is known now in the places of holders of a text.
    #[must_use]
    pub fn filled(&self, text: &str) -> String {
        self.fill(text, Spelling::Plain)
    }

    /// Puts what is known now in the places of holders of task parameters.
    #[must_use]
    pub fn filled_params(&self, params: &Map<String, Value>) -> Map<String, Value> {
        if self.is_empty() {
            return params.clone();
        }
        let entries = params.iter();
        entries
            .map(|(key, value)| (key.clone(), self.filled_value(value, Spelling::Plain)))
            .collect()
    }

    fn filled_value(&self, value: &Value, spelling: Spelling) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(text, spelling)),
            Value::Array(items) => {
                let items = items.iter();
                items
                    .map(|item| self.filled_value(item, spelling))
                    .collect()
            }
            Value::Object(entries) => {
                // Pieces of the command follow each other without a blank, and are encoded.
                let spelling = match entries.get("padding") {
                    Some(Value::Bool(false)) => Spelling::Encoded,
                    Some(_) | None => spelling,
                };
                let entries = entries.iter();
                Value::Object(
                    entries
                        .map(|(key, value)| (key.clone(), self.filled_value(value, spelling)))
                        .collect(),
                )
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn fill(&self, text: &str, spelling: Spelling) -> String {
        let number = |found: &Captures<'_>, group| found.get(group)?.as_str().parse().ok();
        let filled = HOLDER.replace_all(text, |found: &Captures<'_>| {
            let known = match (number(found, 1), number(found, 2), found.get(3)) {
                (Some(block), _, _) => self.at(block).map(|_| self.rounds(Some(block))),
                (None, Some(block), Some(name)) => self.value(block, name.as_str()).map(text_of),
                (None, _, _) => None,
            };
            match (known, spelling) {
                (Some(known), Spelling::Plain) => known,
                (Some(known), Spelling::Encoded) => percent_encoded(&known),
                // It is no holder, but the user's own text.
                (None, _) => found[0].to_owned(),
            }
        });
        filled.into_owned()
    }
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Plain,
    Encoded,
}

fn is_true(value: &Value) -> bool {
    value.as_bool().unwrap_or(value.as_i64() == Some(1))
}

/// Writes a value as users see it.
fn text_of(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    };
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// What stands for the rounds of the loops around a block.
pub(super) fn round_holder(block: u32) -> String {
    format!("___run_{block}___")
}

/// What stands for a variable of a block.
pub(super) fn variable_holder(block: u32, name: &str) -> String {
    format!("___var_{block}_{name}___")
}

/// Says whether a variable may have this name.
pub(super) fn is_variable_name(name: &str) -> bool {
    NAME.is_match(name) && name != "i"
}
