//! When a step runs at all: the conditions of `when`.
//!
//! A condition names inputs of its step. Such an input stands for the steps that make it, and holds
//! once they have succeeded; with `!` before it, once they have failed.
//!
//! Source: PanDA server, `pandaserver/workflow/pcwl_utils.py` (`parse_condition_string`).

use serde::{Deserialize, Serialize};

/// Parentheses within each other, at most.
const DEPTH_MAX: usize = 32;

/// When a step runs. `S` is what its leaves are: names of inputs, or numbers of steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition<S> {
    /// All of these succeeded.
    Done(S),
    /// All of these failed.
    Failed(S),
    /// Both hold.
    And(Box<Self>, Box<Self>),
    /// At least one holds.
    Or(Box<Self>, Box<Self>),
}

/// How a step ended that a condition names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has not ended.
    Open,
    /// It succeeded.
    Done,
    /// It failed, was killed, or never ran.
    Failed,
}

impl<S> Condition<S> {
    /// Makes a condition about other things.
    ///
    /// # Errors
    ///
    /// Whatever `about` fails with.
    pub fn try_map<T, E>(
        &self,
        about: &mut impl FnMut(&S) -> Result<T, E>,
    ) -> Result<Condition<T>, E> {
        Ok(match self {
            Self::Done(leaf) => Condition::Done(about(leaf)?),
            Self::Failed(leaf) => Condition::Failed(about(leaf)?),
            Self::And(left, right) => Condition::And(
                Box::new(left.try_map(about)?),
                Box::new(right.try_map(about)?),
            ),
            Self::Or(left, right) => Condition::Or(
                Box::new(left.try_map(about)?),
                Box::new(right.try_map(about)?),
            ),
        })
    }

    /// Lists all leaves.
    pub fn leaves(&self) -> Vec<&S> {
        match self {
            Self::Done(leaf) | Self::Failed(leaf) => vec![leaf],
            Self::And(left, right) | Self::Or(left, right) => {
                let mut leaves = left.leaves();
                leaves.extend(right.leaves());
                leaves
            }
        }
    }

    /// Lists the leaves that must fail.
    pub fn failing(&self) -> Vec<&S> {
        match self {
            Self::Done(_) => Vec::new(),
            Self::Failed(leaf) => vec![leaf],
            Self::And(left, right) | Self::Or(left, right) => {
                let mut leaves = left.failing();
                leaves.extend(right.failing());
                leaves
            }
        }
    }
}

impl Condition<Vec<u32>> {
    /// Says whether it holds; none while that is open.
    pub fn holds(&self, outcome: &impl Fn(u32) -> Outcome) -> Option<bool> {
        let all = |steps: &[u32], wanted: Outcome| {
            let mut is_open = false;
            for step in steps {
                match outcome(*step) {
                    Outcome::Open => is_open = true,
                    found if found == wanted => {}
                    Outcome::Done | Outcome::Failed => return Some(false),
                }
            }
            (!is_open).then_some(true)
        };
        match self {
            Self::Done(steps) => all(steps, Outcome::Done),
            Self::Failed(steps) => all(steps, Outcome::Failed),
            Self::And(left, right) => match (left.holds(outcome), right.holds(outcome)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                (None, _) | (_, None) => None,
            },
            Self::Or(left, right) => match (left.holds(outcome), right.holds(outcome)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                (None, _) | (_, None) => None,
            },
        }
    }
}

/// Reads a condition such as `$(self.opt_inDS && !self.opt_secondaryDSs)`.
///
/// # Errors
///
/// What is wrong with it, for people.
pub(super) fn parse(text: &str) -> Result<Condition<String>, String> {
    let inner = text.trim();
    let inner = inner
        .strip_prefix("$(")
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or(inner);
    let mut tokens = tokens(inner)?;
    tokens.reverse();
    let condition = parse_any(&mut tokens, 0)?;
    match tokens.pop() {
        None => Ok(condition),
        Some(token) => Err(format!("`when` has `{token}` where it should end")),
    }
}

fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' | '!' => 1,
            '&' | '|' if rest.starts_with("&&") || rest.starts_with("||") => 2,
            _ if rest.starts_with("self.") => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || "._[]".contains(c);
                rest.find(|c| !is_name(c)).unwrap_or(rest.len())
            }
            _ => {
                return Err(format!(
                    "`when` has `{rest}`, which is none of `self.INPUT`, `!`, `&&`, `||`, `(`, `)`"
                ));
            }
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token.to_owned());
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// Operators bind alike, from left to right, as in PanDA.
fn parse_any(tokens: &mut Vec<String>, depth: usize) -> Result<Condition<String>, String> {
    let mut left = parse_one(tokens, depth)?;
    while let Some(operator) = tokens.last().filter(|token| *token != ")").cloned() {
        tokens.pop();
        let right = Box::new(parse_one(tokens, depth)?);
        left = match operator.as_str() {
            "&&" => Condition::And(Box::new(left), right),
            "||" => Condition::Or(Box::new(left), right),
            other => return Err(format!("`when` has `{other}` where `&&` or `||` should be")),
        };
    }
    Ok(left)
}

fn parse_one(tokens: &mut Vec<String>, depth: usize) -> Result<Condition<String>, String> {
    if depth > DEPTH_MAX {
        return Err(format!(
            "`when` has more than {DEPTH_MAX} parentheses within each other"
        ));
    }
    let token = tokens.pop();
    match token.as_deref() {
        Some("(") => {
            let inner = parse_any(tokens, depth + 1)?;
            match tokens.pop().as_deref() {
                Some(")") => Ok(inner),
                Some(_) | None => Err("`when` lacks a `)`".to_owned()),
            }
        }
        Some("!") => Ok(negated(parse_one(tokens, depth + 1)?)),
        Some(name) => match name.strip_prefix("self.") {
            Some(input) if !input.is_empty() => Ok(Condition::Done(input.to_owned())),
            Some(_) | None => Err(format!("`when` has `{name}` where `self.INPUT` should be")),
        },
        None => Err("`when` ends too early".to_owned()),
    }
}

fn negated<S>(condition: Condition<S>) -> Condition<S> {
    match condition {
        Condition::Done(leaf) => Condition::Failed(leaf),
        Condition::Failed(leaf) => Condition::Done(leaf),
        Condition::And(left, right) => {
            Condition::Or(Box::new(negated(*left)), Box::new(negated(*right)))
        }
        Condition::Or(left, right) => {
            Condition::And(Box::new(negated(*left)), Box::new(negated(*right)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, outcomes: [Outcome; 2]) -> Option<bool> {
        let numbers =
            |name: &String| -> Result<Vec<u32>, ()> { Ok(vec![u32::from(name.as_str() == "b")]) };
        let condition = parse(text).expect(text).try_map(&mut { numbers });
        let at = |step: u32| outcomes[usize::try_from(step).expect("small")];
        condition.expect("mapped").holds(&at)
    }

    #[test]
    fn a_condition_holds_once_its_steps_ended_as_it_says() {
        use Outcome::{Done, Failed, Open};
        for (text, outcomes, expected) in [
            ("$(self.a)", [Done, Open], Some(true)),
            ("$(self.a)", [Open, Open], None),
            ("$(self.a)", [Failed, Open], Some(false)),
            ("$(!self.a)", [Failed, Open], Some(true)),
            ("$(self.a && self.b)", [Done, Open], None),
            ("$(self.a&&self.b)", [Failed, Open], Some(false)),
            ("$(self.a || self.b)", [Done, Open], Some(true)),
            ("$(self.a || !self.b)", [Failed, Failed], Some(true)),
            ("$(!(self.a || self.b))", [Failed, Done], Some(false)),
            ("$((self.a && self.b) || !self.a)", [Done, Done], Some(true)),
        ] {
            assert_eq!(holds(text, outcomes), expected, "{text} {outcomes:?}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in [
            "",
            "$(self.)",
            "self.a self.b",
            "self.a &&",
            "(self.a",
            "a",
            "self.a)",
            "!",
        ] {
            let problem = parse(text).expect_err(text);
            assert!(problem.contains("`when`"), "{text}: {problem}");
        }
        let deep = format!("{}self.a{}", "(".repeat(1000), ")".repeat(1000));
        assert!(parse(&deep).is_err());
    }
}
