//! From profile and job to what is to be started.

use std::collections::BTreeMap;

use ailurus_model::Job;

use crate::{
    NamePattern, Profile, Template,
    profile::last_part,
    words::{SplitError, split_words},
};

/// The payload's standard output, relative to the job's directory.
pub const STDOUT_FILE: &str = "payload.stdout";
/// The payload's standard error, relative to the job's directory.
pub const STDERR_FILE: &str = "payload.stderr";
/// The shell that runs set-up lines.
const SETUP_SHELL: &str = "/bin/bash";

/// What is to be started for one job, in the job's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadPlan {
    /// Program and arguments, at least one word. No shell reads them.
    pub argv: Vec<String>,
    /// Variables to set, over those that are inherited.
    pub environment: BTreeMap<String, String>,
    /// Variables of the pilot that are not inherited.
    pub hidden_variables: Vec<NamePattern>,
    /// File for standard output, relative to the job's directory.
    pub stdout: String,
    /// File for standard error, relative to the job's directory.
    pub stderr: String,
}

impl PayloadPlan {
    /// Says whether the payload may inherit a variable of the pilot.
    #[must_use]
    pub fn inherits(&self, variable: &str) -> bool {
        !self
            .hidden_variables
            .iter()
            .any(|pattern| pattern.matches(variable))
    }
}

/// The script that a job's command needs in its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptNeed {
    /// None: the command is a program of the node or of the container.
    None,
    /// A script of this name: the last part of the transformation.
    File(String),
}

/// No command can be made for a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The profile says nothing about such a transformation.
    #[error("profile `{profile}` has no command for transformation `{transformation}`")]
    NoCommand {
        /// The profile's name.
        profile: String,
        /// The job's transformation.
        transformation: String,
    },
    /// The transformation has no file name.
    #[error("transformation `{transformation}` does not end with the name of a script")]
    NoScriptName {
        /// The job's transformation.
        transformation: String,
    },
    /// The parameters cannot be split into words.
    #[error("job parameters `{parameters}` are incomplete: {source}")]
    Parameters {
        /// The job's parameters.
        parameters: String,
        /// Where a shell would wait for more.
        source: SplitError,
    },
    /// The job names an image, but the profile does not say how containers are run.
    #[error(
        "the job wants container `{image}`, but profile `{profile}` has no `payload.container`"
    )]
    NoContainer {
        /// The job's image.
        image: String,
        /// The profile's name.
        profile: String,
    },
    /// An image that a container program would take for an option.
    #[error("container image `{image}` begins with a dash")]
    ImageIsOption {
        /// The job's image.
        image: String,
    },
}

/// Says which script a job's command needs.
///
/// # Errors
///
/// [`PlanError::NoCommand`] or [`PlanError::NoScriptName`].
pub fn script_need(profile: &Profile, job: &Job) -> Result<ScriptNeed, PlanError> {
    let transformation = &job.transformation;
    let command = profile
        .command_for(transformation)
        .ok_or_else(|| no_command(profile, job))?;
    if !command.needs_script() {
        return Ok(ScriptNeed::None);
    }
    match last_part(transformation) {
        "" | "." | ".." => Err(PlanError::NoScriptName {
            transformation: transformation.clone(),
        }),
        name => Ok(ScriptNeed::File(name.to_owned())),
    }
}

/// Makes the plan for a job's payload.
///
/// # Errors
///
/// [`PlanError`] if profile and job do not fit together.
pub fn plan_payload(profile: &Profile, job: &Job, queue: &str) -> Result<PayloadPlan, PlanError> {
    let values = placeholder_values(job, queue);
    let command = profile
        .command_for(&job.transformation)
        .ok_or_else(|| no_command(profile, job))?;
    let arguments = split_words(&job.parameters).map_err(|source| PlanError::Parameters {
        parameters: job.parameters.clone(),
        source,
    })?;
    let mut argv = container_words(profile, job, &values)?;
    argv.extend(setup_words(&profile.payload.setup));
    argv.extend(fill_words(&command.command, &values, &arguments));
    let mut environment: BTreeMap<String, String> = profile
        .payload
        .environment
        .iter()
        .map(|(name, value)| (name.clone(), value.fill(&values)))
        .collect();
    for (name, value) in [
        ("PANDAID", job.panda_id.to_string()),
        ("PanDA_TaskID", job.task_id.to_string()),
        ("PanDA_AttemptNr", job.attempt_nr.to_string()),
    ] {
        environment.insert(name.to_owned(), value);
    }
    Ok(PayloadPlan {
        argv,
        environment,
        hidden_variables: profile.payload.hidden_variables.clone(),
        stdout: STDOUT_FILE.to_owned(),
        stderr: STDERR_FILE.to_owned(),
    })
}

fn no_command(profile: &Profile, job: &Job) -> PlanError {
    PlanError::NoCommand {
        profile: profile.name.clone(),
        transformation: job.transformation.clone(),
    }
}

fn placeholder_values(job: &Job, queue: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("script", last_part(&job.transformation).to_owned()),
        ("parameters", job.parameters.clone()),
        ("image", job.container_image.clone()),
        ("cores", job.core_count.to_string()),
        ("panda_id", job.panda_id.to_string()),
        ("task_id", job.task_id.to_string()),
        ("attempt", job.attempt_nr.to_string()),
        ("queue", queue.to_owned()),
    ])
}

fn container_words(
    profile: &Profile,
    job: &Job,
    values: &BTreeMap<&'static str, String>,
) -> Result<Vec<String>, PlanError> {
    let image = &job.container_image;
    if image.is_empty() {
        return Ok(Vec::new());
    }
    if image.starts_with('-') {
        return Err(PlanError::ImageIsOption {
            image: image.clone(),
        });
    }
    if profile.payload.container.is_empty() {
        return Err(PlanError::NoContainer {
            image: image.clone(),
            profile: profile.name.clone(),
        });
    }
    Ok(fill_words(&profile.payload.container, values, &[]))
}

/// Words that run the set-up lines and then become the command behind them, which reaches the
/// shell as its arguments, never as text.
fn setup_words(setup: &[String]) -> Vec<String> {
    if setup.is_empty() {
        return Vec::new();
    }
    let script = format!("{}\nexec \"$@\"", setup.join("\n"));
    [SETUP_SHELL, "-c", &script, "payload-setup"]
        .map(str::to_owned)
        .to_vec()
}

fn fill_words(
    words: &[Template],
    values: &BTreeMap<&'static str, String>,
    arguments: &[String],
) -> Vec<String> {
    let mut filled = Vec::with_capacity(words.len() + arguments.len());
    for word in words {
        if word.is_placeholder("arguments") {
            filled.extend_from_slice(arguments);
        } else {
            filled.push(word.fill(values));
        }
    }
    filled
}

#[cfg(test)]
mod tests;
