//! The log of an attempt: a file of its archive, where that can be reached from here.

use std::{
    fs::File,
    io::{self, Read as _},
};

use ailurus_wire::rest::{AttemptView, JobView};
use flate2::read::GzDecoder;

use crate::{args::LogFile, failure::Failure};

/// Most bytes of a file that are printed; the end of a longer one is left out.
const PRINTED_MAX_BYTES: u64 = 64 << 20;

/// What can be shown of an attempt's log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// The file as it is in the archive, or the pilot's extract in its place.
    pub(crate) bytes: Vec<u8>,
    /// Why it is only the extract; empty if it is the file.
    pub(crate) note: String,
}

/// Reads a file of the log archive of an attempt. Where the archive cannot be reached, the pilot's
/// extract has to do.
///
/// # Errors
///
/// There is no such attempt, it has no log, its archive does not hold the file, or neither archive
/// nor extract can be had. The message then says where the archive lies.
pub(crate) fn read(job: &JobView, attempt: Option<u32>, file: LogFile) -> Result<Log, Failure> {
    let attempt = choose(job, attempt)?;
    let out_of_reach = match archive_bytes(attempt, file) {
        Ok(Some(bytes)) => {
            let note = String::new();
            return Ok(Log { bytes, note });
        }
        Ok(None) => {
            return Err(Failure::NoLog {
                message: format!(
                    "the log archive `{}` has no `{}`",
                    attempt.log_surl,
                    file.name()
                ),
                help: "`--file pilotlog.txt` shows what the pilot did".to_owned(),
            });
        }
        Err(failure) => failure,
    };
    if attempt.pilot_log.is_empty() {
        return Err(out_of_reach);
    }
    Ok(Log {
        bytes: format!("{}\n", attempt.pilot_log.trim_end()).into_bytes(),
        note: format!(
            "this is the pilot's extract, not `{}`: {out_of_reach}",
            file.name()
        ),
    })
}

/// Returns the wanted attempt, or the latest one of which there is a log.
fn choose(job: &JobView, wanted: Option<u32>) -> Result<&AttemptView, Failure> {
    let found = job
        .attempts
        .iter()
        .rev()
        .filter(|attempt| wanted.is_none_or(|nr| nr == attempt.attempt_nr))
        .find(|attempt| !(attempt.log_surl.is_empty() && attempt.pilot_log.is_empty()));
    found.ok_or_else(|| Failure::NoLog {
        message: match wanted {
            Some(nr) => format!("attempt {nr} of job {} has no log", job.panda_id),
            None => format!("no attempt of job {} has a log yet", job.panda_id),
        },
        help: format!("`ailurus job show {}` lists its attempts", job.panda_id),
    })
}

/// Reads the file out of the archive; none if the archive does not hold it.
fn archive_bytes(attempt: &AttemptView, file: LogFile) -> Result<Option<Vec<u8>>, Failure> {
    let surl = &attempt.log_surl;
    let help = format!(
        "copy it with the tool of that storage, and unpack `{}`",
        file.name()
    );
    let Some(path) = surl.strip_prefix("file://") else {
        let message = match surl.as_str() {
            "" => "no log archive was stored".to_owned(),
            surl => format!("the log archive lies at `{surl}`, out of reach from here"),
        };
        return Err(Failure::NoLog { message, help });
    };
    unpack(path, file).map_err(|source| Failure::Archive {
        path: path.to_owned(),
        source,
    })
}

fn unpack(path: &str, file: LogFile) -> io::Result<Option<Vec<u8>>> {
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
            return Ok(Some(bytes));
        }
    }
    Ok(None)
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
            history: Vec::new(),
            output: String::new(),
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
            report: std::collections::BTreeMap::new(),
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
        let mut without_log = attempt(2, "");
        without_log.pilot_log.clear();
        let job = job(vec![attempt(1, &archive(folder.path())), without_log]);
        let log = read(&job, None, LogFile::Stdout).unwrap();
        assert_eq!(
            (log.bytes.as_slice(), log.note.as_str()),
            (&b"hello"[..], "")
        );
    }

    #[test]
    fn a_file_that_is_not_in_the_archive_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(vec![attempt(1, &archive(folder.path()))]);
        let error = read(&job, None, LogFile::Stderr).unwrap_err();
        assert!(error.to_string().contains("payload.stderr"), "{error}");
    }

    #[test]
    fn the_extract_stands_in_for_an_archive_out_of_reach() {
        for surl in ["root://eos.example.org//log.tgz", "file:///no/such/log.tgz"] {
            let job = job(vec![attempt(1, surl)]);
            let log = read(&job, Some(1), LogFile::Stdout).unwrap();
            assert_eq!(log.bytes, b"it was late\n");
            let place = surl.trim_start_matches("file://");
            assert!(log.note.contains(place), "{}", log.note);
        }
    }

    #[test]
    fn an_archive_out_of_reach_without_an_extract_is_named() {
        let mut attempt = attempt(1, "root://eos.example.org//log.tgz");
        attempt.pilot_log.clear();
        let error = read(&job(vec![attempt]), None, LogFile::Stdout).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("root://eos.example.org//log.tgz")
        );
        assert!(error.help().contains("copy it"));
    }

    #[test]
    fn an_attempt_without_a_log_is_refused_by_number() {
        let error = read(&job(vec![]), Some(2), LogFile::Pilot).unwrap_err();
        assert_eq!(error.to_string(), "attempt 2 of job 5 has no log");
    }
}
