//! How the catalogue is written in TOML, and what is refused.
//!
//! A file is a `scope`, which says where its patterns are looked for, and a list of `[[entry]]`.
//! Its main function, [`read_file`], turns one text into entries and rules that hold what they
//! promise; what only shows across files is checked by `Catalogue`.

use ailurus_model::{Blame, ErrorCode};
use serde::Deserialize;

use crate::{
    entry::{Action, Category, Entry, ErrorSource, Explains, Scope},
    pattern::LinePattern,
};

/// A rule needs this many bytes of plain text, so that the search stays fast.
pub(crate) const LITERAL_BYTES_MIN: usize = 4;

/// A catalogue's file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// It is not TOML, a key is unknown or missing, or a word is not in the list of its key.
    #[error("error catalogue `{file}`, line {line}: {problem}, in `{text}`")]
    Syntax {
        /// The file's name.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what is allowed.
        problem: String,
        /// The line's text.
        text: String,
    },
    /// A value is of the right kind but not allowed.
    #[error(
        "error catalogue `{file}`, entry `{entry}`: `{key}` is `{value}`, allowed is {allowed}"
    )]
    Value {
        /// The file's name.
        file: String,
        /// The entry's id.
        entry: String,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// Codes of a source that no entry names would have no explanation.
    #[error("error catalogue: add an entry with `explains = {{ source = \"{of}\", codes = [] }}`")]
    NoFallback {
        /// The source.
        of: ErrorSource,
    },
}

/// Finds an entry: the line holds the literal and, if there is one, matches the pattern.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) literal: String,
    pub(crate) pattern: Option<LinePattern>,
}

/// Whether somebody has made sure that a file's patterns are regular expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patterns {
    /// A test has: they are compiled when they are first needed.
    Tested,
    /// Nobody has: they are compiled at once.
    Untested,
}

/// An entry with the rules that find it.
#[derive(Debug, Clone)]
pub(crate) struct EntryWithRules {
    pub(crate) entry: Entry,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    scope: Option<Scope>,
    entry: Vec<RawEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    id: String,
    code: Option<i64>,
    stage_out_code: Option<i64>,
    category: Category,
    blame: Blame,
    action: Action,
    cause: String,
    remedy: String,
    explains: Option<RawExplains>,
    #[serde(default)]
    decisive: bool,
    #[serde(default)]
    exit_codes: Vec<i64>,
    #[serde(default)]
    patterns: Vec<RawRule>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    counter_examples: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExplains {
    source: ErrorSource,
    codes: Vec<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    literal: String,
    pattern: Option<String>,
}

/// Reads one file.
pub(crate) fn read_file(
    file: &str,
    text: &str,
    patterns: Patterns,
) -> Result<Vec<EntryWithRules>, CatalogueError> {
    let raw: RawFile = toml::from_str(text).map_err(|error| syntax_error(file, text, &error))?;
    raw.entry
        .into_iter()
        .map(|entry| {
            let id = entry.id.clone();
            Judge { file, id, patterns }.entry(entry, raw.scope)
        })
        .collect()
}

fn syntax_error(file: &str, text: &str, error: &toml::de::Error) -> CatalogueError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.as_bytes()[..start]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count();
    CatalogueError::Syntax {
        file: file.to_owned(),
        line: before + 1,
        problem: error.message().trim().replace('\n', ", "),
        text: text
            .lines()
            .nth(before)
            .unwrap_or_default()
            .trim()
            .to_owned(),
    }
}

/// Judges the values of one entry.
struct Judge<'a> {
    file: &'a str,
    id: String,
    patterns: Patterns,
}

impl Judge<'_> {
    fn entry(&self, raw: RawEntry, scope: Option<Scope>) -> Result<EntryWithRules, CatalogueError> {
        self.id_is_kebab_case()?;
        self.is_a_sentence("cause", &raw.cause)?;
        self.is_a_sentence("remedy", &raw.remedy)?;
        let rules = raw
            .patterns
            .iter()
            .map(|rule| self.rule(rule))
            .collect::<Result<Vec<_>, _>>()?;
        if !rules.is_empty() {
            if scope.is_none() {
                return Err(self.refuse("patterns", "given", "none in a file without `scope`"));
            }
            if raw.examples.is_empty() {
                return Err(self.refuse("examples", "[]", "at least one line if it has patterns"));
            }
        }
        let explains = raw.explains.map(|raw| Explains {
            source: raw.source,
            codes: raw.codes,
        });
        let entry = Entry {
            code: self.code(raw.code, explains.as_ref())?,
            stage_out_code: self.registered("stage_out_code", raw.stage_out_code)?,
            id: raw.id,
            category: raw.category,
            blame: raw.blame,
            cause: raw.cause,
            remedy: raw.remedy,
            action: raw.action,
            explains,
            decisive: raw.decisive,
            exit_codes: raw.exit_codes,
            scope: scope.filter(|_| !rules.is_empty()),
            examples: raw.examples,
            counter_examples: raw.counter_examples,
        };
        Ok(EntryWithRules { entry, rules })
    }

    /// An entry about one code of the pilot has that code, without saying so twice.
    fn code(
        &self,
        code: Option<i64>,
        explains: Option<&Explains>,
    ) -> Result<Option<ErrorCode>, CatalogueError> {
        match explains {
            Some(Explains {
                source: ErrorSource::Pilot,
                codes,
            }) if code.is_none() => self.registered("explains", codes.first().copied()),
            Some(_) | None => self.registered("code", code),
        }
    }

    fn registered(
        &self,
        key: &'static str,
        code: Option<i64>,
    ) -> Result<Option<ErrorCode>, CatalogueError> {
        code.map(|number| {
            ErrorCode::from_number(number)
                .ok()
                .filter(|code| i64::from(code.number()) == number)
                .ok_or_else(|| {
                    self.refuse(key, &number.to_string(), "a code of the pilot's registry")
                })
        })
        .transpose()
    }

    fn rule(&self, raw: &RawRule) -> Result<Rule, CatalogueError> {
        if raw.literal.trim().len() < LITERAL_BYTES_MIN || raw.literal.contains(['\n', '\r']) {
            let allowed = format!("a part of one line of at least {LITERAL_BYTES_MIN} bytes");
            return Err(self.refuse("literal", &raw.literal, &allowed));
        }
        let pattern = raw
            .pattern
            .as_deref()
            .map(|text| self.pattern(text))
            .transpose()?;
        Ok(Rule {
            literal: raw.literal.clone(),
            pattern,
        })
    }

    fn pattern(&self, text: &str) -> Result<LinePattern, CatalogueError> {
        match self.patterns {
            Patterns::Tested => Ok(LinePattern::tested(text)),
            Patterns::Untested => LinePattern::untested(text).map_err(|error| {
                // The last line of the error's drawing says what is wrong.
                let drawing = error.to_string();
                let reason = drawing.lines().last().unwrap_or_default();
                self.refuse("pattern", text, &format!("a regular expression ({reason})"))
            }),
        }
    }

    fn id_is_kebab_case(&self) -> Result<(), CatalogueError> {
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if self.id.split('-').all(is_word) {
            return Ok(());
        }
        Err(self.refuse("id", &self.id, "words of a-z and 0-9 with `-` between"))
    }

    fn is_a_sentence(&self, key: &'static str, text: &str) -> Result<(), CatalogueError> {
        if text.ends_with('.') && text.trim().len() > 1 && !text.contains('\n') {
            return Ok(());
        }
        Err(self.refuse(key, text, "one line that ends in a full stop"))
    }

    fn refuse(&self, key: &'static str, value: &str, allowed: &str) -> CatalogueError {
        refuse(self.file, &self.id, key, value, allowed)
    }
}

/// Makes the error for a value that is not allowed.
pub(crate) fn refuse(
    file: &str,
    entry: &str,
    key: &'static str,
    value: &str,
    allowed: &str,
) -> CatalogueError {
    CatalogueError::Value {
        file: file.to_owned(),
        entry: entry.to_owned(),
        key,
        value: value.to_owned(),
        allowed: allowed.to_owned(),
    }
}
