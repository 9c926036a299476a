//! Calls of container programs on nodes that are made up.

use super::*;
use crate::Profile;

/// A node with these paths, programs and variables.
#[derive(Default)]
struct Node {
    paths: Vec<&'static str>,
    programs: Vec<&'static str>,
    variables: Vec<(&'static str, &'static str)>,
}

impl NodeView for Node {
    fn has_path(&self, path: &str) -> bool {
        self.paths.contains(&path)
    }

    fn has_program(&self, name: &str) -> bool {
        self.programs.contains(&name)
    }

    fn variable(&self, name: &str) -> Option<String> {
        let mut all = self.variables.iter();
        all.find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    }

    fn directory(&self) -> String {
        "/scratch/job 1".to_owned()
    }
}

fn plan(container: &str, image: &str, options: &[&str]) -> ContainerPlan {
    let profile = Profile::built_in("generic").expect("built in");
    ContainerPlan {
        profile: profile.container(container).expect("known").clone(),
        image: image.to_owned(),
        options: options.iter().map(|it| (*it).to_owned()).collect(),
        variables: vec!["PANDAID".to_owned()],
        values: BTreeMap::new(),
    }
}

fn argv(plan: &ContainerPlan, node: &Node) -> Vec<String> {
    let command = ["./run.sh".to_owned(), "a b".to_owned()];
    plan.call(&command, node).expect("a call").argv
}

const IMAGE: &str = "/cvmfs/spd.jinr.ru/images/spdroot.sif";

#[test]
fn apptainer_gets_directory_options_image_and_command() {
    let node = Node {
        paths: vec![IMAGE],
        programs: vec!["apptainer"],
        ..Node::default()
    };
    let plan = plan("apptainer", IMAGE, &["--bind", "${workdir}:/data"]);
    assert_eq!(
        argv(&plan, &node),
        [
            "apptainer",
            "exec",
            "--pwd",
            "/srv",
            "--bind",
            "/scratch/job 1:/srv",
            "--bind",
            "/scratch/job 1:/data",
            IMAGE,
            "./run.sh",
            "a b"
        ]
    );
}

#[test]
fn the_other_name_of_the_program_is_taken_where_only_that_one_is_there() {
    let node = Node {
        paths: vec![IMAGE],
        programs: vec!["singularity"],
        ..Node::default()
    };
    assert_eq!(
        argv(&plan("singularity", IMAGE, &[]), &node)[0],
        "singularity"
    );
}

#[test]
fn what_is_on_the_node_is_bound_and_gpus_are_passed_on() {
    let node = Node {
        paths: vec![IMAGE, "/cvmfs", "/dev/nvidiactl", "/run/x509up"],
        programs: vec!["apptainer"],
        variables: vec![("X509_USER_PROXY", "/run/x509up")],
    };
    let argv = argv(&plan("apptainer", IMAGE, &[]), &node).join(" ");
    for words in [
        "--bind /cvmfs ",
        "--bind /run/x509up:/run/x509up:ro",
        " --nv ",
    ] {
        assert!(argv.contains(words), "{words}: {argv}");
    }
}

#[test]
fn podman_gets_names_of_variables_but_no_values() {
    let node = Node {
        programs: vec!["podman"],
        ..Node::default()
    };
    let argv = argv(&plan("podman", "docker.io/library/debian:13", &[]), &node);
    let at = argv
        .iter()
        .position(|word| word == "PANDAID")
        .expect("passed on");
    assert_eq!(argv[at - 1], "--env");
    assert!(argv.contains(&"docker.io/library/debian:13".to_owned()));
}

#[test]
fn an_image_of_a_registry_gets_its_scheme_only_where_it_has_none() {
    let node = Node {
        programs: vec!["apptainer"],
        ..Node::default()
    };
    for (image, called) in [
        ("atlas/x:1", "docker://atlas/x:1"),
        ("docker://atlas/x:1", "docker://atlas/x:1"),
        ("library://a/b", "library://a/b"),
        ("mine.sif", "mine.sif"),
    ] {
        let argv = argv(&plan("apptainer", image, &[]), &node);
        assert!(argv.contains(&called.to_owned()), "{image}: {argv:?}");
    }
}

#[test]
fn an_image_below_the_sites_image_directory_is_found_first() {
    let node = Node {
        paths: vec!["/images/x.sif", "/images/deep/y.sif"],
        programs: vec!["apptainer"],
        variables: vec![("IMAGE_BASE", "/images/")],
    };
    for (image, found) in [
        ("any/x.sif", "/images/x.sif"),
        ("deep/y.sif", "/images/deep/y.sif"),
    ] {
        let argv = argv(&plan("apptainer", image, &[]), &node);
        assert!(argv.contains(&found.to_owned()), "{image}: {argv:?}");
    }
}

#[test]
fn a_missing_program_and_a_missing_image_are_told_apart() {
    let plan = plan("apptainer", IMAGE, &[]);
    let nothing = Node::default();
    let error = plan.call(&[], &nothing).expect_err("no program");
    assert!(matches!(error, ContainerError::NoProgram { first, .. } if first == "apptainer"));
    let node = Node {
        programs: vec!["apptainer"],
        ..Node::default()
    };
    let error = plan.call(&[], &node).expect_err("no image");
    assert!(matches!(error, ContainerError::NoImage { .. }));
}

#[test]
fn alrb_gets_the_command_as_a_script_and_no_job_text_in_its_own() {
    let node = Node {
        programs: vec!["bash"],
        ..Node::default()
    };
    let plan = plan("alrb", "el9; rm -rf x", &["-c"]);
    let command = ["./run.sh".to_owned(), "'; id".to_owned()];
    let call = plan.call(&command, &node).expect("a call");
    let (name, text) = call.script.expect("a script");
    assert_eq!(name, "container_script.sh");
    assert_eq!(text, "#!/bin/bash\nexec ./run.sh ''\\''; id'\n");
    assert!(!call.argv[2].contains("el9"), "{}", call.argv[2]);
    assert_eq!(call.argv[3..], ["alrb", "el9; rm -rf x", "-c"]);
}
