//! Steps around a payload: what a job runs before, beside and after it.
//!
//! Source: Pilot 3, `pilot/control/payloads/generic.py` and `pilot/user/atlas/common.py`.

use ailurus_model::{Job, JobStep};
use serde::{Deserialize, Serialize};

use crate::profile::last_part;

/// Which part of a job's work a process is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// The pre-process.
    Before,
    /// The payload itself.
    #[default]
    Main,
    /// The co-process, which lives as long as the payload.
    Beside,
    /// The post-process.
    After,
}

impl StepKind {
    /// The steps beside the payload itself.
    pub const EXTRA: [Self; 3] = [Self::Before, Self::Beside, Self::After];

    /// Returns PanDA's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Before => "preprocess",
            Self::Main => "payload",
            Self::Beside => "coprocess",
            Self::After => "postprocess",
        }
    }

    /// Returns the file for its standard output, as Pilot 3 names it.
    #[must_use]
    pub const fn stdout_file(self) -> &'static str {
        match self {
            Self::Before => "preprocess_stdout.txt",
            Self::Main => crate::plan::STDOUT_FILE,
            Self::Beside => "coprocess_stdout.txt",
            Self::After => "postprocess_stdout.txt",
        }
    }

    /// Returns the file for its standard error, as Pilot 3 names it.
    #[must_use]
    pub const fn stderr_file(self) -> &'static str {
        match self {
            Self::Before => "preprocess_stderr.txt",
            Self::Main => crate::plan::STDERR_FILE,
            Self::Beside => "coprocess_stderr.txt",
            Self::After => "postprocess_stderr.txt",
        }
    }
}

impl std::fmt::Display for StepKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Returns what a job wants to be run, if anything: a step without a command is none.
#[must_use]
pub fn step_of(job: &Job, kind: StepKind) -> Option<&JobStep> {
    let options = &job.options;
    let step = match kind {
        StepKind::Before => options.preprocess.as_ref(),
        StepKind::Main => None,
        StepKind::Beside => options.coprocess.as_ref(),
        StepKind::After => options.postprocess.as_ref(),
    };
    step.filter(|step| !step.command.trim().is_empty())
}

/// The URL of a step's script and the name that it gets in the job's directory, if the step is
/// one that is downloaded.
#[must_use]
pub fn step_script(step: &JobStep) -> Option<(&str, &str)> {
    let url = step.command.split_whitespace().next()?;
    let is_url = url.starts_with("http://") || url.starts_with("https://");
    let name = last_part(url);
    (is_url && !matches!(name, "" | "." | "..")).then_some((url, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(command: &str) -> JobStep {
        JobStep {
            command: command.into(),
            args: String::new(),
        }
    }

    #[test]
    fn only_a_url_with_a_name_is_downloaded() {
        assert_eq!(
            step_script(&step("https://x.org/trf/pre.sh")),
            Some(("https://x.org/trf/pre.sh", "pre.sh"))
        );
        for command in ["./pre.sh", "httpd", "https://x.org/", "https://x.org/.."] {
            assert_eq!(step_script(&step(command)), None, "{command}");
        }
    }
}
