//! What a final report says about outputs, against what the job was to write.
//!
//! Source: PanDA server, `pandaserver/dataservice/adder_gen.py`, `parse_job_output_report`.

use std::collections::{BTreeMap, BTreeSet};

use ailurus_model::{EndpointName, FileReport, Guid, Lfn};
use regex::Regex;

use crate::definition::{JobOutput, JobOutputs, Presence};

/// Begins the name of an output that stands for all files whose names fit a pattern.
pub(crate) const REGEX_PREFIX: &str = "regex|";

/// What a report is judged against.
#[derive(Debug)]
pub(crate) struct Expectation<'a> {
    /// What the job was to write.
    pub(crate) outputs: &'a JobOutputs,
    /// The ids that outputs get of which the pilot made none, in the order of the outputs.
    pub(crate) guids: &'a [Guid],
    /// What the job reads.
    pub(crate) inputs: &'a BTreeSet<Lfn>,
    /// The endpoint of files of which the pilot does not say where they are.
    pub(crate) endpoint: Option<&'a EndpointName>,
}

/// A report that agrees with the job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Judged {
    /// For each output in its order: its files, the first of which takes its part; none if the
    /// job may finish without it.
    pub(crate) files: Vec<Vec<FileReport>>,
    /// Inputs that the job did not read.
    pub(crate) skipped: Vec<Lfn>,
}

/// Judges the report of a job that finished. `unmeasured` are files that were listed without size
/// or checksum.
///
/// # Errors
///
/// PanDA's text of what is wrong.
pub(crate) fn judge(
    expectation: &Expectation<'_>,
    reports: &[FileReport],
    unmeasured: &[Lfn],
) -> Result<Judged, String> {
    let JobOutputs {
        files: outputs,
        log,
    } = expectation.outputs;
    let inputs = expectation.inputs;
    let mut judged = Judged {
        files: vec![Vec::new(); outputs.len()],
        skipped: Vec::new(),
    };
    for lfn in unmeasured {
        if !inputs.contains(lfn) {
            return Err(format!("{UNUSABLE}: `{lfn}` has no size or no checksum"));
        }
        judged.skipped.push(lfn.clone());
    }
    let mut seen: BTreeMap<&Lfn, &FileReport> = BTreeMap::new();
    for report in reports {
        if let Some(before) = seen.insert(&report.lfn, report) {
            if before != report {
                return Err(format!(
                    "pilot reported {} twice and differently",
                    report.lfn
                ));
            }
            continue;
        }
        if report.lfn == log.lfn {
            continue;
        }
        if let Some(nr) = output_of(outputs, &report.lfn) {
            judged.files[nr].push(report.clone());
        } else if inputs.contains(&report.lfn) {
            judged.skipped.push(report.lfn.clone());
        } else {
            return Err(format!(
                "pilot produced {} inconsistently with jobdef",
                report.lfn
            ));
        }
    }
    for ((output, guid), files) in outputs.iter().zip(expectation.guids).zip(&mut judged.files) {
        complete(output, guid, files, expectation.endpoint)?;
    }
    Ok(judged)
}

/// PanDA's text for a report that cannot be used.
pub(crate) const UNUSABLE: &str = "Could not get GUID/LFN/MD5/FSIZE/SURL from pilot JSON";

/// Checks that an output is there, and fills in what pilots leave to the server, as Pilot 3 does
/// where no Rucio is behind it.
fn complete(
    output: &JobOutput,
    guid: &Guid,
    files: &mut [FileReport],
    endpoint: Option<&EndpointName>,
) -> Result<(), String> {
    let is_pattern = output.lfn.as_str().starts_with(REGEX_PREFIX);
    if files.is_empty() && !is_pattern && output.presence == Presence::Required {
        return Err(format!(
            "expected output {} is missing in pilot JSON",
            output.lfn
        ));
    }
    // The file that has the output's own name comes first.
    files.sort_by_key(|file| (file.lfn != output.lfn, file.lfn.clone()));
    for (nr, file) in files.iter_mut().enumerate() {
        if file.endpoint.is_empty() {
            let Some(endpoint) = endpoint else {
                return Err(format!(
                    "{UNUSABLE}: nothing says on which endpoint {} is",
                    file.lfn
                ));
            };
            file.endpoint = endpoint.clone();
        }
        if file.guid.is_empty() && nr == 0 {
            file.guid = guid.clone();
        }
    }
    Ok(())
}

/// Finds the output that a file is, or is one of several of.
fn output_of(outputs: &[JobOutput], lfn: &Lfn) -> Option<usize> {
    let is_it = |output: &JobOutput| output.lfn == *lfn;
    let stands_for_it = |output: &JobOutput| {
        match output.lfn.as_str().strip_prefix(REGEX_PREFIX) {
            // A pattern that is none stands for nothing, so that the job fails with its name.
            Some(pattern) => Regex::new(pattern).is_ok_and(|regex| regex.is_match(lfn.as_str())),
            None => is_variant(output.lfn.as_str(), lfn.as_str()),
        }
    };
    outputs
        .iter()
        .position(is_it)
        .or_else(|| outputs.iter().position(stands_for_it))
}

/// Says whether a name is another with `_5`, `._5` or the like behind it.
fn is_variant(name: &str, variant: &str) -> bool {
    let Some(rest) = variant.strip_prefix(name) else {
        return false;
    };
    let Some(digits) = rest.trim_start_matches('.').strip_prefix('_') else {
        return false;
    };
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use ailurus_model::{ByteCount, Checksum};

    use super::*;

    fn output(lfn: &str, presence: Presence) -> JobOutput {
        JobOutput {
            name: lfn.to_owned(),
            lfn: lfn.into(),
            dataset: "spd.out".into(),
            scope: "spd".into(),
            part: 0,
            presence,
        }
    }

    fn report(lfn: &str) -> FileReport {
        FileReport {
            lfn: lfn.into(),
            guid: Guid::default(),
            size: ByteCount::from_mib(1),
            checksum: Checksum::Adler32(1),
            surl: String::new(),
            endpoint: EndpointName::default(),
        }
    }

    /// Names of the files of each output, and skipped inputs.
    fn judged(outputs: &[JobOutput], reported: &[&str]) -> Result<Vec<Vec<String>>, String> {
        let reports: Vec<_> = reported.iter().map(|lfn| report(lfn)).collect();
        let endpoint = EndpointName::new("EOS");
        let judged = judge(
            &Expectation {
                outputs: &JobOutputs {
                    files: outputs.to_vec(),
                    log: output("log.tgz", Presence::Required),
                },
                guids: &vec![Guid::new("ours"); outputs.len()],
                inputs: &["in.root".into()].into(),
                endpoint: Some(&endpoint),
            },
            &reports,
            &[],
        )?;
        let mut names: Vec<Vec<String>> = judged
            .files
            .iter()
            .map(|files| files.iter().map(|file| file.lfn.to_string()).collect())
            .collect();
        names.push(judged.skipped.iter().map(ToString::to_string).collect());
        Ok(names)
    }

    #[test]
    fn each_problem_has_pandas_text() {
        let outputs = [output("a.root", Presence::Required)];
        let error = judged(&outputs, &["log.tgz"]).expect_err("missing");
        assert_eq!(error, "expected output a.root is missing in pilot JSON");
        let error = judged(&outputs, &["a.root", "b.root"]).expect_err("unknown");
        assert_eq!(error, "pilot produced b.root inconsistently with jobdef");
    }

    #[test]
    fn variants_of_a_name_are_files_of_its_output() {
        let outputs = [output("a.root", Presence::Required)];
        let names = judged(&outputs, &["a.root._001", "a.root._000", "a.root_2"]).unwrap();
        assert_eq!(names[0], ["a.root._000", "a.root._001", "a.root_2"]);
        let names = judged(&outputs, &["a.root._001", "a.root"]).unwrap();
        assert_eq!(names[0], ["a.root", "a.root._001"]);
        for other in ["a.root.1", "a.root_", "a.root_1x", "xa.root_1"] {
            assert!(judged(&outputs, &["a.root", other]).is_err(), "{other}");
        }
    }

    #[test]
    fn a_pattern_stands_for_any_number_of_files() {
        let outputs = [output(r"regex|^hist_\d+\.root$", Presence::Required)];
        assert_eq!(judged(&outputs, &[]).unwrap()[0].len(), 0);
        let names = judged(&outputs, &["hist_2.root", "hist_1.root"]).unwrap();
        assert_eq!(names[0], ["hist_1.root", "hist_2.root"]);
        assert!(judged(&outputs, &["hist.root"]).is_err());
        let broken = [output("regex|(", Presence::Required)];
        assert!(judged(&broken, &["("]).is_err());
    }

    #[test]
    fn an_output_may_be_missing_if_the_job_says_so() {
        let outputs = [
            output("a.root", Presence::Required),
            output("b.root", Presence::Optional),
        ];
        assert_eq!(judged(&outputs, &["a.root"]).unwrap()[1].len(), 0);
    }

    #[test]
    fn a_reported_input_was_skipped() {
        let outputs = [output("a.root", Presence::Required)];
        let names = judged(&outputs, &["a.root", "in.root"]).unwrap();
        assert_eq!(names[1], ["in.root"]);
    }
}
