//! From a plan to the words that start it on this node: launcher, container, command.

use std::{
    fs::{OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use ailurus_experiment::{ContainerError, NodeView, PayloadPlan};
use ailurus_model::ErrorCode;
use ailurus_pilot_core::Problem;

/// Mode of a script that a container program runs.
const SCRIPT_MODE: u32 = 0o755;

/// Returns program and arguments that start a plan, and writes the script that it needs, if any.
pub(crate) fn command_line(plan: &PayloadPlan, dir: &Path) -> Result<Vec<String>, Problem> {
    let mut argv = plan.launcher.clone();
    let Some(container) = &plan.container else {
        argv.extend_from_slice(&plan.argv);
        return Ok(argv);
    };
    let node = OnNode { dir };
    let call = container
        .call(&plan.argv, &node)
        .map_err(|error| container_problem(&error))?;
    if let Some((name, text)) = &call.script {
        let path = dir.join(name);
        write_script(&path, text).map_err(|error| {
            let detail = format!("`{}`: {error}", path.display());
            Problem::new(ErrorCode::SetupFailure, detail)
        })?;
    }
    argv.extend(call.argv);
    Ok(argv)
}

/// This node, as container plans ask about it.
struct OnNode<'a> {
    dir: &'a Path,
}

impl NodeView for OnNode<'_> {
    fn has_path(&self, path: &str) -> bool {
        Path::new(path).exists()
    }

    fn has_program(&self, name: &str) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|place| is_program(&place.join(name)))
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn directory(&self) -> String {
        self.dir.to_string_lossy().into_owned()
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn container_problem(error: &ContainerError) -> Problem {
    let code = match error {
        ContainerError::NoImage { .. } => ErrorCode::ImageNotFound,
        ContainerError::NoProgram { first, .. } => match first.as_str() {
            "apptainer" => ErrorCode::ApptainerNotInstalled,
            "singularity" => ErrorCode::SingularityNotInstalled,
            _ => ErrorCode::SingularityGeneralFailure,
        },
    };
    Problem::new(code, error.to_string())
}

fn write_script(path: &Path, text: &str) -> io::Result<()> {
    // Whatever a step before left under this name is not written through.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(SCRIPT_MODE)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(SCRIPT_MODE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_part_of_a_container_has_its_code() {
        let code = |first: &str| {
            let error = ContainerError::NoProgram {
                programs: String::new(),
                first: first.to_owned(),
            };
            container_problem(&error).code
        };
        assert_eq!(code("apptainer"), ErrorCode::ApptainerNotInstalled);
        assert_eq!(code("singularity"), ErrorCode::SingularityNotInstalled);
        assert_eq!(code("podman"), ErrorCode::SingularityGeneralFailure);
        let error = ContainerError::NoImage { image: "/x".into() };
        assert_eq!(container_problem(&error).code, ErrorCode::ImageNotFound);
    }

    #[test]
    fn a_script_is_executable_and_replaces_what_is_there() {
        let place = tempfile::tempdir().expect("space");
        let path = place.path().join("script.sh");
        let elsewhere = place.path().join("elsewhere");
        std::fs::write(&elsewhere, "mine").expect("space");
        std::os::unix::fs::symlink(&elsewhere, &path).expect("space");
        write_script(&path, "#!/bin/sh\n").expect("written");
        assert!(is_program(&path));
        assert_eq!(std::fs::read_to_string(&elsewhere).expect("there"), "mine");
    }
}
