//! Plans made from the built-in profiles.

use std::time::Duration;

use ailurus_model::{AttemptNr, ByteCount, PandaId, SourceLabel, TaskId};

use super::*;

fn job(transformation: &str, parameters: &str) -> Job {
    Job {
        panda_id: PandaId::new(1001),
        attempt_nr: AttemptNr::new(2),
        task_id: TaskId::new(77),
        jobset_id: 0,
        name: String::new(),
        source_label: SourceLabel::new("user"),
        processing_type: String::new(),
        user: String::new(),
        transformation: transformation.into(),
        parameters: parameters.into(),
        release: String::new(),
        platform: String::new(),
        container_image: String::new(),
        core_count: 4,
        memory: ByteCount::ZERO,
        disk: ByteCount::ZERO,
        walltime: Duration::ZERO,
        resource_type: String::new(),
        priority: 0,
        inputs: vec![],
        outputs: vec![],
        log: None,
        looping_check: true,
        outputs_optional: vec![],
        transfer_type: String::new(),
        options: ailurus_model::JobOptions::default(),
    }
}

fn plan(profile: &str, job: &Job) -> Result<PayloadPlan, PlanError> {
    plan_payload(&Profile::built_in(profile).expect("built in"), job, "Q")
}

#[test]
fn a_generic_job_runs_its_script_with_the_words_of_its_parameters() {
    let plan = plan("generic", &job("http://x/trf/run.sh", "-x 'a b'")).expect("plan");
    assert_eq!(plan.argv, ["./run.sh", "-x", "a b"]);
    assert_eq!(plan.environment["PANDAID"], "1001");
    assert_eq!(plan.environment["PanDA_TaskID"], "77");
    assert_eq!(plan.environment["PanDA_AttemptNr"], "2");
}

#[test]
fn tokens_are_not_inherited_but_the_path_is() {
    let plan = plan("generic", &job("run.sh", "")).expect("plan");
    for hidden in [
        "PANDA_AUTH_TOKEN",
        "OIDC_AUTH_TOKEN",
        "PANDA_AUTH_TOKEN_KEY",
        "HARVESTER_ID",
    ] {
        assert!(!plan.inherits(hidden), "{hidden}");
    }
    assert!(plan.inherits("PATH") && plan.inherits("X509_USER_PROXY"));
}

#[test]
fn an_spd_macro_is_one_word_for_its_interpreter() {
    let plan = plan("spd", &job("https://x/SimQslPy8.C", "42, 1000")).expect("plan");
    assert_eq!(plan.argv, ["spdroot.py", "SimQslPy8.C(42, 1000)"]);
}

#[test]
fn spdroot_itself_needs_no_script() {
    let profile = Profile::built_in("spd").expect("built in");
    let job = job("spdroot.py", r#""SimQslPy8.C(42)""#);
    assert_eq!(script_need(&profile, &job), Ok(ScriptNeed::None));
    let plan = plan_payload(&profile, &job, "Q").expect("plan");
    assert_eq!(plan.argv, ["spdroot.py", "SimQslPy8.C(42)"]);
}

#[test]
fn a_container_goes_before_the_command() {
    let mut job = job("run.sh", "1");
    job.container_image = "/cvmfs/spd.jinr.ru/images/spdroot.sif".into();
    let argv = plan("spd", &job).expect("plan").argv;
    let image = argv.iter().position(|word| *word == job.container_image);
    assert_eq!(argv[image.expect("named") + 1..], ["./run.sh", "1"]);
}

#[test]
fn an_image_that_looks_like_an_option_is_refused() {
    let mut job = job("run.sh", "");
    job.container_image = "--bind=/".into();
    assert!(matches!(
        plan("spd", &job),
        Err(PlanError::ImageIsOption { .. })
    ));
}

#[test]
fn set_up_lines_get_the_command_as_arguments() {
    let mut profile = Profile::built_in("generic").expect("built in");
    profile.payload.setup = vec!["source /sw/setup.sh".into()];
    let argv = plan_payload(&profile, &job("run.sh", "'; rm x'"), "Q")
        .expect("plan")
        .argv;
    let script = "source /sw/setup.sh\nexec \"$@\"";
    assert_eq!(
        argv,
        [
            "/bin/bash",
            "-c",
            script,
            "payload-setup",
            "./run.sh",
            "; rm x"
        ]
    );
}

#[test]
fn an_open_quote_and_a_missing_script_name_are_refused() {
    assert!(matches!(
        plan("generic", &job("run.sh", "'a")),
        Err(PlanError::Parameters { .. })
    ));
    let profile = Profile::built_in("generic").expect("built in");
    let error = script_need(&profile, &job("http://x/", "")).expect_err("no name");
    assert!(matches!(error, PlanError::NoScriptName { .. }));
}
