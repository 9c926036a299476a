//! Descriptions of copy programs, as they are written in TOML.

use std::collections::BTreeMap;

use ailurus_model::ErrorCode;
use regex::Regex;
use serde::{Deserialize, Deserializer, de};

use super::words::Word;

/// The descriptions that are compiled in.
const BUILT_IN: &str = include_str!("../../../../profiles/copy-tools.toml");
const BUILT_IN_NAME: &str = "copy-tools.toml";

/// A file with descriptions of copy programs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// It is no TOML, or has an unknown key or a bad value.
    #[error("`{file}` does not describe copy tools")]
    Syntax {
        /// The file.
        file: String,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A description contradicts itself.
    #[error("tool `{tool}` in `{file}`: {fault}")]
    Fault {
        /// The file.
        file: String,
        /// The tool.
        tool: String,
        /// What is wrong, and what to write.
        fault: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Descriptions {
    tool: BTreeMap<String, Description>,
}

/// How one copy program is called, and what its answers mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    /// What it is, in one sentence.
    #[expect(dead_code, reason = "for those who read the file")]
    summary: String,
    /// Further names by which queues ask for it.
    #[serde(default)]
    pub(super) aliases: Vec<String>,
    /// URL schemes that it moves, best first. Default: any.
    #[serde(default)]
    pub(super) schemes: Vec<String>,
    /// Variables that it gets unless the pilot has them already.
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    /// Variables that name files, and are taken away where there is no such file.
    #[serde(default)]
    pub(super) file_variables: Vec<String>,
    /// Words that depend on what the program says about itself, by name.
    #[serde(default)]
    pub(super) option: BTreeMap<String, OptionByHelp>,
    /// From the storage to the node.
    pub(super) stage_in: Option<Copy>,
    /// From the node to the storage.
    pub(super) stage_out: Option<Copy>,
    /// Asks for a file's size, in bytes.
    pub(super) size: Option<Question>,
    /// Asks for a file's checksum.
    pub(super) checksum: Option<Question>,
    /// Removes a file.
    #[serde(default)]
    pub(super) remove: Vec<Word>,
    /// Gives a file another name.
    #[serde(default)]
    pub(super) rename: Vec<Word>,
    /// Makes a directory and those above it.
    #[serde(default)]
    pub(super) make_directory: Vec<Word>,
    /// What its failures mean, the first that fits. Behind them comes the error catalogue.
    #[serde(default)]
    pub(super) error: Vec<ErrorRule>,
}

/// How one direction is called.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Copy {
    pub(super) command: Vec<Word>,
    #[serde(default)]
    pub(super) data: Data,
    /// Whether the file gets its name only when it is whole and verified. Needs `rename`.
    #[serde(default)]
    pub(super) has_temporary_name: bool,
}

/// How bytes come to the program or from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Data {
    /// It reads or writes `{path}` itself.
    #[default]
    File,
    /// On standard output (stage-in) or standard input (stage-out).
    Pipe,
}

/// A command that answers something.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    pub(super) command: Vec<Word>,
    /// Finds the answer in the output: its last match counts, with the group `value` and, for a
    /// checksum, `kind`.
    #[serde(deserialize_with = "read_pattern")]
    pub(super) pattern: Regex,
}

/// Words that depend on what the program says about itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OptionByHelp {
    pub(super) ask: Vec<Word>,
    /// What it says if it knows the words.
    pub(super) says: String,
    pub(super) words: Vec<Word>,
    /// What to use else. Default: nothing.
    #[serde(default)]
    pub(super) otherwise: Vec<Word>,
}

/// What a failure means. All of what is given must fit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ErrorRule {
    /// The program's exit code.
    pub(super) exit_code: Option<i32>,
    /// A text in its output.
    pub(super) text: Option<String>,
    /// What it means.
    pub(super) means: Option<Meaning>,
    /// The pilot's error code, for stage-out too unless that has its own.
    #[serde(default, deserialize_with = "read_code")]
    pub(super) code: Option<ErrorCode>,
    #[serde(default, deserialize_with = "read_code")]
    pub(super) stage_out_code: Option<ErrorCode>,
}

/// What a failure means, where that is more than a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Meaning {
    /// There is no such file.
    Missing,
    /// The storage is full.
    NoSpace,
    /// The credential is not taken.
    Denied,
    /// The storage cannot be reached.
    Unreachable,
    /// The connection broke.
    Broken,
    /// The storage wants to be left alone for a while.
    Busy,
    /// The storage says no for good.
    Refused,
    /// The storage has no checksums to tell.
    NoChecksum,
}

/// Reads the built-in descriptions, and further files, whose tools go before.
pub(super) fn read(
    files: &[(&str, &str)],
) -> Result<BTreeMap<String, Description>, DescriptionError> {
    let mut tools = BTreeMap::new();
    let built_in = [(BUILT_IN_NAME, BUILT_IN)];
    for (file, text) in built_in.iter().chain(files) {
        let read: Descriptions =
            toml::from_str(text).map_err(|source| DescriptionError::Syntax {
                file: (*file).to_owned(),
                source: Box::new(source),
            })?;
        for (name, description) in read.tool {
            if let Some(fault) = description.fault() {
                return Err(DescriptionError::Fault {
                    file: (*file).to_owned(),
                    tool: name,
                    fault,
                });
            }
            tools.insert(name, description);
        }
    }
    Ok(tools)
}

impl Description {
    /// Says what is wrong with it, if anything.
    fn fault(&self) -> Option<&'static str> {
        let copies = [&self.stage_in, &self.stage_out];
        let commands = copies.into_iter().flatten().map(|copy| &copy.command);
        let questions = [&self.size, &self.checksum].into_iter().flatten();
        let questions = questions.map(|question| &question.command);
        let asked = self.option.values().map(|option| &option.ask);
        let mut needed = commands.chain(questions).chain(asked);
        if needed.any(Vec::is_empty) {
            return Some("a command is empty: its first word is the program");
        }
        let is_temporary = self
            .stage_out
            .as_ref()
            .is_some_and(|it| it.has_temporary_name);
        if is_temporary && (self.rename.is_empty() || self.remove.is_empty()) {
            return Some("`has_temporary_name` needs `rename` and `remove`");
        }
        if self
            .stage_in
            .as_ref()
            .is_some_and(|it| it.has_temporary_name)
        {
            return Some("`has_temporary_name` is for `stage_out`: inputs always have one");
        }
        if !self.error.iter().all(ErrorRule::is_whole) {
            return Some("an `error` has `exit_code` or `text`, and either `means` or `code`");
        }
        let all = [&self.remove, &self.rename, &self.make_directory];
        let copies = [&self.stage_in, &self.stage_out];
        let commands = copies.into_iter().flatten().map(|copy| &copy.command);
        let mut templates = commands
            .chain(all)
            .flatten()
            .flat_map(|word| word.templates());
        let is_known = |name: &str| self.option.contains_key(name);
        if templates.any(|it| it.option().is_some_and(|name| !is_known(name))) {
            return Some("a command names an option that is not among `option`");
        }
        None
    }
}

impl ErrorRule {
    fn is_whole(&self) -> bool {
        let has_sign = self.exit_code.is_some() || self.text.is_some();
        has_sign && self.means.is_some() != self.code.is_some()
    }
}

fn read_pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Regex, D::Error> {
    let text = String::deserialize(deserializer)?;
    let pattern = Regex::new(&text).map_err(de::Error::custom)?;
    if pattern
        .capture_names()
        .flatten()
        .any(|name| name == "value")
    {
        return Ok(pattern);
    }
    Err(de::Error::custom(format!(
        "`{text}` has no group `(?<value>…)`"
    )))
}

fn read_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ErrorCode>, D::Error> {
    ErrorCode::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(tool: &str) -> String {
        let text = format!("[tool.mine]\nsummary = \"x\"\n{tool}");
        let error = read(&[("mine.toml", &text)]).expect_err(tool);
        format!(
            "{error}: {:?}",
            std::error::Error::source(&error).map(ToString::to_string)
        )
    }

    #[test]
    fn the_built_in_descriptions_are_sound() {
        let tools = read(&[]).expect("sound");
        let names: Vec<&str> = tools.keys().map(String::as_str).collect();
        assert_eq!(names, ["gfal", "lsm", "objectstore", "rucio", "xrdcp"]);
        for (name, tool) in &tools {
            assert!(
                tool.stage_in.is_some() && tool.stage_out.is_some(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_file_of_ones_own_replaces_a_tool_as_a_whole() {
        let own = "[tool.lsm]\nsummary = \"ours\"\nstage_in = { command = [\"get\", \"{url}\"] }";
        let tools = read(&[("own.toml", own)]).expect("sound");
        assert!(tools["lsm"].stage_out.is_none() && tools["lsm"].schemes.is_empty());
        assert_eq!(tools.len(), 5);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (tool, wanted) in [
            ("stage_in = { command = [] }", "is empty"),
            (
                "stage_in = { command = [\"{rse}\"] }",
                "`{rse}` is no placeholder",
            ),
            (
                "stage_in = { command = [\"a\", \"{option.x}\"] }",
                "`option`",
            ),
            ("stage_in = { cmd = [\"a\"] }", "unknown field `cmd`"),
            (
                "stage_out = { command = [\"a\"], has_temporary_name = true }",
                "`rename`",
            ),
            ("size = { command = [\"a\"], pattern = '\\d+' }", "group"),
            ("[[tool.mine.error]]\ntext = \"x\"", "`means` or `code`"),
            ("[[tool.mine.error]]\ntext = \"x\"\ncode = 7", "7"),
        ] {
            let said = fault_of(tool);
            assert!(said.contains(wanted) && said.contains("mine"), "{said}");
        }
    }
}
