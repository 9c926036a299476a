//! Plans made from the built-in profiles.

use std::time::Duration;

use ailurus_model::{AttemptNr, ByteCount, JobStep, PandaId, SourceLabel, TaskId};

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

fn queue() -> Queue {
    Queue {
        site: "JINR".into(),
        has_cvmfs: true,
        ..Queue::named("Q")
    }
}

fn queue_with(container_type: &str) -> Queue {
    let mut queue = queue();
    let types = &mut queue.options.container_types;
    types.insert("pilot".into(), container_type.into());
    queue
}

fn plan(profile: &str, job: &Job) -> Result<PayloadPlan, PlanError> {
    plan_on(&queue(), profile, job)
}

fn plan_on(queue: &Queue, profile: &str, job: &Job) -> Result<PayloadPlan, PlanError> {
    plan_payload(&Profile::built_in(profile).expect("built in"), job, queue)
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
    let plan = plan_payload(&profile, &job, &queue()).expect("plan");
    assert_eq!(plan.argv, ["spdroot.py", "SimQslPy8.C(42)"]);
}

#[test]
fn an_image_of_the_job_makes_a_container_around_its_command() {
    let mut job = job("run.sh", "1");
    job.container_image = "/cvmfs/spd.jinr.ru/images/spdroot.sif".into();
    let plan = plan("spd", &job).expect("plan");
    let container = plan.container.expect("a container");
    assert_eq!(container.image, job.container_image);
    assert_eq!(container.profile.programs, ["singularity", "apptainer"]);
    assert_eq!(plan.argv, ["./run.sh", "1"]);
}

#[test]
fn the_image_of_the_parameters_counts_before_that_of_the_job() {
    let mut job = job("run.sh", "1 --containerImage docker://x/y");
    job.container_image = "/other.sif".into();
    let plan = plan("generic", &job).expect("plan");
    assert_eq!(plan.container.expect("a container").image, "docker://x/y");
    assert_eq!(plan.argv, ["./run.sh", "1"]);
}

#[test]
fn a_platform_makes_a_container_only_where_the_queue_has_one_for_pilots() {
    let mut job = job("run.sh", "");
    job.platform = "x86_64@/images/el9.sif".into();
    assert_eq!(plan("generic", &job).expect("plan").container, None);
    let on_queue = plan_on(&queue_with("singularity"), "generic", &job).expect("plan");
    assert_eq!(
        on_queue.container.expect("a container").image,
        "/images/el9.sif"
    );
    job.platform = "x86_64-el9-gcc13-opt".into();
    let plain = plan_on(&queue_with("singularity"), "generic", &job).expect("plan");
    assert_eq!(plain.container, None, "no image by itself");
}

#[test]
fn what_panda_writes_for_no_image_is_none() {
    let mut job = job("run.sh", "");
    for none in ["NULL", "null", "None", ""] {
        job.container_image = none.into();
        assert_eq!(plan("generic", &job).expect("plan").container, None);
    }
}

#[test]
fn the_queue_chooses_the_container_program() {
    let mut job = job("run.sh", "");
    job.container_image = "docker://x/y".into();
    let program = |queue: &Queue| {
        let plan = plan_on(queue, "generic", &job).expect("plan");
        plan.container.expect("a container").profile.programs[0].clone()
    };
    assert_eq!(program(&queue_with("docker")), "podman");
    assert_eq!(program(&queue_with("singularity")), "apptainer");
    let unknown = plan_on(&queue_with("shifter"), "generic", &job);
    assert!(matches!(unknown, Err(PlanError::NoContainer { .. })));
}

#[test]
fn container_options_come_from_the_queue_as_words() {
    let mut job = job("run.sh", "");
    job.container_image = "/x.sif".into();
    job.options.container.exec_args = "--env 'A=b c'".into();
    let mut queue = queue();
    let options = |queue: &Queue| {
        let plan = plan_on(queue, "generic", &job).expect("plan");
        plan.container.expect("a container").options.join("|")
    };
    queue.options.container_options = "-B /scratch --contain; id".into();
    assert_eq!(
        options(&queue),
        "-B|/scratch,${workdir}|--contain;|id|--env|A=b c"
    );
    queue.options.container_options = "none".into();
    queue.catchall = "x singularity_options='-B /old' y".into();
    assert_eq!(options(&queue), "-B|/old|--env|A=b c");
    queue.options.container_options = "-B 'open".into();
    let error = plan_on(&queue, "generic", &job).expect_err("open quote");
    assert!(matches!(
        error,
        PlanError::Words {
            what: "container_options",
            ..
        }
    ));
}

#[test]
fn runcontainer_starts_its_container_itself() {
    let job = job(
        "http://x/trf/runcontainer",
        "-p x --containerImage docker://x/y",
    );
    let plan = plan("generic", &job).expect("plan");
    assert_eq!(plan.container, None);
    assert_eq!(
        plan.argv,
        [
            "./runcontainer",
            "-p",
            "x",
            "--containerImage",
            "docker://x/y"
        ]
    );
}

#[test]
fn steps_run_with_the_set_up_and_without_the_container() {
    let mut job = job("run.sh", "");
    job.container_image = "/x.sif".into();
    let step = |command: &str, args: &str| {
        Some(JobStep {
            command: command.into(),
            args: args.into(),
        })
    };
    job.options.preprocess = step("https://x.org/trf/pre.sh", "-n '1 2'");
    job.options.coprocess = step("./co.sh", "");
    job.options.postprocess = step("  ", "");
    let mut profile = Profile::built_in("generic").expect("built in");
    profile.payload.setup = vec!["source /sw/setup.sh".into()];
    let before = plan_step(&profile, &job, &queue(), StepKind::Before).expect("plan");
    let before = before.expect("a step");
    assert_eq!(before.container, None);
    assert_eq!(before.argv[3..], ["payload-setup", "./pre.sh", "-n", "1 2"]);
    assert_eq!(before.stdout, "preprocess_stdout.txt");
    let main = plan_payload(&profile, &job, &queue()).expect("plan");
    let beside = main.beside.expect("a co-process");
    assert_eq!(
        (beside.step, beside.argv.last().cloned()),
        (StepKind::Beside, Some("./co.sh".into()))
    );
    assert_eq!(
        plan_step(&profile, &job, &queue(), StepKind::After),
        Ok(None)
    );
}

#[test]
fn a_command_that_the_pre_process_prepares_replaces_the_payloads() {
    let mut job = job("run.sh", "1");
    job.container_image = "/x.sif".into();
    job.options.preprocess = Some(JobStep {
        command: "./pre.sh".into(),
        args: String::new(),
    });
    job.options.container.image = "docker://hpo/x".into();
    job.options.container.exec = "./__run.sh -v".into();
    let plan = plan("generic", &job).expect("plan");
    assert_eq!(plan.argv, ["./__run.sh", "-v"]);
    assert_eq!(plan.container.expect("a container").image, "docker://hpo/x");
}

#[test]
fn variables_of_the_container_reach_the_payload_by_name() {
    let mut job = job("run.sh", "");
    job.container_image = "/x.sif".into();
    let plan = plan("generic", &job).expect("plan");
    assert_eq!(plan.environment["APPTAINERENV_TMPDIR"], "/srv");
    let names = plan.container.expect("a container").variables;
    assert!(names.contains(&"PanDA_TaskID".to_owned()));
}

#[test]
fn a_launcher_and_a_core_file_are_matters_of_the_profile() {
    let mut profile = Profile::built_in("generic").expect("built in");
    profile.payload.launcher = vec![
        Template::parse("srun").expect("ok"),
        Template::parse("-c{cores}").expect("ok"),
    ];
    let mut job = job("run.sh", "");
    let plan = plan_payload(&profile, &job, &queue()).expect("plan");
    assert_eq!(plan.launcher, ["srun", "-c4"]);
    assert_eq!(plan.core_dumps, CoreDumpPolicy::Limited);
    job.options.is_debug = true;
    let plan = plan_payload(&profile, &job, &queue()).expect("plan");
    assert_eq!(plan.core_dumps, CoreDumpPolicy::Allowed);
}

/// The sample job of the reference, as each experiment's pilot runs it: command, image.
#[test]
fn each_experiment_runs_the_sample_job_as_its_plug_in_does() {
    let mut job = job(
        "https://pandaserver-doma.cern.ch/trf/user/runGen-00-00-02",
        "-j '' -p 'a%20b' -l x.tgz",
    );
    job.container_image = "/cvmfs/x/el9.sif".into();
    let words = ["./runGen-00-00-02", "-j", "", "-p", "a%20b", "-l", "x.tgz"];
    for (experiment, container) in [
        ("generic", Some("apptainer")),
        ("ska", Some("apptainer")),
        ("darkside", Some("apptainer")),
        ("eic", Some("bash")),
        ("rubin", None),
        ("sphenix", None),
        ("spd", Some("singularity")),
    ] {
        let plan = plan_on(&queue_with("singularity"), experiment, &job).expect("plan");
        assert_eq!(plan.argv, words, "{experiment}");
        let program = plan.container.map(|it| it.profile.programs[0].clone());
        assert_eq!(program.as_deref(), container, "{experiment}");
    }
}

#[test]
fn a_platform_is_enough_for_the_containers_of_eic() {
    let mut job = job("run.sh", "");
    job.platform = "el9".into();
    let plan = plan_on(&queue_with("singularity"), "eic", &job).expect("plan");
    let container = plan.container.expect("a container");
    assert_eq!(
        (container.image.as_str(), container.options),
        ("el9", vec!["-c".to_owned(), "-i".to_owned()])
    );
}

#[test]
fn scripts_come_from_the_servers_of_each_experiment() {
    let urls = |name: &str| {
        Profile::built_in(name)
            .expect("built in")
            .payload
            .script_urls
            .join(" ")
    };
    assert_eq!(urls("generic"), urls("ska"));
    assert_eq!(urls("generic"), urls("sphenix"));
    assert!(urls("darkside").contains("pandaserver-tb.cern.ch"));
    assert!(urls("rubin").contains("pandaserver.cern.ch"));
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
    let argv = plan_payload(&profile, &job("run.sh", "'; rm x'"), &queue())
        .expect("plan")
        .argv;
    assert_eq!(argv[..2], ["/bin/bash", "-c"]);
    assert!(
        argv[2].starts_with("{ source /sw/setup.sh\n} || {"),
        "{}",
        argv[2]
    );
    assert!(argv[2].ends_with("\nexec \"$@\""), "{}", argv[2]);
    assert_eq!(argv[3..], ["payload-setup", "./run.sh", "; rm x"]);
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
