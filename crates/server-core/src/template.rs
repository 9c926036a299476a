//! Placeholders in a task's parameters and file names.
//!
//! A template is text with placeholders in braces, which are filled in when an attempt of a job is
//! given to a pilot. `{{` and `}}` stand for the braces themselves.
//!
//! | placeholder | becomes |
//! |---|---|
//! | `{seed}` | the attempt's random seed; no other attempt of the task has it |
//! | `{part}` | which part of the task the job is, from 0 |
//! | `{attempt}` | which attempt, from 1 |
//! | `{events}` | events to make, 0 for jobs made from files |
//! | `{first_event}` | the first of them, from 0 |
//! | `{task}` | the task's name |
//! | `{input.NAME}` | names of the job's files of that input, joined by commas |
//! | `{output.NAME}` | name of the job's file of that output |
//!
//! Numbers can be padded with zeros: `{seed:06}` has at least six digits.

use std::{collections::BTreeMap, fmt::Write as _};

use ailurus_model::{AttemptNr, Lfn, Seed};

/// Most digits to which a number can be padded: those of the largest one.
const WIDTH_MAX: usize = 20;

/// A number that a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// `{seed}`
    Seed,
    /// `{part}`
    Part,
    /// `{attempt}`
    Attempt,
    /// `{events}`
    Events,
    /// `{first_event}`
    FirstEvent,
}

impl Number {
    const ALL: [Self; 5] = [
        Self::Seed,
        Self::Part,
        Self::Attempt,
        Self::Events,
        Self::FirstEvent,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::Part => "part",
            Self::Attempt => "attempt",
            Self::Events => "events",
            Self::FirstEvent => "first_event",
        }
    }
}

/// Names that a template may refer to, besides the numbers and the task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names<'a> {
    /// Names of the task's inputs.
    pub inputs: Vec<&'a str>,
    /// Names of the task's outputs.
    pub outputs: Vec<&'a str>,
}

/// A template that was read and is without fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Number { number: Number, width: usize },
    Task,
    Input(String),
    Output(String),
}

/// What the placeholders become.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Values<'a> {
    /// `{seed}`
    pub seed: Seed,
    /// `{part}`
    pub part: u32,
    /// `{attempt}`
    pub attempt: AttemptNr,
    /// `{events}`
    pub events: u64,
    /// `{first_event}`
    pub first_event: u64,
    /// `{task}`
    pub task: &'a str,
    /// `{input.NAME}`, by name.
    pub inputs: BTreeMap<&'a str, Vec<Lfn>>,
    /// `{output.NAME}`, by name.
    pub outputs: BTreeMap<&'a str, Lfn>,
}

/// A text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder that is not known here.
    #[error("placeholder `{{{placeholder}}}` is not known: allowed are {allowed}")]
    UnknownPlaceholder {
        /// What stands between the braces.
        placeholder: String,
        /// All that may stand there, joined by commas.
        allowed: String,
    },
    /// A padding that is no zero and a number of digits, or is not at a number.
    #[error(
        "padding `:{padding}` of placeholder `{name}` is not understood: \
         write a zero and 1 to {WIDTH_MAX} digits at a number, as in `{{seed:06}}`"
    )]
    BadPadding {
        /// The placeholder's name.
        name: String,
        /// What stands after the colon.
        padding: String,
    },
    /// A brace that is not one of a pair.
    #[error("brace before `{rest}` is not one of a pair: write `{{{{` or `}}}}` for a plain one")]
    StrayBrace {
        /// What follows the brace, at most 20 characters.
        rest: String,
    },
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if a placeholder is not known, a padding is not understood or a brace is
    /// not one of a pair.
    pub fn parse(text: &str, names: &Names<'_>) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(position) = rest.find(['{', '}']) {
            plain.push_str(&rest[..position]);
            let (brace, after) = rest[position..].split_at(1);
            if let Some(after_pair) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after_pair;
                continue;
            }
            let stray = || TemplateError::StrayBrace {
                rest: after.chars().take(20).collect(),
            };
            if brace == "}" {
                return Err(stray());
            }
            let (inside, after_placeholder) = after.split_once('}').ok_or_else(stray)?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(placeholder(inside, names)?);
            rest = after_placeholder;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { pieces })
    }

    /// Says whether the template has a placeholder for a number.
    #[must_use]
    pub fn has(&self, wanted: Number) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Number { number, .. } if *number == wanted))
    }

    /// Fills the placeholders in. A name without a value becomes nothing.
    #[must_use]
    pub fn expand(&self, values: &Values<'_>) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Number { number, width } => {
                    let value = values.number(*number);
                    write!(text, "{value:0width$}").expect("writing to a text never fails");
                }
                Piece::Task => text.push_str(values.task),
                Piece::Input(name) => {
                    let lfns = values.inputs.get(name.as_str());
                    let lfns = lfns.into_iter().flatten().map(Lfn::as_str);
                    text.push_str(&lfns.collect::<Vec<_>>().join(","));
                }
                Piece::Output(name) => {
                    text.push_str(values.outputs.get(name.as_str()).map_or("", Lfn::as_str));
                }
            }
        }
        text
    }
}

impl Values<'_> {
    fn number(&self, number: Number) -> u64 {
        match number {
            Number::Seed => self.seed.value(),
            Number::Part => u64::from(self.part),
            Number::Attempt => u64::from(self.attempt.value()),
            Number::Events => self.events,
            Number::FirstEvent => self.first_event,
        }
    }
}

fn placeholder(inside: &str, names: &Names<'_>) -> Result<Piece, TemplateError> {
    let (name, padding) = match inside.split_once(':') {
        Some((name, padding)) => (name, Some(padding)),
        None => (inside, None),
    };
    let bad_padding = |padding: &str| TemplateError::BadPadding {
        name: name.to_owned(),
        padding: padding.to_owned(),
    };
    if let Some(number) = Number::ALL.into_iter().find(|number| number.name() == name) {
        let width = match padding {
            Some(padding) => width_of(padding).ok_or_else(|| bad_padding(padding))?,
            None => 0,
        };
        return Ok(Piece::Number { number, width });
    }
    let piece = match name.split_once('.') {
        None if name == "task" => Some(Piece::Task),
        Some(("input", input)) if names.inputs.contains(&input) => {
            Some(Piece::Input(input.to_owned()))
        }
        Some(("output", output)) if names.outputs.contains(&output) => {
            Some(Piece::Output(output.to_owned()))
        }
        Some(_) | None => None,
    };
    let piece = piece.ok_or_else(|| TemplateError::UnknownPlaceholder {
        placeholder: inside.to_owned(),
        allowed: allowed(names),
    })?;
    padding.map_or(Ok(piece), |padding| Err(bad_padding(padding)))
}

fn width_of(padding: &str) -> Option<usize> {
    let digits = padding.strip_prefix('0')?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let width: usize = digits.parse().ok().filter(|_| is_plain)?;
    (1..=WIDTH_MAX).contains(&width).then_some(width)
}

fn allowed(names: &Names<'_>) -> String {
    let numbers = Number::ALL.iter().map(|number| number.name().to_owned());
    let inputs = names.inputs.iter().map(|name| format!("input.{name}"));
    let outputs = names.outputs.iter().map(|name| format!("output.{name}"));
    let all: Vec<String> = numbers
        .chain(["task".to_owned()])
        .chain(inputs)
        .chain(outputs)
        .map(|name| format!("`{{{name}}}`"))
        .collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> Names<'static> {
        Names {
            inputs: vec!["sim"],
            outputs: vec!["reco"],
        }
    }

    fn expanded(text: &str) -> String {
        let values = Values {
            seed: Seed::new(42),
            part: 3,
            attempt: AttemptNr::new(2),
            events: 1000,
            first_event: 3000,
            task: "reconstruction",
            inputs: BTreeMap::from([("sim", vec![Lfn::new("a.root"), Lfn::new("b.root")])]),
            outputs: BTreeMap::from([("reco", Lfn::new("c.root"))]),
        };
        Template::parse(text, &names()).unwrap().expand(&values)
    }

    fn refused(text: &str) -> String {
        let error = Template::parse(text, &names()).expect_err("no template");
        error.to_string()
    }

    #[test]
    fn every_placeholder_is_filled_in() {
        assert_eq!(
            expanded("{seed} {part} {attempt} {events} {first_event} {task}"),
            "42 3 2 1000 3000 reconstruction"
        );
        assert_eq!(
            expanded("-i {input.sim} -o {output.reco}"),
            "-i a.root,b.root -o c.root"
        );
    }

    #[test]
    fn numbers_are_padded_with_zeros() {
        assert_eq!(expanded("{seed:06}_{part:01}_{events:02}"), "000042_3_1000");
    }

    #[test]
    fn doubled_braces_are_plain_ones() {
        assert_eq!(expanded("{{seed}} }}{{"), "{seed} }{");
        assert_eq!(expanded("{{{{{seed}"), "{{42");
    }

    #[test]
    fn an_unknown_placeholder_names_the_allowed_ones() {
        assert_eq!(
            refused("{sed}"),
            "placeholder `{sed}` is not known: allowed are `{seed}`, `{part}`, `{attempt}`, \
             `{events}`, `{first_event}`, `{task}`, `{input.sim}`, `{output.reco}`"
        );
        assert!(refused("{input.reco}").contains("`{input.reco}` is not known"));
        assert!(refused("{}").contains("`{}` is not known"));
    }

    #[test]
    fn a_padding_must_be_a_zero_and_digits_at_a_number() {
        for text in [
            "{seed:6}",
            "{seed:}",
            "{seed:0}",
            "{seed:0x6}",
            "{seed:0+6}",
            "{seed:021}",
        ] {
            assert!(refused(text).contains("is not understood"), "{text}");
        }
        assert!(refused("{task:06}").contains("is not understood"));
    }

    #[test]
    fn a_brace_without_its_pair_is_refused() {
        assert!(refused("a } b").contains("brace before ` b`"));
        assert!(refused("a { b").contains("brace before ` b`"));
    }

    proptest! {
        #[test]
        fn reading_any_text_never_panics(text in ".*") {
            let _ = Template::parse(&text, &names());
        }

        #[test]
        fn text_with_doubled_braces_comes_back(text in ".*") {
            let doubled = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(expanded(&doubled), text);
        }

        #[test]
        fn padding_keeps_the_number(seed: u64, width in 1_usize..=WIDTH_MAX) {
            let template = Template::parse(&format!("{{seed:0{width}}}"), &names()).unwrap();
            let text = template.expand(&Values { seed: Seed::new(seed), ..Values::default() });
            prop_assert!(text.len() >= width);
            prop_assert_eq!(text.parse(), Ok(seed));
        }

        #[test]
        fn different_seeds_give_different_names(a: u64, b: u64) {
            prop_assume!(a != b);
            let template = Template::parse("gen_{seed:06}.root", &Names::default()).unwrap();
            let name = |seed| template.expand(&Values { seed: Seed::new(seed), ..Values::default() });
            prop_assert_ne!(name(a), name(b));
        }
    }
}
