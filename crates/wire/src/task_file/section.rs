//! One table of a task file with the place it has there, read key by key.
//!
//! [`Section`] knows nothing of tasks: it checks types and ranges, and says where what is wrong.

use std::{fmt, ops::Range, str::FromStr};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::error::{TaskFileError, TaskFileProblem};

/// Longest piece of the file that an error repeats, in characters.
const SHOWN_VALUE_CHARS: usize = 200;
/// Longest name, in bytes: what file systems and Rucio's tables take.
const MAX_NAME_BYTES: usize = 250;
/// What a name may hold besides letters and digits. Blanks, slashes and quotes are left out because
/// names become paths, URLs and words of a command line.
const NAME_SIGNS: &str = "._-:+=@~";

/// The file that is read, for messages.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    pub(super) fn error(
        self,
        span: Option<Range<usize>>,
        path: String,
        problem: TaskFileProblem,
    ) -> TaskFileError {
        let before = span.and_then(|span| self.text.get(..span.start));
        TaskFileError {
            file: self.file.to_owned(),
            line: before.map(|before| before.matches('\n').count() + 1),
            path,
            problem,
        }
    }
}

/// What a name may be made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKind {
    /// Letters, digits and some signs.
    Plain,
    /// The same, and placeholders in braces.
    Template,
}

/// One table of the file.
pub(super) struct Section<'a> {
    source: Source<'a>,
    path: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
}

type Value<'a> = &'a Spanned<DeValue<'a>>;

impl<'a> Section<'a> {
    /// Opens the table of the whole file.
    pub(super) fn root(
        source: Source<'a>,
        table: &'a Spanned<DeTable<'a>>,
        keys: &[&str],
    ) -> Result<Self, TaskFileError> {
        let section = Self {
            source,
            path: String::new(),
            span: table.span(),
            table: table.get_ref(),
        };
        section.refuse_unknown_keys(keys)?;
        Ok(section)
    }

    /// Opens each table of a list such as `[[task]]`, in order. `title` is the key whose text
    /// names an entry in messages.
    pub(super) fn sections(
        &self,
        key: &'static str,
        title: &str,
        keys: &[&str],
    ) -> Result<Vec<Self>, TaskFileError> {
        const EXPECTED: &str = "a list of tables, each written with double brackets";
        let Some(value) = self.table.get(key) else {
            return Ok(Vec::new());
        };
        let entries =
            (value.get_ref().as_array()).ok_or_else(|| self.wrong_type(key, value, EXPECTED))?;
        let mut sections = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let table = (entry.get_ref().as_table())
                .ok_or_else(|| self.wrong_type(key, value, EXPECTED))?;
            let name = table.get(title).and_then(|title| title.get_ref().as_str());
            let mut path = self.key_path(&format!("{key}[{index}]"));
            if let Some(name) = name {
                path.push_str(&format!(" \"{}\"", shortened(name)));
            }
            let section = Self {
                source: self.source,
                path,
                span: entry.span(),
                table,
            };
            section.refuse_unknown_keys(keys)?;
            sections.push(section);
        }
        Ok(sections)
    }

    /// Says whether the key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Reads a text that is not empty.
    pub(super) fn text(
        &self,
        key: &'static str,
        expected: &'static str,
    ) -> Result<Option<&'a str>, TaskFileError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let text =
            (value.get_ref().as_str()).ok_or_else(|| self.wrong_type(key, value, expected))?;
        if text.trim().is_empty() || text.contains(|c: char| c.is_control() && c != '\n') {
            let allowed =
                format!("it must be {expected}, not empty and without control characters");
            return Err(self.bad_value(key, value, allowed));
        }
        Ok(Some(text))
    }

    /// Reads a name; see [`NameKind`] for what it may hold.
    pub(super) fn name(
        &self,
        key: &'static str,
        kind: NameKind,
    ) -> Result<Option<&'a str>, TaskFileError> {
        let Some(name) = self.text(key, "a name")? else {
            return Ok(None);
        };
        let is_allowed = |c: char| {
            c.is_ascii_alphanumeric()
                || NAME_SIGNS.contains(c)
                || (kind == NameKind::Template && matches!(c, '{' | '}'))
        };
        let hidden = name.starts_with(['.', '-']);
        if hidden || name.len() > MAX_NAME_BYTES || !name.chars().all(is_allowed) {
            let placeholders = match kind {
                NameKind::Plain => "",
                NameKind::Template => " and placeholders in braces",
            };
            let allowed = format!(
                "letters, digits, `{NAME_SIGNS}`{placeholders}, at most {MAX_NAME_BYTES} bytes, not `.` or `-` at the start"
            );
            return Err(self.bad(key, allowed));
        }
        Ok(Some(name))
    }

    /// Reads a name that must be there.
    pub(super) fn required_name(
        &self,
        key: &'static str,
        kind: NameKind,
    ) -> Result<&'a str, TaskFileError> {
        self.name(key, kind)?
            .ok_or_else(|| self.missing(key, "a name"))
    }

    /// Reads a text by the type's own rules, whose message says what is allowed.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, TaskFileError>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.parsed_with(key, expected, str::parse)
    }

    /// As [`Section::parsed`], by a function.
    pub(super) fn parsed_with<T, E: fmt::Display>(
        &self,
        key: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, TaskFileError> {
        self.text(key, expected)?
            .map(parse)
            .transpose()
            .map_err(|error| {
                let reason = shortened(&error.to_string());
                self.problem_at(key, TaskFileProblem::UnreadableValue { reason })
            })
    }

    /// Reads a whole number within a range.
    pub(super) fn number<T>(
        &self,
        key: &'static str,
        allowed: std::ops::RangeInclusive<T>,
    ) -> Result<Option<T>, TaskFileError>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let digits = (value.get_ref().as_integer())
            .ok_or_else(|| self.wrong_type(key, value, "a whole number"))?;
        i64::from_str_radix(digits.as_str(), digits.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| allowed.contains(number))
            .map(Some)
            .ok_or_else(|| {
                let range = format!("write {} to {}", allowed.start(), allowed.end());
                self.bad_value(key, value, range)
            })
    }

    /// Reads a switch that is either left out or `true`.
    pub(super) fn switched_on(&self, key: &'static str) -> Result<bool, TaskFileError> {
        let Some(value) = self.table.get(key) else {
            return Ok(false);
        };
        match value.get_ref().as_bool() {
            Some(true) => Ok(true),
            Some(false) => Err(self.bad(key, "write `true` or leave the key out".to_owned())),
            None => Err(self.wrong_type(key, value, "`true`")),
        }
    }

    /// Reads a list of texts, none of them empty.
    pub(super) fn texts(&self, key: &'static str) -> Result<Vec<&'a str>, TaskFileError> {
        const EXPECTED: &str = "a list of names, for example [\"JINR\"]";
        let Some(value) = self.table.get(key) else {
            return Ok(Vec::new());
        };
        let wrong = || self.wrong_type(key, value, EXPECTED);
        let entries = value.get_ref().as_array().ok_or_else(wrong)?;
        entries
            .iter()
            .map(|entry| {
                let text = entry.get_ref().as_str().ok_or_else(wrong)?;
                if text.trim().is_empty() {
                    return Err(self.bad(key, "no name in the list may be empty".to_owned()));
                }
                Ok(text)
            })
            .collect()
    }

    /// An error about the value of a key that is there.
    pub(super) fn bad(&self, key: &str, allowed: String) -> TaskFileError {
        match self.table.get(key) {
            Some(value) => self.bad_value(key, value, allowed),
            None => self.problem(TaskFileProblem::BadValue {
                value: String::new(),
                allowed,
            }),
        }
    }

    /// An error about a key that is not there.
    pub(super) fn missing(&self, key: &str, expected: &'static str) -> TaskFileError {
        self.at(
            Some(self.span.clone()),
            key,
            TaskFileProblem::MissingKey { expected },
        )
    }

    /// An error about a key, at its line.
    pub(super) fn problem_at(&self, key: &str, problem: TaskFileProblem) -> TaskFileError {
        let span = self.table.get(key).map(Spanned::span);
        self.at(span.or_else(|| Some(self.span.clone())), key, problem)
    }

    /// An error about the whole section.
    pub(super) fn problem(&self, problem: TaskFileProblem) -> TaskFileError {
        let span = (!self.path.is_empty()).then(|| self.span.clone());
        self.source.error(span, self.path.clone(), problem)
    }

    fn bad_value(&self, key: &str, value: Value<'_>, allowed: String) -> TaskFileError {
        let problem = TaskFileProblem::BadValue {
            value: self.written(value),
            allowed,
        };
        self.at(Some(value.span()), key, problem)
    }

    fn wrong_type(&self, key: &str, value: Value<'_>, expected: &'static str) -> TaskFileError {
        let problem = TaskFileProblem::WrongType {
            value: self.written(value),
            found: value.get_ref().type_str(),
            expected,
        };
        self.at(Some(value.span()), key, problem)
    }

    fn at(&self, span: Option<Range<usize>>, key: &str, problem: TaskFileProblem) -> TaskFileError {
        self.source.error(span, self.key_path(key), problem)
    }

    fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}: {key}", self.path)
        }
    }

    /// The value as it stands in the file; a text without its quotes.
    fn written(&self, value: Value<'_>) -> String {
        match value.get_ref().as_str() {
            Some(text) => shortened(text),
            None => shortened(self.source.text.get(value.span()).unwrap_or_default()),
        }
    }

    fn refuse_unknown_keys(&self, keys: &[&str]) -> Result<(), TaskFileError> {
        let unknown = self
            .table
            .keys()
            .find(|key| !keys.contains(&key.get_ref().as_ref()));
        unknown.map_or(Ok(()), |key| {
            let problem = TaskFileProblem::UnknownKey {
                allowed: keys.join(", "),
            };
            let name = shortened(key.get_ref());
            Err(self.at(Some(key.span()), &name, problem))
        })
    }
}

fn shortened(text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    match text.char_indices().nth(SHOWN_VALUE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
