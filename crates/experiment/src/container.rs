//! Container programs: how each one is called, as data.
//!
//! A [`ContainerProfile`] is an entry of `[containers]` in a profile; those of
//! `profiles/containers.toml` are there for every profile. A [`ContainerPlan`] is such an entry
//! for one job. What only the node can tell (is a path there, where is the job's directory) is
//! asked through [`NodeView`], so nothing here looks at a disk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Template, words::quote_word};

/// What a profile writes in `payload.container` if images are of no concern to the pilot.
pub const NO_CONTAINER: &str = "none";
/// How queue data name the job's directory in container options.
const WORK_DIR_VARIABLE: &str = "${workdir}";
/// Endings of files that hold an image.
const IMAGE_FILE_ENDINGS: [&str; 4] = [".sif", ".img", ".simg", ".sqsh"];

/// How one container program is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerProfile {
    /// Names of the program; the first that is in the `PATH` of the node is taken. At least one.
    pub programs: Vec<String>,
    /// Its arguments, up to the image. Alone in a word, `{options}` stands for the options of
    /// queue and job, `{if_present}` for those below, and `{variables}` for the words of each of
    /// the payload's variables.
    pub arguments: Vec<Template>,
    /// Options for queues that state none. Default: none.
    #[serde(default)]
    pub default_options: Vec<String>,
    /// Words that are used only where something is on the node. Default: none.
    #[serde(default)]
    pub if_present: Vec<IfPresent>,
    /// Words for each variable that the payload gets, with `{name}`: for programs that pass no
    /// variables on. Values stay out of the command line. Default: none.
    #[serde(default)]
    pub variable: Vec<Template>,
    /// Variables for jobs in this container. Default: none.
    #[serde(default)]
    pub environment: BTreeMap<String, Template>,
    /// Put before an image that is neither a file nor has a scheme, for example `docker://`.
    /// Default: nothing.
    #[serde(default)]
    pub registry_prefix: String,
    /// A file in the job's directory that gets the payload's command, for programs that take a
    /// script in place of a command. Default: none, and the command follows the image.
    #[serde(default)]
    pub script: Option<String>,
}

/// Words that are used only where something is on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IfPresent {
    /// The path that must exist; empty if `variable` is given.
    #[serde(default)]
    pub path: String,
    /// The variable of the pilot that holds such a path; empty if `path` is given.
    #[serde(default)]
    pub variable: String,
    /// The words, with `{path}`.
    pub words: Vec<Template>,
}

impl ContainerProfile {
    /// Says whether queue data mean this entry by a name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.programs.iter().any(|program| program == name)
    }

    /// Says what is wrong with the entry, if anything.
    pub(crate) fn fault(&self) -> Option<(&'static str, &'static str)> {
        if self.programs.is_empty() {
            return Some(("programs", "at least one program"));
        }
        if !self.arguments.iter().any(|word| word.mentions("image")) {
            return Some(("arguments", "words with `{image}` among them"));
        }
        let one_of = |it: &IfPresent| it.path.is_empty() != it.variable.is_empty();
        if !self.if_present.iter().all(one_of) {
            return Some(("if_present", "either `path` or `variable` in each entry"));
        }
        match &self.script {
            Some(name) if name.is_empty() || name.contains('/') => {
                Some(("script", "the plain name of a file"))
            }
            Some(_) | None => None,
        }
    }
}

/// The container of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPlan {
    /// How the program is called.
    pub profile: ContainerProfile,
    /// The image as the job names it: a path, an address, or what the program makes of it.
    pub image: String,
    /// Options of queue and job, word by word.
    pub options: Vec<String>,
    /// Names of the variables that the payload gets.
    pub variables: Vec<String>,
    /// Values of the placeholders.
    pub values: BTreeMap<&'static str, String>,
}

/// What only the node can tell.
pub trait NodeView {
    /// Says whether there is such a path.
    fn has_path(&self, path: &str) -> bool;
    /// Says whether there is such a program in the `PATH`.
    fn has_program(&self, name: &str) -> bool;
    /// Returns a variable of the pilot.
    fn variable(&self, name: &str) -> Option<String>;
    /// The job's directory, an absolute path.
    fn directory(&self) -> String;
}

/// A container cannot be made on this node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// None of the programs is there.
    #[error("none of {programs} is in the `PATH`: install one of them on the node")]
    NoProgram {
        /// The names, joined by commas.
        programs: String,
        /// The first of them.
        first: String,
    },
    /// The image is a file that is not there.
    #[error("image `{image}` does not exist on this node")]
    NoImage {
        /// The image.
        image: String,
    },
}

/// The words that start a command in a container, and the script to be written before, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerCall {
    /// Program and arguments, the command included unless it is in the script.
    pub argv: Vec<String>,
    /// Name and text of the script.
    pub script: Option<(String, String)>,
}

impl ContainerPlan {
    /// Makes the words that start `command` in the container on this node.
    ///
    /// # Errors
    ///
    /// [`ContainerError`] if program or image is not there.
    pub fn call(
        &self,
        command: &[String],
        node: &impl NodeView,
    ) -> Result<ContainerCall, ContainerError> {
        let programs = &self.profile.programs;
        let program = programs.iter().find(|name| node.has_program(name));
        let program = program.ok_or_else(|| ContainerError::NoProgram {
            programs: programs
                .iter()
                .map(|it| format!("`{it}`"))
                .collect::<Vec<_>>()
                .join(", "),
            first: programs.first().cloned().unwrap_or_default(),
        })?;
        let image = self.image_on(node)?;
        let mut values = self.values.clone();
        values.insert("image", image);
        values.insert("directory", node.directory());
        let mut argv = vec![program.clone()];
        for word in &self.profile.arguments {
            if word.is_placeholder("options") {
                argv.extend(
                    self.options
                        .iter()
                        .map(|word| self.in_directory(word, node)),
                );
            } else if word.is_placeholder("if_present") {
                argv.extend(self.words_if_present(node));
            } else if word.is_placeholder("variables") {
                argv.extend(self.words_of_variables());
            } else {
                argv.push(word.fill(&values));
            }
        }
        let Some(script) = &self.profile.script else {
            argv.extend_from_slice(command);
            return Ok(ContainerCall { argv, script: None });
        };
        let words: Vec<String> = command.iter().map(|word| quote_word(word)).collect();
        let text = format!("#!/bin/bash\nexec {}\n", words.join(" "));
        Ok(ContainerCall {
            argv,
            script: Some((script.clone(), text)),
        })
    }

    fn in_directory(&self, option: &str, node: &impl NodeView) -> String {
        option.replace(WORK_DIR_VARIABLE, &node.directory())
    }

    /// Finds the image: below the site's image directory, as a file, or by its address.
    fn image_on(&self, node: &impl NodeView) -> Result<String, ContainerError> {
        let image = &self.image;
        if let Some(base) = node.variable("IMAGE_BASE").filter(|base| !base.is_empty()) {
            let name = image.rsplit('/').next().unwrap_or(image);
            let below = [name, image.trim_start_matches('/')];
            let mut paths = below
                .map(|it| format!("{}/{it}", base.trim_end_matches('/')))
                .into_iter();
            if let Some(path) = paths.find(|path| node.has_path(path)) {
                return Ok(path);
            }
        }
        if image.starts_with('/') && !node.has_path(image) {
            return Err(ContainerError::NoImage {
                image: image.clone(),
            });
        }
        let is_address = image.contains("://");
        let is_file = image.starts_with(['/', '.']) || is_image_file(image);
        if is_address || is_file || node.has_path(image) {
            return Ok(image.clone());
        }
        Ok(format!("{}{image}", self.profile.registry_prefix))
    }

    fn words_if_present(&self, node: &impl NodeView) -> Vec<String> {
        let mut words = Vec::new();
        for entry in &self.profile.if_present {
            let path = if entry.variable.is_empty() {
                Some(entry.path.clone())
            } else {
                node.variable(&entry.variable)
            };
            let Some(path) = path.filter(|path| path.starts_with('/') && node.has_path(path))
            else {
                continue;
            };
            let mut values = self.values.clone();
            values.insert("path", path);
            words.extend(entry.words.iter().map(|word| word.fill(&values)));
        }
        words
    }

    fn words_of_variables(&self) -> Vec<String> {
        let mut words = Vec::new();
        for name in &self.variables {
            let values = BTreeMap::from([("name", name.clone())]);
            words.extend(self.profile.variable.iter().map(|word| word.fill(&values)));
        }
        words
    }
}

/// Says whether a text is an image that a container program can open by itself: a path, a file or
/// an address, not the name of a platform.
#[must_use]
pub fn is_image_name(text: &str) -> bool {
    text.starts_with('/') || text.contains("://") || is_image_file(text)
}

fn is_image_file(text: &str) -> bool {
    IMAGE_FILE_ENDINGS
        .iter()
        .any(|ending| text.ends_with(ending))
}

#[cfg(test)]
mod tests;
