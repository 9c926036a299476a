//! Where a job's script comes from: a URL that is allowed, a path, or the job's own directory.

use ailurus_experiment::{
    Profile, ScriptNeed, StepKind,
    plan::{PlanError, script_need},
    step::{step_of, step_script},
};
use ailurus_model::{ErrorCode, Job};

use crate::Problem;

/// How the script gets into the job's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptPlan {
    /// No script is needed.
    None,
    /// It is downloaded.
    Download {
        /// From here.
        url: String,
        /// To this name in the job's directory.
        name: String,
    },
    /// It is copied from a path of the node.
    Copy {
        /// From here.
        path: String,
        /// To this name in the job's directory.
        name: String,
    },
    /// It is one of the job's inputs.
    Input {
        /// Its name in the job's directory.
        name: String,
    },
}

/// Plans how the scripts of a job and its steps are had. `allowed` are base URLs.
///
/// # Errors
///
/// As [`plan_script`].
pub fn plan_scripts(
    profile: &Profile,
    job: &Job,
    allowed: &[String],
) -> Result<Vec<ScriptPlan>, Problem> {
    let mut plans = vec![plan_script(profile, job, allowed)?];
    let steps = StepKind::EXTRA
        .into_iter()
        .filter_map(|kind| step_of(job, kind));
    for (url, name) in steps.filter_map(step_script) {
        plans.push(plan_download(url, name, allowed)?);
    }
    Ok(plans)
}

/// Plans how a job's script is had. `allowed` are base URLs.
///
/// # Errors
///
/// 1149 if the script cannot be had from where the job says, or from nowhere.
pub fn plan_script(
    profile: &Profile,
    job: &Job,
    allowed: &[String],
) -> Result<ScriptPlan, Problem> {
    let transformation = job.transformation.trim();
    let name = match script_need(profile, job) {
        Ok(ScriptNeed::None) => return Ok(ScriptPlan::None),
        Ok(ScriptNeed::File(name)) => name,
        Err(error) => return Err(plan_problem(&error)),
    };
    if let Some(path) = transformation.strip_prefix("file://") {
        return Ok(ScriptPlan::Copy {
            path: path.to_owned(),
            name,
        });
    }
    if transformation.starts_with('/') {
        return Ok(ScriptPlan::Copy {
            path: transformation.to_owned(),
            name,
        });
    }
    if transformation.contains("://") {
        return plan_download(transformation, &name, allowed);
    }
    if job.inputs.iter().any(|input| input.lfn.as_str() == name) {
        return Ok(ScriptPlan::Input { name });
    }
    let detail = format!("`{transformation}` is no URL, no absolute path and no input of the job");
    Err(Problem::new(ErrorCode::TrfDownloadFailure, detail))
}

fn plan_download(url: &str, name: &str, allowed: &[String]) -> Result<ScriptPlan, Problem> {
    if allowed.iter().any(|base| is_below(url, base)) {
        return Ok(ScriptPlan::Download {
            url: url.to_owned(),
            name: name.to_owned(),
        });
    }
    let detail = format!(
        "`{url}` is below none of the allowed URLs: {}",
        allowed.join(", ")
    );
    Err(Problem::new(ErrorCode::TrfDownloadFailure, detail))
}

/// Returns the problem of a job for which no command can be made.
#[must_use]
pub fn plan_problem(error: &PlanError) -> Problem {
    let code = match error {
        PlanError::NoScriptName { .. } => ErrorCode::TrfDownloadFailure,
        PlanError::NoCommand { .. } => ErrorCode::TransformNotFound,
        PlanError::Parameters { .. } | PlanError::Words { .. } => ErrorCode::UnknownPayloadFailure,
        PlanError::NoContainer { .. } => ErrorCode::QueueNotSetupForContainers,
        PlanError::ImageIsOption { .. } => ErrorCode::ImageNotFound,
    };
    Problem::new(code, error.to_string())
}

/// Says whether a URL lies below a base URL: same scheme and host, and the path goes on at a
/// slash. A base without a scheme stands for both `http` and `https`.
fn is_below(url: &str, base: &str) -> bool {
    let base = base.trim().trim_end_matches('/');
    let rest = if base.contains("://") {
        url.strip_prefix(base)
    } else {
        url.strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"))
            .and_then(|rest| rest.strip_prefix(base))
    };
    !base.is_empty()
        && rest.is_some_and(|rest| rest.starts_with('/'))
        && !url.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::{input_file, job};

    fn plan(transformation: &str) -> Result<ScriptPlan, Problem> {
        let profile = Profile::built_in("spd").expect("built in");
        let mut job = job(1);
        job.transformation = transformation.into();
        job.inputs = vec![input_file("steer.sh")];
        plan_script(
            &profile,
            &job,
            &[
                "https://trf.example.org/user/".into(),
                "panda.jinr.ru:25080".into(),
            ],
        )
    }

    fn refused(transformation: &str) -> bool {
        matches!(plan(transformation), Err(problem) if problem.code == ErrorCode::TrfDownloadFailure)
    }

    #[test]
    fn a_url_below_an_allowed_base_is_downloaded() {
        let url = "https://trf.example.org/user/run.sh";
        assert_eq!(
            plan(url),
            Ok(ScriptPlan::Download {
                url: url.into(),
                name: "run.sh".into()
            })
        );
        assert!(plan("http://panda.jinr.ru:25080/cache/run.sh").is_ok());
    }

    #[test]
    fn a_url_elsewhere_is_refused_also_if_it_looks_alike() {
        for url in [
            "https://evil.example.org/run.sh",
            "https://trf.example.org/userx/run.sh",
            "https://trf.example.org/user/../admin/run.sh",
            "http://panda.jinr.ru:25080.evil.org/run.sh",
            "ftp://panda.jinr.ru:25080/run.sh",
        ] {
            assert!(refused(url), "{url}");
        }
    }

    #[test]
    fn a_path_is_copied_and_an_input_is_used_as_it_is() {
        let copy = ScriptPlan::Copy {
            path: "/sw/run.sh".into(),
            name: "run.sh".into(),
        };
        assert_eq!(plan("/sw/run.sh"), Ok(copy.clone()));
        assert_eq!(plan("file:///sw/run.sh"), Ok(copy));
        assert_eq!(
            plan("steer.sh"),
            Ok(ScriptPlan::Input {
                name: "steer.sh".into()
            })
        );
        assert!(refused("nowhere.sh"));
    }

    #[test]
    fn scripts_of_steps_are_fetched_from_the_same_places() {
        let profile = Profile::built_in("spd").expect("built in");
        let allowed = ["https://trf.example.org/user/".to_owned()];
        let mut job = job(1);
        job.transformation = "spdroot.py".into();
        let step = |command: &str| {
            Some(ailurus_model::JobStep {
                command: command.into(),
                args: String::new(),
            })
        };
        job.options.preprocess = step("https://trf.example.org/user/pre.sh");
        job.options.postprocess = step("./post.sh");
        let plans = plan_scripts(&profile, &job, &allowed).expect("allowed");
        let download = ScriptPlan::Download {
            url: "https://trf.example.org/user/pre.sh".into(),
            name: "pre.sh".into(),
        };
        assert_eq!(plans, [ScriptPlan::None, download]);
        job.options.coprocess = step("https://evil.example.org/co.sh");
        let problem = plan_scripts(&profile, &job, &allowed).expect_err("elsewhere");
        assert_eq!(problem.code, ErrorCode::TrfDownloadFailure);
    }

    #[test]
    fn a_program_of_the_container_needs_no_script() {
        assert_eq!(plan("spdroot.py"), Ok(ScriptPlan::None));
    }
}
