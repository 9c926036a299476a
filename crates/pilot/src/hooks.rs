//! Runs the hooks of a profile: JSON in, JSON out, within a time limit.
//!
//! What a hook may say is in `ailurus_experiment::hook`. One that fails, hangs or answers anything
//! else fails the job with a code, unless the profile calls it optional.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, sync::Arc};

use ailurus_experiment::{
    HookAnswer, HookJob, HookPoint, HookProfile, HookRequest, PayloadPlan, Profile, StepKind,
    hook::{HOOK_ANSWER_MAX_BYTES, HOOK_VERSION},
};
use ailurus_model::{ErrorCode, Job};
use ailurus_pilot_core::{Problem, input::PayloadEnd};
use ailurus_process::ShortCommand;

use crate::log;

/// Longest words of a failed hook that are repeated, in bytes.
const LAST_WORDS_MAX: usize = 250;

/// The hooks of one job.
#[derive(Debug, Clone)]
pub(crate) struct Hooks {
    hooks: Arc<BTreeMap<HookPoint, HookProfile>>,
    profile: String,
    queue: String,
    job: HookJob,
    dir: PathBuf,
}

impl Hooks {
    /// Returns the hooks of a job, if its profile has any.
    pub(crate) fn of(profile: &Profile, queue: &str, job: &Job, dir: PathBuf) -> Option<Self> {
        (!profile.hooks.is_empty()).then(|| Self {
            hooks: Arc::new(profile.hooks.clone()),
            profile: profile.name.clone(),
            queue: queue.to_owned(),
            job: HookJob::of(job),
            dir,
        })
    }

    /// Says whether there is a hook at this point.
    pub(crate) fn has(&self, point: HookPoint) -> bool {
        self.hooks.contains_key(&point)
    }

    /// Asks whether the job may begin.
    pub(crate) fn before_job(&self) -> Result<(), Problem> {
        self.ask(HookPoint::BeforeJob, self.request(HookPoint::BeforeJob))
            .map(drop)
    }

    /// Lets the hook change what is started. Only the payload itself is asked about.
    pub(crate) fn payload_command(&self, plan: &mut PayloadPlan) -> Result<(), Problem> {
        let point = HookPoint::PayloadCommand;
        if plan.step != StepKind::Main || !self.has(point) {
            return Ok(());
        }
        let request = HookRequest {
            command: plan.argv.clone(),
            environment: plan.environment.clone(),
            ..self.request(point)
        };
        let answer = self.ask(point, request)?;
        match answer.command {
            Some(words) if words.is_empty() => {
                return Err(self.fault(point, "its `command` has no word"));
            }
            Some(words) => plan.argv = words,
            None => {}
        }
        for name in answer.environment.keys() {
            if let Some(container) = &mut plan.container
                && !container.variables.contains(name)
            {
                container.variables.push(name.clone());
            }
        }
        plan.environment.extend(answer.environment);
        Ok(())
    }

    /// Lets the hook judge how the payload ended.
    pub(crate) fn after_payload(&self, step: StepKind, end: &mut PayloadEnd) {
        let point = HookPoint::AfterPayload;
        if step != StepKind::Main || !self.has(point) {
            return;
        }
        let request = HookRequest {
            exit_code: Some(end.exit.shell_code()),
            ..self.request(point)
        };
        match self.ask(point, request) {
            Ok(answer) => end.n_events = answer.n_events.or(end.n_events),
            Err(problem) => {
                end.problem.get_or_insert(problem);
            }
        }
    }

    /// Tells the hook that the job is over.
    pub(crate) fn after_job(&self) {
        let point = HookPoint::AfterJob;
        if let Err(problem) = self.ask(point, self.request(point)) {
            tracing::warn!("{problem}");
        }
    }

    fn request(&self, point: HookPoint) -> HookRequest {
        HookRequest {
            version: HOOK_VERSION,
            hook: point,
            profile: self.profile.clone(),
            queue: self.queue.clone(),
            job: self.job.clone(),
            command: Vec::new(),
            environment: BTreeMap::new(),
            exit_code: None,
        }
    }

    fn ask(&self, point: HookPoint, request: HookRequest) -> Result<HookAnswer, Problem> {
        let Some(hook) = self.hooks.get(&point) else {
            return Ok(HookAnswer::default());
        };
        let answer = match self.run(hook, &request) {
            Ok(answer) => answer,
            Err(why) if hook.optional => {
                tracing::warn!("hook `{point}` is left out: {why}");
                return Ok(HookAnswer::default());
            }
            Err(why) => return Err(self.fault(point, &why)),
        };
        if !answer.note.is_empty() {
            tracing::info!(
                "hook `{point}`: {}",
                answer.note.replace(char::is_control, " ")
            );
        }
        match &answer.error {
            Some(error) => {
                let code = ErrorCode::from_number(error.code.into());
                let code = code.unwrap_or(ErrorCode::PayloadExecutionFailure);
                Err(Problem::new(code, error.text.as_str()))
            }
            None => Ok(answer),
        }
    }

    fn fault(&self, point: HookPoint, why: &str) -> Problem {
        let code = match point {
            HookPoint::BeforeJob | HookPoint::PayloadCommand => ErrorCode::SetupFailure,
            HookPoint::AfterPayload | HookPoint::AfterJob => ErrorCode::InternalPilotProblem,
        };
        Problem::new(
            code,
            format!("hook `{point}` of profile `{}`: {why}", self.profile),
        )
    }

    fn run(&self, hook: &HookProfile, request: &HookRequest) -> Result<HookAnswer, String> {
        let command = ShortCommand {
            argv: hook.command.iter().map(OsString::from).collect(),
            env: BTreeMap::new(),
            cwd: Some(self.dir.clone()),
            stdin: serde_json::to_vec(request).map_err(|error| error.to_string())?,
            timeout: hook.timeout,
            output_max_bytes: HOOK_ANSWER_MAX_BYTES,
        };
        let output = command.run().map_err(|error| log::chain(&error))?;
        if !output.is_success() {
            let stderr = output.stderr_text().replace(char::is_control, " ");
            let words = stderr.trim();
            let from = words.ceil_char_boundary(words.len().saturating_sub(LAST_WORDS_MAX));
            return Err(format!("{:?}: {}", output.end, &words[from..]));
        }
        if output.stdout.trim_ascii().is_empty() {
            return Ok(HookAnswer::default());
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("its answer cannot be read: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

    use super::*;

    /// Hooks that run one script at each point.
    fn hooks(place: &tempfile::TempDir, script: &str) -> Hooks {
        let path = place.path().join("hook");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("space");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        let hook = HookProfile {
            command: vec![path.to_string_lossy().into_owned()],
            timeout: Duration::from_secs(20),
            optional: false,
        };
        let points = HookPoint::ALL.map(|point| (point, hook.clone()));
        Hooks {
            hooks: Arc::new(points.into()),
            profile: "p".into(),
            queue: "Q".into(),
            job: HookJob {
                panda_id: 42,
                task_id: 1,
                attempt: 0,
                transformation: "run.sh".into(),
                parameters: "a b".into(),
                release: String::new(),
                platform: String::new(),
                image: String::new(),
                cores: 1,
                inputs: vec![],
                outputs: vec!["out.root".into()],
            },
            dir: place.path().to_owned(),
        }
    }

    fn refused(script: &str) -> Problem {
        let place = tempfile::tempdir().expect("space");
        hooks(&place, script).before_job().expect_err("refused")
    }

    #[test]
    fn a_hook_gets_the_job_and_its_silence_changes_nothing() {
        let place = tempfile::tempdir().expect("space");
        let hooks = hooks(&place, "cat > asked.json");
        assert_eq!(hooks.before_job(), Ok(()));
        let asked = fs::read(place.path().join("asked.json")).expect("asked");
        let asked: HookRequest = serde_json::from_slice(&asked).expect("a request");
        assert_eq!((asked.hook, asked.job.panda_id), (HookPoint::BeforeJob, 42));
        assert_eq!(asked.job.outputs, ["out.root"]);
    }

    #[test]
    fn a_hook_refuses_a_job_with_its_code_and_its_text() {
        let problem = refused(r#"echo '{"error": {"code": 1211, "text": "no release"}}'"#);
        assert_eq!(
            (problem.code, problem.detail.as_str()),
            (ErrorCode::MissingInstallation, "no release")
        );
        let problem = refused(r#"echo '{"error": {"code": 7, "text": "odd"}}'"#);
        assert_eq!(problem.code, ErrorCode::PayloadExecutionFailure);
    }

    #[test]
    fn a_hook_that_fails_or_answers_rubbish_fails_the_job() {
        let problem = refused("echo why >&2; exit 3");
        assert_eq!(problem.code, ErrorCode::SetupFailure);
        assert!(
            problem.detail.contains("Exited(3): why"),
            "{}",
            problem.detail
        );
        assert!(refused("echo hello").detail.contains("cannot be read"));
        assert!(
            refused(r#"echo '{"comand": []}'"#)
                .detail
                .contains("comand")
        );
        assert!(refused("yes").detail.contains("bytes"));
    }

    #[test]
    fn an_optional_hook_that_fails_is_left_out() {
        let place = tempfile::tempdir().expect("space");
        let mut hooks = hooks(&place, "exit 3");
        let mut all = (*hooks.hooks).clone();
        for hook in all.values_mut() {
            hook.optional = true;
        }
        hooks.hooks = Arc::new(all);
        assert_eq!(hooks.before_job(), Ok(()));
    }

    #[test]
    fn a_hook_that_hangs_is_killed() {
        let place = tempfile::tempdir().expect("space");
        let mut hooks = hooks(&place, "exec sleep 600");
        let mut all = (*hooks.hooks).clone();
        for hook in all.values_mut() {
            hook.timeout = Duration::from_millis(50);
        }
        hooks.hooks = Arc::new(all);
        let problem = hooks.before_job().expect_err("too long");
        assert!(
            problem.detail.contains("did not end within"),
            "{}",
            problem.detail
        );
    }

    #[test]
    fn a_hook_judges_how_a_payload_ended() {
        let place = tempfile::tempdir().expect("space");
        let mut end = PayloadEnd::default();
        hooks(&place, r#"echo '{"n_events": 250, "note": "fine"}'"#)
            .after_payload(StepKind::Main, &mut end);
        assert_eq!((end.n_events, end.problem.clone()), (Some(250), None));
        hooks(&place, "exit 1").after_payload(StepKind::Before, &mut end);
        assert_eq!(end.problem, None, "only the payload itself is judged");
        hooks(&place, "exit 1").after_payload(StepKind::Main, &mut end);
        assert_eq!(
            end.problem.map(|it| it.code),
            Some(ErrorCode::InternalPilotProblem)
        );
    }
}
