//! From profile and job to what is to be started.

use std::collections::BTreeMap;

use ailurus_model::{Job, Queue};

use crate::{
    ContainerPlan, NamePattern, Profile, Template,
    container::{NO_CONTAINER, is_image_name},
    parameters::Parameters,
    profile::{CommandContainer, CommandProfile, CoreDumpPolicy, last_part},
    step::{StepKind, step_of, step_script},
    words::{SplitError, split_words},
};

/// The payload's standard output, relative to the job's directory.
pub const STDOUT_FILE: &str = "payload.stdout";
/// The payload's standard error, relative to the job's directory.
pub const STDERR_FILE: &str = "payload.stderr";
/// Written by the shell that runs the set-up lines, if one of them fails: number of the line and
/// its exit code.
pub const SETUP_FAILED_FILE: &str = "payload.setup_failed";
/// The shell that runs set-up lines.
const SETUP_SHELL: &str = "/bin/bash";
/// Exit code of that shell if a line fails.
const SETUP_FAILED_CODE: u8 = 125;
/// Who of a queue's container types is meant for payloads.
const CONTAINER_USER: &str = "pilot";
/// What PanDA writes for "no image".
const NO_IMAGE: [&str; 3] = ["null", "none", ""];

/// What is to be started for one job, in the job's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadPlan {
    /// Which part of the job's work it is.
    pub step: StepKind,
    /// Words before everything else, for example `srun`.
    pub launcher: Vec<String>,
    /// The container in which the command runs, if any.
    pub container: Option<ContainerPlan>,
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
    /// Whether a crash may leave a core file.
    pub core_dumps: CoreDumpPolicy,
    /// What is started right after it, and ended with it.
    pub beside: Option<Box<Self>>,
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
    /// A text of job or queue cannot be split into words.
    #[error("{what} `{text}` is incomplete: {source}")]
    Words {
        /// What it is for, for example `preprocess`.
        what: &'static str,
        /// The text.
        text: String,
        /// Where a shell would wait for more.
        source: SplitError,
    },
    /// The queue asks for a container program that the profile does not know.
    #[error("the queue runs containers by `{wanted}`, but profile `{profile}` knows only {known}")]
    NoContainer {
        /// What the queue wants.
        wanted: String,
        /// The profile's name.
        profile: String,
        /// What the profile knows, joined by commas.
        known: String,
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
    if !command_of(profile, job)?.needs_script() {
        return Ok(ScriptNeed::None);
    }
    match last_part(transformation) {
        "" | "." | ".." => Err(PlanError::NoScriptName {
            transformation: transformation.clone(),
        }),
        name => Ok(ScriptNeed::File(name.to_owned())),
    }
}

/// Makes the plan for a job's payload, with its co-process.
///
/// # Errors
///
/// [`PlanError`] if profile, queue and job do not fit together.
pub fn plan_payload(profile: &Profile, job: &Job, queue: &Queue) -> Result<PayloadPlan, PlanError> {
    let parameters = parameters_of(job)?;
    let command = command_of(profile, job)?;
    let image = wanted_image(profile, job, queue, &parameters)?;
    let mut values = placeholder_values(job, queue);
    values.insert("parameters", parameters.text.clone());
    values.insert("image", image.clone());
    let mut plan = bare_plan(profile, job, StepKind::Main, &values);
    plan.launcher = fill_words(&profile.payload.launcher, &values, &[]);
    plan.argv = setup_words(&profile.payload.setup);
    plan.argv.extend(match replaced_command(job)? {
        Some(words) => words,
        None => fill_words(&command.command, &values, &parameters.words),
    });
    if !image.is_empty() && command.container == CommandContainer::ByPilot {
        plan.container = container_of(profile, job, queue, image, &values)?;
    }
    if let Some(container) = &mut plan.container {
        let own = &container.profile.environment;
        let own = own
            .iter()
            .map(|(name, value)| (name.clone(), value.fill(&values)));
        plan.environment.extend(own);
        container.variables = plan.environment.keys().cloned().collect();
    }
    plan.beside = plan_step(profile, job, queue, StepKind::Beside)?.map(Box::new);
    Ok(plan)
}

/// Makes the plan for a step before, beside or after the payload, if the job has one. As in
/// Pilot 3 it runs outside of the payload's container, with the same set-up.
///
/// # Errors
///
/// [`PlanError::Words`] if its command is incomplete.
pub fn plan_step(
    profile: &Profile,
    job: &Job,
    queue: &Queue,
    kind: StepKind,
) -> Result<Option<PayloadPlan>, PlanError> {
    let Some(step) = step_of(job, kind) else {
        return Ok(None);
    };
    let mut words = words_of(kind.as_str(), &step.command)?;
    if let (Some((_, name)), Some(first)) = (step_script(step), words.first_mut()) {
        *first = format!("./{name}");
    }
    words.extend(words_of(kind.as_str(), &step.args)?);
    let mut plan = bare_plan(profile, job, kind, &placeholder_values(job, queue));
    plan.argv = setup_words(&profile.payload.setup);
    plan.argv.extend(words);
    Ok(Some(plan))
}

fn command_of<'a>(profile: &'a Profile, job: &Job) -> Result<&'a CommandProfile, PlanError> {
    profile
        .command_for(&job.transformation)
        .ok_or_else(|| PlanError::NoCommand {
            profile: profile.name.clone(),
            transformation: job.transformation.clone(),
        })
}

fn parameters_of(job: &Job) -> Result<Parameters, PlanError> {
    Parameters::read(&job.parameters).map_err(|source| PlanError::Parameters {
        parameters: job.parameters.clone(),
        source,
    })
}

fn words_of(what: &'static str, text: &str) -> Result<Vec<String>, PlanError> {
    split_words(text).map_err(|source| PlanError::Words {
        what,
        text: text.to_owned(),
        source,
    })
}

/// A plan with everything but the command.
fn bare_plan(
    profile: &Profile,
    job: &Job,
    step: StepKind,
    values: &BTreeMap<&'static str, String>,
) -> PayloadPlan {
    let own = profile.payload.environment.iter();
    let mut environment: BTreeMap<String, String> = own
        .map(|(name, value)| (name.clone(), value.fill(values)))
        .collect();
    let panda_id = job.panda_id.to_string();
    for (name, value) in [
        ("PANDAID", panda_id.clone()),
        ("PandaID", panda_id),
        ("PanDA_TaskID", job.task_id.to_string()),
        ("PanDA_AttemptNr", job.attempt_nr.to_string()),
    ] {
        environment.insert(name.to_owned(), value);
    }
    let core_dumps = if job.options.is_debug {
        CoreDumpPolicy::Allowed
    } else {
        CoreDumpPolicy::Limited
    };
    PayloadPlan {
        step,
        launcher: Vec::new(),
        container: None,
        argv: Vec::new(),
        environment,
        hidden_variables: profile.payload.hidden_variables.clone(),
        stdout: step.stdout_file().to_owned(),
        stderr: step.stderr_file().to_owned(),
        core_dumps,
        beside: None,
    }
}

fn placeholder_values(job: &Job, queue: &Queue) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("script", last_part(&job.transformation).to_owned()),
        ("cores", job.core_count.to_string()),
        ("panda_id", job.panda_id.to_string()),
        ("task_id", job.task_id.to_string()),
        ("attempt", job.attempt_nr.to_string()),
        ("queue", queue.name.to_string()),
        ("image", job.container_image.clone()),
    ])
}

/// The command that a pre-process prepares, which then runs in place of the payload's.
fn replaced_command(job: &Job) -> Result<Option<Vec<String>>, PlanError> {
    let exec = &job.options.container.exec;
    let words = if has_prepared_container(job) {
        words_of("containerExec", exec)?
    } else {
        Vec::new()
    };
    Ok((!words.is_empty()).then_some(words))
}

fn has_prepared_container(job: &Job) -> bool {
    let options = &job.options;
    step_of(job, StepKind::Before).is_some()
        && !(options.container.image.is_empty() && options.container.exec.is_empty())
}

/// Chooses the image as Pilot 3 does; empty if there is to be no container.
fn wanted_image(
    profile: &Profile,
    job: &Job,
    queue: &Queue,
    parameters: &Parameters,
) -> Result<String, PlanError> {
    if profile.payload.container == NO_CONTAINER {
        return Ok(String::new());
    }
    let named = |text: &&str| !NO_IMAGE.contains(&text.to_ascii_lowercase().as_str());
    // `a@b` is platform `a` for the job, and `b` for the container.
    let platform = job.platform.rsplit('@').next().unwrap_or_default();
    let platform =
        Some(platform).filter(|_| queue.options.container_types.contains_key(CONTAINER_USER));
    let prepared =
        Some(job.options.container.image.as_str()).filter(|_| has_prepared_container(job));
    let candidates = [
        prepared,
        Some(parameters.image.as_str()),
        Some(job.container_image.as_str()),
        platform.filter(|it| profile.runs_platform(it)),
    ];
    let image = candidates
        .into_iter()
        .flatten()
        .find(named)
        .unwrap_or_default();
    if image.starts_with('-') {
        return Err(PlanError::ImageIsOption {
            image: image.to_owned(),
        });
    }
    Ok(profile
        .payload
        .images
        .get(image)
        .cloned()
        .unwrap_or_else(|| image.to_owned()))
}

impl Profile {
    /// Says whether a platform is enough to run a job in a container: it is an image itself, the
    /// profile names one for it, or the container program takes platforms.
    fn runs_platform(&self, platform: &str) -> bool {
        is_image_name(platform)
            || self.payload.images.contains_key(platform)
            || self.payload.platforms_are_images
    }
}

fn container_of(
    profile: &Profile,
    job: &Job,
    queue: &Queue,
    image: String,
    values: &BTreeMap<&'static str, String>,
) -> Result<Option<ContainerPlan>, PlanError> {
    let of_queue = queue.options.container_types.get(CONTAINER_USER);
    // A profile that goes its own way keeps it, whatever program the queue has below.
    let wanted = match of_queue {
        Some(name) if !profile.payload.container_is_fixed => name,
        Some(_) | None => &profile.payload.container,
    };
    let entry = profile
        .container(wanted)
        .ok_or_else(|| PlanError::NoContainer {
            wanted: wanted.clone(),
            profile: profile.name.clone(),
            known: profile
                .containers
                .keys()
                .map(|it| format!("`{it}`"))
                .collect::<Vec<_>>()
                .join(", "),
        })?;
    let mut options = words_of("container_options", &container_options(queue))?;
    if options.is_empty() {
        options.clone_from(&entry.default_options);
    }
    options.extend(words_of("execArgs", &job.options.container.exec_args)?);
    Ok(Some(ContainerPlan {
        profile: entry.clone(),
        image,
        options,
        variables: Vec::new(),
        values: values.clone(),
    }))
}

/// Options of the queue, or those that old queue data keep in `catchall`. A container that sees
/// nothing of the node still sees the job's directory.
///
/// Source: Pilot 3, `pilot/info/queuedata.py`, `clean__container_options` and `clean`.
fn container_options(queue: &Queue) -> String {
    let mut options = queue.options.container_options.trim().to_owned();
    if options.eq_ignore_ascii_case("none") {
        options.clear();
    }
    if options.is_empty() {
        let catchall = &queue.catchall;
        let found = ["singularity_options='", "apptainer_options='"]
            .iter()
            .find_map(|key| catchall.split_once(key)?.1.split_once('\''));
        options = found.map_or_else(String::new, |(text, _)| text.to_owned());
    }
    const CONTAIN: &str = " --contain";
    if options.contains(CONTAIN) && !options.contains("${workdir}") {
        options = options.replacen(CONTAIN, ",${workdir} --contain", 1);
    }
    options
}

/// Words that run the set-up lines and then become the command behind them, which reaches the
/// shell as its arguments, never as text. A line that fails ends it.
fn setup_words(setup: &[String]) -> Vec<String> {
    if setup.is_empty() {
        return Vec::new();
    }
    let mut script = String::new();
    for (index, line) in setup.iter().enumerate() {
        let nr = index + 1;
        script.push_str(&format!(
            "{{ {line}\n}} || {{ echo \"{nr} $?\" > {SETUP_FAILED_FILE}; exit {SETUP_FAILED_CODE}; }}\n"
        ));
    }
    script.push_str("exec \"$@\"");
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
