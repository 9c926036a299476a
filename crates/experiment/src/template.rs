//! Text with placeholders in braces, filled from a job.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The placeholders that templates may have, without their braces.
pub const PLACEHOLDERS: [&str; 15] = [
    "script",
    "parameters",
    "arguments",
    "image",
    "cores",
    "panda_id",
    "task_id",
    "attempt",
    "queue",
    "directory",
    "options",
    "if_present",
    "variables",
    "name",
    "path",
];

/// Text with placeholders such as `{cores}`; `{{` and `}}` stand for single braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(&'static str),
}

/// A text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder that nobody fills.
    #[error("`{{{name}}}` in `{template}` is not a placeholder: allowed are {allowed}")]
    UnknownPlaceholder {
        /// What stands in the braces.
        name: String,
        /// The whole text.
        template: String,
        /// The allowed names, joined by commas.
        allowed: String,
    },
    /// A brace without its partner.
    #[error("`{template}` has a single brace: write `{{{{` or `}}}}` for a brace that is meant")]
    SingleBrace {
        /// The whole text.
        template: String,
    },
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] for unknown placeholders and single braces.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let single = || TemplateError::SingleBrace {
            template: source.to_owned(),
        };
        let (mut parts, mut text) = (Vec::new(), String::new());
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            if rest[at + 1..].starts_with(brace) {
                text.push_str(brace);
                rest = &rest[at + 2..];
                continue;
            }
            let inside = rest[at..].strip_prefix('{').ok_or_else(single)?;
            let (name, after) = inside.split_once('}').ok_or_else(single)?;
            let known = PLACEHOLDERS.iter().find(|known| **known == name);
            let known = known.ok_or_else(|| TemplateError::UnknownPlaceholder {
                name: name.to_owned(),
                template: source.to_owned(),
                allowed: PLACEHOLDERS.map(|known| format!("{{{known}}}")).join(", "),
            })?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Placeholder(known));
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self {
            source: source.to_owned(),
            parts,
        })
    }

    /// Returns the template as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Says whether the template is exactly this one placeholder.
    #[must_use]
    pub fn is_placeholder(&self, name: &str) -> bool {
        matches!(self.parts.as_slice(), [Part::Placeholder(only)] if *only == name)
    }

    /// Says whether the placeholder stands somewhere in the template.
    #[must_use]
    pub fn mentions(&self, name: &str) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Placeholder(known) if *known == name))
    }

    /// Fills the placeholders in. One without a value becomes nothing.
    #[must_use]
    pub fn fill(&self, values: &BTreeMap<&str, String>) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.as_str(),
                Part::Placeholder(name) => values.get(name).map_or("", String::as_str),
            })
            .collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.source)
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_double_braces_are_braces() {
        let template = Template::parse("{script}({parameters}) {{x}}").expect("template");
        let values = BTreeMap::from([
            ("script", "m.C".to_owned()),
            ("parameters", "1,2".to_owned()),
        ]);
        assert_eq!(template.fill(&values), "m.C(1,2) {x}");
    }

    #[test]
    fn an_unknown_placeholder_is_refused_with_the_allowed_ones() {
        let error = Template::parse("{sript}")
            .expect_err("misspelt")
            .to_string();
        assert!(
            error.contains("`{sript}`") && error.contains("{script}, {parameters}"),
            "{error}"
        );
    }

    #[test]
    fn a_single_brace_is_refused() {
        assert!(Template::parse("a}b").is_err());
        assert!(Template::parse("a{b").is_err());
    }
}
