//! Build jobs: the names of what they make, and their arguments.
//!
//! A build job makes an archive of a user's program once for a site; the task's other jobs there
//! take it as an input. Whether an archive is there already is known from rows.
//!
//! Source: PanDA server, `pandajedi/jediorder/JobGenerator.py` (`doGenerateBuild`).

use std::time::Duration;

use crate::{names::fill_file_id, refined::BuildSpec};

/// How long an archive is used before it is built anew.
pub const LIBRARY_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Storage token of an archive as input: it is always copied to the node.
pub const LIBRARY_TOKEN: &str = "local";

/// Names of what a build job makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryNames {
    /// The dataset of archive and log.
    pub dataset: String,
    /// The archive.
    pub library: String,
    /// The job's log.
    pub log: String,
}

/// Returns the name of a new dataset for archives of a task.
///
/// `stamp` is the time of the day in UTC as `MMDDhhmmss`, `micros` the part of a second.
#[must_use]
pub fn library_dataset(task: u64, stamp: &str, micros: u32) -> String {
    format!("panda.{stamp}.{micros}.lib._{task:06}")
}

/// Names archive and log in a dataset by the number of their entries.
#[must_use]
pub fn library_names(dataset: &str, library_file: u64, log_file: u64) -> LibraryNames {
    let base = format!("{dataset}.$JEDIFILEID");
    LibraryNames {
        library: fill_file_id(&format!("{base}.lib.tgz"), library_file),
        log: fill_file_id(&format!("{base}.log.tgz"), log_file),
        dataset: dataset.to_owned(),
    }
}

/// Makes the arguments of a build job.
#[must_use]
pub fn parameters(build: &BuildSpec, library: &str, source_url: Option<&str>) -> String {
    let text = build
        .command
        .replace("${OUT}", library)
        .replace("${IN}", &build.archive);
    match source_url {
        Some(url) => text.replace("${SURL}", url),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_and_log_are_named_by_their_entries() {
        let dataset = library_dataset(42, "0723101500", 123_456);
        assert_eq!(dataset, "panda.0723101500.123456.lib._000042");
        let names = library_names(&dataset, 7, 8);
        assert_eq!(
            names.library,
            "panda.0723101500.123456.lib._000042.7.lib.tgz"
        );
        assert_eq!(names.log, "panda.0723101500.123456.lib._000042.8.log.tgz");
    }

    #[test]
    fn arguments_name_the_sandbox_and_the_archive() {
        let build = BuildSpec {
            label: "panda".to_owned(),
            archive: "sources.x.tar.gz".to_owned(),
            transformation: String::new(),
            command: "-i ${IN} -o ${OUT} --sourceURL ${SURL} -r .".to_owned(),
            container: None,
            archive_in_storage: None,
        };
        let text = parameters(&build, "lib.tgz", Some("https://server:25443"));
        assert_eq!(
            text,
            "-i sources.x.tar.gz -o lib.tgz --sourceURL https://server:25443 -r ."
        );
    }
}
