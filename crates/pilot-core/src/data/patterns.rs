//! Outputs that a pattern names: known only once the payload has ended.
//!
//! Source: Pilot 3, `pilot/user/sphenix/common.py`, `update_job_data`.

use ailurus_model::{ErrorCode, Lfn, OutputFile};
use regex::RegexBuilder;

use super::check_name;
use crate::Problem;

/// Most memory of a pattern, in bytes: a longer one is a mistake.
const PATTERN_SIZE_MAX: usize = 1 << 20;

/// Says whether an output's name has to be looked at once the payload has ended.
#[must_use]
pub fn is_pattern(output: &OutputFile, prefix: &str) -> bool {
    !prefix.is_empty() && output.lfn.as_str().starts_with(prefix)
}

/// Replaces each output that is a pattern by the files that match it, by name. `files` are the
/// names in the job's directory; what has an entry of its own there is not named twice.
///
/// # Errors
///
/// 1165 if a pattern cannot be read or has no match.
pub fn expand_outputs(
    outputs: &[OutputFile],
    prefix: &str,
    files: &[String],
) -> Result<Vec<OutputFile>, Problem> {
    let mut expanded: Vec<OutputFile> = Vec::new();
    for output in outputs {
        if !is_pattern(output, prefix) {
            expanded.push(output.clone());
            continue;
        }
        let pattern = &output.lfn.as_str()[prefix.len()..];
        let missing = |why: String| {
            Problem::new(
                ErrorCode::MissingOutputFile,
                format!("pattern `{pattern}`: {why}"),
            )
        };
        let regex = RegexBuilder::new(pattern)
            .size_limit(PATTERN_SIZE_MAX)
            .build()
            .map_err(|error| missing(error.to_string()))?;
        let is_named = |name: &str| outputs.iter().any(|it| it.lfn.as_str() == name);
        let mut names: Vec<&String> = files
            .iter()
            .filter(|name| regex.is_match(name) && !is_named(name))
            .filter(|name| {
                let bad = ErrorCode::MissingOutputFile;
                check_name(&Lfn::new(name.as_str()), bad).is_ok()
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Err(missing("no file matches".to_owned()));
        }
        for name in names {
            let lfn = Lfn::new(name.as_str());
            if !expanded.iter().any(|it| it.lfn == lfn) {
                expanded.push(OutputFile {
                    lfn,
                    guid: None,
                    ..output.clone()
                });
            }
        }
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::input_file;

    fn expand(names: &[&str], files: &[&str]) -> Result<Vec<String>, Problem> {
        let output = |name: &&str| {
            let input = input_file(name);
            OutputFile {
                lfn: input.lfn,
                scope: input.scope,
                guid: None,
                dataset: input.dataset,
                endpoint: input.endpoint,
            }
        };
        let outputs: Vec<OutputFile> = names.iter().map(output).collect();
        let files: Vec<String> = files.iter().map(|it| (*it).to_owned()).collect();
        let expanded = expand_outputs(&outputs, "regex|", &files)?;
        Ok(expanded.iter().map(|it| it.lfn.to_string()).collect())
    }

    #[test]
    fn a_pattern_stands_for_all_files_that_match_in_order() {
        let files = ["log.txt", "DST_2.root", "DST_1.root", "hist.root"];
        let names = expand(&["regex|DST_.*.root", "hist.root"], &files);
        assert_eq!(
            names.expect("matches"),
            ["DST_1.root", "DST_2.root", "hist.root"]
        );
    }

    #[test]
    fn a_file_is_an_output_once() {
        let names = expand(
            &["regex|root$", "regex|^a", "b.root"],
            &["a.root", "b.root"],
        );
        assert_eq!(names.expect("matches"), ["a.root", "b.root"]);
    }

    #[test]
    fn a_pattern_without_a_match_or_without_sense_is_a_missing_output() {
        for pattern in ["regex|none", "regex|(", "regex|a{1000000000}"] {
            let problem = expand(&[pattern], &["a.root"]).expect_err("no output");
            assert_eq!(problem.code, ErrorCode::MissingOutputFile, "{pattern}");
        }
    }
}
