//! The files of a log archive, where its storage can be reached from here.

use std::{
    fs::File,
    io::{self, Read as _},
};

use ailurus_wire::rest::{AttemptView, JobView};
use flate2::read::GzDecoder;

use crate::{args::LogFile, failure::Failure};

/// Most bytes of a file that are printed; the end of a longer one is left out.
const PRINTED_MAX_BYTES: u64 = 64 << 20;

/// Returns a file of the log archive of an attempt.
///
/// # Errors
///
/// There is no such attempt, it has no log, or its archive cannot be reached or read. The message
/// then says where the archive lies.
pub(crate) fn read(job: &JobView, attempt: Option<u32>, file: LogFile) -> Result<Vec<u8>, Failure> {
    let attempt = choose(job, attempt)?;
    let Some(path) = attempt.log_surl.strip_prefix("file://") else {
        let extract = match attempt.pilot_log.as_str() {
            "" => String::new(),
            text => format!("\nThe pilot's last words:\n{text}"),
        };
        return Err(Failure::NoLog {
            message: format!(
                "the log archive lies at `{}`, out of reach from here{extract}",
                attempt.log_surl
            ),
            help: format!(
                "copy it with the tool of that storage, and unpack `{}`",
                file.name()
            ),
        });
    };
    unpack(path, file).map_err(|source| Failure::Archive {
        path: path.to_owned(),
        source,
    })
}

/// Returns the wanted attempt, or the latest one that has a log.
fn choose(job: &JobView, wanted: Option<u32>) -> Result<&AttemptView, Failure> {
    let found = job
        .attempts
        .iter()
        .rev()
        .filter(|attempt| wanted.is_none_or(|nr| nr == attempt.attempt_nr))
        .find(|attempt| !attempt.log_surl.is_empty());
    found.ok_or_else(|| Failure::NoLog {
        message: match wanted {
            Some(nr) => format!("attempt {nr} of job {} has no log archive", job.panda_id),
            None => format!("no attempt of job {} has a log archive yet", job.panda_id),
        },
        help: format!("`ailurus job show {}` lists its attempts", job.panda_id),
    })
}

fn unpack(path: &str, file: LogFile) -> io::Result<Vec<u8>> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path)?));
    for entry in archive.entries()? {
        let entry = entry?;
        let is_wanted = entry
            .path()?
            .file_name()
            .is_some_and(|name| name == file.name());
        if is_wanted {
            let mut bytes = Vec::new();
            entry.take(PRINTED_MAX_BYTES).read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("it has no `{}`", file.name()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(attempts: Vec<AttemptView>) -> JobView {
        JobView {
            panda_id: 5,
            task_id: 1,
            task_name: "t".into(),
            part: 0,
            status: "failed".into(),
            attempt_nr: 1,
            max_attempts: 1,
            queue: "Q".into(),
            reason: String::new(),
            created: String::new(),
            state_changed: String::new(),
            attempts,
        }
    }

    fn attempt(nr: u32, log_surl: &str) -> AttemptView {
        AttemptView {
            attempt_nr: nr,
            status: "failed".into(),
            queue: "Q".into(),
            node: String::new(),
            seed: 1,
            sent: String::new(),
            started: String::new(),
            ended: String::new(),
            payload_exit_code: None,
            cpu_secs: None,
            rss_max: None,
            diagnosis: None,
            log_surl: log_surl.into(),
            pilot_log: "it was late".into(),
        }
    }

    fn archive(folder: &std::path::Path) -> String {
        let path = folder.join("log.tgz");
        let gz = flate2::write::GzEncoder::new(
            File::create(&path).unwrap(),
            flate2::Compression::fast(),
        );
        let mut tar = tar::Builder::new(gz);
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        tar.append_data(&mut header, "job/payload.stdout", &b"hello"[..])
            .unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        format!("file://{}", path.display())
    }

    #[test]
    fn a_file_is_read_out_of_the_archive_of_the_latest_attempt_that_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(vec![attempt(1, &archive(folder.path())), attempt(2, "")]);
        assert_eq!(read(&job, None, LogFile::Stdout).unwrap(), b"hello");
    }

    #[test]
    fn a_file_that_is_not_in_the_archive_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(vec![attempt(1, &archive(folder.path()))]);
        let error = read(&job, None, LogFile::Stderr).unwrap_err();
        assert!(error.to_string().contains("payload.stderr"), "{error}");
    }

    #[test]
    fn an_archive_out_of_reach_is_named_with_the_pilots_last_words() {
        let job = job(vec![attempt(1, "root://eos.example.org//log.tgz")]);
        let error = read(&job, Some(1), LogFile::Stdout)
            .unwrap_err()
            .to_string();
        assert!(error.contains("root://eos.example.org//log.tgz"), "{error}");
        assert!(error.contains("it was late"), "{error}");
    }

    #[test]
    fn an_attempt_without_a_log_is_refused_by_number() {
        let error = read(&job(vec![]), Some(2), LogFile::Pilot).unwrap_err();
        assert_eq!(error.to_string(), "attempt 2 of job 5 has no log archive");
    }
}
