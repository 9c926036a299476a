//! Gets a job's script: from the node, from a URL, or it is an input.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use ailurus_http::{Client, FileAnswer};
use ailurus_model::ErrorCode;
use ailurus_pilot_core::{Problem, payload::script::ScriptPlan};

use super::JobPlace;
use crate::log;

/// Largest script, in bytes.
const SCRIPT_MAX: u64 = 100 << 20;
/// Answers below 500 of servers that may answer better later: a time-out, and too many requests.
const BUSY_STATUSES: [u16; 2] = [408, 429];
/// Mode of a script.
const SCRIPT_MODE: u32 = 0o755;

impl JobPlace {
    /// Gets the script and makes it executable.
    pub(crate) fn fetch_script(&self, client: &Client, plan: &ScriptPlan) -> Result<(), Problem> {
        let name = match plan {
            ScriptPlan::None => return Ok(()),
            ScriptPlan::Input { name } => name,
            ScriptPlan::Copy { path, name } => {
                let target = self.dir.join(name);
                fs::copy(path, target).map_err(|error| no_script(path, &error.to_string()))?;
                name
            }
            ScriptPlan::Download { url, name } => {
                let target = self.dir.join(name);
                download_script(client, url, &target)?;
                name
            }
        };
        make_executable(&self.dir.join(name))
            .map_err(|error| Problem::new(ErrorCode::ChmodTrf, format!("`{name}`: {error}")))
    }
}

fn make_executable(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(SCRIPT_MODE))
}

/// Downloads a script. What may work later is 1324, all else 1149.
fn download_script(client: &Client, url: &str, target: &Path) -> Result<(), Problem> {
    let away = |why: &str| Problem::new(ErrorCode::ServiceNotAvailable, format!("`{url}`: {why}"));
    match client.get_to_file(url, target, SCRIPT_MAX) {
        Ok(FileAnswer::Saved { size_bytes: 0 }) => Err(no_script(url, "it is empty")),
        Ok(FileAnswer::Saved { .. }) => Ok(()),
        Ok(FileAnswer::Refused(answer)) => {
            let why = format!("HTTP status {}", answer.status);
            if answer.status >= 500 || BUSY_STATUSES.contains(&answer.status) {
                return Err(away(&why));
            }
            Err(no_script(url, &why))
        }
        Err(error) if error.is_passing() => Err(away(&log::chain(&error))),
        Err(error) => Err(no_script(url, &log::chain(&error))),
    }
}

fn no_script(place: &str, why: &str) -> Problem {
    Problem::new(ErrorCode::TrfDownloadFailure, format!("`{place}`: {why}"))
}
