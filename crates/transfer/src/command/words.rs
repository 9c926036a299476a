//! Words of a command with placeholders: from a description to an argument list.
//!
//! A value goes into one argument as it is, whatever bytes it has. No shell reads it.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

/// The placeholders that words may have, without their braces.
pub(super) const PLACEHOLDERS: [&str; 20] = [
    "url",
    "new_url",
    "directory_url",
    "server",
    "remote_path",
    "new_remote_path",
    "remote_directory",
    "path",
    "file_url",
    "local_directory",
    "size",
    "checksum",
    "checksum_kind",
    "adler32",
    "timeout",
    "scope",
    "lfn",
    "guid",
    "endpoint",
    "space_token",
];

/// What stands before the name of an option that depends on the program's help.
const OPTION: &str = "option.";

/// What the placeholders stand for. One that is not known has no value.
pub(super) type Values = BTreeMap<&'static str, OsString>;

/// A part of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// One argument.
    One(Template),
    /// Arguments that are there only if all that they name is known.
    IfKnown(Vec<Template>),
}

/// One argument with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(&'static str),
    Option(String),
}

/// Arguments cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WordsError {
    /// A value is needed and not known.
    #[error("the file's `{0}` is not known, which the program needs")]
    Unknown(&'static str),
    /// A value would be taken for an option.
    #[error("`{0}` begins with `-`, and the program would take it for an option")]
    LooksLikeOption(String),
    /// No argument can hold a zero byte.
    #[error("the file's `{0}` has a zero byte")]
    ZeroByte(&'static str),
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after
                .split_once('}')
                .ok_or_else(|| format!("`{text}` has a brace that is not closed"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(placeholder(name).ok_or_else(|| {
                let known = PLACEHOLDERS.join(", ");
                format!("`{{{name}}}` is no placeholder: there are {known}, and `option.NAME`")
            })?);
            rest = behind;
        }
        if !rest.is_empty() || parts.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if parts.len() > 1 && parts.iter().any(|part| matches!(part, Part::Option(_))) {
            return Err(format!("an option must be a word of its own in `{text}`"));
        }
        Ok(Self(parts))
    }

    /// Returns the option that the word stands for, if it does.
    pub(super) fn option(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Option(name)] => Some(name),
            _ => None,
        }
    }

    fn is_known(&self, values: &Values) -> bool {
        self.0.iter().all(|part| match part {
            Part::Text(_) | Part::Option(_) => true,
            Part::Value(name) => values.contains_key(name),
        })
    }

    fn fill(&self, values: &Values) -> Result<OsString, WordsError> {
        let mut filled = OsString::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push(text),
                Part::Value(name) => {
                    let value = values.get(name).ok_or(WordsError::Unknown(name))?;
                    if value.as_encoded_bytes().contains(&0) {
                        return Err(WordsError::ZeroByte(name));
                    }
                    filled.push(value);
                }
                Part::Option(_) => {}
            }
        }
        let begins_with_value = matches!(self.0.first(), Some(Part::Value(_)));
        if begins_with_value && filled.as_encoded_bytes().starts_with(b"-") {
            let shown = filled.to_string_lossy().into_owned();
            return Err(WordsError::LooksLikeOption(shown));
        }
        Ok(filled)
    }
}

impl Word {
    /// Returns the templates of the word.
    pub(super) fn templates(&self) -> &[Template] {
        match self {
            Self::One(template) => std::slice::from_ref(template),
            Self::IfKnown(templates) => templates,
        }
    }
}

/// Makes the argument list. `option` gives the words of an option, which depend on the program.
pub(super) fn fill_words(
    words: &[Word],
    values: &Values,
    option: &mut dyn FnMut(&str) -> Vec<Word>,
) -> Result<Vec<OsString>, WordsError> {
    let mut filled = Vec::new();
    for word in words {
        let is_optional = matches!(word, Word::IfKnown(_));
        if is_optional && !word.templates().iter().all(|it| it.is_known(values)) {
            continue;
        }
        for template in word.templates() {
            let Some(name) = template.option() else {
                filled.push(template.fill(values)?);
                continue;
            };
            match fill_words(&option(name), values, &mut |_: &str| Vec::new()) {
                Ok(words) => filled.extend(words),
                Err(WordsError::Unknown(_)) if is_optional => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(filled)
}

fn placeholder(name: &str) -> Option<Part> {
    if let Some(option) = name.strip_prefix(OPTION) {
        return Some(Part::Option(option.to_owned()));
    }
    let known = PLACEHOLDERS.iter().find(|known| **known == name);
    known.map(|known| Part::Value(known))
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordVisitor;

        impl<'de> Visitor<'de> for WordVisitor {
            type Value = Word;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word, or a list of words that belong together")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
                Template::parse(text).map(Word::One).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Word, A::Error> {
                let mut templates = Vec::new();
                while let Some(template) = list.next_element()? {
                    templates.push(template);
                }
                Ok(Word::IfKnown(templates))
            }
        }

        deserializer.deserialize_any(WordVisitor)
    }
}

/// Makes the argument list of a program that runs in the environment of a set-up script.
///
/// The shell gets the script and the program as arguments of its own and reads none of them as a
/// program text. What the script prints goes to standard error, and it sees no arguments but its
/// own.
pub(super) fn behind_setup(setup: &[OsString], argv: Vec<OsString>) -> Vec<OsString> {
    const SHELL: [&str; 2] = ["bash", "-c"];
    const SCRIPT: &str = r#"_setup=("${@:2:$1}"); _program=("${@:$1+2}"); set --
source "${_setup[@]}" >&2; exec "${_program[@]}""#;
    let head = SHELL.into_iter().chain([SCRIPT, "copy-tool"]);
    let mut all: Vec<OsString> = head.map(OsString::from).collect();
    all.push(setup.len().to_string().into());
    all.extend_from_slice(setup);
    all.extend(argv);
    all
}

/// Splits the set-up script of queue data at its blanks, and puts the values of variables in, as
/// the shell would that Pilot 3 gives it to.
pub(super) fn setup_words(
    setup: &str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Vec<OsString> {
    setup
        .split_ascii_whitespace()
        .map(|word| expand(word, &variable))
        .collect()
}

fn expand(word: &str, variable: &impl Fn(&str) -> Option<OsString>) -> OsString {
    let (mut expanded, mut rest) = (OsString::new(), word);
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push(before);
        let (name, behind) = match after.strip_prefix('{').and_then(|it| it.split_once('}')) {
            Some(parts) => parts,
            None => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
                after.split_at(end)
            }
        };
        if name.is_empty() {
            expanded.push("$");
        }
        expanded.push(variable(name).as_deref().unwrap_or(OsStr::new("")));
        rest = behind;
    }
    expanded.push(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&[&str]]) -> Vec<Word> {
        let template = |text: &&str| Template::parse(text).expect("a template");
        list.iter()
            .map(|group| match group {
                [one] => Word::One(template(one)),
                many => Word::IfKnown(many.iter().map(template).collect()),
            })
            .collect()
    }

    fn fill(list: &[&[&str]], values: &Values) -> Result<Vec<OsString>, WordsError> {
        fill_words(&words(list), values, &mut |_: &str| Vec::new())
    }

    #[test]
    fn a_value_is_one_argument_whatever_it_has() {
        let url = "root://h//a b;$(rm -rf /)'\"\n%20";
        let values = Values::from([("url", url.into())]);
        assert_eq!(
            fill(&[&["cp"], &["x={url}"], &["{url}"]], &values).expect("known"),
            ["cp", &format!("x={url}"), url].map(OsString::from)
        );
    }

    #[test]
    fn a_group_is_left_out_as_a_whole() {
        let values = Values::from([("guid", "g".into())]);
        let list: [&[&str]; 3] = [&["cp"], &["-t", "{space_token}"], &["--guid", "{guid}"]];
        assert_eq!(fill(&list, &values).expect("known"), ["cp", "--guid", "g"]);
    }

    #[test]
    fn a_value_that_must_be_known_is_named() {
        let error = fill(&[&["cp"], &["{space_token}"]], &Values::new()).expect_err("not known");
        assert_eq!(error, WordsError::Unknown("space_token"));
    }

    #[test]
    fn a_value_is_never_an_option() {
        let values = Values::from([("scope", "-rf".into()), ("path", "a\0b".into())]);
        let error = fill(&[&["{scope}:x"]], &values).expect_err("an option");
        assert_eq!(error, WordsError::LooksLikeOption("-rf:x".into()));
        assert_eq!(fill(&[&["x{scope}"]], &values).expect("a word"), ["x-rf"]);
        let error = fill(&[&["{path}"]], &values).expect_err("no argument");
        assert_eq!(error, WordsError::ZeroByte("path"));
    }

    #[test]
    fn an_unknown_placeholder_is_refused_with_those_there_are() {
        let error = Template::parse("{rse}").expect_err("unknown");
        assert!(
            error.contains("`{rse}`") && error.contains("endpoint"),
            "{error}"
        );
        assert!(Template::parse("{url").is_err());
    }

    #[test]
    fn variables_of_a_setup_are_filled_in() {
        let variable = |name: &str| (name == "SW").then(|| OsString::from("/sw"));
        assert_eq!(
            setup_words("$SW/a.sh ${SW}b $NONE. $", variable),
            ["/sw/a.sh", "/swb", ".", "$"]
        );
    }
}
